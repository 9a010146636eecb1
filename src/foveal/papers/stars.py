"""Stars of the repositories that papers name: one sample a day, from GitHub's REST interface.

    sample(database, Connection())          # Sampled(read=…, missing=…, left=…)

Asks      GET /repos/OWNER/NAME, at most once a day for each repository, those that were seen longest ago first
Key       the variable GITHUB_TOKEN, if it is set: 5,000 requests an hour in the place of 60
Manners   conditions (a 304 costs nothing of the limit), and an end when the server says that the limit is used up:
          what is left is read at the next call
Records   every request, as for the other sources; a repository that is gone (404, 410), or closed by law (451), is
          asked again after `GONE_DAYS`
Trouble   ends the reading. What met it comes last in the next one: a repository that always fails holds up no other
Spelling  addresses that differ and lead to one repository are asked about as one, and all get its stars
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from threading import Event

from sqlalchemy import func, select

from foveal import faults
from foveal.database import Database
from foveal.errors import FetchFailed
from foveal.papers.schema import FetchRow, PaperRow, StarSampleRow
from foveal.papers.sources import DEFAULTS, Connection
from foveal.papers.upserts import record_stars
from foveal.text.fetching import Fetched, fetch

BASE = "https://api.github.com"
TOKEN = "GITHUB_TOKEN"
SOURCE = "stars"
GONE_DAYS = 7
GONE = (404, 410, 451)

_MOST = 2**31 - 1  # stars, as a column of integers holds them
_PATH = re.compile(r"/repos/[^/]+/[^/]+$")
_REPOSITORY = re.compile(r"https?://(?:www\.)?github\.com/([\w.-]+)/([\w.-]+?)(?:\.git)?(?:[/?#].*)?", re.IGNORECASE)


@dataclass
class Sampled:
    """What a reading did; `left` repositories were not asked."""

    read: int = 0
    missing: int = 0
    left: int = 0
    requests: int = 0
    unchanged_answers: int = 0  # 304
    error: str = ""
    stopped: bool = False


def sample(
    database: Database,
    connection: Connection = DEFAULTS,
    *,
    force: bool = False,
    stop: Event | None = None,
    on_answer: Callable[[], None] = lambda: None,
) -> Sampled:
    """Sample the repositories that have no sample of today (`force`: all of them)."""
    told, due, addresses = Sampled(), dict[str, list[str]](), _addresses(database)
    for repository in due_repositories(database, force=force):
        due.setdefault(path(repository), []).append(repository)
    for place, one in enumerate(due):
        if stop is not None and stop.is_set():
            told.stopped = True
        if told.stopped or told.error:
            told.left = len(due) - place
            break
        _ask(database, connection, due[one], told, addresses.get(one, ()))
        on_answer()
    return told


def due_repositories(database: Database, *, force: bool = False) -> list[str]:
    """Addresses of GitHub repositories to be asked today, those never seen and longest not seen first.

    Those of which a request failed in the last `GONE_DAYS` come last, the one that failed longest ago first: a home
    that asks once a day would meet the same one first each day.
    """
    today = faults.now().date()
    last = select(StarSampleRow.repo_url, func.max(StarSampleRow.day).label("day")).group_by(StarSampleRow.repo_url)
    seen = last.subquery()
    wanted = (
        select(PaperRow.repo_url, func.max(seen.c.day))
        .outerjoin(seen, seen.c.repo_url == PaperRow.repo_url)
        .where(PaperRow.repo_url != "")
        .group_by(PaperRow.repo_url)
    )
    asked = select(FetchRow.url, FetchRow.status, FetchRow.at).where(
        FetchRow.source == SOURCE, FetchRow.error != "", FetchRow.at > faults.now() - timedelta(days=GONE_DAYS)
    )
    lost, failed = set[str](), dict[str, datetime]()
    with database.reading() as session:
        rows = [(url, day) for url, day in session.execute(wanted) if _REPOSITORY.fullmatch(url)]
        for url, status, at in session.execute(asked.order_by(FetchRow.at, FetchRow.id)):
            if (found := _PATH.search(url)) and status in GONE:
                lost.add(found[0])
            elif found and status == 0:
                failed[found[0]] = at
    kept = [(url, day) for url, day in rows if force or (day != today and path(url) not in lost)]
    kept.sort(key=lambda one: (one[1] is not None, str(one[1]), one[0]))
    never = datetime.min.replace(tzinfo=UTC)
    return sorted((url for url, _ in kept), key=lambda url: failed.get(path(url), never))


def path(repository: str) -> str:
    """The path of a repository's address in the interface."""
    found = _REPOSITORY.fullmatch(repository)
    return f"/repos/{found[1]}/{found[2]}" if found else ""


