"""Keys and values of finished blocks, in memory or in mapped files, fetched a few at a time.

    store = BlockStore(folder)                    # None: in memory
    store.append(keys, values)                    # (B, G, n, b, D)
    keys, values = store.fetch(chosen)            # (B, H, C, k) numbers -> (B, H, C, k, b, D) each

Blocks lie by number first, so one that is fetched is read in one piece. A store is always on the processor, whatever
device asks: what moves to an accelerator is what was chosen. A file's room is taken before it is mapped: to write to a
mapped file for which the disk has no more room kills the process.
"""

from __future__ import annotations

import errno
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import torch
from torch import Tensor

from foveal.errors import InputError, StorageFull

SLAB = 64
"""Blocks for which room is made at first; then twice as many each time."""


class BlockStore:
    """Blocks, oldest first."""

    def __init__(self, folder: Path | None = None) -> None:
        """InputError: `folder` is none."""
        if folder is not None and not folder.is_dir():
            raise InputError(f"Blocks were to be kept in {folder}, which is no folder. Make it, or name another.")
        self._folder = folder
        self._room: list[Tensor] = []  # keys, values: (room, B, G, b, D)
        self._first = 0
        self._count = 0

    def __len__(self) -> int:
        return self._count

    @property
    def nbytes(self) -> int:
        """Bytes of what is kept."""
        return sum(self._count * one[0].nbytes for one in self._room) if self._count else 0

    def append(self, keys: Tensor, values: Tensor) -> None:
        """Put blocks (B, G, n, b, D) behind the others. StorageFull: the folder has no room; nothing was put there."""
        new = keys.shape[2]
        self._reserve(keys, values, new)
        at = self._first + self._count
        for room, given in zip(self._room, (keys, values), strict=True):
            room[at : at + new] = given.permute(2, 0, 1, 3, 4).to(room.device)
        self._count += new

    def forget(self, count: int) -> None:
        """Drop the oldest `count` blocks; the others are numbered anew."""
        self._first += count
        self._count -= count

    def fetch(self, chosen: Tensor, *, like: Tensor) -> tuple[Tensor, Tensor]:
        """Keys and values of blocks (B, H, C, k), each head those of its group, where and as `like` is."""
        groups = self._room[0].shape[2]
        chosen = chosen.to(self._room[0].device)
        batch, heads = chosen.shape[:2]
        row = torch.arange(batch)[:, None, None, None]
        group = (torch.arange(heads) // (heads // groups))[:, None, None]
        place = chosen + self._first
        keys, values = (room[place, row, group].to(like.device, like.dtype) for room in self._room)
        return keys, values

    def _reserve(self, keys: Tensor, values: Tensor, new: int) -> None:
        end = self._first + self._count + new
        if self._room and end <= len(self._room[0]):
            return
        if self._room and self._count + new <= len(self._room[0]) // 2:  # what was forgotten makes room enough
            for room in self._room:
                room[: self._count] = room[self._first : self._first + self._count].clone()
        else:
            many = max(SLAB, 2 * (self._count + new))
            larger = [self._empty(many, one) for one in (keys, values)]
            for old, made in zip(self._room, larger, strict=False):
                made[: self._count] = old[self._first : self._first + self._count]
            self._room = larger
        self._first = 0

    def _empty(self, room: int, like: Tensor) -> Tensor:
        shape = (room, *like.permute(2, 0, 1, 3, 4).shape[1:])
        if self._folder is None:
            return torch.empty(shape, dtype=like.dtype)
        size = torch.Size(shape).numel()
        count = size * like.itemsize
        with _room_in(self._folder, count), tempfile.NamedTemporaryFile(dir=self._folder, prefix="blocks-") as file:
            _reserve_disk(file.fileno(), count)
            made = torch.from_file(file.name, shared=True, size=size, dtype=like.dtype)
        # the file's name is gone, its room is held by the mapping: a kill leaves nothing behind
        return made.view(shape)


def _reserve_disk(file: int, count: int) -> None:
    """Take `count` bytes of the disk for an open file, where the system can."""
    reserve = getattr(os, "posix_fallocate", None)  # not on macOS
    if reserve is None:
        return
    try:
        reserve(file, 0, count)
    except OSError as error:
        if error.errno not in (errno.EOPNOTSUPP, errno.EINVAL):  # a file system that cannot
            raise


@contextmanager
def _room_in(folder: Path, count: int) -> Iterator[None]:
    try:
        yield
    except OSError as error:
        if error.errno in (errno.ENOSPC, errno.EDQUOT):
            raise StorageFull(
                f"No space is left in {folder} for {count / 1e6:,.0f} MB of blocks. Free some and read the text anew, "
                "or keep its blocks in another folder, or in memory (folder=None)."
            ) from error
        raise
