"""bench report-race: DeepResearch Bench's scores, computed again from its own published files.

overall     the mean over the per-task rows of a system must be that of its published result file
dimensions  the same for the four dimensions
weights     the criterion-level calculator with the shipped weights: a report that scores like its reference is 0.5, one
            that is better on one criterion alone moves by just that criterion's weight
FACT        the accuracy of the published counts

Each folder beside criteria.jsonl with race_raw_results.jsonl is a system; its tasks are as many as that file has rows.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

from foveal.bench.runner import SIZE
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.files import present, text_in
from foveal.evaluation.reports import Criteria, fact, mean_of_tasks, race, read_criteria, read_race_rows
from foveal.evaluation.tables import Row, largest

RAW, RESULT, FACTS = "race_raw_results.jsonl", "race_result.txt", "fact_result.txt"
PUBLISHED = {"overall_score": "Overall Score", "comprehensiveness": "Comprehensiveness", "insight": "Insight",
             "instruction_following": "Instruction Following", "readability": "Readability"}  # fmt: skip
MEANS = {("claude-3-7-sonnet-latest", 100): 0.42184}
"""Of a system's overall scores of so many tasks, with one digit more than the result file prints."""


def race_rows(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench report-race`."""
    folder = settings.folder("deepresearch", ("criteria.jsonl",))
    systems = systems_in(folder)
    settings.folder("deepresearch", [f"{system}/{name}" for system in systems for name in (RAW, RESULT, FACTS)])
    tasks: dict[str, int] = {}
    for system in systems:
        rows = read_race_rows(present(folder / system, RAW))
        tasks[system] = len(rows)
        yield Row.of("tasks" if len(systems) == 1 else f"tasks, {system}", SIZE, len(rows))
        yield from mean_rows(system, rows, _numbers(folder / system, RESULT, tuple(PUBLISHED.values())))
    yield from weight_rows(read_criteria(present(folder, "criteria.jsonl")))
    for system in systems:
        published = _numbers(folder / system, FACTS, ("total_citations", "total_valid_citations", "valid_rate"))
        yield from fact_rows(system, published, tasks[system])


def systems_in(folder: Path) -> list[str]:
    """The folders that hold a system's rows. InputError: there are none."""
    found = [path for path in sorted(folder.iterdir()) if any((path / f"{RAW}{end}").is_file() for end in ("", ".gz"))]
    if not found:
        raise InputError(
            f"{folder} holds no system: a folder with {RAW} (or {RAW}.gz), {RESULT} and {FACTS}. Add one, or name "
            "another folder by --data."
        )
    return [path.name for path in found]


def mean_rows(system: str, rows: Sequence[Mapping[str, float]], published: Mapping[str, float]) -> Iterator[Row]:
    """The means over the tasks, less those that the system's result file prints with four digits."""
    means = mean_of_tasks(rows)
    low, high = (MEANS[system, len(rows)] + side if (system, len(rows)) in MEANS else None for side in (-5e-6, 5e-6))
    yield Row.of(system, "RACE, overall", means["overall_score"], at_least=low, at_most=high)
    for name, shown in PUBLISHED.items():
        less = means[name] - published[shown]
        yield Row.of(system, f"RACE, {shown}, less the published", less, at_least=-5e-5, at_most=5e-5)


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


def fact_rows(system: str, published: Mapping[str, float], count: int) -> Iterator[Row]:
    """The rate of the published counts: 28.07 citations a task over 100 tasks are 2,807, of which 2,451 hold."""
    told = published["total_valid_citations"]
    held, made = round(count * told), round(count * published["total_citations"])
    judged = [(f"statement {one}", "address", "supported" if one < held else "unsupported") for one in range(made)]
    found = fact([judged[at::count] for at in range(count)])
    yield Row.of(system, "FACT, accuracy less the published", (found.accuracy or 0.0) - published["valid_rate"],
                 at_least=-5e-5, at_most=5e-5)  # fmt: skip
    near = 1e-9 if abs(count * told - held) < 1e-6 else 5e-3  # a mean of so many tasks may be printed by two digits
    yield Row.of(system, "FACT, effective citations", found.effective, at_least=told - near, at_most=told + near)


def _numbers(folder: Path, file: str, needs: Sequence[str]) -> dict[str, float]:
    """Name -> number of each line. InputError: one that is needed is not there."""
    path = present(folder, file)
    found = re.findall(r"^([^:\n]+):\s*(\d+(?:\.\d+)?)\s*$", text_in(path), re.MULTILINE)
    numbers = {name.strip(): float(value) for name, value in found}
    if missing := [name for name in needs if name not in numbers]:
        raise InputError(f"{path} has no line {', '.join(f'{name}: <number>' for name in missing)}. Fetch it again.")
    return numbers
