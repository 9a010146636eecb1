"""bench attention, kernel: the block kernel against dense attention and against FlexAttention, on random tensors.

exact       all blocks, float32, against PyTorch's dense attention
cost        seconds at a share d of the causal blocks over those of PyTorch's causal attention, in bfloat16, in turn:
            at most 1.3 (d + 0.02)
FlexAttention  the same blocks by PyTorch's own kernel, compiled, where it compiles
few         one query and 24 over many keys, dense, against PyTorch's as transformers asks it: head by head
step        DHSA's decoding step over 1,024 keys against PyTorch's over all, the heads of a group in one product
"""

from __future__ import annotations

import warnings
from collections.abc import Callable, Iterator
from functools import partial
from itertools import count
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor
from torch.nn.attention.flex_attention import flex_attention
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention import DHSA, Blocks, block_attention
from foveal.attention.dense import dense_attention
from foveal.attention.masks import Mask
from foveal.bench.settings import BenchSettings
from foveal.evaluation.speed import paired
from foveal.evaluation.tables import Row

HEADS, GROUPS, WIDTH = 14, 2, 64
SHARES = (0.02, 0.05, 0.1, 0.2, 0.4, 0.6, 1.0)
OVERHEAD, SLOWER = 0.02, 1.3

LONG_STEP = 65_536
"""Keys from which a sparse decoding step, and our dense one, must be the faster one."""


def kernel(settings: BenchSettings) -> Iterator[Row]:
    """All rows of this module."""
    yield from exact()
    lengths = (8_192,) if settings.quick else (16_384, 32_768)
    for length in lengths:
        yield from cost(length, settings)
    yield from flex(lengths[0], settings)
    for length in (65_536,) if settings.quick else (16_384, 65_536, 131_072):
        yield from few(length)
        yield step(length)


def exact() -> Iterator[Row]:
    """The largest difference to PyTorch's attention, with a length that no block divides."""
    for dtype, most in ((torch.float32, 1e-5), (torch.bfloat16, 1e-2)):
        q, k, v = tensors(1_500, dtype)
        ours, _ = block_attention(q, k, v, Blocks.causal(1_500, 1_500))
        theirs = scaled_dot_product_attention(q.float(), k.float(), v.float(), is_causal=True, enable_gqa=True)
        error = float((ours.float() - theirs).abs().max())
        name = str(dtype).removeprefix("torch.")
        yield Row.of(f"block kernel, all blocks, {name}", "greatest error", error, at_most=most)


def cost(length: int, settings: BenchSettings) -> Iterator[Row]:
    """A row for each share of the blocks."""
    q, k, v = tensors(length, torch.bfloat16)
    for share in SHARES[:: 2 if settings.quick else 1]:
        blocks = drawn(length, share, settings.seed)
        density = float(blocks.density().mean())
        with torch.inference_mode():
            ratio = paired(partial(block_attention, q, k, v, blocks), dense(q, k, v), runs=3)
        most = None if share == 1 else SLOWER * (density + OVERHEAD)
        note = f"{ratio.a_ms / 1000:.2f} s against {ratio.b_ms / 1000:.2f}"
        yield Row.of(
            f"block kernel, {length // 1024}k, {density:.1%} of the blocks",
            "time / dense",
            ratio.median,
            at_most=most,
            note=note,
        )


def flex(length: int, settings: BenchSettings) -> Iterator[Row]:
    """FlexAttention on the same blocks, beside ours."""
    q, k, v = tensors(length, torch.bfloat16)
    blocks = drawn(length, 0.1, settings.seed)
    mask = blocks.block_mask()
    with warnings.catch_warnings(), torch.inference_mode():
        warnings.simplefilter("ignore")
        compiled = torch.compile(flex_attention)

        def theirs() -> Tensor:
            output: Tensor = compiled(q, k, v, block_mask=mask, enable_gqa=True)
            return output

        try:
            error = float((theirs().float() - block_attention(q, k, v, blocks)[0].float()).abs().max())
        except (RuntimeError, OSError) as failed:  # its compiler said no
            yield Row.of("FlexAttention", "times as fast", float("nan"), note=f"not run: {type(failed).__name__}")
            return
        ratio = paired(theirs, lambda: block_attention(q, k, v, blocks), runs=3)
    note = f"{length // 1024}k, {float(blocks.density().mean()):.0%} of the blocks; greatest difference {error:.3f}"
    yield Row.of("block kernel / FlexAttention", "times as fast", ratio.median, at_least=1.0, note=note)


