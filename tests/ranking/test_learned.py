from __future__ import annotations

import json
import math
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval.shelf import Shelf, Words, hit, names

from foveal.errors import InputError, MissingExtra
from foveal.evaluation.metrics import evaluate
from foveal.ranking import fitting
from foveal.ranking.features import BY_SOURCE, OWN, Features
from foveal.ranking.fitting import (
    FITS,
    Group,
    LambdaMART,
    LinearModel,
    TreeModel,
    delta_ndcg,
    fit_lambdamart,
    fit_pairwise,
)
from foveal.ranking.learned import LearnedRanker, cross_validated, judged_groups, load_model, run_of, save_model
from foveal.types import Hit, Passage, Span

NOW = datetime(2024, 6, 1, tzinfo=UTC)


# -- features --------------------------------------------------------------------------------------------------------


class Fixed:
    """A Retriever that finds the given documents, whatever is asked."""

    def __init__(self, scores):
        self.scores = scores

    def search(self, queries, k):
        return [[hit(name, score) for name, score in self.scores.items()][:k] for _ in queries]


def test_features_spelled_out():
    """P4: lexical score, dense score, ranks, reciprocal ranks, length, recency, title match, exact phrase."""
    passages = [
        Passage(Span("a", 0, 4), "The old mill by the old river", "Mills"),
        Passage(Span("b", 99, 104), "An old, broken mill"),
    ]
    hits = [Hit(passages[0], 7.0, "given"), Hit(passages[1], 3.0, "given")]
    found = {Span("a", 0, 4): 0.8}

    class Dense:
        def search(self, queries, k):
            assert (queries, k) == (["the old mill"], 50)
            return [[Hit(passages[0], 0.8, "dense"), hit("other", 0.5), hit("last", 0.2)]]

    features = Features(
        {"dense": Dense()},
        depth=50,
        idf={"old": 1.0, "river": 3.0},
        title=lambda one: {"a": "Mill and river", "b": ""}[one.passage.span.document_id],
        published=lambda one: NOW - timedelta(days=9) if one.passage.span.document_id == "a" else None,
        now=NOW,
    )
    assert features.names == tuple(f"dense:{kind}" for kind in BY_SOURCE) + OWN
    rows = [dict(zip(features.names, row, strict=True)) for row in features("the old mill", hits).tolist()]
    assert rows[0] == pytest.approx(
        {
            "dense:score": 0.8, "dense:share": 1.0, "dense:log-rank": 0.0, "dense:reciprocal-rank": 1.0,
            "given-share": 1.0, "given-reciprocal-rank": 1.0, "log-words": math.log(5), "coverage": 1.0,
            "weighted-coverage": 1.0, "phrase": 1.0, "title-coverage": 0.5, "heading-coverage": 0.0, "log-place": 0.0,
            "dated": 1.0, "log-age": math.log(10),
        }
    )  # fmt: skip
    assert rows[1] == pytest.approx(
        {
            "dense:score": 0.2, "dense:share": 0.0, "dense:log-rank": math.log(51), "dense:reciprocal-rank": 0.0,
            "given-share": 0.0, "given-reciprocal-rank": 0.5, "log-words": math.log(4), "coverage": 1.0,
            "weighted-coverage": 1.0, "phrase": 0.0, "title-coverage": 0.0, "heading-coverage": 0.0,
            "log-place": math.log(100), "dated": 0.0, "log-age": 0.0,
        }
    )  # fmt: skip
    part = Features(idf={"old": 1.0, "river": 3.0})("old lake river", [hits[1]])[0]
    assert part[OWN.index("coverage")] == pytest.approx(1 / 3)
    assert part[OWN.index("weighted-coverage")] == pytest.approx(1 / (1 + 3 + 3))  # the unknown lake is the rarest
    assert found[hits[0].passage.span] == 0.8


def test_features_are_finite_for_empty_queries_and_no_hits():
    features = Features({"words": Words({"a": "mill"})}, now=NOW)
    assert features("mill", []).shape == (0, len(features.names))
    assert np.isfinite(features("", [hit("a"), hit("b", text="")])).all()
    future = Features(published=lambda _: NOW + timedelta(days=5), now=NOW)("mill", [hit("a")])
    assert future[0, OWN.index("log-age")] == 0.0


@pytest.mark.parametrize("wrong", [{"depth": 0}, {"sources": {"a:b": Fixed({})}}])
def test_wrong_features_are_refused(wrong):
    with pytest.raises(InputError, match="Features got"):
        Features(**wrong)


# -- fits ------------------------------------------------------------------------------------------------------------


