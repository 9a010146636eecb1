"""Who holds a job's lease, and for how long."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from postgres import with_tables
from sqlalchemy import select, update

from foveal import faults
from foveal.database import Database, Hold, LeaseRow
from foveal.papers import lease
from foveal.settings import Settings

START = datetime(2026, 10, 2, 8, tzinfo=UTC)
OURS, THEIRS = "here/1/a", "elsewhere/1/b"


@pytest.fixture(params=["sqlite", "postgresql"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = "sqlite" if request.param == "sqlite" else with_tables(request.getfixturevalue("postgres"))
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
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


@pytest.mark.usefixtures("own_clock")
def test_a_lease_of_a_clock_that_was_wrong_by_far_is_free_once_it_stood_as_long_as_it_lasts(database: Database) -> None:
    ahead = START + timedelta(days=365)
    assert taken(database, THEIRS, ahead)
    assert not taken(database, OURS, START)
    assert taken(database, THEIRS, ahead + timedelta(seconds=60))  # it is alive: two must not do the job
    assert not taken(database, OURS, START + timedelta(seconds=120))
    assert not taken(database, OURS, START + timedelta(seconds=239))
    assert taken(database, OURS, START + timedelta(seconds=240))
    assert not taken(database, THEIRS, START + timedelta(seconds=240))


@pytest.mark.usefixtures("own_clock")
def test_who_sees_a_right_lease_by_a_clock_that_is_behind_takes_nothing_from_it(database: Database) -> None:
    behind = START - timedelta(days=1)
    for seconds in range(0, 600, 60):
        after = timedelta(seconds=seconds)
        assert taken(database, OURS, START + after)
        assert not taken(database, THEIRS, behind + after)
        assert not taken(database, "third/1/c", START + after)  # whom the other's looks do not mislead
    assert not taken(database, THEIRS, behind + timedelta(seconds=600))
    assert taken(database, THEIRS, behind + timedelta(seconds=720))  # ours was silent for as long as it lasts


@pytest.mark.usefixtures("own_clock")
def test_a_look_by_a_clock_that_was_ahead_itself_keeps_nothing_held(database: Database) -> None:
    assert taken(database, THEIRS, START + timedelta(days=800))
    assert not taken(database, OURS, START + timedelta(days=365))
    assert not taken(database, OURS, START)
    assert taken(database, OURS, START + timedelta(seconds=120))


@pytest.mark.usefixtures("own_clock")
def test_what_is_told_of_a_lease_by_a_clock_ahead(database: Database) -> None:
    assert taken(database, THEIRS, START + timedelta(days=365))
    with faults.injected({}, clock=lambda: START), database.writing() as session:
        told = lease.advice(session, "mail", seconds=120)
        assert "until 2027-10-02 by elsewhere/1/b, whose clock is ahead" in told
        assert "free 120 s after" in told
        assert lease.advice(session, "papers", seconds=120) == ""
    with faults.injected({}, clock=lambda: START):
        found = lease.has(database, "mail", seconds=120)
        assert found is not None
        assert found.holder == THEIRS
    with faults.injected({}, clock=lambda: START + timedelta(seconds=120)):
        assert lease.has(database, "mail", seconds=120) is None


@pytest.mark.usefixtures("own_clock")
def test_what_was_seen_is_forgotten(database: Database) -> None:
    for day in range(3):
        moment = START + timedelta(days=day * 100)
        assert Hold(f"run {day}", THEIRS, START + timedelta(days=1000), 40, moment).lasts_in(database)
    with database.reading() as session:
        assert len(session.scalars(select(LeaseRow)).all()) == 1


@pytest.mark.parametrize("apart", [timedelta(minutes=-5), timedelta(days=-1), timedelta(minutes=5)])
def test_of_a_server_two_whose_clocks_differ_take_nothing_from_a_third_that_is_ahead_and_alive(
    postgres: str, tmp_path: Path, apart: timedelta
) -> None:
    database = Database.open(Settings(home=tmp_path, cache=tmp_path, database=with_tables(postgres)))
    for seconds in range(0, 90, 10):
        alive = START + timedelta(days=365, seconds=seconds)
        assert taken(database, THEIRS, alive)
        for _ in range(2):
            assert not taken(database, OURS, START + timedelta(seconds=seconds))
            assert not taken(database, "third/1/c", START + apart + timedelta(seconds=seconds))
    with database.writing() as session:
        session.execute(update(LeaseRow).where(LeaseRow.name != "mail").values(until=faults.now()))  # as time goes by
    assert taken(database, "third/1/c", START + apart)
    database.close()
