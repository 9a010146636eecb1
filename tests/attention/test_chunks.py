"""Chunks: vectors, scores of tokens and of key blocks, and the keys kept, each against its plain definition."""

from __future__ import annotations

import math
from itertools import pairwise

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch.utils._python_dispatch import TorchDispatchMode

from foveal.attention.chunks import POOLINGS, block_vectors, chunk_means, chunk_of_token, top_tokens, upsample
from foveal.errors import InputError


@pytest.fixture
def generator():
    return torch.Generator().manual_seed(5)


@st.composite
def cuts(draw, longest: int = 90):
    """Boundaries of a text of up to `longest` tokens."""
    length = draw(st.integers(1, longest))
    inner = draw(st.sets(st.integers(1, length - 1))) if length > 1 else set()
    return torch.tensor([0, *sorted(inner), length])


def vector_by_definition(x: list[list[float]], start: int, end: int, pooling: str) -> list[float]:
    columns = list(zip(*x, strict=True))
    mean = [sum(column) / len(column) for column in columns]
    if pooling == "max":
        return [max(column[start:end]) for column in columns]
    offset = mean if pooling == "sqrt_centred" else [0.0] * len(columns)
    means = [sum(v - o for v in column[start:end]) / (end - start) for column, o in zip(columns, offset, strict=True)]
    return means if pooling == "mean" else [math.sqrt(end - start) * value for value in means]


@pytest.mark.parametrize("pooling", POOLINGS)
def test_a_chunk_is_pooled_as_defined(pooling, generator):
    x, bounds = torch.randn(2, 3, 20, 4, generator=generator) + 3, [0, 1, 2, 9, 13, 20]
    found = chunk_means(x, torch.tensor(bounds), pooling=pooling)
    for batch in range(2):
        for head in range(3):
            rows = x[batch, head].tolist()
            expected = [vector_by_definition(rows, s, e, pooling) for s, e in pairwise(bounds)]
            torch.testing.assert_close(found[batch, head], torch.tensor(expected), atol=1e-5, rtol=1e-5)


def test_long_texts_lose_no_digits(generator):
    x = (torch.randn(1, 1, 20_000, 2, generator=generator) + 100).bfloat16()
    bounds = torch.arange(0, 20_001, 8)
    expected = x.double().view(1, 1, -1, 8, 2).mean(3)
    torch.testing.assert_close(chunk_means(x, bounds, pooling="mean").double(), expected, atol=0, rtol=1e-6)


def test_an_offset_of_all_keys_changes_nothing_once_they_are_centred(generator):
    x, bounds = torch.randn(1, 2, 30, 4, generator=generator), torch.tensor([0, 3, 11, 30])
    torch.testing.assert_close(chunk_means(x + 7, bounds), chunk_means(x, bounds), atol=1e-4, rtol=1e-4)
    assert not torch.allclose(
        chunk_means(x + 7, bounds, pooling="sqrt"), chunk_means(x, bounds, pooling="sqrt"), atol=1
    )


@given(cuts())
def test_a_token_has_its_chunks_score(bounds):
    length, scores = int(bounds[-1]), torch.randn(2, len(bounds) - 1)
    tokens = upsample(scores, bounds, length)
    chunks = chunk_of_token(bounds).tolist()
    for token in range(length):
        chunk = max(n for n in range(len(bounds) - 1) if bounds[n] <= token)
        assert chunks[token] == chunk
        assert torch.equal(tokens[:, token], scores[:, chunk])


@given(cuts(), st.sampled_from([1, 8, 32]))
def test_a_blocks_product_is_the_mean_of_its_tokens_scores(bounds, key_block):
    vectors = torch.randn(2, len(bounds) - 1, 5, dtype=torch.float64)
    queries = torch.randn(2, 3, 5, dtype=torch.float64)
    tokens = upsample(queries @ vectors.transpose(-1, -2), bounds, int(bounds[-1]))
    expected = torch.stack([piece.mean(-1) for piece in tokens.split(key_block, dim=-1)], dim=-1)
    torch.testing.assert_close(queries @ block_vectors(vectors, bounds, key_block).transpose(-1, -2), expected)


class Largest(TorchDispatchMode):
    """The most numbers that any one operation made."""

    numbers = 0

    def __torch_dispatch__(self, function, types, args=(), kwargs=None):
        made = function(*args, **(kwargs or {}))
        self.numbers = max([self.numbers, *(one.numel() for one in [made] if isinstance(one, torch.Tensor))])
        return made


def test_blocks_have_vectors_without_one_for_each_token():
    width, length = 64, 16_384
    bounds, largest = torch.arange(0, length + 1, 16), Largest()
    with largest:
        block_vectors(torch.randn(length // 16, width), bounds)
    assert largest.numbers <= width * length // 8


def kept_by_definition(scores, budget, row, block, local, sink, window) -> set[int]:
    end = min((row + 1) * block, len(scores))
    left = 0 if window is None else max(0, row * block - window + 1)
    allowed = range(left, end)
    kept = {key for key in allowed if key < left + sink or key >= end - local}
    rest = sorted((key for key in allowed if key not in kept), key=lambda key: (-scores[key], key))
    limit = budget if window is None else min(budget, window)
    return kept | set(rest[: max(0, limit - len(kept))])


@pytest.mark.parametrize("window", [None, 24, 40])
@pytest.mark.parametrize(("budget", "local", "sink"), [(20, 4, 3), (24, 8, 8), (12, 0, 0), (16, 8, 8), (500, 1, 1)])
def test_the_keys_kept_are_those_of_the_definition(window, budget, local, sink, generator):
    if window and min(budget, window) < local + sink:
        return
    scores = torch.randint(6, (2, 7, 100), generator=generator).float()  # many are equal
    kept = top_tokens(scores, budget, block=16, local=local, sink=sink, window=window)
    for head in range(2):
        for row in range(7):
            expected = kept_by_definition(scores[head, row].tolist(), budget, row, 16, local, sink, window)
            assert set(kept[head, row].nonzero().flatten().tolist()) == expected
    assert int(kept.sum(-1).max()) <= budget


@pytest.mark.parametrize(
    "bounds",
    [[0, 5], [1, 9], [0, 4, 4, 9], [0, 6, 3, 9], [0.0, 9.0], [9], [[0, 9]]],
    ids=["short", "late", "twice", "back", "floats", "alone", "table"],
)
def test_boundaries_that_do_not_fit_are_refused(bounds):
    for call in (lambda b: chunk_means(torch.zeros(1, 1, 9, 2), b), lambda b: upsample(torch.zeros(1), b, 9)):
        with pytest.raises(InputError, match="Boundaries of 9 tokens must"):
            call(torch.tensor(bounds))


def test_what_has_no_answer_is_refused():
    bounds = torch.tensor([0, 4, 9])
    with pytest.raises(InputError, match="There are: sqrt_centred, sqrt, mean, max"):
        chunk_means(torch.zeros(1, 1, 9, 2), bounds, pooling="median")
    with pytest.raises(InputError, match="A key block of 0 tokens"):
        block_vectors(torch.zeros(2, 3), bounds, 0)
    with pytest.raises(InputError, match="Boundaries of 0 tokens must"):
        block_vectors(torch.zeros(0, 3), bounds[:0])
    with pytest.raises(InputError, match="came with the boundaries of 2 chunks"):
        block_vectors(torch.zeros(3, 3), bounds)
    with pytest.raises(InputError, match="A budget of 20 keys cannot hold 16 local and 8 first"):
        top_tokens(torch.zeros(1, 9), 20, local=16, sink=8)
