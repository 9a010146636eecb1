"""The ruled lines of a PDF's page, as its drawings hold them: across and down, pieces of one line put together.

    rules = rules_of(page)          # Rules(across=(Across(left, right, level), …), down=(Down(bottom, top, x), …))

A line may be drawn as a stroke, as a thin box, as an edge of a box, or piece by piece for each cell. What is drawn
within a form, a picture or a pattern is left out.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from ctypes import byref, c_float, c_int
from itertools import pairwise
from typing import Any, NamedTuple

THIN, LEAST = 3.0, 6.0
"""Points: how thick a line is at most, and how long at least."""

JOINED, ONE = 2.0, 1.2
"""Points between two pieces of one line, and by which they may lie beside each other."""

MOST_OBJECTS, MOST_SEGMENTS, MOST_LINES = 20_000, 400, 500
"""Things on a page, pieces of one drawing, and lines, beyond which they are a picture and not looked at."""


class Across(NamedTuple):
    """A line from left to right."""

    left: float
    right: float
    level: float


class Down(NamedTuple):
    """A line from bottom to top."""

    bottom: float
    top: float
    x: float


class Rules(NamedTuple):
    """The lines of a page, those across from the top, those down from the left."""

    across: tuple[Across, ...] = ()
    down: tuple[Down, ...] = ()
    shaded: tuple[Across, ...] = ()  # the edges of coloured boxes


def rules_of(page: Any) -> Rules:
    """The ruled lines of a page of pdfium."""
    from pypdfium2 import raw

    count = raw.FPDFPage_CountObjects(page)
    across, down, shaded = list[Across](), list[Down](), list[Across]()
    if count > MOST_OBJECTS:
        return Rules()
    for n in range(count):
        one = raw.FPDFPage_GetObject(page, n)
        if raw.FPDFPageObj_GetType(one) == raw.FPDF_PAGEOBJ_PATH:
            for left, bottom, right, top, edge in _boxes(one):
                if edge and not _is_stroked(one):
                    if top - bottom < ONE:
                        shaded.append(Across(left, right, (bottom + top) / 2))
                elif top - bottom <= THIN and right - left >= LEAST:
                    across.append(Across(left, right, (bottom + top) / 2))
                elif right - left <= THIN and top - bottom >= LEAST:
                    down.append(Down(bottom, top, (left + right) / 2))
    pieces = (Across(bottom, top, x) for bottom, top, x in down)
    turned = sorted((Down(bottom, top, x) for bottom, top, x in _whole(pieces)), key=lambda one: one.x)
    whole = _from_top(across)
    if max(len(whole), len(turned)) > MOST_LINES:
        return Rules()
    return Rules(whole, tuple(turned), _from_top(shaded)[:MOST_LINES])


def _from_top(pieces: Iterable[Across]) -> tuple[Across, ...]:
    return tuple(sorted(_whole(pieces), key=lambda one: -one.level))


def _is_stroked(one: Any) -> bool:
    from pypdfium2 import raw

    fill, stroke = c_int(), c_int()
    return bool(raw.FPDFPath_GetDrawMode(one, byref(fill), byref(stroke)) and stroke.value)


def _boxes(one: Any) -> Iterator[tuple[float, float, float, float, bool]]:
    """The boxes of the lines of a drawing: its own, or, told by True, those of its pieces."""
    from pypdfium2 import raw

    left, bottom, right, top = (c_float() for _ in range(4))
    if not raw.FPDFPageObj_GetBounds(one, byref(left), byref(bottom), byref(right), byref(top)):
        return
    if min(right.value - left.value, top.value - bottom.value) <= THIN:
        yield left.value, bottom.value, right.value, top.value, False
        return
    segments = raw.FPDFPath_CountSegments(one)
    if not 2 <= segments <= MOST_SEGMENTS:
        return
    points = list(_points(one, segments))
    for (x, y, _), (to_x, to_y, drawn) in pairwise(points):
        if drawn and min(abs(x - to_x), abs(y - to_y)) < ONE:
            yield min(x, to_x), min(y, to_y), max(x, to_x), max(y, to_y), True


def _points(one: Any, segments: int) -> Iterator[tuple[float, float, bool]]:
    """The points of a drawing on its page, each with whether a straight line leads to it."""
    from pypdfium2 import raw

    matrix, x, y = raw.FS_MATRIX(), c_float(), c_float()
    raw.FPDFPageObj_GetMatrix(one, byref(matrix))
    begin: tuple[float, float] | None = None
    for n in range(segments):
        segment = raw.FPDFPath_GetPathSegment(one, n)
        raw.FPDFPathSegment_GetPoint(segment, byref(x), byref(y))
        kind = raw.FPDFPathSegment_GetType(segment)
        point = (
            matrix.a * x.value + matrix.c * y.value + matrix.e,
            matrix.b * x.value + matrix.d * y.value + matrix.f,
        )
        if kind == raw.FPDF_SEGMENT_MOVETO or begin is None:
            begin = point
        yield *point, kind == raw.FPDF_SEGMENT_LINETO
        if raw.FPDFPathSegment_GetClose(segment):
            yield *begin, True


def _whole(pieces: Iterable[Across]) -> Iterator[Across]:
    """Pieces at one height that touch, as one line."""
    levels: list[list[Across]] = []
    for piece in sorted(pieces, key=lambda one: one.level):
        if levels and piece.level - levels[-1][0].level <= ONE:
            levels[-1].append(piece)
        else:
            levels.append([piece])
    for level in levels:
        whole: Across | None = None
        for piece in sorted(level):
            if whole and piece.left - whole.right <= JOINED:
                whole = Across(whole.left, max(whole.right, piece.right), whole.level)
            else:
                if whole:
                    yield whole
                whole = piece
        if whole:
            yield whole
