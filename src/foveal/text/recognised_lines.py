"""The lines of recognised pages in the order of reading, as `pdf.py` has those that a PDF holds: with size and weight.

    pages = in_lines([page.lines for page in recognised])        # [[Line, …], …]

Rows      pieces that stand at one height are one line, but for those of different columns
Columns   begin where nothing but few lines crosses from one side to the other, and both sides hold prose; what crosses
          them (titles, wide captions) parts the page, and so do a head and a foot that stand far from the rest
Gaps      blank space between two lines of text parts paragraphs
Sizes     measured letters of nearly one size have one size
Weight    of lines whose strokes are wider than those of most letters of the size of the text: bold
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Iterator, Sequence
from itertools import pairwise
from statistics import median

from foveal.text.pdf_headings import Line
from foveal.text.recognition import Written

SAME = 1.1
"""Times the smallest size of a group: so far apart are two measures of one size."""

ALIKE = 1.33
"""Times another measure of the text's size, within which the two are of one text."""

TELLING = 3
"""Letters of a line whose size and strokes are told from those of the text."""

BOLDER, REGULAR, BOLD = 1.22, 400, 700
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

LEVEL = 0.5
"""Heights of a line within which another's middle stands at its height."""


def in_lines(pages: Sequence[Sequence[Written]], *, body: float = 0.0) -> list[list[Line]]:
    """The lines of each page, from its recognised pieces; `body`: the size of the text where others have measured it
    better, in points (0: nobody has)."""
    everything = [piece for page in pages for piece in page]
    sizes = _sizes(everything)
    measured = _body(everything, sizes)
    if body and ALIKE * min(body, measured) / max(body, measured) > 1:
        sizes = {piece: round(size * body / measured, 1) for piece, size in sizes.items()}
    body = _body(everything, sizes)
    usual = [piece.stroke for piece in everything if sizes.get(piece) == body and piece.stroke > 0]
    stroke = median(usual) if usual else 0.0
    found = [[(row, _line(row, sizes, body, stroke)) for row in _ordered(list(page), 0)] for page in pages]
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


def _sizes(pieces: Sequence[Written]) -> dict[Written, float]:
    """Of pieces that tell it the size of their group, which is that of most of its letters."""
    groups: list[list[Written]] = []
    for piece in sorted((one for one in pieces if len(one.text) >= TELLING and one.size > 0), key=lambda one: one.size):
        if not groups or piece.size > SAME * groups[-1][0].size:
            groups.append([])
        groups[-1].append(piece)
    return {piece: round(_middle(group), 1) for group in groups for piece in group}


def _middle(group: Sequence[Written]) -> float:
    return median(piece.size for piece in group for _ in range(len(piece.text)))


def _body(pieces: Sequence[Written], sizes: dict[Written, float]) -> float:
    letters: dict[float, int] = defaultdict(int)
    for piece in pieces:
        if piece in sizes:
            letters[sizes[piece]] += len(piece.text)
    return max(letters, key=letters.__getitem__, default=0.0)


def _line(row: Sequence[Written], sizes: dict[Written, float], body: float, stroke: float) -> Line:
    longest = max(row, key=lambda piece: len(piece.text))
    size = sizes.get(longest, body)
    bold = stroke > 0 and all(_is_bold(piece, size, body, stroke) for piece in row)
    return Line(" ".join(piece.text for piece in row), size, BOLD if bold else REGULAR)


def _is_bold(piece: Written, size: float, body: float, stroke: float) -> bool:
    if len(piece.text) < TELLING or size < NEARLY * body:
        return False
    return piece.stroke * body > BOLDER * stroke * piece.size > 0


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
        if last is not None and _level(last, piece) and not any(_overlap(one, piece) for one in rows[-1]):
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
    far = APART * median(drops) if len(drops) > FEWEST else 0.0
    if not far:
        return 0, len(rows)
    return int(drops[0] > far), len(rows) - int(drops[-1] > far)


def _height(row: Sequence[Written]) -> float:
    return median((piece.top + piece.bottom) / 2 for piece in row)


def _gutter(pieces: Sequence[Written]) -> float | None:
    """Where the second of two columns of prose begins, as far as it can be told; None: there are none."""
    best: tuple[float, float] | None = None
    for begin in sorted({piece.left for piece in pieces}):
        place = begin - 0.1
        left = [piece for piece in pieces if piece.right <= place]
        right = [piece for piece in pieces if piece.left >= place]
        crossing = len(pieces) - len(left) - len(right)
        if min(len(left), len(right)) < FEWEST or crossing > CROSSING * len(pieces):
            continue
        if _is_prose(left) and _is_prose(right) and _side_by_side(left, right):
            apart = place - max(piece.right for piece in left)
            if best is None or (-crossing, apart) > best:
                best, found = (-crossing, apart), place - apart / 2
    return found if best is not None else None


def _is_prose(column: Sequence[Written]) -> bool:
    return median(len(piece.text) for piece in column) >= LETTERS


def _side_by_side(left: Sequence[Written], right: Sequence[Written]) -> bool:
    """Whether the columns share most of the lower one's height: else they are parts of a page, one below the other."""
    tops = [min(piece.top for piece in column) for column in (left, right)]
    bottoms = [max(piece.bottom for piece in column) for column in (left, right)]
    shared = min(bottoms) - max(tops)
    return 2 * shared > min(bottom - top for top, bottom in zip(tops, bottoms, strict=True))
