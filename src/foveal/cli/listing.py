"""list: the documents of the library, or those of a file, a folder or a condition."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.library import Where, tell_unknown_keys
from foveal.cli.output import AsJson, Home, echo, open_library, print_json, print_table, results

if TYPE_CHECKING:
    from foveal.retrieval.rows import Entry

TABLE = 200
"""Documents up to which the table fits itself to the terminal; more are printed line by line, which takes a moment."""

TITLE = 60
"""Columns that a title takes in a long list on a terminal."""

LONGEST = 160
"""Characters that are shown of a title: where no terminal sets a width, one of thousands would pad all rows to it."""

COUNTS = ("kind", "pages", "passages", "characters")
"""What a list leaves out in a narrow terminal."""

NARROW = 100
"""Columns of a terminal that is narrow for a list: beside the counts, 80 leave no room for titles and sources."""


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command("list")(list_documents)


def list_documents(
    which: Annotated[
        str | None, typer.Argument(help="Only these: an id (or its beginning), a path, a folder or a URL.")
    ] = None,
    where: Where = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List the documents of the library: all, or those of a folder or a condition."""
    library = open_library(home)
    entries = library.documents(where)
    if which:
        named = {entry.id for entry in library.find(which)}
        entries = [entry for entry in entries if entry.id in named]
    if as_json:
        print_json(entries)
        return
    if not entries:
        asked = which or where
        results().print("No document fits." if asked and library.documents() else "The library is empty.")
        tell_unknown_keys(library, where)
        return
    rows = _rows(entries)
    if len(entries) > TABLE:
        _print_lines(rows)
    else:
        print_table(rows, spare=COUNTS, narrow=NARROW)


def _rows(entries: Sequence[Entry]) -> list[tuple[str, ...]]:
    """The head of the table, and a row for each document; dates only where some document has one."""
    dated = any(entry.published_at for entry in entries)
    head = ("id", "title", "kind", *["published"] * dated, "pages", "passages", "characters", "source")
    rows = [head]
    for entry in entries:
        day = entry.published_at.date().isoformat() if entry.published_at else ""
        counts = (f"{len(entry.pages):,}" if entry.pages else "", f"{entry.passages:,}", f"{entry.characters:,}")
        kind = str(entry.metadata.get("kind", ""))
        title = entry.title if len(entry.title) <= LONGEST else f"{entry.title[: LONGEST - 1]}…"
        rows.append((entry.id[:8], title, kind, *[day] * dated, *counts, _short(entry.source)))
    return rows


def _print_lines(rows: Sequence[tuple[str, ...]]) -> None:
    """The same as lines: of 20,000 documents a table that fits itself would take a quarter of a minute."""
    from rich.cells import cell_len, set_cell_size

    most = TITLE if sys.stdout.isatty() else sys.maxsize
    flat = [[" ".join(cell.split()) for cell in row] for row in rows]
    widths = [max(map(cell_len, column)) for column in zip(*flat, strict=True)]
    widths[1] = min(widths[1], most)
    for row in flat:
        padded = [set_cell_size(cell, width) for cell, width in zip(row[:-1], widths, strict=False)]
        echo("  ".join([*padded, row[-1]]) + "\n")


def _short(address: str) -> str:
    """An address as a person writes it: a path for a file, relative where it lies below this folder."""
    if not address.startswith("file://"):
        return address
    from urllib.parse import unquote, urlsplit

    parts = urlsplit(address)
    path = Path(unquote(parts.path))
    shown = str(path.relative_to(Path.cwd())) if path.is_relative_to(Path.cwd()) else str(path)
    shown += f"#{unquote(parts.fragment)}" if parts.fragment else ""
    return " ".join(shown.splitlines())  # a name may hold line breaks, which would tear a table's row
