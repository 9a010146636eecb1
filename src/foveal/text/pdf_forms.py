"""What was filled into the form of a PDF, or typed upon a page: it lies beside the page's content, and is read with it.

    with page_of(pdf, 3) as (page, own): …               # `own`: characters that the page has without it; None: no such
    places = beside(characters, places, own, box_of)     # each answer behind the line that it stands in, or below

Read      fields of forms, boxes of text, as they are shown; not notes that open when one points at them
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing, contextmanager
from typing import Any

from foveal.text.pdf_columns import Box

LEVEL = 0.7
"""Heights of letters by which an answer may stand below or above the line that asks for it."""

_WORD = re.compile(r"\S+")

Place = tuple[int, int]


@contextmanager
def page_of(pdf: Any, number: int) -> Iterator[tuple[Any, str | None]]:
    """A page, with what was written upon it; and its text without that, where there is such."""
    from pypdfium2 import raw

    page, own = pdf[number], None
    try:
        if _is_written_upon(page):
            with closing(page.get_textpage()) as text:
                own = text.get_text_range()
            if raw.FPDFPage_Flatten(page, raw.FLAT_NORMALDISPLAY) == raw.FLATTEN_SUCCESS:
                page.close()
                page = pdf[number]
        yield page, own
    finally:
        page.close()


def _is_written_upon(page: Any) -> bool:
    from pypdfium2 import raw

    for at in range(raw.FPDFPage_GetAnnotCount(page)):
        annotation = raw.FPDFPage_GetAnnot(page, at)
        kind = raw.FPDFAnnot_GetSubtype(annotation)
        raw.FPDFPage_CloseAnnot(annotation)
        if kind in (raw.FPDF_ANNOT_WIDGET, raw.FPDF_ANNOT_FREETEXT):
            return True
    return False


def beside(characters: str, places: Sequence[Place], own: int, box_of: Callable[[int], Box]) -> list[Place]:
    """The places of lines, those behind the page's `own` characters each put behind the line that it belongs to."""
    lines = [(start, min(end, own)) for start, end in places if start < own]
    boxes = [box_of(start) for start, _ in lines]
    behind: dict[int, list[Place]] = {}
    for start, end in places:
        for answer in _answers(characters, max(start, own), end, box_of):
            behind.setdefault(_line_of(box_of(answer[0]), boxes), []).append(answer)
    ordered = [*behind.get(-1, [])]
    for at, place in enumerate(lines):
        ordered += [place, *behind.get(at, [])]
    return ordered


def _answers(characters: str, start: int, end: int, box_of: Callable[[int], Box]) -> Iterator[Place]:
    """The pieces of a line that stand at one height, from left to right: pdfium makes one line of what goes up."""
    found: Place | None = None
    before: Box | None = None
    for word in _WORD.finditer(characters, start, end):
        first, last = box_of(word.start()), box_of(word.end() - 1)
        level = LEVEL * (first[3] - first[1])
        if found and before and abs(first[1] - before[1]) <= level and first[0] >= before[2]:
            found = found[0], word.end()
        else:
            if found:
                yield found
            found = word.span()
        before = first[0], first[1], last[2], last[3]
    if found:
        yield found


def _line_of(box: Box, boxes: Sequence[Box]) -> int:
    """Which line an answer belongs to: the nearest before it at its height, else the nearest above; -1: none is."""
    left, bottom, _, top = box
    near = LEVEL * (top - bottom)
    level = [at for at, one in enumerate(boxes) if abs(one[1] - bottom) <= near and one[0] <= left]
    if level:
        return max(level, key=lambda at: boxes[at][0])
    above = [at for at, one in enumerate(boxes) if one[1] > bottom]
    return min(above, key=lambda at: (boxes[at][1] - bottom, abs(boxes[at][0] - left)), default=-1)
