"""The parts of `foveal bench retrieval` on a toy collection: what is asked, and that test claims decide nothing."""

from __future__ import annotations

import json
from collections import Counter
from dataclasses import replace
from itertools import islice

import numpy as np
import pytest
from honest import HashedWords

from foveal.bench import ann, retrieval_fusion, retrieval_index, retrieval_late, retrieval_pretraining, retrieval_stages
from foveal.bench import retrieval_training as arms
from foveal.bench.known_sets import SIZES
from foveal.bench.people import people, shared
from foveal.bench.retrieval_fusion import Judged
from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import evaluate
from foveal.retrieval.adaptive import corpus_graph
from foveal.retrieval.late import TokenVectors
from foveal.training.loop import Curves
from foveal.training.report import Report

pytest.importorskip("bm25s")

WORDS = [f"word{number}" for number in range(400)]
DOCUMENTS, CLAIMS = 300, 40


class Settings(BenchSettings):
    def encoder(self):
        return HashedWords(dimension=48)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """A toy SciFact: each claim holds words of its document; odd ones are test claims."""
    place = tmp_path_factory.mktemp("bench")
    draw = np.random.default_rng(0)
    texts = [
        " ".join(" ".join(draw.choice(WORDS, size=8)).capitalize() + "." for _ in range(3)) for _ in range(DOCUMENTS)
    ]
    folder = place / "data" / "scifact"
    (folder / "qrels").mkdir(parents=True)
    corpus = [json.dumps({"_id": f"d{i}", "title": "t", "text": text}) for i, text in enumerate(texts)]
    queries = [json.dumps({"_id": f"q{i}", "text": " ".join(texts[i].split()[2:8])}) for i in range(CLAIMS)]
    (folder / "corpus.jsonl").write_text("\n".join(corpus), encoding="utf-8")
    (folder / "queries.jsonl").write_text("\n".join(queries), encoding="utf-8")
    for split, first in (("train", 0), ("test", 1)):
        judged = "".join(f"q{i}\td{i}\t1\n" for i in range(first, CLAIMS, 2))
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    with pytest.MonkeyPatch.context() as patch:  # the set that figures were published for
        patch.setitem(SIZES, "SciFact", (DOCUMENTS, CLAIMS // 2))
        yield Settings(data=place / "data", cache=place / "cache", quick=True)


@pytest.fixture(scope="module")
def judged(settings):
    return Judged.of(settings)


def values(rows):
    return {(row.system, row.metric): row.value for row in rows}


def test_people_like_things_that_two_like():
    made = people(20, likes=6, seed=1)
    assert (len(made.corpus), len(made.queries)) == (20, 60)
    assert Counter(len(found) for found in made.positives.values()) == {2: 60}
    for query, text in made.queries.items():
        thing = text.removeprefix("Who likes ").removesuffix("?")
        holding = {name for name, whole in made.corpus.items() if thing in whole}
        assert holding == set(made.positives[query])
    assert all(text.count(",") == 4 for text in made.corpus.values())  # six things
    assert made.fingerprint == people(20, likes=6, seed=1).fingerprint != people(20, likes=6, seed=2).fingerprint


def test_what_is_shared_with_other_texts_is_counted():
    made = people(4, likes=2)
    assert shared(made, ["Geneva Durben likes Quokkas."]) == 0
    thing = made.queries["q0"].removeprefix("Who likes ").removesuffix("?")
    assert shared(made, [f"{next(iter(made.corpus))} likes {thing.upper()}"]) == 2


def test_fusions_learn_from_training_claims_only(settings, judged, monkeypatch):
    asked = []
    tuned = retrieval_fusion.tuned_weight

    def watched(runs, qrels, **options):
        asked.append((set(qrels), set(options["held_out"])))
        return tuned(runs, qrels, **options)

    monkeypatch.setattr(retrieval_fusion, "tuned_weight", watched)
    rows = list(retrieval_fusion.fusion(settings))
    found = values(rows)
    assert {name for name, _ in found} >= {"BM25S", "MiniLM", "rrf", "weighted", "combmnz", "learned, pairwise"}
    assert asked == [(set(judged.train.queries), set(judged.test.queries))] * 3
    assert found["BM25S", "ndcg@10"] > 0.9  # the claims hold words of their documents
    assert found["metrics against trec_eval", "largest difference"] < 1e-9
    bars = {(row.system, row.metric): row.bar for row in rows if row.bar}
    assert bars.keys() >= {("BM25S", "ndcg@10"), ("MiniLM", "recall@100"), ("rrf", "ndcg@10"), ("weighted", "ndcg@10")}
    assert bars["rrf", "recall@100"] == "≥ 0.952"
    assert bars["weighted, dense weight 0.4", "ndcg@10"] == "0.7301 to 0.7361"
    lexical, dense = retrieval_fusion.bm25s_run(judged.whole), retrieval_fusion.dense_run(judged, settings)
    expected = evaluate(retrieval_fusion.fuse("weighted", lexical, dense, 0.7), judged.test.qrels, "ndcg@10")
    assert found["weighted, dense weight 0.7", "ndcg@10"] == pytest.approx(expected["ndcg@10"])


def test_maxsim_is_held_to_its_double_loop(monkeypatch):
    """A score that is off by a ten-thousandth falls short, as does one that is no number."""
    draw = np.random.default_rng(0)
    texts = [draw.normal(size=(length, 6)).astype(np.float32) for length in (3, 1, 5, 2)]
    held = TokenVectors.of([one / np.linalg.norm(one, axis=1, keepdims=True) for one in texts])
    row = retrieval_late.double_loop_row(held, held)
    assert (row.ok, row.bar) == (True, "≤ 1e-05")
    assert row.note.startswith("3 claims with 4 abstracts")
    right = retrieval_late.maxsim
    monkeypatch.setattr(retrieval_late, "maxsim", lambda *both: right(*both) + np.float32(1e-4))
    assert not retrieval_late.double_loop_row(held, held).ok
    monkeypatch.setattr(retrieval_late, "maxsim", lambda *both: right(*both) * np.nan)
    assert not retrieval_late.double_loop_row(held, held).ok


@pytest.mark.slow
def test_the_late_index_is_held_against_all_documents(settings):
    rows = list(retrieval_late.scifact(settings))
    found = values(rows)
    assert found["index, 4 bits", "recall@10 of the exact best"] > 0.95
    assert found["MUVERA", "recall@10 of the exact best"] > 0.8
    assert 1 <= found["index, 4 bits", "times fewer documents scored"] < 1.01  # 300 documents: all are scored
    again = retrieval_late.token_vectors(
        settings, ("scifact", "tokens"), Judged.of(settings).texts, retrieval_late.load_token_model("minilm")
    )
    np.testing.assert_allclose(np.linalg.norm(again.vectors, axis=1), 1, atol=1e-6)


def test_indexes_are_measured_as_they_are_shipped(settings):
    vectors = np.random.default_rng(0).normal(size=(700, 96)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    data = ann.held_out(vectors, vectors[:12] + 0.01)
    found = values(retrieval_index.library_rows(data))
    for kind in ("flat", "ivf", "ivf-sq", "ivf-rq", "hnsw"):
        assert found[f"library, {kind}", "recall@10"] > 0.9
    rows = list(retrieval_index.memory_rows(data))
    memory = values(rows)
    assert memory["in memory, flat", "recall@10"] == 1
    assert memory["in memory, int8", "bytes per vector"] == 100
    assert memory["in memory, hnsw", "recall@10"] > 0.98
    bars = {(row.system, row.metric): row.bar for row in rows if row.bar}
    assert bars["in memory, hnsw", "recall@10"] == "≥ 0.98"
    assert bars["in memory, hnsw", "speed over our flat search"] == "≥ 5"


@pytest.mark.slow
def test_codes_learn_from_training_claims(settings, judged):
    encoder = settings.encoder()
    documents, train, test = (
        encoder.encode(texts)
        for texts in (judged.texts, list(judged.train.queries.values()), list(judged.test.queries.values()))
    )
    rows = list(retrieval_index.joint_rows(judged, documents, train, test, settings))
    assert [row.system for row in rows if row.bar] == ["joint: JPQ"]
    found = values(rows)
    assert found["joint: float vectors", "ndcg@10"] > found["joint: signs", "ndcg@10"] > 0.3


def test_codes_learn_from_what_is_judged_to_answer(settings, judged, monkeypatch):
    """Grade 0 says that a document was looked at and answers nothing."""
    found, names = [], list(judged.test.corpus)
    graded = {query: {**given, names[-1]: 0} for query, given in judged.train.qrels.items()}
    monkeypatch.setattr(retrieval_index, "fit", lambda *given: found.append(given[2]))
    draw, sizes = np.random.default_rng(0), (len(names), len(judged.train.queries), len(judged.test.queries))
    parts = [draw.normal(size=(size, 48)).astype(np.float32) for size in sizes]
    other = replace(judged, train=replace(judged.train, qrels=graded))
    list(islice(retrieval_index.joint_rows(other, *parts, settings), 4))
    assert found[0] == [{names.index(name) for name in judged.train.qrels[query]} for query in judged.train.queries]


def test_neighbours_are_ranked_within_the_same_budget(settings, judged, monkeypatch):
    """What lies next to a claim's document is wanted: a budget of one turn has no neighbours, one of three has."""
    names = list(judged.test.corpus)
    graph = corpus_graph(retrieval_fusion.scifact_vectors(judged, settings)[0], 1)
    near = {name: names[row] for name, (row,) in zip(names, graph, strict=True)}
    qrels = {query: {near[name]: 1 for name in wanted} for query, wanted in judged.test.qrels.items()}
    test = replace(judged.test, qrels=qrels)
    monkeypatch.setattr(retrieval_stages, "BATCH", 4)
    rises = []
    for budget in (4, 12):
        monkeypatch.setattr(retrieval_stages, "BUDGET", budget)
        found = values(retrieval_stages.neighbour_rows(judged, test, settings))
        rises.append(found["SciFact: adaptive, less first 100", "recall@100"])
        plain = found["SciFact: MiniLM over BM25S's first 100", "recall@100"]
        assert rises[-1] == found["SciFact: the same, adaptive", "recall@100"] - plain
    assert rises[0] == 0 < rises[1]


@pytest.mark.slow
def test_pretraining_is_held_against_untrained_weights_of_its_pooling(settings, monkeypatch):
    from transformers import BertConfig, BertModel

    def tiny(seed):
        config = BertConfig(hidden_size=32, num_hidden_layers=2, num_attention_heads=2, intermediate_size=32)
        return BertModel(config, add_pooling_layer=False)

    bench = retrieval_pretraining
    monkeypatch.setattr(bench, "BEGINNINGS", dict.fromkeys(bench.BEGINNINGS, tiny))
    monkeypatch.setattr(bench, "QUICK_STEPS", 2)
    monkeypatch.setattr(bench, "TASKS", {name: task._replace(batch=4) for name, task in bench.TASKS.items()})
    rows = list(bench.pretraining(settings))
    found = values(rows)
    for name, task in bench.TASKS.items():
        before = found[f"no pre-training, {task.begins}, {task.pooling}", "ndcg@10"]
        assert found[name, "rise over no pre-training"] == found[name, "ndcg@10"] - before
    assert {row.system for row in rows if row.bar} == set(bench.TASKS)


def report(name, dev, test):
    curves = Curves((), (), 10, 10, "finished", 1.0)
    measured = {kind: ({"ndcg@10": 0.5}, {"ndcg@10": value}) for kind, value in (("dev", dev), ("test", test))}
    return Report(name, name, "minilm", curves, measured, dev > 0.5)


def test_the_arm_is_chosen_by_dev_claims(settings, monkeypatch):
    made = {"in-batch": report("in-batch", 0.8, 0.6), "mined": report("mined", 0.7, 0.9)}
    monkeypatch.setattr(arms.Arms, "trained", lambda _self, arm, _seed: made[arm])
    monkeypatch.setattr(arms.Arms, "search_of", lambda self, _report: self.base())
    monkeypatch.setattr(arms.Arms, "misspelling", lambda _self, arm, _seed: made[arm])
    monkeypatch.setattr(arms, "gradients", lambda _: arms.Row.of("cached gradients", "difference", 0.0))
    rows = {row.system: row for row in arms.training(settings)}
    chosen = rows["the chosen arm"]
    assert (chosen.value, chosen.ok) == (0.6, False)
    assert "in-batch" in chosen.note
    assert "in-batch and BM25, weighted" in rows
    claims = [rows[f"{name}, misspelt claims"].value for name in ("MiniLM", "in-batch", "in-batch, typos")]
    assert claims[0] == claims[1] == claims[2] != rows["MiniLM, not trained"].value
    assert not rows["in-batch, typos less without"].ok


def test_the_mean_of_three_seeds_chooses(settings, monkeypatch):
    made = {
        ("in-batch", 0): report("a", 0.9, 0.6),
        **{("in-batch", seed): report("b", 0.5, 0.3) for seed in (1, 2)},
        **{("mined", seed): report("c", 0.7, 0.5 + seed / 10) for seed in (0, 1, 2)},
    }
    monkeypatch.setattr(arms, "TRIED", ("in-batch", "mined"))
    monkeypatch.setattr(arms.Arms, "trained", lambda _self, arm, seed: made[arm, seed])
    monkeypatch.setattr(arms.Arms, "search_of", lambda self, _report: self.base())
    monkeypatch.setattr(arms.Arms, "misspelling", lambda _self, _arm, _seed: made["mined", 0])
    monkeypatch.setattr(arms, "gradients", lambda _: arms.Row.of("cached gradients", "difference", 0.0))
    monkeypatch.setattr(arms, "reranker_rows", lambda *_: iter(()))
    rows = {row.system: row for row in arms.training(replace(settings, quick=False))}
    assert (rows["in-batch, test claims"].value, rows["mined, test claims"].value) == pytest.approx((0.4, 0.6))
    assert "3 seeds, ± 0.1000" in rows["mined, test claims"].note
    assert rows["the chosen arm"].value == pytest.approx(0.6)


def test_an_encoder_learns_from_the_reranker(settings, monkeypatch, tmp_path):
    """The trained cross-encoder, if it was kept, gives the scores; its files are part of what the run is known by."""
    asked, place = {}, tmp_path / "mine"

    def watched(learnt, base, chosen, **options):
        asked.setdefault(chosen.arm, dict(options, arm=chosen.arm, base=base, negatives=chosen.negatives))
        return tmp_path, report(options["run"].name, 0.6, 0.7)

    monkeypatch.setattr(arms, "train_encoder", watched)
    ranked = replace(
        report("mine", 0.4, 0.4), notes=("Another.", "Its score counts 0.4, the first stage's 0.6.", "More.")
    )
    monkeypatch.setattr(arms, "train_reranker", lambda *_, **__: (place, ranked))
    monkeypatch.setattr(arms, "Scorer", lambda folder: ("scores of", folder))
    monkeypatch.setattr(arms, "fingerprint", lambda _: "its files")
    monkeypatch.setattr(arms.Arms, "run_of", lambda self, _report: self.base_run())
    data = arms.Arms(Judged.of(settings), settings)
    rows = {row.system: row for row in arms.reranker_rows(data, "mined", report("mined", 0.8, 0.65))}
    for way, negatives in (("margin-mse", 1), ("adversarial", 7)):
        told = asked[way]
        assert (told["base"], told["teacher"], told["negatives"]) == ("minilm", ("scores of", place), negatives)
        assert (told["teacher_name"], told["run"].name) == ("mine its files", None)
        assert told["run"].dev is data.dev
    made = rows["distilled from the re-ranker, margin-mse"]
    assert (made.value, "the chosen arm, mined, 0.6500" in made.note) == (0.7, True)
    assert rows["re-ranker beside the hybrid"].note.endswith("counts 0.4, the first stage's 0.6.")
    monkeypatch.setattr(arms, "train_reranker", lambda *_, **__: (None, ranked))
    (alone,) = arms.reranker_rows(data, "mined", report("mined", 0.8, 0.65))
    assert "not kept" in alone.note
    assert set(arms.TRIED) < set(arms.ARMS)


def test_cached_gradients_are_those_of_the_whole_batch(judged):
    assert arms.gradients(judged, rows=6, tokens=12).ok


def test_arms_are_trained_on_other_claims_than_those_that_choose(settings):
    data = arms.Arms(Judged.of(settings), settings)
    assert not data.learnt.queries.keys() & data.dev.queries.keys()
    assert not (data.learnt.queries.keys() | data.dev.queries.keys()) & data.test.queries.keys()
