"""Vector search, exact and approximate: the indexes of Lance and our own flat search beside faiss, usearch, hnswlib.

Data      SciFact's abstracts and test claims by MiniLM, plus synthetic neighbours (convex mixtures of two abstracts'
          vectors with noise, of unit length): real queries, real places, and enough vectors to make an index worth it
Recall    share of the true best 10 (100) that is found. A system with a dial is turned up on one third of the queries
          until it reaches the target, and measured on the rest: peers are so compared at equal recall; of the best 200
          for a library's deep searches, which compare fewer by their full vectors
Speed     one query at a time, as a person waits, in turns with an exact search (`paired`): our own, in memory, which is
          what the bar is about. Beside it Lance's own scan, which an index spares in its engine. A call into Lance
          costs about 2 ms before it looks at anything, which the peers, bare libraries, do not pay
Quality   nDCG@10 on SciFact alone, for the smaller forms of the vectors, since the synthetic ones are not judged
Bars      recall@10 of 0.98 at 5 times the speed of our flat search, 0.95 by product quantisation to 48 bytes with
          re-scoring, nDCG@10 within 0.005 (int8) and 0.01 (re-scored signs), our flat search at 0.8 of faiss' speed
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.bench.known_sets import held_to, is_collection_of
from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.evaluation.beir import Collection, load_beir
from foveal.evaluation.metrics import evaluate
from foveal.evaluation.speed import paired, percentiles, seconds_of
from foveal.evaluation.tables import Row
from foveal.registry import require
from foveal.retrieval import flat
from foveal.retrieval.lance_indexes import DEFAULT, INDEXES

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Search = Callable[[Floats, int], Ids]
"""One query (D,) and k to the ids found."""

TARGET = 0.98
"""Recall@10 that systems with a dial are turned up to."""

SPEED_UP = 5.0
"""Times as fast as our flat search that an index must be."""

DEEP = 200
"""Passages that a library's hybrid search asks of each of its parts."""

EFS = (32, 48, 64, 96, 128, 192, 256, 384, 512)
"""The dial of a graph: candidates kept in a search."""

RABITQ_EFFORTS = ((8, 2), (12, 2), (16, 2), (24, 2), (32, 2), (32, 3), (32, 4), (32, 6), (32, 10))
"""The dial of IVF-RQ: cells that are searched, and how many times as many candidates are compared in full."""


@dataclass(frozen=True)
class Data:
    """Stored vectors (N, D), queries to turn dials on and to measure with, and the true best `DEEP` of each."""

    vectors: Floats
    tuning: Floats
    tuning_truth: Ids
    queries: Floats
    truth: Ids


@dataclass(frozen=True)
class Index:
    """A built index: `search(query, k, effort)` gives ids; `efforts` are the turns of its dial, the least first."""

    name: str
    search: Callable[[Floats, int, Any], Ids]
    efforts: Sequence[Any]
    bytes_per_vector: float
    build_s: float
    setting: str
    sized: str = "vectors included"


