"""P_k, WindowDiff and F1: the published test vectors, the plain definitions, and the package segeval."""

import warnings

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.evaluation.segmentation import (
    accuracy_within,
    boundaries_to_masses,
    boundary_f1,
    labels_to_masses,
    masses_to_boundaries,
    masses_to_labels,
    openings_to_masses,
    pk,
    same_auc,
    window_size,
    windowdiff,
)

MASSES = st.lists(st.integers(1, 9), min_size=1, max_size=12)


def random_masses(rng, units):
    return boundaries_to_masses((rng.random(units - 1) < rng.random()).astype(int).tolist())


def pk_by_definition(hypothesis, reference, k):
    found, true = masses_to_labels(hypothesis), masses_to_labels(reference)
    windows = range(len(true) - k)
    return sum((found[i] == found[i + k]) != (true[i] == true[i + k]) for i in windows) / len(windows)


def windowdiff_by_definition(hypothesis, reference, k):
    found, true = masses_to_boundaries(hypothesis), masses_to_boundaries(reference)
    windows = range(len(true) + 1 - k)
    return sum(sum(found[i : i + k]) != sum(true[i : i + k]) for i in windows) / len(windows)


@pytest.mark.parametrize(
    ("hypothesis", "reference", "expected"),
    [
        ([2, 3, 6], [2, 2, 7], 2 / 9),
        ([5, 3, 5], [4, 4, 5], 2 / 11),
        ([13], [4, 4, 5], 4 / 11),
        ([4, 4, 5], [13], 1),
        ([1] * 13, [4, 4, 5], 7 / 11),
        ([4, 4, 5], [4, 4, 5], 0),
    ],
)
def test_pk_of_the_published_vectors(hypothesis, reference, expected):
    assert pk(hypothesis, reference) == pytest.approx(expected, abs=1e-15)


@pytest.mark.parametrize(("reference", "k"), [([5], 2), ([7], 4), ([9], 4), ([1, 1, 1], 2), ([4, 4, 5], 2), ([13], 6)])
def test_the_window_is_half_the_mean_segment_rounded_to_even_and_at_least_two(reference, k):
    assert window_size(reference) == k
    with pytest.raises(InputError, match="no segments"):
        window_size([])


def test_the_metrics_are_their_definitions():
    rng = np.random.default_rng(3)
    for _ in range(300):
        found, true = (random_masses(rng, 17) for _ in range(2))
        k = int(rng.integers(1, 16))
        assert pk(found, true, window=k) == pytest.approx(pk_by_definition(found, true, k), abs=1e-12)
        assert windowdiff(found, true, window=k) == pytest.approx(windowdiff_by_definition(found, true, k), abs=1e-12)


def test_a_thousand_random_segmentations_score_as_by_segeval():
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # segeval compares numbers by `is`
        import segeval

        rng = np.random.default_rng(0)
        for _ in range(1000):
            found, true = [random_masses(rng, units) for units in [int(rng.integers(12, 40))] for _ in range(2)]
            if sum(true) > window_size(true):
                assert pk(found, true) == pytest.approx(float(segeval.pk(found, true)), abs=1e-12)
                assert windowdiff(found, true) == pytest.approx(float(segeval.window_diff(found, true)), abs=1e-12)


def test_boundary_scores():
    scores = boundary_f1([2, 3, 6], [2, 2, 1, 6])  # ends after 2 and 5; after 2, 4 and 5
    assert (scores.precision, scores.recall, scores.f1) == (1.0, 2 / 3, pytest.approx(4 / 5))
    assert boundary_f1([11], [2, 9]).f1 == 0
    assert boundary_f1([2, 9], [11]).f1 == 0
    assert boundary_f1([11], [11]).f1 == 1


@pytest.mark.parametrize("metric", [pk, windowdiff])
@pytest.mark.parametrize("reference", [[1], [1, 1]])
def test_too_few_units_score_zero_with_a_warning(metric, reference):
    with pytest.warns(UserWarning, match="0 by definition"):
        assert metric(reference, reference) == 0


@pytest.mark.parametrize("metric", [pk, windowdiff, boundary_f1])
@pytest.mark.parametrize(("hypothesis", "reference"), [([2, 3], [2, 2]), ([], []), ([2, 0, 2], [4]), ([-1, 5], [4])])
def test_texts_of_different_length_and_impossible_masses_are_refused(metric, hypothesis, reference):
    with pytest.raises(InputError):
        metric(hypothesis, reference)


def test_a_window_of_no_unit_is_refused():
    with pytest.raises(InputError, match="at least 1"):
        pk([2, 3], [5], window=0)


def test_the_forms_of_a_segmentation():
    assert masses_to_boundaries([2, 3, 1]) == [0, 1, 0, 0, 1]
    assert boundaries_to_masses([0, 1, 0, 0, 1]) == [2, 3, 1]
    assert masses_to_labels([2, 3, 1]) == [0, 0, 1, 1, 1, 2]
    assert labels_to_masses(["a", "a", "b", "a"]) == [2, 1, 1]
    assert openings_to_masses([2, 5], 6) == openings_to_masses([0, 5, 2], 6) == [2, 3, 1]
    with pytest.raises(InputError, match="0 or 1"):
        boundaries_to_masses([0, 2])
    with pytest.raises(InputError, match="6 units"):
        openings_to_masses([7], 6)


@given(MASSES)
def test_each_form_leads_back_to_the_masses(masses):
    assert boundaries_to_masses(masses_to_boundaries(masses)) == masses
    assert labels_to_masses(masses_to_labels(masses)) == masses


@given(MASSES, st.randoms(use_true_random=False))
def test_scores_lie_between_zero_and_one_and_are_perfect_for_the_truth(masses, random):
    units = sum(masses)
    other = boundaries_to_masses([random.randint(0, 1) for _ in range(units - 1)])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # too few units
        assert pk(masses, masses) == windowdiff(masses, masses) == 0
        assert 0 <= pk(other, masses) <= windowdiff(other, masses) <= 1
    assert boundary_f1(masses, masses).f1 == 1


@given(st.lists(st.tuples(st.integers(0, 4), st.booleans()), max_size=30))
def test_auc_is_the_share_of_pairs_in_the_right_order(gaps):
    scores, same = [float(score) for score, _ in gaps], [answer for _, answer in gaps]
    inside, between = ([s for s, a in zip(scores, same, strict=True) if a == kind] for kind in (True, False))
    wins = [(a > b) + (a == b) / 2 for a in inside for b in between]
    assert same_auc(scores, same) == pytest.approx(sum(wins) / len(wins) if wins else 0.5)


def test_accuracy_within_counts_documents_by_their_wrong_gaps():
    pairs = [([2, 3], [2, 3]), ([2, 3], [3, 2]), ([1, 1, 1, 1, 1], [5])]  # 0, 2 and 4 wrong gaps
    assert [accuracy_within(pairs, wrong) for wrong in (0, 1, 2, 4)] == pytest.approx([1 / 3, 1 / 3, 2 / 3, 1])
    with pytest.raises(InputError, match="at least one"):
        accuracy_within([], 1)
    with pytest.raises(InputError, match="each gap needs one"):
        same_auc([1.0], [True, False])
    with pytest.raises(InputError, match="NaN is no score"):
        same_auc([float("nan"), 0.0], [True, False])
