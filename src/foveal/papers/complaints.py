"""What people report to the moderators: a remark, or a paper, with a reason; and what was done about it.

    report(database, ana, remark=17, reason="advertising")
    waiting(database)                                             # things that wait, those that most reported first
    dismiss(database, remark=17, by=bo, reason="a fair question")
    waits(database)                                               # what a moderator's page says: claims, reports

Ends       when a moderator hides the remark (moderation.py), removes the paper (removing.py), or sees no harm in it
Once       a person reports a thing once; after a moderator saw no harm in it, again only if its words were changed
Told       moderators read who reported; nobody else does, and the audit says only what was done
"""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import datetime

from sqlalchemy import Select, func, select
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers.accounts import Person
from foveal.papers.known import must_be_here, one_of_a_person
from foveal.papers.moderation import must, record
from foveal.papers.people_schema import ClaimRow, ComplaintRow
from foveal.papers.rate_limits import COMPLAINTS, take
from foveal.papers.schema import CommentRow, PaperRow, PersonRow, now

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
    """A remark (`remark` is its number) or a paper that was reported."""

    paper_id: str
    title: str
    remark: int | None
    raw: str  # the remark's words
    login: str  # of whoever wrote it, "" for nobody any more
    said: list[Said] = field(default_factory=list)


@dataclass(frozen=True)
class Mine:
    """What of a paper and its remarks a person reported."""

    paper: bool
    remarks: frozenset[int]


NOTHING = Mine(False, frozenset())


def report(
    database: Database, person: Person, *, reason: str, paper: str | None = None, remark: int | None = None
) -> None:
    """Report a remark, or else a paper. UnknownPaper: it is not here. InputError: no reason, or one's own words.

    NotAllowed: a moderator looked at it already. TooMany: too often.
    """
    why = " ".join(reason.split())[:MOST_REASON]
    if not why:
        raise InputError("What is wrong with it? Say so in a few words, for the moderators.")
    take(database, COMPLAINTS, f"person:{person.id}")
    with database.writing() as session:
        one_of_a_person(session, person.id)
        changed_at = _checked(session, person, paper, remark)
        row = session.scalar(_about(paper, remark).where(ComplaintRow.person_id == person.id))
        if row is None:
            session.add(
                ComplaintRow(
                    paper_id=None if remark is not None else paper, comment_id=remark, person_id=person.id, reason=why
                )
            )
            return
        if row.decided_at is not None and (changed_at is None or changed_at <= row.decided_at):
            raise NotAllowed("A moderator has looked at what you reported, and decided. It has not changed since.")
        row.reason, row.created_at, row.decided_at = why, now(), None


def dismiss(
    database: Database, *, by: Person, reason: str = "", paper: str | None = None, remark: int | None = None
) -> None:
    """See no harm in what was reported. NotAllowed: no moderator, or their own words. UnknownPaper: nothing waits."""
    must(by, "moderate", "What was reported is decided by a moderator only.")
    with database.writing() as session:
        if remark is not None:
            row = session.get(CommentRow, remark)
            if row is not None and row.person_id == by.id:
                must(by, "administer", "What was reported of your own words is decided by another moderator.")
        open_ones = session.scalars(_about(paper, remark).where(ComplaintRow.decided_at.is_(None))).all()
        if not open_ones:
            raise UnknownPaper("Nothing that was reported waits there: somebody decided it, or it is gone.")
        for one in open_ones:
            one.decided_at = now()
        target = f"paper:{paper}" if remark is None else f"remark:{remark}"
        record(session, by.login, "dismiss report", target, reason.strip())


def waiting(database: Database) -> list[Reported]:
    """What waits for a moderator: what most people reported first, then what has waited longest."""
    writer = select(PersonRow.id, PersonRow.login).subquery()
    wanted = (
        select(ComplaintRow, CommentRow, PaperRow.id, PaperRow.title, PersonRow.login, writer.c.login)
        .join(PersonRow, PersonRow.id == ComplaintRow.person_id)
        .outerjoin(CommentRow, CommentRow.id == ComplaintRow.comment_id)
        .join(PaperRow, PaperRow.id == func.coalesce(ComplaintRow.paper_id, CommentRow.paper_id))
        .outerjoin(writer, writer.c.id == CommentRow.person_id)
        .where(*_OPEN)
        .order_by(ComplaintRow.created_at, ComplaintRow.id)
        .limit(LISTED)
    )
    found: dict[tuple[str, int | None], Reported] = {}
    with database.reading() as session:
        for row, remark, paper, title, by, author in session.execute(wanted):
            thing = (paper, row.comment_id)
            one = found.setdefault(
                thing, Reported(paper, title, row.comment_id, remark.raw if remark is not None else "", author or "")
            )
            one.said.append(Said(by, row.reason, row.created_at))
    return sorted(found.values(), key=lambda one: -len(one.said))


def waits(database: Database) -> Waits:
    """How many claims, and how many things that were reported, wait."""
    things = select(ComplaintRow.paper_id, ComplaintRow.comment_id).distinct()
    things = things.outerjoin(CommentRow, CommentRow.id == ComplaintRow.comment_id).where(*_OPEN)
    claims = select(func.count()).select_from(ClaimRow).where(ClaimRow.state == "open")
    reported = select(func.count()).select_from(things.subquery())
    with database.reading() as session:
        return Waits(session.scalar(claims) or 0, session.scalar(reported) or 0)


def mine(database: Database, person: Person, paper: str) -> Mine:
    """What of a paper and its remarks a person reported, decided or not."""
    own = (
        select(ComplaintRow.comment_id)
        .outerjoin(CommentRow, CommentRow.id == ComplaintRow.comment_id)
        .where(ComplaintRow.person_id == person.id)
        .where((ComplaintRow.paper_id == paper) | (CommentRow.paper_id == paper))
    )
    with database.reading() as session:
        found = set(session.scalars(own))
    return Mine(None in found, frozenset(one for one in found if one is not None))


_OPEN = (
    ComplaintRow.decided_at.is_(None),
    ComplaintRow.comment_id.is_(None) | CommentRow.hidden_at.is_(None),  # its author may have deleted it meanwhile
)


def _about(paper: str | None, remark: int | None) -> Select[ComplaintRow]:
    what = ComplaintRow.comment_id == remark if remark is not None else ComplaintRow.paper_id == paper
    return select(ComplaintRow).where(what)


def _checked(session: Session, person: Person, paper: str | None, remark: int | None) -> datetime | None:
    """When a remark was changed, if ever. UnknownPaper: it is not here. InputError: it is the person's own."""
    if remark is None:
        must_be_here(session, paper or "")
        return None
    row = session.get(CommentRow, remark)
    if row is None or row.hidden_at is not None:
        raise UnknownPaper("There is no such remark here.")
    if row.person_id == person.id:
        raise InputError("These are your own words. Change or delete them, where they stand.")
    return row.edited_at
