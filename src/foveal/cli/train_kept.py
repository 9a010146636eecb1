"""train list, train remove: what was trained in a home, what it changed, and how it is taken back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import AsJson, Home, open_library, print_json, results
from foveal.errors import FovealError, InputError
from foveal.settings import expanded

if TYPE_CHECKING:
    from foveal.settings import Settings
    from foveal.training.kept import Trained


def register(app: typer.Typer) -> None:
    """Put this module's commands into `app`."""
    app.command("list")(listed)
    app.command("remove")(removed)


def listed(home: Home = None, as_json: AsJson = False) -> None:
    """List what was trained here, the last first: whether it is kept, and what it changed on what was held out."""
    from foveal.settings import Settings
    from foveal.training.kept import trained

    found = trained(Settings.load(home).home)
    if as_json:
        print_json([_plain(one) for one in found])
        return
    console = results()
    if not found:
        console.print("Nothing was trained here yet. See: foveal train --help")
        return
    from rich.table import Table
    from rich.text import Text

    from foveal.evaluation.tables import shown

    table = Table("name", "what", "state", "held out", "before", "after", "when", box=None, pad_edge=False)
    for one in found:
        metric, before, after = one.told or ("", None, None)
        values = ("" if value is None else shown(value) for value in (before, after))
        cells = (one.name, one.what, _state(one), metric, *values, f"{one.when.astimezone():%Y-%m-%d %H:%M}")
        table.add_row(*map(Text, cells))
    console.print(table)


def _state(one: Trained) -> str:
    from foveal.training.kept import KEPT

    return one.state if one.state == KEPT or one.model is None else f"{one.state}; the one before stays"


def removed(
    name: Annotated[str, typer.Argument(help="A name that `foveal train list` shows.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Remove a model that was trained here, with its run: curves, figures, checkpoints."""
    from foveal.settings import Settings
    from foveal.training.kept import remove

    settings = Settings.load(home)
    _require_unused(name, settings)
    gone = remove(settings.home, name)
    if as_json:
        print_json([str(one) for one in gone])
        return
    for folder in gone:
        results().print(f"Removed: {folder}", markup=False, soft_wrap=True)


def _require_unused(name: str, settings: Settings) -> None:
    """InputError: this home's library was made with that encoder."""
    try:
        used = str(open_library(settings).store.settings["encoder"])
    except FovealError:  # there is no library
        return
    if used == name or expanded(used) == settings.home / "models" / name:
        raise InputError(
            f"The library of {settings.home} was made with the encoder {name}, and cannot be searched by meaning "
            "without it. Make the library anew with another encoder first."
        )


def _plain(one: Trained) -> dict[str, Any]:
    told = one.told
    decided = None if told is None else dict(zip(("metric", "before", "after"), told, strict=True))
    model: Path | None = one.model
    return {
        "name": one.name, "what": one.what, "state": one.state, "when": one.when, "decided_by": decided,
        "measured": one.measured, "model": None if model is None else str(model),
    }  # fmt: skip
