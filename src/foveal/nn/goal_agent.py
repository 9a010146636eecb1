"""An agent that looks at a grid with a goal in mind: goal filter, GRU, what to do, and what it is worth.

    agent = GoalAgent(AgentSettings(actions=3, goals=(7, 4)))
    logits, value, state = agent.act((cells, goal, last), agent.begin(N), starts)

Cells are numbers of MiniGrid (kind · 6 + colour), embedded by kind and by colour: these stand for the paper's frozen
image encoder. There are only 66 of them, so all are compressed once, and then looked up.

Place     the bottleneck stands before the GRU ("joint", the paper's), or after it ("belief")
Shapes    cells (N, 49), goal (N, fields), last (N,), starts (N,) of booleans, state (N, hidden) -> logits (N, actions),
          value (N,); E has 49 · 32 + 6 = 1,574 numbers
Source    Eftekhar et al., ICLR 2024: GRU of 512 (128 for small tasks), orthogonal weights, biases of zero
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.codebook import BOTTLENECKS, CodebookSettings, bottleneck_of
from foveal.nn.goal_filter import GoalFilter, GoalFilterSettings, freeze_for_adaptation
from foveal.nn.gridworlds import KINDS, SHADES, SIDE
from foveal.nn.gru_unroll import gru_unroll
from foveal.ranges import COUNT, NOT_NEGATIVE, require_one_of, require_settings

PLACES = ("joint", "belief")


@dataclass(frozen=True, kw_only=True)
class EyeSettings:
    """From cells and a goal to E'; checked when made."""

    goals: tuple[int, ...]  # values of each field of a goal
    goal_dim: int = 32
    embed: int = 16  # of a cell's kind, and of its colour
    action_dim: int = 0  # of the last action's embedding, joined to E
    actions: int = 0
    bottleneck: str = "codebook"
    codebook: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_settings(
            "An eye", self, goals=COUNT, goal_dim=COUNT, embed=COUNT, action_dim=NOT_NEGATIVE, actions=NOT_NEGATIVE
        )  # fmt: skip

    def filter(self) -> GoalFilterSettings:
        """What stands behind the embedded cells."""
        return GoalFilterSettings(
            channels=2 * self.embed, cells=SIDE * SIDE, goals=self.goals, goal_dim=self.goal_dim, extra=self.action_dim,
            bottleneck=self.bottleneck, codebook=self.codebook,
        )  # fmt: skip


class Eye(nn.Module):
    """Embedded cells, and a goal filter over them."""

    def __init__(self, settings: EyeSettings) -> None:
        super().__init__()
        self.settings = settings
        self.kinds, self.colours = nn.Embedding(KINDS, settings.embed), nn.Embedding(SHADES, settings.embed)
        self.actions = nn.Embedding(settings.actions + 1, settings.action_dim) if settings.action_dim else None
        self.filter = GoalFilter(settings.filter())

    def forward(self, cells: Tensor, goal: Tensor, last: Tensor | None = None) -> Tensor:
        """cells (N, 49), goal (N, fields), last (N,) -> E' (N, width)."""
        filtered: Tensor = self.filter.bottleneck(self.joint(cells, goal, last))
        return filtered

    def joint(self, cells: Tensor, goal: Tensor, last: Tensor | None = None) -> Tensor:
        """E (N, width)."""
        both = torch.cat([
            self.kinds.weight[:, None].expand(-1, SHADES, -1), self.colours.weight.expand(KINDS, -1, -1)
        ], -1)  # fmt: skip
        small = nn.functional.embedding(cells, self.filter.compressed(both.flatten(0, 1)))
        extra = None if self.actions is None else self.actions(last)
        return self.filter.join(small, goal, None, extra)


