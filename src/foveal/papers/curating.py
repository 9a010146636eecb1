"""A curator's work: what is waiting, what is chosen for which day, in which order.

    queue(database)                                   # papers that no curator has placed, the newest first
    pick(database, "2605.01234", day, by="ana")       # at the end of that day; a day to come shows nothing yet
    unlist(database, "2605.01234", day)               # off the day's page altogether; the paper itself stays
    order(database, day, ["2605.0002", "2605.0001"])  # the day's places, from the first
    publish(database, today)                          # picks whose day has come go on their page
    set_topic(database, "sparse-attention", query="sparse attention")

A pick of today or earlier is on its page at once (`Listing.position`); one of a later day waits in `pick`, so that the
page of tomorrow is not there today. Who may do it is asked by whoever calls.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta

from sqlalchemy import delete, func, select
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database, add_unless_taken
from foveal.errors import InputError, UnknownPaper
from foveal.papers.paper_filters import parse
from foveal.papers.records import paper_id
from foveal.papers.schema import ListingRow, PaperRow, PickRow, TopicRow, UnlistedRow
from foveal.papers.store import Paper, PaperStore
from foveal.papers.upserts import one_at_a_time

QUEUE_DAYS = 14
FARTHEST = 365
"""Days ahead that may be planned."""

_TOPIC = re.compile(r"[a-z0-9]+(?:-[a-z0-9]+)*", re.ASCII)


@dataclass(frozen=True)
class Picked:
    """A paper on a day, at a place that counts from 1; `shown` is whether the day has come."""

    paper: str
    day: date
    position: int
    by: str
    shown: bool


def queue(database: Database, *, days: int = QUEUE_DAYS, limit: int = 50) -> list[Paper]:
    """Papers that came in the last days and that nobody picked or placed, the last that came first."""
    since = faults.now() - timedelta(days=days)
    placed = select(ListingRow.paper_id).where(ListingRow.position.is_not(None))
    wanted = (
        select(PaperRow.id)
        .where(PaperRow.created_at >= since, PaperRow.id.not_in(placed), PaperRow.withdrawn.is_(False))
        .where(PaperRow.id.not_in(select(PickRow.paper_id)))
        .order_by(PaperRow.created_at.desc(), PaperRow.votes_elsewhere.desc(), PaperRow.id)
    )
    with database.reading() as session:
        ids = list(session.scalars(wanted.limit(limit)))
    return PaperStore(database).many(ids)


def picks(database: Database, day: date) -> list[Picked]:
    """What is chosen for a day, in its order."""
    with database.reading() as session:
        waiting = session.scalars(select(PickRow).where(PickRow.day == day))
        shown = session.scalars(select(ListingRow).where(ListingRow.day == day, ListingRow.position.is_not(None)))
        found = [Picked(one.paper_id, day, one.position, one.picked_by, shown=False) for one in waiting]
        found += [Picked(one.paper_id, day, one.position or 0, one.submitted_by, shown=True) for one in shown]
    return sorted(found, key=lambda one: (one.position, one.paper))


def planned(database: Database) -> list[Picked]:
    """What is chosen for days to come, by day and place."""
    with database.reading() as session:
        rows = session.scalars(select(PickRow).order_by(PickRow.day, PickRow.position, PickRow.paper_id))
        return [Picked(one.paper_id, one.day, one.position, one.picked_by, shown=False) for one in rows]


def days_of(database: Database, paper: str) -> list[Picked]:
    """The days for which a paper is chosen, the last first."""
    with database.reading() as session:
        days = set(session.scalars(select(PickRow.day).where(PickRow.paper_id == paper)))
        placed = select(ListingRow.day).where(ListingRow.paper_id == paper, ListingRow.position.is_not(None))
        days |= set(session.scalars(placed))
    return [one for day in sorted(days, reverse=True) for one in picks(database, day) if one.paper == paper]


def pick(database: Database, which: str, day: date, *, by: str = "", place: int | None = None) -> list[Picked]:
    """Put a paper on a day, at a place (1 is the first; None: at the end); the day's picks as they are then.

    A paper that was picked for that day already is moved. InputError: no such place, or a day too far ahead.
    UnknownPaper: the paper is not here.
    """
    paper = paper_id(which)
    today = faults.now().date()
    if day > today + timedelta(days=FARTHEST) or (place is not None and place < 1):
        raise InputError(
            f"A pick got the day {day} and place {place}; it needs a day within a year, and a place of 1 or more."
        )
    with database.writing() as session:
        if session.get(PaperRow, paper) is None:
            raise UnknownPaper(f"The paper {which[:80]} is not here. `foveal papers add` fetches one by its id.")
        ids = [one for one in _ids(session, day) if one != paper]
        ids.insert(len(ids) if place is None else place - 1, paper)
        relist(session, paper, day)
        _place(session, day, ids, by=by, today=today)
    return picks(database, day)


def unpick(database: Database, which: str, day: date) -> list[Picked]:
    """Take a paper's place on a day away. On a day that has come it stays listed, as votes place it."""
    paper = paper_id(which)
    with database.writing() as session:
        if paper not in _ids(session, day):
            raise UnknownPaper(f"The paper {which[:80]} is not picked for {day}.")
        session.execute(delete(PickRow).where(PickRow.paper_id == paper, PickRow.day == day))
        listing = session.get(ListingRow, (paper, day))
        if listing is not None:
            listing.position = None
        _place(session, day, [one for one in _ids(session, day) if one != paper], by="", today=faults.now().date())
    return picks(database, day)


