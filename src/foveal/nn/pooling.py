"""From a text's tokens to a few vectors, in the ways that LAMA is measured beside: mean, max, one head, many.

    pooler = pooler_of("structured", dim=100, heads=8)
    vectors, attention = pooler(x, mask)                       # (B, m, d), (B, m, T)

mean, max     nothing is learnt; attention is even, or the share of the features that a token is the greatest of
attention     one head, softmax of c' tanh(W x + b): hierarchical attention networks (Yang et al., NAACL 2016)
structured    m heads, softmax of W2 tanh(W1 x), 350 inside (Lin et al., ICLR 2017)
mha           multi-head self-attention of the Transformer, then the mean of its tokens; a token's attention is what all
              pay to it
lama          lama.py

Shapes    x (B, T, d), mask (B, T) of booleans; a row without any token gives zeros
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError, UnknownName
from foveal.nn.inputs import head_width, require_numbers, require_result
from foveal.nn.lama import LamaSettings, LowRankPooler, Pooled, cleared, masked_mean, masked_softmax

INSIDE = 350
"""Width of structured attention."""


class MeanPooler(nn.Module):
    """The mean token."""

    def __init__(self, dim: int, heads: int = 1) -> None:
        super().__init__()
        self.dim, self.count = dim, 1
        del heads  # there is nothing to look with

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Pooled:
        """`context` is not asked for."""
        del context
        x = _checked(x, mask, self.dim, "Mean pooling")
        even = masked_softmax(x.new_zeros(len(x), 1, x.shape[1]), mask)
        return Pooled(masked_mean(x, mask)[:, None], even)


class MaxPooler(nn.Module):
    """The greatest value of each feature."""

    def __init__(self, dim: int, heads: int = 1) -> None:
        super().__init__()
        self.dim, self.count = dim, 1
        del heads

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Pooled:
        """`context` is not asked for."""
        del context
        x = _checked(x, mask, self.dim, "Max pooling")
        there = torch.ones_like(x[..., 0], dtype=torch.bool) if mask is None else mask
        lowest = torch.finfo(x.dtype).min
        most, place = x.masked_fill(~there[..., None], lowest).max(1)
        any_token = there.any(-1, keepdim=True)
        shares = torch.zeros_like(x[..., 0], dtype=torch.float32)
        shares = shares.scatter_add(1, place, torch.ones_like(place, dtype=torch.float32)) / x.shape[-1]
        return Pooled((most * any_token)[:, None], (shares * any_token)[:, None])


class AttentionPooler(nn.Module):
    """One head."""

    def __init__(self, dim: int, heads: int = 1) -> None:
        super().__init__()
        self.dim, self.count = dim, 1
        self.token_layer, self.c = nn.Linear(dim, dim), nn.Parameter(torch.randn(dim) * dim**-0.5)
        del heads

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Pooled:
        """`context` is not asked for."""
        del context
        x = _checked(x, mask, self.dim, "Attention pooling")
        scores = torch.tanh(self.token_layer(x)) @ self.c
        attention = masked_softmax(scores[:, None].float(), mask)
        return Pooled(attention.to(x.dtype) @ x, attention)


class StructuredPooler(nn.Module):
    """Heads of one hidden layer."""

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        self.dim, self.count = dim, heads
        self.inside, self.score = nn.Linear(dim, INSIDE, bias=False), nn.Linear(INSIDE, heads, bias=False)

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Pooled:
        """`context` is not asked for."""
        del context
        x = _checked(x, mask, self.dim, "Structured attention")
        scores = self.score(torch.tanh(self.inside(x))).transpose(-1, -2)
        attention = masked_softmax(scores.float(), mask)
        return Pooled(attention.to(x.dtype) @ x, attention)


class MultiHeadPooler(nn.Module):
    """Self-attention, then the mean."""

    def __init__(self, dim: int, heads: int = 8) -> None:
        super().__init__()
        self.dim, self.count = dim, 1
        heads = next(one for one in range(min(heads, dim), 0, -1) if dim % one == 0)
        head_width("Multi-head attention", dim, heads)
        self.attend = nn.MultiheadAttention(dim, heads, batch_first=True)

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Pooled:
        """`context` is not asked for."""
        del context
        x = _checked(x, mask, self.dim, "Multi-head attention")
        hidden = None if mask is None else ~mask & mask.any(-1, keepdim=True)  # a row of none may see itself
        y, paid = self.attend(x, x, x, key_padding_mask=hidden, need_weights=True)
        require_result("Multi-head attention", y)
        there = torch.ones_like(x[..., 0], dtype=torch.bool) if mask is None else mask
        received = (paid * there[..., None]).sum(1) / there.sum(-1, keepdim=True).clamp(min=1)
        return Pooled(masked_mean(y, mask)[:, None], (received * there)[:, None])


def _checked(x: Tensor, mask: Tensor | None, dim: int, layer: str) -> Tensor:
    """As `cleared`; InputError also where a NaN counts."""
    x = cleared(x, mask, dim, layer)
    require_numbers(layer, x)
    return x


POOLERS: dict[str, Any] = {
    "mean": MeanPooler,
    "max": MaxPooler,
    "attention": AttentionPooler,
    "structured": StructuredPooler,
    "mha": MultiHeadPooler,
}
NAMES = ("lama", *POOLERS)


def pooler_of(name: str, *, dim: int, heads: int = 8, options: Mapping[str, Any] | None = None) -> nn.Module:
    """A pooler by its name; `options` are fields of LamaSettings. Its `count` says how many vectors it gives of a text.

    UnknownName: none is called so. InputError: options of one that has none, or unknown ones.
    """
    if name not in NAMES:
        raise UnknownName(f"No pooling is called {name!r}. There are: {', '.join(NAMES)}.")
    if name != "lama":
        if options:
            raise InputError(f"The pooling {name} has no settings, got {', '.join(options)}. Leave them out.")
        made: nn.Module = POOLERS[name](dim, heads)
        return made
    try:
        return LowRankPooler(LamaSettings(**{"dim": dim, "heads": heads, **(options or {})}))
    except TypeError as error:
        raise InputError(f"LAMA got settings that it does not have: {error}.") from error
