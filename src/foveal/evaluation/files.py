"""Files written whole or not at all: a write that a crash or Ctrl-C cuts short leaves the old file as it was.

And texts, lines of JSON, and rows of tables, read with the place of each, for messages; `.gz` is unpacked.
"""

from __future__ import annotations

import csv
import fcntl
import gzip
import json
import os
import secrets
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict
from pathlib import Path
from threading import Lock
from time import sleep
from typing import Any, TypeVar

from foveal.errors import InputError

Record = TypeVar("Record")

_limit = Lock()
"""How long a field of a CSV file may be is one number for the whole process."""


@contextmanager
def whole_file(path: Path, *, lasting: bool = False) -> Iterator[Path]:
    """A new empty file beside `path` to write into; it takes the place of `path` when the block ends without error.

    Its name ends as that of `path` does, since writers choose their format by it. Folders are made as needed. After a
    power cut a new file may be empty, unless it is `lasting`: for what a person gave and nobody can make again. Its
    folders are forced to the disk with it; that takes some milliseconds, and as long as the disk takes to write it.
    """
    missing = [one for one in path.parents if not one.exists()]
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.parent / f".partial-{secrets.token_hex(8)}{path.suffix}"
    partial.touch(0o666, exist_ok=False)  # less the umask, which can only be asked for by changing it for all threads
    mode = partial.stat().st_mode & 0o777
    try:
        yield partial
        partial.chmod(mode)  # a writer may have put a file of its own in its place
        if lasting:
            forced(partial)
        partial.replace(path)
        for folder in (path.parent, *(one.parent for one in missing)) if lasting else ():
            with suppress(OSError):  # a system that cannot force folders
                forced(folder)
    finally:
        partial.unlink(missing_ok=True)


def forced(path: Path) -> None:
    """Wait until a file, or a folder's names, lie on the disk. OSError: the system cannot do so, or the disk fails."""
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def stored_lines(path: Path, of: Callable[..., Record], *, what: str) -> list[Record]:
    """The records of a file of JSON lines, each made by `of`; none where there is no file.

    InputError: it holds no `what`.
    """
    if not path.exists():
        return []
    try:
        return [of(**json.loads(line)) for line in path.read_text(encoding="utf-8").splitlines()]
    except (OSError, ValueError, TypeError) as error:
        raise InputError(f"{path} holds no {what} ({error}). Remove it, or name another.") from error


def write_lines(path: Path, records: Iterable[Any]) -> None:
    """Write dataclasses as JSON lines, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text("".join(f"{json.dumps(asdict(record))}\n" for record in records), encoding="utf-8")


def present(folder: Path, name: str) -> Path:
    """The file of that name, or else the same with `.gz`."""
    return folder / name if (folder / name).is_file() else folder / f"{name}.gz"


def text_in(path: Path) -> str:
    """The text of a file; `.gz` is unpacked. InputError: it is not there, damaged, or not UTF-8."""
    try:
        content = path.read_bytes()
        return (gzip.decompress(content) if path.suffix == ".gz" else content).decode("utf-8-sig")
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def json_lines(path: Path) -> Iterator[tuple[str, Any]]:
    """Place (for errors) and content of each line that is not blank; `.gz` is unpacked. InputError: damaged."""
    opener = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig") as file:
            for number, line in enumerate(file, 1):
                if line.strip():
                    where = f"{path}, line {number},"
                    yield where, _content(line, where)
    except (OSError, EOFError, zlib.error, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: Exception) -> InputError:
    if isinstance(error, FileNotFoundError):
        return InputError(f"There is no file {path}. Check its spelling.")
    if isinstance(error, IsADirectoryError | PermissionError):
        return InputError(f"{path} cannot be read: {error.strerror}. Name a file that may be read.")
    if isinstance(error, UnicodeDecodeError):
        return InputError(f"{path} is not UTF-8 text ({error.reason}). Save it as UTF-8, or fetch it again.")
    return InputError(f"{path} cannot be read ({error}). It is cut off or damaged: fetch it again.")


def _content(line: str, where: str) -> Any:
    try:
        return json.loads(line)
    except (ValueError, RecursionError) as error:
        told = f"{error.msg} at column {error.colno}" if isinstance(error, json.JSONDecodeError) else error
        raise InputError(f"{where} cannot be read ({told}). It is cut off or damaged: fetch it again.") from error


def csv_rows(path: Path, needs: Sequence[str] = ()) -> Iterator[tuple[str, dict[str, str]]]:
    """Place and content of each row of a CSV file with a header (.tsv: tabs between); fields of any length.

    InputError: a column of `needs` is missing, or the file is damaged.
    """
    opener: Any = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rt", encoding="utf-8-sig", newline="") as file:
            tabs = path.name.removesuffix(".gz").endswith(".tsv")
            reader = csv.DictReader(file, delimiter="\t" if tabs else ",")
            with _long_fields():
                there = reader.fieldnames or ()
            missing = [name for name in needs if name not in there]
            if missing:
                has = ", ".join(map(repr, there)) or "none"
                raise InputError(
                    f"{path} lacks the column {', '.join(missing)}; it needs {', '.join(needs)}. It has: {has}."
                )
            while True:
                with _long_fields():  # held for a row: whoever reads on late, or never, keeps nobody waiting
                    row = next(reader, None)
                if row is None:
                    return
                yield f"{path}, line {reader.line_num},", row
    except (OSError, EOFError, zlib.error, csv.Error, UnicodeDecodeError) as error:
        raise _unreadable(path, error) from error


@contextmanager
def _long_fields() -> Iterator[None]:
    with _limit:
        before = csv.field_size_limit(2**31 - 1)
        try:
            yield
        finally:
            csv.field_size_limit(before)


GLANCE = 0.02
"""Seconds after which a lock that `is_held` has only looked at is free again."""


def _locked(handle: int) -> bool:
    """Whether this process has the lock now. OSError: the file system has no locks."""
    for wait in (0.0, GLANCE):
        sleep(wait)
        with suppress(BlockingIOError):
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    return False


def is_held(path: Path) -> bool:
    """Whether some process has the lock of a file that `other_holder` takes; nothing of it changes."""
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except OSError:  # no such file, not to be read, or a file system without locks
        return False
    return False


def other_holder(handle: int, own: str) -> str | None:
    """Take the lock of an open file, which the kernel drops with the process, and write `own` into it.

    None: it is ours; else what the process that has it wrote. OSError: the file system has no locks.
    """
    if not _locked(handle):
        return os.pread(handle, 300, 0).decode("utf-8", "replace").strip() or "unknown"
    with suppress(OSError):  # a full disk must not keep the lock from being held: what is written only informs
        os.ftruncate(handle, 0)
        os.pwrite(handle, own.encode(), 0)
    return None
