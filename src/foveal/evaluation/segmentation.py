"""How well a text was segmented: P_k, WindowDiff, and precision, recall and F1 of the boundaries.

P_k         share of window positions at which hypothesis and reference disagree whether the window's two ends lie in
            the same segment (Beeferman, Berger and Lafferty, Machine Learning 34, 1999); 0 is perfect
WindowDiff  share of positions at which they disagree how many boundaries the window holds (Pevzner and Hearst,
            Computational Linguistics 28(1), 2002); unlike P_k it counts a needless boundary wherever it falls
Window      k = half the mean length of the reference's segments, rounded (a half to the even number), at least 2

AUC         of "the section goes on" over gaps: how well scores order them, whatever the threshold
acc_k       share of documents with at most k wrong gaps (Aumiller et al., ICAIL 2021)

Never report P_k alone: where segments are long, predicting no boundary at all does well by it.

Masses      [2, 3, 6]    lengths of the segments, in units; what the metrics take
Boundaries  [0, 1, 0, 0, 1, 0, 0, 0, 0, 0]    for each gap between units, whether a segment ends there
Labels      [0, 0, 1, 1, 1, 2, 2, 2, 2, 2, 2]    for each unit, its segment; any values that can be compared
"""

from __future__ import annotations

import warnings
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby, pairwise

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.errors import InputError


@dataclass(frozen=True, slots=True)
class BoundaryScores:
    """Precision, recall and F1 of boundaries, each in 0 to 1; all 1 where there are none to find and none found."""

    precision: float
    recall: float
    f1: float


def pk(hypothesis: Sequence[int], reference: Sequence[int], *, window: int | None = None) -> float:
    """P_k of two segmentations given as masses; `window` is k, by default from the reference.

    A text with no room for a window (one or two units) scores 0, with a warning. InputError: the lengths differ.
    """
    found, true = _segment_numbers(hypothesis, reference)
    k = window_size(reference) if window is None else _checked(window)
    if not _has_room(len(true), k, "P_k"):
        return 0.0
    return float(((found[k:] == found[:-k]) != (true[k:] == true[:-k])).mean())


def windowdiff(hypothesis: Sequence[int], reference: Sequence[int], *, window: int | None = None) -> float:
    """WindowDiff of two segmentations given as masses; `window` and errors as for `pk`."""
    found, true = _segment_numbers(hypothesis, reference)
    k = window_size(reference) if window is None else _checked(window)
    if not _has_room(len(true), k, "WindowDiff"):
        return 0.0
    return float(((found[k:] - found[:-k]) != (true[k:] - true[:-k])).mean())


def boundary_f1(hypothesis: Sequence[int], reference: Sequence[int]) -> BoundaryScores:
    """How many boundaries of two segmentations, given as masses, are at exactly the same gap."""
    _segment_numbers(hypothesis, reference)
    found, true = (set(accumulate(masses[:-1])) for masses in (hypothesis, reference))
    if not found and not true:
        return BoundaryScores(1.0, 1.0, 1.0)
    right = len(found & true)
    return BoundaryScores(
        right / len(found) if found else 0.0,
        right / len(true) if true else 0.0,
        2 * right / (len(found) + len(true)),
    )


def same_auc(scores: ArrayLike, same: ArrayLike) -> float:
    """The chance that a gap inside a section scores higher than one between two (area under the ROC curve); ties half.

    Scores (n,), and for each whether the section goes on. 0.5 where only one kind occurs. InputError: unequal lengths,
    or a score of NaN.
    """
    given, inside = np.asarray(scores, dtype=np.float64), np.asarray(same, dtype=np.bool_)
    if given.shape != inside.shape or given.ndim != 1 or np.isnan(given).any():
        raise InputError(
            f"{given.shape} scores, {int(np.isnan(given).sum())} of them NaN, came with {inside.shape} answers; "
            "each gap needs one of both, and NaN is no score."
        )
    if inside.all() or not inside.any():
        return 0.5
    values, place, counts = np.unique(given, return_inverse=True, return_counts=True)
    ranks = np.cumsum(counts) - (counts - 1) / 2  # equal scores share their mean rank
    positive = int(inside.sum())
    wins = ranks[place][inside].sum() - positive * (positive + 1) / 2
    return float(wins / (positive * (len(values[place]) - positive)))


