"""MindSearch: a question taken apart into a graph of searches that run side by side, and answered with citations.

Source    "MindSearch: Mimicking Human Minds Elicits Deep AI Searcher" (Chen et al., arXiv 2407.20183; ICLR 2025)
Roles     a planner owns the graph and never sees a page; a searcher sees the pages of one sub-question and never the
          graph. Only cited summaries travel between them
Differs   from the reference code: programs of the planner are read, never executed; a searcher gets its parents'
          answers; a child starts when its own parents end; numbers of citations never change; long pages are read by
          what the question needs of them, not cut at their head; a run is its events, so it resumes and replays

    search = MindSearch(model, source)
    search.ask("Who taught the architect of the Orra mill?")            # Researched
    for event in search.stream("…"): …                                  # as it happens
    run = search.start("…"); run.answer_now(); run.result()
    replay("run.jsonl").to_markdown()                                   # without model or network
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Generator, Mapping, Sequence
from dataclasses import asdict, dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

from foveal.errors import InputError
from foveal.models.chat import ChatModel, Message, is_modest
from foveal.research.answers import Researched, researched
from foveal.research.board import Keeps
from foveal.research.budget import Budget
from foveal.research.events import Event, EventLog
from foveal.research.graph import Graph
from foveal.research.pages import AttentionReading, BestPassages, PageReader
from foveal.research.plan_code import CodePlanner
from foveal.research.plan_json import JsonPlanner
from foveal.research.plan_names import NamesPlanner
from foveal.research.plans import LONGEST_QUESTION, Planner, searchable
from foveal.research.reuse import Memory
from foveal.research.run import Parts, Run, RunLimits
from foveal.research.running import finished
from foveal.research.searcher import MakeSearcher, Searcher, SearchSettings
from foveal.research.sources import Source, one_source
from foveal.research.state import RunState
from foveal.research.traces import TraceFile, load

FRONT_ENDS = ("auto", "code", "json", "names")
MakePlanner = Callable[[ChatModel], Planner]
LOCAL_PAGE_TOKENS, LOCAL_ANSWER_TOKENS = 320, 160
"""Of a model on this machine, which reads some hundred tokens a second."""


@dataclass(frozen=True, kw_only=True)
class MindSettings:
    """How a question is researched; the spec's defaults."""

    front_end: Literal["auto", "code", "json", "names"] = "auto"  # how is planned; auto: by names for a modest model
    limits: RunLimits = field(default_factory=RunLimits)
    search: SearchSettings = field(default_factory=SearchSettings)

    def __post_init__(self) -> None:
        """InputError: no such front end."""
        if self.front_end not in FRONT_ENDS:
            raise InputError(f"No front end is called {self.front_end!r}. There are: {', '.join(FRONT_ENDS)}.")

    @classmethod
    def of(cls, model: ChatModel, **changes: Any) -> MindSettings:
        """What suits `model`: a modest one is shown less of a page and writes less."""
        if not is_modest(model):
            return cls(**changes)
        search = SearchSettings(
            page_tokens=LOCAL_PAGE_TOKENS,
            answer_tokens=LOCAL_ANSWER_TOKENS,
            topk=4,
            max_pages=2,
            max_turns=2,
            in_context=True,
            plain=True,
        )
        own: dict[str, Any] = {"search": search, "limits": RunLimits(max_turns=5, answer_tokens=256)}
        return cls(**own | changes)

    def with_budget(self, budget: Budget) -> MindSettings:
        """The same with a budget."""
        return replace(self, limits=replace(self.limits, budget=budget))

    def without(self, hosts: Sequence[str]) -> MindSettings:
        """The same, but nothing is read from these hosts, nor from what lies below them."""
        return replace(self, search=replace(self.search, denied=(*self.search.denied, *hosts)))


