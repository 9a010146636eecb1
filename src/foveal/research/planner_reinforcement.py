"""A distilled planner goes on by reward, with our search in the loop (GRPO, on the planner alone).

Of each question several plans are drawn; each is searched, and rewarded by what its passages are worth within the
budget. What a plan gets above the mean of its own group, in deviations of the group, moves its tokens' probabilities.

    reward      supporting passages found, as a share, + format_weight · (a plan whose queries all differ)
    loss        - sum over a plan's tokens of (p / stop(p)) · advantage / tokens, + kl · (q/p - ln(q/p) - 1), q the
                distilled planner's probability; one step for each drawing, so nothing needs to be clipped
    questions   those first that the question alone does not answer: on others all plans get the same
                Plans that got what the rest of their group got teach nothing; they are left out of the mean, so that a
                step is as long whether one question of it was worth asking or all were

Source    GRPO: DeepSeekMath (Shao et al., arXiv 2402.03300); k3 estimator of the divergence (Schulman, 2020)
Kept      rewards of each step lie in the checkpoints, so that a run that was killed has its whole curve
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from statistics import fmean, pstdev
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.models.language import LanguageModel
from foveal.research.exploring import Explored, explore
from foveal.research.planner_settings import PlannerSettings, RewardSettings
from foveal.research.planner_training import Parted, Row, collate, row, tokens, told_apart, vocabulary, weights_digest
from foveal.research.query_writer import QueryWriter
from foveal.research.recorded_search import RecordedSearch, found_answer, pooled, supporting_recall
from foveal.research.trajectories import Recorded, Trajectory
from foveal.research.transcripts import Format
from foveal.training import checkpoints
from foveal.training.loop import Curves, Job, train
from foveal.training.loop_settings import without_loop
from foveal.training.upper_layers import Parts
from foveal.training.watch import Progress

METRIC = "recall of held-out questions"
EVEN = 1e-4
"""Deviation of rewards below which all plans of a group count as alike."""


@dataclass
class Rewards:
    """A `Hook`: the mean reward of each step, and which step it is."""

    step: int = 0
    means: dict[int, float] = field(default_factory=dict)

    def at_step(self, step: int, model: Any) -> None:  # noqa: ARG002
        """A step is done."""
        self.step = step

    def state(self) -> dict[str, Any]:
        """For a checkpoint."""
        return {"step": self.step, "means": [[step, mean] for step, mean in self.means.items()]}

    def restore(self, state: Mapping[str, Any]) -> None:
        """From a checkpoint."""
        self.step, self.means = int(state["step"]), {int(step): float(mean) for step, mean in state["means"]}

    def passes(self, count: int) -> list[float]:
        """The mean reward of each of `count` passes over the same questions."""
        ordered = [self.means[step] for step in sorted(self.means)]
        each = max(1, len(ordered) // count)
        return [fmean(ordered[at : at + each]) for at in range(0, each * count, each) if ordered[at : at + each]]


def reward(run: Trajectory, plan: Explored, search: RecordedSearch, settings: PlannerSettings, weight: float) -> float:
    """What a plan is worth, 0 to 1 + weight."""
    found = plan.found(search, budget=settings.budget, first=settings.first)
    return supporting_recall(run, found) + weight * well_formed(plan)


def well_formed(plan: Explored) -> float:
    """1.0 for a plan with a query, none of which it wrote twice."""
    return float(bool(plan.queries) and not plan.repeated)


def advantages(rewards: Sequence[float]) -> list[float]:
    """Each reward's distance from the group's mean, in deviations of the group; zeros where all are alike."""
    middle, deviation = fmean(rewards), pstdev(rewards)
    return [0.0] * len(rewards) if deviation < EVEN else [(one - middle) / deviation for one in rewards]


def worth_trying(
    recorded: Recorded, runs: Sequence[Trajectory], search: RecordedSearch, settings: PlannerSettings
) -> list[Trajectory]:
    """Runs with something to find, those first that the question alone does not answer within the budget."""

    def answered(run: Trajectory) -> float:
        return found_answer(recorded, run, pooled(search, run.question, [], budget=settings.budget))

    return sorted((run for run in runs if run.measurable and run.supporting), key=answered)


@dataclass(frozen=True, eq=False)
class GroupLoss:
    """Draws plans by the model as it stands, has them searched, and gives the loss that rewards the better ones."""

    model: LanguageModel
    parts: Parts  # with the changes that learn
    reference: Parts
    search: RecordedSearch
    runs: Sequence[Trajectory]
    settings: PlannerSettings
    reward: RewardSettings
    rewards: Rewards

    def __call__(self, module: nn.Module, batch: dict[str, Tensor]) -> Tensor:
        """The loss of a step; `batch["runs"]` holds the places of its questions."""
        chosen = [self.runs[place] for place in batch["runs"].tolist()]
        groups = [(run, self.drawn(run, place)) for place, run in enumerate(chosen)]
        valued = [(plan, value, gain) for run, plans in groups for plan, value, gain in self._valued(run, plans)]
        self.rewards.means[self.rewards.step + 1] = fmean(value for _, value, _ in valued)
        moving = [(plan, gain) for plan, _, gain in valued if gain]
        if not moving:  # all plans of each question alike: nothing is learnt from them
            return torch.stack([one.sum() for one in module.parameters()]).sum() * 0.0
        return self.loss([self.row(plan) for plan, _ in moving], [gain for _, gain in moving])

    def drawn(self, run: Trajectory, place: int) -> list[Explored]:
        """The plans of one question, drawn by the model as it stands."""
        count, step = self.reward.samples, self.rewards.step
        seeds = [((self.settings.loop.seed * 1009 + step) * 101 + place) * count + one for one in range(count)]
        return explore(
            self.writer(), self.search, [run.question] * count, most=self.settings.most_queries,
            settings=self.settings.transcript, temperature=self.reward.temperature, seeds=seeds,
        )  # fmt: skip

    def writer(self) -> QueryWriter:
        """Writes by the model as it stands; made once a step."""
        if self._made.get("step") != self.rewards.step:
            self._made.update(
                step=self.rewards.step,
                writer=QueryWriter(
                    self.model, self.parts.model(), self.settings.transcript, only=self.parts.vocabulary.tolist()
                ),
            )
        made: QueryWriter = self._made["writer"]
        return made

    _made: dict[str, Any] = field(default_factory=dict)

    def _valued(self, run: Trajectory, plans: Sequence[Explored]) -> list[tuple[Explored, float, float]]:
        values = [reward(run, plan, self.search, self.settings, self.reward.format_weight) for plan in plans]
        return list(zip(plans, values, advantages(values), strict=True))

    def row(self, plan: Explored) -> Row:
        """A plan as the upper layers read it."""
        form = self.writer().form
        return row(self.parts, *tokens(form, plan.transcript, ended=plan.ended))

    def loss(self, rows: Sequence[Row], gains: Sequence[float]) -> Tensor:
        """The mean over plans of each one's mean over its tokens."""
        batch = collate(rows)
        now = chosen_log_probabilities(self.parts, batch)
        with torch.no_grad():
            before = chosen_log_probabilities(self.reference, batch)
        counts = torch.tensor([len(one.targets) for one in rows], device=now.device)
        gain = torch.tensor(gains, device=now.device).repeat_interleave(counts)
        share = 1.0 / (len(rows) * counts).repeat_interleave(counts)
        apart = before - now
        divergence = apart.exp() - apart - 1
        return (share * (self.reward.kl * divergence - gain * (now - now.detach()).exp())).sum()


