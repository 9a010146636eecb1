"""Why a passage was found: what of it counted, as what ordered the search sees it.

GET  /library/{which}/why?q=…&rank=…&start=…&end=…&revision=…
         the passage with what counted marked, the strongest reasons, and a match matrix where words look one by one

What explains is the ranker that was asked for; without one, or where it cannot, the words of the query, weighed by how
rare they are in the library (ranking/explaining.py). The page is of one passage: a language model explains none by
leaving out its sentences for twenty of them, and of a stranger's only so many as `ranking_s` seconds allow.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from operator import itemgetter
from typing import Any

import numpy as np
from fastapi import APIRouter, Request, Response

from foveal.errors import InputError
from foveal.ranking.chosen import chosen
from foveal.ranking.explanation import Explanation, Reason
from foveal.text.table_cells import barred
from foveal.types import Document, Hit, Passage, Span
from foveal.web.answers import where_of
from foveal.web.document_outline import code_of, headings_of, shown_of, tables_of
from foveal.web.document_text import HASHES, place_address
from foveal.web.documents import entry_of, place_of
from foveal.web.library_search import LONGEST_QUERY
from foveal.web.offered import check_ranker
from foveal.web.pages import page
from foveal.web.passage_marks import apart, in_a_line, marks_within
from foveal.web.request_limits import asked_by, limited
from foveal.web.site import site_of
from foveal.web.small_forms import SmallForms

STRENGTHS = 4
"""Shades of what counted."""

FAINT = 0.1
"""Share of the strongest weight below which nothing is marked."""

REASONS, COLUMNS = 8, 16
"""Reasons in words, and words of the passage in a match matrix: the strongest."""

RULES = re.compile(r"^([^\w\s])\1{2,}[ \t]*+\n|\n[ \t]*+([^\w\s])\2*+[ \t]*+(?=\n?\Z)", re.MULTILINE)
"""In a heading's lines that which underlines its title, or stands above it as well."""

_HEADED = re.compile(r"^#{1,6}\s+(?=\S)")

Place = tuple[int, int]

router = APIRouter(route_class=SmallForms, include_in_schema=False)


@dataclass(frozen=True, slots=True)
class Piece:
    """Characters of the passage; `strength` 1 to 4 for the passage, -1 to -4 against it, 0: it did not count."""

    text: str
    strength: int


@dataclass(frozen=True, slots=True)
class Matrix:
    """Words of the query by words of the passage, each cell as (weight, strength)."""

    columns: Sequence[str]
    rows: Sequence[tuple[str, Sequence[tuple[float, int]]]]


@router.get("/library/{which}/why")
def why(
    request: Request,
    which: str,
    q: str = "",
    start: int = 0,
    end: int = 0,
    revision: str = "",
    retriever: str = "",
    rank: str = "",
    where: str = "",
    as_of: str = "",
    each: str = "",
    no_events: str = "",
) -> Response:
    """What counted in a passage. InputError: nothing is asked, or the passage is not there any more."""
    site, query = site_of(request), q.strip()[:LONGEST_QUERY]
    if not query:
        raise InputError("Why for what? This page explains a passage that a search found: begin with a search.")
    entry = entry_of(site, which)
    heading = place_of(site, entry, start, end, revision)
    check_ranker(rank, site.settings.home)
    limited("search")(request)
    seconds, name = None, chosen(site.settings, retriever=retriever or ("fresh" if as_of else ""), rank=rank)
    if name and asked_by(request):
        limited("rank")(request)
        seconds = site.web.ranking_s or None  # this machine itself may take its time
    span = Span(entry.id, start, end)
    document = site.library.get(entry.id, revision=entry.revision)
    hit = Hit(Passage(span, document.text[start:end], heading), 0.0, name or "words", entry.revision)
    ranker = site.rankers.get(name, site.settings.home) if name else None
    told = site.library.explain(query, [hit], ranker, seconds=seconds)[0]
    asked = {
        "q": query, "retriever": retriever, "rank": rank, "where": where, "as_of": as_of, "each": each,
        "no_events": no_events,
    }  # fmt: skip
    values: dict[str, Any] = {
        "entry": entry,
        "query": query,
        "asked": {name: value for name, value in asked.items() if value},
        "place": where_of(entry.pages, heading, entry.title, span),
        "address": place_address(entry.id, start, end, entry.revision),
        "told": told,
        "pieces": pieces(told, _readable(document, start, end), _markdown(document, start, end)),
        "reasons": reasons(told),
        "matrix": matrix(told),
    }
    return page(request, "library/why.html", values)