def few(length: int) -> Iterator[Row]:
    """A decoding step and a question of 24 tokens, both dense, behind `length` keys less their own."""
    _, k, v = (part.contiguous() for part in tensors(length, torch.bfloat16))
    for queries in (1, 24):
        q = tensors(queries, torch.bfloat16, seed=1)[0]
        mask = Mask.causal(1, queries, length)
        theirs = partial(scaled_dot_product_attention, q, k, v, attn_mask=mask.dense, enable_gqa=True)
        ours = partial(dense_attention, q, k, v, mask, scale=WIDTH**-0.5)
        with torch.inference_mode():
            error = float((theirs() - ours()).float().abs().max())
            ratio = paired(theirs, ours, runs=50)
        at_least = 1.0 if length >= LONG_STEP else None
        note = f"{ratio.b_ms:.2f} ms against {ratio.a_ms:.2f}; greatest difference {error:.3f}"
        name = f"dense, {queries} of {length // 1024}k"
        yield Row.of(name, "times as fast", ratio.median, at_least=at_least, note=note)


def step(length: int) -> Row:
    """A layer's step behind a prompt of `length` keys and an answer that has begun."""
    method, steps = DHSA(budget=1024, boundaries="fixed", sparse_decode=True), 200
    _, k, v = (part.contiguous() for part in tensors(length + steps, torch.bfloat16))  # as caches hold them
    q = tensors(1, torch.bfloat16, seed=1)[0]
    folded = q.reshape(1, GROUPS, HEADS // GROUPS, WIDTH)
    context: Any = SimpleNamespace(scale=WIDTH**-0.5, layer=0, memory={}, softcap=None, sinks=None)
    keys = count(length + 1)

    def sparse() -> Tensor | None:
        so_far = next(keys)
        return method.decode(q, k[:, :, :so_far], v[:, :, :so_far], context)

    with torch.inference_mode():
        ratio = paired(lambda: scaled_dot_product_attention(folded, k, v), sparse, runs=50)
    at_least = 1.0 if length >= LONG_STEP else None
    note = f"{ratio.b_ms:.2f} ms against {ratio.a_ms:.2f}"
    return Row.of(
        f"DHSA's decoding step, {length // 1024}k", "times as fast", ratio.median, at_least=at_least, note=note
    )


def tensors(length: int, dtype: torch.dtype, seed: int = 0) -> tuple[Tensor, Tensor, Tensor]:
    """Random queries, keys and values as a model has them: heads beside each other in memory."""
    draw = torch.Generator().manual_seed(seed)
    shapes = ((1, length, count, WIDTH) for count in (HEADS, GROUPS, GROUPS))
    q, k, v = (torch.randn(shape, generator=draw).to(dtype).transpose(1, 2) for shape in shapes)
    return q, k, v


def dense(q: Tensor, k: Tensor, v: Tensor) -> Callable[[], Tensor]:
    """PyTorch's causal attention."""
    return lambda: scaled_dot_product_attention(q, k, v, is_causal=True, enable_gqa=True)


def drawn(length: int, share: float, seed: int) -> Blocks:
    """About `share` of the causal blocks, another choice for each head, each query's own among them."""
    count = -(-length // 128)
    draw = torch.Generator().manual_seed(seed)
    causal = count * (count + 1) / 2
    wanted = max(0.0, (share * causal - count) / (causal - count))
    keep = torch.rand(1, HEADS, count, count, generator=draw) < wanted
    return Blocks.of(keep | torch.eye(count, dtype=torch.bool), queries=length, keys=length)
