import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from foveal.errors import InputError
from foveal.retrieval import flat

NUMBERS = st.floats(-4, 4, width=32)


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


@pytest.fixture
def vectors():
    return unit(np.random.default_rng(0).normal(size=(500, 70)))


@pytest.fixture
def queries():
    return unit(np.random.default_rng(1).normal(size=(7, 70)))


def best_by_definition(vectors, query, k):
    """Python's own sums: the k largest inner products, the largest first."""
    scores = [sum(float(a) * float(b) for a, b in zip(vector, query, strict=True)) for vector in vectors]
    order = sorted(range(len(scores)), key=lambda row: -scores[row])[:k]
    return order, [scores[row] for row in order]


@pytest.mark.parametrize("count", [1, 2, 7])
def test_flat_search_finds_the_largest_products(vectors, queries, count):
    ids, scores = flat.flat_search(vectors, queries[:count], 10)
    assert (ids.dtype, scores.dtype, ids.shape) == (np.int64, np.float32, (count, 10))
    for row in range(count):
        expected_ids, expected_scores = best_by_definition(vectors, queries[row], 10)
        assert ids[row].tolist() == expected_ids
        assert scores[row] == pytest.approx(expected_scores, abs=1e-6)


@pytest.mark.parametrize("search", [flat.flat_search, lambda v, q, k: flat.int8_search(flat.quantise_int8(v), q, k)])
@pytest.mark.parametrize("size", [1, 3, 9, 10, 499, 500])
def test_in_blocks_equals_at_once(vectors, queries, size, search, monkeypatch):
    whole = search(vectors, queries, 9)
    for name, value in (("SCORES_AT_ONCE", 2 * size), ("QUERIES_AT_ONCE", 2), ("INT8_BLOCK", size)):
        monkeypatch.setattr(flat, name, value)
    parts = search(vectors, queries, 9)
    assert np.array_equal(parts[0], whole[0])
    assert parts[1] == pytest.approx(whole[1], abs=1e-6)


def test_k_above_the_collection_gives_all(vectors, queries):
    small = flat.quantise_int8(vectors[:3])
    for ids, _ in (
        flat.flat_search(vectors[:3], queries, 10),
        flat.int8_search(small, queries, 10),
        flat.binary_rescored(flat.binarise(vectors[:3]), small, queries, 10),
    ):
        assert np.array_equal(np.sort(ids, axis=1), np.tile([0, 1, 2], (7, 1)))


def test_no_queries_give_no_rows(vectors):
    none = np.empty((0, 70), dtype=np.float32)
    small = flat.quantise_int8(vectors)
    for ids, scores in (
        flat.flat_search(vectors, none, 5),
        flat.int8_search(small, none, 5),
        flat.binary_rescored(flat.binarise(vectors), small, none, 5),
    ):
        assert ids.shape == scores.shape == (0, 5)


@given(arrays(np.float32, st.tuples(st.integers(1, 5), st.integers(1, 9)), elements=NUMBERS))
@example(np.array([[1e-45, 0], [2.1e-43, 1e-45], [1.5e-36, -1e-38]], dtype=np.float32))  # steps too small to divide by
@settings(max_examples=60)
def test_int8_is_within_half_a_step(rows):
    stored = flat.quantise_int8(rows)
    assert stored.codes.dtype == np.int8
    restored = stored.codes * stored.scales[:, None]
    assert (np.abs(restored - rows) <= 0.501 * stored.scales[:, None]).all()
    divided = np.abs(rows).max(axis=1) / np.float32(127) >= np.finfo(np.float32).tiny
    assert (np.abs(stored.codes).max(axis=1) == np.where(divided, 127, 0)).all()


def test_int8_search_scores_what_is_stored(vectors, queries):
    stored = flat.quantise_int8(vectors)
    restored = (stored.codes * stored.scales[:, None]).astype(np.float32)
    for asked in (queries, queries[:1]):
        ids, scores = flat.int8_search(stored, asked, 5)
        expected_ids, expected_scores = flat.flat_search(restored, asked, 5)
        assert np.array_equal(ids, expected_ids)
        assert scores == pytest.approx(expected_scores, abs=1e-6)


@pytest.mark.parametrize("bit_count", ["numpy 2", "numpy 1"])
@given(arrays(np.float32, st.tuples(st.integers(2, 5), st.sampled_from([1, 63, 64, 65, 130])), elements=NUMBERS))
@settings(max_examples=60)
def test_hamming_counts_the_differing_signs(bit_count, rows):
    signs = flat.binarise(rows)
    query = flat.binarise(rows[:1])
    expected = [sum((a > 0) != (b > 0) for a, b in zip(row, rows[0], strict=True)) for row in rows]
    with pytest.MonkeyPatch.context() as patched:
        if bit_count == "numpy 1":
            patched.delattr(np, "bitwise_count", raising=False)
        assert flat.hamming(signs, query).tolist() == expected


def test_rescored_signs_are_the_int8_order_of_the_hamming_candidates(vectors, queries):
    signs, stored = flat.binarise(vectors), flat.quantise_int8(vectors)
    ids, scores = flat.binary_rescored(signs, stored, queries, 5)
    restored = stored.codes * stored.scales[:, None]
    for row, query in enumerate(queries):
        distances = ((vectors > 0) != (query > 0)).sum(axis=1)
        assert distances[ids[row]].max() <= np.sort(distances)[19]  # among the 4 k nearest, ties apart
        assert scores[row] == pytest.approx(restored[ids[row]] @ query, abs=1e-6)
        assert (np.diff(scores[row]) <= 0).all()
    everything, _ = flat.binary_rescored(signs, stored, queries, 5, candidates=500)
    assert np.array_equal(everything, flat.int8_search(stored, queries, 5)[0])


@pytest.mark.parametrize(
    ("rows", "asked", "k", "message"),
    [
        (np.ones((3, 4)), np.ones((1, 4)), 0, "k = 0"),
        (np.ones((0, 4)), np.ones((1, 4)), 1, "at least one vector"),
        (np.ones((3, 4)), np.ones((1, 5)), 1, r"needs \(Q, 4\)"),
        (np.ones((3, 4)), np.ones(4), 1, r"needs \(Q, 4\)"),
        (np.ones((3, 4)), np.array([[1, 1, 1, 1], [1, np.nan, 1, 1]]), 1, "Query 1 holds NaN"),
    ],
)
def test_what_cannot_be_searched_is_an_error(rows, asked, k, message):
    rows, asked = rows.astype(np.float32), asked.astype(np.float32)
    stored = flat.quantise_int8(rows)
    for search in (
        lambda: flat.flat_search(rows, asked, k),
        lambda: flat.int8_search(stored, asked, k),
        lambda: flat.binary_rescored(flat.binarise(rows), stored, asked, k),
    ):
        with pytest.raises(InputError, match=message):
            search()


def test_vectors_that_are_no_numbers_are_not_quantised():
    with pytest.raises(InputError, match="Vector 1 holds NaN"):
        flat.quantise_int8(np.array([[1, 2], [np.inf, 1]], dtype=np.float32))
