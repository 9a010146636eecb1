"""A person's own lists of papers: made, filled, changed, dropped; at /collections/ID for whoever they let see them.

    which = make(database, ana, "Reads of the week")
    put(database, ana, which, "2605.01234"); put(database, ana, which, "2605.01234", on=False)
    shelves(database, ana, "2605.01234")             # her lists, and whether each holds that paper
    change(database, ana, which, title="…", description="…", public=False); drop(database, ana, which)

A list that is somebody else's is not there, whether it is or not.
"""

from __future__ import annotations

import re
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from foveal.database import Database, add_unless_taken, next_number
from foveal.errors import InputError, UnknownPaper
from foveal.papers.accounts import Person
from foveal.papers.known import must_be_here, one_of_a_person
from foveal.papers.records import name_key
from foveal.papers.schema import CollectedRow, CollectionRow

MOST, MOST_PAPERS = 100, 2_000
TITLE, DESCRIPTION = 120, 1_000
"""Characters."""


@dataclass(frozen=True)
class Shelf:
    """A list of a person's, with how many papers it has, and whether it holds the one that was asked about."""

    id: int
    title: str
    description: str
    public: bool
    count: int
    holds: bool


def shelves(database: Database, person: Person, paper: str = "") -> list[Shelf]:
    """All lists of a person, by title."""
    counted = select(CollectedRow.collection_id, func.count().label("count")).group_by(CollectedRow.collection_id)
    counts = counted.subquery()
    holding = select(CollectedRow.collection_id).where(CollectedRow.paper_id == paper)
    wanted = (
        select(CollectionRow, func.coalesce(counts.c.count, 0), CollectionRow.id.in_(holding))
        .outerjoin(counts, counts.c.collection_id == CollectionRow.id)
        .where(CollectionRow.person_id == person.id)
        .order_by(func.lower(CollectionRow.title), CollectionRow.id)
    )
    with database.reading() as session:
        rows = session.execute(wanted).all()
        return [Shelf(one.id, one.title, one.description, one.public, n, bool(holds)) for one, n, holds in rows]


def make(database: Database, person: Person, title: str, *, public: bool = True) -> int:
    """A new list; its number. InputError: it has no title, or there are too many."""
    named = _title(title)
    with database.writing() as session:
        one_of_a_person(session, person.id)
        own = CollectionRow.person_id == person.id
        slugs = set(session.scalars(select(CollectionRow.slug).where(own)))
        if len(slugs) >= MOST:
            raise InputError(f"You have {MOST} collections, which is all that there can be. Drop one first.")
        number = next_number(session, CollectionRow.id)
        row = CollectionRow(id=number, person_id=person.id, slug=_slug(named, slugs), title=named, public=public)
        session.add(row)
        session.flush()
        return row.id


def put(database: Database, person: Person, which: int, paper: str, *, on: bool = True) -> None:
    """Put a paper on a list, or take it off; twice is as once. InputError: the list is full."""
    with database.writing() as session:
        _own(session, person, which)
        row = session.get(CollectedRow, (which, paper))
        if not on:
            if row is not None:
                session.delete(row)
        elif row is None:
            must_be_here(session, paper)
            there = select(func.count(), func.max(CollectedRow.position)).where(CollectedRow.collection_id == which)
            count, last = session.execute(there).one()
            if count >= MOST_PAPERS:
                raise InputError(f"This collection holds {MOST_PAPERS:,} papers, which is all that it can.")
            add_unless_taken(session, CollectedRow(collection_id=which, paper_id=paper, position=(last or 0) + 1))


def change(
    database: Database, person: Person, which: int, *, title: str, description: str = "", public: bool = True
) -> None:
    """Other words, or another audience. InputError: no title, or too long a description."""
    named, about = _title(title), " ".join(description.split())
    if len(about) > DESCRIPTION:
        raise InputError(f"This description has {len(about):,} characters; it can have {DESCRIPTION:,}.")
    with database.writing() as session:
        row = _own(session, person, which)
        row.title, row.description, row.public = named, about, public


def drop(database: Database, person: Person, which: int) -> None:
    """Delete a list; its papers stay where they are."""
    with database.writing() as session:
        row = _own(session, person, which)
        session.execute(delete(CollectedRow).where(CollectedRow.collection_id == row.id))
        session.delete(row)


def _own(session: Session, person: Person, which: int) -> CollectionRow:
    row = session.get(CollectionRow, which)
    if row is None or row.person_id != person.id:
        raise UnknownPaper("You have no such collection. /collections lists yours.")
    return row


def _title(given: str) -> str:
    title = " ".join(given.split())
    if not re.search(r"\w", title) or len(title) > TITLE:
        raise InputError(f"A collection needs a title of 1 to {TITLE} characters; this one has {len(title)}.")
    return title


def _slug(title: str, taken: set[str]) -> str:
    """The title as an address has it, with a number where that is taken."""
    first = name_key(title)[:70] or "collection"
    return next(one for n in range(1, MOST + 2) if (one := first if n == 1 else f"{first}-{n}") not in taken)
