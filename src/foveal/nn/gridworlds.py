"""MiniGrid's environments side by side, as an agent of ours sees them: cells, a goal in fields, the last action.

    worlds = Worlds("BabyAI-GoToLocalS5N2-v0", 16)
    cells, goal, last = worlds.reset(seed=0)
    (cells, goal, last), rewards, ends = worlds.step(actions)

Families  reach (go to …), pick up (get …, fetch …, pick up …), put next to; see grid_plans.py
Reward    "shaped": a tenth of how many actions the shortest way has become shorter by, 1 for success, -0.001 for a step
          (Eftekhar et al., divided by ten; they count moves, here turns count, too); "sparse": the environment's own
Look      the numbers of kinds and colours, exchanged: the same tasks to other eyes
Sight     the view is MiniGrid's, number for number, made by array operations, which is faster (tested equal)

Shapes    cells (N, 49) of kind · 6 + colour; goal (N, fields); last (N,), the number of actions where there is none yet
Source    Chevalier-Boisvert et al., MiniGrid (arXiv 2306.13831) and BabyAI (ICLR 2019); `pip install 'foveal[train]'`
"""

from __future__ import annotations

import io
from collections.abc import Sequence
from contextlib import redirect_stdout
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from foveal.errors import InputError
from foveal.nn.grid_plans import ACTIONS, FETCH, HEADINGS, PUT, REACH, Plan, Task, field_sizes
from foveal.registry import require

FAMILIES = {
    REACH: "BabyAI-GoToLocalS5N2-v0",
    FETCH: "MiniGrid-Fetch-5x5-N2-v0",
    PUT: "BabyAI-PutNextLocalS5N3-v0",
}
"""A small environment of each kind."""

SIDE = 7
"""Of what an agent sees: as many cells ahead, its own among them, and to both sides."""
KINDS, SHADES = 11, 6
STEP, NEARER, SUCCESS = -0.001, 0.1, 1.0
REWARDS = ("shaped", "sparse")

_UNSEEN, _EMPTY, _WALL, _DOOR = 0, 1, 2, 4
_OWN = SIDE // 2, SIDE - 1
_BITS = 1 << np.arange(SIDE)
_RIGHTWARDS, _LEFTWARDS = 2 ** (SIDE - 1) - 1, 2**SIDE - 2  # all cells but the last, but the first

Ints = npt.NDArray[np.int64]


def make(name: str) -> Any:
    """The environment itself. MissingExtra: minigrid is not installed. InputError: none is called so."""
    gymnasium = require("gymnasium", extra="train")
    require("minigrid", extra="train")
    try:
        env = gymnasium.make(name, disable_env_checker=True).unwrapped
    except gymnasium.error.Error as error:
        raise InputError(
            f"No environment is called {name!r} ({error}). Small ones: {', '.join(FAMILIES.values())}."
        ) from error
    if getattr(env, "agent_view_size", None) != SIDE:
        raise InputError(f"{name!r} is no environment of MiniGrid with a view of {SIDE} cells.")
    return env


def kind_of(name: str) -> str:
    """Of an environment's missions: reach, pick-up or put-next. InputError: none of them, or other rules than known."""
    env = make(name)
    with redirect_stdout(io.StringIO()):
        env.reset(seed=0)
    kind = Task.of(env.mission).kind
    if not hasattr(env, "instrs") and (kind != FETCH or not hasattr(env, "targetType")):
        raise InputError(
            f"{name!r} is over by rules of its own, which are not known here; take a BabyAI level or a Fetch world, "
            f"such as {', '.join(FAMILIES.values())}."
        )
    return kind


# -- what is seen ------------------------------------------------------------------------------------------------------


def _offsets() -> npt.NDArray[np.int64]:
    """(4, 7, 7, 2): for each heading the cell of the world, from the agent's, at each place of the view."""
    found = np.zeros((4, SIDE, SIDE, 2), dtype=np.int64)
    for heading, (dx, dy) in enumerate(HEADINGS):
        for across in range(SIDE):
            for down in range(SIDE):
                ahead, aside = SIDE - 1 - down, across - SIDE // 2
                found[heading, across, down] = dx * ahead - dy * aside, dy * ahead + dx * aside
    return found


OFFSETS = _offsets() + SIDE  # into a world with a rim of walls that wide


