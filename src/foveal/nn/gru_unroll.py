"""A GRU over steps whose inputs are multiplied already, with a backward pass of its own.

    states = gru_unroll(given, starts, state, weight, bias)        # (T, N, H)

Autograd over T small steps spends its time between them. Here a step back is one product, of (N, 3H) and the weight;
what the steps have in common (derivatives of gates, the weight's gradient) is computed for all of them at once. A state
is forgotten where `starts` says that an episode begins.

Order     PyTorch's: reset, update, new; n = tanh(x_n + r · h_n), h' = n + z (h - n)
Numbers   float32 also under autocast: the products are too small to gain by less
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def gru_unroll(given: Tensor, starts: Tensor, state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
    """All states: given (T, N, 3H) = W_ih x + b_ih, starts (T, N), state (N, H), weight (3H, H), bias (3H,)."""
    states: Tensor = _Unrolled.apply(given.float(), ~starts, state.float(), weight.float(), bias.float())  # type: ignore[no-untyped-call]
    return states


class _Unrolled(torch.autograd.Function):
    """Kept for the way back: the state before each step, its gates, its new state, and what the reset gate holds."""

    @staticmethod
    def forward(ctx: Any, given: Tensor, goes_on: Tensor, state: Tensor, weight: Tensor, bias: Tensor) -> Tensor:
        steps, rows, width = given.shape
        hidden = width // 3
        kept = goes_on[..., None].to(given.dtype)
        before, held, new = (given.new_empty(steps, rows, hidden) for _ in range(3))
        gates, states = given.new_empty(steps, rows, 2 * hidden), given.new_empty(steps, rows, hidden)
        turned = weight.t()
        for step in range(steps):
            torch.mul(state, kept[step], out=before[step])
            own = torch.addmm(bias, before[step], turned)
            torch.sigmoid(given[step, :, : 2 * hidden] + own[:, : 2 * hidden], out=gates[step])
            held[step] = own[:, 2 * hidden :]
            reset, update = gates[step].chunk(2, -1)
            torch.tanh(torch.addcmul(given[step, :, 2 * hidden :], reset, held[step]), out=new[step])
            state = torch.lerp(new[step], before[step], update, out=states[step])
        ctx.save_for_backward(kept, weight, before, gates, held, new)
        return states

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, wanted: Tensor) -> tuple[Tensor | None, ...]:
        kept, weight, before, gates, held, new = ctx.saved_tensors
        reset, update = gates.chunk(2, -1)
        fresh = (1 - update) * (1 - new.square())  # d h' / d (what tanh is taken of)
        turn = (before - new) * update * (1 - update)
        slopes = torch.stack([fresh * held * reset * (1 - reset), turn, fresh * reset], -2)  # (T, N, 3, H)
        ahead, asked = torch.zeros_like(wanted[0]), torch.empty_like(wanted)
        own = torch.empty_like(slopes)
        for step in reversed(range(len(wanted))):
            torch.add(wanted[step], ahead, out=asked[step])
            torch.mul(asked[step][:, None], slopes[step], out=own[step])
            ahead = torch.addmm(asked[step] * update[step], own[step].flatten(1), weight) * kept[step]
        own = own.flatten(2)
        hidden = wanted.shape[-1]
        given = torch.cat([own[..., : 2 * hidden], asked * fresh], -1)
        pairs = own.flatten(0, 1)
        return given, None, ahead, pairs.t() @ before.flatten(0, 1), pairs.sum(0)