def accuracy_within(pairs: Sequence[tuple[Sequence[int], Sequence[int]]], wrong: int) -> float:
    """acc_k: the share of documents (hypothesis, reference; masses) with at most `wrong` wrong gaps."""
    if not pairs:
        raise InputError("acc_k got no documents; give at least one.")
    misses = []
    for hypothesis, reference in pairs:
        found, true = _segment_numbers(hypothesis, reference)
        misses.append(int(((found[1:] == found[:-1]) != (true[1:] == true[:-1])).sum()))
    return sum(count <= wrong for count in misses) / len(misses)


def window_size(reference: Sequence[int]) -> int:
    """Half the mean segment length, rounded half to even, at least 2. InputError: there are no segments."""
    if not len(reference):
        raise InputError("A window was to be chosen by the lengths of no segments; give at least one.")
    return max(2, round(sum(reference) / len(reference) / 2))


def masses_to_boundaries(masses: Sequence[int]) -> list[int]:
    """For each gap between units, 1 where a segment ends, else 0."""
    ends = set(accumulate(_whole(masses)))
    return [int(gap in ends) for gap in range(1, sum(masses))]


def boundaries_to_masses(boundaries: Sequence[int]) -> list[int]:
    """The lengths of the segments of len(boundaries) + 1 units."""
    if any(value not in (0, 1) for value in boundaries):
        raise InputError(f"Boundaries came as {list(boundaries)[:20]}; they need to be 0 or 1 for each gap.")
    return openings_to_masses([gap for gap, ends in enumerate(boundaries, 1) if ends], len(boundaries) + 1)


def openings_to_masses(openings: Sequence[int], units: int) -> list[int]:
    """The lengths of the segments of `units` units, given which units open one (unit 0 need not be named)."""
    edges = sorted({0, *openings, units})
    if edges[0] < 0 or edges[-1] > units:
        raise InputError(f"Segments open at {list(openings)[:20]} in a text of {units} units; name units of the text.")
    return [end - start for start, end in pairwise(edges)]


def masses_to_labels(masses: Sequence[int]) -> list[int]:
    """For each unit the number of its segment, from 0."""
    return [segment for segment, mass in enumerate(_whole(masses)) for _ in range(mass)]


def labels_to_masses(labels: Sequence[Hashable]) -> list[int]:
    """The lengths of the runs of equal labels."""
    return [sum(1 for _ in run) for _, run in groupby(labels)]


def _segment_numbers(hypothesis: Sequence[int], reference: Sequence[int]) -> tuple[NDArray[np.int64], ...]:
    """Each unit's segment, in both; checked to be of the same text."""
    found, true = (np.array(masses_to_labels(masses), dtype=np.int64) for masses in (hypothesis, reference))
    if len(found) != len(true) or not len(true):
        raise InputError(
            f"The hypothesis has {len(found)} units and the reference {len(true)}; both need to cut the same text, of "
            "at least one unit."
        )
    return found, true


def _whole(masses: Sequence[int]) -> Sequence[int]:
    if any(mass < 1 for mass in masses):
        raise InputError(f"Segment lengths came as {list(masses)[:20]}; each needs to be at least 1 unit.")
    return masses


def _checked(window: int) -> int:
    if window < 1:
        raise InputError(f"The window got {window}; it needs to be at least 1 unit.")
    return window


def _has_room(units: int, window: int, metric: str) -> bool:
    if units <= window:
        warnings.warn(f"{metric} is 0 by definition: {units} units are too few for a window of {window}.", stacklevel=3)
    return units > window
