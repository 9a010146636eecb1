"""Queries as people type them: one slip in one word, so that an encoder learns to find what was meant.

    misspelt("attention is all you need", seed=(0, 3))       # "attnetion is all you need"

A word of four or more letters is drawn, and one of five slips: a letter too many, one too few, another one, a
neighbour's on the keyboard, or two in the wrong order. The first letter stays: slips there are rare.

Source    Zhuang and Zuccon, EMNLP 2021 (arXiv 2108.12139), typos-aware training: half of the queries, one slip each
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

import numpy as np

LEAST = 4
"""Letters of a word that may get a slip."""

WORD = re.compile(rf"[^\W\d_]{{{LEAST},}}")
ROWS = ("qwertyuiop", "asdfghjkl", "zxcvbnm")


def _neighbours() -> dict[str, str]:
    found: dict[str, str] = {}
    for number, row in enumerate(ROWS):
        for place, letter in enumerate(row):
            beside = [row[one] for one in (place - 1, place + 1) if 0 <= one < len(row)]
            below = [
                ROWS[other][one]
                for other in (number - 1, number + 1)
                if 0 <= other < len(ROWS)
                for one in (place - (other > number), place + (other < number))
                if 0 <= one < len(ROWS[other])
            ]
            found[letter] = "".join(dict.fromkeys([*beside, *below]))
    return found


NEIGHBOURS = _neighbours()
"""Letter -> those around it on a QWERTY keyboard."""


def inserted(word: str, place: int, other: str) -> str:
    """A letter too many."""
    return word[:place] + other + word[place:]


def deleted(word: str, place: int, other: str) -> str:  # noqa: ARG001
    """A letter too few."""
    return word[:place] + word[place + 1 :]


def replaced(word: str, place: int, other: str) -> str:
    """Another letter."""
    return word[:place] + other + word[place + 1 :]


def swapped(word: str, place: int, other: str) -> str:  # noqa: ARG001
    """Two letters in the wrong order."""
    place = min(place, len(word) - 2)
    return word[:place] + word[place + 1] + word[place] + word[place + 2 :]


SLIPS: dict[str, Callable[[str, int, str], str]] = {
    "insert": inserted,
    "delete": deleted,
    "replace": replaced,
    "neighbour": replaced,
    "swap": swapped,
}
TRIES = 8


def misspelt(text: str, *, seed: Sequence[int]) -> str:
    """The text with one slip; as it is where no word is long enough. The same seed slips the same way."""
    words = list(WORD.finditer(text))
    if not words:
        return text
    draw = np.random.default_rng(list(seed))
    letters = sorted({letter for found in words for letter in found.group().lower()})
    for _ in range(TRIES):  # two equal letters swapped are no slip
        found = words[draw.integers(len(words))]
        word, slip = found.group(), list(SLIPS)[draw.integers(len(SLIPS))]
        place = int(draw.integers(1, len(word)))
        near = NEIGHBOURS.get(word[place].lower()) if slip == "neighbour" else None
        choice = near or letters
        other = choice[draw.integers(len(choice))]
        other = other.upper() if word.isupper() and len(other.upper()) == 1 else other
        made = SLIPS[slip](word, place, other)
        if made != word:
            return text[: found.start()] + made + text[found.end() :]
    return text
