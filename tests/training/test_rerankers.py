"""A cross-encoder trained on what a first stage gets wrong, and its scores as a teacher."""

from __future__ import annotations

import json
import math
from dataclasses import replace

import pytest
import torch

from foveal.errors import InputError, UnknownName
from foveal.training import model_folders, rerankers
from foveal.training.examples import Examples, Rows
from foveal.training.loop import LoopSettings
from foveal.training.rerankers import (
    NOT_READ,
    SHARES,
    RankerLoss,
    RerankerSettings,
    Scorer,
    best_share,
    columns_of,
    listed,
    reranked,
    train_reranker,
    with_first,
)
from foveal.training.runs import RunSettings

pytestmark = pytest.mark.usefixtures("undrawn")

SETTINGS = RerankerSettings(
    negatives=4, depth=10, dev_share=0.2,
    loop=LoopSettings(epochs=4, batch=8, learning_rate=0.01, evaluate_every=20, checkpoint_every=1000),
)  # fmt: skip


def first_stage(queries, k):
    """Finds a topic's texts, and those of the next topic above them."""
    found = []
    for query in queries:
        topic = int(query.split()[0][1:])
        found.append({f"d{(topic + 1 - rank // 3) % 8}-{rank % 3}": 1.0 - rank / 100 for rank in range(min(k, 9))})
    return found


@pytest.mark.parametrize("objective", ["listwise", "bce", "lambda"])
def test_a_ranker_learns_from_what_the_first_stage_gets_wrong(topics, tiny_encoder, tmp_path, objective):
    """A3 and P2: negatives come from the deployed first stage, and its order of hits gets better."""
    settings = replace(SETTINGS, objective=objective)
    folder, report = train_reranker(topics, first_stage, str(tiny_encoder), settings, run=RunSettings(home=tmp_path))
    before, after = report.measured["dev"]
    assert report.kept
    assert after["ndcg@10"] > before["ndcg@10"] + 0.05
    assert (report.rows()[0].system, report.rows()[0].note) == ("dev: before", "first stage")
    assert report.settings["base"] == str(tiny_encoder)
    assert folder == tmp_path / "models" / report.name
    share = json.loads((folder / "beside.json").read_text())["share"]
    assert f"Its score counts {share:g}, " in report.notes[0]
    score = Scorer(folder)
    right, wrong = score([("a3 f1", "b3 f2 f3"), ("a3 f1", "b4 f2 f3")])
    assert right > wrong
    again = train_reranker(
        topics,
        first_stage,
        str(tiny_encoder),
        settings,
        run=RunSettings(home=tmp_path, on_progress=lambda _: pytest.fail("it trained")),
    )
    assert again == (folder, report)


def test_a_score_counts_beside_the_first_stage_s():
    """Each laid over 0 to 1 among what was read; what was not stays below; the best share is found by trying all."""
    found = {"q": {"a": 9.0, "b": 5.0, "c": 1.0, "d": 0.5}}
    scored = {"q": {"a": -2.0, "b": 2.0, "c": 0.0, "d": NOT_READ - 3}}
    half = with_first(found, scored, 0.5)["q"]
    assert half == {"a": 0.5, "b": 0.75, "c": 0.25, "d": NOT_READ - 3}
    assert with_first(found, scored, 0.2)["q"]["a"] == pytest.approx(0.8)
    assert with_first({"q": {}}, {"q": {}}, 0.5) == {"q": {}}

    def judged(**grades):
        corpus = dict.fromkeys("abcd", "text")
        return Examples({"q": "asked"}, {name: f"{text} {name}" for name, text in corpus.items()}, {"q": grades})

    assert best_share(judged(b=1), found, scored) == 1.0
    assert best_share(judged(a=1), found, scored) == max(one for one in SHARES if 1 - one > one + 0.5 * (1 - one))


def test_what_was_judged_wrong_is_a_negative_though_it_was_not_found(topics, tiny_encoder, tmp_path):
    far = {query: f"d{(int(query[1]) + 4) % 8}-0" for query in topics.queries}
    judged = {query: {**topics.judged[query], far[query]: 0} for query in topics.queries}
    aside = {query: {f"d{(int(query[1]) + 1) % 8}-1"} for query in topics.queries}  # the first stage finds it
    given = replace(topics, judged=judged, aside=aside)
    settings = replace(SETTINGS, loop=replace(SETTINGS.loop, steps=1))
    train_reranker(given, first_stage, str(tiny_encoder), settings, run=RunSettings(home=tmp_path, name="once"))
    pools = json.loads((tmp_path / "runs" / "train" / "once" / "negatives.json").read_text())
    assert pools
    for query, pool in pools.items():
        assert pool[0] == far[query]
        assert not set(pool) & aside[query]