class Sight:
    """An environment's own observation, faster; put it in as `env.gen_obs`."""

    def __init__(self, env: Any) -> None:
        self.env = env
        self._known: list[Any] = []
        self._doors = False  # which open and close without being exchanged
        self._world = np.zeros((0, 0, 3), dtype=np.uint8)

    def __call__(self) -> dict[str, Any]:
        """What the agent sees now, as MiniGrid tells it."""
        env = self.env
        if self._doors or env.grid.grid != self._known:
            self._known = list(env.grid.grid)
            self._doors = any(cell is not None and cell.type == "door" for cell in self._known)
            inner = env.grid.encode()
            self._world = np.zeros((inner.shape[0] + 2 * SIDE, inner.shape[1] + 2 * SIDE, 3), dtype=np.uint8)
            self._world[:] = (_WALL, SHADES - 1, 0)
            self._world[SIDE:-SIDE, SIDE:-SIDE] = inner
        x, y = env.agent_pos
        places = OFFSETS[env.agent_dir]
        view = self._world[places[..., 0] + int(x), places[..., 1] + int(y)]
        if not env.see_through_walls:
            view[~_visible(view)] = _UNSEEN
        view[_OWN] = env.carrying.encode() if env.carrying else (_EMPTY, 0, 0)
        return {"image": view, "direction": env.agent_dir, "mission": env.mission}


def _visible(view: npt.NDArray[np.uint8]) -> npt.NDArray[np.bool_]:
    """(7, 7): cells that light reaches, row by row from the agent's; walls and closed doors stop it.

    A row is a number whose bits are its cells. As in MiniGrid, light goes right, then left, and up from either.
    """
    clear = (view[..., 0] != _WALL) & ((view[..., 0] != _DOOR) | (view[..., 2] == 0))
    rows, lit = [0] * SIDE, 1 << SIDE // 2
    for down, through in zip(reversed(range(SIDE)), (_BITS @ clear)[::-1].tolist(), strict=True):
        right, left = through & _RIGHTWARDS, through & _LEFTWARDS
        for _ in range(SIDE - 1):
            lit |= (lit & right) << 1
        above = (lit & right) | (lit & right) << 1
        for _ in range(SIDE - 1):
            lit |= (lit & left) >> 1
        rows[down], lit = lit, above | (lit & left) | (lit & left) >> 1
    reached: npt.NDArray[np.bool_] = (np.array(rows) & _BITS[:, None]) > 0
    return reached


@dataclass(frozen=True)
class Look:
    """Which number each kind and each colour is seen as."""

    kinds: tuple[int, ...] = tuple(range(KINDS))
    colours: tuple[int, ...] = tuple(range(SHADES))

    @classmethod
    def drawn(cls, seed: int) -> Look:
        """All exchanged at random."""
        draw = np.random.default_rng(seed)
        return cls(tuple(draw.permutation(KINDS).tolist()), tuple(draw.permutation(SHADES).tolist()))

    def codes(self, image: npt.NDArray[np.uint8]) -> Ints:
        """A view (7, 7, 3) -> (49,) of kind · 6 + colour."""
        kinds, colours = np.asarray(self.kinds), np.asarray(self.colours)
        codes: Ints = (kinds[image[..., 0]] * SHADES + colours[image[..., 1]]).reshape(-1).astype(np.int64)
        return codes


# -- worlds ------------------------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Episode:
    """How an episode ended."""

    success: bool
    steps: int  # of the agent
    moves: int  # of them, those that changed its place
    fewest_steps: int  # of the expert
    fewest_moves: int


class World:
    """One environment with its task, its shortest ways, and what was done in it."""

    def __init__(self, name: str, *, reward: str = "shaped", look: Look | None = None, measured: bool = False) -> None:
        """`measured`: episodes are told with the expert's figures."""
        if reward not in REWARDS:
            raise InputError(f"No reward is called {reward!r}. There are: {', '.join(REWARDS)}.")
        self.env, self.reward, self.look, self.measured = make(name), reward, look or Look(), measured
        self.env.gen_obs = Sight(self.env)
        self.codes = np.zeros(SIDE * SIDE, dtype=np.int64)
        self.last: int | None = None

    def reset(self, seed: int | None = None) -> None:
        """Begin an episode; no seed: the next one."""
        with redirect_stdout(io.StringIO()):  # MiniGrid prints which drawn worlds it does not take
            seen, _ = self.env.reset(seed=seed)
        self.codes, self.last = self.look.codes(seen["image"]), None
        self.task = Task.of(self.env.mission)
        self.steps = self.moves = 0
        self.fewest_moves = 0
        self._plan, self._planned = Plan(), [None]  # of which world
        self._togo = self._ahead() or 0
        self.fewest_steps = max(1, self._togo)
        if self.measured:
            self.fewest_moves = Plan.of(self.task, self.env, turns=0).get(self._state(), 0)

    def step(self, action: int) -> tuple[float, Episode | None]:
        """The reward, and the episode if it is over; then `reset` is due."""
        before = self._state()[:2]
        seen, own, ended, cut, _ = self.env.step(action)
        self.codes, self.last = self.look.codes(seen["image"]), action
        self.steps += 1
        self.moves += self._state()[:2] != before
        success = bool(ended and own > 0)
        reward = float(own) if self.reward == "sparse" else self._shaped(success)
        if not (ended or cut):
            return reward, None
        return reward, Episode(success, self.steps, self.moves, self.fewest_steps, self.fewest_moves)

    def _shaped(self, success: bool) -> float:
        togo = 0 if success else self._ahead()
        if togo is None:  # no way from here, as with a wrong thing in the hand: counted when there is one again
            return STEP
        nearer, self._togo = self._togo - togo, togo
        return STEP + NEARER * nearer + (SUCCESS if success else 0)

    def _ahead(self) -> int | None:
        """Actions that the shortest way takes from here; None where there is none."""
        if self.env.carrying is not None and not self.task.thing.fits(self.env.carrying):
            return None
        if self.env.grid.grid != self._planned:
            self._plan, self._planned = Plan.of(self.task, self.env), list(self.env.grid.grid)
        return self._plan.get(self._state())

    def _state(self) -> tuple[int, int, int, bool]:
        x, y = self.env.agent_pos
        return int(x), int(y), int(self.env.agent_dir), self.task.thing.fits(self.env.carrying)


