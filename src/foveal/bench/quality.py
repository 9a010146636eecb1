"""Quality of search on judged collections: lexical, dense and hybrid beside BM25S, flat MiniLM and published figures.

The hybrid's weight is tuned on the collection's training queries where it has them, never on test queries. Passages
are the library's own; a document's score is that of its best passage.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench.known_sets import is_collection_of
from foveal.bench.libraries import build, documents_of, run_of
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.beir import Collection, load_beir
from foveal.evaluation.files import present
from foveal.evaluation.metrics import Run, compare, evaluate
from foveal.evaluation.tables import Row
from foveal.registry import require
from foveal.retrieval.dense import DenseRetriever
from foveal.retrieval.hybrid import DENSE_WEIGHT, HybridRetriever
from foveal.retrieval.lexical import LexicalRetriever
from foveal.retrieval.store import Store
from foveal.types import Hit

COLLECTIONS = ("scifact", "cranfield", "limit-small", "negconstraint")
DEPTH = 1000
WEIGHTS = [round(0.05 * step, 2) for step in range(21)]

BARS: dict[tuple[str, str, str], dict[str, float]] = {
    ("scifact", "BM25S", "ndcg@10"): {"at_least": 0.6843, "at_most": 0.6883},
    ("scifact", "BM25S", "recall@100"): {"at_least": 0.9107, "at_most": 0.9147},
    ("scifact", "flat MiniLM, whole abstracts", "ndcg@10"): {"at_least": 0.642, "at_most": 0.648},
    ("scifact", "flat MiniLM, whole abstracts", "recall@100"): {"at_least": 0.92},
    ("scifact", "lexical", "ndcg@10"): {"at_least": 0.67},
    ("scifact", "dense", "ndcg@10"): {"at_least": 0.640},
    ("scifact", "hybrid, reciprocal ranks", "ndcg@10"): {"at_least": 0.715},
    ("scifact", "hybrid, weighted", "ndcg@10"): {"at_least": 0.725},
    ("scifact", "hybrid, weighted", "recall@100"): {"at_least": 0.94},
    ("cranfield", "BM25S", "ndcg@10"): {"at_least": 0.3785, "at_most": 0.3985},
    ("limit-small", "BM25S, not stemmed", "recall@2"): {"at_least": 0.9885, "at_most": 0.9925},
    ("limit-small", "flat MiniLM, whole abstracts", "recall@2"): {"at_least": 0.15, "at_most": 0.175},
}
KNOWN = {"scifact": "SciFact", "cranfield": "Cranfield", "limit-small": "LIMIT-small", "negconstraint": "NegConstraint"}
"""The folders whose bars are figures of one set, or that have none."""

PARTS_OF_OTHERS = ("csfcube", "obliqa")
"""Collections that have benches of their own: grades by facet, and regulations."""

PEERS: dict[str, tuple[str, ...]] = {
    "lexical": ("BM25S",),
    "dense": ("flat MiniLM, whole abstracts",),
    "hybrid, weighted": ("lexical", "dense"),
}
"""What a search is held to, where the collection has no figures: the best of these, less BESIDE_PEER."""
BESIDE_PEER = 0.05
"""nDCG@10; passages are cut, the peers read whole texts."""

NOTES = {
    ("scifact", "BM25S", "ndcg@10"): "measured for the spec: 0.6863; MTEB's BM25S: 0.6874",
    ("scifact", "flat MiniLM, whole abstracts", "ndcg@10"): "published (MTEB): 0.64508",
    ("scifact", "flat MiniLM, whole abstracts", "recall@100"): "published 0.925; measured for the spec in bf16: 0.9217",
}


def quality(settings: BenchSettings) -> Iterator[Row]:
    """Rows of each collection that is there; `--quick`: of the first."""
    for folder in collections(settings)[: 1 if settings.quick else None]:
        yield from _collection(load_beir(folder), folder, settings)


def collections(settings: BenchSettings) -> list[Path]:
    """The collections to measure: the data folder itself, or those that it holds, the known ones first."""
    inside = [folder for folder in sorted(settings.data.glob("*")) if is_collection(folder)]
    known = [settings.data / name for name in COLLECTIONS if settings.data / name in inside]
    others = [folder for folder in inside if folder.name not in (*COLLECTIONS, *PARTS_OF_OTHERS)]
    folders = [settings.data] if is_collection(settings.data) else [*known, *others] or inside
    if not folders:
        raise InputError(
            f"{settings.data} holds no collection in BEIR's layout, nor is it one itself (corpus.jsonl, queries.jsonl, "
            "qrels/test.tsv). Name the folder by --data or FOVEAL_DATA."
        )
    return folders


def is_collection(folder: Path) -> bool:
    """Whether the folder itself is a collection in BEIR's layout."""
    corpus = any((folder / name).is_file() for name in ("corpus.jsonl", "corpus.jsonl.gz"))
    return corpus and present(folder / "qrels", "test.tsv").is_file()


