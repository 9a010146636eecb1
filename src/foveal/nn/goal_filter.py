"""From the features of a grid and a goal to what the goal needs of them: the whole filter around a codebook.

    E = flatten(combine([compress(features); goal])), then whatever is joined as it is;   E' = bottleneck(E)

    images  GoalFilter(GoalFilterSettings(channels=2048, cells=49, goals=(125,)))(maps.flatten(2).mT, goal)
    text    GoalFilter(GoalFilterSettings(channels=384, cells=64, goal_width=384))(tokens, query, mask)

compress    two layers with ReLU, for each cell by itself (1x1 convolutions)
goal        fields of whole numbers, each embedded, or a vector by a linear layer; the same for all cells
combine     two layers, ReLU between them, on [cell; goal]; cells that a mask leaves out become zeros

Shapes    features (B, cells, channels), goal (B, fields) of whole numbers or (B, goal_width), mask (B, cells) of
          booleans, extra (B, extra) -> (B, width), width = cells · last of combine + extra
Needs     any encoder, which stays as it is. A text is a grid of one row; what is compressed can be kept for other goals
Source    Eftekhar et al., ICLR 2024: E of 49 · 32 = 1,568 numbers, and 6 more for the last action
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.nn.codebook import BOTTLENECKS, CodebookSettings, bottleneck_of
from foveal.nn.inputs import require_ids, require_numbers, require_result
from foveal.ranges import COUNT, NOT_NEGATIVE, require_one_of, require_settings
from foveal.training import checkpoints
from foveal.training.report import plain_settings

TOLD, WEIGHTS = "goal-filter.json", "model.safetensors"
REMEDY = "Train it anew: foveal train goal-ranker."


@dataclass(frozen=True, kw_only=True)
class GoalFilterSettings:
    """The filter's shape.

    Checked when made. InputError: a value out of its range.
    """

    channels: int  # of a cell's features
    cells: int = 49  # of the grid, or the most tokens of a text
    goals: tuple[int, ...] = ()  # values of each field of a goal; empty: the goal is a vector
    goal_width: int = 0  # of that vector
    goal_dim: int = 32  # numbers that the goal becomes, shared out among its fields
    compress: tuple[int, int] = (128, 32)
    combine: tuple[int, int] = (128, 32)
    extra: int = 0  # numbers that join E as they are, such as the last action's embedding
    bottleneck: str = "codebook"  # or linear, autoencoder, none: what the codes are compared with
    codebook: Mapping[str, Any] = field(default_factory=dict)  # fields of CodebookSettings, the width aside

    def __post_init__(self) -> None:
        require_settings(
            "A goal filter", self, channels=COUNT, cells=COUNT, goals=COUNT, goal_width=NOT_NEGATIVE, goal_dim=COUNT,
            compress=COUNT, combine=COUNT, extra=NOT_NEGATIVE,
        )  # fmt: skip
        require_one_of("A goal filter", self, "bottleneck", BOTTLENECKS)
        if bool(self.goals) == bool(self.goal_width):
            raise InputError(
                f"A goal filter got goals = {self.goals} and goal_width = {self.goal_width}; it needs either how many "
                "values each field of a goal has, or the width of a goal that is a vector."
            )
        if self.goals and self.goal_dim % len(self.goals):
            raise InputError(
                f"A goal filter got goal_dim = {self.goal_dim} for {len(self.goals)} fields; share it out."
            )
        if self.extra < 0 or min(*self.compress, *self.combine) < 1:
            raise InputError("A goal filter got a width below 1 in compress or combine, or extra below 0.")
        self.book()

    @property
    def width(self) -> int:
        """Of E."""
        return self.cells * self.combine[1] + self.extra

    def book(self) -> CodebookSettings:
        """The codebook's settings. InputError: a field that it has not, or a value that it does not take."""
        try:
            return CodebookSettings(width=self.width, **self.codebook)
        except TypeError as error:
            raise InputError(f"A codebook takes no such setting ({error}).") from error


