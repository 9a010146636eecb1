"""Notes that stand beside papers in collections, as moderators see them: hidden and shown again as remarks are.

    hide(database, 3, "2605.01234", by=mod, reason="advertising"); restore(database, 3, "2605.01234", by=mod)
    hidden(database)                                  # those that are hidden now, the last first

Hidden     the paper stays on the list; who put it there writes no other note, and may take it out
Reported   complaints.py; hiding decides what was reported. The audit says who hid it, and why
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.errors import UnknownPaper
from foveal.papers.moderation import must, record, settled
from foveal.papers.people_schema import ComplaintRow
from foveal.papers.person import Person
from foveal.papers.schema import CollectedRow, CollectionRow, PersonRow, now


@dataclass(frozen=True)
class HiddenNote:
    """A note that a moderator took out of sight."""

    collection: int
    title: str  # of the collection
    paper_id: str
    note: str
    hidden_at: datetime
    login: str  # "" where the account is gone


def hide(database: Database, collection: int, paper: str, *, by: Person, reason: str = "") -> None:
    """Take a note out of sight. What was reported of it is decided thereby.

    NotAllowed: `by` is no moderator. UnknownPaper: there is no such note in a collection that others see.
    """
    must(by, "moderate", "Notes of others are hidden by a moderator only.")
    with database.writing() as session:
        row = note_of(session, collection, paper)
        if row.note_hidden_at is None:
            row.note_hidden_at = now()
            about = ComplaintRow.collection_id == collection, ComplaintRow.paper_id == paper
            why = settled(session, reason, *about)
            record(session, by.login, "hide note", f"note:{collection}:{paper}", why)


def restore(database: Database, collection: int, paper: str, *, by: Person) -> None:
    """Show a hidden note again. NotAllowed: `by` is no moderator. UnknownPaper: there is no such note."""
    must(by, "moderate", "Hidden notes are restored by a moderator only.")
    with database.writing() as session:
        row = note_of(session, collection, paper)
        if row.note_hidden_at is not None:
            row.note_hidden_at = None
            record(session, by.login, "restore note", f"note:{collection}:{paper}")


def hidden(database: Database, *, limit: int = 100) -> list[HiddenNote]:
    """Notes that moderators hid, the last first; those of lists that nobody else sees are left out."""
    wanted = (
        select(CollectedRow, CollectionRow.title, PersonRow.login)
        .join(CollectionRow, CollectionRow.id == CollectedRow.collection_id)
        .outerjoin(PersonRow, PersonRow.id == CollectedRow.person_id)
        .where(CollectedRow.note_hidden_at.is_not(None), CollectedRow.note != "", CollectionRow.public)
        .order_by(CollectedRow.note_hidden_at.desc(), CollectedRow.collection_id, CollectedRow.paper_id)
        .limit(limit)
    )
    with database.reading() as session:
        return [
            HiddenNote(row.collection_id, title, row.paper_id, row.note, row.note_hidden_at, login or "")
            for row, title, login in session.execute(wanted)
            if row.note_hidden_at
        ]


def note_of(session: Session, collection: int, paper: str) -> CollectedRow:
    """The row of a note that others see. UnknownPaper: there is none."""
    held, row = session.get(CollectionRow, collection), session.get(CollectedRow, (collection, paper))
    if held is None or not held.public or row is None or not row.note:
        raise UnknownPaper("There is no such note here.")
    return row
