"""Documents into a store: cut, encode, write, in batches that a kill cannot tear.

Passages of many documents are encoded together, `BATCH` at a time; a document is published once all of its passages
are stored. What was published stays. Of a document that was not, the passages that were encoded stay, too, unseen: the
next `add` of it goes on behind them, and deletes what nobody went on with.
Batches may be encoded elsewhere, several at once (`ahead`): they hold the same passages and are written in the same
order, so that the tables come out the same.
"""

from __future__ import annotations

import hashlib
import math
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from itertools import islice
from typing import Any

import numpy as np

from foveal.errors import FovealError, InputError
from foveal.evaluation.scripts import composed
from foveal.given import DOCUMENT, each
from foveal.retrieval.filters import literal
from foveal.retrieval.rows import OWN_TITLE, Current, Prepared, passage_rows, titled
from foveal.retrieval.store import Store
from foveal.retrieval.tables import EDITIONS
from foveal.text.records import STORED
from foveal.types import Document, Passage

BATCH = 1024
"""Passages encoded and written together."""

PIECE = 64
"""Passages encoded between two reports: seconds on a slow machine, which is how long a stop waits."""

UNWRITTEN_S = 30.0
"""Seconds of encoding after which it is written, though the batch is not full: the most that a kill costs."""

TITLE_SHOWN, HEADING_SHOWN = 300, 120
"""Characters of a title and of a heading path that stand before a passage in what search sees of it."""

PEOPLE_SHOWN = 160
"""The same of a mail's sender, and of all to whom it went."""

LOOKED_UP = 256
"""Documents whose editions are looked up together."""


@dataclass
class Indexed:
    """What an indexing run did; `seconds` by stage: load, segment, encode, write, index."""

    added: list[str] = field(default_factory=list)  # ids of documents
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    cut: int = 0  # passages of documents that are new or changed
    passages: int = 0
    encoded: int = 0  # passages that have vectors, those too whose document is not whole yet
    resumed: int = 0  # of these, what an earlier run encoded that was stopped
    characters: int = 0
    seconds: dict[str, float] = field(default_factory=dict)

    @contextmanager
    def timed(self, stage: str) -> Iterator[None]:
        """Count the block's time to `stage`."""
        start = time.perf_counter()
        try:
            yield
        finally:
            self.seconds[stage] = self.seconds.get(stage, 0.0) + time.perf_counter() - start


@dataclass(frozen=True)
class Indexer:
    """The way of documents into one store; call it inside `store.writing()`.

    `segment` and `encode` are called for new and changed documents only, so what they need may load when first used.
    """

    store: Store
    segment: Callable[[Document], Sequence[Passage]]
    encode: Callable[[Sequence[str]], Any] | None  # texts -> vectors (n, dimension); None in a library without
    on_progress: Callable[[Indexed], None] = lambda _: None
    ahead: int = 0  # batches that are encoded while others wait; above 0 `encode` gives a call that gives the vectors

    def index(self, documents: Iterable[Document], done: Indexed) -> None:
        """Add the documents that are new or changed, and count in `done`."""
        batch, begun = _Batch(self, done), self.store.begun()
        for document, edition, known in self._changed(documents, done):
            with done.timed("segment"):
                passages = [passage for passage in self.segment(document) if passage.text.strip()]
            done.cut += len(passages)
            there = self._there(document, edition, passages) if (document.id, edition) in begun else 0
            if there and self.encode:
                done.encoded, done.resumed = done.encoded + there, done.resumed + there
            batch.add(document, edition, passages, known=known, there=there)
            self.on_progress(done)
        batch.flush()
        self.store.repair()
        self.on_progress(done)

    def _there(self, document: Document, edition: str, passages: Sequence[Passage]) -> int:
        """The first passages that a run which was stopped has stored; they go where they are not today's."""
        stored = self.store.begun_passages(document.id, edition)
        first = passages[: len(stored)]
        if stored == [(one.span.start, one.span.end, indexed_text(document, one)) for one in first]:
            return len(stored)
        self.store.discard([edition])
        return 0

    def edition(self, document: Document) -> str:
        """A hash of all that decides the document's rows: the same edition need not be indexed again."""
        settings = self.store.settings
        parts = (
            document.id, document.revision, document.title, document.url, document.published_at, document.pages,
            sorted(document.metadata.items()), settings.get("segmenter"),
            settings.get(EDITIONS, settings.get("fingerprint")) or None,
            *([people] if (people := _people(document)) else []),
            *(["composed"] if any(composed(one) != one for one in (document.title, document.text)) else []),
        )  # fmt: skip
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _changed(self, documents: Iterable[Document], done: Indexed) -> Iterator[tuple[Document, str, bool]]:
        """Document, its edition, and whether the library has an older one; each address once."""
        seen: set[str] = set()
        waiting = iter(documents)
        while chunk := _timed_slice(waiting, LOOKED_UP, done, self.on_progress):
            known = self.store.current([document.id for document in chunk])
            given = self._given_titles([one for one in chunk if one.id in known], known)
            for document in chunk:
                if document.id in seen:
                    continue
                seen.add(document.id)
                document = titled(document, given[document.id]) if document.id in given else document
                edition = self.edition(document)
                if document.id in known and known[document.id].edition == edition:
                    done.unchanged.append(document.id)
                else:
                    yield document, edition, document.id in known
            self.on_progress(done)

    def _given_titles(self, documents: Sequence[Document], known: Mapping[str, Current]) -> dict[str, str]:
        """Id -> title of those that a person renamed (`renaming.py`): they keep it."""
        other = [one.id for one in documents if known[one.id].edition != self.edition(one)]
        found = self.store.entries(f"id IN ({','.join(map(literal, other))})") if other else []
        return {entry.id: entry.title for entry in found if OWN_TITLE in entry.metadata}


