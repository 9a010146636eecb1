"""Who added a document: known until somebody else changes it, or they leave."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from members import member

from foveal.database import Database
from foveal.papers import personal_data
from foveal.papers.additions import added_by, forget, note

THEN = datetime(2026, 10, 2, 8, 30, 1, 123456, tzinfo=UTC)
LATER = THEN + timedelta(hours=1)


def whose(database: Database, document: str, added_at: datetime, *people: int) -> list[int]:
    return [person for person in people if added_by(database, person, {document: added_at})]


def test_who_added_a_document_is_known_as_long_as_it_is_that_one(both: Database) -> None:
    ana = member(both, "ana").id
    note(both, ana, {"a" * 32: THEN, "b" * 32: THEN})
    assert whose(both, "a" * 32, THEN, ana) == [ana]
    assert whose(both, "a" * 32, LATER, ana) == []  # replaced by the command line meanwhile
    assert whose(both, "c" * 32, THEN, ana) == []
    assert added_by(both, ana, {"a" * 32: THEN, "b" * 32: LATER, "c" * 32: THEN}) == {"a" * 32}
    forget(both, ["a" * 32])
    assert whose(both, "a" * 32, THEN, ana) == []


def test_what_another_changed_is_neithers(both: Database) -> None:
    ana, bo = member(both, "ana").id, member(both, "bo").id
    note(both, ana, {"a": THEN, "b": THEN, "c": THEN})
    note(both, ana, {}, changed={"a": LATER})
    assert whose(both, "a", LATER, ana, bo) == [ana]
    note(both, bo, {}, changed={"b": LATER})
    assert whose(both, "b", LATER, ana, bo) == []
    note(both, None, {"c": LATER})  # at home, after somebody took it out
    assert whose(both, "c", LATER, ana, bo) == []


def test_who_leaves_has_added_nothing(both: Database) -> None:
    ana = member(both, "ana")
    note(both, ana.id, {"a": THEN})
    personal_data.erase(both, ana)
    assert whose(both, "a", THEN, ana.id) == []
    note(both, ana.id, {"b": THEN})  # a job that ends after they have left
    assert whose(both, "b", THEN, ana.id) == []
