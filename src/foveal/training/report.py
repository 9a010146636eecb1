"""What a training reports: curves, a table of before and after, and both as files.

report.json    all of it        curves.png    the loss, and each dev metric, over the steps
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Hashable, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from foveal.evaluation.metrics import Run, per_query, randomisation_p_value
from foveal.evaluation.plots import COLOURS, blank, plain, saved
from foveal.evaluation.tables import Row
from foveal.training import checkpoints
from foveal.training.examples import Examples
from foveal.training.loop import Curves

Metrics = Mapping[str, float]

ROUNDS = 2000
"""Of the randomisation test."""


@dataclass(frozen=True)
class Report:
    """What was trained, how it went, and what it changed. `measured`: queries' name -> (before, after)."""

    name: str
    what: str  # such as "encoder, mined negatives"
    base: str
    curves: Curves
    measured: Mapping[str, tuple[Metrics, Metrics]]
    kept: bool  # whether the new model is better on the dev queries, and so was saved
    notes: tuple[str, ...] = ()
    settings: Mapping[str, Any] = field(default_factory=dict)  # plain values: `plain_settings`

    def rows(self) -> list[Row]:
        """Before and after, and on the dev queries whether it is better."""
        rows = []
        for queries, (before, after) in self.measured.items():
            for metric in before:
                rows.append(Row.of(f"{queries}: before", metric, before[metric], note=self.base))
                change = after[metric] - before[metric]
                rows.append(Row.of(f"{queries}: after", metric, after[metric], note=f"{change:+.4f}"))
        return rows

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        return asdict(self)

    def save(self, folder: Path) -> tuple[Path, Path | None]:
        """Write report.json and, where something was measured over the steps, curves.png into `folder`.

        MissingExtra: no matplotlib.
        """
        checkpoints.write(folder / "report.json", self.as_json())
        drawn = picture(self.curves, folder / "curves.png", title=self.name) if self.curves.steps else None
        return folder / "report.json", drawn


def not_kept(what: str, metric: str, measured_on: str, before: float, after: float) -> str:
    """What a report must say where a model is no better than what was there before, and so was put aside."""
    return f"The {what} was not kept: {metric} on the {measured_on} {after:.4f}, {before:.4f} before."


def seen_before(test: Iterable[Hashable], learnt: Iterable[Hashable], what: str) -> tuple[str, ...]:
    """What a report must say where some of what it is measured on was learnt from."""
    asked, known = list(test), set(learnt)
    count = sum(one in known for one in asked)
    told = (
        f"{count:,} of the {len(asked):,} test {what} stand among the training {what}, too: what they show is too good."
    )
    return (told,) if count else ()


def told_cut(examples: Examples, tokens_of: Callable[[str], int], room: int) -> tuple[str, ...]:
    """What a report must say where queries or documents are longer than the `room` tokens that a model reads of one.

    `tokens_of` counts those of a text, which are no more than its characters.
    """
    told = []
    for kind, texts in (("queries", examples.queries), ("documents", examples.corpus)):
        if cut := sum(tokens_of(text) > room for text in texts.values() if len(text) > room):
            told.append(f"{cut:,} of {len(texts):,} {kind} are longer than the {room} tokens that are read of one.")
    return tuple(told)


def beside(
    judged: Mapping[str, Examples], before: Mapping[str, Run], after: Mapping[str, Run], metrics: Sequence[str]
) -> tuple[dict[str, tuple[Metrics, Metrics]], tuple[str, ...]]:
    """What two orders are worth to each set of queries, and for how many the first metric rose: a mean of few is luck.

    The probability is that of a paired randomisation test (`evaluation.metrics`).
    """
    measured: dict[str, tuple[Metrics, Metrics]] = {}
    notes = []
    for kind, queries in judged.items():
        was, now = (per_query(runs[kind], queries.judged, metrics) for runs in (before, after))
        measured[kind] = (_means(was), _means(now))
        metric = metrics[0]
        if measured[kind][0][metric] >= 1:
            notes.append(
                f"{kind}: {metric} was 1 before, so that nothing can be better. Judge queries that are harder."
            )
        changes = np.array([now[metric][query] - was[metric][query] for query in queries.judged])
        if not changes.any():
            notes.append(f"{kind}: {metric} is the same for each of {len(changes):,} queries.")
            continue
        chance = randomisation_p_value(changes, rounds=ROUNDS, seed=0)
        notes.append(
            f"{kind}: of {len(changes):,} queries {metric} rose for {int((changes > 0).sum()):,} and fell for "
            f"{int((changes < 0).sum()):,}; luck alone does as much with probability {chance:.2g}."
        )
    return measured, tuple(notes)


def _means(values: Mapping[str, Mapping[str, float]]) -> dict[str, float]:
    return {metric: math.fsum(of.values()) / len(of) for metric, of in values.items()}


def plain_settings(settings: Any) -> dict[str, Any]:
    """A settings dataclass as it comes back from JSON."""
    found: dict[str, Any] = json.loads(json.dumps(asdict(settings)))
    return found


def read_report(folder: Path) -> Report | None:
    """The report that was saved in `folder`, if any."""
    found = checkpoints.read(folder / "report.json")
    if found is None:
        return None
    curves = found["curves"]
    for name in ("losses", "metrics"):
        curves[name] = tuple((step, value) for step, value in curves[name])
    measured = {queries: (before, after) for queries, (before, after) in found["measured"].items()}
    return Report(**{**found, "curves": Curves(**curves), "measured": measured, "notes": tuple(found["notes"])})


def panels(curves: Curves) -> dict[str, list[tuple[int, float]]]:
    """What there is to draw: name -> (step, value); of a metric where training changed it, nothing of one point."""
    drawn = {"loss": [(step, loss) for step, loss in curves.losses if math.isfinite(loss)]}
    for name in dict.fromkeys(name for _, one in curves.metrics for name in one):
        points = [(step, one[name]) for step, one in curves.metrics if math.isfinite(one.get(name, math.nan))]
        drawn[name] = points if len(points) > 1 else []
    return {name: points for name, points in drawn.items() if points}


def picture(curves: Curves, path: Path, *, title: str) -> Path | None:
    """Draw the loss over the steps, and below it each dev metric with the step that was chosen.

    What was not measured has no panel; None, and no file, where nothing was.
    """
    drawn = panels(curves)
    if not drawn:
        return None
    figure = blank(8, 0.4 + 2.4 * len(drawn))
    figure.suptitle(plain(title), fontsize=13)
    axes = figure.subplots(len(drawn), 1, squeeze=False, sharex=True)[:, 0]
    for axis, (name, points) in zip(axes, drawn.items(), strict=True):
        steps, values = zip(*points, strict=True)
        is_loss = name == "loss"
        marker = "" if is_loss and len(points) > 1 else "o"  # a line of one point cannot be seen
        axis.plot(steps, values, color=COLOURS[1 if is_loss else 0], marker=marker, markersize=4)
        if not is_loss and curves.best_step is not None:
            axis.axvline(curves.best_step, color=COLOURS[2], linestyle="--", linewidth=1)
        axis.set_ylabel(plain(name))
        axis.grid(visible=True, alpha=0.3)
    axes[-1].set_xlabel("step")
    return saved(figure, path)
