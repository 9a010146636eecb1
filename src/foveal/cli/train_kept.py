"""train list, use, remove: what was trained in a home, what it changed, which ranker all searches use, taking back."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import AsJson, Home, notes, open_library, print_json, results
from foveal.errors import InputError, NoLibrary
from foveal.settings import expanded

if TYPE_CHECKING:
    from foveal.settings import Settings
    from foveal.training.kept import Trained


def register(app: typer.Typer) -> None:
    """Put this module's commands into `app`."""
    app.command("list")(listed)
    app.command("use")(used)
    app.command("remove")(removed)


def listed(home: Home = None, as_json: AsJson = False) -> None:
    """List what was trained here, the last first: whether it is kept, and what it changed on what was held out."""
    from foveal.settings import Settings
    from foveal.training.kept import trained

    settings = Settings.load(home)
    found = trained(settings.home)
    if as_json:
        print_json([_plain(one, settings) for one in found])
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
        cells = (one.name, one.what, _state(one, settings), metric, *values, f"{one.when.astimezone():%Y-%m-%d %H:%M}")
        table.add_row(*map(Text, cells))
    for column in table.columns:
        column.overflow = "fold"
    console.print(table)


def _state(one: Trained, settings: Settings) -> str:
    from foveal.ranking.chosen import uses
    from foveal.training.kept import KEPT

    state = one.state if one.state == KEPT or one.model is None else f"{one.state}; the one before stays"
    return f"{state}; orders searches" if uses(settings, one.name) else state


def used(
    name: Annotated[
        str | None,
        typer.Argument(help='A ranker: a name that `foveal train list` shows, or all that --rank takes; "none": none.'),
    ] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Let a ranker order every search of this home that names neither --rank nor --retriever; or show which one does.

    Search, ask, research, the site and `Library.search` use it from then on, a server that runs from its next search.
    It is a line of foveal.toml.
    """
    from foveal.ranking.by_name import load_ranker
    from foveal.ranking.chosen import NONE, choose
    from foveal.settings import Settings

    settings = Settings.load(home)
    if name is not None:
        if name != NONE:
            _require_no_encoder(name, settings)
            with notes().status("Loading the ranker …"):
                load_ranker(name, home=settings.home)  # what cannot be loaded would end every search
        path = choose(settings.home, name)
        settings = Settings.load(home)
        if (settings.ranker or NONE) != name:
            notes().print(f"{path} says so now, but the variable FOVEAL_RANKER goes before it.", markup=False)
    if as_json:
        print_json({"ranker": settings.ranker or None})
    elif settings.ranker:
        said = f"Searches are ordered by {settings.ranker}. As they were found: foveal train use none"
        results().print(said, markup=False, soft_wrap=True)
    else:
        results().print("Searches show passages as they are found. To order them: foveal train use NAME")


def _require_no_encoder(name: str, settings: Settings) -> None:
    """InputError: it was trained here, and finds passages: the library is to be encoded by it."""
    from foveal.ranking.by_name import trained_rankers

    place = settings.home / "models" / name
    if (place / "modules.json").is_file() and name not in trained_rankers(settings.home):
        raise InputError(
            f"{name} is an encoder, and orders nothing: it makes the vectors that searches go by. Encode the library "
            f"anew with it: foveal admin encoder {name}"
        )


def removed(
    name: Annotated[str, typer.Argument(help="A name that `foveal train list` shows.")],
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Remove a model that was trained here, with its run (curves, figures, checkpoints) and its indexes of passages."""
    from foveal.retrieval.passage_files import remove_of_model
    from foveal.settings import Settings
    from foveal.training.kept import remove

    settings = Settings.load(home)
    _require_unused(name, settings)
    gone = [*remove(settings.home, name), *remove_of_model(settings.home, settings.home / "models" / name)]
    if as_json:
        print_json([str(one) for one in gone])
        return
    for folder in gone:
        results().print(f"Removed: {folder}", markup=False, soft_wrap=True)


def _require_unused(name: str, settings: Settings) -> None:
    """InputError: this home's library was made with that encoder, or its searches are ordered by that ranker."""
    from foveal.ranking.chosen import uses

    if uses(settings, name):
        raise InputError(
            f"Searches of {settings.home} are ordered by {settings.ranker}. Choose another ranker first (foveal train "
            "use NAME), or none (foveal train use none)."
        )
    try:
        used = str(open_library(settings).store.settings["encoder"])
    except NoLibrary:
        return
    if used == name or expanded(used) == settings.home / "models" / name:
        raise InputError(
            f"The library of {settings.home} was made with the encoder {name}, and cannot be searched by meaning "
            "without it. Encode it with another one first, such as foveal admin encoder minilm."
        )


def _plain(one: Trained, settings: Settings) -> dict[str, Any]:
    from foveal.ranking.chosen import uses

    told = one.told
    decided = None if told is None else dict(zip(("metric", "before", "after"), told, strict=True))
    model: Path | None = one.model
    return {
        "name": one.name, "what": one.what, "state": one.state, "when": one.when, "decided_by": decided,
        "measured": one.measured, "model": None if model is None else str(model),
        "orders_searches": uses(settings, one.name),
    }  # fmt: skip
