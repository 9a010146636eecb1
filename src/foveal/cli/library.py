"""add, search, show, rename, remove, stats: one library, from the terminal."""

from __future__ import annotations

import re
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, Annotated, Any
from urllib.parse import unquote, urlsplit

import typer

from foveal.cli.adding_shown import how_far
from foveal.cli.classes import ClassifierName, show_document_classes
from foveal.cli.hits import hit_json, hit_text
from foveal.cli.output import (
    AsJson,
    Home,
    echo,
    notes,
    open_library,
    print_json,
    progress_bar,
    results,
    size,
)
from foveal.cli.parts import part_of
from foveal.cli.pictures import drawable
from foveal.cli.scaling import OnRay, RayAddress, on_cluster
from foveal.registry import RANKERS, RETRIEVERS, SEGMENTERS
from foveal.retrieval.by_document import best_of_each
from foveal.retrieval.words import plain_quotes

if TYPE_CHECKING:
    from foveal.library import Library
    from foveal.ranking.cascade import CascadeReport
    from foveal.ranking.explanation import Explanation
    from foveal.retrieval.adding import AddReport, Work
    from foveal.retrieval.fresh import Found as Fresh
    from foveal.text.sources import Skipped
    from foveal.types import Hit, Ranker

SHOWN_SKIPPED, FEW_ALIKE = 20, 3
"""Reasons that are told of what was skipped, and files that share one without being summed up."""

KINDS = ("added", "updated", "unchanged", "removed", "skipped")

RANK = (
    f"Order what was found anew: {', '.join(RANKERS)}, or a model of `foveal train`. Several with commas between are a "
    "cascade, each with how many passages it takes if you like: knrm:100,blockrank:20. Default, unless "
    "--retriever is given: what `foveal train use` chose; none: as they were found."
)

RetrieverName = Annotated[
    str | None,
    typer.Option(
        metavar="NAME[:MODEL]",
        help=f"{', '.join(RETRIEVERS)} (default: hybrid where the library can). Behind lexsembridge, generative "
        "and fresh a model that `foveal train` made, such as generative:my-titles (default: the one trained last; for "
        "fresh none); behind late and sparse the model of an index that `foveal admin index late:MODEL` made.",
    ),
]
Where = Annotated[
    list[str] | None,
    typer.Option("--where", help='Condition, such as "kind=pdf", "published>=2024-01-01", "title~neural"; repeatable.'),
]


def register(app: typer.Typer) -> None:
    """Put this module's commands into `app`."""
    for command in (add, search, show, rename, remove, stats):
        app.command()(command)


