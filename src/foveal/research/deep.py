"""Deep research: from a question to a report whose every sentence leads to stored evidence that bears it out.

    research = DeepResearch(model, source, encoder=encoder)
    report = research.report("How does vitamin D act on the immune system?", mode="normal")      # Report
    run = research.start("…", key=key, keepers=[keeper]); run.answer_now(); run.result()
    research.go_on(events, keepers=[keeper])                    # a run that was killed: nothing is paid for twice

Stages     scope (brief) -> plan and acquire (planning.py, desk.py) -> outline -> drafts -> checks -> report
Modes      quick: one round of searches, a short cited answer; normal: two rounds, what nothing bears out is searched
           for once more; deep: three rounds, conflicts are argued out, up to three drafts
Source     "Deep Research: A Systematic Survey" (arXiv 2512.02038), sections 2 and 3; see the modules for the parts
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foveal.errors import InputError, UnknownName
from foveal.models.chat import ChatModel, is_local, is_modest
from foveal.research.acquisition import FilterSettings
from foveal.research.board import Keeps
from foveal.research.budget import Budget
from foveal.research.checks import Checks, WordChecks
from foveal.research.deep_run import DeepRun, Parts
from foveal.research.deep_settings import DeepSettings
from foveal.research.desk import DeskSettings
from foveal.research.events import Event, EventLog
from foveal.research.experiment import Experiment
from foveal.research.memory import MemorySettings
from foveal.research.planning import NextQuery, PlanSettings, predicted
from foveal.research.plans import searchable
from foveal.research.report import Report
from foveal.research.report_parts import Brief
from foveal.research.running import finished
from foveal.research.scope import Said
from foveal.research.sources import Source, one_source
from foveal.research.state import RunState
from foveal.research.structure import StructureRules
from foveal.research.timing import timing_of
from foveal.types import Encoder, Ranker

EMBEDDED_CUT_OFF = 4.0
"""Where a passage's relevance is ten times the cosine of its best sentence: gpt-researcher drops below 0.35 or 0.42."""

MEMORY = MemorySettings(window=4096, most=400)
"""Of a run: its prose is compacted above 0.6 of the window, and the facts that are least used go above so many."""

PLANNERS = ("auto", "single", "parallel", "sequential", "names", "tree")
Ask = Callable[[Sequence[str]], Sequence[str] | None]
"""Clarifying questions -> an answer to each, or None to skip them."""


@dataclass(frozen=True, kw_only=True)
class Mode:
    """How thorough a run is."""

    stage: int  # of report.STAGES
    words: int
    breadth: int
    depth: int
    iterations: int
    kept: int  # passages of a sub-query
    hits: int  # pages of a query
    drafts: int
    mended: int = 0  # sentences that are searched for once more
    debate: bool = False


MODES: Mapping[str, Mode] = {
    "quick": Mode(stage=1, words=200, breadth=3, depth=1, iterations=2, kept=5, hits=3, drafts=1),
    "normal": Mode(stage=2, words=1200, breadth=3, depth=2, iterations=6, kept=10, hits=5, drafts=2, mended=3),
    "deep": Mode(
        stage=2, words=3000, breadth=3, depth=3, iterations=25, kept=20, hits=8, drafts=3, mended=8, debate=True
    ),
}


PLAIN_HITS = 2
"""Times as many pages for a small model: it does not read them itself, and finds less on the matter in each."""


def settings_of(mode: str, model: ChatModel, budget: Budget | None = None, **changes: Any) -> DeepSettings:
    """What a mode means for a model: a modest one is asked one thing at a time. UnknownName: no such mode."""
    if mode not in MODES:
        raise UnknownName(f"No mode is called {mode!r}. There are: {', '.join(MODES)}.")
    of, plain = MODES[mode], is_modest(model)
    structure = StructureRules(tokens=200, overlap=20) if plain else StructureRules()
    settings = DeepSettings(
        mode=mode, stage=of.stage, words=of.words, drafts=of.drafts, mended=of.mended, debate=of.debate, plain=plain,
        budget=budget or Budget(),
        plan=PlanSettings(breadth=of.breadth, depth=of.depth, iterations=of.iterations, plain=plain),
        choose=FilterSettings(kept=of.kept, by_model=not plain),
        desk=DeskSettings(hits=of.hits * (PLAIN_HITS if plain else 1), structure=structure), memory=MEMORY,
    )  # fmt: skip
    return replace(settings, **changes)


