"""Search over the papers of a home, as people type it: words, an id or address, "a phrase", filters; and papers alike.

    search = PaperSearch.open(settings)
    found = search.search('sparse attention cat:cs.CL year:2024-', k=20)      # found.hits[0].paper, .score, .marks
    search.search("protein folding", rank="blockrank", retriever="fresh")     # any retriever and ranker, by name
    search.similar("2605.01234", k=8)                                         # papers near it

Order      what was named first (an id, a whole title); then the retriever's hits that the filters let pass. The default
           fuses words and meaning, by how long the query is (`HYBRID`); words alone where the index has no vectors;
           `rank` orders the first `candidates` anew, as many as the ranker would of a library's passages
Truth      every hit is read from the database, so what is gone is not shown, and phrases and filters hold of what is
Index      few changes are indexed at the next search, many by `sync()`: until then `Found.note` says what is missing
Threads    one PaperSearch serves any number; the encoder is loaded once, and the rankers that are in use
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext, suppress
from dataclasses import dataclass, replace
from functools import cached_property
from threading import BoundedSemaphore, Lock
from typing import Any

from sqlalchemy import func, select

from foveal.database import Database
from foveal.errors import InputError, LibraryBusy
from foveal.papers.paper_filters import NO_FILTERS, Filters, made, parse
from foveal.papers.paper_index import PaperIndex, Synced, head
from foveal.papers.paper_marks import Marker, Marks, has_phrase, phrases_of
from foveal.papers.records import paper_id, title_key
from foveal.papers.schema import PaperRow
from foveal.papers.similar import DENSE, Similar
from foveal.papers.store import MOST, PAGE, Paper, PaperStore
from foveal.retrieval.adding import AddReport
from foveal.retrieval.hybrid import DENSE_WEIGHT
from foveal.retrieval.pipeline import usual_candidates
from foveal.retrieval.terms import terms
from foveal.settings import Settings
from foveal.types import Hit, Passage, Ranker, Span

TYPED, TYPED_WEIGHT = 6, 0.2
"""Up to so many words are what people type: the share of their meaning in the fused score. Words decide there.

Tuned on queries made of SciFact's titles and keywords; a sentence has the share of `retrieval.hybrid`."""

PARAGRAPH, PARAGRAPH_WEIGHT = 30, DENSE
"""Above so many words a query is a text to find the like of: the share is that of `similar.py`."""


def plain(text: str) -> str:
    """The text; without quotation marks where it is a paragraph, since whoever pastes one means no phrase by them."""
    return text.replace('"', " ") if len(terms(text)) > PARAGRAPH else text


def dense_weight(query: str, *_: Any) -> float:
    """The share of the meaning in the fused score of a query."""
    words = len(terms(query))
    return TYPED_WEIGHT if words <= TYPED else DENSE_WEIGHT if words <= PARAGRAPH else PARAGRAPH_WEIGHT


HYBRID: dict[str, Any] = {"fusion": "weighted", "weigh": dense_weight, "depth": 100}
"""Options of the default retriever. Reciprocal ranks lose much where one search is far the better (docs)."""

TEXTLESS = frozenset(("hybrid", "lexical", "dense"))
"""Retrievers that need not read the passages' texts: a paper's is in the database."""

LEAST = 50
"""Papers asked of a retriever, at least, and twice what a page needs: some may be gone, or lack a phrase."""

DEEPEST, DEEPEST_READ = 6400, 800
"""Papers asked of a retriever, at most, where few of the first ones pass: filters the database knows, of phrases each
paper is read."""

ASKED_AT_ONCE = 1000
"""Papers of one question to the database."""

RANKERS = 2
"""Rankers that are kept, those used last: of names with numbers in them a visitor has as many as they like."""

AT_ONCE = max(2, os.cpu_count() or 1)
"""Searches that find at one time: more would take the processor from each other in the middle, and all be late."""

LONGEST = 4000
"""Characters of a query that are read: more than an abstract."""

SYNC_AT_ONCE = 64
"""Papers that a search indexes before it begins; more wait for `sync`."""

ASK_AGAIN_S = 5.0
"""Seconds for which it is remembered that nothing waits to be indexed."""


