"""bench layers-lama over small made sets: its parts run, arms are kept, the measures are what they say."""

from __future__ import annotations

import csv
import json
import math
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from nn.subject_texts import texts

from foveal.bench import layers_lama, layers_lama_arms, layers_lama_exact, layers_lama_tokens, layers_lama_words
from foveal.bench.layers_lama_arms import ARMS, Arms
from foveal.bench.layers_lama_words import Batch, heads_alike, without
from foveal.bench.settings import BenchSettings


def _written(folder, rows, columns):
    folder.parent.mkdir(parents=True, exist_ok=True)
    with folder.open("w", newline="") as file:
        table = csv.writer(file)
        table.writerow(columns)
        table.writerows(rows)


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    for part, seed in (("train", 0), ("test", 1)):
        rows = [(one.label, one.text) for one in texts(60, seed=seed)]
        _written(data / "classification" / "r8" / f"{part}.csv", rows, ("label", "text"))
        pairs = [(one.text, one.text[: 20 + n % 9], (n % 5) / 4) for n, one in enumerate(texts(30, seed=seed))]
        _written(data / "semrel" / f"eng_{part}.csv", pairs, ("sentence1", "sentence2", "score"))
        rated = [(1 + n % 3, one.text) for n, one in enumerate(texts(30, seed=seed))]
        _written(data / "ratings" / f"{part}.csv", rated, ("stars", "text"))
    rows = [(one.label, one.text) for one in texts(90)]
    _written(data / "classification" / "mr" / "all.csv", rows, ("label", "text"))
    return BenchSettings(data=data, cache=tmp_path_factory.mktemp("cache"), quick=True)


@pytest.fixture(scope="module")
def arms(settings):
    return Arms(settings)


def test_lama_is_exact():
    rows = list(layers_lama_exact.exact(BenchSettings()))
    assert len(rows) == 16
    assert all(row.ok for row in rows)


def test_every_pooling_is_timed(monkeypatch):
    monkeypatch.setattr(layers_lama_exact, "LENGTHS", (4, 8, 16))
    rows = list(layers_lama_exact.speed(BenchSettings(quick=True)))
    timed = {row.system for row in rows if row.metric == "milliseconds"}
    names = ("LAMA", "LAMA without the token layer", "structured", "one head", "mean", "max")
    assert timed == {f"{length} tokens: {name}" for length in (4, 8, 16) for name in names}
    assert all(row.value > 0 for row in rows)


@pytest.mark.slow
def test_every_arm_is_measured_and_kept(arms, monkeypatch):
    pytest.importorskip("sklearn")
    few = ("LAMA", "mean", "structured", "full multi-head")
    monkeypatch.setattr(layers_lama_arms, "QUICK", {"r8": few, "mr": few[::3]})
    rows = {row.system: row for row in layers_lama.accuracy(arms)}
    assert {f"r8: {name}" for name in few} <= rows.keys()
    assert rows["r8: LAMA / structured"].value == pytest.approx(11_800 / 37_800)
    assert rows["r8: LAMA / structured"].ok
    assert rows["r8: LAMA - mean"].bar == "≥ -0.01"
    assert rows["mr: LAMA - full multi-head"].bar is None
    kept = sorted(one.name for one in (arms.settings.cache / "layers").glob("*/done.json"))
    again = Arms(arms.settings)
    one, other = (some.learnt("r8", ARMS["LAMA"], 0) for some in (arms, again))
    assert all(torch.equal(a, b) for a, b in zip(one.parameters(), other.parameters(), strict=True))
    assert sorted(one.name for one in (arms.settings.cache / "layers").glob("*/done.json")) == kept


@pytest.mark.slow
def test_what_weights_are_worth_is_measured(arms):
    rows = {(row.system, row.metric): row.value for row in layers_lama_words.words(arms)}
    assert rows["r8: LAMA, weights", "entropy / that of even ones"] <= 1 + 1e-6
    assert 1 <= rows["r8: LAMA, greatest weight", "times an even one"] <= math.exp(2)
    assert ("r8: LAMA, learned scale, 10% of the words taken away", "accuracy that falls more") in rows
    inside = {row.system: row for row in layers_lama_words.contexts(arms)}
    assert inside["mr: LAMA over word vectors, the control"].value < 1e-6
    assert inside["mr: LAMA over a GRU"].value > 1e-4
    assert "“" in inside["mr: LAMA over a GRU"].note
    stars = {row.system: row.value for row in layers_lama_words.stars(arms)}
    assert stars["ratings: the middle rating"] == pytest.approx(2 / 3)
    assert "ratings: LAMA" in stars


