"""The order in which boxes on a page or slide are read: rows from the top, and in each its columns from the left.

    reading_order([Box(5, 0, 9, 4), Box(0, 0, 4, 4), Box(0, 5, 9, 9)])      # [1, 0, 2]

Cuts      where no box stands: first across, into rows, then down, into columns, and so on within each part
Heads     a row of low boxes, each alone above a column that is twice as high, is read with its columns (cards; the two
          sides of a comparison)
Overlaps  boxes that no cut parts are read by lines from the top, as written where they lie one upon another
Known     columns are read from the left in languages written from the right, too
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from operator import itemgetter
from typing import NamedTuple, TypeVar

Thing = TypeVar("Thing")

DEEPEST = 20  # cuts within cuts; no slide has more, and a hostile one costs no more
SLACK = 0.1  # of a box at each side: frames are larger than their texts, and overlap a little
HIGHER = 2.0  # than a box: what stands below it is what it is the head of


class Box(NamedTuple):
    """Where something stands; the units do not matter."""

    left: int
    top: int
    right: int
    bottom: int


def in_order(placed: Sequence[tuple[Box | None, Thing]]) -> list[Thing]:
    """Things and their places in the order in which they are read; one without a place goes on with the one before."""
    boxes: list[Box] = []
    for box, _ in placed:
        boxes.append(box or (boxes[-1] if boxes else Box(0, 0, 0, 0)))
    return [placed[n][1] for n in reading_order(boxes)]


def reading_order(boxes: Sequence[Box]) -> list[int]:
    """The places of `boxes` in the sequence, in the order in which they are read."""
    return _ordered(boxes, range(len(boxes)), 0)


def _ordered(boxes: Sequence[Box], which: Sequence[int], deep: int) -> list[int]:
    if len(which) > 1 and deep < DEEPEST:
        rows = _heads_joined(boxes, _cut(boxes, which, across=True))
        parts = rows if len(rows) > 1 else _cut(boxes, which, across=False)
        if len(parts) > 1:
            return [n for part in parts for n in _ordered(boxes, part, deep + 1)]
    return _by_lines(boxes, which)


def _cut(boxes: Sequence[Box], which: Iterable[int], *, across: bool) -> list[list[int]]:
    """Boxes in rows (`across`) or columns, between which nothing stands."""
    spans = []
    for n in which:
        box = boxes[n]
        first, last = (box.top, box.bottom) if across else (box.left, box.right)
        slack = SLACK * (last - first)
        spans.append((first + slack, last - slack, n))
    parts: list[list[int]] = []
    reach = 0.0
    for start, end, n in sorted(spans, key=itemgetter(0)):
        if parts and start < reach:
            parts[-1].append(n)
        else:
            parts.append([n])
        reach = max(reach, end) if len(parts[-1]) > 1 else end
    return parts


def _heads_joined(boxes: Sequence[Box], rows: list[list[int]]) -> list[list[int]]:
    """Rows, where one of heads and the one of their texts are one."""
    joined: list[list[int]] = []
    is_open = False
    for row in rows:
        if is_open and _are_heads(boxes, joined[-1], row):
            joined[-1] = joined[-1] + row
            is_open = False
        else:
            joined.append(row)
            is_open = True
    return joined


def _are_heads(boxes: Sequence[Box], heads: list[int], texts: list[int]) -> bool:
    """Whether each of these boxes, of which there are several, is the head of a column below."""
    columns = _cut(boxes, [*heads, *texts], across=False) if len(heads) > 1 else []
    if len(columns) != len(heads):
        return False
    upper = set(heads)
    for column in columns:
        lower = [boxes[n] for n in column if n not in upper]
        if len(lower) != len(column) - 1 or not lower:
            return False
        head = next(boxes[n] for n in column if n in upper)
        if max(one.bottom for one in lower) - min(one.top for one in lower) < HIGHER * (head.bottom - head.top):
            return False
    return True


def _by_lines(boxes: Sequence[Box], which: Iterable[int]) -> list[int]:
    """Boxes that overlap: those whose tops are about as high are a line, read from the left."""
    lines: list[list[int]] = []
    for n in sorted(which, key=lambda n: (boxes[n].top, n)):
        first = boxes[lines[-1][0]] if lines else None
        height = boxes[n].bottom - boxes[n].top
        if first is not None and boxes[n].top - first.top <= min(height, first.bottom - first.top) / 2:
            lines[-1].append(n)
        else:
            lines.append([n])
    return [n for line in lines for n in sorted(line, key=lambda n: (boxes[n].left, n))]
