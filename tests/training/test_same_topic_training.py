"""Heads by their definitions, their fitting, calibration, and the whole training on a BERT of one layer."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from honest import HashedWords

from foveal.errors import InputError, ModelUnavailable, UnknownName
from foveal.evaluation.segmentation import pk
from foveal.models import load_encoder
from foveal.training.loop import LoopSettings
from foveal.training.runs import RunSettings
from foveal.training.same_topic import (
    Parts,
    SameTopicSettings,
    auc,
    calibrated,
    cosine_head,
    measure,
    train_same_topic,
)
from foveal.training.same_topic_fitting import Gaps, Platt, best_threshold, fit_linear, mean_pk
from foveal.training.same_topic_heads import (
    LAYOUT,
    LONGEST,
    CrossHead,
    LayoutHead,
    Paragraphs,
    TopicHead,
    VectorHead,
    gap_scores,
    layout_features,
    pair_features,
)
from foveal.training.same_topic_model import ABOUT, SameTopicModel
from foveal.training.same_topic_pairs import Sectioned, adjacent, split_by_group
from foveal.training.same_topic_tuned import PairRows, columns_of, weighted_loss

pytestmark = pytest.mark.usefixtures("undrawn")

RNG = np.random.default_rng(0)


def sigmoid(value):
    return 1 / (1 + math.exp(-value))


def unit(rows, width=8):
    made = RNG.standard_normal((rows, width)).astype(np.float32)
    return made / np.linalg.norm(made, axis=1, keepdims=True)


class Given:
    """An Encoder that gives the vectors it was made with."""

    name = fingerprint = "given"
    dimension = max_tokens = 8

    def encode(self, texts):
        raise AssertionError(f"the vectors of {texts} are known")


def read_of(vectors, texts=None):
    return Paragraphs(texts or [f"p{at}" for at in range(len(vectors))], {"given": vectors})


# -- heads ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("distance", [1, 2, 6, 9])
def test_a_vector_head_is_the_regression_on_all_features(distance):
    vectors, weights = unit(7), RNG.standard_normal(32).astype(np.float32)
    found = VectorHead(Given(), weights, 0.5).score(read_of(vectors), distance)
    expected = pair_features(vectors[:-distance], vectors[distance:]) @ weights + 0.5
    np.testing.assert_allclose(found, expected, atol=1e-5)


def test_a_topic_head_gives_the_odds_that_two_draws_agree():
    vectors, weights = unit(4), RNG.standard_normal((3, 8)).astype(np.float32)
    biases = np.float32([0.1, -0.2, 0.3])
    found = TopicHead(Given(), weights, biases, ("a", "b", "c")).score(read_of(vectors), 1)
    for at in range(3):
        shares = []
        for vector in vectors[at : at + 2]:
            powers = [
                math.exp(sum(w * v for w, v in zip(row, vector, strict=True)) + b)
                for row, b in zip(weights, biases, strict=True)
            ]
            shares.append([power / sum(powers) for power in powers])
        agree = sum(p * q for p, q in zip(*shares, strict=True))
        assert sigmoid(found[at]) == pytest.approx(agree, abs=1e-5)


@pytest.mark.parametrize("reach", [1, 2, 3, 20])
def test_gap_scores_are_the_mean_over_all_pairs_across_the_gap(reach):
    vectors = unit(6)
    head = VectorHead(Given(), RNG.standard_normal(32).astype(np.float32), 0.0)
    found = gap_scores(head, read_of(vectors), reach)
    for gap in range(5):
        total = weight = 0.0
        for left in range(gap + 1):
            for right in range(gap + 1, 6):
                if right - left <= reach:
                    score = float(pair_features(vectors[left : left + 1], vectors[right : right + 1])[0] @ head.weights)
                    total += score / (right - left)
                    weight += 1 / (right - left)
        assert found[gap] == pytest.approx(total / weight, abs=1e-5)


def test_heads_of_neighbours_look_no_further():
    asked = []

    def scorer(pairs):
        asked.extend(pairs)
        return [0.0] * len(pairs)

    assert gap_scores(CrossHead(scorer), Paragraphs(["a", "b", "c" * 9999]), 3).tolist() == [0.0, 0.0]
    assert asked == [("a", "b"), ("b", "c" * LONGEST)]


@pytest.mark.parametrize("count", [0, 1])
def test_no_paragraph_and_one_have_no_gap(count):
    read = read_of(unit(count), [f"{n}" for n in range(count)])
    heads = [
        VectorHead(Given(), np.zeros(32, np.float32), 0.0),
        TopicHead(Given(), np.zeros((2, 8), np.float32), np.zeros(2, np.float32)),
        LayoutHead(np.zeros(len(LAYOUT), np.float32), 0.0),
        CrossHead(lambda pairs: [0.0] * len(pairs)),
    ]
    for head in heads:
        assert gap_scores(head, read, 3).shape == (0,)
    assert SameTopicModel(heads={head.kind: head for head in heads}).log_odds(read).shape == (0,)


@pytest.mark.parametrize(
    ("left", "right", "told"),
    [
        ("You agree to:", "- pay on time", {"left ends with a colon", "right is an item"}),
        ("- one;", "- two", {"both are items", "left ends with a comma or semicolon"}),
        ("In short,", "it rains.", {"left ends with a comma or semicolon", "right begins small"}),
        ("2.3 We pay.", "2.4 You pay.", {"number goes on"}),
        ("2.3 We pay.", "2.3.1 At once.", {"number goes on"}),
        ("2.3 We pay.", "3. Termination", {"number of the first order changes", "number of a higher order"}),
        ("Some text.", "However, it rains.", {"right begins with a connective"}),
        ("Some text.", "Governing law. Bavaria.", {"right begins with a title"}),
    ],
)
def test_layout_tells_how_two_paragraphs_are_written(left, right, told):
    values = dict(zip(LAYOUT, layout_features([left], [right])[0].tolist(), strict=True))
    assert {name for name in told if values[name] == 1} == told
    assert values["number goes on"] in (0, float("number goes on" in told))


# -- fitting ----------------------------------------------------------------------------------------------------------


def newton(features, labels, weight, ridge):
    """The same optimum by Newton's method in float64, on features of mean 0 and deviation 1."""
    mean, spread = features.mean(axis=0), features.std(axis=0)
    x = np.column_stack([(features - mean) / spread, np.ones(len(features))]).astype(np.float64)
    shares, keep = weight / weight.sum(), np.diag([1.0] * features.shape[1] + [0.0])
    beta = np.zeros(x.shape[1])
    for _ in range(60):
        p = 1 / (1 + np.exp(-x @ beta))
        gradient = x.T @ (shares * (p - labels)) + ridge * keep @ beta
        curvature = (x.T * (shares * p * (1 - p))) @ x + ridge * keep
        beta -= np.linalg.solve(curvature, gradient)
    weights = beta[:-1] / spread
    return weights, beta[-1] - weights @ mean


