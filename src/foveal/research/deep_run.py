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
import uuid
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, field, replace
from threading import Thread, Timer
from typing import Any

from foveal import faults
from foveal.errors import Cancelled, FetchFailed, FovealError, InputError
from foveal.models.chat import Cancel, ChatModel
from foveal.research.acquisition import Filter, FilterSettings
from foveal.research.board import Board, Keeps, today
from foveal.research.budget import Budget, Meter, Metered
from foveal.research.checks import Checks
from foveal.research.desk import Desk, DeskSettings
from foveal.research.events import EventLog
from foveal.research.experiment import Experiment, Outcome, review, run
from foveal.research.judging import Judge
from foveal.research.likeness import Likeness
from foveal.research.planning import Finding, NextQuery, PlanSettings, choose, parallel, predicted, sequential, single
from foveal.research.planning_tree import tree
from foveal.research.prompts import VERSION
from foveal.research.report import Brief, Report
from foveal.research.report_assembly import Assembly, answer_events
from foveal.research.scope import brief_of, clarifying
from foveal.research.sources import Source
from foveal.research.state import RunState
from foveal.research.steps import Steps, digest, used_by
from foveal.research.timing import timing_of
from foveal.types import Encoder, Ranker

logger = logging.getLogger("foveal.research.deep")


@dataclass(frozen=True, kw_only=True)
class DeepSettings:
    """How a question is researched; `deep.settings_of` makes those of a mode."""

    mode: str = "normal"
    stage: int = 2
    words: int = 1200
    drafts: int = 2
    mended: int = 3
    debate: bool = False
    mark: bool = False  # whether what nothing bears out stays in the report, marked
    plain: bool = False  # for a small model
    budget: Budget = field(default_factory=Budget)
    plan: PlanSettings = field(default_factory=PlanSettings)
    choose: FilterSettings = field(default_factory=FilterSettings)
    desk: DeskSettings = field(default_factory=DeskSettings)


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


