"""Who does the work of `Library.add`: loading sources, cutting documents, encoding passages, building indexes.

    OwnWork(library)                 this process; the default
    scale.adding.RayWork(library)    a cluster

Writing is always the calling process's: one writer, one order. So whoever works, the library comes out the same.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from foveal.retrieval.indexing import Indexed
from foveal.retrieval.rows import Entry
from foveal.retrieval.store import Collection, Store
from foveal.text.loading import LoadSettings, Skipped, Source, readable
from foveal.text.sources import Part
from foveal.types import Document, Passage, Segmenter

LONG_S = 1.0
"""Seconds of one source after which it is told how far it has been read: before, the count of sources says enough."""


@dataclass
class AddReport(Indexed):
    """What `add` did: ids of documents, counts, seconds by stage, and what gave no document, with the reason."""

    skipped: list[Skipped] = field(default_factory=list)
    removed: list[str] = field(default_factory=list)  # by `prune`
    sources: int = 0  # found
    sources_read: int = 0
    part: Part | None = None  # how far the source is that is being read, where it takes long


def no_lesser(
    documents: Iterator[Document], report: AddReport, entries: Callable[[Sequence[str]], Mapping[str, Entry]]
) -> Iterator[Document]:
    """The documents, but for papers that came without their full text and are there with it: these stay as they are.

    arXiv's PDFs cannot be had at all times; its abstract alone must not take the place of what was read before.
    """
    for one in documents:
        if one.metadata.get("full_text") is False:
            there = entries([one.id]).get(one.id)
            if there and there.metadata.get("full_text") is True:
                address = str(one.metadata.get("source", one.id))
                said = f"{address} came without its full text, with which it is in the library: that stays."
                report.skipped.append(Skipped(address, f"{said} Add it again later."))
                continue
        yield one


class Work(Protocol):
    """The parts of adding that others may do."""

    ahead: int
    """Batches that are encoded while others wait; above 0 `encode` gives a call that gives the vectors."""

    def load(self, sources: Sequence[Source], settings: LoadSettings, report: AddReport) -> Iterator[Document]:
        """The documents of the sources, in their order; what gave none goes to `report.skipped`."""
        ...

    def segment(self, document: Document) -> Sequence[Passage]:
        """The passages of a document that `load` gave."""
        ...

    def encode(self, texts: Sequence[str]) -> Any:
        """The vectors of the texts (n, dimension), or a call that gives them."""
        ...

    def index(self, store: Store) -> None:
        """Let the store's indexes cover what was added."""
        ...


class Cutting(Collection, Protocol):
    """A collection that knows how its documents are cut (a `Library` is one)."""

    @property
    def segmenter(self) -> Segmenter: ...


@dataclass
class OwnWork:
    """`Work` by this process. Encoder and segmenter load when they are first needed.

    `on_progress` hears while a long source is read.
    """

    library: Cutting
    ahead: int = 0
    on_progress: Callable[[AddReport], None] = lambda _: None

    def load(self, sources: Sequence[Source], settings: LoadSettings, report: AddReport) -> Iterator[Document]:
        """One source after another."""
        for source in sources:
            begun = time.monotonic()

            def told(part: Part, begun: float = begun) -> None:
                if time.monotonic() - begun >= LONG_S:
                    report.part = part
                    self.on_progress(report)

            for one in readable(source, settings, told):
                report.part = None
                if isinstance(one, Skipped):
                    report.skipped.append(one)
                else:
                    yield one
            report.sources_read += 1

    def segment(self, document: Document) -> Sequence[Passage]:
        """By the library's segmenter."""
        return self.library.segmenter.segment(document)

    def encode(self, texts: Sequence[str]) -> Any:
        """By the library's encoder."""
        return self.library.encoder.encode(texts)

    def index(self, store: Store) -> None:
        """By Lance, in this process."""
        store.refresh_indexes()
