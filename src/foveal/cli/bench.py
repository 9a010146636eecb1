"""bench: each system beside its bar and its peers, measured on this machine."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from foveal.cli.output import Home, notes, print_json, results
from foveal.registry import BENCHES


def register(app: typer.Typer) -> None:
    """Put this module's command into `app`."""
    app.command()(bench)


def bench(
    name: Annotated[str, typer.Argument(help=f"One of {', '.join(BENCHES)}.")],
    data: Annotated[
        Path | None, typer.Option(envvar="FOVEAL_DATA", help="Folder of data sets (see docs/benchmarks.md).")
    ] = None,
    json_file: Annotated[Path | None, typer.Option("--json", help="Write the rows to this file, too.")] = None,
    home: Home = None,
    quick: Annotated[bool, typer.Option("--quick", help="Fewer samples: minutes instead of up to an hour.")] = False,
    as_json: Annotated[bool, typer.Option("--print-json", help="Print JSON instead of the table.")] = False,
) -> None:
    """Measure a part of Foveal beside its peers; exit status 1 when a figure falls short, 2 when it cannot be run."""
    from rich.text import Text

    from foveal.bench.runner import run
    from foveal.bench.settings import BenchSettings, default_data
    from foveal.errors import FovealError
    from foveal.evaluation.tables import Row, table
    from foveal.settings import Settings

    settings = BenchSettings(data=data or default_data(), quick=quick, cache=Settings.load(home).cache / "bench")
    console = results()

    def show(row: Row) -> None:
        if not as_json:
            console.print(f"{row.system}: {row.metric} = {row.value:.4g}", markup=False, style="dim")

    try:
        report = run(name, settings, json=json_file, on_row=show)
    except (FovealError, UnicodeDecodeError) as error:  # 1 says that a figure fell short, and none did
        said = _not_utf8(error, settings.data) if isinstance(error, UnicodeDecodeError) else str(error)
        notes().print(Text.assemble(("Error:", "bold red"), f" {said}"), soft_wrap=True)
        raise typer.Exit(2) from error
    if as_json:
        print_json(report.as_json())
    else:
        console.print(table(report.rows, title=f"foveal bench {name}"))
    if not report.ok:
        raise typer.Exit(1)


def _not_utf8(error: UnicodeDecodeError, data: Path) -> str:
    """What to do with a file of the data sets that benches take for text; by its beginning it is found."""
    begins = bytes(error.object[:60]).decode("latin-1")
    return (
        f"A file of the data in {data} is not UTF-8 (its byte {error.start:,} is {error.object[error.start]:#x}): the "
        f"one that begins {begins!r}. Convert it, as by iconv -f latin1 -t utf-8."
    )