class DeepRun:
    """One question on its way to a report; runs share nothing but the parts they were given."""

    def __init__(
        self,
        parts: Parts,
        question: str,
        *,
        brief: Brief | None = None,
        ask: Callable[[Sequence[str]], Sequence[str] | None] | None = None,
        log: EventLog | None = None,
        key: str | None = None,
        keepers: Sequence[Keeps] = (),
    ) -> None:
        """`brief` stands in the place of one that is written; `ask` puts clarifying questions to a person."""
        self.parts, self.question = parts, question
        self.board = Board(log or EventLog(), keepers)
        self.failure: Exception | None = None
        self.stopped_by: str | None = None
        self._key, self._given, self._ask = key or uuid.uuid4().hex, brief, ask
        self._cancel = Cancel()
        self.meter = Meter(parts.settings.budget, on_empty=self._spent, before=used_by(self.board))
        self.steps = Steps(self.board, Metered(parts.model, self.meter, self._cancel), self._cancel)
        self._desk: Desk | None = None
        self._made: Report | None = None
        self._enough = False
        self._thread = Thread(target=self._go, name="foveal-deep-research", daemon=True)

    # -- for who asked ------------------------------------------------------------------------------------------------

    @property
    def log(self) -> EventLog:
        """The events, to be followed."""
        return self.board.log

    @property
    def state(self) -> RunState:
        """What the events add up to; it changes while the run goes on."""
        return self.board.state

    def start(self) -> DeepRun:
        """Begin, in a thread of the run's own."""
        self._thread.start()
        return self

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

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds; whether it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def result(self, timeout: float | None = None) -> Report:
        """Wait for the end. FovealError: the run failed before anything was found. TimeoutError: it goes on."""
        if not self.join(timeout):
            raise TimeoutError("The run goes on.")
        if self.failure is not None:
            raise self.failure
        assert self._made is not None
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
        except FovealError as error:
            self._fail(error)
        except Exception as error:  # a thread of its own: what is not told here is told nowhere
            logger.exception("the run broke")
            self._fail(error)
        finally:
            if timer:
                timer.cancel()
            self.board.tell(
                "usage", **{name: self.meter.used()[name] for name in ("tokens", "calls", "pages", "seconds")}
            )
            found = self._made is not None and self._made.found
            self.board.tell("done", stopped_by=self.stopped_by, bad_citations=0, found=found, put_together=True)
            self.board.close()

    def _begin(self) -> None:
        settings, budget = self.parts.settings, self.parts.settings.budget
        told = {
            "kind": "report", "mode": settings.mode, "planner": self.parts.planner, "timing": self.parts.timing,
            "words": settings.words, "experiment": self.parts.experiment.to_row() if self.parts.experiment else None,
        }  # fmt: skip
        self.board.tell(
            "run", run_id=self.board.state.run.get("run_id") or self._key, question=self.question, history=[],
            model=self.parts.model.name, source=self.parts.source.name, settings=told, prompts=VERSION,
            budget={"tokens": budget.tokens, "seconds": budget.seconds, "pages": budget.pages},
        )  # fmt: skip
        if self.board.state.answer:
            self.board.tell("answer.reset")

    def _reported(self) -> Report:
        """The report: whole, or, where something stopped the run, what can be said of what was found."""
        try:
            brief = self._scoped()
        except Cancelled:
            brief = self._given or Brief(goal=self.question, words=self.parts.settings.words)
        desk = self._desk = self._at_desk(brief)
        desk.enough = self._enough
        assembly = Assembly(desk=desk, checks=self.parts.checks, settings=self.parts.settings)
        planner = self.parts.planner
        try:
            planner = self._hunted(desk, assembly)
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
        """The report with what the experiment gave, and a review of both; where the run was stopped, without."""
        planned = self.parts.experiment
        if planned is None or self._cancel.cancelled:
            return report
        key = digest(planned.to_row())
        row: Any = self.steps.once("experiment", key, lambda _: run(planned, approved=True).to_row())
        outcome, draft = Outcome(**row), report.to_markdown()

        def reviewed(model: ChatModel) -> Any:
            said = review(model, draft, outcome)
            return said.model_dump() if said is not None else None

        row = row | {"review": self.steps.once("reflect", f"review {key} {digest(draft)}", reviewed)}
        return replace(report, experiment=row)

    def _with_all(self, report: Report, desk: Desk, planner: str) -> Report:
        usage = self.steps.used()
        return replace(
            report, stage=3 if report.experiment else self.parts.settings.stage, mode=self.parts.settings.mode,
            planner=planner, timing=self.parts.timing, usage=usage, stopped_by=self.stopped_by,
            queries=tuple(desk.asked()),
            key=str(self.board.state.run["run_id"]), created_at=faults.now().isoformat(timespec="seconds"),
        )  # fmt: skip

    # -- scope --------------------------------------------------------------------------------------------------------

    def _scoped(self) -> Brief:
        """The brief that was given, or one that is written after at most one round of questions."""
        settings = self.parts.settings
        if self._given is not None:
            row: Any = self.steps.once("clarify", "given", lambda _: asdict(self._given))  # type: ignore[arg-type]
        else:
            asked = self.steps.once(
                "clarify", "questions", lambda model: clarifying(model, self.question, plain=settings.plain)
            )
            answers = self.steps.once("clarify", "answers", lambda _: self._answers(asked))
            row = self.steps.once("clarify", "brief", lambda model: asdict(
                brief_of(model, self.question, answers, words=settings.words, today=today(), plain=settings.plain)
            ))  # fmt: skip
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
        return Desk(
            question=self.question, brief=brief, plan=settings.plan, board=self.board, steps=self.steps,
            meter=self.meter, source=self.parts.source,
            chooser=Filter(Likeness(self.parts.encoder), settings.choose, self.parts.ranker),
            settings=settings.desk, timing=timing_of(self.parts.timing), taught=self.parts.taught, cancel=self._cancel,
        )  # fmt: skip

    def _hunted(self, desk: Desk, assembly: Assembly) -> str:
        """Search by the planner, and, by `auto`, by the tree once sources contradict each other; the planner's name."""
        name, why = (self.parts.planner, "It was asked for.") if self.parts.planner != "auto" else choose(self.question)
        self._tell_plan(name, why, desk)
        self._by(name, desk)
        if self.parts.planner == "auto" and name != "tree" and not desk.over() and self.parts.settings.stage > 1:
            against = assembly.conflicts()
            if against:
                why = f"{len(against)} pairs of sources contradict each other, so branches are weighed by their checks."
                self._tell_plan("tree", why, desk)
                self._by("tree", desk)
                name = f"{name}, then tree"
        if desk.over() and self.stopped_by is None and (desk.meter.empty() or self._is_short(desk)):
            self.stopped_by = "budget"
        return name

    def _is_short(self, desk: Desk) -> bool:
        """Whether the budget, not the plan, ended the search."""
        return len(desk.asked()) < desk.settings.searches and not desk.enough

    def _by(self, name: str, desk: Desk) -> list[Finding]:
        if name == "tree":
            return tree(desk, Judge(desk, self.parts.checks))
        planners = {"single": single, "parallel": parallel, "sequential": sequential}
        return planners[name](desk)

    def _tell_plan(self, name: str, why: str, desk: Desk) -> None:
        known = self.board.state.plan
        searches = min(predicted(name, desk.plan), desk.settings.searches)
        if (known.get("planner"), known.get("reason")) != (name, why):
            self.board.tell("plan.chosen", planner=name, reason=why, searches=searches)
        logger.info("planner %s: %s (%d searches at most)", name, why, searches)

    # -- ends ---------------------------------------------------------------------------------------------------------

    def _timer(self) -> Timer | None:
        left = self.meter.seconds_left
        if left is None:
            return None
        timer = Timer(left + 0.01, self.meter.tell)
        timer.daemon = True
        timer.start()
        return timer

    def _spent(self) -> None:
        """Tokens or seconds have run out: nothing is asked of a model any more."""
        self.stopped_by = self.stopped_by or "budget"
        self._cancel.set()

    def _fail(self, error: Exception) -> None:
        self.board.tell("error", where="run", message=str(error) or type(error).__name__)
        self.stopped_by = "error"
        self.failure = error if isinstance(error, (FovealError, InputError)) else InputError(str(error))
