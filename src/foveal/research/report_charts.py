"""Charts of a report: bars of the numbers that a cited table holds, and of nothing else.

    chart_of(block)          # of a table; None where no column after the first holds numbers alone

Cells     a number is drawn only if its row cites evidence, so that each bar leads to where it was found; what a writer
          put into a table without a source is in no chart
Column    the first one that has a number in every row: "57.2", "1,204", "−3 %", "$4.5"; "1,5", as much of Europe writes
          one and a half, is none
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from foveal.research.report_blocks import Block, Runs

FEWEST, MOST = 2, 12
"""Rows of a table that is drawn."""

_NUMBER = re.compile(r"[~≈<>≤≥$€£]?\s*([-−+]?(?:\d{1,3}(?:,\d{3})+|\d+)(?:\.\d+)?)\s*(%|°|[a-zA-Zµ]{1,4})?")


@dataclass(frozen=True, slots=True)
class Bar:
    """A row: its name, its number, the number as it stands there, and the evidence that its row cites."""

    name: str
    value: float
    shown: str
    keys: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Chart:
    """Bars of one column."""

    title: str
    bars: tuple[Bar, ...]

    @property
    def _range(self) -> tuple[float, float]:
        values = [one.value for one in self.bars]
        return min(0.0, *values), max(0.0, *values)

    def share(self, bar: Bar) -> float:
        """The length of a bar, 0 … 1 of the whole range."""
        low, high = self._range
        return abs(bar.value) / (high - low)

    def offset(self, bar: Bar) -> float:
        """Where a bar begins, 0 … 1: bars of negative numbers lie left of those of positive ones."""
        low, high = self._range
        return (min(0.0, bar.value) - low) / (high - low)


def chart_of(block: Block) -> Chart | None:
    """The chart of a table."""
    head, *rows = block.rows or ((),)
    if not FEWEST <= len(rows) <= MOST or not all(_keys(row) for row in rows):
        return None
    for column in range(1, len(head)):
        cells = [_words(row[column]) if column < len(row) else "" for row in rows]
        numbers = [_NUMBER.fullmatch(cell) for cell in cells]
        units = {found[2] or "" for found in numbers if found}
        if all(numbers) and len(units) == 1:
            bars = tuple(
                Bar(_words(row[0]), _value(found[1]), cell, _keys(row))
                for row, found, cell in zip(rows, numbers, cells, strict=True)
                if found
            )
            return Chart(_words(head[column]), bars) if any(bar.value for bar in bars) else None
    return None


def _words(cell: Runs) -> str:
    return " ".join("".join(run.text for run in cell).split())


def _keys(row: tuple[Runs, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(key for cell in row for run in cell for key in run.keys))


def _value(text: str) -> float:
    return float(text.replace(",", "").replace("−", "-").replace("+", ""))
