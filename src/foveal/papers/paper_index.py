"""The index of papers: a library of its own in HOME/papers, one passage a paper, kept in step with the database.

    index = PaperIndex.open(settings, database)
    index.sync()                                   # what changed since the last time; Synced(added=…, removed=…)
    index.library.retriever("hybrid").search(…)    # hits; index.paper_of(hit.passage.span.document_id) is the paper

Passage   "title. abstract", and behind `TAIL` what only the search by words sees: authors, organisation, keywords,
          categories, and the title twice more, so that its words count three times
Truth     the database says what exists: papers that the index lacks are added, those that are gone are removed
Kept      how far it came (`WATERMARK`) with the library's settings, written last: a sync that is killed is done again,
          and what it had indexed is passed over
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterator, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from functools import cached_property
from threading import Lock

import numpy as np
from sqlalchemy import func, select

from foveal.database import Database
from foveal.errors import LibraryBusy
from foveal.library import Library
from foveal.papers.paper_filters import metadata_of
from foveal.papers.schema import PaperRow, now
from foveal.papers.store import Paper, PaperStore
from foveal.retrieval import tables
from foveal.retrieval.adding import AddReport
from foveal.settings import Settings
from foveal.types import Document, Encoder, document_id

log = logging.getLogger("foveal.papers")

FOLDER = "papers"
SCHEME = "paper:"
WATERMARK = "papers_changed_at"
TITLE_AGAIN = 2
"""Times that the title stands in the tail: three in all, as the first field's weight is 3."""

TAIL = "\n\n\u2029"
"""Parts what is encoded from what only words find; a paragraph separator, which no abstract holds."""

OVERLAP = timedelta(minutes=2)
"""Changes are read from so long before the last one: a longer transaction may have been stored after a later one."""

READ_AT_ONCE = 256

State = tuple[int, datetime | None]
"""How many papers there are, and when one last changed."""


@dataclass
class Synced:
    """What a sync did, as ids of papers."""

    added: list[str] = field(default_factory=list)
    updated: list[str] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)


class WithoutTail:
    """An `Encoder` that reads a text up to `TAIL`; the vectors are those of the encoder within."""

    def __init__(self, encoder: Encoder) -> None:
        self._encoder = encoder
        self.name, self.dimension, self.max_tokens = encoder.name, encoder.dimension, encoder.max_tokens

    @property
    def fingerprint(self) -> str:
        """That of the encoder within."""
        return self._encoder.fingerprint

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors of the texts up to their tails."""
        return self._encoder.encode([text.partition(TAIL)[0] for text in texts])

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """As the encoder within has it."""
        return self._encoder.token_offsets(text)


class PaperLibrary(Library):
    """A library whose vectors are of title and abstract alone."""

    @cached_property
    def encoder(self) -> Encoder:
        """The library's encoder, without tails."""
        return WithoutTail(super().encoder)


