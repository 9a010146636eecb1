"""judge: a person grades what a search finds; rankers are trained on that (`foveal train`)."""

from __future__ import annotations

import sys
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.asking import not_empty
from foveal.cli.hits import hit_text
from foveal.cli.library import RetrieverName, Where
from foveal.cli.output import AsJson, Home, notes, open_library, print_json, results
from foveal.errors import InputError

if TYPE_CHECKING:
    from rich.console import Console

    from foveal.evaluation.judgements import Judgement
    from foveal.library import Library
    from foveal.retrieval.rows import Entry
    from foveal.types import Hit

SKIP, QUIT, BACK = "s", "q", "b"
KEYS = f"0-3, {SKIP} skip, {BACK} back, {QUIT} quit"


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(judge)


def _asked(query: str | None) -> str | None:
    return None if query is None else str(not_empty(query))


def judge(
    query: Annotated[str | None, typer.Argument(help="What to find and grade.", callback=_asked)] = None,
    k: Annotated[int, typer.Option("-k", min=1, max=1000, help="Passages to grade.")] = 10,
    retriever: RetrieverName = None,
    rank: Annotated[str | None, typer.Option(help="Order what was found anew, as `foveal search --rank` does.")] = None,
    where: Where = None,
    listed: Annotated[bool, typer.Option("--list", help="List what was judged, of QUERY or of all.")] = False,
    export: Annotated[
        Path | None, typer.Option(help="Write the library's passages and what was judged, in BEIR's layout.")
    ] = None,
    split: Annotated[str, typer.Option(help="Name of the judgements that --export writes: qrels/SPLIT.tsv.")] = "train",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Grade what a search for QUERY finds: 0 not relevant, 1 touches it, 2 relevant, 3 just what was asked for.

    One key for each passage, or one line where the input is no terminal. Each grade is kept at once.
    """
    from foveal.evaluation.judgements import FILE, read_judgements
    from foveal.retrieval.words import plain_quotes

    library = open_library(home)
    path = library.settings.home / FILE
    if export is not None:
        _export(library, read_judgements(path), export, split, as_json=as_json)
    elif listed:
        _list(library, read_judgements(path), query, as_json=as_json)
    elif query is None:
        raise typer.BadParameter("Say what to find, or give --list or --export DIR.", param_hint="QUERY")
    else:
        hits = library.search(plain_quotes(query), k, retriever=retriever, rank=rank, where=where)
        given = _graded(library, query, hits, path, notes() if as_json else results())
        if as_json:
            print_json({"query": query, "found": len(hits), "judged": [one.as_json() for one in given]})


# -- grading ----------------------------------------------------------------------------------------------------------


def _graded(library: Library, query: str, hits: Sequence[Hit], path: Path, console: Console) -> list[Judgement]:
    """Show each hit and keep the grade that it is given; those that were given, each pair once."""
    from foveal.evaluation.judgements import read_judgements

    entries = library.entries([hit.passage.span.document_id for hit in hits])
    shown = [(hit, entries[hit.passage.span.document_id]) for hit in hits if hit.passage.span.document_id in entries]
    if not shown:
        console.print("Nothing found. Try other words, or fewer conditions.")
        return []
    known = {one.key: one.grade for one in read_judgements(path)}
    given: dict[Any, Judgement] = {}
    place = 0
    while place < len(shown):
        hit, entry = shown[place]
        before = known.get(_judgement(query, hit, entry, 0).key)
        console.print(hit_text(place + 1, hit, entry, query, full=True))
        answer = _answer(console, f"   {place + 1} of {len(shown)}", before)
        if answer == QUIT:
            break
        if answer.isdecimal():
            made = _kept(console, path, _judgement(query, hit, entry, int(answer)))
            known[made.key] = made.grade
            given[made.key] = made
        place = max(0, place - 1) if answer == BACK else place + 1
    console.print(_said(list(given.values()), len(shown), path, known), markup=False, soft_wrap=True)
    return list(given.values())


def _judgement(query: str, hit: Hit, entry: Entry, grade: int) -> Judgement:
    from foveal import faults
    from foveal.evaluation.judgements import Judgement

    moment = faults.now().isoformat(timespec="seconds")
    return Judgement(query, hit.passage.span, hit.revision or entry.revision, grade, moment)


def _kept(console: Console, path: Path, judgement: Judgement) -> Judgement:
    from foveal.evaluation.judgements import GRADES, keep_judgement

    replaced = keep_judgement(path, judgement)
    said = f"   Kept: {judgement.grade}, {GRADES[judgement.grade]}"
    if replaced is not None:
        again = "as before" if replaced.grade == judgement.grade else f"in place of {replaced.grade}"
        said += f" ({again})"
    console.print(f"{said}.\n", markup=False)
    return judgement


def _answer(console: Console, place: str, before: int | None) -> str:
    """One of the keys; the end of the input quits."""
    from foveal.evaluation.judgements import GRADES

    allowed = {*map(str, GRADES), SKIP, QUIT, BACK}
    judged = "" if before is None else f", judged {before} before"
    while True:
        console.print(f"{place}{judged}. Grade ({KEYS}): ", end="", markup=False, style="bold")
        found = pressed_key()
        if found is None:
            console.print()
            return QUIT
        if sys.stdin.isatty():
            console.print(found if found.isprintable() else "", markup=False)
        else:
            console.print()
        if found in allowed:
            return found
        console.print(f"   That is no grade. {_explained()}", markup=False)


def pressed_key() -> str | None:
    """The key that was pressed, or the line that was sent where no person types; None at the end of the input."""
    if sys.stdin.isatty():
        try:
            return str(typer.getchar()).lower()
        except EOFError:
            return None
    line = sys.stdin.readline()
    return line.strip().lower() if line else None


def _explained() -> str:
    from foveal.evaluation.judgements import GRADES

    return "; ".join(f"{grade} {meaning}" for grade, meaning in GRADES.items()) + f"; {SKIP}, {BACK}, {QUIT}."


def _said(given: Sequence[Judgement], shown: int, path: Path, known: Mapping[Any, int]) -> str:
    """What was judged now, and what comes next; `known` holds the grades of all queries, by `Judgement.key`."""
    from foveal.ranking.judged import FEWEST

    relevant = sum(one.grade > 0 for one in given)
    if not given:
        return f"Nothing was judged of {shown}."
    queries = {key[0] for key, grade in known.items() if grade > 0}
    then = "Train on what you judged: foveal train ranker pairwise."
    if len(queries) < FEWEST:
        then = f"Training takes {FEWEST} queries with something relevant, and better fifty: go on with another."
    return f"Judged {len(given)} of {shown}, {relevant} of them relevant; kept in {path}. {then}"


# -- what was judged --------------------------------------------------------------------------------------------------


def _list(library: Library, judgements: Sequence[Judgement], query: str | None, *, as_json: bool) -> None:
    from foveal.evaluation.judgements import query_id

    if query is not None:
        judgements = [one for one in judgements if query_id(one.query) == query_id(query)]
    if as_json:
        print_json([one.as_json() for one in judgements])
    elif not judgements:
        results().print('Nothing was judged yet. Begin: foveal judge "QUERY"', markup=False)
    else:
        results().print(_queries_table(judgements) if query is None else _passages_table(library, judgements))


def _queries_table(judgements: Sequence[Judgement]) -> Any:
    from rich.table import Table
    from rich.text import Text

    from foveal.evaluation.judgements import GRADES, query_id

    texts: dict[str, str] = {}
    counts: dict[str, Counter[int]] = {}
    for one in judgements:
        texts.setdefault(query_id(one.query), one.query)
        counts.setdefault(query_id(one.query), Counter())[one.grade] += 1
    table = Table("query", *(f"grade {grade}" for grade in GRADES), box=None, pad_edge=False)
    for name, graded in counts.items():
        table.add_row(Text(texts[name]), *(str(graded[grade] or "") for grade in GRADES))
    return table


def _passages_table(library: Library, judgements: Sequence[Judgement]) -> Any:
    from rich.table import Table
    from rich.text import Text

    entries = library.entries([one.span.document_id for one in judgements])
    table = Table("grade", "title", "place", "judged", box=None, pad_edge=False)
    for one in judgements:
        entry = entries.get(one.span.document_id)
        title = entry.title if entry else "(no longer in the library)"
        if entry and not entry.revision.startswith(one.revision):
            title += " (an earlier text)"
        place = f"{one.span.document_id[:8]} {one.span.start}:{one.span.end}"
        table.add_row(str(one.grade), Text(title), place, one.judged_at)
    return table


def _export(library: Library, judgements: Sequence[Judgement], folder: Path, split: str, *, as_json: bool) -> None:
    """Write corpus, queries and qrels. InputError: nothing was judged, or the folder is taken."""
    from foveal.evaluation.beir import Record
    from foveal.evaluation.judgements import query_id, write_beir
    from foveal.ranking.judged import Shelf

    if not judgements:
        raise InputError('Nothing was judged yet, so there is nothing to export. Begin: foveal judge "QUERY"')
    if not split or Path(split).name != split or split.startswith("."):
        raise InputError(f"Judgements cannot be called {split!r}; give a plain name, such as train or test.")
    with notes().status("Reading the library …"):
        shelf = Shelf.of(library)
        queries: dict[str, str] = {}
        qrels: dict[str, dict[str, int]] = {}
        gone = 0
        for one in judgements:
            passage = shelf.now(one)
            if passage is None:
                gone += 1
                continue
            queries.setdefault(query_id(one.query), one.query)
            qrels.setdefault(query_id(one.query), {})[passage] = one.grade
        records = [
            Record(name, piece.title, piece.text, {"heading": piece.heading} if piece.heading else {})
            for name, piece in shelf.pieces.items()
        ]
        write_beir(folder, records, queries, qrels, split=split)
    count = sum(map(len, qrels.values()))
    if as_json:
        told = {"passages": len(records), "queries": len(queries), "judgements": count, "left_out": gone}
        print_json({"folder": str(folder), "split": split, **told})
        return
    left = f" {gone} are of passages that the library no longer holds, and were left out." if gone else ""
    said = f"Wrote {len(records):,} passages, {len(queries):,} queries and {count:,} judgements to {folder}.{left}"
    results().print(said, markup=False, soft_wrap=True)
