"""ROUGE by a hand table and by its plain definition; Telugu is not all zeros."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.evaluation.rouge import KINDS, Places, rouge, rouge_l, rouge_n

SMALL = st.lists(st.sampled_from("abc"), max_size=9)


def longest(one, other):
    """The recursive definition."""
    if not one or not other:
        return 0
    if one[0] == other[0]:
        return 1 + longest(one[1:], other[1:])
    return max(longest(one[1:], other), longest(one, other[1:]))


@given(SMALL, SMALL)
def test_bits_find_the_longest_common_subsequence(one, other):
    assert Places(one).common(other) == longest(one, other)


def test_more_words_than_a_machine_word_has_bits():
    one = [str(n % 7) for n in range(200)]
    assert Places(one).common(one) == 200
    assert Places(one).common(one[::2]) == 100


@pytest.mark.parametrize(
    ("written", "reference", "one", "two", "both"),
    [  # F1 of ROUGE-1, ROUGE-2, ROUGE-L, as 2 shared / (both counts)
        ("the cat sat on the mat", "the cat was on the mat", 2 * 5 / 12, 2 * 3 / 10, 2 * 5 / 12),
        ("The cat!", "the CAT", 1, 1, 1),
        ("a b c d", "d c b a", 1, 0, 2 * 1 / 8),
        ("the the the", "the", 2 * 1 / 4, 0, 2 * 1 / 4),
        ("don't stop", "don t stop", 1, 1, 1),
        ("police kill gunman", "gunman kill police", 1, 0, 1 / 3),
        ("a", "", 0, 0, 0),
        ("", "", 0, 0, 0),
    ],
)
def test_a_table_worked_by_hand(written, reference, one, two, both):
    found = rouge(written, reference)
    assert [found[kind].f1 for kind in KINDS] == pytest.approx([one, two, both], abs=1e-12)


@given(SMALL, SMALL)
def test_a_text_held_ready_scores_as_rouge_l_does(one, other):
    assert Places(one).f1(other) == pytest.approx(rouge_l(one, other).f1, abs=1e-12)
    if not one or not other:
        assert (rouge_l(one, other).precision, rouge_l(one, other).recall) == (0, 0)


def test_precision_is_of_what_was_written():
    found = rouge("cat", "the cat sat on it")
    assert (found["rouge1"].precision, found["rouge1"].recall) == (1.0, 0.2)
    assert (found["rougeL"].precision, found["rougeL"].recall) == (1.0, 0.2)


def test_telugu_counts():
    headline = "రోడ్డు ప్రమాదంలో ఐదుగురు మృతి"
    assert all(one.f1 == 1 for one in rouge(headline, headline).values())
    assert all(one.f1 == 0 for one in rouge(headline, "హైదరాబాద్‌లో భారీ వర్షం").values())
    assert rouge(headline, "ప్రమాదంలో ఐదుగురు")["rougeL"].recall == 1


def test_equal_to_the_package_where_it_is_installed():
    scorer = pytest.importorskip("rouge_score.rouge_scorer").RougeScorer(list(KINDS), use_stemmer=False)
    for written, reference in [("the cat sat on the mat", "a cat on a mat"), ("U.S. 3,000", "us 3000"), ("x", "")]:
        theirs = scorer.score(reference, written)
        for kind, ours in rouge(written, reference).items():
            assert ours.f1 == pytest.approx(theirs[kind].fmeasure, abs=1e-9)


def test_parts():
    assert rouge_n("abab", "ab", 2).recall == 1
    assert rouge_l([], ["a"]).f1 == 0
