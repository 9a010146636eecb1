"""How much each of two rankings counts when they are fused: one weight for all queries, one for each, or no fusion.

    tuned_weight(runs, qrels)                       the dense weight with the best nDCG@10 on judged queries
    QueryWeights.fit(queries, runs, qrels, idf)     a weight for each query, from what is known before they are fused
    fusion_verdict(parts, fused, qrels)             whether fusing helps there at all

Shapes    a run maps query ids to rankings over document ids; `runs` is the pair (lexical, dense)
Source    tuned convex sums: Bruch, Gai and Ingber, TOIS 2023; query-dependent weights and the guard: our own
Needs     judged queries that are used for nothing else: `held_out` names those that must not be among them

Fusing hurts where one ranking is much the weaker (Natural Questions: BM25 + BGE by reciprocal ranks .4831, BGE alone
.5414), so nobody should fuse without having looked.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.evaluation.metrics import Qrels, Run, compare, evaluate, per_query
from foveal.retrieval.fusion import FUSIONS, Ranking
from foveal.retrieval.terms import terms

GRID = tuple(round(0.05 * step, 2) for step in range(21))
"""Dense weights that are tried; the lexical ranking has the rest."""

FEATURES = ("length", "mean-idf", "highest-idf", "lexical-gap", "dense-gap", "agreement")
"""What is known of a query before its rankings are fused (see `query_features`)."""

TOP = 10
"""Results of each ranking that a query's features look at."""

RIDGES = (math.inf, 3.0, 1.0, 0.3, 0.1, 0.03)
"""Strengths by which a query's weight is held to that of all queries, the strongest first."""

FOLDS = 5

Floats = npt.NDArray[np.float64]
Runs = Sequence[Mapping[str, Ranking[str]]]


def weight_values(
    runs: Runs, qrels: Qrels, *, fusion: str = "weighted", metric: str = "ndcg@10", held_out: Collection[str] = ()
) -> dict[float, dict[str, float]]:
    """Dense weight -> query -> the metric's value when the pair is fused with it.

    InputError: not two runs, no fusion of that name, or a judged query is held out.
    """
    if len(runs) != 2 or fusion not in FUSIONS:
        raise InputError(
            f"Tuning a weight got {len(runs)} runs and fusion={fusion!r}; it needs two, the lexical and the dense, and "
            f"one of {', '.join(FUSIONS)}."
        )
    if leaked := sorted(set(held_out) & set(qrels)):
        raise InputError(
            f"A weight would be tuned on {len(leaked)} queries that are held out, such as {leaked[0]!r}. Tune on "
            "training or development queries only."
        )
    values: dict[float, dict[str, float]] = {}
    for weight in GRID:
        run = {query: _fused(fusion, runs, query, weight) for query in qrels}
        values[weight] = per_query(run, qrels, (metric,))[metric]
    return values


def best_weight(values: Mapping[float, Mapping[Any, float]]) -> float:
    """The weight with the highest mean of `weight_values`; of several the one nearest to 0.5, then the smaller."""
    means = {weight: math.fsum(by_query.values()) / len(by_query) for weight, by_query in values.items()}
    best = max(means.values())
    return min((weight for weight in means if means[weight] >= best - 1e-12), key=lambda one: (abs(one - 0.5), one))


def tuned_weight(
    runs: Runs, qrels: Qrels, *, fusion: str = "weighted", metric: str = "ndcg@10", held_out: Collection[str] = ()
) -> float:
    """The dense weight, of `GRID`, with which the pair (lexical, dense) does best on judged queries."""
    return best_weight(weight_values(runs, qrels, fusion=fusion, metric=metric, held_out=held_out))


def query_features(
    query: str, lexical: Ranking[Any], dense: Ranking[Any], idf: Mapping[str, float]
) -> tuple[float, ...]:
    """What `FEATURES` names: log of 1 + words, their mean and highest idf, how far each ranking's first lies above its
    tenth (as a share of the first), and the share of the first ten that both hold. A word that `idf` lacks is rare:
    it counts as the highest there.
    """
    words = terms(query)
    rarest = max(idf.values(), default=0.0)
    weights = [idf.get(word, rarest) for word in words] or [0.0]
    tops = [sorted(ranking, key=lambda key: -ranking[key])[:TOP] for ranking in (lexical, dense)]
    gaps = [_gap([ranking[key] for key in top]) for ranking, top in zip((lexical, dense), tops, strict=True)]
    agreement = len(set(tops[0]) & set(tops[1])) / TOP
    return (math.log1p(len(words)), math.fsum(weights) / len(weights), max(weights), *gaps, agreement)


