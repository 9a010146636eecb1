"""LAMA: many attention heads over a text for the price of two thin matrices, each with a map that can be shown.

    pooler = LowRankPooler(LamaSettings(dim=100, heads=8))
    vectors, attention = pooler(states, mask)              # (B, 8, 100), (B, 8, T): rows of attention sum to 1

A head's score of a token is bilinear, c' W_i u_t, with W_i = p_i q_i' of rank one: stacked, two thin products and not
m matrices. Over a GRU (text_classifier.py) or over the tokens of any encoder.

Source    Mehta, Rangwala and Ramakrishnan, "Low Rank Factorization for Compact Multi-Head Self-Attention", arXiv
          1912.00835; ours: ranks above one, the learned scale, the context that is given
Shapes    x (B, T, d), mask (B, T) -> attention A (B, m, T), vectors A x (B, m, d); B rows, T tokens, m heads
Scores    u_t = tanh(W x_t + b);  f_t = tanh((P c) * (Q u_t));  f_t / |f_t| over the heads;  A = softmax over the tokens
Context   c: "learned", one vector for all texts; "mean" (LAMA + ctx), a text's mean word; "given", such as a query
Peaks     with the norm a score lies in [-1, 1], so no weight exceeds e² / T, about 7.4 times an even one: `scale` and
          `learn_scale` let a head be sharper. With one head the norm would leave the sign alone: it is left out there
Parameters   d + 2 d m r for c, P and Q; d² + d more for the token layer (W, b)
Masked    tokens get 0; a row without any token gets zeros, never NaN, and a line in the log
"""

from __future__ import annotations

import logging
import math
from dataclasses import dataclass
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import hidden, require_numbers, require_sequence
from foveal.ranges import COUNT, POSITIVE, require_one_of, require_settings

log = logging.getLogger("foveal.nn")

EPSILON = 1e-8
"""Under the norm: a token of zeros has no direction, and its gradient must stay a number."""

CONTEXTS = ("learned", "mean", "given")


@dataclass(frozen=True, kw_only=True)
class LamaSettings:
    """The shape of a LAMA layer.

    Checked when made. InputError: a value out of its range.
    """

    dim: int  # d, of the tokens
    heads: int = 8  # m
    rank: int = 1  # r, of each head's bilinear form
    context: str = "learned"  # one of CONTEXTS
    context_dim: int | None = None  # of the words that "mean" averages; None: it averages the tokens, of width `dim`
    token_mlp: bool = True  # u_t by a layer of d x d; without it u_t is the token: cheaper
    activation: str = "tanh"  # of the product; or "none"
    normalize: str = "l2"  # over the heads of each token; or "none"
    scale: float = 1.0  # scores are multiplied by it
    learn_scale: bool = False  # it is learnt, as its logarithm, from `scale` on
    output_dim: int | None = None  # a pooler maps its vectors to one of this width; None: it gives them all

    def __post_init__(self) -> None:
        require_settings(
            "LAMA", self, dim=COUNT, heads=COUNT, rank=COUNT, context_dim=COUNT, output_dim=COUNT, scale=POSITIVE
        )  # fmt: skip
        require_one_of("LAMA", self, "context", CONTEXTS)
        require_one_of("LAMA", self, "activation", ("tanh", "none"))
        require_one_of("LAMA", self, "normalize", ("l2", "none"))
        if self.context_dim is not None and self.context != "mean":
            raise InputError(f'LAMA got a context_dim, which is for the context "mean", not "{self.context}".')

    @property
    def score_parameters(self) -> int:
        """Numbers that are learnt for the scores, of c, P, Q, the token layer, the map of words and the scale."""
        layer = self.dim * (self.dim + 1) if self.token_mlp else 0
        vector = self.dim if self.context == "learned" else 0
        words = 0 if self.context_dim in (None, self.dim) else self.dim * (self.context_dim or 0)
        return 2 * self.dim * self.heads * self.rank + layer + vector + words + int(self.learn_scale)


