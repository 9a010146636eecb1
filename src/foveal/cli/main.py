"""The command `foveal`: its tree, and the one place where an error becomes a line on standard error.

Exit status: 0 done; 1 a FovealError, or a bench that fell short; 2 wrong usage, or a bench that cannot be run;
3 research that could make no report; 4 a report with claims that are not supported; 130 stopped by Ctrl-C.
A command's module is imported when the command is named, all of them for help and completion; what is heavy is imported
inside the command.
"""

from __future__ import annotations

import errno
import logging
import os
import re
import sys
from collections.abc import Callable, Mapping, Sequence
from copy import copy
from importlib import import_module
from itertools import dropwhile
from typing import TYPE_CHECKING, Annotated

import typer
from typer.main import get_command_name

from foveal import __version__
from foveal.cli.output import log_to_stderr, logs_json, notes, open_streams
from foveal.errors import FovealError

INTERRUPTED = 130
OF_THE_MACHINE = (
    *(errno.EACCES, errno.EPERM, errno.EROFS, errno.ENOSPC, errno.EDQUOT, errno.EIO),
    *(errno.ENAMETOOLONG, errno.EISDIR, errno.ENOTDIR),
)
"""Failures of a path or a disk that a person can mend, and no fault of the program."""

NO_MEMORY = re.compile("can't allocate memory|out of memory")
"""Of torch, on a processor and on a GPU."""

LARGE_PAGES = "THP_MEM_ALLOC_ENABLE"
"""Read by torch, which then takes memory from the system by 2 MB instead of by 4 kB: weights load and pack faster."""

WHAT = "Foveal reads everything and looks only where it matters: it finds the passage, and answers with the place."

COMMANDS: Mapping[str, tuple[str, ...]] = {
    "library": ("add", "search", "show", "rename", "remove", "stats"),
    "listing": ("list",),
    "reading": ("read",),
    "asking": ("ask",),
    "calibrating": ("calibrate",),
    "events": ("events", "ab"),
    "judge": ("judge",),
    "segment": ("segment",),
    "models": ("models",),
    "prefill": ("prefill",),
    "serve": ("serve",),
    "mcp": ("mcp",),
    "demo": ("demo",),
    "classes": ("classify",),
    "bench": ("bench",),
    "stiffness": ("stiffness",),
}
"""Module of `foveal.cli` -> the commands that its `register` adds, in the order of `foveal --help`."""

GROUPS = ("admin", "train", "headline", "heads", "papers", "digest", "research")
"""Modules whose `app` is a command with commands of its own, of the same name."""


def _version(asked: bool) -> None:
    if asked:
        typer.echo(f"foveal {__version__}")
        raise typer.Exit


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


def tree(words: Sequence[str] = ()) -> typer.Typer:
    """The commands: the one alone that the words begin with, or all of them where they name none.

    To import all modules, and to make of their functions what Typer makes of them, takes longer than many a command.
    Help, completion and misspelt names need it.
    """
    name = words[0] if words else ""
    own = [module for module, names in COMMANDS.items() if name in names]
    app = typer.Typer(
        name="foveal",
        help=WHAT,
        no_args_is_help=True,
        rich_markup_mode="rich",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )
    app.callback()(options)
    for module in own or ([] if name in GROUPS else COMMANDS):
        import_module(f"foveal.cli.{module}").register(app)
    for group in [name] if name in GROUPS else [] if own else GROUPS:
        app.add_typer(import_module(f"foveal.cli.{group}").app, name=group)
    return _narrowed(app, words)


def _narrowed(whole: typer.Typer, words: Sequence[str]) -> typer.Typer:
    name = words[0] if words else ""
    commands = [one for one in whole.registered_commands if name == (one.name or _name_of(one.callback))]
    groups = [one for one in whole.registered_groups if name == one.name]
    if len(commands) + len(groups) != 1:
        return whole
    narrow = copy(whole)
    narrow.registered_commands, narrow.registered_groups = commands, [copy(one) for one in groups]
    for group in narrow.registered_groups:
        assert group.typer_instance is not None
        group.typer_instance = _narrowed(group.typer_instance, words[1:])
    return narrow


def _name_of(function: Callable[..., object] | None) -> str:
    return "" if function is None else get_command_name(function.__name__)


if not TYPE_CHECKING:

    def __getattr__(name: str) -> object:
        """`app`: all commands, made when they are asked for."""
        if name != "app":
            raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
        globals()[name] = made = tree()
        return made


def run() -> None:
    """The entry point of `foveal`."""
    open_streams()
    os.environ.setdefault(LARGE_PAGES, "1")
    try:
        tree(list(dropwhile(FLAGS.__contains__, sys.argv[1:])))()
    except FovealError as error:
        _tell(str(error))
        sys.exit(1)
    except Exception as error:
        if _by_ctrl_c(error):
            _tell_stopped()
            sys.exit(INTERRUPTED)
        if (said := _of_database(error) or _of_machine(error) or _of_size(error)) is None:
            raise
        logging.getLogger(__name__).debug("Where it came up", exc_info=error)
        _tell(said)
        sys.exit(1)
    except (KeyboardInterrupt, SystemExit) as stop:
        code = INTERRUPTED if isinstance(stop, KeyboardInterrupt) else stop.code  # the one while commands are made
        if code == INTERRUPTED:
            _tell_stopped()
        sys.exit(code)


def _tell_stopped() -> None:
    notes().print("Stopped. What was reported done is kept; run the same command again to go on.")


def _by_ctrl_c(error: BaseException | None) -> bool:
    """Whether an error came of Ctrl-C: libraries that load their parts when used tell it as a part that is missing."""
    seen: list[BaseException] = []
    while error is not None and error not in seen and not isinstance(error, KeyboardInterrupt):
        seen.append(error)
        error = error.__cause__ or error.__context__
    return isinstance(error, KeyboardInterrupt)


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
    return f"{place}{error.strerror}. Name another path, or see that there is room, and the right to read and write."


def _of_size(error: Exception) -> str | None:
    """What to say of a number that is larger than can be, or than the memory; None: the error is another's, or ours."""
    text = str(error)
    if isinstance(error, MemoryError) or (isinstance(error, RuntimeError) and NO_MEMORY.search(text)):
        return "The memory does not suffice for this. Ask for smaller sizes, or for less at once, and run it again."
    if isinstance(error, OverflowError) or (isinstance(error, TypeError) and "Overflow when unpacking" in text):
        return "A number that was given is larger than any that can be. Give a smaller one."
    return None


def _escaped(text: str) -> str:
    from rich.markup import escape

    return escape(text)
