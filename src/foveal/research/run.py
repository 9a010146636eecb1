"""One run: plan, search, wait, plan again, answer; told event by event, stopped at any moment.

    run = Run(parts, question, …);  run.start()
    for event in run.log.follow(): …
    run.cancel()         # within a second nothing is asked of a model or fetched any more
    run.answer_now()     # no more searches: the answer is written from what was found

All that a run knows is its `RunState`, the fold of its own events: so a run that was killed goes on from its trace, and
a node that a person changed is searched anew with only those that build on it.
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from foveal.errors import Cancelled, FetchFailed, FovealError, InputError
from foveal.models.chat import Cancel, ChatModel, Message
from foveal.research.answers import Researched, researched
from foveal.research.board import Keeps, today
from foveal.research.budget import Budget, Meter, Metered
from foveal.research.citations import References
from foveal.research.events import EventLog
from foveal.research.hunt import Hunt
from foveal.research.pages import PageReader
from foveal.research.plans import Planner
from foveal.research.prompts import NOTHING, Problem
from foveal.research.reuse import Memory
from foveal.research.running import Running, told_of
from foveal.research.scheduling import Scheduler
from foveal.research.searcher import MakeSearcher, Searcher, SearchSettings, Summary, Tell
from foveal.research.sources import Source
from foveal.research.writing import Writer

LEAVE_S = 0.5
"""How long a stopped run waits for its searchers to notice."""

logger = logging.getLogger("foveal.research.run")


@dataclass(frozen=True, kw_only=True)
class RunLimits:
    """How far a run goes."""

    max_turns: int = 10  # of the planner
    max_nodes: int = 40  # sub-questions
    max_parallel: int = 10  # searchers at a time
    max_requests: int = 40  # searches and pages at a time, of all searchers together
    answer_tokens: int = 1024
    budget: Budget = field(default_factory=Budget)

    def __post_init__(self) -> None:
        """InputError: a value below 1."""
        if min(self.max_turns, self.max_nodes, self.max_parallel, self.max_requests) < 1 or self.answer_tokens < 16:
            raise InputError(f"{self} needs 1 turn, node, searcher and request, and 16 tokens of an answer, or more.")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a run is made of; `planner` makes one over the metered model."""

    model: ChatModel
    planner: Callable[[ChatModel], Planner]
    source: Source
    reader: PageReader
    memory: Memory | None = None  # of summaries that are used again
    limits: RunLimits = field(default_factory=RunLimits)
    search: SearchSettings = field(default_factory=SearchSettings)
    searcher: MakeSearcher = Searcher  # of model, source, reader, meter, pool of requests and settings
    settings: Mapping[str, Any] | None = None  # as the trace tells them


