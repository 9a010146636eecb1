"""Pages whose lines run from top to bottom (Japanese, Chinese), column by column from the right.

pdfium gives lines by their height, and those of one height from the left: such a page would be read from its last line
to its first.

    lines = in_vertical_lines(characters, origin_of)     # [[place, …], …] in the order of reading; None: no such page

Columns   characters one below the other, of the same origin; a short word that stands upright in one ("12") is part of
          it
Parts     columns of one height are read from the right, then those below them; a line across the page (a head, a
          number) is a part of its own
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from statistics import median

Point = tuple[float, float]
"""From the left and from below, in points."""

LEAST, SHARE = 20, 0.5
"""Such letters of a page, at least, and of all its characters the least share, below which no line is looked at."""

LOOKED_AT = 200
"""Characters that tell how lines run."""

STRAIGHT, BESIDE, FAR = 0.3, 1.4, 2.5
"""In steps down a column: by how much a character may stand beside its line, how far beside or below the one before."""

WITHIN, UPRIGHT = 0.5, 1.5
"""By how much the parts of a column may stand beside each other, and how wide a word that stands upright in it is."""

_EAST_ASIAN = re.compile("[\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")
_SHOWN = re.compile("[^\\s\x00-\x1f\ufffe]")


@dataclass(slots=True)
class _Column:
    """Places of characters one below the other, or of a line `across` the page, and where they stand."""

    places: list[int]
    x: float
    top: float
    bottom: float
    across: bool


def in_vertical_lines(characters: str, origin_of: Callable[[int], Point]) -> list[list[int]] | None:
    """The places of each line's characters, in the order of reading; None where lines do not run from top to bottom."""
    letters = 0 if characters.isascii() else len(_EAST_ASIAN.findall(characters))
    if letters < LEAST:
        return None
    shown = [found.start() for found in _SHOWN.finditer(characters)]
    if letters < SHARE * len(shown):
        return None
    if _step([origin_of(place) for place in shown[:LOOKED_AT]]) is None:
        return None
    points = [origin_of(place) for place in shown]
    step = _step(points)
    if step is None:
        return None
    columns = _columns([_column(shown[a:b], points[a:b], step) for a, b in _runs(points, step)], step)
    return [list(_with_blanks(characters, column.places)) for part in _parts(columns) for column in part]


def _with_blanks(characters: str, places: Sequence[int]) -> Iterator[int]:
    """The places of a line, those of the blanks between words in Latin letters among them."""
    yield places[0]
    for before, place in pairwise(places):
        blank = place - before == 2 and characters[before + 1] == " "
        if blank and characters[before].isascii() and characters[place].isascii():
            yield before + 1
        yield place


def _step(points: Sequence[Point]) -> float | None:
    """The usual distance of characters one below the other; None where more stand one beside the other."""
    moves = [(b[0] - a[0], a[1] - b[1]) for a, b in pairwise(points)]
    down = [drop for right, drop in moves if drop > 0 and abs(right) <= STRAIGHT * drop]
    beside = sum(1 for right, drop in moves if right > 0 and abs(drop) <= STRAIGHT * right)
    return median(down) if len(down) >= LEAST / 2 and len(down) > beside else None


def _runs(points: Sequence[Point], step: float) -> Iterator[tuple[int, int]]:
    """Characters that follow each other downwards, or beside each other."""
    first, kind = 0, ""
    for n, (a, b) in enumerate(pairwise(points), 1):
        right, drop = b[0] - a[0], a[1] - b[1]
        down = 0 < drop <= FAR * step and abs(right) <= STRAIGHT * step
        beside = 0 < right <= BESIDE * step and abs(drop) <= STRAIGHT * step
        link = "down" if down else "beside" if beside else ""
        if kind == "down" and link == "beside":  # the one before begins a word that stands upright
            yield first, n - 1
            first, kind = n - 1, link
        elif not link or kind not in ("", link):
            yield first, n
            first, kind = n, ""
        else:
            kind = link
    yield first, len(points)


def _column(places: list[int], points: Sequence[Point], step: float) -> _Column:
    (left, top), (right, bottom) = points[0], points[-1]
    return _Column(places, (left + right) / 2, top, bottom, across=right - left > UPRIGHT * step)


def _columns(runs: Sequence[_Column], step: float) -> list[_Column]:
    """The columns, runs below each other as one."""
    columns: list[_Column] = []
    for run in sorted(runs, key=lambda one: -one.top):
        above = None if run.across else next((one for one in columns if _goes_on(one, run, step)), None)
        if above is None:
            columns.append(run)
        else:
            above.places += run.places
            above.bottom = run.bottom
    return columns


def _goes_on(column: _Column, run: _Column, step: float) -> bool:
    return not column.across and abs(column.x - run.x) <= WITHIN * step and 0 < column.bottom - run.top <= FAR * step


def _parts(columns: Sequence[_Column]) -> Iterator[list[_Column]]:
    """Columns beside each other, those of the right first."""
    part: list[_Column] = []
    bottom = 0.0
    for column in sorted(columns, key=lambda one: (-one.top, one.bottom)):
        if part and column.top < bottom:
            yield sorted(part, key=lambda one: -one.x)
            part = []
        bottom = min(bottom, column.bottom) if part else column.bottom
        part.append(column)
    yield sorted(part, key=lambda one: -one.x)
