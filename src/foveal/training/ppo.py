"""Proximal policy optimisation of a recurrent policy over many environments side by side.

    curves = train_ppo(agent, worlds, PPOSettings(frames=100_000), folder, identity=…, evaluate=…)

A run is cut into stretches. Each begins with all environments reset, and with random numbers of its own, drawn from the
seed and the stretch's number; a checkpoint stands between two. So a run that was killed goes on from the last
checkpoint exactly as it would have gone without, though no environment can be saved.

Policy      `begin(N) -> state`, `act(seen, state, starts) -> (logits (N, A), values (N,), state)`, and for learning
            `unroll(seen, starts, state) -> (logits (T, N, A), values (T, N))`; a state is forgotten where `starts` says
Worlds      `count`, `reset(seed) -> seen`, `step(actions) -> (seen, rewards, ends)`; they begin anew by themselves
Seen        a tuple of tensors, the environments first
Ends        an episode that is cut off by time ends as any other: nothing is expected after it
Dropout     in training falls anew in each pass, so that what is learnt from is not quite what acted. `acts_plain`
            leaves it out while acting; how far apart the two are is told as the ratio's spread before the first step
Source      Schulman et al., arXiv 1707.06347; advantages: arXiv 1506.02438; the value loss is clipped as in Eftekhar et
            al., ICLR 2024
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, NamedTuple, Protocol

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranges import COUNT, NOT_NEGATIVE, POSITIVE, RATE, SEED, SHARE, require_settings
from foveal.training import checkpoints
from foveal.training.loop import Curves
from foveal.training.report import Metrics
from foveal.training.watch import Progress, TrainingFailed, same_randomness

OPTIMISER = "optimiser.pt"

Seen = tuple[Tensor, ...]
Ints = npt.NDArray[np.int64]


class Worlds(Protocol):
    """Environments side by side."""

    count: int

    def reset(self, seed: int) -> Seen: ...
    def step(self, actions: Ints) -> tuple[Seen, npt.NDArray[np.float32], npt.NDArray[np.bool_]]: ...


@dataclass(frozen=True, kw_only=True)
class PPOSettings:
    """How a policy is trained; checked when made. Frames are steps of all environments together.

    For tasks of some ten thousand frames; where the paper, with 500 million, has another value, it is named.
    """

    frames: int = 100_000
    environments: int = 16
    rollout: int = 40  # steps of each environment between two updates
    epochs: int = 4  # passes over a rollout
    minibatches: int = 4  # parts of the environments in a pass; the paper: one
    clip: float = 0.2  # of the ratio and of the value's change; the paper: 0.1
    value_weight: float = 0.5
    entropy_weight: float = 0.01
    discount: float = 0.99
    trace: float = 0.95  # lambda of the advantages
    learning_rate: float = 1e-3  # the paper: 3e-4
    largest_gradient: float = 0.5
    acts_plain: bool = True  # without dropout while acting
    stretch: int = 10_000  # frames between two evaluations, and checkpoints
    bfloat16: bool = False
    seed: int = 0

    def __post_init__(self) -> None:
        require_settings(
            "PPO", self, frames=COUNT, environments=COUNT, rollout=COUNT, epochs=COUNT, minibatches=COUNT,
            clip=POSITIVE, value_weight=NOT_NEGATIVE, entropy_weight=NOT_NEGATIVE, discount=SHARE, trace=SHARE,
            learning_rate=RATE, largest_gradient=POSITIVE, stretch=COUNT, seed=SEED,
        )  # fmt: skip
        if self.environments * self.rollout < 2:
            raise InputError("PPO got one step a rollout, whose advantage has no spread; take two steps or more.")

    @property
    def updates(self) -> int:
        """Of a whole stretch."""
        return max(1, round(self.stretch / (self.environments * self.rollout)))

    @property
    def stretches(self) -> int:
        """Of the run."""
        return max(1, round(self.frames / (self.updates * self.environments * self.rollout)))


class Rollout(NamedTuple):
    """What happened in T steps of N environments; `state` is the one before them."""

    seen: Seen  # each (T, N, …)
    starts: Tensor  # (T, N): the step is an episode's first
    actions: Tensor  # (T, N)
    told: Tensor  # (T, N): log-probability of the action when it was taken
    values: Tensor  # (T, N)
    rewards: Tensor  # (T, N)
    ends: Tensor  # (T, N): the episode ended by this step
    last: Tensor  # (N,): the value of what came next
    state: Any


def advantages(rewards: Tensor, values: Tensor, ends: Tensor, last: Tensor, discount: float, trace: float) -> Tensor:
    """(T, N): A_t = d_t + discount · trace · A_{t+1}, d_t = r_t + discount · V_{t+1} - V_t; nothing after an end."""
    found, after, ahead = torch.zeros_like(rewards), last, torch.zeros_like(last)
    for step in reversed(range(len(rewards))):
        goes_on = 1.0 - ends[step].to(rewards.dtype)
        surprise = rewards[step] + discount * goes_on * after - values[step]
        ahead = surprise + discount * trace * goes_on * ahead
        found[step], after = ahead, values[step]
    return found


def policy_loss(ratio: Tensor, advantage: Tensor, clip: float) -> Tensor:
    """-E min(r A, clip(r, 1 - e, 1 + e) A)."""
    return -torch.minimum(ratio * advantage, ratio.clamp(1 - clip, 1 + clip) * advantage).mean()


def value_loss(values: Tensor, before: Tensor, returns: Tensor, clip: float) -> Tensor:
    """E 1/2 max(squared error, squared error of the value moved by at most `clip`)."""
    held = before + (values - before).clamp(-clip, clip)
    return 0.5 * torch.maximum((values - returns).square(), (held - returns).square()).mean()


# -- acting and learning -----------------------------------------------------------------------------------------------


class Actor:
    """A policy in its environments, from one rollout to the next."""

    def __init__(self, policy: Any, worlds: Worlds, settings: PPOSettings, seed: int) -> None:
        """All environments begin anew."""
        self.policy, self.worlds, self.settings = policy, worlds, settings
        self.draw = torch.Generator().manual_seed(seed)
        self.seen, self.state = worlds.reset(seed), policy.begin(worlds.count)
        self.starts = torch.ones(worlds.count, dtype=torch.bool)

    @torch.no_grad()
    def rollout(self) -> Rollout:
        """The next steps."""
        self.policy.train(not self.settings.acts_plain)
        first = self.state
        steps: list[tuple[Any, ...]] = []
        for _ in range(self.settings.rollout):
            logits, values, state = self.policy.act(self.seen, self.state, self.starts)
            told = logits.float().log_softmax(-1)
            actions = torch.multinomial(told.exp(), 1, generator=self.draw)[:, 0]
            seen, rewards, ends = self.worlds.step(actions.numpy())
            chosen = told.gather(-1, actions[:, None])[:, 0]
            over = torch.from_numpy(ends)
            steps.append((self.seen, self.starts, actions, chosen, values.float(), torch.from_numpy(rewards), over))
            self.seen, self.state, self.starts = seen, state, over
        _, last, _ = self.policy.act(self.seen, self.state, self.starts)
        columns = list(zip(*steps, strict=True))
        stacked = tuple(torch.stack(one) for one in zip(*columns[0], strict=True))
        rest = [torch.stack(one) for one in columns[1:]]
        return Rollout(stacked, *rest, last.float(), first)  # type: ignore[call-arg]


class Learned(NamedTuple):
    """Means over an update."""

    loss: float
    entropy: float
    spread: float  # of the ratio, before the first step: 0 where nothing is dropped


def learn(policy: Any, optimiser: torch.optim.Optimizer, rollout: Rollout, settings: PPOSettings) -> Learned:
    """Some passes over a rollout."""
    policy.train()
    gains = advantages(rollout.rewards, rollout.values, rollout.ends, rollout.last, settings.discount, settings.trace)
    returns = gains + rollout.values
    gains = (gains - gains.mean()) / (gains.std() + 1e-8)
    losses, entropies, spread = [], [], math.nan
    for _ in range(settings.epochs):
        for part in torch.randperm(gains.shape[1]).chunk(settings.minibatches):
            with torch.autocast(gains.device.type, torch.bfloat16, enabled=settings.bfloat16):
                logits, values = policy.unroll(
                    tuple(one[:, part] for one in rollout.seen), rollout.starts[:, part], rollout.state[part]
                )
            told = logits.float().log_softmax(-1)
            ratio = (told.gather(-1, rollout.actions[:, part, None])[..., 0] - rollout.told[:, part]).exp()
            entropy = torch.special.entr(told.exp()).sum(-1).mean()
            loss = policy_loss(ratio, gains[:, part], settings.clip) - settings.entropy_weight * entropy
            loss = loss + settings.value_weight * value_loss(
                values.float(), rollout.values[:, part], returns[:, part], settings.clip
            )
            if math.isnan(spread):
                spread = float(ratio.detach().std())
            optimiser.zero_grad()
            loss.backward()
            nn.utils.clip_grad_norm_(policy.parameters(), settings.largest_gradient)
            optimiser.step()
            losses.append(float(loss.detach()))
            entropies.append(float(entropy.detach()))
    return Learned(float(np.mean(losses)), float(np.mean(entropies)), spread)


# -- a run -------------------------------------------------------------------------------------------------------------


def train_ppo(
    policy: Any,
    worlds: Worlds,
    settings: PPOSettings,
    folder: Path,
    *,
    identity: Mapping[str, str],
    evaluate: Callable[[Any], Metrics],
    metric: str,
    on_progress: Callable[[Progress], None] = lambda _: None,
    anew: bool = False,
) -> Curves:
    """Train `policy` in place, from the last whole checkpoint in `folder` if there is one; its last weights stay.

    `evaluate` is asked before the first stretch and after each; `metric` is the one of it that the progress shows.
    InputError: checkpoints of another run. TrainingFailed: the loss is no number.
    """
    checkpoints.claim(folder, {**identity, "settings": str(asdict(settings))}, anew=anew)
    learning = [one for one in policy.parameters() if one.requires_grad]
    optimiser = torch.optim.Adam(learning, lr=settings.learning_rate, fused=True)
    kept = _found(policy, optimiser, folder)
    begun, resumed = time.perf_counter(), kept["stretch"]
    frames, total = settings.updates * settings.environments * settings.rollout, settings.stretches
    if not kept["metrics"]:
        kept["metrics"].append((0, _measured(policy, evaluate)))
    for stretch in range(kept["stretch"], total):
        spreads = []
        for update, one in enumerate(_stretch(policy, optimiser, worlds, settings, stretch)):
            done = stretch * frames + (update + 1) * settings.environments * settings.rollout
            if not math.isfinite(one.loss):
                raise TrainingFailed(f"The loss was {one.loss} after {done:,} frames. Lower the learning rate.")
            kept["losses"].append((done, one.loss))
            spreads.append(one.spread)
            shown = {metric: kept["metrics"][-1][1][metric]}
            on_progress(Progress(done, total * frames, one.loss, shown))
        told = {**_measured(policy, evaluate), "ratio spread": float(np.mean(spreads)), "entropy": one.entropy}
        kept["metrics"].append(((stretch + 1) * frames, told))
        kept["stretch"] = stretch + 1
        _keep(policy, optimiser, folder, kept)
    seconds = time.perf_counter() - begun
    return Curves(
        tuple((step, loss) for step, loss in kept["losses"]),
        tuple((step, dict(values)) for step, values in kept["metrics"]),
        total * frames, None, "finished", seconds, resumed * frames,
    )  # fmt: skip


def _stretch(policy: Any, optimiser: torch.optim.Optimizer, worlds: Worlds, settings: PPOSettings, number: int) -> Any:
    """The updates of one stretch, by random numbers that only it has."""
    seed = 1_000_003 * (settings.seed + 1) + 7919 * number
    with same_randomness():
        torch.manual_seed(seed)
        actor = Actor(policy, worlds, settings, seed)
        for _ in range(settings.updates):
            yield learn(policy, optimiser, actor.rollout(), settings)


def _measured(policy: Any, evaluate: Callable[[Any], Metrics]) -> dict[str, float]:
    policy.eval()
    with same_randomness(), torch.no_grad():
        return {name: float(value) for name, value in evaluate(policy).items()}


def _keep(policy: nn.Module, optimiser: torch.optim.Optimizer, folder: Path, kept: Mapping[str, Any]) -> None:
    """A whole checkpoint after a stretch."""
    place = folder / f"checkpoint-{kept['stretch']}"
    with checkpoints.whole_or_gone(place):
        checkpoints.save_weights(policy, place / "model.safetensors")
        torch.save(optimiser.state_dict(), place / OPTIMISER)
        checkpoints.seal(place, kept)


def _found(policy: nn.Module, optimiser: torch.optim.Optimizer, folder: Path) -> dict[str, Any]:
    """What the last checkpoint kept, its weights loaded; an empty beginning where there is none."""
    found = checkpoints.latest(folder)
    if found is None:
        return {"stretch": 0, "losses": [], "metrics": []}
    place, kept = found
    checkpoints.load_weights(policy, place / "model.safetensors")
    optimiser.load_state_dict(torch.load(place / OPTIMISER, weights_only=True))
    return kept
