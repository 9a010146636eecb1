"""The planner of plan_names.py for deep research: the question, then the names that its best passages hold, at once.

Made for models of half a billion parameters, and for haste: it asks no model. Differs from `sequential` in that names
are searched at once, in the order in which they stand.
"""

from __future__ import annotations

from foveal.research.plan_names import NAMES, READ, names_found
from foveal.research.planning import LONGEST, Desk, Finding, SubQuery


def by_names(desk: Desk) -> list[Finding]:
    """The question itself, then up to `NAMES` of the names in what it found."""
    found = desk.research([SubQuery(desk.question, desk.brief.goal)])
    if not found or desk.over():
        return found
    lines = desk.lines(found[0].evidence[:READ])
    hits = [(title, text) for title, _, text in (line.partition(": ") for line in lines)]
    names = names_found(desk.question, hits, min(NAMES, desk.plan.iterations - 1))
    return [*found, *desk.research([_about(name, found[0].name, desk) for name in names])]


def _about(name: str, parent: str, desk: Desk) -> SubQuery:
    """A search for a name; a desk of a small model puts the question behind a query by itself."""
    whole = f"{name} {desk.question}"
    return SubQuery((name if desk.plan.plain else whole)[:LONGEST], whole[:LONGEST], parent)
