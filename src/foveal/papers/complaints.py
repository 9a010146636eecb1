"""What people report to the moderators: a remark, a paper, or a note beside one in a collection; and what was done.

    report(database, ana, remark=17, reason="advertising")
    report(database, ana, collection=3, paper="2605.01234", reason="rude")      # the note there
    waiting(database)                                             # things that wait, those that most reported first
    dismiss(database, remark=17, by=bo, reason="a fair question")
    waits(database)                                               # what a moderator's page says: claims, reports

Ends       when a moderator hides the remark (moderation.py) or the note (notes.py), removes the paper (removing.py), or
           sees no harm in it
Once       a person reports a thing once; after a moderator saw no harm in it, again only if its words were changed
Told       moderators read who reported; nobody else does, and the audit says only what was done
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from sqlalchemy import Select, and_, func, select
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers.accounts import Person
from foveal.papers.known import must_be_here, one_of_a_person
from foveal.papers.moderation import must, record, remark_of
from foveal.papers.notes import note_of
from foveal.papers.people_schema import ClaimRow, ComplaintRow
from foveal.papers.rate_limits import COMPLAINTS, take
from foveal.papers.schema import CollectedRow, CollectionRow, CommentRow, PaperRow, PersonRow, now

MOST_REASON = 500
LISTED = 500
"""Reports that are read for the moderators' list."""


@dataclass(frozen=True)
class Waits:
    """How much waits for a moderator."""

    claims: int
    reported: int

    @property
    def all(self) -> int:
        """Both."""
        return self.claims + self.reported


@dataclass(frozen=True)
class Said:
    """One person's report."""

    login: str
    reason: str
    at: datetime


@dataclass
class Reported:
    """A remark (`remark` is its number), a note (`collection` is its list's) or a paper that was reported."""

    paper_id: str
    title: str
    remark: int | None
    raw: str  # the words of the remark or note
    login: str  # of whoever wrote it, "" for nobody any more
    collection: int | None = None
    collection_title: str = ""
    said: list[Said] = field(default_factory=list)


@dataclass(frozen=True)
class Mine:
    """What of a paper and its remarks a person reported."""

    paper: bool
    remarks: frozenset[int]


NOTHING = Mine(False, frozenset())


def report(
    database: Database,
    person: Person,
    *,
    reason: str,
    paper: str | None = None,
    remark: int | None = None,
    collection: int | None = None,
) -> None:
    """Report a remark, the note of a paper in a collection, or else a paper.

    UnknownPaper: it is not here. InputError: no reason, or one's own words.

    NotAllowed: a moderator looked at it already. TooMany: too often.
    """
    why = " ".join(reason.split())[:MOST_REASON]
    if not why:
        raise InputError("What is wrong with it? Say so in a few words, for the moderators.")
    take(database, COMPLAINTS, f"person:{person.id}")
    with database.writing() as session:
        one_of_a_person(session, person.id)
        changed_at = _checked(session, person, paper, remark, collection)
        row = session.scalar(_about(paper, remark, collection).where(ComplaintRow.person_id == person.id))
        if row is None:
            about = {"comment_id": remark} if remark is not None else {"paper_id": paper, "collection_id": collection}
            session.add(ComplaintRow(**about, person_id=person.id, reason=why))
            return
        if row.decided_at is not None and (changed_at is None or changed_at <= row.decided_at):
            raise NotAllowed("A moderator has looked at what you reported, and decided. It has not changed since.")
        row.reason, row.created_at, row.decided_at = why, now(), None


def dismiss(
    database: Database,
    *,
    by: Person,
    reason: str = "",
    paper: str | None = None,
    remark: int | None = None,
    collection: int | None = None,
) -> None:
    """See no harm in what was reported. NotAllowed: no moderator, or their own words. UnknownPaper: nothing waits."""
    must(by, "moderate", "What was reported is decided by a moderator only.")
    with database.writing() as session:
        row = _words(session, paper, remark, collection)
        if row is not None and row.person_id == by.id:
            must(by, "administer", "What was reported of your own words is decided by another moderator.")
        open_ones = session.scalars(_about(paper, remark, collection).where(ComplaintRow.decided_at.is_(None))).all()
        if not open_ones:
            raise UnknownPaper("Nothing that was reported waits there: somebody decided it, or it is gone.")
        for one in open_ones:
            one.decided_at = now()
        note = f"note:{collection}:{paper}" if collection is not None else f"paper:{paper}"
        record(session, by.login, "dismiss report", note if remark is None else f"remark:{remark}", reason.strip())