def made(count, seed=0, size=12, noise=0.3):
    """Groups whose grade grows with the first feature and falls with the second; the third is noise of large scale."""
    generator = np.random.default_rng(seed)
    groups = []
    for number in range(count):
        features = generator.normal(size=(size, 3)) * np.array([1, 1, 100]) + np.array([5, 0, 0])
        worth = features[:, 0] - features[:, 1] + noise * generator.normal(size=size)
        grades = (worth > np.sort(worth)[-3]).astype(float) + (worth == worth.max())
        groups.append(Group(f"q{number}", tuple(f"d{i}" for i in range(size)), features, grades))
    return groups


NAMES = ("good", "bad", "noise")
QRELS = {g.query: {k: int(v) for k, v in zip(g.keys, g.grades, strict=True)} for g in made(60, seed=1)}


def ndcg(groups, model):
    return evaluate(run_of(groups, model), QRELS, ["ndcg@10"])["ndcg@10"]


@pytest.mark.parametrize("name", FITS)
def test_each_fit_orders_new_queries_well_and_is_the_same_twice(name):
    """P4: LTR on features, by each of the three fits; scored on queries that were not fitted on."""
    training, new = made(60), made(60, seed=1)
    model = FITS[name](training, NAMES)
    alone = LinearModel(NAMES, (0, 0, 0), (1, 1, 1), (1, 0, 0))
    assert ndcg(new, model) > max(0.85, ndcg(new, alone) + 0.05)
    assert model.as_json() == FITS[name](training, NAMES).as_json()


def test_the_pairwise_fit_is_the_minimum_of_its_loss():
    """P4: mean over queries of mean over pairs of log(1 + exp(s_worse - s_better)), by plain loops."""
    groups = made(6, size=5)
    model = fit_pairwise(groups, NAMES, ridge=0.05)
    mean, scale = np.array(model.mean), np.array(model.scale)
    assert mean == pytest.approx(np.vstack([g.features for g in groups]).mean(axis=0))

    def loss(weights):
        total = 0.0
        for group in groups:
            scores = ((group.features - mean) / scale) @ weights
            pairs = [(i, j) for i in range(5) for j in range(5) if group.grades[i] > group.grades[j]]
            total += sum(math.log(1 + math.exp(scores[j] - scores[i])) for i, j in pairs) / len(pairs) / len(groups)
        return total + 0.05 / 2 * float(weights @ weights)

    weights = np.array(model.weights)
    for column in range(3):
        step = np.eye(3)[column] * 1e-4
        assert (loss(weights + step) - loss(weights - step)) / 2e-4 == pytest.approx(0, abs=1e-6)


def test_a_fit_that_tells_all_pairs_apart_stays_finite():
    groups = made(8, noise=0.0)
    model = fit_pairwise(groups, NAMES, ridge=1e-6)
    assert np.isfinite(model.weights).all()
    assert model.weights[0] > 0 > model.weights[1]
    assert np.isfinite(fit_pairwise(made(20), NAMES, by_gain=True).weights).all()