def _timed_slice(
    documents: Iterator[Document], size: int, done: Indexed, on_progress: Callable[[Indexed], None]
) -> list[Document]:
    """The next documents, at most `size` of them or 8 million characters, and their loading time counted."""
    chunk: list[Document] = []
    characters = 0
    with done.timed("load"):
        for document in islice(documents, size):
            chunk.append(document)
            on_progress(done)
            characters += len(document.text)
            if characters > 8_000_000:
                break
    return chunk


@dataclass(frozen=True)
class _Begun:
    """Passages on their way, and the documents that are complete once they are stored."""

    passages: list[tuple[Document, str, Passage]]
    indexed: list[str]
    vectors: Any  # of `Indexer.encode`
    complete: list[tuple[Prepared, bool]]


class _Batch:
    """Passages that wait to be encoded, of documents that wait to be published."""

    def __init__(self, indexer: Indexer, done: Indexed) -> None:
        self._indexer = indexer
        self._done = done
        self._waiting: list[tuple[Document, str, Passage]] = []
        self._complete: list[tuple[Prepared, bool]] = []
        self._begun: deque[_Begun] = deque()

    def add(
        self, document: Document, edition: str, passages: Sequence[Passage], *, known: bool, there: int = 0
    ) -> None:
        """Let a document wait; the first `there` of its passages are in the store."""
        for passage in passages[there:]:
            self._waiting.append((document, edition, passage))
            if len(self._waiting) >= BATCH:
                self._begin()
        self._complete.append((Prepared(document, edition, len(passages)), known))

    def flush(self) -> None:
        """Write all that waits, and publish the documents that are complete by then."""
        self._begin()
        while self._begun:
            self._finish()

    def _begin(self) -> None:
        """Have what waits encoded, and finish what was begun before, but for the last `ahead`."""
        indexed = [indexed_text(document, passage) for document, _, passage in self._waiting]
        vectors: Any = None
        if indexed and self._indexer.encode:
            if self._indexer.ahead:
                with self._done.timed("encode"):
                    vectors = self._indexer.encode(indexed)  # the call that gives them
            else:
                written, vectors = self._encoded(indexed, self._indexer.encode)
                del self._waiting[:written], indexed[:written]
        self._begun.append(_Begun(self._waiting, indexed, vectors, self._complete))
        self._waiting, self._complete = [], []
        while len(self._begun) > self._indexer.ahead:
            self._finish()

    def _encoded(self, indexed: Sequence[str], encode: Callable[[Sequence[str]], Any]) -> tuple[int, Any]:
        """How many were written on the way, and the vectors of the rest. A stop writes what is encoded by then."""
        written, vectors, since = 0, list[Any](), time.monotonic()

        def write() -> None:
            nonlocal written, since
            begin, ready = written, list(vectors)
            written, since = begin + sum(map(len, ready)), time.monotonic()
            vectors.clear()  # let go first: a stop that comes behind the writing would write them again
            if ready:
                part = _Begun(self._waiting[begin:written], list(indexed[begin:written]), None, [])
                self._write(part, np.concatenate(ready))

        try:
            for first in range(0, len(indexed), PIECE):
                piece = indexed[first : first + PIECE]
                if vectors and time.monotonic() - since > UNWRITTEN_S:
                    write()
                with self._done.timed("encode"):
                    vectors.append(encode(piece))
                self._done.encoded += len(piece)
                self._indexer.on_progress(self._done)
        except BaseException:
            with suppress(FovealError):  # what stopped it is to be told
                write()
            raise
        return written, np.concatenate(vectors)

    def _write(self, begun: _Begun, vectors: Any) -> None:
        with self._done.timed("write"):
            self._indexer.store.append(list(self._rows(begun, vectors)))

    def _finish(self) -> None:
        """Write the batch begun first, then publish its documents: all of their passages are stored now."""
        begun = self._begun.popleft()
        if begun.passages:
            vectors = begun.vectors
            if self._indexer.ahead and vectors is not None:
                with self._done.timed("encode"):
                    vectors = vectors()
                self._done.encoded += len(begun.passages)
            self._write(begun, vectors)
        with self._done.timed("write"):
            self._indexer.store.publish([prepared for prepared, _ in begun.complete])
        for prepared, known in begun.complete:
            (self._done.updated if known else self._done.added).append(prepared.document.id)
            self._done.passages += prepared.passages
            self._done.characters += len(prepared.document.text)
        self._indexer.on_progress(self._done)

    def _rows(self, begun: _Begun, vectors: Any) -> Iterator[Any]:
        """One table for each document of the batch: its passages stand next to each other."""
        schema, start = self._indexer.store.passages_schema, 0
        while start < len(begun.passages):
            document, edition, _ = begun.passages[start]
            end = start
            while end < len(begun.passages) and begun.passages[end][0] is document:
                end += 1
            passages = [passage for _, _, passage in begun.passages[start:end]]
            part = None if vectors is None else vectors[start:end]
            yield passage_rows(schema, document, edition, passages, begun.indexed[start:end], part)
            start = end


