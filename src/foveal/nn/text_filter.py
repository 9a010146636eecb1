"""Does a text bear on a goal? A goal filter over a text's token vectors, and a head that says so.

    model = TextFilter(TextFilterSettings(channels=384, goal_width=384, tokens=64))
    logits = model(tokens, mask, goal)          # trained by presence alone
    model.code(tokens, mask, goal)              # (B, 10): what of the text the goal let through

Shapes    tokens (B, T, channels), mask (B, T), goal (B, goal_width) -> logits (B,); shorter texts are padded to T
Source    the filter of Eftekhar et al., ICLR 2024, on text: a grid of one row
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import torch
from torch import Tensor, nn

from foveal.nn.codebook import BOTTLENECKS, LinearBottleneck, TaskCodebook
from foveal.nn.goal_filter import GoalFilter, GoalFilterSettings
from foveal.ranges import COUNT, require_one_of, require_settings


@dataclass(frozen=True, kw_only=True)
class TextFilterSettings:
    """The filter and its head."""

    channels: int  # of a token's vector
    goal_width: int  # of a goal's
    tokens: int = 64  # of a text, at most
    hidden: int = 128  # of the head
    bottleneck: str = "codebook"
    codebook: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        require_settings("A text filter", self, channels=COUNT, goal_width=COUNT, tokens=COUNT, hidden=COUNT)
        require_one_of("A text filter", self, "bottleneck", BOTTLENECKS)

    def filter(self) -> GoalFilterSettings:
        """InputError: as it says."""
        return GoalFilterSettings(
            channels=self.channels,
            cells=self.tokens,
            goal_width=self.goal_width,
            bottleneck=self.bottleneck,
            codebook=self.codebook,
        )


class TextFilter(nn.Module):
    """A goal filter and two layers."""

    def __init__(self, settings: TextFilterSettings) -> None:
        super().__init__()
        self.settings = settings
        self.filter = GoalFilter(settings.filter())
        width = self.filter.settings.width
        self.head = nn.Sequential(nn.Linear(width, settings.hidden), nn.ReLU(), nn.Linear(settings.hidden, 1))

    def forward(self, tokens: Tensor, mask: Tensor, goal: Tensor) -> Tensor:
        """Logits (B,) that the goal is there."""
        told: Tensor = self.head(self.filter(tokens, goal, mask))[:, 0]
        return told

    def code(self, tokens: Tensor, mask: Tensor, goal: Tensor) -> Tensor:
        """What is let through: (B, 10), or all of E (B, width) where nothing is narrow."""
        joint = self.filter.joint(tokens, goal, mask)
        narrow = self.filter.bottleneck
        if isinstance(narrow, TaskCodebook):
            return narrow.look(joint).code
        passed: Tensor = narrow.down(joint) if isinstance(narrow, LinearBottleneck) else joint
        return passed


def padded(vectors: list[Tensor], tokens: int) -> tuple[Tensor, Tensor]:
    """Token vectors of texts, each (T, C) -> (B, tokens, C), zeros behind each text, and the mask (B, tokens)."""
    channels = vectors[0].shape[-1]
    made = torch.zeros(len(vectors), tokens, channels, dtype=torch.float32)
    for row, one in enumerate(vectors):
        made[row, : min(tokens, len(one))] = one[:tokens]
    lengths = torch.tensor([len(one) for one in vectors])
    return made, torch.arange(tokens) < lengths[:, None]
