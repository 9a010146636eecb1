"""A home copied while it is in use, whole, and put back: `foveal admin backup FOLDER`, `foveal admin restore FOLDER`.

    made = backup(settings, Path("backups/monday"))       # a new folder; who reads and visits is not disturbed
    restore(Path("backups/monday"), Path("new-home"))     # an empty home; every file is held against its hash first

Order      tables of Lance under their writer's lock, so that none is copied while it changes; then the SQL database by
           SQLite's own backup, of one moment; then all other files. What disagrees afterwards is what a kill leaves,
           too: SQL says what exists, and the index of papers is brought up to date from it
Left out   `indexes/`, `memory/` and `runs/`, unless asked for: passages and texts that a model has read, and states of
           work, which are large and can be made again; PostgreSQL and libraries in an object store, which have tools of
           their own; folders that the home only links to (but for a library). A file that is a link is copied as a file
Secrets    `secret.key` and foveal.toml are in it: a folder that is made for it, or for a home, is its owner's alone
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import sqlite3
import time
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import ExitStack, closing, contextmanager, nullcontext, suppress
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

from foveal import faults
from foveal.errors import InputError, LibraryBusy, StorageFull
from foveal.evaluation.files import forced, other_holder, whole_file
from foveal.retrieval.passage_files import resting
from foveal.retrieval.tables import writer_lock
from foveal.settings import Settings, expanded

MANIFEST, RESTORING, FILES = "backup.json", ".partial-restore", "files"
LEFT_OUT = ("indexes", "memory", "runs")
DATABASE = "foveal.db"
LOCK, TABLES = ".writer", "library/*.lance/"
CHUNK = 2**20

PRIVATE = 0o700
"""Of a folder that is made: addresses of people, and the secret, are its owner's alone."""

LOOK_S = 0.5
"""Seconds between two looks for whether a library is at rest."""

LONGEST_SAID = 300
"""Characters of what the operating system said."""


@dataclass(frozen=True)
class Backup:
    """What was copied; `elsewhere` is what the backup does not hold, and how it is kept."""

    folder: Path
    files: int
    bytes: int
    elsewhere: tuple[str, ...] = ()


def backup(settings: Settings, folder: Path, *, everything: bool = False, wait_s: float = 0.0) -> Backup:
    """Copy a home into a new folder; whoever writes to a library is waited for `wait_s` seconds.

    Where that fails or is stopped nothing of it is left, and the same call may be made again; after a kill the folder
    is no backup, since its manifest comes last. InputError: the folder is there, lies in the home or cannot be written
    to, or there is no home. LibraryBusy: somebody writes to a library for longer, or an index that is to be copied.
    StorageFull: no space.
    """
    home, folder = settings.home, expanded(folder).resolve()
    if not home.is_dir():
        raise InputError(f"There is no home at {home} to back up.")
    _check_new(folder)
    if folder.is_relative_to(home):
        raise InputError(f"{folder} lies in the home that it is to be a copy of. Name a folder elsewhere.")
    left_out = () if everything else LEFT_OUT
    with _copy_errors(folder), resting(home) if everything else nullcontext(), ExitStack() as locks:
        libraries = _libraries(home)
        locks.enter_context(_locked(libraries, wait_s))
        with _filled(folder):
            for library in libraries:
                shutil.copytree(library, folder / library.relative_to(home), ignore=shutil.ignore_patterns(LOCK))
            locks.close()
            _copy_others(home, folder, libraries, left_out)
            linked = _linked(home, left_out, {library.relative_to(home) for library in libraries})
            return _sealed(settings, folder, linked)


def restore(folder: Path, home: Path) -> Backup:
    """Put a backup into an empty home, whole: where that fails or is stopped the home is empty again.

    A kill leaves what was copied in a folder of its own, in which nothing looks; the same call then begins anew, or
    goes on where all was copied. InputError: it is none, is damaged, another process restores it, or the home is not
    empty. StorageFull: no space.
    """
    folder, home = expanded(folder).resolve(), expanded(home).resolve()
    manifest = _manifest(folder)
    made = home / RESTORING
    _check_free(home, manifest)
    for name, (size, digest) in manifest.items():
        path = folder / name
        if not path.is_file() or path.stat().st_size != size or _hash(path) != digest:
            raise InputError(f"{path} is missing, or not what was copied. This backup is damaged: take another.")
    with _copy_errors(home):
        home.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
        made.mkdir(mode=PRIVATE, exist_ok=True)
        with _alone(made):
            try:
                _check_free(home, manifest)  # while the files were read another process may have restored it
            except InputError:
                with suppress(OSError):  # somebody's copies are in it
                    (made / LOCK).unlink()
                    made.rmdir()
                raise
            if not _is_whole(made, manifest):
                _copied(folder, made, manifest)
            for path in sorted((made / FILES).iterdir()):
                path.rename(home / path.name)
            shutil.rmtree(made)
    return Backup(home, len(manifest), sum(size for size, _ in manifest.values()))


def _check_new(folder: Path) -> None:
    if _is_taken(folder):
        raise InputError(f"{folder} is there already. Name a new folder for each backup.")


