"""What a document's page is made of: passages of text and of code, and tables that go on from passage to passage.

    pieces = pieces_of(blocks, tables, document.text)
    pieces[0].runs                          # [Text(…, "text"), Text(…, "code"), Shown(…), …], one below another
    pieces[0].runs[2].bodies[1].anchor      # where the second passage of the table begins

A passage among the rows of a table is a part of it, so that columns stand below their heads. Where a part of a long
text begins among rows, the head is told again.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby

from foveal.text.table_cells import Grid
from foveal.web.document_text import Block, Slice


@dataclass(frozen=True, slots=True)
class Text:
    """Slices in a row: "text", or "code"."""

    slices: list[Slice]
    kind: str


@dataclass(frozen=True, slots=True)
class Filled:
    """A cell of a row, with what of it is shown; a row that was cut in two begins with empty ones."""

    slices: list[Slice]
    align: str = ""


@dataclass(frozen=True, slots=True)
class Row:
    """A row of a table."""

    cells: list[Filled]
    head: bool

    @property
    def seen(self) -> bool:
        """Whether there is anything in it to see, or to lead to."""
        return any(cell.slices for cell in self.cells)


@dataclass(frozen=True, slots=True)
class Body:
    """The rows of a passage; `anchor` is where it begins, None where the passage began before the table."""

    rows: list[Row]
    anchor: int | None = None


@dataclass(frozen=True, slots=True)
class Shown:
    """A table: rows, passage by passage; `again` is its head where that stands in an earlier part."""

    grid: Grid
    bodies: list[Body]
    again: Sequence[str] = ()
    kind: str = "table"

    @property
    def heads(self) -> list[Row]:
        """The rows of its head."""
        return [row for row in self.bodies[0].rows if row.head]


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage, with the tables that begin in it to their ends; `anchor` is None for the rest of one that is told."""

    anchor: int | None
    runs: list[Text | Shown] = field(default_factory=list)


def pieces_of(blocks: Sequence[Block], tables: Sequence[Grid], text: str) -> list[Piece]:
    """The blocks of a text, those of one table together."""
    found: list[Piece] = []
    for block in blocks:
        if not block.slices:
            continue
        runs = list(_runs(block, tables))
        above = found[-1].runs[-1] if found else None
        first = runs[0]
        anchor: int | None = block.start
        if isinstance(first, Shown):
            if isinstance(above, Shown) and above.grid is first.grid:
                above.bodies.append(Body(first.bodies[0].rows, block.start))
                runs, anchor = runs[1:], None
            elif block.slices[0].start >= first.grid.body:
                runs[0] = replace(first, again=first.grid.names(text))
        if runs:
            found.append(Piece(anchor, runs))
    return found


def _runs(block: Block, tables: Sequence[Grid]) -> Iterator[Text | Shown]:
    """What a block's slices are, one below another."""

    def kind(one: Slice) -> tuple[bool, int]:
        table = bisect_right(tables, one.start, key=lambda grid: grid.start) - 1 if one.cell else -1
        return bool(one.code), table

    for (code, table), group in groupby(block.slices, kind):
        slices = list(group)
        if table < 0:
            yield Text(slices, "code" if code else "text")
            continue
        yield Shown(tables[table], [Body(list(_rows(slices)))])


def _rows(slices: Sequence[Slice]) -> Iterator[Row]:
    cells = [(one.cell, one) for one in slices if one.cell]
    for _, group in groupby(cells, lambda pair: pair[0].row):
        row = list(group)
        filled = [Filled([]) for _ in range(row[0][0].column)]
        for _, parts in groupby(row, lambda pair: pair[0].column):
            pairs = list(parts)
            filled.append(Filled([one for _, one in pairs if one.first or not one.hidden], pairs[0][0].align))
        yield Row(filled, row[0][0].head)
