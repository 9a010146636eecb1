from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from retrieval.test_late import unit

from foveal.errors import InputError, UnknownName
from foveal.retrieval.pooled import DocumentRetriever, document_hits, first_numbers, fitted_components
from foveal.types import Hit, Passage, Span


def hit(document: str, start: int, score: float) -> Hit:
    return Hit(Passage(Span(document, start, start + 10), f"{document} {start}"), score, "dense")


HITS = [
    hit("b", 40, 0.9),
    hit("a", 0, 0.8),
    hit("a", 20, 0.7),
    hit("a", 10, 0.6),
    hit("b", 0, 0.5),
    hit("a", 30, 0.4),
    hit("c", 70, 0.3),
]


@dataclass(frozen=True)
class Fixed:
    """A Retriever that finds the same for every query."""

    hits: list[Hit]

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [self.hits[:k] for _ in queries]


@pytest.mark.parametrize(
    ("how", "expected"),
    [
        ("max", {"b": 0.9, "a": 0.8, "c": 0.3}),
        ("first", {"a": 0.8, "b": 0.5}),
        ("sum", {"a": 0.8 + 0.7 + 0.6 + 0.4, "b": 0.9 + 0.5, "c": 0.3}),
        ("mean-best", {"a": (0.8 + 0.7 + 0.6) / 3, "b": (0.9 + 0.5) / 3, "c": 0.3 / 3}),
    ],
)
def test_a_document_has_a_score_of_its_passages(how, expected):
    """P7: MaxP, FirstP, SumP, mean of the best three."""
    made = document_hits(HITS, how)
    assert {one.passage.span.document_id: pytest.approx(one.score) for one in made} == expected
    assert [one.score for one in made] == sorted((one.score for one in made), reverse=True)
    best = {"a": 0, "b": 40, "c": 70}
    assert all(one.passage.span.start == best[one.passage.span.document_id] for one in made)


def test_a_first_passage_may_begin_elsewhere():
    assert [one.passage.span.document_id for one in document_hits(HITS, "first", first_at={"c": 70, "b": 3})] == [
        "a",
        "c",
    ]


def test_documents_are_retrieved_by_their_passages():
    """P7 behind the `Retriever` protocol."""
    found = DocumentRetriever(Fixed(HITS), how="sum").search(["x", "y"], 2)
    assert [[one.passage.span.document_id for one in hits] for hits in found] == [["a", "b"]] * 2
    assert [one.score for one in DocumentRetriever(Fixed(HITS), depth=1).search(["x"], 1)[0]] == [0.9]
    assert DocumentRetriever(Fixed([])).search(["x"], 1) == [[]]
    with pytest.raises(InputError, match="k = 0"):
        DocumentRetriever(Fixed(HITS)).search(["x"], 0)


@pytest.mark.parametrize(("depth", "k", "asked"), [(200, 3, 200), (5, 3, 30), (200, 30, 300)])
def test_ten_passages_for_each_document_are_asked_for_and_no_fewer_than_the_depth(depth, k, asked):
    class Counting(Fixed):
        def search(self, queries, k):
            depths.append(k)
            return super().search(queries, k)

    depths: list[int] = []
    DocumentRetriever(Counting(HITS), depth=depth).search(["x"], k)
    assert depths == [asked]


def test_unknown_ways_are_refused():
    with pytest.raises(UnknownName, match=r"'best'\. There are: max, first, sum, mean-best"):
        document_hits(HITS, "best")
    for wrong in ({"how": "best"}, {"depth": 0}):
        with pytest.raises(InputError, match="Documents from passages got"):
            DocumentRetriever(Fixed(HITS), **wrong)


@pytest.fixture
def vectors():
    """Unit vectors that lie in 3 of 12 dimensions, turned, with a little noise."""
    generator = np.random.default_rng(0)
    turned = np.linalg.qr(generator.normal(size=(12, 12)))[0]
    return unit(generator.normal(size=(400, 3)) @ turned[:3] + 0.01 * generator.normal(size=(400, 12)))


def test_components_keep_products_where_vectors_lie_in_few_directions(vectors):
    """I6: principal components."""
    cut = fitted_components(vectors, 3)
    short = cut(vectors)
    assert short.shape == (400, 3)
    assert np.linalg.norm(short, axis=1) == pytest.approx(np.ones(400), abs=1e-5)
    assert np.abs(short @ short.T - vectors @ vectors.T).max() < 0.05
    assert cut.kept > 0.99
    whole = fitted_components(vectors, 12)(vectors)
    assert np.abs(whole @ whole.T - vectors @ vectors.T).max() < 1e-4


@pytest.mark.parametrize("centred", [False, True])
def test_components_are_the_singular_directions(vectors, centred):
    moved = vectors - vectors.mean(axis=0) if centred else vectors
    _, strengths, directions = np.linalg.svd(moved, full_matrices=False)
    cut = fitted_components(vectors, 4, centred=centred)
    assert np.abs(cut.directions[:3] @ directions[:3].T) == pytest.approx(np.eye(3), abs=1e-2)
    assert cut.kept == pytest.approx((strengths[:4] ** 2).sum() / (strengths**2).sum(), abs=1e-5)
    assert cut.mean == pytest.approx(vectors.mean(axis=0) if centred else np.zeros(12), abs=1e-6)


def test_matryoshka_keeps_the_first_numbers(vectors):
    """I6: Matryoshka."""
    short = first_numbers(vectors, 5)
    assert short == pytest.approx(unit(vectors[:, :5]), abs=1e-6)
    assert first_numbers(np.zeros((1, 4), dtype=np.float32), 2).tolist() == [[0, 0]]


def test_cuts_that_do_not_fit_are_refused(vectors):
    for call, message in (
        (lambda: fitted_components(vectors, 13), "A cut to 13 numbers"),
        (lambda: fitted_components(vectors, 0), "A cut to 0 numbers"),
        (lambda: fitted_components(vectors[:2], 3), "3 components need at least as many vectors and got 2"),
        (lambda: first_numbers(vectors, 13), "A cut to 13 numbers"),
        (lambda: first_numbers(np.array([[1.0, 2], [np.nan, 1]]), 1), "Vector 1 holds NaN"),
        (lambda: fitted_components(vectors, 3)(np.eye(3)), "fitted on vectors of 12 numbers"),
    ):
        with pytest.raises(InputError, match=message):
            call()
