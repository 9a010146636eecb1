"""Taking a paper away for good: spam, a second entry of the same paper, a request to take it down.

    remove(database, "2605.01234", by=ana, reason="spam", home=settings.home)
    remove(database, "title-3f…", same_as="2605.01234")     # another entry of that paper: what people did goes there
    removed(database); readmit(database, "2605.01234", by=ana)          # a source may bring it again

Goes       the paper with all that stood on it: votes, remarks, places on days and in collections, claims, pictures; the
           search forgets it at its next look. Messages that wait are sent without it; what was sent cannot be fetched
           back, its links lead to a page that says so (or to the other entry)
Stays      what it was called (`RemovedRow`), so that no source brings it again, and a line of the audit; that it was in
           somebody's digest, which nobody is told
Doubles    of the other entry one vote of a person holds, and one place in a collection; its days are those of the
           removed one where it had none
Against    moderation.py hides remarks, which come back; `withdrawn` is what a source says of a paper that stays
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from sqlalchemy import String, cast, delete, select, update
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers import rising, thumbnails
from foveal.papers.mail.schedule import REPLIES
from foveal.papers.moderation import must, record
from foveal.papers.people_schema import ComplaintRow, DeliveryPaperRow, DigestRunRow, ReadMarkRow
from foveal.papers.person import Person
from foveal.papers.records import paper_id
from foveal.papers.schema import (
    CollectedRow,
    CommentRow,
    FormerRow,
    ListingRow,
    PaperRow,
    PickRow,
    RemovedRow,
    VoteRow,
    now,
)
from foveal.papers.store import PaperStore
from foveal.papers.upserts import one_at_a_time

MOST_REASON = 500

_ONE_EACH: tuple[tuple[Any, str], ...] = (
    (VoteRow, "person_id"),
    (ReadMarkRow, "person_id"),
    (CollectedRow, "collection_id"),
    (PickRow, "day"),
)
"""Rows that go to the other entry unless it has one of its own: table, and what there can be one of."""


@dataclass(frozen=True)
class Removed:
    """A paper that was taken away."""

    id: str
    title: str
    reason: str
    same_as: str
    at: datetime


def remove(
    database: Database,
    which: str,
    *,
    by: Person | None = None,
    reason: str = "",
    same_as: str = "",
    home: Path | None = None,
) -> Removed:
    """Take a paper away; without `by` it is whoever runs the site. `home` is where its pictures lie.

    NotAllowed: `by` is no moderator. UnknownPaper: it is not here, or the other entry is not. InputError: they are one.
    """
    if by is not None:
        must(by, "moderate", "Papers are removed by a moderator only.")
    store = PaperStore(database)
    paper, said = store.id_of(which), " ".join(reason.split())[:MOST_REASON]
    kept = store.id_of(same_as) if same_as.strip() else ""
    if kept == paper:
        raise InputError(f"The paper {paper} cannot be another entry of itself. Name the one that is to stay.")
    with database.writing() as session:
        one_at_a_time(session)
        row = session.get(PaperRow, paper)
        if row is None:  # of two who remove it one is late
            raise UnknownPaper(f"The paper {paper} is not here any more.")
        called = {name: getattr(row, name) for name in ("title", "title_key", "url", "doi")}
        gone = session.merge(RemovedRow(paper_id=paper, reason=said, same_as=kept, **called))
        gone.removed_at = now()
        if kept:
            other = session.get(PaperRow, kept)
            if other is None:
                raise UnknownPaper(f"The paper {kept} is not here any more.")
            _give(session, row, other)
        rising.forget(session, paper)
        session.flush()
        _forget_answers(session, paper)
        session.execute(delete(PaperRow).where(PaperRow.id == paper))
        detail = " · ".join(filter(None, (gone.title, kept and f"an entry of {kept}", said)))
        record(session, by.login if by else "system", "remove paper", f"paper:{paper}", detail)
        told = _told(gone)
    if home is not None:
        thumbnails.forget(home, paper)
    return told


def readmit(database: Database, which: str, *, by: Person | None = None) -> Removed:
    """Let sources bring a paper again; what people had done with it is gone. UnknownPaper: it was not removed."""
    if by is not None:
        must(by, "moderate", "Papers that were removed are let back by a moderator only.")
    paper = paper_id(which)
    with database.writing() as session:
        row = session.get(RemovedRow, paper)
        if row is None:
            raise UnknownPaper(f"The paper {paper} was not removed here. `foveal papers remove` lists those that were.")
        session.delete(row)
        record(session, by.login if by else "system", "let paper back", f"paper:{paper}", row.title)
        return _told(row)


def removed(database: Database, *, limit: int = 100) -> list[Removed]:
    """The papers that were taken away, the last first."""
    wanted = select(RemovedRow).order_by(RemovedRow.removed_at.desc(), RemovedRow.paper_id).limit(limit)
    with database.reading() as session:
        return [_told(row) for row in session.scalars(wanted)]


def found(database: Database, paper: str) -> Removed | None:
    """That paper, if it was taken away; also by an id that it had before."""
    with database.reading() as session:
        row, former = session.get(RemovedRow, paper), session.get(FormerRow, paper)
        if row is None and former is not None:
            row = session.get(RemovedRow, former.paper_id)
        return _told(row) if row else None


def must_be_welcome(database: Database, paper: str) -> None:
    """NotAllowed: it was taken away, and no moderator let it back."""
    if (gone := found(database, paper)) is not None:
        raise NotAllowed(
            f"The paper {paper} was removed here on {gone.at:%Y-%m-%d}. A moderator can let it back, at /admin."
        )


def _give(session: Session, old: PaperRow, new: PaperRow) -> None:
    """What people did with one entry of a paper to the other one, and the ids that led to it."""
    there = select(CollectedRow.collection_id).where(CollectedRow.paper_id == new.id)
    reported = update(ComplaintRow).where(ComplaintRow.paper_id == old.id, ComplaintRow.collection_id.not_in(there))
    session.execute(reported.values(paper_id=new.id), execution_options={"synchronize_session": False})
    for table, one in _ONE_EACH:
        there = select(getattr(table, one)).where(table.paper_id == new.id)
        moved = update(table).where(table.paper_id == old.id, getattr(table, one).not_in(there))
        session.execute(moved.values(paper_id=new.id), execution_options={"synchronize_session": False})
    whole: list[Any] = [CommentRow, DeliveryPaperRow, FormerRow, *([] if new.listings else [ListingRow])]
    for free in whole:
        given = update(free).where(free.paper_id == old.id).values(paper_id=new.id)
        session.execute(given, execution_options={"synchronize_session": False})
    new.votes_elsewhere = max(new.votes_elsewhere, old.votes_elsewhere)
    new.comments_elsewhere = max(new.comments_elsewhere, old.comments_elsewhere)
    new.changed_at = now()


def _forget_answers(session: Session, paper: str) -> None:
    """Forget the mails about answers that go with the paper: what waits has nothing to tell any more."""
    remarks = select(cast(CommentRow.id, String(10))).where(CommentRow.paper_id == paper)
    session.execute(delete(DigestRunRow).where(DigestRunRow.cadence == REPLIES, DigestRunRow.period.in_(remarks)))


def _told(row: RemovedRow) -> Removed:
    return Removed(row.paper_id, row.title, row.reason, row.same_as, row.removed_at)
