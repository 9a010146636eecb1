"""Choosing among many candidates that were tried on the same examples, without believing luck.

    found = gains(differences)                   # (candidates, N): each less the baseline, NaN where it was not tried
    chosen = passing([one.p for one in found], rate=0.1)

The best of 300 heads by raw accuracy is best by chance: at 900 examples an accuracy is known to 1.6 points, and a head
changes it by less. So differences are paired, drawn towards their mean by as much as they are uncertain (empirical
Bayes), and passed by the rule of Benjamini and Hochberg (1995): of those that pass, a share `rate` at most is expected
to do nothing. A candidate that was given up early counts as p = 1 among all, which keeps that promise.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError

Floats = npt.NDArray[np.float64]

Z95 = 1.96
"""Standard errors on each side of a 95 % interval."""

DECIMALS = 12
"""Of differences, that count: of two equal ones one may be 0.1 and one 0.09999999999999998."""


@dataclass(frozen=True, slots=True)
class Gain:
    """The mean difference of a candidate, its standard error, and its one-sided p (that it gains nothing)."""

    mean: float
    error: float
    p: float
    shrunk: float  # the mean drawn towards that of all candidates
    count: int  # examples

    @property
    def interval(self) -> tuple[float, float]:
        """The 95 % interval of the mean."""
        return self.mean - Z95 * self.error, self.mean + Z95 * self.error


def gains(differences: object) -> list[Gain]:
    """What each row of differences (candidates, N) says; NaN stands where a candidate was not tried.

    InputError: another shape, or a candidate with fewer than two examples.
    """
    values: Floats = np.asarray(differences, dtype=np.float64).round(DECIMALS)
    if values.ndim != 2 or not values.size:
        raise InputError(f"Differences of shape {values.shape} came; they need (candidates, examples).")
    counts = (~np.isnan(values)).sum(1)
    if (counts < 2).any():
        raise InputError(f"A candidate was tried on {int(counts.min())} examples; each needs at least two.")
    means, errors = np.nanmean(values, 1), np.nanstd(values, 1, ddof=1) / np.sqrt(counts)
    errors[np.nanmax(values, 1) == np.nanmin(values, 1)] = 0.0  # rounding leaves three of 0.1 a spread of 1e-17
    drawn = shrunk(means, errors)
    return [
        Gain(float(mean), float(error), _p(mean, error, int(count)), float(small), int(count))
        for mean, error, small, count in zip(means, errors, drawn, counts, strict=True)
    ]


def shrunk(means: Floats, errors: Floats) -> Floats:
    """Means drawn towards the mean of all, each by its variance over that of all (empirical Bayes, normal)."""
    middle = means.mean()
    spread = max(0.0, float(means.var(ddof=1) - (errors**2).mean())) if len(means) > 1 else 0.0
    total = spread + errors**2
    weight = np.divide(spread, total, out=np.ones_like(total), where=total > 0)
    result: Floats = middle + weight * (means - middle)
    return result


def passing(p: Sequence[float], rate: float) -> list[bool]:
    """Which of the hypotheses are rejected at this false-discovery rate (Benjamini and Hochberg, 1995)."""
    if not 0 < rate < 1:
        raise InputError(f"A false-discovery rate of {rate} came; it lies between 0 and 1.")
    order = sorted(range(len(p)), key=lambda place: p[place])
    last = max((rank for rank, place in enumerate(order, 1) if p[place] <= rate * rank / len(p)), default=0)
    accepted = set(order[:last])
    return [place in accepted for place in range(len(p))]


def _p(mean: float, error: float, count: int) -> float:
    """One-sided, by the normal approximation; where all differences are one, by their signs. No change at all has 1."""
    if error == 0:
        return 0.5**count if mean > 0 else 1.0
    return 0.5 * math.erfc(mean / error / math.sqrt(2))
