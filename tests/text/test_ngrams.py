"""Character n-grams: their rows by the plain definition, and by scikit-learn's."""

from __future__ import annotations

import math
from collections import Counter

import numpy as np
import pytest

from foveal.errors import InputError
from foveal.text.ngrams import CharacterTfIdf, GramSettings, grams_of
from foveal.training.sparse_rows import SparseRows

TEXTS = [["five", "die", "in", "crash"], ["crash", "kills", "five"], ["రైలు", "ప్రమాదం"], ["five", "five"]]


def dense(rows):
    found = np.zeros((len(rows), rows.width))
    for row in range(len(rows)):
        part = slice(rows.start[row], rows.start[row + 1])
        found[row, rows.columns[part]] = rows.values[part]
    return found


def by_definition(text, known, texts, settings):
    sets = [{gram for word in one for gram in grams_of(word, settings)} for one in texts]
    counts = Counter(gram for word in text for gram in grams_of(word, settings))
    row = [
        counts[gram] * (math.log((1 + len(texts)) / (1 + sum(gram in one for one in sets))) + 1) for gram in known.grams
    ]
    size = math.sqrt(sum(value * value for value in row))
    return [value / size if size else 0.0 for value in row]


@pytest.mark.parametrize("least", [1, 2])
def test_rows_by_their_definition(least):
    settings = GramSettings(least=least)
    known = CharacterTfIdf.fit(TEXTS, settings)
    found = dense(known.rows([*TEXTS, ["unknown"], []]))
    for row, text in zip(found, [*TEXTS, ["unknown"], []], strict=True):
        np.testing.assert_allclose(row, by_definition(text, known, TEXTS, settings), atol=1e-6)
    assert not found[-1].any()


def test_cosines_are_those_of_scikit_learn():
    text = pytest.importorskip("sklearn.feature_extraction.text")
    vectoriser = text.TfidfVectorizer(analyzer="char_wb", ngram_range=(2, 5))
    their = vectoriser.fit_transform([" ".join(one) for one in TEXTS])
    known = CharacterTfIdf.fit(TEXTS, GramSettings(least=1))
    rows = known.rows(TEXTS)
    pairs = [(a, b) for a in range(4) for b in range(4)]
    here, there = (np.array(side) for side in zip(*pairs, strict=True))
    ours = rows.dot(rows, here, there).reshape(4, 4)
    np.testing.assert_allclose(ours, (their @ their.T).toarray(), atol=1e-6)


def test_the_most_common_grams_are_kept_and_runs_of_words_by_choice():
    assert len(CharacterTfIdf.fit(TEXTS, GramSettings(least=1, most=5)).grams) == 5
    known = CharacterTfIdf.fit(TEXTS, GramSettings(least=1, words=2))
    assert {"\x1ffive", "\x1ffive die", "\x1ffive five"} <= set(known.grams)
    assert "\x1fdie five" not in known.grams
    with pytest.raises(InputError, match="without a word"):
        CharacterTfIdf.fit([[], []])
    with pytest.raises(InputError, match="shortest"):
        GramSettings(shortest=3, longest=2)


def test_a_word_without_end_has_few_grams():
    assert len(grams_of("a" * 10**6, GramSettings())) < 300


def test_rows_are_taken_and_multiplied():
    rows = SparseRows.of(
        [(np.array([0, 2]), np.array([1, 2], np.float32)), (np.zeros(0, int), np.zeros(0, np.float32)),
         (np.array([1]), np.array([5], np.float32))], 3,
    )  # fmt: skip
    np.testing.assert_array_equal(
        dense(rows.take(np.array([2, 0, 1, 0]))), [[0, 5, 0], [1, 0, 2], [0, 0, 0], [1, 0, 2]]
    )
    assert rows.dot(rows, np.array([0, 1, 2, 0]), np.array([0, 0, 2, 2])).tolist() == [5, 0, 25, 0]
