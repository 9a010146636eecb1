"""What readers of office documents share: what they give, tables as Markdown, and what a document says of itself."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from foveal.text.plain import storable


@dataclass(frozen=True)
class OfficeText:
    """What a document says, as Markdown, and what it says of itself."""

    text: str
    title: str | None = None
    author: str | None = None
    created: str | None = None  # a date as ISO 8601 writes it


def table(rows: Sequence[Sequence[str]]) -> str:
    """Rows of cells as a table of Markdown, the first being its head; empty rows are left out, "" if all are.

    A cell is one line; a bar within it is escaped.
    """
    cells = [[" ".join(cell.split()).replace("|", "\\|") for cell in row] for row in rows]
    kept = [row for row in cells if any(row)]
    width = max(map(len, kept), default=0)
    lines = [f"| {' | '.join([*row, *[''] * (width - len(row))])} |" for row in kept]
    return "\n".join([*lines[:1], *([f"|{'---|' * width}"] if len(lines) > 1 else []), *lines[1:]])


def said(about: Any, what: str) -> str | None:
    """The text of the first element of that name, whatever its namespace, below an XML element; None: nothing."""
    found = about.xpath(f"//*[local-name()='{what}']") if about is not None else ()
    return next((storable(words) for one in found if (words := " ".join("".join(one.itertext()).split()))), None)
