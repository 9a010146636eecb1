"""Whether a paper is here, asked without reading all of it.

with database.writing() as session: must_be_here(session, "2605.01234")
"""

from __future__ import annotations

from sqlalchemy import select
from sqlalchemy.orm import Session

from foveal.errors import UnknownPaper
from foveal.papers.schema import PaperRow


def must_be_here(session: Session, paper: str) -> None:
    """UnknownPaper: it is not."""
    if session.scalar(select(PaperRow.id).where(PaperRow.id == paper)) is None:
        raise UnknownPaper(f"The paper {paper[:80]} is not here.")
