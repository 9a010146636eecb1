"""F1 by hand and by scikit-learn, with rows named as they were given; the FNC score; calibration; ranks."""

from __future__ import annotations

import math

import numpy as np
import pytest

from foveal.errors import InputError
from foveal.evaluation.classification import Confusion, auroc, calibration_error, fnc_score, mean_ranks, spearman

LABELS = ("HREL", "MREL", "LREL")


def test_rows_bear_the_names_that_were_given_not_those_of_the_alphabet():
    found = Confusion.of(["MREL"] * 3 + ["LREL"], ["MREL", "MREL", "LREL", "LREL"], LABELS)
    assert found.labels == LABELS
    assert found.counts == ((0, 0, 0), (0, 2, 1), (0, 0, 1))
    assert found.supports == {"HREL": 0, "MREL": 3, "LREL": 1}
    assert found.f1 == pytest.approx({"HREL": 0.0, "MREL": 2 * 2 / 5, "LREL": 2 / 3})
    assert found.macro == pytest.approx((4 / 5 + 2 / 3) / 2)  # no HREL is there, and none was given
    assert found.weighted == pytest.approx((3 * 4 / 5 + 2 / 3) / 4)
    assert found.accuracy == 0.75


@pytest.mark.parametrize(("right", "said"), [(3, 3), (2, 2), (3, 2), (2, 3)])
def test_equal_to_scikit_learn(right, said):
    """Also where a class is never right, never given, or neither."""
    metrics = pytest.importorskip("sklearn.metrics")
    draw = np.random.default_rng(0)
    gold, given = draw.choice(LABELS[:right], 200).tolist(), draw.choice(LABELS[:said], 200).tolist()
    found = Confusion.of(gold, given, LABELS)
    assert found.macro == pytest.approx(metrics.f1_score(gold, given, average="macro", zero_division=0))
    assert found.weighted == pytest.approx(metrics.f1_score(gold, given, average="weighted", zero_division=0))


@pytest.mark.parametrize(("gold", "given"), [([], []), (["HREL"], []), (["HREL"], ["OTHER"])])
def test_wrong_labels_are_refused(gold, given):
    with pytest.raises(InputError):
        Confusion.of(gold, given, LABELS)


def test_the_fnc_score_is_a_share_of_the_best():
    gold = ["agree", "discuss", "unrelated", "unrelated"]  # the best: 1 + 1 + 0.25 + 0.25
    assert fnc_score(gold, gold, unrelated="unrelated") == 1
    assert fnc_score(gold, ["unrelated"] * 4, unrelated="unrelated") == 0.5 / 2.5
    assert fnc_score(gold, ["discuss", "discuss", "unrelated", "agree"], unrelated="unrelated") == 1.5 / 2.5
    for right, given in (([], []), (gold, gold[:3])):
        with pytest.raises(InputError, match="as many, and some"):
            fnc_score(right, given, unrelated="unrelated")


def test_calibration_is_the_gap_of_what_is_said_and_what_is_right():
    shares = np.array([[0.8, 0.2]] * 10)
    assert calibration_error(shares, np.array([0] * 8 + [1] * 2)) == pytest.approx(0)
    assert calibration_error(shares, np.zeros(10, dtype=np.int64)) == pytest.approx(0.2)


def test_ranks_and_their_correlation():
    assert mean_ranks(np.array([3.0, 1.0, 3.0])).tolist() == [2.5, 1, 2.5]
    assert spearman([1, 2, 3], [10, 20, 21]) == pytest.approx(1)
    assert spearman([1, 2, 3], [3, 2, 1]) == pytest.approx(-1)
    assert math.isnan(spearman([1, 1, 1], [1, 2, 3]))
    with pytest.raises(InputError, match="at least 2"):
        spearman([1], [2])
    stats = pytest.importorskip("scipy.stats")
    one, other = np.random.default_rng(1).integers(0, 9, (2, 60))
    assert spearman(one, other) == pytest.approx(stats.spearmanr(one, other).statistic)


def test_auroc_is_how_often_a_positive_scores_above_a_negative():
    draw = np.random.default_rng(0)
    scores, positive = draw.integers(0, 6, 40).astype(float), draw.random(40) < 0.4
    pairs = [(a > b) + (a == b) / 2 for a in scores[positive] for b in scores[~positive]]
    assert auroc(scores.tolist(), positive.tolist()) == pytest.approx(np.mean(pairs))
    for labels in ([True, True], [True]):
        with pytest.raises(InputError, match="both kinds"):
            auroc([0.1, 0.2], labels)
    with pytest.raises(InputError, match="1 of 2 values are NaN"):  # it once ranked above all numbers
        auroc([math.nan, 0.2], [True, False])
