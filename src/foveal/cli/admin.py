"""admin: care of a library's files, and of people with an account."""

from __future__ import annotations

import typer

from foveal.cli import people
from foveal.cli.output import AsJson, Home, notes, open_library, print_json, results, size

app = typer.Typer(help="Care of the library's files, and of people with an account.", no_args_is_help=True)
people.register(app)


@app.callback()
def group() -> None:
    """Care of the library's files, and of people with an account."""


@app.command()
def compact(home: Home = None, as_json: AsJson = False) -> None:
    """Merge small files and drop older versions: a smaller and faster library."""
    library = open_library(home)
    before = library.stats().bytes
    with notes().status("Compacting …"):
        library.compact()
    after = library.stats().bytes
    if as_json:
        print_json({"bytes_before": before, "bytes_after": after})
    else:
        results().print(f"{size(before)} before, {size(after)} now.")
