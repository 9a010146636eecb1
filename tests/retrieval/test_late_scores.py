from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from retrieval.test_late import ragged, unit

from foveal.errors import InputError
from foveal.retrieval.late_scores import coil, first_vectors, me_bert, poly_score, poly_vectors, pooled_tokens, ward


def softmax_by_definition(logits):
    total = sum(math.exp(logit) for logit in logits)
    return [math.exp(logit) / total for logit in logits]


def attended_by_definition(query, rows):
    """The rows weighted by the softmax of their products with the query."""
    weights = softmax_by_definition([float(query @ row) for row in rows])
    return sum(weight * row for weight, row in zip(weights, rows, strict=True))


def test_poly_encoder_attends_twice():
    """A2: Poly-encoder, m codes over the text's tokens, then the candidate over the m."""
    codes, tokens, candidate = (
        np.random.default_rng(s).normal(size=size).astype(np.float32) for s, size in enumerate([(3, 8), (6, 8), (8,)])
    )
    vectors = poly_vectors(codes, tokens)
    assert vectors == pytest.approx(np.stack([attended_by_definition(code, tokens) for code in codes]), abs=1e-5)
    assert poly_score(candidate, vectors) == pytest.approx(
        float(candidate @ attended_by_definition(candidate, vectors)), abs=1e-4
    )
    assert np.isfinite(poly_vectors(100 * codes, 100 * tokens)).all()


def test_me_bert_takes_the_best_of_the_first_vectors():
    """A2: ME-BERT."""
    tokens, query = ragged(0, 1, most=1)[0].repeat(1, axis=0), ragged(1, 1, most=1)[0][0]
    tokens = np.concatenate([tokens, query[None], -query[None], query[None] * 2])
    assert len(first_vectors(tokens, 3)) == 3
    assert len(first_vectors(tokens, 9)) == 4
    assert me_bert(query, first_vectors(tokens, 3)) == pytest.approx(1)
    assert me_bert(query, first_vectors(tokens, 1)) == pytest.approx(float(query @ tokens[0]))
    with pytest.raises(InputError, match="at least 1"):
        first_vectors(tokens, 0)


@given(st.integers(0, 10_000), st.integers(1, 6), st.integers(0, 6))
@settings(max_examples=40)
def test_coil_matches_equal_tokens_only(seed, asked, held):
    """A2: COIL."""
    generator = np.random.default_rng(seed)
    query_ids, document_ids = generator.integers(4, size=asked), generator.integers(4, size=held)
    query, document = (generator.normal(size=(count, 5)).astype(np.float32) for count in (asked, held))
    expected = 0.0
    for token, vector in zip(query_ids, query, strict=True):
        same = [float(vector @ other) for other, own in zip(document, document_ids, strict=True) if own == token]
        expected += max(same) if same else 0.0
    assert coil(query_ids, query, document_ids, document) == pytest.approx(expected, abs=1e-4)
    cls = (query[0], query[0])
    assert coil(query_ids, query, document_ids, document, cls=cls) == pytest.approx(
        expected + float(query[0] @ query[0]), abs=1e-4
    )


def test_coil_needs_an_id_for_each_vector():
    with pytest.raises(InputError, match="2 and 1 token ids for 1 and 1 vectors"):
        coil(np.array([1, 2]), np.eye(1), np.array([1]), np.eye(1))
    with pytest.raises(InputError, match="1 and 2 token ids for 1 and 1 vectors"):
        coil(np.array([1]), np.eye(1), np.array([1, 2]), np.eye(1))


def test_coil_adds_the_product_of_what_stands_for_the_whole_texts():
    one, other = np.array([1.0, 2.0]), np.array([3.0, -5.0])
    words = np.array([1]), np.eye(1), np.array([2]), np.eye(1)  # none is shared
    assert coil(*words) == 0
    assert coil(*words, cls=(one, other)) == 1 * 3 - 2 * 5


@pytest.mark.parametrize("factor", [2, 3, 4])
def test_token_pooling_is_that_of_sentence_transformers(factor):
    """A2: token pooling; Ward's method, [CLS] kept, unit means."""
    pooling = pytest.importorskip("sentence_transformers.multi_vector_encoder.modules").HierarchicalTokenPooling(factor)
    for vectors in ragged(3, 6, dimension=12, most=60):
        theirs = pooling.pool_one(torch.from_numpy(vectors)).numpy()
        ours = pooled_tokens(vectors, factor)
        assert ours.shape == theirs.shape
        assert ours[0] == pytest.approx(vectors[0])
        for row in ours:  # the clusters come in another order
            assert np.abs(theirs - row).max(axis=1).min() < 1e-5


def ward_by_definition(points, count):
    """Merge, again and again, the two clusters whose union raises the sum of squared distances to the mean least."""

    def spread(cluster):
        return ((points[cluster] - points[cluster].mean(axis=0)) ** 2).sum()

    clusters = [[row] for row in range(len(points))]
    while len(clusters) > count:
        pairs = [(a, b) for a in range(len(clusters)) for b in range(a)]
        a, b = min(
            pairs,
            key=lambda ab: (
                spread(clusters[ab[0]] + clusters[ab[1]]) - spread(clusters[ab[0]]) - spread(clusters[ab[1]])
            ),
        )
        clusters[b] = clusters[b] + clusters.pop(a)
    return {frozenset(cluster) for cluster in clusters}


@pytest.mark.parametrize("count", [1, 2, 5, 11, 12])
def test_ward_merges_what_raises_the_spread_least(count):
    points = np.random.default_rng(count).normal(size=(12, 3))
    distances = np.linalg.norm(points[:, None] - points[None], axis=2)
    of = ward(distances, count)
    assert {frozenset(np.flatnonzero(of == c).tolist()) for c in range(count)} == ward_by_definition(points, count)


def test_pooling_keeps_equal_tokens_together_and_short_texts_whole():
    base = unit(np.random.default_rng(0).normal(size=(4, 16)))
    doubled = np.concatenate([base[:1], base[1:], base[1:]])
    assert sorted(map(tuple, pooled_tokens(doubled, 2).round(4))) == sorted(map(tuple, base.round(4)))
    assert pooled_tokens(base[:2], 4) is not None
    assert np.array_equal(pooled_tokens(base[:2], 4), base[:2])
    assert np.array_equal(pooled_tokens(base, 1), base)
    for wrong in ({"factor": 0.5}, {"factor": 2, "protected": -1}):
        with pytest.raises(InputError, match="Token pooling got"):
            pooled_tokens(base, **wrong)
