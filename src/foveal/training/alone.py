"""One process at a time in the folder of a training: of two that train under one name, the second is told of the first.

    held = hold(folder)          RunBusy: another process trains there; the folder is free again once `held` is gone

The lock is a file in the folder, with the number of the process that holds it; the kernel drops it when the process
ends, also by a kill. A process that holds a folder may take it again: a run does, and so does the loop inside it.
"""

from __future__ import annotations

import os
import socket
import threading
import weakref
from pathlib import Path

from foveal.errors import FovealError
from foveal.evaluation.files import other_holder

LOCK = ".training"


class RunBusy(FovealError):
    """Another process trains under this name."""


class Held:
    """The only right of this process to train in a folder, until nothing refers to it any more."""

    def __init__(self, handle: int) -> None:
        self.free = weakref.finalize(self, os.close, handle)
        """Call it to give the right back at once."""


_held: weakref.WeakValueDictionary[tuple[int, int], Held] = weakref.WeakValueDictionary()
_one_by_one = threading.Lock()


def hold(folder: Path) -> Held:
    """Take the only right to train in `folder`, which is made. RunBusy: another process has it."""
    folder.mkdir(parents=True, exist_ok=True)
    with _one_by_one:
        handle = os.open(folder / LOCK, os.O_CREAT | os.O_RDWR, 0o644)
        found = os.fstat(handle)
        key = found.st_dev, found.st_ino
        held = _held.get(key)
        if held is not None and held.free.alive:
            os.close(handle)
            return held
        try:
            _locked(handle, folder)
        except BaseException:
            os.close(handle)
            raise
        _held[key] = held = Held(handle)
        return held


def _locked(handle: int, folder: Path) -> None:
    try:
        holder = other_holder(handle, f"pid {os.getpid()} on {socket.gethostname()}")
    except OSError:  # some network file systems have no locks
        return
    if holder is not None:
        raise RunBusy(
            f"Another process ({holder}) is training in {folder}. Wait until it is done, or stop it, and do the same "
            "again; or give this training another name."
        )
