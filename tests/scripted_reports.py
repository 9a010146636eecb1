"""A reporter for tests: tells the events of a small report, step by step, and can be held before any of them."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any, ClassVar

from reports import whole_report

from foveal.research.board import Board, Keeps
from foveal.research.events import Event, EventLog
from foveal.research.graph import ROOT
from foveal.research.report import Report
from foveal.research.report_runs import ReportAsk

STEPS = (("plan", "the question"), ("search", "sparse attention speed"), ("read", "Where to Look"), ("write", "Speed"))


class ScriptedRun:
    """A `ReportRun`: a thread that tells its steps; those that are over are not told again."""

    def __init__(self, reporter: ScriptedReporter, question: str, board: Board) -> None:
        self.reporter, self.question, self.board = reporter, question, board
        self.failure: Exception | None = None
        self.stopped_by: str | None = None
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._go, daemon=True)
        self._thread.start()

    @property
    def log(self) -> EventLog:
        return self.board.log

    def cancel(self) -> None:
        self.stopped_by = "cancelled"
        self._stop.set()

    def answer_now(self) -> None:
        self.stopped_by = "asked"
        self._stop.set()

    def join(self, timeout: float | None = None) -> bool:
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def _go(self) -> None:
        tell = self.board.tell
        tell("run", question=self.question, run_id="x", model="rules", source="library")
        tell("plan.chosen", planner="parallel", reason="the parts need nothing of each other", searches=9)
        if "fast" not in self.board.state.graph.nodes:
            tell("graph.node", name="fast", content="How fast is it?", kind="searcher")
            tell("graph.edge", id="a", source=ROOT, target="fast")
            tell("node.queries", name="fast", queries=["sparse attention speed"])
            tell("node.state", name="fast", state="finished")
        for kind, key in STEPS:
            if f"{kind} {key}" in self.board.state.steps:
                continue
            tell("step.begun", step=kind, key=key)
            self.reporter.begun.set()
            while kind in self.reporter.hold and not self.reporter.go.wait(0.01) and not self._stop.is_set():
                pass
            if self._stop.is_set():
                break
            tell("step", step=kind, key=key, output={}, tokens=10, calls=1, seconds=0.5)
            self.reporter.done.append(f"{kind} {key}")
        report = self.reporter.make(self.question)
        report = replace(report, stopped_by=self.stopped_by, question=self.question)
        tell("usage", tokens=40, calls=4, pages=1, seconds=2.0)
        if self.stopped_by != "cancelled":
            tell("report", ledger=report.ledger())
        tell("done", stopped_by=self.stopped_by, bad_citations=0, found=report.found, put_together=False)
        self.board.close()


class ScriptedDeep:
    """In the place of deep research: reports by `MADE`, in turn; its kind of report comes with `start`."""

    MADE: ClassVar[list[Report]] = []
    ASKED: ClassVar[list[tuple[str, dict[str, Any]]]] = []

    def __init__(self, *_: Any, encoder: Any, checks: Any, remember: bool, denied: Sequence[str]) -> None:  # noqa: ARG002
        self.encoder = encoder

    def start(self, question: str, *, key: str | None = None, keepers: Sequence[Keeps] = (), **wanted: Any) -> Any:
        self.ASKED.append((question, wanted))
        return ScriptedReporter(lambda _: self.MADE.pop(0)).start(question, key=key, keepers=keepers)


@dataclass
class ScriptedReporter:
    """A `Reporter`, and what makes one: `hold` are kinds of steps that wait for `go`."""

    make: Callable[[str], Report] = field(default=lambda _: whole_report())
    hold: tuple[str, ...] = ()
    go: threading.Event = field(default_factory=threading.Event)
    begun: threading.Event = field(default_factory=threading.Event)
    asked: list[tuple[ReportAsk, Any, tuple[str, ...]]] = field(default_factory=list)
    done: list[str] = field(default_factory=list)
    keys: list[str | None] = field(default_factory=list)

    def __call__(self, _: Any, sources: Sequence[Any], ask: ReportAsk, budget: Any, __: Any) -> ScriptedReporter:
        self.asked.append((ask, budget, tuple(one.name for one in sources)))
        return self

    def start(self, question: str, *, key: str | None = None, keepers: Sequence[Keeps] = ()) -> ScriptedRun:
        self.keys.append(key)
        return ScriptedRun(self, question, Board(EventLog(), keepers))

    def go_on(self, events: Sequence[Event], *, keepers: Sequence[Keeps] = ()) -> ScriptedRun:
        board = Board(EventLog(events), keepers)
        return ScriptedRun(self, board.state.question, board)