def _collection(collection: Collection, folder: Path, settings: BenchSettings) -> Iterator[Row]:
    metrics = ("ndcg@10", "recall@100", "recall@2") if collection.name == "limit-small" else ("ndcg@10", "recall@100")

    known = collection.name in KNOWN and is_collection_of(KNOWN[collection.name], collection)
    values: dict[str, float] = {}

    def rows(system: str, run: Run, note: str = "") -> Iterator[Row]:
        for metric, value in evaluate(run, collection.qrels, metrics).items():
            key, bars = (collection.name, system, metric), {}
            told = NOTES.get(key, note) if known else note
            if known:
                bars = BARS.get(key, {})
            elif metric == "ndcg@10":
                values[system] = value
                if system in PEERS:
                    bars = {"at_least": max(values[peer] for peer in PEERS[system]) - BESIDE_PEER}
                    told = f"{told + '; ' if told else ''}bar: {' or '.join(PEERS[system])}, less {BESIDE_PEER}"
            yield Row.of(f"{collection.name}: {system}", metric, value, note=told, **bars)

    yield from rows("BM25S", bm25s_run(collection), "k1 1.5, b 0.75, stemmed, stop words out")
    if collection.name == "limit-small":
        yield from rows("BM25S, not stemmed", bm25s_run(collection, stemmed=False), "measured for the spec: 0.9905")
    yield from rows("flat MiniLM, whole abstracts", flat_run(collection, settings))
    with tempfile.TemporaryDirectory() as place:
        store = build(Path(place), documents_of(collection), f"{collection.name}-passages", settings)
        found = _found(store, collection, settings)
        weight, note = _tuned(store, folder, settings)
    yield from rows("lexical", found.run(found.lexical))
    yield from rows("dense", found.run(found.dense))
    yield from rows("hybrid, reciprocal ranks", found.hybrid(fusion="rrf"))
    weighted = found.hybrid(dense_weight=weight)
    yield from rows("hybrid, weighted", weighted, note)
    parts = [found.run(found.lexical), found.run(found.dense)]
    better = max(parts, key=lambda run: evaluate(run, collection.qrels, ["ndcg@10"])["ndcg@10"])
    p_value = compare(weighted, better, collection.qrels)
    yield Row.of(f"{collection.name}: hybrid against its better part", "p-value", p_value, note="paired randomisation")


@dataclass(frozen=True)
class Found:
    """What both retrievers gave for each query of a collection; fused as `HybridRetriever` does it, at its depth."""

    queries: list[str]
    lexical: list[list[Hit]]
    dense: list[list[Hit]]
    addresses: dict[str, str]  # document id -> record id

    def run(self, hits: list[list[Hit]]) -> Run:
        """A run over record ids."""
        return run_of(hits, self.queries, self.addresses)

    def hybrid(self, **options: Any) -> Run:
        """The hybrid's run with these options."""
        retriever = HybridRetriever(Replay(self.lexical), Replay(self.dense), **options)
        return self.run(retriever.search(self.queries, retriever.depth))


