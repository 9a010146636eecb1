"""Trains an agent in a MiniGrid environment by PPO, measures how it goes about its tasks, and moves it to another look.

    folder, report = train_agent("BabyAI-GoToLocalS5N2-v0", AgentTraining(), run=RunSettings(home=home))    # resumes
    agent, told = load_agent(folder)
    efficiency(play(agent, told["environment"], range(10_000, 10_200)))

Measured  episodes of seeds that are not trained on: success, SPL, SEL, steps, beside an agent that acts at random
Kept      only if it succeeds more often than chance
Adapting  `adapt` trains compressor, goal encoder and combiner alone; codebook, GRU and heads stay (the paper's recipe
          for another domain)
Source    Eftekhar et al., ICLR 2024; a folder holds agent.json and model.safetensors
"""

from __future__ import annotations

import shutil
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from foveal.errors import InputError
from foveal.nn.codebook import usage_in
from foveal.nn.goal_agent import AgentSettings, GoalAgent
from foveal.nn.grid_plans import ACTIONS, REACH, field_sizes
from foveal.nn.gridworlds import FAMILIES, REWARDS, Look, Worlds, efficiency, kind_of, play
from foveal.ranges import COUNT, require_one_of, require_settings
from foveal.training import checkpoints
from foveal.training.loop import Curves
from foveal.training.ppo import PPOSettings, train_ppo
from foveal.training.report import Metrics, Report, plain_settings
from foveal.training.runs import RunSettings, TrainingRun
from foveal.training.watch import Progress

TOLD, WEIGHTS = "agent.json", "model.safetensors"
REMEDY = "Train it anew: foveal train agent."
METRIC = "success"
SEEDS, FINAL = 10_000, 20_000
"""Of the first episode that is looked at while training, and afterwards."""


@dataclass(frozen=True, kw_only=True)
class AgentTraining:
    """The agent's form, its training, and how many episodes it is measured by."""

    form: dict[str, Any] = field(default_factory=dict)  # fields of AgentSettings besides actions and goals
    ppo: PPOSettings = field(default_factory=PPOSettings)
    reward: str = "shaped"
    episodes: int = 200

    def __post_init__(self) -> None:
        require_settings("Training an agent", self, episodes=COUNT)
        require_one_of("Training an agent", self, "reward", REWARDS)


def agent_for(environment: str, form: dict[str, Any], seed: int) -> GoalAgent:
    """An untrained agent with the actions and goals of an environment, its weights drawn from the seed."""
    kind = kind_of(environment)
    goals = field_sizes(kind)
    usual = {"goal_dim": 16 * len(goals)}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        try:
            return GoalAgent(AgentSettings(actions=ACTIONS[kind], goals=goals, **{**usual, **form}))
        except TypeError as error:
            raise InputError(f"An agent takes no such setting ({error}).") from error


def measured(agent: Any, environment: str, first: int, episodes: int, look: Look | None = None) -> Metrics:
    """Of the episodes from seed `first` on; no agent: actions at random."""
    return efficiency(play(agent, environment, range(first, first + episodes), look=look, draw_seed=first))


def learned(
    agent: GoalAgent,
    environment: str,
    settings: AgentTraining,
    folder: Path,
    *,
    look: Look | None = None,
    on_progress: Callable[[Progress], None] = lambda _: None,
    depends_on: str = "",
) -> Curves:
    """Train `agent` in place, with its checkpoints in `folder`."""
    worlds = Worlds(environment, settings.ppo.environments, reward=settings.reward, look=look)
    return train_ppo(
        agent, worlds, settings.ppo, folder, identity=_identity(agent, environment, settings, look, depends_on),
        evaluate=lambda now: measured(now, environment, SEEDS, settings.episodes, look), metric=METRIC,
        on_progress=on_progress,
    )  # fmt: skip


def adapt(
    agent: GoalAgent, environment: str, settings: AgentTraining, folder: Path, *, look: Look, depends_on: str = ""
) -> Curves:
    """Train what stands before the codebook for another look, in place; all else stays as it is."""
    agent.adaptation()
    return learned(agent, environment, settings, folder, look=look, depends_on=f"adapted {depends_on}")


