"""research: what its commands begin with: the model and the sources that the options name, the runs of the home."""

from __future__ import annotations

import pickle
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.asking import DEFAULT_MODEL, language_model, server
from foveal.cli.output import notes
from foveal.errors import UnknownRun
from foveal.settings import existing

if TYPE_CHECKING:
    from foveal.models.chat import ChatModel
    from foveal.papers.paper_search import PaperSearch
    from foveal.research.events import Event
    from foveal.research.runs import Runs
    from foveal.research.sources import Source
    from foveal.scale.searching import SearcherParts
    from foveal.settings import Settings

SOURCES = "library[:RETRIEVER[+RANKER]], papers[:RETRIEVER[+RANKER] FILTERS], dir:PATH, arxiv, searxng:URL, http:URL"

Which = Annotated[
    str, typer.Argument(metavar="RUN", help="A key of `research list`, or its beginning; or a trace's file.")
]

PlannerName = Annotated[
    str | None,
    typer.Option(
        "--planner",
        help="A trained planner: a name in HOME/models, or its folder. With --report also auto (default), single, "
        "parallel, sequential, tree.",
    ),
]


def model_and_sources(
    asked: Mapping[str, Any],
    settings: Settings,
    sources: Callable[[Sequence[str], Settings], list[Source]] | None = None,
) -> tuple[ChatModel, list[Source]]:
    """What the options name (`url`, `answerer`, `model`; `sources`): a server's model, or one of this machine, which is
    loaded last, when all else is known to be there."""
    chat = server(asked.get("url"), asked.get("answerer"), settings)
    places = (sources or sources_of)(asked.get("sources") or ["library"], settings)
    if chat is None:
        from foveal.models.local_chat import LocalChat

        chat = LocalChat(language_model(asked.get("model") or DEFAULT_MODEL, settings))
    return chat, places


def planner_of(named: str | None, settings: Settings) -> Any:
    """What `MindSearch(planner=…)` takes, for a planner that a person names; None: its usual one."""
    if named is None:
        return None
    from foveal.research.trained_planner import PlannerModel, TrainedPlanner, planner_folder

    trained = TrainedPlanner(PlannerModel.load(planner_folder(named, settings.home), cache=settings.cache))
    return lambda _: trained


@lru_cache(maxsize=1)
def searcher_parts(described: bytes) -> SearcherParts:
    """In a task: the model, sources and page reader of options and settings (pickled); kept for the next task."""
    from foveal.research.mindsearch import reader_of
    from foveal.research.sources import one_source
    from foveal.scale.searching import SearcherParts

    asked, settings = pickle.loads(described)
    chat, places = model_and_sources(asked, settings)
    return SearcherParts(chat, one_source(places), reader_of(chat))


def sources_of(named: Sequence[str], settings: Settings) -> list[Source]:
    """The sources that a person names; papers are searched by their own index, brought up to date first."""
    from foveal.research.sources import scheme_of, source_of

    papers = paper_search(settings) if "papers" in map(scheme_of, named) else None
    return [source_of(one, settings, **({"papers": papers} if scheme_of(one) == "papers" else {})) for one in named]


def paper_search(settings: Settings) -> PaperSearch:
    """The search over the papers of a home. InputError: there are none."""
    from foveal.errors import InputError, LibraryBusy
    from foveal.papers.paper_search import PaperSearch

    search = PaperSearch.open(settings)
    if not search.store.count():
        raise InputError(f"There are no papers in {settings.home}. Read some: foveal papers update")
    try:
        search.sync()
    except LibraryBusy:  # the web app indexes them now: what it has done so far is found
        notes().print("The papers are being indexed; the newest may not be found yet.", style="dim")
    return search


@contextmanager
def kept_runs(settings: Settings) -> Iterator[Runs]:
    """The runs of a home, for a command."""
    from foveal.database import Database
    from foveal.research.runs import Runs

    database = Database.open(settings)
    try:
        yield Runs(database)
    finally:
        database.close()


def events_of(which: str, home: Path | None) -> tuple[list[Event], str | None, Path | None]:
    """The events of a run that is named, and where they came from: its key, or its trace."""
    from foveal.research.traces import load
    from foveal.settings import Settings

    if is_file(which):
        return load(Path(which)), None, Path(which)
    with kept_runs(Settings.load(home)) as runs:
        key = runs.find(which).key
        return runs.events(key), key, None


def options_of(kept: Mapping[str, Any], named: Mapping[str, Any]) -> dict[str, Any]:
    """The sources and the model of a run, but for those that are named anew."""
    options = {name: named[name] or kept.get(name) for name in ("sources", "planner")}
    own = named if any(named[name] for name in ("model", "url", "answerer")) else kept
    return options | {name: own.get(name) for name in ("model", "url", "answerer")}


def options_kept(settings: Settings, events: Sequence[Event]) -> Mapping[str, Any]:
    """The options of a trace's run, where this home keeps that run, too: a trace holds no address and no key."""
    with kept_runs(settings) as runs, suppress(UnknownRun):
        return runs.get(events[0].data.get("run_id", "") if events else "").options
    return {}


def tell_of_change(model: ChatModel, source: Source, events: Sequence[Event]) -> None:
    """Say so where another model goes on with a run than began it, or other sources are searched."""
    begun = next((event.data for event in reversed(events) if event.kind == "run"), {})
    before = begun.get("model"), begun.get("source")
    now = model.name, source.name
    if begun and before != now:
        told = f"It was begun by {before[0]} over {before[1]}, and goes on by {now[0]} over {now[1]}."
        notes().print(told, style="dim", markup=False, soft_wrap=True)


def is_file(which: str) -> bool:
    found = existing(which)
    return which.endswith(".jsonl") or (found is not None and found.is_file())
