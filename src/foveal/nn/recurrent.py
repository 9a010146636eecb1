"""A GRU as a layer of a stream: the recurrence that is older than attention, measured beside the layers here.

Source    Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014; PyTorch's `GRU`
Shapes    x (B, T, dim) -> (B, T, dim); the state is one vector (B, dim)
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from foveal.nn.inputs import require_at_least_one, require_sequence, require_token
from foveal.nn.states import State


@dataclass(frozen=True, kw_only=True)
class RecurrentSettings:
    """A layer's shape; checked when made."""

    dim: int

    def __post_init__(self) -> None:
        require_at_least_one("A GRU", self, "dim")


@dataclass(frozen=True)
class HiddenState(State):
    """The last output."""

    hidden: Tensor  # (B, dim)


class Recurrent(nn.Module):
    """One layer of PyTorch's GRU and a projection."""

    def __init__(self, settings: RecurrentSettings) -> None:
        """Weights are drawn from torch's generator."""
        super().__init__()
        self.settings = settings
        self.gru = nn.GRU(settings.dim, settings.dim, batch_first=True)
        self.out = nn.Linear(settings.dim, settings.dim, bias=False)

    @property
    def layout(self) -> str:
        """What a state must be of."""
        return f"GRU of {self.settings.dim}"

    def init_state(self, batch: int) -> HiddenState:
        """Zeros."""
        return HiddenState(self.layout, self.out.weight.new_zeros(batch, self.settings.dim))

    def forward(
        self, x: Tensor, state: HiddenState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, HiddenState]:
        """x (B, T, dim) -> (B, T, dim) and the state after the last token, padding included: none goes on from it."""
        require_sequence("A GRU", x, self.settings.dim, mask)
        if state is None:
            state = self.init_state(len(x))
        state.require_fit(self.init_state(1), len(x))
        y, hidden = self.gru(x, state.hidden[None].to(x.dtype))
        return self.out(y), HiddenState(state.layout, hidden[0])

    def step(self, x: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One token (B, dim)."""
        require_token("A GRU", x, self.settings.dim)
        y, state = self(x[:, None], state)
        return y[:, 0], state
