import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.evaluation.likelihood import (
    nats_per_token,
    paired,
    perplexity,
    relative_error,
    relative_error_per_head,
)

LOGPROBS = st.lists(st.floats(-50, 0), min_size=1, max_size=20)


def test_nats_per_token_is_minus_the_mean():
    assert nats_per_token([-1.0, -2.0, 0.0]) == 1
    assert nats_per_token(np.log([[0.5, 0.25]])) == pytest.approx((math.log(2) + math.log(4)) / 2)
    assert nats_per_token([-math.inf, 0]) == math.inf


@pytest.mark.parametrize("wrong", [[], [0.1], [math.nan], [-1, math.nan]])
def test_what_is_no_log_probability_is_refused(wrong):
    with pytest.raises(InputError, match="none above 0"):
        nats_per_token(wrong)


def test_perplexity_weighs_tokens_not_texts():
    assert perplexity(-4 * math.log(2), 4) == pytest.approx(2)
    assert perplexity([-1.0, -9.0], [1, 4]) == pytest.approx(math.exp(10 / 5))
    assert perplexity(-1e6, 1) == math.inf


@given(LOGPROBS, LOGPROBS)
def test_perplexity_of_texts_is_that_of_all_their_tokens(first, second):
    together = perplexity([sum(first), sum(second)], [len(first), len(second)])
    assert together == pytest.approx(math.exp(nats_per_token(first + second)))


@pytest.mark.parametrize(
    ("sums", "counts"), [([], []), ([-1], [0]), ([-1, -1], [2, 0]), ([1], [1]), ([-1, -1], [2]), (-math.nan, 1)]
)
def test_sums_and_counts_that_do_not_fit_are_refused(sums, counts):
    with pytest.raises(InputError, match="a count of at least 1"):
        perplexity(sums, counts)


def test_a_bootstrap_interval_of_two_values_is_known_exactly():
    # means of two draws from {0, 1}: 0, 1/2, 1 with 1/4, 1/2, 1/4, so 95 % reaches to both ends and 40 % is 1/2 alone
    wide, narrow = (paired([0.0, 1.0], seed=0, confidence=confidence) for confidence in (0.95, 0.4))
    assert (wide.mean, wide.low, wide.high, wide.count) == (0.5, 0, 1, 2)
    assert (narrow.low, narrow.high) == (0.5, 0.5)
    assert not wide.differs
    assert narrow.differs


def test_a_bootstrap_interval_is_near_the_normal_one_for_many_values():
    values = np.random.default_rng(1).normal(0.3, 2.0, 400)
    found = paired(values, seed=0)
    half = 1.96 * values.std() / math.sqrt(400)
    assert found.mean == pytest.approx(values.mean())
    assert found.low == pytest.approx(values.mean() - half, abs=0.02)
    assert found.high == pytest.approx(values.mean() + half, abs=0.02)


@given(st.lists(st.floats(-10, 10), min_size=2, max_size=30), st.integers(0, 100))
def test_the_interval_lies_within_the_values_and_turns_with_their_sign(values, seed):
    found, turned = paired(values, seed=seed, rounds=200), paired([-value for value in values], seed=seed, rounds=200)
    assert min(values) - 1e-9 <= found.low <= found.high <= max(values) + 1e-9
    assert (turned.low, turned.high) == (pytest.approx(-found.high), pytest.approx(-found.low))
    assert found == paired(values, seed=seed, rounds=200)


def test_drawing_in_pieces_changes_nothing(monkeypatch):
    values = np.arange(50.0)
    whole = paired(values, seed=3, rounds=1000)
    monkeypatch.setattr("foveal.evaluation.likelihood.PIECE", 50 * 7)
    assert paired(values, seed=3, rounds=1000) == whole


def test_the_sign_is_told_by_differs():
    assert paired([1.0, 2.0, 3.0], seed=0).differs
    assert paired([-1.0, -2.0], seed=0).differs
    assert not paired([-1.0, 1.0, 0.0], seed=0).differs


@pytest.mark.parametrize("wrong", [[], [1.0], [[1.0, 2.0]], [1.0, math.nan], [1.0, math.inf]])
def test_differences_that_give_no_interval_are_refused(wrong):
    with pytest.raises(InputError, match="at least two"):
        paired(wrong, seed=0)


@pytest.mark.parametrize("wrong", [{"confidence": 0}, {"confidence": 1}, {"rounds": 0}])
def test_settings_that_give_no_interval_are_refused(wrong):
    with pytest.raises(InputError, match="within 0 and 1"):
        paired([1.0, 2.0], seed=0, **wrong)


def test_relative_error_is_the_ratio_of_frobenius_norms():
    assert relative_error([[3.0, 0.0], [0.0, 5.0]], [[3.0, 4.0], [0.0, 0.0]]) == pytest.approx(math.sqrt(16 + 25) / 5)
    assert relative_error([1.0], [0.0]) == math.inf
    assert relative_error([0.0], [0.0]) == 0
    assert relative_error(2.0, 1.0) == 1
    assert math.isnan(relative_error([math.nan, 1.0], [1.0, 1.0]))


@pytest.mark.parametrize("axis", [0, 1, 2, 3, -1])
def test_each_head_has_its_own_error(axis):
    generator = np.random.default_rng(0)
    output, reference = generator.normal(size=(2, 2, 3, 4, 5))
    found = relative_error_per_head(output, reference, axis=axis)
    assert found == pytest.approx(
        [relative_error(output.take(head, axis), reference.take(head, axis)) for head in range(reference.shape[axis])]
    )


def test_the_error_of_all_heads_is_that_of_each_weighted_by_its_norm():
    generator = np.random.default_rng(0)
    output, reference = generator.normal(size=(2, 1, 4, 6, 8))
    weights = (reference**2).sum(axis=(0, 2, 3))
    mean = (relative_error_per_head(output, reference) ** 2 * weights).sum() / weights.sum()
    assert relative_error(output, reference) == pytest.approx(math.sqrt(mean))


def test_shapes_that_differ_are_refused_not_broadcast():
    with pytest.raises(InputError, match=r"\(1, 2\), its reference \(2,\)"):
        relative_error([[1.0, 2.0]], [1.0, 2.0])
    with pytest.raises(InputError, match="not empty"):
        relative_error([], [])
    with pytest.raises(InputError, match="no such axis"):
        relative_error_per_head([1.0], [1.0])


def test_tensors_of_any_type_are_taken():
    torch = pytest.importorskip("torch")
    logprobs = torch.tensor([-1.0, -2.0], dtype=torch.bfloat16, requires_grad=True)
    assert nats_per_token(logprobs) == 1.5
    assert relative_error(torch.ones(2, 3, dtype=torch.float16) * 2, np.ones((2, 3))) == 1
    assert relative_error_per_head(torch.ones(1, 2, 3), torch.ones(1, 2, 3)).tolist() == [0, 0]