class Worlds:
    """Some environments of a name; one whose episode is over begins the next by itself."""

    def __init__(self, name: str, count: int, **options: Any) -> None:
        """`options` are those of `World`. InputError: as `kind_of`."""
        self.name, self.count = name, count
        self.kind = kind_of(name)
        self.actions, self.goals = ACTIONS[self.kind], field_sizes(self.kind)
        self.worlds = [World(name, **options) for _ in range(count)]

    def reset(self, seed: int) -> tuple[Tensor, ...]:
        """All begin anew, each from a seed of its own."""
        for place, one in enumerate(self.worlds):
            one.reset(2**31 + 1000 * seed + place)  # far from any that is measured by
        return self.seen()

    def step(self, actions: Ints) -> tuple[tuple[Tensor, ...], npt.NDArray[np.float32], npt.NDArray[np.bool_]]:
        """Act in each."""
        rewards, ends = np.zeros(self.count, dtype=np.float32), np.zeros(self.count, dtype=np.bool_)
        for place, (one, action) in enumerate(zip(self.worlds, actions.tolist(), strict=True)):
            rewards[place], over = one.step(action)
            if over is not None:
                ends[place] = True
                one.reset()
        return self.seen(), rewards, ends

    def seen(self) -> tuple[Tensor, ...]:
        """Cells, goals, last actions."""
        return seen_by(self.worlds, self.actions)


def seen_by(worlds: Sequence[World], actions: int) -> tuple[Tensor, ...]:
    """Cells (N, 49), goals (N, fields), last actions (N,) of some worlds."""
    cells = torch.from_numpy(np.stack([one.codes for one in worlds]))
    goals = torch.from_numpy(np.array([one.task.fields for one in worlds]))
    return cells, goals, torch.tensor([actions if one.last is None else one.last for one in worlds])


@torch.no_grad()
def play(
    policy: Any, name: str, seeds: Sequence[int], *, look: Look | None = None, draw_seed: int = 0
) -> list[Episode]:
    """One episode from each seed, all side by side; actions are drawn as the policy says (None: all alike)."""
    kind, draw = kind_of(name), torch.Generator().manual_seed(draw_seed)
    worlds = [World(name, look=look, measured=True) for _ in seeds]
    for one, seed in zip(worlds, seeds, strict=True):
        one.reset(seed)
    done: dict[int, Episode] = {}
    state, starts = (None if policy is None else policy.begin(len(worlds))), torch.ones(len(worlds), dtype=torch.bool)
    going = list(range(len(worlds)))
    while going:
        seen = seen_by([worlds[place] for place in going], ACTIONS[kind])
        shares = torch.full((len(going), ACTIONS[kind]), 1 / ACTIONS[kind])
        if policy is not None:
            logits, _, state = policy.act(seen, state, starts)
            shares = logits.float().softmax(-1)
        actions = torch.multinomial(shares, 1, generator=draw)[:, 0].tolist()
        over = []
        for place, action in zip(going, actions, strict=True):
            _, episode = worlds[place].step(action)
            over.append(episode is not None)
            if episode is not None:
                done[place] = episode
        left = [row for row, one in enumerate(over) if not one]
        going, starts = [going[row] for row in left], torch.zeros(len(left), dtype=torch.bool)
        state = None if state is None else state[left]
    return [done[place] for place in range(len(worlds))]


def efficiency(episodes: Sequence[Episode]) -> dict[str, float]:
    """Success, SPL (moves of the shortest way over those taken), SEL (the same of all actions), length.

    Each is a mean over all episodes, and counts 0 for those without success; a way of no moves counts as one.
    """
    if not episodes:
        raise InputError("There are no episodes to be measured.")

    def share(fewest: int, taken: int) -> float:
        return max(1, fewest) / max(1, fewest, taken)

    won = [one for one in episodes if one.success]
    return {
        "success": len(won) / len(episodes),
        "SPL": sum(share(one.fewest_moves, one.moves) for one in won) / len(episodes),
        "SEL": sum(share(one.fewest_steps, one.steps) for one in won) / len(episodes),
        "steps": sum(one.steps for one in episodes) / len(episodes),
    }
