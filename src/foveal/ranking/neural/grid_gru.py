"""A GRU over two dimensions: the state of a cell comes from its left, upper and diagonal neighbours (Wan et al.,
"Match-SRNN", IJCAI 2016, section 3.2), run by anti-diagonals.

    q = [h_up, h_left, h_diag, s]
    r (3 x U) = sigmoid(W_r q + b_r);  z (4 x U) = softmax of W_z q + b_z over {left, up, diag, in}, unit by unit
    h' = tanh(W s + U (r * [h_left, h_up, h_diag]) + b)
    h  = z_left h_left + z_up h_up + z_diag h_diag + z_in h'

Shapes     inputs (G, B, m, n, C), rows and columns (B,): how many of each are real -> (G, B, U), the state of the last
           real cell; beyond the upper and left border all states are 0
Grids      G GRUs of one size with weights of their own, each over its own grid of B pairs, all in one step: small GRUs
           cost what their steps cost, not what they compute
Order      the cells of one anti-diagonal i + j = t need only those of t - 1 and t - 2, so that they are one step:
           m + n - 1 steps in place of m * n
Padding    a cell sees only cells before it, so what follows the last real cell changes nothing
"""

from __future__ import annotations

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.ranges import COUNT, require_number

__all__ = ["GridGRU", "skewed", "turned"]


class GridGRU(nn.Module):
    """`grids` 2-D GRUs from the upper left corner, of `channels` inputs and `units` states; see the module's head.

    InputError: fewer than one channel, unit or grid.
    """

    def __init__(self, channels: int, units: int, *, grids: int = 1) -> None:
        super().__init__()
        self.channels, self.units, self.grids = channels, units, grids
        for name, value in (("channels", channels), ("units", units), ("grids", grids)):
            require_number("A 2-D GRU", name, value, COUNT, whole=True)
        # rows: r (left, up, diag), z (left, up, diag, in), h'; columns of the last two: left, up, diag
        self.inputs = nn.Parameter(torch.empty(grids, 8 * units, channels))
        self.bias = nn.Parameter(torch.zeros(grids, 8 * units))
        self.gates = nn.Parameter(torch.empty(grids, 7 * units, 3 * units))
        self.candidate = nn.Parameter(torch.empty(grids, units, 3 * units))
        for one in (self.inputs, self.gates, self.candidate):
            nn.init.uniform_(one, -(one.shape[2] ** -0.5), one.shape[2] ** -0.5)

    def forward(self, inputs: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
        """(G, B, m, n, C) and real sizes (B,) -> (G, B, U): the state of cell (rows - 1, columns - 1), 0 if none is."""
        grids, batch, height, width, _ = inputs.shape
        if not batch * height * width:
            return inputs.new_zeros(grids, batch, self.units)
        with_one = F.pad(inputs, (0, 1), value=1.0)  # the bias is the weight of a channel of ones
        by_step = skewed(with_one.permute(0, 4, 2, 3, 1).flatten(0, 1))  # (T, G (C + 1), m, B)
        states = self._diagonals(by_step.reshape(len(by_step), grids, self.channels + 1, -1), batch)
        real = (rows > 0) & (columns > 0)
        step, row = (rows + columns - 2).clamp(min=0), (rows - 1).clamp(0, height - 1)
        last = states[step, :, :, row * batch + torch.arange(batch, device=inputs.device)]
        return torch.where(real[:, None, None], last, torch.zeros_like(last)).transpose(0, 1)

    def _diagonals(self, inputs: Tensor, batch: int) -> Tensor:
        """(T, G, C + 1, m B) -> states (T, G, U, m B), T = m + n - 1; step t holds the cells (i, t - i) at place i.

        Left of the border, t < i, all channels are 0, that of the ones too, and so are all states, without a mask:
        tanh(0) is 0. Pairs stand last in memory, so that all is done on long rows, and the row above is `batch` numbers
        before.
        """
        with_bias = torch.cat([self.inputs, self.bias.unsqueeze(2)], dim=2)
        for_gates = torch.cat([self.gates, with_bias[:, : 7 * self.units]], dim=2)
        for_candidate = torch.cat([self.candidate, with_bias[:, 7 * self.units :]], dim=2)
        left = up = diag = inputs.new_zeros(self.grids, self.units, inputs.shape[3])
        states = []
        for given in inputs:
            left, diag = self._cell(given, torch.cat([left, up, diag], dim=1), for_gates, for_candidate), up
            up = F.pad(left[..., :-batch], (batch, 0))
            states.append(left)
        return torch.stack(states)

    def _cell(self, given: Tensor, states: Tensor, for_gates: Tensor, for_candidate: Tensor) -> Tensor:
        """Inputs (G, C + 1, m B) and left, up, diag (G, 3U, m B) -> the new states (G, U, m B)."""
        gates = for_gates @ torch.cat([states, given], dim=1)
        reset, shares = gates[:, : 3 * self.units].sigmoid(), gates[:, 3 * self.units :]
        candidate = torch.tanh(for_candidate @ torch.cat([reset * states, given], dim=1))
        four = torch.cat([states, candidate], dim=1)
        shape = (self.grids, 4, self.units, four.shape[2])
        return (shares.reshape(shape).softmax(dim=1) * four.reshape(shape)).sum(1)


def skewed(grid: Tensor) -> Tensor:
    """(X, m, n, Y) -> (m + n - 1, X, m, Y): row i moved right by i: step t holds the cells (i, t - i); else 0."""
    outer, height, width, inner = grid.shape
    # m zeros after each row of n, read anew as rows of m + n - 1: each row starts one place later than the row before
    flat = F.pad(grid, (0, 0, 0, height)).reshape(outer, height * (width + height), inner)
    moved = flat[:, : height * (width + height - 1)].reshape(outer, height, width + height - 1, inner)
    return moved.permute(2, 0, 1, 3)


def turned(grid: Tensor, rows: Tensor, columns: Tensor) -> Tensor:
    """(B, m, n, C) -> the same with the real cells in reverse order of both axes, so that a scan starts at the last.

    What lies beyond the real cells stays beyond them, in some order.
    """
    batch, height, width = grid.shape[:3]
    row = (rows[:, None] - 1 - torch.arange(height, device=grid.device)) % height
    column = (columns[:, None] - 1 - torch.arange(width, device=grid.device)) % width
    return grid[torch.arange(batch, device=grid.device)[:, None, None], row[:, :, None], column[:, None, :]]
