"""What was trained in a home: the runs by name, how far each came, what it changed, and whether its model is there.

    for one in trained(home): one.name, one.state, one.metric, one.before, one.after
    remove(home, "mine")                               the model and its run: files, curves, checkpoints

Nothing heavy is imported: a list is there at once.
"""

from __future__ import annotations

import shutil
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from foveal.errors import InputError
from foveal.evaluation.files import is_held
from foveal.training import checkpoints
from foveal.training.alone import LOCK, hold

KEPT, NO_BETTER, GONE, UNFINISHED = "kept", "no better", "model removed", "unfinished"
TRAINING, NOTHING = "training now", "kept nothing"


@dataclass(frozen=True)
class Trained:
    """A run. `measured`: queries' name -> (before, after), each metric -> value; nothing while it is unfinished.

    `model` is where one of that name lies: this run's, or, of a run begun anew that is no better or not done, the one
    that was there before.
    """

    name: str
    what: str
    state: str  # KEPT, NO_BETTER, GONE, UNFINISHED, TRAINING or NOTHING
    when: datetime  # it ended, or was last written to
    measured: Mapping[str, tuple[Mapping[str, float], Mapping[str, float]]]
    model: Path | None

    @property
    def told(self) -> tuple[str, float, float] | None:
        """What decided: a metric of what was held out, before and after; None where nothing was measured."""
        before, after = self.measured.get("dev") or next(iter(self.measured.values()), ({}, {}))
        metric = next((one for one in before if one in after), None)
        return None if metric is None else (metric, before[metric], after[metric])


def trained(home: Path) -> list[Trained]:
    """All runs of a home, the last one first."""
    found = (_of(folder, home) for folder in (home / "runs" / "train").glob("*"))
    return sorted((one for one in found if one is not None), key=lambda one: (one.when, one.name), reverse=True)


def lost(name: str, home: Path) -> str:
    """What became of a run of that name whose model is not there, as " (…)"; "" where there was none."""
    states = {one.name: one.state for one in trained(home)}
    told = {
        NO_BETTER: "it was trained here, but not kept, since it was no better",
        NOTHING: "its training was stopped before it kept anything",
        **dict.fromkeys((UNFINISHED, TRAINING), "its training is not done"),
    }
    return f" ({told[states[name]]})" if states.get(name) in told else ""


def remove(home: Path, name: str) -> list[Path]:
    """Remove the model of that name, and its run; what was removed. InputError: there is none. RunBusy: it trains."""
    model, run = home / "models" / name, home / "runs" / "train" / name
    known = {one.name for one in trained(home)}
    if name not in known:
        there = ", ".join(sorted(known)) or "none"
        raise InputError(f"Nothing was trained here under the name {name!r}. There are: {there}.")
    held = hold(run)
    gone = [folder for folder in (model, run) if folder.is_dir()]
    if model in gone:
        shutil.rmtree(model)
    checkpoints.emptied(run)  # what says whose run it is goes last: after a kill in the midst the name is still known
    shutil.rmtree(run)
    held.free()
    return gone


def _of(folder: Path, home: Path) -> Trained | None:
    begun = checkpoints.read(folder / checkpoints.RUN)
    report = checkpoints.read(folder / "report.json")
    if begun is None and report is None:
        return None
    written = folder / ("report.json" if report else checkpoints.RUN)
    when = max((path.stat().st_mtime for path in (written, *folder.glob("checkpoint-*")) if path.exists()), default=0.0)
    model = home / "models" / folder.name
    return Trained(
        folder.name,
        str((report or {}).get("what") or (begun or {}).get("what") or ""),
        _unfinished(folder) if report is None else _state(report, model),
        datetime.fromtimestamp(when, UTC),
        {queries: (before, after) for queries, (before, after) in (report or {}).get("measured", {}).items()},
        model if model.is_dir() else None,
    )


def _unfinished(folder: Path) -> str:
    if is_held(folder / LOCK):
        return TRAINING
    return NOTHING if checkpoints.kept_nothing(folder) else UNFINISHED


def _state(report: Mapping[str, Any], model: Path) -> str:
    if not report.get("kept"):
        return NO_BETTER
    return KEPT if model.is_dir() else GONE