def add(
    sources: Annotated[list[str], typer.Argument(help="Files, folders, URLs, or arxiv:ID.", metavar="SOURCE…")],
    encoder: Annotated[str | None, typer.Option(help='For a new library: an encoder, or "none" (words only).')] = None,
    segmenter: Annotated[str | None, typer.Option(help=f"For a new library: {', '.join(SEGMENTERS)}.")] = None,
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove what came from these files and folders and is no longer in them.")
    ] = False,
    ray: OnRay = False,
    ray_address: RayAddress = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Add texts to the library; what is there already, unchanged, is passed over. Stopped, the same command goes on."""
    from foveal.text.loading import discover

    # To a path "" is this folder, and to a person a variable that is not set.
    if not all(one.strip() for one in sources):
        raise typer.BadParameter("A source is empty. Name a file, a folder (. is this one), a URL, or arxiv:ID.")
    discover(sources)  # a path that is not there is refused before a library is made
    with notes().status("Opening the library …"):
        from foveal.library import Library

        library = Library.open(home, encoder=encoder, segmenter=segmenter)
    with progress_bar() as bar:
        task = bar.add_task("Adding", total=None)

        def advance(report: AddReport) -> None:
            text, done, total = how_far(report)
            bar.update(task, completed=done, total=total, description=text)

        with _work(library, ray=ray, address=ray_address) as work:
            report = library.add(sources, prune=prune, on_progress=advance, work=work)
    if as_json:
        print_json(_add_json(report))
    else:
        _print_report(report)
    if report.skipped and not (report.added or report.updated or report.unchanged or report.removed):
        raise typer.Exit(1)


@contextmanager
def _work(library: Library, *, ray: bool, address: str | None) -> Iterator[Work | None]:
    """Who loads, cuts and encodes: a cluster where one was asked for, else this process."""
    if not (ray or address):
        yield None
        return
    with on_cluster(address) as connected:
        from foveal.scale.adding import RayWork

        yield RayWork(library, connected)


def search(
    query: Annotated[str, typer.Argument(help='What to find; "quoted words" must stand there as a phrase.')],
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Passages to show.")] = 5,
    retriever: RetrieverName = None,
    rank: Annotated[
        str | None,
        typer.Option(help=RANK),
    ] = None,
    candidates: Annotated[
        int | None,
        typer.Option(
            min=1,
            max=1000,
            help="Passages that --rank orders (default: as many as a trained one was fitted over, else 20; those of a "
            "cascade's first).",
        ),
    ] = None,
    budget: Annotated[
        float | None, typer.Option(help="Milliseconds for search and --rank; what does not fit is ranked less.")
    ] = None,
    where: Where = None,
    at: Annotated[
        str | None, typer.Option(help="As of this date, such as 2023-05-01: for --retriever fresh.", show_default=False)
    ] = None,
    no_events: Annotated[
        bool, typer.Option("--no-events", help="Search without what was going on: for --retriever fresh.")
    ] = False,
    documents: Annotated[
        bool, typer.Option("--documents", help="Show of each document its best passage alone.")
    ] = False,
    full: Annotated[bool, typer.Option("--full", help="Show passages whole.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which words or sentences counted, as the ranker sees it.")
    ] = False,
    picture: Annotated[
        Path | None,
        typer.Option(help="Draw what counted in the first passage: a PNG.", show_default=False, callback=drawable),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Find the passages that fit QUERY best, each with the exact place it stands."""
    from foveal.ranking.chosen import NONE, chosen
    from foveal.retrieval.rows import documents_of, way_to
    from foveal.settings import Settings

    if not query.strip():
        raise typer.BadParameter("The query is empty. Type what to find.")
    settings = Settings.load(home)
    ordered = bool(chosen(settings, retriever=retriever, rank=rank))
    if budget is not None and not ordered:
        raise typer.BadParameter("--budget says how long ranking may take; name a ranker by --rank.")
    if candidates is not None and not ordered:
        raise typer.BadParameter("--candidates says how many passages a ranker orders; name one by --rank.")
    library = open_library(settings)
    reports: list[CascadeReport] = []
    ranker = _ranker(rank, library, budget, reports) if ordered else None
    timely, told_of = _timely(retriever, at, no_events=no_events)
    start = time.perf_counter()

    def found(k: int) -> list[Hit]:
        asked = plain_quotes(query)
        return library.search(
            asked, k, retriever=retriever, rank=ranker or NONE, candidates=candidates, where=where, **timely
        )

    with notes().status("Searching …"):
        hits = best_of_each(found, k) if documents else found(k)
    seconds = time.perf_counter() - start
    entries = library.entries(documents_of(hits))
    shown = [(hit, entries[hit.passage.span.document_id]) for hit in hits if hit.passage.span.document_id in entries]
    counted = [] if documents else reports  # of a cascade's stages, over all that was found
    explained = _explained(query, [hit for hit, _ in shown], ranker, library, counted) if explain or picture else []
    why = explained if explain else [None] * len(shown)
    if as_json:
        told = [
            hit_json(hit, entries) | ({"explanation": one.as_json()} if one else {}) | _age_and_event(hit, told_of)
            for (hit, _), one in zip(shown, why, strict=True)
        ]
        cascade = {"cascade": reports[-1]} if reports else {}
        print_json({"query": query, "seconds": round(seconds, 4), **cascade, **_events(told_of), "hits": told})
    else:
        for place, ((hit, entry), one) in enumerate(zip(shown, why, strict=True), start=1):
            way = way_to(hit, entries)
            results().print(hit_text(place, hit, entry, query, full=full, explained=one, way=way))
        if not shown:
            _tell_nothing(library, query, retriever, where)
        if reports:
            notes().print(str(reports[-1]), markup=False)
        _tell_events(told_of)
    if picture and explained:
        _draw(explained[0], picture)


def _timely(retriever: str | None, at: str | None, *, no_events: bool) -> tuple[dict[str, Any], list[Fresh]]:
    """The options of a search that knows what is going on, and where it says what it took the query to be about."""
    told: list[Fresh] = []
    if retriever is None or retriever.partition(":")[0] != "fresh":
        if no_events:
            raise typer.BadParameter("--no-events goes with --retriever fresh: no other search looks at events.")
        return ({"at": at} if at else {}), told
    return {"at": at, "events": not no_events, "tell": told.append}, told


