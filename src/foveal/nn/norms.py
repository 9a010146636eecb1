"""Root-mean-square norm that autocast leaves exact: computed in its weight's type, given back in the input's."""

from __future__ import annotations

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn


class RMSNorm(nn.RMSNorm):
    """x / sqrt(mean(x^2) + 1e-5), times a learned scale."""

    def __init__(self, dim: int) -> None:
        """Scales of 1."""
        super().__init__(dim, eps=1e-5)

    def forward(self, x: Tensor) -> Tensor:
        """x (…, dim) -> (…, dim)."""
        return F.rms_norm(x.to(self.weight.dtype), self.weight.shape, self.weight, self.eps).to(x.dtype)
