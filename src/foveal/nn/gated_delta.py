"""The gated delta rule: a matrix that forgets, and corrects what it gives for a key before it writes the new value.

    S_t = a_t S_(t-1) + u_t k_t^T     u_t = b_t (v_t - a_t S_(t-1) k_t)     y_t = S_t q_t

It is the strongest linear memory at small sizes, and so what the neural memory (neural_memory.py) is measured beside. A
chunk is computed at once: with g_t the product of a up to t and G[t,i] = g_t / g_i, the u of a chunk solve

    (I + b * tril(G * K K^T, -1)) U = b * (V - g * K S_0^T)

a triangular system, after which reading and carrying are products of matrices.

Source    Yang, Kautz and Hatamizadeh, "Gated Delta Networks", 2024 (arXiv 2412.06464); the form over chunks is theirs
Shapes    x (B, T, dim) -> (B, T, dim); per head S is (D, D)
Differs   the decay is a sigmoid of a linear map, not Mamba's
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.nn.convolution import CausalConvolution
from foveal.nn.inputs import as_it_is, checked, head_width, require_result, require_token
from foveal.nn.norms import RMSNorm
from foveal.nn.states import State, state_or_first
from foveal.nn.window_attention import merged
from foveal.ranges import COUNT, NOT_NEGATIVE, require_settings

KEPT = 4.6
"""The decay's bias at first: a sigmoid of 0.99."""


@dataclass(frozen=True, kw_only=True)
class GatedDeltaSettings:
    """A gated delta layer's shape; `chunk` is in tokens.

    Checked when made. InputError: a value out of its range.
    """

    dim: int
    heads: int = 4
    conv_kernel: int = 4  # tokens that queries, keys and values are mixed from; 0: the token alone
    chunk: int = 32  # tokens that are computed at once; no result depends on it

    def __post_init__(self) -> None:
        what = "The gated delta rule"
        require_settings(what, self, dim=COUNT, heads=COUNT, conv_kernel=NOT_NEGATIVE, chunk=COUNT)
        head_width(what, self.dim, self.heads)


@dataclass(frozen=True)
class DeltaState(State):
    """The matrix of each head, and the convolution's last inputs."""

    matrix: Tensor  # (B, H, D, D), values by keys
    tail: Tensor


class GatedDelta(nn.Module):
    """The gated delta rule with its projections, gates and norm: x (B, T, dim) -> (B, T, dim) and a matrix a head.

    Yang, Kautz and Hatamizadeh, "Gated Delta Networks", 2024 (arXiv 2412.06464); the decay is a sigmoid.
    """

    def __init__(self, settings: GatedDeltaSettings) -> None:
        """Weights are drawn from torch's generator."""
        super().__init__()
        self.settings = settings
        self.project = nn.Linear(settings.dim, 3 * settings.dim, bias=False)
        self.convolution = CausalConvolution(3 * settings.dim, settings.conv_kernel)
        self.gates = nn.Linear(settings.dim, 2 * settings.heads)
        self.norm = RMSNorm(settings.dim)
        self.open = nn.Linear(settings.dim, settings.dim, bias=False)
        self.out = nn.Linear(settings.dim, settings.dim, bias=False)
        with torch.no_grad():
            self.gates.bias.copy_(torch.tensor([0.0, KEPT]).repeat_interleave(settings.heads))

    @property
    def layout(self) -> str:
        """What a state must be of."""
        return f"gated delta rule, {self.settings.heads} heads, kernel {self.settings.conv_kernel}"

    @property
    def _dtype(self) -> torch.dtype:
        return torch.float64 if self.out.weight.dtype == torch.float64 else torch.float32

    def init_state(self, batch: int) -> DeltaState:
        """Zeros."""
        width = self.settings.dim // self.settings.heads
        matrix = torch.zeros(batch, self.settings.heads, width, width, dtype=self._dtype, device=self.out.weight.device)
        return DeltaState(self.layout, matrix, self.convolution.init_tail(batch, matrix))

    def forward(
        self, x: Tensor, state: DeltaState | None = None, mask: Tensor | None = None
    ) -> tuple[Tensor, DeltaState]:
        """x (B, T, dim) -> (B, T, dim) and the state; where `mask` is False nothing is written."""
        x = checked("The gated delta rule", x, self.settings.dim, mask)
        state = state_or_first(state, self.init_state, len(x))
        made = self.project(x)
        if mask is not None:
            made = made.masked_fill(~mask[..., None], 0)  # else tokens behind them would be mixed from them
        mixed, tail = self.convolution(made, state.tail)
        parts = F.silu(mixed.to(self._dtype)).view(*x.shape[:2], 3, self.settings.heads, -1)
        q, k, v = parts.permute(2, 0, 3, 1, 4)
        write, keep = self.gates(x).to(self._dtype).view(*x.shape[:2], 2, -1).permute(2, 0, 3, 1)
        write, keep = write.sigmoid(), F.logsigmoid(keep)
        if mask is not None:
            write, keep = write * mask[:, None], keep * mask[:, None]
        with as_it_is(x):
            y, matrix = self._over_chunks(F.normalize(q, dim=-1), F.normalize(k, dim=-1), v, write, keep, state.matrix)
        y = self.norm(merged(y).to(x.dtype)) * F.silu(self.open(x))
        given = require_result("The gated delta rule", self.out(y))
        return given, DeltaState(state.layout, matrix, tail)

    def step(self, x: Tensor, state: DeltaState) -> tuple[Tensor, DeltaState]:
        """One token (B, dim)."""
        require_token("The gated delta rule", x, self.settings.dim)
        y, state = self(x[:, None], state)
        return y[:, 0], state

    def _over_chunks(
        self, q: Tensor, k: Tensor, v: Tensor, write: Tensor, keep: Tensor, matrix: Tensor
    ) -> tuple[Tensor, Tensor]:
        given = []  # cut at once: a gradient of each cut by itself would be as long as the text
        cut = (torch.split(one, self.settings.chunk, 2) for one in (q, k, v, write, keep))
        for queries, keys, values, written, kept in zip(*cut, strict=True):
            y, matrix = delta_chunk(queries, keys, values, written, kept, matrix)
            given.append(y)
        return torch.cat(given, 2), matrix


def delta_chunk(q: Tensor, k: Tensor, v: Tensor, write: Tensor, keep: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Queries, keys, values (B, H, b, D), b and log a (B, H, b), S_0 (B, H, D, D) -> y (B, H, b, D) and S_b."""
    logs = keep.cumsum(-1)
    above = torch.ones(k.shape[2], k.shape[2], dtype=torch.bool, device=k.device).triu(1)
    lasting = (logs[..., :, None] - logs[..., None, :]).masked_fill(above, -torch.inf).exp()  # G, 1 on the diagonal
    since, write = logs.exp()[..., None], write[..., None]
    system = (write * lasting * (k @ k.mT)).tril(-1)
    told = torch.linalg.solve_triangular(system, write * (v - since * (k @ matrix.mT)), upper=False, unitriangular=True)
    y = since * (q @ matrix.mT) + (lasting * (q @ k.mT)) @ told
    after = since[..., -1:, :] * matrix + (told * lasting[..., -1, :, None]).mT @ k
    return y, after