class Run(Running[Researched]):
    """One question on its way to an answer; runs share nothing but the parts they were given."""

    def __init__(
        self,
        parts: Parts,
        question: str,
        *,
        history: Sequence[Message] = (),
        log: EventLog | None = None,
        keepers: Sequence[Keeps] = (),
        edits: Mapping[str, str] | None = None,
        key: str | None = None,
    ) -> None:
        """`log` holds the events of a run that goes on; `edits` are new questions of its nodes; `key` names it."""
        super().__init__(question, log=log, keepers=keepers, key=key, thread="foveal-research")
        self.parts = parts
        self._history, self._edits = tuple(history), dict(edits or {})
        self._hunt, self._whole = Cancel(), Cancel()  # planner and searchers; all
        self.meter = Meter(parts.limits.budget, on_empty=self._budget_empty, before=self.board.state.usage)
        self._model = Metered(parts.model, self.meter)
        self._io = ThreadPoolExecutor(parts.limits.max_requests, thread_name_prefix="foveal-request")
        self._searcher = parts.searcher(self._model, parts.source, parts.reader, self.meter, self._io, parts.search)
        self._scheduler = Scheduler(self._work, parallel=parts.limits.max_parallel)
        self._search = Hunt(
            question=question,
            history=self._history,
            board=self.board,
            planner=parts.planner(self._model),
            scheduler=self._scheduler,
            meter=self.meter,
            cancel=self._hunt,
            stop=self._stop,
            max_turns=parts.limits.max_turns,
            max_nodes=parts.limits.max_nodes,
        )
        self._writer = Writer(
            question=question,
            board=self.board,
            model=self._model,
            cancel=self._whole,
            tokens=parts.limits.answer_tokens,
            plain=parts.search.plain,
        )

    # -- for who asked ------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop everything; the answer is what was found so far, as the searchers wrote it."""
        self._stop("cancelled")

    def answer_now(self) -> None:
        """Stop searching, and write the answer from what was found."""
        self._stop("asked")

    def _given(self) -> Researched:
        with self.board.lock:
            return researched(self.board.state)

    # -- the loop -----------------------------------------------------------------------------------------------------

    def _go(self) -> None:
        timer = self._timer()
        try:
            self._begin()
            given = self._search.go_on() if self._edits else self._search.run()
            self._settle()
            self._answer(given)
        except Cancelled:
            self._stop("cancelled" if self._whole.cancelled else "error")
            self._settle()
            self._writer.put(self.stopped_by)
        except FovealError as error:
            self._fail(error)
        except BaseException as error:  # a thread of its own: a panic of Rust, too, is told here or nowhere
            logger.exception("the run broke")
            self._fail(error)
        finally:
            if timer:
                timer.cancel()
            self._end()

    def _begin(self) -> None:
        parts = self.parts
        self._tell_begun(self._model, parts.source, parts.limits.budget, parts.settings or {}, self._history)
        for name, question in self._edits.items():
            self._edit(name, question)
        if self.meter.empty():
            self._stop("budget")

    def _edit(self, name: str, question: str) -> None:
        """Change a node's question; it and all that builds on it are stale."""
        self.board.tell("graph.node", name=name, content=question, kind="searcher", edited=True)
        stale = {name} | self.board.state.graph.descendants(name)
        for node in self.board.state.graph.searchers():
            if node.name in stale:
                self.board.tell("node.state", name=node.name, state="stale")

    # -- one node -----------------------------------------------------------------------------------------------------

    def _work(self, name: str) -> None:
        """Search one node, in a thread of the scheduler."""
        if self._hunt.cancelled:
            return
        tell = partial(self.board.tell, name=name)
        tell("node.state", state="running")
        try:
            summary = self._found_out(self._problem(name), tell)
        except Cancelled:
            tell("node.state", state="cancelled")
        except BaseException as error:  # one searcher's failure, a panic of Rust, too, is not the others'
            if not isinstance(error, FovealError):
                logger.exception("the searcher of %r broke", name)
            said = told_of(error, "The searcher")
            self.board.tell("error", where=name, message=said)
            tell("node.state", state="failed", error=said, broken=True)
        else:
            self._summarised(name, summary)

    def _found_out(self, problem: Problem, tell: Tell) -> Summary:
        """A node's summary: that of an earlier run, where one is remembered, or what a search finds."""
        memory = self.parts.memory
        recalled = memory.recall(problem) if memory else None
        if recalled is not None:
            tell("node.reused", question=recalled.question, at=recalled.at.isoformat())
            return recalled.summary
        summary = self._searcher.run(problem, tell, self._hunt)
        if memory and not summary.cut:
            memory.keep(problem, summary)
        return summary

    def _problem(self, name: str) -> Problem:
        graph = self.board.seen().graph
        parents = (graph.nodes[parent] for parent in graph.parents(name))
        before = tuple((one.content, one.answer or NOTHING) for one in parents if one.kind == "searcher")
        return Problem(root=self.question, question=graph.nodes[name].content, before=before, today=today())

    def _summarised(self, name: str, summary: Summary) -> None:
        """Number a summary's citations and tell of it; at once, so that numbers follow the order of the ends."""
        with self.board.lock:
            if name not in self.board.state.graph.nodes:
                return
            text, new, bad = References(self.board.state.refs).cite(summary.answer, summary.origins, name)
            if new:
                self.board.tell("refs", added={str(number): ref for number, ref in new.items()})
            quotes = References(self.board.state.refs).quotes(summary.answer, summary.origins)
            more = {"quotes": {str(number): held for number, held in quotes.items()}} if quotes else {}
            self.board.tell("node.answer", name=name, text=text, bad_citations=bad, **more)
            self.board.tell("usage", **self.meter.used())  # of a run that is killed before its turn ends, too
            broken = {"broken": True} if summary.broken else {}
            state = "failed" if summary.error else "cancelled" if summary.cut else "finished"
            self.board.tell("node.state", name=name, state=state, error=summary.error, **broken)

    def _answer(self, given: str | None) -> None:
        """Write the answer; `given` is the planner's own."""
        unable = self._whole.cancelled or self.stopped_by == "model" or self.meter.empty() in ("tokens", "seconds")
        if given and self._writer.direct(given):
            return
        if unable or not self.board.found() or not self._written():
            self._writer.put(self.stopped_by)

    def _written(self) -> bool:
        """Whether the model wrote the answer to its end; where its server broke off in the middle, at a second try."""
        try:
            try:
                return self._writer.write()
            except FetchFailed:
                if not self._writer.begun:
                    raise
            return self._writer.write()
        except (FetchFailed, InputError) as error:
            self.board.tell("error", where="answer", message=str(error))
            self._stop("model")
            return False

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _stop(self, reason: str) -> None:
        with self.board.lock:
            if self.stopped_by is None or reason == "cancelled":
                self.stopped_by = reason
        spent = reason == "budget" and self.meter.empty() in ("tokens", "seconds")
        if reason == "cancelled" or spent:
            self._whole.set()
        self._hunt.set()

    def _budget_empty(self) -> None:
        self._stop("budget")

    def _settle(self) -> None:
        """Begin nothing more, and call those nodes cancelled that did not come to their end."""
        busy = self._scheduler.busy()
        if self._hunt.cancelled:
            self._scheduler.stop()
            until = time.monotonic() + LEAVE_S
            self._scheduler.wait(busy, until=lambda: time.monotonic() > until)
        else:
            self._search.wait(self._search.names())
            self._scheduler.stop()
        for node in self.board.seen().graph.searchers():
            if node.state not in ("finished", "failed", "cancelled"):
                self.board.tell("node.state", name=node.name, state="cancelled")

    def _fail(self, error: BaseException) -> None:
        """The run ends with an error; where something was found, it is given all the same."""
        self._hunt.set()
        self._whole.set()
        self._settle()
        self.board.tell("error", where="run", message=told_of(error, "The run"))
        self.stopped_by = "error"
        if self.board.found():
            self._writer.put("error")
        else:
            self._failed(error)

    def _end(self) -> None:
        self._hunt.set()
        self._scheduler.stop()
        self._io.shutdown(wait=False, cancel_futures=True)
        with self.board.lock:
            nodes = self.board.state.graph.searchers()
            by_planner = not nodes and self.stopped_by is None and not self._writer.put_together
            found = any(node.answer for node in nodes) or by_planner
            self.board.tell("usage", **self.meter.used())
            self.board.tell(
                "done",
                stopped_by=self.stopped_by,
                bad_citations=self._writer.bad,
                found=found,
                put_together=self._writer.put_together,
            )
            self.board.close()