@pytest.mark.parametrize("ridge", [1e-3, 0.1])
def test_a_logistic_regression_is_the_exact_optimum(ridge):
    features = RNG.standard_normal((200, 5)).astype(np.float32) * np.float32([1, 5, 0.1, 2, 1]) + 3
    labels = (features[:, 0] + RNG.standard_normal(200) > 3).astype(bool)
    weight = np.where(labels, 1.0, 3.0).astype(np.float32)
    weights, bias = fit_linear(features, labels, ridge=ridge, weight=weight)
    expected, expected_bias = newton(features, labels, weight, ridge)
    np.testing.assert_allclose(weights, expected, rtol=2e-2, atol=2e-3)
    assert float(bias) == pytest.approx(expected_bias, abs=2e-2)


def test_a_softmax_of_two_classes_is_the_logistic_regression_of_their_difference():
    features = RNG.standard_normal((120, 3)).astype(np.float32)
    labels = features[:, 0] + 0.5 * RNG.standard_normal(120) > 0
    weights, biases = fit_linear(features, labels.astype(int), ridge=0.02, classes=2)
    single, bias = fit_linear(features, labels, ridge=0.01)
    np.testing.assert_allclose(weights[1] - weights[0], single, atol=1e-2)
    assert float(biases[1] - biases[0]) == pytest.approx(float(bias), abs=1e-2)
    with pytest.raises(InputError, match="finite"):
        fit_linear(np.full((2, 2), np.nan, np.float32), np.array([True, False]), ridge=1)


def test_platt_gives_log_odds_that_hold():
    same = RNG.random(4000) < 0.8
    scores = np.where(same, 1.0, -1.0) + RNG.standard_normal(4000)
    odds = Platt.fit(scores.astype(np.float32), same)(scores.astype(np.float32))
    for low, high in ((0, 2), (2, 9)):
        inside = (odds > low) & (odds < high)
        assert np.mean(1 / (1 + np.exp(-odds[inside]))) == pytest.approx(same[inside].mean(), abs=0.05)
    assert Platt.fit(np.float32([1, 2]), np.array([True, True])) == Platt()


