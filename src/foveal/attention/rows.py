"""Keys or values in two parts: one that may be a mapped file and never changes, and one that grows behind it.

Shapes    (groups, n, width); row i of a group is of `base` where i < its length, else of what was added
"""

from __future__ import annotations

import torch
from torch import Tensor

LEAST_ROOM = 64

SPARE = 4096
"""Rows that are left free behind a long text, for what is said about it."""


class Rows:
    """Rows of each group. What `base` holds is read only where it is asked for, so it may be larger than the memory.

    With `chunk`, whole chunks of so many rows can be gathered; `base` must then hold whole ones.
    """

    def __init__(self, base: Tensor, chunk: int = 1) -> None:
        self.base, self.chunk = base, chunk
        self._room = base.new_empty((base.shape[0], 0, base.shape[2]))
        self._added = 0

    def __len__(self) -> int:
        return self.base.shape[1] + self._added

    @property
    def groups(self) -> int:
        return self.base.shape[0]

    @property
    def width(self) -> int:
        return self.base.shape[2]

    @property
    def added(self) -> Tensor:
        """The rows behind `base` (groups, m, width): a view of a buffer, until more are added."""
        return self._room[:, : self._added]

    @property
    def parts(self) -> tuple[Tensor, ...]:
        """Both parts, the empty ones left out."""
        return tuple(part for part in (self.base, self.added) if part.shape[1])

    def append(self, rows: Tensor) -> None:
        """Put (groups, m, width) behind the others."""
        end = self._added + rows.shape[1]
        if end > self._room.shape[1]:
            self._make_room(max(end, LEAST_ROOM, 2 * self._added))
        self._room[:, self._added : end] = rows
        self._added = end

    def reserve(self, count: int) -> None:
        """Make room for `count` more rows, which come in pieces: all that is there is moved once, not for each piece.

        Where it must be moved, there is then room for others, too: twice what was held, or `SPARE` rows more than are
        needed; at most twice what is needed.
        """
        end = self._added + count
        if end > self._room.shape[1]:
            self._make_room(end + max(min(end, SPARE), self._added - count))

    def _make_room(self, rows: int) -> None:
        larger = self.base.new_zeros((self.groups, -(-rows // self.chunk) * self.chunk, self.width))
        larger[:, : self._added] = self.added
        self._room = larger

    def gather(self, group: Tensor, ids: Tensor) -> Tensor:
        """The rows (…, width) of `ids` in the groups `group`, which must broadcast with them."""
        first = self.base.shape[1]
        if not self._added:
            return self.base[group, ids]
        if not first:
            return self._room[group, ids]
        old = self.base[group, ids.clamp(max=first - 1)]
        new = self._room[group, (ids - first).clamp(min=0)]
        return torch.where((ids < first)[..., None], old, new)

    def one(self, group: int, chunk: int) -> Tensor:
        """A view (chunk, width) of one chunk; of one that is not whole, what is missing may be anything."""
        first = self.base.shape[1]
        start = chunk * self.chunk
        held, start = (self.base, start) if start < first else (self._room, start - first)
        return held[group, start : start + self.chunk]

    def chunks(self, group: Tensor, ids: Tensor) -> Tensor:
        """The chunks (…, chunk, width) of `ids` likewise; of one that is not whole, what is missing may be anything."""
        first = self.base.shape[1] // self.chunk
        held, room = (part.view(self.groups, -1, self.chunk, self.width) for part in (self.base, self._room))
        if not self._added:
            return held[group, ids]
        if not first:
            return room[group, ids]
        group = group.expand_as(ids)
        found, new = held[group, ids.clamp(max=first - 1)], ids >= first
        found[new] = room[group[new], ids[new] - first]
        return found
