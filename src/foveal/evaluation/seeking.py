"""How good a run that seeks information is, and what raters say of what it wrote: success, steps, gold found, rubric.

    seeking([Sought(answer, golds, shown, searches, steps)])    # EM, F1, gold in evidence, searches, success, steps
    rubric({"report-1": [4, 5, 4]}, levels=5)                   # mean, and how far the raters agree

Gold in evidence   the share of questions of which a gold answer stands in what was read, whatever was answered
Success            the share of tasks done; of questions, where nobody says so, that the answer holds a gold one
Rubric             the mean rating is given only beside Fleiss' kappa over the levels: without agreement it says nothing
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from statistics import fmean

from foveal.errors import InputError
from foveal.evaluation.agreement import agreement
from foveal.evaluation.answers import score


@dataclass(frozen=True, slots=True)
class Sought:
    """One question or task: its answer, the gold ones, what was read, and how much was done for it."""

    answer: str
    golds: tuple[str, ...]
    shown: str = ""
    searches: int = 0
    steps: int = 0
    success: bool | None = None  # None: by the answer


@dataclass(frozen=True)
class Rubric:
    """Mean rating, from 1 to the levels; kappa of the raters (None: all gave one level), and how many rated each."""

    mean: float
    kappa: float | None
    raters: int


def seeking(runs: Sequence[Sought]) -> dict[str, float]:
    """Means over runs. InputError: none, or one without a gold answer."""
    if not runs:
        raise InputError("There are no runs to score; give at least one.")
    held = [score("contains", one.answer, one.golds) for one in runs]
    return {
        "EM": fmean(score("exact", one.answer, one.golds) for one in runs),
        "F1": fmean(score("f1", one.answer, one.golds) for one in runs),
        "gold in evidence": fmean(score("contains", one.shown, one.golds) for one in runs),
        "searches": fmean(one.searches for one in runs),
        "steps": fmean(one.steps for one in runs),
        "success": fmean(
            by_answer if one.success is None else float(one.success) for one, by_answer in zip(runs, held, strict=True)
        ),
    }


def rubric(ratings: Mapping[str, Sequence[int]], *, levels: int = 5) -> Rubric:
    """Mean and agreement of ratings by item. InputError: a rating is none of the levels, or no item has two raters."""
    wrong = next((one for given in ratings.values() for one in given if not 1 <= one <= levels), None)
    if wrong is not None:
        raise InputError(f"A rating is {wrong}; ratings lie in 1 to {levels}.")
    held = agreement(
        {name: list(map(str, given)) for name, given in ratings.items()}, [str(one + 1) for one in range(levels)]
    )
    return Rubric(fmean(one for given in ratings.values() for one in given), held.kappa, held.votes_each)
