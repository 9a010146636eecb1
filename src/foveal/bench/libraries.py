"""Libraries for benchmarks: a collection added as a user would, its vectors taken from the bench's cache."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import numpy as np

from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection
from foveal.evaluation.metrics import Run
from foveal.retrieval import tables
from foveal.retrieval.indexing import Indexed, Indexer, indexed_text
from foveal.retrieval.store import Store
from foveal.text.segmenter_by_name import make_segmenter
from foveal.types import Document, Encoder, Hit, Passage


def new_store(folder: Path, encoder: Encoder, segmenter: str) -> Store:
    """An empty store in `folder`."""
    values = {"encoder": encoder.name, "segmenter": segmenter, "fingerprint": encoder.fingerprint}
    tables.create(str(folder), {**values, "dimension": str(encoder.dimension)}, encoder.dimension)
    return Store.open(str(folder))


def fill(
    store: Store, passages: Sequence[tuple[Document, Sequence[Passage]]], vectors: Mapping[str, np.ndarray]
) -> None:
    """Write documents with passages and vectors that were made before; `vectors` by indexed text."""
    cut = {document.id: made for document, made in passages}

    def encode(texts: Sequence[str]) -> np.ndarray:
        return np.array([vectors[text] for text in texts])

    with store.writing():
        Indexer(store, lambda document: cut[document.id], encode).index(
            (document for document, _ in passages), Indexed()
        )
        store.refresh_indexes(compact=True)


def documents_of(collection: Collection) -> list[Document]:
    """The collection's records as documents; empty ones left out. Their address ends with the record's id."""
    records = (record for record in collection.corpus.values() if record.text.strip() or record.title.strip())
    return [
        Document.of(f"bench:{collection.name}#{record.id}", record.text or record.title, record.title, url=record.id)
        for record in records
    ]


def build(folder: Path, documents: Iterable[Document], name: str, settings: BenchSettings) -> Store:
    """A store in `folder` of `documents`, cut by the default segmenter; vectors cached under `name`."""
    encoder = settings.encoder()
    segmenter = make_segmenter("headings", encoder)
    passages = [(one, [cut for cut in segmenter.segment(one) if cut.text.strip()]) for one in documents]
    texts = [indexed_text(one, passage) for one, cuts in passages for passage in cuts]
    vectors = settings.cached_vectors([name], texts, encoder)
    store = new_store(folder, encoder, "headings")
    fill(store, passages, dict(zip(texts, vectors, strict=True)))
    return store


def best_passage(hits: Sequence[Hit], addresses: dict[str, str]) -> dict[str, float]:
    """Record id -> score of its best passage (MaxP; Dai and Callan, SIGIR 2019)."""
    scores: dict[str, float] = {}
    for hit in hits:
        record = addresses[hit.passage.span.document_id]
        scores[record] = max(scores.get(record, float("-inf")), hit.score)
    return scores


def run_of(ranked: Sequence[Sequence[Hit]], queries: Sequence[str], addresses: dict[str, str]) -> Run:
    """Hits of each query as a run over record ids."""
    return {query: best_passage(hits, addresses) for query, hits in zip(queries, ranked, strict=True)}
