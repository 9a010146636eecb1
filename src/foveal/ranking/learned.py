"""Learning to rank: a model of features, fitted on judged queries, puts the hits in order.

    groups = judged_groups(queries, qrels, retriever, features)            training or development queries only
    model = FITS["lambdamart"](groups, features.names)                     or "pairwise", "coordinate-ascent"
    LearnedRanker(model, features).rank(query, hits)

`features.py` makes the numbers, `fitting.py` the models (`FITS`). A model is saved as JSON (trees in LightGBM's own
text), and nothing is unpickled. Judge a model only by queries that it was not fitted on: `cross_validated` gives
such a run.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.evaluation.metrics import Run
from foveal.ranking.features import Features
from foveal.ranking.fitting import Fit, Group, LinearModel, ScoreModel, TreeModel
from foveal.types import Hit, Retriever, require_hits

__all__ = ["LearnedRanker", "cross_validated", "judged_groups", "load_model", "run_of", "save_model"]


@dataclass(frozen=True)
class LearnedRanker:
    """A `Ranker` by a fitted model; its features must be those that the model was fitted on."""

    model: ScoreModel
    features: Features

    def __post_init__(self) -> None:
        if self.model.names != self.features.names:
            raise InputError(
                f"The model was fitted on {', '.join(self.model.names)}; it is given {', '.join(self.features.names)}. "
                "Give it the features (and retrievers) that it was fitted with, or fit it anew."
            )

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The hits by the model's score; of equal ones the one that came first."""
        scores = self.model.scores(self.features(query, require_hits(hits)))
        ranked = [replace(hit, score=float(s), source="learned") for hit, s in zip(hits, scores, strict=True)]
        return sorted(ranked, key=lambda hit: -hit.score)


def judged_groups(
    queries: Mapping[str, str],
    qrels: Mapping[str, Mapping[str, int]],
    retriever: Retriever,
    features: Features,
    *,
    k: int = 100,
    key: Callable[[Hit], str] = lambda hit: hit.passage.span.document_id,
) -> list[Group]:
    """The first `k` hits of each judged query, from the retriever that the ranker will stand behind.

    `key` gives the id under which a hit is judged. InputError: a judged query has no text.
    """
    if missing := [query for query in qrels if query not in queries]:
        raise InputError(f"Query {missing[0]!r} is judged but has no text; give the texts of all judged queries.")
    found = retriever.search([queries[query] for query in qrels], k)
    groups = []
    for query, hits in zip(qrels, found, strict=True):
        keys = tuple(key(hit) for hit in hits)
        grades = np.array([max(0, qrels[query].get(one, 0)) for one in keys], dtype=np.float64)
        groups.append(Group(query, keys, features(queries[query], hits), grades))
    return groups


def run_of(groups: Sequence[Group], model: ScoreModel) -> Run:
    """The model's run; where a key comes more than once, as passages of one document do, its best score counts."""
    run: Run = {}
    for group in groups:
        best: dict[str, float] = {}
        for key, score in zip(group.keys, model.scores(group.features).tolist(), strict=True):
            best[key] = max(score, best.get(key, score))
        run[group.query] = best
    return run


def cross_validated(groups: Sequence[Group], names: tuple[str, ...], fit: Fit, *, folds: int = 5, seed: int = 0) -> Run:
    """The run of all groups, each scored by a model fitted on the other folds; `seed` deals the queries to folds."""
    if not 2 <= folds <= len(groups):
        raise InputError(
            f"Cross-validation got {folds} folds of {len(groups)} queries; it needs 2 to as many as queries."
        )
    fold = np.random.default_rng(seed).permutation(len(groups)) % folds
    run: Run = {}
    for held in range(folds):
        model = fit([group for group, one in zip(groups, fold, strict=True) if one != held], names)
        run |= run_of([group for group, one in zip(groups, fold, strict=True) if one == held], model)
    return {group.query: run[group.query] for group in groups}


def save_model(model: ScoreModel, path: Path) -> None:
    """Write a model as JSON, whole or not at all."""
    with whole_file(path) as partial:
        partial.write_text(json.dumps(model.as_json()), encoding="utf-8")


def load_model(path: Path) -> ScoreModel:
    """What `save_model` wrote. InputError: the file holds no model."""
    try:
        saved = json.loads(path.read_text(encoding="utf-8"))
        kind, names = saved["kind"], tuple(saved["names"])
        if kind == "trees":
            return TreeModel(names, str(saved["text"]))
        if kind != "linear":
            raise InputError(f"its kind is {kind!r}")
        lists = [tuple(map(float, saved[part])) for part in ("mean", "scale", "weights")]
        if {len(one) for one in lists} != {len(names)}:
            raise InputError("its lists differ in length")
        return LinearModel(names, *lists)
    except (OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path} holds no ranking model ({error}). Fit and save it anew.") from error
