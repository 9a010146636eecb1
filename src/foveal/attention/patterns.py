"""The patterns that need no look at the text, or a short one: what adaptive methods are held against.

Streaming       the first tokens and the last before each query (StreamingLLM, Xiao et al., ICLR 2024)
VerticalSlash   a fixed number of key columns and of diagonals, chosen by the attention of the last queries
                (MInference's pattern, Jiang et al., NeurIPS 2024, with one size for every head, in whole blocks, and by
                the last 128 queries: by its 64 less attention is kept)
BlockTopK       for each query block the key blocks of the highest product of block means
RandomBlocks    blocks at random: what any choice must beat; both with a dense tail, as DHSA's, if asked
Dense           everything, by the same kernel: what a report shows of no choice at all

Shapes    keep (1, H, query blocks, key blocks); block 0 and each query's own block are always among them
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, ClassVar

import torch
from torch import Tensor

from foveal.attention.blocks import BLOCK, Blocks
from foveal.attention.estimates import by_share, check_finite, last_masses, to_blocks
from foveal.attention.method import BlockMethod
from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.attach import Context


@dataclass(frozen=True)
class Dense(BlockMethod):
    """Every block: dense attention by the block kernel, so that a report shows what no choice would give."""

    name: ClassVar[str] = "dense"

    def prefill(self, query: Tensor, key: Tensor, context: Context) -> Blocks | None:  # noqa: ARG002
        """All of them."""
        rows, columns = self.grid(query, key)
        return self.blocks((columns <= rows[:, None] + BLOCK)[None, None], query, key)


@dataclass(frozen=True)
class Streaming(BlockMethod):
    """The first `sinks` and, before each query, the last `recent` tokens, both in whole blocks.

    StreamingLLM (Xiao et al., ICLR 2024), as a prefill. InputError: `sinks` below 0 or `recent` below 1.
    """

    sinks: int = BLOCK
    recent: int = 1024
    name: ClassVar[str] = "streaming"

    def __post_init__(self) -> None:
        """InputError: nothing to look at."""
        if self.sinks < 0 or self.recent < 1:
            raise InputError(f"Streaming got {self.sinks} sinks and {self.recent} recent tokens; it needs 0 and 1.")

    def prefill(self, query: Tensor, key: Tensor, context: Context) -> Blocks | None:  # noqa: ARG002
        """The same for every head and text."""
        rows, columns = self.grid(query, key)
        recent = columns > rows[:, None] - -(-self.recent // self.key_block)
        return self.blocks(((columns * self.key_block < self.sinks) | recent)[None, None], query, key)


@dataclass(frozen=True)
class VerticalSlash(BlockMethod):
    """For each head `vertical` tokens of columns and `slash` tokens of diagonals, by the last queries' attention.

    MInference's pattern (Jiang et al., NeurIPS 2024), with one size for every head. InputError: a size below 1.
    """

    vertical: int = 1024
    slash: int = 1024
    paired: bool = True  # keep both diagonals of blocks that a band of distances touches
    name: ClassVar[str] = "vertical-slash"

    def __post_init__(self) -> None:
        """InputError: a size below 1."""
        if min(self.vertical, self.slash) < 1:
            raise InputError(f"VerticalSlash got {self.vertical} and {self.slash}; both must be at least 1 token.")

    def prefill(self, query: Tensor, key: Tensor, context: Context) -> Blocks | None:
        """The columns and diagonals that the last queries look at most."""
        rows, places = self.grid(query, key)
        masses = last_masses(query, key, self.key_block, scale=context.scale, softcap=context.softcap)
        check_finite(query, key, *masses)
        columns, slashes = (to_blocks(mass, self.key_block) for mass in masses)
        columns[..., 0] = slashes[..., 0] = torch.inf
        chosen = _top(columns, -(-self.vertical // self.key_block))
        diagonals = _top(slashes, -(-self.slash // self.key_block))
        if self.paired:
            diagonals[..., 1:] |= diagonals[..., :-1].clone()
        return self.blocks(chosen[:, :, None] | on_diagonals(diagonals, rows, places), query, key)


@dataclass(frozen=True)
class BlockTopK(BlockMethod):
    """For each query block `density` (above 0, at most 1) of the key blocks before it, by the product of the means.

    `dense_tail`: last tokens, a prompt's question, that look at everything, as DHSA's do. InputError: a density that is
    no such share, or a tail below 0.
    """

    density: float = 0.125
    dense_tail: int = 0
    name: ClassVar[str] = "block-topk"

    def __post_init__(self) -> None:
        """InputError: a density that is no share, or a tail below 0."""
        _check_share("BlockTopK", self.density, self.dense_tail)

    def prefill(self, query: Tensor, key: Tensor, context: Context) -> Blocks | None:
        """The best blocks of each row."""
        rows, columns = self.grid(query, key)
        scores = self.mean_scores(query, key, context.scale)
        keep = by_share(scores, rows, columns, self.density) | self.last(query, key, self.dense_tail)
        return self.blocks(keep, query, key)


@dataclass(frozen=True)
class RandomBlocks(BlockMethod):
    """For each query block `density` (above 0, at most 1) of the key blocks before it, drawn by layer and head.

    What any choice must beat; `dense_tail` as in BlockTopK: what a choice adds where a prompt's question sees all.
    InputError: a density that is no such share, or a tail below 0.
    """

    density: float = 0.125
    seed: int = 0
    dense_tail: int = 0
    name: ClassVar[str] = "random"

    def __post_init__(self) -> None:
        """InputError: a density that is no share, or a tail below 0."""
        _check_share("RandomBlocks", self.density, self.dense_tail)

    def prefill(self, query: Tensor, key: Tensor, context: Context) -> Blocks | None:
        """The same draw for the same layer and lengths."""
        draw = torch.Generator().manual_seed(self.seed * 1009 + context.layer)
        rows, columns = self.grid(query, key)
        scores = torch.rand(1, query.shape[1], len(rows), len(columns), generator=draw, dtype=torch.float32)
        scores = scores.to(query.device)
        keep = by_share(scores, rows, columns, self.density) | self.last(query, key, self.dense_tail)
        return self.blocks(keep, query, key)


def _check_share(name: str, density: float, dense_tail: int) -> None:
    if not 0 < density <= 1:
        raise InputError(f"{name} got a density of {density}; it must lie above 0 and at most be 1.")
    if dense_tail < 0:
        raise InputError(f"{name} got dense_tail {dense_tail}; it must be at least 0 tokens.")


def on_diagonals(diagonals: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """Blocks (…, R, C) at a distance (row less column) that is true in `diagonals` (…, distances)."""
    distance = rows[:, None] - columns
    found = diagonals[..., distance.clamp(0, diagonals.shape[-1] - 1)]
    return found & (distance >= 0) & (distance < diagonals.shape[-1])


def _top(scores: Tensor, count: int) -> Tensor:
    """The `count` largest along the last dimension, as booleans."""
    best = scores.topk(min(count, scores.shape[-1]), dim=-1).indices
    return torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, best, value=True)
