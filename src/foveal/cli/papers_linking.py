"""papers link: what belongs to a paper: code, project page, models, data sets, demos."""

from __future__ import annotations

from typing import Annotated

import typer

from foveal.cli.output import AsJson, Home, echo, print_json, results
from foveal.cli.papers_output import papers_database

KINDS = "code, project, model, dataset, demo, page"


def link(
    paper: Annotated[str, typer.Argument(help="A paper's id, or its address at arXiv.")],
    url: Annotated[str | None, typer.Argument(help="What belongs to it; without one, its links are shown.")] = None,
    kind: Annotated[str, typer.Option(help=f"What that is: {KINDS}.")] = "code",
    title: Annotated[str, typer.Option(help="What it is called on the page.", show_default=False)] = "",
    remove: Annotated[bool, typer.Option("--remove", help="Take it out, where a person added it.")] = False,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Say what belongs to a paper, such as its code; no source replaces it."""
    from foveal.papers import linking
    from foveal.papers.store import PaperStore

    if remove and url is None:
        raise typer.BadParameter("Which link? Give its address, too.")
    with papers_database(home) as database:
        if url is not None and remove:
            linking.unlink(database, paper, url)
        elif url is not None:
            linking.link(database, paper, url, kind=kind, title=title)
        found = PaperStore(database).get(paper)
    told = {"code": found.repo_url, "project": found.project_url}
    lines = [(kind, address, "") for kind, address in told.items() if address]
    lines += [(one.kind, one.url, one.title) for one in found.links if one.url not in told.values()]
    if as_json:
        print_json([{"kind": kind, "url": address, "title": title} for kind, address, title in lines])
        return
    for kind, address, title in lines:
        results().print(f"{kind}: {address}{f'  {title}' if title else ''}", markup=False, soft_wrap=True)
    if not lines:
        echo("No links yet.\n")