class Pooled(NamedTuple):
    """A text's vectors, (B, m, d) or (B, output_dim), and where each head looked, (B, m, T)."""

    vectors: Tensor
    attention: Tensor


class LowRankAttention(nn.Module):
    """Where each of m heads looks in a text: tokens (B, T, d) -> attention (B, m, T), rows summing to 1.

    LAMA (Mehta, Rangwala and Ramakrishnan, arXiv 1912.00835): scores of rank one, c' p_i q_i' u_t.
    """

    def __init__(self, settings: LamaSettings) -> None:
        """Weights are drawn from torch's generator: P and Q as PyTorch draws those of a linear layer."""
        super().__init__()
        self.settings, s = settings, settings
        self.token_layer = nn.Linear(s.dim, s.dim) if s.token_mlp else None
        self.p = nn.Parameter(torch.empty(s.heads * s.rank, s.dim))
        self.q = nn.Parameter(torch.empty(s.heads * s.rank, s.dim))
        for one in (self.p, self.q):
            nn.init.kaiming_uniform_(one, a=math.sqrt(5))
        self.c = nn.Parameter(torch.randn(s.dim)) if s.context == "learned" else None
        mapped = s.context_dim not in (None, s.dim)
        self.context_map = nn.Linear(s.context_dim or s.dim, s.dim, bias=False) if mapped else None
        self.log_scale = nn.Parameter(torch.tensor(math.log(s.scale))) if s.learn_scale else None

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Tensor:
        """Attention (B, m, T) of tokens x (B, T, d) where `mask` (B, T) is True.

        `context`: with "given" (B, d); with "mean" the words (B, T, context_dim) that are averaged, where these are not
        the tokens. InputError: wrong shapes, no tokens, a NaN that counts.
        """
        x = cleared(x, mask, self.settings.dim)
        return masked_softmax(self.scores(x, mask, context), mask)

    def scores(self, x: Tensor, mask: Tensor | None, context: Tensor | None = None) -> Tensor:
        """f (B, m, T), scaled; in float32 at least, also under autocast."""
        s = self.settings
        u = x if self.token_layer is None else torch.tanh(self.token_layer(x))
        c = F.linear(self._context(x, mask, context), self.p)
        f = precise(F.linear(u, self.q)) * precise(c).unsqueeze(-2)  # (B, T, m r)
        if s.rank > 1:
            f = f.view(*f.shape[:-1], s.heads, s.rank).sum(-1)
        if s.activation == "tanh":
            f = torch.tanh(f)
        if s.normalize == "l2" and s.heads > 1:
            f = f * torch.rsqrt(f.square().sum(-1, keepdim=True) + EPSILON)
        scale = s.scale if self.log_scale is None else precise(self.log_scale).exp()
        f = scale * f.transpose(-1, -2)
        _require_numbers(x, f)
        return f

    def _context(self, x: Tensor, mask: Tensor | None, given: Tensor | None) -> Tensor:
        """c, (1, d) or (B, d)."""
        s = self.settings
        if s.context == "learned" and self.c is not None:
            if given is not None:
                raise InputError('LAMA got a context, but learns its own. Make it with context="given" or "mean".')
            return self.c[None]
        if s.context == "given":
            if given is None or given.shape != (len(x), s.dim):
                raise InputError(f"LAMA needs a context of shape {(len(x), s.dim)}, got {_shape(given)}.")
            return given
        wanted = (*x.shape[:2], s.context_dim or s.dim)
        if given is None and s.context_dim is None:
            given = x
        if given is None or tuple(given.shape) != wanted:
            raise InputError(f"LAMA averages words of shape {wanted} as its context, got {_shape(given)}.")
        mean = masked_mean(given, mask)
        return mean if self.context_map is None else self.context_map(mean)


