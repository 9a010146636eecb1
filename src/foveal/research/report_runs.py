"""How a report is asked for, and what its run looks like to who watches: pages, the watch, the command line.

    reporter = reporter_of(chat, sources, ReportAsk(mode="quick"), Budget(seconds=300), settings)
    run = reporter.start("How fast …?", key=key, keepers=[keeper])
    report_of(RunState.of(run.log.so_far()))          # None while there is none yet
    progress_of(run.log.so_far()).steps               # what is done, and what is being done

`reporter_of` is the one place that knows the entry point of deep research; everything above takes a `Reporter`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from typing import TYPE_CHECKING, Any, Protocol

from foveal.errors import InputError
from foveal.research.budget import Budget
from foveal.research.events import Event, EventLog
from foveal.research.report import Report
from foveal.research.report_parts import Brief
from foveal.research.scope import Said
from foveal.research.state import RunState

if TYPE_CHECKING:
    from foveal.models.chat import ChatModel
    from foveal.research.board import Keeps
    from foveal.research.sources import Source
    from foveal.settings import Settings

MODES = {
    "quick": "Quick: about 200 words",
    "normal": "Normal: about 1,200 words",
    "deep": "Deep: about 3,000 words",
}
PLANNERS = {
    "auto": "As the question asks for",
    "single": "One search, as it is asked",
    "parallel": "All sub-questions at once",
    "sequential": "One search after the other",
    "names": "The question, then the names that it finds",
    "tree": "Several ways, the best followed",
}
"""Names as the entry point takes them, and what people are told."""

STEPS = {
    "clarify": "Clarifying",
    "plan": "Planning",
    "search": "Searching",
    "read": "Reading",
    "note": "Taking notes",
    "reflect": "Thinking it over",
    "write": "Writing",
    "verify": "Checking",
    "experiment": "Experimenting",
}
"""Kinds of steps, for people."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ReportAsk:
    """What kind of report is wanted. InputError: no such mode or planner."""

    mode: str = "normal"
    planner: str = "auto"
    attended: bool = False  # who asked is asked back, and looks over the brief
    brief: Brief | None = None  # in the place of one that is written
    said: Said | None = None  # what they said to a run that waits; no option of it

    @classmethod
    def of(cls, options: Mapping[str, Any]) -> ReportAsk | None:
        """As the options of a kept run say; None: no report was asked for. A trained planner is one of its kind."""
        if not options.get("report"):
            return None
        planner, brief = str(options.get("planner") or "auto"), options.get("brief")
        return cls(
            mode=str(options.get("mode") or "normal"),
            planner=planner if planner in PLANNERS else "sequential",
            attended=bool(options.get("attended")),
            brief=Brief.from_row(brief) if brief else None,
        )

    def options(self) -> dict[str, Any]:
        """As a run's options keep them."""
        brief = {"brief": asdict(self.brief)} if self.brief else {}
        return {"report": True, "mode": self.mode, "planner": self.planner, "attended": self.attended} | brief

    def __post_init__(self) -> None:
        for what, given, known in (("mode", self.mode, MODES), ("planner", self.planner, PLANNERS)):
            if given not in known:
                raise InputError(f"No {what} of a report is called {given[:40]!r}. There are: {', '.join(known)}.")


