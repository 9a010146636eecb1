"""Acts as trajectories did that reached a wanted return: a decision transformer with Aaren, or causal attention.

    recipe = deciding("CartPole-v1", trajectories, DecisionSettings())     # decision_data.py
    folder, report = fit(recipe, DECISIONS, run=RunSettings(home=home))
    returns(load_model(folder), environment("CartPole-v1"), seeds=range(10))

A step is three tokens, the return that is still wanted, what is seen, what is done, each with the step's embedding; the
action is told from the second. Acting reads the last `context` steps anew; with Aaren it may also go on for ever from a
state (`stream=True`), at one cost a step, over more than was ever seen in training.

cloning     no encoder: the action from what is seen alone, whatever is wanted

Source    Chen et al., NeurIPS 2021 (arXiv 2106.01345); Feng et al., 2024, section 4.1
Shapes    to_go (B, T), seen (B, T, S), done (B, T) of whole numbers or (B, T, A), places (B, T) -> (B, T, actions)
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from statistics import fmean
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.causal_attention import StreamSettings, encoder_of
from foveal.nn.decision_data import CONTROLLERS, Trajectory, environment, references
from foveal.nn.states import State
from foveal.nn.stream_training import DEV, TEST, Recipe
from foveal.ranges import COUNT, NOT_NEGATIVE, POSITIVE, require_settings
from foveal.training.loop import LoopSettings
from foveal.training.report import Metrics

DECISIONS = LoopSettings(steps=3000, batch=64, learning_rate=1e-3, warm_up=0.1, weight_decay=1e-4, evaluate_every=750)
SEEDS = {DEV: 10_000, TEST: 20_000}


@dataclass(frozen=True, kw_only=True)
class DecisionSettings:
    """The model; what is below `context` is known from environment and trajectories."""

    encoder: StreamSettings | None = field(default_factory=lambda: StreamSettings(heads=1))
    context: int = 20  # steps read
    observations: int = 0
    actions: int = 0  # how many there are, or how many numbers one has
    discrete: bool = True
    steps: int = 0  # of the longest episode
    highest: float = 1.0  # of a number of an action
    best: float = 0.0  # the return that is wanted, unless another is
    scale: float = 1.0  # what returns are divided by
    mean: tuple[float, ...] = ()  # of each observed number
    spread: tuple[float, ...] = ()

    def __post_init__(self) -> None:
        require_settings(
            "A decision model", self, context=COUNT, observations=NOT_NEGATIVE, actions=NOT_NEGATIVE,
            steps=NOT_NEGATIVE, highest=POSITIVE, scale=POSITIVE, spread=POSITIVE,
        )  # fmt: skip


class DecisionModel(nn.Module):
    """From what is wanted, seen and done to what to do."""

    mean: Tensor
    spread: Tensor

    def __init__(self, settings: DecisionSettings) -> None:
        super().__init__()
        if min(settings.observations, settings.actions, settings.steps) < 1:
            raise InputError("A decision model needs the sizes of its environment; make it by `deciding`.")
        self.settings = settings
        for name in ("mean", "spread"):
            self.register_buffer(name, torch.tensor(getattr(settings, name)), persistent=False)
        dim = settings.encoder.dim if settings.encoder else 128
        self.see = nn.Linear(settings.observations, dim)
        self.act = nn.Linear(dim, settings.actions)
        if settings.encoder is None:
            self.clone = nn.Sequential(nn.ReLU(), nn.Linear(dim, dim), nn.ReLU())
            return
        self.want, self.place = nn.Linear(1, dim), nn.Embedding(settings.steps + 1, dim)
        self.do = nn.Embedding(settings.actions, dim) if settings.discrete else nn.Linear(settings.actions, dim)
        self.before, self.encoder = nn.LayerNorm(dim), encoder_of(settings.encoder)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> DecisionModel:
        """Of plain values."""
        encoder = None if plain["encoder"] is None else StreamSettings(**plain["encoder"])
        lists = {name: tuple(plain[name]) for name in ("mean", "spread")}
        return cls(DecisionSettings(**{**plain, "encoder": encoder, **lists}))

    def forward(self, to_go: Tensor, seen: Tensor, done: Tensor, places: Tensor, mask: Tensor | None = None) -> Tensor:
        """What to do at each step: logits, or numbers within what the environment takes."""
        if self.settings.encoder is None:
            return self._acted(self.clone(self._see(seen)))
        tokens = torch.stack([self._wanted(to_go), self._see(seen), self.do(done)], 2) + self.place(places)[:, :, None]
        real = None if mask is None else mask.repeat_interleave(3, 1)
        y, _ = self.encoder(self.before(tokens.flatten(1, 2)), None, real)
        return self._acted(y[:, 1::3])

    def begin(self, rows: int) -> State:
        """The state before the first step, for `step`. InputError: cloning keeps none."""
        if self.settings.encoder is None:
            raise InputError("Cloning keeps no state; call the model.")
        first: State = self.encoder.init_state(rows)
        return first

    def step(
        self, to_go: Tensor, seen: Tensor, place: int, state: State, before: Tensor | None = None
    ) -> tuple[Tensor, State]:
        """One step of each row, after what was done at the one `before` (None: at the first)."""
        if before is not None:
            done = self.do(before) + self.place.weight[min(place - 1, self.settings.steps)]
            _, state = self.encoder.step(self.before(done), state)
        now = self.place.weight[min(place, self.settings.steps)]
        y = seen
        for token in (self._wanted(to_go), self._see(seen)):
            y, state = self.encoder.step(self.before(token + now), state)
        return self._acted(y), state

    def _wanted(self, to_go: Tensor) -> Tensor:
        told: Tensor = self.want(to_go[..., None] / self.settings.scale)
        return told

    def _see(self, seen: Tensor) -> Tensor:
        told: Tensor = self.see((seen - self.mean) / self.spread)
        return told

    def _acted(self, y: Tensor) -> Tensor:
        told: Tensor = self.act(y)
        return told if self.settings.discrete else self.settings.highest * told.tanh()


# -- acting ------------------------------------------------------------------------------------------------------------


@dataclass
class _Played:
    """One episode under way."""

    env: Any
    to_go: list[float]
    seen: list[Any]
    done: list[Any]
    total: float = 0.0
    over: bool = False

    def take(self, action: Any) -> None:
        observation, reward, ended, cut, _ = self.env.step(action)
        self.done[-1] = action
        self.total += float(reward)
        self.over = bool(ended or cut)
        self.to_go.append(self.to_go[-1] - float(reward))
        self.seen.append(observation)


@torch.no_grad()
def returns(
    model: DecisionModel, env_name: str, seeds: Sequence[int], *, stream: bool = False,
    make: Any = environment,
) -> list[float]:  # fmt: skip
    """The return of an episode from each seed, all played side by side; `make` makes an environment of a name."""
    settings, model, device = model.settings, model.eval(), model.act.weight.device
    games = []
    for seed in seeds:
        env = make(env_name)
        first, _ = env.reset(seed=seed)
        games.append(_Played(env, [settings.best], [first], []))
    state = model.begin(len(games)) if stream else None
    before: Tensor | None = None
    for place in range(settings.steps):
        for one in games:
            one.done.append(0 if settings.discrete else np.zeros(settings.actions, np.float32))
        if state is not None:
            to_go = torch.tensor([one.to_go[-1] for one in games])
            seen = torch.from_numpy(np.stack([one.seen[-1] for one in games]).astype(np.float32))
            told, state = model.step(to_go.to(device), seen.to(device), place, state, before)
        else:
            told = model(*(one.to(device) for one in _window(games, place, settings)))[:, -1]
        actions = told.argmax(-1).cpu().numpy() if settings.discrete else _bounded(told.cpu().numpy(), games)
        before = torch.from_numpy(actions).to(device)
        for one, action in zip(games, actions, strict=True):
            if one.over:  # its row goes on, unread, so that the rows stay as they are
                for values in (one.to_go, one.seen):
                    values.append(values[-1])
            else:
                one.take(int(action) if settings.discrete else action)
        if all(one.over for one in games):
            break
    for one in games:
        one.env.close()
    return [one.total for one in games]


def _bounded(actions: npt.NDArray[np.float32], games: Sequence[_Played]) -> npt.NDArray[np.float32]:
    """What is done, (games, actions): each number within what the environment takes. It is what the model sees, too."""
    bounds = games[0].env.action_space
    return np.clip(actions, bounds.low, bounds.high).astype(np.float32)


def _window(games: Sequence[_Played], place: int, settings: DecisionSettings) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """The last steps of all games."""
    last = slice(max(0, place + 1 - settings.context), place + 1)
    to_go = torch.tensor([one.to_go[last] for one in games])
    seen = torch.from_numpy(np.stack([one.seen[last] for one in games]).astype(np.float32))
    done = torch.from_numpy(np.stack([np.asarray(one.done[last]) for one in games]))
    return to_go, seen, done, torch.arange(last.start, last.stop).expand(len(games), -1)


# -- the recipe --------------------------------------------------------------------------------------------------------


class Windows:
    """Windows of trajectories by number: which and where, as the seed and the number say; long ones come more often."""

    def __init__(self, data: Sequence[Trajectory], context: int, count: int, seed: int) -> None:
        self.data, self.context, self.count, self.seed = data, context, count, seed
        lengths = np.array([len(one.rewards) for one in data], dtype=np.float64)
        self.shares = lengths / lengths.sum()

    def __len__(self) -> int:
        return self.count

    def __getitem__(self, number: int) -> dict[str, Tensor]:
        draw = np.random.default_rng([self.seed, number])
        one = self.data[int(draw.choice(len(self.data), p=self.shares))]
        at = int(draw.integers(len(one.rewards)))
        part = slice(at, at + self.context)
        to_go, seen, done = (torch.from_numpy(x[part].copy()) for x in (one.to_go, one.observations, one.actions))
        return {"to_go": to_go, "seen": seen, "done": done, "places": torch.arange(at, at + len(to_go))}


def collate(rows: Sequence[Mapping[str, Tensor]]) -> dict[str, Tensor]:
    """Windows side by side, the padding on the right."""
    pad = nn.utils.rnn.pad_sequence
    made = {name: pad([row[name] for row in rows], batch_first=True) for name in rows[0]}
    lengths = torch.tensor([len(row["to_go"]) for row in rows])
    return {**made, "mask": torch.arange(made["to_go"].shape[1]) < lengths[:, None]}


def imitation(model: Any, batch: Mapping[str, Tensor]) -> Tensor:
    """The loss: cross-entropy of actions, or their squared error."""
    told = model(batch["to_go"], batch["seen"], batch["done"], batch["places"], batch["mask"])[batch["mask"]]
    done = batch["done"][batch["mask"]]
    return F.mse_loss(told, done) if done.is_floating_point() else F.cross_entropy(told, done)


def deciding(
    env_name: str,
    data: Sequence[Trajectory],
    settings: DecisionSettings | None = None,
    *,
    windows: int = 64_000,
    episodes: int = 10,
    seed: int = 0,
    make: Any = environment,
) -> Recipe:
    """A model and what it learns from; the normalised return is 0 for random actions and 100 for the controller.

    InputError: trajectories of another environment.
    """
    env = make(env_name)
    settings = known(env, data, settings or DecisionSettings())
    data = [_typed(one, settings) for one in data]
    random, expert = references(env, CONTROLLERS.get(env_name), data, episodes=20)
    if expert <= random:
        raise InputError(f"In {env_name} nothing is better than chance: random {random:.4g}, best {expert:.4g}.")
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        model = DecisionModel(settings)

    def told(values: Sequence[float]) -> Metrics:
        mean = fmean(values)
        return {"normalised return": 100 * (mean - random) / (expert - random), "return": mean}

    def played(model: Any, part: str) -> Metrics:
        return told(returns(model, env_name, range(SEEDS[part], SEEDS[part] + episodes), make=make))

    digest = hashlib.sha256()
    for one in data:
        digest.update(one.observations.tobytes() + one.actions.tobytes() + one.rewards.tobytes())
    return Recipe(
        "decide", model, Windows(data, settings.context, windows, seed), imitation, lower=False, collate=collate,
        metric="normalised return", base="the trajectories' mean", measure=played,
        baseline=lambda _: told([float(one.rewards.sum()) for one in data]), data=digest.hexdigest()[:16],
        depends_on={"environment": env_name, "seed": str(seed), "windows": str(windows), "episodes": str(episodes)},
        notes=(f"{len(data)} trajectories of {env_name}; random actions reach {random:.1f}, the best {expert:.1f}.",),
    )  # fmt: skip


def known(env: Any, data: Sequence[Trajectory], settings: DecisionSettings) -> DecisionSettings:
    """The settings with what environment and trajectories say. InputError: they do not fit each other."""
    shape, acts = env.observation_space.shape, env.action_space
    form: tuple[int, ...] = getattr(acts, "shape", ())
    discrete = hasattr(acts, "n") and not form and int(getattr(acts, "start", 0)) == 0
    if not shape or len(shape) > 1 or not (discrete or (hasattr(acts, "high") and len(form) == 1)):
        raise InputError(
            f"The environment shows {env.observation_space} and takes {acts}; a decision model needs a list of numbers "
            "that is seen, and a whole number from 0 or a list of numbers that is done."
        )
    width, actions = int(shape[0]), int(acts.n if discrete else form[0])
    told = f"a whole number from 0 to {actions - 1}" if discrete else f"{actions} numbers"
    if any(one.observations.shape[1] != width or not _fits(one.actions, actions, discrete) for one in data):
        raise InputError(
            f"The trajectories do not fit the environment, which shows {width} numbers a step and takes {told}."
        )
    seen = np.concatenate([one.observations for one in data])
    sums = [float(one.rewards.sum()) for one in data]
    longest = max(len(one.rewards) for one in data)
    most = getattr(getattr(env, "spec", None), "max_episode_steps", None) or longest
    spread = np.maximum(seen.std(0), 1e-6)
    return replace(
        settings, observations=width, actions=actions, discrete=discrete, steps=max(int(most), longest),
        highest=1.0 if discrete else _highest(acts, data), best=max(sums),
        scale=max(map(abs, sums)) or 1.0, mean=tuple(seen.mean(0).tolist()), spread=tuple(spread.tolist()),
    )  # fmt: skip


def _highest(acts: Any, data: Sequence[Trajectory]) -> float:
    """The greatest size of a number of an action that is taken; where there is no bound, that was done."""
    most = float(np.abs([acts.low, acts.high]).max())
    return most if np.isfinite(most) else max(float(np.abs(one.actions).max()) for one in data) or 1.0


def _fits(done: npt.NDArray[Any], actions: int, discrete: bool) -> bool:
    """Whether these are actions: whole numbers (T,) below `actions`, or (T, actions)."""
    if done.dtype.kind not in "biuf" or not np.isfinite(done).all():
        return False
    if not discrete:
        return done.ndim == 2 and done.shape[1] == actions
    return done.ndim == 1 and bool(((done >= 0) & (done < actions) & (done == np.floor(done))).all())


def _typed(one: Trajectory, settings: DecisionSettings) -> Trajectory:
    """Actions as whole numbers, or as float32 (T, A)."""
    return replace(one, actions=one.actions.astype(np.int64 if settings.discrete else np.float32))
