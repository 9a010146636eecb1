"""What tests of people share: a database with papers, and members who signed in as anybody does."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, date, datetime
from typing import TypeVar

from foveal.database import Database
from foveal.papers import accounts
from foveal.papers.accounts import Person
from foveal.papers.records import Named, PaperRecord
from foveal.papers.sessions import request_link, use_link
from foveal.papers.upserts import upsert

PAPER = "2605.01234"
OTHER = "hep-th/9901001"
Result = TypeVar("Result")


def record(paper: str = PAPER, title: str = "Where to Look", **more: object) -> PaperRecord:
    """A paper of today, by two authors."""
    known = {
        "abstract": "We choose where to look, and survey nothing.",
        "authors": (Named(name="Léa Martin"), Named(name="Bo Li", affiliation="Field Lab, {bo, lea}@lab.example")),
        "categories": ("cs.CL",),
        "published_at": datetime.now(UTC),
        "source": "arxiv",
        "listed_on": today(),
    }
    return PaperRecord(id=paper, title=title, **{**known, **more})  # type: ignore[arg-type]


def today() -> date:
    """The day, in UTC."""
    return datetime.now(UTC).date()


def with_papers(database: Database) -> Database:
    """Two papers."""
    upsert(database, [record(), record(OTHER, "Strings <and> Branes", categories=("hep-th",), authors=())])
    return database


def member(database: Database, login: str, role: str = "member", domain: str = "example.org") -> Person:
    """Somebody who signed in by a link."""
    address = f"{login}@{domain}"
    accounts.add(database, address, login=login, role=role)
    link = request_link(database, address, ip=login, browser="theirs")
    return use_link(database, link.token, browser="theirs").person


def at_once(work: Callable[[int], Result], times: int = 8) -> list[Result | Exception]:
    """What that many threads get that start together; errors are results, too."""

    def tried(number: int) -> Result | Exception:
        try:
            return work(number)
        except Exception as error:  # the caller counts them
            return error

    with ThreadPoolExecutor(times) as pool:
        return list(pool.map(tried, range(times)))
