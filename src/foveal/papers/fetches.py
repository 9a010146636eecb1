"""What is remembered of requests to sources (table `fetched`), and for how long.

    prune(database)                 # once a day, by the schedule and by `foveal papers update`

Age     `KEPT_DAYS` days: longer than any source looks back, for a condition (ETag) or for what was missing
Size    of each source the newest `MOST`: stars alone are a request for each repository and day
Stays   the last request of each source, and its last good one: when papers were last fetched is always known
"""

from __future__ import annotations

from datetime import timedelta

from sqlalchemy import delete, func, or_, select

from foveal import faults
from foveal.database import Database, rows_changed
from foveal.papers.schema import FetchRow

KEPT_DAYS = 90
MOST = 100_000


def prune(database: Database) -> int:
    """Delete what is too old, or too much; how many requests are forgotten."""
    before = faults.now() - timedelta(days=KEPT_DAYS)
    with database.reading() as session:
        last = select(func.max(FetchRow.id)).group_by(FetchRow.source)
        stays = {*session.scalars(last), *session.scalars(last.where(FetchRow.error == ""))}
        sources = list(session.scalars(select(FetchRow.source).distinct()))
        newest = select(FetchRow.id).order_by(FetchRow.id.desc()).offset(MOST).limit(1)
        first = {name: session.scalar(newest.where(FetchRow.source == name)) or 0 for name in sources}
    done = 0
    for name, id_ in first.items():
        old = or_(FetchRow.at < before, FetchRow.id <= id_)
        gone = delete(FetchRow).where(FetchRow.source == name, old, FetchRow.id.not_in(stays))
        with database.writing() as session:
            done += rows_changed(session, gone)
    return done
