"""A grid of methods, settings, lengths and tasks: what each system answers, how likely the gold answer is to it, how
much it looks at, and how long it takes.

    cells = run({"dense": dense, "quest@512": quest}, samples, store=folder / "qwen.jsonl")
    summary(cells)["quest", "512"].accuracy
    trade_off(cells, folder / "density.png", "density")
    paired(differences(cells, "quest@512", "dense"), seed=0)  # of likelihood.py

System      a callable from a sample (ruler.py) to an `Outcome`; its name is a method, or "method@setting"
Order       every system gets a sample before the next sample comes, so a stopped run has compared all of them
Resuming    each cell is written at once; a run that was killed goes on where it was. One file serves one model: a cell
            is known by method, setting, and the whole of the sample
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, fields
from pathlib import Path
from statistics import fmean

from foveal.errors import InputError, UnknownName
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.plots import COLOURS, blank, mark_of, plain, saved
from foveal.evaluation.ruler import Sample, accuracy

MEASURES = {
    "correct": "share of the answers given",
    "gold_nats": "nats per token of the gold answer",
    "density": "share of the keys looked at",
    "seconds": "seconds for a sample",
}
"""What is measured of a cell, and how a picture calls it."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a system did with a sample: its text, nats per token of the gold answer (None: it cannot say), the share of
    the keys that it looked at (1 is dense), and the seconds that it took."""

    text: str
    gold_nats: float | None
    density: float
    seconds: float


System = Callable[[Sample], Outcome]


@dataclass(frozen=True, slots=True)
class Cell:
    """One system on one sample: `correct` is its accuracy, 0 to 1, of `answer`; `sample` is the sample's `key`."""

    method: str
    setting: str
    task: str
    length: int
    seed: int
    correct: float
    gold_nats: float | None
    density: float
    seconds: float
    answer: str
    sample: str

    @property
    def system(self) -> str:
        return f"{self.method}@{self.setting}" if self.setting else self.method


@dataclass(frozen=True, slots=True)
class Summary:
    """Means over `cells`; `gold_nats` over those that have it, None where none has."""

    cells: int
    accuracy: float
    gold_nats: float | None
    density: float
    seconds: float


Place = tuple[str, str, str]
"""Method, setting and key of a sample: what a cell is known by."""


def run(
    systems: Mapping[str, System],
    samples: Sequence[Sample],
    *,
    store: Path | None = None,
    on_cell: Callable[[Cell], None] | None = None,
) -> list[Cell]:
    """Give each sample to each system; the cells by sample, then system. A sample that comes twice counts once.

    With `store`, cells that the file holds are taken from it and new ones are added. `on_cell` is called with each
    new one. InputError: no systems, no samples, or a file of something else.
    """
    for what, given in (("systems", systems), ("samples", samples)):
        if not given:
            raise InputError(f"A grid got no {what}; give at least one.")
    done = _stored(store) if store else {}
    cells = []
    for sample in dict.fromkeys(samples):
        known = key(sample)
        for name, system in systems.items():
            method, _, setting = name.partition("@")
            place = method, setting, known
            if place not in done:
                done[place] = _cell(method, setting, sample, system(sample))
                if store:
                    write_lines(store, done.values())
                if on_cell:
                    on_cell(done[place])
            cells.append(done[place])
    return cells


def summary(cells: Sequence[Cell], by: Sequence[str] = ("method", "setting")) -> dict[tuple[object, ...], Summary]:
    """What `Summary` says of the cells that agree in the fields `by`, keyed by their values, in the order of the cells.

    UnknownName: a cell has no such field.
    """
    for name in by:
        if name not in _FIELDS:
            raise UnknownName(f"A cell has no field {name!r}. There are: {', '.join(_FIELDS)}.")
    groups: dict[tuple[object, ...], list[Cell]] = {}
    for cell in cells:
        groups.setdefault(tuple(getattr(cell, name) for name in by), []).append(cell)
    return {values: _summed(group) for values, group in groups.items()}