class ReportRun(Protocol):
    """A report on its way."""

    failure: Exception | None

    @property
    def log(self) -> EventLog:
        """Its events, to be followed."""
        ...

    def cancel(self) -> None:
        """Stop everything."""
        ...

    def answer_now(self) -> None:
        """Stop searching, and write from what was found."""
        ...

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end; whether it has come."""
        ...


class Reporter(Protocol):
    """Begins reports of one kind."""

    def start(self, question: str, *, key: str | None = None, keepers: Sequence[Keeps] = ()) -> ReportRun:
        """Begin one. InputError: it cannot be asked so."""
        ...

    def go_on(self, events: Sequence[Event], *, keepers: Sequence[Keeps] = ()) -> ReportRun:
        """Go on with one; a step that is over is not done again."""
        ...


MakeReporter = Callable[["ChatModel", Sequence["Source"], ReportAsk, Budget, "Settings"], Reporter]


@dataclass(frozen=True)
class DeepReporter:
    """Deep research, with what one kind of report needs of it."""

    research: Any
    ask: ReportAsk
    budget: Budget

    def start(self, question: str, *, key: str | None = None, keepers: Sequence[Keeps] = ()) -> ReportRun:
        """Begin a report."""
        wanted = {"mode": self.ask.mode, "planner": self.ask.planner, "budget": self.budget}
        wanted |= {"attended": self.ask.attended, "brief": self.ask.brief}
        run: ReportRun = self.research.start(question, key=key, keepers=keepers, **wanted)
        return run

    def go_on(self, events: Sequence[Event], *, keepers: Sequence[Keeps] = ()) -> ReportRun:
        """Go on with one."""
        said = self.ask.said or (Said(brief=self.ask.brief) if self.ask.brief else None)
        run: ReportRun = self.research.go_on(events, budget=self.budget, said=said, keepers=keepers)
        return run


def reporter_of(
    chat: ChatModel, sources: Sequence[Source], ask: ReportAsk, budget: Budget, settings: Settings
) -> Reporter:
    """Deep research over a model and sources, within a budget; texts are compared by the encoder of the home."""
    from foveal.models import load_encoder
    from foveal.research.deep import DeepResearch
    from foveal.research.settings import load_research
    from foveal.research.verification import Verifier

    encoder = load_encoder(settings.encoder, cache=settings.cache) if settings.encoder != "none" else None
    own = load_research(settings)
    research = DeepResearch(
        chat, sources, encoder=encoder, checks=Verifier(encoder), remember=own.memory, denied=own.hosts
    )
    return DeepReporter(research, ask, budget)


def report_of(state: RunState) -> Report | None:
    """The report of a run, None where there is none (yet)."""
    return Report.of_ledger(state.report) if state.report else None


@dataclass(frozen=True, slots=True)
class StepShown:
    """A step: its kind for people, what it is about, whether it is over, and how long it took."""

    kind: str
    about: str
    over: bool
    seconds: float = 0.0


@dataclass(frozen=True)
class Progress:
    """How far a run is: its steps in the order in which they began."""

    steps: tuple[StepShown, ...] = ()
    plan: Mapping[str, Any] = field(default_factory=dict)
    sources: int = 0
    evidence: int = 0
    drafts: tuple[Mapping[str, Any], ...] = ()

    @property
    def now(self) -> str:
        """What is being done, in a few words."""
        busy = [one.kind for one in self.steps if not one.over]
        return busy[-1] if busy else ("Going on" if self.steps else "Getting ready")

    @property
    def over(self) -> int:
        """Steps that are over."""
        return sum(one.over for one in self.steps)


def progress_of(events: Iterable[Event]) -> Progress:
    """How far a run's events say that it is."""
    steps: dict[tuple[str, str], StepShown] = {}
    state = RunState()
    for event in events:
        state.apply(event)
        if event.kind not in ("step.begun", "step"):
            continue
        name = (str(event.data["step"]), str(event.data["key"]))
        shown = steps.setdefault(name, StepShown(STEPS.get(name[0], name[0]), _about(name[1]), over=False))
        if event.kind == "step":
            steps[name] = replace(shown, over=True, seconds=float(event.data.get("seconds", 0.0)))
    return Progress(tuple(steps.values()), state.plan, len(state.sources), len(state.evidence), tuple(state.drafts))


def _about(key: str) -> str:
    """What of a step's key is for people: of "query | address" what is read, and no hash at its end."""
    return re.sub(r"\s[0-9a-f]{12}$", "", key.rpartition(" | ")[2])
