"""Linear probes: how much of a yes-or-no question can be read off features by a plane.

    probe = LinearProbe.fit(features, answers)        # (N, D), (N, K) of booleans
    probe.accuracy(others, theirs), probe.f1(others, theirs)

Features are standardised by those that are learnt from; each question has a logistic regression of its own, with the
smallest of weights (1/2 |w|² beside the summed loss), all found together by L-BFGS.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError
from foveal.training.linear import minimise


@dataclass(frozen=True, eq=False)
class LinearProbe:
    """K planes over D features."""

    mean: Tensor  # (D,)
    spread: Tensor  # (D,)
    weight: Tensor  # (D, K)
    bias: Tensor  # (K,)

    @classmethod
    def fit(cls, features: Tensor, answers: Tensor, *, balanced: bool = False, rounds: int = 100) -> LinearProbe:
        """Of features (N, D) and answers (N, K); `balanced`: yes and no count alike, however rare.

        InputError: not as many of both, or none.
        """
        if features.dim() != 2 or answers.dim() != 2 or len(features) != len(answers) or not len(features):
            raise InputError(
                f"A probe got features {tuple(features.shape)} and answers {tuple(answers.shape)}; it needs (N, D) and "
                "(N, K), and some."
            )
        mean, spread = features.mean(0), features.std(0).clamp(min=1e-6)
        x, y = (features - mean) / spread, answers.to(features.dtype)
        yes = y.sum(0).clamp(min=1)
        rare = ((len(y) - yes).clamp(min=1) / yes) if balanced else None
        weight = torch.zeros(x.shape[1], y.shape[1], dtype=x.dtype, requires_grad=True)
        bias = torch.zeros(y.shape[1], dtype=x.dtype, requires_grad=True)

        def objective() -> Tensor:
            loss = F.binary_cross_entropy_with_logits(x @ weight + bias, y, pos_weight=rare, reduction="sum")
            return (loss + 0.5 * weight.square().sum()) / len(x)

        with torch.enable_grad():
            minimise(objective, [weight, bias], rounds=rounds)
        return cls(mean, spread, weight.detach(), bias.detach())

    def told(self, features: Tensor) -> Tensor:
        """(N, K): what the probe says."""
        return ((features - self.mean) / self.spread) @ self.weight + self.bias > 0

    def accuracy(self, features: Tensor, answers: Tensor) -> float:
        """The share of right answers, over all questions."""
        return float((self.told(features) == answers).float().mean())

    def f1(self, features: Tensor, answers: Tensor) -> float:
        """The mean F1 of yes over the questions that have a yes among `answers`."""
        told, answers = self.told(features), answers.bool()
        asked = answers.any(0)
        both, all_ = (told & answers).sum(0), told.sum(0) + answers.sum(0)
        return float((2 * both / all_.clamp(min=1))[asked].mean())
