"""StepNet's gate: the length of a residual step, told from the state and the update together.

    p = mean of the shortcut, q = mean of the residual, over places            (B, C) each
    pair    z = [p; q]
    diff    z = [p; q; log(1 + e)],  e = mean |r - r_prev| / (mean |a_prev r_prev| + 0.01), 0 at a stage's first block
    a = most * sigmoid(W2 relu(W1 z + b1) + b2)

Why both: for dx/dt = -l x a step of length 1 is exact when a = (1 - e^-l) / l, and l = -f / x cannot be known from f
alone. `foveal bench layers-stepnet` learns just that, with and without x.

Source    Huang, Liang, Qin, Zhong, Lin, ICCV 2023 (arXiv 2308.09939) says what the module is for; its own equations
          were not at hand. These are ours, made to satisfy what the paper claims: "StepNet-style"
Shapes    as in branch_gates.py; 3 C^2 / reduction weights a block at "pair", 2 C^2 / reduction in squeeze-excitation
Against   channel_attention.py, whose gates see the residual only
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.branch_gates import Gate, hidden_width, pooled, wide
from foveal.ranges import COUNT, POSITIVE, require_one_of, require_settings

SMALLEST = 0.01
"""What the update before is at least, so that the ratio stays finite."""
NEARLY = 0.1
"""Of what PyTorch would draw, W2 at the start."""


@dataclass(frozen=True, kw_only=True)
class StepSettings:
    """A step gate's shape.

    Checked when made. InputError: a value out of its range.
    """

    channels: int
    reduction: int | None = None  # of the MLP's inner width; None: 16 from 256 channels on, else 4
    level: Literal["pair", "diff"] = "pair"
    pool: Literal["mean", "mean+abs", "none"] = "mean"  # "none": a step for each token, from that token alone
    most: float = 1.0  # no step reaches it
    still: bool = False  # begin with steps of most / 2, whatever is read; at most = 2 a new gate then changes nothing

    def __post_init__(self) -> None:
        require_settings("StepAttention", self, channels=COUNT, reduction=COUNT, most=POSITIVE)
        require_one_of("StepAttention", self, "level", ("pair", "diff"))
        require_one_of("StepAttention", self, "pool", ("mean", "mean+abs", "none"))


class StepState(NamedTuple):
    """The last block's residual, and the mean size of its update, (B, C) or (B, T, C)."""

    residual: Tensor
    update: Tensor


class StepAttention(Gate):
    """The gate of one residual block, told from shortcut and update: steps (B, C), each in (0, most).

    StepNet-style, after Huang et al., ICCV 2023 (arXiv 2308.09939); the equations are ours (see the module).
    """

    def __init__(self, settings: StepSettings) -> None:
        """Weights are drawn as PyTorch draws those of a linear layer, but W2 a tenth of that, so that steps begin near
        most / 2; b2 is 0; `still` makes W2 0, too."""
        super().__init__(settings.channels, most=settings.most)
        self.settings = settings
        hidden = hidden_width(settings.channels, settings.reduction)
        means = 4 if settings.pool == "mean+abs" else 2
        self.inner = nn.Linear((means + (settings.level == "diff")) * settings.channels, hidden)
        self.outer = nn.Linear(hidden, settings.channels)
        nn.init.zeros_(self.outer.bias)
        with torch.no_grad():
            self.outer.weight *= 0.0 if settings.still else NEARLY

    def steps(
        self, residual: Tensor, shortcut: Tensor, state: StepState | None, mask: Tensor | None
    ) -> tuple[Tensor, StepState | None]:
        """Steps (B, C), or (B, T, C) where each token has its own; at level "diff" the state, too."""
        told = [*self._means(shortcut, mask), *self._means(residual, mask)]
        if self.settings.level == "diff":
            told.append(self._change(residual, state, mask))
        z = torch.cat(told, -1).to(self.inner.weight.dtype)
        steps = self.length(self.outer(F.relu(self.inner(z))))
        if self.settings.level == "pair":
            return steps, None
        return steps, StepState(residual, steps * self._pooled(residual.abs(), mask))  # |a r| = a |r|: a is positive

    def _change(self, residual: Tensor, state: StepState | None, mask: Tensor | None) -> Tensor:
        """log(1 + e)."""
        if state is None:
            return torch.zeros_like(self._pooled(residual, mask))
        fits = isinstance(state, StepState) and state.residual.shape == residual.shape
        change = self._pooled((residual - state.residual).abs(), mask) if fits else None
        if change is None or state.update.shape != change.shape:
            told = isinstance(state, StepState)
            of = f"{tuple(state.residual.shape)}, {tuple(state.update.shape)}" if told else type(state).__name__
            raise InputError(
                f"StepAttention got a state of {of} for a residual of {tuple(residual.shape)}; it needs that of the "
                "block before in the same stage, by a gate of the same pool, or None at a stage's first block."
            )
        return torch.log1p(change / (state.update + SMALLEST))

    def _means(self, x: Tensor, mask: Tensor | None) -> list[Tensor]:
        both = [x, x.abs()] if self.settings.pool == "mean+abs" else [x]
        return [self._pooled(one, mask) for one in both]

    def _pooled(self, x: Tensor, mask: Tensor | None) -> Tensor:
        if self.settings.pool != "none":
            return pooled(x, mask)
        if x.dim() == 4:
            raise InputError('StepAttention with pool = "none" steps token by token; it has no images. Use "mean".')
        return x.to(wide(x))

    def extra_repr(self) -> str:
        """Those of all gates, and what the steps are told from."""
        s = self.settings
        return f"{super().extra_repr()}, level={s.level!r}, pool={s.pool!r}"


def exact_step(rate: Tensor) -> Tensor:
    """(1 - e^-l) / l: the length at which one Euler step of dx/dt = -l x is exact; rates l above 0."""
    return -torch.expm1(-rate) / rate
