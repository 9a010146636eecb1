"""What every command prints with: a console for results, one for all else, JSON, and the options that all share."""

from __future__ import annotations

import json
import logging
import os
import sys
from collections.abc import Collection, Mapping, Sequence
from contextlib import nullcontext, suppress
from dataclasses import asdict, is_dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from foveal.cli.characters import CONTROL, plain
from foveal.settings import store_uri

if TYPE_CHECKING:
    from rich.console import Console
    from rich.progress import Progress

    from foveal.library import Library
    from foveal.settings import Settings


def at_home(context: typer.Context, home: Path | None) -> Path | None:
    """The home is that of the whole command: a model trained there is found by name, however deep it is asked for."""
    if home is not None and store_uri(home) is None:
        before = os.environ.get("FOVEAL_HOME")
        os.environ["FOVEAL_HOME"] = str(home)
        context.call_on_close(lambda: _set_home(before))
    return home


def _set_home(home: str | None) -> None:
    os.environ.pop("FOVEAL_HOME", None)
    if home is not None:
        os.environ["FOVEAL_HOME"] = home


Home = Annotated[
    Path | None,
    typer.Option(
        "--home",
        callback=at_home,
        help="Folder of the library and all of Foveal's files; s3://BUCKET/PATH for a library on an object store.",
        envvar="FOVEAL_HOME",
        show_default=False,
    ),
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON, for other programs.")]

UNCUT = 10_000
"""Columns of a table that a program reads (unless COLUMNS says): rich takes 80, and cuts words off to fit."""


NARROW = 76
"""Columns of a terminal below which a table leaves out what can be spared."""


def echo(text: str) -> None:
    """`text` on standard output: to the character where a program reads it, plain where a person does."""
    sys.stdout.write(plain(text) if sys.stdout.isatty() else text)


def open_streams() -> None:
    """Let the standard streams take any text: a closed one leads nowhere, what an encoding lacks is a "?"."""
    for name, mode in (("stdin", "r"), ("stdout", "w"), ("stderr", "w")):
        stream = getattr(sys, name)
        if stream is None:  # closed by the shell (>&-), or by what started us
            setattr(sys, name, open(os.devnull, mode, encoding="utf-8"))  # noqa: SIM115, PTH123 (open to the end)
        elif getattr(stream, "errors", None) in ("strict", "surrogateescape"):
            with suppress(AttributeError, ValueError):  # a test's stream
                stream.reconfigure(errors="replace")


def results() -> Console:
    """The console for what was asked for: standard output; not wrapped or cut where no person reads it."""
    from foveal.cli.terminal import PlainConsole

    read = sys.stdout.isatty()
    width = None if read or "COLUMNS" in os.environ else UNCUT
    return PlainConsole(highlight=False, emoji=False, soft_wrap=not read, width=width)


def notes() -> Console:
    """The console for progress and remarks: standard error."""
    from foveal.cli.terminal import PlainConsole

    return PlainConsole(stderr=True, highlight=False, emoji=False)


def print_json(value: Any) -> None:
    """`value` as JSON on standard output; dataclasses as objects, times in ISO format."""
    other = not (sys.stdout.encoding or "utf-8").lower().startswith("utf")
    text = json.dumps(value, default=_plain, ensure_ascii=other, indent=2)
    sys.stdout.write(_escaped(text) + "\n")


def _escaped(text: str) -> str:
    """JSON with the control characters that `json` leaves as they are: those from 7f on."""
    return CONTROL.sub(lambda found: f"\\u{ord(found[0]):04x}", text)


def _plain(value: Any) -> Any:
    if is_dataclass(value) and not isinstance(value, type):
        return asdict(value)
    if isinstance(value, datetime):
        return value.isoformat()
    if isinstance(value, Mapping):
        return dict(value)
    return str(value)


def open_library(home: Path | Settings | None, *, said: bool = True) -> Library:
    """The library that a command reads, of a home or by its settings; it must exist.

    `said`: a remark shows while it opens, and what opens it is imported: off inside of another remark.
    """
    with notes().status("Opening the library …") if said else nullcontext():
        from foveal.library import Library
        from foveal.settings import Settings

        return Library.open(create=False, **({"settings": home} if isinstance(home, Settings) else {"home": home}))


def has_library(settings: Settings) -> bool:
    """Whether the home has a library, which a trained encoder may encode anew."""
    return settings.library_at != "home" or settings.library.is_dir()


def print_table(rows: Sequence[Sequence[str]], *, spare: Collection[str], narrow: int = NARROW) -> None:
    """A head and rows as a table on standard output; below `narrow` columns of a terminal `spare` ones are left out.

    Nothing is cut off: addresses and paths are there to be typed again. The column "id" stays in one line.
    """
    from rich.table import Table
    from rich.text import Text

    console = results()
    kept = [place for place, name in enumerate(rows[0]) if console.width >= narrow or name not in spare]
    table = Table(box=None, pad_edge=False)
    for place in kept:
        whole = max(len(row[place]) for row in rows) if rows[0][place] == "id" else None
        table.add_column(rows[0][place], no_wrap=whole is not None, min_width=whole, overflow="fold")
    for row in rows[1:]:
        table.add_row(*(Text(row[place]) for place in kept))  # Text: a title may look like markup
    console.print(table)


def progress_bar() -> Progress:
    """A bar on standard error: what, how far, how long it will take; lines at intervals where that is no terminal."""
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.table import Column

    from foveal.cli.progress_lines import ProgressLines, TimeLeft

    console = notes()
    if not console.is_terminal:
        return ProgressLines(console=console, logged=logs_json())
    columns = (
        SpinnerColumn(),
        TextColumn("{task.description}", markup=False),  # a file may be called [bold]
        BarColumn(bar_width=24),
        *(one(table_column=Column(no_wrap=True)) for one in (MofNCompleteColumn, TimeElapsedColumn, TimeLeft)),
    )
    return Progress(*columns, console=console, transient=True)


def below_title(heading: str | None, title: str) -> str:
    """The path of headings below a document's title, beside which it is shown; "" where the title is all of it."""
    return "" if heading == title else (heading or "").removeprefix(f"{title} > ")


def shortened(text: str, most: int) -> str:
    """A text in one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"


def size(count: int) -> str:
    """A number of bytes as a person says it: "3.1 MB"."""
    for unit, factor in (("GB", 10**9), ("MB", 10**6), ("kB", 10**3)):
        if count >= factor:
            return f"{count / factor:.1f} {unit}"
    return f"{count} bytes"


def log_to_stderr(verbosity: int, *, as_json: bool) -> None:
    """Send the package's log to standard error: warnings, with -v progress, with -vv everything."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines() if as_json else Lines("%(levelname)s %(name)s: %(message)s"))
    logger = logging.getLogger("foveal")
    logger.handlers = [handler]
    logger.setLevel([logging.WARNING, logging.INFO, logging.DEBUG][min(verbosity, 2)])


def logs_json() -> bool:
    """Whether the log was asked for as JSON (`--log-json`)."""
    return any(isinstance(one.formatter, JsonLines) for one in logging.getLogger("foveal").handlers)


def json_to_stderr(*loggers: str) -> None:
    """Send these loggers to standard error as JSON lines, at the levels that they have."""
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    for name in loggers:
        logging.getLogger(name).handlers = [handler]


class Lines(logging.Formatter):
    """A record in words; a title in it cannot steer the terminal."""

    def format(self, record: logging.LogRecord) -> str:
        return plain(super().format(record))


class JsonLines(logging.Formatter):
    """One JSON object a line; a record's `told`, a mapping, adds fields of its own."""

    def format(self, record: logging.LogRecord) -> str:
        moment = datetime.fromtimestamp(record.created, UTC).isoformat()
        line = {"time": moment, "level": record.levelname, "logger": record.name, "message": record.getMessage()}
        line |= getattr(record, "told", {})
        if record.exc_info:
            line["error"] = self.formatException(record.exc_info)
        return _escaped(json.dumps(line, ensure_ascii=False))
