"""Numbers that are set higher or lower than their line, as such: 10⁶ would else be read as 106, and a note's mark as
a part of the number or word before it.

    with_raised("10-3 m2", start, 10.0, look)     ->  "10⁻³ m²"

They are smaller than the line's letters and stand above or below the base line of the letter next to them.
"""

from __future__ import annotations

import re
from collections.abc import Callable

from foveal.text.raised import lowered, raised

SMALL, SHIFT = 0.8, 0.1
"""Of the size of a line's letters: that of such a number at most, and by how much it stands off, at least."""

NEAR = 16
"""Characters that are looked through for a letter of the line's size."""

_NUMBER = re.compile(r"[-+\u2212]?\d+", re.ASCII)

Look = Callable[[int], tuple[float, float]]
"""Place of a character -> its size, and the height of its base line, in points."""


def with_raised(line: str, start: int, size: float, look: Look) -> str:
    """The characters of `line`, which begins at `start` of its page; its largest letters are of `size` points."""
    parts, done = list[str](), 0
    for number in _NUMBER.finditer(line) if size > 0 else ():
        own, level = look(start + number.end() - 1)
        if own > SMALL * size:
            continue
        first = number.end() - 1
        while first > number.start() and look(start + first - 1) == (own, level):
            first -= 1
        base = _base(line, start, first, number.end(), size, look)
        if base is not None and abs(level - base) >= SHIFT * size:
            write = raised if level > base else lowered
            parts += [line[done:first], write(line[first : number.end()])]
            done = number.end()
    return "".join([*parts, line[done:]])


def _base(line: str, start: int, first: int, end: int, size: float, look: Look) -> float | None:
    """The base line of the nearest letter of the line's size, before or else behind."""
    for place in [*range(first - 1, max(-1, first - 1 - NEAR), -1), *range(end, min(len(line), end + NEAR))]:
        if line[place].isalnum():
            own, level = look(start + place)
            if own > SMALL * size:
                return level
    return None
