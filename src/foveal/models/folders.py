"""Folders of model files that are made once: whole or not at all, by one process at a time.

A folder is made beside its place and renamed into it, so a kill leaves no half of it; what a killed process left
beside is removed by the next one. Made folders hold what can be made again, so they live in the cache.
"""

from __future__ import annotations

import fcntl
import glob
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from foveal import faults
from foveal.errors import ModelUnavailable
from foveal.evaluation.files import whole_file

Progress = Callable[[int, int], None]
"""Called with the bytes that are done and those that there are in all."""


def written_at(folder: Path) -> int:
    """When a file of the folder was written last, in ns: a model that is trained anew in its place is loaded anew."""
    last = 0
    for place, folders, files in os.walk(folder):  # which passes over folders that go meanwhile
        for name in (*folders, *files):
            with suppress(OSError):  # it is being replaced
                last = max(last, Path(place, name).stat().st_mtime_ns)
    return last


def made_once(folder: Path, make: Callable[[Path], None], *, name: str, megabytes: int) -> Path:
    """`folder`, filled by `make(empty folder)` if it is not there. ModelUnavailable: it cannot be written."""
    if folder.is_dir():
        return folder
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        with _alone(folder.parent) as alone:
            if not folder.is_dir():
                _made(folder, make, sweep=alone)
    except OSError as error:
        if folder.is_dir():  # another process was first: its folder holds the same bytes
            return folder
        raise ModelUnavailable(
            f"{name} could not be unpacked into {folder.parent} ({error.strerror or error}); it needs up to "
            f"{megabytes} MB there. Free some space, or name another cache by FOVEAL_CACHE."
        ) from error
    return folder


def _made(folder: Path, make: Callable[[Path], None], *, sweep: bool) -> None:
    for left in folder.parent.glob(f".{glob.escape(folder.name)}-*") if sweep else ():
        shutil.rmtree(left, ignore_errors=True)
    with tempfile.TemporaryDirectory(prefix=f".{folder.name}-", dir=folder.parent, ignore_cleanup_errors=True) as work:
        whole = Path(work) / "whole"
        whole.mkdir()
        make(whole)
        faults.point("models.before-rename")
        with suppress(FileExistsError, NotADirectoryError):
            os.rename(whole, folder)  # noqa: PTH104 (Path.rename would say the same)


@contextmanager
def _alone(parent: Path) -> Iterator[bool]:
    """Hold the only right to make a folder in `parent`; False where the file system has no locks."""
    lock = os.open(parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            held = True
        except OSError:  # some network file systems: two processes may then do the same work, and one result stays
            held = False
        yield held
    finally:
        os.close(lock)


def fingerprint(folder: Path, *, seed: str = "") -> str:
    """SHA-256 over the safetensors and JSON files of a model's folder, and `seed`."""
    digest = hashlib.sha256(seed.encode())
    for path in _weighty(folder):
        with path.open("rb") as opened:
            digest.update(path.relative_to(folder).as_posix().encode())
            digest.update(hashlib.file_digest(opened, "sha256").digest())
    return digest.hexdigest()


def kept_fingerprint(folder: Path, cache: Path) -> str:
    """`fingerprint(folder)`, kept in `cache` until a file of the folder changes in size or time."""
    stats = [(str(path.resolve()), path.stat().st_size, path.stat().st_mtime_ns) for path in _weighty(folder)]
    kept = cache / "fingerprints" / hashlib.sha256(repr(stats).encode()).hexdigest()
    with suppress(OSError):
        known = kept.read_text(encoding="ascii", errors="replace")
        if re.fullmatch(r"[0-9a-f]{64}", known):  # a machine that lost its power may leave an empty file
            return known
    found = fingerprint(folder)
    with suppress(OSError), whole_file(kept) as partial:  # a full disk costs time only
        partial.write_text(found, encoding="ascii")
    return found


def _weighty(folder: Path) -> list[Path]:
    found = (path for path in folder.rglob("*") if path.suffix in (".safetensors", ".json") and path.is_file())
    return sorted(found)
