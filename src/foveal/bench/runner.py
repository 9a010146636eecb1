"""Runs a benchmark by name and keeps its rows as they come.

The JSON file is written anew, whole, after each row: Ctrl-C, an error or a kill leaves the rows so far, with a status
that says that they are not all. Its form is in docs/benchmarks.md.
"""

from __future__ import annotations

import json as json_format
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from foveal import faults
from foveal.bench.machine import machine, versions
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import whole_file
from foveal.evaluation.tables import Row
from foveal.registry import BENCHES, lookup

SIZE = "size"
"""The metric of rows that only say how much was measured: they become the report's `sizes`."""


@dataclass
class Report:
    """The rows of one run, and what they depend on. `status` is "complete", or says why rows are missing."""

    bench: str
    settings: BenchSettings
    rows: list[Row] = field(default_factory=list)
    status: str = "incomplete: still running"
    date: str = field(default_factory=lambda: faults.now().isoformat(timespec="seconds"))

    @property
    def ok(self) -> bool:
        """Whether no row fell short of its bar."""
        return all(row.ok is not False for row in self.rows)

    @property
    def command(self) -> str:
        """What repeats the run, given the same data."""
        return f"foveal bench {self.bench}" + (" --quick" if self.settings.quick else "")

    def as_json(self) -> dict[str, object]:
        """The report as plain values."""
        return {
            "bench": self.bench,
            "status": self.status,
            "date": self.date,
            "command": self.command,
            "quick": self.settings.quick,
            "seed": self.settings.seed,
            "machine": machine(),
            "versions": versions(),
            "sizes": {row.system: row.as_json()["value"] for row in self.rows if row.metric == SIZE},
            "rows": [row.as_json() for row in self.rows],
        }

    def write(self, path: Path) -> None:
        """Write the JSON to `path`, whole or not at all."""
        text = json_format.dumps(self.as_json(), indent=1, ensure_ascii=False, allow_nan=False)
        with whole_file(path) as partial:
            partial.write_text(text + "\n", encoding="utf-8")


def run(
    name: str,
    settings: BenchSettings,
    json: Path | None = None,
    on_row: Callable[[Row], None] | None = None,
) -> Report:
    """Run the bench called `name`; `on_row` is told each row as it comes, `json` is the file to write.

    What stops the bench early (Ctrl-C too) is raised again, after the rows so far and its name are in the JSON file.
    """
    rows: Iterator[Row] = lookup(BENCHES, name, kind="bench")(settings)
    report = Report(name, settings)

    def save() -> None:
        if json:
            report.write(json)

    save()  # a path that cannot be written fails now, not after an hour
    try:
        for row in rows:
            report.rows.append(row)
            save()
            if on_row:
                on_row(row)
    except BaseException as stopped:
        report.status = f"incomplete: {type(stopped).__name__}"
        save()
        raise
    report.status = "complete"
    save()
    return report
