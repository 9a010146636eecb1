"""Documents that BlockRank has read, kept: a new query then costs its own few tokens.

    BlockRank(model, layout=KEPT, cache=BlockCache(folder))

Without the query in the instruction, a document's keys and values depend on the model, the instruction and its own
tokens, and on nothing else: no other document, no place in the list. They are kept up to the signal's layer, one
safetensors file a document (in memory where no folder is given), beside what they were made with.

Shapes    of L tokens at layer l: keys (l + 1, G, L, D), values (l, G, L, D)
Size      (2 l + 1) · G · D numbers a token: for Qwen 0.5B at layer 15 in bfloat16 7,936 bytes, about 1.2 MB a passage
"""

from __future__ import annotations

import hashlib
import json
import logging
import os
import time
from collections import OrderedDict
from collections.abc import Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from threading import Lock

from torch import Tensor

from foveal.errors import InputError
from foveal.evaluation.files import whole_file

log = logging.getLogger("foveal.ranking")

IN_MEMORY = 2**30
"""Bytes that are kept where there is no folder."""

STAYS = 0.9
"""Share of the most bytes of a folder that stays where room is made."""

HALF_WRITTEN = 3600.0
"""Seconds after which a file that is still being written was left by a process that is gone."""

Block = tuple[Tensor, Tensor]
"""Keys and values of one segment."""


class BlockCache:
    """Keys and values by what made them (`Scope`) and by the segment's tokens; safe for many threads."""

    def __init__(self, folder: Path | None = None, *, most_bytes: int | None = None) -> None:
        """Keep them in `folder` (default: as many as come), or in memory (default: `IN_MEMORY` bytes of them).

        With `most_bytes` the last used ones stay.
        """
        if most_bytes is not None and most_bytes < 1:
            raise InputError(f"A cache of {most_bytes} bytes keeps nothing. Give it more.")
        self.folder = folder
        self.most_bytes = IN_MEMORY if folder is None and most_bytes is None else most_bytes
        self._written = most_bytes or 0  # since the folder was looked through: it is, before the first file
        self._held: OrderedDict[str, Block] = OrderedDict()
        self._size = 0
        self._told = False  # that nothing can be written
        self._lock = Lock()

    @property
    def bytes(self) -> int:
        """What it holds now, on disk or in memory."""
        if self.folder is None:
            return self._size
        return sum(map(_size, self._files()))

    @property
    def room(self) -> float | None:
        """Bytes that can be kept beside each other for sure; None: as many as come."""
        return self.most_bytes if self.folder is None or self.most_bytes is None else STAYS * self.most_bytes

    def get(self, scope: Scope, ids: Sequence[int]) -> Block | None:
        """The block of those tokens; None where there is none, or its file is damaged."""
        if self.folder is not None:
            return _read(self._path(scope, ids), scope)
        with self._lock:
            found = self._held.get(scope.key(ids))
            if found is not None:
                self._held.move_to_end(scope.key(ids))
            return found

    def holds(self, scope: Scope, ids: Sequence[int]) -> bool:
        """Whether `get` would find it; looking does not count as using it."""
        if self.folder is not None:
            return self._path(scope, ids).is_file()
        with self._lock:
            return scope.key(ids) in self._held

    def put(self, scope: Scope, ids: Sequence[int], block: Block) -> None:
        """Keep it; in a folder whole or not at all. A folder that takes nothing is told of once."""
        if self.folder is not None:
            self._put_file(self._path(scope, ids), scope, block)
            return
        block = block[0].clone(), block[1].clone()  # a view of a pass would hold all that was read with it
        with self._lock:
            self._size += size_of(block) - size_of(self._held.pop(scope.key(ids), None))
            self._held[scope.key(ids)] = block
            while self._size > (self.most_bytes or 0) and len(self._held) > 1:
                self._size -= size_of(self._held.popitem(last=False)[1])

    def _put_file(self, path: Path, scope: Scope, block: Block) -> None:
        from safetensors import SafetensorError

        try:
            _write(path, scope, block)
            self._make_room(size_of(block))
        except (OSError, SafetensorError) as error:
            with self._lock:
                told, self._told = self._told, True
            if not told:
                log.warning(
                    "BlockRank's cache, %s, cannot be written to (%s); what is not kept there is read again each time. "
                    "Free some space, or name another cache by FOVEAL_CACHE.", self.folder, error,
                )  # fmt: skip

    def _files(self) -> list[Path]:
        """The blocks in the folder, without those that are being written."""
        assert self.folder is not None
        return [path for path in self.folder.glob("*/*.safetensors") if not path.name.startswith(".")]

    def _make_room(self, written: int) -> None:
        """Delete the files that were not used for longest, once a tenth of what may be kept was written."""
        if self.folder is None or self.most_bytes is None:
            return
        with self._lock:
            self._written += written
            if self._written < self.most_bytes / 10:
                return
            self._written = 0
            files = sorted(self._files(), key=_used)
            size = sum(map(_size, files))
            for path in files[:-1]:
                if size <= STAYS * self.most_bytes:
                    break
                size -= _size(path)
                path.unlink(missing_ok=True)
            for path in self.folder.glob("*/.partial-*"):
                if 0 < _used(path) < time.time() - HALF_WRITTEN:
                    path.unlink(missing_ok=True)

    def _path(self, scope: Scope, ids: Sequence[int]) -> Path:
        assert self.folder is not None
        return self.folder / scope.digest[:16] / f"{scope.key(ids)[:40]}.safetensors"


class Scope:
    """What a block was made with, besides its own tokens: model, layer, instruction."""

    def __init__(self, made_with: Mapping[str, str]) -> None:
        self.made_with = dict(made_with)
        self.digest = hashlib.sha256(json.dumps(self.made_with, sort_keys=True).encode()).hexdigest()

    def key(self, ids: Sequence[int]) -> str:
        """The name of a segment's block."""
        return hashlib.sha256(f"{self.digest} {' '.join(map(str, ids))}".encode()).hexdigest()


def size_of(block: Block | None) -> int:
    """Bytes of the numbers."""
    return sum(part.numel() * part.element_size() for part in block or ())


def fits(block: Block, tokens: int, layer: int) -> bool:
    """Whether a block is of so many tokens, up to that layer: a file may say rightly what it is of, and be cut."""
    shapes = [(part.dim(), *part.shape[:1], *part.shape[2:3]) for part in block]
    return shapes == [(4, layer + 1, tokens), (4, layer, tokens)]


def alike(blocks: Sequence[Block]) -> bool:
    """Whether all have the same heads and type: else some are another model's, and nobody knows which."""
    return len({tuple((part.shape[1], part.shape[3], part.dtype) for part in block) for block in blocks}) <= 1


def _used(path: Path) -> float:
    try:
        return path.stat().st_mtime
    except OSError:  # another process deleted it
        return 0.0


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def _read(path: Path, scope: Scope) -> Block | None:
    from safetensors import SafetensorError, safe_open

    try:
        with suppress(OSError):  # of another user, or on a disk that is read only
            os.utime(path)  # the last used ones are kept
        with safe_open(str(path), framework="pt") as opened:
            if opened.metadata() != scope.made_with:
                return None
            return opened.get_tensor("keys"), opened.get_tensor("values")
    except (OSError, SafetensorError):  # not there, or damaged: it is read anew, and written over
        return None


def _write(path: Path, scope: Scope, block: Block) -> None:
    from safetensors.torch import save_file

    keys, values = (part.detach().cpu().contiguous() for part in block)
    with whole_file(path) as partial:
        save_file({"keys": keys, "values": values}, str(partial), metadata=scope.made_with)
