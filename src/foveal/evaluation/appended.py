"""Lines that are added to a file one by one, by several processes, each on the disk before anybody is told of it.

with locked(path) as file:
    whole = …                                   # bytes of the whole lines in file.read()
    append(file, line, after=whole, …)          # what stands behind them was cut off by a kill, and goes
"""

from __future__ import annotations

import errno
import fcntl
import io
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from foveal.errors import InputError, StorageFull

_FULL = (errno.ENOSPC, errno.EDQUOT)


@contextmanager
def locked(path: Path, *, instead: str) -> Iterator[io.FileIO]:
    """The file, made where it is not there, opened to read and add to it, while no other process does.

    InputError: it cannot be written; `instead` says what to do.
    """
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("a+b", buffering=0)
    except OSError as error:
        raise InputError(f"{path} cannot be written ({error.strerror}). {instead}") from error
    with file:
        fcntl.flock(file, fcntl.LOCK_EX)  # released when the file is closed
        file.seek(0)
        yield file


def append(file: io.FileIO, line: bytes, *, after: int, path: Path, again: str) -> None:
    """Put `line` behind the first `after` bytes, and force it to the disk; else these bytes stay as they were.

    StorageFull: no space; `again` says what to do then. InputError: the file cannot be written.
    """
    os.ftruncate(file.fileno(), after)
    try:
        if file.write(line) < len(line):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        os.fsync(file.fileno())
    except OSError as error:
        os.ftruncate(file.fileno(), after)
        if error.errno in _FULL:
            raise StorageFull(f"No space is left for {path}. Free some and {again}.") from error
        raise InputError(f"{path} cannot be written ({error.strerror}).") from error
