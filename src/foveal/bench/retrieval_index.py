"""bench retrieval-index: every vector index of the product as it is shipped, and codes that learn with the queries.

peers      `foveal bench ann`: exact search, dials turned to equal recall, faiss, usearch, hnswlib
library    the kinds of `Store.use_index`, with the settings that a library uses, on the same vectors
in memory  the kinds of `DenseIndex`, by default settings; the graph (hnsw) must reach the recall of 0.98 at 5 times the
           speed that is asked of an index, which Lance's graph, whose calls take 2 ms, cannot
joint      SciFact's abstracts in 24 bytes: product codes and signs by themselves, and trained on the training claims
           (JPQ, RepCONC, Distill-VQ, BPR), scored by the codes alone; nDCG@10 on test claims

Speed is against our exact search in memory, one query at a time.
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch

from foveal.bench.ann import (
    SPEED_UP,
    TARGET,
    Bars,
    Data,
    Floats,
    Ids,
    Index,
    ann,
    beside_neighbours,
    lance,
    recall_rows,
    speed_row,
)
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.tables import Row
from foveal.retrieval import flat
from foveal.retrieval.lance_indexes import INDEXES, LanceIndex
from foveal.retrieval.quantised import ProductQuantiser
from foveal.retrieval.vector_forms import KEPT, IndexSettings
from foveal.retrieval.vectors import DenseIndex
from foveal.training.joint_index import (
    BinaryPassages,
    ConstrainedPQ,
    DistilledPQ,
    JointModel,
    JointPQ,
    JointSettings,
    fit,
)
from foveal.training.joint_rotation import RotatedPQ

RECALL: dict[str, float] = {"flat": 1.0, "ivf-rq": 0.98, "hnsw": 0.98, "ivf-pq": 0.95}
"""Least recall@10 of the library's kinds: what the docs say of them."""

IN_MEMORY = {"flat": Bars(recall=1.0), "hnsw": Bars(recall=TARGET, speed_up=SPEED_UP)}
"""What is asked of the kinds of `DenseIndex`."""

CODE_BYTES = 24


