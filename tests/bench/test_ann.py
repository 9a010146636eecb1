import json

import numpy as np
import pytest
from honest import HashedWords

from foveal.bench import ann
from foveal.bench.settings import BenchSettings

WORDS = [f"word{number}" for number in range(400)]


@pytest.fixture(scope="module")
def data():
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(700, 96)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    return ann.held_out(vectors, vectors[:30] + 0.01)


@pytest.mark.parametrize("build", [ann.lance_unindexed, *(build for build, _ in ann.SYSTEMS)])
def test_each_system_finds_the_true_best_at_its_greatest_effort(data, build, tmp_path):
    pytest.importorskip("faiss")
    index = build(data, tmp_path)
    found = [index.search(query, 10, index.efforts[-1]) for query in data.queries]
    rough = (ann.faiss_ivf_pq, ann.usearch_hnsw)  # one looks into 64 of 105, one is built by threads in any order
    assert ann.recall(found, data.truth, 10) > (0.9 if build in rough else 0.98)
    assert index.build_s >= 0
    assert (index.bytes_per_vector > 40) == (build is not ann.lance_unindexed)


def test_recall_is_the_share_that_is_found():
    truth = np.array([[1, 2, 3, 4], [5, 6, 7, 8]])
    found = [np.array([2, 1, 9]), np.array([7, 9, 5, 6])]
    assert ann.recall(found, truth, 2) == (2 / 2 + 0 / 2) / 2
    assert ann.recall(found, truth, 4) == (2 / 4 + 3 / 4) / 2


def test_dials_are_not_turned_on_the_queries_that_are_measured(data):
    assert (len(data.tuning), len(data.queries)) == (10, 20)
    assert not {tuple(query) for query in data.tuning} & {tuple(query) for query in data.queries}
    asked = []

    def search(query, k, effort):
        asked.append(tuple(query))
        truth = dict(zip(map(tuple, data.tuning), data.tuning_truth, strict=True))[tuple(query)]
        return truth[: effort * 3]

    index = ann.Index("dial", search, (1, 2, 3, 4, 5, 6), 0, 0, "")
    assert ann.least_effort(index, data) == 4  # 12 of the best 10 are enough, 9 are not
    assert set(asked) == set(map(tuple, data.tuning))


def test_synthetic_neighbours_are_near_two_real_vectors_and_repeatable():
    real = np.eye(50, dtype=np.float32)
    made = ann.synthetic_neighbours(real, 200, np.random.default_rng(1))
    assert made.dtype == np.float32
    assert np.linalg.norm(made, axis=1) == pytest.approx(np.ones(200), abs=1e-5)
    nearest = (made @ real.T).max(axis=1)
    assert nearest.min() > 0.5
    assert nearest.max() < 1
    assert np.array_equal(made, ann.synthetic_neighbours(real, 200, np.random.default_rng(1)))


@pytest.mark.slow
def test_the_bench_gives_its_rows_on_a_toy_collection(tmp_path):
    pytest.importorskip("faiss")
    draw = np.random.default_rng(0)
    texts = [" ".join(draw.choice(WORDS, size=30)) for _ in range(300)]
    folder = tmp_path / "data" / "scifact"
    (folder / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": f"d{i}", "title": "t", "text": text}) for i, text in enumerate(texts)]
    queries = [json.dumps({"_id": f"q{i}", "text": text[:60]}) for i, text in enumerate(texts[:30])]
    (folder / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    judged = "".join(f"q{i}\td{i}\t1\n" for i in range(30))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")

    class Settings(BenchSettings):
        def encoder(self):
            return HashedWords(dimension=96)

    rows = list(ann.ann(Settings(data=tmp_path / "data", cache=tmp_path / "cache"), neighbours=400))
    asked = {(row.system, row.metric.partition(",")[0]) for row in rows if row.bar}
    assert asked >= {
        ("MiniLM, int8", "nDCG@10 lost"), ("MiniLM, signs + int8", "nDCG@10 lost"),
        ("our flat search", "speed over faiss flat"), ("Lance IVF-PQ", "recall@10"), ("Lance HNSW-SQ", "recall@10"),
        ("Lance HNSW-SQ", "speed over our flat search"),
    }  # fmt: skip
    shown = {(row.system, row.metric): row for row in rows}
    assert shown["Lance HNSW-SQ", "speed over Lance, no index"].bar is None  # a scan that is slower than ours
    deep = shown["Lance IVF-RQ, refine 2 in place of 3", "recall@200 lost"]
    assert abs(deep.value) < 0.2
    assert deep.note.count("refine") == 2
    values = {(row.system, row.metric): row.value for row in rows}
    assert values["synthetic neighbours", "size"] == 400
    for system in ("faiss HNSW", "usearch HNSW", "hnswlib HNSW"):
        assert values[system, "recall@10"] > 0.9
        assert values[system, "recall@100"] > 0.9
    assert values["MiniLM, float32", "nDCG@10"] > 0.9
