"""How right class labels are: counts, F1 by class, macro, weighted; the FNC score; how true probabilities are.

Rows are named by the labels that are given, in that order: sorting them by name has exchanged rows in published tables.

F1         2 TP / (2 TP + FP + FN) of a class; macro: the mean of those that occur; weighted: by how often each is right
FNC        Fake News Challenge: 0.25 for related or unrelated, and 0.75 more for the right class of what is related;
           over the best possible
AUROC      how often a positive is scored above a negative
ECE        expected calibration error (Guo et al., ICML 2017): |share right - mean probability|, in 10 equal bins
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError

BINS = 10


@dataclass(frozen=True)
class Confusion:
    """`counts[i][j]`: how often label i, of `labels`, was called label j."""

    labels: tuple[str, ...]
    counts: tuple[tuple[int, ...], ...]

    @classmethod
    def of(cls, gold: Sequence[str], given: Sequence[str], labels: Sequence[str]) -> Confusion:
        """From right and given labels. InputError: none, not as many, or one that is not among `labels`."""
        if len(gold) != len(given) or not gold:
            raise InputError(f"{len(gold)} right labels and {len(given)} given ones came; it needs as many, and some.")
        place = {label: at for at, label in enumerate(labels)}
        unknown = next((one for one in (*gold, *given) if one not in place), None)
        if unknown is not None:
            raise InputError(f"There is no label {unknown!r}. There are: {', '.join(labels)}.")
        counts = np.zeros((len(place), len(place)), dtype=np.int64)
        np.add.at(counts, ([place[one] for one in gold], [place[one] for one in given]), 1)
        return cls(tuple(labels), tuple(tuple(int(n) for n in row) for row in counts))

    @property
    def supports(self) -> dict[str, int]:
        """Label -> how often it is right."""
        return {label: sum(row) for label, row in zip(self.labels, self.counts, strict=True)}

    @property
    def f1(self) -> dict[str, float]:
        """Label -> F1; 0 where it neither is right nor was given."""
        found = {}
        for at, label in enumerate(self.labels):
            both = sum(self.counts[at]) + sum(row[at] for row in self.counts)
            found[label] = 2 * self.counts[at][at] / both if both else 0.0
        return found

    @property
    def accuracy(self) -> float:
        """The share that is right."""
        return sum(row[at] for at, row in enumerate(self.counts)) / sum(map(sum, self.counts))

    @property
    def macro(self) -> float:
        """The mean F1 of the classes that are right or were given at all: nothing is known of the others."""
        f1 = self.f1
        met = [one for at, one in enumerate(self.labels) if any(self.counts[at]) or any(row[at] for row in self.counts)]
        return sum(f1[one] for one in met) / len(met)

    @property
    def weighted(self) -> float:
        """The mean F1 of the classes, by how often each is right."""
        supports = self.supports
        return sum(value * supports[label] for label, value in self.f1.items()) / sum(supports.values())


def fnc_score(gold: Sequence[str], given: Sequence[str], *, unrelated: str) -> float:
    """The share of the best Fake News Challenge score; all labels but `unrelated` are related. InputError: none."""
    if not gold or len(gold) != len(given):
        raise InputError(f"{len(gold)} right labels and {len(given)} given ones came; it needs as many, and some.")
    best = sum(0.25 if right == unrelated else 1.0 for right in gold)
    score = 0.0
    for right, said in zip(gold, given, strict=True):
        score += 0.25 * ((right == unrelated) == (said == unrelated))
        score += 0.75 * (right == said != unrelated)
    return score / best


def calibration_error(probabilities: npt.NDArray[np.float64], right: npt.NDArray[np.int64]) -> float:
    """ECE of probabilities (N, C) with right classes (N,)."""
    best = probabilities.max(axis=1)
    hit = (probabilities.argmax(axis=1) == right).astype(np.float64)
    bins = np.minimum((best * BINS).astype(int), BINS - 1)
    gaps = [abs(hit[bins == one].mean() - best[bins == one].mean()) * (bins == one).mean() for one in np.unique(bins)]
    return float(sum(gaps))


def spearman(one: Sequence[float], other: Sequence[float]) -> float:
    """The correlation of ranks, ties by their mean rank; NaN where one side never changes."""
    if len(one) != len(other) or len(one) < 2:
        raise InputError(f"A correlation got {len(one)} and {len(other)} values; it needs as many, and at least 2.")
    a, b = (mean_ranks(np.asarray(side, dtype=np.float64)) for side in (one, other))
    a, b = a - a.mean(), b - b.mean()
    spread = float(np.sqrt((a @ a) * (b @ b)))
    return float(a @ b) / spread if spread else float("nan")


def auroc(scores: Sequence[float], positive: Sequence[bool]) -> float:
    """Area under the ROC curve: how often a positive scores above a negative, ties half (Mann and Whitney, 1947).

    InputError: not as many, or only one of the two kinds.
    """
    right = np.asarray(positive, dtype=bool)
    if len(scores) != len(right) or right.all() or not right.any():
        raise InputError(
            f"{len(scores)} scores and {len(right)} labels came; it needs as many, and some of both kinds."
        )
    ranks = mean_ranks(np.asarray(scores, dtype=np.float64))
    many, few = int(right.sum()), int((~right).sum())
    return float((ranks[right].sum() - many * (many + 1) / 2) / (many * few))


def mean_ranks(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The ranks (N,) of values (N,), from 1; of equal ones the mean of theirs. InputError: NaN, which has no rank."""
    if np.isnan(values).any():
        raise InputError(f"{int(np.isnan(values).sum())} of {len(values)} values are NaN, which has no rank.")
    _, inverse, counts = np.unique(values, return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    ranks: npt.NDArray[np.float64] = (last - (counts - 1) / 2)[inverse]
    return ranks