@dataclass(frozen=True)
class PaperHit:
    """A paper that was found; `score` is the retriever's or the ranker's, `marks` the places of the query's words."""

    paper: Paper
    score: float
    marks: Marks
    holds: bool = True  # a word of the query, in any field, or is named by it; else it is only near in meaning


@dataclass(frozen=True)
class Found:
    """A page of hits; `total` is how many there are, None where nobody counted. `note` is for the reader."""

    hits: tuple[PaperHit, ...]
    total: int | None
    retriever: str
    ranker: str | None
    seconds: float
    note: str = ""
    waiting: int = 0  # papers that are not searched yet

    @property
    def holding(self) -> list[Paper]:
        """The papers that hold a word of the query: for feeds and mails, since by meaning every paper is a hit."""
        return [hit.paper for hit in self.hits if hit.holds]


class PaperSearch:
    """Search over one home's papers; make it with `PaperSearch.open`."""

    def __init__(self, settings: Settings, database: Database, index: PaperIndex) -> None:
        self.settings = settings
        self.database = database
        self.index = index
        self.store = PaperStore(database)
        self._rankers: dict[tuple[str, tuple[int, ...]], Ranker] = {}
        self._lock = Lock()
        self._turn = BoundedSemaphore(AT_ONCE)
        self._nothing_waits_until = 0.0

    @classmethod
    def open(cls, settings: Settings, database: Database | None = None) -> PaperSearch:
        """The search of a home; its index is made where there is none, and filled by `sync`."""
        database = database or Database.open(settings)
        return cls(settings, database, PaperIndex.open(settings, database))

    def paper(self, which: str) -> Paper:
        """The paper with that id or address. UnknownPaper: it is not here."""
        return self.store.get(which)

    def sync(self, on_progress: Callable[[AddReport], None] = lambda _: None) -> Synced:
        """Index what changed. LibraryBusy: another process is at it."""
        return self.index.sync(on_progress)

    def search(
        self,
        query: str,
        k: int = PAGE,
        *,
        page: int = 0,
        retriever: str | None = None,
        rank: str | Ranker | None = None,
        candidates: int | None = None,
        author: str | None = None,
        category: str | None = None,
        year: str | int | None = None,
        organisation: str | None = None,
        code: str | bool | None = None,
    ) -> Found:
        """The papers that fit `query` best, `k` a page; filters may stand in it, too (see `paper_filters.py`).

        `retriever` is a name of `registry.RETRIEVERS`, `rank` one for `load_ranker`, or a ranker, which orders the best
        `candidates` (None: as of `Library.search`). Without words, but with filters, the newest papers that pass.
        InputError: no such page, or a filter whose value is none. UnknownName: no such retriever or ranker.
        """
        begun = time.perf_counter()
        if page < 0 or not 1 <= k <= MOST or (candidates is not None and candidates < 1):
            raise InputError(
                f"A search got page={page}, k={k}, candidates={candidates}; it needs 0 or more, 1 to {MOST}, 1 or more."
            )
        text, filters = parse(query[:LONGEST])
        filters = filters.and_(made(author=author, category=category, year=year, organisation=organisation, code=code))
        waiting = self._waiting()
        notes = [f"{waiting:,} new or changed papers are not searched yet: they are being indexed."] if waiting else []
        if len(query) > LONGEST:
            notes.append(f"Only the first {LONGEST:,} characters of the query were read.")
        total: int | None = 0
        if text:
            ranker = self._ranker(rank) if isinstance(rank, str) else rank
            read = 0 if ranker is None else candidates or _candidates(ranker)
            wanted = max((page + 1) * k + 1, read)
            quick = (retriever or self._default) in TEXTLESS  # a slow one must not keep the others out
            with self._turn if quick else nullcontext():
                hits, whole = self._found(text, filters, wanted, retriever)
            total = len(hits) if whole and len(hits) < wanted else None
            if ranker is not None:
                hits = _ranked(text, hits, ranker, read)
            notes.append(_note_on(hits[:k]))
            hits = hits[page * k : (page + 1) * k]
        elif filters:
            hits, total = self._listed(filters, k, page)
        else:
            hits = []
            notes.append("Type words, an arXiv id, or a filter such as cat:cs.CL.")
        return Found(
            hits=tuple(hits),
            total=total,
            retriever=retriever or self._default,
            ranker=rank if rank is None or isinstance(rank, str) else type(rank).__name__,
            seconds=time.perf_counter() - begun,
            note=" ".join(filter(None, notes)),
            waiting=waiting,
        )

    def similar(self, which: str, k: int = 8) -> list[Paper]:
        """The `k` papers most like one, itself and its doubles left out. UnknownPaper: it is not here."""
        return self._similar.papers(self.store.get(which), k)

    def warm(self) -> None:
        """Load what the first search and the first page with similar papers would wait for, and keep it in memory."""
        if self.index.encodes:
            import torch  # noqa: F401 - once it is here, a query is encoded in a third of the time (models/bert.py)

            self.index.library.store.hold_vectors()
            self.search("warm", 1)
        self._similar.words.refresh()

    @cached_property
    def _similar(self) -> Similar:
        return Similar(self.index)

    def scores(
        self, text: str, depth: int, *, filters: Filters = NO_FILTERS, retriever: str | None = None
    ) -> dict[str, float]:
        """Paper -> score, the best first, of about `depth` papers that a retriever finds for a text without filters."""
        name = retriever or self._default
        options = (HYBRID if name == "hybrid" else {}) | ({"texts": False} if name in TEXTLESS else {})
        searcher = self.index.library.retriever(name, where=filters.conditions(), **options)
        scores: dict[str, float] = {}
        for hit in searcher.search([plain(text)], depth)[0]:
            paper = self.index.paper_of(hit.passage.span.document_id)
            if paper is not None:
                scores.setdefault(paper, hit.score)
        return scores

    # -- finding -----------------------------------------------------------------------------------------------------

    @property
    def _default(self) -> str:
        return "hybrid" if self.index.encodes else "lexical"

    def _found(self, text: str, filters: Filters, wanted: int, retriever: str | None) -> tuple[list[PaperHit], bool]:
        """What was named, then what the retriever found; each passes the filters and holds the phrases.

        With it whether that is all there is: where few pass, the retriever is asked for more, and these come after.
        """
        text = plain(text)
        named, phrases, marker = self._named(text), phrases_of(text), Marker(text)
        depth = max(LEAST, 2 * wanted)
        deepest = max(depth, DEEPEST_READ if phrases else DEEPEST if filters else 0)
        hits: list[PaperHit] = []
        known, top = set[str](), 0.0
        while True:
            scores = self.scores(text, depth, filters=filters, retriever=retriever)
            top = top or max(scores.values(), default=0.0)
            order = self._passing([one for one in dict.fromkeys([*named, *scores]) if one not in known], filters)
            known |= {*named, *scores}
            while order and len(hits) < wanted:  # as few as fill the page: reading a paper costs more than finding it
                step = wanted - len(hits)
                hits += [
                    _hit(one, scores.get(one.id, top), marker, named=one.id in named)
                    for one in self.store.many(order[:step])
                    if filters.holds(one) and (one.id in named or _holds(one, phrases))
                ]
                order = order[step:]
            if len(hits) >= wanted or len(scores) < depth or depth == deepest:
                return hits, len(scores) < depth
            depth = min(deepest, 8 * depth)

    def _passing(self, papers: Sequence[str], filters: Filters) -> list[str]:
        """Those of the papers that pass the filters, in their order: the index lets through a few that do not."""
        if not filters:
            return list(papers)
        there: set[str] = set()
        with self.database.reading() as session:
            for first in range(0, len(papers), ASKED_AT_ONCE):
                some = PaperRow.id.in_(papers[first : first + ASKED_AT_ONCE])
                there |= set(session.scalars(filters.select().where(some)))
        return [one for one in papers if one in there]

    def _named(self, text: str) -> list[str]:
        """The papers whose id, address or whole title the query is, or an id among its words."""
        named = [one for word in text.split()[:16] for one in _ids(word)]
        with self.database.reading() as session:
            by_title = select(PaperRow.id).where(PaperRow.title_key == title_key(text)).order_by(PaperRow.id)
            by_id = select(PaperRow.id).where(PaperRow.id.in_(named))
            there = set(session.scalars(by_id)) if named else set()
            return list(dict.fromkeys([*(one for one in named if one in there), *session.scalars(by_title)]))

    def _listed(self, filters: Filters, k: int, page: int) -> tuple[list[PaperHit], int]:
        """The newest papers that pass the filters, and how many do."""
        wanted = filters.select()
        page_of = wanted.order_by(PaperRow.published_at.desc().nulls_last(), PaperRow.id).offset(page * k).limit(k)
        with self.database.reading() as session:
            count = session.scalar(select(func.count()).select_from(wanted.subquery())) or 0
            ids = list(session.scalars(page_of))
        return [PaperHit(paper, 0.0, Marks()) for paper in self.store.many(ids)], count

    def _ranker(self, name: str) -> Ranker:
        from foveal.ranking.by_name import edition, load_ranker

        with self._lock:
            version = name, edition(name, self.settings.home)  # trained anew since, it is another one
            ranker = self._rankers.pop(version, None) or load_ranker(name, home=self.settings.home)
            self._rankers[version] = ranker
            for old in list(self._rankers)[:-RANKERS]:
                del self._rankers[old]
            return ranker

    def _waiting(self) -> int:
        """How many papers the index lacks; few are added to it now."""
        if time.monotonic() < self._nothing_waits_until:
            return 0
        waiting = self.index.waiting()
        if 0 < waiting <= SYNC_AT_ONCE:
            with suppress(LibraryBusy):
                self.index.sync(wait=False)
                waiting = 0
        if waiting == 0:
            self._nothing_waits_until = time.monotonic() + ASK_AGAIN_S
        return waiting


