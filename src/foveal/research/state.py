"""What the events of a run add up to: graph, citations, turns, answer, what was spent.

    state = RunState.of(events)               # of a run that goes on, of a trace, of what a browser has got so far

A run keeps no other state than this, so a replay shows exactly what was, and a run that was killed goes on from its
trace as if it had not been.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from foveal.research.events import Event
from foveal.research.graph import RESPONSE, ROOT, Graph, Node
from foveal.research.plans import PastTurn


@dataclass
class RunState:
    """The fold of a run's events; change it by `apply` only."""

    run: dict[str, Any] = field(default_factory=dict)
    graph: Graph = field(default_factory=Graph)
    refs: dict[int, dict[str, Any]] = field(default_factory=dict)
    turns: list[PastTurn] = field(default_factory=list)
    refused: int = 0  # plans in a row that were not taken
    thought: str = ""  # what the planner writes now
    answer: str = ""
    usage: dict[str, Any] = field(default_factory=dict)
    errors: list[str] = field(default_factory=list)
    done: dict[str, Any] | None = None
    last: int = 0  # id of the last event
    # of deep research (deep.py)
    steps: dict[str, dict[str, Any]] = field(default_factory=dict)  # those that are over, by `steps.step_name`
    ended: dict[str, float] = field(default_factory=dict)  # when they were, in seconds since the epoch
    busy: dict[str, None] = field(default_factory=dict)  # steps that go on, in the order in which they began
    values: dict[str, dict[str, Any]] = field(default_factory=dict)  # of a tree's nodes: value, visits, verified
    plan: dict[str, Any] = field(default_factory=dict)  # planner, reason, searches
    brief: dict[str, Any] = field(default_factory=dict)
    sources: dict[str, dict[str, Any]] = field(default_factory=dict)
    evidence: dict[str, dict[str, Any]] = field(default_factory=dict)
    memory: dict[str, dict[str, Any]] = field(default_factory=dict)  # what each search changed in it
    edits: list[dict[str, Any]] = field(default_factory=list)  # of the memory, by a person
    drafts: list[dict[str, Any]] = field(default_factory=list)
    claims: list[dict[str, Any]] = field(default_factory=list)
    report: dict[str, Any] | None = None  # its ledger

    @classmethod
    def of(cls, events: Iterable[Event]) -> RunState:
        """The state after `events`."""
        state = cls()
        for event in events:
            state.apply(event)
        return state

    @property
    def question(self) -> str:
        """What was asked."""
        return str(self.run.get("question", ""))

    @property
    def unsearched(self) -> dict[str, str]:
        """Sources that did not answer while others did, and why."""
        return {name: why for node in self.graph.searchers() for name, why in node.unsearched.items()}

    @property
    def search_failed(self) -> bool:
        """Whether a search did not come through, so that a run that goes on makes it again."""
        steps = any(one["step"] == "search" and has_failed(one) for one in self.steps.values())
        return steps or any(node.broken for node in self.graph.searchers())

    def quotes(self, number: int) -> list[dict[str, Any]]:
        """What is quoted of a source, as `refs` has it: the quote that it is listed with, then those of each node."""
        ref = self.refs[number]
        nodes, whole = self.graph.nodes.values(), {name: one for name, one in ref.items() if name != "unread"}
        return [ref, *(whole | place for node in nodes for place in node.quotes.get(str(number), ()))]

    def apply(self, event: Event) -> None:
        """Take one event in."""
        self.last = event.id
        change = _CHANGES.get(event.kind)
        if change:
            change(self, event.data, event.at)


def _run(state: RunState, data: dict[str, Any], at: float) -> None:
    state.run = state.run | data
    state.done = None
    state.busy = {}
    state.claims = []
    _end_is(state, "waiting")
    if ROOT not in state.graph.nodes:
        state.graph.add(Node(ROOT, str(data["question"]), "root", "finished", started=at))


def _plan_delta(state: RunState, data: dict[str, Any], _: float) -> None:
    state.thought += data["text"]


def _plan_turn(state: RunState, data: dict[str, Any], _: float) -> None:
    state.turns.append(PastTurn(data["source"], ""))
    state.thought = ""


def _observation(state: RunState, data: dict[str, Any], _: float) -> None:
    state.turns[-1] = replace(state.turns[-1], observation=data["text"])
    state.refused = state.refused + 1 if data.get("refused") else 0


def _reset(state: RunState, _: dict[str, Any], __: float) -> None:
    root = state.graph.nodes[ROOT]
    state.graph = Graph()
    state.graph.add(root)


def _node(state: RunState, data: dict[str, Any], at: float) -> None:
    name = data["name"]
    if name in state.graph.nodes:
        state.graph.nodes[name].content = data["content"]
        return
    state.graph.add(Node(name, data["content"], data.get("kind", "searcher")))
    if name == RESPONSE:  # it is added when all that it needs is over: now the answer is written
        _end_is(state, "running", at)


def _end_is(state: RunState, now: str, at: float | None = None) -> None:
    """Let the answer's node be in this state, where there is one: nothing of a run tells of it beside its answer."""
    end = state.graph.nodes.get(RESPONSE)
    if end is not None and now != end.state:
        end.state = now
        end.started = at if now == "running" else end.started
        end.ended = at if now in ("finished", "cancelled") else None


def _edge(state: RunState, data: dict[str, Any], _: float) -> None:
    state.graph.connect(data["source"], data["target"], data["id"])


