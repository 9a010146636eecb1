"""Landmark attention against the paper's definition, forward and backward; the forms that are to be the same."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import Tensor

from foveal.attention import landmark_weights
from foveal.attention.landmark import (
    insert_landmarks,
    is_landmark,
    kernel_attention,
    landmark_attention,
    landmark_bias,
    strip_landmarks,
)
from foveal.errors import InputError


def weights_by_definition(scores: Tensor, block: int, lead: int) -> Tensor:
    """The paper's groups, pair by pair: scores (…, Q, K) of the last Q of K positions -> weights."""
    queries, keys = scores.shape[-2:]
    marks = is_landmark(keys, block, lead=lead).tolist()
    index = [next((j for j in range(i, keys) if marks[j]), keys) for i in range(keys)]
    weights = torch.zeros_like(scores)
    for row in range(queries):
        i = keys - queries + row
        group = {}
        for j in range(i + 1):
            own_mark = index[i] == j
            group[j] = None if own_mark else index[i] if marks[j] else index[j]

        def share(j: int, row: int = row, group: dict = group) -> Tensor:
            members = [other for other in group if group[other] == group[j]]
            return scores[..., row, members].softmax(-1)[..., members.index(j)]

        for j in range(i + 1):
            if not marks[j]:
                weights[..., row, j] = share(j) if index[j] == index[i] else share(j) * share(index[j])
    return weights


def definition(q: Tensor, k: Tensor, v: Tensor, block: int, lead: int, scale: float) -> Tensor:
    group = q.shape[1] // k.shape[1]
    k, v = (part.repeat_interleave(group, 1) for part in (k, v))
    return weights_by_definition(q @ k.mT * scale, block, lead) @ v


def drawn(*shape: int, seed: int = 0, dtype: torch.dtype = torch.float64) -> Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed), dtype=dtype)


def test_the_papers_example():
    weights = weights_by_definition(torch.zeros(7, 7), 3, 0)[6]
    wanted = torch.tensor([1 / 6, 1 / 6, 0, 1 / 6, 1 / 6, 0, 1 / 3])
    torch.testing.assert_close(weights, wanted)
    out, _ = landmark_attention(torch.zeros(1, 1, 7, 4), torch.zeros(1, 1, 7, 4), torch.eye(7)[None, None], block=3)
    torch.testing.assert_close(out[0, 0, 6], wanted)


@pytest.mark.parametrize(
    ("heads", "groups", "queries", "keys", "block", "lead"),
    [(4, 2, 23, 23, 4, 0), (2, 1, 5, 23, 4, 3), (2, 2, 9, 9, 2, 1), (1, 1, 1, 1, 4, 0), (2, 1, 3, 40, 16, 5)],
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.float32])
def test_output_and_gradients_are_the_definitions(heads, groups, queries, keys, block, lead, dtype):
    q = drawn(2, heads, queries, 8, dtype=dtype).requires_grad_()
    k = drawn(2, groups, keys, 8, seed=1, dtype=dtype).requires_grad_()
    v = drawn(2, groups, keys, 6, seed=2, dtype=dtype).requires_grad_()
    told = drawn(2, heads, queries, 6, seed=3, dtype=dtype)
    wanted = definition(q, k, v, block, lead, 0.7)
    gradients = torch.autograd.grad(wanted, (q, k, v), told, allow_unused=True)
    got = landmark_attention(q, k, v, block=block, lead=lead, scale=0.7)[0]
    near = {"atol": 1e-12, "rtol": 1e-9} if dtype == torch.float64 else {"atol": 2e-6, "rtol": 1e-5}
    torch.testing.assert_close(got, wanted, **near)
    for one, other in zip(torch.autograd.grad(got, (q, k, v), told), gradients, strict=True):
        torch.testing.assert_close(one, torch.zeros_like(one) if other is None else other, **near)


def test_pytorchs_own_check_of_the_backward():
    q, k, v = (drawn(1, 2, 11, 3, seed=seed).requires_grad_() for seed in range(3))
    assert torch.autograd.gradcheck(lambda *x: landmark_attention(*x, block=4, lead=1)[0], (q, k, v))


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_compiled_and_plain_operations_agree(dtype):
    assert landmark_weights._agrees(dtype)  # else the test below compares a thing with itself
    rows = landmark_weights.Rows(first=24, block=8, lead=3, scale=0.5)
    scores, told, delta = (
        drawn(2, 16, 40, dtype=dtype),
        drawn(2, 16, 40, seed=1, dtype=dtype),
        drawn(2, 16, seed=2).float(),
    )
    wanted, wanted_sums = landmark_weights.by_operations(scores.float(), rows)
    got, sums = landmark_weights.grouped_softmax_(scores.clone(), rows)
    near = {"atol": 1e-6, "rtol": 1e-5} if dtype == torch.float32 else {"atol": 4e-3, "rtol": 1e-2}
    torch.testing.assert_close(got.float(), wanted, **near)
    torch.testing.assert_close(sums, wanted_sums, atol=1e-5, rtol=1e-5)
    turned = landmark_weights.grouped_gradients_(got, told.clone(), delta, rows)
    right = landmark_weights.gradients_by_operations(got.float(), told.float(), delta, rows)
    torch.testing.assert_close(turned.float(), right, **near)


