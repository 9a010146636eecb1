"""The pre-norm residual block that every language model here is a stack of: a mixer of tokens, then a gated MLP.

    x = x + mixer(norm(x));  x = x + W_down (silu(W_gate norm(x)) * W_up norm(x))

Mixers    LMM, MAC, MAG, MAL (titans.py), Aaren (aaren.py), RoutingAttention (routing.py)
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.norms import RMSNorm
from foveal.nn.states import State


class GatedMLP(nn.Module):
    """W_down (silu(W_gate x) * W_up x), without biases."""

    def __init__(self, dim: int, inner: int) -> None:
        super().__init__()
        self.gate, self.up = nn.Linear(dim, inner, bias=False), nn.Linear(dim, inner, bias=False)
        self.down = nn.Linear(inner, dim, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, dim) -> (…, dim)."""
        y: Tensor = self.down(F.silu(self.gate(x)) * self.up(x))
        return y


class Passed(NamedTuple):
    """What leaves a block; the loss is a mixer's own, such as the routing's commitment."""

    x: Tensor
    state: State | None
    loss: Tensor | None


class Block(nn.Module):
    """A mixer and an MLP."""

    def __init__(self, mixer: Any, dim: int, *, expansion: float = 8 / 3, dropout: float = 0.0) -> None:
        """`expansion` is the MLP's inner width over dim."""
        super().__init__()
        if not expansion > 0 or not 0 <= dropout < 1:
            raise InputError(f"A block got expansion = {expansion}, dropout = {dropout}; above 0, and 0 to below 1.")
        self.mixer = mixer
        self.before, self.middle = RMSNorm(dim), RMSNorm(dim)
        self.mlp, self.dropout = GatedMLP(dim, max(1, round(expansion * dim))), nn.Dropout(dropout)

    def forward(self, x: Tensor, state: Any = None, mask: Tensor | None = None, *, keep: bool = True) -> Passed:
        """x (B, T, dim) -> (B, T, dim), the state (where `keep`), the mixer's loss."""
        options = {"keep": keep} if getattr(self.mixer, "optional_state", False) else {}
        y, state, *loss = self.mixer(self.before(x), state, mask, **options)
        return Passed(self._fed(x, y), state if keep else None, loss[0] if loss else None)

    def step(self, x: Tensor, state: Any) -> tuple[Tensor, State]:
        """One token (B, dim)."""
        y, state, *_ = self.mixer.step(self.before(x), state)
        return self._fed(x, y), state

    def _fed(self, x: Tensor, y: Tensor) -> Tensor:
        x = x + self.dropout(y)
        fed: Tensor = x + self.dropout(self.mlp(self.middle(x)))
        return fed
