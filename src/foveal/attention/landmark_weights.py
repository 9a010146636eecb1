"""The grouped softmax over scores of landmark attention, and its backward: compiled, or by PyTorch's operations.

    weights, sums = grouped_softmax_(scores, rows)         # in the scores' place
    grouped_gradients_(weights, told, delta, rows)         # in told's place

With w the weights, g_B those of blocks by their landmarks, and t the gradient that arrives at the weights:

    delta = sum of w t             over all tokens of the query; the output times its gradient
    own block, token j             w_j (t_j - delta)
    earlier block B, token j       w_j (t_j - mean_B)      mean_B = sum of w t in B over sum of w in B
    its landmark                   sum of w t in B - g_B delta

Shapes    scores (…, Q, K), K whole blocks of keys; sums, delta (…, Q); Q the positions `first` and on
"""

from __future__ import annotations

import ctypes
import math
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor

from foveal.models.compiled import library

SOURCE = "attention/native/grouped_softmax.cpp"


@dataclass(frozen=True)
class Rows:
    """Where queries stand: the first one's position, a block's positions, and how many the first block lacks."""

    first: int
    block: int
    lead: int
    scale: float


class _Grouped(ctypes.Structure):
    """`Grouped` of the source, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("scores", "told", "sums")),
        *((name, ctypes.c_int64) for name in ("rows", "queries", "width", "block", "lead", "first")),
        ("scale", ctypes.c_float),
        *((name, ctypes.c_int32) for name in ("bfloat16", "threads")),
    )


def wide(dtype: torch.dtype) -> torch.dtype:
    """What sums are computed in."""
    return torch.float64 if dtype == torch.float64 else torch.float32


def grouped_softmax_(scores: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """Products (…, Q, K), contiguous, become the weights, in a landmark's place that of its block; and the sums."""
    if _compiled_for(scores):
        sums = torch.empty(scores.shape[:-1], dtype=torch.float32)
        _call("foveal_grouped_softmax", scores, None, sums, rows)
        return scores, sums
    weights, sums = by_operations(scores.to(wide(scores.dtype)), rows)
    return scores.copy_(weights), sums


def grouped_gradients_(weights: Tensor, told: Tensor, delta: Tensor, rows: Rows) -> Tensor:
    """Gradients of the weights (…, Q, K), contiguous, become those of the products."""
    if _compiled_for(weights):
        _call("foveal_grouped_softmax_backward", weights, told, delta.float().contiguous(), rows)
        return told
    kind = wide(weights.dtype)
    return told.copy_(gradients_by_operations(weights.to(kind), told.to(kind), delta.to(kind), rows))


def _compiled_for(scores: Tensor) -> bool:
    known = scores.device.type == "cpu" and scores.dtype in (torch.float32, torch.bfloat16)
    return known and library(SOURCE) is not None and _agrees(scores.dtype)


def _call(name: str, scores: Tensor, told: Tensor | None, sums: Tensor, rows: Rows) -> None:
    call = _Grouped(
        *(None if part is None else part.data_ptr() for part in (scores, told, sums)),
        *(sums.numel(), scores.shape[-2], scores.shape[-1], rows.block, rows.lead, rows.first),
        rows.scale,
        *(int(scores.dtype == torch.bfloat16), torch.get_num_threads()),
    )
    if getattr(library(SOURCE), name)(ctypes.byref(call)):
        raise MemoryError(f"There is no memory for the weights of {scores.shape[-1]:,} keys.")


@cache
def _agrees(dtype: torch.dtype) -> bool:
    """Whether what the compiler made says what the operations say."""
    draw = torch.Generator().manual_seed(0)
    scores = (torch.randn(3, 40, 64, generator=draw) * 3).to(dtype)
    told, rows = torch.randn(3, 40, 64, generator=draw).to(dtype), Rows(24, 16, 3, 0.5)
    right, right_sums = by_operations(scores.float(), rows)
    sums = torch.empty(3, 40, dtype=torch.float32)
    made = scores.clone()
    _call("foveal_grouped_softmax", made, None, sums, rows)
    turned = told.clone()
    _call("foveal_grouped_softmax_backward", made, turned, sums, rows)
    wanted = gradients_by_operations(made.float(), told.float(), sums, rows)
    pairs = ((made, right), (sums, right_sums), (turned, wanted))
    near = 1e-5 if dtype == torch.float32 else 2e-2
    return all(torch.allclose(one.float(), other, atol=near, rtol=near) for one, other in pairs)


def by_operations(scores: Tensor, rows: Rows) -> tuple[Tensor, Tensor]:
    """The weights and sums of products (…, Q, K)."""
    count = scores.shape[-1] // rows.block
    place, own, past = _where(scores, rows)
    scores = (scores * rows.scale).reshape(*scores.shape[:-1], count, rows.block)
    marks = scores[..., -1].masked_fill(~past, -math.inf)
    position = torch.arange(count * rows.block, device=scores.device).view(count, rows.block)
    hidden = (position > place[:, None, None]) | (position % rows.block == rows.block - 1) | (position < rows.lead)
    scores = scores.masked_fill(hidden, -math.inf)
    top = scores.amax(-1)
    top = torch.where(top == -math.inf, 0.0, top)
    within = (scores - top[..., None]).exp()
    total = within.sum(-1)
    gates = torch.where(own, top + total.log(), marks)
    sums = gates.logsumexp(-1)
    gates = (gates - torch.where(sums == -math.inf, 0.0, sums)[..., None]).exp()
    within = within * (gates / total.clamp(min=torch.finfo(total.dtype).tiny))[..., None]
    within[..., -1] = gates * past
    return within.flatten(-2), sums


def gradients_by_operations(weights: Tensor, told: Tensor, delta: Tensor, rows: Rows) -> Tensor:
    """The gradients of products (…, Q, K)."""
    _, _, past = _where(weights, rows)
    weights, told = (part.reshape(*part.shape[:-1], -1, rows.block) for part in (weights, told))
    ordinary, gates = weights[..., :-1], weights[..., -1]
    spread = (ordinary * told[..., :-1]).sum(-1)
    mean = spread / ordinary.sum(-1).clamp(min=torch.finfo(weights.dtype).tiny)
    centre = torch.where(past, mean, delta[..., None])
    of_marks = (spread - gates * delta[..., None]) * past
    turned = torch.cat([ordinary * (told[..., :-1] - centre[..., None]), of_marks[..., None]], -1)
    return turned.flatten(-2) * rows.scale


def _where(scores: Tensor, rows: Rows) -> tuple[Tensor, Tensor, Tensor]:
    """Positions of queries (Q,), and which block (Q, blocks) is their own, and which are earlier."""
    place = rows.first + torch.arange(scores.shape[-2], device=scores.device)
    number = torch.arange(scores.shape[-1] // rows.block, device=scores.device)
    own = (place // rows.block)[:, None]
    return place, number == own, number < own