@pytest.mark.parametrize(("queries", "keys", "block"), [(23, 23, 4), (5, 37, 8), (1, 33, 16), (40, 40, 16)])
def test_the_block_kernel_with_a_bias_is_the_same(queries, keys, block):
    q, k, v = drawn(2, 4, queries, 16).float(), drawn(2, 2, keys, 16, seed=1).float(), drawn(2, 2, keys, 16).float()
    torch.testing.assert_close(
        kernel_attention(q, k, v, block=block), landmark_attention(q, k, v, block=block)[0], atol=2e-6, rtol=1e-5
    )
    assert landmark_bias(q, k, block=block)[1].shape == (2, 4, queries, math.ceil(keys / block))


@pytest.mark.parametrize("level", [-200.0, 200.0, 1e4])
@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
def test_scores_of_any_height_give_numbers(level, dtype):
    q, k = torch.full((1, 1, 12, 1), level, dtype=dtype), torch.ones(1, 1, 12, 1, dtype=dtype)
    v = drawn(1, 1, 12, 3, dtype=dtype)
    for part in (q, k, v):
        part.requires_grad_()
    out, sums = landmark_attention(q, k, v, block=4, scale=1.0)
    even = landmark_attention(torch.zeros_like(q), k, v, block=4, scale=1.0)[0]
    torch.testing.assert_close(out, even, atol=1e-4, rtol=1e-4)
    assert sums.isfinite().all()
    assert all(one.isfinite().all() for one in torch.autograd.grad(out.sum(), (q, k, v)))


def test_a_query_that_sees_nothing_gets_nothing():
    q, k, v = (drawn(1, 1, 1, 4, seed=seed).requires_grad_() for seed in range(3))
    out, sums = landmark_attention(q, k, v, block=4, lead=3)  # one position: a landmark whose block has no tokens
    assert (out == 0).all()
    assert (sums == -math.inf).all()
    assert all((one == 0).all() for one in torch.autograd.grad(out.sum(), (q, k, v)))


@pytest.mark.parametrize("lead", [0, 1, 3])
@pytest.mark.parametrize("count", [1, 2, 3, 7, 30])
def test_landmarks_go_in_and_come_out(count, lead):
    ids = torch.arange(2 * count).view(2, count)
    made = insert_landmarks(ids, 5, 999, lead=lead)
    assert (made == 999).sum() == 2 * ((count + lead) // 4)
    assert (strip_landmarks(made, 5, lead=lead) == ids).all()


@pytest.mark.parametrize(
    ("call", "said"),
    [
        (lambda: insert_landmarks(torch.tensor([[1, 9]]), 4, 9), "landmark's own id"),
        (lambda: insert_landmarks(torch.tensor([1, 2]), 4, 9), "batch, T"),
        (lambda: is_landmark(4, 1), "at least 2"),
        (lambda: landmark_attention(*(torch.zeros(1, 1, 0, 4),) * 3, block=4), "at least one"),
        (lambda: landmark_attention(torch.zeros(1, 3, 4, 4), *(torch.zeros(1, 2, 4, 4),) * 2, block=4), "multiple"),
        (lambda: landmark_attention(*(torch.zeros(1, 1, 4),) * 3, block=4), "needs q"),
        (lambda: landmark_attention(*(torch.zeros(1, 1, 4, 4),) * 3, block=4, lead=4), "0 to 3"),
        (lambda: landmark_attention(*(torch.zeros(1, 1, 4, 4, dtype=torch.int64),) * 3, block=4), "floating"),
    ],
)
def test_what_does_not_fit_is_refused(call, said):
    with pytest.raises(InputError, match=said):
        call()


def test_it_is_differentiable_once():
    q, k, v = (drawn(1, 1, 9, 4, seed=seed).requires_grad_() for seed in range(3))
    (first,) = torch.autograd.grad(landmark_attention(q, k, v, block=4)[0].square().sum(), q, create_graph=True)
    with pytest.raises(RuntimeError, match="once_differentiable"):
        first.square().sum().backward()


@pytest.mark.parametrize("where", ["forward", "both"])
def test_under_autocast_it_stays_in_its_type(where):
    q, k, v = (drawn(1, 2, 40, 8, seed=seed, dtype=torch.float32).requires_grad_() for seed in range(3))
    wanted, _ = landmark_attention(q, k, v, block=8)
    gradients = torch.autograd.grad(wanted.square().sum(), (q, k, v))
    with torch.autocast("cpu", torch.bfloat16):
        found, _ = landmark_attention(q, k, v, block=8)
        loss = found.square().sum()
        given = torch.autograd.grad(loss, (q, k, v)) if where == "both" else None
    torch.testing.assert_close(found, wanted)
    torch.testing.assert_close(given or torch.autograd.grad(loss, (q, k, v)), gradients)


def test_no_memory_for_the_weights_is_an_error(address_space_left):
    if landmark_weights.library(landmark_weights.SOURCE) is None:
        pytest.skip("no compiler")
    scores = torch.from_numpy(np.zeros((1, 1, 2**28), np.float32))  # nothing is touched
    rows = landmark_weights.Rows(0, 64, 0, 1.0)
    assert landmark_weights._agrees(torch.float32)
    with address_space_left(2**26), pytest.raises(MemoryError, match="268,435,456 keys"):
        landmark_weights.grouped_softmax_(scores, rows)
