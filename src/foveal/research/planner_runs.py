"""Training a planner as a run by name: distilled, taught by its own runs, rewarded, measured, kept if it is better.

    folder, report = train_planner(load_recorded(Path("hotpotqa")), home=home)         # HOME/models/<name>

Held out  every tenth run that teaches, and as many questions for the recall; neither stage learns from them
Kept      if it finds the answers of more held-out questions than the question alone does at the same number of
          passages, and their recorded queries are likelier to it than to the model that it began with. Where reward
          did not help on the held-out questions, the distilled planner is what is kept
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from foveal.evaluation.plots import COLOURS, blank, plain, saved
from foveal.models.language import LanguageModel, load_language_model
from foveal.research.planner_evolving import EvolvingSettings, evolve
from foveal.research.planner_reinforcement import METRIC as RECALL
from foveal.research.planner_reinforcement import Rewards, recall, reinforce
from foveal.research.planner_settings import BASE, PlannerSettings, RewardSettings
from foveal.research.planner_training import METRIC as LIKELIHOOD
from foveal.research.planner_training import distil, held_out, teachable
from foveal.research.recorded_search import RecordedSearch, found_answer, pooled
from foveal.research.trained_planner import PlannerModel
from foveal.research.trajectories import Recorded, Trajectory
from foveal.training.checkpoints import write
from foveal.training.loop import Curves
from foveal.training.report import Report, plain_settings
from foveal.training.runs import TrainingRun
from foveal.training.watch import Progress

MEASURED = 48
"""Held-out questions whose recall is measured, at most."""

REWARDS = "rewards.json"


@dataclass(frozen=True)
class Parted:
    """Runs to learn from, and those that are only looked at."""

    learnt: tuple[Trajectory, ...]
    held: tuple[Trajectory, ...]


def train_planner(
    recorded: Recorded,
    base: str = BASE,
    settings: PlannerSettings | None = None,
    by: RewardSettings | None = None,
    evolving: EvolvingSettings | None = None,
    *,
    home: Path,
    name: str | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    anew: bool = False,
    cache: Path | None = None,
) -> tuple[Path | None, Report]:
    """The planner's folder (HOME/models/<name>; None if it is no better) and the report. `by`: None leaves reward out,
    and so does `evolving` rounds of its own runs.

    Stopped, the same call goes on. InputError: too few runs that teach, or the name is another's.
    """
    settings = settings or PlannerSettings()
    model = load_language_model(base, cache=cache)
    told = json.dumps(
        [asdict(settings), asdict(by) if by else None, model.fingerprint, *([asdict(evolving)] if evolving else [])]
    )
    known_by = {"what": "planner", "recorded": recorded.fingerprint, "planner": told}
    run = TrainingRun.opened(home, name, known_by, kind=f"planner-{Path(base).name}", anew=anew)
    report = run.report()
    if report is not None:
        return (run.place if report.kept else None), report
    search = RecordedSearch(recorded)
    parted = Parted(*held_out(teachable(recorded, recorded.trajectories, search, settings), settings.dev_share))
    work = Training(model, recorded, search, parted, settings, on_progress)
    learned, curves = distil(
        model, recorded, (*parted.held, *parted.learnt), settings,
        folder=run.folder / "distillation", search=search, on_progress=on_progress,
    )  # fmt: skip
    stages = [("distilled", learned, work.recall(learned))]
    if evolving is not None:
        rounds = evolve(
            model, recorded, learned, parted.learnt, parted.held, settings, evolving,
            folder=run.folder / "evolving", search=search, on_progress=on_progress,
        )  # fmt: skip
        for number, one in enumerate(rounds, start=1):
            stage = f"evolved ({len(one.own):,} runs of its own, round {number})"
            stages.append((stage, one.learned, work.recall(one.learned)))
        learned = max(stages, key=lambda one: one[2])[1]  # reward goes on from the best one
    rewards = None
    if by is not None:
        made, rewarded, rewards = reinforce(
            model, recorded, learned, parted.learnt, work.asked, settings, by,
            folder=run.folder / "reward", search=search, on_progress=on_progress,
        )  # fmt: skip
        stages.append(("rewarded", made, dict(rewarded.metrics)[rewarded.best_step or 0][RECALL]))
        keep_rewards(run.folder, rewards, by)
    stage, best, _ = max(stages, key=lambda one: one[2])  # of equal ones the first
    report = work.report(run.name, base, curves, stage, stages, rewards, by)
    with run.candidate() as candidate:
        planner = PlannerModel(model, settings, best, len(parted.learnt), recorded.name)
        run.settle(planner.save(candidate), report)
    return (run.place if report.kept else None), report


@dataclass(frozen=True, eq=False)
class Training:
    """What both stages share."""

    model: LanguageModel
    recorded: Recorded
    search: RecordedSearch
    parted: Parted
    settings: PlannerSettings
    on_progress: Callable[[Progress], None]

    @property
    def asked(self) -> list[Trajectory]:
        """The held-out questions whose recall is measured."""
        return [run for run in self.parted.held if run.measurable][:MEASURED]

    def recall(self, learned: Any) -> float:
        """Of the held-out questions, by a planner with these changes; None: by the model as it is."""
        self.on_progress(Progress(0, 0, note=f"Planning for {len(self.asked)} questions that were held out"))
        planner = PlannerModel(self.model, self.settings, learned)
        return recall(self.recorded, self.asked, planner.writer, self.search, self.settings)

    def alone(self) -> float:
        """Of the held-out questions, by the question itself at the same number of passages."""
        found = [
            found_answer(self.recorded, run, pooled(self.search, run.question, [], budget=self.settings.budget))
            for run in self.asked
        ]
        return sum(found) / max(1, len(found))

    def report(
        self,
        name: str,
        base: str,
        curves: Curves,
        stage: str,
        stages: Sequence[tuple[str, Any, float]],
        rewards: Rewards | None,
        by: RewardSettings | None,
    ) -> Report:
        """Before and after on the held-out runs, and which stage is kept."""
        steps = dict(curves.metrics)
        before, after = dict(steps[0]), dict(steps[curves.best_step or 0])
        alone, found = self.alone(), max(value for _, _, value in stages)
        before[RECALL], after[RECALL] = self.recall(None), found
        kept = after[LIKELIHOOD] > before[LIKELIHOOD] and found > alone
        notes = [f"The question alone finds {alone:.4f} of the answers at {self.settings.budget} passages."]
        notes += [f"{what} planner: {value:.4f}" for what, _, value in stages]
        if rewards is not None and by is not None:
            shown = ", ".join(f"{one:.3f}" for one in rewards.passes(by.passes))
            notes.append(f"Mean reward of the passes over the same questions: {shown}")
        notes.append(f"Kept: the {stage} planner." if kept else "The planner was not kept: it is no better.")
        what = f"planner, {len(self.parted.learnt):,} runs of {self.recorded.name}"
        measured = {"held out": (before, after)}
        own = plain_settings(self.settings) | {"reward": plain_settings(by) if by else None}
        return Report(name, what, base, curves, measured, kept, tuple(notes), own)


def keep_rewards(folder: Path, rewards: Rewards, by: RewardSettings) -> Path:
    """Write the rewards of each step, and their picture."""
    write(folder / REWARDS, {**rewards.state(), "passes": rewards.passes(by.passes)})
    figure = blank(8, 2.8)
    axis = figure.subplots()
    steps = sorted(rewards.means)
    axis.plot(steps, [rewards.means[step] for step in steps], color=COLOURS[1], marker="o", markersize=3)
    each = max(1, len(steps) // by.passes)
    for number, value in enumerate(rewards.passes(by.passes)):
        axis.hlines(value, number * each + 1, (number + 1) * each, color=COLOURS[2], linewidth=2)
    axis.set_xlabel("step")
    axis.set_ylabel(plain("mean reward of a step; its pass"))
    axis.grid(visible=True, alpha=0.3)
    return saved(figure, folder / "rewards.png")


def joined(several: Sequence[Recorded]) -> Recorded:
    """Several recorded sets as one: their passages together, their runs in turn. Ids get the set's name before them."""
    if len(several) == 1:
        return several[0]
    sources, runs = {}, []
    for one in several:
        for source in one.sources.values():
            sources[f"{one.name}/{source.id}"] = replace(source, id=f"{one.name}/{source.id}")
        runs += [_prefixed(run, one.name) for run in one.trajectories]
    return Recorded("+".join(one.name for one in several), sources, tuple(runs))


def _prefixed(run: Trajectory, name: str) -> Trajectory:
    steps = tuple(replace(step, passages=tuple(f"{name}/{one}" for one in step.passages)) for step in run.steps)
    supporting = tuple(f"{name}/{one}" for one in run.supporting)
    return replace(run, id=f"{name}/{run.id}", steps=steps, supporting=supporting)
