from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.retrieval.fusion import min_max, reciprocal_ranks, weighted_sum

rankings = st.lists(st.dictionaries(st.sampled_from("abcdefgh"), st.floats(-9, 9, width=32)), max_size=4)


def test_reciprocal_ranks_spelled_out():
    fused = reciprocal_ranks([{"a": 9.0, "b": 7.0}, {"b": 0.3, "c": 0.2}])
    assert fused == {"a": 1 / 61, "b": 1 / 62 + 1 / 61, "c": 1 / 62}


def test_a_weighted_sum_spelled_out():
    fused = weighted_sum([{"a": 10.0, "b": 6.0, "c": 2.0}, {"b": 0.9, "d": 0.1}], [0.6, 0.4])
    assert fused == pytest.approx({"a": 0.6, "b": 0.6 * 0.5 + 0.4, "c": 0.0, "d": 0.0})


def test_equal_scores_all_count_full():
    assert min_max({"a": 3.0, "b": 3.0}) == {"a": 1.0, "b": 1.0}
    assert min_max({}) == {}


@given(rankings)
def test_no_key_is_lost_and_order_of_rankings_does_not_matter(given_rankings):
    fused = reciprocal_ranks(given_rankings)
    assert fused.keys() == set().union(*given_rankings) if given_rankings else fused == {}
    assert reciprocal_ranks(given_rankings[::-1]) == pytest.approx(fused)


@given(rankings)
def test_scaling_a_ranking_changes_nothing(given_rankings):
    weights = [1.0] * len(given_rankings)
    # powers of two: exact in floating point
    scaled = [{key: 4 * score for key, score in ranking.items()} for ranking in given_rankings]
    assert weighted_sum(scaled, weights) == pytest.approx(weighted_sum(given_rankings, weights))


@pytest.mark.parametrize("weights", [[1.0], [1.0, -0.1], []])
def test_wrong_weights_are_refused(weights):
    with pytest.raises(InputError, match="one >= 0 for each"):
        weighted_sum([{"a": 1.0}, {"b": 1.0}], weights)
