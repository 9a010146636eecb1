"""bench memory-longheads: reading past the trained window, each head by its own chunks.

    exact       against the definition, token by token; the model's own attention; a token after what was read
    small       a model that was trained for 256 bytes: likelihood, recall, time (memory_longheads_small.py)
    heads       a needle in 4,000 tokens: who finds its chunk; the attention that chosen chunks hold, on real text
                (memory_longheads_heads.py)
    speed       one layer of Qwen 0.5B beside dense attention

Tasks of whole models, which take long, are `foveal bench memory-longheads-tasks`.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator

import torch
from torch import Tensor
from torch.nn.functional import scaled_dot_product_attention

from foveal.attention import LongHeads, attach
from foveal.attention.longheads_layers import ChunkedText, Shape
from foveal.attention.memory_parts import Scores
from foveal.attention.rotation import Rotation, rotations_of
from foveal.bench.memory_longheads_heads import mass_rows, needle_rows
from foveal.bench.memory_longheads_model import Recipe, untrained
from foveal.bench.memory_longheads_small import small_rows
from foveal.bench.settings import BenchSettings
from foveal.evaluation.needle import growth
from foveal.evaluation.tables import Row

HEADS, GROUPS, WIDTH = 14, 2, 64
LENGTHS = (8192, 16_384, 32_768, 65_536)
"""Tokens of the texts that a full run times."""


def longheads(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench memory-longheads`."""
    yield from exact_rows()
    yield from small_rows(settings)
    yield from speed_rows(quick=settings.quick)
    yield from needle_rows(settings)
    yield from mass_rows(settings)


# -- exact -------------------------------------------------------------------------------------------------------------


def exact_rows() -> Iterator[Row]:
    """Against the definition, in float32, on drawn queries and keys of two groups."""
    model = untrained(Recipe())
    rotation = rotations_of(model).of("full_attention")
    shape, draw = Shape(8, 6, 48), torch.Generator().manual_seed(0)
    parts = [torch.randn(1, heads, 203, 32, generator=draw) for heads in (4, 2, 2)]
    exact = by_definition(shape, rotation, *(part[0].double() for part in parts))
    method = LongHeads(selection="token")
    told = _read(method, shape, rotation, parts, (203,))
    far = float((told - exact).abs().max())
    yield Row.of(
        "LongHeads, by token", "greatest error", far, at_most=1e-4, note="against a loop over tokens in float64"
    )
    pieces = _read(method, shape, rotation, parts, (100, 101, 102, 150, 203))
    yield Row.of("LongHeads, in pieces", "greatest error", float((pieces - exact).abs().max()), at_most=1e-4)
    still = _read(LongHeads(selection="token", remap=False), shape, rotation, parts, (203,))
    away = float((still - exact)[:, shape.begin :].abs().max())
    yield Row.of("control: chunks that are not moved", "greatest error", away, at_least=0.05, note="a mask is not it")
    ids = torch.randint(256, (1, 256), generator=draw)
    with torch.inference_mode():
        dense = model(input_ids=ids).logits
        with attach(model, LongHeads(chunk_size=16, attention_length=256)):
            ours = model(input_ids=ids, use_cache=False).logits
    far = float((ours - dense).abs().max() / dense.abs().max())
    yield Row.of(
        "a text within the window", "logits' error, relative", far, at_most=1e-4, note="against dense attention"
    )


