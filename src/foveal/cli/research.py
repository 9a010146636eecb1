"""research: a question that no single page answers, taken apart, searched side by side, answered with citations.

`foveal research QUESTION` is short for `foveal research ask QUESTION`. Runs are kept in the database of the home, and
named by a beginning of their key; a trace's file stands in the place of a key. Commands on kept runs are in
research_kept.py; research_view.py shows a run.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import typer
from typer.core import TyperGroup

from foveal.cli import research_kept, research_verify, research_watch
from foveal.cli.asking import DEFAULT_MODEL, MODELS, Answerer, Url, not_empty
from foveal.cli.output import AsJson, Home, notes
from foveal.cli.research_report import (
    AsReport,
    BriefFile,
    Clarify,
    ExperimentFile,
    Mark,
    ModeName,
    Out,
    ReportOptions,
    TimingName,
    Words,
    new_report,
    resumed_report,
)
from foveal.cli.research_setup import (
    SOURCES,
    PlannerName,
    Which,
    events_of,
    is_file,
    kept_runs,
    model_and_sources,
    options_kept,
    options_of,
    planner_of,
    searcher_parts,
    tell_of_change,
)
from foveal.cli.research_view import listened, shown_answer
from foveal.cli.scaling import OnRay, RayAddress, on_cluster

if TYPE_CHECKING:
    from foveal.database import Database
    from foveal.research.budget import Budget
    from foveal.research.events import Event
    from foveal.research.mindsearch import MindSearch
    from foveal.research.run import Run
    from foveal.research.runs import Runs
    from foveal.research.searcher import MakeSearcher
    from foveal.settings import Settings


class Research(TyperGroup):
    """The group; what is no command of it is a question."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        if args and args[0] not in self.commands and args[0] not in ("-h", "--help"):
            args = ["ask", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=Research,
    help="Research a question that no single page answers: foveal research QUESTION.\n\n"
    "Its options: foveal research ask --help.",
    no_args_is_help=True,
)

Model = Annotated[
    str | None, typer.Option(help=f"Model on this machine: {MODELS} (default, without --url: {DEFAULT_MODEL}).")
]
SourceNames = Annotated[
    list[str] | None, typer.Option("--source", help=f"Where to search (repeatable; default: library): {SOURCES}.")
]
FrontEnd = Annotated[
    Literal["auto", "code", "json", "names"],
    typer.Option(help="How is planned: by programs, by JSON under a grammar, or without a model, by the names found."),
]
Parallel = Annotated[int | None, typer.Option(min=1, max=64, help="Sub-questions at a time (default: 10).")]
Turns = Annotated[int | None, typer.Option(min=1, max=50, help="Turns of the planner.")]
Tokens = Annotated[int | None, typer.Option(min=0, help="Most tokens that models read and write.")]
Seconds = Annotated[float | None, typer.Option(min=0, help="Most seconds that the run takes.")]
PageCount = Annotated[int | None, typer.Option("--pages", min=0, help="Most pages that are read.")]
Reuse = Annotated[
    bool, typer.Option(help="Take summaries of earlier runs for questions that ask the same of the same sources.")
]


@app.callback()
def group() -> None:
    """Research a question that no single page answers."""


