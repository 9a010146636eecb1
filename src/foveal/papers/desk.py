"""The curator's desk: which papers a day shows first, and in which order.

    candidates(database, day); pick(database, ["2605.01234"], day, by=ana)
    move(database, "2605.01234", day, -1, by=ana)               # one place up

A picked paper has a listing on the day with a position, 0 first; papers without one follow by votes. A day to come can
be filled today: its listings are there already, and its page is shown when the day has come.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, date, datetime, time, timedelta

from sqlalchemy import select
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.errors import InputError, UnknownPaper
from foveal.papers.accounts import Person
from foveal.papers.known import must_be_here
from foveal.papers.moderation import must, record
from foveal.papers.schema import ListingRow, PaperRow, now
from foveal.papers.store import Paper, PaperStore

BACK = timedelta(days=7)
"""How old a candidate's listing, or its arrival here, may be."""

AHEAD = timedelta(days=60)
"""How far ahead a day may be filled."""


def picked(database: Database, day: date) -> list[Paper]:
    """The papers of a day that a curator chose, in their order."""
    wanted = (
        select(ListingRow.paper_id)
        .where(ListingRow.day == day, ListingRow.position.is_not(None))
        .order_by(ListingRow.position, ListingRow.paper_id)
    )
    with database.reading() as session:
        ids = list(session.scalars(wanted))
    return PaperStore(database).many(ids)


def candidates(database: Database, day: date, *, limit: int = 50) -> list[Paper]:
    """Papers of the week up to that day that no curator chose for a day yet, the newest first."""
    first = max(day, date.min + BACK) - BACK
    since = datetime.combine(first, time(), UTC)
    chosen = select(ListingRow.paper_id).where(ListingRow.position.is_not(None), ListingRow.day > first)
    listed = select(ListingRow.paper_id).where(ListingRow.day.between(first, day))
    wanted = (
        select(PaperRow.id)
        .where(PaperRow.id.in_(listed) | (PaperRow.created_at >= since), PaperRow.id.not_in(chosen))
        .order_by(PaperRow.published_at.desc().nulls_last(), PaperRow.id)
        .limit(limit)
    )
    with database.reading() as session:
        ids = list(session.scalars(wanted))
    return PaperStore(database).many(ids)


def pick(database: Database, papers: Sequence[str], day: date, *, by: Person) -> None:
    """Put papers at the end of those chosen for a day. InputError: a day too far off. UnknownPaper: one is not here."""
    must(by, "curate", "The day's papers are chosen by a curator only.")
    if day - now().date() > AHEAD:
        raise InputError(f"The day {day} is more than {AHEAD.days} days ahead. Choose a nearer one.")
    with database.writing() as session:
        rows = _chosen(session, day)
        for paper in dict.fromkeys(papers):
            must_be_here(session, paper)
            row = session.get(ListingRow, (paper, day))
            if row is None:
                row = ListingRow(paper_id=paper, day=day, submitted_by=f"@{by.login}")
                session.add(row)
            if row not in rows:
                rows.append(row)
                record(session, by.login, "pick", f"paper:{paper}", day.isoformat())
        _number(rows)


def unpick(database: Database, paper: str, day: date, *, by: Person) -> None:
    """Let votes decide about a paper again; one that was listed by this choice only is not listed any more."""
    must(by, "curate", "The day's papers are chosen by a curator only.")
    with database.writing() as session:
        rows = _chosen(session, day)
        row = next((one for one in rows if one.paper_id == paper), None)
        if row is None:
            return
        rows.remove(row)
        row.position = None
        if row.submitted_by.startswith("@") and day > now().date():
            session.delete(row)
        _number(rows)
        record(session, by.login, "unpick", f"paper:{paper}", day.isoformat())


def move(database: Database, paper: str, day: date, by_places: int, *, by: Person) -> None:
    """Move a chosen paper up (negative) or down. UnknownPaper: it is not chosen for that day."""
    must(by, "curate", "The day's papers are ordered by a curator only.")
    with database.writing() as session:
        rows = _chosen(session, day)
        at = next((place for place, one in enumerate(rows) if one.paper_id == paper), None)
        if at is None:
            raise UnknownPaper(f"The paper {paper[:80]} is not chosen for {day}.")
        rows.insert(max(0, min(len(rows) - 1, at + by_places)), rows.pop(at))
        _number(rows)


def _chosen(session: Session, day: date) -> list[ListingRow]:
    wanted = select(ListingRow).where(ListingRow.day == day, ListingRow.position.is_not(None))
    return list(session.scalars(wanted.order_by(ListingRow.position, ListingRow.paper_id)))


def _number(rows: Sequence[ListingRow]) -> None:
    for place, row in enumerate(rows):
        row.position = place
