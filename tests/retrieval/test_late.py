from __future__ import annotations

import hashlib
import re
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.retrieval import late
from foveal.retrieval.late import Exact, LateInteraction, TokenVectors, matches, maxsim, maxsim_search
from foveal.types import Passage, Span


@dataclass(frozen=True)
class WordVectors:
    """A TokenModel: each word has a fixed direction, and the words of a text are its tokens."""

    dimension: int = 32
    name: str = "word-vectors"
    salt: str = ""

    @property
    def fingerprint(self) -> str:
        return f"word-vectors-{self.dimension}{self.salt}"

    def queries(self, texts: Sequence[str]) -> list[np.ndarray]:
        return [np.stack([self._direction(word) for word in re.findall(r"\w+", text.lower())]) for text in texts]

    documents = queries

    def _direction(self, word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256((self.salt + word).encode()).digest()[:4], "big")
        return unit(np.random.default_rng(seed).standard_normal((1, self.dimension)))[0]


def unit(rows):
    return (rows / np.linalg.norm(rows, axis=-1, keepdims=True)).astype(np.float32)


def ragged(seed, texts, dimension=9, most=7):
    """Unit token vectors of texts of 1 to `most` tokens."""
    generator = np.random.default_rng(seed)
    lengths = generator.integers(1, most + 1, size=texts)
    return [unit(generator.normal(size=(length, dimension))) for length in lengths]


def maxsim_by_definition(query, document):
    """The sum over the query's tokens of the largest product with a token of the document, by Python's own sums."""
    total = 0.0
    for q in query:
        total += max(sum(float(a) * float(b) for a, b in zip(q, d, strict=True)) for d in document)
    return total


@given(st.integers(0, 10_000), st.integers(1, 4), st.integers(1, 6))
@settings(max_examples=30)
def test_maxsim_is_its_double_loop(seed, queries, documents):
    """A2: late interaction."""
    asked, held = ragged(seed, queries), ragged(seed + 1, documents)
    scores = maxsim(TokenVectors.of(asked), TokenVectors.of(held))
    expected = [[maxsim_by_definition(q, d) for d in held] for q in asked]
    assert (scores.dtype, scores.shape) == (np.float32, (queries, documents))
    assert scores == pytest.approx(np.array(expected), abs=1e-5)


@pytest.mark.parametrize("products", [1, 7, 40, 10_000])
@pytest.mark.parametrize("query_tokens", [1, 5, 100])
def test_in_blocks_equals_at_once(products, query_tokens, monkeypatch):
    asked, held = TokenVectors.of(ragged(0, 6)), TokenVectors.of(ragged(1, 20))
    whole = maxsim(asked, held)
    monkeypatch.setattr(late, "SCORES_AT_ONCE", products)
    monkeypatch.setattr(late, "QUERY_TOKENS_AT_ONCE", query_tokens)
    assert maxsim(asked, held) == pytest.approx(whole, abs=1e-6)


def test_a_search_gives_the_largest_sums_first():
    asked, held = ragged(2, 3), ragged(3, 25)
    rows, scores = maxsim_search(TokenVectors.of(held), TokenVectors.of(asked), 4)
    for query, found, found_scores in zip(asked, rows, scores, strict=True):
        expected = [maxsim_by_definition(query, document) for document in held]
        assert found.tolist() == sorted(range(25), key=lambda row: -expected[row])[:4]
        assert found_scores == pytest.approx(sorted(expected, reverse=True)[:4], abs=1e-5)
    assert maxsim_search(TokenVectors.of(held), TokenVectors.of(asked), 100)[0].shape == (3, 25)


def test_matches_say_which_token_added_what():
    query, document = ragged(4, 2, most=6)
    places, scores = matches(query, document)
    for token, place, score in zip(query, places, scores, strict=True):
        assert score == pytest.approx(max(float(token @ other) for other in document), abs=1e-6)
        assert score == pytest.approx(float(token @ document[place]), abs=1e-6)
    assert scores.sum() == pytest.approx(maxsim_by_definition(query, document), abs=1e-5)


