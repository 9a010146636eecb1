"""The curator's desk: what curating.py does, for a person who may, with a line in the audit.

    pick(database, ["2605.01234"], day, by=ana); move(database, "2605.01234", day, -1, by=ana)     # one place up
    picked(database, day)

Against   curating.py moves papers and asks nobody; a day to come waits there as picks
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import date

from foveal.database import Database
from foveal.errors import UnknownPaper
from foveal.papers import curating
from foveal.papers.accounts import Person
from foveal.papers.known import must_be_here
from foveal.papers.moderation import must, record
from foveal.papers.store import Paper, PaperStore


def picked(database: Database, day: date) -> list[Paper]:
    """The papers of a day that a curator chose, in their order."""
    return PaperStore(database).many(_ids(database, day))


def pick(database: Database, papers: Sequence[str], day: date, *, by: Person) -> None:
    """Put papers at the end of those chosen for a day. InputError: a day too far off. UnknownPaper: one is not here."""
    must(by, "curate", "The day's papers are chosen by a curator only.")
    there = _ids(database, day)
    new = [paper for paper in dict.fromkeys(papers) if paper not in there]
    with database.reading() as session:  # all or nothing
        for paper in new:
            must_be_here(session, paper)
    for paper in new:
        curating.pick(database, paper, day, by=f"@{by.login}")
        noted(database, by.login, "pick", paper, day)


def unpick(database: Database, paper: str, day: date, *, by: Person) -> None:
    """Let votes decide about a paper again, or take it from a day to come."""
    must(by, "curate", "The day's papers are chosen by a curator only.")
    if paper in _ids(database, day):
        curating.unpick(database, paper, day)
        noted(database, by.login, "unpick", paper, day)


def unlist(database: Database, paper: str, day: date, *, by: Person) -> None:
    """Take a paper off a day's page. NotAllowed: neither curator nor moderator. UnknownPaper: it is not there."""
    if not by.may("moderate"):
        must(by, "curate", "Papers are taken off a day by a curator or a moderator only.")
    curating.unlist(database, paper, day)
    noted(database, by.login, "unlist", paper, day)


def move(database: Database, paper: str, day: date, by_places: int, *, by: Person) -> None:
    """Move a chosen paper up (negative) or down. UnknownPaper: it is not chosen for that day."""
    must(by, "curate", "The day's papers are ordered by a curator only.")
    ids = _ids(database, day)
    if paper not in ids:
        raise UnknownPaper(f"The paper {paper[:80]} is not chosen for {day}.")
    at = ids.index(paper)
    ids.insert(max(0, min(len(ids) - 1, at + by_places)), ids.pop(at))
    curating.order(database, day, ids, by=f"@{by.login}")


def _ids(database: Database, day: date) -> list[str]:
    return [one.paper for one in curating.picks(database, day)]


def noted(database: Database, actor: str, act: str, paper: str, day: date) -> None:
    """Leave a line in the audit; of `foveal papers pick`, too, which needs no curator."""
    with database.writing() as session:
        record(session, actor, act, f"paper:{paper}", day.isoformat())