@app.command()
def ask(
    question: Annotated[str, typer.Argument(callback=not_empty)],
    source: SourceNames = None,
    model: Model = None,
    url: Url = None,
    answerer: Answerer = None,
    front_end: FrontEnd = "auto",
    planner: PlannerName = None,
    parallel: Parallel = None,
    turns: Turns = None,
    tokens: Tokens = None,
    seconds: Seconds = None,
    pages: PageCount = None,
    reuse: Reuse = False,
    trace: Annotated[Path | None, typer.Option(help="A new file for the run's events, beside the database.")] = None,
    ray: OnRay = False,
    ray_address: RayAddress = None,
    report: AsReport = False,
    mode: ModeName = "normal",
    timing: TimingName = "always",
    words: Words = None,
    clarify: Clarify = False,
    brief: BriefFile = None,
    mark: Mark = False,
    experiment: ExperimentFile = None,
    out: Out = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Answer QUESTION from many pages, with numbered citations, or by --report with a report.

    Ctrl-C: answer now; again: stop.
    """
    from foveal.settings import Settings

    settings = Settings.load(home)
    if report:
        if ray or ray_address:
            raise typer.BadParameter("--ray spreads the searchers of an answer; a report is written by this process.")
        asked = {"sources": source, "model": model, "url": url, "answerer": answerer, "planner": planner}
        wanted = ReportOptions(
            mode,
            timing,
            words,
            _budget(tokens, seconds, pages),
            clarify=clarify,
            brief=brief,
            mark=mark,
            experiment=experiment,
            out=out,
            json=as_json,
        )
        with kept_runs(settings) as runs:
            new_report(settings, runs, question, asked, wanted, trace)
        return
    of_reports = {"--words": words, "--clarify": clarify, "--brief": brief, "--mark": mark}
    of_reports |= {"--experiment": experiment, "--out": out}
    if without := [name for name, value in of_reports.items() if value]:
        raise typer.BadParameter(f"{', '.join(without)}: that is of a report. Add --report, or leave it out.")
    limits = {"max_parallel": parallel, "max_turns": turns}
    options = {"sources": source or ["library"], "model": model, "url": url, "answerer": answerer, "planner": planner}
    with kept_runs(settings) as runs:
        memory = runs.database if reuse else None
        with _searchers(options, settings, ray=ray, address=ray_address) as searcher:
            budget = _budget(tokens, seconds, pages)
            search = _search(settings, options, front_end, limits, budget, reuse=memory, searcher=searcher)
            key, run = _begun(search, runs, question, options, trace)
            shown_answer(listened(run, json=as_json), key, as_json, trace)


@app.command()
def resume(
    which: Which,
    edit: Annotated[
        list[str] | None, typer.Option(help="NAME=QUESTION: a sub-question to change, or to search again (repeatable).")
    ] = None,
    source: SourceNames = None,
    model: Model = None,
    url: Url = None,
    answerer: Answerer = None,
    front_end: FrontEnd = "auto",
    planner: PlannerName = None,
    parallel: Parallel = None,
    turns: Turns = None,
    tokens: Tokens = None,
    seconds: Seconds = None,
    pages: PageCount = None,
    out: Out = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Go on with RUN where it was broken off; what failed is searched again, what was searched to its end is not.

    A run that the home keeps asks the sources and the model that it asked before, unless others are named.
    """
    from foveal.settings import Settings

    settings = Settings.load(home)
    edits = dict(_edit(one) for one in edit or ())
    limits = {"max_parallel": parallel, "max_turns": turns}
    budget = _budget(tokens, seconds, pages)
    named = {"sources": source, "model": model, "url": url, "answerer": answerer, "planner": planner}
    if resumed_report(settings, which, named, budget, out=out, as_json=as_json):
        return
    if out:
        raise typer.BadParameter("--out: that is of a report, and this run is none. Leave it out.")
    begun, key, trace = events_of(which, home)
    if not edits and not any(named.values()) and _shown_as_it_ended(begun, key, trace, as_json=as_json):
        return
    if is_file(which):
        options = options_of(options_kept(settings, begun), named)
        search = _search(settings, options, front_end, limits, budget)
        tell_of_change(search.model, search.source, begun)
        shown_answer(listened(search.resume(Path(which), edits=edits), json=as_json), None, as_json, Path(which))
        return
    with kept_runs(settings) as runs:
        run = runs.find(which)
        search = _search(settings, options_of(run.options, named), front_end, limits, budget)
        tell_of_change(search.model, search.source, begun)
        shown_answer(listened(_went_on(search, runs, run.key, edits), json=as_json), run.key, as_json)


research_kept.register(app)
app.add_typer(research_watch.app, name="watch")
research_verify.register(app)


# -- what the commands share ------------------------------------------------------------------------------------------


def _shown_as_it_ended(events: Sequence[Event], key: str | None, trace: Path | None, *, as_json: bool) -> bool:
    """Show a run of which nothing is left to do; whether it is one. Its answer is not written, and paid for, anew."""
    from foveal.research.answers import researched
    from foveal.research.state import RunState

    state = RunState.of(events)
    if state.done is None or state.done.get("stopped_by") or state.search_failed:
        return False
    notes().print(
        "It came to its end, so nothing is asked again. Change a sub-question by --edit, or name another model."
    )
    shown_answer(researched(state), key, as_json, trace)
    return True


def _begun(
    search: MindSearch, runs: Runs, question: str, options: Mapping[str, Any], trace: Path | None
) -> tuple[str, Run]:
    """A new run and its key; of one that cannot begin nothing is kept."""
    key = runs.new(question, options=options)
    keeper = runs.keep(key)
    try:
        return key, search.start(question, trace=trace, key=key, keepers=[keeper])
    except BaseException:
        keeper.close()
        runs.remove(key)
        raise


def _went_on(search: MindSearch, runs: Runs, key: str, edits: dict[str, str]) -> Run:
    """The run of a key, which goes on; from its beginning, where it never began."""
    from foveal.research.mindsearch import require_nodes
    from foveal.research.state import RunState

    events = runs.events(key)
    require_nodes(RunState.of(events), edits)
    keeper = runs.keep(key)
    events = runs.events(key)  # read again: now nobody else adds to them
    if not events:
        return search.start(runs.get(key).question, key=key, keepers=[keeper])
    return search.go_on(events, edits=edits, keepers=[keeper])


@contextmanager
def _searchers(
    options: Mapping[str, Any], settings: Settings, *, ray: bool, address: str | None
) -> Iterator[MakeSearcher | None]:
    """What searches sub-questions: tasks of a cluster where one was asked for; None: threads of this process."""
    if not (ray or address):
        yield None
        return
    with on_cluster(address) as connected:
        from foveal.scale.searching import RaySearchers

        asked = {name: options.get(name) for name in ("url", "answerer", "model", "sources")}
        yield RaySearchers(connected, partial(searcher_parts, pickle.dumps((asked, settings))))


def _search(
    settings: Settings,
    asked: Mapping[str, Any],
    front_end: str,
    limits: Mapping[str, int | None],
    budget: Budget,
    *,
    reuse: Database | None = None,
    searcher: MakeSearcher | None = None,
) -> MindSearch:
    """The search that the options name (`asked`: sources, model, url, answerer, planner); `reuse` holds summaries."""
    from foveal.research.mindsearch import MindSearch, MindSettings
    from foveal.research.reuse import memory_of
    from foveal.research.settings import load_research

    chat, places = model_and_sources(asked, settings)
    own = MindSettings.of(chat, front_end=front_end).with_budget(budget).without(load_research(settings).hosts)
    given: dict[str, Any] = {name: value for name, value in limits.items() if value is not None}
    memory = memory_of(reuse, places, chat.name, settings) if reuse else None
    own, planner = replace(own, limits=replace(own.limits, **given)), planner_of(asked.get("planner"), settings)
    if planner is not None:  # a small model's queries, whatever answers
        own = replace(own, search=replace(own.search, in_context=True))
    spread: dict[str, Any] = {} if searcher is None else {"searcher": searcher}
    return MindSearch(chat, places, settings=own, planner=planner, memory=memory, **spread)


def _budget(tokens: int | None, seconds: float | None, pages: int | None) -> Budget:
    from foveal.research.budget import Budget

    return Budget(tokens=tokens, seconds=seconds, pages=pages)


def _edit(given: str) -> tuple[str, str]:
    name, found, question = given.partition("=")
    if not found or not question.strip():
        raise typer.BadParameter(f"--edit got {given!r}; it needs NAME=QUESTION.")
    return name.strip(), question.strip()
