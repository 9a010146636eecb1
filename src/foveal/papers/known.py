"""Whether a paper is here, asked without reading all of it; and one thing at a time of a person.

with database.writing() as session: must_be_here(session, "2605.01234")
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from foveal.errors import UnknownPaper
from foveal.papers.schema import PaperRow, PersonRow


def must_be_here(session: Session, paper: str) -> None:
    """UnknownPaper: it is not."""
    if session.scalar(select(PaperRow.id).where(PaperRow.id == paper)) is None:
        raise UnknownPaper(f"The paper {paper[:80]} is not here.")


def one_of_a_person(session: Session, person: int) -> None:
    """Let another transaction of the person wait for this one's end: two clicks are not to make one thing twice.

    SQLite writes one at a time by itself, and knows no such lock.
    """
    session.execute(select(PersonRow.id).where(PersonRow.id == person).with_for_update(key_share=True))
