"""mcp: the home as tools of an assistant or editor, by the Model Context Protocol, over standard input and output."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.asking import DEFAULT_MODEL, MODELS, Answerer, Url
from foveal.cli.output import Home


def register(app: typer.Typer) -> None:
    """Add the command."""
    app.command()(mcp)


def mcp(
    folder: Annotated[
        list[Path] | None,
        typer.Option(
            "--folder", help="A folder whose files may be read whole, too (repeatable; default: the library alone)."
        ),
    ] = None,
    web: Annotated[
        bool, typer.Option("--web", help="Pages and arXiv papers may be fetched; private addresses never are.")
    ] = False,
    allow_changes: Annotated[
        bool, typer.Option("--allow-changes", help="Offer add and remove, too; else nothing is changed.")
    ] = False,
    model: Annotated[str, typer.Option(help=f"Model that answers without --url, and reads: {MODELS}.")] = DEFAULT_MODEL,
    url: Url = None,
    answerer: Answerer = None,
    home: Home = None,
) -> None:
    """Serve the library, the reader and the papers as tools to an assistant or editor that starts this command.

    It speaks the Model Context Protocol over standard input and output, until the input ends or Ctrl-C.
    """
    if bool(url) != bool(answerer):
        raise typer.BadParameter("--url and --answerer go together: the server's address and the model to ask there.")
    from foveal.registry import require

    require("mcp", extra="mcp")
    from foveal.agents.allowed import Allowed
    from foveal.agents.home import HomePlace
    from foveal.agents.server import Calls
    from foveal.agents.stdio import serve
    from foveal.settings import Settings
    from foveal.web.models import LocalModels

    settings = Settings.load(home)
    models = LocalModels(model, cache=settings.cache, url=url, answerer=answerer, served=settings)
    place = HomePlace(settings, models, Allowed.of(folder or [], web=web))
    ended = serve(Calls(place, allow_changes))
    place.close()
    if not ended:  # a model that computes would be torn down under its own threads
        os._exit(0)
