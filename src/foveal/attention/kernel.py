"""block_attention: the one kernel that looks. It visits the blocks that it is given, and no others.

    output, log_sum_exp = block_attention(q, k, v, blocks)

On a CPU it is the C++ of native/block_attention.cpp, compiled once; on a GPU FlexAttention's Triton kernel; where there
is no compiler, a plain loop with the same results. Partial results over disjoint keys are merged by their log-sum-exp.

Shapes    q (B, H, Q, D), k (B, G, K, D), v (B, G, K, E), H a multiple of G -> output (B, H, Q, E) in q's type,
          log_sum_exp (B, H, Q) float32, natural, -inf where a query sees nothing (its output is 0)
"""

from __future__ import annotations

import ctypes
import logging
import math
from collections.abc import Sequence
from functools import cache
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import AuxRequest, BlockMask, flex_attention

from foveal.attention.blocks import Blocks
from foveal.attention.estimates import capped
from foveal.errors import InputError
from foveal.models.compiled import library

log = logging.getLogger("foveal.attention")

SOURCE = "attention/native/block_attention.cpp"


def block_attention(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    blocks: Blocks | BlockMask,
    *,
    scale: float | None = None,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """Softmax attention of each query over the keys of its kept blocks: (output, log-sum-exp).

    q (B, H, Q, D), k (B, G, K, D), v (B, G, K, E), H a multiple of G -> output (B, H, Q, E) in q's type, log-sum-exp
    (B, H, Q) float32, natural. `scale` of the products: None is D ** -0.5. A query that sees nothing gets 0 and -inf.
    `bias` (B or 1, H or 1, Q, key blocks) float32 is added to the scaled scores of each key block; `softcap` c turns
    scaled scores s into c * tanh(s / c) before. InputError: shapes that do not fit, or a type that is none of float32,
    bfloat16, float16.
    """
    if isinstance(blocks, BlockMask):
        blocks = Blocks.from_block_mask(blocks)
    _check(q, k, v, blocks, bias)
    scale = q.shape[-1] ** -0.5 if scale is None else scale
    if not k.shape[2]:
        return q.new_zeros(*q.shape[:3], v.shape[3]), q.new_full(q.shape[:3], -math.inf, dtype=torch.float32)
    if torch.is_grad_enabled() and any(part.requires_grad for part in (q, k, v)):
        return plain(q, k, v, blocks, scale=scale, bias=bias, softcap=softcap)  # the only one that has a backward
    if q.device.type == "cuda" and min(_tile(blocks.query_block), _tile(blocks.key_block)) >= LEAST_TILE:
        return _flex(q, k, v, blocks, scale, bias, softcap)
    even = q.dtype != torch.bfloat16 or blocks.key_block % 2 == 0  # its products take keys in pairs
    computed = native(q.dtype if even else torch.float32) if q.device.type == "cpu" else None
    if computed:
        wide = q.to(computed), k.to(computed), v.to(computed)
        output, sums = _native(*wide, blocks, scale, bias, softcap)
        return output.to(q.dtype), sums
    return plain(q, k, v, blocks, scale=scale, bias=bias, softcap=softcap)


def merge(parts: Sequence[tuple[Tensor, Tensor]]) -> tuple[Tensor, Tensor]:
    """The attention over all keys from that over disjoint parts of them: outputs and log-sum-exps as above."""
    sums = torch.stack([log_sum for _, log_sum in parts])
    total = sums.logsumexp(0)
    shares = (sums - _some(total)).exp()
    output = sum((share[..., None] * out.float() for share, (out, _) in zip(shares, parts, strict=True)))
    return torch.as_tensor(output).to(parts[0][0].dtype), total


def with_sinks(output: Tensor, sums: Tensor, sinks: Tensor | None) -> tuple[Tensor, Tensor]:
    """Output (…, H, Q, E) and log-sum-exp (…, H, Q) of a softmax in whose denominator stands, for each head, one more.

    `sinks` (H,) are its scores, learned, as gpt-oss has them; nothing is behind it, so what goes there is lost. None:
    the model has none.
    """
    if sinks is None:
        return output, sums
    score = sinks.float()[:, None]
    kept = (sums - score).sigmoid()
    return (output.float() * kept[..., None]).to(output.dtype), torch.logaddexp(sums, score)


def _some(sums: Tensor) -> Tensor:
    """Log-sum-exps, 0 for those of nothing, of which -inf then is a share of 0; what is no number stays so."""
    return sums.masked_fill(sums == -math.inf, 0.0)


def _check(q: Tensor, k: Tensor, v: Tensor, blocks: Blocks, bias: Tensor | None) -> None:
    if q.dim() != 4 or k.dim() != 4 or v.dim() != 4:
        raise InputError("block_attention needs q (B, H, Q, D), k (B, G, K, D) and v (B, G, K, E).")
    batch, heads, queries, width = q.shape
    fits = k.shape[0] == v.shape[0] == batch and k.shape[1:3] == v.shape[1:3] and k.shape[3] == width
    if not fits or not k.shape[1] or heads % k.shape[1]:
        raise InputError(
            f"Queries {tuple(q.shape)}, keys {tuple(k.shape)} and values {tuple(v.shape)} do not fit: batches, lengths "
            "and the width of queries and keys must agree, and query heads be a multiple of key heads."
        )
    if (blocks.queries, blocks.keys) != (queries, k.shape[2]):
        raise InputError(
            f"The blocks are for {blocks.queries} queries and {blocks.keys} keys; {queries} and {k.shape[2]} came."
        )
    if blocks.keep.shape[0] not in (1, batch) or blocks.keep.shape[1] not in (1, heads):
        raise InputError(f"The blocks are for {tuple(blocks.keep.shape[:2])}; queries came for {(batch, heads)}.")
    if not q.dtype == k.dtype == v.dtype or q.dtype not in (torch.float32, torch.bfloat16, torch.float16):
        raise InputError(f"q, k and v are {q.dtype}, {k.dtype}, {v.dtype}; give one of float32, bfloat16, float16.")
    if bias is not None and not _fits(bias, (batch, heads, queries, blocks.keep.shape[3])):
        raise InputError(f"bias is {tuple(bias.shape)}; it needs (B or 1, H or 1, {queries}, {blocks.keep.shape[3]}).")
    if blocks.real is not None and tuple(blocks.real.shape) != (batch, blocks.keys):
        raise InputError(f"The blocks' real keys are {tuple(blocks.real.shape)}; they need {(batch, blocks.keys)}.")


def _fits(bias: Tensor, shape: tuple[int, int, int, int]) -> bool:
    if bias.dim() != 4 or tuple(bias.shape[2:]) != shape[2:]:
        return False
    return bias.shape[0] in (1, shape[0]) and bias.shape[1] in (1, shape[1])


# -- plain -----------------------------------------------------------------------------------------------------------


def plain(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    blocks: Blocks,
    *,
    scale: float,
    bias: Tensor | None = None,
    softcap: float | None = None,
) -> tuple[Tensor, Tensor]:
    """The same by PyTorch alone, query block by query block, each over the keys that any head's blocks hold."""
    group = q.shape[1] // k.shape[1]
    out, sums = q.new_zeros(*q.shape[:3], v.shape[3]), q.new_full(q.shape[:3], -math.inf, dtype=torch.float32)
    for row in range(blocks.keep.shape[2]):
        columns = blocks.keep[:, :, row].flatten(0, 1).any(0).nonzero().flatten()
        if not len(columns):
            continue
        start, end = row * blocks.query_block, min(blocks.queries, (row + 1) * blocks.query_block)
        places = (columns[:, None] * blocks.key_block + torch.arange(blocks.key_block, device=q.device)).flatten()
        places = places[places < blocks.keys]
        keys, values = (part[:, :, places].float().repeat_interleave(group, 1) for part in (k, v))
        scores = q[:, :, start:end].float() @ keys.transpose(-1, -2) * scale
        scores = capped(scores, softcap)
        if bias is not None:
            scores = scores + bias[:, :, start:end][..., places // blocks.key_block]
        rows = torch.arange(start, end, device=q.device)
        scores = scores.masked_fill(~blocks.seen_at(rows, places), -math.inf)
        sums[:, :, start:end] = scores.logsumexp(-1)
        weights = (scores - _some(sums[:, :, start:end, None])).exp()
        out[:, :, start:end] = (weights @ values).to(q.dtype)
    return out, sums


# -- C++ -------------------------------------------------------------------------------------------------------------


class _Strides(ctypes.Structure):
    _fields_ = tuple((name, ctypes.c_int64) for name in ("batch", "head", "row"))


class _Call(ctypes.Structure):
    """`Call` of the source, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("query", "key", "value", "out", "lse")),
        *((f"{name}_strides", _Strides) for name in ("query", "key", "value", "out")),
        *((name, ctypes.c_int64) for name in ("batch", "heads", "groups", "queries", "keys", "width", "value_width")),
        *((name, ctypes.c_int64) for name in ("query_block", "key_block")),
        *((name, ctypes.c_void_p) for name in ("starts", "indices", "rules")),
        *((name, ctypes.c_int64) for name in ("lists_batch", "lists_head", "offset", "window")),
        *((name, ctypes.c_void_p) for name in ("real", "tokens", "bias")),
        *((name, ctypes.c_int64) for name in ("bias_batch", "bias_head", "bias_row")),
        *((name, ctypes.c_float) for name in ("scale", "cap")),
        *((name, ctypes.c_int32) for name in ("bfloat16", "threads", "causal")),
    )


def _native(
    q: Tensor, k: Tensor, v: Tensor, blocks: Blocks, scale: float, bias: Tensor | None, softcap: float | None
) -> tuple[Tensor, Tensor]:
    q, k, v = (part if part.stride(-1) == 1 else part.contiguous() for part in (q, k, v))
    out = q.new_empty(q.shape[0], q.shape[2], q.shape[1], v.shape[3]).transpose(1, 2)
    sums = q.new_empty(q.shape[:3], dtype=torch.float32)
    lists = blocks.lists
    tokens, real = (None if part is None else part.contiguous() for part in (lists.tokens, blocks.real))
    bias = None if bias is None else bias.float().contiguous()
    rows, heads = blocks.keep.shape[2], blocks.keep.shape[1]
    call = _Call(
        *(part.data_ptr() for part in (q, k, v, out, sums)),
        *(_Strides(*part.stride()[:3]) for part in (q, k, v, out)),
        *(q.shape[0], q.shape[1], k.shape[1], q.shape[2], k.shape[2], q.shape[3], v.shape[3]),
        *(blocks.query_block, blocks.key_block),
        *(part.data_ptr() for part in (lists.starts, lists.indices, lists.rules)),
        *(rows * heads if blocks.keep.shape[0] > 1 else 0, rows if heads > 1 else 0),
        *(blocks.offset, blocks.window or 0),
        *(None if part is None else part.data_ptr() for part in (real, tokens, bias)),
        *(_steps(bias) if bias is not None else (0, 0, 0)),
        *(scale, softcap or 0.0),
        *(int(q.dtype == torch.bfloat16), torch.get_num_threads(), int(blocks.is_causal)),
    )
    found = library(SOURCE)
    assert found is not None
    if found.foveal_block_attention(ctypes.byref(call)):
        raise MemoryError("The block kernel ended early: there was no memory, or its products failed.")
    return out, sums


def _steps(bias: Tensor) -> list[int]:
    return [0 if size == 1 else stride for size, stride in zip(bias.shape[:3], bias.stride()[:3], strict=True)]


def native(dtype: torch.dtype) -> torch.dtype | None:
    """What the compiled kernel computes tensors of `dtype` in; None where none of it is right on this machine, or as
    long as it cannot be made.
    """
    return _computed_in(dtype) if library(SOURCE) is not None else None


@cache
def _computed_in(dtype: torch.dtype) -> torch.dtype | None:
    return torch.bfloat16 if dtype == torch.bfloat16 and _agrees(dtype) else _or_none(torch.float32)


def _or_none(dtype: torch.dtype) -> torch.dtype | None:
    return dtype if _agrees(dtype) else None


def _agrees(dtype: torch.dtype) -> bool:
    """Whether the products of this machine are what they should be: those of bfloat16 need AVX-512 or better."""
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, 300, 64, generator=draw).to(dtype) for heads in (2, 1, 1))
    blocks = Blocks.causal(300, 300)  # the sizes of real use: what a processor can do may hang on them
    try:
        ours = _native(q, k, v, blocks, 0.125, None, None)
    except MemoryError:
        return False
    theirs = plain(q, k, v, blocks, scale=0.125)
    return all(torch.allclose(one.float(), other.float(), atol=0.05) for one, other in zip(ours, theirs, strict=True))


# -- FlexAttention ---------------------------------------------------------------------------------------------------

LEAST_TILE, TILE, WIDE_TILE = 16, 128, 32
"""Edge of a Triton kernel's tile: the least that it multiplies, the most that PyTorch chooses for heads up to 128 wide,
and what also wider ones have room for."""


def _tile(block: int) -> int:
    """The largest power of two that divides an edge of a block, at most `TILE`."""
    return min(block & -block, TILE)


def _tiles(blocks: Blocks, width: int) -> dict[str, int]:
    """FlexAttention's options of its tiles, where those that PyTorch would choose may not divide the blocks.

    It refuses such blocks (its tiles have up to 128 queries and keys, DHSA's key blocks 32); others it knows best.
    """
    sides = {"BLOCK_M": blocks.query_block, "BLOCK_N": blocks.key_block}
    most = TILE if width <= TILE else WIDE_TILE
    return {name: min(_tile(edge), most) for name, edge in sides.items() if edge % TILE}


@cache
def _compiled() -> Any:
    return torch.compile(flex_attention)


def _flex(
    q: Tensor,
    k: Tensor,
    v: Tensor,
    blocks: Blocks,
    scale: float,
    bias: Tensor | None,
    softcap: float | None,
    attention: Any = None,
) -> tuple[Tensor, Tensor]:
    """By FlexAttention; `attention` is that of PyTorch, compiled unless given."""
    size = blocks.key_block

    def adjusted(score: Tensor, batch: Tensor, head: Tensor, query: Tensor, key: Tensor) -> Tensor:
        score = capped(score, softcap)
        if bias is not None:
            b = batch if bias.shape[0] > 1 else 0
            h = head if bias.shape[1] > 1 else 0
            score = score + bias[b, h, query, key // size]
        return score

    output, more = (attention or _compiled())(
        q,
        k,
        v,
        score_mod=adjusted if softcap or bias is not None else None,
        block_mask=blocks.block_mask(),
        scale=scale,
        enable_gqa=q.shape[1] != k.shape[1],
        return_aux=AuxRequest(lse=True),
        kernel_options=_tiles(blocks, max(q.shape[3], v.shape[3])),
    )
    return output, more.lse
