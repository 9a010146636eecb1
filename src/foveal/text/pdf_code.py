"""The code in a PDF: lines in letters of one width, with their indentation, between fences as in Markdown.

    pages, codes = without_code(pages)      # each block is one line, a mark, among the others (`pdf_blocks.py`)

A PDF knows no tabs and hardly any blanks, only where each letter stands. Letters of one width stand on a grid: how far
a line begins to the right of the block's first column is its indentation, and what is wider than a line's step is blank
lines. Without that the words of a program would be there, but not the program.

Typed     a line whose letters, narrow and wide ones, stand whole steps apart. Lines beside it with too few letters to
          tell ("}") belong to it where they have its step
Code      typed lines in a row of which half are indented or hold a sign that prose hardly has; a single one if it would
          else read as a heading of Markdown ("# a comment")
Never     where nearly all of the document is typed (a typewriter's page, an RFC): its lines stay as they are

A block that goes on over a page's end is one.
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from foveal.text.code_blocks import fence_around, reads_as_code
from foveal.text.pdf_blocks import Block, Mend, mark_of, without_marks
from foveal.text.pdf_headings import LARGER, Body, Line, Typed

OFF_GRID = 0.15
"""Of a step: how far a letter may stand from its column."""

SAME = 0.02
"""By which share the steps of two lines of one block may differ."""

EACH = 12
"""First letters of a line, each of which has to stand in its column; behind them, of each word the first."""

LEAST = 4
"""Letters that can prove a line to be typed."""

MOST = 0.8
"""Of a document's characters; where more are typed, it was written so, and is not code."""

GAP = 4.0
"""Times the usual distance of a block's lines, from which on another block begins."""

BLANKS = 2
"""Blank lines in a row that are written, at most."""

WIDEST = 400
"""Columns of a line's gap, at most: a letter may stand anywhere, and be as small as can be."""

_NARROW = frozenset("iljftrI.,:;'()[]!|")
_HYPHENS = dict.fromkeys(map(ord, "\x02\ufffe"), "-")
_WORD = re.compile(r"\S+")

Place = Callable[[int], tuple[float, float]]
Width = Callable[[int], float]


@dataclass(frozen=True, slots=True)
class Code:
    """The lines of a block, from top to bottom of one page."""

    rows: tuple[Typed, ...]

    @property
    def left(self) -> float:
        return min(row.left for row in self.rows)

    def goes_on(self, other: Block) -> bool:
        """Whether the code of the next page has the same step."""
        if not isinstance(other, Code):
            return False
        return abs(self.rows[-1].step - other.rows[0].step) <= SAME * self.rows[-1].step

    def written(self, others: Sequence[Block], mend: Mend) -> list[str]:  # noqa: ARG002 (a line's end is a line's end)
        """Between fences, the blocks of all pages indented alike."""
        chain = [self, *(one for one in others if isinstance(one, Code))]
        left = min(one.left for one in chain)
        bodies = ["\n".join(_rows(one, left)) for one in chain]
        fence = fence_around(*bodies)
        bodies[0] = f"{fence}\n{bodies[0]}"
        bodies[-1] = f"{bodies[-1]}\n{fence}"
        return bodies


def typed(line: str, start: int, place_of: Place, width_of: Width) -> Typed | None:
    """A line of a page's text, which begins at `start` there, if its letters stand on a grid.

    `place_of` says where the character at a place begins (x, y), `width_of` how far it is from there to the next one.
    """
    line = line.translate(_HYPHENS)
    words = [word.span() for word in _WORD.finditer(line)]
    begin = words[0][0] if words else 0
    step = width_of(start + begin) if words else 0.0
    second = next((place for place, letter in enumerate(line[begin + 1 :], begin + 1) if not letter.isspace()), begin)
    if step <= 0 or (second > begin and abs(width_of(start + second) - step) > SAME * step):
        return None
    before, level = left, _ = place_of(start + begin)
    written, column, at, pace, length, off = "", 0, 0, step, 0, OFF_GRID * step
    for place, end in _parts(line, words):
        if place > begin:
            x, y = place_of(start + place)
            steps = (x - before) / pace
            moved = round(steps)
            if not length <= moved <= WIDEST or not -OFF_GRID <= steps - moved <= OFF_GRID or abs(y - level) > off:
                return None
            at, before = at + moved, x
            written += " " * (at - column)
        part, length = line[place:end], end - place
        written += part
        column = max(column, at) + (length if part.isascii() else sum(map(_columns, part)))
        if at >= EACH:
            pace = (x - left) / at
    letters = "".join(written.split())
    proven = len(letters) >= LEAST and not _NARROW.isdisjoint(letters) and any(map(_wide, letters))
    return Typed(left, level, step, written, proven=proven)


