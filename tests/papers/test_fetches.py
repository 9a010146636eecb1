"""What is remembered of requests to sources: an age, a size, and the last ones of each source, which stay."""

from __future__ import annotations

from datetime import timedelta

import pytest
from sqlalchemy import select

from foveal import faults
from foveal.database import Database
from foveal.papers import fetches
from foveal.papers.fetches import KEPT_DAYS, prune
from foveal.papers.schema import FetchRow


def asked(database: Database, source: str, days: float, error: str = "") -> None:
    at = faults.now() - timedelta(days=days)
    with database.writing() as session:
        session.add(FetchRow(source=source, url=f"https://example.org/{days}", at=at, error=error))


def left(database: Database) -> list[tuple[str, float]]:
    with database.reading() as session:
        rows = session.scalars(select(FetchRow).order_by(FetchRow.id))
        return [(row.source, float(row.url.rpartition("/")[2])) for row in rows]


def test_what_is_too_old_goes_but_the_last_of_each_source(database: Database):
    for days in (KEPT_DAYS + 2, KEPT_DAYS + 1, KEPT_DAYS - 1, 0):
        asked(database, "arxiv", days)
    asked(database, "gone", KEPT_DAYS + 9)
    asked(database, "gone", KEPT_DAYS + 8)
    asked(database, "gone", KEPT_DAYS + 7, "no answer")
    asked(database, "gone", KEPT_DAYS + 6, "no answer")
    assert prune(database) == 4
    assert left(database) == [
        ("arxiv", KEPT_DAYS - 1),
        ("arxiv", 0),
        ("gone", KEPT_DAYS + 8),
        ("gone", KEPT_DAYS + 6),
    ]
    assert prune(database) == 0


def test_of_each_source_so_many_are_kept(database: Database, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(fetches, "MOST", 3)
    asked(database, "stars", 9)
    for days in (8, 7, 6, 5, 4):
        asked(database, "stars", days, "there is no such repository")
    asked(database, "arxiv", 8)
    assert prune(database) == 2
    assert left(database) == [("stars", 9), ("stars", 6), ("stars", 5), ("stars", 4), ("arxiv", 8)]
