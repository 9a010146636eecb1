"""LongHeads, what a query chooses: a vector for each chunk, its product with the query, and the best few chunks.

A chunk's vector is, as published, its keys weighted by what its own mean output asks for:

    O = softmax(Q K^T / sqrt d) V     within the chunk, all tokens see all
    c = softmax(mean(O) K^T / sqrt d) K

A query takes the first chunk, its own and the one before, and of those in between the `free` ones with the largest
products: no scale and no softmax, for only the order counts. It never sees a chunk that its text has not yet filled.

Shapes    of N = m l tokens in chunks of l: queries (H, m, l, D), keys and values (G, m, l, D), both turned by the
          offset within the chunk  ->  vectors (H, m, R) float32; a query asks as it is before it is turned
Kinds     attention: as above; mean: mean key, not turned; mean_rope: mean turned key; minmax: bounds of each dimension
          (Quest, Tang et al. 2024); as controls random, and none: no free chunk
Source    arXiv 2402.10685, section 3; of the two rules for the forced chunks the one of its code
"""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.attention.rotation import Rotation

KINDS = ("attention", "mean", "mean_rope", "minmax", "random", "none")

FORCED = 3
"""Chunks that every query sees: the first, its own, and the one before."""

LEAST_FOLD = 4
"""Columns that are folded into one when the largest of many numbers are searched; for fewer it does not pay."""


def spread(x: Tensor, heads: int) -> Tensor:
    """What groups (G, …) hold, for each of their `heads`: (H, …)."""
    return x if len(x) == heads else x.repeat_interleave(heads // len(x), 0)


def in_chunks(x: Tensor, size: int) -> Tensor:
    """(X, m size, …) as (X, m, size, …), a view."""
    return x.view(len(x), -1, size, *x.shape[2:])


def represent(kind: str, queries: Tensor, keys: Tensor, values: Tensor, scale: float, rotation: Rotation) -> Tensor:
    """A vector (H, m, R) for each whole chunk; R is D, or 2 D for bounds."""
    heads = len(queries)
    if kind == "attention":
        return _by_attention(queries, spread(keys, heads), spread(values, heads), scale)
    wide = keys.float()
    if kind == "minmax":
        return spread(torch.cat([wide.amax(2), wide.amin(2)], -1), heads)
    if kind == "mean":
        wide = rotation(wide, -torch.arange(keys.shape[2], device=keys.device))
    return spread(wide.mean(2), heads)


def _by_attention(queries: Tensor, keys: Tensor, values: Tensor, scale: float) -> Tensor:
    asked = F.scaled_dot_product_attention(queries, keys, values, scale=scale).float().mean(2, keepdim=True)
    wide = keys.float()
    return ((asked @ wide.transpose(-1, -2) * scale).softmax(-1) @ wide)[:, :, 0]


def asking(kind: str, queries: Tensor) -> Tensor:
    """What queries (…, D), not turned, ask a chunk's vector with: (…, R) float32.

    Scores are linear in it, so that its mean over some queries gives the mean of their scores.
    """
    wide = queries.float()
    return torch.cat([wide.clamp(min=0), wide.clamp(max=0)], -1) if kind == "minmax" else wide


def scores(kind: str, queries: Tensor, vectors: Tensor) -> Tensor:
    """How much queries (H, Q, D), not turned, want each chunk of vectors (H, m, R): (H, Q, m) float32.

    minmax: the largest product that a key within the bounds may have.
    """
    return asking(kind, queries) @ vectors.transpose(-1, -2)


def drawn(seeds: Sequence[int], places: Tensor, heads: int, chunks: int) -> Tensor:
    """The control: numbers (H, Q, m) for queries at places (Q,), drawn anew for each head, place and chunk.

    They hang on the seeds (of the text, and the layer) and the place, not on how much was read, or in how many passes.
    """
    rows = [
        np.random.default_rng([*seeds, place]).random((chunks, heads), dtype=np.float32) for place in places.tolist()
    ]
    return torch.from_numpy(np.stack(rows)).permute(2, 0, 1).to(places.device)


def choose(wanted: Tensor, chunk: Tensor, free: int) -> Tensor:
    """The chunks (X, Q, FORCED + free), in the text's order, of queries that stand in the chunks `chunk` (Q,).

    `wanted` (X, Q, m) scores chunks 0 to m - 1; each query must have `free` chunks between the first and the two last.
    """
    all_may = max(1, int(chunk.min()) - 1)  # what stands before it may be chosen by every query
    ids = torch.arange(all_may, wanted.shape[-1], device=wanted.device)
    late = wanted[..., all_may:].masked_fill(ids >= chunk[:, None] - 1, -torch.inf)
    best = most(torch.cat([wanted[..., 1:all_may], late], -1), free) + 1
    forced = torch.stack([torch.zeros_like(chunk), chunk - 1, chunk], -1)
    return torch.cat([best, forced.expand(*best.shape[:2], -1)], -1).sort(-1).values


def most(x: Tensor, k: int) -> Tensor:
    """The places (…, k) of the k largest numbers of x (…, n), in no order.

    Exact, by two short searches in place of a long one: of columns that are folded over each other the k with the
    largest maxima hold all that is wanted.
    """
    count = x.shape[-1]
    fold = math.isqrt(count // k) if k else 0
    if fold < LEAST_FOLD:
        return x.topk(k).indices
    width = -(-count // fold)
    folded = F.pad(x, (0, fold * width - count), value=-torch.inf)
    columns = folded.reshape(*x.shape[:-1], fold, width).amax(-2).topk(k).indices
    ids = (columns[..., None] + width * torch.arange(fold, device=x.device)).flatten(-2)
    places: Tensor = ids.gather(-1, folded.gather(-1, ids).topk(k).indices)
    return places


def by_group(wanted: Tensor, groups: int) -> Tensor:
    """Scores (H, …) added up over the heads of each group: (G, …)."""
    return wanted.view(groups, len(wanted) // groups, *wanted.shape[1:]).sum(1)
