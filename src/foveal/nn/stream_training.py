"""What the recipes of stream models have in common: a model is fitted, compared with a plain baseline, kept if better.

    folder, report = fit(recipe, LoopSettings(), run=RunSettings(home=home))   # resumes; HOME/models/<name>
    model = load_model(folder)                                   # of any of the tasks

forecaster.py    values to come of a table of series        classifier.py    the class of a series
event_model.py   the next event's time and mark             decisions.py     actions that reach a wanted return
text_classifier_training.py    the class of a text, with its own way of saving

A folder holds stream.json (the task and the model's settings) and model.safetensors.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.registry import lookup
from foveal.training import checkpoints
from foveal.training.loop import Job, LoopSettings, identity, train
from foveal.training.report import Metrics, Report, plain_settings
from foveal.training.runs import RunSettings, TrainingRun

TOLD, WEIGHTS = "stream.json", "model.safetensors"

MODELS = {
    "forecast": "foveal.nn.forecaster:Forecaster",
    "classify": "foveal.nn.classifier:StreamClassifier",
    "events": "foveal.nn.event_model:EventModel",
    "decide": "foveal.nn.decisions:DecisionModel",
    "papers": "foveal.nn.counts:CountForecaster",
}
"""Task -> class; each is made by `from_plain` of the plain values of its `settings`."""

DEV, TEST = "dev", "test"


@dataclass(frozen=True)
class Recipe:
    """A model, what it learns from, and how it is judged.

    `measure(model, part)` and `baseline(part)` give the same metrics; `metric` of the dev part chooses the weights and
    decides whether the model is kept; `lower` says that less of it is better.
    """

    task: str
    model: nn.Module
    rows: Any
    loss: Callable[[Any, Any], Tensor]
    measure: Callable[[Any, str], Metrics]
    baseline: Callable[[str], Metrics]
    metric: str
    base: str  # what the baseline is called
    data: str  # names or hashes of what is learnt from
    lower: bool = True
    collate: Callable[[list[Any]], Any] | None = None
    plan: Callable[[int, int, int], list[list[int]]] | None = None  # (epoch, batch, seed) -> places; None: shuffled
    notes: tuple[str, ...] = ()
    parts: tuple[str, ...] = (DEV, TEST)
    depends_on: Mapping[str, str] = field(default_factory=dict)
    title: str = ""  # of the report; "": the task and its mixer
    settings: Mapping[str, Any] | None = None  # of the model, plain values; None: those of its `settings`
    save: Callable[[Any, Path], object] | None = None  # into a new folder; None: `save_model`

    @property
    def plain(self) -> dict[str, Any]:
        """The model's settings as plain values."""
        return plain_settings(self.model.settings) if self.settings is None else dict(self.settings)

    def job(self, loop: LoopSettings) -> Job:
        """For the loop."""
        plan = self.plan
        plain = json.dumps(self.plain, sort_keys=True)
        return Job(
            self.model,
            self.rows,
            self.loss,
            identity={"what": self.task, "data": self.data, "model": plain, **self.depends_on},
            evaluate=lambda model: {self.metric: self.measure(model, DEV)[self.metric]},
            metric=self.metric,
            lower=self.lower,
            collate=self.collate,
            plan=None if plan is None else lambda epoch: plan(epoch, loop.batch, loop.seed),
        )


def fit(
    recipe: Recipe,
    loop: LoopSettings,
    *,
    run: RunSettings[Any],
) -> tuple[Path | None, Report]:
    """The model's folder (None: it is no better than the baseline) and the report. Stopped, the same call goes on.

    InputError: a run of that name is another one.
    """
    job = recipe.job(loop)
    here = TrainingRun.opened(run, identity(job.identity, loop), kind=recipe.task)
    if (done := here.done()) is not None:
        return done
    before = {part: recipe.baseline(part) for part in recipe.parts}
    curves = train(job, loop, here.folder, on_progress=run.on_progress)
    recipe.model.eval()
    with torch.no_grad():
        after = {part: recipe.measure(recipe.model, part) for part in recipe.parts}
    old, new = (one[DEV][recipe.metric] for one in (before, after))
    kept = new < old if recipe.lower else new > old
    notes = (*recipe.notes, f"{sum(one.numel() for one in recipe.model.parameters()):,} parameters.")
    if not kept:
        notes += (f"The model was not kept: {recipe.metric} on the dev part {new:.4g}; {recipe.base} has {old:.4g}.",)
    report = Report(
        here.name, recipe.title or f"{recipe.task}, {_mixer(recipe.model)}", recipe.base, curves,
        {part: (before[part], after[part]) for part in recipe.parts}, kept, notes,
        {**recipe.plain, "loop": asdict(loop)},
    )  # fmt: skip
    with here.candidate() as made:
        if recipe.save:
            recipe.save(recipe.model, made)
        else:
            save_model(recipe.model, recipe.task, made)
        here.settle(made, report)
    return here.result(report)


def _mixer(model: Any) -> str:
    return getattr(getattr(model.settings, "encoder", None), "mixer", "") or "linear"


def save_model(model: nn.Module, task: str, folder: Path) -> Path:
    """Into a new folder."""
    told = {"task": task, "settings": plain_settings(model.settings)}
    return checkpoints.save_changes(model, told, folder, told_in=TOLD, weights=WEIGHTS)


def load_model(folder: Path, *, task: str | None = None) -> Any:
    """The model of a folder, in eval mode. InputError: no model of a stream, or of another task."""
    told = checkpoints.read(folder / TOLD) or {}
    if "task" not in told or (task is not None and told["task"] != task):
        asked = f"for the task {task!r}" if task else "of a stream"
        there = f"a model for {told['task']!r}" if "task" in told else "none"
        raise InputError(f"{folder} holds {there}; needed is a model {asked} (foveal train aaren).")
    made = lookup(MODELS, told["task"], kind="task")
    with checkpoints.as_was_made(folder, "model", "Train it anew: foveal train aaren."):
        model = made.from_plain(told["settings"])
    checkpoints.load_weights(model, folder / WEIGHTS)
    return model.eval()


def in_batches(rows: Any, collate: Callable[[list[Any]], Any], batch: int = 256, *, like: Any = None) -> Any:
    """All rows, a batch at a time, for measuring; on the device of the model `like`, where there is one."""
    device = next(like.parameters()).device if isinstance(like, nn.Module) else torch.device("cpu")
    for at in range(0, len(rows), batch):
        made = collate([rows[place] for place in range(at, min(at + batch, len(rows)))])
        yield {name: one.to(device) for name, one in made.items()}
