"""Dense attention under a model's own mask, by whichever of two kernels is faster on this machine: PyTorch's, or ours.

In bfloat16 on a processor ours is: PyTorch's leaves the products to a library that, without AMX, runs them at a
fraction of what oneDNN gives, and with AMX spends more on packing and on its softmax; ours also skips what a sliding
window hides. For a few queries, on a GPU and in float32, PyTorch's runs; few queries of heads that share keys as rows
of one head.

Shapes    as in kernel.py
"""

from __future__ import annotations

import time
from functools import cache, lru_cache

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention.blocks import Blocks
from foveal.attention.estimates import capped
from foveal.attention.flash_decoding import last_queries
from foveal.attention.kernel import block_attention, native, with_sinks
from foveal.attention.masks import Mask

LEAST, FEWEST = 64, 8
"""Queries from which on the block kernel runs: it has little to divide in fewer; and the same on a processor without
AMX, where PyTorch's products in bfloat16 are so slow that it is the faster one earlier."""
ROWS, MANY = 64, 8192
"""Queries times the heads that share keys, and keys, from which on fewer queries go through it by flash-decoding."""

MEASURED, COSTLIEST = 2048, 10.0
"""Tokens that both kernels are measured on, and the most that the measurement says."""


def dense_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    mask: Mask,
    *,
    scale: float,
    softcap: float | None = None,
    sinks: Tensor | None = None,
) -> Tensor:
    """The output (B, H, Q, D) of the queries under `mask`; `softcap` and `sinks` (H,) as in kernel.py."""
    if mask.begins:
        key, value = (part[:, :, : query.shape[2]] for part in (key, value))
        mask = Mask.causal(len(query), query.shape[2], query.shape[2], device=query.device)
    plain = softcap is None and sinks is None
    if mask.by_position and softcap is None and parts_keys(query, key, mask):
        return with_sinks(*last_queries(query, key, value, scale=scale), sinks)[0]
    if mask.by_position and (not plain or prefers_blocks(query)):
        looked = block_attention(query, key, value, dense_blocks(mask), scale=scale, softcap=softcap)
        return with_sinks(*looked, sinks)[0]
    seen = mask.dense
    if not plain:
        return capped_attention(query, key, value, seen, scale=scale, softcap=softcap, sinks=sinks)
    alike = query.shape[2] == 1 if seen is None else tuple(seen.shape[1:]) == (1, query.shape[2], key.shape[2])
    if alike and folds(query, key):
        return _folded(query, key, value, seen, scale)
    return scaled_dot_product_attention(
        query,
        key,
        value,
        attn_mask=seen,
        is_causal=seen is None and mask.by_position and query.shape[2] > 1,
        scale=scale,
        enable_gqa=query.shape[1] != key.shape[1],
    )


def capped_attention(
    query: Tensor,
    key: Tensor,
    value: Tensor,
    seen: Tensor | None,
    *,
    scale: float,
    softcap: float | None,
    sinks: Tensor | None = None,
) -> Tensor:
    """Attention by its definition, for a few queries or a mask of the caller's own: `seen` (B, 1, Q, K), bool or added.

    `softcap` and `sinks` (H,) as in kernel.py. Makes (B, H, Q, K) in float32.
    """
    group = query.shape[1] // key.shape[1]
    keys, values = (part.float().repeat_interleave(group, 1) for part in (key, value))
    scores = capped(query.float() @ keys.transpose(-1, -2) * scale, softcap)
    if seen is not None:
        scores = scores.masked_fill(~seen, -torch.inf) if seen.dtype == torch.bool else scores + seen
    nothing = scores.detach().amax(-1, keepdim=True) == -torch.inf
    output = (scores.softmax(-1).masked_fill(nothing, 0.0) @ values).to(query.dtype)
    return output if sinks is None else with_sinks(output, scores.logsumexp(-1), sinks)[0]


def prefers_blocks(query: Tensor) -> bool:
    """Whether the block kernel is the faster one for tensors like this."""
    count = query.shape[2]
    return count >= FEWEST and suits_blocks(query) and (count >= LEAST or not _has_amx())


def folds(query: Tensor, key: Tensor) -> bool:
    """Whether heads share keys that PyTorch, on a processor, would go through once for each of them."""
    return query.device.type == "cpu" and query.shape[2] < LEAST and query.shape[1] > key.shape[1]


def _folded(query: Tensor, key: Tensor, value: Tensor, seen: Tensor | None, scale: float) -> Tensor:
    """PyTorch's attention with the heads of a group as rows of one."""
    share = query.shape[1] // key.shape[1]
    folded = query.reshape(query.shape[0], key.shape[1], -1, query.shape[3])
    rows = None if seen is None else seen.repeat(1, 1, share, 1)
    found = scaled_dot_product_attention(folded, key, value, attn_mask=rows, scale=scale)
    return found.reshape(*query.shape[:3], -1)


def parts_keys(query: Tensor, key: Tensor, mask: Mask) -> bool:
    """Whether these few queries see so many keys that flash-decoding is the faster one."""
    few = query.shape[0] == 1 and query.shape[2] < LEAST
    rows = query.shape[1] // key.shape[1] * query.shape[2]
    many = few and rows >= ROWS and key.shape[2] >= MANY
    return many and not mask.slides and mask.real is None and suits_blocks(query)


def suits_blocks(query: Tensor) -> bool:
    """Whether the block kernel makes products of tensors like this at the processor's rate."""
    if query.device.type != "cpu" or query.dtype != torch.bfloat16 or (torch.is_grad_enabled() and query.requires_grad):
        return False
    return native(torch.bfloat16) == torch.bfloat16


@cache
def _has_amx() -> bool:
    return bool(torch.cpu._is_amx_tile_supported())


@cache
def cost_of_blocks(dtype: torch.dtype, width: int) -> float:
    """What the block kernel takes on this processor, as a share of PyTorch's attention, where both look everywhere.

    Measured once in a process, in a tenth of a second or so, the best of three each; at most `COSTLIEST`.
    """
    query, key = (torch.ones(1, heads, MEASURED, width, dtype=dtype) for heads in (8, 2))
    blocks = Blocks.causal(MEASURED, MEASURED)
    ours, theirs = [], []
    for _ in range(3):
        start = time.perf_counter()
        block_attention(query, key, key, blocks)
        between = time.perf_counter()
        scaled_dot_product_attention(query, key, key, is_causal=True, enable_gqa=True)
        ours.append(between - start)
        theirs.append(time.perf_counter() - between)
    return min(COSTLIEST, min(ours) / min(theirs))


def dense_blocks(mask: Mask) -> Blocks:
    """Every block that there is to see under `mask`."""
    _, _, queries, keys = mask.shape
    if mask.real is None:
        return _causal(queries, keys, mask.window, mask.device)
    return Blocks.causal(queries, keys, window=mask.window, real=mask.real, device=mask.device)


@lru_cache(maxsize=16)
def _causal(queries: int, keys: int, window: int | None, device: torch.device) -> Blocks:
    return Blocks.causal(queries, keys, window=window, device=device)
