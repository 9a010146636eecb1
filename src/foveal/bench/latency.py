"""Queries over a large library: 50,000 passages of real text (24,000 with --quick), one query after another.

The passages are cut from all text of the data folder: the corpora of its collections, then its plain texts.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np

from foveal.bench.libraries import fill, new_store
from foveal.bench.settings import BenchSettings
from foveal.evaluation.speed import percentiles
from foveal.evaluation.tables import Row
from foveal.retrieval.store import Store
from foveal.text.loading import LoadSettings, Skipped, Source, discover, load
from foveal.text.segmentation import FixedSegmenter
from foveal.types import Document, Passage

PASSAGES = 50_000
PASSAGES_QUICK = 24_000
PASSAGE_TOKENS = 48
"""Short passages, so that 50,000 real ones are encoded in minutes: an index does not see how long a text was."""

FEWEST = 3_000
"""With less text than that nothing can be said of speed; between, it is measured over what there is."""

QUERIES = 300


def latency(settings: BenchSettings) -> Iterator[Row]:
    """Rows: p50 and p95 of both engines, and the vector index's recall of the exact neighbours."""
    count = PASSAGES_QUICK if settings.quick else PASSAGES
    cut = cut_texts(settings, count + QUERIES)
    texts = [passage.text for _, passages in cut for passage in passages]
    if len(texts) < FEWEST:
        yield Row.of("queries over a large library", "passages", len(texts), note=f"not run: needs {FEWEST:,}")
        return
    encoder = settings.encoder()
    vectors = settings.cached_vectors(["latency", str(count)], texts, encoder)
    chosen = np.random.default_rng(settings.seed).choice(len(texts), QUERIES, replace=False)
    held_out = {texts[row] for row in chosen}
    kept = [(document, [one for one in passages if one.text not in held_out]) for document, passages in cut]
    queries = [" ".join(texts[row].split()[:12]) for row in chosen]
    with tempfile.TemporaryDirectory() as place:
        store = new_store(Path(place), encoder, "fixed")
        fill(store, kept, dict(zip(texts, vectors, strict=True)))
        size = sum(path.stat().st_size for path in Path(place).rglob("*") if path.is_file()) / len(texts)
        yield from _rows(store, queries, vectors[chosen], len(texts) - QUERIES, size)


def _rows(store: Store, queries: Sequence[str], vectors: np.ndarray, count: int, size: float) -> Iterator[Row]:
    lexical = percentiles(lambda query: store.lexical(query, 10), queries)
    said = f"{count:,} passages, {len(queries)} queries of 12 words, k 10; p95 {lexical.p95_ms:.1f} ms"
    yield Row.of("lexical query", "p50 ms", lexical.p50_ms, at_most=5, note=said)
    dense = percentiles(lambda vector: store.nearest(vector, 10), list(vectors))
    said = f"{count:,} passages, real vectors, k 10; p95 {dense.p95_ms:.1f} ms"
    yield Row.of("vector query", "p50 ms", dense.p50_ms, at_most=5, note=said)
    for k in (10, 100):
        exact = _exact(store.vectors(), vectors, k)
        found = [{round(one.score, 5) for one in store.nearest(vector, k)} for vector in vectors]
        cut = [min(scores) for scores in exact]
        recall = float(np.mean([sum(s >= low - 2e-5 for s in f) / k for f, low in zip(found, cut, strict=True)]))
        bar = {"at_least": 0.95} if k == 10 else {}
        yield Row.of("vector index", f"recall@{k} against exact", recall, **bar, note="queries are held-out passages")
    yield Row.of("library on disk", "bytes per passage", size, note="text, words, vectors, all indexes")


def _exact(corpus: np.ndarray, queries: np.ndarray, k: int) -> list[list[float]]:
    scores = queries @ corpus.T
    return [sorted(np.partition(row, -k)[-k:].tolist()) for row in scores]


def cut_texts(settings: BenchSettings, count: int) -> list[tuple[Document, list[Passage]]]:
    """Untitled documents of the data folder, cut, until there are `count` passages, no two of them alike."""
    segmenter = FixedSegmenter(max_tokens=PASSAGE_TOKENS)
    cut: list[tuple[Document, list[Passage]]] = []
    seen: set[str] = set()
    for document in documents_in(settings.data):
        mine: list[Passage] = []
        for passage in segmenter.segment(document):
            if len(passage.text.split()) >= 6 and passage.text not in seen and len(seen) < count:
                seen.add(passage.text)
                mine.append(passage)
        cut.append((replace(document, title=""), mine))
        if len(seen) >= count:
            return cut
    return cut


def documents_in(data: Path) -> Iterator[Document]:
    limits = LoadSettings()
    found = [source for source in discover([data], limits) if isinstance(source, Source)]
    kinds = {"beir": 0, "text": 1, "markdown": 1}
    for source in sorted((one for one in found if one.kind in kinds), key=lambda one: (kinds[one.kind], one.address)):
        for one in load(source, limits):
            if not isinstance(one, Skipped):
                yield one
