"""Votes of people for papers: one each, given and taken back as often as they like.

    vote(database, ana, "2605.01234"); vote(database, ana, "2605.01234", on=False)
    standing(database, ["2605.01234"], ana)             # {"2605.01234": Standing(votes=3, mine=True)}
    voters(database, "2605.01234")                      # [("ana", "Ana Ferreira"), …]; pages tell members alone

The same vote twice is one vote. Only somebody whose address was verified has one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from sqlalchemy import delete, func, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.errors import NotAllowed
from foveal.papers.accounts import Person
from foveal.papers.known import must_be_here
from foveal.papers.rate_limits import VOTES, take
from foveal.papers.schema import PaperRow, PersonRow, VoteRow, now


@dataclass(frozen=True)
class Standing:
    """Votes of a paper, those of other sites with them, and whether one is mine."""

    votes: int
    mine: bool


def vote(database: Database, person: Person, paper: str, *, on: bool = True) -> Standing:
    """Give a vote, or take it back; what then stands.

    NotAllowed: the address is not verified. TooMany: more than 60 in a minute. UnknownPaper: it is not here.
    """
    if person.verified_at is None:
        raise NotAllowed("Votes count once your address is verified: sign in by the link that is mailed to it.")
    take(database, VOTES, f"person:{person.id}")
    with database.writing() as session:
        must_be_here(session, paper)
        _give(session, person, paper) if on else _take_back(session, person, paper)
        return _standing(session, [paper], person)[paper]


def standing(database: Database, papers: Sequence[str], person: Person | None) -> dict[str, Standing]:
    """Paper -> its votes, for those that are here."""
    with database.reading() as session:
        return _standing(session, papers, person)


def voters(database: Database, paper: str, *, limit: int = 12) -> list[tuple[str, str]]:
    """(login, name) of who voted for a paper here, the last first."""
    wanted = (
        select(PersonRow.login, PersonRow.name)
        .join(VoteRow, VoteRow.person_id == PersonRow.id)
        .where(VoteRow.paper_id == paper)
        .order_by(VoteRow.at.desc(), PersonRow.id)
    )
    with database.reading() as session:
        return [(login, name or login) for login, name in session.execute(wanted.limit(limit))]


def mine(database: Database, papers: Sequence[str], person: Person | None) -> frozenset[str]:
    """Those of the papers that the person voted for: one question for a whole page."""
    if person is None or not papers:
        return frozenset()
    with database.reading() as session:
        return _mine(session, papers, person)


def _standing(session: Session, papers: Sequence[str], person: Person | None) -> dict[str, Standing]:
    counted = select(VoteRow.paper_id, func.count()).where(VoteRow.paper_id.in_(papers)).group_by(VoteRow.paper_id)
    here: dict[str, int] = {row[0]: row[1] for row in session.execute(counted)}
    elsewhere = select(PaperRow.id, PaperRow.votes_elsewhere).where(PaperRow.id.in_(papers))
    own = _mine(session, papers, person) if person else frozenset()
    return {paper: Standing(here.get(paper, 0) + votes, paper in own) for paper, votes in session.execute(elsewhere)}


def _mine(session: Session, papers: Sequence[str], person: Person) -> frozenset[str]:
    wanted = select(VoteRow.paper_id).where(VoteRow.person_id == person.id, VoteRow.paper_id.in_(papers))
    return frozenset(session.scalars(wanted))


def _give(session: Session, person: Person, paper: str) -> None:
    insert = postgresql.insert if session.get_bind().dialect.name == "postgresql" else sqlite.insert
    row = insert(VoteRow).values(paper_id=paper, person_id=person.id, at=now())
    session.execute(row.on_conflict_do_nothing())


def _take_back(session: Session, person: Person, paper: str) -> None:
    session.execute(delete(VoteRow).where(VoteRow.paper_id == paper, VoteRow.person_id == person.id))
