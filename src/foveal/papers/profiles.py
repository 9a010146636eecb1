"""What is public of a person: the name, the papers they wrote, what they said.

profile(database, "ana").papers
"""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime

from sqlalchemy import select

from foveal.database import Database
from foveal.errors import UnknownPaper
from foveal.papers.schema import AuthorRow, CommentRow, PaperRow, PersonRow
from foveal.papers.store import Paper, PaperStore

MOST = 50
"""Papers and remarks that are shown."""


@dataclass(frozen=True)
class Said:
    """A remark, and the paper it is about."""

    id: int
    paper_id: str
    paper_title: str
    html: str
    created_at: datetime


@dataclass(frozen=True)
class Profile:
    """A person as others see them; never the address."""

    login: str
    name: str
    since: datetime
    papers: tuple[Paper, ...]
    remarks: tuple[Said, ...]


def profile(database: Database, login: str) -> Profile:
    """The person with that login. UnknownPaper: nobody."""
    with database.reading() as session:
        person = session.scalar(select(PersonRow).where(PersonRow.login == login.lower()[:40]))
        if person is None:
            raise UnknownPaper("Nobody here is called that.")
        wrote = select(AuthorRow.paper_id).where(AuthorRow.person_id == person.id)
        newest = select(PaperRow.id).where(PaperRow.id.in_(wrote))
        newest = newest.order_by(PaperRow.published_at.desc().nulls_last(), PaperRow.id).limit(MOST)
        papers = list(session.scalars(newest))
        said = (
            select(CommentRow, PaperRow.title)
            .join(PaperRow, PaperRow.id == CommentRow.paper_id)
            .where(CommentRow.person_id == person.id, CommentRow.hidden_at.is_(None))
            .order_by(CommentRow.id.desc())
            .limit(MOST)
        )
        remarks = tuple(
            Said(row.id, row.paper_id, title, row.html, row.created_at) for row, title in session.execute(said)
        )
    shown = person.name or person.login
    return Profile(person.login, shown, person.created_at, tuple(PaperStore(database).many(papers)), remarks)
