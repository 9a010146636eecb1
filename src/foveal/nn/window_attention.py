"""Attention over the tokens nearby, as a layer that goes on over a stream: a sliding window, or blocks.

    sliding     token t sees itself and the reach - 1 tokens before it
    blocks      tokens stand in blocks of `block` from the stream's beginning; token t sees what is before it in its own
                block and all of the block before (and, where it is not causal, both blocks beside)

Rotary positions are those of the distance alone, computed from the first key that is held: however far the stream has
come, no angle grows. `prefix` vectors are seen by all tokens at no distance: their keys are not turned, nor
are the queries that look at them.

Shapes    x (B, T, dim) -> (B, T, dim); the state holds the last `span` keys and values, (B, H, span, D) each
Cost      T (span + block) D a head, for blocks as for a window
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import checked, head_width, require_result, require_token
from foveal.nn.range_attention import fits, range_attention
from foveal.nn.states import State, own, state_or_first
from foveal.ranges import COUNT, require_one_of, require_settings

ROTARY_BASE = 10_000.0


@dataclass(frozen=True, kw_only=True)
class WindowSettings:
    """What is seen; checked when made."""

    dim: int
    heads: int = 4
    dim_head: int | None = None  # None: dim / heads
    window: int = 64  # reach of a sliding window, or tokens of a block
    kind: Literal["sliding", "blocks"] = "sliding"
    causal: bool = True

    def __post_init__(self) -> None:
        require_settings("Window attention", self, dim=COUNT, heads=COUNT, dim_head=COUNT, window=COUNT)
        require_one_of("Window attention", self, "kind", ("sliding", "blocks"))
        if self.width % 2:
            raise InputError(f"Window attention got heads of width {self.width}; rotary positions need an even one.")

    @property
    def width(self) -> int:
        """Of one head."""
        return self.dim_head or head_width("Window attention", self.dim, self.heads)

    @property
    def span(self) -> int:
        """Tokens before that may be seen."""
        return self.window - 1 if self.kind == "sliding" else 2 * self.window - 1


@dataclass(frozen=True)
class WindowState(State):
    """The last keys (not turned) and values, newest last; which of them are there; the place in the block."""

    keys: Tensor  # (B, H, span, D)
    values: Tensor
    there: Tensor  # (B, span) bool
    phase: int


class WindowAttention(nn.Module):
    """Multi-head attention over a window."""

    def __init__(self, settings: WindowSettings) -> None:
        """Weights are drawn from torch's generator."""
        super().__init__()
        self.settings = settings
        inner = settings.heads * settings.width
        self.qkv = nn.Linear(settings.dim, 3 * inner, bias=False)
        self.out = nn.Linear(inner, settings.dim, bias=False)

    @property
    def layout(self) -> str:
        """What a state must be of."""
        s = self.settings
        return f"{s.kind} of {s.window} tokens, {s.heads} heads of {s.width}"

    def init_state(self, batch: int) -> WindowState:
        """Nothing seen yet."""
        s = self.settings
        nothing = self.qkv.weight.new_zeros(batch, s.heads, s.span, s.width)
        there = torch.zeros(batch, s.span, dtype=torch.bool, device=nothing.device)
        return WindowState(self.layout, nothing, nothing, there, 0)

    def forward(
        self, x: Tensor, state: WindowState | None = None, mask: Tensor | None = None, prefix: Tensor | None = None
    ) -> tuple[Tensor, WindowState]:
        """x (B, T, dim) -> (B, T, dim) and the state. Keys where `mask` is False are not seen; a prefix is (P, dim).

        InputError: wrong shapes, tokens that are no numbers, or whose products are none, or another's state.
        """
        y, after = self.look(x, state, mask, prefix)
        return require_result("Window attention", y), after

    def look(
        self, x: Tensor, state: WindowState | None = None, mask: Tensor | None = None, prefix: Tensor | None = None
    ) -> tuple[Tensor, WindowState]:
        """As `forward`, for layers that say themselves why what came out is no number."""
        x = checked("Window attention", x, self.settings.dim, mask)
        state = state_or_first(state, self.init_state, len(x))
        q, k, v = self.heads(x)
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        keys, values = torch.cat([state.keys.to(k), k], 2), torch.cat([state.values.to(v), v], 2)
        there = torch.cat([state.there, real], 1)
        seen = None if prefix is None else self.heads(prefix[None])[1:]
        y = self._attend(q, keys, values, there, state.phase, seen)
        span, tokens = self.settings.span, x.shape[1]
        kept = [own(one[:, :, tokens : tokens + span].to(state.keys.dtype)) for one in (keys, values)]
        phase = (state.phase + tokens) % self.settings.window if self.settings.kind == "blocks" else 0
        after = WindowState(state.layout, kept[0], kept[1], own(there[:, tokens:]), phase)
        return self.out(merged(y)), after

    def step(self, x: Tensor, state: WindowState, prefix: Tensor | None = None) -> tuple[Tensor, WindowState]:
        """One token (B, dim)."""
        require_token("Window attention", x, self.settings.dim)
        y, state = self(x[:, None], state, prefix=prefix)
        return y[:, 0], state

    def heads(self, x: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Queries, keys and values (B, H, T, D)."""
        made = self.qkv(x).view(*x.shape[:2], 3, self.settings.heads, self.settings.width).permute(2, 0, 3, 1, 4)
        return made[0], made[1], made[2]

    def _attend(
        self, q: Tensor, k: Tensor, v: Tensor, there: Tensor, phase: int, prefix: tuple[Tensor, Tensor] | None
    ) -> Tensor:
        if prefix is None and fits(q) and not bool((there[:, :-1] & ~there[:, 1:]).any()):
            return self._in_runs(q, k, v, there, phase)
        s, tokens = self.settings, q.shape[2]
        block = min(s.window, tokens)
        ahead = 0 if s.causal else s.span
        span = s.span
        if s.kind == "blocks" and s.causal and phase == 0 and block == s.window:  # they begin where the blocks do
            span, past = s.window, s.span - s.window
            k, v, there = k[:, :, past:], v[:, :, past:], there[:, past:]
        room = -tokens % block
        queries = F.pad(q, (0, 0, 0, room)).view(*q.shape[:2], -1, block, q.shape[-1])
        k, v = (_near(F.pad(one, (0, 0, 0, room + ahead)), span, block, ahead) for one in (k, v))
        real = F.pad(there, (0, room + ahead))[:, None].unfold(2, span + block + ahead, block)  # (B, 1, n, keys)
        visible = seen_nearby(s, block, queries.shape[2], phase, q.device, span) & real[..., None, :]
        turn = turns(span + block + ahead, s.width, q)
        turned, k = rotated(queries, turn[span : span + block]), rotated(k, turn)
        if prefix is None:
            y = attended(turned, k, v, visible, s.width**-0.5)
        else:
            y = softmax_over(turned @ k.mT * s.width**-0.5, v, visible, queries, prefix, s.width**-0.5)
        return y.flatten(2, 3)[:, :, :tokens]

    def _in_runs(self, q: Tensor, k: Tensor, v: Tensor, there: Tensor, phase: int) -> Tensor:
        """By the compiled kernel, where no key is missing but the first ones: each query sees a run of keys."""
        s, tokens, count = self.settings, q.shape[2], k.shape[2]
        own = torch.arange(s.span, s.span + tokens, device=q.device)
        if s.kind == "sliding":
            first, last = own - s.window + 1, own + s.window - 1
        else:
            start = (own - s.span + phase) // s.window * s.window - phase + s.span
            first, last = start - s.window, start + 2 * s.window - 1
        last = own if s.causal else last.clamp(max=count - 1)
        first = torch.maximum(first, (~there).sum(1, keepdim=True))[:, None]
        cos, sin = _angles(count, s.width)
        queries, keys = turned(q, cos[s.span : s.span + tokens], sin[s.span : s.span + tokens]), turned(k, cos, sin)
        return range_attention(queries, keys, v, first, last[None, None], scale=s.width**-0.5)


def seen_nearby(
    s: WindowSettings, block: int, blocks: int, phase: int, device: torch.device, span: int | None = None
) -> Tensor:
    """(n, block, keys) bool: by the distance alone for a sliding window, by the block of both for blocks."""
    ahead = 0 if s.causal else s.span
    own = torch.arange(block, device=device)[:, None]
    key = torch.arange(-(s.span if span is None else span), block + ahead, device=device)[None]
    if s.kind == "sliding":
        near = (own - key).abs() < s.window if not s.causal else (own >= key) & (own - key < s.window)
        return near[None]
    start = torch.arange(blocks, device=device)[:, None, None] * block + phase + 2 * s.window
    apart = (start + own) // s.window - (start + key) // s.window
    return (apart >= 0) & (apart <= 1) & (own >= key) if s.causal else apart.abs() <= 1


def attended(q: Tensor, k: Tensor, v: Tensor, visible: Tensor, scale: float) -> Tensor:
    """Queries (B, H, n, b, D) over the keys of their blocks, `visible` (B, 1, n, b, keys), by PyTorch's own kernel.

    A query that sees nothing gets 0.
    """
    some = visible.any(-1, keepdim=True)
    queries, keys, values, seen = (one.transpose(1, 2).flatten(0, 1) for one in (q, k, v, visible | ~some))
    y = F.scaled_dot_product_attention(queries, keys, values, attn_mask=seen, scale=scale)
    return y.view(len(q), -1, *q.shape[1:2], *q.shape[3:]).transpose(1, 2) * some


def softmax_over(
    scores: Tensor, values: Tensor, visible: Tensor, queries: Tensor, prefix: tuple[Tensor, Tensor] | None, scale: float
) -> Tensor:
    """Scores (…, n, b, keys) and, with a prefix (1, H, P, D), those of `queries` at its keys -> (…, n, b, D).

    A query that sees nothing gets 0.
    """
    scores = scores.masked_fill(~visible, torch.finfo(scores.dtype).min)
    if prefix is not None:
        keys, first = (one[:, :, None] for one in prefix)
        scores = torch.cat([queries @ keys.mT * scale, scores], -1)
        weights = scores.softmax(-1, dtype=_wide(scores)).to(values.dtype)
        count = keys.shape[-2]
        return weights[..., :count] @ first + weights[..., count:] @ values
    weights = scores.softmax(-1, dtype=_wide(scores)).to(values.dtype)
    return (weights * visible.any(-1, keepdim=True)) @ values


def _wide(scores: Tensor) -> torch.dtype:
    return torch.float64 if scores.dtype == torch.float64 else torch.float32


def _near(x: Tensor, span: int, block: int, ahead: int) -> Tensor:
    """(B, H, span + n block + ahead, D) -> (B, H, n, span + block + ahead, D): the keys that each block may see."""
    return x.unfold(2, span + block + ahead, block).mT


def turns(length: int, width: int, like: Tensor) -> Tensor:
    """The angles of places 0 to length - 1, (length, width / 2), float32 or wider."""
    dtype = _wide(like)
    return torch.arange(length, device=like.device, dtype=dtype)[:, None] * _rates(width, dtype, like.device)


def _rates(width: int, dtype: torch.dtype, device: torch.device) -> Tensor:
    rates: Tensor = ROTARY_BASE ** (-torch.arange(0, width, 2, device=device, dtype=dtype) / width)
    return rates


def rotated(x: Tensor, angles: Tensor) -> Tensor:
    """x (…, T, D) turned by angles (T, D / 2), pairs being the halves' numbers."""
    return turned(x, angles.cos(), angles.sin())


def turned(x: Tensor, cos: Tensor, sin: Tensor) -> Tensor:
    """x (…, T, D) turned by angles with these cosines and sines (T, D / 2)."""
    one, two = x.chunk(2, -1)
    cos, sin = cos.to(x.dtype), sin.to(x.dtype)
    return torch.cat([one * cos - two * sin, one * sin + two * cos], -1)


@lru_cache(maxsize=2)
def _angles(length: int, width: int) -> tuple[Tensor, Tensor]:
    """Cosines and sines of places 0 to length - 1, (length, width / 2) float32, exact however far the last one is."""
    with torch.inference_mode(False), torch.device("cpu"):
        rates = _rates(width, torch.float32, torch.device("cpu")).double()  # those of `turns`
        angles = torch.arange(length, dtype=torch.float64)[:, None] * rates
        return angles.cos().float(), angles.sin().float()


def merged(y: Tensor) -> Tensor:
    """Heads side by side: (B, H, T, D) -> (B, T, H D)."""
    return y.transpose(1, 2).flatten(2)
