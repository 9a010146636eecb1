"""Chunks of unequal length: one vector for each, their scores, and back to tokens and to the kernel's key blocks.

A chunk's vector is its tokens' sum over the root of their number ("sqrt"): the mean alone shrinks as chunks grow, for
their noise averages out. But keys share a large offset, which the root turns into a liking for long chunks; the
softmax does not see it, so "sqrt_centred" takes each head's mean key off first.

Shapes    vectors (B, H, L, d), boundaries (n + 1,) int64 with 0 first and L last  ->  (B, H, n, d) float32
          chunk scores (…, n)  ->  token scores (…, L)
          chunk vectors (…, n, d)  ->  key blocks' vectors (…, ceil(L / key_block), d)
Source    DHSA (Xiong et al., arXiv 2510.24606), sections "chunk aggregation" to "token selection"; centring: ours
Against   boundaries.py says where the chunks lie; here nothing is learned
"""

from __future__ import annotations

import torch
from torch import Tensor

from foveal.errors import InputError

POOLINGS = ("sqrt_centred", "sqrt", "mean", "max")


def check_boundaries(bounds: Tensor, length: int) -> None:
    """InputError unless `bounds` are 0 < … < L in int64, sorted, none twice."""
    whole = bounds.dim() == 1 and len(bounds) > 1 and bounds.dtype == torch.int64
    if not whole or int(bounds[0]) != 0 or int(bounds[-1]) != length or bool((bounds.diff() < 1).any()):
        raise InputError(
            f"Boundaries of {length} tokens must be an int64 tensor that starts with 0, rises, and ends with {length}; "
            f"got {tuple(bounds.shape)} {bounds.flatten()[:8].tolist()}."
        )


def chunk_of_token(bounds: Tensor) -> Tensor:
    """The chunk that each token stands in, (L,) int64."""
    return torch.repeat_interleave(bounds.diff())


def chunk_means(x: Tensor, bounds: Tensor, *, pooling: str = "sqrt_centred") -> Tensor:
    """One vector for each chunk of x (B, H, L, d): (B, H, n, d) float32. Time O(L·d).

    `pooling`: "mean"; "sqrt" = root of the chunk's length × mean; "sqrt_centred" = the same of x less its mean over L;
    "max" of each number. Sums run within a chunk only: a difference of running sums would lose digits in long texts.
    InputError: another pooling, or boundaries that do not fit.
    """
    if pooling not in POOLINGS:
        raise InputError(f"No pooling is called {pooling!r}. There are: {', '.join(POOLINGS)}.")
    check_boundaries(bounds, x.shape[2])
    x, lengths, chunk = x.float(), bounds.diff()[:, None], chunk_of_token(bounds)
    shape = (*x.shape[:2], len(lengths), x.shape[3])
    if pooling == "max":
        index = chunk[None, None, :, None].expand_as(x)
        return x.new_full(shape, float("-inf")).scatter_reduce_(2, index, x, "amax")
    sums = x.new_zeros(shape).index_add_(2, chunk, x)
    if pooling == "sqrt_centred":
        sums -= lengths * sums.sum(2, keepdim=True) / x.shape[2]
    return sums / (lengths if pooling == "mean" else lengths.float().sqrt())


def upsample(scores: Tensor, bounds: Tensor, length: int) -> Tensor:
    """Chunk scores (…, n) to token scores (…, L): each token has its chunk's."""
    check_boundaries(bounds, length)
    return scores[..., chunk_of_token(bounds)]


def block_vectors(vectors: Tensor, bounds: Tensor, key_block: int = 32) -> Tensor:
    """Chunk vectors (…, n, d) to key blocks' vectors (…, ceil(L / key_block), d); products with them are scores.

    A block's product is the mean of its tokens' scores, each its chunk's (of the last block, of the tokens it has): the
    mean of products is the product of the mean, so neither tokens nor chunks are scored. InputError: boundaries that do
    not fit the vectors, or no block size.
    """
    check_boundaries(bounds, int(bounds[-1]) if bounds.numel() else 0)
    if key_block < 1:
        raise InputError(f"A key block of {key_block} tokens was asked for; it needs at least 1.")
    if vectors.dim() < 2 or vectors.shape[-2] != len(bounds) - 1:
        raise InputError(
            f"Chunk vectors {tuple(vectors.shape)} came with the boundaries of {len(bounds) - 1} chunks; give (…, "
            f"{len(bounds) - 1}, d)."
        )
    chunks, share = _chunks_of_blocks(bounds, key_block)
    share = share.to(vectors.dtype)[..., None]
    found = vectors[..., chunks[0], :] * share[0]
    for chunk, part in zip(chunks[1:], share[1:], strict=True):
        found = torch.addcmul(found, vectors[..., chunk, :], part)
    return found


def _chunks_of_blocks(bounds: Tensor, key_block: int) -> tuple[Tensor, Tensor]:
    """The chunks that each key block meets, (most, blocks), and the share of its tokens in each.

    A block that meets fewer has its last chunk repeated, with a share of 0.
    """
    length = int(bounds[-1])
    starts = torch.arange(0, length, key_block, device=bounds.device)
    ends = (starts + key_block).clamp(max=length)
    first = torch.searchsorted(bounds, starts, right=True) - 1
    last = torch.searchsorted(bounds, ends) - 1
    most = int((last - first).max()) + 1
    chunks = first + torch.arange(most, device=bounds.device)[:, None]
    filled = chunks > last
    chunks = torch.minimum(chunks, last)
    within = torch.minimum(bounds[chunks + 1], ends) - torch.maximum(bounds[chunks], starts)
    return chunks, within.masked_fill(filled, 0).float() / (ends - starts)


def top_tokens(
    scores: Tensor, budget: int, *, block: int = 128, local: int = 128, sink: int = 128, window: int | None = None
) -> Tensor:
    """The keys that each block of queries looks at, token by token: scores (…, N, L) to bool of the same shape.

    Row b of N stands for the queries b·block …; it may look at keys before (b + 1)·block, on a layer that slides by
    `window` from the first query's left edge on. Of these it keeps the last `local`, the first `sink`, and by score as
    many as make `budget` (at most `window`) in all, or all if there are fewer. Equal scores: the earlier key. The exact
    reference of the method's first version; a block mask is made from `block_vectors`.
    InputError: a budget below local + sink.
    """
    budget = budget if window is None else min(budget, window)
    if budget < local + sink:
        raise InputError(f"A budget of {budget} keys cannot hold {local} local and {sink} first ones. Raise it.")
    rows, length = scores.shape[-2:]
    row = torch.arange(rows, device=scores.device)[:, None]
    key = torch.arange(length, device=scores.device)
    end = ((row + 1) * block).clamp(max=length)
    left = torch.zeros_like(row) if window is None else (row * block - window + 1).clamp(min=0)
    allowed = (key >= left) & (key < end)
    always = (key < left + sink) | (key >= end - local)
    ranked = scores.float().masked_fill(always, float("inf")).masked_fill(~allowed, float("-inf"))
    best = ranked.sort(dim=-1, descending=True, stable=True).indices[..., :budget]
    return torch.zeros_like(ranked, dtype=torch.bool).scatter_(-1, best, True) & allowed