@dataclass(frozen=True)
class QueryWeights:
    """A dense weight for each query: sigmoid(intercept + coefficients . standardised features).

    It is what `HybridRetriever(weigh=…)` takes. `idf` is that of the collection (`terms.inverse_document_frequencies`).
    """

    intercept: float
    coefficients: tuple[float, ...]  # one for each of FEATURES
    mean: tuple[float, ...]
    scale: tuple[float, ...]
    idf: Mapping[str, float]

    def __post_init__(self) -> None:
        sizes = {len(self.coefficients), len(self.mean), len(self.scale)}
        numbers = (self.intercept, *self.coefficients, *self.mean, *self.scale)
        if sizes != {len(FEATURES)} or not all(map(math.isfinite, numbers)) or min(self.scale) <= 0:
            raise InputError(
                f"Query weights need finite numbers for each of {', '.join(FEATURES)}, and scales above 0; they got "
                f"{self.coefficients}, {self.mean}, {self.scale}. Fit them anew."
            )

    def __call__(self, query: str, lexical: Ranking[Any], dense: Ranking[Any]) -> float:
        """The dense weight of one query, 0 to 1."""
        features = np.array(query_features(query, lexical, dense, self.idf))
        standard = (features - np.array(self.mean)) / np.array(self.scale)
        return float(_sigmoid(self.intercept + standard @ np.array(self.coefficients)))

    @classmethod
    def fit(
        cls,
        queries: Mapping[str, str],
        runs: Runs,
        qrels: Qrels,
        idf: Mapping[str, float],
        *,
        held_out: Collection[str] = (),
        seed: int = 0,
    ) -> QueryWeights:
        """Fit on judged queries (id -> text): for each, the weights that serve it best are what is aimed at.

        How far a query's weight may leave that of all is chosen by cross-validation; where no freedom helps on queries
        not fitted on, all get the tuned weight. InputError: as for `weight_values`, or a judged query has no text.
        """
        if missing := [query for query in qrels if query not in queries]:
            raise InputError(f"Query {missing[0]!r} is judged but has no text; give the texts of all judged queries.")
        values = weight_values(runs, qrels, held_out=held_out)
        table = np.array([[values[weight][query] for weight in GRID] for query in qrels])  # (queries, weights)
        lexical, dense = runs
        features = np.array(
            [query_features(queries[query], lexical.get(query, {}), dense.get(query, {}), idf) for query in qrels]
        )
        mean, scale = features.mean(axis=0), features.std(axis=0)
        scale = np.where(scale > 1e-9, scale, 1.0)
        standard = (features - mean) / scale
        folds = np.random.default_rng(seed).permutation(len(table)) % FOLDS
        ridge = max(RIDGES, key=lambda one: round(_validated(standard, table, folds, one), 9))  # the first of equals
        intercept, coefficients = _logistic(standard, table, ridge)
        return cls(intercept, tuple(coefficients), tuple(mean.tolist()), tuple(scale.tolist()), dict(idf))

    def save(self, path: Path) -> None:
        """Write the weights as JSON, whole or not at all."""
        with whole_file(path) as partial:
            partial.write_text(json.dumps(asdict(self)), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> QueryWeights:
        """What `save` wrote. InputError: the file holds no query weights."""
        try:
            saved = json.loads(path.read_text(encoding="utf-8"))
            coefficients, mean, scale = (tuple(map(float, saved[name])) for name in ("coefficients", "mean", "scale"))
            idf = {str(word): float(weight) for word, weight in saved["idf"].items()}
            return cls(float(saved["intercept"]), coefficients, mean, scale, idf)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise InputError(f"{path} holds no query weights ({error}). Fit and save them anew.") from error


@dataclass(frozen=True)
class FusionVerdict:
    """Whether to fuse: `use` is "fused" or the name of the better part."""

    use: str
    values: Mapping[str, float]  # of each part, and of "fused"
    p_value: float  # of fused against the best part, two-sided
    advice: str


def fusion_verdict(
    parts: Mapping[str, Run], fused: Run, qrels: Qrels, *, metric: str = "ndcg@10", held_out: Collection[str] = ()
) -> FusionVerdict:
    """Compare a fused run with its parts on judged queries; fusing must beat the best of them there."""
    if not parts or "fused" in parts:
        raise InputError(f"The parts are called {list(parts)}; it needs at least one, and none called 'fused'.")
    if leaked := sorted(set(held_out) & set(qrels)):
        raise InputError(f"The verdict would rest on held-out queries such as {leaked[0]!r}. Use development queries.")
    values = {name: evaluate(run, qrels, (metric,))[metric] for name, run in {**parts, "fused": fused}.items()}
    best = max(parts, key=lambda name: values[name])
    p_value = compare(fused, parts[best], qrels, metric)
    gain = values["fused"] - values[best]
    use = "fused" if gain > 0 else best
    said = "helps" if gain > 0 else "hurts" if gain < 0 else "changes nothing"
    advice = (
        f"Fusing {said}: {metric} {values['fused']:.4f}, {best} alone {values[best]:.4f} on {len(qrels)} queries "
        f"(p = {p_value:.2g}). Use {use}."
    )
    return FusionVerdict(use, values, p_value, advice)


def _fused(fusion: str, runs: Runs, query: str, weight: float) -> dict[str, float]:
    fuse: Callable[..., dict[str, float]] = FUSIONS[fusion]
    return fuse([run.get(query, {}) for run in runs], [1 - weight, weight])


def _gap(scores: Sequence[float]) -> float:
    """How far the first score lies above the last, as a share of the first one's size."""
    if len(scores) < 2 or not scores[0]:
        return 0.0
    return (scores[0] - scores[-1]) / abs(scores[0])


def _sigmoid(x: Any) -> Any:
    return 1 / (1 + np.exp(-np.clip(x, -30, 30)))


def _aims(table: Floats) -> tuple[Floats, Floats]:
    """For each row of values by weight the mean of the best weights, and how much the choice matters."""
    best = table >= table.max(axis=1, keepdims=True) - 1e-12
    return best @ np.array(GRID) / best.sum(axis=1), table.max(axis=1) - table.min(axis=1)


def _logistic(features: Floats, table: Floats, ridge: float) -> tuple[float, list[float]]:
    """Intercept and coefficients of a logistic model of the aims, by Newton's method.

    The intercept is the tuned weight of all; `ridge` holds the coefficients to 0, so that infinity gives that weight.
    """
    weight = best_weight(dict(zip(GRID, (dict(enumerate(column)) for column in table.T), strict=True)))
    intercept = float(np.log(max(weight, 0.01) / max(1 - weight, 0.01)))
    coefficients = np.zeros(features.shape[1])
    aims, matters = _aims(table)
    if math.isinf(ridge) or not matters.sum():
        return intercept, coefficients.tolist()
    shares = matters / matters.sum()
    for _ in range(25):
        given = _sigmoid(intercept + features @ coefficients)
        gradient = features.T @ (shares * (given - aims)) + ridge * coefficients
        curvature = (features.T * (shares * given * (1 - given))) @ features + ridge * np.eye(len(coefficients))
        coefficients = coefficients - np.linalg.solve(curvature, gradient)
    return intercept, coefficients.tolist()


def _validated(features: Floats, table: Floats, folds: npt.NDArray[np.int64], ridge: float) -> float:
    """Mean value over queries, each with the weight that a model gives which was fitted on the other folds."""
    total = 0.0
    for fold in np.unique(folds):
        held = folds == fold
        if held.all():
            return 0.0
        intercept, coefficients = _logistic(features[~held], table[~held], ridge)
        weights = _sigmoid(intercept + features[held] @ np.array(coefficients))
        nearest = np.abs(weights[:, None] - np.array(GRID)).argmin(axis=1)
        total += float(table[held][np.arange(len(nearest)), nearest].sum())
    return total / len(table)