def _tell_events(told: Sequence[Fresh]) -> None:
    """What the last search took the query to be about, and how to do without."""
    for found in told[-1:]:
        off = " --no-events searches without." if found.matches else ""
        notes().print(f"{found.said}{off}", markup=False, soft_wrap=True)


def _events(told: Sequence[Fresh]) -> dict[str, Any]:
    """Of JSON: how surely the query is about something of now, and the events that were taken for it."""
    if not told:
        return {}
    events = [{"id": one.event.id, "phrase": one.event.text, "why": one.why} for one in told[-1].matches]
    return {"about_now": round(told[-1].need, 4), "events": events}


def _age_and_event(hit: Hit, told: Sequence[Fresh]) -> dict[str, Any]:
    """Of JSON: the days from the hit's date, and which of the events its document reports."""
    if not told:
        return {}
    age, match = told[-1].ages.get(hit.passage.span.document_id), told[-1].match_of(hit)
    return {"age_days": None if age is None else round(age, 2), "event": match and match.event.id}


def _tell_nothing(library: Library, query: str, retriever: str | None, where: Sequence[str] | None) -> None:
    if not library.store.counts()["documents"]:
        results().print("Nothing found: the library is empty. Fill it: foveal add FILE_OR_FOLDER")
        return
    results().print("Nothing found. Try other words, or fewer conditions.")
    if not library.reads(query, retriever):
        notes().print("The encoder knows no token of this, so nothing was looked for by meaning.")
    tell_unknown_keys(library, where)


def tell_unknown_keys(library: Library, where: Sequence[str] | None) -> None:
    """Which names of the conditions no document's metadata has: a slip of the pen finds nothing, and says nothing."""
    from foveal.retrieval.filters import COLUMNS, DOCUMENT_COLUMNS, metadata_keys, sql

    if asked := metadata_keys(where):
        known, looked_at = library.metadata_keys()
        if unknown := [name for name in asked if name not in known]:
            names = ", ".join(sorted({*COLUMNS, *known}))
            whole = looked_at >= library.store.counts()["documents"]
            none = "No document has" if whole else f"Of {looked_at:,} documents that were looked at, none has"
            notes().print(f"{none} {' or '.join(unknown)}. Names to ask by: {names}.", markup=False)
    if any(re.search(r"(^|\band\s)\s*published(_at)?\b", one) for one in where or ()):
        rest = [one for one in where or () if not re.search(r"\b(published|published_at|heading|page)\b", one)]
        any_date, dated = (sql(each, DOCUMENT_COLUMNS) for each in (rest, [*rest, "published>=0001-01-01"]))
        if library.store.entries(any_date, limit=1) and not library.store.entries(dated, limit=1):
            what = "that fulfils the other conditions " if rest else ""
            said = f"No document {what}has a date: a PDF, a Word document or a plain text has none."
            notes().print(said, markup=False)


def _ranker(name: str | None, library: Library, budget: float | None, reports: list[CascadeReport]) -> Ranker | None:
    """The one that is named, or the home's."""
    from foveal.ranking.by_name import load_ranker
    from foveal.ranking.chosen import load_chosen

    settings, cascade = library.settings, {"budget_ms": budget, "on_report": reports.append}
    with notes().status("Loading the ranker …"):
        return load_ranker(name, home=settings.home, **cascade) if name else load_chosen(settings, **cascade)


def _explained(
    query: str, hits: Sequence[Hit], ranker: Ranker | None, library: Library, reports: Sequence[CascadeReport]
) -> list[Explanation]:
    with notes().status("Looking why …"):
        return library.explain(query, hits, ranker, counts=reports[-1].counts if reports else None)


def _draw(explanation: Explanation, path: Path) -> None:
    from foveal.ranking.explanation import draw

    notes().print(f"Drawn: {draw(explanation, path)}", markup=False)