def test_the_threshold_is_the_one_with_the_least_pk_that_finds_enough():
    documents = [
        Gaps(np.float32([3, -2, 4, 5, -1, 2, 3]), [2, 3, 3]),
        Gaps(np.float32([1, 5, -3, 4, 6, 7]), [3, 4]),
    ]
    threshold = best_threshold(documents)
    assert -1 < threshold <= 1
    assert mean_pk(documents, threshold) == 0
    assert documents[0].found(threshold) == [2, 3, 3]
    assert mean_pk(documents, -9) == pytest.approx(np.mean([pk([8], [2, 3, 3]), pk([7], [3, 4])]))
    noise = [Gaps(RNG.standard_normal(40).astype(np.float32), [20, 21])]
    assert len(noise[0].found(best_threshold(noise))) >= 1  # P_k alone would rather find none
    assert best_threshold([]) == 0.0


# -- the model --------------------------------------------------------------------------------------------------------


def small_model(**changes):
    encoder = HashedWords(dimension=8)
    heads = {
        "vectors": VectorHead(encoder, RNG.standard_normal(32).astype(np.float32), 0.1),
        "topics": TopicHead(
            encoder, RNG.standard_normal((3, 8)).astype(np.float32), np.float32([0, 1, 2]), ("x", "y", "z")
        ),
        "layout": LayoutHead(RNG.standard_normal(len(LAYOUT)).astype(np.float32), -0.3),
    }
    card = {"encoder": encoder.name, "fingerprint": encoder.fingerprint}
    platts = {"vectors": Platt(2.0, 0.5), "topics": Platt(0.5, 1.0), "layout": Platt(1.0, -1.0)}
    return encoder, SameTopicModel(heads=heads, platts=platts, whole=Platt(0.7, 0.2), threshold=0.4, reach=2,
                                   thresholds={"vectors": 0.1}, card=card, **changes)  # fmt: skip


TEXTS = [
    "The fee is due.",
    "2. A late fee is added:",
    "- at once",
    "The law of Bavaria holds.",
    "However, courts sit in Ulm.",
]


def test_the_whole_is_the_calibrated_sum_and_the_vote_counts_heads():
    encoder, model = small_model()
    read = Paragraphs(TEXTS)
    parts = [model.platts[name](gap_scores(head, read, 2)) for name, head in model.heads.items()]
    np.testing.assert_allclose(model.log_odds(read), model.whole(sum(parts)), atol=1e-5)
    yes = [
        sum(bool(part[at] >= model.thresholds.get(name, 0.0)) for name, part in zip(model.heads, parts, strict=True))
        for at in range(4)
    ]
    assert model.votes(read).tolist() == [2 * count >= 3 for count in yes]
    assert set(read.known) == {encoder.fingerprint}  # encoded once for both heads
    assert list(model.only("topics").heads) == ["topics"]


def test_a_tie_of_votes_counts_as_the_same():
    _, model = small_model()
    heads = {
        "yes": LayoutHead(np.zeros(len(LAYOUT), np.float32), 1.0),
        "no": LayoutHead(np.zeros(len(LAYOUT), np.float32), -1.0),
    }
    assert replace(model, heads=heads, platts={}).votes(Paragraphs(TEXTS)).all()


@pytest.mark.parametrize("half", [False, True])
def test_what_is_saved_says_the_same_when_loaded(tmp_path, half):
    encoder, model = small_model()
    folder = model.save(tmp_path / "models" / "m", half=half)
    assert sorted(path.name for path in folder.iterdir()) == ["same_topic.json", "same_topic.safetensors"]
    loaded = SameTopicModel.load(folder, encoder)
    np.testing.assert_allclose(
        loaded.log_odds(Paragraphs(TEXTS)), model.log_odds(Paragraphs(TEXTS)), atol=2e-2 if half else 1e-6
    )
    assert (loaded.threshold, loaded.reach, loaded.thresholds["vectors"]) == (0.4, 2, 0.1)
    assert loaded.heads["topics"].topics == ("x", "y", "z")
    with pytest.raises(InputError, match="there already"):
        model.save(folder)


def test_a_model_of_another_encoder_or_damaged_is_refused(tmp_path):
    encoder, model = small_model()
    folder = model.save(tmp_path / "m")
    with pytest.raises(InputError, match="foveal train segmenter --encoder"):
        SameTopicModel.load(folder, HashedWords(dimension=8, salt="other"))
    with pytest.raises(ModelUnavailable, match="foveal train segmenter"):
        SameTopicModel.load(tmp_path, encoder)
    with pytest.raises(ModelUnavailable, match="reads by the encoder hashed-words, which is not there"):
        SameTopicModel.load(folder, None)
    (folder / "same_topic.safetensors").write_bytes(b"\0" * 40)
    with pytest.raises(ModelUnavailable, match="damaged"):
        SameTopicModel.load(folder, encoder)
    told = json.loads((folder / ABOUT).read_text())
    (folder / ABOUT).write_text(json.dumps({**told, "version": 99}))
    with pytest.raises(ModelUnavailable, match="this version"):
        SameTopicModel.load(folder, encoder)
    with pytest.raises(InputError, match="at least one head"):
        SameTopicModel(heads={})


