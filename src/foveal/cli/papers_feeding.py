"""papers update, add, import-page, pick, summarise, headlines: what brings papers in, or is added to them."""

from __future__ import annotations

import sys
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import AsJson, Home, notes, print_json, results
from foveal.cli.papers_output import papers_database, print_papers
from foveal.registry import PAPER_SOURCES

if TYPE_CHECKING:
    from datetime import date

    from foveal.papers.ingest import Ingested
    from foveal.papers.schedule import Standing
    from foveal.papers.upserts import Upserted

SOURCES = [name for name in PAPER_SOURCES if name != "pasted"]
NOTHING = "nothing new"


def register(app: typer.Typer) -> None:
    """Put this module's commands into `app`."""
    for command in (update, add, pick, summarise, headlines):
        app.command()(command)
    app.command("import-page")(import_page)


def update(
    names: Annotated[list[str] | None, typer.Argument(help="Sources of foveal.toml (default: all).")] = None,
    force: Annotated[bool, typer.Option("--force", help="Ask again for what was answered today.")] = False,
    listing: Annotated[bool, typer.Option("--list", help="Read nothing: show how each source stands.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Read the sources that foveal.toml names, now; what is here already stays as it is."""
    from foveal.errors import InputError, UnknownName
    from foveal.papers.plans import plans_of
    from foveal.papers.schedule import standing
    from foveal.papers.schedule import update as read_all
    from foveal.settings import Settings

    settings = Settings.load(home)
    known = [plan.name for plan in plans_of(settings)]
    if not known:
        raise InputError(
            f"No source is set. Put into {settings.home / 'foveal.toml'}, for instance: [papers.sources.cs] and below "
            'it from = "arxiv" and ask = "cs.CL". Or fetch once: foveal papers add --from arxiv cs.CL'
        )
    if unknown := [name for name in names or () if name not in known]:
        raise UnknownName(f"No source of foveal.toml is called {unknown[0]!r}. There are: {', '.join(known)}.")
    if listing:
        with papers_database(home) as database:
            _print_standing([one for one in standing(database, settings) if not names or one.name in names], as_json)
        return
    with papers_database(home) as database, notes().status("Reading …") as status:
        told = list(read_all(database, settings, names or (), force=force, on_page=_progress(status)))
    _print_readings(told, as_json)


def add(
    what: Annotated[list[str], typer.Argument(help="arXiv ids or addresses; with --from: what that source is asked.")],
    source: Annotated[str | None, typer.Option("--from", help=f"A source: {', '.join(SOURCES)}.")] = None,
    since: Annotated[str | None, typer.Option(help="From this day on, such as 2026-10-01.", show_default=False)] = None,
    url: Annotated[str | None, typer.Option(help="Another server of the same kind.", show_default=False)] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Fetch single papers by their ids, or what a source has, once."""
    from foveal.papers.ingest import ingest
    from foveal.papers.plans import Plan
    from foveal.papers.schedule import connection_of, read
    from foveal.papers.sources.arxiv_api import ids_of
    from foveal.registry import lookup
    from foveal.settings import Settings

    settings = Settings.load(home)
    ask = " ".join(what) if source else f"id:{','.join(ids_of(' '.join(what)))}"
    kind = source or "arxiv"
    if kind == "pasted":
        raise typer.BadParameter("A saved page is read by: foveal papers import-page FILE")
    with papers_database(home) as database, notes().status("Reading …") as status:
        if kind == "library":
            plan = Plan(name="library", kind=kind, ask="" if ask == "all" else ask)
            told = read(database, settings, plan)
        else:
            made = lookup(PAPER_SOURCES, kind, kind="source")(connection_of(settings, url=url))
            day = _day(since) if since else None
            told = ingest(
                database, made, ask, name=f"add:{kind}", since=day, force=source is None, on_page=_progress(status)
            )
    _print_readings([told], as_json)
    if told.upserted.refused and not source and not as_json:
        notes().print("A paper that was removed here comes again after: foveal papers remove --undo ID", markup=False)


def import_page(
    file: Annotated[str, typer.Argument(help="A page saved as text, HTML or JSON; - is standard input.")],
    day: Annotated[
        str | None, typer.Option("--day", help="List all of them on this day (default: each on its own).")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Import a page of daily papers that was copied from a browser, or saved."""
    from foveal.papers.ingest import import_page as take_in

    content = sys.stdin.buffer.read() if file == "-" else _content(Path(file))
    with papers_database(home) as database:
        done = take_in(database, content, file, listed_on=_day(day) if day else None)
    if as_json:
        print_json(done)
    else:
        results().print(f"{len({*done.added, *done.updated, *done.unchanged})} papers: {_counts(done)}.")


def pick(
    papers: Annotated[list[str] | None, typer.Argument(help="Ids; without any, what is picked and what waits.")] = None,
    day: Annotated[
        str | None, typer.Option("--day", help="For this day, such as 2026-10-02, or tomorrow (default: today).")
    ] = None,
    place: Annotated[int | None, typer.Option(min=1, help="At this place (default: at the end).")] = None,
    order: Annotated[bool, typer.Option("--order", help="Give the day's picks the order of these ids.")] = False,
    remove: Annotated[bool, typer.Option("--remove", help="Take their place away: votes decide again.")] = False,
    unlist: Annotated[bool, typer.Option("--unlist", help="Take these off the day's page altogether.")] = False,
    by: Annotated[str, typer.Option(help="Who picks: a login.", show_default=False)] = "",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Choose what a day shows first, and in which order; a day to come waits until it is there."""
    from foveal.papers import curating, desk
    from foveal.papers.store import PaperStore

    when, act = _day(day), "unlist" if unlist else "unpick" if remove else "pick"
    with papers_database(home) as database:
        store = PaperStore(database)
        ids = [store.id_of(one) for one in papers or ()]
        if order:
            curating.order(database, when, ids, by=by)
        else:
            for offset, one in enumerate(ids):
                if unlist:
                    curating.unlist(database, one, when)
                elif remove:
                    curating.unpick(database, one, when)
                else:
                    curating.pick(database, one, when, by=by, place=place + offset if place else None)
                desk.noted(database, by.removeprefix("@") or "system", act, one, when)
        chosen = curating.picks(database, when)
        planned = [] if papers or day else [one for one in curating.planned(database) if one.day != when]
        titles = {one.id: one.title for one in store.many([one.paper for one in (*chosen, *planned)])}
        waiting = [] if papers else curating.queue(database)
    if as_json:
        print_json({"day": when, "picks": chosen, "planned": planned, "queue": [one.id for one in waiting]})
        return
    for one_day in dict.fromkeys([when, *(one.day for one in planned)]):
        picked = [one for one in (*chosen, *planned) if one.day == one_day]
        results().print(f"[bold]{one_day}[/]: " + (f"{len(picked)} picked" if picked else "nothing picked"))
        for held in picked:
            results().print(f"  {held.position}. {held.paper}  {titles[held.paper]}", markup=False)
    if waiting:
        results().print("\nTo choose from, the last that came first:")
        print_papers(waiting)


def _content(path: Path) -> bytes:
    from foveal.errors import InputError

    try:
        return path.read_bytes()
    except OSError as error:
        raise InputError(
            f"{path} cannot be read ({error.strerror}). Give the page's file, or - for standard input."
        ) from error


def _day(given: str | None) -> date:
    from foveal import faults
    from foveal.papers.periods import Period

    return Period.said("day", given or "today", faults.now().date()).first


def _progress(status: Any) -> Callable[[Ingested], None]:
    def advance(told: Ingested) -> None:
        done = told.upserted
        status.update(
            f"{told.name}: {told.requests} requests, {len(done.added):,} new, {len(done.updated):,} changed …"
        )

    return advance


def _print_readings(told: list[Ingested], as_json: bool) -> None:
    if as_json:
        print_json(told)
    for one in told if not as_json else ():
        counts = _counts(one.upserted)
        if one.error:  # it is not known whether there was something new
            counts = "not read" if counts == NOTHING else f"{counts}; the rest is not read"
        requests = f"{one.requests} request{'s' * (one.requests != 1)}"
        results().print(one.skipped or f"{one.name}: {counts} ({requests}).", markup=False)
        if one.error:
            notes().print(f"  {one.name}: {one.error}", markup=False, soft_wrap=True)
        if one.moved_to:
            said = f"  {one.name}: it moved to {one.moved_to}; change the address that you ask."
            notes().print(said, markup=False, soft_wrap=True)
    if any(one.error for one in told):
        raise typer.Exit(1)


def _print_standing(sources: list[Standing], as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    from foveal import faults

    if as_json:
        print_json(sources)
        return
    now = faults.now()
    table = Table("source", "from", "last read, UTC", "next", "what went wrong", box=None, pad_edge=False)
    for one in sources:
        read = f"{one.read_at:%b %d %H:%M}" if one.read_at else "never"
        following = f"{one.next_at:%b %d %H:%M}" if one.next_at > now else "due now"
        table.add_row(*map(Text, (one.name, one.kind, read, following, one.error)))
    results().print(table)


def _counts(done: Upserted) -> str:
    counts = {"new": done.added, "changed": done.updated, "as before": done.unchanged}
    counts["removed here, and left out"] = done.refused
    return ", ".join(f"{len(set(ids)):,} {kind}" for kind, ids in counts.items() if ids) or NOTHING


def summarise(
    papers: Annotated[list[str] | None, typer.Argument(help="Ids (default: the newest without a summary).")] = None,
    model: Annotated[
        str, typer.Option(help='A chat model; "none" takes a sentence of the abstract, by rule.')
    ] = "qwen2.5-coder-0.5b",
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many.", show_default=False)] = None,
    again: Annotated[bool, typer.Option("--again", help="Also where a model or the rule wrote one before.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Write one sentence and keywords for papers, by a model of this machine; Ctrl-C keeps what is written."""
    from foveal.cli.output import progress_bar
    from foveal.papers.store import PaperStore
    from foveal.papers.summaries import summarise as write

    chosen = None if model == "none" else model
    with papers_database(home) as database, progress_bar() as bar:
        ids = [PaperStore(database).id_of(one) for one in papers] if papers else None
        task = bar.add_task("Summaries", total=None)
        told = write(
            database,
            model=chosen,
            limit=limit,
            ids=ids,
            again=again,
            on_progress=lambda _: bar.advance(task),
            on_stage=lambda what, count: bar.update(task, description=what, total=count or None),
        )
    if as_json:
        print_json(told)
    else:
        by_rule = f", {told.by_rule} of them by rule" if chosen and told.by_rule else ""
        results().print(f"{len(told.written)} written{by_rule}; {told.left} papers have none.", markup=False)


def headlines(
    judge: Annotated[str, typer.Option(help="Of `foveal train headline-judge` (default: foveal.toml).")] = "",
    writer: Annotated[str, typer.Option(help="Of `foveal train headline-writer`, or a model.")] = "",
    days: Annotated[int | None, typer.Option(min=1, help="Of the last so many days.", show_default=False)] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Judge the titles of the papers listed last, and write a line beside them; Ctrl-C keeps what is judged."""
    from dataclasses import replace

    from foveal.cli.output import progress_bar
    from foveal.papers.headline_lines import headline_settings, judge_new
    from foveal.settings import Settings

    settings = Settings.load(home)
    given: dict[str, Any] = {"judge": judge, "writer": writer, "days": days}
    usual = headline_settings(settings.home)
    chosen = replace(usual, **{name: value for name, value in given.items() if value})
    with papers_database(home) as database, progress_bar() as bar:
        task = bar.add_task("Titles", total=None)
        told = judge_new(
            database,
            settings,
            chosen=chosen,
            on_judged=lambda done: bar.update(task, completed=len(done.judged), total=len(done.judged) + done.left),
        )
    if as_json:
        print_json(told)
        return
    if told.licence:
        notes().print(f"{chosen.judge}: {told.licence}", markup=False)
    counted = f"{len(told.judged)} titles judged, {told.written} lines written beside them; {told.left} are left."
    results().print(told.off or counted, markup=False)
    if not usual.judge and not told.off:
        shown = f'The site shows them once foveal.toml names a judge: [headlines] judge = "{chosen.judge}".'
        results().print(shown, markup=False, soft_wrap=True)