@settings(max_examples=40)
@given(
    st.lists(
        st.tuples(st.floats(-5, 5, width=32), st.integers(0, 3)), min_size=2, max_size=14, unique_by=lambda p: p[0]
    )
)
def test_delta_ndcg_is_the_change_when_two_change_places(pairs):
    """P4: |delta nDCG| of LambdaMART's lambda_ij, by exchanging two hits and measuring again."""
    scores, grades = np.array([s for s, _ in pairs]), np.array([float(g) for _, g in pairs])
    qrels = {"q": {str(i): int(grade) for i, grade in enumerate(grades)}}

    def measured(given_scores):
        if not grades.any():
            return 0.0
        run = {"q": {str(i): float(score) for i, score in enumerate(given_scores)}}
        return evaluate(run, qrels, ["ndcg@10"])["ndcg@10"]

    found = delta_ndcg(scores, grades)
    for i, j in [(0, 1), (0, len(scores) - 1), (len(scores) - 1, len(scores) // 2)]:
        swapped = scores.copy()
        swapped[[i, j]] = scores[[j, i]]
        assert found[i, j] == pytest.approx(abs(measured(swapped) - measured(scores)), abs=1e-9)


def test_pairs_weighed_by_gain_count_what_they_change():
    """P4: LambdaRank's weights; an exchange below rank 10 counts nothing."""
    scores = -np.arange(12.0)
    grades = np.zeros(12)
    grades[[1, 11]] = 1
    better, worse = np.nonzero(grades[:, None] > grades)
    shares = fitting._pair_weights(scores, grades, better, worse, by_gain=True)
    changes = delta_ndcg(scores, grades)[better, worse]
    assert shares == pytest.approx(changes / changes.sum())
    assert shares[(better == 11) & (worse == 10)] == 0
    assert set(fitting._pair_weights(scores, grades, better, worse, by_gain=False)) == {1 / 20}


def test_coordinate_ascent_never_does_worse_than_its_start_on_what_it_is_fitted_on():
    """P4: nDCG@10 itself is raised."""
    training = made(25, noise=2.0)
    qrels = {g.query: {k: int(v) for k, v in zip(g.keys, g.grades, strict=True)} for g in training}
    values = [
        evaluate(run_of(training, FITS[name](training, NAMES)), qrels, ["ndcg@10"])["ndcg@10"]
        for name in ("pairwise", "coordinate-ascent")
    ]
    assert values[1] > values[0]


def test_trees_see_what_a_linear_model_cannot():
    """P4: LambdaMART on a grade that asks for two features at once."""
    generator = np.random.default_rng(3)
    groups = []
    for number in range(60):
        features = generator.choice([-1.0, 1.0], size=(20, 2)) + 0.1 * generator.normal(size=(20, 2))
        grades = (features[:, 0] * features[:, 1] > 0).astype(float)
        groups.append(Group(f"q{number}", tuple(map(str, range(20))), features, grades))
    qrels = {g.query: {k: int(v) for k, v in zip(g.keys, g.grades, strict=True)} for g in groups[40:]}
    values = {
        name: evaluate(run_of(groups[40:], FITS[name](groups[:40], ("x", "y"))), qrels, ["ndcg@10"])["ndcg@10"]
        for name in ("pairwise", "lambdamart")
    }
    assert values["lambdamart"] > 0.99 > 0.8 > values["pairwise"]
    whole = fit_lambdamart(groups[:40], ("x", "y"), settings=LambdaMART(rounds=7, held=0.0))
    assert whole.text.count("Tree=") == 7


def test_without_lightgbm_the_other_fits_still_work(monkeypatch):
    """P4: the extra is named when it is missing; the linear fits need no library."""
    import sys

    monkeypatch.setitem(sys.modules, "lightgbm", None)
    with pytest.raises(MissingExtra, match=r"foveal\[train\]"):
        fit_lambdamart(made(3), NAMES)
    assert fit_pairwise(made(3), NAMES).weights[0] > 0


@pytest.mark.parametrize("name", FITS)
def test_what_cannot_be_fitted_is_an_error(name):
    flat = [Group("q", ("a", "b"), np.zeros((2, 3)), np.zeros(2)), Group("none", (), np.zeros((0, 3)), np.zeros(0))]
    with pytest.raises(InputError, match="0 of 2"):
        FITS[name](flat, NAMES)
    with pytest.raises(InputError, match=r"needs \(2, 2\)"):
        FITS[name]([Group("q", ("a", "b"), np.zeros((2, 3)), np.ones(2))], NAMES[:2])
    with pytest.raises(InputError, match="not finite"):
        FITS[name]([Group("q", ("a", "b"), np.full((2, 3), np.nan), np.ones(2))], NAMES)
    for grade in (-1.0, np.nan):
        with pytest.raises(InputError, match="a grade that is below 0 or no number"):
            FITS[name]([Group("q", ("a", "b"), np.zeros((2, 3)), np.array([1.0, grade]))], NAMES)


def test_trees_take_whole_grades_and_say_so_where_they_are_damaged():
    with pytest.raises(InputError, match="whole grades only"):
        fit_lambdamart([replace(one, grades=one.grades / 2) for one in made(5)], NAMES)
    with pytest.raises(InputError, match="trees are damaged"):
        TreeModel(NAMES, "tree\nversion=v4\n").scores(np.zeros((1, 3)))


@pytest.mark.parametrize("wrong", [{"rounds": 0}, {"leaves": 1}, {"rate": 0.0}, {"held": 1.0}, {"patience": 0}])
def test_wrong_settings_of_lambdamart_are_refused(wrong):
    with pytest.raises(InputError, match="cannot be fitted"):
        LambdaMART(**wrong)


# -- the ranker ------------------------------------------------------------------------------------------------------

TEXTS = {f"d{i}": text for i, text in enumerate(["mill wheel", "wheel of a mill", "river mill", "steam mill", "mill"])}
QUERIES = {"q1": "mill wheel", "q2": "river mill", "q3": "steam mill", "q4": "wheel"}
JUDGED = {"q1": {"d0": 2, "d1": 1}, "q2": {"d2": 1}, "q3": {"d3": 1}, "q4": {"d1": 1, "gone": 1}}


@pytest.fixture(scope="module")
def features():
    return Features({"words": Words(TEXTS), "dense": Shelf(TEXTS)}, now=NOW)


@pytest.fixture(scope="module")
def groups(features):
    return judged_groups(QUERIES, JUDGED, Words(TEXTS), features, k=5)


def test_groups_are_the_hits_of_the_deployed_retriever(features, groups):
    """P4: training groups come from the first stage that the ranker will stand behind."""
    found = Words(TEXTS).search(list(QUERIES.values()), 5)
    assert [group.keys for group in groups] == [tuple(names(hits)) for hits in found]
    assert groups[0].grades.tolist() == [JUDGED["q1"].get(name, 0) for name in groups[0].keys]
    assert np.array_equal(groups[1].features, features("river mill", found[1]))
    assert [group.teaches for group in groups] == [True] * 4
    with pytest.raises(InputError, match="'q4' is judged but has no text"):
        judged_groups({}, {"q4": {}}, Words(TEXTS), features)


@pytest.mark.parametrize("name", FITS)
def test_a_ranker_saved_and_loaded_ranks_alike(name, features, groups, tmp_path):
    """P4: LearnedRanker is a Ranker; its model is JSON."""
    options = {"settings": LambdaMART(rounds=5, least_in_leaf=1, held=0.0)} if name == "lambdamart" else {}
    model = FITS[name](groups, features.names, **options)
    save_model(model, tmp_path / "models" / "ranker.json")
    assert json.loads((tmp_path / "models" / "ranker.json").read_text())["names"] == list(features.names)
    hits = Words(TEXTS).search(["mill wheel"], 5)[0]
    ranked = LearnedRanker(model, features).rank("mill wheel", hits)
    assert ranked == LearnedRanker(load_model(tmp_path / "models" / "ranker.json"), features).rank("mill wheel", hits)
    scores = model.scores(features("mill wheel", hits))
    assert {one.passage.span: one.score for one in ranked} == {
        one.passage.span: score for one, score in zip(hits, scores.tolist(), strict=True)
    }
    assert all(one.score >= two.score for one, two in pairwise(ranked))
    assert (ranked[0].source, hits[0].source) == ("learned", "words")
    assert LearnedRanker(model, features).rank("mill wheel", []) == []


def test_a_ranker_with_other_features_is_refused(features, groups):
    model = fit_pairwise(groups, features.names)
    with pytest.raises(InputError, match="The model was fitted on words:score"):
        LearnedRanker(model, Features({"dense": Shelf(TEXTS)}))


def test_a_document_counts_by_its_best_passage():
    group = Group("q", ("a", "b", "a"), np.array([[1.0], [2.0], [3.0]]), np.zeros(3))
    assert run_of([group], LinearModel(("x",), (0.0,), (1.0,), (1.0,))) == {"q": {"a": 3.0, "b": 2.0}}


def test_cross_validation_scores_no_query_by_a_model_that_saw_it():
    """P4: cross-validated, dealt by a seed."""
    seen = []

    def fit(part, names):
        seen.append({group.query for group in part})
        return LinearModel(names, (0, 0, 0), (1, 1, 1), (float(len(seen)), 0, 0))

    training = made(10)
    run = cross_validated(training, NAMES, fit, folds=3, seed=4)
    assert list(run) == [group.query for group in training]
    for group in training:
        number = next(n for n, queries in enumerate(seen, start=1) if group.query not in queries)
        assert run[group.query] == pytest.approx(
            {key: number * x for key, x in zip(group.keys, group.features[:, 0].tolist(), strict=True)}
        )
    assert [len(queries) for queries in seen] == [6, 7, 7]
    for folds in (1, 11):
        with pytest.raises(InputError, match=f"{folds} folds of 10"):
            cross_validated(training, NAMES, fit, folds=folds)


@pytest.mark.parametrize(
    "text",
    [
        "",
        "{}",
        '{"kind": "pickle", "names": []}',
        '{"kind": "linear", "names": ["a"], "mean": [0], "scale": [1], "weights": []}',
        '{"kind": "linear", "names": ["a"], "mean": ["x"], "scale": [1], "weights": [1]}',
    ],
)
def test_files_that_hold_no_model_are_refused(tmp_path, text):
    (tmp_path / "model.json").write_text(text)
    with pytest.raises(InputError, match="holds no ranking model"):
        load_model(tmp_path / "model.json")
