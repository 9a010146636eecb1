"""A gate on a residual branch: x + a * f(x) instead of x + f(x), where a says how long a step this input takes.

    gated = gate(residual, shortcut)      # gated.scaled is added to the shortcut; gated.steps is a

A residual block is one explicit Euler step of dx/dt = f(x), of length 1; a gate makes the length its own for each input
and channel (Huang et al., ICCV 2023, arXiv 2308.09939). "Channel attention" is such a gate; it is no attention of
tokens to tokens. StepNet's stands in stepnet.py, the others in channel_attention.py; gating.py puts them into a model.

Shapes    residual and shortcut images (B, C, H, W), tokens (B, T, C) with a mask (B, T), or vectors (B, C)
          steps (B, C), or of every token (B, T, C), or of the residual's shape; each in (0, `most`)
Types     means are taken in float32 or wider, steps given back in the residual's type; autocast and torch.compile work
"""

from __future__ import annotations

from typing import Any, NamedTuple

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranges import COUNT, POSITIVE, require_number


class Gated(NamedTuple):
    """What leaves a gate; `state` is what the gate of the next block of the same stage is given, None where nothing."""

    scaled: Tensor
    steps: Tensor
    state: Any = None


class Gate(nn.Module):
    """What all gates share: their channels, the longest step, and the checks at their door."""

    def __init__(self, channels: int, *, most: float = 1.0) -> None:
        """`most` is the length that no step reaches: 1, or 2 for steps that begin at 1 in a model that is trained."""
        super().__init__()
        require_number(type(self).__name__, "channels", channels, COUNT, whole=True)
        require_number(type(self).__name__, "most", most, POSITIVE)
        self.channels, self.most = channels, most

    def forward(self, residual: Tensor, shortcut: Tensor, state: Any = None, mask: Tensor | None = None) -> Gated:
        """The residual, of images (B, C, H, W), tokens (B, T, C) or vectors (B, C), scaled; its steps; the state.

        InputError: shapes that do not go together.
        """
        require_branch(type(self).__name__, residual, shortcut, self.channels, mask)
        steps, state = self.steps(residual, shortcut, state, mask)
        return Gated(residual * over(steps, residual).to(residual.dtype), steps, state)

    def steps(self, residual: Tensor, shortcut: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:
        """The steps and the next state; each gate has its own."""
        raise NotImplementedError

    def length(self, logits: Tensor) -> Tensor:
        """Logits -> steps in (0, most), in float32 or wider."""
        return self.most * torch.sigmoid(logits.to(wide(logits)))

    def extra_repr(self) -> str:
        """Channels and the longest step."""
        return f"channels={self.channels}, most={self.most:g}"


class ConstantStep(Gate):
    """A trained step a channel, the same for every input: what tells an adaptive gate from a stripe."""

    def __init__(self, channels: int, *, most: float = 1.0) -> None:
        """Steps begin at most / 2."""
        super().__init__(channels, most=most)
        self.logits = nn.Parameter(torch.zeros(channels))

    def steps(self, residual: Tensor, shortcut: Tensor, state: Any, mask: Tensor | None) -> tuple[Tensor, Any]:  # noqa: ARG002
        """Steps (B, C), the same in every row, and no state."""
        return self.length(self.logits).expand(len(residual), -1), None


def require_branch(gate: str, residual: Tensor, shortcut: Tensor, channels: int, mask: Tensor | None = None) -> None:
    """InputError: shapes that differ or are none of the three, other channels, no places, a mask that does not fit."""
    if residual.shape != shortcut.shape:
        raise InputError(
            f"{gate} got a residual of shape {tuple(residual.shape)} and a shortcut of {tuple(shortcut.shape)}; "
            "they are added, so give the shortcut after its projection."
        )
    if residual.dim() not in (2, 3, 4) or residual.shape[channel_axis(residual)] != channels:
        raise InputError(
            f"{gate} of {channels} channels got a residual of shape {tuple(residual.shape)}; it needs images "
            f"(batch, {channels}, height, width), tokens (batch, tokens, {channels}) or vectors (batch, {channels})."
        )
    if 0 in residual.shape[1:]:
        raise InputError(f"{gate} got a residual of shape {tuple(residual.shape)}; there must be a place at least.")
    if mask is not None and (residual.dim() != 3 or mask.shape != residual.shape[:2] or mask.dtype != torch.bool):
        raise InputError(
            f"{gate} got a mask {tuple(mask.shape)}, {mask.dtype} for a residual {tuple(residual.shape)}; it needs "
            "(batch, tokens), torch.bool, True where a token counts, and goes with tokens only."
        )


def channel_axis(x: Tensor) -> int:
    """1 of images, else the last."""
    return 1 if x.dim() == 4 else x.dim() - 1


def wide(x: Tensor) -> torch.dtype:
    """The type that sums are kept in."""
    return torch.promote_types(x.dtype, torch.float32)


def pooled(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The mean over places, or over the tokens that count: (B, C); zeros where no token does."""
    if x.dim() == 2:
        return x.to(wide(x))
    if x.dim() == 4 and not x.is_contiguous(memory_format=torch.channels_last):
        return x.mean((2, 3), dtype=wide(x))
    if x.dim() == 4:  # its gradient, laid out as the channels are, takes a third of the time
        x = x.permute(0, 2, 3, 1).flatten(1, 2)
    if mask is None:
        return x.mean(1, dtype=wide(x))
    kept = x.masked_fill(~mask[..., None], 0).sum(1, dtype=wide(x))
    return kept / mask.sum(1, keepdim=True).clamp(min=1)


def greatest(x: Tensor, mask: Tensor | None = None) -> Tensor:
    """The maximum over places, or over the tokens that count: (B, C); zeros where no token does."""
    if x.dim() == 2:
        return x.to(wide(x))
    if x.dim() == 4:
        return x.amax((2, 3)).to(wide(x))
    if mask is None:
        return x.amax(1).to(wide(x))
    least = torch.finfo(x.dtype).min
    top = x.masked_fill(~mask[..., None], least).amax(1)
    return torch.where(mask.any(1, keepdim=True), top, 0).to(wide(x))


def over(steps: Tensor, like: Tensor) -> Tensor:
    """Steps (B, C) laid over every place of `like`; those that have places already as they are."""
    if steps.dim() == like.dim():
        return steps
    return steps[:, :, None, None] if like.dim() == 4 else steps[:, None, :]


def hidden_width(channels: int, reduction: int | None) -> int:
    """The inner width of a gate's MLP: channels / reduction, at least 4; by default 16, below 256 channels 4."""
    if reduction is None:
        reduction = 16 if channels >= 256 else 4
    require_number("A gate", "reduction", reduction, COUNT, whole=True)
    return max(channels // reduction, 4)
