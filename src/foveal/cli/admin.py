"""admin: care of a home: the library's files, people with an account, who is subscribed to the mail."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli import digest, people
from foveal.cli.output import AsJson, Home, notes, open_library, print_json, results, size

app = typer.Typer(
    help="Care of the library's files, of people with an account, and of the mail's subscribers.", no_args_is_help=True
)
people.register(app)


@app.callback()
def group() -> None:
    """Care of the library's files, of people with an account, and of the mail's subscribers."""


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


@app.command()
def subscriptions(
    state: Annotated[
        str | None, typer.Option(help="Only unconfirmed, confirmed, unsubscribed, bounced or complained.")
    ] = None,
    lift: Annotated[
        str | None, typer.Option(help="Let this address be written to again after a bounce, complaint or request.")
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """List who gets the digest, since when, and with which wishes."""
    digest.show_subscriptions(home, state, lift, as_json)
