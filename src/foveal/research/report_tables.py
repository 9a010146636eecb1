"""Tables of a report: those that stand in its evidence, cell by cell as they were read, each row with its source.

    with_tables(draft.sections, sections, evidence)       # the sections, with the tables that belong to them

Shown     a table between bars that is evidence of a section, in the first section that it belongs to, two a section at
          most; and only where it is small enough to be read at a glance. No model writes into it
Charts    are drawn from these (report_charts.py): each bar leads to the row that its number was read in
Source    cross-modal reports of the survey's section 3.4.4 (arXiv 2512.02038)
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import replace

from foveal.research.evidence import Evidence
from foveal.research.markdown import plain
from foveal.research.outline import Planned
from foveal.research.report_parts import Section

MOST = 2
"""Tables of a section."""

ROWS, COLUMNS = 12, 6
"""Of a table that is shown, beside its head."""

LONGEST = 80
"""Characters of a cell: a table of sentences is prose."""

_LINE = re.compile(r"^\s*\|(.+)\|\s*$")
_RULE = re.compile(r"^[\s|:-]+$")
_MARKED = re.compile(r"\[\^?\d{1,4}(?:\s*[,;–-]\s*\d{1,4})*\]")


def with_tables(
    drafted: Sequence[tuple[Planned, object]], sections: Sequence[Section], evidence: Mapping[str, Evidence]
) -> tuple[Section, ...]:
    """The sections, which stand under the headings of `drafted`, with their tables below their words."""
    plans = {plan.heading: plan for plan, _ in drafted}
    shown: set[tuple[tuple[str, ...], ...]] = set()
    made = []
    for section in sections:
        plan = plans.get(section.heading)
        tables: list[str] = []
        for key in plan.evidence if plan else ():
            cells = cells_of(evidence[key].passage.text)
            if cells and tuple(cells) not in shown and len(tables) < MOST:
                shown.add(tuple(cells))
                tables.append(_markdown(cells, key))
        made.append(replace(section, text="\n\n".join((section.text, *tables))))
    return tuple(made)


def cells_of(text: str) -> list[tuple[str, ...]]:
    """The cells of a text that is one small table between bars, its head first; none of any other text."""
    lines = [found[1] if (found := _LINE.match(line)) else None for line in text.strip().splitlines()]
    if len(lines) < 3 or None in lines or not _RULE.match(lines[1] or ""):
        return []
    rows = [tuple(_plain(cell) for cell in re.split(r"(?<!\\)\|", line or "")) for line in (lines[0], *lines[2:])]
    width = len(rows[0])
    fits = 2 <= width <= COLUMNS and 1 < len(rows) <= ROWS + 1 and all(len(row) == width for row in rows)
    return rows if fits and max(len(cell) for row in rows for cell in row) <= LONGEST else []


def _plain(cell: str) -> str:
    """A cell without marks of its own: its [3] would be read as ours."""
    return " ".join(_MARKED.sub("", cell.replace("\\|", "|")).split())


def _markdown(cells: Sequence[tuple[str, ...]], key: str) -> str:
    head, *rows = cells
    lines = [f"| {' | '.join(map(plain, head))} | source |", f"|{' --- |' * (len(head) + 1)}"]
    return "\n".join([*lines, *(f"| {' | '.join(map(plain, row))} | [[{key}]] |" for row in rows)])
