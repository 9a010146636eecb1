"""The parts of `foveal bench rank-neural` on toy data: what is asked, what is kept, and that tests decide nothing."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import numpy as np
import pytest
import torch
from honest import HashedWords

from foveal.bench import code, rank_neural, rank_neural_adhoc, rank_neural_runs, rank_neural_speed
from foveal.bench.rank_neural import Measured, Questions
from foveal.bench.settings import BenchSettings
from foveal.errors import UnknownName
from foveal.ranking.neural import MODELS, settings_class
from foveal.ranking.neural.inputs import Vocabulary, pairs
from foveal.ranking.neural.recipes import RECIPES, recipe
from foveal.ranking.neural.training import NeuralSettings, untrained
from foveal.ranking.neural.vectors import WordVectors

pytest.importorskip("bm25s")

WORDS = [
    f"{first}{last}" for first in "abcdefghijklmnop" for last in ("at", "en", "ip", "ox", "um", "ark", "est", "ill")
]


class Settings(BenchSettings):
    def encoder(self):
        return HashedWords(dimension=32)


def write(path, rows):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")


def answer_rows(split, count, draw):
    """Questions of four words; the right candidate, first in the file, holds three of them, the wrong ones one."""
    for number in range(count):
        asked = draw.choice(WORDS, size=4, replace=False).tolist()
        for place in range(4):
            held = asked[:3] if place == 0 else asked[3:]
            text = [*held, *draw.choice(WORDS, size=8 - len(held)).tolist()]
            yield {
                "qid": f"{split}-{number}",
                "question": " ".join(asked),
                "doc": " ".join(text),
                "label": int(not place),
            }


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    """Two sets of answers, and a toy Cranfield whose queries hold words of their documents."""
    place = tmp_path_factory.mktemp("neural")
    draw = np.random.default_rng(0)
    for name in ("wikiqa", "trecqa"):
        for split, count in (("train", 20), ("dev", 8), ("test", 8)):
            rows = list(answer_rows(split, count, draw))
            rows.append({"qid": f"{split}-alone", "question": "who", "doc": "nobody asked", "label": 0})
            write(place / "data" / name / f"{split}.jsonl", rows)
    texts = [draw.choice(WORDS, size=12).tolist() for _ in range(60)]
    folder = place / "data" / "cranfield"
    write(folder / "corpus.jsonl", ({"_id": f"d{n}", "title": "", "text": " ".join(t)} for n, t in enumerate(texts)))
    write(folder / "queries.jsonl", ({"_id": f"q{n}", "text": " ".join(texts[n][3:8])} for n in range(20)))
    (folder / "qrels").mkdir()
    judged = "".join(f"q{number}\td{number}\t1\n" for number in range(20))
    (folder / "qrels" / "test.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged, encoding="utf-8")
    return Settings(data=place / "data", cache=place / "cache", quick=True)


def short(chosen, **loop):
    """The same settings with three epochs, or what else is given of the loop, and a small table of letters."""

    def made(name, *given):
        whole = chosen(name, *given)
        sizes = {"features": 200} if name == "dssm" else {}
        return replace(whole, sizes=sizes, loop=replace(whole.loop, **{"epochs": 3, **loop}))

    return made


def values(rows):
    return {(row.system, row.metric): row.value for row in rows}


# -- answers ----------------------------------------------------------------------------------------------------------


def test_candidates_lose_the_order_of_the_file_and_nothing_else(settings):
    one, again, other = (Questions.of(settings, "wikiqa", seed) for seed in (0, 0, 1))
    assert one == again != other
    first = [question.labels[0] for question in one.splits["train"].questions]
    assert 0 < sum(first) < len(first) == 20  # in the file all of them are right; the question with none is left out
    for left, right in zip(one.splits["test"].questions, other.splits["test"].questions, strict=True):
        assert sorted(zip(left.candidates, left.labels, strict=True)) == sorted(
            zip(right.candidates, right.labels, strict=True)
        )
    assert one.found["test-0"].keys() == one.examples["test"].judged["test-0"].keys()
    asked = {word for split in ("train", "dev") for text in one.splits[split].queries.values() for word in text.split()}
    known = {word for text in one.candidates for word in text.split()}
    assert set(one.words().vocabulary.words) == asked | known


@pytest.mark.slow
def test_answers_are_held_to_published_figures_and_word_counts(settings, monkeypatch):
    monkeypatch.setattr(rank_neural, "is_set", lambda *_: True)  # the questions that figures were published for
    monkeypatch.setattr(rank_neural, "chosen", short(rank_neural.chosen, epochs=6, batch=4, learning_rate=0.02))
    rows = list(rank_neural.answers(settings))
    found = values(rows)
    for name in ("wikiqa", "trecqa"):
        assert found[f"{name}: test questions", "size"] == 8
        assert found[f"{name}: shared words", "map"] == found[f"{name}: BM25", "map"] == 1
        assert {metric for system, metric in found if system == f"{name}: knrm"} == {
            "map", "mrr", "precision@1", "ndcg@3", "ndcg@5", "err@20", "map above word counts",
        }  # fmt: skip
        gain = found[f"{name}: drmm-tks", "map"] - 1
        assert found[f"{name}: drmm-tks", "map above word counts"] == pytest.approx(gain)
        assert found[f"{name}: drmm-tks beside shared words", "map"] == 1
    assert found["wikiqa: drmm-tks", "map"] > 0.7  # by chance 0.52
    bars = {(row.system, row.metric): row.bar for row in rows if row.bar}
    assert bars["wikiqa: dssm", "map"] == "≥ 0.476"
    assert bars["wikiqa: drmm-tks", "map"] == "≥ 0.5629"
    assert {system for system, _ in bars} == {
        "wikiqa: dssm", "wikiqa: knrm", "wikiqa: drmm-tks", "wikiqa: the best of five",
        "wikiqa: DSSM below the best interaction model",
    }  # fmt: skip
    monkeypatch.setattr(rank_neural_runs, "fit_ranker", lambda *_, **__: pytest.fail("it trained again"))
    assert [row.value for row in rank_neural.answers(settings)] == [row.value for row in rows]


def test_a_run_learns_from_train_and_is_chosen_by_dev(settings, tmp_path, monkeypatch):
    seen = []
    fit = rank_neural_runs.fit_ranker

    def watched(scorer, examples, found, chosen, folder, *, dev, known_by):
        seen.append((examples, dev))
        return fit(scorer, examples, found, chosen, folder, dev=dev, known_by=known_by)

    monkeypatch.setattr(rank_neural_runs, "fit_ranker", watched)
    one = Questions.of(settings, "trecqa", 0)
    chosen = short(rank_neural.chosen)("drmm", "trecqa", 0)
    own = replace(settings, cache=tmp_path)
    made = rank_neural_runs.trained("drmm", one.words(), one.examples, one.found, chosen, own)
    assert seen == [(one.examples["train"], one.examples["dev"])]
    assert not seen[0][0].corpus.keys() & one.examples["test"].corpus.keys()
    assert set(made.runs) == {"dev", "test"}
    assert made.runs["test"].keys() == one.examples["test"].queries.keys()
    assert (made.parameters, made.vectors, made.steps) == (30 * 5 + 5 + 5 + 1 + 1, 0, 3)
    assert [path.suffix for path in (tmp_path / "neural").iterdir()] == [".json"]  # no checkpoint is left
    again = rank_neural_runs.trained("drmm", one.words(), one.examples, one.found, chosen, own)
    assert (again, len(seen)) == (made, 1)
    other = replace(chosen, loop=replace(chosen.loop, seed=1))
    assert rank_neural_runs.trained("drmm", one.words(), one.examples, one.found, other, own) != made


def test_a_run_is_known_by_the_code_it_is_made_of(settings, tmp_path, monkeypatch):
    """Of the ranker's modules and those they import; another ranker's do not count, nor does a comment."""
    whole, parsed = [], code._parsed

    def counted(module):
        whole.append(module)
        return parsed(module)

    monkeypatch.setattr(code, "_parsed", counted)
    monkeypatch.setattr(rank_neural_runs, "_now", lambda *_: rank_neural_runs.Trained({}, 0, 0, 0.0, 0, 0))
    code.code_digest.cache_clear()
    one = Questions.of(settings, "wikiqa", 0)
    own = replace(settings, cache=tmp_path)
    rank_neural_runs.trained("co-pacrr", one.words(), one.examples, one.found, NeuralSettings.of("co-pacrr"), own)
    read = {name.rpartition(".")[2] for name in whole}
    assert {"co_pacrr", "pacrr", "matches", "losses", "training"} <= read
    assert "hint" not in read
    code.code_digest.cache_clear()


def test_word_counts_are_chosen_by_dev_questions(settings, monkeypatch):
    drawn = [Questions.of(settings, "wikiqa", 0)]

    def run(split, right):
        judged = drawn[0].splits[split].qrels
        return {query: {name: label * right for name, label in one.items()} for query, one in judged.items()}

    def counted(_, *, stemmed, stop):
        good_on_dev = stemmed and not stop
        runs = {"dev": run("dev", 1 if good_on_dev else -1), "test": run("test", -1 if good_on_dev else 1)}
        return {"BM25": runs, "shared words": runs}

    monkeypatch.setattr(rank_neural, "_counted", counted)
    counted = {"dev": [run("dev", 1)], "test": [run("test", -1)]}
    assert rank_neural.word_counts(drawn) == {"BM25": counted, "shared words": counted}


def test_a_ranker_beside_shared_words_has_its_weight_from_dev_questions(settings):
    drawn = [Questions.of(settings, "wikiqa", seed) for seed in (0, 1)]

    def runs(right):
        judged = {split: drawn[0].splits[split].qrels for split in ("dev", "test")}
        return {
            split: {query: {name: label * right for name, label in one.items()} for query, one in found.items()}
            for split, found in judged.items()
        }

    def row(model, counts):
        made = [rank_neural_runs.Trained(model, 1, 1, 1.0, 1, 0)] * 2
        counted = {split: [counts[split]] * 2 for split in ("dev", "test")}
        return rank_neural.beside_row("wikiqa", "arc-i", made, drawn[:1] * 2, counted)

    assert row(runs(-1), runs(1)).value == row(runs(1), runs(-1)).value == 1
    misled = row({"dev": runs(1)["dev"], "test": runs(-1)["test"]}, runs(0))
    assert misled.value < 0.6  # on the test questions alone its weight would be 0
    assert (misled.system, misled.metric, misled.bar) == ("wikiqa: arc-i beside shared words", "map", None)


def measured(system, test, dev):
    return Measured(system, {metric: {"q": test} for metric in rank_neural.METRICS}, (test,), dev)


def test_the_best_of_five_is_chosen_by_dev_questions():
    rankers = {
        name: measured(name, test, dev)
        for name, test, dev in (("knrm", 0.61, 0.8), ("drmm", 0.7, 0.7), ("tk", 0.9, 0.9), ("dssm", 0.65, 0.5))
    }
    best, below = rank_neural.together(rankers)
    assert (best.value, best.ok) == (0.61, False)
    assert "drmm, 0.7000" in best.note
    assert (below.value, below.ok) == (pytest.approx(0.25), True)
    assert list(rank_neural.together({"cdssm": measured("cdssm", 0.5, 0.5)})) == []


def test_bars_are_about_wikiqa_only_and_no_broken_run_lowers_one():
    run = rank_neural_runs.Trained({}, 1, 2, 3.0, 40, 0)
    of = {
        name: list(rank_neural.ranker_rows(name, measured("duet", 0.6, 0.6), [run], measured("BM25", 0.62, None)))
        for name in ("wikiqa", "trecqa")
    }
    assert [row.bar for row in of["wikiqa"]] == ["≥ 0.6001", *[None] * 5, "≥ 0.0001"]
    assert [row.ok for row in of["wikiqa"]][::6] == [False, False]
    assert [row.bar for row in of["trecqa"]] == [None] * 7


def test_settings_of_a_ranker_are_those_it_learns_best_with():
    assert RECIPES.keys() <= MODELS.keys()
    for name in MODELS:
        made, known = NeuralSettings.of(name), recipe(name)
        assert (made.loss, made.loop.learning_rate, made.train_vectors) == (
            known.loss, known.learning_rate, known.train_vectors,
        )  # fmt: skip
        settings_class(name)(**made.sizes)
    assert NeuralSettings.of("knrm", loss="bce", train_vectors=True).train_vectors
    with pytest.raises(UnknownName):
        NeuralSettings.of("bert")


# -- ad-hoc search ----------------------------------------------------------------------------------------------------


def test_each_query_is_tested_once_by_what_never_saw_it(settings):
    data = rank_neural_adhoc.cranfield(settings)
    assert sorted(data.tested) == sorted(data.examples.queries)
    for part in data.parts:
        seen = [set(one.queries) for one in (part.learn, part.dev, part.test)]
        assert set.union(*seen) == set(data.examples.queries)
        assert sum(map(len, seen)) == len(data.examples.queries)
        assert len(part.test.queries) == 4
    assert all(found and list(found.values()) == sorted(found.values(), reverse=True) for found in data.found.values())


def test_moved_judgements_are_as_many_among_what_was_found(settings):
    data = rank_neural_adhoc.cranfield(settings)
    moved = rank_neural_adhoc.with_moved(data.examples, data.found, 0)
    assert moved.judged.keys() == data.examples.judged.keys()
    assert all(set(one) <= set(data.found[query]) and len(one) == 1 for query, one in moved.judged.items())
    assert sum(moved.judged[query] == data.examples.judged[query] for query in moved.judged) < 5


@pytest.mark.slow
@pytest.mark.slow
def test_beside_bm25_the_weight_sees_no_test_query(settings, monkeypatch):
    monkeypatch.setattr(rank_neural_adhoc, "FOLDS", 2)
    monkeypatch.setattr(rank_neural_adhoc, "chosen", short(rank_neural_adhoc.chosen))
    data = rank_neural_adhoc.cranfield(settings)
    asked = []
    tuned = rank_neural_adhoc.tuned_weight

    def watched(runs, qrels, *, metric, held_out):
        asked.append((set(qrels), set(held_out)))
        return tuned(runs, qrels, metric=metric, held_out=held_out)

    monkeypatch.setattr(rank_neural_adhoc, "tuned_weight", watched)
    rows = list(rank_neural_adhoc.of_collection(data, settings))
    found = values(rows)
    tests = [set(part.test.queries) for part in data.parts]
    assert asked == [(set(data.examples.queries) - test, test) for test in tests] * 5
    gain = found["cranfield: drmm beside BM25S", "ndcg@10"] - found["cranfield: BM25S", "ndcg@10"]
    assert found["cranfield: drmm beside BM25S", "ndcg@10, gain"] == pytest.approx(gain)
    assert {(row.system, row.bar) for row in rows if row.bar} == {
        ("cranfield: drmm beside BM25S", "≥ 0.01"),
        ("cranfield: knrm beside BM25S", "≥ 0.01"),
        ("cranfield: dssm alone", "≥ 0.0001"),
        ("cranfield: arc-i alone", "≥ 0.0001"),
        ("cranfield: drmm, judgements moved", "≤ 0.5"),
        ("cranfield: drmm, judgements moved", "≤ 0.005"),
    }


# -- speed ------------------------------------------------------------------------------------------------------------


def test_the_loop_counts_what_drmm_counts():
    queries, documents = rank_neural_speed.texts(6, seed=0)
    vocabulary = Vocabulary.of_texts(documents, queries, min_frequency=1)
    vectors = WordVectors.random(len(vocabulary), 8)
    batch = pairs(vocabulary, [*queries[:5], "the"], documents, query_length=5, document_length=30)
    same, ratio, whole = rank_neural_speed.histogram_rows(batch, vectors, runs=1)
    assert same.value < 1e-2
    assert min(ratio.value, whole.value) > 0  # one pair of a millisecond: which is more is the machine's to say
    cells = rank_neural_speed.Cells([[[1.0, 0.99, -1.0, 0.0]]], [[[True, False, False, False]]])
    assert rank_neural_speed.looped(cells, 5) == [[[1, 0, 1, 1, 1]]]


def test_each_ranker_is_timed_on_texts_of_the_same_lengths(settings, monkeypatch):
    monkeypatch.setattr(rank_neural_speed, "MODELS", {"drmm": "", "dssm": ""})
    monkeypatch.setattr(rank_neural_speed, "BATCH", 8)
    before = torch.get_num_threads()
    rows = list(rank_neural_speed.speed(settings))
    assert torch.get_num_threads() == before
    assert [row.system for row in rows] == ["drmm", "dssm", *["drmm, histogram"] * 3]
    assert all(row.value > 0 for row in rows[:2])
    assert rows[0].note.startswith("162 numbers besides word vectors; interaction, asymmetric")
    assert rows[3].bar == "≥ 50"
    queries, documents = rank_neural_speed.texts(8, 0)
    assert ({len(one.split()) for one in queries}, {len(one.split()) for one in documents}) == ({20}, {200})


def test_collections_that_are_not_there_are_named(settings, monkeypatch):
    monkeypatch.setattr(rank_neural_adhoc, "of_collection", lambda *_: [])
    rows = list(rank_neural_adhoc.adhoc(settings))
    assert [row.system.partition(":")[0] for row in rows] == ["CISI", "Vaswani"]
    assert all(math.isnan(row.value) and row.ok is None for row in rows)
    assert all("not run, and no bar is set: the data folder does not hold" in row.note for row in rows)
    scorer = untrained("drmm", vocabulary := Vocabulary.of_texts(["a b"]), WordVectors.random(len(vocabulary)),
                       NeuralSettings.of("drmm"))  # fmt: skip
    assert rank_neural_runs.sizes(scorer.model) == (162, 0)
