"""A folder of numbered snapshots, each some arrays and a description: written whole or not at all, mapped when read.

    FOLDER/000001/about.json, rows-ids.npy, …        a snapshot; the highest number is the last one
    FOLDER/.partial-…                                what a kill left; the next write deletes it

A snapshot gets its number by one rename once all its files are written, and is never changed afterwards. One process
may write at a time; any number may read, also while older snapshots go.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, LibraryCorrupt, LibraryTooNew

FORMAT = 1
"""Version of the files that this Foveal writes."""

READ_TRIES = 5
"""Times that reading begins again because the snapshot went meanwhile."""


def write_snapshot(
    folder: Path, about: Mapping[str, Any], arrays: Mapping[str, npt.NDArray[Any]], *, keep: int = 1
) -> int:
    """Write the next snapshot, delete all but the last `keep`, and give its number."""
    if keep < 1:
        raise InputError(f"Saving got keep={keep}; it needs at least 1, the snapshot that is being written.")
    folder.mkdir(parents=True, exist_ok=True)
    for left in folder.glob(".partial-*"):
        shutil.rmtree(left)
    number = max(snapshots(folder), default=0) + 1
    partial = Path(tempfile.mkdtemp(dir=folder, prefix=".partial-"))
    try:
        for name, array in arrays.items():
            np.save(partial / f"{name}.npy", array, allow_pickle=False)
        described = {"format": FORMAT, "arrays": sorted(arrays), **about}
        (partial / "about.json").write_text(json.dumps(described, indent=1), encoding="utf-8")
        partial.chmod(0o755)
        partial.rename(folder / f"{number:06d}")
    finally:
        shutil.rmtree(partial, ignore_errors=True)
    for older in snapshots(folder)[:-keep]:
        shutil.rmtree(folder / f"{older:06d}")
    return number


def snapshots(folder: Path) -> list[int]:
    """The numbers of the snapshots in a folder, the last one at the end."""
    return sorted(int(place.name) for place in folder.glob("[0-9]*") if place.is_dir() and place.name.isdecimal())


def read_snapshot(
    folder: Path, *, mmap: bool = True, snapshot: int | None = None
) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    """The description and the arrays of the last snapshot, or of the one of that number.

    Mapped arrays can be written to, which changes them in memory only. InputError: there is no such snapshot.
    LibraryCorrupt: a file of it is missing or damaged. LibraryTooNew: a newer Foveal wrote it.
    """
    for _ in range(READ_TRIES):
        there = snapshots(folder)
        if not there or snapshot not in (None, *there):
            said = f"no snapshot {snapshot}" if snapshot else "no index"
            known = f" It has {', '.join(map(str, there))}." if there else " Save one there first."
            raise InputError(f"{folder} holds {said}.{known}")
        number = there[-1] if snapshot is None else snapshot
        try:
            return _read(folder / f"{number:06d}", mmap=mmap)
        except FileNotFoundError as error:
            missing = error
        except (OSError, EOFError, ValueError, KeyError) as error:
            raise _corrupt(folder, error) from error
    raise _corrupt(folder, missing) from missing


def _read(place: Path, *, mmap: bool) -> tuple[dict[str, Any], dict[str, npt.NDArray[Any]]]:
    about = json.loads((place / "about.json").read_text(encoding="utf-8"))
    if about["format"] > FORMAT:
        raise LibraryTooNew(f"{place} has format {about['format']}; this Foveal knows up to {FORMAT}. Update Foveal.")
    # "c": copy on write. A read-only map would be refused by torch, which shares the memory of what it computes with.
    arrays = {
        name: np.load(place / f"{name}.npy", mmap_mode="c" if mmap else None, allow_pickle=False)
        for name in about["arrays"]
    }
    return about, arrays


def _corrupt(folder: Path, error: Exception) -> LibraryCorrupt:
    return LibraryCorrupt(f"Files of the index in {folder} are missing or damaged: {error}. Build and save it again.")
