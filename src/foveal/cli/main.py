"""The command `foveal`: its tree, and the one place where an error becomes a line on standard error.

Exit status: 0 done; 1 a FovealError, or a bench that fell short; 2 wrong usage, or a bench that cannot be run;
3 research that could make no report; 4 a report with claims that are not supported; 130 stopped by Ctrl-C.
A command's module is imported with the tree; what is heavy is imported inside the command.
"""

from __future__ import annotations

import errno
import logging
import os
import sys
from collections.abc import Callable, Sequence
from copy import copy
from itertools import dropwhile
from typing import Annotated

import typer
from typer.main import get_command_name

from foveal import __version__
from foveal.cli import (
    admin,
    asking,
    bench,
    calibrating,
    classes,
    demo,
    digest,
    events,
    headline,
    heads,
    judge,
    library,
    listing,
    models,
    papers,
    prefill,
    reading,
    research,
    segment,
    serve,
    stiffness,
    train,
)
from foveal.cli.output import log_to_stderr, logs_json, notes, open_streams
from foveal.errors import FovealError

INTERRUPTED = 130
OF_THE_MACHINE = tuple(
    getattr(errno, f"E{name}") for name in ["ACCES", "PERM", "ROFS", "NOSPC", "DQUOT", "NAMETOOLONG", "ISDIR", "NOTDIR"]
)
"""Failures of a path or a disk that a person can mend, and no fault of the program."""

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Read by torch, which then takes memory from the system by 2 MB instead of by 4 kB: weights load and pack faster."""

app = typer.Typer(
    name="foveal",
    help="Foveal reads everything and looks only where it matters: it finds the passage, and answers with the place.",
    no_args_is_help=True,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)
for group in (library, listing, reading, asking, calibrating, events, judge, segment, models, prefill, serve, demo):
    group.register(app)
for group in (classes, bench, stiffness):
    group.register(app)
app.add_typer(admin.app, name="admin")
app.add_typer(train.app, name="train")
app.add_typer(headline.app, name="headline")
calibrating.register_heads(heads.app)
app.add_typer(heads.app, name="heads")
app.add_typer(papers.app, name="papers")
app.add_typer(digest.app, name="digest")
app.add_typer(research.app, name="research")


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"foveal {__version__}")
        raise typer.Exit


@app.callback()
def options(
    verbose: Annotated[int, typer.Option("-v", "--verbose", count=True, help="Say more; -vv says all.")] = 0,
    log_json: Annotated[bool, typer.Option("--log-json", help="Log as JSON lines.")] = False,
    version: Annotated[  # noqa: ARG001
        bool, typer.Option("--version", help="Print the version.", callback=_version, is_eager=True)
    ] = False,
) -> None:
    """Options before the command."""
    log_to_stderr(verbose, as_json=log_json)


FLAGS = frozenset({"-v", "-vv", "--verbose", "--log-json"})
"""Words before a command that only set something."""


def narrowed(tree: typer.Typer, words: Sequence[str]) -> typer.Typer:
    """The tree with the one command that the words begin with, or as it is where they name none.

    What a Typer makes of its functions takes longer than many a command: it is made of the one that runs. Help,
    completion and misspelt names get the whole tree.
    """
    name = words[0] if words else ""
    commands = [one for one in tree.registered_commands if name == (one.name or _name_of(one.callback))]
    groups = [one for one in tree.registered_groups if name == one.name]
    if len(commands) + len(groups) != 1:
        return tree
    narrow = copy(tree)
    narrow.registered_commands, narrow.registered_groups = commands, [copy(one) for one in groups]
    for group in narrow.registered_groups:
        assert group.typer_instance is not None
        group.typer_instance = narrowed(group.typer_instance, words[1:])
    return narrow


def _name_of(function: Callable[..., object] | None) -> str:
    return "" if function is None else get_command_name(function.__name__)


def _asked() -> typer.Typer:
    """The tree for the words of the command line."""
    return narrowed(app, list(dropwhile(FLAGS.__contains__, sys.argv[1:])))


def run() -> None:
    """The entry point of `foveal`."""
    open_streams()
    os.environ.setdefault(LARGE_PAGES, "1")
    try:
        _asked()()
    except FovealError as error:
        _tell(str(error))
        sys.exit(1)
    except Exception as error:
        if (said := _of_database(error) or _of_machine(error)) is None:
            raise
        logging.getLogger(__name__).debug("Where it came up", exc_info=error)
        _tell(said)
        sys.exit(1)
    except SystemExit as stop:
        if stop.code == INTERRUPTED:
            notes().print("Stopped. What was reported done is kept; run the same command again to go on.")
        raise


def _tell(wrong: str) -> None:
    """What went wrong: to a person, or in a log that is JSON throughout (`--log-json`)."""
    if logs_json():
        logging.getLogger("foveal").error("%s", wrong)
    else:
        notes().print(f"[bold red]Error:[/] {_escaped(wrong)}", soft_wrap=True)


def _of_database(error: Exception) -> str | None:
    """What to say of a database that is damaged, full, locked or away; None: the error is another's, or ours."""
    module = sys.modules.get("sqlalchemy.exc")  # loaded, where one of its errors came up
    if module is None or not isinstance(error, module.DBAPIError) or isinstance(error, module.ProgrammingError):
        return None
    return (
        f"The database cannot be used just now ({str(error.orig)[:200]}). Check that it is there, that the disk has "
        "room, and that no other program holds it; if it is damaged, put it back (foveal admin restore)."
    )


def _of_machine(error: Exception) -> str | None:
    """What to say of a path, a disk or a right that is not as it must be; None: the error is another's, or ours."""
    if not isinstance(error, OSError) or error.errno not in OF_THE_MACHINE:
        return None
    named = error.filename2 or error.filename  # of a file that takes another's place, that one
    place = f"{str(named)[:200]!r} cannot be used: " if named else ""
    return f"{place}{error.strerror}. Name another path, or see that there is room, and the right to write."


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