def test_a_ranker_that_orders_no_better_is_not_kept(topics, tiny_encoder, tmp_path):
    perfect = {topics.queries[q]: dict.fromkeys(found, 1.0) for q, found in topics.positives.items()}
    settings = replace(SETTINGS, loop=replace(SETTINGS.loop, steps=1))
    folder, report = train_reranker(
        topics,
        lambda queries, _: [perfect[q] for q in queries],
        str(tiny_encoder),
        settings,
        run=RunSettings(home=tmp_path),
    )
    assert (folder, report.kept) == (None, False)
    assert "not kept" in report.notes[0]


def test_objectives_by_their_definitions():
    """P2: localised softmax over one relevant document and its negatives; or binary cross-entropy."""
    scores = [[2.0, 1.0, -1.0], [0.0, 0.5, 0.25]]
    softmax = [-math.log(math.exp(row[0]) / sum(map(math.exp, row))) for row in scores]
    assert float(listed(torch.tensor(scores), "listwise")) == pytest.approx(sum(softmax) / 2, abs=1e-6)
    sigmoid = [1 / (1 + math.exp(-value)) for row in scores for value in row]
    bce = [-math.log(p if place % 3 == 0 else 1 - p) for place, p in enumerate(sigmoid)]
    assert float(listed(torch.tensor(scores), "bce")) == pytest.approx(sum(bce) / 6, abs=1e-6)


def by_definition(objective, f):
    """One list's loss, its first document the relevant one; sums spelled out."""
    count = len(f)
    if objective == "listnet":
        target = [math.e if j == 0 else 1.0 for j in range(count)]
        shares = [math.exp(one) / sum(map(math.exp, f)) for one in f]
        return -sum(t / sum(target) * math.log(share) for t, share in zip(target, shares, strict=True))
    if objective in ("listmle", "plistmle"):
        drawn = [-math.log(math.exp(f[k]) / sum(math.exp(one) for one in f[k:])) for k in range(count)]
        weights = [2 ** (count - k) - 1 if objective == "plistmle" else 1 for k in range(1, count + 1)]
        return sum(w * one for w, one in zip(weights, drawn, strict=True)) / (
            sum(weights) if objective == "plistmle" else 1
        )
    ranks = [1 + sum(other > one for other in f) for one in f]

    def weight(j):
        if objective == "ranknet":
            return 1.0
        apart = abs(ranks[0] - ranks[j])
        ndcg2 = 1 / math.log2(1 + apart) - 1 / math.log2(2 + apart)
        return 10 * ndcg2 + abs(1 / math.log2(1 + ranks[0]) - 1 / math.log2(1 + ranks[j]))

    return sum(weight(j) * math.log(1 + math.exp(f[j] - f[0])) for j in range(1, count)) / (count - 1)


class Told(torch.nn.Module):
    """A cross-encoder as sentence-transformers' losses want one, which scores pairs as it was told."""

    num_labels, device = 1, torch.device("cpu")

    def __init__(self, scores):
        super().__init__()
        self.scores = scores

    def preprocess(self, pairs, **_):
        return {"place": torch.tensor([[int(part) for part in pair] for pair in pairs])}

    def forward(self, features):
        return {"scores": self.scores[features["place"][:, 0], features["place"][:, 1]]}


THEIRS = {
    "listnet": ("ListNetLoss", 1.0),
    "listmle": ("ListMLELoss", 1.0),
    "plistmle": ("PListMLELoss", 1.0),
    "ranknet": ("RankNetLoss", math.log(2)),  # theirs is in bits
    "lambda": ("LambdaLoss", math.log(2)),
}


@pytest.mark.parametrize("objective", THEIRS)
def test_objectives_over_lists_by_their_definitions_and_as_sentence_transformers_has_them(objective):
    """Listwise losses of a cross-encoder: ListNet, ListMLE, PListMLE, RankNet, LambdaLoss; gradients, too."""
    losses = pytest.importorskip("sentence_transformers.cross_encoder.losses")
    values = [[0.3, 1.0, -1.0, 0.9], [2.0, 0.5, 0.25, -0.5], [-1.5, 0.0, 3.0, 1.0]]
    scores = torch.tensor(values, requires_grad=True)
    found = listed(scores, objective)
    assert found.item() == pytest.approx(sum(by_definition(objective, row) for row in values) / 3, abs=1e-6)
    name, unit = THEIRS[objective]
    given = torch.tensor(values, requires_grad=True)
    texts = [[str(n) for n in range(4)] for _ in range(3)]
    theirs = getattr(losses, name)(Told(given))([["0", "1", "2"], texts], [torch.tensor([1.0, 0, 0, 0])] * 3)
    assert found.item() == pytest.approx(theirs.item() * unit, abs=1e-6)
    found.backward()
    theirs.backward()
    torch.testing.assert_close(scores.grad, given.grad * unit, atol=1e-6, rtol=1e-5)


