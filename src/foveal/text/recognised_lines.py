"""The lines of recognised pages in the order of reading, as `pdf.py` has those that a PDF holds: with size and weight.

    pages = in_lines([page.lines for page in recognised])        # [[Line, …], …]

Rows      pieces that stand at one height are one line, but for those of different columns
Columns   begin where nothing but few lines crosses from one side to the other, and both sides hold prose; what crosses
          them (titles, wide captions) parts the page, and so do a head and a foot that stand far from the rest
Gaps      blank space between two lines of text parts paragraphs
Sizes     measured letters of nearly one size have one size, that of the middle one; bold ones apart from the others
Weight    of lines whose strokes are wider than those of most letters of the size of the text: bold
"""

from __future__ import annotations

import math
from bisect import bisect_left, bisect_right, insort
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence, Set
from itertools import accumulate, pairwise
from statistics import median
from typing import NamedTuple

from foveal.text.pdf_headings import Line
from foveal.text.recognition import Written

SAME = 1.1
"""Times the smallest size of a group: so far apart are two measures of one size."""

ALIKE = 1.33
"""Times another measure of the text's size, within which the two are of one text."""

TELLING = 3
"""Letters of a line whose size and strokes are told from those of the text."""

BOLDER, REGULAR, BOLD = 1.15, 400, 700
"""Times the usual stroke, from which on letters are bold; weights as a PDF has them."""

NEARLY = 0.9
"""Times the text's size, below which strokes tell nothing: a scan blurs all by the same width."""

LETTERS, FEWEST = 20, 4
"""Of a usual line of a column; lines of one."""

CROSSING = 0.2
"""Share of the lines that may cross from one column into the other."""

APART, PARTED = 1.8, 1.4
"""In usual distances of lines: from a head or foot to the rest, and between paragraphs that blank space parts."""

DEEPEST = 6
"""Columns within columns."""

WIDEST = 100
"""Pieces of a row, at most: no page has more, and each is compared with all."""

LEVEL = 0.5
"""Heights of a line within which another's middle stands at its height."""


class _Column(NamedTuple):
    """Pieces one below the other: the letters of the middle one by length, and from where to where they go."""

    letters: float
    top: float
    bottom: float


def in_lines(pages: Sequence[Sequence[Written]], *, body: float = 0.0) -> list[list[Line]]:
    """The lines of each page, from its recognised pieces; `body`: the size of the text where others have measured it
    better, in points (0: nobody has)."""
    everything = [piece for page in pages for piece in page]
    bold = _bold(everything, _sizes(everything))
    sizes = _sizes([piece for piece in everything if piece not in bold]) | _sizes(bold)
    measured = _body(everything, sizes)
    if body and ALIKE * min(body, measured) / max(body, measured) > 1:
        sizes = {piece: round(size * body / measured, 1) for piece, size in sizes.items()}
    body = _body(everything, sizes)
    found = [[(row, _line(row, sizes, body, bold)) for row in _ordered(list(page), 0)] for page in pages]
    return [[*_parted(page, body)] for page in found]


def _parted(rows: Sequence[tuple[Sequence[Written], Line]], body: float) -> Iterator[Line]:
    """The lines of a page, with an empty one where blank space parts two paragraphs."""
    drops = [_height(below) - _height(above) for (above, _), (below, _) in pairwise(rows)]
    down = [drop for drop in drops if drop > 0]
    far = PARTED * median(down) if len(down) >= FEWEST else math.inf
    for (_, line), drop in zip(rows, [*drops, 0.0][: len(rows)], strict=True):
        yield line
        if drop > far and line.size == body and line.weight < BOLD:
            yield Line("", 0.0, 0)


def _sizes(pieces: Iterable[Written]) -> dict[Written, float]:
    """Of pieces that tell it the size of their group, which is that of most of its letters.

    The largest group is taken first, as its middle is sure: the text's own size is never cut in two.
    """
    telling = [one for one in pieces if len(one.text) >= TELLING and one.size > 0]
    sizes, parts = dict[Written, float](), [sorted(telling, key=lambda one: one.size)]
    while parts:
        part = parts.pop()
        if part:
            first, last = _fullest(part)
            sizes.update(dict.fromkeys(part[first:last], round(_middle(part[first:last]), 1)))
            parts += [part[:first], part[last:]]
    return sizes


def _fullest(pieces: Sequence[Written]) -> tuple[int, int]:
    """Of pieces by size, the smallest first: places of those of one size that hold the most letters."""
    best, most, letters, last = (0, len(pieces)), 0, 0, 0
    for first, piece in enumerate(pieces):
        while last < len(pieces) and pieces[last].size <= SAME * piece.size:
            letters, last = letters + len(pieces[last].text), last + 1
        if letters > most:
            best, most = (first, last), letters
        letters -= len(piece.text)
    return best


def _middle(group: Sequence[Written]) -> float:
    """The size of the middle one of all letters; the smallest come first."""
    upto = list(accumulate(len(piece.text) for piece in group))
    return group[bisect_left(upto, upto[-1] / 2)].size


def _body(pieces: Sequence[Written], sizes: dict[Written, float]) -> float:
    letters: dict[float, int] = defaultdict(int)
    for piece in pieces:
        if piece in sizes:
            letters[sizes[piece]] += len(piece.text)
    return max(letters, key=letters.__getitem__, default=0.0)


