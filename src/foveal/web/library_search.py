"""The library's search, for pages and programs: passages, each with its place and the words that were asked for marked.

found, note = search_passages(request, "who keeps the mill", retriever="", rank="", where="", as_of="")
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import TYPE_CHECKING, Any

from fastapi import Request

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.evaluation.judgements import FILE, query_id, read_judgements
from foveal.ranking.chosen import NONE, chosen, load_chosen
from foveal.retrieval.by_document import best_of_each
from foveal.retrieval.rows import Entry, documents_of, shown_from, way_to
from foveal.retrieval.words import plain_quotes
from foveal.types import Hit, Ranker, Span
from foveal.web.answers import author_of, where_of
from foveal.web.document_text import place_address
from foveal.web.offered import check_ranker, check_retriever
from foveal.web.passage_marks import Marked, marked_words
from foveal.web.ranked import Within
from foveal.web.request_limits import within
from foveal.web.site import site_of

if TYPE_CHECKING:
    from foveal.retrieval.fresh import Found as Fresh

LONGEST_QUERY = 2000

FOUND = 20
UNREAD = "The encoder knows no token of this, so nothing was looked for by meaning."
"""Passages that a search shows."""

SHORT_AUTHOR = 80
"""Characters of an author in a list."""


@dataclass(frozen=True)
class Step:
    """A passage by way of which a search in hops found another one."""

    title: str
    address: str
    span: Span


@dataclass(frozen=True)
class Found:
    """A passage that a search found, as the page shows it."""

    title: str
    where: str
    address: str
    text: Sequence[Marked]
    score: float
    source: str
    span: Span
    revision: str
    author: str = ""
    published_at: datetime | None = None
    passage: str = ""  # its whole text
    grade: int | None = None  # what it was given for this query, where grades are shown
    via: Sequence[Step] = ()


def search_passages(
    request: Request,
    query: str,
    *,
    retriever: str,
    rank: str,
    where: str,
    as_of: str,
    events: bool = True,
    each: bool = False,
    judging: bool = False,
    most: int = FOUND,
) -> tuple[list[Found], str]:
    """The passages, and what is to be said of how they were ordered. `events`: if “fresh” looks at what goes on."""
    site = site_of(request)
    check_retriever(retriever, site.settings.home)
    as_of = as_of.strip()
    retriever = retriever or ("fresh" if as_of else "")
    timely = retriever.partition(":")[0] == "fresh"
    if as_of and not timely:
        raise InputError(
            f"“As of” goes with the search “fresh”, not with “{retriever}”. Choose fresh, or clear the day."
        )
    told: list[Fresh] = []
    moment: dict[str, Any] = {"at": as_of or None, "events": events, "tell": told.append} if timely else {}
    ranker, bounded = _ranker(request, rank, chosen(site.settings, retriever=retriever, rank=rank))
    candidates = bounded.candidates if bounded else None

    def passages(k: int) -> list[Hit]:
        return site.library.search(
            plain_quotes(query), k, retriever=retriever or None, rank=ranker or NONE, candidates=candidates,
            where=where.strip() or None, **moment,
        )  # fmt: skip

    hits = best_of_each(passages, most) if each else passages(most)
    unread = not hits and not site.library.reads(query, retriever)
    said = (*([UNREAD] if unread else []), *([bounded.said()] if bounded else []), *(one.said for one in told[-1:]))
    note = " ".join(said)
    entries = site.library.entries(documents_of(hits))
    found = [_found(hit, entries, query) for hit in hits if hit.passage.span.document_id in entries]
    if not judging:
        return found, note
    given = {one.key: one.grade for one in read_judgements(site.settings.home / FILE)}
    asked = query_id(query)
    return [replace(one, grade=given.get((asked, one.span, one.revision))) for one in found], note


def _ranker(request: Request, rank: str, name: str) -> tuple[Ranker | None, Within | None]:
    """What orders a search by `name`, for `rank` that a visitor asked for; within the site's time for a stranger."""
    site = site_of(request)
    check_ranker(rank, site.settings.home)  # here, so that it holds whoever loads them: this process, or a cluster
    if not name:
        return None, None
    try:
        bounded = within(request, name, named=bool(rank))
        return bounded or site.rankers.get(name, site.settings.home), bounded
    except (UnknownName, ModelUnavailable):
        if not rank:
            load_chosen(site.settings)  # says what the site's own needs
        raise


def _found(hit: Hit, entries: Mapping[str, Entry], query: str) -> Found:
    span = hit.passage.span
    entry = entries[span.document_id]
    where = where_of(entry.pages, hit.passage.heading, entry.title, span)
    address = place_address(span.document_id, span.start, span.end, hit.revision)
    text, revision = marked_words(hit.passage.text[shown_from(hit, entry) :], query), hit.revision or entry.revision
    author, dated = author_of(entry.metadata, SHORT_AUTHOR), entry.published_at
    via = [Step(one.title, place_address(at.document_id, at.start, at.end), at) for at, one in way_to(hit, entries)]
    return Found(
        entry.title, where, address, text, hit.score, hit.source, span, revision, author, dated, hit.passage.text,
        via=via,
    )  # fmt: skip