def by_definition(shape: Shape, rotation: Rotation, q: Tensor, k: Tensor, v: Tensor) -> Tensor:
    """Queries (H, N, D), keys and values (G, N, D), not turned: the output, a token and a head at a time."""
    size, share, scale = shape.chunk, len(q) // len(k), q.shape[-1] ** -0.5
    out = torch.zeros_like(q)

    def turned(x: Tensor, places: list[int]) -> Tensor:
        cos, sin = rotation.angles(torch.tensor(places))
        half = x.shape[-1] // 2
        return x * cos.double() + torch.cat((-x[..., half:], x[..., :half]), -1) * sin.double()

    offsets = list(range(size))
    for head in range(len(q)):
        keys, values = k[head // share], v[head // share]
        vectors = []
        for start in range(0, q.shape[1] // size * size, size):
            asked, held = (turned(x[start : start + size], offsets) for x in (q[head], keys))
            mean = ((asked @ held.T * scale).softmax(-1) @ values[start : start + size]).mean(0)
            vectors.append((mean @ held.T * scale).softmax(-1) @ held)
        for place in range(q.shape[1]):
            own = place // size
            seen = list(range(own + 1))
            if place >= shape.begin:
                wanted = torch.stack(vectors[1 : own - 1]) @ q[head, place]
                free = wanted.topk(shape.chunks - 3).indices + 1
                seen = sorted({0, own - 1, own, *free.tolist()})
            places = [one * size + offset for one in seen for offset in offsets if one * size + offset <= place]
            moved = [rank * size + offset for rank in range(len(seen)) for offset in offsets][: len(places)]
            asked = turned(q[head, place], [moved[-1]])[0]
            out[head, place] = (turned(keys[places], moved) @ asked * scale).softmax(0) @ values[places]
    return out


def _read(method: LongHeads, shape: Shape, rotation: Rotation, parts: list[Tensor], cuts: tuple[int, ...]) -> Tensor:
    text = ChunkedText.empty(shape, method, rotation, parts[0].shape[1], *parts[1:])
    told, start = [], 0
    for end in cuts:
        query, key, value = (part[:, :, start:end] for part in parts)
        told.append(text.read(query, key, value, Scores(query.shape[-1] ** -0.5))[0])
        start = end
    return torch.cat(told, 2)[0]


# -- speed -------------------------------------------------------------------------------------------------------------


@torch.inference_mode()
def speed_rows(*, quick: bool) -> Iterator[Row]:
    """The attention of one layer of 14 heads in 2 groups, bfloat16, beside dense attention.

    Texts are at least twice as long as what a query sees: up to that all is seen, at half the cost a token or less.
    """
    lengths = {budget: tuple(2 * budget << step for step in range(3)) if quick else LENGTHS for budget in (2048, 4096)}
    every = sorted({length for own in lengths.values() for length in own})
    draw = torch.Generator().manual_seed(0)
    whole = [torch.randn(1, heads, every[-1], WIDTH, generator=draw).bfloat16() for heads in (HEADS, GROUPS, GROUPS)]
    most = 16_384 if quick else 32_768
    dense = {length: _timed(_dense, [part[:, :, :length] for part in whole]) for length in every if length <= most}
    for budget, own in lengths.items():
        shape = Shape(256, budget // 256, budget)
        taken, steps = zip(*(_layer_seconds(shape, whole, length) for length in own), strict=True)
        told = ", ".join(f"{length:,}: {one:.2f}" for length, one in zip(own, taken, strict=True))
        what, note = f"LongHeads, {budget:,} tokens seen", f"s a layer: {told}"
        yield Row.of(what, "exponent of reading over length", growth(own, taken), at_most=1.15, note=note)
        for length, seconds in zip(own, taken, strict=True):
            if length in dense:
                least = 1.0 if length >= 16_384 and budget == 2048 else None
                note = f"dense {dense[length]:.2f} s a layer, processor time"
                where = f"{what}, {length:,} tokens"
                yield Row.of(where, "times as fast as dense", dense[length] / seconds, at_least=least, note=note)
        note = f"ms a layer: {', '.join(f'{1000 * one:.1f}' for one in steps)}"
        yield Row.of(what, "step, longest / shortest", steps[-1] / steps[0], at_most=2, note=note)


def _layer_seconds(shape: Shape, whole: list[Tensor], length: int) -> tuple[float, float]:
    """Processor seconds of reading so many tokens, and the least of five steps after them."""
    rotation = Rotation(_Angles(), (), "halves", spread=False, length=1.0)
    parts = [part[:, :, :length] for part in whole]
    text = ChunkedText.empty(shape, LongHeads(), rotation, HEADS, *parts[1:])
    reading = _timed(text.read, *parts, Scores(WIDTH**-0.5))
    new = [part[:, :, :1] for part in whole]
    return reading, min(_timed(text.read, *new, Scores(WIDTH**-0.5)) for _ in range(5))


def _dense(parts: list[Tensor]) -> Tensor:
    query, key, value = parts
    return scaled_dot_product_attention(query, key, value, is_causal=True, enable_gqa=True)


class _Angles(torch.nn.Module):
    """The turns of a model of base 1,000,000."""

    def forward(self, like: Tensor, positions: Tensor) -> tuple[Tensor, Tensor]:
        rates = 1e6 ** (-torch.arange(0, WIDTH, 2) / WIDTH)
        angles = positions[..., None].float() * rates
        both = torch.cat((angles, angles), -1)
        return both.cos().to(like.dtype), both.sin().to(like.dtype)


def _timed(call: Callable[..., object], *arguments: object) -> float:
    begun = time.process_time()
    call(*arguments)
    return time.process_time() - begun