class PaperIndex:
    """The index of one home; make it with `PaperIndex.open`. Threads may share it."""

    def __init__(self, library: Library, database: Database) -> None:
        self.library = library
        self.database = database
        self._papers: dict[str, str] = {}  # document -> paper
        self._lock = Lock()

    @classmethod
    def open(cls, settings: Settings, database: Database, *, encoder: Encoder | None = None) -> PaperIndex:
        """The index of a home, made where there is none; `encoder` stands in for the one that the settings name."""
        own = replace(settings, home=settings.home / FOLDER, library_at="home", segmenter="whole")
        library = PaperLibrary.open(settings=own)
        if encoder is not None:
            library.encoder = WithoutTail(encoder)
        return cls(library, database)

    @property
    def encodes(self) -> bool:
        """Whether it has vectors."""
        return self.library.store.dimension is not None

    def sync(self, on_progress: Callable[[AddReport], None] = lambda _: None, *, wait: bool = True) -> Synced:
        """Bring the index to what the database holds; `wait` for another thread that is at it, or do not.

        LibraryBusy: another process is at it, or a thread that was not to be waited for.
        """
        if not self._lock.acquire(blocking=wait):
            raise LibraryBusy("Another thread is indexing papers. Wait until it is done; searching goes on meanwhile.")
        try:
            done = Synced()
            present = self.library.store.sources()
            wanted = self._wanted(present.keys())
            if wanted:
                report = self.library.add_documents(self._documents(list(wanted)), on_progress=on_progress)
                done.added, done.updated = (
                    [self._papers[one] for one in ids] for ids in (report.added, report.updated)
                )
            gone = present.keys() - self._papers.keys()
            if gone:
                with self.library.store.writing():
                    self.library.store.remove(sorted(gone))
                done.removed = [present[one].removeprefix(SCHEME) for one in sorted(gone)]
            if wanted:
                mark = min(now(), max(wanted.values()))  # a clock that was ahead must not hide what changes later
                tables.write_setting(self.library.store.uri, WATERMARK, mark.isoformat())
            return done
        finally:
            self._lock.release()

    def waiting(self) -> int:
        """Papers that were added or changed since the last sync, at least; cheap enough to ask at every search."""
        changed = PaperStore(self.database).changed_since(self._watermark(), limit=READ_AT_ONCE)
        ahead = now() + OVERLAP
        return sum(at <= ahead for _, at in changed)  # a time that is to come is no change: it would wait till then

    def paper_of(self, document: str) -> str | None:
        """The paper that a document of the index is; None where it is gone."""
        if document not in self._papers:
            self._papers = self._all_papers()
        return self._papers.get(document)

    def _documents(self, ids: Sequence[str]) -> Iterator[Document]:
        for first in range(0, len(ids), READ_AT_ONCE):
            yield from map(document_of, PaperStore(self.database).many(ids[first : first + READ_AT_ONCE]))

    def _wanted(self, present: Set[str]) -> dict[str, datetime]:
        """Papers to look at: changed since the watermark, or not in the index, with when they changed."""
        self._papers = self._all_papers()
        mark = self._watermark()
        since = None if mark is None else mark - OVERLAP
        wanted = dict(PaperStore(self.database).changed_since(since))
        lacking = {paper for one, paper in self._papers.items() if one not in present} - wanted.keys()
        if lacking:
            log.info("the index of papers lacks %d that the database holds: they are added", len(lacking))
            everything = dict(PaperStore(self.database).changed_since(None))
            wanted |= {paper: everything[paper] for paper in lacking if paper in everything}
        return wanted

    def _all_papers(self) -> dict[str, str]:
        with self.database.reading() as session:
            return {document_id(address(one)): one for one in session.scalars(select(PaperRow.id))}

    def _watermark(self) -> datetime | None:
        """How far it came; None, and all is looked at: nothing is indexed, or a clock that was ahead said how far."""
        stated = tables.read_settings(self.library.store.uri).get(WATERMARK)
        mark = datetime.fromisoformat(stated) if stated else None
        return mark if mark is not None and mark <= now() + OVERLAP else None

    def state(self) -> State:
        """Papers in the database and when one last changed: equal states hold the same papers."""
        with self.database.reading() as session:
            count, last = session.execute(select(func.count(), func.max(PaperRow.changed_at))).one()
        return count, last

    def unindexed(self, synced: State | None) -> State | None:
        """The state now, where a sync may find something that one at the state `synced` did not; else None."""
        state = self.state()
        late = state[1] is not None and now() - state[1] < OVERLAP
        return state if late or state != synced else None


def address(paper: str) -> str:
    """The address of a paper's document in the index."""
    return f"{SCHEME}{paper}"


def document_of(paper: Paper) -> Document:
    """What the index sees of a paper."""
    named = [
        ", ".join(author.name for author in paper.named_authors),
        paper.organisation,
        ", ".join(paper.keywords),
        " ".join(paper.categories),
        *[paper.title] * TITLE_AGAIN,
    ]
    text = f"{head(paper.title, paper.abstract)}{TAIL}" + ". ".join(part for part in named if part)
    return Document.of(
        address(paper.id),
        text,
        paper.title,
        url=paper.page_url or None,
        published_at=paper.published_at,
        metadata={"source": address(paper.id), **metadata_of(paper)},
    )


def head(title: str, abstract: str) -> str:
    """What is encoded, and what rankers read."""
    return f"{title}. {abstract}".strip()