def _hit(paper: Paper, score: float, marker: Marker, *, named: bool) -> PaperHit:
    marks = marker.marks(paper.title, paper.abstract)
    holds = any(marks) or named or marker.stands_in([*_fields(paper), *paper.categories])
    return PaperHit(paper, score, marks, holds)


def _note_on(hits: Sequence[PaperHit]) -> str:
    """That no word of the query stands in what was found, and that it names none of these papers."""
    if not hits or any(hit.holds for hit in hits):
        return ""
    return "No paper found holds these words: these are the nearest in meaning."


def _ids(word: str) -> Iterator[str]:
    """The id that a word is, if it is one."""
    try:
        yield paper_id(word.strip("()[]{}<>,;\"'"))
    except InputError:
        return


def _holds(paper: Paper, phrases: Sequence[Sequence[str]]) -> bool:
    """Whether each phrase stands in one of the paper's fields."""
    if not phrases:
        return True
    fields = _fields(paper)
    return all(has_phrase(phrase, fields) for phrase in phrases)


def _fields(paper: Paper) -> list[str]:
    """What the search by words sees, but for the subjects."""
    return [
        paper.title,
        paper.abstract,
        paper.organisation,
        *paper.keywords,
        *(author.name for author in paper.named_authors),
    ]


def _candidates(ranker: Ranker) -> int:
    """How many papers it orders where nobody says."""
    from foveal.ranking.cascade import Cascade

    return ranker.stages[0].candidates if isinstance(ranker, Cascade) else usual_candidates(ranker)


def _ranked(text: str, hits: Sequence[PaperHit], ranker: Ranker, candidates: int) -> list[PaperHit]:
    """The first `candidates` in the ranker's order, then the rest."""
    known = {hit.paper.id: hit for hit in hits}
    ordered = ranker.rank(text, [_as_hit(hit) for hit in hits[:candidates]])
    best = [replace(known[one.passage.span.document_id], score=one.score) for one in ordered]
    return [*best, *hits[candidates:]]


def _as_hit(hit: PaperHit) -> Hit:
    """A paper as rankers know it: title and abstract, under its own id."""
    text = head(hit.paper.title, hit.paper.abstract)
    return Hit(Passage(Span(hit.paper.id, 0, len(text)), text), hit.score, "papers")
