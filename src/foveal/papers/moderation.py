"""What people with a role do to the words and rights of others, and the record of it.

    hide(database, 17, by=ana, reason="advertising"); restore(database, 17, by=ana)
    close(database, "2605.01234", by=ana)                    # no more remarks on that paper
    audit(database, limit=50)                                # notes of collections: notes.py

Every act on somebody else's words or rights leaves a line in the audit, in the same transaction. A remark that its own
author deleted has no words left (see discussion.py), so that nobody can bring it back.
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import ColumnElement, func, select, update
from sqlalchemy.orm import Session

from foveal.database import Database, add_unless_taken
from foveal.errors import NotAllowed, UnknownPaper
from foveal.papers.known import must_be_here
from foveal.papers.people_schema import AuditRow, ClosedDiscussionRow, ComplaintRow
from foveal.papers.schema import CommentRow, PersonRow, now

if TYPE_CHECKING:
    from foveal.papers.person import Person


@dataclass(frozen=True)
class Act:
    """A line of the audit."""

    at: datetime
    actor: str
    action: str
    target: str
    detail: str


@dataclass(frozen=True)
class Hidden:
    """A remark that a moderator took out of sight."""

    id: int
    paper_id: str
    raw: str
    hidden_at: datetime
    login: str  # "" where the account is gone


def record(session: Session, actor: str, action: str, target: str, detail: str = "") -> None:
    """Write down that somebody did something to something; part of the transaction that does it."""
    session.add(AuditRow(actor=actor[:80], action=action[:40], target=target[:200], detail=detail[:2_000]))


def audit(database: Database, *, limit: int = 100, target: str = "") -> list[Act]:
    """What was done (to `target`, such as person:ana), the last first."""
    wanted = select(AuditRow).order_by(AuditRow.at.desc(), AuditRow.id.desc()).limit(limit)
    if target:
        wanted = wanted.where(AuditRow.target == target)
    with database.reading() as session:
        return [Act(row.at, row.actor, row.action, row.target, row.detail) for row in session.scalars(wanted)]


def hide(database: Database, comment: int, *, by: Person, reason: str = "") -> str:
    """Take a remark out of sight, its answers stay; the paper's id. What was reported of it is decided thereby.

    NotAllowed: `by` is no moderator.
    """
    must(by, "moderate", "Remarks of others are hidden by a moderator only.")
    with database.writing() as session:
        row = remark_of(session, comment)
        if row.hidden_at is None:
            row.hidden_at = now()
            why = settled(session, reason, ComplaintRow.comment_id == comment)
            record(session, by.login, "hide remark", f"remark:{comment}", why)
        return row.paper_id


def restore(database: Database, comment: int, *, by: Person) -> str:
    """Show a hidden remark again; the paper's id. NotAllowed: no moderator, or its author deleted it."""
    must(by, "moderate", "Hidden remarks are restored by a moderator only.")
    with database.writing() as session:
        row = remark_of(session, comment)
        if not row.raw:
            raise NotAllowed("This remark was deleted by its author; its words are gone.")
        if row.hidden_at is not None:
            row.hidden_at = None
            record(session, by.login, "restore remark", f"remark:{comment}")
        return row.paper_id


def hidden(database: Database, *, limit: int = 100) -> list[Hidden]:
    """Remarks that moderators hid, the last first."""
    wanted = (
        select(CommentRow, PersonRow.login)
        .outerjoin(PersonRow, PersonRow.id == CommentRow.person_id)
        .where(CommentRow.hidden_at.is_not(None), CommentRow.raw != "")
        .order_by(CommentRow.hidden_at.desc())
        .limit(limit)
    )
    with database.reading() as session:
        return [
            Hidden(row.id, row.paper_id, row.raw, row.hidden_at, login or "")
            for row, login in session.execute(wanted)
            if row.hidden_at
        ]


def close(database: Database, paper: str, *, by: Person, closed: bool = True) -> None:
    """Let a paper take no more remarks, or (`closed` False) take them again."""
    must(by, "moderate", "Discussions are closed and opened by a moderator only.")
    with database.writing() as session:
        must_be_here(session, paper)
        row = session.get(ClosedDiscussionRow, paper)
        if (row is not None) == closed:
            return
        if row is not None:
            session.delete(row)
        else:
            add_unless_taken(session, ClosedDiscussionRow(paper_id=paper, closed_by=by.login))
        record(session, by.login, "close discussion" if closed else "open discussion", f"paper:{paper}")


def must(person: Person, right: str, sentence: str) -> None:
    """NotAllowed, with that sentence, unless the person's role holds the right."""
    if not person.may(right):
        raise NotAllowed(sentence)


def settled(session: Session, reason: str, *about: ColumnElement[bool]) -> str:
    """What was reported of something (complaints.py) is decided; the reason, with how many people had."""
    open_ones = *about, ComplaintRow.decided_at.is_(None)
    reported = session.scalar(select(func.count()).select_from(ComplaintRow).where(*open_ones)) or 0
    session.execute(update(ComplaintRow).where(*open_ones).values(decided_at=now()))
    return f"{reason} (reported by {reported})".strip() if reported else reason


def remark_of(session: Session, comment: int) -> CommentRow:
    """The row of a remark. UnknownPaper: there is none of that number."""
    row = session.get(CommentRow, comment)
    if row is None:
        raise UnknownPaper("There is no such remark here.")
    return row
