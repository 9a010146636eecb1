"""A causal depthwise convolution that goes on over a stream: each channel sees its own last few tokens.

Shapes    x (B, T, C), tail (B, kernel - 1, C): the inputs before -> y (B, T, C), the next tail
Kernel    0 passes x through; the tail then has no rows
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from foveal.nn.states import own


class CausalConvolution(nn.Module):
    """y_t = sum over j < kernel of w_j * x_(t - j) + b, channel by channel."""

    def __init__(self, channels: int, kernel: int) -> None:
        """Weights are drawn as PyTorch draws those of a convolution; the bias is 0."""
        super().__init__()
        self.channels, self.kernel = channels, kernel
        if kernel:
            self.weight = nn.Parameter(torch.empty(kernel, channels).uniform_(-(kernel**-0.5), kernel**-0.5))
            self.bias = nn.Parameter(torch.zeros(channels))

    def init_tail(self, batch: int, like: Tensor) -> Tensor:
        """Zeros, as before the first token."""
        return like.new_zeros(batch, max(0, self.kernel - 1), self.channels)

    def forward(self, x: Tensor, tail: Tensor) -> tuple[Tensor, Tensor]:
        """The convolved tokens, and what the next piece needs."""
        if not self.kernel:
            return x, tail
        tokens = x.shape[1]
        line = torch.cat([tail.to(x.dtype), x], 1)
        y = self.bias + sum(self.weight[self.kernel - 1 - j] * line[:, j : j + tokens] for j in range(self.kernel))
        return y.to(x.dtype), own(line[:, tokens:].to(tail.dtype))
