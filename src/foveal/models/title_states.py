"""What a model of titles has read and written so far: caches of transformers, of which rows are chosen.

Shapes    a state has rows, one for each text that is written; `selected` gives the cache of R chosen rows. A state is
          not changed by what goes on from it
"""

from __future__ import annotations

import copy
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch import Tensor

from foveal.errors import InputError

IN_ONE_ROW = ("llama", "qwen2", "qwen3")
"""Kinds of causal models whose tokens stand at the places that are given, whatever stands before them in the cache."""


@dataclass(frozen=True)
class TitleState:
    """What a model has read and written so far, in rows."""

    cache: Any  # transformers.Cache
    mask: Tensor  # (rows, P): which tokens of the query count
    encoded: Tensor | None = None  # (rows, P, D) of an encoder
    written: int = 0  # tokens of each row behind the query
    seen: Tensor | None = None  # (rows, S): which tokens each wrote, where all rows stand in one row of the cache

    @property
    def together(self) -> Tensor:
        """`seen`. InputError: each row has one of its own."""
        if self.seen is None:
            raise InputError("A tree of tokens grows where all rows of a state stand in one: for one query at a time.")
        return self.seen


def in_one_row(config: Any) -> bool:
    """Whether the beams of one query can share a row of the cache: its kind is one of `IN_ONE_ROW`, its layers see all
    that a mask lets them see, and the kernel takes any mask."""
    whole = set(getattr(config, "layer_types", None) or ["full_attention"]) == {"full_attention"}
    kernel = getattr(config, "_attn_implementation", None)
    return config.model_type in IN_ONE_ROW and whole and kernel in ("sdpa", "eager")


def selected(cache: Any, rows: Tensor) -> Any:
    """A cache of `rows` (R,) of a cache, which itself stays as it is."""
    if hasattr(cache, "cross_attention_cache"):
        read = copy.copy(cache.cross_attention_cache)  # of the query: nothing is ever written behind it
        read.layers = [copy.copy(layer) for layer in read.layers]
        for layer in read.layers:
            if layer.is_initialized:
                layer.keys, layer.values = rows_of(layer.keys, rows), rows_of(layer.values, rows)
        return type(cache)(selected(cache.self_attention_cache, rows), read)
    made = on_its_own(cache)
    made.reorder_cache(rows)
    return made


def on_its_own(cache: Any) -> Any:
    """The same cache; what is written behind it is not seen in the other."""
    made = copy.copy(cache)
    made.layers = [copy.copy(layer) for layer in cache.layers]
    return made


def seen_behind(seen: Tensor, rows: Tensor, above: Sequence[int]) -> Tensor:
    """Rows (R, S) of what was written -> what each of C more tokens sees of it and of these tokens (C, S + C).

    A token stands behind one of `rows` (C,), or, where `above` is not -1, behind an earlier one of these tokens.
    """
    behind, own = rows.cpu().numpy().copy(), np.eye(len(above), dtype=bool)
    for place, before in enumerate(above):
        if before >= 0:
            behind[place] = behind[before]
            own[place] |= own[before]
    return torch.cat([seen[torch.from_numpy(behind).to(seen.device)], torch.from_numpy(own).to(seen.device)], dim=1)


def rows_of(held: Tensor, rows: Tensor) -> Tensor:
    """`rows` (R,) of a tensor that is only read; of one row, given many times, no copy is made."""
    if len(held) == 1 or held.stride(0) == 0:
        return held[:1].expand(len(rows), *held.shape[1:])
    return held[rows]


def padded(rows: Sequence[Sequence[int]], filled: int, *, left: bool = False) -> Tensor:
    """Rows of ids as (R, L), filled up on the right, or on the left."""
    longest = max(map(len, rows), default=0)
    made = [[filled] * (longest - len(row)) + list(row) if left else list(row) + [filled] * (longest - len(row))
            for row in rows]  # fmt: skip
    return torch.tensor(made, dtype=torch.long).reshape(len(rows), longest)
