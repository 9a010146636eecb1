"""Landmark attention: a token at the end of each block stands for it, and opens or shuts it for a query.

    out, sums = landmark_attention(q, k, v, block=32)         # inside a training window; has a backward of its own

A sequence is cut into blocks of `block` positions, of which the last one is a landmark. For a query, its own block's
tokens and the landmarks of earlier blocks form one softmax; the tokens of each earlier block form one of their own,
whose weights are multiplied by that of the block's landmark. A landmark itself has no weight, and as a query belongs
to the block that it closes. So a query that ignores a landmark ignores its block, and an index of landmarks is enough
to find where to look (landmark_cache.py).

The same is a plain softmax over ordinary tokens with a bias for each query and block, s_landmark - logsumexp(s of the
block), 0 for its own: that is what the block kernel is given (`landmark_bias`).

Shapes    q (B, H, Q, D), k (B, G, K, D), v (B, G, K, E), H a multiple of G, the queries the last of the keys
          -> out (B, H, Q, E), sums (B, H, Q), the log of the query's softmax's denominator; -inf, out 0: nothing seen
Blocks    position p is a landmark where (p + lead) % block = block - 1; `lead` positions of the first block are missing
Cost      every score once; the backward keeps the weights, (B, H, Q, K) in q's type
Source    Mohtashami and Jaggi, "Random-Access Infinite Context Length for Transformers" (NeurIPS 2023, arXiv
          2305.16300), section 3; the backward and the bias are derived here
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from torch.autograd.function import once_differentiable

from foveal.attention.blocks import Blocks
from foveal.attention.kernel import block_attention
from foveal.attention.landmark_weights import Rows, grouped_gradients_, grouped_softmax_, wide
from foveal.errors import InputError

QUERIES, TILE = 256, 2**20
"""Queries of a text that are computed at a time, and scores, about: they stay in the processor's cache."""


# -- where landmarks stand ---------------------------------------------------------------------------------------------


def is_landmark(length: int, block: int, *, lead: int = 0, device: torch.device | None = None) -> Tensor:
    """Which of `length` positions are landmarks (length,) bool."""
    _check_block(block, lead)
    return (torch.arange(length, device=device) + lead) % block == block - 1


def insert_landmarks(ids: Tensor, block: int, landmark: int, *, lead: int = 0) -> Tensor:
    """Tokens (B, T) -> (B, T + landmarks): one after every block - 1 of them.

    `lead` tokens stand before these in their block, which is closed as soon as it is full. InputError: the landmark's
    id is among the tokens.
    """
    _check_block(block, lead)
    if ids.dim() != 2:
        raise InputError(f"Landmarks are put into tokens (batch, T); {tuple(ids.shape)} came.")
    if bool((ids == landmark).any()):
        raise InputError(f"The tokens hold the landmark's own id, {landmark}. Take it out of the text first.")
    count = ids.shape[1]
    length = count + (count + lead) // (block - 1)
    made = ids.new_full((len(ids), length), landmark)
    made[:, ~is_landmark(length, block, lead=lead, device=ids.device)] = ids
    return made


def strip_landmarks(ids: Tensor, block: int, *, lead: int = 0) -> Tensor:
    """What `insert_landmarks` was given."""
    return ids[:, ~is_landmark(ids.shape[1], block, lead=lead, device=ids.device)]


def _check_block(block: int, lead: int = 0) -> None:
    if block < 2:
        raise InputError(f"A block got {block} positions; it needs at least 2, a token and its landmark.")
    if not 0 <= lead < block:
        raise InputError(f"The first block lacks {lead} positions of {block}; it can lack 0 to {block - 1}.")


# -- attention ---------------------------------------------------------------------------------------------------------


