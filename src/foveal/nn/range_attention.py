"""Attention where each query sees one run of keys: sliding windows, blocks of time, clusters once they are sorted.

    if fits(q):
        y = range_attention(q, k, v, first, last, scale=D**-0.5)

Query i sees keys first[i] to last[i]; none where last < first, and its output is 0. With an `order`, place i of the
list is row order[i] of q, k, v and the output: sorted tokens need not be moved. Compiled for this machine, forward and
backward, in float32 (native/range_attention.cpp); the cost is that of the keys that are seen. Where it does not fit
(another device, float64, heads that are no multiple of 16 wide, no compiler, torch.compile, torch.func), callers have
another way.

Shapes    q (B, H, N, D), k and v (B, H, M, D), first and last (B or 1, H or 1, N), order (B, H, N) -> (B, H, N, D)
"""

from __future__ import annotations

import ctypes
from functools import cache
from typing import Any

import torch
from torch import Tensor

from foveal.errors import InputError
from foveal.models.compiled import library

SOURCE = "nn/native/range_attention.cpp"
LANES = 16


class _Ranged(ctypes.Structure):
    """`Ranged` of the source, field by field."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("q", "k", "v", "out", "lse", "told", "dq", "dk", "dv")),
        *((name, ctypes.c_void_p) for name in ("first", "last", "order")),
        *((name, ctypes.c_int64) for name in ("batch", "heads", "queries", "keys", "width")),
        *((name, ctypes.c_int64) for name in ("ranges_batch", "ranges_head")),
        ("scale", ctypes.c_float),
        ("threads", ctypes.c_int32),
    )


def fits(q: Tensor) -> bool:
    """Whether `range_attention` can be asked for such queries here."""
    if torch.compiler.is_compiling() or type(q) is not Tensor or torch._C._are_functorch_transforms_active():
        return False
    if q.device.type != "cpu" or q.shape[-1] % LANES or not q.numel():
        return False
    return q.dtype in (torch.float32, torch.bfloat16) and library(SOURCE) is not None and _agrees()


def range_attention(
    q: Tensor, k: Tensor, v: Tensor, first: Tensor, last: Tensor, *, scale: float, order: Tensor | None = None
) -> Tensor:
    """Softmax attention over runs of keys, in q's type; gradients reach q, k and v, once. Only where `fits(q)`.

    Keys before the first and behind the last are none. InputError: shapes that do not fit, an order of another type
    than torch.int64, or that does not hold each place once.
    """
    _check(q, k, v, first, last, order)
    shape = [max(one, other) for one, other in zip(first.shape, last.shape, strict=True)]
    there = first.clamp(min=0), last.clamp(max=k.shape[2] - 1)
    ranges = [one.to(torch.int32).expand(shape).contiguous() for one in there]
    wide = (one.float().contiguous() for one in (q, k, v))
    given: Tensor = _Attention.apply(*wide, *ranges, None if order is None else order.contiguous(), scale)  # type: ignore[no-untyped-call]
    return given.to(q.dtype)


def _check(q: Tensor, k: Tensor, v: Tensor, first: Tensor, last: Tensor, order: Tensor | None) -> None:
    batch, heads, queries, width = q.shape
    fit = k.shape == v.shape and (*k.shape[:2], k.shape[3]) == (batch, heads, width)
    fit = fit and all(one.shape[0] in (1, batch) and one.shape[1] in (1, heads) for one in (first, last))
    fit = fit and first.shape[2] == last.shape[2] == queries
    if not fit or (order is not None and (order.shape != q.shape[:3] or k.shape[2] != queries)):
        shapes = ", ".join(str(tuple(one.shape)) for one in (q, k, v, first, last, order) if one is not None)
        raise InputError(
            f"range_attention got {shapes}; it needs queries (B, H, N, D), keys and values (B, H, M, D), ranges "
            "(B or 1, H or 1, N), and with an order (B, H, N) as many keys as queries."
        )
    if order is None:
        return
    if order.dtype != torch.int64:  # the kernel reads its bytes
        raise InputError(f"range_attention got an order of {order.dtype}; it needs torch.int64: give order.long().")
    if not _each_once(order):  # what it reads and writes lies where the order says
        raise InputError(f"range_attention got an order that is none: each head needs 0 to {queries - 1}, each once.")


def _each_once(order: Tensor) -> bool:
    """Whether the last dimension holds each of its places once."""
    if order.amin() < 0 or order.amax() >= order.shape[-1]:
        return False
    return bool(torch.zeros_like(order, dtype=torch.bool).scatter_(-1, order, True).all())


class _Attention(torch.autograd.Function):
    @staticmethod
    def forward(
        ctx: Any, q: Tensor, k: Tensor, v: Tensor, first: Tensor, last: Tensor, order: Tensor | None, scale: float
    ) -> Tensor:
        out, sums = torch.empty_like(q), q.new_empty(q.shape[:3])
        _call("foveal_range_attention", (q, k, v, out, sums), (None,) * 4, (first, last, order), scale)
        ctx.save_for_backward(q, k, v, out, sums, first, last, order)
        ctx.scale = scale
        return out

    @staticmethod
    @torch.autograd.function.once_differentiable
    def backward(ctx: Any, told: Tensor) -> tuple[Tensor | None, ...]:
        *made, first, last, order = ctx.saved_tensors
        turned = [torch.zeros_like(one) for one in made[:3]]
        arrived = told.contiguous(), *turned
        _call("foveal_range_attention_backward", made, arrived, (first, last, order), ctx.scale)
        return *turned, None, None, None, None


def _call(name: str, made: Any, turned: Any, where: Any, scale: float) -> None:
    q, first = made[0], where[0]
    call = _Ranged(
        *(None if part is None else part.data_ptr() for part in (*made, *turned, *where)),
        *(*q.shape[:3], made[1].shape[2], q.shape[3]),
        *(first.stride(axis) if first.shape[axis] > 1 else 0 for axis in (0, 1)),
        *(scale, torch.get_num_threads()),
    )
    getattr(library(SOURCE), name)(ctypes.byref(call))


@cache
def _agrees() -> bool:
    """Whether what the compiler made says what PyTorch says; whatever the caller's context is."""
    with torch.device("cpu"), torch.inference_mode(False), torch.enable_grad(), torch.autocast("cpu", enabled=False):
        return _tried()


def _tried() -> bool:
    draw = torch.Generator().manual_seed(0)
    q, k, v, told = (torch.randn(1, 2, 150, 32, generator=draw, dtype=torch.float32) for _ in range(4))
    parts = [one.requires_grad_() for one in (q, k, v)]
    place = torch.arange(150)
    first, last = (place - 40).clamp(min=0)[None, None], place[None, None]
    seen = (place >= first[0, 0][:, None]) & (place <= place[:, None])
    ours = _Attention.apply(*parts, first.int(), last.int(), None, 0.2)  # type: ignore[no-untyped-call]
    theirs = (q @ k.mT * 0.2).masked_fill(~seen, -torch.inf).softmax(-1) @ v
    pairs = [(ours, theirs)]
    pairs += zip(torch.autograd.grad(ours, parts, told), torch.autograd.grad(theirs, parts, told), strict=True)
    return all(torch.allclose(one, other, atol=1e-4, rtol=1e-4) for one, other in pairs)
