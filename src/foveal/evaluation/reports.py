"""How good a report is: RACE against a reference, FACT and ALCE of its citations, what it covers of its brief.

RACE      DeepResearch Bench (arXiv 2506.11763): each task has weights W_d for four dimensions and w_dc for the
          criteria of each. S_d = sum_c w_dc s_dc / sum_c w_dc with s in 0 … 10; S = sum_d W_d S_d; score = S_target /
          (S_target + S_reference), so that 0.5 is as good as the reference. That of a dimension is made alike of S_d
FACT      (the same paper) statements with the address that they cite, each judged against the page: supported,
          unsupported, unknown. accuracy = supported / (supported + unsupported); effective = supported per task.
          A report without citations has no accuracy: means are given with such tasks as 0, and without them
ALCE      (Gao et al., EMNLP 2023) recall of a sentence: 1 if its cited passages, joined, entail it; no citation, or one
          that is out of range, is 0. precision: the share of citations that entail alone, or without which the others
          no longer do; 0 where the recall is 0
Coverage  the share of the brief's points that a sentence of the report treats

Entailment and judgements are given: this module knows no model.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any, Literal

from foveal.errors import InputError
from foveal.evaluation.files import json_lines

DIMENSIONS = ("comprehensiveness", "insight", "instruction_following", "readability")
Scores = Mapping[str, Mapping[str, float]]
"""Dimension -> criterion -> score, 0 to 10."""


@dataclass(frozen=True)
class Criteria:
    """The weights of one task: of dimensions, and of the criteria of each (text -> weight).

    InputError: a dimension has no criteria.
    """

    dimensions: Mapping[str, float]
    criteria: Mapping[str, Mapping[str, float]]

    def __post_init__(self) -> None:
        bare = [name for name in self.dimensions if not self.criteria.get(name)]
        if bare:
            raise InputError(f"The dimension {', '.join(bare)} has a weight, but no criteria. Give it some.")


@dataclass(frozen=True)
class Race:
    """What RACE says of a report: overall and by dimension (0.5: as good as the reference), and its own S of 0 … 10.

    `unmatched` are criteria that a judge named in words of its own; they weigh as the mean of their dimension.
    """

    overall: float
    dimensions: Mapping[str, float]
    target: float
    reference: float
    unmatched: tuple[str, ...] = ()


def read_criteria(path: Path) -> dict[int, Criteria]:
    """Task -> weights, from DeepResearch Bench's criteria.jsonl. InputError: no file, or a line of another form."""
    found = {}
    for where, row in json_lines(path):
        try:
            found[int(row["id"])] = Criteria(
                {name: float(weight) for name, weight in row["dimension_weight"].items()},
                {
                    name: {one["criterion"]: float(one["weight"]) for one in of}
                    for name, of in row["criterions"].items()
                },
            )
        except (AttributeError, KeyError, TypeError, ValueError) as error:
            raise InputError(
                f"{where} holds no criteria ({error!r}); it needs id, dimension_weight, criterions."
            ) from error
    return found


def race(criteria: Criteria, target: Scores, reference: Scores) -> Race:
    """A report's RACE score. InputError: a dimension has no scores, or a score is not 0 to 10."""
    unmatched: list[str] = []
    mine = {name: _dimension(criteria, name, target, unmatched) for name in criteria.dimensions}
    its = {name: _dimension(criteria, name, reference, unmatched) for name in criteria.dimensions}
    total, other = (sum(criteria.dimensions[name] * one[name] for name in one) for one in (mine, its))
    dimensions = {name: _against(mine[name], its[name]) for name in mine}
    return Race(_against(total, other), dimensions, total, other, tuple(dict.fromkeys(unmatched)))


def weighted(weights: Mapping[str, float], scores: Mapping[str, float]) -> tuple[float, list[str]]:
    """sum w·s / sum w over the scored criteria, and those whose text fits none (they weigh as the mean)."""
    if not scores:
        raise InputError("A dimension has no scores; a judge has to score at least one of its criteria.")
    mean = fmean(weights.values()) if weights else 1.0
    total, parts, unmatched = 0.0, 0.0, []
    for text, score in scores.items():
        if not 0 <= score <= 10:
            raise InputError(f"{text[:60]!r} is scored {score}; scores lie in 0 to 10.")
        known = matched(weights, text)
        weight = mean if known is None else weights[known]
        unmatched += [text] if known is None else []
        total, parts = total + weight, parts + weight * score
    return (parts / total if total else 0.0), unmatched


def matched(weights: Mapping[str, float], text: str) -> str | None:
    """The criterion that a judge means: the same text, the same but for case and spaces, or one within the other."""
    if text in weights:
        return text
    plain = {_plain(one): one for one in weights}
    wanted = _plain(text)
    if wanted in plain:
        return plain[wanted]
    within = [one for short, one in plain.items() if wanted and (short in wanted or wanted in short)]
    return within[0] if len(within) == 1 else None


def read_race_rows(path: Path) -> list[dict[str, float]]:
    """Per-task results as the benchmark's own raw file has them: a value for each dimension, and overall_score."""
    names = (*DIMENSIONS, "overall_score")
    rows = []
    for where, row in json_lines(path):
        try:
            rows.append({name: float(row[name]) for name in names})
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{where} is no RACE result ({error!r}); it needs {', '.join(names)}.") from error
    return rows


