"""How deep research goes about a question: what a run and its parts are told."""

from __future__ import annotations

from dataclasses import dataclass, field

from foveal.research.acquisition import FilterSettings
from foveal.research.budget import Budget
from foveal.research.desk import DeskSettings
from foveal.research.memory import MemorySettings
from foveal.research.planning import PlanSettings


@dataclass(frozen=True, kw_only=True)
class DeepSettings:
    """How a question is researched; `deep.settings_of` makes those of a mode."""

    mode: str = "normal"
    stage: int = 2
    words: int = 1200
    drafts: int = 2
    mended: int = 3
    debate: bool = False
    mark: bool = False  # whether what nothing bears out stays in the report, marked
    plain: bool = False  # for a small model
    memory: MemorySettings | None = None  # of what is kept in mind; None: nothing is (deep.MEMORY has the usual)
    budget: Budget = field(default_factory=Budget)
    plan: PlanSettings = field(default_factory=PlanSettings)
    choose: FilterSettings = field(default_factory=FilterSettings)
    desk: DeskSettings = field(default_factory=DeskSettings)
