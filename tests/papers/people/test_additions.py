"""Who added a document: known until somebody else changes it, or they leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from members import member

from foveal.database import Database
from foveal.papers import personal_data
from foveal.papers.additions import added_by, adder, forget, note

THEN = datetime(2026, 10, 2, 8, 30, 1, 123456, tzinfo=UTC)
LATER = THEN + timedelta(hours=1)


def test_who_added_a_document_is_known_as_long_as_it_is_that_one(both: Database) -> None:
    ana = member(both, "ana").id
    note(both, ana, {"a" * 32: THEN, "b" * 32: THEN})
    assert adder(both, "a" * 32, THEN) == ana
    assert adder(both, "a" * 32, LATER) is None  # replaced by the command line meanwhile
    assert adder(both, "c" * 32, THEN) is None
    assert added_by(both, ana, {"a" * 32: THEN, "b" * 32: LATER, "c" * 32: THEN}) == {"a" * 32}
    forget(both, ["a" * 32])
    assert adder(both, "a" * 32, THEN) is None


def test_what_another_changed_is_neithers(both: Database) -> None:
    ana, bo = member(both, "ana").id, member(both, "bo").id
    note(both, ana, {"a": THEN, "b": THEN, "c": THEN})
    note(both, ana, {}, changed={"a": LATER})
    assert adder(both, "a", LATER) == ana
    note(both, bo, {}, changed={"b": LATER})
    assert adder(both, "b", LATER) is None
    note(both, None, {"c": LATER})  # at home, after somebody took it out
    assert adder(both, "c", LATER) is None


def test_who_leaves_has_added_nothing(both: Database) -> None:
    ana = member(both, "ana")
    note(both, ana.id, {"a": THEN})
    personal_data.erase(both, ana)
    assert adder(both, "a", THEN) is None
    note(both, ana.id, {"b": THEN})  # a job that ends after they have left
    assert adder(both, "b", THEN) is None
