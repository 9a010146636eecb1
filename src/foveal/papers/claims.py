"""People who say that they wrote a paper: believed where the paper names their address, else decided by a moderator.

    claim(database, ana, "2605.01234", 0, text=library_text(settings, "2605.01234"))     # "granted" or "open"
    decide(database, "2605.01234", ana.id, granted=True, by=moderator, reason="asked by mail")

Evidence   the verified address, whole, in the paper's text (`ana@example.org`, `{ana, bo}@example.org`) or in what its
           source says of its authors. It shows that the person is one of the authors, and the place must be free
State      open, granted or refused; an author is then claimed_verified (by evidence) or claimed (by a moderator)
"""

from __future__ import annotations

import logging
import re
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING

from sqlalchemy import select
from sqlalchemy.orm import Session

from foveal.database import Database, add_unless_taken
from foveal.errors import LibraryError, NoLibrary, NotAllowed, UnknownDocument, UnknownPaper
from foveal.papers.accounts import Person, person_of
from foveal.papers.moderation import must, record
from foveal.papers.people_schema import ClaimRow
from foveal.papers.schema import AuthorRow, PaperRow, PersonRow, now

if TYPE_CHECKING:
    from foveal.settings import Settings

logger = logging.getLogger("foveal.papers")


@dataclass(frozen=True)
class Claim:
    """Somebody who says to be an author of a paper."""

    paper_id: str
    title: str
    position: int
    author: str  # the name at that place
    person: Person
    state: str
    reason: str
    created_at: datetime
    holder: str  # the login of whoever holds the place now, "" for nobody


def claim(database: Database, person: Person, paper: str, position: int, *, reason: str = "", text: str = "") -> str:
    """Claim the place of an author; "granted", or "open" until a moderator decides. `text` is the paper's.

    UnknownPaper: no such paper or author. NotAllowed: it was refused before, or the address is not verified.
    """
    if person.verified_at is None:
        raise NotAllowed("Authors are known by a verified address: sign in by the link that is mailed to yours.")
    with database.writing() as session:
        author = _author(session, paper, position)
        row = session.get(ClaimRow, (paper, person.id))
        if row is not None and row.state == "refused":
            raise NotAllowed("A moderator refused this claim. Write to them if something has changed.")
        if row is not None:
            _release(session, row)
            session.delete(row)
            session.flush()
        said = "\n".join(session.scalars(select(AuthorRow.affiliation).where(AuthorRow.paper_id == paper)))
        free = author.person_id in (None, person.id)
        sure = free and address_in(person.email, f"{text}\n{said}")
        why = reason.strip()[:1_000]
        add_unless_taken(session, ClaimRow(paper_id=paper, person_id=person.id, position=position, reason=why))
        row = session.get_one(ClaimRow, (paper, person.id))
        if sure:
            _grant(session, row, author, "claimed_verified")
            record(session, "system", "grant claim", f"paper:{paper}", f"{person.login} is author {position + 1}")
        return row.state or "open"


def withdraw(database: Database, person: Person, paper: str) -> None:
    """Take a claim back, granted or not; a refused one stays refused."""
    with database.writing() as session:
        row = session.get(ClaimRow, (paper, person.id))
        if row is not None and row.state != "refused":
            _release(session, row)
            session.delete(row)


def decide(database: Database, paper: str, person_id: int, *, granted: bool, by: Person, reason: str = "") -> None:
    """Grant or refuse a claim. NotAllowed: `by` is no moderator, or decides about themselves without being an admin."""
    must(by, "moderate", "Claims are decided by a moderator only.")
    if by.id == person_id:
        must(by, "administer", "Your own claim is decided by another moderator.")
    with database.writing() as session:
        row = session.get(ClaimRow, (paper, person_id))
        if row is None:
            raise UnknownPaper("There is no such claim, or it was taken back.")
        login = session.scalars(select(PersonRow.login).where(PersonRow.id == person_id)).one()
        if granted:
            _grant(session, row, _author(session, paper, row.position), "claimed")
        else:
            _release(session, row)
            row.state, row.decided_at = "refused", now()
        act = "grant claim" if granted else "refuse claim"
        record(session, by.login, act, f"paper:{paper}", f"{login} is author {row.position + 1}. {reason}".strip())


