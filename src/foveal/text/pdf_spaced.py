"""Letters of a PDF that are set apart, as in headings of capitals: "C H A P T E R  O N E" is "CHAPTER ONE" again.

pdfium takes what lies between such letters for blanks. They are known by the gap from where one letter ends to where
the next begins: of a line as it is usually set nearly none has any. Between two words it is wider by a blank.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from statistics import median

from foveal.text.pdf_letters import Glyphs

LEAST, MOST = 0.1, 0.6
"""The middle gap of such a line, in its letters' size; letters farther apart are heads of columns."""
WIDER, BLANK = 1.5, 0.15
"""A gap between words is so many times as wide as the middle one, and wider by so much of the letters' size."""
FEWEST, SHORTEST = 5, 3
"""Letters of such a line, and of a word of one, at least."""

_APART = re.compile(r"(?<!\S)(?:[^\W\d_] ){3}")
_WORD = re.compile(r"[^\W\d_]+")
_VOWEL = re.compile("[aeiouyàáâäåèéêëìíîïòóôöøùúûüæœαεηιουωаеиоуыэюя]", re.IGNORECASE)


def is_set_apart(line: str, start: int, size: float, glyphs: Glyphs) -> bool:
    """Whether the letters of a line, though no blanks are between them, are set apart, so that its words are, too; its
    first character is at `start` of its page."""
    word = max(_WORD.finditer(line), key=lambda one: one.end() - one.start(), default=None)
    if word is None or word.end() - word.start() < SHORTEST:
        return False
    return LEAST * size <= median(_gaps([start + place for place in range(*word.span())], glyphs)) <= MOST * size


def _gaps(places: Sequence[int], glyphs: Glyphs) -> list[float]:
    """How far it is from where each character ends to where the next one begins."""
    begins = [glyphs.origin_of(place)[0] for place in places]
    ends = [begin + glyphs.width_of(place) for begin, place in zip(begins, places, strict=True)]
    return [begin - end for begin, end in zip(begins[1:], ends[:-1], strict=True)]


def without_gaps(line: str, start: int, size: float, glyphs: Glyphs) -> str:
    """A line, the first character of which is at `start` of its page, without the blanks that stand for gaps."""
    if not _APART.search(line):
        return line
    places = [place for place, one in enumerate(line) if not one.isspace()]
    letters = [line[place] for place in places]
    if len(letters) < FEWEST or not _VOWEL.search(line) or _in_alphabet(letters):
        return line
    levels = [glyphs.origin_of(start + place)[1] for place in places]
    if max(levels) - min(levels) > BLANK * size:
        return line
    gaps = _gaps([start + place for place in places], glyphs)
    middle = median(gaps)
    if not LEAST * size <= middle <= MOST * size:
        return line
    written = [_is_written(line, places[number : number + 2], start, glyphs) for number in range(len(gaps))]
    if 2 * sum(written) > len(gaps):  # they were typed so
        return line
    between = max(WIDER * middle, middle + BLANK * size)
    told = [one + " " * (gap > between or typed) for one, gap, typed in zip(letters[:-1], gaps, written, strict=True)]
    return "".join((*told, letters[-1])) + line[places[-1] + 1 :]


def _is_written(line: str, places: list[int], start: int, glyphs: Glyphs) -> bool:
    """Whether a blank of the file itself stands between two letters; those of pdfium have no width."""
    first, last = places
    return any(line[place] == " " and glyphs.width_of(start + place) > 0 for place in range(first + 1, last))


def _in_alphabet(letters: list[str]) -> bool:
    """Whether each letter is the next of the alphabet: names of columns or rows."""
    return all(ord(after) - ord(before) == 1 for before, after in pairwise(letters))