class LowRankPooler(nn.Module):
    """A text as the vectors that its heads gather: tokens (B, T, d) -> vectors (B, m, d), attention (B, m, T).

    With `output_dim`, as one vector (B, output_dim) that is mapped from them. Source as of `LowRankAttention`.
    """

    def __init__(self, settings: LamaSettings) -> None:
        """Weights are drawn from torch's generator."""
        super().__init__()
        self.settings, self.count = settings, settings.heads
        self.attend = LowRankAttention(settings)
        width = settings.heads * settings.dim
        self.out = None if settings.output_dim is None else nn.Linear(width, settings.output_dim)

    def forward(self, x: Tensor, mask: Tensor | None = None, context: Tensor | None = None) -> Pooled:
        """As LowRankAttention's; a row without any token gives zeros (mapped: the map's bias). InputError: also of an
        infinite token that counts."""
        x = cleared(x, mask, self.settings.dim)
        attention = masked_softmax(self.attend.scores(x, mask, context), mask)
        vectors = attention.to(x.dtype) @ x
        if not hidden(x) and not bool(torch.isfinite(vectors.detach()).all()):
            require_numbers("LAMA", x)  # an infinite token: its scores are numbers, what is gathered is none
        return Pooled(vectors if self.out is None else self.out(vectors.flatten(1)), attention)


# -- parts, which the other poolers share ------------------------------------------------------------------------------


def cleared(x: Tensor, mask: Tensor | None, dim: int, layer: str = "LAMA") -> Tensor:
    """x with zeros where nothing counts, so that whatever stood there, a NaN too, reaches neither output nor gradient.

    InputError: wrong shapes, no tokens.
    """
    require_sequence(layer, x, dim, mask)
    if mask is not None:
        x = x.masked_fill(~mask[..., None], 0)
        if not hidden(x) and not bool(mask.any(-1).all()):
            empty = int((~mask.any(-1)).sum())
            log.warning("%s got %d of %d rows without any token; they get zeros.", layer, empty, len(x))
    return x


def _require_numbers(x: Tensor, scores: Tensor) -> None:
    """InputError: a score is none; asked of the scores, which are fewer, and a NaN in a token is one in its scores."""
    if hidden(x) or not bool(torch.isnan(scores.detach()).any()):
        return
    require_numbers("LAMA", x)
    raise InputError("LAMA's scores are no numbers: its context or weights hold a NaN, or a token is infinite.")


def masked_softmax(scores: Tensor, mask: Tensor | None) -> Tensor:
    """Shares (B, m, T) over the tokens that count, exactly 0 for the others; zeros in a row of none."""
    if mask is None:
        return scores.softmax(-1)
    there = mask[:, None]
    lowest = torch.where(there.any(-1, keepdim=True), -math.inf, 0.0)  # a row of -inf alone would be NaN
    return torch.where(there, scores, lowest.to(scores.dtype)).softmax(-1) * there


def masked_mean(x: Tensor, mask: Tensor | None) -> Tensor:
    """The mean (B, d) of the tokens that count; of none, zeros."""
    if mask is None:
        return x.mean(1)
    total = x.masked_fill(~mask[..., None], 0).sum(1, dtype=torch.promote_types(x.dtype, torch.float32))
    return (total / mask.sum(1, keepdim=True).clamp(min=1)).to(x.dtype)  # of a long text float16 has no sum


def diversity(attention: Tensor) -> Tensor:
    """||A A' - I||², the mean over the rows of attention (B, m, T): what heads pay for looking at the same words."""
    alike = attention @ attention.transpose(-1, -2)
    return (alike - torch.eye(alike.shape[-1], dtype=alike.dtype, device=alike.device)).square().sum((-1, -2)).mean()


def precise(x: Tensor) -> Tensor:
    """In float32, or as it is where that is float64."""
    return x if x.dtype == torch.float64 else x.float()


def _shape(given: Tensor | None) -> str:
    return "none" if given is None else str(tuple(given.shape))
