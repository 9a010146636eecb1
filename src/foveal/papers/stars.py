"""Stars of the repositories that papers name: one sample a day, from GitHub's REST interface.

    sample(database, Connection())          # Sampled(read=…, missing=…, left=…)

Asks      GET /repos/OWNER/NAME, at most once a day for each repository, those that were seen longest ago first
Key       the variable GITHUB_TOKEN, if it is set: 5,000 requests an hour in the place of 60
Manners   conditions (a 304 costs nothing of the limit), and an end when the server says that the limit is used up:
          what is left is read at the next call
Records   every request, as for the other sources; a repository that is gone (404) is asked again after `GONE_DAYS`
"""

from __future__ import annotations

import json
import os
import re
from collections.abc import Callable
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
    told = Sampled()
    due = due_repositories(database, force=force)
    for place, repository in enumerate(due):
        if stop is not None and stop.is_set():
            told.stopped = True
        if told.stopped or told.error:
            told.left = len(due) - place
            break
        _ask(database, connection, repository, told)
        on_answer()
    return told


def due_repositories(database: Database, *, force: bool = False) -> list[str]:
    """Addresses of GitHub repositories to be asked today, those never seen and longest not seen first."""
    today = faults.now().date()
    last = select(StarSampleRow.repo_url, func.max(StarSampleRow.day).label("day")).group_by(StarSampleRow.repo_url)
    seen = last.subquery()
    wanted = (
        select(PaperRow.repo_url, func.max(seen.c.day))
        .outerjoin(seen, seen.c.repo_url == PaperRow.repo_url)
        .where(PaperRow.repo_url != "")
        .group_by(PaperRow.repo_url)
    )
    gone = select(FetchRow.url).where(
        FetchRow.source == SOURCE, FetchRow.status == 404, FetchRow.at > faults.now() - timedelta(days=GONE_DAYS)
    )
    with database.reading() as session:
        rows = [(url, day) for url, day in session.execute(wanted) if _REPOSITORY.fullmatch(url)]
        lost = {found[0] for one in session.scalars(gone) if (found := _PATH.search(one))}
    kept = [(url, day) for url, day in rows if force or (day != today and path(url) not in lost)]
    return [url for url, _ in sorted(kept, key=lambda one: (one[1] is not None, str(one[1]), one[0]))]


def path(repository: str) -> str:
    """The path of a repository's address in the interface."""
    found = _REPOSITORY.fullmatch(repository)
    return f"/repos/{found[1]}/{found[2]}" if found else ""


def _ask(database: Database, connection: Connection, repository: str, told: Sampled) -> None:
    url = (connection.base_url or BASE).rstrip("/") + path(repository)
    known = _last_good(database, url)
    told.requests += 1
    limits = replace(connection.fetch, respect_robots=False)  # an interface for programs
    try:
        answer = fetch(url, limits, accept=(200, 304, 403, 404, 429), headers=_headers(known))
        stars = _stars(answer, known, database, repository)
    except FetchFailed as error:
        told.error = str(error)
        _record(database, FetchRow(source=SOURCE, url=url, status=0, error=str(error)))
        return
    told.unchanged_answers += answer.status == 304
    told.missing += answer.status == 404
    told.read += stars is not None
    told.error = _spent(answer)
    etag = answer.headers.get("etag") or (known.etag if known and answer.status == 304 else "")
    wrong = told.error or ("there is no such repository" if stars is None else "")
    row = FetchRow(source=SOURCE, url=url, status=answer.status, etag=etag, error=wrong)
    _record(database, row, repository, stars)


def _record(database: Database, row: FetchRow, repository: str = "", stars: int | None = None) -> None:
    with database.writing() as session:
        session.add(row)
        if stars is not None:
            record_stars(session, repository, stars, faults.now())


def _stars(answer: Fetched, known: FetchRow | None, database: Database, repository: str) -> int | None:
    """The number of stars; after 304 it is that of the last sample. None: the answer has none."""
    if answer.status == 304 and known is not None:
        latest = select(StarSampleRow.stars).where(StarSampleRow.repo_url == repository[:200])
        with database.reading() as session:
            return session.scalar(latest.order_by(StarSampleRow.day.desc()).limit(1))
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
