"""admin: care of a library's files."""

from __future__ import annotations

import typer

from foveal.cli.output import Home, notes, open_library, results, size

app = typer.Typer(help="Care of the library's files.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Care of the library's files."""


@app.command()
def compact(home: Home = None) -> None:
    """Merge small files and drop older versions: a smaller and faster library."""
    library = open_library(home)
    before = library.stats().bytes or 0
    with notes().status("Compacting …"):
        library.compact()
    results().print(f"{size(before)} before, {size(library.stats().bytes or 0)} now.")