def differences(cells: Sequence[Cell], system: str, baseline: str, measure: str = "correct") -> list[float]:
    """`measure` of the system less that of the baseline, for each sample that both have, in the order of the cells.

    UnknownName: no such system or measure. InputError: a value was not measured.
    """
    _known_measure(measure)
    ours, theirs = (_by_sample(cells, name, measure) for name in (system, baseline))
    return [value - theirs[sample] for sample, value in ours.items() if sample in theirs]


def trade_off(cells: Sequence[Cell], path: Path, against: str = "density", *, title: str | None = None) -> Path:
    """A PNG of the mean accuracy over "density" or "seconds": a line for each method, a point named by each setting.

    All cells are averaged: give those of one length to see that length alone.
    """
    if not cells:
        raise InputError("A picture of a grid got no cells; give at least one.")
    if against not in ("density", "seconds"):
        raise UnknownName(f"Accuracy can be shown against 'density' or 'seconds', not {against!r}.")
    figure = blank(8, 5)
    axis = figure.subplots()
    for index, (method, points) in enumerate(_points(cells, against).items()):
        x, y, names = zip(*points, strict=True)
        axis.plot(x, y, label=plain(method), linewidth=1.2, markersize=6, **mark_of(index))
        for place in zip(x, y, names, strict=True):
            axis.annotate(plain(place[2]), place[:2], xytext=(5, 4), textcoords="offset points", fontsize=8)
    axis.set(title=plain(title or f"Accuracy and {against}"), xlabel=MEASURES[against], ylabel=MEASURES["correct"])
    axis.set(ylim=(-0.03, 1.05))
    axis.grid(visible=True, alpha=0.3)
    if len(axis.lines) <= len(COLOURS):
        axis.legend(frameon=False, loc="lower right")  # looking more helps, so that corner is free
    else:
        axis.legend(frameon=False, loc="center left", bbox_to_anchor=(1.01, 0.5))
    return saved(figure, path)


def key(sample: Sample) -> str:
    """Twelve hexadecimal digits that tell samples apart; another haystack makes another sample."""
    return hashlib.sha256(repr(sample).encode()).hexdigest()[:12]


_FIELDS = tuple(field.name for field in fields(Cell))


def _cell(method: str, setting: str, sample: Sample, outcome: Outcome) -> Cell:
    return Cell(
        method,
        setting,
        sample.task,
        sample.length,
        sample.seed,
        accuracy(outcome.text, sample),
        outcome.gold_nats,
        outcome.density,
        outcome.seconds,
        outcome.text,
        key(sample),
    )


def _summed(cells: Sequence[Cell]) -> Summary:
    nats = [cell.gold_nats for cell in cells if cell.gold_nats is not None]
    correct, density, seconds = (
        fmean(getattr(cell, name) for cell in cells) for name in ("correct", "density", "seconds")
    )
    return Summary(len(cells), correct, fmean(nats) if nats else None, density, seconds)


def _known_measure(measure: str) -> None:
    if measure not in MEASURES:
        raise UnknownName(f"No measure of cells is called {measure!r}. There are: {', '.join(MEASURES)}.")


def _by_sample(cells: Sequence[Cell], system: str, measure: str) -> dict[str, float]:
    own = {cell.sample: getattr(cell, measure) for cell in cells if cell.system == system}
    if not own:
        there = ", ".join(dict.fromkeys(cell.system for cell in cells))
        raise UnknownName(f"No cell is of the system {system!r}. There are: {there}.")
    if None in own.values():
        raise InputError(f"{measure} of {system!r} was not measured on every sample; compare another measure.")
    return own


def _points(cells: Sequence[Cell], against: str) -> dict[str, list[tuple[float, float, str]]]:
    """Method -> (measure, accuracy, setting) of each of its settings, from left to right."""
    points: dict[str, list[tuple[float, float, str]]] = {}
    for (method, setting), mean in summary(cells).items():
        points.setdefault(str(method), []).append((getattr(mean, against), mean.accuracy, str(setting)))
    return {method: sorted(own) for method, own in points.items()}


def _stored(store: Path) -> dict[Place, Cell]:
    cells = stored_lines(store, Cell, what="cells of a grid")
    return {(cell.method, cell.setting, cell.sample): cell for cell in cells}