def unlist(database: Database, which: str, day: date) -> None:
    """Take a paper off a day's page, however it came there; no source puts it back, a pick does.

    UnknownPaper: it is on no page of that day, and picked for none.
    """
    paper = paper_id(which)
    with database.writing() as session:
        one_at_a_time(session)
        listed, picked = session.get(ListingRow, (paper, day)), session.get(PickRow, (paper, day))
        if listed is None and picked is None:
            raise UnknownPaper(f"The paper {which[:80]} is not listed on {day}.")
        for row in filter(None, (listed, picked)):
            session.delete(row)
        session.flush()
        add_unless_taken(session, UnlistedRow(paper_id=paper, day=day))
        _place(session, day, _ids(session, day), by="", today=faults.now().date())


def relist(session: Session, paper: str, day: date) -> None:
    """Whoever puts a paper on a day by hand means it, though it was taken off before."""
    session.execute(delete(UnlistedRow).where(UnlistedRow.paper_id == paper, UnlistedRow.day == day))


def order(database: Database, day: date, ids: Sequence[str], *, by: str = "") -> list[Picked]:
    """Give a day's picks this order. InputError: they are not just these papers."""
    given = [paper_id(one) for one in ids]
    with database.writing() as session:
        held = _ids(session, day)
        if sorted(given) != sorted(held):
            raise InputError(
                f"The order of {day} got {', '.join(given) or 'no papers'}; it needs each of its picks once: "
                f"{', '.join(held) or 'none are there'}."
            )
        _place(session, day, given, by=by, today=faults.now().date())
    return picks(database, day)


def publish(database: Database, today: date) -> int:
    """Put the picks of today and earlier days on their pages; how many there were. The same call again does nothing."""
    with database.reading() as session:
        if not session.scalar(select(func.count()).select_from(PickRow).where(PickRow.day <= today)):
            return 0
    with database.writing() as session:
        waiting = select(PickRow).where(PickRow.day <= today).with_for_update()  # several visitors come at midnight
        due = list(session.scalars(waiting))
        for one in due:
            _list(session, one.paper_id, one.day, one.position, one.picked_by)
            session.delete(one)
    return len(due)


def _ids(session: Session, day: date) -> list[str]:
    """The papers picked for a day, in order."""
    waiting = select(PickRow.position, PickRow.paper_id).where(PickRow.day == day)
    shown = select(ListingRow.position, ListingRow.paper_id).where(
        ListingRow.day == day, ListingRow.position.is_not(None)
    )
    found = [(row[0], row[1]) for wanted in (waiting, shown) for row in session.execute(wanted)]
    return [paper for _, paper in sorted(found)]


def _place(session: Session, day: date, ids: Sequence[str], *, by: str, today: date) -> None:
    """Number the papers of a day from 1, on its page if it has come; `by` is a login, with or without @."""
    by = f"@{by.removeprefix('@')}" if by else ""
    for position, paper in enumerate(ids, 1):
        if day <= today:
            _list(session, paper, day, position, by)
            continue
        if session.get(PickRow, (paper, day)) is None:
            add_unless_taken(session, PickRow(paper_id=paper, day=day, picked_by=by))
        session.get_one(PickRow, (paper, day)).position = position


def _list(session: Session, paper: str, day: date, position: int, by: str) -> None:
    if session.get(ListingRow, (paper, day)) is None:
        add_unless_taken(session, ListingRow(paper_id=paper, day=day, submitted_by=by))
    session.get_one(ListingRow, (paper, day)).position = position


def set_topic(database: Database, name: str, *, query: str, title: str = "") -> TopicRow:
    """Give a search a name and a page, or change what it finds. InputError: the name cannot stand in an address, or
    a filter of the search is none."""
    if len(name) > 80 or not _TOPIC.fullmatch(name) or not query.strip():
        raise InputError(
            f"A topic got the name {name[:90]!r} and the search {query[:80]!r}; it needs a name of small letters, "
            "digits and hyphens, up to 80, and a search."
        )
    parse(query)
    with database.writing() as session:
        row = session.get(TopicRow, name)
        if row is None:
            last = session.scalar(select(func.max(TopicRow.position)))
            place = 0 if last is None else last + 1
            add_unless_taken(session, TopicRow(id=name, title=title or name, query=query, position=place))
            row = session.get_one(TopicRow, name)
        row.query, row.title = query.strip(), title.strip() or row.title
    return row


def remove_topic(database: Database, name: str) -> None:
    """Take a topic away; its papers stay. UnknownPaper: there is none."""
    with database.writing() as session:
        row = session.get(TopicRow, name)
        if row is None:
            raise UnknownPaper(f"No topic is called {name[:80]!r}. `foveal papers topics` lists them.")
        session.delete(row)
