"""Slips in queries: one edit in one long word, the same for the same seed; and rows that have them."""

from __future__ import annotations

import re
from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.training.encoders import EncoderSettings
from foveal.training.examples import Examples, Rows
from foveal.training.misspelling import LEAST, NEIGHBOURS, SLIPS, WORD, misspelt


def edits(a: str, b: str) -> int:
    """Insertions, deletions, replacements and swaps of neighbours that lead from one to the other, by definition."""
    known = {(i, 0): i for i in range(len(a) + 1)} | {(0, j): j for j in range(len(b) + 1)}
    for i in range(1, len(a) + 1):
        for j in range(1, len(b) + 1):
            best = min(known[i - 1, j] + 1, known[i, j - 1] + 1, known[i - 1, j - 1] + (a[i - 1] != b[j - 1]))
            if i > 1 and j > 1 and a[i - 1] == b[j - 2] and a[i - 2] == b[j - 1]:
                best = min(best, known[i - 2, j - 2] + 1)
            known[i, j] = best
    return known[len(a), len(b)]


def test_a_text_gets_one_slip_in_one_long_word():
    text = "Do the 3 quick BROWN foxes see größere Wörter of 1,234 words?"
    for seed in range(200):
        made = misspelt(text, seed=(seed,))
        assert edits(text, made) == 1
        before, after = (re.split(r"(\W)", one) for one in (text, made))
        assert len(before) == len(after)
        [(old, new)] = [(a, b) for a, b in zip(before, after, strict=True) if a != b]
        assert len(old) >= LEAST
        assert old[0] == new[0]
        assert made == misspelt(text, seed=(seed,))


@given(st.text(max_size=40), st.integers(0, 50))
def test_any_text_has_one_slip_or_none(text, seed):
    assert edits(text, misspelt(text, seed=(seed,))) <= 1


def test_short_words_and_words_of_one_letter_stay():
    for text in ("", "a bc def", "12345 67", "   "):
        assert misspelt(text, seed=(0,)) == text
    assert not WORD.search("x_1234567")


def test_all_kinds_of_slips_come_and_neighbours_are_those_of_a_keyboard():
    lengths = Counter(len(misspelt("foveal", seed=(seed,))) for seed in range(300))
    assert lengths[5] > 30
    assert lengths[6] > 90
    assert lengths[7] > 30
    assert len(SLIPS) == 5
    assert set(NEIGHBOURS["g"]) == set("fhtyvb")
    assert set(NEIGHBOURS["q"]) == set("wa")
    assert all(letter in NEIGHBOURS[other] for letter, near in NEIGHBOURS.items() for other in near)


def test_rows_misspell_a_share_of_the_queries_anew_each_epoch():
    examples = Examples(
        {f"q{n}": f"question number{n} about attention" for n in range(60)},
        {f"d{n}": f"document {n}" for n in range(60)},
        {f"q{n}": {f"d{n}": 1} for n in range(60)},
    )
    plain, rows = Rows(examples), Rows(examples, typos=0.5)
    first, second = ([rows[epoch * 60 + n] for n in range(60)] for epoch in (0, 1))
    slipped = [row["anchor"] != plain[n]["anchor"] for n, row in enumerate(first)]
    assert 15 < sum(slipped) < 45
    assert [row["anchor"] for row in first] != [row["anchor"] for row in second]
    assert all(row["positive"] == plain[n]["positive"] for n, row in enumerate(first))
    assert first == [rows[n] for n in range(60)]
    with pytest.raises(InputError, match=r"typos = 1\.5; it needs a number from 0 to 1"):
        EncoderSettings(typos=1.5)