def test_arms_learn_as_long_and_as_fast_as_specified(settings, monkeypatch):
    """In the mean of the rates, which rise at once and fall in a line to 0."""
    loops = []
    monkeypatch.setattr(layers_lama_arms, "trained", lambda *given, **_: loops.append(given[7]))
    full = Arms(replace(settings, quick=False))
    full.learnt("r8", ARMS["mean"], 2)
    (loop,) = loops
    assert (loop.epochs, loop.batch, loop.seed, loop.learning_rate / 2) == (5, 64, 2, 1e-3)


def test_a_peer_must_be_as_strong_as_specified():
    assert layers_lama.specified("r8", "mean", quick=False) == pytest.approx(0.905)
    assert layers_lama.specified("r8", "LAMA", quick=False) == pytest.approx(0.938)
    assert {layers_lama.specified("mr", "mean", quick=False), layers_lama.specified("r8", "mean", quick=True)} == {None}
    assert set(layers_lama.SPECIFIED) < set(ARMS)


def test_snippets_are_rated_by_stars(tmp_path):
    path = tmp_path / "filmSnippets_GroundTruth.txt"
    path.write_text("1\t-3.9\tDull.\n2\t0.4\tNot\tbad.\n3\t2.1\tGood.\n4\t1\t…\n")
    assert [(one.text, one.label) for one in layers_lama_words._snippets(path)] == [
        ("Dull.", "1"), ("Not\tbad.", "3"), ("Good.", "4"),
    ]  # fmt: skip


def test_the_words_first_in_order_are_taken_away():
    ids = torch.tensor([[5, 6, 7, 8, 9], [3, 4, 0, 0, 0], [2, 0, 0, 0, 0]])
    batch = Batch(ids, ids != 0, torch.zeros(3), torch.zeros(3, 1, 5))
    order = torch.tensor([[0.1, 0.9, 0.2, 0.8, 0.3], [0.2, 0.1, 9, 9, 9], [1, 9, 9, 9, 9]])
    assert without(batch, order, 0.4).tolist() == [[5, 7, 9, 0, 0], [4, 0, 0, 0, 0], [2, 0, 0, 0, 0]]


def test_heads_that_look_alike_are_told():
    same = torch.tensor([[[0.5, 0.5], [0.5, 0.5]]])
    cosine, distance = heads_alike(iter([Batch(torch.ones(1, 2), torch.ones(1, 2), torch.zeros(1), same)]))
    assert cosine == pytest.approx(1)
    assert distance == pytest.approx(1.0)  # [[-1/2, 1/2], [1/2, -1/2]]
    apart = torch.eye(2)[None]
    assert heads_alike(iter([Batch(torch.ones(1, 2), torch.ones(1, 2), torch.zeros(1), apart)])) == (0, 0)


def test_late_scores_are_the_mean_of_each_vectors_best():
    q, d = torch.randn(2, 3, 5), torch.randn(4, 3, 5)
    expected = [[sum(max(float(a @ b) for b in two) for a in one) / 3 for two in d] for one in q]
    torch.testing.assert_close(layers_lama_tokens.late(q, d), torch.tensor(expected))


@torch.no_grad()
def test_what_also_answers_a_claim_is_no_negative():
    """By the loss written out; the mean's map begins as none."""
    draw = torch.Generator().manual_seed(0)
    texts = [torch.randn(n, 384, generator=draw) for n in (2, 5, 3, 4, 6)]
    rows = [(texts[0], 1, frozenset({1, 2})), (texts[0], 2, frozenset({1, 2})), (texts[3], 2, frozenset({2}))]
    batch = layers_lama_tokens.claims(rows, texts)
    assert batch["right"].tolist() == [[True, True, True], [True, True, True], [False, True, True]]
    model = layers_lama_tokens.Vectors(heads=False, mapped=True)
    q, d = model(batch["q"], batch["q_mask"]), model(batch["d"], batch["d_mask"])
    means = torch.stack([torch.nn.functional.normalize(texts[at].mean(0), dim=0) for at in (1, 2, 2)])
    torch.testing.assert_close(d[:, 0], means)
    scores = (q[:, 0] @ d[:, 0].T / layers_lama_tokens.TEMPERATURE).tolist()
    counted = [[0], [1], [0, 2]]  # of each claim, its own abstract and those that do not answer it
    expected = sum(
        math.log(sum(math.exp(scores[row][at]) for at in places)) - scores[row][row]
        for row, places in enumerate(counted)
    ) / 3  # fmt: skip
    assert float(layers_lama_tokens.claim_loss(model, batch)) == pytest.approx(expected, rel=1e-4)


