"""C99 by its definition in loops, and over texts."""

from __future__ import annotations

import math
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from honest import document
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.text.c99 import C99, densest, divided, ranks, similarities
from foveal.text.texttiling import term_of
from foveal.text.units import words

WORDS = ["fovea", "retina", "rod", "contract", "clause", "party", "the", "of", "rain", "cloud"]
UNITS = st.lists(st.lists(st.sampled_from(WORDS), max_size=6), min_size=1, max_size=14)


def cosine(one, other):
    norms = math.sqrt(sum(n * n for n in one.values()) * sum(n * n for n in other.values()))
    return sum(n * other[term] for term, n in one.items()) / norms if norms else 0.0


def ranked_by_hand(units, square):
    counts = [Counter(term for word in unit if (term := term_of(word))) for unit in units]
    similar = [[round(cosine(a, b), 9) for b in counts] for a in counts]
    size, reach = len(units), square // 2
    found = np.zeros((size, size))
    for i in range(size):
        for j in range(size):
            around = [
                similar[a][b]
                for a in range(max(0, i - reach), min(size, i + reach + 1))
                for b in range(max(0, j - reach), min(size, j + reach + 1))
                if (a, b) != (i, j)
            ]
            found[i, j] = sum(other < similar[i][j] for other in around) / len(around) if around else 0.0
    return found


def density(ranked, bounds):
    """Sum of the ranks in the squares over their area."""
    edges = [0, *sorted(bounds), len(ranked)]
    squares = [ranked[a:b, a:b] for a, b in pairwise(edges)]
    return sum(square.sum() for square in squares) / sum(square.size for square in squares)


@given(UNITS, st.sampled_from((3, 5, 11)))
@settings(max_examples=60)
def test_ranks_are_their_definition(units, square):
    np.testing.assert_allclose(ranks(similarities(units), square), ranked_by_hand(units, square), atol=1e-12)


@pytest.mark.parametrize("count", [1, 2, 3, 4, 5, 9])
def test_a_text_of_fewer_sentences_than_the_square_is_wide_is_segmented(count):
    text = "The fovea sees sharply. " * count
    passages = C99().segment(document("Eyes", text))
    assert "".join(one.text for one in passages) == text
    assert C99(stretch=5).boundaries([["fovea"], ["rods"]] * 4)[:1]  # three are left over


@given(st.integers(1, 12), st.integers(0, 10_000))
@settings(max_examples=60)
def test_each_boundary_is_the_one_that_makes_the_squares_densest(size, seed):
    ranked = np.random.default_rng(seed).random((size, size))
    order, densities = divided(ranked)
    assert sorted(order) == list(range(1, size))
    for done in range(size):
        assert densities[done] == pytest.approx(density(ranked, order[:done]))
        if done < size - 1:
            best = max(density(ranked, [*order[:done], more]) for more in range(1, size) if more not in order[:done])
            assert densities[done + 1] == pytest.approx(best)


def test_as_many_boundaries_are_kept_as_gained_more_than_usual():
    ranked = np.kron(np.eye(3), np.ones((6, 6))) + np.random.default_rng(0).random((18, 18)) * 0.2
    order, densities = divided(ranked)
    gains = np.diff(densities)
    usual = gains.mean() + 1.2 * gains.std()
    assert densest(ranked, 1.2) == sorted(order[: sum(gain > usual for gain in gains)]) == [6, 12]
    assert densest(ranked, 100.0) == densest(np.ones((1, 1)), 1.2) == densest(np.ones((0, 0)), 1.2) == []


def test_it_finds_where_the_words_change():
    topics = [("cats", "kittens", "fur"), ("rainfall", "clouds", "weather"), ("verdict", "court", "judge")]
    lines = [f"The {a} and the {b} are with {a} here." for names in topics for a in names for b in names if a != b]
    text = " ".join(lines)
    found = C99().segment(document("a", text))
    assert [passage.text.split()[1] for passage in found] == ["cats", "rainfall", "verdict"]
    assert "".join(passage.text for passage in found) == text
    paragraphs = C99(unit="paragraph").segment(document("a", "\n\n".join(lines)))
    assert [passage.text.split()[1] for passage in paragraphs] == ["cats", "rainfall", "verdict"]


def test_a_long_text_is_done_in_stretches():
    units = [[word] for word in ["cat"] * 10 + ["rain"] * 10] * 2
    whole, parts = C99(), C99(stretch=20)
    assert parts.boundaries(units) == [10, 20, 30]
    assert whole.boundaries(units[:20]) == [10]


@given(st.text(alphabet=" .\n#|-abcDE日本", max_size=300), st.sampled_from([None, 1, 5]))
@settings(max_examples=50)
def test_passages_cover_any_text(text, most):
    passages = C99(stretch=8, square=3, max_tokens=most).segment(document("a", text))
    assert "".join(passage.text for passage in passages) == text
    assert most is None or all(len(words(one.text.rstrip(" .\n#|-"))) <= most for one in passages)


@pytest.mark.parametrize("wrong", [{"unit": "word"}, {"square": 4}, {"square": 1}, {"stretch": 2}, {"max_tokens": 0}])
def test_wrong_settings_are_refused(wrong):
    with pytest.raises(InputError):
        C99(**wrong)