def _node_state(state: RunState, data: dict[str, Any], at: float) -> None:
    node = state.graph.nodes.get(data["name"])
    if node is None:
        return  # a searcher that was still busy when the graph began anew
    node.state = data["state"]
    node.error, node.broken = data.get("error", ""), bool(data.get("broken"))
    if node.state == "running":
        begun = Node(node.name, node.content, node.kind, "running", started=at)
        state.graph.nodes[node.name] = begun
    elif node.state in ("finished", "failed", "cancelled"):
        node.ended = at


def _of_node(key: str, *, add: bool = False) -> Callable[[RunState, dict[str, Any], float], None]:
    """A change of one field of a node: set, or added to a list."""

    def change(state: RunState, data: dict[str, Any], _: float) -> None:
        node = state.graph.nodes.get(data["name"])
        if node is not None and add:
            getattr(node, key).append({name: value for name, value in data.items() if name != "name"})
        elif node is not None:
            setattr(node, key, data[key])

    return change


def _draft(state: RunState, data: dict[str, Any], _: float) -> None:
    if data["name"] in state.graph.nodes:
        state.graph.nodes[data["name"]].draft += data["text"]


def _reused(state: RunState, data: dict[str, Any], _: float) -> None:
    node = state.graph.nodes.get(data["name"])
    if node is not None:
        node.reused = data["question"]


def _node_answer(state: RunState, data: dict[str, Any], _: float) -> None:
    node = state.graph.nodes.get(data["name"])
    if node is not None:
        node.answer, node.bad_citations = data["text"], data.get("bad_citations", 0)
        node.quotes = data.get("quotes", {})


def _refs(state: RunState, data: dict[str, Any], _: float) -> None:
    state.refs |= {int(number): ref for number, ref in data["added"].items()}


def _answer_delta(state: RunState, data: dict[str, Any], at: float) -> None:
    state.answer += data["text"]
    _end_is(state, "running", at)


def _answer_reset(state: RunState, _: dict[str, Any], __: float) -> None:
    state.answer = ""


def _step_begun(state: RunState, data: dict[str, Any], _: float) -> None:
    state.busy[f"{data['step']} {data['key']}"] = None


def _step(state: RunState, data: dict[str, Any], at: float) -> None:
    name = f"{data['step']} {data['key']}"
    if name not in state.steps or has_failed(state.steps[name]):
        state.steps[name], state.ended[name] = data, at
    state.busy.pop(name, None)


def has_failed(step: Mapping[str, Any]) -> bool:
    """Whether a step's search did not come through, also in one of its sources, or its page could not be had."""
    output = step["output"]
    of_source = step["step"] in ("search", "read") and isinstance(output, dict)
    return of_source and bool(output.get("error") or output.get("failed"))


def _value(state: RunState, data: dict[str, Any], _: float) -> None:
    state.values[data["name"]] = data


def _chosen(state: RunState, data: dict[str, Any], _: float) -> None:
    state.plan = data


def _brief(state: RunState, data: dict[str, Any], _: float) -> None:
    state.brief = data


def _source(state: RunState, data: dict[str, Any], _: float) -> None:
    state.sources[data["key"]] = data


def _evidence(state: RunState, data: dict[str, Any], _: float) -> None:
    state.evidence[data["key"]] = data


def _memory(state: RunState, data: dict[str, Any], _: float) -> None:
    state.memory[data["name"]] = data


def _edit(state: RunState, data: dict[str, Any], _: float) -> None:
    state.edits.append(data)


def _written_draft(state: RunState, data: dict[str, Any], _: float) -> None:
    state.drafts.append(data)


def _claim(state: RunState, data: dict[str, Any], _: float) -> None:
    state.claims.append(data)


def _report(state: RunState, data: dict[str, Any], _: float) -> None:
    state.report = data["ledger"]


def _usage(state: RunState, data: dict[str, Any], _: float) -> None:
    state.usage = data


def _error(state: RunState, data: dict[str, Any], _: float) -> None:
    if "source" not in data:
        state.errors.append(data["message"])
    elif data.get("name") in state.graph.nodes:
        state.graph.nodes[data["name"]].unsearched[data["source"]] = data["message"]


def _done(state: RunState, data: dict[str, Any], at: float) -> None:
    state.done = data
    _end_is(state, "cancelled" if data.get("stopped_by") else "finished", at)


_CHANGES: dict[str, Callable[[RunState, dict[str, Any], float], None]] = {
    "run": _run,
    "plan.delta": _plan_delta,
    "plan.turn": _plan_turn,
    "plan.observation": _observation,
    "graph.reset": _reset,
    "graph.node": _node,
    "graph.edge": _edge,
    "node.state": _node_state,
    "node.queries": _of_node("queries"),
    "node.results": _of_node("results"),
    "node.selected": _of_node("selected"),
    "node.page": _of_node("pages", add=True),
    "answer.node.delta": _draft,
    "node.reused": _reused,
    "node.answer": _node_answer,
    "refs": _refs,
    "answer.delta": _answer_delta,
    "answer.reset": _answer_reset,
    "step.begun": _step_begun,
    "step": _step,
    "node.value": _value,
    "plan.chosen": _chosen,
    "brief": _brief,
    "source": _source,
    "evidence": _evidence,
    "memory": _memory,
    "memory.edit": _edit,
    "draft": _written_draft,
    "claim": _claim,
    "report": _report,
    "usage": _usage,
    "error": _error,
    "done": _done,
}
