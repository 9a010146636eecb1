"""Models that score features, and three ways to fit one on judged queries (learning to rank).

pairwise            linear; logistic loss of each pair of a better and a worse hit (RankNet: Burges et al., ICML 2005;
                    LambdaRank's |delta nDCG| as the pair's weight by choice), by Newton's method: needs no library
coordinate-ascent   linear; nDCG@10 itself, one weight after the other (Metzler and Croft, 2007), from the pairwise one
lambdamart          boosted trees, lambda_ij = |delta nDCG| sigma(s_j - s_i) (Burges, 2010), by LightGBM (extra `train`)

Shapes    features (n, F) of a query's n hits -> scores (n,)
Against   trees see that features act together, and need some hundreds of judged queries; the linear models do with tens
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.registry import require

Floats = npt.NDArray[np.float64]
DEPTH = 10
"""The rank down to which nDCG is counted."""
FARTHEST = 2.0
"""The longest step of Newton's method: where a model can tell all pairs apart, whole steps may swing."""


@dataclass(frozen=True)
class Group:
    """A judged query's hits: keys, features (n, F) and grades (n,), 0 where nothing is judged."""

    query: str
    keys: tuple[str, ...]
    features: Floats
    grades: Floats

    @property
    def teaches(self) -> bool:
        """Whether one hit is better than another."""
        return len(self.grades) > 1 and bool(self.grades.max() > self.grades.min())


class ScoreModel(Protocol):
    """Scores from features of the given names."""

    @property
    def names(self) -> tuple[str, ...]: ...

    def scores(self, features: Floats) -> Floats: ...

    def as_json(self) -> dict[str, Any]: ...


Fit = Callable[[Sequence[Group], tuple[str, ...]], ScoreModel]


@dataclass(frozen=True)
class LinearModel:
    """weights . (features - mean) / scale."""

    names: tuple[str, ...]
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    weights: tuple[float, ...]

    def scores(self, features: Floats) -> Floats:
        """Features (n, F) -> (n,)."""
        found: Floats = (features - np.array(self.mean)) / np.array(self.scale) @ np.array(self.weights)
        return found

    def as_json(self) -> dict[str, Any]:
        """What `model_of` reads."""
        return {"kind": "linear", "names": self.names, "mean": self.mean, "scale": self.scale, "weights": self.weights}


@dataclass(frozen=True)
class TreeModel:
    """Boosted trees in LightGBM's text form."""

    names: tuple[str, ...]
    text: str

    @cached_property
    def _booster(self) -> Any:
        lightgbm = require("lightgbm", extra="train")
        try:
            return lightgbm.Booster(model_str=self.text)
        except lightgbm.basic.LightGBMError as error:
            raise InputError(f"The ranking model's trees are damaged ({error}). Fit and save it anew.") from error

    def scores(self, features: Floats) -> Floats:
        """Features (n, F) -> (n,). InputError: the trees are damaged. MissingExtra: LightGBM is not installed."""
        if not len(features):
            return np.empty(0)
        found: Floats = np.asarray(self._booster.predict(features, num_threads=1), dtype=np.float64)
        return found

    def as_json(self) -> dict[str, Any]:
        """What `model_of` reads."""
        return {"kind": "trees", "names": self.names, "text": self.text}


@dataclass(frozen=True)
class LambdaMART:
    """Settings of `fit_lambdamart`: small trees, slowly, since judged queries are few."""

    rounds: int = 300  # trees at most
    leaves: int = 15
    rate: float = 0.05
    least_in_leaf: int = 20  # hits
    patience: int = 30  # rounds without a better nDCG@10 on `held` queries
    held: float = 0.2  # share of the queries that say when to stop; 0: all rounds
    seed: int = 0

    def __post_init__(self) -> None:
        whole = min(self.rounds, self.leaves - 1, self.least_in_leaf, self.patience) >= 1
        if not whole or not 0 < self.rate <= 1 or not 0 <= self.held < 1:
            raise InputError(
                f"{self} cannot be fitted; it needs at least 1 round, 2 leaves, 1 hit in a leaf, 1 round of patience, "
                "a rate above 0 to 1, and a held share from 0 to below 1."
            )