def landmark_attention(
    q: Tensor, k: Tensor, v: Tensor, *, block: int, lead: int = 0, scale: float | None = None
) -> tuple[Tensor, Tensor]:
    """Grouped softmax over landmarks and their blocks (Mohtashami and Jaggi, NeurIPS 2023, section 3), causal.

    q (B, H, Q, D), k (B, G, K, D), v (B, G, K, E) -> output (B, H, Q, E) in q's type, also under autocast, and
    log-sum-exps (B, H, Q), through which no gradient goes; once differentiable. `block` positions end in a landmark,
    `lead` of the first are missing. InputError: shapes that do not fit.
    """
    _check(q, k, v, block, lead)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    with torch.autocast(q.device.type, enabled=False):  # what the backward keeps is of one type
        out, sums = _Grouped.apply(q, k, v, block, lead, scale)  # type: ignore[no-untyped-call]
    return out, sums


def _check(q: Tensor, k: Tensor, v: Tensor, block: int, lead: int) -> None:
    _check_block(block, lead)
    if q.dim() != 4 or k.dim() != 4 or v.dim() != 4:
        raise InputError("landmark_attention needs q (B, H, Q, D), k (B, G, K, D) and v (B, G, K, E).")
    batch, heads, queries, width = q.shape
    fits = k.shape[:3] == v.shape[:3] and k.shape[0] == batch and k.shape[3] == width
    if not fits or not k.shape[1] or heads % k.shape[1] or not 1 <= queries <= k.shape[2]:
        raise InputError(
            f"Queries {tuple(q.shape)}, keys {tuple(k.shape)} and values {tuple(v.shape)} do not fit: batches and "
            "widths must agree, heads be a multiple of key heads, and queries be the last of the keys, at least one."
        )
    if not q.dtype == k.dtype == v.dtype or not q.dtype.is_floating_point:
        raise InputError(f"q, k and v are {q.dtype}, {k.dtype}, {v.dtype}; give one floating-point type.")


@dataclass(frozen=True)
class _Tile:
    """Some batch rows, some queries of theirs, and keys 0 to `end`, whole blocks."""

    rows: slice
    queries: slice
    end: int
    where: Rows


