"""Channel attention as it is used in image networks, on the residual branch: what StepNet is measured beside.

SqueezeExcitation  a = s(W2 relu(W1 mean r))                            Hu, Shen, Sun, CVPR 2018
ECA                a = s(a convolution over neighbouring channels of mean r)          Wang et al., CVPR 2020
CBAM               a = s(MLP(mean r) + MLP(max r)) * s(a 7-wide convolution over places of [mean; max over channels])
                                                                        Woo et al., ECCV 2018
SRM                a = s(BN(w1 mean r + w2 std r)), channel by channel  Lee, Kim, Nam, ICCV 2019
DIA                a = the state of one LSTM that all blocks of a stage share, fed mean r   Huang et al., AAAI 2020

s is most * sigmoid; of CBAM's second gate sigmoid alone. All see the residual only; stepnet.py sees the shortcut, too.
CBAM's second gate on tokens is a convolution along them, which is ours: a text has no other places. Shapes as in
branch_gates.py.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.branch_gates import Gate, greatest, hidden_width, over, pooled, wide
from foveal.nn.inputs import require_result
from foveal.ranges import COUNT, require_number

REACH = 7
"""Places that CBAM's convolution spans."""
SMALLEST = 1e-10
"""Added to SRM's variance: the root of 0 has no slope."""


