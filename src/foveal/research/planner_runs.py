"""Training a planner as a run by name: distilled, taught by its own runs, rewarded, measured, kept if it is better.

    folder, report = train_planner(load_recorded(Path("hotpotqa")), run=RunSettings(home=home))   # HOME/models/<name>

Held out  the first tenth of the runs that teach, and as many questions for the recall; no stage learns from them
Kept      if it finds the answers of more held-out questions than the question alone does at the same number of
          passages, and their recorded queries are likelier to it than to the model that it began with. It is the
          stage that finds most of them, of equal ones the first
Reported  figures and curves of that stage
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from torch import nn

from foveal.evaluation.plots import COLOURS, blank, plain, saved
from foveal.models.language import LanguageModel, load_language_model
from foveal.research.planner_evolving import EvolvingSettings, evolve
from foveal.research.planner_reinforcement import METRIC as RECALL
from foveal.research.planner_reinforcement import Rewards, recall, reinforce
from foveal.research.planner_settings import BASE, PlannerSettings, RewardSettings
from foveal.research.planner_training import METRIC as LIKELIHOOD
from foveal.research.planner_training import Parted, distil, held_out, likelihood, teachable
from foveal.research.recorded_search import RecordedSearch, found_answer, pooled
from foveal.research.trained_planner import PlannerModel
from foveal.research.trajectories import Recorded, Trajectory
from foveal.training.checkpoints import write
from foveal.training.loop import Curves
from foveal.training.report import Report, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.watch import Progress

MEASURED = 48
"""Held-out questions whose recall is measured, at most."""

REWARDS = "rewards.json"


def train_planner(
    recorded: Recorded,
    base: str = BASE,
    settings: PlannerSettings | None = None,
    by: RewardSettings | None = None,
    evolving: EvolvingSettings | None = None,
    *,
    run: RunSettings[Any],
) -> tuple[Path | None, Report]:
    """The planner's folder (HOME/models/<name>; None if it is no better) and the report. `by`: None leaves reward out,
    and so does `evolving` rounds of its own runs.

    Stopped, the same call goes on. InputError: too few runs that teach, or the name is another's.
    """
    settings = settings or PlannerSettings()
    model = load_language_model(base, cache=run.cache)
    told = json.dumps(
        [asdict(settings), asdict(by) if by else None, model.fingerprint, *([asdict(evolving)] if evolving else [])]
    )
    known_by = {"what": "planner", "recorded": recorded.fingerprint, "planner": told}
    here = TrainingRun.opened(run, known_by, kind=f"planner-{Path(base).name}")
    if (done := here.done()) is not None:
        return done
    search = RecordedSearch(recorded)
    parted = held_out(teachable(recorded, recorded.trajectories, search, settings), settings.dev_share)
    work = Training(here.folder, model, recorded, search, parted, settings, run.on_progress)
    stages, notes = [work.distilled()], list[str]()
    if evolving is not None:
        rounds = work.evolved(stages[0], evolving)
        stages += rounds
        if len(rounds) < evolving.rounds:
            notes.append(f"Round {len(rounds) + 1} found no plan that holds the answer; no more rounds.")
    if by is not None:
        stage, rewards = work.rewarded(best_of(stages), by)
        stages.append(stage)
        keep_rewards(here.folder, rewards, by)
        shown = ", ".join(f"{one:.3f}" for one in rewards.passes(by.passes))
        notes.append(f"Mean reward of the passes over the same questions: {shown}")
    told_of = {"evolving": evolving, "reward": by}
    chosen = plain_settings(settings) | {key: plain_settings(one) if one else None for key, one in told_of.items()}
    report = work.report(here.name, base, stages, notes, chosen)
    with here.candidate() as candidate:
        planner = PlannerModel(model, settings, best_of(stages).learned, len(parted.learnt), recorded.name)
        here.settle(planner.save(candidate), report)
    return here.result(report)


@dataclass(frozen=True, eq=False)
class Stage:
    """A planner that may be kept."""

    name: str
    learned: nn.ModuleDict
    recall: float  # of the held-out questions
    curves: Curves


def best_of(stages: Sequence[Stage]) -> Stage:
    """The one with the best recall; of equal ones the first."""
    return max(stages, key=lambda one: one.recall)


@dataclass(frozen=True, eq=False)
class Training:
    """What the stages share."""

    folder: Path
    model: LanguageModel
    recorded: Recorded
    search: RecordedSearch
    parted: Parted
    settings: PlannerSettings
    on_progress: Callable[[Progress], None]

    def distilled(self) -> Stage:
        """By the recorded runs alone."""
        learned, curves = distil(
            self.model, self.recorded, (*self.parted.held, *self.parted.learnt), self.settings,
            folder=self.folder / "distillation", search=self.search, on_progress=self.on_progress,
        )  # fmt: skip
        return self._stage("distilled", learned, curves)

    def evolved(self, begun: Stage, by: EvolvingSettings) -> list[Stage]:
        """By its own runs, too: a stage a round; fewer where a round found nothing."""
        rounds = evolve(
            self.model, self.search, begun.learned, self.parted, self.settings, by,
            folder=self.folder / "evolving", on_progress=self.on_progress,
        )  # fmt: skip
        return [
            self._stage(f"evolved ({len(one.own):,} runs of its own, round {number})", one.learned, one.curves)
            for number, one in enumerate(rounds, start=1)
        ]

    def rewarded(self, begun: Stage, by: RewardSettings) -> tuple[Stage, Rewards]:
        """By reward, from the changes of another stage."""
        learned, curves, rewards = reinforce(
            self.model, self.search, begun.learned, Parted(self.parted.learnt, tuple(self.asked)), self.settings, by,
            folder=self.folder / "reward", on_progress=self.on_progress,
        )  # fmt: skip
        return self._stage("rewarded", learned, curves), rewards

    def _stage(self, name: str, learned: nn.ModuleDict, curves: Curves) -> Stage:
        return Stage(name, learned, self.recall(learned), curves)

    @property
    def asked(self) -> list[Trajectory]:
        """The held-out questions whose recall is measured."""
        return [run for run in self.parted.held if run.measurable][:MEASURED]

    def recall(self, learned: nn.ModuleDict | None) -> float:
        """Of the held-out questions, by a planner with these changes in use; None: by the model as it is."""
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

    def likelihood(self, learned: nn.ModuleDict | None) -> float:
        """Of the held-out runs' queries: for every stage among the tokens of the recorded set, so that they compare."""
        return likelihood(self.model, self.recorded, self.parted.held, learned, self.settings, self.search)

    def report(
        self, name: str, base: str, stages: Sequence[Stage], notes: Sequence[str], settings: Mapping[str, Any]
    ) -> Report:
        """Before and after on the held-out runs, of the stage that is best. `notes` are those of the stages."""
        best, alone = best_of(stages), self.alone()
        before = {LIKELIHOOD: self.likelihood(None), RECALL: self.recall(None)}
        after = {LIKELIHOOD: self.likelihood(best.learned), RECALL: best.recall}
        kept = after[LIKELIHOOD] > before[LIKELIHOOD] and best.recall > alone
        said = [
            f"The question alone finds {alone:.4f} of the answers at {self.settings.budget} passages.",
            *(f"{one.name} planner: {one.recall:.4f}" for one in stages),
            *notes,
            f"Kept: the {best.name} planner." if kept else "The planner was not kept: it is no better.",
        ]
        what = f"planner, {len(self.parted.learnt):,} runs of {self.recorded.name}"
        return Report(name, what, base, best.curves, {"held out": (before, after)}, kept, tuple(said), settings)


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
