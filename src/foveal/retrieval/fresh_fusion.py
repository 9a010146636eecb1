"""How a search for news joins what words, vectors and the last days find: settings, formulas, and what was fitted.

    fused(rankings, need, FreshSettings())            # key -> score, before the prior
    recency_prior(age, need, FreshSettings())         # what a document's score is multiplied by
    Fusion.read(folder)                               # weight and need classifier of an event model; None: not fitted

Rankings  in this order: words, words of the last days, vectors, vectors of the last days (both where there are any),
          what words find for the best event (where there is one)
Sums      of min-max scores (or z-scores); what is of the last days, and the event's, counts by the need for it: else
          the best of some week, however badly it fits, would stand beside the best of all
Against   reciprocal ranks need no weight (`fresh_fitting.py` finds one), and put the last days first whatever is asked
Source    ours
"""

from __future__ import annotations

import json
from collections.abc import Hashable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TypeVar

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.files import whole_file
from foveal.retrieval.event_items import half_life
from foveal.retrieval.event_matching import NeedClassifier
from foveal.retrieval.fusion import reciprocal_ranks, weighted_sum, z_scores

Key = TypeVar("Key", bound=Hashable)

FUSED = ("rrf", "z-score", "weighted")
FITTED = "fusion.json"
"""File of an event model's folder."""

LOOKED_AT = 20
"""Passages that words find, among which the share of fresh ones is counted."""


@dataclass(frozen=True, kw_only=True)
class FreshSettings:
    """How candidates are fused."""

    fusion: str = "weighted"  # sums of min-max scores, or "z-score"; "rrf": ranks, whatever the need
    weight: float = 0.5  # of vectors in sums, 0 to 1; words have the rest
    depth: int = 100  # passages of each list
    fresh_days: float = 14.0
    half_life_days: float = 7.0
    floor: float = 0.1  # what is left of a score of old documents, where only now matters
    least_need: float = 0.3  # P below which a query goes without events
    expansion: float = 0.15  # weight of what words find for the best event, in sums; in ranks it counts as any list

    def __post_init__(self) -> None:
        if self.fusion not in FUSED or self.depth < 1 or min(self.fresh_days, self.half_life_days) <= 0:
            raise InputError(
                f"Fresh search got fusion={self.fusion!r}, depth={self.depth}, fresh_days={self.fresh_days}, "
                f"half_life_days={self.half_life_days}; it needs one of {', '.join(FUSED)}, 1 or more, days above 0."
            )
        shares = (self.weight, self.floor, self.least_need)
        if not all(0 <= share <= 1 for share in shares) or self.expansion < 0:
            raise InputError(
                f"Fresh search got weight={self.weight}, floor={self.floor}, least_need={self.least_need}, expansion="
                f"{self.expansion}; it needs shares from 0 to 1, and an expansion of 0 or more."
            )


def fused(
    rankings: Sequence[Mapping[Key, float]], need: float, settings: FreshSettings, *, expanded: bool
) -> dict[Key, float]:
    """Key -> score of 0 or more, the higher the better; `expanded`: the last ranking is that of the best event."""
    if settings.fusion == "rrf":
        return reciprocal_ranks(rankings)
    words, vectors = 1 - settings.weight, settings.weight
    shares = [words, words * need, vectors, vectors * need][: len(rankings) - expanded]
    shares += [settings.expansion * need] * expanded
    if settings.fusion == "weighted":
        return weighted_sum(rankings, shares)
    scores = weighted_sum(rankings, shares, norm=z_scores)
    low = min(scores.values(), default=0.0)
    return {key: score - low for key, score in scores.items()}  # a prior below 1 must not raise a score


def recency_prior(age: float | None, need: float, settings: FreshSettings) -> float:
    """1 - P + P (floor + (1 - floor) 2^(-age / half-life)), age in days; a document without a date counts as old."""
    floor = settings.floor
    recent = floor if age is None else floor + (1 - floor) * half_life(age, settings.half_life_days)
    return 1 - need + need * recent


@dataclass(frozen=True)
class Fusion:
    """What was fitted for one event model."""

    weight: float  # of vectors, 0 to 1
    need: NeedClassifier

    def settings(self) -> FreshSettings:
        """Weighted sums with this weight."""
        return replace(FreshSettings(), weight=self.weight)

    def write(self, folder: Path) -> Path:
        """The file in an event model's folder."""
        told = {"weight": self.weight, "need": {"weights": self.need.weights, "bias": self.need.bias}}
        with whole_file(folder / FITTED) as partial:
            partial.write_text(json.dumps(told, indent=1) + "\n", encoding="utf-8")
        return folder / FITTED

    @classmethod
    def read(cls, folder: Path) -> Fusion | None:
        """What was written; None where the model was trained without judged questions. ModelUnavailable: damaged."""
        path = folder / FITTED
        if not path.is_file():
            return None
        try:
            told = json.loads(path.read_text(encoding="utf-8"))
            need = NeedClassifier(tuple(map(float, told["need"]["weights"])), float(told["need"]["bias"]))
            found = cls(float(told["weight"]), need)
            found.settings()
        except (OSError, ValueError, KeyError, TypeError, InputError) as error:
            raise ModelUnavailable(
                f"{path} is damaged ({type(error).__name__}: {error}). Train the event model anew, or remove the file: "
                "then the search takes the weights that are set by hand."
            ) from error
        return found