def show(
    document: Annotated[str, typer.Argument(help="A document's id (or its beginning), path or URL.")],
    span: Annotated[str | None, typer.Option(help="Characters START:END only, as a search shows them.")] = None,
    page: Annotated[int | None, typer.Option(min=1, help="This page only, as the file counts them.")] = None,
    printed: Annotated[str | None, typer.Option(help='The page with this number printed on it, as "xi" or 11.')] = None,
    revision: Annotated[str | None, typer.Option(help="A replaced text, by its hash (--json lists them).")] = None,
    classifier: ClassifierName = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show a document's text, or a part of it; with --classifier the class of it and of its passages."""
    library = open_library(home)
    found = library.get(document, revision=revision)
    start, end = part_of(span, page, printed, found.pages, len(found.text))
    if classifier:
        places = [(a, b) for a, b, _ in library.store.places(found.id)] if revision is None else []
        whole = span is None and page is None and printed is None
        show_document_classes(classifier, found, (start, end), places if whole else [], library, as_json=as_json)
        return
    if as_json:
        place = {"document_id": found.id, "start": start, "end": end}
        about = {"title": found.title, "url": found.url, "metadata": found.metadata, "revision": found.revision}
        held = {"revisions": library.store.revisions(found.id), "span": place, "text": found.text[start:end]}
        print_json(about | held)
    else:
        echo(f"{found.text[start:end]}\n")


def rename(
    document: Annotated[str, typer.Argument(help="A document's id (or its beginning), path or URL.")],
    title: Annotated[str, typer.Argument(help='Its new title; "" gives it its own back.')],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Give a document of the library another title, which stays when its source is added again."""
    with notes().status("Renaming …"):
        library = open_library(home, said=False)
        entry = library.rename(document, title)
    if as_json:
        print_json({"id": entry.id, "title": entry.title})
    else:
        results().print(f"{entry.id[:8]} is called {entry.title!r}.", markup=False)


def remove(
    what: Annotated[str, typer.Argument(help="A document's id (or its beginning), a path, a folder or a URL.")],
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Remove a document, or all that came from a file or folder, from the library. The sources stay as they are."""
    library = open_library(home)
    found = library.find(what)
    if len(found) > 1 and not yes:
        typer.confirm(f"Remove {len(found)} documents from the library?", abort=True, err=True)
    removed = library.remove(found)
    if as_json:
        print_json({"removed": [entry.id for entry in removed]})
    else:
        results().print(f"Removed {len(removed)} document{'s' * (len(removed) != 1)}.")


def stats(home: Home = None, as_json: AsJson = False) -> None:
    """Show how large the library is and what it was made with."""
    found = open_library(home).stats()
    if as_json:
        print_json(found)
        return
    from rich.table import Table
    from rich.text import Text

    table = Table.grid(padding=(0, 2))
    rows = {
        "library": found.home,
        "documents": f"{found.documents:,}",
        "passages": f"{found.passages:,}",
        "replaced revisions": f"{found.revisions:,}",
        "on disk": size(found.bytes),
        "encoder": found.encoder,
        "segmenter": found.segmenter,
        "searches ordered by": found.ranker or "nothing: as they are found",
        "schema": str(found.schema),
    }
    for name, value in rows.items():
        table.add_row(name, Text(value))
    results().print(table)


def _print_report(report: AddReport) -> None:
    counts: dict[str, int] = {kind: len(getattr(report, kind)) for kind in KINDS}
    said = ", ".join(f"{count:,} {kind}" for kind, count in counts.items() if count) or "nothing found"
    seconds = sum(report.seconds.values())
    before = f", {report.resumed:,} of them encoded before," if report.resumed else ""
    passages = f"{report.passages:,} passage{'s' * (report.passages != 1)}{before}"
    results().print(f"Documents: {said}. {passages} in {seconds:.1f} s.")
    told = _told(report.skipped)
    for reason in told[:SHOWN_SKIPPED]:
        notes().print(f"  skipped: {reason}", markup=False, soft_wrap=True)
    if len(told) > SHOWN_SKIPPED:
        notes().print(f"  … and {len(told) - SHOWN_SKIPPED} more; --json lists them all.")


def _told(skipped: Sequence[Skipped]) -> list[str]:
    """Why each was skipped; of many files that share a reason (the pictures beside notes) the first stands for all."""
    alike: dict[str, list[str]] = {}
    for one in skipped:
        name = PurePosixPath(unquote(urlsplit(one.address).path)).name
        before, found, behind = one.reason.partition(name)
        alike.setdefault(behind if name and found else before, []).append(one.reason)
    told: list[str] = []
    for reasons in alike.values():
        if len(reasons) > FEW_ALIKE:
            told.append(f"{reasons[0]} {len(reasons) - 1:,} more for the same reason; --json lists them all.")
        else:
            told += reasons
    return told


def _add_json(report: AddReport) -> dict[str, Any]:
    skipped = [{"address": one.address, "reason": one.reason} for one in report.skipped]
    seconds = {stage: round(spent, 3) for stage, spent in report.seconds.items()}
    return {
        "added": report.added, "updated": report.updated, "unchanged": len(report.unchanged),
        "removed": report.removed, "skipped": skipped,
        "passages": report.passages, "characters": report.characters, "seconds": seconds,
    }  # fmt: skip
