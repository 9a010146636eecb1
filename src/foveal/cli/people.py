"""`foveal admin user`, `admin token` and `admin audit`: who has an account, what they may do, and what was done.

The first admin of a site is added here; all others can be, or sign up by themselves.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Annotated

import typer

from foveal.cli import tokens
from foveal.cli.output import AsJson, Home, notes, print_json, results
from foveal.cli.papers_output import papers_database

app = typer.Typer(help="People with an account.", no_args_is_help=True)

Who = Annotated[str, typer.Argument(help="A login, or an e-mail address.")]
Role = Annotated[str, typer.Argument(help="member, curator, moderator or admin.")]


def register(admin: typer.Typer) -> None:
    """Add the commands to `foveal admin`."""
    admin.add_typer(app, name="user")
    admin.add_typer(tokens.app, name="token")
    admin.command()(audit)


@app.callback()
def group() -> None:
    """People with an account."""


@app.command()
def add(
    address: Annotated[str, typer.Argument(help="The e-mail address that a link to sign in is mailed to.")],
    role: Annotated[str, typer.Option(help="member, curator, moderator or admin.")] = "member",
    login: Annotated[str, typer.Option(help="The name in addresses (default: one that tells nothing).")] = "",
    name: Annotated[str, typer.Option(help="The name that others read.")] = "",
    invite: Annotated[
        bool, typer.Option("--invite", help="Mail them where to sign in; needs the table \\[mail] of foveal.toml.")
    ] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Add a person, who signs in by a link from then on."""
    from foveal.papers import accounts

    send = _inviting(home) if invite else None
    with papers_database(home) as database:
        person = accounts.add(database, address, role=role, login=login, name=name)
    if send:
        send(person.email)
    if as_json:
        print_json(person)
    else:
        link = "by a link that is mailed, or printed by `foveal serve` while no mail is set up"
        how = "A mail says where to sign in." if invite else f"They sign in at /login of the site, {link}."
        results().print(f"{person.login} <{person.email}>: {person.role}. {how}", markup=False)


def _inviting(home: Path | None) -> Callable[[str], None]:
    """What mails an invitation. InputError: no mail is set up."""
    from foveal.cli.digest import deliverer
    from foveal.papers.accounts import invitation
    from foveal.papers.mail.settings import load_mail
    from foveal.settings import Settings

    settings = Settings.load(home)
    url = load_mail(settings).complete().url
    deliver = deliverer(settings)
    return lambda address: deliver(address, *invitation("Foveal", f"{url.rstrip('/')}/login"))


@app.command()
def role(who: Who, role: Role, home: Home = None, as_json: AsJson = False) -> None:
    """Give a person another role."""
    from foveal.papers import accounts

    with papers_database(home) as database:
        person = accounts.set_role(database, who, role)
    print_json(person) if as_json else results().print(f"{person.login}: {person.role}.", markup=False)


@app.command("list")
def listing(home: Home = None, as_json: AsJson = False) -> None:
    """Show everybody who has an account."""
    from rich.markup import escape
    from rich.table import Column, Table

    from foveal.papers import accounts

    with papers_database(home) as database:
        everybody = accounts.people(database)
    if as_json:
        print_json(everybody)
        return
    heads = ("login", "name", "address", "role", "since", "verified")
    table = Table(*(Column(one, overflow="fold") for one in heads), box=None, pad_edge=False)  # to be typed again
    for one in everybody:
        verified = f"{one.verified_at:%Y-%m-%d}" if one.verified_at else "no"
        table.add_row(one.login, escape(one.name), escape(one.email), one.role, f"{one.created_at:%Y-%m-%d}", verified)
    results().print(table if everybody else "Nobody yet. `foveal admin user add ADDRESS --role admin` adds the first.")


@app.command()
def export(
    who: Who,
    out: Annotated[Path | None, typer.Option("--out", "-o", help="File (default: standard output).")] = None,
    home: Home = None,
) -> None:
    """Write all that is stored of a person, as JSON."""
    import json

    from foveal.evaluation.files import whole_file
    from foveal.papers import accounts
    from foveal.web.own_data import everything_of

    with papers_database(home) as database:
        told = everything_of(database, accounts.find(database, who))
    if out is None:
        print_json(told)
        return
    with whole_file(out) as partial:
        partial.write_text(json.dumps(told, ensure_ascii=False, indent=2) + "\n", encoding="utf-8")
    notes().print(f"Written: {out}", markup=False)


@app.command()
def remove(
    who: Who,
    remarks: Annotated[
        str, typer.Option(help="What they said: keep, without a name, or remove the words, too.")
    ] = "keep",
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Delete a person and what is theirs, for good."""
    from foveal.papers import accounts, personal_data

    with papers_database(home) as database:
        person = accounts.find(database, who)
        if not yes:
            typer.confirm(f"Delete {person.login} <{person.email}> and what is theirs?", abort=True, err=True)
        personal_data.erase(database, person, remarks=remarks)
    print_json({"removed": person.login}) if as_json else results().print(f"{person.login} is deleted.", markup=False)


def audit(
    limit: Annotated[int, typer.Option("-n", "--limit", min=1, help="Lines to show.")] = 50,
    target: Annotated[str, typer.Option(help="Only what was done to this, such as person:ana or remark:17.")] = "",
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show what was done to people's words and rights, and by whom."""
    from rich.markup import escape
    from rich.table import Table

    from foveal.papers import moderation

    with papers_database(home) as database:
        acts = moderation.audit(database, limit=limit, target=target)
    if as_json:
        print_json(acts)
        return
    table = Table("when", "who", "what", "to", "detail", box=None, pad_edge=False)
    for one in acts:
        table.add_row(f"{one.at:%Y-%m-%d %H:%M}", one.actor, one.action, one.target, escape(one.detail))
    results().print(table if acts else "Nothing was done yet.")
