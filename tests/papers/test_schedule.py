"""Sources at their hours: plans of foveal.toml, hours across changes of clocks, one runner, catching up, Ctrl-C."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from datetime import time as clock_time
from pathlib import Path
from zoneinfo import ZoneInfo

import pytest
from clocks import NOON, Clock, moved
from hypothesis import given
from hypothesis import strategies as st
from papers.arxiv_answers import item, rss
from servers import page, serving

from foveal.database import Database, LeaseRow
from foveal.errors import InputError, UnknownName
from foveal.papers import curating, headline_lines, rising, schedule, stars, trend_forecast
from foveal.papers.plans import Plan, moment_of, plans_of
from foveal.papers.records import PaperRecord
from foveal.papers.schedule import LEASE, LEASE_S, RETRY, RETRY_MINUTES, Schedule, release, take, update
from foveal.papers.schema import SourceRow
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

PARIS = ZoneInfo("Europe/Paris")


@pytest.fixture
def clock() -> Iterator[Clock]:
    with moved() as held:
        yield held


def settings(tmp_path: Path, **sources: dict[str, object]) -> Settings:
    return Settings(home=tmp_path, cache=tmp_path, allow_private_addresses=True, papers={"sources": sources})


def test_plans_as_a_person_writes_them(tmp_path):
    (tmp_path / "foveal.toml").write_text(
        '[papers]\nzone = "Europe/Paris"\n[papers.sources.cs]\nfrom = "arxiv"\nask = "cs.CL"\nat = ["06:30", "18:05"]\n'
        '[papers.sources.code]\nfrom = "stars"\nat = "23:00"\n[papers.sources.all]\nfrom = "library"\n'
    )
    first, second, third = plans_of(Settings.load(tmp_path, environment={}))
    assert (first.name, first.kind, first.ask, first.zone.key) == ("cs", "arxiv", "cs.CL", "Europe/Paris")
    assert first.at == (clock_time(6, 30), clock_time(18, 5))
    assert (second.at, third.at) == ((clock_time(23, 0),), (clock_time(6, 30),))
    assert plans_of(Settings(home=tmp_path, cache=tmp_path)) == ()


@pytest.mark.parametrize(
    ("table", "said"),
    [
        ({"zone": "Mars/North"}, "is no time zone"),
        ({"colour": 1}, "sets colour; it knows zone, sources"),
        ({"sources": {"a": 3}}, "needs a table for each source"),
        ({"sources": {"a": {"from": "gopher"}}}, "comes from 'gopher'. There are: arxiv"),
        ({"sources": {"a": {"from": "pasted"}}}, "comes from 'pasted'"),
        ({"sources": {"a": {"ask": "x"}}}, "comes from ''"),
        ({"sources": {"a": {"from": "arxiv", "when": "6"}}}, "sets when; it knows from, ask, at, url"),
        ({"sources": {"a": {"from": "arxiv", "ask": 3}}}, "needs words for from, ask and url"),
        ({"sources": {"a": {"from": "arxiv", "at": "6:30"}}}, 'an hour looks like "06:30"'),
        ({"sources": {"a": {"from": "arxiv", "at": ["24:00"]}}}, "at '24:00'"),
        ({"sources": {"a": {"from": "arxiv", "at": 630}}}, "at 630"),
        ({"sources": {"a": {"from": "arxiv", "at": []}}}, "and an hour"),
    ],
)
def test_a_wrong_table_is_named_in_a_sentence(tmp_path, table, said):
    with pytest.raises(InputError, match=said.replace("[", r"\[")):
        plans_of(Settings(home=tmp_path, cache=tmp_path, papers=table))


# hours


def test_hours_across_changes_of_clocks():
    """2:30 is left out on 29 March 2026 and comes twice on 25 October, in Paris."""
    half_past_two = clock_time(2, 30)
    days = [(date(2026, 3, 28), 1.5), (date(2026, 3, 29), 1.5), (date(2026, 3, 30), 0.5), (date(2026, 10, 25), 0.5)]
    for day, hours in days:
        assert moment_of(day, half_past_two, PARIS) == datetime(day.year, day.month, day.day, tzinfo=UTC) + timedelta(
            hours=hours
        )
    plan = Plan(name="a", kind="arxiv", at=(half_past_two,), zone=PARIS)
    moments, now = set(), datetime(2026, 10, 24, tzinfo=UTC)
    while now < datetime(2026, 10, 27, tzinfo=UTC):
        moments.add(plan.due(now))
        now += timedelta(minutes=10)
    assert len(moments) == 4


@given(
    st.datetimes(datetime(2020, 1, 2), datetime(2030, 12, 1)),
    st.sampled_from(["UTC", "Europe/Paris", "America/New_York", "Asia/Kolkata", "Pacific/Apia", "Australia/Lord_Howe"]),
    st.lists(st.times(), min_size=1, max_size=3),
)
def test_the_last_hour_and_the_next_one_enclose_now(naive, zone, hours):
    now = naive.replace(tzinfo=UTC)
    plan = Plan(
        name="a", kind="arxiv", zone=ZoneInfo(zone), at=tuple(one.replace(microsecond=0, tzinfo=None) for one in hours)
    )
    due, following = plan.due(now), plan.next(now)
    assert due <= now < following
    assert following - due <= timedelta(hours=26)
    assert plan.due(following) == following


# reading at the hours


def feed_settings(server, tmp_path: Path, **more: object) -> Settings:
    return settings(tmp_path, cl={"from": "feed", "ask": server.url("/rss/cs.CL"), "at": "06:30", **more})


def test_a_source_is_read_when_its_hour_has_passed_and_once(database, clock, tmp_path):
    stop = threading.Event()
    with serving({"/rss/cs.CL": page(rss(item("2610.00001")))}) as server:
        schedule = Schedule(database, feed_settings(server, tmp_path))
        assert [one.upserted.added for one in schedule.tick(stop)] == [["2610.00001"]]
        for hours, asked in ((0.1, 1), (18, 1), (18.5, 2), (18.6, 2), (24 * 9, 3), (24 * 9 + 1, 3)):
            clock.now = NOON + timedelta(hours=hours)
            schedule.tick(stop)
            assert server.asked("/rss/cs.CL") == asked, hours


def test_a_new_process_remembers_what_was_read(database, clock, tmp_path):
    with serving({"/rss/cs.CL": page(rss())}) as server:
        first = Schedule(database, feed_settings(server, tmp_path))
        first.tick(threading.Event())
        release(database, "papers", first.holder)
        second = Schedule(database, feed_settings(server, tmp_path))
        assert second.tick(threading.Event()) == []
        changed = Schedule(database, feed_settings(server, tmp_path, ask=server.url("/rss/cs.CL?other")), second.holder)
        assert len(changed.tick(threading.Event())) == 1


def test_a_clock_that_was_wrong_once_stops_no_source(database, clock, tmp_path):
    """A year ahead and back: what was begun then is no reading of now."""
    with database.writing() as session:
        session.add(SourceRow(name="arxiv", ask="cs.CL", started_at=NOON + timedelta(days=365)))
    plan = Plan(name="arxiv", kind="arxiv", ask="cs.CL")
    assert Schedule(database, settings(tmp_path)).is_due(plan, NOON)


def test_a_clock_that_was_wrong_while_the_site_ran_stops_nothing_of_it(database, clock, tmp_path, monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(rising, "refresh", lambda *_: done.append("rising") or bursts())
    monkeypatch.setattr(schedule.fetches, "prune", lambda _: done.append("prune"))
    with serving({"/rss/cs.CL": page(rss())}) as server:
        held = Schedule(database, feed_settings(server, tmp_path))
        for days in (365, 0):
            clock.now = NOON + timedelta(days=days)
            assert len(held.tick(threading.Event())) == 1, days
    assert done == ["rising", "prune"] * 2


def test_a_source_that_failed_is_tried_again_after_a_while(database, clock, tmp_path):
    stop = threading.Event()
    with serving({"/rss/cs.CL": page("down", status=500)}) as server:
        schedule = Schedule(database, feed_settings(server, tmp_path))
        assert "status 500" in schedule.tick(stop)[0].error
        clock.now += timedelta(minutes=RETRY_MINUTES - 1)
        assert schedule.tick(stop) == []
        clock.now += timedelta(minutes=2)
        assert len(schedule.tick(stop)) == 1
        assert server.asked("/rss/cs.CL") == 2


def test_how_a_source_stands_says_when_it_is_really_read_next(database, clock, tmp_path):
    """After a failure that is not its next ordinary hour, unless that comes sooner; what is due is due."""
    stop, answers = threading.Event(), {"/rss/cs.CL": page("down", status=500)}
    with serving(answers) as server:
        held = feed_settings(server, tmp_path, at=["06:30", "12:50"])
        running = Schedule(database, held)
        shown = lambda: [one.next_at - NOON for one in schedule.standing(database, held)]  # noqa: E731
        assert shown() == [timedelta()]
        assert running.tick(stop)[0].error
        assert shown() == [RETRY]
        clock.now = NOON + RETRY
        assert shown() == [RETRY]
        assert running.tick(stop)[0].error
        assert shown() == [timedelta(minutes=50)]
        clock.now = NOON + timedelta(minutes=50)
        answers["/rss/cs.CL"] = page(rss(item("2610.00001")))
        assert not running.tick(stop)[0].error
        assert shown() == [timedelta(hours=18, minutes=30)]
        clock.now = NOON + timedelta(days=2)
        assert shown() == [timedelta(days=2)]


def test_old_requests_are_forgotten_once_a_day(database, clock, tmp_path, monkeypatch):
    done = []
    monkeypatch.setattr(schedule.fetches, "prune", lambda _: done.append(clock.now))
    kept, stop = Schedule(database, settings(tmp_path)), threading.Event()
    for hours, times in ((0, 1), (23, 1), (24.1, 2), (24.2, 2)):
        clock.now = NOON + timedelta(hours=hours)
        kept.tick(stop)
        assert len(done) == times, hours
    list(update(database, settings(tmp_path)))
    assert len(done) == 3


def test_one_source_that_is_wrong_stops_no_other(database, clock, tmp_path):
    with serving({"/rss/cs.CL": page(rss(item("2610.00001")))}) as server:
        wrong = {"from": "arxiv-feed", "ask": "no category!"}
        good = {"from": "feed", "ask": server.url("/rss/cs.CL")}
        told = Schedule(database, settings(tmp_path, wrong=wrong, good=good, gone={"from": "library"})).tick(
            threading.Event()
        )
    assert [bool(one.error) for one in told] == [True, False, True]
    assert "they need categories" in told[0].error
    assert "no library" in told[2].error


def bursts(*_: object, **__: object) -> None:
    raise RuntimeError("as nobody thought")


def test_an_error_that_nobody_thought_of_stops_no_other_source(database, clock, tmp_path, monkeypatch):
    monkeypatch.setattr(stars, "sample", bursts)
    with serving({"/rss/cs.CL": page(rss(item("2610.00001")))}) as server:
        good = {"from": "feed", "ask": server.url("/rss/cs.CL")}
        first, second = Schedule(database, settings(tmp_path, code={"from": "stars"}, good=good)).tick(
            threading.Event()
        )
    assert "RuntimeError: as nobody thought" in first.error
    assert (second.error, second.upserted.added) == ("", ["2610.00001"])
    with database.reading() as session:
        assert session.get(SourceRow, "code").error == first.error


def test_what_is_done_beside_reading_fails_alone_and_not_at_every_look(database, clock, tmp_path, monkeypatch):
    done: list[str] = []
    monkeypatch.setattr(rising, "refresh", lambda *_: done.append("rising") or bursts())
    monkeypatch.setattr(trend_forecast, "refresh", lambda *_: done.append("trend") or bursts())
    monkeypatch.setattr(headline_lines, "judge_new", lambda *_, **__: done.append("titles"))
    held = Schedule(database, settings(tmp_path))
    for _ in range(2):
        held.tick(threading.Event())
    assert done == ["rising", "trend", "titles", "titles"]
    clock.now += timedelta(minutes=RETRY_MINUTES)
    held.tick(threading.Event())
    assert done[4:] == ["rising", "trend", "titles"]


def test_whatever_a_look_raises_the_schedule_goes_on(database, tmp_path, monkeypatch):
    looks: list[int] = []
    stop = threading.Event()

    def publish(*_: object) -> None:
        looks.append(1)
        if len(looks) == 3:
            stop.set()
        raise RuntimeError("as nobody thought")

    monkeypatch.setattr(schedule, "publish", publish)
    monkeypatch.setattr(schedule, "LOOK_S", 0.001)
    Schedule(database, settings(tmp_path)).run(stop)
    assert len(looks) == 3


def test_update_by_hand_takes_names_and_says_which_there_are(database, clock, tmp_path):
    with serving({"/rss/cs.CL": page(rss(item("2610.00001")))}) as server:
        held = feed_settings(server, tmp_path)
        assert [one.name for one in update(database, held, ["cl"])] == ["cl"]
        with pytest.raises(UnknownName, match=r"'cs'\. There are: cl"):
            list(update(database, held, ["cs"]))


def test_picks_go_on_their_page_when_their_day_has_come(database, clock, tmp_path):
    upsert(database, [PaperRecord(id="2610.00001", title="One", source="arxiv")])
    tomorrow = NOON.date() + timedelta(days=1)
    curating.pick(database, "2610.00001", tomorrow)
    schedule = Schedule(database, settings(tmp_path))
    schedule.tick(threading.Event())
    assert PaperStore(database).latest_day() is None
    clock.now += timedelta(days=1)
    schedule.tick(threading.Event())
    assert PaperStore(database).latest_day() == tomorrow


# one runner


def test_one_process_runs_it_and_another_takes_over_when_it_is_gone(database, clock, tmp_path):
    first, second = (Schedule(database, settings(tmp_path), name) for name in ("one", "two"))
    assert take(database, "papers", first.holder, LEASE_S)
    assert not take(database, "papers", second.holder, LEASE_S)
    clock.now += timedelta(seconds=LEASE_S - 1)
    assert take(database, "papers", first.holder, LEASE_S)
    clock.now += timedelta(seconds=LEASE_S - 1)
    assert not take(database, "papers", second.holder, LEASE_S)
    clock.now += timedelta(seconds=2)
    assert take(database, "papers", second.holder, LEASE_S)
    release(database, "papers", first.holder)
    assert not take(database, "papers", first.holder, LEASE_S)
    release(database, "papers", second.holder)
    assert take(database, "papers", first.holder, LEASE_S)


def test_the_lease_is_held_however_long_one_source_takes(database, clock, tmp_path, monkeypatch):
    """The source is one page, and takes three times as long as a lease lasts."""
    monkeypatch.setattr(schedule, "HOLD_S", 0.005)
    taken: list[bool] = []

    def until() -> datetime:
        with database.reading() as session:
            return session.get(LeaseRow, LEASE).until

    def slow(call):
        for _ in range(6):
            clock.now += timedelta(seconds=LEASE_S / 2)
            deadline = time.monotonic() + 30
            while until() < clock.now + timedelta(seconds=LEASE_S) and time.monotonic() < deadline:
                time.sleep(0.005)
            taken.append(take(database, LEASE, "another", LEASE_S))
        page(rss(item("2610.00001")))(call)

    with serving({"/rss/cs.CL": slow}) as server:
        [told] = Schedule(database, feed_settings(server, tmp_path)).tick(threading.Event())
    assert (told.error, taken) == ("", [False] * 6)
    assert not [one for one in threading.enumerate() if one.name == "foveal-lease"]


def test_of_many_takers_at_once_one_has_it(database):
    taken: list[bool] = []
    threads = [
        threading.Thread(target=lambda name=f"t{n}": taken.append(take(database, "papers", name, 60))) for n in range(6)
    ]
    for one in threads:
        one.start()
    for one in threads:
        one.join()
    assert sorted(taken) == [False] * 5 + [True]


def test_a_thread_of_it_ends_when_it_is_told_to(database, tmp_path):
    stop = threading.Event()
    with serving({"/rss/cs.CL": page(rss(item("2610.00001")))}) as server:
        schedule = Schedule(database, feed_settings(server, tmp_path))
        thread = threading.Thread(target=schedule.run, args=(stop,))
        thread.start()
        deadline = time.monotonic() + 30
        while PaperStore(database).count() == 0 and time.monotonic() < deadline:
            time.sleep(0.02)
        stop.set()
        thread.join(10)
    assert not thread.is_alive()
    assert PaperStore(database).count() == 1
    assert take(database, "papers", "another", 60)


def test_ctrl_c_in_the_midst_of_an_update_loses_nothing_that_was_read(tmp_path):
    """The command, with a server that answers the first source and hangs on the second."""
    hanging = threading.Event()

    def hang(call):
        hanging.set()
        call.ended.wait()

    with serving({"/rss/cs.CL": page(rss(item("2610.00001"))), "/rss/cs.IR": hang}) as server:
        sources = "".join(
            f'[papers.sources.{name}]\nfrom = "feed"\nask = "{server.url(f"/rss/{ask}")}"\n'
            for name, ask in (("one", "cs.CL"), ("two", "cs.IR"))
        )
        (tmp_path / "foveal.toml").write_text(f"allow_private_addresses = true\n{sources}")
        command = [sys.executable, "-m", "foveal", "papers", "update", "--home", str(tmp_path)]
        env = {**os.environ, "FOVEAL_CACHE": str(tmp_path / "cache")}
        child = subprocess.Popen(command, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=env)
        assert hanging.wait(60)
        child.send_signal(signal.SIGINT)
        _, said = child.communicate(timeout=60)
    assert (child.returncode, "Stopped" in said) == (130, True), said
    database = Database.open(Settings(home=tmp_path, cache=tmp_path))
    assert PaperStore(database).count() == 1
    with database.reading() as session:
        assert session.get(SourceRow, "one").finished_at is not None
        assert session.get(SourceRow, "two").finished_at is None
    database.close()
