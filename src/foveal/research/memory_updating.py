"""What a new fact does to what is known: ADD, UPDATE, DELETE, NOOP, and the conflict that a contradiction raises.

    choice = by_rule(new, similar)                  # or Choosing(model)(new, similar): the operation under a grammar
    facts, conflicts = applied(choice, new, facts, now=now)

ADD       nothing is known of it: the fact is kept
UPDATE    the same subject and relation, another object, a newer date: the old one holds until then, and points to the
          new one. An older date than what is known: it is kept as history, until the next newer one
DELETE    the new fact says from when on the old one no longer holds ("none", "abolished"): the old one ends, marked as
          superseded; nothing is ever erased here (forgetting.py does that)
NOOP      the same is known already: the old fact is used once more
Conflict  the same subject and relation, two objects, one date (or none): both stay with their dates, and a conflict is
          raised, unless the relation may have several values at a time

Source    the four operations are Mem0's (arXiv 2504.19413); dates and invalidated facts as in Zep (arXiv 2501.13956)
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import InputError
from foveal.models.chat import ChatModel, Sampling
from foveal.research.memory_facts import Conflict, Fact, named

logger = logging.getLogger("foveal.research.memory")


def _listed(words: str) -> list[str]:
    return words.split()


Operation = Literal["ADD", "UPDATE", "DELETE", "NOOP"]
SIMILAR = 10
"""Facts that a new one is held against."""

SEVERAL = frozenset(
    _listed("author authors member members child children language languages award awards sibling siblings")
)
"""Relations that have several values at a time: another value is no contradiction."""

OVER = frozenset(_listed("none nobody nothing vacant abolished dissolved closed ended cancelled withdrawn retracted"))
"""Objects that say that what was no longer is."""


@dataclass(frozen=True, slots=True)
class Choice:
    """An operation, and the key of the fact that it is done to (none for ADD)."""

    operation: Operation
    target: str = ""
    conflict: bool = False


Chooser = Callable[[Fact, Sequence[Fact]], Choice]


def by_rule(new: Fact, similar: Sequence[Fact]) -> Choice:
    """The operation by subject, relation, object and date."""
    alike = [one for one in similar if one.about == new.about]
    if same := next((one for one in alike if _same(one, new)), None):
        return Choice("NOOP", same.key)
    if not alike:
        return Choice("ADD")
    current = max((one for one in alike if not one.superseded_by), key=_since, default=alike[0])
    if named(new.object) in OVER and new.valid_from:
        return Choice("UPDATE" if _since(new) < _since(current) else "DELETE", current.key)
    if _has_several(new):
        return Choice("ADD")
    if new.valid_from and current.valid_from and new.valid_from != current.valid_from:
        rival = next((one for one in alike if one.valid_from == new.valid_from), None)
        return Choice("ADD", rival.key, conflict=True) if rival else Choice("UPDATE", current.key)
    return Choice("ADD", current.key, conflict=True)


def applied(choice: Choice, new: Fact, facts: Sequence[Fact], *, now: datetime) -> tuple[list[Fact], list[Conflict]]:
    """The facts after an operation, and the conflicts that it raises; facts keep their places."""
    old = next((one for one in facts if one.key == choice.target), None)
    kept = list(facts)
    if choice.operation == "NOOP" and old:
        return [one.used(now) if one is old else one for one in kept], []
    if choice.operation == "DELETE" and old:
        end = new.valid_from or now
        over = [one for one in kept if one is old or (not one.superseded_by and _held(one, old, end))]
        ended = {one.key: replace(one, valid_to=end, superseded_by=new.key) for one in over}
        return [*(ended.get(one.key, one) for one in kept), replace(new, valid_to=end)], []
    if choice.operation == "UPDATE" and old:
        return _in_line(new, kept), []
    conflicts = []
    if choice.conflict and old:
        why = f"{old.subject}: {old.relation} is {old.object} and {new.object} at one time"
        conflicts = [Conflict(one=old.key, other=new.key, why=why, raised=now)]
        new = replace(new, valid_to=old.valid_to, superseded_by=old.superseded_by)  # what ended the one ends the other
    return [*kept, new], conflicts


class _Chosen(BaseModel):
    """What a model answers."""

    model_config = ConfigDict(extra="forbid")
    operation: Operation
    number: int = Field(ge=0, le=SIMILAR)


@dataclass(frozen=True)
class Choosing:
    """Lets a model choose under a grammar, among the facts that it is shown; what cannot be, the rule decides.

    A model may not make up a target, nor an UPDATE of another subject, or without a date; without facts on the same
    subject the rule's ADD needs no model.
    """

    model: ChatModel

    def __call__(self, new: Fact, similar: Sequence[Fact]) -> Choice:
        """The operation."""
        usual = by_rule(new, similar)
        near = [one for one in similar if one.about[0] == new.about[0]][:SIMILAR]
        if not near or usual.operation == "NOOP":
            return usual
        try:
            chosen = self.model.parse(_asked(new, near), _Chosen, Sampling(max_tokens=48))
        except InputError as error:
            logger.warning("the rule updates the memory: %s", error)
            return usual
        if chosen.operation == "ADD" or not 1 <= chosen.number <= len(near):
            return Choice("ADD", usual.target, conflict=usual.conflict) if chosen.operation == "ADD" else usual
        target = near[chosen.number - 1]
        fits = (target.about == new.about and new.valid_from is not None) or chosen.operation == "NOOP"
        return Choice(chosen.operation, target.key) if fits and not usual.conflict else usual


def _asked(new: Fact, near: Sequence[Fact]) -> list[dict[str, str]]:
    known = "\n".join(f"{place}. {one.line}" for place, one in enumerate(near, 1))
    asked = (
        f"Known facts:\n{known}\n\nNew fact:\n{new.line}\n\n"
        "What does the new fact do? ADD: it is about something else. UPDATE: it replaces the value of fact number N. "
        "DELETE: it says that fact number N no longer holds. NOOP: fact number N says the same. "
        "Give the operation and the number (0 with ADD)."
    )
    return [{"role": "user", "content": asked}]


def _same(one: Fact, new: Fact) -> bool:
    """Whether a fact says what the new one says, of a time at which it holds."""
    if named(one.object) != named(new.object):
        return False
    return new.valid_from is None or one.holds_at(new.valid_from)


def _since(one: Fact) -> tuple[bool, float]:
    return one.valid_from is not None, one.valid_from.timestamp() if one.valid_from else 0.0


def _has_several(one: Fact) -> bool:
    return bool(set(one.about[1].split()) & SEVERAL)


def _held(one: Fact, other: Fact, moment: datetime | None) -> bool:
    """Whether a fact held then on the one value of another's matter: as two do that contradict each other."""
    return one.about == other.about and not _has_several(one) and moment is not None and one.holds_at(moment)


def _in_line(new: Fact, facts: Sequence[Fact]) -> list[Fact]:
    """With a new fact in its place in time: what held before ends where it begins, it where the next does."""
    alike = sorted((one for one in (*facts, new) if one.about == new.about and one.valid_from), key=_since)
    at = alike.index(new)
    later = next((one for one in alike[at + 1 :] if one.valid_from != new.valid_from), None)
    if later:
        new = replace(new, valid_to=later.valid_from, superseded_by=later.key)
    before = [one for one in alike[:at] if one is alike[at - 1] or _held(one, new, new.valid_from)]
    ended = {one.key: replace(one, valid_to=new.valid_from, superseded_by=new.key) for one in before}
    return [*(ended.get(one.key, one) for one in facts), new]