def _readable(document: Document, start: int, end: int) -> str:
    """The characters `start` to `end`, one for one, with tables as cells apart."""
    cells = [cell for one in tables_of(document) if not one.mark for cell in one.cells(document.text, start, end)]
    return barred(shown_of(document, start, end), start, cells)


def _markdown(document: Document, start: int, end: int) -> list[Place]:
    """Places of Markdown's marks in characters `start` to `end`, counted from `start`; none of a paper's pages."""
    if document.pages:
        return []
    text = document.text
    code = [one for one in code_of(document) if one.start < end and one.end > start]
    headings = [one for one in headings_of(document) if start <= one.start < end]
    found = [mark.span() for one in headings if (mark := HASHES.match(text, one.start))]
    found += (mark.span() for one in headings for mark in RULES.finditer(text, one.start, one.end))
    found += (place for one in code for place in ((one.start, one.body), (one.stop, one.end)))
    borders = [start, *(border for one in code for border in (one.start, one.end)), end]
    for first, last in zip(borders[::2], borders[1::2], strict=True):
        found += ((first + a, first + b) for a, b in marks_within(text[first:last]))
    return apart([(max(a, start) - start, min(b, end) - start) for a, b in found if max(a, start) < min(b, end)])


# -- what the template draws -------------------------------------------------------------------------------------------


def pieces(told: Explanation, text: str = "", marks: Sequence[Place] = ()) -> list[Piece]:
    """The whole passage in pieces, but for `marks`, places apart in order; together they are its text, or `text`, which
    stands for it one for one.
    """
    text, most = text or told.hit.passage.text, _most(told.of_parts)
    found, at = list[Piece](), 0
    for (start, end), weight in zip(told.parts, told.of_parts.tolist(), strict=True):
        first = max(at, start)
        if first < end:
            found += [*_without(text, at, first, marks, 0), *_without(text, first, end, marks, strength(weight, most))]
            at = end
    return [one for one in (*found, *_without(text, at, len(text), marks, 0)) if one.text]


def _without(text: str, start: int, end: int, marks: Sequence[Place], strength: int) -> Iterator[Piece]:
    """The characters `start` to `end` that are no marks, in one piece."""
    kept, at = list[str](), start
    for first, last in marks[bisect_right(marks, start, key=itemgetter(1)) :]:
        if first >= end:
            break
        kept.append(text[at:first])
        at = last
    yield Piece("".join((*kept, text[at:end])), strength)


def reasons(told: Explanation) -> list[tuple[Reason, int]]:
    """The strongest reasons with their strengths; sentences without Markdown's marks."""
    best = told.best(REASONS)
    most = max((one.weight for one in best), default=0.0)
    readable = [replace(one, text=_HEADED.sub("", in_a_line(one.text))) for one in best]
    return [(one, max(1, strength(one.weight, most))) for one in readable]


def matrix(told: Explanation) -> Matrix | None:
    """The strongest words in the order of the text, each once; None where the query's words do not look one by one."""
    if told.adds or len(told.query) < 2 or not told.parts:
        return None
    named = [told.text(part).lower() for part in told.parts]
    best = dict[str, int]()  # word -> where it matches best
    for number in np.argsort(-told.of_parts, kind="stable").tolist():
        best.setdefault(named[number], number)
    words = list(dict.fromkeys(named[number] for number in told.order()))
    strongest = np.sort([best[word] for word in words[:COLUMNS]])
    weights = told.weights[:, strongest]
    most = _most(weights)
    rows = [
        (word, [(weight, max(0, strength(weight, most))) for weight in row])
        for word, row in zip(told.query, weights.tolist(), strict=True)
    ]
    return Matrix([told.text(told.parts[number]) for number in strongest.tolist()], rows)


def strength(weight: float, most: float) -> int:
    """How dark: 1 to 4 by the share of the strongest, its sign kept; 0 below a tenth of it."""
    share = abs(weight) / most if most > 0 else 0.0
    if not share >= FAINT:
        return 0
    return (1 if weight > 0 else -1) * min(STRENGTHS, 1 + int(share * STRENGTHS))


def _most(weights: np.ndarray) -> float:
    return float(np.abs(weights).max(initial=0.0))
