"""One run of deep research: scope, plan, acquire, outline, draft, check, report; told event by event, and stoppable.

    run = DeepRun(parts, question).start()
    for event in run.log.follow(): …
    run.answer_now()        # no more searches: the report is written from what was found
    run.cancel()            # put together without a model

Whoever stops it, a report comes: what is missing stands under "Not covered". The run is a program over steps
(steps.py): a second run of the same events does what is left of it.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from typing import Any

from foveal import faults
from foveal.errors import Cancelled, FetchFailed, FovealError, InputError
from foveal.models.chat import Cancel, ChatModel
from foveal.research.acquisition import Filter
from foveal.research.board import Keeps, today
from foveal.research.budget import Meter, Metered
from foveal.research.checks import Checks
from foveal.research.deep_settings import DeepSettings
from foveal.research.desk import Desk
from foveal.research.events import EventLog
from foveal.research.experiment import Experiment, Outcome, review, run
from foveal.research.graph import OVER
from foveal.research.judging import Judge
from foveal.research.likeness import Likeness
from foveal.research.memory_kept import KeptMemory
from foveal.research.outline import uncovered
from foveal.research.planning import (
    LONGEST,
    Finding,
    NextQuery,
    SubQuery,
    choose,
    parallel,
    predicted,
    sequential,
    single,
)
from foveal.research.planning_names import by_names
from foveal.research.planning_tree import tree
from foveal.research.report import Report
from foveal.research.report_assembly import Assembly, answer_events
from foveal.research.report_parts import Brief
from foveal.research.running import Running, told_of
from foveal.research.scope import WAITS, brief_of, clarifying
from foveal.research.sources import Source
from foveal.research.steps import Steps, digest, used_by
from foveal.research.timing import timing_of
from foveal.types import Encoder, Ranker

logger = logging.getLogger("foveal.research.deep")


@dataclass(frozen=True, kw_only=True)
class Parts:
    """What a run is made of."""

    model: ChatModel
    source: Source
    encoder: Encoder | None
    checks: Checks
    ranker: Ranker | None
    taught: NextQuery | None
    settings: DeepSettings
    planner: str
    timing: str
    experiment: Experiment | None = None  # that a person approved


class _Waits(Exception):
    """The run has asked something, and goes on once there is an answer."""


class DeepRun(Running[Report]):
    """One question on its way to a report; runs share nothing but the parts they were given."""

    def __init__(
        self,
        parts: Parts,
        question: str,
        *,
        brief: Brief | None = None,
        ask: Callable[[Sequence[str]], Sequence[str] | None] | None = None,
        attended: bool = False,
        log: EventLog | None = None,
        key: str | None = None,
        keepers: Sequence[Keeps] = (),
    ) -> None:
        """`brief` stands in the place of one that is written; `ask` puts clarifying questions to a person; `attended`:
        the run ends as one that waits when it has questions and nothing puts them, and when its brief is drafted.
        """
        super().__init__(question, log=log, keepers=keepers, key=key, thread="foveal-deep-research")
        self.parts, self._brief, self._ask, self._attended = parts, brief, ask, attended
        self._cancel = Cancel()
        self.meter = Meter(parts.settings.budget, on_empty=self._spent, before=used_by(self.board))
        self.steps = Steps(self.board, Metered(parts.model, self.meter, self._cancel), self._cancel)
        self._desk: Desk | None = None
        self._made: Report | None = None
        self._enough = False

    # -- for who asked ------------------------------------------------------------------------------------------------

    def cancel(self) -> None:
        """Stop everything; the report is put together from what was found, without a model."""
        self.stopped_by = "cancelled"
        self._cancel.set()

    def answer_now(self) -> None:
        """Search no more, and write."""
        self.stopped_by = self.stopped_by or "asked"
        self._enough = True
        if self._desk is not None:
            self._desk.enough = True

    def _given(self) -> Report:
        if self._made is None:
            raise InputError("This run waits for answers, or for its brief to be looked over. Go on with it.")
        return self._made

    # -- the run ------------------------------------------------------------------------------------------------------

    def _go(self) -> None:
        timer = self._timer()
        try:
            self._begin()
            self._made = self._reported()
            for kind, data in answer_events(self._made):
                self.board.tell(kind, **data)
            self.board.tell("report", ledger=self._made.ledger())
        except _Waits:
            self.stopped_by = WAITS
        except FovealError as error:
            self._fail(error)
        except BaseException as error:  # a thread of its own: a panic of Rust, too, is told here or nowhere
            logger.exception("the run broke")
            self._fail(error)
        finally:
            if timer:
                timer.cancel()
            for node in self.board.seen().graph.searchers():
                if node.state not in OVER:
                    self.board.tell("node.state", name=node.name, state="cancelled")
            self.board.tell(
                "usage", **{name: self.meter.used()[name] for name in ("tokens", "calls", "pages", "seconds")}
            )
            found = self._made is not None and self._made.found
            self.board.tell("done", stopped_by=self.stopped_by, bad_citations=0, found=found, put_together=True)
            self.board.close()

    def _begin(self) -> None:
        settings = self.parts.settings
        told = {
            "kind": "report", "mode": settings.mode, "planner": self.parts.planner, "timing": self.parts.timing,
            "words": settings.words, "mark": settings.mark, "memory": settings.memory is not None,
            "experiment": self.parts.experiment.to_row() if self.parts.experiment else None,
            "attended": self._attended,
        }  # fmt: skip
        self._tell_begun(self.parts.model, self.parts.source, settings.budget, told)

    def _reported(self) -> Report:
        """The report: whole, or, where something stopped the run, what can be said of what was found."""
        try:
            brief = self._scoped()
        except Cancelled:
            brief = self._brief or Brief(goal=self.question, words=self.parts.settings.words)
        desk = self._desk = self._at_desk(brief)
        desk.enough = self._enough
        assembly = Assembly(desk=desk, checks=self.parts.checks, settings=self.parts.settings)
        planner = self.parts.planner
        try:
            planner = self._hunted(desk, assembly)
            if desk.failed and not desk.evidence and len(desk.failed) == len(desk.findings):
                raise FetchFailed(f"No search came through. {next(iter(desk.failed.values()))}")
            whole = bool(desk.evidence) and not self._cancel.cancelled
            written = assembly.written() if whole else assembly.put_together()
        except (Cancelled, FetchFailed) as error:
            if isinstance(error, FetchFailed):
                if not desk.evidence:
                    raise
                self.board.tell("error", where="report", message=str(error))
                self.stopped_by = self.stopped_by or "model"
            self.stopped_by = self.stopped_by or "budget"
            written = assembly.put_together()
        return self._with_all(self._with_experiment(written), desk, planner)

    def _with_experiment(self, report: Report) -> Report:
        """The report with what the experiment gave, and a review of both; where the run is stopped, with what of that
        was done."""
        planned = self.parts.experiment
        if planned is None or self._cancel.cancelled:
            return report
        key = digest(planned.to_row())
        try:
            row: Any = self.steps.once(
                "experiment", key, lambda _: run(planned, approved=True, cancel=self._cancel).to_row()
            )
            outcome, draft = Outcome(**row), report.to_markdown()
            report = replace(report, experiment=row)

            def reviewed(model: ChatModel) -> Any:
                said = review(model, draft, outcome)
                return said.model_dump() if said is not None else None

            row = row | {"review": self.steps.once("reflect", f"review {key} {digest(draft)}", reviewed)}
            return replace(report, experiment=row)
        except Cancelled:
            self.stopped_by = self.stopped_by or "budget"
            return report
        except FetchFailed as error:  # of the reviewer's model: the report and the experiment are there
            self.board.tell("error", where="review", message=str(error))
            self.stopped_by = self.stopped_by or "model"
            return report

    def _with_all(self, report: Report, desk: Desk, planner: str) -> Report:
        usage = self.steps.used()
        return replace(
            report, stage=3 if report.experiment else self.parts.settings.stage, mode=self.parts.settings.mode,
            planner=planner, timing=self.parts.timing, usage=usage, stopped_by=self.stopped_by,
            queries=tuple(desk.tried()),
            key=str(self.board.state.run["run_id"]), created_at=faults.now().isoformat(timespec="seconds"),
        )  # fmt: skip

    # -- scope --------------------------------------------------------------------------------------------------------

    def _scoped(self) -> Brief:
        """The brief that was given, or one that is written after at most one round of questions; of a run that goes
        on, the one it had."""
        settings = self.parts.settings
        if self.board.state.brief:
            return Brief.from_row(self.board.state.brief)
        if self._brief is not None or self.steps.is_done("clarify", "given"):
            row: Any = self.steps.once("clarify", "given", lambda _: asdict(self._brief))  # type: ignore[arg-type]
        else:
            asked = self.steps.once(
                "clarify", "questions", lambda model: clarifying(model, self.question, plain=settings.plain)
            )
            if asked and self._attended and self._ask is None and not self.steps.is_done("clarify", "answers"):
                raise _Waits
            answers = self.steps.once("clarify", "answers", lambda _: self._answers(asked))
            row = self.steps.once("clarify", "brief", lambda model: asdict(
                brief_of(model, self.question, answers, words=settings.words, today=today(), plain=settings.plain)
            ))  # fmt: skip
            if self._attended:
                raise _Waits
        if not self.board.state.brief:
            self.board.tell("brief", **row)
        return Brief.from_row(row)

    def _answers(self, asked: Sequence[str]) -> dict[str, str]:
        """What the person answers; nothing where nobody is there, or wants to."""
        answers = self._ask(asked) if asked and self._ask is not None else None
        return {question: answer for question, answer in zip(asked, answers or (), strict=False) if answer.strip()}

    # -- search -------------------------------------------------------------------------------------------------------

    def _at_desk(self, brief: Brief) -> Desk:
        settings = self.parts.settings
        desk = Desk(
            question=self.question, brief=brief, plan=settings.plan, board=self.board, steps=self.steps,
            meter=self.meter, source=self.parts.source,
            chooser=Filter(Likeness(self.parts.encoder), settings.choose, self.parts.ranker),
            settings=settings.desk, timing=timing_of(self.parts.timing), taught=self.parts.taught, cancel=self._cancel,
        )  # fmt: skip
        if settings.memory is not None:
            desk.memory = KeptMemory(
                desk.once, self.board, count=self.parts.model.count_tokens, settings=settings.memory,
                encoder=self.parts.encoder,
            )  # fmt: skip
        return desk

    def _hunted(self, desk: Desk, assembly: Assembly) -> str:
        """Search by the planner, and, by `auto`, by the tree once sources contradict each other; the planner's name."""
        name, why = self.parts.planner, "It was asked for."
        if name == "auto":
            name, why = choose(self.question, plain=desk.plan.plain and desk.taught is None)
        self._tell_plan(name, why, desk)
        self._by(name, desk)
        self._cover(desk)
        stopped = desk.enough or self._cancel.cancelled
        if self.parts.planner == "auto" and name != "tree" and not stopped and self.parts.settings.stage > 1:
            against = assembly.conflicts()
            if against and not desk.over():
                why = f"{len(against)} pairs of sources contradict each other, so branches are weighed by their checks."
                self._tell_plan("tree", why, desk)
                self._by("tree", desk)
                name = f"{name}, then tree"
        wanting = desk.cut or desk.meter.short_of_pages  # a plan that came to its end lacks nothing, whatever is left
        if wanting and self.stopped_by is None and (desk.meter.empty() or self._is_short(desk)):
            self.stopped_by = "budget"
        return name

    def _cover(self, desk: Desk) -> None:
        """Search for what a person's brief must cover and no search was for: of a small model no plan knows of it."""
        goals = [f"{one.sub.query} {one.sub.goal}" for one in desk.findings]
        missing = uncovered(self._points(desk), goals, desk.likeness)
        if missing and not desk.over():
            desk.research([SubQuery(f"{point} {self.question}"[:LONGEST], point) for point in missing])

    def _points(self, desk: Desk) -> Sequence[str]:
        return desk.brief.must_cover if self.steps.is_done("clarify", "given") else ()

    def _is_short(self, desk: Desk) -> bool:
        """Whether the budget, not the plan, ended the search."""
        return len(desk.asked()) < desk.settings.searches and not desk.enough

    def _by(self, name: str, desk: Desk) -> list[Finding]:
        if name == "tree":
            return tree(desk, Judge(desk, self.parts.checks))
        planners = {"single": single, "parallel": parallel, "sequential": sequential, "names": by_names}
        return planners[name](desk)

    def _tell_plan(self, name: str, why: str, desk: Desk) -> None:
        known = self.board.state.plan
        searches = min(predicted(name, desk.plan) + len(self._points(desk)), desk.settings.searches)
        if (known.get("planner"), known.get("reason")) != (name, why):
            self.board.tell("plan.chosen", planner=name, reason=why, searches=searches)
        logger.info("planner %s: %s (%d searches at most)", name, why, searches)

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _spent(self) -> None:
        """Tokens or seconds have run out: nothing is asked of a model any more."""
        self.stopped_by = self.stopped_by or "budget"
        self._cancel.set()

    def _fail(self, error: BaseException) -> None:
        self.board.tell("error", where="run", message=told_of(error, "The run"))
        self.stopped_by = "error"
        self._failed(error)
