"""Rows of a benchmark, and the one table that shows them.

A row is one system's value of one metric. Where a bar is set (a published figure, a peer's, a promise of the docs) the
row says whether the value meets it; a value that is no number never does.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import asdict, dataclass
from statistics import fmean
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from rich.table import Table

MARKS = {True: "ok", False: "FELL SHORT", None: ""}


@dataclass(frozen=True)
class Row:
    """One value of one system; `bar` says what was asked, `ok` whether it was met (None: nothing was asked)."""

    system: str
    metric: str
    value: float
    bar: str | None = None
    ok: bool | None = None
    note: str = ""

    @classmethod
    def of(
        cls,
        system: str,
        metric: str,
        value: float,
        *,
        at_least: float | None = None,
        at_most: float | None = None,
        note: str = "",
    ) -> Row:
        """The row of `value` held against its bounds, both of which belong to what is asked."""
        value = float(value)
        low = -math.inf if at_least is None else float(at_least)  # NumPy's False is not `False`, and JSON has none
        high = math.inf if at_most is None else float(at_most)
        asked = at_least is not None or at_most is not None
        return cls(system, metric, value, _bar(at_least, at_most), low <= value <= high if asked else None, note)

    def as_json(self) -> dict[str, str | float | bool | None]:
        """The row as plain values; a value that JSON cannot write (NaN, infinity) becomes null."""
        return {**asdict(self), "value": self.value if math.isfinite(self.value) else None}


def largest(*values: float) -> float:
    """The largest of some errors; NaN where one of them is. Python's `max` passes over NaN, and a bar would be met."""
    return math.nan if any(math.isnan(value) for value in values) else max(values)


def least(*values: float) -> float:
    """The least of some gains; NaN where one of them is."""
    return -largest(*(-value for value in values))


def mean(values: Sequence[float]) -> float:
    """The mean of numbers, or the share of flags that hold; NaN where there are none, which meets no bar."""
    return fmean(values) if values else math.nan


def all_hold(system: str, metric: str, held: Sequence[bool]) -> Row:
    """The row of the share that holds, where all of some are asked to hold; 0 of none."""
    return Row.of(system, metric, sum(held) / max(1, len(held)), at_least=1.0, note=f"{sum(held)} of {len(held)}")


def table(rows: Iterable[Row], title: str | None = None) -> Table:
    """The rows as a table: each value beside its bar, a mark, and its note."""
    from rich.table import Table
    from rich.text import Text

    shown_table = Table(title=Text(title) if title else None, title_justify="left")
    for heading in ("system", "metric"):
        shown_table.add_column(heading, overflow="fold")
    shown_table.add_column("value", justify="right", no_wrap=True)
    shown_table.add_column("bar", no_wrap=True)
    shown_table.add_column("", no_wrap=True)
    shown_table.add_column("note", overflow="fold")
    for row in rows:
        mark = Text(MARKS[row.ok], style="" if row.ok is None else "green" if row.ok else "bold red")
        shown_table.add_row(
            Text(row.system), Text(row.metric), shown(row.value), Text(row.bar or ""), mark, Text(row.note)
        )
    return shown_table


def as_text(told: Table, *, width: int = 120) -> str:
    """A table as plain text, of at most `width` columns."""
    from io import StringIO

    from rich.console import Console

    console = Console(file=StringIO(), width=width)
    with console.capture() as text:
        console.print(told)
    return text.get()


def shown(value: float) -> str:
    """A number as a table shows it: four significant digits, thousands set apart."""
    return f"{value:,.0f}" if 1000 <= abs(value) < math.inf else f"{value:.4g}"


def _bar(at_least: float | None, at_most: float | None) -> str | None:
    if at_least is not None and at_most is not None:
        return f"{shown(at_least)} to {shown(at_most)}"
    if at_least is not None:
        return f"≥ {shown(at_least)}"
    return None if at_most is None else f"≤ {shown(at_most)}"
