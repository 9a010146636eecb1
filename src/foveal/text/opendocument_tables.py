"""The tables of an OpenDocument: their cells by row and column, hidden ones left out, repeated ones written out.

    grid = Grids()                              # one for a document
    as_markdown(grid.rows(table, said))         # said(cell) -> what the cell says

A sheet ends with thousand times a million empty cells, which it states as one: only cells that say something are kept,
by their places. Columns and rows without any text are left out. A cell or row with text that is repeated is written as
often as a budget of characters allows, which grows with the cells that are there, and once where that is used up.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from foveal.text.code_blocks import no_heading
from foveal.text.office import table
from foveal.text.opendocument_styles import TABLE
from foveal.text.table_cells import CELLS_APART

SPARSE, ROOM = 4, 200_000
"""A table has at most so many places for each filled cell, and so many besides; else it is lines of filled cells."""

COPIES, MORE_COPIES = 4_000_000, 64
"""The characters of what is repeated that are written for a document, and for each cell that says something."""

_COLUMN_GROUPS = {
    f"{TABLE}{name}" for name in ("table-columns", "table-header-columns", "table-column-group", "table-column")
}
_ROW_GROUPS = {f"{TABLE}{name}" for name in ("table-rows", "table-header-rows", "table-row-group", "table-row")}
_CELL, _COLUMN, _ROW = f"{TABLE}table-cell", f"{TABLE}table-column", f"{TABLE}table-row"
_COVERED = f"{TABLE}covered-table-cell"
_UNSEEN = ("collapse", "filter")

Row = dict[int, str]
"""What the cells of a row say, by column."""


@dataclass
class Grids:
    """Reads the tables of one document."""

    copies: int = COPIES  # characters that may still be written for cells and rows that are repeated

    def rows(self, within: Any, said: Callable[[Any], str]) -> list[Row]:
        """The rows of a table that say something, in order; of a cell what `said` gives."""
        hidden = _hidden_columns(within)
        found = []
        for row in _parts(within, _ROW_GROUPS, _ROW):
            if row.get(f"{TABLE}visibility") in _UNSEEN:
                continue
            cells = self._cells(row, hidden, said)
            if cells:
                size = sum(map(len, cells.values())) + len(cells)
                found += [cells] * self._afforded(_repeated(row, "rows"), size)
        return found

    def _cells(self, row: Any, hidden: Sequence[int], said: Callable[[Any], str]) -> Row:
        found: Row = {}
        column = 0
        for cell in row.iterchildren(_CELL, _COVERED):
            times = _repeated(cell, "columns")
            if cell.tag == _CELL and not _is_within(hidden, column, column + times) and (words := said(cell)):
                self.copies += MORE_COPIES
                for at in range(column, column + self._afforded(times, len(words) + 1)):
                    if not _is_within(hidden, at, at + 1):
                        found[at] = words
            column += times
        return found

    def _afforded(self, times: int, size: int) -> int:
        """How often something of a size is written that stands there so many times."""
        more = min(times - 1, self.copies // size)
        if more < times - 1:
            return 1
        self.copies -= more * size
        return times


def as_markdown(rows: Sequence[Row]) -> str:
    """Rows as a table of Markdown; as lines of their cells where nearly all places are empty."""
    columns = sorted(set().union(*rows))
    if len(rows) * len(columns) > SPARSE * sum(map(len, rows)) + ROOM:
        return "\n".join(no_heading(CELLS_APART.join(" ".join(row[at].split()) for at in sorted(row))) for row in rows)
    return table([[row.get(at, "") for at in columns] for row in rows])


def _hidden_columns(within: Any) -> list[int]:
    """Where columns begin to be hidden and where they are seen again, in turn."""
    changes: list[int] = []
    at, hidden = 0, False
    for column in _parts(within, _COLUMN_GROUPS, _COLUMN):
        unseen = column.get(f"{TABLE}visibility") in _UNSEEN
        if unseen != hidden:
            changes.append(at)
            hidden = unseen
        at += _repeated(column, "columns")
    return [*changes, at] if hidden else changes


def _is_within(hidden: Sequence[int], start: int, end: int) -> bool:
    """Whether all columns from one to another are hidden."""
    before = bisect_right(hidden, start)
    return before % 2 == 1 and hidden[before] >= end


def _parts(within: Any, groups: set[str], part: str) -> Iterator[Any]:
    """The rows, or columns, of a table, in groups or not."""
    open_ones = [within.iterchildren()]
    while open_ones:
        for one in open_ones[-1]:
            if one.tag == part:
                yield one
            elif one.tag in groups and (part == _COLUMN or one.get(f"{TABLE}display") != "false"):
                open_ones.append(one.iterchildren())
                break
        else:
            open_ones.pop()


def _repeated(element: Any, what: str) -> int:
    stated = element.get(f"{TABLE}number-{what}-repeated") or ""
    return max(1, int(stated)) if re.fullmatch(r"[0-9]{1,10}", stated) else 1