@contextmanager
def _filled(folder: Path) -> Iterator[None]:
    """Inside, a new folder is filled; where that fails or is stopped it is as it was before."""
    was_there = folder.is_dir()
    folder.mkdir(mode=PRIVATE, parents=True, exist_ok=True)
    _check_new(folder)  # while the library's writer was waited for another process may have begun there
    try:
        yield
    except BaseException:
        for path in folder.iterdir():
            with suppress(OSError):  # what cannot be deleted is no backup, and the error says more
                shutil.rmtree(path) if path.is_dir() else path.unlink()
        with suppress(OSError):
            if not was_there:
                folder.rmdir()
        raise


@contextmanager
def _copy_errors(place: Path) -> Iterator[None]:
    """Say in our words what the operating system refused; whoever is inside keeps nothing then."""
    try:
        yield
    except OSError as error:
        said = str(error)  # shutil.copytree has no errno, but lists all that it met
        if error.errno == errno.ENOSPC or "No space left" in said:
            raise StorageFull(
                f"No space is left at {place}, and nothing of the copy is kept. Free some, or name a folder on another "
                "disk, and run the command again."
            ) from error
        short = said if len(said) <= LONGEST_SAID else f"{said[:LONGEST_SAID]} …"
        raise InputError(
            f"Nothing was copied to {place}: {short}. See that this user may read what is copied and write there, or "
            "name another folder."
        ) from error


def _check_free(home: Path, manifest: Mapping[str, tuple[int, str]]) -> None:
    """InputError: the home is neither empty nor one that this backup was half moved into."""
    if _is_taken(home, but=RESTORING) and not _is_half_moved(home, manifest):
        raise InputError(
            f"{home} is not an empty folder. A backup is put into a new home: move that one away, or name another."
        )


def _copied(folder: Path, made: Path, manifest: Mapping[str, tuple[int, str]]) -> None:
    """Copy all files of a backup; its manifest comes last, and says that they are whole."""
    try:
        (made / MANIFEST).unlink(missing_ok=True)  # of another backup it may be, whose files go now
        if (made / FILES).exists():  # where it cannot be removed nothing is put back: it would be moved with the rest
            shutil.rmtree(made / FILES)
        for name in manifest:
            _copy(folder / name, made / FILES / name)
        _forced(made / FILES, manifest)
        _copy(folder / MANIFEST, made / MANIFEST)
    except BaseException:  # half a home would be opened as if it were whole
        shutil.rmtree(made, ignore_errors=True)
        raise


def _is_whole(made: Path, manifest: Mapping[str, tuple[int, str]]) -> bool:
    """Whether all files of this backup were copied there before."""
    try:
        return _manifest(made) == manifest
    except InputError:
        return False


def _is_half_moved(home: Path, manifest: Mapping[str, tuple[int, str]]) -> bool:
    """Whether what lies in a home was put there by a restore of this backup that a kill ended at its last step."""
    made, moved = home / RESTORING, {Path(name).parts[0] for name in manifest}
    there = {path.name for path in home.iterdir()} - {RESTORING} if home.is_dir() else set()
    left = {path.name for path in (made / FILES).glob("*")}
    return _is_whole(made, manifest) and there <= moved - left


@contextmanager
def _alone(made: Path) -> Iterator[None]:
    """Inside, no other process restores this home. InputError: one does."""
    handle = os.open(made / LOCK, os.O_CREAT | os.O_RDWR, 0o600)
    try:
        with suppress(OSError):  # some network file systems have no locks
            if other_holder(handle, f"pid {os.getpid()}") is not None:
                raise InputError(f"Another process puts a backup into {made.parent}. Wait until it is done.")
        yield
    finally:
        os.close(handle)


def _locked(libraries: Sequence[Path], wait_s: float) -> ExitStack:
    """The right to write to all of them. LibraryBusy: somebody has one, and does not give it up in time."""
    until = time.monotonic() + wait_s
    while True:
        with ExitStack() as locks:
            try:
                for library in libraries:
                    locks.enter_context(writer_lock(str(library)))
                return locks.pop_all()
            except LibraryBusy:
                if time.monotonic() >= until:
                    raise
        time.sleep(LOOK_S)


def _is_taken(place: Path, but: str = "") -> bool:
    """Whether there is a file, or a folder that holds anything but a folder of that name."""
    return place.exists() and (not place.is_dir() or any(path.name != but for path in place.iterdir()))


def _libraries(home: Path) -> list[Path]:
    """Folders of Lance tables: the library's, the index's of papers. A restored one has no lock yet."""
    return sorted({table.parent for pattern in (TABLES, f"*/{TABLES}") for table in home.glob(pattern)})


def _files(folder: Path, but: Sequence[str] = ()) -> Iterator[Path]:
    for place, folders, names in os.walk(folder):
        if Path(place) == folder:
            folders[:] = [name for name in folders if name not in but]
        for name in sorted(names):
            path = Path(place) / name
            if path.is_file():
                yield path