def fit_pairwise(
    groups: Sequence[Group], names: tuple[str, ...], *, ridge: float = 1e-3, by_gain: bool = False, steps: int = 30
) -> LinearModel:
    """Mean over queries of the mean over pairs of log(1 + exp(s_worse - s_better)), plus ridge / 2 |weights|^2.

    `by_gain` weighs a pair by how much nDCG@10 changes when the two change places in the order of the moment.
    InputError: no query has a better and a worse hit, features are not those of `names`, or a number is not finite.
    """
    taught = _checked(groups, names)
    mean, scale = _moments(taught)
    standard = [(group.features - mean) / scale for group in taught]
    weights = np.zeros(len(names))
    for _ in range(steps):
        gradient, curvature = ridge * weights, ridge * np.eye(len(names))
        for features, group in zip(standard, taught, strict=True):
            better, worse = np.nonzero(group.grades[:, None] > group.grades)
            apart = features[better] - features[worse]
            wrong = 1 / (1 + np.exp(np.clip(apart @ weights, -30, 30)))  # the chance that the worse one is first
            share = _pair_weights(features @ weights, group.grades, better, worse, by_gain=by_gain) / len(taught)
            gradient = gradient - apart.T @ (share * wrong)
            curvature = curvature + (apart.T * (share * wrong * (1 - wrong))) @ apart
        step = np.linalg.solve(curvature, gradient)
        weights = weights - step * min(1.0, FARTHEST / max(float(np.linalg.norm(step)), 1e-12))
    return LinearModel(names, tuple(mean.tolist()), tuple(scale.tolist()), tuple(weights.tolist()))


def fit_coordinate_ascent(
    groups: Sequence[Group], names: tuple[str, ...], *, rounds: int = 5, least_gain: float = 1e-4
) -> LinearModel:
    """The pairwise model, then each weight in turn moved to where the mean nDCG@10 is highest, until nothing gains.

    Errors as for `fit_pairwise`.
    """
    start = fit_pairwise(groups, names)
    taught = [group for group in groups if group.teaches]
    weights = np.array(start.weights)
    standard = [(group.features - np.array(start.mean)) / np.array(start.scale) for group in taught]
    grades = _padded([group.grades for group in taught], 0.0)
    best = _mean_ndcg(_padded([features @ weights for features in standard], -np.inf), grades)
    for _ in range(rounds):
        before = best
        for column in range(len(names)):
            base = _padded([features @ weights for features in standard], -np.inf)
            moved = _padded([features[:, column] for features in standard], 0.0)
            for step in _steps(float(np.abs(weights).max())):
                value = _mean_ndcg(base + step * moved, grades)
                if value > best + 1e-9:
                    best, chosen = value, step
                    weights[column], base = weights[column] + chosen, base + chosen * moved
        if best - before < least_gain:
            break
    return replace(start, weights=tuple(weights.tolist()))


def fit_lambdamart(groups: Sequence[Group], names: tuple[str, ...], *, settings: LambdaMART | None = None) -> TreeModel:
    """Boosted trees by LightGBM's lambdarank, nDCG's gain the grade itself; the same seed gives the same trees.

    Errors as for `fit_pairwise`, and InputError: a grade is no whole number. MissingExtra: LightGBM is not installed.
    """
    settings = settings or LambdaMART()
    taught = _checked(groups, names)
    if any((group.grades % 1).any() for group in taught):
        raise InputError("LambdaMART takes whole grades only, as LightGBM does. Round them, or fit pairwise.")
    lightgbm = require("lightgbm", extra="train")
    order = np.random.default_rng(settings.seed).permutation(len(taught))
    held = int(settings.held * len(taught))
    fitted, stopping = [taught[i] for i in order[held:]], [taught[i] for i in order[:held]]
    options = {
        "objective": "lambdarank", "metric": "ndcg", "eval_at": [DEPTH], "lambdarank_truncation_level": 3 * DEPTH,
        "label_gain": list(range(1 + int(max(group.grades.max() for group in taught)))),
        "num_leaves": settings.leaves, "learning_rate": settings.rate, "min_data_in_leaf": settings.least_in_leaf,
        "seed": settings.seed, "deterministic": True, "force_row_wise": True, "num_threads": 1, "verbosity": -1,
    }  # fmt: skip
    data = _dataset(lightgbm, fitted)
    valid = [_dataset(lightgbm, stopping, reference=data)] if stopping else []
    stop = [lightgbm.early_stopping(settings.patience, verbose=False)] if stopping else []
    booster = lightgbm.train(options, data, settings.rounds, valid_sets=valid, callbacks=stop)
    return TreeModel(names, booster.model_to_string())