def indexes(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench retrieval-index`."""
    yield from ann(settings)
    judged = Judged.of(settings)
    encoder = settings.encoder()
    documents = settings.cached_vectors(("scifact", "corpus"), judged.texts, encoder)
    test = settings.cached_vectors(("scifact", "queries"), list(judged.test.queries.values()), encoder)
    data = beside_neighbours(documents, test, settings)
    yield from library_rows(data)
    yield from memory_rows(data)
    train = settings.cached_vectors(("scifact", "training-claims"), list(judged.train.queries.values()), encoder)
    yield from joint_rows(judged, documents, train, test, settings)


def library_rows(data: Data) -> Iterator[Row]:
    """Recall, speed, size and building time of each kind that a library can have."""
    for kind in INDEXES.values():
        with tempfile.TemporaryDirectory(prefix="foveal-index-") as place:
            index = _shipped(kind, data, Path(place))
            system = f"library, {kind.name}"

            def search(query: Floats, k: int, index: Index = index) -> Ids:
                return index.search(query, k, 0)

            yield from recall_rows(system, search, data, at_least=RECALL.get(kind.name))
            yield speed_row(system, search, data)
            yield Row.of(system, "bytes per vector", index.bytes_per_vector, note="of the index; vectors not included")
            yield Row.of(system, "build, s", index.build_s)


def memory_rows(data: Data) -> Iterator[Row]:
    """The same of the kinds of `DenseIndex`."""
    ids = np.arange(len(data.vectors))
    for kind in KEPT:
        start = time.perf_counter()
        index, system = DenseIndex.build(ids, data.vectors, IndexSettings(kind=kind)), f"in memory, {kind}"
        built = time.perf_counter() - start

        def search(query: Floats, k: int, index: DenseIndex = index) -> Ids:
            return np.asarray(index.search(query[None], k)[0][0], dtype=np.int64)

        bars = IN_MEMORY.get(kind, Bars())
        yield from recall_rows(system, search, data, at_least=bars.recall, note=_dials(index.settings))
        yield speed_row(system, search, data, at_least=bars.speed_up)
        size = index.stats()
        note = f"searched; {size.kept_bytes:.0f} more for re-scoring"
        yield Row.of(system, "bytes per vector", size.searched_bytes, note=note)
        yield Row.of(system, "build, s", built)


def joint_rows(
    judged: Judged, documents: Floats, train: Floats, test: Floats, settings: BenchSettings
) -> Iterator[Row]:
    """Codes fitted to the vectors alone, and those that learnt from the training claims."""
    places = {name: row for row, name in enumerate(judged.test.corpus)}
    relevant = [
        {places[name] for name, grade in judged.train.qrels[query].items() if grade > 0}
        for query in judged.train.queries
    ]
    quantiser = ProductQuantiser.train(documents, CODE_BYTES, seed=settings.seed)
    codes = torch.from_numpy(quantiser.encode(documents).astype(np.int64))
    centroids, vectors = torch.from_numpy(quantiser.centroids), torch.from_numpy(documents)
    asked = torch.from_numpy(train)
    plain = {
        "float vectors": (documents, f"{4 * documents.shape[1]:,} bytes a vector"),
        "product codes": (quantiser.decode(quantiser.encode(documents)), f"{CODE_BYTES} bytes, k-means"),
        "signs": (np.where(documents > 0, 1, -1).astype(np.float32), f"{documents.shape[1] // 8} bytes, float query"),
    }
    values = {}
    for name, (held, note) in plain.items():
        values[name] = _ndcg(judged, test, held)
        yield Row.of(f"joint: {name}", "ndcg@10", values[name], note=note)
    models: dict[str, tuple[Callable[[], JointModel], str]] = {
        "JPQ": (lambda: JointPQ(centroids, codes), "product codes"),
        "Distill-VQ": (lambda: DistilledPQ(centroids, codes, vectors), "product codes"),
        "RepCONC": (lambda: ConstrainedPQ(centroids, vectors), "product codes"),
        "Poeem": (lambda: RotatedPQ(centroids, vectors), "product codes"),
        "BPR": (lambda: BinaryPassages(vectors), "signs"),
    }
    for name, (make, base) in models.items():
        model = make()
        joint = JointSettings(epochs=2 if settings.quick else 10, seed=settings.seed)
        start = time.perf_counter()
        fit(model, asked, relevant, joint)
        seconds = time.perf_counter() - start
        with torch.no_grad():
            queries = model.query_vectors(torch.from_numpy(test)).numpy()
        value = _ndcg(judged, queries, model.document_vectors().numpy())
        note = (
            f"{values[base]:.4f} untrained; {joint.epochs} epochs over {len(train)} training claims in {seconds:.0f} s"
        )
        bars = {"at_least": values[base]} if name == "JPQ" else {}
        yield Row.of(f"joint: {name}", "ndcg@10", value, note=note, **bars)


def _shipped(kind: LanceIndex, data: Data, folder: Path) -> Index:
    """A Lance table with the index as a library makes and asks it."""
    config = kind.config(*data.vectors.shape) if kind.config else None

    def turn(query: object, k: int, _effort: int) -> object:
        return kind.asked(query, k, filtered=False)

    return lance(kind.name, config, data, folder, (0,), "", turn)


def _dials(settings: IndexSettings) -> str:
    return f"m {settings.links}, ef {settings.effort}" if settings.kind == "hnsw" else ""


def _ndcg(judged: Judged, queries: Floats, documents: Floats) -> float:
    names = list(judged.test.corpus)
    ids, scores = flat.flat_search(np.ascontiguousarray(documents), np.ascontiguousarray(queries), 100)
    run = {
        query: {names[row]: float(score) for row, score in zip(found, values, strict=True)}
        for query, found, values in zip(judged.test.queries, ids, scores, strict=True)
    }
    return evaluate(run, judged.test.qrels, ("ndcg@10",))["ndcg@10"]
