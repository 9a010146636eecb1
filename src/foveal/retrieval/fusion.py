"""Several rankings of one query made one: reciprocal ranks, or a weighted sum of normalised scores.

Shapes    a ranking maps keys to scores, higher is better -> one ranking over all keys that occur
Source    reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009; weighted sums of min-max scores:
          Bruch, Gai and Ingber, TOIS 2023
Against   reciprocal ranks need no tuning and ignore how far scores lie apart, so they lose where one ranking is much
          the weaker; the weighted sum needs a weight, best tuned on a few judged queries
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Mapping, Sequence
from typing import TypeVar

from foveal.errors import InputError

Key = TypeVar("Key", bound=Hashable)
Ranking = Mapping[Key, float]

RRF_CONSTANT = 60
"""k of 1 / (k + rank), from the paper."""


def reciprocal_ranks(rankings: Sequence[Ranking[Key]], *, constant: int = RRF_CONSTANT) -> dict[Key, float]:
    """Key -> sum over the rankings of 1 / (constant + rank), ranks from 1; a key that a ranking lacks adds nothing."""
    fused: dict[Key, float] = defaultdict(float)
    for ranking in rankings:
        ordered = sorted(ranking, key=lambda key: -ranking[key])
        for rank, key in enumerate(ordered, start=1):
            fused[key] += 1 / (constant + rank)
    return dict(fused)


def min_max(ranking: Ranking[Key]) -> dict[Key, float]:
    """Scores moved and scaled to 0 to 1; all 1 where they are all the same."""
    if not ranking:
        return {}
    low, high = min(ranking.values()), max(ranking.values())
    if high == low:
        return dict.fromkeys(ranking, 1.0)
    return {key: (score - low) / (high - low) for key, score in ranking.items()}


def weighted_sum(rankings: Sequence[Ranking[Key]], weights: Sequence[float]) -> dict[Key, float]:
    """Key -> weighted sum of its min-max scores; a key that a ranking lacks counts as that ranking's lowest, 0."""
    if len(rankings) != len(weights) or any(weight < 0 for weight in weights):
        raise InputError(f"Fusing {len(rankings)} rankings got weights {list(weights)}; it needs one >= 0 for each.")
    fused: dict[Key, float] = defaultdict(float)
    for ranking, weight in zip(rankings, weights, strict=True):
        for key, score in min_max(ranking).items():
            fused[key] += weight * score
    return dict(fused)
