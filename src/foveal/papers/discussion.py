"""What people say about a paper: remarks in threads.

    said = discussion(database, "2605.01234", order="best", reader=ana)
    remark(database, ana, "2605.01234", "As in $O(n)$.", parent=17)
    edit(database, ana, 18, "…"); delete(database, ana, 18); rate(database, ana, 17, 1)

Orders     best: the lower bound of Wilson's interval at 80 %, of how many found a remark helpful (one that nobody rated
           stands as if one of two had); new and old: by time. Answers always stand below what they answer, the oldest
           first
Gone       a remark that its author deleted loses its words; one that a moderator hid keeps them, unseen. Either leaves
           its place where others have answered, and no trace where nobody has
Badges     "Paper author": the account claimed a place among the authors (claims.py). "Paper submitter": the listing
           says `@login`; names without @ come from other sites, and are nobody here
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from sqlalchemy import delete as deleting
from sqlalchemy import func, select
from sqlalchemy.orm import Session

from foveal.database import Database, add_unless_taken, next_number
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers.accounts import Person
from foveal.papers.known import must_be_here
from foveal.papers.moderation import remark_of
from foveal.papers.people_schema import ClosedDiscussionRow, CommentVoteRow
from foveal.papers.ranking import wilson
from foveal.papers.rate_limits import REMARKS, VOTES, take
from foveal.papers.safe_markdown import html_of
from foveal.papers.schema import AuthorRow, CommentRow, ListingRow, PersonRow, now

ORDERS = ("best", "new", "old")

THREADS = 50
"""Threads of one page."""

DEEPEST = 6
"""Levels of answers that are shown as such; what answers a deeper one stands beside it."""


@dataclass(frozen=True, kw_only=True)
class Remark:
    """A remark with its answers. `state` is shown, deleted or hidden; only `shown` has words (moderators see more)."""

    id: int
    paper_id: str
    parent_id: int | None
    login: str  # "" where the account is gone
    name: str
    html: str
    state: str
    created_at: datetime
    edited_at: datetime | None
    badges: tuple[str, ...] = ()
    helpful: int = 0
    unhelpful: int = 0
    mine: int = 0  # what the reader said: 1, 0 or -1
    own: bool = False  # the reader wrote it
    answers: tuple[Remark, ...] = field(default=())


@dataclass(frozen=True)
class Discussion:
    """All that is said about a paper."""

    paper_id: str
    remarks: tuple[Remark, ...]
    count: int
    closed: bool
    order: str
    page: int = 0
    pages: int = 1


def discussion(
    database: Database, paper: str, *, order: str = "best", page: int = 0, reader: Person | None = None
) -> Discussion:
    """What is said about a paper, as `reader` sees it. InputError, UnknownPaper: no such order, page or paper."""
    if order not in ORDERS or page < 0:
        raise InputError(f"No order is called {order[:40]!r}. There are: {', '.join(ORDERS)}; pages count from 0.")
    threads, count, closed = _threads(database, paper, order, reader)
    shown = threads[page * THREADS : (page + 1) * THREADS]
    return Discussion(paper, shown, count, closed, order, page, max(1, -(-len(threads) // THREADS)))


def place_of(database: Database, comment: int, *, reader: Person | None = None) -> tuple[str, int]:
    """The paper that a remark is about, and the page that shows it in the order "old"; 0 where none does.

    UnknownPaper: there is no such remark.
    """
    paper = paper_of(database, comment)
    threads, _, _ = _threads(database, paper, "old", reader)
    place = next((place for place, one in enumerate(threads) if _has(one, comment)), 0)
    return paper, place // THREADS


def _has(thread: Remark, comment: int) -> bool:
    return thread.id == comment or any(_has(one, comment) for one in thread.answers)


def _threads(database: Database, paper: str, order: str, reader: Person | None) -> tuple[tuple[Remark, ...], int, bool]:
    """All threads about a paper, how many remarks are shown, and whether it takes no more."""
    wanted = (
        select(CommentRow, PersonRow.login, PersonRow.name)
        .outerjoin(PersonRow, PersonRow.id == CommentRow.person_id)
        .where(CommentRow.paper_id == paper)
        .order_by(CommentRow.id)
    )
    with database.reading() as session:
        must_be_here(session, paper)
        rows = session.execute(wanted).all()
        ratings = _ratings(session, paper, reader)
        badges = _badges(session, paper)
        closed = session.get(ClosedDiscussionRow, paper) is not None
    flat = [_remark(row, login or "", name or "", ratings, badges, reader) for row, login, name in rows]
    return _tree(flat, order), sum(one.state == "shown" for one in flat), closed


def remark(database: Database, person: Person, paper: str, text: str, *, parent: int | None = None) -> int:
    """Say something, in answer to `parent`; its number.

    InputError: nothing is said, or too much. NotAllowed: the discussion is closed, or the address is not verified.
    TooMany: more than 10 in 10 minutes. UnknownPaper: no such paper or remark.
    """
    raw, html = _checked(text)
    if person.verified_at is None:
        raise NotAllowed("Remarks are open to you once your address is verified: sign in by the link mailed to it.")
    take(database, REMARKS, f"person:{person.id}")
    with database.writing() as session:
        _open(session, paper)
        if parent is not None and remark_of(session, parent).paper_id != paper:
            raise UnknownPaper("The remark that this answers is about another paper.")
        number = next_number(session, CommentRow.id)
        row = CommentRow(id=number, paper_id=paper, parent_id=parent, person_id=person.id, raw=raw, html=html)
        session.add(row)
        session.flush()
        return row.id


def edit(database: Database, person: Person, comment: int, text: str) -> str:
    """Say it differently; the paper's id. NotAllowed: it is somebody else's, hidden, or the discussion is closed."""
    raw, html = _checked(text)
    take(database, REMARKS, f"edit:{person.id}")
    with database.writing() as session:
        row = _own(session, person, comment)
        _open(session, row.paper_id)
        if row.hidden_at is not None:
            raise NotAllowed("This remark is not shown any more, and cannot be changed.")
        if raw != row.raw:
            row.raw, row.html, row.edited_at = raw, html, now()
        return row.paper_id


def delete(database: Database, person: Person, comment: int) -> str:
    """Take it back: its words are gone for good; the paper's id. NotAllowed: it is somebody else's."""
    with database.writing() as session:
        row = _own(session, person, comment)
        row.raw = row.html = ""
        row.hidden_at = row.hidden_at or now()
        return row.paper_id


def rate(database: Database, person: Person, comment: int, value: int) -> str:
    """Say that a remark helps (1), does not (-1), or nothing (0); the paper's id.

    InputError: another number. NotAllowed: it is one's own, or the address is not verified.
    """
    if value not in (-1, 0, 1):
        raise InputError(f"A remark is rated 1, 0 or -1, not {value}.")
    take(database, VOTES, f"person:{person.id}")
    with database.writing() as session:
        row = remark_of(session, comment)
        if row.person_id == person.id or person.verified_at is None:
            raise NotAllowed("Remarks are rated by others, whose address is verified.")
        if row.hidden_at is not None:
            raise NotAllowed("This remark is not shown any more.")
        mine = CommentVoteRow.comment_id == comment, CommentVoteRow.person_id == person.id
        session.execute(deleting(CommentVoteRow).where(*mine))
        if value:
            add_unless_taken(session, CommentVoteRow(comment_id=comment, person_id=person.id, value=value))
        return row.paper_id


def words_of(database: Database, person: Person, comment: int) -> tuple[str, str]:
    """The paper's id and the Markdown of one's own remark, to edit."""
    with database.reading() as session:
        row = _own(session, person, comment)
        return row.paper_id, row.raw


def paper_of(database: Database, comment: int) -> str:
    """The paper that a remark is about. UnknownPaper: there is no such remark."""
    with database.reading() as session:
        return remark_of(session, comment).paper_id


def _checked(text: str) -> tuple[str, str]:
    """The text without white space around it, and its HTML. InputError: there is nothing in it to see, or too much."""
    raw = text.replace("\r\n", "\n").strip()
    html = html_of(raw)
    if not raw or not any(character.isprintable() and not character.isspace() for character in raw):
        raise InputError("This remark is empty. Write something, or leave it.")
    return raw, html


def _open(session: Session, paper: str) -> None:
    must_be_here(session, paper)
    if session.get(ClosedDiscussionRow, paper) is not None:
        raise NotAllowed("This discussion is closed: it can be read, and takes no more remarks.")


def _own(session: Session, person: Person, comment: int) -> CommentRow:
    row = remark_of(session, comment)
    if row.person_id != person.id:
        raise NotAllowed("This remark is somebody else's.")
    return row


def _ratings(session: Session, paper: str, reader: Person | None) -> Mapping[int, tuple[int, int, int]]:
    """Remark -> how many find it helpful, how many do not, what the reader said."""
    here = select(CommentRow.id).where(CommentRow.paper_id == paper)
    counted = (
        select(CommentVoteRow.comment_id, CommentVoteRow.value, func.count())
        .where(CommentVoteRow.comment_id.in_(here))
        .group_by(CommentVoteRow.comment_id, CommentVoteRow.value)
    )
    counts: dict[tuple[int, int], int] = {(one, value): n for one, value, n in session.execute(counted)}
    own: dict[int, int] = {}
    if reader is not None:
        wanted = select(CommentVoteRow.comment_id, CommentVoteRow.value)
        mine = wanted.where(CommentVoteRow.person_id == reader.id, CommentVoteRow.comment_id.in_(here))
        own = {row[0]: row[1] for row in session.execute(mine)}
    return {one: (counts.get((one, 1), 0), counts.get((one, -1), 0), own.get(one, 0)) for one, _ in counts}


def _badges(session: Session, paper: str) -> Mapping[int | str, str]:
    """Person (by number) or login -> its badge."""
    claimed = select(AuthorRow.person_id).where(
        AuthorRow.paper_id == paper, AuthorRow.status.in_(("claimed", "claimed_verified"))
    )
    found: dict[int | str, str] = {one: "Paper author" for one in session.scalars(claimed) if one is not None}
    listed = select(ListingRow.submitted_by).where(ListingRow.paper_id == paper, ListingRow.submitted_by.like("@%"))
    return found | {login[1:]: "Paper submitter" for login in session.scalars(listed)}


def _remark(
    row: CommentRow,
    login: str,
    name: str,
    ratings: Mapping[int, tuple[int, int, int]],
    badges: Mapping[int | str, str],
    reader: Person | None,
) -> Remark:
    helpful, unhelpful, mine = ratings.get(row.id, (0, 0, 0))
    state = "shown" if row.hidden_at is None else "hidden" if row.raw else "deleted"
    seen = state == "shown" or (state == "hidden" and reader is not None and reader.may("moderate"))
    own = (badges.get(key) for key in (row.person_id, login) if key)
    return Remark(
        id=row.id,
        paper_id=row.paper_id,
        parent_id=row.parent_id,
        login=login if seen else "",
        name=(name or login) if seen else "",
        html=row.html if seen else "",
        state=state,
        created_at=row.created_at,
        edited_at=row.edited_at if seen else None,
        badges=tuple(badge for badge in own if badge) if seen else (),
        helpful=helpful,
        unhelpful=unhelpful,
        mine=mine,
        own=reader is not None and row.person_id == reader.id,
    )


def _tree(flat: Sequence[Remark], order: str) -> tuple[Remark, ...]:
    """Threads of remarks that are given by number; without those that are gone and unanswered."""
    under = _places(flat)
    below: dict[int | None, list[Remark]] = defaultdict(list)
    for one in reversed(flat):  # an answer has the larger number: all of them are there when it is their turn
        answers = tuple(reversed(below.pop(one.id, [])))
        if answers or one.state == "shown" or one.html:
            below[under[one.id]].append(replace(one, answers=answers))
    return tuple(sorted(below[None], key=_key(order)))


def _places(flat: Sequence[Remark]) -> dict[int, int | None]:
    """Remark -> the one it is shown below: what it answers, or the same as that, where that is deep already."""
    under: dict[int, int | None] = {}
    depth: dict[int | None, int] = {None: -1}
    for one in flat:
        parent = one.parent_id if one.parent_id in depth else None  # what it answered may be gone from the database
        under[one.id] = under[parent] if parent is not None and depth[parent] == DEEPEST else parent
        depth[one.id] = depth[under[one.id]] + 1
    return under


def _key(order: str) -> Any:
    if order == "best":
        return lambda one: (-wilson(*((one.helpful, one.unhelpful) if one.helpful + one.unhelpful else (1, 1))), one.id)
    sign = 1 if order == "old" else -1
    return lambda one: (sign * one.created_at.timestamp(), sign * one.id)
