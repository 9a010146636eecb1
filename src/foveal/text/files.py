"""Files as addresses and bytes: `file://` URIs, and reading that a size limit bounds, through gzip as well.

A name that ends in .gz is read through gzip, and the limit then holds for what comes out: a small file that unpacks
to gigabytes is cut off at the limit.
"""

from __future__ import annotations

import gzip
import os
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO
from urllib.parse import unquote_to_bytes

from foveal.errors import InputError, UnreadableSource


def file_address(path: Path) -> str:
    """The `file://` URI of `path`, with links resolved, so that a file has one address.

    InputError: no file can be called so (it holds a NUL), or its links lead in a circle.
    """
    try:
        return path.resolve().as_uri()
    except (OSError, RuntimeError, ValueError) as error:
        raise InputError(f"{str(path)!r} cannot be a file: {error}. Check its spelling.") from error


def path_of(address: str) -> Path:
    """The path that a `file://` URI names."""
    return Path(os.fsdecode(unquote_to_bytes(address.removeprefix("file://"))))


def read_bytes(path: Path, max_bytes: int) -> bytes:
    """All bytes of `path`, unpacked where it is a .gz; UnreadableSource where they exceed `max_bytes`."""
    with _opened(path, max_bytes) as file:
        data = file.read(max_bytes + 1)
        if len(data) > max_bytes:
            raise too_large(str(path), None, max_bytes)
    return data


def read_head(path: Path, size: int) -> bytes:
    """The first `size` bytes of `path`, unpacked where it is a .gz."""
    with _opened(path, None) as file:
        return file.read(size)


def read_lines(path: Path, max_bytes: int) -> Iterator[bytes]:
    """The lines of `path`, one at a time, unpacked where it is a .gz; at most `max_bytes` in all."""
    left = max_bytes
    with _opened(path, max_bytes) as file:
        while line := file.readline(left + 1):
            left -= len(line)
            if left < 0:
                raise too_large(str(path), None, max_bytes)
            yield line


def too_large(name: str, size: int | None, max_bytes: int) -> UnreadableSource:
    """The error for a source above the limit; `size` is None where only the limit was reached."""
    holds = f"{size:,} bytes; at most {max_bytes:,} are" if size else f"more than {max_bytes:,} bytes, the most that is"
    return UnreadableSource(
        f"{name} holds {holds} read. Split it, or raise the limit (LoadSettings.max_bytes; max_file_mb in foveal.toml)."
    )


@contextmanager
def _opened(path: Path, max_bytes: int | None) -> Iterator[IO[bytes]]:
    """`path` open for reading; what the system or gzip says against it becomes UnreadableSource."""
    try:
        with path.open("rb") as raw:
            size = os.fstat(raw.fileno()).st_size
            if max_bytes is not None and size > max_bytes:
                raise too_large(str(path), size, max_bytes)
            if path.suffix.lower() != ".gz":
                yield raw
                return
            with gzip.GzipFile(fileobj=raw) as unpacked:
                yield unpacked  # type: ignore[misc]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise UnreadableSource(f"{path} is damaged: gzip says {error}. Fetch or make it anew.") from error
    except OSError as error:
        reason = error.strerror or str(error)
        raise UnreadableSource(f"{path} cannot be read: {reason}. Check that it is there and may be read.") from error