def waiting(database: Database) -> list[Reported]:
    """What waits for a moderator: what most people reported first, then what has waited longest."""
    writer = select(PersonRow.id, PersonRow.login).subquery()
    words = func.coalesce(CommentRow.raw, CollectedRow.note, ""), func.coalesce(CollectionRow.title, "")
    things = select(ComplaintRow, PaperRow.id, PaperRow.title, PersonRow.login, writer.c.login, *words)
    wanted = (
        _with_words(things)
        .join(PersonRow, PersonRow.id == ComplaintRow.person_id)
        .join(PaperRow, PaperRow.id == func.coalesce(ComplaintRow.paper_id, CommentRow.paper_id))
        .outerjoin(writer, writer.c.id == func.coalesce(CommentRow.person_id, CollectedRow.person_id))
        .where(*_OPEN)
        .order_by(ComplaintRow.created_at, ComplaintRow.id)
        .limit(LISTED)
    )
    found: dict[tuple[str, int | None, int | None], Reported] = {}
    with database.reading() as session:
        for row, paper, title, by, author, raw, shelf in session.execute(wanted):
            thing = (paper, row.comment_id, row.collection_id)
            one = Reported(paper, title, row.comment_id, raw, author or "", row.collection_id, shelf)
            found.setdefault(thing, one).said.append(Said(by, row.reason, row.created_at))
    return sorted(found.values(), key=lambda one: -len(one.said))


def waits(database: Database) -> Waits:
    """How many claims, and how many things that were reported, wait."""
    one = ComplaintRow.paper_id, ComplaintRow.comment_id, ComplaintRow.collection_id
    things = _with_words(select(*one).distinct()).where(*_OPEN)
    claims = select(func.count()).select_from(ClaimRow).where(ClaimRow.state == "open")
    reported = select(func.count()).select_from(things.subquery())
    with database.reading() as session:
        return Waits(session.scalar(claims) or 0, session.scalar(reported) or 0)


def mine(database: Database, person: Person, paper: str) -> Mine:
    """What of a paper and its remarks a person reported, decided or not."""
    own = (
        select(ComplaintRow.comment_id)
        .outerjoin(CommentRow, CommentRow.id == ComplaintRow.comment_id)
        .where(ComplaintRow.person_id == person.id, ComplaintRow.collection_id.is_(None))
        .where((ComplaintRow.paper_id == paper) | (CommentRow.paper_id == paper))
    )
    with database.reading() as session:
        found = set(session.scalars(own))
    return Mine(None in found, frozenset(one for one in found if one is not None))


def notes_of(database: Database, person: Person, collection: int) -> frozenset[str]:
    """The papers of a collection whose notes a person reported, decided or not."""
    own = ComplaintRow.person_id == person.id, ComplaintRow.collection_id == collection
    with database.reading() as session:
        return frozenset(one for one in session.scalars(select(ComplaintRow.paper_id).where(*own)) if one is not None)


_OPEN = (  # who wrote it may have deleted it meanwhile, or nobody sees it any more
    ComplaintRow.decided_at.is_(None),
    ComplaintRow.comment_id.is_(None) | CommentRow.hidden_at.is_(None),
    ComplaintRow.collection_id.is_(None)
    | and_(CollectedRow.note != "", CollectedRow.note_hidden_at.is_(None), CollectionRow.public),
)


def _with_words(wanted: Select[*tuple[Any, ...]]) -> Select[*tuple[Any, ...]]:
    """Complaints with the remark, or the note and its list, that they are about."""
    there = CollectedRow.collection_id == ComplaintRow.collection_id, CollectedRow.paper_id == ComplaintRow.paper_id
    return (
        wanted.outerjoin(CommentRow, CommentRow.id == ComplaintRow.comment_id)
        .outerjoin(CollectedRow, and_(*there))
        .outerjoin(CollectionRow, CollectionRow.id == ComplaintRow.collection_id)
    )


def _about(paper: str | None, remark: int | None, collection: int | None) -> Select[ComplaintRow]:
    if remark is not None:
        return select(ComplaintRow).where(ComplaintRow.comment_id == remark)
    shelf = ComplaintRow.collection_id
    return select(ComplaintRow).where(
        ComplaintRow.paper_id == paper, shelf.is_(None) if collection is None else shelf == collection
    )


def _words(
    session: Session, paper: str | None, remark: int | None, collection: int | None
) -> CommentRow | CollectedRow | None:
    """The remark or note, if it is one, and there."""
    if remark is not None:
        return session.get(CommentRow, remark)
    return session.get(CollectedRow, (collection, paper)) if collection is not None else None


def _checked(
    session: Session, person: Person, paper: str | None, remark: int | None, collection: int | None
) -> datetime | None:
    """When a remark or note was changed, if ever. UnknownPaper: it is not here. InputError: it is the person's own."""
    if remark is None and collection is None:
        must_be_here(session, paper or "")
        return None
    if remark is not None:
        said = remark_of(session, remark)
        writer, hidden_at, changed_at = said.person_id, said.hidden_at, said.edited_at
    else:
        note = note_of(session, collection or 0, paper or "")
        writer, hidden_at, changed_at = note.person_id, note.note_hidden_at, note.note_changed_at
    if hidden_at is not None:
        raise UnknownPaper("This is not shown any more.")
    if writer == person.id:
        raise InputError("These are your own words. Change or delete them, where they stand.")
    return changed_at