def _identity(
    agent: GoalAgent, environment: str, settings: AgentTraining, look: Look | None, depends_on: str
) -> dict[str, str]:
    told = asdict(replace(settings, ppo=PPOSettings()))
    return {
        "what": "agent", "environment": environment, "agent": str(plain_settings(agent.settings)),
        "training": str({key: value for key, value in told.items() if key != "ppo"}), "look": str(look),
        "from": depends_on,
    }  # fmt: skip


def train_agent(
    environment: str = FAMILIES[REACH],
    settings: AgentTraining | None = None,
    *,
    run: RunSettings[Any],
) -> tuple[Path | None, Report]:
    """The agent's folder (None: it succeeds no more often than chance) and the report. Stopped, the same call goes on.

    InputError: no such environment, or one whose tasks are not understood. MissingExtra: minigrid is not installed.
    """
    settings = settings or AgentTraining()
    if settings.episodes < 1:
        raise InputError(f"An agent's training got episodes = {settings.episodes}; it needs at least 1.")
    agent = agent_for(environment, settings.form, settings.ppo.seed)
    known_by = {**_identity(agent, environment, settings, None, ""), "settings": str(asdict(settings.ppo))}
    here = TrainingRun.opened(run, known_by, kind=f"agent-{agent.settings.bottleneck}")
    if (done := here.done()) is not None:
        return done
    curves = learned(agent, environment, settings, here.folder, on_progress=run.on_progress)
    agent.eval()
    chance = measured(None, environment, FINAL, settings.episodes)
    reached = measured(agent, environment, FINAL, settings.episodes)
    kept = reached[METRIC] > chance[METRIC]
    notes = (
        f"{sum(one.numel() for one in agent.parameters()):,} parameters; {curves.steps:,} frames.",
        *_usage_notes(agent, environment),
        *(() if kept else ("The agent was not kept: it succeeds no more often than chance.",)),
    )
    report = Report(
        here.name, f"agent, {agent.settings.bottleneck}, {environment}", "random actions", curves,
        {"episodes of other seeds": (chance, reached)}, kept, notes, plain_settings(settings),
    )  # fmt: skip
    with here.candidate() as made:
        save_agent(agent, environment, made)
        here.settle(made, report)
    for path in here.folder.glob("checkpoint-*"):
        shutil.rmtree(path)
    return here.result(report)


def _usage_notes(agent: GoalAgent, environment: str) -> tuple[str, ...]:
    """How the codebook is used, and its alarms; nothing where the agent has none."""
    if agent.settings.place != "joint":
        return ()
    found = usage_in(agent.eye, [_wandered(environment, agent.settings.actions)])
    if found is None:
        return ()
    told = (
        f"Codes in use: {found.perplexity_marginal:.1f} of {found.codes} (perplexity), "
        f"{found.perplexity_per_sample:.1f} by one view; {found.dead_codes} dead."
    )
    return told, *found.alarms()


def _wandered(environment: str, actions: int, steps: int = 20) -> tuple[torch.Tensor, ...]:
    """What is seen in some steps of 32 random walks."""
    worlds, draw = Worlds(environment, 32), torch.Generator().manual_seed(0)
    seen = [worlds.reset(FINAL)]
    seen += [worlds.step(torch.randint(actions, (32,), generator=draw).numpy())[0] for _ in range(steps)]
    return tuple(torch.cat(one) for one in zip(*seen, strict=True))


def save_agent(agent: GoalAgent, environment: str, folder: Path) -> Path:
    """Into a new folder."""
    told = {"environment": environment, "settings": plain_settings(agent.settings)}
    return checkpoints.save_changes(agent, told, folder, told_in=TOLD, weights=WEIGHTS)


def load_agent(folder: Path) -> tuple[GoalAgent, dict[str, Any]]:
    """The agent of a folder, in eval mode, and what is told of it.

    InputError: it holds none, or one that another version of Foveal made.
    """
    told = checkpoints.read(folder / TOLD)
    if told is None:
        raise InputError(f"{folder} holds no agent; foveal train agent makes one.")
    with checkpoints.as_was_made(folder, "trained agent", REMEDY):
        agent = GoalAgent.from_plain(told["settings"])
    checkpoints.load_weights(agent, folder / WEIGHTS, remedy=REMEDY)
    return agent.eval(), told
