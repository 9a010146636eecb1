"""When a digest is due: weekdays, local hours, clocks that change, a machine that slept."""

from __future__ import annotations

from datetime import UTC, date, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.papers.mail.schedule import NO_DIGESTS, current, due

ZONES = ("UTC", "America/New_York", "Europe/Paris", "Asia/Kolkata", "Pacific/Kiritimati", "Australia/Lord_Howe")


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text).replace(tzinfo=UTC)


@pytest.mark.parametrize(
    ("cadence", "hour", "zone", "now", "expected"),
    [
        ("daily", 8, "UTC", "2026-10-02T08:00", ("2026-10-02", "2026-10-02T08:00")),  # a Friday
        ("daily", 8, "UTC", "2026-10-02T07:59", None),  # Thursday's is a day old
        ("daily", 8, "UTC", "2026-10-02T21:00", None),  # more than twelve hours late
        ("daily", 8, "UTC", "2026-10-03T09:00", None),  # Saturday
        ("daily", 8, "America/New_York", "2026-10-02T12:00", ("2026-10-02", "2026-10-02T12:00")),
        ("daily", 8, "Pacific/Kiritimati", "2026-10-01T19:00", ("2026-10-02", "2026-10-01T18:00")),
        ("daily", 23, "America/New_York", "2026-10-03T04:00", ("2026-10-02", "2026-10-03T03:00")),  # Friday there
        ("daily", 2, "America/New_York", "2027-03-15T06:30", ("2027-03-15", "2027-03-15T06:00")),
        (
            "weekly",
            8,
            "Europe/Paris",
            "2026-10-05T07:00",
            ("2026-W40", "2026-10-05T06:00"),
        ),  # Monday, on the week before
        ("weekly", 8, "Europe/Paris", "2026-10-05T05:00", None),
        ("monthly", 0, "UTC", "2026-11-01T00:00", ("2026-10", "2026-11-01T00:00")),  # a Sunday
        ("monthly", 0, "UTC", "2026-11-05T00:00", None),
    ],
)
def test_due(cadence, hour, zone, now, expected):
    found = due(cadence, hour, zone, moment(now))
    assert (found and (found.period.key, found.at)) == (expected and (expected[0], moment(expected[1])))


@given(
    st.sampled_from(ZONES),
    st.integers(0, 23),
    st.sampled_from(["daily", "weekly", "monthly"]),
    st.datetimes(datetime(2025, 1, 1), datetime(2028, 1, 1)),
)
def test_looking_every_quarter_of_an_hour_finds_each_period_once_and_in_order(zone, hour, cadence, start):
    now, seen = start.replace(tzinfo=UTC), []
    for _ in range(4 * 24 * 4):
        found = due(cadence, hour, zone, now)
        if found is not None:
            assert found.at <= now
            if not seen or seen[-1] != found:
                seen.append(found)
        now += timedelta(minutes=15)
    assert len({one.period.key for one in seen}) == len(seen)
    assert [one.at for one in seen] == sorted(one.at for one in seen)
    if cadence == "daily":
        assert all(one.period.first.weekday() < 5 for one in seen)
        assert 1 <= len(seen) <= 5


def test_the_period_of_a_day_whatever_the_hour():
    assert current("daily", date(2026, 10, 3)).key == "2026-10-03"
    assert current("weekly", date(2026, 10, 7)).key == "2026-W40"
    assert current("monthly", date(2026, 10, 31)).key == "2026-09"
    for cadence in NO_DIGESTS:
        with pytest.raises(InputError, match="Give one of: daily, weekly, monthly"):
            current(cadence, date(2026, 10, 3))
