"""Several rankings of one query made one: reciprocal ranks, or sums of scores that were made comparable first.

Shapes    a ranking maps keys to scores, higher is better -> one ranking over all keys that occur
Source    reciprocal rank fusion: Cormack, Clarke and Büttcher, SIGIR 2009; CombSUM and CombMNZ: Fox and Shaw, TREC-2,
          1994, on min-max scores: Lee, SIGIR 1997; weighted sums: Bruch, Gai and Ingber, TOIS 2023
Against   reciprocal ranks need no tuning and ignore how far scores lie apart, so they lose where one ranking is much
          the weaker; the weighted sum needs a weight, best tuned on a few judged queries (`fusion_weights.py`)

A ranking is the top of a longer one that was cut off: what it lacks scored no more than its last, and counts as that.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Hashable, Mapping, Sequence
from typing import Any, TypeVar

from foveal.errors import InputError

Key = TypeVar("Key", bound=Hashable)
Ranking = Mapping[Key, float]

RRF_CONSTANT = 60
"""k of 1 / (k + rank), from the paper."""


def reciprocal_ranks(rankings: Sequence[Ranking[Key]], *, constant: int = RRF_CONSTANT) -> dict[Key, float]:
    """Key -> sum over the rankings of 1 / (constant + rank), ranks from 1; a key that a ranking lacks adds nothing.

    InputError: a score is no number.
    """
    fused: dict[Key, float] = defaultdict(float)
    for ranking in rankings:
        _require_numbers(ranking)
        ordered = sorted(ranking, key=lambda key: -ranking[key])
        for rank, key in enumerate(ordered, start=1):
            fused[key] += 1 / (constant + rank)
    return dict(fused)


def min_max(ranking: Ranking[Key]) -> dict[Key, float]:
    """Scores moved and scaled to 0 to 1; all 1 where they are all the same. InputError: a score is not finite."""
    _require_finite(ranking)
    if not ranking:
        return {}
    low, high = min(ranking.values()), max(ranking.values())
    if high == low:
        return dict.fromkeys(ranking, 1.0)
    return {key: (score - low) / (high - low) for key, score in ranking.items()}


def z_scores(ranking: Ranking[Key]) -> dict[Key, float]:
    """Scores moved to mean 0 and scaled to standard deviation 1; all 0 where they are all the same."""
    scaled = min_max(ranking)  # changes no z-score, and keeps the squares of small numbers from vanishing
    if not scaled:
        return {}
    mean = math.fsum(scaled.values()) / len(scaled)
    deviation = math.sqrt(math.fsum((score - mean) ** 2 for score in scaled.values()) / len(scaled))
    return {key: (score - mean) / deviation if deviation else 0.0 for key, score in scaled.items()}


def as_given(ranking: Ranking[Key]) -> dict[Key, float]:
    """The scores as they are, for retrievers whose scores have a scale that means something."""
    _require_finite(ranking)
    return dict(ranking)


def weighted_sum(
    rankings: Sequence[Ranking[Key]],
    weights: Sequence[float],
    *,
    norm: Callable[[Ranking[Key]], dict[Key, float]] = min_max,
) -> dict[Key, float]:
    """Key -> weighted sum of its scores after `norm`; a key that a ranking lacks counts as that ranking's lowest.

    With `as_given` and weights (1, lambda) it is the hybrid s_dense + lambda s_sparse, plain sums of both scores.
    """
    if len(rankings) != len(weights) or any(not 0 <= weight < math.inf for weight in weights):
        raise InputError(f"Fusing {len(rankings)} rankings got weights {list(weights)}; it needs one >= 0 for each.")
    keys = dict.fromkeys(key for ranking in rankings for key in ranking)
    fused: dict[Key, float] = defaultdict(float)
    for ranking, weight in zip(rankings, weights, strict=True):
        scores = norm(ranking)
        missing = _missing(scores)
        for key in keys:
            fused[key] += weight * scores.get(key, missing)
    return dict(fused)


def comb_sum(rankings: Sequence[Ranking[Key]]) -> dict[Key, float]:
    """Key -> sum of its min-max scores."""
    return weighted_sum(rankings, [1.0] * len(rankings))


def comb_mnz(rankings: Sequence[Ranking[Key]]) -> dict[Key, float]:
    """Key -> sum of its min-max scores, times the number of rankings that hold it."""
    holding = Counter(key for ranking in rankings for key in ranking)
    return {key: holding[key] * score for key, score in comb_sum(rankings).items()}


FUSIONS: dict[str, Callable[[Sequence[Ranking[Any]], Sequence[float]], dict[Any, float]]] = {
    "weighted": weighted_sum,
    "z-score": lambda rankings, weights: weighted_sum(rankings, weights, norm=z_scores),
    "linear": lambda rankings, weights: weighted_sum(rankings, weights, norm=as_given),
    "rrf": lambda rankings, _weights: reciprocal_ranks(rankings),
    "combsum": lambda rankings, _weights: comb_sum(rankings),
    "combmnz": lambda rankings, _weights: comb_mnz(rankings),
}
"""By name, over rankings and one weight for each; the last three take none, whatever is given."""


def _missing(scores: Mapping[Key, float]) -> float:
    """What a key counts that the ranking lacks: the lowest score; less than that where all scores are the same."""
    if not scores:
        return 0.0
    low, high = min(scores.values()), max(scores.values())
    return low if low < high else min(low - 1, 0.0)


def _require_finite(ranking: Ranking[Key]) -> None:
    for key, score in ranking.items():
        if not math.isfinite(score):
            raise InputError(
                f"A ranking has {score} as the score of {key!r}; scores must be finite. Mend its retriever."
            )


def _require_numbers(ranking: Ranking[Key]) -> None:
    """Ranks can be made of infinite scores, but what is no number stands before and after nothing."""
    for key, score in ranking.items():
        if math.isnan(score):
            raise InputError(f"A ranking has no number as the score of {key!r}. Mend its retriever.")
