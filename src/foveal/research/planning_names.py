"""The planner of plan_names.py for deep research: the question, then the names that its best passages hold, at once.

Made for models of half a billion parameters, and for haste: it asks no model. Differs from `sequential` in that names
are searched at once, in the order in which they stand.
"""

from __future__ import annotations

from foveal.research.plan_names import NAMES
from foveal.research.planning import Desk, Finding, SubQuery, named


def by_names(desk: Desk) -> list[Finding]:
    """The question itself, then up to `NAMES` of the names in what it found."""
    found = desk.research([SubQuery(desk.question, desk.brief.goal)])
    if not found or desk.over():
        return found
    return [*found, *desk.research(named(desk, found[0], min(NAMES, desk.plan.iterations - 1)))]
