"""A few queries over many keys, on a processor: the keys are parted over its threads, and what the parts find is merged
by its log-sum-exp (Flash-Decoding, Dao et al., 2023).

    output, log_sum_exp = last_queries(q, k, v, scale=scale)   # decoding, or a question behind a long text that is kept

PyTorch's attention has nothing to divide there but heads, and goes through shared keys once for each of them. Here the
heads that share keys are rows of one, and the parts of the keys rows of a batch, so that each key is read once.

Shapes    q (1, H, Q, D), k (1, G, K, D), v (1, G, K, E), H a multiple of G -> output (1, H, Q, E) in q's type and
          log_sum_exp (1, H, Q) float32, as in kernel.py
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from foveal.attention.blocks import BLOCK, Blocks
from foveal.attention.kernel import block_attention, merge

ROWS, PART = 256, 2048
"""Most rows of one query block; keys of a part, about."""


def last_queries(query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of queries that are the last of the keys: each sees what came before it, and itself."""
    queries = query.shape[2]
    before = key.shape[2] - queries
    own = torch.ones(queries, queries, dtype=torch.bool, device=query.device).tril()
    near = within(query, key[:, :, before:], value[:, :, before:], own, scale=scale)
    return merge([every_key(query, key[:, :, :before], value[:, :, :before], scale=scale), near])


def every_key(query: Tensor, key: Tensor, value: Tensor, *, scale: float) -> tuple[Tensor, Tensor]:
    """Output and log-sum-exp of queries that see all keys; 0 and -inf where there is none."""
    parts = max(1, key.shape[2] // PART)
    even = key.shape[2] // parts * parts
    folded = query.reshape(1, key.shape[1], -1, query.shape[3]).expand(parts, -1, -1, -1)
    far = [part[0, :, :even].view(key.shape[1], parts, -1, part.shape[3]).transpose(0, 1) for part in (key, value)]
    blocks = _every_block(folded.shape[2], even // parts, query.device)
    outputs, sums = block_attention(folded, far[0], far[1], blocks, scale=scale)
    output, total = merge(list(zip(torch.split(outputs, 1), torch.split(sums, 1), strict=True)))
    found = output.reshape(*query.shape[:3], -1), total.reshape(query.shape[:3])
    if even == key.shape[2]:
        return found
    left = torch.ones(1, key.shape[2] - even, dtype=torch.bool, device=query.device)
    return merge([found, within(query, key[:, :, even:], value[:, :, even:], left, scale=scale)])


def within(query: Tensor, key: Tensor, value: Tensor, seen: Tensor, *, scale: float) -> tuple[Tensor, Tensor]:
    """The same over a few keys, by the definition, under a mask that is broadcast to (1, H, Q, K); float32 inside."""
    group = query.shape[1] // key.shape[1]
    keys, values = (part.float().repeat_interleave(group, 1) for part in (key, value))
    scores = (query.float() @ keys.transpose(-1, -2) * scale).masked_fill(~seen, -torch.inf)
    sums = scores.logsumexp(-1)
    return ((scores - sums[..., None]).exp() @ values).to(query.dtype), sums


@lru_cache(maxsize=16)
def _every_block(rows: int, keys: int, device: torch.device) -> Blocks:
    """All of them; kept, because every layer asks for the same."""
    block = -(-rows // -(-rows // ROWS))
    keep = torch.ones(1, 1, -(-rows // block), -(-keys // BLOCK), dtype=torch.bool, device=device)
    return Blocks(keep, rows, keys, query_block=block, is_causal=False)