def chosen_log_probabilities(parts: Parts, batch: Mapping[str, Tensor]) -> Tensor:
    """The log-probability of each token that was written, (M,)."""
    logits = parts.logits(batch["states"], batch["places"])
    return torch.log_softmax(logits, -1).gather(1, batch["targets"].to(logits.device)[:, None])[:, 0]


def reinforce(
    model: LanguageModel,
    search: RecordedSearch,
    learned: nn.ModuleDict,
    runs: Parted,
    settings: PlannerSettings,
    by: RewardSettings,
    *,
    folder: Path,
    on_progress: Callable[[Progress], None] = lambda _: None,
) -> tuple[nn.ModuleDict, Curves, Rewards]:
    """Go on from the changes `learned`, which stay as they are: the changes that were best on the questions held out,
    how it went, and the rewards. `folder` keeps checkpoints: the same call goes on. InputError: no question has
    anything to find, or `folder` is another training's.
    """
    recorded = search.recorded
    steps = by.loop.steps or 1
    wanted = max(by.questions, steps * by.questions // by.passes)
    chosen = worth_trying(recorded, runs.learnt, search, settings)[:wanted]
    if not chosen:
        raise InputError("None of the recorded runs has a passage with its answer, so no plan can be rewarded.")
    form = Format(model, settings.transcript)
    parts = Parts.of(model.model, settings.upper, vocabulary(form, recorded))
    own = parts.learn(rank=settings.rank, alpha=settings.alpha, seed=settings.loop.seed)
    own.load_state_dict(learned.state_dict())
    rewards = Rewards()
    loss = GroupLoss(model, parts, parts.frozen(), search, chosen, settings, by, rewards)
    job = Job(
        model=own, rows=list(range(len(chosen))), loss=loss, metric=METRIC, hooks=(rewards,),
        collate=lambda places: {"runs": torch.tensor(places)},
        identity={
            "what": "planner by reward", "base": model.fingerprint, "recorded": recorded.fingerprint,
            "begun": weights_digest(learned), "runs": told_apart(recorded, (*chosen, *runs.held)),
            "planner": without_loop(settings), "reward": without_loop(by),
        },
        evaluate=lambda _: {METRIC: recall(recorded, runs.held, loss.writer(), search, settings)},
    )  # fmt: skip
    curves = train(job, by.loop, folder, on_progress=on_progress)
    rewards.restore((checkpoints.read(folder / checkpoints.DONE) or {"hooks": [rewards.state()]})["hooks"][0])
    return own, curves, rewards


def recall(
    recorded: Recorded,
    runs: Sequence[Trajectory],
    writer: QueryWriter,
    search: RecordedSearch,
    settings: PlannerSettings,
) -> float:
    """The share of measurable runs whose answer the planner's passages hold, each plan the likeliest."""
    asked = [run for run in runs if run.measurable]
    questions = [run.question for run in asked]
    plans = explore(
        writer, search, questions, most=settings.most_queries, named=settings.named, settings=settings.transcript
    )
    found = [
        found_answer(recorded, run, plan.found(search, budget=settings.budget, first=settings.first))
        for run, plan in zip(asked, plans, strict=True)
    ]
    return fmean(found) if found else 0.0