FITS: dict[str, Fit] = {
    "pairwise": fit_pairwise,
    "coordinate-ascent": fit_coordinate_ascent,
    "lambdamart": fit_lambdamart,
}


def delta_ndcg(scores: Floats, grades: Floats) -> Floats:
    """How much nDCG@10 changes when hits i and j change places in the order by score: (n, n), not signed."""
    ranks = np.empty(len(scores), dtype=np.int64)
    ranks[np.argsort(-scores, kind="stable")] = np.arange(len(scores))
    discounts = np.where(ranks < DEPTH, 1 / np.log2(ranks + 2), 0.0)
    ideal = (np.sort(grades)[::-1][:DEPTH] / np.log2(np.arange(2, min(DEPTH, len(grades)) + 2))).sum()
    changes: Floats = np.abs((grades[:, None] - grades) * (discounts[:, None] - discounts)) / (ideal or 1.0)
    return changes


def _pair_weights(
    scores: Floats, grades: Floats, better: npt.NDArray[np.int64], worse: npt.NDArray[np.int64], *, by_gain: bool
) -> Floats:
    """The share of each pair in its query, sum 1 (0 for all where no exchange changes nDCG)."""
    if not by_gain:
        return np.full(len(better), 1 / len(better))
    changes = delta_ndcg(scores, grades)[better, worse]
    shares: Floats = changes / (changes.sum() or 1.0)
    return shares


def _checked(groups: Sequence[Group], names: tuple[str, ...]) -> list[Group]:
    """The groups that teach something."""
    for group in groups:
        if group.features.shape != (len(group.keys), len(names)) or len(group.grades) != len(group.keys):
            raise InputError(
                f"Query {group.query!r} has {len(group.keys)} hits, features of shape {group.features.shape} and "
                f"{len(group.grades)} grades; it needs ({len(group.keys)}, {len(names)}) and a grade a hit."
            )
        if not np.isfinite(group.features).all():
            raise InputError(f"Query {group.query!r} has a feature that is not finite; mend the features.")
        if not (np.isfinite(group.grades) & (group.grades >= 0)).all():
            raise InputError(f"Query {group.query!r} has a grade that is below 0 or no number; give 0 or more.")
    taught = [group for group in groups if group.teaches]
    if not taught:
        raise InputError(
            f"Queries with a hit that is judged better than another: 0 of {len(groups)}, so nothing can be learned. "
            "Retrieve more hits, or judge some of them."
        )
    return taught


def _moments(groups: Sequence[Group]) -> tuple[Floats, Floats]:
    """Mean and deviation of each feature; 1 for one that never varies."""
    features = np.vstack([group.features for group in groups])
    scale = features.std(axis=0)
    return features.mean(axis=0), np.where(scale > 1e-9, scale, 1.0)


def _dataset(lightgbm: Any, groups: Sequence[Group], reference: Any = None) -> Any:
    features = np.vstack([group.features for group in groups])
    grades = np.concatenate([group.grades for group in groups])
    return lightgbm.Dataset(features, grades, group=[len(group.keys) for group in groups], reference=reference)


def _padded(rows: Sequence[Floats], value: float) -> Floats:
    """Rows of several lengths as one array, filled up with `value`."""
    table = np.full((len(rows), max(map(len, rows))), value)
    for place, row in enumerate(rows):
        table[place, : len(row)] = row
    return table


def _mean_ndcg(scores: Floats, grades: Floats) -> float:
    """Mean nDCG@10 of rows of scores (Q, n), -infinity where there is no hit; each row has a grade above 0."""
    depth = min(DEPTH, scores.shape[1])
    discounts = 1 / np.log2(np.arange(2, depth + 2))
    order = np.argsort(-scores, axis=1, kind="stable")[:, :depth]
    gained = np.take_along_axis(grades, order, axis=1) @ discounts
    ideal = -np.sort(-grades, axis=1)[:, :depth] @ discounts
    return float((gained / ideal).mean())


def _steps(size: float) -> list[float]:
    """Moves of a weight that are tried, small ones first, beside weights of this size."""
    shares = (0.02, 0.05, 0.1, 0.2, 0.4, 0.8)
    return [sign * share * (size or 1.0) for share in shares for sign in (1, -1)]
