"""A GRU unrolled by our own backward pass, against PyTorch's cell step by step."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn

from foveal.nn.gru_unroll import gru_unroll


def stepped(cell: nn.GRUCell, x: Tensor, starts: Tensor, state: Tensor) -> Tensor:
    states = []
    for now, start in zip(x, starts, strict=True):
        state = cell(now, state.masked_fill(start[:, None], 0))
        states.append(state)
    return torch.stack(states)


def unrolled(cell: nn.GRUCell, x: Tensor, starts: Tensor, state: Tensor) -> Tensor:
    given = nn.functional.linear(x, cell.weight_ih, cell.bias_ih)
    return gru_unroll(given, starts, state, cell.weight_hh, cell.bias_hh)


@pytest.mark.parametrize(("steps", "rows", "share"), [(1, 1, 0.0), (1, 3, 1.0), (9, 4, 0.3), (12, 1, 0.0), (5, 2, 1.0)])
def test_states_and_all_gradients_are_those_of_the_cell(steps, rows, share):
    torch.manual_seed(0)
    cell = nn.GRUCell(5, 7)
    x, state = torch.randn(steps, rows, 5), torch.randn(rows, 7)
    starts, wanted = torch.rand(steps, rows) < share, torch.randn(steps, rows, 7)
    found = []
    for form in (stepped, unrolled):
        inputs = x.clone().requires_grad_(), state.clone().requires_grad_()
        states = form(cell, inputs[0], starts, inputs[1])
        found.append([states.detach(), *torch.autograd.grad((states * wanted).sum(), [*inputs, *cell.parameters()])])
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other)


def test_what_was_before_an_episode_does_not_reach_it():
    torch.manual_seed(0)
    cell, starts = nn.GRUCell(5, 7), torch.tensor([[False], [True], [False]])
    x, state = torch.randn(3, 1, 5), torch.randn(1, 7, requires_grad=True)
    (reached,) = torch.autograd.grad(unrolled(cell, x, starts, state)[1:].sum(), state)
    assert not reached.any()


def test_it_is_float32_under_autocast():
    torch.manual_seed(0)
    cell, starts = nn.GRUCell(5, 7), torch.zeros(4, 2, dtype=torch.bool)
    x, state = torch.randn(4, 2, 5), torch.zeros(2, 7)
    with torch.autocast("cpu", torch.bfloat16):
        states = unrolled(cell, x, starts, state)
    states.square().sum().backward()
    assert states.dtype == torch.float32 == cell.weight_hh.grad.dtype
    torch.testing.assert_close(states, stepped(cell, x, starts, state), atol=0.03, rtol=0.03)  # x's product is bfloat16
