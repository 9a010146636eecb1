"""Numbers that are set higher or lower than their line, as such: 10⁶ would else be read as 106, and a note's mark as
a part of the number or word before it.

    with_raised("10-3 m2", start, 10.0, look)     ->  "10⁻³ m²"

They are smaller than the line's letters and stand above or below the base line of the letter next to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from foveal.text.raised import lowered, raised

SMALL, ABOVE, BELOW = 0.84, 0.2, 0.1
"""Of the size of a line's letters: that of such a number at most, and by how much it stands off, at least. Smaller
letters that are put at the middle of larger ones stand a little above their base line, too. Browsers print such a
number at 5/6 of the size."""

NEAR = 16
"""Characters that are looked through for a letter of the line's size."""

LONG = 4
"""Digits of a number that is none of these behind a blank: a year in small letters."""

_NUMBER = re.compile(r"[-+\u2212]?\d+", re.ASCII)
_MARKS = re.compile(r"\d{1,3}(?:[,–-]\d{1,3})*(?!\w)", re.ASCII)
_WORD = re.compile(r"[^\W\d_]{2,}")

Look = Callable[[int], tuple[float, float, float]]
"""Place of a character -> its size, the height of its base line, and where it begins from the left, in points."""


def with_raised(line: str, start: int, size: float, look: Look) -> str:
    """The characters of `line`, which begins at `start` of its page; its largest letters are of `size` points."""
    parts, done = list[str](), 0
    for number in _NUMBER.finditer(line) if size > 0 else ():
        own, level, _ = look(start + number.end() - 1)
        if own > SMALL * size:
            continue
        first = number.end() - 1
        while first > number.start() and look(start + first - 1)[:2] == (own, level):
            first -= 1
        if _in_small_words(line, start, first, number.end(), look):
            continue
        base = _base(line, start, first, number.end(), size, look)
        if base is not None and not -BELOW * size < level - base < ABOVE * size:
            write = raised if level > base else lowered
            parts += [line[done:first], write(line[first : number.end()])]
            done = number.end()
    return "".join([*parts, line[done:]])


def goes_on(page: str, one: tuple[int, int], other: tuple[int, int], look: Look) -> bool:
    """Whether a line of the page, with raised letters at its end, goes on with the other on its base line, right behind
    them: pdfium ends a line where letters stand high, as browsers print them. Places are (start, end) in the page.
    """
    start, last = one[0], one[0] + len(page[slice(*one)].rstrip()) - 1
    behind = other[0] + len(page[slice(*other)]) - len(page[slice(*other)].lstrip())
    if last <= start or behind >= other[1]:
        return False
    (own, level, x), (size, base, left) = look(last), look(behind)
    if own > SMALL * size or level - base < ABOVE * size:  # most lines: no more of their letters are looked at
        return False
    first = last
    while first > start and look(first - 1)[:2] == (own, level):
        first -= 1
    while first > start and page[first - 1] in "\r\n":  # pdfium cut before them, too
        first -= 1
    return first > start and look(first - 1)[:2] == (size, base) and 0 < left - x <= size


def begins_behind(page: str, one: tuple[int, int], other: tuple[int, int], look: Look) -> bool:
    """Whether the other line begins with raised letters right behind the last one of the line.

    pdfium ends a line before letters that stand high and are small, as those of notes in browsers' prints. Places are
    as in `goes_on`.
    """
    last = one[0] + len(page[slice(*one)].rstrip()) - 1
    first = other[0] + len(page[slice(*other)]) - len(page[slice(*other)].lstrip())
    if last < one[0] or first >= other[1]:
        return False
    (size, base, x), (own, level, left) = look(last), look(first)
    return own <= SMALL * size and ABOVE * size <= level - base <= size and 0 < left - x <= size


def raised_first(text: str) -> str:
    """A line that begins with raised letters, its first numbers written as such."""
    found = _MARKS.match(text)
    return _NUMBER.sub(lambda number: raised(number[0]), found[0]) + text[found.end() :] if found else text


def _in_small_words(line: str, start: int, first: int, end: int, look: Look) -> bool:
    """Whether a number is part of a text that is all set smaller, beside larger letters: by the words next to it."""
    before = list(_WORD.finditer(line, max(0, first - NEAR), first))[-1:]
    behind = list(_WORD.finditer(line, end, end + NEAR))[:1]
    own = look(start + first)[:2]
    return any({look(start + at)[:2] for at in (word.start(), word.end() - 1)} == {own} for word in before + behind)


def _base(line: str, start: int, first: int, end: int, size: float, look: Look) -> float | None:
    """The base line of the nearest letter of the line's size, before or else behind, unless a gap is between."""
    left = look(start + first)[2]
    for places in (range(first - 1, max(-1, first - 1 - NEAR), -1), range(end, min(len(line), end + NEAR))):
        for place in places:
            own, level, x = look(start + place)
            if line[place].isalnum() and own > SMALL * size:
                apart = " " in line[min(place, end) : max(place, first)] and end - first >= LONG
                if not apart and abs(x - left) <= (abs(place - first) + 0.5) * size:
                    return level
                break
    return None
