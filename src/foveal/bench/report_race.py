"""bench report-race: DeepResearch Bench's scores, computed again from its own published files.

overall     the mean over 100 per-task rows of one system must be that of its published result file
dimensions  the same for the four dimensions
weights     the criterion-level calculator with the shipped weights: a report that scores like its reference is 0.5, one
            that is better on one criterion alone moves by just that criterion's weight
FACT        the accuracy of the published counts
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import present, text_in
from foveal.evaluation.reports import Criteria, fact, mean_of_tasks, race, read_criteria, read_race_rows
from foveal.evaluation.tables import Row, largest

SYSTEM = "claude-3-7-sonnet-latest"
PUBLISHED = {"overall_score": "Overall Score", "comprehensiveness": "Comprehensiveness", "insight": "Insight",
             "instruction_following": "Instruction Following", "readability": "Readability"}  # fmt: skip
MEAN = 0.42184
"""Of the 100 overall scores, with one digit more than the result file prints."""


def race_rows(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench report-race`."""
    needs = (
        "criteria.jsonl",
        *(f"{SYSTEM}/{name}" for name in ("race_raw_results.jsonl", "race_result.txt", "fact_result.txt")),
    )
    folder = settings.folder("deepresearch", needs)
    rows = read_race_rows(present(folder / SYSTEM, "race_raw_results.jsonl"))
    yield Row.of("tasks", SIZE, len(rows))
    means = mean_of_tasks(rows)
    yield Row.of(SYSTEM, "RACE, overall", means["overall_score"], at_least=MEAN - 5e-6, at_most=MEAN + 5e-6)
    published = _numbers(present(folder / SYSTEM, "race_result.txt"))
    for name, shown in PUBLISHED.items():
        wanted = published[shown]
        yield Row.of(SYSTEM, f"RACE, {shown}, less the published", means[name] - wanted, at_least=-5e-5, at_most=5e-5)
    yield from weight_rows(read_criteria(present(folder, "criteria.jsonl")))
    yield from fact_rows(_numbers(present(folder / SYSTEM, "fact_result.txt")))


def weight_rows(weights: dict[int, Criteria]) -> Iterator[Row]:
    """The calculator on all tasks' weights, against sums written out here."""
    equal, moved = 0.0, 0.0
    for criteria in weights.values():
        even = {name: dict.fromkeys(of, 6.0) for name, of in criteria.criteria.items()}
        equal = largest(equal, abs(race(criteria, even, even).overall - 0.5))
        name = max(criteria.criteria, key=lambda one: criteria.dimensions[one])
        text, weight = max(criteria.criteria[name].items(), key=lambda one: one[1])
        better = {**even, name: {**even[name], text: 9.0}}
        mine = 6.0 * sum(criteria.dimensions.values()) + criteria.dimensions[name] * 3.0 * weight / sum(
            criteria.criteria[name].values()
        )
        wanted = mine / (mine + 6.0 * sum(criteria.dimensions.values()))
        moved = largest(moved, abs(race(criteria, better, even).overall - wanted))
    yield Row.of("tasks with weights", SIZE, len(weights))
    yield Row.of("criteria", "a report like its reference, away from 0.5", equal, at_most=1e-12)
    yield Row.of("criteria", "one criterion better, away from the sum by hand", moved, at_most=1e-12)


def fact_rows(published: dict[str, float]) -> Iterator[Row]:
    """The rate of the published counts: 28.07 citations a task over 100 tasks are 2,807, of which 2,451 hold."""
    held, made = round(100 * published["total_valid_citations"]), round(100 * published["total_citations"])
    judged = [(f"statement {one}", "address", "supported" if one < held else "unsupported") for one in range(made)]
    tasks = [judged[at::100] for at in range(100)]
    found = fact(tasks)
    yield Row.of(SYSTEM, "FACT, accuracy less the published", (found.accuracy or 0.0) - published["valid_rate"],
                 at_least=-5e-5, at_most=5e-5)  # fmt: skip
    yield Row.of(SYSTEM, "FACT, effective citations", found.effective, at_least=24.51 - 1e-9, at_most=24.51 + 1e-9)


def _numbers(path: Path) -> dict[str, float]:
    found = re.findall(r"^([^:\n]+):\s*([\d.]+)\s*$", text_in(path), re.MULTILINE)
    return {name.strip(): float(value) for name, value in found}