def in_pieces(encode: Callable[[Sequence[str]], Any], texts: Sequence[str]) -> Any:
    """The vectors (n, dimension) of 1 text or more, `PIECE` at a time, wherever that is done: alike to the last bit."""
    return np.concatenate([encode(texts[first : first + PIECE]) for first in range(0, len(texts), PIECE)])


def indexed_text(document: Document, passage: Passage) -> str:
    """What search sees of a passage: title, heading path and text, so that a passage is found by what it is part of;
    of a mail also who wrote it, and to whom.

    All are cut where they are very long (a heading path from its front): the passage itself must reach the vector. A
    text whose accents stand apart from their letters is there a second time as queries have it (`scripts.composed`): it
    ends as it is, so that what is shown of it is what its place holds.
    """
    whole, heading, text = composed(document.title), composed(passage.heading or ""), composed(passage.text)
    title = whole[:TITLE_SHOWN]
    if title and f"{heading} > ".startswith(f"{whole} > "):
        heading = heading.removeprefix(whole).removeprefix(" > ")
    named = [part for part in (title, heading[-HEADING_SHOWN:]) if part and not _begins(text, part)]
    again = [text] if text != passage.text else []
    return " ".join([*named, *map(composed, _people(document)), *again, passage.text])


def _begins(text: str, words: str) -> bool:
    """Whether it begins with these words, and not only with their letters."""
    return text.startswith(words) and not text[len(words) :][:1].isalnum()


def _people(document: Document) -> tuple[str, ...]:
    """Whom a mail is from, and to whom it went."""
    if document.metadata.get("kind") != "mail":
        return ()
    sender, *others = (str(document.metadata.get(key) or "") for key in ("author", "to", "cc"))
    said = (sender[:PEOPLE_SHOWN], ", ".join(filter(None, others))[:PEOPLE_SHOWN])
    return tuple(part for part in said if part)


def storable(documents: Iterable[Document]) -> Iterator[Document]:
    """The documents, each checked.

    InputError: what is no Document, half a surrogate pair, metadata that no filter could ask for, or a date that no
    calendar holds.
    """
    for document in each("add_documents", documents, DOCUMENT):
        for text in (document.text, document.title):
            if not _is_text(text):
                raise InputError(f"Document {document.title!r} holds half a surrogate pair; decode its bytes anew.")
        wrong = [key for key, value in document.metadata.items() if not (_is_text(key) and _is_scalar(value))]
        if wrong:
            raise InputError(
                f"Document {document.title!r} has metadata {wrong} that are no text, number or truth value, or whose "
                "name is no text. A number must be finite, a whole one of at most 64 bits; write others as text."
            )
        if document.published_at is not None and not _is_date(document.published_at):
            raise InputError(
                f"Document {document.title!r} has the date {document.published_at!s:.40}; it needs none, or a datetime "
                "that lies in the years 1 to 9999 of UTC."
            )
        yield document


def _is_text(value: object) -> bool:
    """Whether it is a text, and holds no half of a surrogate pair."""
    return isinstance(value, str) and (value.isascii() or not any("\ud800" <= one <= "\udfff" for one in value))


def _is_scalar(value: object) -> bool:
    """Whether it is a value of metadata that the store keeps as it is."""
    if isinstance(value, float):
        return math.isfinite(value)
    return _is_text(value) or (isinstance(value, int) and int(value) in STORED)  # a range seeks an IntEnum one by one


def _is_date(moment: object) -> bool:
    """Whether it can be stored and read again."""
    if not isinstance(moment, datetime):
        return False
    try:
        moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
    except OverflowError:
        return False
    return True
