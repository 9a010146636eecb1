"""The loop of a run: the planner plans, its nodes are searched, it reads what they found and plans again.

A plan that may not be is refused with the reason, and the run goes on. After several refusals in a row the question is
searched as it stands. Cancelled and spent runs leave the loop within a tick.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from itertools import chain, count

from foveal.errors import Cancelled, FetchFailed, InputError
from foveal.models.chat import Cancel, Message
from foveal.research.board import Board, today
from foveal.research.budget import Meter
from foveal.research.graph import RESPONSE, ROOT, Graph, Node, same_question
from foveal.research.plans import Plan, Planner, Refused, Turn, extended, node_names
from foveal.research.prompts import NOTHING, as_data
from foveal.research.scheduling import Scheduler

REFUSED_MOST = 3
"""Plans in a row that are refused: then the question itself is searched, or, where something was found, answered."""


@dataclass(frozen=True, kw_only=True)
class Hunt:
    """One run's search. `stop(reason)` ends it; `cancel` is set when it has ended for whatever reason."""

    question: str
    history: tuple[Message, ...]
    board: Board
    planner: Planner
    scheduler: Scheduler
    meter: Meter
    cancel: Cancel
    stop: Callable[[str], None]
    max_turns: int
    max_nodes: int

    def run(self) -> str | None:
        """Search until the planner has enough, or something stops it; an answer that the planner gave by itself."""
        self.go_on()
        state = self.board.state
        while not self.cancel.cancelled and RESPONSE not in state.graph.nodes:
            if len(state.turns) >= self.max_turns:
                self.wait(self.names())
                self.stop("turns")
                return None
            plan = self._question_itself() if self._gave_up() else self._planned()
            if plan is not None and plan.text is not None:
                return plan.text
            if plan is not None and self._taken(plan):
                return None
            self.board.tell("usage", **self.meter.used())
            if self.meter.short_of_pages:
                self.wait(self.names())
                self.stop("budget")
        return None

    def go_on(self) -> str | None:
        """What an earlier run of this trace left: nodes that were not searched to their end, a turn without its end.

        A node that failed because a search or the model did is searched again; where it is found now, so is what builds
        on it, as it was searched without its answer.
        """
        for node in self.board.seen().graph.searchers():
            if not self.board.state.graph.parents(node.name):  # a kill came between it and its edges
                self.board.tell("graph.edge", id=uuid.uuid4().hex, source=ROOT, target=node.name)
        graph = self.board.seen().graph
        broken = [node.name for node in graph.searchers() if node.state == "failed" and node.broken]
        left = [node.name for node in graph.searchers() if node.state not in ("finished", "failed")] + broken
        self._search(graph, left)
        found = [name for name in broken if self.board.seen().graph.nodes[name].state == "finished"]
        lacked = {child for name in found for child in graph.descendants(name)} - {*left}
        stale = [node.name for node in graph.searchers() if node.name in lacked]
        for name in stale:
            self.board.tell("node.state", name=name, state="stale")
        self._search(graph, stale)
        turns = self.board.state.turns
        if turns and (found or not turns[-1].observation) and not self.cancel.cancelled:
            note = "" if turns[-1].observation else "The run was broken off here."
            self._observe([node.name for node in graph.searchers()], note=note)
        return None

    def _search(self, graph: Graph, names: Collection[str]) -> None:
        """Search nodes of a graph, and wait for them."""
        if names:
            self.scheduler.add({name: graph.parents(name) for name in names})
            self.wait(names)

    def _gave_up(self) -> bool:
        """Whether the planner was refused so often in a row, or for the same words, that it is not asked again."""
        refused, last = self.board.state.refused, [one.source for one in self.board.state.turns[-2:]]
        again = refused >= 2 and last[0] == last[1] != ""
        return again or refused >= (REFUSED_MOST - 1 if self.board.found() else REFUSED_MOST)

    def _planned(self) -> Plan | None:
        """The planner's next plan; None: it gave none that may be, or was stopped."""
        turn = self._turn()
        try:
            plan = self._asked(turn)
        except Cancelled:
            return None
        except Refused as refused:
            self._refuse(refused.source, str(refused))
            return None
        except FetchFailed as error:
            if not self.board.found():
                raise
            self.board.tell("error", where="planner", message=str(error))
            self.stop("model")
            return None
        self.board.tell("plan.turn", source=plan.source or plan.thought, thought=plan.thought)
        return plan

    def _asked(self, turn: Turn) -> Plan:
        """What the planner plans; it is asked once more where its server broke off in the middle of its words."""
        heard: list[str] = []

        def on_text(text: str) -> None:
            heard.append(text)
            self.board.tell("plan.delta", text=text)

        try:
            return self.planner.plan(turn, on_text=on_text, cancel=self.cancel)
        except FetchFailed:
            if not heard:
                raise
        on_text("\n\n")
        return self.planner.plan(turn, on_text=on_text, cancel=self.cancel)

    def _turn(self) -> Turn:
        seen = self.board.seen()
        return Turn(
            question=self.question,
            graph=seen.graph,
            past=tuple(seen.turns),
            number=len(seen.turns) + 1,
            most=self.max_turns,
            today=today(),
            history=self.history,
        )

    def _question_itself(self) -> Plan:
        """Where no plan can be had: the answer, once the question itself was searched unless something was found."""
        asked = self.names()
        self.wait(asked)
        if self.board.found() or any(same_question(self.question, one.content) for one in self._searchers()):
            thought = "No further plan could be read, so what was found is put together."
            self.board.tell("plan.turn", source="", thought=thought)
            return Plan(answer=True)
        self.board.tell("plan.turn", source="", thought="No plan could be read, so the question itself is searched.")
        name = next(name for name in chain(["question"], (f"question {n}" for n in count(2))) if name not in asked)
        self.board.tell("graph.node", name=name, content=self.question, kind="searcher")
        self.board.tell("graph.edge", id=uuid.uuid4().hex, source=ROOT, target=name)
        self.scheduler.add({name: (ROOT,)})
        self.wait([name])
        self._observe([name])
        return Plan(answer=True)

    def _taken(self, plan: Plan) -> bool:
        """Add what the plan asks for, and wait for it; whether the answer is to be written."""
        try:
            before = self.board.seen().graph
            graph = extended(before, plan, most_nodes=self.max_nodes)
            asked = node_names(plan.asked, graph)
        except InputError as refused:
            self._observe((), note=f"The plan was refused: {refused} Nothing of it was done.", refused=True)
            return False
        if plan.reset:
            self.scheduler.forget()
            self.wait(self.scheduler.busy())
        new = self._added(before, graph, reset=plan.reset)
        if plan.answer and not new:
            self.wait(self.names())
            self._respond()
            return True
        self.wait(asked or new)
        note = "The response node comes in a turn of its own, after you have read the answers." if plan.answer else ""
        self._observe(asked or new, note=note)
        return False

    def _added(self, before: Graph, graph: Graph, *, reset: bool) -> list[str]:
        """Tell of what is new in `graph`, start it, and give its names."""
        if reset:
            self.board.tell("graph.reset")
            before = self.board.seen().graph
        new = [node for name, node in graph.nodes.items() if name not in before.nodes]
        for node in new:
            self.board.tell("graph.node", name=node.name, content=node.content, kind=node.kind)
        for start, end in graph.edges:
            if (start, end) not in before.edges:
                self.board.tell("graph.edge", id=uuid.uuid4().hex, source=start, target=end)
        self.scheduler.add({node.name: graph.parents(node.name) for node in new})
        return [node.name for node in new]

    def _observe(self, names: Iterable[str], *, note: str = "", refused: bool = False) -> None:
        """Tell the planner what the searchers found; their words are data to it, as pages are to them."""
        nodes = self.board.seen().graph.nodes
        found = [f"## {nodes[name].content}\n{as_answer(nodes[name])}" for name in names if name in nodes]
        text = "\n\n".join([*found, *([note] if note else [])]) or "There is nothing new. Ask something, or answer."
        self.board.tell("plan.observation", text=text, refused=refused)

    def _refuse(self, source: str, why: str) -> None:
        self.board.tell("plan.turn", source=source, thought="")
        self._observe((), note=f"The plan was refused: {why} Nothing of it was done.", refused=True)

    def _respond(self) -> None:
        graph = self.board.seen().graph
        self.board.tell("graph.node", name=RESPONSE, content=self.question, kind="end")
        for node in graph.searchers():
            if not graph.children(node.name):
                self.board.tell("graph.edge", id=uuid.uuid4().hex, source=node.name, target=RESPONSE)

    def names(self) -> list[str]:
        """All sub-questions."""
        return [node.name for node in self._searchers()]

    def _searchers(self) -> list[Node]:
        return self.board.seen().graph.searchers()

    def wait(self, names: Iterable[str]) -> None:
        """Wait until nodes are over, or the search has ended."""
        self.scheduler.wait(list(names), until=lambda: self.cancel.cancelled)


def as_answer(node: Node) -> str:
    """What a planner reads of a node: its answer, as data with its citations, or why there is none."""
    return as_data(node.answer, marks=True) if node.answer else f"{NOTHING} {as_data(node.error)}".strip()
