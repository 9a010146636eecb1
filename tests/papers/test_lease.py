"""Who holds a job's lease, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest

from foveal import faults
from foveal.database import Database
from foveal.papers import lease
from foveal.settings import Settings

START = datetime(2026, 10, 2, 8, tzinfo=UTC)
OURS, THEIRS = "here/1/a", "elsewhere/1/b"


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    yield opened
    opened.close()


def taken(database: Database, holder: str, at: datetime) -> bool:
    with faults.injected({}, clock=lambda: at), database.writing() as session:
        return lease.take(session, "mail", holder, seconds=120)


def test_a_lease_of_another_machine_ends_by_its_time(database: Database) -> None:
    assert taken(database, THEIRS, START)
    assert not taken(database, OURS, START + timedelta(seconds=119))
    assert taken(database, THEIRS, START + timedelta(seconds=119))
    assert not taken(database, OURS, START - timedelta(seconds=1))  # their clock is two minutes fast
    assert taken(database, OURS, START + timedelta(seconds=239))


def test_a_lease_of_a_clock_that_was_wrong_by_far_is_free(database: Database) -> None:
    assert taken(database, THEIRS, START + timedelta(days=365))
    assert taken(database, OURS, START)
    assert not taken(database, THEIRS, START)