class GoalFilter(nn.Module):
    """Compressor, goal encoder, combiner and bottleneck: features (B, cells, channels) and a goal -> E' (B, width).

    Eftekhar et al., ICLR 2024 (arXiv 2311.04193).
    """

    def __init__(self, settings: GoalFilterSettings) -> None:
        super().__init__()
        self.settings = settings
        (first, small), (inner, last) = settings.compress, settings.combine
        self.compress = nn.Sequential(
            nn.Linear(settings.channels, first), nn.ReLU(), nn.Linear(first, small), nn.ReLU()
        )
        self.goal = _goal_encoder(settings)
        self.combine = nn.Sequential(nn.Linear(small + settings.goal_dim, inner), nn.ReLU(), nn.Linear(inner, last))
        self.bottleneck = bottleneck_of(settings.bottleneck, settings.book())

    @classmethod
    def from_plain(cls, plain: Mapping[str, Any]) -> GoalFilter:
        """Of the plain values of its settings."""
        tuples = {name: tuple(plain[name]) for name in ("goals", "compress", "combine")}
        return cls(GoalFilterSettings(**{**plain, **tuples}))

    def forward(
        self, features: Tensor, goal: Tensor, mask: Tensor | None = None, extra: Tensor | None = None
    ) -> Tensor:
        """E' (B, width). InputError: shapes that do not fit, a NaN, or numbers so large that what they give is none."""
        filtered: Tensor = self.bottleneck(self.joint(features, goal, mask, extra))
        return filtered

    def joint(self, features: Tensor, goal: Tensor, mask: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        """E (B, width): the goal is in it, and nothing is left out yet. What the mask leaves out may be no number."""
        if mask is not None and mask.dtype == torch.bool and mask.shape == features.shape[:2]:
            features = features.masked_fill(~(mask[..., None] | torch.isfinite(features)), 0)
        return self.join(self.compressed(features), goal, mask, extra)

    def compressed(self, features: Tensor) -> Tensor:
        """(…, channels) -> (…, last of compress): what no goal changes, and so may be kept."""
        if features.shape[-1] != self.settings.channels:
            raise InputError(
                f"A goal filter got features of shape {tuple(features.shape)}; it needs (…, {self.settings.channels})."
            )
        if features.dim() == 3:
            require_numbers("A goal filter", features)
        small: Tensor = self.compress(features)
        return small

    def join(self, small: Tensor, goal: Tensor, mask: Tensor | None = None, extra: Tensor | None = None) -> Tensor:
        """E (B, width) of cells that are compressed already (B, cells, last of compress)."""
        self._require(small, goal, mask, extra)
        first: Any = self.combine[0]
        weight, inner = first.weight, small.shape[-1]
        cells = nn.functional.linear(small, weight[:, :inner])  # [cell; goal] W, the goal's part once for all cells
        told = nn.functional.linear(self.goal(goal), weight[:, inner:], first.bias)
        joined = self.combine[2](self.combine[1](cells + told[:, None]))
        if mask is not None:
            joined = joined.masked_fill(~mask[:, :, None], 0)
        flat = require_result("A goal filter", joined.flatten(1))
        return flat if extra is None else torch.cat([flat, extra.to(flat.dtype)], 1)

    def adapting(self) -> Iterator[nn.Parameter]:
        """What is trained anew for features of another look: compressor, goal encoder, combiner."""
        for part in (self.compress, self.goal, self.combine):
            yield from part.parameters()

    def save(self, folder: Path) -> Path:
        """Into a new folder: goal-filter.json and model.safetensors."""
        return checkpoints.save_changes(self, plain_settings(self.settings), folder, told_in=TOLD, weights=WEIGHTS)

    @classmethod
    def load(cls, folder: Path) -> GoalFilter:
        """From a folder, in eval mode.

        InputError: it holds none, one that another version of Foveal made, or weights that do not fit.
        """
        told = checkpoints.read(folder / TOLD)
        if told is None:
            raise InputError(f"{folder} holds no goal filter: it needs {TOLD} and {WEIGHTS}, as `save` writes them.")
        with checkpoints.as_was_made(folder, "goal filter", REMEDY):
            made = cls.from_plain(told)
        checkpoints.load_weights(made, folder / WEIGHTS, remedy=REMEDY)
        return made.eval()

    def _require(self, small: Tensor, goal: Tensor, mask: Tensor | None, extra: Tensor | None) -> None:
        """InputError: a shape that does not fit."""
        settings, rows = self.settings, len(small)
        if small.shape != (rows, settings.cells, settings.compress[1]):
            raise InputError(
                f"A goal filter got cells of shape {tuple(small.shape)}; it needs {settings.cells} cells of "
                f"{settings.compress[1]} numbers a row. A shorter text is padded, and masked."
            )
        wanted = (rows, len(settings.goals) or settings.goal_width)
        if goal.shape != wanted or goal.is_floating_point() == bool(settings.goals):
            what = "whole numbers" if settings.goals else "a vector a row"
            raise InputError(f"A goal filter got a goal {tuple(goal.shape)}, {goal.dtype}; it needs {wanted}, {what}.")
        for place, count in enumerate(settings.goals):
            require_ids("A goal filter", f"a goal's field {place}", goal[:, place], count)
        if settings.goal_width:
            require_numbers("A goal filter, of its goal,", goal)
        if mask is not None and (mask.shape != small.shape[:2] or mask.dtype != torch.bool):
            raise InputError(
                f"A goal filter got a mask {tuple(mask.shape)}, {mask.dtype}; it needs {tuple(small.shape[:2])}, "
                "torch.bool, True where a cell counts."
            )
        if (None if extra is None else extra.shape) != ((rows, settings.extra) if settings.extra else None):
            got = "none" if extra is None else str(tuple(extra.shape))
            raise InputError(f"A goal filter got {got} to join E; it needs ({rows}, {settings.extra}).")
        if extra is not None:
            require_numbers("A goal filter, of what joins E,", extra)


class GoalFields(nn.Module):
    """Fields of whole numbers, each embedded, side by side."""

    def __init__(self, goals: tuple[int, ...], width: int) -> None:
        super().__init__()
        self.fields = nn.ModuleList(nn.Embedding(count, width // len(goals)) for count in goals)

    def forward(self, goal: Tensor) -> Tensor:
        """(B, fields) -> (B, width)."""
        return torch.cat([one(goal[:, place]) for place, one in enumerate(self.fields)], 1)


def _goal_encoder(settings: GoalFilterSettings) -> nn.Module:
    if settings.goals:
        return GoalFields(settings.goals, settings.goal_dim)
    return nn.Linear(settings.goal_width, settings.goal_dim)


def freeze_for_adaptation(model: nn.Module, *more: nn.Module) -> list[nn.Parameter]:
    """Freeze `model` but for what its goal filter adapts and for `more` (the last action's encoder): the codebook and
    all behind it stay as they were trained. The parameters that still learn. InputError: no goal filter is in it."""
    filters = [one for one in model.modules() if isinstance(one, GoalFilter)]
    if not filters:
        raise InputError(f"{type(model).__name__} holds no goal filter, so nothing in it can be adapted.")
    model.requires_grad_(False)
    learning = [weight for one in filters for weight in one.adapting()]
    learning += [weight for one in more for weight in one.parameters()]
    for weight in learning:
        weight.requires_grad_(True)
    return learning