class DeepResearch:
    """Writes reports from a source, or several. One object runs any number of questions, also at once."""

    def __init__(
        self,
        model: ChatModel,
        source: Source | Sequence[Source],
        *,
        encoder: Encoder | None = None,
        checks: Checks | None = None,
        ranker: Ranker | None = None,
        taught: NextQuery | None = None,
        remember: bool = True,
        denied: Sequence[str] = (),
    ) -> None:
        """`encoder` compares texts by meaning (default: by their words); `checks` says what is borne out (default: by
        words); `ranker` orders passages; `taught` is a trained planner, for the sequential one; `remember`: whether
        runs that begin keep a memory of what they read (memory_kept.py), which their prompts are told from; `denied`
        are hosts that nothing is read from.

        InputError: no source.
        """
        self.model = model
        self.source = one_source(source)
        self.encoder, self.ranker, self.taught, self.remember = encoder, ranker, taught, remember
        self.denied = tuple(denied)
        self.checks: Checks = checks or WordChecks()

    def report(
        self,
        question: str,
        *,
        mode: str = "normal",
        planner: str = "auto",
        timing: str = "always",
        budget: Budget | None = None,
        brief: Brief | None = None,
        ask: Ask | None = None,
        on_event: Callable[[Event], None] = lambda _: None,
    ) -> Report:
        """The report. A budget that is spent gives a partial one, whose `not_covered` says what is missing; where
        nothing is found, one without sections, with the queries that were tried.

        InputError: an empty question, or the timing attention with a model that is not on this machine. UnknownName: no
        such mode, planner or timing.
        """
        run = self.start(
            question,
            mode=mode,
            planner=planner,
            timing=timing,
            budget=budget,
            brief=brief,
            ask=ask,
        )
        return finished(run, on_event)

    def start(
        self,
        question: str,
        *,
        mode: str = "normal",
        planner: str = "auto",
        timing: str = "always",
        budget: Budget | None = None,
        brief: Brief | None = None,
        ask: Ask | None = None,
        attended: bool = False,
        settings: DeepSettings | None = None,
        experiment: Experiment | None = None,
        key: str | None = None,
        keepers: Sequence[Keeps] = (),
    ) -> DeepRun:
        """Begin a run that goes on whether or not anybody listens; `settings` stand in the place of a mode's,
        and an `experiment` is one that a person has read and approved. One that is `attended` stops to wait for a
        person (scope.asks says for what), who goes on with it."""
        question = searchable(question, self.model)
        settings = settings or settings_of(mode, self.model, budget)
        settings = settings if self.remember else replace(settings, memory=None)
        parts = self._parts(settings, planner, timing, experiment)
        return DeepRun(parts, question, brief=brief, ask=ask, attended=attended, key=key, keepers=keepers).start()

    def go_on(
        self,
        events: Sequence[Event],
        *,
        budget: Budget | None = None,
        said: Said | None = None,
        ask: Ask | None = None,
        keepers: Sequence[Keeps] = (),
    ) -> DeepRun:
        """Go on with a run from its events: as it was begun, but for the budget. To one that waits, `said` is what a
        person says; with `ask`, which puts its questions to them, it waits no more. InputError: not a report's run."""
        state = RunState.of(events)
        told = state.run.get("settings", {})
        if told.get("kind") != KIND:
            raise InputError("These are not the events of a report's run. Go on with it as `foveal research resume`.")
        settings = settings_of(told["mode"], self.model, budget or Budget(**state.run.get("budget", {})))
        remembers = bool(told.get("memory"))  # of runs before it had one: false, as they began
        kept = settings.memory if remembers else None
        settings = replace(settings, words=told["words"], mark=bool(told.get("mark")), memory=kept)
        experiment = Experiment.from_row(told["experiment"]) if told.get("experiment") else None
        parts = self._parts(settings, told["planner"], told["timing"], experiment)
        attended = bool(told.get("attended")) and ask is None
        brief = None
        if said is not None:
            attended, brief = attended and said != Said(), said.brief
            ask = (lambda _: said.answers) if said.answers is not None else None
        return DeepRun(
            parts, state.question, brief=brief, ask=ask, attended=attended, log=EventLog(events), keepers=keepers
        ).start()

    def expected(self, mode: str, planner: str, question: str) -> int:
        """How many searches a run will make, at most; for `auto`, of the planner that it would begin with."""
        from foveal.research.planning import choose

        plan = settings_of(mode, self.model).plan
        return predicted(choose(question, plain=plan.plain)[0] if planner == "auto" else planner, plan)

    def _parts(self, settings: DeepSettings, planner: str, timing: str, experiment: Experiment | None) -> Parts:
        if planner not in PLANNERS:
            raise UnknownName(f"No planner is called {planner!r}. There are: {', '.join(PLANNERS)}.")
        if timing_of(timing).name == "attention" and not is_local(self.model):
            raise InputError(
                f"{self.model.name} runs elsewhere, so that its attention cannot be seen. Take a model of this "
                "machine, or the timing confidence."
            )
        if settings.plain and self.encoder is not None:
            settings = replace(settings, choose=replace(settings.choose, cut_off=EMBEDDED_CUT_OFF))
        if self.denied:
            settings = replace(settings, desk=replace(settings.desk, denied=self.denied))
        return Parts(
            model=self.model, source=self.source, encoder=self.encoder, checks=self.checks, ranker=self.ranker,
            taught=self.taught, settings=settings, planner=planner, timing=timing, experiment=experiment,
        )  # fmt: skip


KIND = "report"
"""What the settings of a report's run are marked with."""


def report_of(state: RunState) -> Report:
    """The report of a run's events. InputError: it has none."""
    if state.report is None:
        raise InputError("This run has no report yet. Go on with it: foveal research resume.")
    return Report.of_ledger(state.report)
