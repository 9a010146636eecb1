"""How a planner is taught: what it reads, which layers learn, how long; and how it is rewarded afterwards."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass, field

from foveal.errors import InputError
from foveal.research.recorded_search import BUDGET, FIRST
from foveal.research.transcripts import TranscriptSettings
from foveal.training.loop import LoopSettings

BASE = "gemma3-270m"
"""Learns its first planner in minutes on one core; Qwen2.5-Coder-0.5B takes four times as long."""


@dataclass(frozen=True, kw_only=True)
class PlannerSettings:
    """How a planner is distilled from recorded runs; checked when made."""

    transcript: TranscriptSettings = field(default_factory=TranscriptSettings)
    most_queries: int = 2  # of a question, behind the question itself
    upper: int = 8  # layers that learn, from the last
    rank: int = 16  # of their low-rank changes
    alpha: float = 32.0
    dev_share: float = 0.1  # of the runs, that are only looked at
    budget: int = BUDGET  # passages of a question, by which runs are chosen and a plan is measured
    first: int = FIRST  # of them the question's own
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(epochs=2, batch=8, learning_rate=6e-4, seed=0, warm_up=0.1)
    )

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        for name in ("most_queries", "upper", "rank", "budget"):
            if getattr(self, name) < 1:
                raise InputError(f"A planner got {name} = {getattr(self, name)}; it needs at least 1.")
        if not 0 < self.dev_share < 1:
            raise InputError(f"A planner got dev_share = {self.dev_share}; it needs a share above 0, below 1.")


@dataclass(frozen=True, kw_only=True)
class RewardSettings:
    """How a distilled planner goes on by reward (GRPO); checked when made."""

    questions: int = 4  # of a step
    samples: int = 6  # plans of a question, which are compared with each other
    passes: int = 3  # over the same questions, so that rewards of two passes compare
    temperature: float = 1.0  # at which plans are drawn
    kl: float = 0.04  # weight of the divergence from the distilled planner
    format_weight: float = 0.2  # of a plan's form beside what it finds
    loop: LoopSettings = field(
        default_factory=lambda: LoopSettings(
            steps=30, batch=4, learning_rate=1e-4, seed=0, warm_up=0.1, evaluate_every=10, checkpoint_every=1
        )
    )

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.questions < 1 or self.samples < 2 or self.passes < 1:
            raise InputError(f"{self} needs 1 question, 2 samples of each to compare, and 1 pass, or more.")
        if self.temperature <= 0 or self.kl < 0 or self.format_weight < 0:
            raise InputError(f"{self} needs a temperature above 0, and no weight below 0.")


def without_loop(settings: PlannerSettings | RewardSettings) -> str:
    """Settings as JSON, but for those of the loop, by which a training is known apart."""
    return json.dumps({key: value for key, value in asdict(settings).items() if key != "loop"})
