"""First-stage searches in memory, against their formulas."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.training.searches import VectorSearch, WordSearch, blended, fingerprint, run_of

TEXTS = st.lists(st.sampled_from(["ab", "cd", "ef", "gh"]), min_size=1, max_size=6).map(" ".join)


def bm25_by_definition(corpus: dict[str, str], query: str) -> dict[str, float]:
    """Lucene's formula, word by word."""
    words = {name: text.lower().split() for name, text in corpus.items()}
    mean = sum(map(len, words.values())) / len(words)
    scores = {}
    for name, held in words.items():
        total = 0.0
        for word in set(query.lower().split()):
            holding = sum(word in other for other in words.values())
            rarity = math.log(1 + (len(words) - holding + 0.5) / (holding + 0.5))
            count = held.count(word)
            total += rarity * count / (count + 1.5 * (1 - 0.75 + 0.75 * len(held) / mean))
        if total > 0:
            scores[name] = total
    return scores


@given(st.lists(TEXTS, min_size=1, max_size=6), TEXTS)
def test_word_search_is_bm25(texts, query):
    corpus = {f"d{n}": text for n, text in enumerate(texts)}
    (found,) = WordSearch(corpus)([query.upper()], 10)
    assert found == pytest.approx(bm25_by_definition(corpus, query), abs=1e-5)
    assert list(found.values()) == sorted(found.values(), reverse=True)


@given(st.lists(TEXTS, min_size=1, max_size=6), TEXTS)
def test_the_scores_of_some_documents_are_those_of_the_search(texts, query):
    corpus = {f"d{n}": text for n, text in enumerate(texts)}
    search = WordSearch(corpus)
    (found,) = search([query], len(corpus))
    some = list(corpus)[::2]
    assert search.of(query, some) == {name: found.get(name, 0.0) for name in some}


@given(st.lists(st.sampled_from([-1.0, 0.0, 0.5, 2.0]), min_size=1, max_size=30), st.integers(1, 40))
def test_the_best_come_first_and_of_equal_ones_the_first_row(scores, k):
    vectors = np.array(scores, dtype=np.float32)[:, None]
    search = VectorSearch([f"d{n}" for n in range(len(scores))], vectors, lambda texts: np.ones((len(texts), 1)))
    expected = sorted(range(len(scores)), key=lambda row: (-scores[row], row))[:k]
    assert list(search(["?"], k)[0]) == [f"d{row}" for row in expected]


def test_what_is_no_number_comes_last():
    vectors = np.array([[np.nan], [1.0], [np.nan], [3.0], [2.0]], dtype=np.float32)
    search = VectorSearch(list("abcde"), vectors, lambda texts: np.ones((len(texts), 1)))
    assert [list(search(["?"], k)[0]) for k in (2, 4)] == [["d", "e"], ["d", "e", "b", "a"]]


def test_word_search_adds_up_in_one_order_whatever_the_process():
    """A set of words has another order in each process, and sums of numbers depend on theirs."""
    draw = np.random.default_rng(0)
    words = [f"w{n}" for n in range(60)]
    corpus = {f"d{n}": " ".join(draw.choice(words, 30)) for n in range(40)}
    search = WordSearch(corpus)
    _, index = search._index
    for _ in range(10):
        asked = draw.choice(words, 12).tolist()
        expected = np.zeros(40)
        for word in sorted(set(asked)):
            rows, added = index[word]
            expected[rows] += added
        (found,) = search([" ".join(asked)], 40)
        assert found == {f"d{row}": expected[row] for row in range(40) if expected[row]}


def test_accents_apart_and_words_that_no_space_parts_are_found():
    corpus = {"a": "Le cafe\u0301 du port", "b": "น้ำตาลหวาน", "c": "東京都は首都です", "d": "the mill"}
    search = WordSearch(corpus)
    asked = ["café", "CAFE\u0301", "ตาลหวาน", "東京", "mill"]
    assert [list(found) for found in search(asked, 4)] == [["a"], ["a"], ["b"], ["c"], ["d"]]


def test_what_was_found_is_known_again_where_only_last_digits_differ():
    found = {"q": {"a": 0.75, "b": 0.5}, "r": {"c": 0.25}}
    near = {"r": {"c": 0.25 + 1e-7}, "q": {"b": 0.5 - 1e-7, "a": 0.75}}
    assert fingerprint(near) == fingerprint(found)
    others = ({**found, "r": {"d": 0.25}}, {"q": found["q"]}, {**found, "r": {"c": 0.3}}, {})
    assert len({fingerprint(one) for one in (found, *others)}) == 5


def test_vector_search_finds_the_largest_cosines():
    rows = np.random.default_rng(0).normal(size=(30, 8)).astype(np.float32)
    rows /= np.linalg.norm(rows, axis=1, keepdims=True)
    search = VectorSearch([f"d{n}" for n in range(29)], rows[:29], lambda _: rows[29:])
    (found,) = search(["anything"], 5)
    scores = sorted(((float(rows[29] @ rows[n]), f"d{n}") for n in range(29)), reverse=True)[:5]
    assert list(found) == [name for _, name in scores]
    assert list(found.values()) == pytest.approx([score for score, _ in scores], abs=1e-6)


def test_blended_scores_are_weighted_sums_of_scaled_ones():
    one = lambda queries, _: [{"a": 4.0, "b": 2.0, "c": 0.0} for _ in queries]  # noqa: E731
    two = lambda queries, _: [{"b": 1.0, "d": 0.5} for _ in queries]  # noqa: E731
    (found,) = blended([one, two], [1, 3])(["x"], 3)
    assert found == pytest.approx({"b": 0.5 + 3, "a": 1.0, "c": 0.0})
    with pytest.raises(InputError, match="blended"):
        blended([one, two], [1])


def test_a_run_over_examples(topics):
    run = run_of(WordSearch(topics.corpus), topics, 3)
    assert run.keys() == topics.queries.keys()
    assert all(len(found) <= 3 for found in run.values())


def test_searches_are_checked():
    with pytest.raises(InputError, match="each needs one"):
        VectorSearch(["a"], np.zeros((2, 3), dtype=np.float32), lambda _: np.zeros((1, 3), dtype=np.float32))
    with pytest.raises(InputError, match="k = 0"):
        WordSearch({"a": "x"})(["x"], 0)
