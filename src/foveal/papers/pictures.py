"""First pages as pictures: PDFs of papers that were just listed, fetched once each, of which only the picture is kept.

    fetch_pictures(database, home, Connection())         # Fetched(read=…, missing=…, left=…); what it left is next

Off      unless foveal.toml has a source `from = "pictures"`; `ask = "all"` there asks for every paper's PDF, otherwise
         only those under a licence that lets others show them (CC BY, CC BY-SA, CC0, public domain) are fetched
Which    papers of arXiv of the last 3 days that have no picture, the newest first, 60 at a reading
Manners  arXiv's interval, robots.txt, 32 MB at most; what is no PDF, or is gone, is asked for again after 7 days, what
         failed twice in a day not before the next one
Records  every request, as for the other sources; one that cannot be made ends the reading, and says why. In the next
         one it comes last: a PDF that always fails (one that is too large) holds up no other
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, replace
from datetime import timedelta
from hashlib import sha256
from pathlib import Path
from threading import Event

from sqlalchemy import func, select

from foveal import faults
from foveal.database import Database
from foveal.errors import FetchFailed, InputError, UnreadableSource
from foveal.papers.schema import FetchRow, ListingRow, PaperRow
from foveal.papers.sources import DEFAULTS, Connection
from foveal.papers.thumbnails import first_page, keep, kept
from foveal.text.arxiv import ArxivClient, ArxivSettings, arxiv_address

BASE = "https://arxiv.org"
SOURCE = "pictures"
ALL = "all"
DAYS, MOST, AGAIN_DAYS = 3, 60, 7
MOST_BYTES = 32 * 2**20
MOST_TRIES = 2
"""Requests for a PDF in a day that may fail: each may have taken `MOST_BYTES`."""

_OPEN = re.compile(r"creativecommons\.org/(licenses/by(-sa)?/|publicdomain/)", re.IGNORECASE)


@dataclass
class Fetched:
    """What a reading did; `left` papers were not asked for."""

    read: int = 0
    missing: int = 0
    left: int = 0
    requests: int = 0
    error: str = ""
    stopped: bool = False


def fetch_pictures(
    database: Database,
    home: Path,
    connection: Connection = DEFAULTS,
    ask: str = "",
    *,
    force: bool = False,
    stop: Event | None = None,
    on_answer: Callable[[], None] = lambda: None,
) -> Fetched:
    """Fetch the pictures that are missing (`force`: also those asked for lately). InputError: another `ask`."""
    if ask not in ("", ALL):
        raise InputError(f'Pictures are asked for with {ask[:40]!r}; it is "{ALL}", or left out: open licences only.')
    told, due = Fetched(), due_papers(database, home, licensed=ask != ALL, force=force)
    settings = ArxivSettings(interval_s=connection.interval_s, pace_file=connection.pace_file)
    client = ArxivClient(settings, replace(connection.fetch, max_bytes=min(MOST_BYTES, connection.fetch.max_bytes)))
    for place, (which, version) in enumerate(due):
        told.stopped = stop is not None and stop.is_set()
        if told.stopped or told.error or place == MOST:
            told.left = len(due) - place
            break
        _fetch(database, home, client, _address(connection, which, version), which, told)
        on_answer()
    return told


def due_papers(database: Database, home: Path, *, licensed: bool = True, force: bool = False) -> list[tuple[str, int]]:
    """Id and version of the papers whose picture is to be fetched, those listed last first."""
    today = faults.now().date()
    day = func.max(ListingRow.day).label("day")
    wanted = (
        select(PaperRow.id, PaperRow.version, PaperRow.licence, day)
        .join(ListingRow, ListingRow.paper_id == PaperRow.id)
        .where(ListingRow.day.between(today - timedelta(days=DAYS - 1), today), PaperRow.withdrawn.is_(False))
        .group_by(PaperRow.id, PaperRow.version, PaperRow.licence)
        .order_by(day.desc(), PaperRow.id)
    )
    now = faults.now()
    asked = select(FetchRow.url).where(FetchRow.source == SOURCE, FetchRow.at > now - timedelta(days=AGAIN_DAYS))
    answered, failing = asked.where(FetchRow.status > 0), asked.where(FetchRow.status == 0)
    with database.reading() as session:
        rows = session.execute(wanted).all()
        lately = {_path(url) for url in session.scalars(answered)}
        failed = Counter(_path(url) for url in session.scalars(failing))
        today_failed = Counter(
            _path(url) for url in session.scalars(failing.where(FetchRow.at > now - timedelta(days=1)))
        )
    lately |= {path for path, times in today_failed.items() if times >= MOST_TRIES}
    due = [
        (which, version)
        for which, version, licence, _ in rows
        if arxiv_address(f"arxiv:{which}")
        and (not licensed or _OPEN.search(licence))
        and kept(home, which) is None
        and (force or f"/pdf/{which}v{version}" not in lately)
    ]
    return sorted(due, key=lambda one: failed[f"/pdf/{one[0]}v{one[1]}"])


def _address(connection: Connection, which: str, version: int) -> str:
    return f"{(connection.base_url or BASE).rstrip('/')}/pdf/{which}v{version}"


def _path(url: str) -> str:
    return url[url.find("/pdf/") :]


def _fetch(database: Database, home: Path, client: ArxivClient, url: str, which: str, told: Fetched) -> None:
    """One PDF, to its picture; the file itself is not kept."""
    told.requests += 1
    row = FetchRow(source=SOURCE, url=url, status=0)
    try:
        answer = client.pdf(url, accept=(200, 403, 404, 410))
        row.status = answer.status
        if answer.status == 200:
            row.sha256 = sha256(answer.content).hexdigest()
            keep(home, which, first_page(answer.content))
            row.added = 1
        else:
            row.error = f"there is no such PDF (status {answer.status})"
    except UnreadableSource as error:
        row.error = str(error)
    except FetchFailed as error:
        row.error = told.error = str(error)
    told.read += row.added or 0
    told.missing += bool(row.error) and not told.error
    with database.writing() as session:
        session.add(row)