@dataclass(frozen=True, kw_only=True)
class AgentSettings:
    """The agent; checked when made."""

    actions: int
    goals: tuple[int, ...]
    goal_dim: int = 32
    embed: int = 16
    action_dim: int = 6
    hidden: int = 128  # of the GRU; the paper: 512
    place: str = "joint"
    bottleneck: str = "codebook"  # or linear, autoencoder, none
    codebook: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_settings(
            "An agent", self, actions=COUNT, goals=COUNT, goal_dim=COUNT, embed=COUNT, action_dim=COUNT, hidden=COUNT
        )  # fmt: skip
        require_one_of("An agent", self, "place", PLACES)
        require_one_of("An agent", self, "bottleneck", BOTTLENECKS)

    def eye(self) -> EyeSettings:
        """What it sees by; without a bottleneck of its own where that stands behind the GRU."""
        return EyeSettings(
            goals=self.goals, goal_dim=self.goal_dim, embed=self.embed, action_dim=self.action_dim,
            actions=self.actions, bottleneck=self.bottleneck if self.place == "joint" else "none",
            codebook=self.codebook if self.place == "joint" else {},
        )  # fmt: skip


class GoalAgent(nn.Module):
    """A recurrent actor and critic."""

    def __init__(self, settings: AgentSettings) -> None:
        super().__init__()
        self.settings = settings
        self.eye = Eye(settings.eye())
        self.memory = nn.GRUCell(self.eye.filter.settings.width, settings.hidden)
        self.belief: nn.Module = nn.Identity()
        if settings.place == "belief":
            book = CodebookSettings(width=settings.hidden, **settings.codebook)
            self.belief = bottleneck_of(settings.bottleneck, book)
        self.actor, self.critic = nn.Linear(settings.hidden, settings.actions), nn.Linear(settings.hidden, 1)
        for weight in (self.memory.weight_ih, self.memory.weight_hh, self.critic.weight):
            nn.init.orthogonal_(weight)
        nn.init.orthogonal_(self.actor.weight, gain=0.01)
        for bias in (self.memory.bias_ih, self.memory.bias_hh, self.actor.bias, self.critic.bias):
            nn.init.zeros_(bias)

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> GoalAgent:
        """Of the plain values of its settings."""
        return cls(AgentSettings(**{**plain, "goals": tuple(plain["goals"])}))

    def begin(self, rows: int) -> Tensor:
        """The state before an episode."""
        return self.actor.weight.new_zeros(rows, self.settings.hidden)

    def act(self, seen: tuple[Tensor, ...], state: Tensor, starts: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """One step: logits (N, actions), values (N,), the state after it."""
        self._require(seen[0], state)
        state = self.memory(self.eye(*seen), state.masked_fill(starts[:, None], 0))
        return *self._told(state), state

    def unroll(self, seen: tuple[Tensor, ...], starts: Tensor, state: Tensor) -> tuple[Tensor, Tensor]:
        """T steps at once: seen (T, N, …), starts (T, N) -> logits (T, N, actions), values (T, N), as `act` gives."""
        self._require(seen[0].flatten(0, 1), state)
        steps, rows = starts.shape
        x = self.eye(*(one.flatten(0, 1) for one in seen))
        given = nn.functional.linear(x, self.memory.weight_ih, self.memory.bias_ih).view(steps, rows, -1)
        return self._told(gru_unroll(given, starts, state, self.memory.weight_hh, self.memory.bias_hh))

    def adaptation(self) -> list[nn.Parameter]:
        """Freeze all but compressor, goal encoder, combiner and the last action's encoder; those that still learn."""
        more = [] if self.eye.actions is None else [self.eye.actions]
        return freeze_for_adaptation(self, *more)

    def _told(self, state: Tensor) -> tuple[Tensor, Tensor]:
        believed = self.belief(state)
        return self.actor(believed), self.critic(believed)[..., 0]

    def _require(self, cells: Tensor, state: Tensor) -> None:
        """InputError: not (N, 49) cells of MiniGrid, or a state of another number of rows."""
        if cells.dim() != 2 or cells.shape[1] != SIDE * SIDE:
            raise InputError(f"An agent got cells of shape {tuple(cells.shape)}; it needs (rows, {SIDE * SIDE}).")
        if state.shape[-1] != self.settings.hidden:
            raise InputError(f"An agent of {self.settings.hidden} got a state {tuple(state.shape)}.")