class SqueezeExcitation(Gate):
    """Two linear layers over the channels' means, steps (B, C) (Hu, Shen and Sun, CVPR 2018)."""

    def __init__(self, channels: int, *, reduction: int | None = None, most: float = 1.0) -> None:
        """Weights are drawn as PyTorch draws those of a linear layer."""
        super().__init__(channels, most=most)
        hidden = hidden_width(channels, reduction)
        self.inner, self.outer = nn.Linear(channels, hidden), nn.Linear(hidden, channels)

    def steps(self, residual: Tensor, shortcut: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:  # noqa: ARG002
        """Steps (B, C) of the residual's means, and no state."""
        return self.length(_mlp(self, pooled(residual, mask))), None


class ECA(Gate):
    """A convolution over the channels' means, steps (B, C) (Wang et al., CVPR 2020).

    As wide as the odd number next to (log2 C + 1) / 2, without a bias.
    """

    def __init__(self, channels: int, *, most: float = 1.0) -> None:
        """Weights are drawn as PyTorch draws those of a convolution."""
        super().__init__(channels, most=most)
        half = int((math.log2(channels) + 1) / 2)
        width = half if half % 2 else half + 1
        self.convolution = nn.Conv1d(1, 1, width, padding=width // 2, bias=False)

    def steps(self, residual: Tensor, shortcut: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:  # noqa: ARG002
        """Steps (B, C) of the residual's means, and no state."""
        means = pooled(residual, mask).to(self.convolution.weight.dtype)
        return self.length(self.convolution(means[:, None])[:, 0]), None


class CBAM(Gate):
    """Channels first, then places: the second gate reads what the first has left (Woo et al., ECCV 2018)."""

    def __init__(self, channels: int, *, reduction: int | None = None, most: float = 1.0, tokens: bool = False) -> None:
        """`tokens`: for (B, T, C) instead of images. Weights are drawn as PyTorch draws them."""
        super().__init__(channels, most=most)
        hidden = hidden_width(channels, reduction)
        self.inner, self.outer = nn.Linear(channels, hidden), nn.Linear(hidden, channels)
        kind = nn.Conv1d if tokens else nn.Conv2d
        self.convolution = kind(2, 1, REACH, padding=REACH // 2, bias=False)

    def steps(self, residual: Tensor, shortcut: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:  # noqa: ARG002
        """Steps of the residual's shape."""
        if residual.dim() != self.convolution.weight.dim():
            wanted = "tokens (B, T, C)" if self.convolution.weight.dim() == 3 else "images (B, C, H, W)"
            raise InputError(f"CBAM was made for {wanted} and got {tuple(residual.shape)}; say tokens=True or False.")
        told = _mlp(self, pooled(residual, mask)) + _mlp(self, greatest(residual, mask))
        channel = over(self.length(told), residual)
        left = residual * channel.to(residual.dtype)
        axis = 1 if residual.dim() == 4 else 2
        seen = torch.stack([left.mean(axis), left.amax(axis)], 1)  # (B, 2, places)
        if mask is not None:
            seen = seen.masked_fill(~mask[:, None], 0)  # as without padding: the convolution adds zeros
        told = self.convolution(seen.to(self.convolution.weight.dtype))
        place = torch.sigmoid(told.to(wide(told)))  # without `most`, which their product shall not reach either
        return channel * place.movedim(1, axis), None


class SRM(Gate):
    """Style: mean and spread of a channel, weighed by two numbers of its own and normalised over the batch.

    Lee, Kim and Nam, ICCV 2019; steps (B, C).
    """

    def __init__(self, channels: int, *, most: float = 1.0) -> None:
        """Both weights begin at 0, so that every step is most / 2."""
        super().__init__(channels, most=most)
        self.weight = nn.Parameter(torch.zeros(channels, 2))
        self.norm = nn.BatchNorm1d(channels)

    def steps(self, residual: Tensor, shortcut: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:  # noqa: ARG002
        """Steps (B, C) of means and spreads, and no state. InputError: one row to train on, or a residual so large that
        its variance is infinite, which would stay in the running mean and variance.
        """
        if self.training and len(residual) == 1:
            raise InputError("SRM normalises over the batch and got one row to train on; give two rows at least.")
        mean = pooled(residual, mask)
        around = (residual.to(wide(residual)) - over(mean, residual)).square()
        style = torch.stack([mean, (pooled(around, mask) + SMALLEST).sqrt()], -1)  # (B, C, 2)
        told = (style.to(self.weight.dtype) * self.weight).sum(-1)
        require_result("SRM", told.to(wide(told)).square())  # as the norm squares it
        return self.length(self.norm(told)), None


class DIAState(NamedTuple):
    """The LSTM's hidden and cell state, (B, C) each."""

    hidden: Tensor
    cell: Tensor


class DIACell(nn.Module):
    """The LSTM: its maps are bottlenecks of two layers, and the output goes through sigmoids, so that it is a step."""

    def __init__(self, channels: int, reduction: int) -> None:
        super().__init__()
        require_number("DIA", "reduction", reduction, COUNT, whole=True)
        width = max(channels // reduction, 1)
        self.reads = _bottleneck(channels, width)
        self.recalls = _bottleneck(channels, width)

    def forward(self, x: Tensor, state: DIAState) -> DIAState:
        """x (B, C)."""
        gates = self.reads(x) + self.recalls(state.hidden)
        into, forget, new, out = gates.to(wide(gates)).chunk(4, -1)
        cell = torch.sigmoid(forget) * state.cell + torch.sigmoid(into) * torch.tanh(new)
        return DIAState(torch.sigmoid(out) * torch.sigmoid(cell), cell)


class DIA(Gate):
    """One block's use of the LSTM that all blocks of its stage share: steps (B, C) (Huang et al., AAAI 2020).

    A stage's first gate holds the weights; `like` names it for the others, whose state dicts are then empty.
    """

    def __init__(self, channels: int, *, reduction: int = 4, most: float = 1.0, like: DIA | None = None) -> None:
        """Weights are drawn as PyTorch draws those of a linear layer."""
        super().__init__(channels, most=most)
        if like is None:
            self.cell = DIACell(channels, reduction)
        elif like.channels != channels:
            raise InputError(f"DIA of {channels} channels cannot share the LSTM of {like.channels}.")
        shared = self.cell if like is None else like._shared[0]
        self._shared: tuple[DIACell, ...] = (shared,)  # a tuple: not registered a second time

    def steps(
        self,
        residual: Tensor,
        shortcut: Tensor,  # noqa: ARG002
        state: DIAState | None,
        mask: Tensor | None,
    ) -> tuple[Tensor, DIAState]:
        """Steps (B, C), and the LSTM's state for the stage's next block."""
        cell = self._shared[0]
        x = pooled(residual, mask)
        if state is None:
            state = DIAState(torch.zeros_like(x), torch.zeros_like(x))
        if not isinstance(state, DIAState) or state.cell.shape != x.shape:
            raise InputError(
                f"DIA got a state of another stage for means {tuple(x.shape)}; give None at a stage's first block."
            )
        kind = next(cell.parameters()).dtype
        state = cell(x.to(kind), DIAState(state.hidden.to(kind), state.cell))
        return self.most * state.hidden, state


def _mlp(gate: Any, x: Tensor) -> Tensor:
    told: Tensor = gate.outer(F.relu(gate.inner(x.to(gate.inner.weight.dtype))))
    return told


def _bottleneck(channels: int, width: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(channels, width), nn.ReLU(), nn.Linear(width, 4 * channels))