def mean_of_tasks(rows: Sequence[Mapping[str, float]]) -> dict[str, float]:
    """The mean of each value over tasks. InputError: there are none."""
    if not rows:
        raise InputError("There are no results to take the mean of.")
    return {name: math.fsum(row[name] for row in rows) / len(rows) for name in rows[0]}


def _dimension(criteria: Criteria, name: str, scores: Scores, unmatched: list[str]) -> float:
    score, unknown = weighted(criteria.criteria[name], scores.get(name, {}))
    unmatched += unknown
    return score


def _against(target: float, reference: float) -> float:
    return target / (target + reference) if target + reference else 0.5


def _plain(text: str) -> str:
    return " ".join(text.casefold().split())


# -- FACT -------------------------------------------------------------------------------------------------------------

Judged = Literal["supported", "unsupported", "unknown"]
JUDGED: tuple[Judged, ...] = ("supported", "unsupported", "unknown")


@dataclass(frozen=True)
class Fact:
    """Citations of a set of reports: how many a report makes and how many of them hold, and the accuracy.

    `accuracy` is of all citations together; `mean_accuracy` of tasks with a citation; `mean_with_none` counts tasks
    without one as 0.
    """

    tasks: int
    citations: float  # per task, unknown ones left out
    effective: float  # supported per task
    accuracy: float | None
    mean_accuracy: float | None
    mean_with_none: float


def fact(tasks: Sequence[Iterable[tuple[str, str, str]]]) -> Fact:
    """FACT of reports, each a list of (statement, address, judgement); a pair that comes twice counts once.

    InputError: no tasks, or a judgement that is none.
    """
    if not tasks:
        raise InputError("FACT got no reports; give at least one, be it without citations.")
    counts = [_judged(one) for one in tasks]
    supported, judged = sum(one for one, _ in counts), sum(one for _, one in counts)
    each = [one / of for one, of in counts if of]
    return Fact(
        tasks=len(counts),
        citations=judged / len(counts),
        effective=supported / len(counts),
        accuracy=supported / judged if judged else None,
        mean_accuracy=fmean(each) if each else None,
        mean_with_none=sum(each) / len(counts),
    )


def _judged(rows: Iterable[tuple[str, str, str]]) -> tuple[int, int]:
    """Supported ones, and those that are supported or not, of one report."""
    seen: dict[tuple[str, str], str] = {}
    for statement, address, judgement in rows:
        if judgement not in JUDGED:
            raise InputError(f"A statement is judged {judgement!r}; there are {', '.join(JUDGED)}.")
        seen.setdefault((_plain(statement), address.strip()), judgement)
    supported = sum(one == "supported" for one in seen.values())
    return supported, supported + sum(one == "unsupported" for one in seen.values())


# -- ALCE -------------------------------------------------------------------------------------------------------------

Entails = Callable[[str, str], bool]
"""Whether a text (premise) entails a sentence (hypothesis)."""


@dataclass(frozen=True)
class Alce:
    """Means over sentences (recall) and citations (precision), 0 to 1."""

    recall: float
    precision: float
    sentences: int
    citations: int


def alce(report: Sequence[tuple[str, Sequence[int]]], passages: Sequence[str], entails: Entails) -> Alce:
    """ALCE of a report: sentences with the numbers of the passages that they cite, from 0.

    A sentence with a number that no passage has is not borne out, and, as in the authors' script, none of its citations
    counts as made. InputError: no sentences.
    """
    if not report:
        raise InputError("ALCE got no sentences; a report without any cannot be scored.")
    held, good, made = 0, 0, 0
    for sentence, cited in report:
        recall, precise = citation_scores(sentence, list(dict.fromkeys(cited)), passages, entails)
        real = all(0 <= one < len(passages) for one in cited)
        held, good, made = held + recall, good + precise, made + (len(set(cited)) if real else 0)
    return Alce(held / len(report), good / made if made else 0.0, len(report), made)


def citation_scores(sentence: str, cited: Sequence[int], passages: Sequence[str], entails: Entails) -> tuple[int, int]:
    """Recall of a sentence, 0 or 1, and how many of its citations are precise."""
    if not cited or any(not 0 <= one < len(passages) for one in cited):
        return 0, 0
    if not entails(_joined(cited, passages), sentence):
        return 0, 0
    if len(cited) == 1:
        return 1, 1
    return 1, sum(_needed(one, sentence, cited, passages, entails) for one in cited)


def _needed(one: int, sentence: str, cited: Sequence[int], passages: Sequence[str], entails: Entails) -> bool:
    others = [other for other in cited if other != one]
    return entails(passages[one], sentence) or not entails(_joined(others, passages), sentence)


def _joined(cited: Sequence[int], passages: Sequence[str]) -> str:
    return "\n".join(passages[one] for one in cited)


# -- coverage ---------------------------------------------------------------------------------------------------------


def coverage(points: Sequence[str], sentences: Sequence[str], treats: Callable[[str, str], bool]) -> float:
    """The share of a brief's points that some sentence treats; 1 where the brief asks for none."""
    found = [any(treats(sentence, point) for sentence in sentences) for point in points]
    return fmean(map(float, found)) if found else 1.0


def read_rows(path: Path, needs: Sequence[str]) -> list[dict[str, Any]]:
    """JSON lines with the fields `needs`. InputError: no such file, or a line without them."""
    rows = []
    for where, row in json_lines(path):
        lacking = [name for name in needs if not isinstance(row, dict) or name not in row]
        if lacking:
            raise InputError(f"{where} lacks {', '.join(lacking)}; a line needs {', '.join(needs)}.")
        rows.append(row)
    return rows
