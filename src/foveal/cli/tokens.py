"""`foveal admin token`: tokens by which programs are somebody on a served site; people make their own in settings."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.output import AsJson, Home, notes, print_json, results
from foveal.cli.papers_output import papers_database

app = typer.Typer(help="Tokens of programs that use a served site.", no_args_is_help=True)


@app.callback()
def group() -> None:
    """Tokens of programs that use a served site."""


@app.command()
def add(
    who: Annotated[str, typer.Argument(help="The person that the program is: a login, or an e-mail address.")],
    name: Annotated[str, typer.Argument(help="What it is for, such as 'nightly import'.")],
    days: Annotated[int, typer.Option(min=1, max=366, help="Days that it lives.")] = 90,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Make a token, and print it: this once, alone, on standard output."""
    from foveal.papers import accounts, tokens

    with papers_database(home) as database:
        made = tokens.make(database, accounts.find(database, who), name, days=days, by_system=True)
    if as_json:
        print_json(made)
        return
    notes().print(
        f"Of {made.token.login}, until {made.token.expires_at:%Y-%m-%d}. It is not shown again.", markup=False
    )
    results().print(made.secret, markup=False, soft_wrap=True)


@app.command("list")
def listing(
    who: Annotated[str, typer.Argument(help="Only those of this person.", metavar="[WHO]")] = "",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show the tokens that there are, and when each was last used."""
    from rich.markup import escape
    from rich.table import Table

    from foveal.papers import accounts, tokens

    with papers_database(home) as database:
        found = tokens.tokens(database, accounts.find(database, who) if who else None)
    if as_json:
        print_json(found)
        return
    table = Table("number", "of", "name", "begins", "made", "used", "until", box=None, pad_edge=False)
    for one in found:
        used = f"{one.seen_at:%Y-%m-%d %H:%M}" if one.seen_at else "never"
        until = f"{one.expires_at:%Y-%m-%d}{' (over)' if one.expired else ''}"
        made = f"{one.created_at:%Y-%m-%d}"
        table.add_row(str(one.id), one.login, escape(one.name), f"{one.begins}…", made, used, until)
    results().print(table if found else "None. `foveal admin token add WHO NAME` makes one.")


@app.command()
def revoke(
    number: Annotated[int, typer.Argument(min=1, max=2**31 - 1, help="As `foveal admin token list` shows it.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """End a token, at once."""
    from foveal.papers import tokens

    with papers_database(home) as database:
        name = tokens.revoke(database, None, number)
    if as_json:
        print_json({"revoked": number, "name": name})
    else:
        results().print(f"{name!r} is revoked.", markup=False)
