"""The forecast of attention: what is counted, what stands in, and that a day more costs a step and changes nothing."""

from __future__ import annotations

import gc
import tracemalloc
from collections.abc import Iterator
from datetime import UTC, date, datetime, timedelta
from pathlib import Path
from statistics import fmean

import pytest
import torch
from sqlalchemy import event, insert

from foveal.database import Database
from foveal.errors import InputError
from foveal.nn.counts import CountForecaster, CountSettings
from foveal.nn.stream_training import save_model
from foveal.papers.attention_counts import asked, chosen, counted, first_day
from foveal.papers.records import PaperRecord
from foveal.papers.schema import ListingRow, PaperRow, PersonRow, TopicRow, VoteRow
from foveal.papers.trend_forecast import AAREN, LEAST, MODEL, NAME, SEASONAL, _row, kept, refresh, seasonal
from foveal.papers.trend_training import of_counts, train_trend
from foveal.papers.upserts import upsert
from foveal.settings import Settings
from foveal.training.loop import LoopSettings, train

NOW = datetime(2026, 11, 26, 18, tzinfo=UTC)
TODAY = NOW.date()


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    with opened.writing() as session:
        session.add(TopicRow(id="sparse", title="Sparse attention", query='sparse attention au:"ito"'))
    yield opened
    opened.close()


def papers(first: int, last: int) -> list[PaperRecord]:
    """Of the days from `first` to `last` days ago: three on weekdays, one at weekends; one a day is on the topic."""
    made = []
    for back in range(first, last - 1, -1):
        day = TODAY - timedelta(days=back)
        for n in range(3 if day.weekday() < 5 else 1):
            title = "Sparse models of attention" if n == 0 else "On reading"
            subject = "cs.CL" if n < 2 else "cs.IR"
            made.append(PaperRecord(id=f"2611.{10 * back + n:05d}", title=title, abstract="", categories=(subject,),
                                    listed_on=day, source="arxiv"))  # fmt: skip
    return made


def with_model(home: Path, seed: int = 0) -> None:
    torch.manual_seed(seed)
    model = CountForecaster(CountSettings())
    torch.nn.init.normal_(model.head.weight, std=0.2)
    save_model(model, "papers", home / "models" / MODEL)


def test_papers_and_votes_are_counted_by_day(database):
    upsert(database, papers(10, 0))
    with database.writing() as session:
        session.add(PersonRow(id=1, login="mira", email="mira@example.org", name="Mira"))
        session.flush()
        session.add(VoteRow(paper_id="2611.00100", person_id=1, at=NOW - timedelta(days=2)))
    series = {one.name: one for one in chosen(database)}
    assert set(series) == {"all:", "category:cs.CL", "category:cs.IR", "topic:sparse"}
    first, last = TODAY - timedelta(days=5), TODAY - timedelta(days=1)
    found = counted(database, list(series.values()), first, last)
    weekdays = [(first + timedelta(days=at)).weekday() < 5 for at in range(5)]
    assert found[series["all:"]].papers == tuple(3 if one else 1 for one in weekdays)
    assert found[series["category:cs.IR"]].papers == tuple(int(one) for one in weekdays)
    assert found[series["topic:sparse"]].papers == (1,) * 5
    assert found[series["topic:sparse"]].votes == (0, 0, 0, 1, 0)  # of a paper that was listed before
    assert found[series["category:cs.IR"]].votes == (0,) * 5
    assert asked('sparse attention cat:cs.CL "models"') == ("sparse", "attention", "model")
    assert asked('sparse au:"Lea Martin" org:inria code:yes attention') == ("sparse", "attention")


def test_the_seasonal_mean_is_of_the_same_weekdays():
    days = list(range(60))
    told = seasonal(days)
    for ahead in range(7):
        assert told[ahead][1] == fmean(days[60 + ahead - 7 * week] for week in (1, 2, 3, 4))
    assert told[7][1] == fmean(sum(days[60 - 7 * week : 67 - 7 * week]) for week in (1, 2, 3, 4))
    assert all(0 <= low <= mean <= high for low, mean, high in told)
    assert seasonal([])[0][1] == 0
    assert seasonal([3, 5])[0][1] == 4


