"""Long jobs in the database: who has one, who may take it over, what never happens twice; on both databases."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from datetime import timedelta
from pathlib import Path

import pytest
from postgres import emptied
from sqlalchemy import inspect

import foveal.papers.people_schema  # noqa: F401  (its tables are part of the chain)
from foveal import faults
from foveal.database import Database
from foveal.settings import Settings
from foveal.web.job_schema import JobRow
from foveal.web.kept_jobs import HELD_S, MOST_TRIES, KeptJobs

ASKED = {"question": "Who keeps the mill? \x00 \ud800", "where": None}


@pytest.fixture(params=["sqlite", "postgres"])
def database(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Database]:
    url = emptied(request.getfixturevalue("postgres")) if request.param == "postgres" else "sqlite"
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path, database=url))
    yield opened
    opened.close()


def of_a_dead_process(database: Database) -> KeptJobs:
    """The jobs of a process of this machine that is no more."""
    done = subprocess.run([sys.executable, "-c", "import os; print(os.getpid())"], capture_output=True, check=True)
    own = KeptJobs(database)
    return KeptJobs(database, own.holder.replace(f"/{os.getpid()}/", f"/{int(done.stdout)}/"))


def test_the_chain_makes_the_table_that_is_declared(database: Database) -> None:
    found = inspect(database.engine)
    columns = {column["name"]: column["nullable"] for column in found.get_columns("web_job")}
    assert columns == {column.name: bool(column.nullable) for column in JobRow.__table__.columns}
    assert {one["name"] for one in found.get_indexes("web_job")} == {one.name for one in JobRow.__table__.indexes}


def test_a_job_is_kept_held_and_ended_by_the_one_that_has_it(database: Database) -> None:
    ours, others = KeptJobs(database), KeptJobs(database)
    ours.put("a", "ask", ASKED)
    assert others.find("a").state == "waiting"
    assert others.find("a").asked["question"] == "Who keeps the mill? \x00 ?"
    assert others.left() == []
    assert not others.take("a")
    assert not others.begun("a")
    assert not others.ended("a", "done", shown={})
    assert ours.begun("a")
    beat = ours.beat({"a": ("running", {"text": "Reading", "done": 1, "total": 3}), "b": ("running", {})})
    assert (dict(beat.wishes), list(beat.lost)) == ({}, ["b"])
    assert others.find("a").progress == {"text": "Reading", "done": 1, "total": 3}
    assert ours.ended("a", "done", shown={"text": "Orsin Vale"})
    assert not ours.ended("a", "failed", error="later")
    found = others.find("a")
    assert (found.state, found.shown, found.error) == ("done", {"text": "Orsin Vale"}, "")
    assert others.find("none") is None


def test_what_a_dead_process_had_is_taken_over_once(database: Database) -> None:
    dead = of_a_dead_process(database)
    for key in "abc":
        dead.put(key, "ask", ASKED)
    dead.begun("b")
    takers = [KeptJobs(database) for _ in range(4)]
    assert [job.key for job in takers[0].left()] == ["a", "b", "c"]
    taken: list[tuple[int, str]] = []

    def take(number: int) -> None:
        taken.extend((number, key) for key in "abc" if takers[number].take(key))

    threads = [threading.Thread(target=take, args=(number,)) for number in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(key for _, key in taken) == ["a", "b", "c"]
    assert takers[0].left() == []


def test_another_machines_job_is_free_once_its_time_is_over(database: Database) -> None:
    far, near = KeptJobs(database, "elsewhere/1/x"), KeptJobs(database)
    far.put("a", "ask", ASKED)
    assert not near.take("a")
    later = faults.now() + timedelta(seconds=HELD_S + 1)
    with faults.injected({}, clock=lambda: later):
        assert [job.key for job in near.left()] == ["a"]
        assert near.take("a")
        assert list(far.beat({"a": ("running", {})}).lost) == ["a"]


@pytest.mark.usefixtures("own_clock")
def test_a_job_held_by_a_clock_that_was_ahead_is_free_once_its_holder_is_silent(database: Database) -> None:
    ours = [faults.now()]
    ahead = ours[0] + timedelta(days=300)
    far, near = KeptJobs(database, "elsewhere/1/x"), KeptJobs(database)
    with faults.injected({}, clock=lambda: ahead):
        for key in "ab":
            far.put(key, "ask", ASKED)

    def go_on(seconds: float) -> None:
        with faults.injected({}, clock=lambda: ahead + timedelta(seconds=seconds)):
            far.beat({"a": ("running", {})})

    with faults.injected({}, clock=lambda: ours[0]):
        assert near.left() == []
        ours[0] += timedelta(seconds=HELD_S - 1)
        go_on(2)  # alive: two machines must not do it
        assert [near.left(), near.take("a"), near.take("b")] == [[], False, False]
        ours[0] += timedelta(seconds=1)
        assert [job.key for job in KeptJobs(database).left()] == ["b"]  # also for one that has just begun
        near.wish("a", "cancel")
        assert near.find("a").state == "running"
        assert [near.take("a"), near.take("b")] == [False, True]
        assert near.begun("b")
        assert not far.begun("b")
        ours[0] += timedelta(seconds=HELD_S)
        assert [job.key for job in near.left()] == ["a"]
        go_on(4)
        assert not near.take("a")  # it was heard of since


def test_what_kills_every_process_does_not_go_round_for_ever(database: Database) -> None:
    for _ in range(MOST_TRIES):
        dead = of_a_dead_process(database)
        assert dead.take("a") if dead.find("a") else dead.put("a", "ask", ASKED) is None
        assert dead.begun("a")
    last = KeptJobs(database)
    assert not last.take("a")
    assert last.find("a").state == "failed"
    assert f"{MOST_TRIES} times" in last.find("a").error


def test_a_stop_is_no_try_and_frees_what_waits(database: Database) -> None:
    for _ in range(MOST_TRIES + 1):
        one = KeptJobs(database)
        assert one.take("a") if one.find("a") else one.put("a", "ask", ASKED) is None
        assert one.begun("a")
        one.let_go(["a"])
    assert [job.tries for job in KeptJobs(database).left()] == [0]


def test_a_page_of_another_process_can_wish(database: Database) -> None:
    ours, others = KeptJobs(database), KeptJobs(database)
    ours.put("a", "ask", ASKED)
    others.wish("a", "cancel")
    assert others.find("a").state == "waiting"
    assert dict(ours.beat({"a": ("running", {})}).wishes) == {"a": "cancel"}
    of_a_dead_process(database).put("b", "ask", ASKED)
    others.wish("b", "cancel")  # nobody is there to grant it
    assert others.find("b").state == "cancelled"
    others.wish("none", "cancel")


def test_a_day_after_its_end_a_job_is_gone_and_so_is_what_nobody_could_do(database: Database) -> None:
    ours = KeptJobs(database)
    for key in ("ended", "open"):
        ours.put(key, "ask", ASKED)
    ours.ended("ended", "done", shown={})
    of_a_dead_process(database).put("nobodys", "add", {"given": []})
    ours.forget(3600)
    assert all(ours.find(key) for key in ("ended", "open", "nobodys"))
    later = faults.now() + timedelta(seconds=3700)
    with faults.injected({}, clock=lambda: later):
        ours.beat({"open": ("running", {})})
        ours.forget(3600)
    assert [bool(ours.find(key)) for key in ("ended", "open", "nobodys")] == [False, True, False]
