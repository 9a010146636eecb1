"""A GRU as a layer of a stream: the recurrence that is older than attention, measured beside the layers here.

And one that reads a text from both ends, as an encoder of whole texts (`Bidirectional`).

Source    Cho et al., "Learning Phrase Representations using RNN Encoder-Decoder", EMNLP 2014; PyTorch's `GRU`, `LSTM`
Shapes    x (B, T, dim) -> (B, T, dim); the state is one vector (B, dim); of both directions (B, T, 2 hidden)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.inputs import checked, require_token
from foveal.nn.states import State, state_or_first
from foveal.ranges import COUNT, require_settings


@dataclass(frozen=True, kw_only=True)
class RecurrentSettings:
    """A layer's shape; checked when made."""

    dim: int

    def __post_init__(self) -> None:
        require_settings("A GRU", self, dim=COUNT)


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
        x = checked("A GRU", x, self.settings.dim, mask)
        state = state_or_first(state, self.init_state, len(x))
        y, hidden = self.gru(x, state.hidden[None].to(x.dtype))
        return self.out(y), HiddenState(state.layout, hidden[0])

    def step(self, x: Tensor, state: HiddenState) -> tuple[Tensor, HiddenState]:
        """One token (B, dim)."""
        require_token("A GRU", x, self.settings.dim)
        y, state = self(x[:, None], state)
        return y[:, 0], state


class Bidirectional(nn.Module):
    """A GRU or LSTM from each end, side by side; padding stands on the right and changes nothing.

    The one that reads backwards gets each row turned about within its own length, which is what a packed sequence is
    for, and needs no lengths on the host.
    """

    def __init__(self, dim: int, hidden: int, cell: str = "gru") -> None:
        """`cell`: gru or lstm. Weights are drawn from torch's generator."""
        super().__init__()
        self.dim = dim
        made = {"gru": nn.GRU, "lstm": nn.LSTM}[cell]
        self.forth, self.back = (made(dim, hidden, batch_first=True) for _ in range(2))

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """x (B, T, dim) -> (B, T, 2 hidden), zeros where nothing counts. InputError: padding on the left."""
        x = checked("A GRU", x, self.dim, mask)
        if mask is None:
            forth, back = self.forth(x)[0], self.back(x.flip(1))[0].flip(1)
            return torch.cat([forth, back], -1)
        require_right_padding("A GRU", mask)
        x = x.masked_fill(~mask[..., None], 0)
        order = turned_about(mask)
        forth, back = self.forth(x)[0], along(self.back(along(x, order))[0], order)
        return torch.cat([forth, back], -1).masked_fill(~mask[..., None], 0)


def turned_about(mask: Tensor) -> Tensor:
    """(B, T): the places of a row's tokens from its last to its first, then those of its padding; its own inverse."""
    place = torch.arange(mask.shape[1], device=mask.device)
    last = mask.sum(-1, keepdim=True) - 1
    return torch.where(place <= last, last - place, place)


def along(x: Tensor, order: Tensor) -> Tensor:
    """x (B, T, d) with its tokens in that order (B, T)."""
    return x.gather(1, order[..., None].expand_as(x))


def require_right_padding(layer: str, mask: Tensor) -> None:
    """InputError: a token counts behind one that does not; not asked inside torch.compile."""
    if not torch.compiler.is_compiling() and bool((mask[:, 1:] & ~mask[:, :-1]).any()):
        raise InputError(f"{layer} got rows padded on the left. Set tokenizer.padding_side = 'right'.")