def _linked(home: Path, but: Sequence[str], libraries: Collection[Path]) -> list[str]:
    """Of each folder that is but a link: that it is not in the backup."""
    found = []
    for place, folders, _ in os.walk(home):
        for relative in (Path(place, name).relative_to(home) for name in sorted(folders)):
            path = home / relative
            if path.is_symlink() and relative.parts[0] not in but and relative not in libraries:
                found.append(f"{path} is a link to the folder {path.resolve()}: copy that by itself")
    return found


def _is_scratch(relative: Path, libraries: Collection[Path]) -> bool:
    """Whether a file is none that a home needs: what is being written, a lock, the database with its log."""
    name = relative.name
    of_tables = any(relative.is_relative_to(one) for one in libraries)  # written since; whole as they were copied
    half = any(part.startswith(".partial-") for part in relative.parts)
    listed = relative == Path(MANIFEST)  # of a backup that is used as a home: this one gets its own
    return half or listed or name.startswith(DATABASE) or name == LOCK or of_tables


def _copy(path: Path, to: Path) -> None:
    to.parent.mkdir(parents=True, exist_ok=True)
    try:
        shutil.copy2(path, to)
    except FileNotFoundError:  # it was deleted meanwhile
        to.unlink(missing_ok=True)


def _copy_others(home: Path, folder: Path, libraries: Sequence[Path], left_out: Sequence[str]) -> None:
    """Copy the database, then all that is not in the copy yet and that a home needs."""
    if (home / DATABASE).is_file():
        _copy_database(home / DATABASE, folder / DATABASE)
    done = {path.relative_to(folder) for path in _files(folder)}
    copied = {library.relative_to(home) for library in libraries}
    for path in _files(home, but=left_out):
        if (relative := path.relative_to(home)) not in done and not _is_scratch(relative, copied):
            _copy(path, folder / relative)


def _copy_database(path: Path, to: Path) -> None:
    """The database as it is at one moment, while others write. StorageFull, InputError: SQLite cannot copy it."""
    try:
        with closing(sqlite3.connect(path)) as old, closing(sqlite3.connect(to)) as new:
            old.backup(new)
            found = new.execute("PRAGMA integrity_check").fetchone()[0]
    except sqlite3.Error as error:
        if error.sqlite_errorcode == sqlite3.SQLITE_FULL:
            raise StorageFull(
                f"No space is left at {to.parent} for the database, and nothing of the copy is kept. Free some, and "
                "run the command again."
            ) from error
        raise InputError(
            f"The database {path} cannot be copied ({error}). Where it is damaged put it back from an older backup."
        ) from error
    shutil.copymode(path, to)
    if found != "ok":
        raise InputError(f"The database {path} is damaged ({found}). Put it back from an older backup.")


def _sealed(settings: Settings, folder: Path, linked: Sequence[str]) -> Backup:
    """Write down what there is; a folder without this is no backup."""
    files = {str(path.relative_to(folder)): (path.stat().st_size, _hash(path)) for path in _files(folder)}
    _forced(folder, files)
    told = {"foveal": _version(), "at": faults.now().isoformat(timespec="seconds"), "files": files}
    with whole_file(folder / MANIFEST, lasting=True) as partial:
        partial.write_text(json.dumps(told, indent=1) + "\n", encoding="ascii")  # a name may be no UTF-8
    elsewhere = list(linked)
    if not settings.database_url.startswith("sqlite"):
        elsewhere.append("the database is PostgreSQL's: copy it by pg_dump, right after this")
    elif settings.database != "sqlite":
        elsewhere.append(f"the database is at {settings.database}: copy it by SQLite's .backup, right after this")
    if settings.library_at != "home":
        elsewhere.append(f"the library is at {settings.library_uri}: keep it by the store's own versions")
    return Backup(folder, len(files), sum(size for size, _ in files.values()), tuple(elsewhere))


def _forced(folder: Path, names: Iterable[str]) -> None:
    """Wait until copies, and the folders that they lie in, are on the disk: what they were copied of may go next."""
    folders = {folder, folder.parent}
    for name in names:
        forced(folder / name)
        folders.update(folder / one for one in Path(name).parents)
    for one in folders:
        with suppress(OSError):  # a system that cannot force folders
            forced(one)


def _version() -> str:
    try:
        return metadata.version("foveal")
    except metadata.PackageNotFoundError:
        return ""


def _manifest(folder: Path) -> dict[str, tuple[int, str]]:
    try:
        told = json.loads((folder / MANIFEST).read_text(encoding="utf-8"))
        files = {str(name): (int(size), str(digest)) for name, (size, digest) in told["files"].items()}
        files.pop(MANIFEST, None)  # of an earlier Foveal, that copied the one of a backup which was used as a home
    except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
        raise InputError(f"{folder} is no backup: it has no whole {MANIFEST} ({type(error).__name__}).") from error
    for name in files:
        if Path(name).is_absolute() or ".." in Path(name).parts:
            raise InputError(f"{folder / MANIFEST} names {name!r}, which lies outside. This is no backup of ours.")
    return files


def _hash(path: Path) -> str:
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK):
            digest.update(chunk)
    return digest.hexdigest()
