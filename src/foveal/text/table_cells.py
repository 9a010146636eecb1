"""The cells of the tables of a text, as its page shows them: those of Markdown, and that of a CSV file.

    grids = grids_of(document, code_blocks(document.text, indented=True))   # [Grid(start, end, …), …], in order
    cells = grids[0].cells(document.text, 400, 900)                         # [Cell(start, end, row, column, …), …]

A cell has all characters up to the next one. Those of them that only part cells are its `marks`, which a page leaves
out: bars and the blanks beside them, the rule below a head, quotation marks around a cell, the escape before a bar.
Differs from table_heads.py, which tells what columns are called: here a table needs neither names nor rows.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import groupby, pairwise, zip_longest
from operator import attrgetter

from foveal.text.code_blocks import Code
from foveal.text.table_heads import columns_of, marks_of, ruled, separated
from foveal.types import Document

_BAR = re.compile(r"(?<!\\)\|")
_ESCAPE = re.compile(r"\\(?=\|)")
_OTHER_BLOCK = re.compile(r"^ {0,3}(?:#{1,6}[ \t]|```|~~~|>)", re.MULTILINE)
_DOUBLED = re.compile('""')
_RULE = re.compile(r"^[ \t]*\|(?:[ \t]*:?-{2,}:?[ \t]*\|)+[ \t]*$", re.MULTILINE)
_ROW = re.compile(r"^[ \t]*\|(.*)$", re.MULTILINE)

CELLS_APART = " · "
"""Stands between cells in a line."""

Places = tuple[tuple[int, int], ...]


@dataclass(frozen=True, slots=True)
class Cell:
    """A cell: characters `start` to `end`, but for those within `marks`."""

    start: int
    end: int
    row: int  # where its row begins
    column: int  # from 0
    head: bool
    marks: Places
    align: str = ""  # "middle" or "end", where a rule says so


@dataclass(frozen=True, slots=True)
class Grid:
    """A table with its head: characters `start` to `end`.

    The head ends at `body`, which is `start` where there is none. `rows` are where rows begin; in Markdown, where each
    line is one, only the first.
    """

    start: int
    body: int
    end: int
    mark: str = ""  # between the cells of a CSV file; "" in Markdown
    aligned: tuple[str, ...] = ()
    rows: Sequence[int] = field(default=(), repr=False)

    def cells(self, text: str, start: int, end: int) -> list[Cell]:
        """The cells of the rows that lie, whole or in part, between `start` and `end`."""
        return [one for a, b in self._rows(text, start, end) for one in self._cells(text, a, b) if one.end > one.start]

    def names(self, text: str) -> list[str]:
        """What stands in the cells of the head; nothing where there is none."""
        head = self.cells(text, self.start, self.body) if self.body > self.start else []
        return ["".join(text[a:b] for a, b in shown_of(one)) for one in head]

    def _rows(self, text: str, start: int, end: int) -> Iterator[tuple[int, int]]:
        start, end = max(start, self.start), min(end, self.end)
        if self.mark:
            first = bisect_right(self.rows, start) - 1
            last = bisect_right(self.rows, end - 1)
            yield from pairwise([*self.rows[first:last], self.rows[last] if last < len(self.rows) else self.end])
            return
        at = self.start if start < self.body else text.rfind("\n", 0, start) + 1
        while at < end:
            line = text.find("\n", max(at, self.body - 2), self.end) + 1 or self.end  # a head goes on to its rule's end
            yield at, line
            at = line

    def _cells(self, text: str, start: int, end: int) -> Iterator[Cell]:
        head = start < self.body
        if self.mark:
            for column, (a, b, marks) in enumerate(_separated_cells(text, start, end, self.mark)):
                yield Cell(a, b, start, column, head, marks)
            return
        line = text.find("\n", start, end)
        for column, (a, b, marks) in enumerate(_ruled_cells(text, start, end if line < 0 else line, end)):
            align = self.aligned[column] if column < len(self.aligned) else ""
            yield Cell(a, b, start, column, head, marks, align)


def rows_in_a_line(text: str) -> str:
    """`text` in one line, a row of a Markdown table as its cells with a dot between them."""
    return " ".join(_ROW.sub(_in_a_line, _RULE.sub("", text)).split()).removesuffix(CELLS_APART.rstrip())


def _in_a_line(row: re.Match[str]) -> str:
    cells = (cell.strip().replace("\\|", "|") for cell in _BAR.split(row[1].rstrip(" \t").removesuffix("|")))
    return "".join(f"{cell}{CELLS_APART}" for cell in cells if cell)


def barred(shown: str, start: int, cells: Iterable[Cell]) -> str:
    """`shown`, the characters from `start` on, with a dot for each bar between two cells of Markdown, else a blank.

    It stays as long as it is; a rule below a head is blank, with its line.
    """
    made = list(shown)
    for _, row in groupby(cells, key=attrgetter("row")):
        held = list(row)
        for cell, following in zip_longest(held, held[1:]):
            for a, b in cell.marks:
                place = slice(max(a - start, 0), max(b - start, 0))
                made[place] = _parting(made[place], dotted=bool(following) and b == cell.end)
    return "".join(made)


def _parting(mark: Sequence[str], *, dotted: bool) -> list[str]:
    """As many characters as `mark` has: a dot for its bar, or none; the line end that it ends with."""
    last = len(mark) - 1
    bar = CELLS_APART.strip() if dotted else " "
    return [bar if one == "|" else one if one == "\n" and n == last else " " for n, one in enumerate(mark)]


def grids_of(document: Document, code: Sequence[Code] = ()) -> tuple[Grid, ...]:
    """The tables of a document, in order: what a CSV file is, else those of Markdown outside of `code`."""
    return _grids(document.revision, document.text, marks_of(document), tuple(code))


def shown_of(cell: Cell) -> list[tuple[int, int]]:
    """What of a cell is not its marks."""
    edges = [cell.start, *(offset for place in cell.marks for offset in place), cell.end]
    return [(a, b) for a, b in zip(edges[::2], edges[1::2], strict=True) if a < b]


@lru_cache(maxsize=4)
def _grids(revision: str, text: str, marks: str | None, code: tuple[Code, ...]) -> tuple[Grid, ...]:  # noqa: ARG001
    """Those of a text: a reader goes from part to part of one document, and a hash is compared faster."""
    return tuple(_separated_grid(text, marks) if marks else _ruled_grids(text, code))


def _separated_grid(text: str, marks: str) -> Iterator[Grid]:
    found = separated(text, marks)
    if found is None:
        return
    mark, rows = found
    top, below, head = rows[0]
    named = columns_of(head, [cells for _, _, cells in rows[1:]])
    starts = [one.start() for one in _row(mark).finditer(text, top) if one.end() > one.start()]
    yield Grid(top, below if named else top, len(text), mark, rows=starts)


def _ruled_grids(text: str, code: Sequence[Code]) -> Iterator[Grid]:
    for one in ruled(text):
        before = bisect_right(code, one.top, key=lambda block: block.start) - 1
        if before >= 0 and one.top < code[before].end:
            continue
        other = _OTHER_BLOCK.search(text, one.start, one.end)
        end = other.start() if other else one.end
        yield Grid(one.top, one.start, end, aligned=tuple(_aligned(text[one.rule : one.start])))


def _aligned(rule: str) -> Iterator[str]:
    """How the columns below a rule such as "|:--|:-:|--:|" are aligned."""
    for cell in rule.strip().strip("|").split("|"):
        ends = (cell.strip()[:1], cell.strip()[-1:])
        yield {(":", ":"): "middle", ("-", ":"): "end"}.get(ends, "")


def _ruled_cells(text: str, start: int, line: int, end: int) -> Iterator[tuple[int, int, Places]]:
    """The cells of a row that ends at `line`; the last one has what stands behind it, up to `end`."""
    bars = [one.start() for one in _BAR.finditer(text, start, line)]
    opens = bool(bars) and not text[start : bars[0]].strip()
    closes = len(bars) > opens and not text[bars[-1] + 1 : line].strip()
    inner = bars[opens : len(bars) - closes]
    starts = [start, *(at + 1 for at in inner)]
    bodies = [bars[0] + 1 if opens else start, *starts[1:]]
    stops = [*inner, bars[-1] if closes else line]
    for a, body, stop, b in zip(starts, bodies, stops, [*starts[1:], end], strict=True):
        inside = text[body:stop]
        first = body + len(inside) - len(inside.lstrip())
        last = max(first, body + len(inside.rstrip()))
        escapes = [(at.start(), at.end()) for at in _ESCAPE.finditer(text, first, last)]
        yield a, b, ((a, first), *escapes, (last, b))


def _separated_cells(text: str, start: int, end: int, mark: str) -> Iterator[tuple[int, int, Places]]:
    """The cells of a row of a CSV file."""
    for found in _cell(mark).finditer(text, start, end):
        stop = found.end("cell")
        places = [(stop, found.end())]
        if found["quoted"] is not None:
            a, b = found.span("quoted")
            doubled = [(at.start(), at.start() + 1) for at in _DOUBLED.finditer(text, a, b)]
            places = [(a - 1, a), *doubled, (b, b + 1), *places]
        yield found.start(), found.end(), tuple(places)


@lru_cache
def _cell(mark: str) -> re.Pattern[str]:
    """A cell of a CSV file, and what ends it; within quotation marks it may hold any character."""
    return re.compile(
        rf'(?P<cell>"(?P<quoted>(?:[^"]|"")*+)"[^{mark}\r\n]*+|[^{mark}\r\n]*+)(?:{re.escape(mark)}|\r\n|\r|\n|\Z)'
    )


@lru_cache
def _row(mark: str) -> re.Pattern[str]:
    """A row of a CSV file, with its line end."""
    cell = rf'(?:"(?:[^"]|"")*+"[^{mark}\r\n]*+|[^{mark}\r\n]*+)'
    return re.compile(rf"{cell}(?:{re.escape(mark)}{cell})*+(?:\r\n|\r|\n|\Z)")