# -- training ---------------------------------------------------------------------------------------------------------


def documents(count=12, topics=8, seed=0):
    """Policies of made-up companies: each section holds the word of its topic, and others that say nothing."""
    rng = np.random.default_rng(seed)
    made = []
    for number in range(count):
        texts, sections, named = [], [], []
        for at, topic in enumerate(rng.permutation(topics)[:4].tolist()):
            for _ in range(int(rng.integers(3, 6))):
                fill = " ".join(f"f{n}" for n in rng.integers(0, 12, 3))
                texts.append(f"a{topic} {fill} b{topic} n{number}x{len(texts)}")
                sections.append(at)
                named.append(f"topic {topic}")
        made.append(Sectioned(f"d{number}", f"company {number // 2}", tuple(texts), tuple(sections), tuple(named)))
    return made


LOOP = LoopSettings(epochs=6, batch=16, learning_rate=0.02, evaluate_every=1000, checkpoint_every=1000)
SETTINGS = SameTopicSettings(
    dev_share=0.3, ridges=(1e-2,), reaches=(1, 2), topic_documents=2, window=24, tuned_pairs=500, loop=LOOP
)


def test_frozen_heads_learn_topics_of_companies_never_seen(tiny_encoder, tmp_path, monkeypatch):
    monkeypatch.chdir(tiny_encoder.parent)
    folder, report = train_same_topic(
        documents(), tiny_encoder.name, SETTINGS, credit="made up", run=RunSettings(home=tmp_path, name="mine")
    )
    before, after = report.measured["dev"]
    assert report.kept
    assert folder == tmp_path / "models" / "mine"
    assert after["auc"] > max(0.85, before["auc"] + 0.1)
    assert after["boundary F1"] > 0.6
    encoder = load_encoder(str(tiny_encoder))
    model = SameTopicModel.load(folder, encoder)
    assert set(model.heads) == {"vectors", "topics", "layout"}
    assert model.card["credit"] == "made up"
    assert model.card["encoder"] == str(tiny_encoder.resolve())  # it is found from anywhere
    same, other = model.heads["vectors"].score(Paragraphs(["a3 f1 b3", "a3 f5 b3", "a4 f5 b4"]), 1)
    assert same > other
    again = train_same_topic(
        documents(),
        str(tiny_encoder),
        SETTINGS,
        credit="made up",
        run=RunSettings(home=tmp_path, name="mine", on_progress=lambda _: pytest.fail("it trained")),
    )
    assert again[0] == folder
    with pytest.raises(InputError, match="another name"):
        train_same_topic(documents(seed=1), str(tiny_encoder), SETTINGS, run=RunSettings(home=tmp_path, name="mine"))


@pytest.mark.parametrize("kind", ["cross", "bi"])
def test_fine_tuned_heads_learn_are_saved_and_say_the_same_when_loaded(tiny_encoder, tmp_path, kind):
    settings = replace(SETTINGS, heads=(kind, "topics"))
    folder, report = train_same_topic(documents(), str(tiny_encoder), settings, run=RunSettings(home=tmp_path))
    assert report.curves.steps > 0
    assert report.curves.metrics[-1][1]["auc"] > report.curves.metrics[0][1]["auc"] + 0.05
    made = folder or tmp_path / "runs" / "train" / report.name / "rejected"
    assert (made / kind / "config.json").is_file()
    model = SameTopicModel.load(made, load_encoder(str(tiny_encoder)))
    _, dev = split_by_group(documents(), SETTINGS.dev_share, seed=LOOP.seed)
    held = Parts.read([], dev, load_encoder(str(tiny_encoder))).held
    for metric, value in report.measured["dev"][1].items():
        assert measure(model, held)[metric] == pytest.approx(value, rel=0.02), metric


def test_test_documents_are_measured_and_change_nothing(tiny_encoder, tmp_path):
    test = documents(3, seed=7)
    one, first = train_same_topic(documents(), str(tiny_encoder), SETTINGS, run=RunSettings(home=tmp_path / "one"))
    two, second = train_same_topic(
        documents(), str(tiny_encoder), SETTINGS, run=RunSettings(home=tmp_path / "two", test=test)
    )
    assert set(second.measured) == {"dev", "test"}
    assert first.measured["dev"] == second.measured["dev"]
    assert (one / "same_topic.safetensors").read_bytes() == (two / "same_topic.safetensors").read_bytes()