def claims(database: Database, *, state: str | None = "open", person: Person | None = None) -> list[Claim]:
    """Claims in a state (None: all), of a person (None: of all), the first first."""
    wanted = (
        select(ClaimRow, PersonRow, PaperRow.title, AuthorRow.name, AuthorRow.person_id)
        .join(PersonRow, PersonRow.id == ClaimRow.person_id)
        .join(PaperRow, PaperRow.id == ClaimRow.paper_id)
        .outerjoin(AuthorRow, (AuthorRow.paper_id == ClaimRow.paper_id) & (AuthorRow.position == ClaimRow.position))
        .order_by(ClaimRow.created_at, ClaimRow.paper_id)
    )
    if state is not None:
        wanted = wanted.where(ClaimRow.state == state)
    if person is not None:
        wanted = wanted.where(ClaimRow.person_id == person.id)
    with database.reading() as session:
        rows = session.execute(wanted).all()
        holders = {holder for *_, holder in rows if holder}
        named = select(PersonRow.id, PersonRow.login).where(PersonRow.id.in_(holders))
        logins: dict[int, str] = {row[0]: row[1] for row in session.execute(named)}
    return [
        Claim(
            row.paper_id,
            title,
            row.position,
            name or "",
            person_of(who),
            row.state,
            row.reason,
            row.created_at,
            logins.get(holder or 0, ""),
        )
        for row, who, title, name, holder in rows
    ]


def address_in(address: str, text: str) -> bool:
    """Whether the text names the address, alone or in a group such as `{ana, bo}@example.org`."""
    local, _, domain = address.casefold().rpartition("@")
    lower = text.casefold()
    ends = rf"\s?@\s?{re.escape(domain)}(?![\w-]|\.\w)"
    if re.search(rf"(?<![\w.+%-]){re.escape(local)}{ends}", lower):
        return True
    groups = re.findall(rf"[{{(\[]([^{{}}()\[\]@]{{1,400}})[}})\]]{ends}", lower)
    return any(local in re.split(r"[\s,;|/]+", group.strip()) for group in groups)


def library_text(settings: Settings, paper: str) -> str:
    """The paper's text where this home's library holds it, else "": then a person decides."""
    from foveal.library import Library

    if paper.startswith("title-"):
        return ""
    which = paper.removeprefix("doc-") if paper.startswith("doc-") else f"arxiv:{paper}"
    try:
        return Library.open(settings=settings, create=False).get(which).text
    except (UnknownDocument, NoLibrary):
        return ""
    except LibraryError as error:
        logger.warning("whether %s names who claims it could not be looked up: %s", paper, error)
        return ""


def _author(session: Session, paper: str, position: int) -> AuthorRow:
    row = session.get(AuthorRow, (paper, position)) if 0 <= position < 2**31 else None
    if row is None:
        raise UnknownPaper(f"The paper {paper[:80]} has no author at that place.")
    return row


def _grant(session: Session, row: ClaimRow, author: AuthorRow, status: str) -> None:
    """Give the person the place; whoever held it loses it, and the claim that it was held by."""
    if author.person_id not in (None, row.person_id):
        other = session.get(ClaimRow, (row.paper_id, author.person_id))
        if other is not None:
            other.state, other.decided_at = "refused", now()
    author.person_id, author.status = row.person_id, status
    row.state, row.decided_at = "granted", now()


def _release(session: Session, row: ClaimRow) -> None:
    """Free the place that a granted claim holds."""
    author = session.get(AuthorRow, (row.paper_id, row.position))
    if author is not None and author.person_id == row.person_id:
        author.person_id, author.status = None, "none"
