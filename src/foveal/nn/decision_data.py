"""Offline trajectories for decisions.py: read from a file, or collected by scripted behaviours of mixed quality.

    {"observations": [[…], …], "actions": [0, 1, …], "rewards": [1.0, …]}      one trajectory a line; `.gz` is unpacked

Behaviour   in CartPole-v1 and Pendulum-v1 a controller written here, whose actions are random in a share of the steps;
            each trajectory has a share of its own, from none to all
References  returns of random actions and of the controller without any: 0 and 100 of the normalised return
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.evaluation.files import json_lines, whole_file
from foveal.registry import require

FIELDS = ("observations", "actions", "rewards")
Floats = npt.NDArray[np.float32]
Policy = Callable[[Floats], Any]


@dataclass(frozen=True, eq=False)
class Trajectory:
    """Observations (T, S), actions (T,) of whole numbers or (T, A), rewards (T,)."""

    observations: Floats
    actions: npt.NDArray[Any]
    rewards: Floats

    @property
    def to_go(self) -> Floats:
        """(T,): the sum of rewards from each step on."""
        return np.cumsum(self.rewards[::-1])[::-1].astype(np.float32)


def cart_pole(observation: Floats) -> int:
    """Push towards where the pole falls, and a little towards the middle."""
    place, speed, angle, turning = (float(one) for one in observation)
    return int(angle + 0.3 * turning + 0.03 * place + 0.06 * speed > 0)


def pendulum(observation: Floats) -> Floats:
    """Swing up by energy, then hold."""
    cosine, sine, turning = (float(one) for one in observation)
    angle = float(np.arctan2(sine, cosine))
    if cosine > 0.9 and abs(turning) < 3:
        force = -12.0 * angle - 2.5 * turning
    else:
        missing = 15.0 - (turning**2 / 2 + 15.0 * cosine)
        force = 2.0 * np.sign(turning or 1.0) * np.sign(missing)
    return np.asarray([np.clip(force, -2, 2)], dtype=np.float32)


CONTROLLERS: dict[str, Policy] = {"CartPole-v1": cart_pole, "Pendulum-v1": pendulum}


def environment(name: str) -> Any:
    """gymnasium's environment. MissingExtra: gymnasium is not installed. InputError: there is none of that name."""
    gymnasium = require("gymnasium", extra="train")
    try:
        return gymnasium.make(name)
    except gymnasium.error.Error as error:
        raise InputError(f"gymnasium knows no environment {name!r} ({error}).") from error


def episode(env: Any, policy: Policy, seed: int) -> Trajectory:
    """One episode under a policy."""
    observation, _ = env.reset(seed=seed)
    seen, done, paid, over = [], [], [], False
    while not over:
        action = policy(observation)
        seen.append(observation)
        done.append(action)
        observation, reward, ended, cut, _ = env.step(action)
        paid.append(reward)
        over = ended or cut
    return Trajectory(np.asarray(seen, np.float32), np.asarray(done), np.asarray(paid, np.float32))


def noisy(env: Any, policy: Policy | None, share: float, seed: int) -> Policy:
    """The policy, but a share of its actions is drawn at random; None: all of them."""
    draw = np.random.default_rng(seed)
    env.action_space.seed(seed)

    def act(observation: Floats) -> Any:
        if policy is None or draw.random() < share:
            return env.action_space.sample()
        return policy(observation)

    return act


def collected(env: Any, policy: Policy, episodes: int, seed: int) -> list[Trajectory]:
    """Episodes whose shares of random actions go from none to all."""
    shares = np.linspace(0, 1, episodes)
    return [episode(env, noisy(env, policy, share, seed + at), seed + at) for at, share in enumerate(shares)]


def references(
    env: Any, policy: Policy | None, data: Sequence[Trajectory], *, episodes: int = 20, seed: int = 90_000
) -> tuple[float, float]:
    """Mean returns of random actions, and of the controller (None: the best return of the data)."""
    seeds = range(seed, seed + episodes)
    random = fmean(float(episode(env, noisy(env, None, 1, one), one).rewards.sum()) for one in seeds)
    if policy is None:
        return random, max(float(one.rewards.sum()) for one in data)
    return random, fmean(float(episode(env, policy, one).rewards.sum()) for one in seeds)


def read_trajectories(path: Path) -> list[Trajectory]:
    """Of a file of JSON lines. InputError: damaged, or lists of different lengths."""
    found = []
    for place, line in json_lines(path):
        try:
            one = Trajectory(
                np.asarray(line["observations"], np.float32), np.asarray(line["actions"]),
                np.asarray(line["rewards"], np.float32),
            )  # fmt: skip
        except (KeyError, TypeError, ValueError) as error:
            raise InputError(f"{place} is no trajectory ({error!r}): observations, actions, rewards.") from error
        numbers = np.isfinite(one.observations).all() and np.isfinite(one.rewards).all()
        whole = (one.observations.ndim, one.rewards.ndim) == (2, 1) and numbers
        if not whole or not len(one.rewards) == len(one.actions) == len(one.observations) > 0:
            raise InputError(f"{place} needs an observation (a list of numbers), an action and a reward for each step.")
        found.append(one)
    if not found:
        raise InputError(f"{path} holds no trajectory.")
    return found


def write_trajectories(path: Path, trajectories: Sequence[Trajectory]) -> None:
    """As `read_trajectories` reads them, whole or not at all."""
    with whole_file(path) as partial:
        lines = (json.dumps({name: getattr(one, name).tolist() for name in FIELDS}) for one in trajectories)
        partial.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")