def test_what_cannot_be_learnt_is_said(tiny_encoder, tmp_path):
    single = [Sectioned(f"d{n}", f"g{n}", (f"a1 f{n}", f"a1 f{n} f3"), (0, 0)) for n in range(4)]
    with pytest.raises(InputError, match="all of one kind"):
        train_same_topic(single, str(tiny_encoder), SETTINGS, run=RunSettings(home=tmp_path))
    with pytest.raises(InputError, match="--group"):
        train_same_topic(documents()[:1], str(tiny_encoder), SETTINGS, run=RunSettings(home=tmp_path))


@pytest.mark.parametrize(
    ("changes", "error", "said"),
    [
        ({"heads": ("vectors", "guess")}, UnknownName, "guess"),
        ({"heads": ()}, UnknownName, "vectors, topics"),
        ({"strategy": "luck"}, UnknownName, "consecutive"),
        ({"each": 0}, InputError, "each = 0"),
        ({"ridges": (0.0,)}, InputError, "ridges"),
        ({"dev_share": 1.0}, InputError, "dev_share"),
    ],
)
def test_settings_are_checked_when_made(changes, error, said):
    with pytest.raises(error, match=said):
        SameTopicSettings(**changes)


def test_calibration_needs_a_gap_and_reach_is_chosen_by_the_dev_documents():
    encoder = HashedWords(dimension=64)
    held = Parts.read([], documents(4), encoder).held
    model = calibrated({"cosine": cosine_head(encoder)}, held, reaches=(1, 3), card={})
    scores = {
        reach: auc([gap_scores(cosine_head(encoder), one.paragraphs, reach) for one in held], held) for reach in (1, 3)
    }
    assert model.reach == max(scores, key=scores.get)
    with pytest.raises(InputError, match="no gap"):
        calibrated({"cosine": cosine_head(encoder)}, [], reaches=(1,), card={})


@pytest.mark.parametrize(("count", "gaps"), [(60, 30), (61, 30), (1, 0), (10_000, None)])
def test_half_of_the_pairs_that_a_fine_tuning_reads_are_true_gaps(count, gaps):
    parts = Parts.read(documents(4), [], HashedWords())
    every = len(adjacent(parts.corpus))
    corpus, few = parts.few(SameTopicSettings(), count)
    _, whole, _ = parts.pairs(SameTopicSettings())
    assert corpus is parts.corpus
    assert len(few) == min(count, len(whole))
    assert set(zip(few.left, few.right, few.same, strict=True)) <= set(
        zip(whole.left, whole.right, whole.same, strict=True)
    )
    wanted = every if gaps is None else gaps
    head = {(a, b) for a, b in zip(few.left[:wanted].tolist(), few.right[:wanted].tolist(), strict=True)}
    assert all(b == a + 1 for a, b in head)
    assert len(head) == wanted
    if few.same.any() and not few.same.all():
        assert few.weight[few.same].sum() == pytest.approx(few.weight[~few.same].sum(), rel=1e-4)


def test_without_gaps_or_over_sections_no_true_gap_is_read():
    parts = Parts.read(documents(4), [], HashedWords())
    alone = replace(SameTopicSettings(), gaps=False)
    drawn = parts.pairs(alone)[1]
    assert len(parts.few(alone, 10_000)[1]) == len(drawn) < len(parts.pairs(SameTopicSettings())[1])
    corpus, few = parts.few(replace(alone, strategy="section"), 10)
    assert corpus is parts.corpus.of_sections
    assert len(few) == 10


def test_rows_and_loss_of_pairs():
    import torch

    corpus = Parts.read(documents(2), [], HashedWords()).corpus
    rows = PairRows(corpus, adjacent(corpus))
    assert rows[0]["left"] == corpus.texts[0]
    columns = columns_of([rows[0], rows[1]])
    assert list(columns) == list(PairRows.column_names)
    logits, target, weight = [0.5, -1.0], [1.0, 0.0], [2.0, 1.0]
    losses = [-math.log(sigmoid(0.5)), -math.log(1 - sigmoid(-1.0))]
    expected = (2 * losses[0] + losses[1]) / 3
    assert float(weighted_loss(torch.tensor(logits), target, weight)) == pytest.approx(expected, abs=1e-6)


def test_nothing_of_a_machine_is_in_what_is_saved(tmp_path):
    _, model = small_model()
    folder = model.save(tmp_path / "m")
    assert str(Path.home()) not in (folder / ABOUT).read_text()