def _parts(line: str, words: Sequence[tuple[int, int]]) -> Iterator[tuple[int, int]]:
    """The parts of a line that are looked at: each of the first letters, of the other words the first, and the last of
    all; each letter of Chinese, which may take two columns."""
    for first, end in words:
        if first - words[0][0] <= EACH or not line[first:end].isascii():
            yield from pairwise(range(first, end + 1))
        elif end == words[-1][1] and end > first + 1:
            yield from ((first, end - 1), (end - 1, end))
        else:
            yield first, end


def without_code(pages: Sequence[Sequence[Line]]) -> tuple[list[list[Line]], list[Code]]:
    """The pages' lines, those of each block of code replaced by one mark, and the blocks."""
    clean = [[replace(line, text=without_marks(line.text)) for line in page] for page in pages]
    body = Body.of(clean)
    codes = list[Code]()
    if _written_so(clean):
        return clean, codes
    found = list[list[Line]]()
    for page in clean:
        lines, at = list[Line](), 0
        for first, last in _blocks(page, body):
            lines += page[at:first]
            size = max(line.size for line in page[first:last])
            lines.append(Line(mark_of(len(codes)), size, body.weight, code=last - first))
            codes.append(Code(tuple(line.typed for line in page[first:last] if line.typed)))
            at = last
        found.append([*lines, *page[at:]])
    return found, codes


# -- which lines -------------------------------------------------------------------------------------------------------


def _written_so(pages: Sequence[Sequence[Line]]) -> bool:
    whole = sum(len(line.text) for page in pages for line in page)
    return sum(len(line.text) for page in pages for line in page if line.typed) > MOST * whole


def _blocks(page: Sequence[Line], body: Body) -> Iterator[tuple[int, int]]:
    """Which lines of a page are a block of code: the first, and that behind the last."""
    at = 0
    while at < len(page):
        if not _may_be_code(page[at], body):
            at += 1
            continue
        last = at + 1
        while last < len(page) and _may_be_code(page[last], body) and _together(page, at, last):
            last += 1
        if _is_code([line.typed for line in page[at:last] if line.typed]):
            yield at, last
        at = last


def _may_be_code(line: Line, body: Body) -> bool:
    return line.typed is not None and line.size <= LARGER * body.size


def _together(page: Sequence[Line], first: int, at: int) -> bool:
    """Whether a line goes on with the block that begins at `first`: of the same step, and near."""
    sizes = [line.size for line in page[first : at + 1] if line.size]
    block = [line.typed for line in page[first : at + 1] if line.typed]
    before, this = block[-2:]
    down = before.level - this.level
    if max(sizes, default=0.0) - min(sizes, default=0.0) > SAME * before.step:  # digits of the text, as of its page
        return False
    if abs(this.step - before.step) > SAME * before.step or down < -OFF_GRID * before.step:
        return False
    downs = [step for step in _downs(block[:-1]) if step > before.step / 2]
    return down <= GAP * (min(downs) if downs else 2 * before.step)


def _is_code(rows: Sequence[Typed]) -> bool:
    if not any(row.proven for row in rows):
        return False
    left = min(row.left for row in rows)
    return reads_as_code([" " * (row.left > left + row.step / 2) + row.text for row in rows])


# -- how they are written ----------------------------------------------------------------------------------------------


def _rows(code: Code, left: float) -> Iterator[str]:
    """The lines of a block, indented from `left`, with the blank ones between; parts of one line are together."""
    downs = [step for step in _downs(code.rows) if step > code.rows[0].step / 2]
    usual = median(downs) if downs else 0.0
    line, before = "", None
    for row in code.rows:
        column = min(max(0, round((row.left - left) / row.step)), WIDEST)
        if before is not None and abs(before.level - row.level) > OFF_GRID * row.step:
            yield line
            yield from [""] * min(BLANKS, round((before.level - row.level) / usual) - 1 if usual else 0)
            line = ""
        line += " " * max(column - len(line), 1 if line else 0) + row.text
        before = row
    yield line


def _downs(rows: Sequence[Typed]) -> list[float]:
    return [above.level - below.level for above, below in pairwise(rows)]


def _wide(letter: str) -> bool:
    return letter.isalnum() and letter not in _NARROW


def _columns(letter: str) -> int:
    return 2 if unicodedata.east_asian_width(letter) in "WF" else 1