@torch.no_grad()
def test_claims_are_learnt_where_the_model_is():
    """Told by "meta", which mixes with the processor as little as a GPU does."""
    claims = torch.zeros(2, 3, 384, device="meta")
    mask, right = (torch.ones(shape, dtype=torch.bool, device="meta") for shape in ((2, 3), (2, 2)))
    batch = {"q": claims, "q_mask": mask, "d": claims, "d_mask": mask, "right": right}
    model = layers_lama_tokens.Vectors(heads=False, mapped=True).to("meta")
    assert layers_lama_tokens.claim_loss(model, batch).is_meta


def test_weights_that_say_nothing_fall_short(settings):
    """Nothing is lost without them, and a bar at 0 would let that pass."""
    found = [Batch(torch.ones(3, 2), torch.ones(3, 2), torch.zeros(3), torch.zeros(3, 1, 2))] * 2
    every = [(None, found)] * 3
    assert 0 < layers_lama_words.least_of(replace(settings, quick=False), every) <= 1 / 18
    assert layers_lama_words.least_of(settings, every) < 0


def test_what_weights_are_worth_is_asked_of_all_seeds():
    """An accuracy is over the texts of every model."""
    batch = Batch(torch.ones(2, 2), torch.ones(2, 2), torch.tensor([0, 1]), torch.zeros(2, 1, 2))

    def told(model, one):
        return torch.nn.functional.one_hot(torch.full((2,), model.label), 2).float()

    models = [SimpleNamespace(label=label, train=lambda _: None) for label in (0, 0, 0)]
    assert layers_lama_words._share([(model, [batch]) for model in models], told) == 0.5
    right = Batch(batch.ids, batch.mask, torch.tensor([0, 0]), batch.attention)
    assert layers_lama_words._share([(models[0], [batch]), (models[1], [right])], told) == 0.75


@pytest.mark.slow
def test_eight_heads_are_held_against_a_mean_that_learnt_too(settings, tmp_path):
    folder = tmp_path / "scifact"
    (folder / "qrels").mkdir(parents=True)
    words = [one.text for one in texts(24)]
    lines = {"corpus": words, "queries": [text[:40] for text in words]}
    for name, rows in lines.items():
        made = (json.dumps({"_id": f"{name[0]}{n}", "title": "", "text": text}) for n, text in enumerate(rows))
        (folder / f"{name}.jsonl").write_text("\n".join(made))
    for split, first in (("train", 0), ("test", 1)):
        judged = "".join(f"q{n}\tc{n}\t1\n" for n in range(first, 24, 2))
        (folder / "qrels" / f"{split}.tsv").write_text("query-id\tcorpus-id\tscore\n" + judged)
    rows = {row.system: row for row in layers_lama_tokens.retrieval(replace(settings, data=tmp_path, cache=tmp_path))}
    assert len(list((tmp_path / "layers").glob("lama-tokens-scifact-*/done.json"))) == 3
    for ours, rival in (("eight heads of LAMA", "one mean vector"),
                        ("eight heads of LAMA, linear map", "one mean vector, linear map")):  # fmt: skip
        gain = rows[f"scifact: {ours} - {rival}"]
        own, theirs = (rows[f"scifact, tokens of MiniLM: {name}"].value for name in (ours, rival))
        assert gain.value == own - theirs
        assert gain.bar == "≥ 0"


@pytest.mark.slow
def test_a_frozen_encoders_tokens_are_pooled(settings):
    rows = {row.system: row for name in ("r8", "mr") for row in layers_lama_tokens.pooling(settings, name)}
    for name in ("r8", "mr"):
        ours, mean = (rows[f"{name}, tokens of MiniLM: {pooling}"].value for pooling in ("lama", "mean"))
        assert rows[f"{name}, tokens of MiniLM: LAMA - mean"].value == ours - mean
