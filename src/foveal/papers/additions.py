"""Who put a document into the library through the site: they may take it out again.

    note(database, 7, {entry.id: entry.added_at})       # when a job has added it
    added_by(database, 7, {entry.id: entry.added_at})   # those that are theirs: nobody has changed them since

The library's own tables know no people. A document that was replaced since, by the command line or by somebody else,
has another time there, and is nobody's then: who put in a text may not take out what others made of it.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from datetime import datetime

from sqlalchemy import delete, select

from foveal.database import Database
from foveal.papers.people_schema import AdditionRow
from foveal.papers.schema import PersonRow

AT_ONCE = 500
"""Documents that are looked up in one query."""


def note(
    database: Database,
    person: int | None,
    added: Mapping[str, datetime],
    *,
    changed: Mapping[str, datetime] | None = None,
) -> None:
    """Note who added documents, by what the library says of when; None: nobody with an account.

    Of those that were `changed` a person has what was theirs before; who was there before them has it no more.
    """
    with database.writing() as session:
        there = person is not None and session.get(PersonRow, person) is not None
        own: set[str] = set()
        for ids in _parts(list(changed or {})):
            theirs = select(AdditionRow.document_id).where(
                AdditionRow.document_id.in_(ids), AdditionRow.person_id == person
            )
            own |= set(session.scalars(theirs)) if there else set()
        new = {**added, **{key: at for key, at in (changed or {}).items() if key in own}}
        for ids in _parts([*added, *(changed or {})]):
            session.execute(delete(AdditionRow).where(AdditionRow.document_id.in_(ids)))
        if there:
            session.add_all(AdditionRow(document_id=key, person_id=person, added_at=at) for key, at in new.items())


def added_by(database: Database, person: int, documents: Mapping[str, datetime]) -> frozenset[str]:
    """Those of some documents that a person added; `documents` tells since when the library has each."""
    found = set()
    with database.reading() as session:
        for ids in _parts(list(documents)):
            rows = select(AdditionRow).where(AdditionRow.document_id.in_(ids), AdditionRow.person_id == person)
            found |= {row.document_id for row in session.scalars(rows) if row.added_at == documents[row.document_id]}
    return frozenset(found)


def forget(database: Database, documents: Collection[str]) -> None:
    """They are in the library no more."""
    with database.writing() as session:
        for ids in _parts(list(documents)):
            session.execute(delete(AdditionRow).where(AdditionRow.document_id.in_(ids)))


def _parts(ids: Sequence[str]) -> list[Sequence[str]]:
    return [ids[first : first + AT_ONCE] for first in range(0, len(ids), AT_ONCE)]