def test_without_a_model_or_days_the_seasonal_mean_stands_in_and_says_so(database, tmp_path):
    assert not refresh(database, tmp_path, now=NOW)  # no papers
    assert kept(database).series == ()
    upsert(database, papers(20, 0))
    assert refresh(database, tmp_path, now=NOW)
    assert not refresh(database, tmp_path, now=NOW + timedelta(hours=1))
    found = kept(database)
    assert (found.by, found.last, found.history) == (SEASONAL, TODAY - timedelta(days=1), 20)
    assert "no model is trained" in found.told
    one = found.of("topic", "sparse")
    assert one is not None
    assert [day.mean for day in one.days] == [1] * 7
    assert (one.whole.mean, one.before) == (7, 7)
    with_model(tmp_path)
    assert refresh(database, tmp_path, now=NOW)
    assert "20 days of history are too few" in kept(database).told
    with pytest.raises(InputError, match=f"{LEAST} or more"):
        train_trend(database, tmp_path)


def _history(database: Database, days: int, a_day: int) -> None:
    """Papers of the last days, with words of their own, put there at once."""
    rows, listings = [], []
    for number in range(days * a_day):
        words = " ".join(f"w{number}x{place}" for place in range(200))
        which = f"p{number // a_day:04d}-{number % a_day}"
        rows.append({"id": which, "title": "Sparse attention", "title_key": which, "abstract": words})
        listings.append({"paper_id": which, "day": TODAY - timedelta(days=number // a_day)})
    with database.writing() as session:
        session.execute(insert(PaperRow), rows)
        session.execute(insert(ListingRow), listings)


def _peak(database: Database, days: int) -> int:
    """Bytes that counting so many days takes at most."""
    gc.collect()
    tracemalloc.start()
    try:
        counted(database, chosen(database), TODAY - timedelta(days=days - 1), TODAY)
        return tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()


def test_counting_a_long_history_holds_no_more_of_it_at_a_time(database):
    _history(database, 60, 50)
    _peak(database, 1)  # what is remembered of words
    assert _peak(database, 60) < 2 * _peak(database, 12)


def test_the_seasonal_mean_reads_no_more_of_the_past_than_it_needs(database, tmp_path):
    _history(database, 80, 1)
    read: list[str] = []

    def note(connection, cursor, statement, parameters, context, executemany):
        if "abstract" in statement:
            read.extend(parameters)

    event.listen(database.engine, "before_cursor_execute", note)
    assert refresh(database, tmp_path, now=NOW)
    found = kept(database)
    assert (found.by, found.history) == (SEASONAL, 79)
    assert sorted(read) == [f"p{back:04d}-0" for back in range(1, 57)]
    one = found.of("topic", "sparse")
    assert one is not None
    assert (one.recent, [day.mean for day in one.days]) == ((1,) * 56, [1] * 7)


def test_a_topic_whose_search_was_changed_is_counted_anew(database, tmp_path):
    upsert(database, papers(20, 1))
    refresh(database, tmp_path, now=NOW - timedelta(days=1))
    assert kept(database).of("topic", "sparse").before == 7
    with database.writing() as session:
        session.get_one(TopicRow, "sparse").query = "cabbages"
    assert refresh(database, tmp_path, now=NOW)
    found = kept(database).of("topic", "sparse")
    assert (sum(found.recent), found.whole.mean) == (0, 0)


@pytest.mark.slow
def test_a_day_more_is_one_step_and_the_same_as_all_anew(database, tmp_path, monkeypatch):
    with_model(tmp_path)
    upsert(database, papers(70, 3))
    refresh(database, tmp_path, now=NOW - timedelta(days=2))
    assert kept(database).by == AAREN
    upsert(database, papers(2, 1))
    with database.writing() as session:  # a topic that is new reads its past
        session.add(TopicRow(id="reading", title="Reading", query="on reading", position=1))
    whole = CountForecaster.forward
    read = []
    monkeypatch.setattr(CountForecaster, "forward", lambda *given: read.append(given[1].shape) or whole(*given))
    assert refresh(database, tmp_path, now=NOW)
    assert read == [(1, 68)]  # the new topic alone
    stepped = kept(database)
    state = _row(database)[1]["state"]
    with database.writing() as session:
        from foveal.papers.schema import KeptRow

        session.delete(session.get(KeptRow, NAME))
    refresh(database, tmp_path, now=NOW)
    anew = kept(database)
    assert len(read) == 2
    assert [one.title for one in anew.series] == [one.title for one in stepped.series]
    for one, other in zip(stepped.series, anew.series, strict=True):
        assert one.recent == other.recent
        assert [day.mean for day in one.days] == pytest.approx([day.mean for day in other.days], abs=2e-3)
    assert len(_row(database)[1]["state"]) == len(state)
    upsert(
        database,
        [PaperRecord(id="2611.99999", title="Late", abstract="", listed_on=TODAY - timedelta(days=30), source="x")],
    )
    refresh(database, tmp_path, now=NOW + timedelta(days=1))
    assert read[-1][1] == 71  # the past has changed: all is read again


def test_days_after_the_last_reading_are_not_days_without_papers(database, tmp_path):
    upsert(database, papers(40, 20))
    refresh(database, tmp_path, now=NOW)
    assert kept(database).last == TODAY - timedelta(days=20)


def test_days_that_no_calendar_of_papers_has_make_no_history(database, tmp_path):
    odd = [PaperRecord(id=f"2611.9999{n}", title=f"{n}", listed_on=date(year, 1, 1), source="x")
           for n, year in enumerate((1, 2099))]  # fmt: skip
    upsert(database, [*papers(20, 1), *odd])
    assert refresh(database, tmp_path, now=NOW)
    assert (kept(database).history, kept(database).last) == (20, TODAY - timedelta(days=1))


def test_an_old_paper_that_somebody_adds_makes_no_years_without_papers(database, tmp_path, monkeypatch):
    monkeypatch.setenv("FOVEAL_CLOCK", str((NOW - datetime.now(UTC)).total_seconds()))
    old = [PaperRecord(id=f"1706.0376{n}", title=f"{n}", listed_on=date(2017 + n, 6, 12), source="x") for n in range(4)]
    upsert(database, [*papers(20, 1), *old])
    assert refresh(database, tmp_path, now=NOW)
    assert kept(database).history == 20
    with pytest.raises(InputError, match="papers of 20 days"):
        train_trend(database, tmp_path)
    upsert(database, [one for one in papers(300, 21) if one.listed_on and (TODAY - one.listed_on).days not in (60, 61)])
    assert refresh(database, tmp_path, now=NOW)
    assert kept(database).history == 300  # two days without a paper are such days


def test_thousands_of_papers_that_somebody_adds_to_one_day_leave_the_history_as_long_as_it_was(database):
    upsert(database, papers(120, 1))
    yesterday = TODAY - timedelta(days=1)
    assert first_day(database, yesterday) == TODAY - timedelta(days=120)
    added = [f"added-{number}" for number in range(3000)]
    with database.writing() as session:
        session.execute(insert(PaperRow), [{"id": one, "title": "An old one", "title_key": one} for one in added])
        session.execute(insert(ListingRow), [{"paper_id": one, "day": yesterday} for one in added])
    assert first_day(database, yesterday) == TODAY - timedelta(days=120)


@pytest.mark.slow
def test_what_is_steady_is_learnt_better_than_four_weeks_say(tmp_path):
    draw, weekdays = torch.Generator().manual_seed(0), torch.arange(140) % 7
    rates = torch.tensor([2.0, 5, 20])[:, None] * torch.where(weekdays < 5, 1.3, 0.2)
    counts = torch.poisson(rates.repeat(8, 1), generator=draw)
    recipe = of_counts(counts, torch.zeros_like(counts), weekdays)
    loop = LoopSettings(steps=60, batch=12, learning_rate=1e-2, evaluate_every=20)
    train(recipe.job(loop), loop, tmp_path / "run")
    for part in ("dev", "test"):
        after, plain = recipe.measure(recipe.model, part), recipe.baseline(part)
        assert after["pinball"] < 0.98 * plain["pinball"]
        assert 0.7 < after["inside"] < 0.95
