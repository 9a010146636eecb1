"""Causal attention over all of the past, as a layer of a stream: what every layer here is measured beside.

Shapes    x (B, T, dim) -> (B, T, dim); positions are rotary
State     keys and values of every token so far: unlike all other states of this package, it grows with the text
Cost      T^2 D a head, by PyTorch's scaled_dot_product_attention
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import checked, head_width, require_result, require_token
from foveal.nn.states import State, state_or_first
from foveal.nn.window_attention import merged, rotated, turns
from foveal.ranges import COUNT, require_settings


@dataclass(frozen=True, kw_only=True)
class FullSettings:
    """A layer's shape; checked when made."""

    dim: int
    heads: int = 4

    def __post_init__(self) -> None:
        require_settings("Full attention", self, dim=COUNT, heads=COUNT)
        if head_width("Full attention", self.dim, self.heads) % 2:
            raise InputError("Full attention needs heads of an even width, for rotary positions.")


@dataclass(frozen=True)
class TextState(State):
    """All keys, turned, and values so far, (B, H, n, D), and which of the tokens are there."""

    grows = True
    keys: Tensor
    values: Tensor
    there: Tensor  # (B, n) bool


class FullAttention(nn.Module):
    """Multi-head attention to all tokens up to one's own."""

    def __init__(self, settings: FullSettings) -> None:
        """Weights are drawn from torch's generator."""
        super().__init__()
        self.settings = settings
        self.qkv = nn.Linear(settings.dim, 3 * settings.dim, bias=False)
        self.out = nn.Linear(settings.dim, settings.dim, bias=False)

    @property
    def layout(self) -> str:
        """What a state must be of."""
        return f"full attention, {self.settings.heads} heads of {self.settings.dim // self.settings.heads}"

    def init_state(self, batch: int) -> TextState:
        """Nothing seen yet."""
        nothing = self.qkv.weight.new_zeros(batch, self.settings.heads, 0, self.settings.dim // self.settings.heads)
        there = torch.zeros(batch, 0, dtype=torch.bool, device=nothing.device)
        return TextState(self.layout, nothing, nothing, there)

    def forward(
        self, x: Tensor, state: TextState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, TextState]:
        """x (B, T, dim) -> (B, T, dim) and the state; keys where `mask` is False are seen by their own token only."""
        x = checked("Full attention", x, self.settings.dim, mask)
        state = state_or_first(state, self.init_state, len(x))
        heads, tokens, past = self.settings.heads, x.shape[1], state.keys.shape[2]
        q, k, v = self.qkv(x).view(*x.shape[:2], 3, heads, -1).permute(2, 0, 3, 1, 4)
        angles = turns(past + tokens, q.shape[-1], q)[past:]
        q, k = rotated(q, angles), rotated(k, angles)
        real = torch.ones(x.shape[:2], dtype=torch.bool, device=x.device) if mask is None else mask
        keys, values = torch.cat([state.keys.to(k), k], 2), torch.cat([state.values.to(v), v], 2)
        there = torch.cat([state.there, real], 1)
        if past == 0 and mask is None:
            y = F.scaled_dot_product_attention(q, keys, values, is_causal=True)
        else:
            order = torch.arange(past + tokens, device=x.device)
            own = order == order[past:, None]
            seen = ((order <= order[past:, None]) & there[:, None]) | own  # (B, T, n): no row is without a key
            y = F.scaled_dot_product_attention(q, keys, values, attn_mask=seen[:, None])
        given = require_result("Full attention", self.out(merged(y)))
        return given, TextState(state.layout, keys, values, there)

    def step(self, x: Tensor, state: TextState) -> tuple[Tensor, TextState]:
        """One token (B, dim)."""
        require_token("Full attention", x, self.settings.dim)
        y, state = self(x[:, None], state)
        return y[:, 0], state
