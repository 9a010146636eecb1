"""stiffness: where in its depth a model changes what it reads."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.output import AsJson, Home, notes, print_json, progress_bar, results
from foveal.cli.pictures import drawable
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.nn.stiffness import Stiffness

PARTS = {"blocks": "a whole layer", "branches": "its attention and its MLP each"}


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(stiffness)


def stiffness(
    model: Annotated[
        str, typer.Argument(help="A decoder or an encoder: of `foveal models`, trained here, a folder, or a hub id.")
    ],
    text: Annotated[
        Path | None, typer.Option(help="A text to read; without one, pages of Python's manual.", dir_okay=False)
    ] = None,
    windows: Annotated[int, typer.Option(min=1, help="Pieces of the text that are read.")] = 4,
    tokens: Annotated[int, typer.Option(min=2, help="Tokens of a piece.")] = 256,
    parts: Annotated[
        str, typer.Option(help=f"What is a block: {'; '.join(f'{name}: {what}' for name, what in PARTS.items())}.")
    ] = "blocks",
    jacobian: Annotated[bool, typer.Option("--jacobian", help="JI, too: stiffness proper; takes minutes.")] = False,
    picture: Annotated[
        Path | None, typer.Option(help="Draw the curves there, as PNG.", dir_okay=False, callback=drawable)
    ] = None,
    csv: Annotated[Path | None, typer.Option(help="Write the table there, as CSV.", dir_okay=False)] = None,
    home: Home = None,
    as_json: AsJson = False,
) -> None:
    """Show how fast and how stiff the layers of MODEL are: where in its depth it changes what it reads."""
    from foveal.models.hub import ANY, require_known
    from foveal.nn.stiffness import Parts
    from foveal.nn.stiffness import stiffness as measured
    from foveal.nn.stiffness_texts import batches, opened, text_of
    from foveal.settings import Settings

    if parts not in PARTS:
        raise typer.BadParameter(f"--parts got {parts!r}; there are {', '.join(PARTS)}.")
    settings = Settings.load(home)
    require_known(model, kind=ANY, home=settings.home)
    loaded = opened(model, settings)
    pieces = batches(loaded, text_of(text), windows=windows, tokens=tokens)
    with progress_bar() as bar:
        task = bar.add_task("Reading", total=len(pieces))

        def told() -> Any:
            for piece in pieces:
                yield piece
                bar.advance(task)
            if jacobian:
                bar.update(task, description="Jacobians", total=None)

        chosen: Parts = "branches" if parts == "branches" else "blocks"
        report = measured(loaded.model, told(), parts=chosen, jacobian=jacobian, name=loaded.name)
    if as_json:
        print_json(report.as_json())
    else:
        _print(report)
    for path, write in ((picture, report.plot), (csv, report.to_csv)):  # after it was shown: a full disk takes nothing
        if path is not None:
            _kept(path, write)


def _kept(path: Path, write: Callable[[Path], Path]) -> None:
    try:
        write(path)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror or error}). Name another file.") from error
    notes().print(f"Kept in {path}", markup=False, soft_wrap=True)


def _print(report: Stiffness) -> None:
    from rich.table import Table

    stiff = any(block.ji is not None for block in report.blocks)
    table = Table("block", "SI", "SI, 9 in 10 below", "LI", *(["JI"] if stiff else []), box=None, pad_edge=False)
    for block in report.blocks:
        cells = [block.si, block.si_90, block.li, *([block.ji] if stiff else [])]
        table.add_row(block.block, *("" if cell is None else f"{cell:.3f}" for cell in cells))
    console = results()
    console.print(table)
    fastest = ", ".join(report.fastest(min(3, len(report.blocks))))
    where = f"{report.units:,} {report.unit}s"
    console.print(
        f"SI: share of a {report.unit} that a block rewrites. LI: stiffness along the path."
        f"{' JI: stiffness; a step is stable below 2 / JI.' if stiff else ''}"
    )
    console.print(f"FSI {report.index:.3g}, the fastest block over the median, of {where}; fastest: {fastest}.")
