"""admin: care of a library's files, and of what the database holds of people."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.output import AsJson, Home, notes, open_library, print_json, results, size

app = typer.Typer(help="Care of the library's files, and of people's data.", no_args_is_help=True)
person = typer.Typer(help="What the database holds of a person: to them, or away.", no_args_is_help=True)
app.add_typer(person, name="person")

Who = Annotated[str, typer.Argument(help="A login, or an e-mail address.")]


@app.callback()
def group() -> None:
    """Care of the library's files, and of people's data."""


@person.command()
def export(
    who: Who,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File (default: standard output).")] = None,
    home: Home = None,
) -> None:
    """Write all that the database holds of a person, as JSON."""
    import json

    from foveal.cli.papers import papers_database
    from foveal.evaluation.files import whole_file
    from foveal.papers.exporting import person_data

    with papers_database(home) as database:
        data = person_data(database, who)
    if out is None:
        print_json(data)
        return
    with whole_file(out) as partial:
        partial.write_text(json.dumps(data, ensure_ascii=False, indent=1, default=str) + "\n", encoding="utf-8")
    notes().print(f"Written: {out}", markup=False)


@person.command()
def delete(
    who: Who,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Delete a person and what is theirs: account, votes, collections, words of comments."""
    from foveal.cli.papers import papers_database
    from foveal.papers.exporting import delete_person, person_data

    with papers_database(home) as database:
        held = person_data(database, who)
        rows = sum(len(one) for one in held.values() if isinstance(one, list))
        if not yes:
            typer.confirm(f"Delete {who} and {rows} rows of theirs? This cannot be undone.", abort=True, err=True)
        done = delete_person(database, who)
    if as_json:
        print_json(done)
        return
    said = ", ".join(f"{count} {table}" for table, count in done.rows.items())
    results().print(f"Deleted: {said}; {done.emptied} answered comments were emptied.")


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
