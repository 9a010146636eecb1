"""Letters of a PDF that are set apart, as in headings of capitals: "C H A P T E R  O N E" is "CHAPTER ONE" again.

pdfium takes what lies between such letters for blanks. They are known by the gap from where one letter ends to where
the next begins: of a line as it is usually set nearly none has any. Between two words it is wider by a blank.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from itertools import pairwise
from statistics import median

from foveal.text.pdf_vertical import Point

LEAST, MOST = 0.1, 0.6
"""The middle gap of such a line, in its letters' size; letters farther apart are heads of columns."""
WIDER, BLANK = 1.5, 0.15
"""A gap between words is so many times as wide as the middle one, and wider by so much of the letters' size."""
FEWEST = 5
"""Letters of such a line."""

_APART = re.compile(r"(?<!\S)(?:[^\W\d_] ){3}")
_VOWEL = re.compile("[aeiouyàáâäåèéêëìíîïòóôöøùúûüæœαεηιουωаеиоуыэюя]", re.IGNORECASE)


def without_gaps(
    line: str, start: int, size: float, origin_of: Callable[[int], Point], width_of: Callable[[int], float]
) -> str:
    """A line, the first character of which is at `start` of its page, without the blanks that stand for gaps."""
    if not _APART.search(line):
        return line
    places = [place for place, one in enumerate(line) if not one.isspace()]
    letters = [line[place] for place in places]
    if len(letters) < FEWEST or not _VOWEL.search(line) or _in_alphabet(letters):
        return line
    begins = [origin_of(start + place) for place in places]
    ends = [at[0] + width_of(start + place) for at, place in zip(begins, places, strict=True)]
    if max(at[1] for at in begins) - min(at[1] for at in begins) > BLANK * size:
        return line
    gaps = [begin[0] - end for begin, end in zip(begins[1:], ends[:-1], strict=True)]
    middle = median(gaps)
    if not LEAST * size <= middle <= MOST * size:
        return line
    between = max(WIDER * middle, middle + BLANK * size)
    told = [
        one + " " * (gap > between or _is_written(line, places[number : number + 2], start, width_of))
        for number, (one, gap) in enumerate(zip(letters[:-1], gaps, strict=True))
    ]
    return "".join((*told, letters[-1])) + line[places[-1] + 1 :]


def _is_written(line: str, places: list[int], start: int, width_of: Callable[[int], float]) -> bool:
    """Whether a blank of the file itself stands between two letters; those of pdfium have no width."""
    first, last = places
    return any(line[place] == " " and width_of(start + place) > 0 for place in range(first + 1, last))


def _in_alphabet(letters: list[str]) -> bool:
    """Whether each letter is the next of the alphabet: names of columns or rows."""
    return all(ord(after) - ord(before) == 1 for before, after in pairwise(letters))