@dataclass(frozen=True)
class Replay:
    """A `Retriever` that gives again what one gave before for the same queries."""

    hits: list[list[Hit]]

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:  # noqa: ARG002
        """The first `k` hits of each."""
        return [found[:k] for found in self.hits]


def _tuned(store: Store, folder: Path, settings: BenchSettings) -> tuple[float, str]:
    """The dense weight with the best nDCG@10 on the training queries, and how it was found."""
    if not present(folder / "qrels", "train.tsv").is_file():
        return DENSE_WEIGHT, f"dense weight {DENSE_WEIGHT}, the default: no training queries here"
    train = load_beir(folder, "train")
    found = _found(store, train, settings)
    values = {weight: evaluate(found.hybrid(dense_weight=weight), train.qrels, ["ndcg@10"]) for weight in WEIGHTS}
    best = max(values, key=lambda weight: values[weight]["ndcg@10"])
    value = values[best]["ndcg@10"]
    return best, f"dense weight {best}, tuned on {len(train.queries)} training queries ({value:.4f} there)"


def _found(store: Store, collection: Collection, settings: BenchSettings) -> Found:
    depth = min(HybridRetriever.depth, store.counts()["passages"])
    texts = list(collection.queries.values())
    lexical = LexicalRetriever(store).search(texts, depth)
    dense = DenseRetriever(store, settings.encoder()).search(texts, depth)
    addresses = {entry.id: str(entry.url) for entry in store.entries()}
    return Found(list(collection.queries), lexical, dense, addresses)


def flat_run(collection: Collection, settings: BenchSettings) -> Run:
    """Exact cosine over one vector a record: what the published figures of the encoder are measured with."""
    encoder = settings.encoder()
    records = list(collection.corpus.values())
    texts = [record.whole for record in records]
    corpus = settings.cached_vectors([collection.name, "whole"], texts, encoder)
    scores = encoder.encode(list(collection.queries.values())) @ corpus.T
    best = np.argsort(-scores, axis=1, kind="stable")[:, :DEPTH]
    return {
        query: {records[column].id: float(scores[row, column]) for column in best[row]}
        for row, query in enumerate(collection.queries)
    }


class PeerIndex:
    """BM25S (Lù, 2024), the peer: Lucene's formula, Snowball stems, English stop words out."""

    def __init__(self, texts: Sequence[str], *, stemmed: bool = True) -> None:
        self._bm25s: Any = require("bm25s", extra="bench")
        self._stemmer = require("Stemmer", extra="bench").Stemmer("english") if stemmed else None
        self._size = len(texts)
        self._index = self._bm25s.BM25(k1=1.5, b=0.75)
        self._index.index(self._tokens(texts), show_progress=False)

    def best(self, queries: Sequence[str], k: int) -> tuple[np.ndarray, np.ndarray]:
        """The rows of each query's `k` best texts, and their scores, 0 of those that share no word: (Q, k) each."""
        found, scores = self._index.retrieve(self._tokens(queries), k=min(k, self._size), show_progress=False)
        return found, scores

    def _tokens(self, texts: Sequence[str]) -> Any:
        return self._bm25s.tokenize(list(texts), stopwords="en", stemmer=self._stemmer, show_progress=False)


def bm25s_run(collection: Collection, *, stemmed: bool = True) -> Run:
    """What the peer finds for each query."""
    records = list(collection.corpus.values())
    index = PeerIndex([record.whole for record in records], stemmed=stemmed)
    found, scores = index.best(list(collection.queries.values()), DEPTH)
    return {
        query: {records[column].id: float(score) for column, score in zip(found[row], scores[row], strict=True)}
        for row, query in enumerate(collection.queries)
    }
