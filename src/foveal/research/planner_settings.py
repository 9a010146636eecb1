"""How a planner is taught: what it reads, which layers learn, how long; and how it is rewarded afterwards."""

from __future__ import annotations

from dataclasses import dataclass, field

from foveal.ranges import COUNT, INSIDE, NOT_NEGATIVE, POSITIVE, Range, require_settings
from foveal.research.recorded_search import BUDGET, FIRST
from foveal.research.transcripts import TranscriptSettings
from foveal.training.loop import LoopSettings

BASE = "gemma3-270m"
"""Learns its first planner in minutes on one core; Qwen2.5-Coder-0.5B takes four times as long."""


@dataclass(frozen=True, kw_only=True)
class PlannerSettings:
    """How a planner is distilled from recorded runs; checked when made."""

    transcript: TranscriptSettings = field(default_factory=TranscriptSettings)
    most_queries: int = 2  # of a run that are learnt; turns of a plan, behind the question itself
    named: int = 2  # queries of each turn behind the first, each of another name that was found; 0: one free query
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
        require_settings(
            "A planner", self, most_queries=COUNT, named=NOT_NEGATIVE, upper=COUNT, rank=COUNT, alpha=POSITIVE,
            dev_share=INSIDE, budget=COUNT, first=NOT_NEGATIVE,
        )  # fmt: skip


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
        require_settings(
            "A planner's reward", self, questions=COUNT, samples=Range(2), passes=COUNT, temperature=POSITIVE,
            kl=NOT_NEGATIVE, format_weight=NOT_NEGATIVE,
        )  # fmt: skip