def _bold(pieces: Sequence[Written], sizes: dict[Written, float]) -> set[Written]:
    """Those whose strokes are wider than those of most of the text are for their size."""
    body = _body(pieces, sizes)
    usual = [piece.stroke for piece in pieces if sizes.get(piece) == body and piece.stroke > 0]
    stroke = median(usual) if usual else 0.0
    told = [piece for piece in pieces if len(piece.text) >= TELLING and piece.size >= NEARLY * body]
    return {piece for piece in told if piece.stroke * body > BOLDER * stroke * piece.size > 0}


def _line(row: Sequence[Written], sizes: dict[Written, float], body: float, bold: Set[Written]) -> Line:
    longest = max(row, key=lambda piece: len(piece.text))
    weight = BOLD if all(piece in bold for piece in row) else REGULAR
    return Line(" ".join(piece.text for piece in row), sizes.get(longest, body), weight)


def _ordered(pieces: list[Written], deep: int) -> Iterator[list[Written]]:
    """The rows of a page, or of a part of it, as they are read."""
    rows = _rows(pieces)
    above, below = _edges(rows) if deep == 0 else (0, len(rows))
    yield from rows[:above]
    inner = [piece for row in rows[above:below] for piece in row]
    gutter = _gutter(inner) if deep < DEEPEST else None
    if gutter is None:
        yield from rows[above:below]
    else:
        yield from _in_columns(inner, gutter, deep)
    yield from rows[below:]


def _in_columns(pieces: list[Written], gutter: float, deep: int) -> Iterator[list[Written]]:
    """What stands left of the gutter, then what stands right of it; what crosses parts the two from what follows."""
    sides: tuple[list[Written], list[Written]] = ([], [])
    for row in _rows(pieces):
        for piece in row:
            if piece.left < gutter < piece.right:
                for side in sides:
                    yield from _ordered(side, deep + 1)
                yield [piece]
                sides = ([], [])
            else:
                sides[piece.left >= gutter].append(piece)
    for side in sides:
        yield from _ordered(side, deep + 1)


def _rows(pieces: Sequence[Written]) -> list[list[Written]]:
    """Pieces that stand at one height, from the left, the highest first."""
    rows: list[list[Written]] = []
    for piece in sorted(pieces, key=lambda one: one.top + one.bottom):
        last = rows[-1][-1] if rows else None
        beside = last is not None and _level(last, piece) and len(rows[-1]) < WIDEST
        if beside and not any(_overlap(one, piece) for one in rows[-1]):
            rows[-1].append(piece)
        else:
            rows.append([piece])
    return [sorted(row, key=lambda one: one.left) for row in rows]


def _level(one: Written, other: Written) -> bool:
    apart = abs(one.top + one.bottom - other.top - other.bottom) / 2
    return apart < LEVEL * min(one.bottom - one.top, other.bottom - other.top)


def _overlap(one: Written, other: Written) -> bool:
    """Whether two pieces share more of their widths than their frames are too wide."""
    shared = min(one.right, other.right) - max(one.left, other.left)
    return shared > LEVEL * min(one.bottom - one.top, other.bottom - other.top)


def _edges(rows: Sequence[Sequence[Written]]) -> tuple[int, int]:
    """Places of the first row that is no head of the page, and behind the last that is no foot."""
    heights = [_height(row) for row in rows]
    drops = [after - before for before, after in pairwise(heights)]
    if len(drops) <= FEWEST:
        return 0, len(rows)
    high = median(piece.bottom - piece.top for row in rows for piece in row)
    far = APART * max(median(drops), high)  # lines of columns that stand at different heights drop by less than one
    return int(drops[0] > far), len(rows) - int(drops[-1] > far)


def _height(row: Sequence[Written]) -> float:
    return median((piece.top + piece.bottom) / 2 for piece in row)


def _gutter(pieces: Sequence[Written]) -> float | None:
    """Where the second of two columns of prose begins, as far as it can be told; None: there are none."""
    from_left, from_right = sorted(pieces, key=lambda one: one.right), sorted(pieces, key=lambda one: -one.left)
    left_of, right_of = _columns(from_left), _columns(from_right)  # what ends before a place is the first of them
    ends, begins = [one.right for one in from_left], [one.left for one in reversed(from_right)]
    found: list[tuple[int, float, float]] = []
    for begin in sorted(set(begins)):
        place = begin - 0.1
        left, right = bisect_right(ends, place), len(pieces) - bisect_left(begins, place)
        crossing = len(pieces) - left - right
        if min(left, right) < FEWEST or crossing > CROSSING * len(pieces):
            continue
        one, other, apart = left_of[left - 1], right_of[right - 1], place - ends[left - 1]
        if min(one.letters, other.letters) >= LETTERS and _side_by_side(one, other):
            found.append((crossing, -apart, place - apart / 2))
    return min(found)[2] if found else None


def _columns(pieces: Iterable[Written]) -> list[_Column]:
    """The first piece, the first two, … taken as a column; one sweep, as a page may hold thousands."""
    columns, lengths, top, bottom = list[_Column](), list[int](), math.inf, -math.inf
    for piece in pieces:
        insort(lengths, len(piece.text))
        top, bottom = min(top, piece.top), max(bottom, piece.bottom)
        middle = len(lengths) // 2
        columns.append(_Column((lengths[middle] + lengths[~middle]) / 2, top, bottom))
    return columns


def _side_by_side(one: _Column, other: _Column) -> bool:
    """Whether the columns share most of the lower one's height: else they are parts of a page, one below the other."""
    shared = min(one.bottom, other.bottom) - max(one.top, other.top)
    return 2 * shared > min(one.bottom - one.top, other.bottom - other.top)
