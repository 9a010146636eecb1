"""One run of research as a job: what was asked, and the work that asks it, for an answer or for a report."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any

from foveal.errors import Cancelled, FovealError, InputError
from foveal.research.board import Board
from foveal.research.budget import Budget
from foveal.research.events import Event, EventLog
from foveal.research.report_runs import ReportAsk, ReportRun
from foveal.research.run import Run
from foveal.research.running import told_of
from foveal.research.runs import KeptRun
from foveal.research.scope import Said
from foveal.research.state import RunState
from foveal.web.answers import one_line
from foveal.web.job import Job

if TYPE_CHECKING:
    from foveal.models.chat import Message
    from foveal.research.runs import Keeper
    from foveal.web.research_desk import Desk
    from foveal.web.site import Site

TICK_S = 0.12
"""Seconds between two looks at a run: what watches it is woken as often, at most."""

LEAVE_S = 5.0
"""Seconds that a run has to end when the server is stopped."""


@dataclass(frozen=True)
class Asked:
    """What somebody wants to know, from where, for how much; `report`: that it is to be a report, and of what kind."""

    question: str
    sources: tuple[str, ...]
    budget: Budget = field(default_factory=Budget)
    history: tuple[Message, ...] = ()
    report: ReportAsk | None = None

    def options(self) -> dict[str, Any]:
        """As the database keeps them."""
        budget = {"tokens": self.budget.tokens, "seconds": self.budget.seconds, "pages": self.budget.pages}
        known = {"sources": list(self.sources), "budget": budget, "history": [dict(one) for one in self.history]}
        return known | (self.report.options() if self.report else {})

    @classmethod
    def of(cls, run: KeptRun) -> Asked:
        """As a run was asked; one of the command line has no budget here, and gets the site's."""
        history = tuple(run.options.get("history", ()))
        budget = Budget(**run.options.get("budget", {}))
        sources = tuple(run.options.get("sources") or ())
        return cls(run.question, sources, budget, history, ReportAsk.of(run.options))


@dataclass
class ResearchWork:
    """One run: what `jobs.Work` asks for."""

    key: str
    asked: Asked
    desk: Desk
    edits: dict[str, str]
    lane: str
    run: Run | ReportRun | None = None
    kind: str = "research"  # "" is not kept beyond this process
    again: bool = False  # another process began it
    said: Said | None = None  # to a run that waits
    after: int = 0  # the run's last event when this was asked for: an end of before is none of it

    @classmethod
    def remade(cls, site: Site, asked: Mapping[str, Any], result: Mapping[str, Any] | None) -> ResearchWork:  # noqa: ARG003
        """From what the database has of it. UnknownRun: the run was deleted."""
        desk = site.research
        run = desk.runs.get(asked["run"])
        said = Said.from_row(asked["said"]) if asked.get("said") else None
        return cls(
            run.key, Asked.of(run), desk, dict(asked["edits"]), desk.lane(run.owner), again=True, said=said,
            after=int(asked.get("after", 0)),
        )  # fmt: skip

    def to_row(self) -> Mapping[str, Any]:
        """What it takes to go on with it."""
        said = asdict(self.said) if self.said else None
        return {"run": self.key, "edits": self.edits, "said": said, "after": self.after}

    def result(self) -> Mapping[str, Any]:
        """Nothing: the run's events are kept."""
        return {}

    def check_here(self) -> None:
        """InputError: another process still holds the run, longer than its job. It is looked at again soon."""
        if self.desk.runs.get(self.key).status == "running":
            raise InputError("another process still writes this run; wait until it lets go, or was silent for long")

    def taken_over(self, job: Job) -> None:
        """This process goes on with it."""
        self.desk.taken_over(self.key, job)

    def answer_now(self) -> None:
        """No more searches."""
        if self.run is not None:
            self.run.answer_now()

    @property
    def title(self) -> str:
        """For people."""
        return f"Research: {one_line(self.asked.question, 90)}"

    def page(self, key: str) -> str:  # noqa: ARG002
        """The run's own page."""
        return f"/research/{self.key}"

    def __call__(self, job: Job) -> None:
        """Run it to its end."""
        job.progressed(f"Making {self.desk.site.models.name} ready", now=True)
        if self.again and self._is_over(self.desk.runs.events(self.key)):
            return
        keeper = self.desk.runs.keep(self.key)
        events: Sequence[Event] = ()
        try:
            events = self.desk.runs.events(self.key)  # now that nobody else adds to them
            run = self._begun(job, events, keeper)
        except BaseException as error:
            self._note(Board(EventLog(events), [keeper]), error)
            raise
        self.run = run
        self._watched(job, run)

    def _is_over(self, events: Sequence[Event]) -> bool:
        """Whether the run came to its end before its process did; one that a stopping server broke off did not."""
        state = RunState.of(events)
        ended = state.done is not None and state.last > self.after
        return ended and state.done is not None and state.done.get("stopped_by") != "cancelled"

    def _begun(self, job: Job, events: Sequence[Event], keeper: Keeper) -> Run | ReportRun:
        """The run, on its way. Cancelled: the job was stopped meanwhile."""
        used = RunState.of(events).usage
        if self.asked.report is not None:
            reporter = self.desk.reporter(self.asked, replace(self.asked.report, said=self.said), used)
            job.cancel.check()
            if events:
                return reporter.go_on(events, keepers=[keeper])
            return reporter.start(self.asked.question, key=self.key, keepers=[keeper])
        search = self.desk.search(self.asked, used)
        job.cancel.check()
        if events:
            return search.go_on(events, edits=self.edits, keepers=[keeper])
        return search.start(self.asked.question, self.asked.history, key=self.key, keepers=[keeper])

    def _watched(self, job: Job, run: Run | ReportRun) -> None:
        """Wake who watches while there is more. Cancelled: the server is stopped."""
        after, begun, over = 0, 0, 0
        while run.log.more(after, TICK_S):
            if job.cancel.cancelled:
                run.cancel()
                run.join(LEAVE_S)
                raise Cancelled("The server was stopped.")
            new = run.log.so_far(after)
            after = max((event.id for event in new), default=after)
            begun += sum(event.kind in ("graph.node", "step.begun") for event in new)
            over += sum(event.kind in ("node.answer", "step") for event in new)
            job.progressed("Researching", min(over, begun), begun or None, now=True)
            time.sleep(TICK_S)
        run.join(LEAVE_S)
        if run.failure is not None:
            raise run.failure

    def _note(self, board: Board, error: BaseException) -> None:
        """Keep why a run did not begin."""
        if not board.state.run:
            board.tell("run", question=self.asked.question, run_id=self.key)
        if not isinstance(error, Cancelled):
            said = self.desk.site.told(error) if isinstance(error, FovealError) else told_of(error, "The run")
            board.tell("error", where="run", message=said)
        stopped = "cancelled" if isinstance(error, Cancelled) else "error"
        found = board.found()
        board.tell("done", stopped_by=stopped, bad_citations=0, found=found, put_together=True)
        board.close()