def ann(settings: BenchSettings, neighbours: int | None = None) -> Iterator[Row]:
    """The rows of the bench, over the real vectors and `neighbours` synthetic ones (200,000; 40,000 with --quick)."""
    folder = settings.folder("scifact", ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv"))
    collection = load_beir(folder)
    encoder = settings.encoder()
    documents = settings.cached_vectors(
        ("scifact", "corpus"), [record.whole for record in collection.corpus.values()], encoder
    )
    queries = settings.cached_vectors(("scifact", "queries"), list(collection.queries.values()), encoder)
    yield from quality_rows(collection, documents, queries)
    data = beside_neighbours(documents, queries, settings, neighbours)
    yield Row.of("SciFact abstracts", SIZE, len(documents))
    yield Row.of(
        "synthetic neighbours",
        SIZE,
        len(data.vectors) - len(documents),
        note="convex mixtures of real vectors, with noise",
    )
    yield Row.of("queries", SIZE, len(queries))
    yield from flat_rows(data)
    with tempfile.TemporaryDirectory(prefix="foveal-ann-") as place:
        exact = lance_unindexed(data, Path(place))
        yield speed_row(exact.name, lambda query, k: exact.search(query, k, 0), data)
        for build, bars in SYSTEMS:
            index = build(data, Path(place))
            yield from index_rows(index, data, bars, exact)
            if build is lance_rabitq:
                yield deep_row(index, data)


def beside_neighbours(
    documents: Floats, queries: Floats, settings: BenchSettings, neighbours: int | None = None
) -> Data:
    """The documents and `neighbours` synthetic ones (200,000; 40,000 with --quick), with the queries."""
    count = neighbours or (40_000 if settings.quick else 200_000)
    generator = np.random.default_rng(settings.seed)
    return held_out(np.concatenate([documents, synthetic_neighbours(documents, count, generator)]), queries)


def synthetic_neighbours(vectors: Floats, count: int, generator: np.random.Generator) -> Floats:
    """Unit vectors (count, D): of two drawn vectors the first with a weight of 0.5 to 1, the other with the rest, and
    Gaussian noise of length 0.3."""
    dimension = vectors.shape[1]
    first, second = (vectors[generator.integers(len(vectors), size=count)] for _ in range(2))
    share = generator.uniform(0, 0.5, size=(count, 1)).astype(np.float32)
    noise = generator.standard_normal((count, dimension), dtype=np.float32) * np.float32(0.3 / dimension**0.5)
    mixed = first + share * (second - first) + noise
    unit: Floats = mixed / np.linalg.norm(mixed, axis=1, keepdims=True)
    return unit


def recall(found: Sequence[Ids], truth: Ids, k: int) -> float:
    """The mean share of the true best `k` among the first `k` found."""
    pairs = zip(found, truth, strict=True)
    return float(np.mean([len(set(map(int, ids[:k])) & set(map(int, true[:k]))) / k for ids, true in pairs]))


def quality_rows(collection: Collection, documents: Floats, queries: Floats) -> Iterator[Row]:
    """nDCG@10 on the real collection, of float vectors and of what the smaller forms lose."""
    signs, small = flat.binarise(documents), flat.quantise_int8(documents)
    plus_minus = np.where(documents > 0, 1, -1).astype(np.float32)
    exact = _ndcg(collection, *flat.flat_search(documents, queries, 100))
    published = Row.of("MiniLM, float32", "nDCG@10", exact, at_least=0.642, at_most=0.648, note="published 0.645")
    yield held_to("SciFact", is_collection_of("SciFact", collection), published)
    int8 = _ndcg(collection, *flat.int8_search(small, queries, 100))
    yield Row.of("MiniLM, int8", "nDCG@10 lost", exact - int8, at_most=0.005, note="388 bytes a vector")
    rescored = _ndcg(collection, *flat.binary_rescored(signs, small, queries, 10))
    note = "Hamming, best 40 re-scored by int8; 436 bytes a vector"
    yield Row.of("MiniLM, signs + int8", "nDCG@10 lost", exact - rescored, at_most=0.01, note=note)
    alone = _ndcg(collection, *flat.flat_search(plus_minus, queries, 100))
    yield Row.of("MiniLM, signs", "nDCG@10 lost", exact - alone, note="float query, no re-scoring; 48 bytes a vector")


def flat_rows(data: Data) -> Iterator[Row]:
    """Our exact search against faiss', and the smaller forms against it."""
    faiss = require("faiss", extra="bench")
    peer = faiss.IndexFlatIP(data.vectors.shape[1])
    peer.add(data.vectors)
    many = data.queries
    for name, asked in (("one query", many[:1]), (f"{len(many)} queries at once", many)):
        ratio = paired(lambda q=asked: peer.search(q, 10), lambda q=asked: flat.flat_search(data.vectors, q, 10))  # type: ignore[misc]
        yield Row.of("our flat search", f"speed over faiss flat, {name}", ratio.median, at_least=0.8, note=str(ratio))
    small, signs = flat.quantise_int8(data.vectors), flat.binarise(data.vectors)
    searches = {
        "our int8 search": lambda query, k: flat.int8_search(small, query[None], k)[0][0],
        "our signs + int8": lambda query, k: flat.binary_rescored(signs, small, query[None], k)[0][0],
    }
    for name, search in searches.items():
        yield from recall_rows(name, search, data, at_least=None)
        yield speed_row(name, search, data)


def index_rows(index: Index, data: Data, bars: Bars, exact: Index) -> Iterator[Row]:
    """Recall, speed, size and building time of an index at the least effort that reaches the target.

    Its speed is held against our flat search in memory; beside it stands `exact`, Lance's scan, for Lance's own.
    """
    effort = least_effort(index, data)
    setting = index.setting.format(effort=effort)

    def search(query: Floats, k: int) -> Ids:
        return index.search(query, k, effort)

    yield from recall_rows(index.name, search, data, at_least=bars.recall, note=setting)
    yield speed_row(index.name, search, data, at_least=bars.speed_up)
    if bars.speed_up:
        yield speed_row(index.name, search, data, against=exact)
    yield Row.of(index.name, "bytes per vector", index.bytes_per_vector, note=index.sized)
    yield Row.of(index.name, "build, s", index.build_s)


def deep_row(index: Index, data: Data) -> Row:
    """What a library's deep searches lose in recall, since they compare fewer times as many by their full vectors."""
    shipped = INDEXES[DEFAULT]
    assert shipped.refine is not None
    assert shipped.refine_deep is not None
    told, found = [], {}
    for refine in (shipped.refine, shipped.refine_deep):

        def search(query: Floats, refine: int = refine) -> Ids:
            return index.search(query, DEEP, (shipped.probes, refine))

        found[refine] = recall([search(query) for query in data.queries], data.truth, DEEP)
        told.append(
            f"refine {refine}: {found[refine]:.4f}, {percentiles(search, list(data.queries[:100])).p50_ms:.1f} ms"
        )
    lost = found[shipped.refine] - found[shipped.refine_deep]
    name = f"{index.name}, refine {shipped.refine_deep} in place of {shipped.refine}"
    return Row.of(name, f"recall@{DEEP} lost", lost, note="; ".join(told))


@dataclass(frozen=True)
class Bars:
    """What is asked of an index."""

    recall: float | None = None
    speed_up: float | None = None


def lance_rabitq(data: Data, folder: Path) -> Index:
    """Lance, IVF with 4-bit RaBitQ codes (Gao and Long, SIGMOD 2024) and exact re-scoring."""
    from lancedb.index import IvfRq

    config = IvfRq(distance_type="dot", num_bits=4)
    return lance(
        "Lance IVF-RQ", config, data, folder, RABITQ_EFFORTS, "4 bits, nprobes {effort[0]}, refine {effort[1]}",
        lambda query, _k, effort: query.nprobes(effort[0]).refine_factor(effort[1]),
    )  # fmt: skip


def lance_hnsw(data: Data, folder: Path) -> Index:
    """Lance, one graph over int8 vectors."""
    from lancedb.index import IvfHnswSq

    def turn(query: Any, k: int, effort: int) -> Any:
        return query.ef(max(effort, 2 * k)).refine_factor(2)  # Lance asks for ef >= k * refine_factor

    config = IvfHnswSq(distance_type="dot", num_partitions=1, m=20, ef_construction=150)
    return lance("Lance HNSW-SQ", config, data, folder, EFS, "m 20, ef {effort}, refine 2", turn)


def lance_ivf_pq(data: Data, folder: Path) -> Index:
    """Lance, IVF with product-quantised codes of 48 bytes and exact re-scoring."""
    from lancedb.index import IvfPq

    config = IvfPq(distance_type="dot", num_sub_vectors=48)
    return lance(
        "Lance IVF-PQ", config, data, folder, (4, 10, 20, 40), "48 bytes, nprobes 32, refine {effort}", _refined
    )


def lance_unindexed(data: Data, folder: Path) -> Index:
    """Lance without an index: it reads all vectors."""
    return lance("Lance, no index", None, data, folder, (0,), "", lambda query, _k, _effort: query)


def faiss_hnsw(data: Data, _folder: Path) -> Index:
    """faiss, a graph over float vectors."""
    faiss = require("faiss", extra="bench")
    index = faiss.IndexHNSWFlat(data.vectors.shape[1], 32, faiss.METRIC_INNER_PRODUCT)
    index.hnsw.efConstruction = 200
    build_s = seconds_of(lambda: index.add(data.vectors))

    def search(query: Floats, k: int, effort: int) -> Ids:
        index.hnsw.efSearch = max(effort, k)
        return _first(index.search(query[None], k)[1])

    return Index("faiss HNSW", search, EFS, _faiss_bytes(index), build_s, "m 32, ef {effort}")


def faiss_ivf_pq(data: Data, _folder: Path) -> Index:
    """faiss, IVF with product-quantised codes of 48 bytes and exact re-scoring."""
    faiss = require("faiss", extra="bench")
    dimension = data.vectors.shape[1]
    cells = int(4 * len(data.vectors) ** 0.5)
    coarse = faiss.IndexFlatIP(dimension)
    index = faiss.IndexIVFPQ(coarse, dimension, cells, 48, 8, faiss.METRIC_INNER_PRODUCT)
    refined = faiss.IndexRefineFlat(index)
    sample = data.vectors[np.random.default_rng(0).permutation(len(data.vectors))[: 39 * cells]]

    def build() -> None:
        refined.train(sample)
        refined.add(data.vectors)

    build_s = seconds_of(build)
    index.nprobe = 64

    def search(query: Floats, k: int, effort: int) -> Ids:
        refined.k_factor = effort
        return _first(refined.search(query[None], k)[1])

    setting = f"48 bytes, {cells} cells, nprobe 64, refine {{effort}}"
    sized = "of the index; vectors not included"
    return Index("faiss IVF-PQ", search, (4, 10, 20, 40), _faiss_bytes(index), build_s, setting, sized)


def usearch_hnsw(data: Data, _folder: Path) -> Index:
    """usearch, a graph over float vectors."""
    module = require("usearch.index", extra="bench")
    index = module.Index(ndim=data.vectors.shape[1], metric="ip", dtype="f32", connectivity=32, expansion_add=200)
    build_s = seconds_of(lambda: index.add(np.arange(len(data.vectors)), data.vectors))

    def search(query: Floats, k: int, effort: int) -> Ids:
        index.expansion_search = max(effort, k)
        return np.asarray(index.search(query, k).keys, dtype=np.int64)

    return Index("usearch HNSW", search, EFS, index.serialized_length / len(index), build_s, "m 32, ef {effort}")


def hnswlib_hnsw(data: Data, folder: Path) -> Index:
    """hnswlib, a graph over float vectors."""
    module = require("hnswlib", extra="bench")
    index = module.Index(space="ip", dim=data.vectors.shape[1])
    index.init_index(max_elements=len(data.vectors), M=32, ef_construction=200, random_seed=0)
    build_s = seconds_of(lambda: index.add_items(data.vectors))
    index.save_index(str(folder / "hnswlib.bin"))
    size = (folder / "hnswlib.bin").stat().st_size

    def search(query: Floats, k: int, effort: int) -> Ids:
        index.set_ef(max(effort, k))
        return _first(index.knn_query(query, k)[0])

    return Index("hnswlib HNSW", search, EFS, size / len(data.vectors), build_s, "m 32, ef {effort}")


SYSTEMS: tuple[tuple[Callable[[Data, Path], Index], Bars], ...] = (
    (lance_rabitq, Bars(recall=TARGET, speed_up=SPEED_UP)),
    (lance_hnsw, Bars(recall=TARGET, speed_up=SPEED_UP)),
    (lance_ivf_pq, Bars(recall=0.95)),
    (faiss_hnsw, Bars()),
    (faiss_ivf_pq, Bars()),
    (usearch_hnsw, Bars()),
    (hnswlib_hnsw, Bars()),
)


def lance(
    name: str,
    config: Any,
    data: Data,
    folder: Path,
    efforts: Sequence[Any],
    setting: str,
    turn: Callable[[Any, int, Any], Any],
) -> Index:
    """A Lance table of the vectors with an index of `config`; `turn` sets a query's dial for k and an effort."""
    import lancedb
    import pyarrow as pa

    count, dimension = data.vectors.shape
    column = pa.FixedSizeListArray.from_arrays(pa.array(data.vectors.reshape(-1)), dimension)
    rows = pa.table({"id": pa.array(np.arange(count)), "vector": column})
    table = lancedb.connect(folder / name.replace(" ", "-")).create_table("vectors", rows)
    build_s = seconds_of(lambda: table.create_index("vector", config=config)) if config else 0.0
    size = sum(index.size_bytes or 0 for index in table.list_indices())

    def search(query: Floats, k: int, effort: int) -> Ids:
        asked = table.search(query, vector_column_name="vector").distance_type("dot").limit(k)
        found = turn(asked, k, effort).select(["id", "_distance"]).to_arrow()
        return np.asarray(found["id"])

    return Index(name, search, efforts, size / count, build_s, setting, sized="of the index; vectors not included")


def _refined(query: Any, _k: int, effort: int) -> Any:
    return query.nprobes(32).refine_factor(effort)


def held_out(vectors: Floats, queries: Floats) -> Data:
    """The vectors with their queries, every third of which is for turning dials."""
    truth, _ = flat.flat_search(vectors, queries, DEEP)
    tuned_on = np.arange(len(queries)) % 3 == 0
    return Data(vectors, queries[tuned_on], truth[tuned_on], queries[~tuned_on], truth[~tuned_on])


def least_effort(index: Index, data: Data) -> Any:
    """The first turn of the dial with the target recall on the tuning queries, or the last."""
    for effort in index.efforts[:-1]:
        found = [index.search(query, 10, effort) for query in data.tuning]
        if recall(found, data.tuning_truth, 10) >= TARGET:
            return effort
    return index.efforts[-1]


def recall_rows(
    name: str,
    search: Search,
    data: Data,
    *,
    at_least: float | None,
    note: str = "",
) -> Iterator[Row]:
    for k, bar in ((10, at_least), (100, None)):
        found = [search(query, k) for query in data.queries]
        yield Row.of(name, f"recall@{k}", recall(found, data.truth, k), at_least=bar, note=note)


def speed_row(
    name: str,
    search: Search,
    data: Data,
    *,
    against: Index | None = None,
    at_least: float | None = None,
) -> Row:
    """Times as fast as our exact search (or as the index `against`), ten queries one by one in each turn."""

    def reference(query: Floats) -> object:
        return against.search(query, 10, 0) if against else flat.flat_search(data.vectors, query[None], 10)

    few = data.queries[:10]
    ratio = paired(lambda: [reference(query) for query in few], lambda: [search(query, 10) for query in few])
    latency = percentiles(lambda query: search(query, 10), list(data.queries[:100]))
    note = f"{ratio.low:.3g} to {ratio.high:.3g}; a query takes {latency.p50_ms:.2f} ms, p95 {latency.p95_ms:.2f} ms"
    metric = f"speed over {against.name if against else 'our flat search'}"
    return Row.of(name, metric, ratio.median, at_least=at_least, note=note)


def _ndcg(collection: Collection, ids: Ids, scores: Floats) -> float:
    names = list(collection.corpus)
    run = {
        query: {names[i]: float(score) for i, score in zip(row, row_scores, strict=True)}
        for query, row, row_scores in zip(collection.queries, ids, scores, strict=True)
    }
    return evaluate(run, collection.qrels, ("ndcg@10",))["ndcg@10"]


def _faiss_bytes(index: Any) -> float:
    return float(require("faiss", extra="bench").serialize_index(index).size / index.ntotal)


def _first(rows: Any) -> Ids:
    ids: Ids = np.asarray(rows[0], dtype=np.int64)
    return ids