def _addresses(database: Database) -> dict[str, list[str]]:
    """Path of a repository -> the addresses by which papers name it."""
    found: dict[str, list[str]] = {}
    with database.reading() as session:
        for url in session.scalars(select(PaperRow.repo_url).where(PaperRow.repo_url != "").distinct()):
            found.setdefault(path(url), []).append(url)
    return found


def _ask(
    database: Database, connection: Connection, repositories: Sequence[str], told: Sampled, addresses: Sequence[str]
) -> None:
    """Ask about one repository; those of its addresses that are due get what is answered."""
    url = (connection.base_url or BASE).rstrip("/") + path(repositories[0])
    before = _last_sample(database, addresses)
    known = None if before is None else _last_good(database, url)  # "as before" would say nothing
    told.requests += 1
    limits = replace(connection.fetch, respect_robots=False)  # an interface for programs
    try:
        answer = fetch(url, limits, accept=(200, 304, 403, *GONE, 429), headers=_headers(known))
        stars = before if answer.status == 304 else _stars(answer)
    except FetchFailed as error:
        told.error = str(error)
        _record(database, FetchRow(source=SOURCE, url=url, status=0, error=str(error)))
        return
    told.unchanged_answers += answer.status == 304
    told.missing += answer.status in GONE
    told.read += stars is not None
    told.error = _spent(answer)
    etag = answer.headers.get("etag") or (known.etag if known and answer.status == 304 else "")
    wrong = told.error or ("there is no such repository" if stars is None else "")
    row = FetchRow(source=SOURCE, url=url, status=answer.status, etag=etag, error=wrong)
    _record(database, row, repositories, stars)


def _record(database: Database, row: FetchRow, repositories: Sequence[str] = (), stars: int | None = None) -> None:
    with database.writing() as session:
        session.add(row)
        if stars is not None:
            for repository in repositories:
                record_stars(session, repository, stars, faults.now())


def _last_sample(database: Database, addresses: Sequence[str]) -> int | None:
    """The stars of a repository by the last sample, whichever of its addresses that was kept under."""
    kept = StarSampleRow.repo_url.in_([one[:200] for one in addresses])
    with database.reading() as session:
        latest = select(StarSampleRow.stars).where(kept).order_by(StarSampleRow.day.desc())
        return session.scalar(latest.limit(1))


def _stars(answer: Fetched) -> int | None:
    """The number of stars; None: the answer has none."""
    if answer.status != 200:
        return None
    try:
        return min(max(0, int(json.loads(answer.content)["stargazers_count"])), _MOST)
    except (ValueError, KeyError, TypeError, OverflowError, RecursionError) as error:
        raise FetchFailed(
            f"{answer.url} answered without stargazers_count ({error!r}). Was the address changed?"
        ) from error


def _spent(answer: Fetched) -> str:
    """What to say where the server's limit is used up, else ""."""
    used_up = answer.headers.get("x-ratelimit-remaining") == "0" or "retry-after" in answer.headers
    used_up = used_up or b"rate limit" in answer.content.lower()  # of too many at once no header tells
    if answer.status not in (403, 429) or not (used_up or answer.status == 429):
        return ""
    reset = answer.headers.get("x-ratelimit-reset", "")
    known = reset.isdecimal() and len(reset) <= 11  # seconds; more are no time that a calendar has
    until = f" until {datetime.fromtimestamp(int(reset), UTC):%H:%M} UTC" if known else ""
    return (
        f"GitHub's limit is used up{until}; what is left is read at the next call. A key in {TOKEN} raises the limit."
    )


def _last_good(database: Database, url: str) -> FetchRow | None:
    wanted = select(FetchRow).where(FetchRow.source == SOURCE, FetchRow.url == url, FetchRow.error == "")
    with database.reading() as session:
        return session.scalar(wanted.order_by(FetchRow.at.desc(), FetchRow.id.desc()).limit(1))


def _headers(known: FetchRow | None) -> dict[str, str]:
    token = os.environ.get(TOKEN, "").strip()
    return {
        "accept": "application/vnd.github+json",
        **({"authorization": f"Bearer {token}"} if token else {}),
        **({"if-none-match": known.etag} if known and known.etag else {}),
    }
