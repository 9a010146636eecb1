"""Fits the heads that need no training loop: logistic and softmax regression by L-BFGS, calibration, thresholds.

    weights, biases = fit_linear(features, labels, ridge=1e-3)     # (m, F), (m,) bool -> (F,), ()

The objective is convex: weighted mean of the log loss + ridge / 2 * |weights|^2, over features brought to deviation 1,
so that one ridge fits all of them; the scale is put back into the weights. The same data give the same fit.

Platt      p = sigmoid(slope * score + shift), fitted on gaps that were not learnt from
Threshold  the log-odds below which a section ends that gives the least P_k on such documents; since P_k rewards
           predicting nothing, only thresholds that find at least half as many boundaries as there are are tried
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from statistics import fmean

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from torch.nn.functional import binary_cross_entropy_with_logits, cross_entropy

from foveal.errors import InputError
from foveal.evaluation.segmentation import openings_to_masses, pk, window_size
from foveal.training.linear import minimise
from foveal.training.same_topic_heads import Floats

STEPS = 200
"""Of L-BFGS at most; it stops where the gradient is as good as 0."""

GRID = 40
"""Thresholds that are tried."""


@dataclass(frozen=True, slots=True)
class Platt:
    """From a score to log-odds: slope * score + shift."""

    slope: float = 1.0
    shift: float = 0.0

    def __call__(self, scores: Floats) -> Floats:
        made: Floats = (np.float32(self.slope) * scores + np.float32(self.shift)).astype(np.float32)
        return made

    @classmethod
    def fit(cls, scores: Floats, same: NDArray[np.bool_]) -> Platt:
        """On scores (n,) and true answers (n,); where only one answer occurs nothing is changed."""
        if not len(same) or same.all() or not same.any():
            return cls()
        weights, bias = fit_linear(scores[:, None], same, ridge=1e-4)
        return cls(float(weights[0]), float(bias))


def fit_linear(
    features: Floats, labels: NDArray[np.generic], *, ridge: float, weight: Floats | None = None, classes: int = 0
) -> tuple[Floats, Floats]:
    """Weights (F,) and bias () of a logistic regression; with `classes`, (classes, F) and (classes,) of a softmax.

    `weight` (m,) says how much each row counts. InputError: no rows, or numbers that are none.
    """
    if not len(features) or not np.isfinite(features).all():
        raise InputError(f"A head was to be fitted on features {features.shape}; it needs rows, all of them finite.")
    x = torch.from_numpy(np.ascontiguousarray(features, dtype=np.float32))
    spread, mean = torch.std_mean(x, dim=0, correction=0)
    spread = spread.clamp(min=1e-6)
    x = (x - mean) / spread
    counts = torch.ones(len(x)) if weight is None else torch.from_numpy(np.asarray(weight, dtype=np.float32))
    target = torch.from_numpy(np.asarray(labels, dtype=np.int64 if classes else np.float32))
    weights = torch.zeros(max(1, classes), x.shape[1], requires_grad=True)
    biases = torch.zeros(max(1, classes), requires_grad=True)

    def objective() -> Tensor:
        logits = x @ weights.T + biases
        losses = (
            cross_entropy(logits, target, reduction="none")
            if classes
            else binary_cross_entropy_with_logits(logits[:, 0], target, reduction="none")
        )
        return (losses * counts).sum() / counts.sum() + ridge / 2 * weights.square().sum()

    minimise(objective, [weights, biases], rounds=STEPS)
    with torch.no_grad():
        scaled = weights / spread
        moved = biases - scaled @ mean
    if classes:
        return scaled.numpy(), moved.numpy()
    return scaled[0].numpy(), moved[0].numpy()


@dataclass(frozen=True, slots=True)
class Gaps:
    """What was said of each gap of a document (n - 1,), log-odds of "the same", and its true masses."""

    log_odds: Floats
    masses: Sequence[int]

    @property
    def same(self) -> NDArray[np.bool_]:
        """The true answers (n - 1,)."""
        numbers = np.repeat(np.arange(len(self.masses)), self.masses)
        same: NDArray[np.bool_] = numbers[1:] == numbers[:-1]
        return same

    def found(self, threshold: float) -> list[int]:
        """The masses where a section ends wherever the log-odds are below `threshold`."""
        openings = (np.flatnonzero(self.log_odds < threshold) + 1).tolist()
        return openings_to_masses(openings, len(self.log_odds) + 1)


def mean_pk(documents: Sequence[Gaps], threshold: float) -> float:
    """P_k at a threshold, the mean over the documents that are longer than its window."""
    long = [one for one in documents if sum(one.masses) > window_size(one.masses)]
    return fmean(pk(one.found(threshold), one.masses) for one in long) if long else 0.0


def best_threshold(documents: Sequence[Gaps]) -> float:
    """The threshold with the least `mean_pk`; of equally good ones the one that finds the most nearly right number."""
    scores = np.concatenate([one.log_odds for one in documents]) if documents else np.zeros(0)
    if not len(scores):
        return 0.0
    true = sum(len(one.masses) - 1 for one in documents)
    shares = np.linspace(0.5, 2.0, GRID) * true / len(scores)
    tried = np.quantile(scores, np.minimum(shares, 1.0)).tolist()
    return float(min(tried, key=lambda one: (round(mean_pk(documents, one), 6), abs(int((scores < one).sum()) - true))))
