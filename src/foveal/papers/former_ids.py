"""Ids of our own that papers had before: addresses in mails and bookmarks lead to what they are called now.

    keep(session, "title-3f…", "2605.01234")         # an archive's id came to be known
    retitled(session, row, key_before)               # another title: the one before stood for the paper, too
    found, gone = led_to(session, first, last)       # of an id, or of the first digits of one

Removed    an address of a paper that was taken away (removing.py) says so, as the paper's own does
Older      what an earlier Foveal did not write down is found by its title, as long as the paper has that
"""

from __future__ import annotations

from collections.abc import Sequence

from sqlalchemy import select
from sqlalchemy.orm import Session

from foveal.papers.records import TITLED
from foveal.papers.schema import FormerRow, PaperRow, RemovedRow


def keep(session: Session, former: str, paper: str) -> None:
    """From now on `former` leads to `paper`."""
    session.merge(FormerRow(id=former, paper_id=paper))


def retitled(session: Session, row: PaperRow, before: str) -> None:
    """The paper had a title of the key `before`; another paper that was called so first is what that leads to."""
    former = f"{TITLED}{before}"
    if not row.id.startswith(TITLED) and session.get(FormerRow, former) is None:
        session.add(FormerRow(id=former, paper_id=row.id))


def led_to(session: Session, first: str, last: str) -> tuple[Sequence[str], RemovedRow | None]:
    """The papers (two are too many) that an id from `first` to `last` led to; or the one, where it was removed."""
    former = select(FormerRow.paper_id).where(FormerRow.id.between(first, last)).distinct().limit(2)
    found = session.scalars(former).all()
    here = session.scalars(select(PaperRow.id).where(PaperRow.id.in_(found))).all() if found else []
    gone = session.scalar(select(RemovedRow).where(RemovedRow.paper_id.in_(found)).limit(1)) if found else None
    if here or gone is not None:
        return here, None if here else gone
    named = PaperRow.title_key == first.removeprefix(TITLED), ~PaperRow.id.startswith(TITLED)
    same = select(PaperRow.id).where(*named).order_by(PaperRow.created_at, PaperRow.id)
    return session.scalars(same.limit(1)).all(), None
