"""Indexes of passages on the disk: HOME/indexes, one folder for a library, a kind and a model.

    HOME/indexes/late-3f…/about.json     whose index it is, and the numbers of its segments; written last, by one rename
                         /next.json      the same of an index that is being made anew, which then takes its place
                         /000001/ …      segments, and what they have in common (`snapshots.py`); none is ever changed
                         /.writer        the lock of who writes; reading needs none

A kill leaves segments that no list names; the next writing deletes them, and those that were made one. Who reads
meanwhile begins again with the newer list.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import logging
import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager, suppress
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from foveal import faults
from foveal.errors import InputError, LibraryBusy, LibraryCorrupt, LibraryTooNew
from foveal.evaluation.files import whole_file
from foveal.retrieval.passage_kinds import Part, PassageKind
from foveal.retrieval.passage_segments import PassageIndex, Segment
from foveal.retrieval.snapshots import read_snapshot, snapshots, write_snapshot
from foveal.retrieval.storage_errors import storage_errors
from foveal.settings import store_uri

log = logging.getLogger("foveal.retrieval")

FORMAT = 1
"""Version of the lists that this Foveal writes."""

ABOUT, NEXT, LOCK = "about.json", "next.json", ".writer"

KIND = "passages"

MAPPED_FROM = 2**20
"""Bytes from which an array stays on the disk until a search reads it: each such one holds a file open."""

Stamp = tuple[int, ...]
"""Changes whenever an index is written."""


@dataclass(frozen=True)
class About:
    """Whose index it is."""

    kind: str
    model: str  # as the command names it; "": the kind's own choice
    library: str  # a folder within the home, else a path or the URI of an object store
    fingerprint: str  # of the model

    @property
    def name(self) -> str:
        """As `admin index` and `--retriever` take it."""
        return f"{self.kind}:{self.model}" if self.model else self.kind


def library_key(uri: str, home: Path) -> str:
    """The library at `uri`: within the home by its place there, so that a home may be moved and copied."""
    if store_uri(uri) is not None:
        return uri
    place, home = Path(uri).resolve(), home.resolve()
    return place.relative_to(home).as_posix() if place.is_relative_to(home) else str(place)


def folder_of(about: About, home: Path) -> Path:
    """Where the index lies."""
    key = hashlib.sha256(f"{about.library} {about.fingerprint}".encode()).hexdigest()[:16]
    return home / "indexes" / f"{about.kind}-{key}"


def made_indexes(home: Path) -> dict[Path, About]:
    """Folder -> whose index it is, of all that have passages in this home."""
    found: dict[Path, About] = {}
    for path in sorted((home / "indexes").glob(f"*/{ABOUT}")):
        with suppress(OSError, ValueError, KeyError, TypeError):
            stated = json.loads(path.read_text(encoding="utf-8"))
            found[path.parent] = About(**{name: str(stated[name]) for name in About.__dataclass_fields__})
    return found


def stamp(folder: Path) -> Stamp | None:
    """Of what is written now; None where there is no index."""
    try:
        found = (folder / ABOUT).stat()
    except OSError:
        return None
    return found.st_ino, found.st_size, found.st_mtime_ns, found.st_ctime_ns


# -- reading ----------------------------------------------------------------------------------------------------------


def opened(folder: Path, about: About, kind: PassageKind[Part], *, listed: str = ABOUT) -> PassageIndex[Part] | None:
    """The index in a folder, all its passages shown; None where there is none.

    LibraryCorrupt: a file is missing or damaged. LibraryTooNew: a newer Foveal wrote it.
    """
    before: str | None = None
    while (text := _text(folder / listed)) is not None:
        try:
            return _read(folder, about, kind, text)
        except (LibraryCorrupt, InputError, ValueError, LookupError, TypeError, AttributeError) as error:
            if text == before:  # nobody made its segments one meanwhile
                raise LibraryCorrupt(
                    f"The index {about.name} in {folder} is damaged ({' '.join(str(error).split())[:200]}). Make it "
                    f"again: foveal admin index {about.name}"
                ) from error
        before = text
    return None


def _text(path: Path) -> str | None:
    with storage_errors(str(path.parent)):
        try:
            return path.read_text(encoding="utf-8", errors="replace")
        except (FileNotFoundError, NotADirectoryError):
            return None


def _read(folder: Path, about: About, kind: PassageKind[Part], text: str) -> PassageIndex[Part]:
    stated = json.loads(text)
    if stated["format"] > FORMAT:
        raise LibraryTooNew(f"{folder} has format {stated['format']}; this Foveal knows up to {FORMAT}. Update Foveal.")
    if stated["fingerprint"] != about.fingerprint:
        raise ValueError("it is another model's")
    common = stated["shared"]
    shared = _arrays(folder, common) if common is not None else {}
    segments = tuple(_segment(folder, kind, shared, number) for number in stated["segments"])
    shown = tuple(np.ones(len(segment), dtype=bool) for segment in segments)
    return PassageIndex(kind, segments, shown, int(stated["planned"]), common)


def _segment(
    folder: Path, kind: PassageKind[Part], shared: Mapping[str, npt.NDArray[Any]], number: int
) -> Segment[Part]:
    own = _arrays(folder, number)
    ends, letters = own.pop("name_ends"), own.pop("names")
    names = pa.LargeStringArray.from_buffers(len(ends) - 1, pa.py_buffer(ends), pa.py_buffer(letters))
    names.validate(full=True)  # a place outside of the letters would be read without a question
    return Segment(names, kind.opened(shared, own, len(names)), number)


def _arrays(folder: Path, number: int) -> dict[str, npt.NDArray[Any]]:
    _, arrays = read_snapshot(folder, snapshot=number)
    # A memmap's slices are slow to make, and its file stays open.
    return {name: np.array(one) if one.nbytes < MAPPED_FROM else np.asarray(one) for name, one in arrays.items()}


# -- writing ----------------------------------------------------------------------------------------------------------


@contextmanager
def writing(folder: Path, *, wait: bool) -> Iterator[bool]:
    """Be the one that writes to a folder, which is made; with `wait` off the block is told whether one is.

    LibraryError: the folder cannot be used. The lock goes with the process, also when that is killed.
    """
    with storage_errors(str(folder)):
        lock = _locked(folder, wait=wait)
    try:
        yield lock is not None
    finally:
        if lock is not None:
            os.close(lock)


@contextmanager
def resting(home: Path) -> Iterator[None]:
    """Let nobody write to an index of this home. LibraryBusy: somebody does."""
    with ExitStack() as locks:
        for folder in sorted(path for path in (home / "indexes").glob("*-*") if path.is_dir()):
            if not locks.enter_context(writing(folder, wait=False)):
                raise LibraryBusy(f"An index of passages is being written ({folder}). Wait until it is done.")
        yield


def _locked(folder: Path, *, wait: bool) -> int | None:
    while True:
        folder.mkdir(parents=True, exist_ok=True)
        try:
            lock = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
        except FileNotFoundError:  # who tidied up deleted the folder between the two
            continue
        try:
            if not _take(lock, folder, wait=wait):
                os.close(lock)
                return None
            with suppress(FileNotFoundError):
                if os.fstat(lock).st_ino == (folder / LOCK).stat().st_ino:
                    return lock
        except BaseException:
            os.close(lock)
            raise
        os.close(lock)  # of a folder that was deleted while we waited


def _take(lock: int, folder: Path, *, wait: bool) -> bool:
    try:
        fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        if not wait:
            return False
        log.warning("Another process writes to %s; this one waits until it is done.", folder)
        fcntl.flock(lock, fcntl.LOCK_EX)
    return True


def written(folder: Path, about: About, index: PassageIndex[Part], *, listed: str = ABOUT) -> PassageIndex[Part]:
    """Write what is new of an index, inside `writing`, and give the index as it lies there.

    StorageFull, LibraryError: it could not be written; the one before is still whole.
    """
    with storage_errors(str(folder)):
        faults.point("store.write")
        for left in folder.glob(f".partial-*{Path(listed).suffix}"):  # of a kill
            left.unlink(missing_ok=True)
        common = index.shared
        if common is None and index.segments and (shared := index.kind.shared(index.segments[0].part)):
            common = _write(folder, shared)
        segments = tuple(_written(folder, index.kind, one) if one.number is None else one for one in index.segments)
        stated = {
            "format": FORMAT,
            **asdict(about),
            "planned": index.planned,
            "shared": common,
            "segments": [segment.number for segment in segments],
        }
        with whole_file(folder / listed) as partial:
            partial.write_text(json.dumps(stated, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
        _tidy(folder)
    return replace(index, segments=segments, shared=common)


def take_place(folder: Path) -> None:
    """Let the index that was made anew be the index, inside `writing`."""
    with storage_errors(str(folder)):
        (folder / NEXT).replace(folder / ABOUT)
        _tidy(folder)


def forget(folder: Path, listed: str) -> None:
    """Let an index that cannot be read be none, inside `writing`; its segments go with the next writing."""
    with storage_errors(str(folder)):
        (folder / listed).unlink(missing_ok=True)


def remove_others(home: Path, about: About) -> None:
    """Delete the indexes of a library by what the same model was before, and folders without an index."""
    mine, made = folder_of(about, home), made_indexes(home)
    for folder in (home / "indexes").glob(f"{about.kind}-*"):
        whose = made.get(folder)
        same = whose is None or (whose.model, whose.library) == (about.model, about.library)
        if folder != mine and same and folder.is_dir():
            _delete(folder, whose)


def remove_of_model(home: Path, model: Path) -> list[Path]:
    """Delete the indexes made by the model in a folder; those that were. One that is just being written stays."""
    made = made_indexes(home)
    of_it = [
        one
        for one, whose in made.items()
        if whose.model and model in (home / "models" / whose.model, Path(whose.model))
    ]
    return [folder for folder in of_it if _delete(folder, made[folder])]


def _delete(folder: Path, whose: About | None) -> bool:
    """Delete an index, or a folder without one; not where somebody writes."""
    with writing(folder, wait=False) as alone, storage_errors(str(folder)):
        if alone and (whose or not (folder / ABOUT).exists()):
            (folder / ABOUT).unlink(missing_ok=True)  # first: who opens it now finds none, not half of one
            shutil.rmtree(folder)
            return True
    return False


def _written(folder: Path, kind: PassageKind[Part], segment: Segment[Part]) -> Segment[Part]:
    names = segment.names.take(pa.array(np.arange(len(segment))))  # a fresh array, whose buffers begin at its first
    _, ends, letters = names.buffers()
    arrays: dict[str, npt.NDArray[Any]] = {
        "name_ends": np.frombuffer(ends, dtype=np.int64)[: len(names) + 1],
        "names": np.frombuffer(letters, dtype=np.uint8)[: int(pc.sum(pc.binary_length(names)).as_py())],
        **kind.own(segment.part),
    }
    return replace(segment, names=names, number=_write(folder, arrays))


def _write(folder: Path, arrays: Mapping[str, npt.NDArray[Any]]) -> int:
    return write_snapshot(folder, {"kind": KIND}, arrays, keep=len(snapshots(folder)) + 1)


def _tidy(folder: Path) -> None:
    """Delete what no list names; nothing where a list is there and cannot be read just now."""
    kept: set[int] = set()
    for listed in (ABOUT, NEXT):
        try:
            text = (folder / listed).read_text(encoding="utf-8", errors="replace")
        except FileNotFoundError:
            continue
        except OSError as error:
            log.warning("What no list names stays in %s for now: %s", folder, error)
            return
        with suppress(ValueError, KeyError, TypeError):  # damaged: nobody can open what it names
            stated = json.loads(text)
            kept |= {*stated["segments"], stated["shared"]}
    for number in snapshots(folder):
        if number not in kept:
            shutil.rmtree(folder / f"{number:06d}", ignore_errors=True)