def _tiles(q: Tensor, keys: int, where: Rows) -> Iterator[_Tile]:
    """All of it, about `TILE` scores at a time; `keys` counts the missing positions, too."""
    batch, heads, queries, _ = q.shape
    size = max(1, QUERIES // where.block) * where.block
    before = keys - queries
    for start in range(before // size * size, keys, size):
        first, stop = max(start, before), min(start + size, keys)
        end = -(-stop // where.block) * where.block
        step = max(1, TILE // (heads * (stop - first) * end))
        for row in range(0, batch, step):
            asked = slice(first - before, stop - before)
            yield _Tile(slice(row, row + step), asked, end, replace(where, first=first))


class _Grouped(torch.autograd.Function):
    """The attention with its backward."""

    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, block: int, lead: int, scale: float
    ) -> tuple[Tensor, Tensor]:
        keys, values = _whole_blocks(k, block, lead), _without_landmarks(_whole_blocks(v, block, lead), block)
        out = q.new_empty(*q.shape[:3], v.shape[3])
        sums = torch.empty(q.shape[:3], dtype=wide(q.dtype), device=q.device)
        kept = []
        for tile in _tiles(q, k.shape[2] + lead, Rows(0, block, lead, scale)):
            asked = _folded(q, tile, k.shape[1])
            scores = _by_query(asked @ keys[tile.rows, :, : tile.end].mT, tile)
            weights, told = grouped_softmax_(scores, tile.where)
            weights = weights.flatten(2, 3)
            y = weights @ values[tile.rows, :, : tile.end]
            out[tile.rows, :, tile.queries] = y.view(len(y), q.shape[1], _count(tile), -1)
            sums[tile.rows, :, tile.queries] = told.flatten(1, 2)
            kept += [weights] if any(ctx.needs_input_grad[:3]) else []
        ctx.save_for_backward(q, keys, values, out, *kept)
        ctx.how = k.shape[2], Rows(0, block, lead, scale)
        ctx.mark_non_differentiable(sums)
        return out, sums

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *gradients: Tensor) -> tuple[Tensor | None, ...]:
        with torch.autocast(gradients[0].device.type, enabled=False):
            return (*_Grouped.turned(ctx, gradients[0]), None, None, None)

    @staticmethod
    def turned(ctx: Any, given: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """The gradients of q, k and v, from that of the output."""
        q, keys, values, out, *kept = ctx.saved_tensors
        count, where = ctx.how
        given = given.to(q.dtype)
        delta = (given.to(wide(q.dtype)) * out).sum(-1)
        dq = torch.empty_like(q)
        dk, dv = (torch.zeros(part.shape, dtype=wide(q.dtype), device=q.device) for part in (keys, values))
        for tile, weights in zip(_tiles(q, count + where.lead, where), kept, strict=True):
            here = tile.rows, slice(None), slice(tile.end)
            asked, back = (_folded(part, tile, keys.shape[1]) for part in (q, given))
            told = _by_query(back @ values[here].mT, tile)
            spread = delta[tile.rows, :, tile.queries].reshape(told.shape[:4])
            turned = grouped_gradients_(weights.view(told.shape), told, spread, tile.where).flatten(2, 3)
            dq[tile.rows, :, tile.queries] = (turned @ keys[here]).view(len(turned), q.shape[1], _count(tile), -1)
            dk[here] += turned.mT @ asked
            dv[here] += weights.mT @ back
        dv = _without_landmarks(dv, where.block)
        dk, dv = (part[:, :, where.lead : where.lead + count].to(q.dtype) for part in (dk, dv))
        return dq, dk, dv


def _count(tile: _Tile) -> int:
    return int(tile.queries.stop - tile.queries.start)


def _by_query(scores: Tensor, tile: _Tile) -> Tensor:
    """(rows, G, H / G * queries, keys) -> (rows, G, H / G, queries, keys)."""
    return scores.view(*scores.shape[:2], -1, _count(tile), scores.shape[3])


def _folded(x: Tensor, tile: _Tile, groups: int) -> Tensor:
    """A tile of (B, H, Q, D), the heads of a group behind each other: (rows, G, H / G * queries, D)."""
    some = x[tile.rows, :, tile.queries]
    return some.reshape(len(some), groups, -1, x.shape[3])


def _whole_blocks(x: Tensor, block: int, lead: int) -> Tensor:
    """(B, G, K, D) with zeros where positions of the first and last block are missing."""
    room = -(x.shape[2] + lead) % block
    return F.pad(x, (0, 0, lead, room)) if lead or room else x


def _without_landmarks(x: Tensor, block: int) -> Tensor:
    """(B, G, whole blocks, E) with 0 for the landmarks, which have no weight."""
    made = x.clone()
    made[:, :, block - 1 :: block] = 0
    return made


# -- the same by the block kernel --------------------------------------------------------------------------------------


def landmark_bias(q: Tensor, k: Tensor, *, block: int, scale: float | None = None) -> tuple[Blocks, Tensor]:
    """What `block_attention` needs to be landmark attention: blocks, and a bias (B, H, Q, blocks)."""
    _check(q, k, k, block, 0)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    queries, keys = q.shape[2], k.shape[2]
    place = torch.arange(keys - queries, keys, device=q.device)[:, None]
    count = -(-keys // block)
    bias = torch.zeros(*q.shape[:3], count, dtype=torch.float32, device=q.device)
    for number in range((keys - 1) // block):  # a block at a time: no (Q, K) is ever made
        some = k[:, :, number * block : (number + 1) * block].repeat_interleave(q.shape[1] // k.shape[1], 1)
        scores = (q @ some.mT).float() * scale
        bias[..., number] = scores[..., -1] - scores[..., :-1].logsumexp(-1)
    past = torch.arange(count, device=q.device) < place // block
    return _ordinary(queries, keys, block, q.device), bias.where(past, 0.0)


def _ordinary(queries: int, keys: int, block: int, device: torch.device) -> Blocks:
    """Causal blocks, in which no landmark is seen."""

    def rule(batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:  # noqa: ARG001
        return key % block != block - 1

    causal = Blocks.causal(queries, keys, query_block=block, key_block=block, device=device)
    return replace(causal, rule=rule)


def kernel_attention(q: Tensor, k: Tensor, v: Tensor, *, block: int) -> Tensor:
    """The output of `landmark_attention` by the block kernel, without a backward."""
    blocks, bias = landmark_bias(q, k, block=block)
    return block_attention(q, k, v, blocks, bias=bias)[0]
