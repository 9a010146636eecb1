"""What a judge says of a headline, and how right a judge was."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from foveal.evaluation.classification import Confusion, calibration_error
from foveal.papers.headline_judges import classes_of
from foveal.types import Span


@dataclass(frozen=True)
class Judgement:
    """What was said of one headline. `sure` is False within the abstain band; the label is the likeliest all the same.

    `evidence_span` cuts `evidence_sentence` out of the article's text; both are None where it has no words.
    """

    label: str
    probabilities: dict[str, float]
    features: dict[str, float]
    evidence_sentence: str | None
    evidence_span: Span | None
    sure: bool = True

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)


@dataclass(frozen=True)
class JudgeReport:
    """How right a judge was."""

    confusion: Confusion
    calibration_error: float
    sure: float  # share outside the abstain band
    accuracy_where_sure: float


def report_of(gold: Sequence[str], found: Sequence[Judgement], labels: Sequence[str]) -> JudgeReport:
    """How right judgements are. InputError: none, or an unknown label."""
    confusion = Confusion.of(gold, [one.label for one in found], labels)
    shares = np.array([[one.probabilities[label] for label in labels] for one in found])
    right = [one.label == label for one, label in zip(found, gold, strict=True) if one.sure]
    return JudgeReport(
        confusion,
        calibration_error(shares, classes_of(gold, labels)),
        len(right) / len(found),
        sum(right) / len(right) if right else 0.0,
    )
