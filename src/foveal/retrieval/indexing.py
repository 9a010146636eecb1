"""Documents into a store: cut, encode, write, in batches that a kill cannot tear.

Passages of many documents are encoded together, `BATCH` at a time; a document is published once all of its passages
are stored. What was published stays; what was not is done again by the next `add`, and only that.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from itertools import islice
from typing import Any

from foveal.errors import InputError
from foveal.retrieval.rows import Prepared, passage_rows
from foveal.retrieval.store import Store
from foveal.types import Document, Passage

BATCH = 1024
"""Passages encoded and written together: a few seconds of work, the most that a kill costs."""

TITLE_SHOWN, HEADING_SHOWN = 300, 120
"""Characters of a title and of a heading path that stand before a passage in what search sees of it."""

LOOKED_UP = 256
"""Documents whose editions are looked up together."""


@dataclass
class Indexed:
    """What an indexing run did; `seconds` by stage: load, segment, encode, write, index."""

    added: list[str] = field(default_factory=list)  # ids of documents
    updated: list[str] = field(default_factory=list)
    unchanged: list[str] = field(default_factory=list)
    passages: int = 0
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

    def index(self, documents: Iterable[Document], done: Indexed) -> None:
        """Add the documents that are new or changed, and count in `done`."""
        batch = _Batch(self, done)
        for document, edition, known in self._changed(documents, done):
            with done.timed("segment"):
                passages = [passage for passage in self.segment(document) if passage.text.strip()]
            batch.add(document, edition, passages, known=known)
            self.on_progress(done)
        batch.flush()
        self.on_progress(done)

    def edition(self, document: Document) -> str:
        """A hash of all that decides the document's rows: the same edition need not be indexed again."""
        settings = self.store.settings
        parts = (
            document.id, document.revision, document.title, document.url, document.published_at, document.pages,
            sorted(document.metadata.items()), settings.get("segmenter"), settings.get("fingerprint"),
        )  # fmt: skip
        return hashlib.sha256(repr(parts).encode("utf-8", "surrogatepass")).hexdigest()[:32]

    def _changed(self, documents: Iterable[Document], done: Indexed) -> Iterator[tuple[Document, str, bool]]:
        """Document, its edition, and whether the library has an older one; each address once."""
        seen: set[str] = set()
        waiting = iter(documents)
        while chunk := list(_timed_slice(waiting, LOOKED_UP, done)):
            known = self.store.current([document.id for document in chunk])
            for document in chunk:
                if document.id in seen:
                    continue
                seen.add(document.id)
                edition = self.edition(document)
                if document.id in known and known[document.id].edition == edition:
                    done.unchanged.append(document.id)
                else:
                    yield document, edition, document.id in known
            self.on_progress(done)


def _timed_slice(documents: Iterator[Document], size: int, done: Indexed) -> list[Document]:
    """The next documents, at most `size` of them or 8 million characters, and their loading time counted."""
    chunk: list[Document] = []
    characters = 0
    with done.timed("load"):
        for document in islice(documents, size):
            chunk.append(document)
            characters += len(document.text)
            if characters > 8_000_000:
                break
    return chunk


class _Batch:
    """Passages that wait to be encoded, of documents that wait to be published."""

    def __init__(self, indexer: Indexer, done: Indexed) -> None:
        self._indexer = indexer
        self._done = done
        self._waiting: list[tuple[Document, str, Passage]] = []
        self._complete: list[tuple[Prepared, bool]] = []

    def add(self, document: Document, edition: str, passages: Sequence[Passage], *, known: bool) -> None:
        for passage in passages:
            self._waiting.append((document, edition, passage))
            if len(self._waiting) >= BATCH:
                self.flush()
        self._complete.append((Prepared(document, edition, len(passages)), known))

    def flush(self) -> None:
        """Write what waits, then publish the documents that are complete: all of their passages are stored now."""
        self._write()
        with self._done.timed("write"):
            self._indexer.store.publish([prepared for prepared, _ in self._complete])
        for prepared, known in self._complete:
            (self._done.updated if known else self._done.added).append(prepared.document.id)
            self._done.passages += prepared.passages
            self._done.characters += len(prepared.document.text)
        self._complete = []
        self._indexer.on_progress(self._done)

    def _write(self) -> None:
        if not self._waiting:
            return
        indexed = [indexed_text(document, passage) for document, _, passage in self._waiting]
        vectors: Any = None
        if self._indexer.encode:
            with self._done.timed("encode"):
                vectors = self._indexer.encode(indexed)
        with self._done.timed("write"):
            self._indexer.store.append(list(self._rows(indexed, vectors)))
        self._waiting = []

    def _rows(self, indexed: Sequence[str], vectors: Any) -> Iterator[Any]:
        """One table for each document of the batch: its passages stand next to each other."""
        schema, start = self._indexer.store.passages_schema, 0
        while start < len(self._waiting):
            document, edition, _ = self._waiting[start]
            end = start
            while end < len(self._waiting) and self._waiting[end][0] is document:
                end += 1
            passages = [passage for _, _, passage in self._waiting[start:end]]
            part = None if vectors is None else vectors[start:end]
            yield passage_rows(schema, document, edition, passages, indexed[start:end], part)
            start = end


def indexed_text(document: Document, passage: Passage) -> str:
    """What search sees of a passage: title, heading path and text, so that a passage is found by what it is part of.

    Both are cut where they are very long (a heading path from its front): the passage itself must reach the vector.
    """
    title, heading = document.title[:TITLE_SHOWN], passage.heading or ""
    if title and heading.startswith(document.title):
        heading = heading.removeprefix(document.title).removeprefix(" > ")
    named = [part for part in (title, heading[-HEADING_SHOWN:]) if part and not passage.text.startswith(part)]
    return " ".join([*named, passage.text])


def storable(documents: Iterable[Document]) -> Iterator[Document]:
    """The documents, each checked. InputError: half a surrogate pair, or metadata that no filter could ask for."""
    for document in documents:
        for text in (document.text, document.title):
            if not text.isascii() and any("\ud800" <= character <= "\udfff" for character in text):
                raise InputError(f"Document {document.title!r} holds half a surrogate pair; decode its bytes anew.")
        wrong = [key for key, value in document.metadata.items() if not isinstance(value, str | int | float | bool)]
        if wrong:
            raise InputError(
                f"Document {document.title!r} has metadata {wrong} that are no text, number or truth value."
            )
        yield document
