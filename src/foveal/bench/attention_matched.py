"""bench attention, one density: other methods at the density that FlexPrefill reached, by what they reach themselves.

    at_density(looks(reader, ids), 0.43)        # name -> method; each reaches about 0.43 on this prompt

Sizes and shares are not densities: columns and diagonals overlap, a share of the keys is more for early queries. So
each method's setting is found by halving, over queries and keys of a real prompt, which the model reads once.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from statistics import fmean
from typing import Any

from torch import Tensor

from foveal.attention import (
    DHSA,
    AttentionMethod,
    BlockTopK,
    Context,
    DHSABlocks,
    FlexPrefill,
    RandomBlocks,
    Streaming,
    VerticalSlash,
)
from foveal.attention.blocks import BLOCK
from foveal.bench.attention_models import Capture, PromptReader

HALVINGS = 6
EVERY = 3
"""Of the layers, one in so many is looked at."""

Look = tuple[Tensor, Tensor, Context]
"""Queries, keys, and where they stand."""


def looks(reader: PromptReader, ids: Sequence[int]) -> list[Look]:
    """What layers are asked in a dense reading of the prompt."""
    capture = Capture(range(0, reader.model.model.config.num_hidden_layers, EVERY))
    reader.read(ids, capture)
    return [(query, key, replace(context, report=None)) for query, key, context in capture.kept.values()]


def reached(method: Any, seen: Sequence[Look]) -> float:
    """The share of the causal blocks that a method takes, over layers and heads."""
    chosen = [method.prefill(query, key, context) for query, key, context in seen]
    return fmean(1.0 if blocks is None else float(blocks.density().mean()) for blocks in chosen)


def of_density(family: Callable[[float], Any], seen: Sequence[Look], density: float) -> Any:
    """The member of a family, by a share of 0 to 1, that reaches the density most nearly."""
    low, high, best = 0.0, 1.0, (2.0, family(1.0))
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        method = family(middle)
        got = reached(method, seen)
        if abs(got - density) < best[0]:
            best = abs(got - density), method
        low, high = (middle, high) if got < density else (low, middle)
    return best[1]


def at_density(seen: Sequence[Look], density: float, names: Sequence[str] = ()) -> dict[str, AttentionMethod]:
    """Methods at about `density` of the causal blocks of a prompt; `names`: these, else all but FlexPrefill."""
    length = seen[0][1].shape[2]
    made = {
        name: of_density(partial(family, length), seen, density)
        for name, family in FAMILIES.items()
        if name in (names or OTHERS)
    }
    return {f"{name}@{density:.2f}": method for name, method in made.items()}


def _vertical_slash(length: int, share: float) -> VerticalSlash:
    blocks = max(2, round(2 * share * length / BLOCK))
    return VerticalSlash(BLOCK * (blocks // 2), BLOCK * (blocks - blocks // 2))


def _streaming(length: int, share: float) -> Streaming:
    return Streaming(sinks=BLOCK, recent=max(BLOCK, round(share * length)))


def _flexprefill(_: int, share: float) -> FlexPrefill:
    return FlexPrefill(gamma=share, min_budget=BLOCK)


FAMILIES: dict[str, Callable[[int, float], AttentionMethod]] = {
    "flexprefill-equal": _flexprefill,
    "dhsa-equal": lambda _, share: DHSA(density=share),
    "dhsa-sink-4": lambda _, share: DHSA(density=share, sink=128),
    "dhsa-blocks": lambda _, share: DHSABlocks(density=share),
    "vertical-slash": _vertical_slash,
    "block-topk": lambda _, share: BlockTopK(share),
    "streaming": _streaming,
    "random": lambda _, share: RandomBlocks(share),
    "block-topk-tail": lambda _, share: BlockTopK(share, dense_tail=BLOCK),
    "random-tail": lambda _, share: RandomBlocks(share, dense_tail=BLOCK),
}
"""By the length of the prompt and a share. DHSA also with one block of first keys instead of four, which leaves more to
choose; two others also as DHSA has it, with the prompt's last tokens dense: else that would be taken for the choice."""

OTHERS = tuple(name for name in FAMILIES if name != "flexprefill-equal")
