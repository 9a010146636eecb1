"""papers remove: take papers away for good, see which were, let one come again."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from foveal.cli.output import AsJson, Home, echo, notes, print_json, results
from foveal.cli.papers_output import papers_database

if TYPE_CHECKING:
    from foveal.papers.removing import Removed
    from foveal.papers.store import Paper


def remove(
    papers: Annotated[list[str] | None, typer.Argument(help="Ids; without any, what was removed is listed.")] = None,
    reason: Annotated[str, typer.Option(help="Why: moderators read it.", show_default=False)] = "",
    same_as: Annotated[
        str, typer.Option(help="The paper that this is another entry of: votes and remarks go there.", metavar="ID")
    ] = "",
    undo: Annotated[bool, typer.Option("--undo", help="Let sources bring these papers again.")] = False,
    yes: Annotated[bool, typer.Option("--yes", "-y", help="Do not ask.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Take papers away for good, with votes and remarks; no source brings them again."""
    from foveal.papers import removing
    from foveal.papers.records import OURS
    from foveal.papers.store import PaperStore
    from foveal.settings import Settings

    if ((undo or not papers) and (reason or same_as)) or (undo and not papers):
        raise typer.BadParameter("Name the papers. --reason and --same-as go with what is removed.")
    with papers_database(home) as database:
        if not papers:
            _print_removed(removing.removed(database), as_json)
            return
        if undo:
            done = [removing.readmit(database, one) for one in papers]
        else:
            store, at = PaperStore(database), Settings.load(home).home
            there = list({one.id: one for one in map(store.get, papers)}.values())  # before any is gone
            kept = store.get(same_as) if same_as else None
            if not yes:
                typer.confirm(_question(there, kept), abort=True, err=True)
            done = [
                removing.remove(database, one.id, reason=reason, same_as=kept.id if kept else "", home=at)
                for one in there
            ]
    if as_json:
        print_json(done)
        return
    for one in done:
        results().print(f"{one.id} {'may come again' if undo else 'is removed'}: {one.title}", markup=False)
    if undo:
        ids = [one.id for one in done if not one.id.startswith(OURS)]
        fetched = f" Fetch it: foveal papers add {' '.join(ids)}" if ids else ""
        notes().print(f"What people had done with it is gone.{fetched}", markup=False, soft_wrap=True)


def _question(papers: list[Paper], kept: Paper | None) -> str:
    """What is asked before anything is done, with all that goes."""
    for one in papers:
        votes, remarks = (
            f"{count} {word}{'s' * (count != 1)}" for count, word in ((one.votes, "vote"), (one.comments, "remark"))
        )
        notes().print(f"{one.id}  {one.title}: {votes}, {remarks} of people here", markup=False, soft_wrap=True)
    them = "it" if len(papers) == 1 else f"these {len(papers)} papers"
    if kept is not None:
        notes().print(f"Votes, remarks and places in collections go to {kept.id}: {kept.title}", markup=False)
        return f"Remove {them} as another entry of {kept.id}?"
    return f"Remove {them} for good, with votes and remarks?"


def _print_removed(gone: list[Removed], as_json: bool) -> None:
    from rich.table import Table
    from rich.text import Text

    if as_json:
        print_json(gone)
        return
    table = Table("removed", "id", "title", "reason", box=None, pad_edge=False)
    for one in gone:
        why = " · ".join(filter(None, (f"same as {one.same_as}" if one.same_as else "", one.reason)))
        table.add_row(*map(Text, (f"{one.at:%Y-%m-%d}", one.id, one.title, why)))
    results().print(table) if gone else echo("Nothing was removed.\n")
