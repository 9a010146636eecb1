"""What belongs to a paper, as people say: its code, a project page, models, data sets, demos.

    link(database, "2605.01234", "https://github.com/ana/look", kind="code", by=ana)
    unlink(database, "2605.01234", "https://github.com/ana/look", by=ana)
    may_link(paper, ana)                # one of its authors, who listed it, curators and moderators

Holds      what a person said of code and project page stands until a person says otherwise: no source replaces it
Against    links that sources bring (upserts.py), which nobody here can take out
"""

from __future__ import annotations

from urllib.parse import urlsplit

from sqlalchemy.orm import Session

from foveal.database import Database
from foveal.errors import InputError, NotAllowed, UnknownPaper
from foveal.papers.moderation import record
from foveal.papers.person import Person
from foveal.papers.schema import LinkRow, PaperRow, now
from foveal.papers.store import Paper, PaperStore
from foveal.papers.upserts import HELD, PERSON, one_at_a_time

KINDS = ("code", "project", "model", "dataset", "demo", "page")
MOST, LONGEST, TITLE = 20, 500, 120
"""Links of a paper that people may add, and characters of an address and of its name."""


def may_link(paper: Paper, person: Person | None) -> bool:
    """Whether the person may say what belongs to the paper."""
    if person is None:
        return False
    wrote = any(author.person_id == person.id for author in paper.authors)
    listed = any(one.submitted_by == f"@{person.login}" for one in paper.listings)
    return wrote or listed or person.may("curate") or person.may("moderate")


def link(database: Database, which: str, url: str, *, kind: str, title: str = "", by: Person | None = None) -> str:
    """Add what belongs to a paper, or name it anew; the paper's id. Of code and project page there is one.

    InputError: no such kind, no address of the web, or there are too many. NotAllowed: `by` may not.
    """
    address, named = url.strip(), " ".join(title.split())[:TITLE]
    if kind not in KINDS:
        raise InputError(f"A link is {', '.join(KINDS)}, not {kind[:20]!r}.")
    if not _is_of_the_web(address):
        raise InputError(
            f"A link got {address[:80]!r}; it needs an address that begins with https:// or http://, of at most "
            f"{LONGEST} characters."
        )
    paper = _allowed(database, which, by)
    with database.writing() as session:
        row = _row(session, paper)
        told = [one for one in row.links if one.source == PERSON and one.url != address]
        if kind in HELD.values():
            for one in [one for one in told if one.kind == kind]:
                row.links.remove(one)
        elif len(told) >= MOST:
            raise InputError(f"This paper has {MOST} links by people, which is all that it can have. Take one out.")
        held = next((one for one in row.links if one.url == address), None)
        if held is None:
            held = LinkRow(url=address)
            row.links.append(held)
        held.kind, held.title, held.source = kind, named, PERSON
        _hold(row, kind, address)
        record(session, by.login if by else "system", "link", f"paper:{paper}", f"{kind} {address}")
    return paper


def unlink(database: Database, which: str, url: str, *, by: Person | None = None) -> str:
    """Take out what a person added; the paper's id. UnknownPaper: there is no such link by a person."""
    paper = _allowed(database, which, by)
    with database.writing() as session:
        row = _row(session, paper)
        held = next((one for one in row.links if one.url == url.strip() and one.source == PERSON), None)
        if held is None:
            raise UnknownPaper(f"Nobody here added the link {url[:80]!r} to the paper {paper}.")
        row.links.remove(held)
        _hold(row, held.kind, "")
        record(session, by.login if by else "system", "unlink", f"paper:{paper}", f"{held.kind} {held.url}")
    return paper


def _allowed(database: Database, which: str, by: Person | None) -> str:
    paper = PaperStore(database).get(which)
    if by is not None and not may_link(paper, by):
        raise NotAllowed("Links are added by the paper's authors, who listed it, curators and moderators.")
    return paper.id


def _row(session: Session, paper: str) -> PaperRow:
    one_at_a_time(session)
    row = session.get(PaperRow, paper)
    if row is None:
        raise UnknownPaper(f"The paper {paper} is not here any more.")
    return row


def _hold(row: PaperRow, kind: str, address: str) -> None:
    """The paper's code or project page is that now; stars of another repository are not its own."""
    row.changed_at = now()
    for name, held in HELD.items():
        if held == kind and getattr(row, name) != address:
            setattr(row, name, address)
            if kind == "code":
                row.repo_stars, row.stars_seen_at = None, None


def _is_of_the_web(address: str) -> bool:
    try:
        parts = urlsplit(address)
    except ValueError:
        return False
    plain = not any(one.isspace() or not one.isprintable() for one in address)
    return parts.scheme.lower() in ("http", "https") and bool(parts.hostname) and plain and len(address) <= LONGEST