TEXTS = {
    "fovea": "sight is sharpest in the fovea",
    "rods": "rods see in dim light at the edge of the eye",
    "river": "the river runs past the mill",
    "mill": "a mill grinds the corn",
}


@pytest.fixture
def passages():
    return [Passage(Span(name, 0, len(text)), text) for name, text in TEXTS.items()]


def test_it_is_a_retriever_over_passages(passages):
    """A2: a query's words each find their best match."""
    retriever = LateInteraction.exact(list(TEXTS), passages, WordVectors())
    found, nothing, mill = retriever.search(["where is sight sharpest", " ", "mill"], 2)
    assert nothing == []
    assert found[0].passage.span.document_id == "fovea"
    assert {hit.passage.span.document_id for hit in mill} == {"river", "mill"}
    assert [hit.score for hit in mill] == pytest.approx([1, 1], abs=1e-5)
    assert all(hit.source == "late" and len(hits) == 2 for hits in (found, mill) for hit in hits)


def test_a_query_of_no_known_token_finds_nothing(passages):
    class Latin(WordVectors):
        def knows(self, text):
            return text.isascii()

    retriever = LateInteraction.exact(list(TEXTS), passages, Latin())
    assert retriever.search(["☃☃", "mill"], 2) == [[], *retriever.search(["mill"], 2)]


def test_what_is_encoded_may_be_more_than_the_passage(passages):
    shown = [f"chapter {name} {text}" for name, text in TEXTS.items()]
    hits = LateInteraction.exact(list(TEXTS), passages, WordVectors(), texts=shown).search(["chapter rods"], 1)[0]
    assert hits[0].passage.text == TEXTS["rods"]


def test_another_encoder_is_refused(passages):
    index = Exact.build(list(TEXTS), WordVectors().documents(TEXTS.values()), fingerprint="word-vectors-32")
    named = dict(zip(TEXTS, passages, strict=True))
    assert LateInteraction(WordVectors(), named, index).search(["mill"], 1)[0]
    with pytest.raises(InputError, match="made with another encoder"):
        LateInteraction(WordVectors(salt="other"), named, index)
    with pytest.raises(InputError, match="1 documents that no passage was given for, 'mill'"):
        LateInteraction(WordVectors(), {name: named[name] for name in ("fovea", "rods", "river")}, index)


@pytest.mark.parametrize(
    ("ids", "vectors", "message"),
    [
        ([], [], "no documents"),
        (["a", "b", "a"], [np.eye(2)] * 3, "the id 'a' twice"),
        (["a"], [np.eye(2)] * 2, "1 ids for 2 texts"),
        (["a", "b"], [np.eye(2), np.eye(3)], r"'b' have the shape \(3, 3\); it needs \(tokens, 2\)"),
        (["a", "b"], [np.eye(2), np.empty((0, 2))], "'b' have the shape"),
        (["a", "b"], [np.eye(2), np.array([[1, np.nan]])], "'b' hold NaN"),
    ],
)
def test_what_cannot_be_held_is_an_error(ids, vectors, message):
    with pytest.raises(InputError, match=message):
        Exact.build(ids, vectors, fingerprint="")


def test_what_cannot_be_asked_is_an_error(passages):
    index = Exact.build(["a"], [np.eye(2, dtype=np.float32)], fingerprint="")
    with pytest.raises(InputError, match="k = 0"):
        index.search([np.eye(2)], 0)
    with pytest.raises(InputError, match="query vectors of 3 numbers for document vectors of 2"):
        index.search([np.eye(3)], 1)
    with pytest.raises(InputError, match="'0' hold NaN"):
        index.search([np.full((1, 2), np.nan)], 1)
    assert index.search([], 1) == []
    with pytest.raises(InputError, match="k = 0"):
        LateInteraction.exact(list(TEXTS), passages, WordVectors()).search([""], 0)
