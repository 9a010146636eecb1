"""From scores to attention weights of which many are exactly 0, and two ways that are never sparse, to compare.

Shapes    scores (..., L), and which of them are real (..., L) -> weights (..., L) in float32 (float64 for such scores),
          0 or more, that add up to 1 over what is real; what is not real gets exactly 0
Source    sparsemax: Martins and Astudillo, ICML 2016; 1.5-entmax: Peters, Niculae and Martins, ACL 2019
"""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor

from foveal.errors import InputError


def sparsemax(scores: Tensor, real: Tensor | None = None) -> Tensor:
    """The point of the simplex nearest to the scores (..., L): weights of which many are exactly 0.

    p_i = max(z_i - tau, 0) with tau such that they add up to 1; the gradient is g - mean of g over what is not 0.
    `real` (..., L) is False where there is nothing: 0 exactly. InputError: a row without a real, finite score.
    """
    z = _below_the_best(scores, real, floor=-2.0)  # what lies 1 or more below the best has weight 0 anyway
    with torch.no_grad():
        ordered = z.sort(dim=-1, descending=True).values
        counts = torch.arange(1, z.shape[-1] + 1, device=z.device)
        size = (1 + counts * ordered > ordered.cumsum(-1)).sum(-1, keepdim=True)
        held = z >= ordered.gather(-1, size - 1)
    count = held.sum(-1, keepdim=True)
    tau = ((z * held).sum(-1, keepdim=True) - 1) / count
    return (z - tau).masked_fill(~held, 0.0).clamp(min=0)  # a product would leave zeros with a minus sign


def entmax15(scores: Tensor, real: Tensor | None = None) -> Tensor:
    """1.5-entmax of (..., L), between softmax and sparsemax: p_i = max(z_i / 2 - tau, 0)^2; else as `sparsemax`."""
    z = _below_the_best(scores, real, floor=-3.0) / 2
    with torch.no_grad():
        ordered = z.sort(dim=-1, descending=True).values
        counts = torch.arange(1, z.shape[-1] + 1, device=z.device)
        means, squares = ordered.cumsum(-1) / counts, ordered.square().cumsum(-1)
        taus = means - ((1 - squares + counts * means.square()) / counts).clamp(min=0).sqrt()
        held = z >= ordered.gather(-1, (taus < ordered).sum(-1, keepdim=True) - 1)
    count = held.sum(-1, keepdim=True)
    mean, square = (z * held).sum(-1, keepdim=True) / count, (z.square() * held).sum(-1, keepdim=True)
    tau = mean - ((1 - square + count * mean.square()) / count).clamp(min=1e-12).sqrt()
    return ((z - tau) * held).clamp(min=0).square()


def softmax(scores: Tensor, real: Tensor | None = None) -> Tensor:
    """Softmax of (..., L), 0 where nothing is real: attention that is never sparse. Errors as for `sparsemax`."""
    z = _below_the_best(scores, real, floor=-math.inf)
    return z.softmax(-1)


def mean(scores: Tensor, real: Tensor | None = None) -> Tensor:
    """The same weight for all that is real, whatever the scores (..., L): attention that learns nothing."""
    z = _below_the_best(scores, real, floor=-math.inf)
    return (torch.zeros_like(z) if real is None else torch.zeros_like(z).masked_fill(~real, -math.inf)).softmax(-1)


ATTENTIONS: dict[str, Callable[[Tensor, Tensor | None], Tensor]] = {
    "sparsemax": sparsemax,
    "entmax15": entmax15,
    "softmax": softmax,
    "mean": mean,
}
"""From scores to weights, by name; the last two are for comparison."""


def _below_the_best(scores: Tensor, real: Tensor | None, *, floor: float) -> Tensor:
    """Scores less the best one of their row, `floor` at the least; what is not real lies at the floor."""
    wide = scores if scores.dtype == torch.float64 else scores.float()
    seen = wide if real is None else wide.masked_fill(~real, -math.inf)
    best = seen.amax(-1, keepdim=True) if seen.shape[-1] else seen.new_full((*seen.shape[:-1], 1), -math.inf)
    if not bool(torch.isfinite(best).all()):
        row = int((~torch.isfinite(best)).flatten().nonzero()[0])
        raise InputError(
            f"Row {row} of the scores {tuple(scores.shape)} has no real, finite entry, so nothing can be attended to. "
            "Give each article at least one sentence."
        )
    return (seen - best).clamp(min=floor) if math.isfinite(floor) else seen - best