def test_the_loss_scores_each_query_with_its_own_documents(topics, tiny_encoder):
    """A3: the pairs, in their order."""
    model = model_folders.cross_encoder(tiny_encoder, seed=0)
    negatives = {q: [d for d in topics.corpus if topics.wrong(q, d)][:2] for q in topics.queries}
    rows = [Rows(topics, negatives, 2)[place] for place in (0, 11, 30)]
    batch = columns_of(rows)
    assert [len(texts) for texts in batch["documents"]] == [3, 3, 3]
    pairs = [(row["anchor"], row[name]) for row in rows for name in ("positive", "negative_1", "negative_2")]
    scores = torch.tensor(Scorer(model)(pairs)).view(3, 3)
    found = RankerLoss(model.eval(), "listwise")([batch["query"], batch["documents"]])
    assert float(found.detach()) == pytest.approx(float(listed(scores, "listwise")), abs=1e-5)


def test_pairs_of_about_one_length_are_read_together_and_the_loss_stays(topics, tiny_encoder, monkeypatch):
    model = model_folders.cross_encoder(tiny_encoder, seed=0).eval()
    queries = ["a1 f1", "a2"]
    lists = [["b1 " * 9, "b2", "b3 f3 " * 3], ["f1 " * 12, "b5 b6", "f4"]]

    def loss_and_slopes(together):
        monkeypatch.setattr(rerankers, "TOGETHER", together)
        model.zero_grad()
        shapes = []
        with model[0].register_forward_pre_hook(lambda _, given: shapes.append(tuple(given[0]["input_ids"].shape))):
            loss = RankerLoss(model, "listwise")([queries, lists])
        loss.backward()
        return float(loss.detach()), [one.grad.clone() for one in model.parameters() if one.grad is not None], shapes

    whole, expected, shapes = loss_and_slopes(10**6)
    assert shapes == [(6, 16)]
    loss, slopes, shapes = loss_and_slopes(32)
    assert shapes == [(2, 16), (2, 11), (2, 6)]
    assert loss == pytest.approx(whole, abs=1e-6)
    for one, other in zip(slopes, expected, strict=True):
        torch.testing.assert_close(one, other, atol=1e-5, rtol=1e-4)


def test_hits_below_the_depth_keep_their_order_below(topics):
    """P1: only the first hits are looked at."""
    run = {"q0-0": {"d0-0": 3.0, "d1-0": 2.0, "d2-0": 1.0, "d3-0": 0.5}}
    found = reranked(topics, run, lambda pairs: [float(n) for n, _ in enumerate(pairs)], 2)["q0-0"]
    assert sorted(found, key=lambda d: -found[d]) == ["d1-0", "d0-0", "d2-0", "d3-0"]


def test_pairs_longer_than_the_window_are_cut_and_none_are_none(tiny_encoder):
    """Bad input: what is longer than the window."""
    score = Scorer(model_folders.cross_encoder(tiny_encoder, seed=0, window=16))
    assert score([]) == []
    assert all(map(math.isfinite, score([("a1 " * 100, "b1 " * 100), ("a1", "b1")])))


def test_a_saved_ranker_keeps_the_window_that_it_was_trained_with(tiny_encoder, tmp_path):
    """An encoder's own window is that of one text: a ranker that begins as one reads what it has positions for."""
    begun = model_folders.cross_encoder(tiny_encoder, seed=0)
    assert begun.max_seq_length == 48
    made = model_folders.cross_encoder(tiny_encoder, seed=0, window=12)
    folder = model_folders.save_model(made, tmp_path / "made")
    pairs = [("a1 f1", "b1 " * 9 + "f2 " * 9)]
    assert Scorer(folder).model.max_seq_length == 12
    assert Scorer(folder)(pairs) == pytest.approx(Scorer(made)(pairs), abs=1e-6)
    assert Scorer(made)(pairs) != pytest.approx(Scorer(begun)(pairs), abs=1e-4)
    assert model_folders.cross_encoder(folder, seed=0, window=20).max_seq_length == 20


def test_a_head_is_drawn_from_the_seed(tiny_encoder):
    torch.manual_seed(3)
    before = torch.get_rng_state()
    pair = [("a1", "b1")]
    made = [Scorer(model_folders.cross_encoder(tiny_encoder, seed=seed))(pair) for seed in (0, 0, 1)]
    assert made[0] == made[1] != made[2]
    assert torch.equal(torch.get_rng_state(), before)


def test_settings_are_checked():
    with pytest.raises(UnknownName, match="listwise, bce"):
        RerankerSettings(objective="pairs")
    for wrong in ({"negatives": 0}, {"window": 4}, {"dev_depth": 0}):
        with pytest.raises(InputError):
            RerankerSettings(**wrong)
