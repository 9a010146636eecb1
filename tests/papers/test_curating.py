"""A curator's day: what waits, what is picked, in which order, and what is shown when."""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from foveal import faults
from foveal.database import Database
from foveal.errors import InputError, UnknownPaper
from foveal.papers.curating import order, pick, picks, publish, queue, remove_topic, set_topic, unpick
from foveal.papers.periods import Period
from foveal.papers.records import PaperRecord
from foveal.papers.store import PaperStore
from foveal.papers.upserts import upsert
from foveal.settings import Settings

TODAY = date(2026, 10, 2)
TOMORROW = TODAY + timedelta(days=1)
IDS = [f"2610.0000{n}" for n in range(5)]


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    with faults.injected({}, clock=lambda: datetime(2026, 10, 2, 12, tzinfo=UTC)):
        upsert(opened, [PaperRecord(id=one, title=f"P{one}", source="arxiv", votes=n) for n, one in enumerate(IDS)])
        yield opened
    opened.close()


def page_of(database: Database, day: date) -> list[str]:
    return [paper.id for paper in PaperStore(database).page(Period.around("day", day)).papers]


def test_picks_stand_first_in_their_order(database):
    upsert(database, [PaperRecord(id=IDS[4], title=f"P{IDS[4]}", source="arxiv", listed_on=TODAY)])
    for one in (IDS[2], IDS[0]):
        pick(database, one, TODAY, by="ana")
    assert page_of(database, TODAY) == [IDS[2], IDS[0], IDS[4]]
    pick(database, IDS[4], TODAY, place=1)
    assert page_of(database, TODAY) == [IDS[4], IDS[2], IDS[0]]
    order(database, TODAY, [IDS[0], IDS[4], IDS[2]])
    assert page_of(database, TODAY) == [IDS[0], IDS[4], IDS[2]]
    assert [(one.position, one.shown) for one in picks(database, TODAY)] == [(1, True), (2, True), (3, True)]
    unpick(database, IDS[0], TODAY)
    assert page_of(database, TODAY) == [IDS[4], IDS[2], IDS[0]]
    assert [one.paper for one in picks(database, TODAY)] == [IDS[4], IDS[2]]


def test_tomorrow_is_not_shown_today(database):
    pick(database, IDS[1], TOMORROW, by="ana")
    pick(database, IDS[3], TOMORROW, by="ana", place=1)
    assert page_of(database, TOMORROW) == []
    assert PaperStore(database).latest_day() is None
    assert publish(database, TODAY) == 0
    assert publish(database, TOMORROW) == 2
    assert publish(database, TOMORROW) == 0
    assert page_of(database, TOMORROW) == [IDS[3], IDS[1]]
    assert [one.by for one in picks(database, TOMORROW)] == ["@ana", "@ana"]


def test_a_pick_of_a_day_that_a_server_slept_through_is_on_that_day(database):
    pick(database, IDS[1], TOMORROW)
    assert publish(database, TOMORROW + timedelta(days=3)) == 1
    assert page_of(database, TOMORROW) == [IDS[1]]


def test_the_queue_holds_what_nobody_placed(database):
    assert [paper.id for paper in queue(database)] == IDS[::-1]
    pick(database, IDS[4], TODAY)
    pick(database, IDS[3], TOMORROW)
    assert [paper.id for paper in queue(database, limit=2)] == [IDS[2], IDS[1]]
    with faults.injected({}, clock=lambda: datetime(2026, 11, 2, tzinfo=UTC)):
        assert queue(database) == []


def test_what_cannot_be_picked_is_said(database):
    with pytest.raises(UnknownPaper, match="is not here"):
        pick(database, "2610.09999", TODAY)
    with pytest.raises(UnknownPaper, match="is not picked"):
        unpick(database, IDS[0], TODAY)
    with pytest.raises(InputError, match="within a year"):
        pick(database, IDS[0], TODAY + timedelta(days=400))
    with pytest.raises(InputError, match="place of 1 or more"):
        pick(database, IDS[0], TODAY, place=0)
    pick(database, IDS[0], TODAY)
    for wrong in ([], [IDS[1]], [IDS[0], IDS[0]]):
        with pytest.raises(InputError, match="needs each of its picks once"):
            order(database, TODAY, wrong)


@settings(max_examples=8)
@given(st.lists(st.tuples(st.integers(0, 4), st.integers(1, 6) | st.none(), st.booleans()), max_size=8))
def test_places_are_those_of_a_list(steps):
    """The plain definition: a list into which papers are put, or moved."""
    import tempfile

    with tempfile.TemporaryDirectory() as folder:
        home = Path(folder)
        opened = Database.open(Settings(home=home, cache=home))
        with faults.injected({}, clock=lambda: datetime(2026, 10, 2, 12, tzinfo=UTC)):
            upsert(opened, [PaperRecord(id=one, title=f"P{one}", source="arxiv") for one in IDS])
            days: dict[date, list[str]] = {TODAY: [], TOMORROW: []}
            for which, place, tomorrow in steps:
                day = TOMORROW if tomorrow else TODAY
                held = [one for one in days[day] if one != IDS[which]]
                held.insert(len(held) if place is None else place - 1, IDS[which])
                days[day] = held
                assert [one.paper for one in pick(opened, IDS[which], day, place=place)] == held
        opened.close()


def test_topics_are_made_changed_and_taken_away(database):
    set_topic(database, "sparse-attention", query="sparse attention", title="Sparse attention")
    set_topic(database, "long", query="long texts")
    set_topic(database, "sparse-attention", query="block-sparse attention")
    found = PaperStore(database).topics()
    assert [(one.id, one.title, one.query) for one in found] == [
        ("sparse-attention", "Sparse attention", "block-sparse attention"),
        ("long", "long", "long texts"),
    ]
    remove_topic(database, "long")
    assert len(PaperStore(database).topics()) == 1
    with pytest.raises(UnknownPaper, match="No topic is called 'long'"):
        remove_topic(database, "long")
    for name, query in (("Long Texts", "x"), ("../x", "x"), ("x" * 81, "x"), ("x", " ")):
        with pytest.raises(InputError, match="small letters"):
            set_topic(database, name, query=query)
    with pytest.raises(InputError, match="The filter year:"):  # it would fail on its page and in each digest
        set_topic(database, "soon", query="attention year:soon")
    assert len(PaperStore(database).topics()) == 1
