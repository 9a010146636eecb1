"""What a model has read, kept for prompts that begin alike: instructions, documents, a talk so far. One limit in bytes.

    kept = PrefixCache(512 * 2**20)
    LocalChat(language_model, kept=kept)               # any number of threads, chats and documents share it

A tree: a node is one whole chunk of a prompt (`decoding.CHUNK` tokens) behind the chunks before it, with the keys and
values of every layer. Two prompts share the nodes of what they begin with, so instructions are kept once for all
documents, and a document once for all its questions. A node never changes: a prompt that is read copies the nodes into
its own buffers (a memory copy, against a pass through the model), and its new chunks out of them.

Shapes    a node's keys and values: of each layer (kv_heads, chunk, head_dim), in the model's type
Limit     beyond it the leaf that was used longest ago goes; a chunk that others build on stays until they are gone
Exact     chunks begin at the same places whoever reads them, so an answer is the same to the bit with and without
After     the radix tree of SGLang (Zheng et al., 2024, arXiv 2312.07104, section 3), here with copies instead of paged
          attention: buffers stay contiguous for the decode step
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from threading import Lock
from typing import TYPE_CHECKING

from torch import Tensor

from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.models.key_values import KeyValues


Held = tuple[tuple[Tensor, Tensor], ...]
"""Keys and values of a chunk, for each layer."""


@dataclass(eq=False)
class _Node:
    """One chunk behind its parent."""

    ids: tuple[int, ...]
    parent: _Node | None
    held: Held = ()
    below: dict[tuple[int, ...], _Node] = field(default_factory=dict)
    used: int = 0  # at this tick

    @property
    def bytes(self) -> int:
        """What it holds."""
        return sum(one.numel() * one.element_size() for pair in self.held for one in pair)


class PrefixCache:
    """Chunks of prompts that one model has read. Threads may share it; two models may not."""

    def __init__(self, most_bytes: int) -> None:
        """InputError: no room."""
        if most_bytes < 1:
            raise InputError(f"A cache got {most_bytes} bytes; it needs room for something. Leave it out instead.")
        self.most_bytes = most_bytes
        self.bytes = 0
        self.found = 0  # tokens that need not be read again
        self.missed = 0  # tokens that were read
        self._root = _Node((), None)
        self._tick = 0
        self._lock = Lock()

    def match(self, ids: Sequence[int], chunk: int) -> list[Held]:
        """Keys and values of the whole chunks that `ids` begins with and that are kept; one token is left to read."""
        with self._lock:
            self._tick += 1
            node, found = self._root, list[Held]()
            for start in range(0, len(ids) - chunk, chunk):
                below = node.below.get(tuple(ids[start : start + chunk]))
                if below is None:
                    break
                node = below
                node.used = self._tick
                found.append(node.held)
            return found

    def put(self, ids: Sequence[int], layers: Sequence[KeyValues], chunk: int) -> None:
        """Keep the whole chunks `ids` that `layers` (of one row) hold at their beginning."""
        with self._lock:
            self._tick += 1
            node = self._root
            for start in range(0, len(ids) - chunk + 1, chunk):
                own = tuple(ids[start : start + chunk])
                below = node.below.get(own)
                if below is None:
                    below = _copied(own, node, layers, start, start + chunk)
                    node.below[own] = below
                    self.bytes += below.bytes
                below.used = self._tick
                node = below
            self._shrink()

    def count(self, found: int, missed: int) -> None:
        """Note how many tokens of a prompt were here, and how many had to be read."""
        with self._lock:
            self.found += found
            self.missed += missed

    def _shrink(self) -> None:
        """Drop leaves, the longest unused first, until the rest fits."""
        while self.bytes > self.most_bytes:
            leaf = min(self._leaves(self._root), key=lambda node: node.used, default=None)
            if leaf is None or leaf.parent is None:
                return
            del leaf.parent.below[leaf.ids]
            self.bytes -= leaf.bytes

    def _leaves(self, node: _Node) -> list[_Node]:
        found, waiting = list[_Node](), [node]
        while waiting:
            one = waiting.pop()
            waiting += one.below.values()
            if not one.below and one.parent is not None:
                found.append(one)
        return found


def restore(layers: Sequence[KeyValues], chunks: Sequence[Held], start: int) -> None:
    """Put chunks behind the first `start` tokens of the one row that `layers` hold."""
    for chunk in chunks:
        for layer, (keys, values) in zip(layers, chunk, strict=True):
            layer.length = start  # what lies behind it was of another prompt
            layer.update(keys[None], values[None])
        start += chunk[0][0].shape[1]


def _copied(ids: tuple[int, ...], parent: _Node, layers: Sequence[KeyValues], start: int, end: int) -> _Node:
    held = tuple((one.keys[0, :, start:end].clone(), one.values[0, :, start:end].clone()) for one in layers)
    return _Node(ids, parent, held)
