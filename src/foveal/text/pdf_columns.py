"""Pages in columns whose lines are drawn across them: the left half of a line, then its right half, then the next line.

pdfium gives text in the order in which it is drawn. Most programs draw a column from top to bottom; what is drawn line
by line would be read across the columns. Where a page's characters stand tells the two apart.

    pieces = in_columns(characters, box_of)       # [(start, end), …] in reading order; None: the page reads as it is

Columns   begin where many lines go on behind a wide gap. Each holds prose: long lines of about the same width that fill
          it. So tables, forms and lists with hanging labels stay as they are, read row by row
Parts     a line that crosses from one column into another (title, wide caption) or a wide gap below a line (head, foot)
          ends a part of the page; in each part the columns are read one after the other
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from statistics import median

Box = tuple[float, float, float, float]
"""Left, bottom, right and top of a character, in points."""

ROWS = 8
"""Lines of a page that must go on in the next column, at least."""

LETTERS, FILLED, ALIKE = 20, 0.7, 0.75
"""Characters of a usual line of a column, the share of the column's width that it fills, and the least share that the
narrowest column has of the widest one's width."""

WIDE, APART = 0.9, 1.8
"""A gap between columns, in heights of letters; a gap below a line that ends a part, in usual distances of lines."""

EVERY = 3
"""Of so many lines one is looked at first: on most pages none goes on behind a wide gap."""

SLACK, INDENT, SHARP = 4.0, 20.0, 0.6
"""Points by which the lines of a column may begin apart, without an indent and with one; the share of those without."""

_RUN = re.compile(r"[^\r\n\x02\ufffe]+[\x02\ufffe]?")  # up to a line's end, or a hyphen that pdfium put in its place
_WORD = re.compile(r"\S+")


@dataclass(frozen=True, slots=True)
class _Piece:
    """Characters between wide gaps, where they stand, and the number of the run in which pdfium gave them."""

    start: int
    end: int
    run: int
    left: float
    right: float
    bottom: float


def in_columns(characters: str, box_of: Callable[[int], Box]) -> list[tuple[int, int]] | None:
    """The page's lines, cut at columns, in the order of reading; None where it is not drawn across columns."""
    found = ([word.span() for word in _WORD.finditer(characters, *run.span())] for run in _RUN.finditer(characters))
    runs = [words for words in found if words]
    some = ([runs[n - 1][-1:], runs[n]] for n in range(1, len(runs), EVERY))
    if sum(len(_rows(two, box_of)[-1]) > 1 for two in some) < ROWS // (EVERY + 1):
        return None
    rows = _rows(runs, box_of)
    columns = _columns(rows)
    if not columns:
        return None
    return [place for part in _parts(rows, columns) for place in part]


def _rows(runs: Sequence[Sequence[tuple[int, int]]], box_of: Callable[[int], Box]) -> list[list[_Piece]]:
    """The pieces of each line, of runs of words; what pdfium gives as a line may be half of one."""
    rows: list[list[_Piece]] = []
    for number, words in enumerate(runs):
        boxes = [(box_of(start), box_of(end - 1)) for start, end in words]
        height = max(box[3] - box[1] for pair in boxes for box in pair)
        first, before = 0, rows[-1][-1] if rows else None
        level = min(boxes[0][0][1], boxes[0][1][1])
        if not (before and abs(before.bottom - level) < height / 2 and boxes[0][0][0] - before.right > WIDE * height):
            rows.append([])
        for n in range(1, len(words) + 1):
            if n == len(words) or boxes[n][0][0] - boxes[n - 1][1][2] > WIDE * height:
                box, last = boxes[first][0], boxes[n - 1][1]
                bottom = min(box[1], last[1])
                rows[-1].append(_Piece(words[first][0], words[n - 1][1], number, box[0], last[2], bottom))
                first = n
    return rows


def _columns(rows: Sequence[Sequence[_Piece]]) -> list[float]:
    """Where the columns begin, from the left; none where the page is not drawn across columns of prose."""
    starts = [*_starts(sorted(piece.left for row in rows for piece in row[1:]))]
    if not starts:
        return []
    columns = [min(row[0].left for row in rows), *starts]
    held: list[list[_Piece]] = [[] for _ in columns]
    for row in rows:
        placed = _placed(row, columns)
        if placed is not None and [number for number, _ in placed] == [*range(len(columns))]:
            for number, piece in placed:
                held[number].append(piece)
    if len(held[0]) < ROWS or not all(map(_is_prose, held)):
        return []
    widths = [_width(column) for column in held]
    return columns if min(widths) >= ALIKE * max(widths) else []


def _starts(places: Sequence[float]) -> Iterator[float]:
    """Where many of the sorted places stand together: nearly all at the same one, the others indented behind it."""
    first = 0
    while first < len(places):
        group = [place for place in places[first:] if place - places[first] <= INDENT]
        sharp, begin = max((bisect_right(group, one + SLACK) - n, -one) for n, one in enumerate(group))
        if sharp >= max(ROWS, SHARP * len(group)):
            yield -begin
        first += len(group)


def _placed(row: Sequence[_Piece], columns: Sequence[float]) -> list[tuple[int, _Piece]] | None:
    """The pieces of a row with their columns, those of one column as one; None: one crosses into the next column."""
    placed: list[tuple[int, _Piece]] = []
    for piece in row:
        number = max(0, bisect_right(columns, piece.left + SLACK) - 1)
        if number + 1 < len(columns) and piece.right > columns[number + 1]:
            return None
        if placed and placed[-1][0] == number and placed[-1][1].run == piece.run:
            piece = replace(placed.pop()[1], end=piece.end, right=piece.right)
        placed.append((number, piece))
    return placed


def _is_prose(column: Sequence[_Piece]) -> bool:
    if median(piece.end - piece.start for piece in column) < LETTERS:
        return False
    return median(piece.right - piece.left for piece in column) >= FILLED * _width(column)


def _width(column: Sequence[_Piece]) -> float:
    """From where most lines begin to where the longest but one in ten ends."""
    ends = sorted(piece.right for piece in column)
    return ends[(len(ends) * 9) // 10] - median(piece.left for piece in column)


def _parts(rows: Sequence[Sequence[_Piece]], columns: Sequence[float]) -> Iterator[list[tuple[int, int]]]:
    """The places of each part of the page, in the order of reading."""
    drops = [above[0].bottom - below[0].bottom for above, below in pairwise(rows)]
    usual = median([drop for drop in drops if drop > 1.0] or [0.0])
    held: list[list[tuple[int, int]]] = [[] for _ in columns]
    for n, row in enumerate(rows):
        placed = _placed(row, columns)
        if placed is None or (n and abs(drops[n - 1]) > APART * usual):
            yield [place for column in held for place in column]
            held = [[] for _ in columns]
        if placed is None:
            yield [(run[0].start, run[-1].end) for run in _by_run(row)]
        for number, piece in placed or ():
            held[number].append((piece.start, piece.end))
    yield [place for column in held for place in column]


def _by_run(row: Sequence[_Piece]) -> Iterator[list[_Piece]]:
    return (list(run) for _, run in groupby(row, key=lambda piece: piece.run))