class MindSearch:
    """Answers questions from a source, or several. One object runs any number of questions, also at once."""

    def __init__(
        self,
        model: ChatModel,
        source: Source | Sequence[Source],
        *,
        settings: MindSettings | None = None,
        planner: MakePlanner | None = None,
        reader: PageReader | None = None,
        memory: Memory | None = None,
        searcher: MakeSearcher = Searcher,
    ) -> None:
        """`planner` makes a `Planner` of the metered model (default: by `settings.front_end`); a trained one that needs
        no chat model ignores it. `reader` chooses what of a long page is shown (default: InfiniRetri where the model
        is on this machine, else the best passages). `memory` gives summaries of earlier runs (reuse.py; default: none).
        `searcher` makes what searches a run's sub-questions (`scale.searching.RaySearchers`: a cluster).
        """
        self.model = model
        self.source = one_source(source)
        self.settings = settings or MindSettings.of(model)
        self._planner = planner or _planner_of(self.settings.front_end, model)
        self._reader = reader or reader_of(model)
        self._memory = memory
        self._searcher = searcher

    def ask(
        self,
        question: str,
        history: Sequence[Message] = (),
        *,
        on_event: Callable[[Event], None] = lambda _: None,
        trace: Path | None = None,
    ) -> Researched:
        """The answer. InputError: an empty question, or one over the model's window. FetchFailed: the model server
        cannot be reached. A budget that is spent gives a partial answer, whose `stopped_by` says so.
        """
        return finished(self.start(question, history, trace=trace), on_event)

    def stream(
        self, question: str, history: Sequence[Message] = (), *, trace: Path | None = None
    ) -> Generator[Event, None, Researched]:
        """The events as they come; who stops listening cancels the run. The value returned is the answer."""
        return _streamed(self.start(question, history, trace=trace))

    async def astream(
        self, question: str, history: Sequence[Message] = (), *, trace: Path | None = None
    ) -> AsyncIterator[Event]:
        """`stream` for an event loop."""
        run = self.start(question, history, trace=trace)
        try:
            async for event in run.log.afollow():
                yield event
        finally:
            if not run.log.closed:
                run.cancel()

    def start(
        self,
        question: str,
        history: Sequence[Message] = (),
        *,
        trace: Path | None = None,
        key: str | None = None,
        keepers: Sequence[Keeps] = (),
    ) -> Run:
        """Begin a run that goes on whether or not anybody listens; `trace` is a new file to write its events to.

        `keepers` keep them elsewhere (runs.py), where the run is called `key`.
        """
        question = searchable(question, self.model, half=True)
        kept = [*keepers, *([TraceFile.open(trace)] if trace else [])]
        return Run(self._parts(), question, history=history, keepers=kept, key=key).start()

    def resume(self, trace: Path, *, edits: dict[str, str] | None = None) -> Run:
        """Go on with the run of a trace, which grows; a node that was searched to its end is not searched again.

        `edits` gives nodes another question (or the same, to search it again): these and what builds on them are
        searched anew, and the answer is written anew. InputError: no trace, no such node, or another run holds it.
        """
        require_nodes(RunState.of(load(trace)), edits)
        kept = TraceFile.open(trace, goes_on=True)
        return self.go_on(load(trace), edits=edits, keepers=[kept])  # read again: now nobody else adds to it

    def go_on(
        self, events: Sequence[Event], *, edits: dict[str, str] | None = None, keepers: Sequence[Keeps] = ()
    ) -> Run:
        """`resume` for events from wherever they were kept; `keepers` get those to come. InputError: no such node."""
        state = RunState.of(events)
        require_nodes(state, edits)
        history, log = state.run.get("history", []), EventLog(events)
        return Run(self._parts(), state.question, history=history, log=log, keepers=keepers, edits=edits).start()

    def _parts(self) -> Parts:
        told = {"front_end": self.settings.front_end, "search": asdict(self.settings.search)}
        return Parts(
            model=self.model,
            planner=self._planner,
            source=self.source,
            reader=self._reader,
            memory=self._memory,
            limits=self.settings.limits,
            search=self.settings.search,
            searcher=self._searcher,
            settings=told,
        )


def require_nodes(state: RunState, edits: Mapping[str, str] | None) -> None:
    """InputError: one of the names is not that of a sub-question, or its new question is none."""
    for name, question in (edits or {}).items():
        if state.graph.get(name).kind != "searcher":
            raise InputError(f"{name!r} is not a sub-question. There are: {_names(state.graph)}.")
        if not question.strip() or len(question) > LONGEST_QUESTION:
            raise InputError(f"The new question of {name!r} needs 1 to {LONGEST_QUESTION} characters.")


def replay(trace: Path) -> Researched:
    """What the run of a trace found, from the file alone. InputError: it is no trace."""
    return researched(RunState.of(load(trace)))


def _streamed(run: Run) -> Generator[Event, None, Researched]:
    try:
        yield from run.log.follow()
    finally:
        if not run.log.closed:
            run.cancel()
    return run.result()


def _planner_of(front_end: str, model: ChatModel) -> MakePlanner:
    modest = is_modest(model)
    if front_end == "auto":
        front_end = "names" if modest else "code"
    if front_end == "names":
        return lambda _: NamesPlanner()
    return partial(JsonPlanner, question_first=modest) if front_end == "json" else CodePlanner


def reader_of(model: ChatModel) -> PageReader:
    """What chooses the parts of a long page: by attention where the model is on this machine, else by its words."""
    language_model = getattr(model, "language_model", None)
    if language_model is None:
        return BestPassages()
    from foveal.reading import InfiniRetri

    return AttentionReading(InfiniRetri(language_model))


def _names(graph: Graph) -> str:
    return ", ".join(node.name for node in graph.searchers()) or "none"
