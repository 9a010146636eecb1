"""The box of an experiment: a script that limits its own process, closes what leads out of it, and then runs the code.

    python -s -P experiment_box.py '{"seed": 0, "seconds": 60, "memory_mb": 1024, "file_mb": 16}'

It is run by experiment.py in the folder of the experiment, and imports nothing of ours. Its first line on standard
error says how the network is kept out: "box: namespace" (Linux, where users may make namespaces) or "box: refusal".
"""

from __future__ import annotations

import _posixsubprocess
import ctypes
import json
import os
import random
import resource
import signal
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

CLONE_NEWUSER, CLONE_NEWNET = 0x10000000, 0x40000000
REFUSED = (
    "socket.", "subprocess.", "os.system", "os.exec", "os.fork", "os.posix_spawn", "os.spawn", "os.kill", "os.putenv",
    "ctypes.", "pty.", "ftplib.", "smtplib.", "urllib.", "http.", "webbrowser.", "signal.pthread_kill", "sqlite3.",
)  # fmt: skip
CHANGES = (
    "os.remove", "os.rename", "os.rmdir", "os.mkdir", "os.link", "os.symlink", "os.truncate", "os.chmod", "os.chown",
    "os.utime", "os.setxattr", "os.removexattr", "shutil.",
)  # fmt: skip
LOOKS = ("os.listdir", "os.scandir", "glob.")
OPENERS = ("_gdbm", "_dbm")
"""Modules that open files by themselves, which no hook hears of."""

MOST_FILES = 256
"""Files that are written."""


def limited(seconds: int, memory_mb: int, file_mb: int) -> None:
    """Set limits that cannot be raised again."""
    for what, most in (
        (resource.RLIMIT_AS, memory_mb * 2**20),
        (resource.RLIMIT_FSIZE, file_mb * 2**20),
        (resource.RLIMIT_NOFILE, 64),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(what, (most, most))
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds + 1))  # SIGXCPU comes below the hard limit only


def without_network() -> bool:
    """Leave the network for a namespace without any; whether that was allowed."""
    unshare = getattr(ctypes.CDLL(None, use_errno=True), "unshare", None)
    return unshare is not None and unshare(CLONE_NEWUSER | CLONE_NEWNET) == 0


def ends_with_its_parent() -> None:
    """On Linux: be killed when the process that began this one is gone. Changing namespaces takes that back."""
    prctl = getattr(ctypes.CDLL(None), "prctl", None)
    if prctl is not None:
        prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG


def no_process(*_: Any) -> int:
    """In the place of what begins processes below `subprocess`, where no hook hears of it."""
    raise PermissionError("An experiment may not begin a process.")


def inside(path: Any, places: Sequence[str]) -> bool:
    """Whether a path, or an open file's number, lies in one of some folders."""
    if isinstance(path, int):
        return True
    full = os.path.realpath(os.fsdecode(path))
    return any(full == place or full.startswith(place + os.sep) for place in places)


def guard(folder: str, libraries: Sequence[str]) -> Callable[[str, tuple[Any, ...]], None]:
    """The audit hook: refuses what leads out of the folder."""
    readable = [folder, *libraries]
    written: set[str] = set()

    def hook(event: str, arguments: tuple[Any, ...]) -> None:
        if event.startswith(REFUSED) or (event == "import" and arguments[0] in OPENERS):
            raise PermissionError(f"An experiment may not use {arguments[0] if event == 'import' else event}.")
        paths = [one for one in arguments if isinstance(one, (str, bytes, os.PathLike))]
        if event == "open" and arguments[0] is not None:
            refused = not inside(arguments[0], [folder] if writes(arguments) else readable)
            if writes(arguments) and paths and not refused:
                written.add(os.path.realpath(os.fsdecode(paths[0])))
                if len(written) > MOST_FILES:
                    raise PermissionError(f"An experiment may not write more than {MOST_FILES} files.")
        elif event.startswith(CHANGES):
            refused = not all(inside(one, [folder]) for one in paths)
        else:
            refused = event.startswith(LOOKS) and not all(inside(one, readable) for one in paths[:1])
        if refused:
            raise PermissionError(f"An experiment may not {event} {paths!r}: it lies outside of its folder.")

    return hook


def writes(arguments: tuple[Any, ...]) -> bool:
    """Whether a file is opened to be written."""
    _, mode, flags = arguments
    return any(sign in str(mode or "r") for sign in "wax+") or bool(
        (flags or 0) & (os.O_WRONLY | os.O_RDWR | os.O_CREAT)
    )


def main() -> None:
    """Limit, close, run."""
    told = json.loads(sys.argv[1])
    folder = os.path.realpath(".")
    libraries = [os.path.realpath(one) for one in sorted({sys.prefix, sys.base_prefix, *sys.path}) if one]
    libraries = [one for one in libraries if one not in (os.sep, folder)]
    sys.stderr.write(f"box: {'namespace' if without_network() else 'refusal'}\n")
    sys.stderr.flush()
    ends_with_its_parent()
    limited(told["seconds"], told["memory_mb"], told["file_mb"])
    random.seed(told["seed"])
    code = compile(Path("experiment.py").read_text(encoding="utf-8"), "experiment.py", "exec")
    sys.argv = ["experiment.py"]
    _posixsubprocess.fork_exec = no_process
    sys.addaudithook(guard(folder, libraries))
    exec(code, {"__name__": "__main__", "__file__": "experiment.py", "SEED": told["seed"]})


if __name__ == "__main__":
    main()
