"""Forgetting: what was not used for long goes first, and what a live claim cites never goes.

    retention(fact, now)                        # R = exp(-t / S)
    kept, gone = forgotten(facts, most=500, cited={"e3"}, now=now)

R          t is the time since the fact was last used (made, if never), in days; S begins at 1 and grows by 1 with each
           use, so that what is used often is kept long (MemoryBank, arXiv 2305.10250, after Ebbinghaus)
Protected  facts whose source a claim cites, facts that stand beside one of these in a conflict, and those that the user
           has pinned. The user's own delete (`without`) goes through, but not for what is cited: say so first
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import replace
from datetime import datetime

from foveal.errors import InputError
from foveal.research.memory_facts import Fact

SECONDS_OF_DAY = 86_400.0
NAMED = 12
"""Keys that an error names."""


def retention(fact: Fact, now: datetime) -> float:
    """R, 0 to 1; 1 where no time is known."""
    since = fact.last_used or fact.created
    days = max(0.0, (now - since).total_seconds() / SECONDS_OF_DAY) if since else 0.0
    return math.exp(-days / fact.strength)


def forgotten(
    facts: Sequence[Fact], *, most: int, cited: Collection[str], now: datetime
) -> tuple[list[Fact], list[Fact]]:
    """What is kept, in its order, and what goes: the lowest R first, until `most` are left or all others are protected.

    Of equal R what is superseded goes before what holds, then the less important, then what came first.
    """
    if most < 0:
        raise InputError(f"A memory cannot be cut to {most} facts; give 0 or more.")
    free = [one for one in facts if not one.pinned and not is_cited(one, cited)]
    order = sorted(free, key=lambda one: (retention(one, now), not one.superseded_by, one.importance))
    gone = {one.key for one in order[: max(0, len(facts) - most)]}
    return [one for one in facts if one.key not in gone], [one for one in facts if one.key in gone]


def is_cited(fact: Fact, cited: Collection[str]) -> bool:
    """Whether a live claim rests on a fact: it cites the fact, or its source."""
    return fact.key in cited or (bool(fact.source) and fact.source in cited)


def pinned(facts: Sequence[Fact], key: str, *, pin: bool = True) -> list[Fact]:
    """The facts with one pinned, or freed. InputError: there is no such fact."""
    _require(facts, key)
    return [replace(one, pinned=pin) if one.key == key else one for one in facts]


def without(facts: Sequence[Fact], key: str, cited: Collection[str] = ()) -> list[Fact]:
    """The facts without one: what it ended holds until what ended it. InputError: there is no such fact, or a live
    claim cites it.
    """
    fact = _require(facts, key)
    if is_cited(fact, cited):
        raise InputError(f"{key} is cited by a claim of the report ({fact.line}); take it out of the claim first.")
    until = fact.valid_to if fact.superseded_by else None  # "nobody" ends at once, and with nothing behind it
    return [
        replace(one, superseded_by=fact.superseded_by, valid_to=until) if one.superseded_by == key else one
        for one in facts
        if one.key != key
    ]


def _require(facts: Sequence[Fact], key: str) -> Fact:
    found = next((one for one in facts if one.key == key), None)
    if found is None:
        keys = ", ".join(one.key for one in facts[:NAMED]) + ", …" * (len(facts) > NAMED)
        raise InputError(f"The memory holds no fact {key!r}; it holds {keys or 'none at all'}.")
    return found
