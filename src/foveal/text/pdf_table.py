"""A table of a PDF: its head and rows as one page has them, and how it is written, over the ends of pages, too.

tables[0].written(tables[1:], mend)     # a table of Markdown, cut into what stands on each page
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.text.office import table as markdown
from foveal.text.pdf_blocks import Block, Mend

NEAR = 4.0
"""Points by which the columns of one table may stand apart on two pages."""

Cells = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table on one page.

    `head` are the names of its columns; () where none can be told. It is `sure` where it is bold, or stands above
    numbers, and not only above the first ruled line. `columns` are from where to where these go, in points.
    """

    head: Cells
    rows: tuple[Cells, ...]
    columns: tuple[tuple[float, float], ...]
    sure: bool
    size: float  # of its letters, in points

    @property
    def letters(self) -> int:
        return sum(map(len, (*self.head, *(cell for row in self.rows for cell in row))))

    @property
    def lines(self) -> int:
        return len(self.rows) + bool(self.head)

    @property
    def room(self) -> int:
        """Characters that it takes, at most, but for what is escaped."""
        return self.letters + 4 * len(self.columns) * (self.lines + 1)

    def goes_on(self, other: Block) -> bool:
        """Whether the table at the top of the next page is a part of this one: it repeats the head, or has none."""
        if not isinstance(other, Table) or len(self.columns) != len(other.columns):
            return False
        if other.head and other.head == self.head:
            return True
        alike = all(map(_stand_alike, self.columns, other.columns))
        return alike and not (other.head and other.sure)

    def written(self, others: Sequence[Block], mend: Mend) -> list[str]:
        """The table, and the rows with which it goes on."""
        first = [self.head, *self.rows] if self.head else [*self.rows]
        parts = [first, *(one.rows_below(self.head) for one in others if isinstance(one, Table))]
        mended = [[cells for row in part if any(cells := [mend(cell) for cell in row])] for part in parts]
        lines = markdown([row for part in mended for row in part]).split("\n")
        written, at = list[str](), 0
        for part in mended:
            end = at + len(part) + (at == 0)  # the rule below the head
            written.append("\n".join(lines[at:end]))
            at = end
        return written

    def rows_below(self, head: Cells) -> list[Cells]:
        """The rows, without a head that repeats the one above them."""
        return [*([self.head] if self.head and self.head != head else []), *self.rows]


def _stand_alike(one: tuple[float, float], other: tuple[float, float]) -> bool:
    """Whether two columns begin, end or have their middle at one place."""
    left, right = other[0] - one[0], other[1] - one[1]
    return min(abs(left), abs(right), abs(left + right) / 2) <= NEAR
