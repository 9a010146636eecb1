"""Days, weeks and months: names, edges, neighbours."""

from __future__ import annotations

from datetime import date, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import InputError
from foveal.papers.periods import KINDS, Period, short_date


@pytest.mark.parametrize(
    ("kind", "key", "first", "last", "title"),
    [
        ("day", "2026-10-02", date(2026, 10, 2), date(2026, 10, 2), "Oct 2"),
        ("week", "2026-W40", date(2026, 9, 28), date(2026, 10, 4), "W40"),
        ("week", "2026-W01", date(2025, 12, 29), date(2026, 1, 4), "W01"),
        ("week", "2026-W53", date(2026, 12, 28), date(2027, 1, 3), "W53"),
        ("month", "2024-02", date(2024, 2, 1), date(2024, 2, 29), "Feb 2024"),
        ("month", "2026-12", date(2026, 12, 1), date(2026, 12, 31), "Dec 2026"),
    ],
)
def test_a_period_is_what_its_address_says(kind: str, key: str, first: date, last: date, title: str) -> None:
    period = Period.of(kind, key)
    assert (period.first, period.last, period.title, period.key) == (first, last, title, key)


@pytest.mark.parametrize(
    ("kind", "key"),
    [
        ("day", "2026-02-30"),
        ("day", "2026-2-3"),
        ("day", "../etc"),
        ("day", "٢٠٢٦-10-02"),
        ("week", "2025-W53"),
        ("week", "2026-W0"),
        ("month", "2026-13"),
        ("month", "0000-01"),
        ("year", "2026"),
        ("quarter", "2026-10-02"),
        ("day", "20261002"),  # dates by ISO, too, but one day has one address
        ("day", "2026-W40-5"),
    ],
)
def test_what_is_no_period_is_refused_in_a_sentence(kind: str, key: str) -> None:
    with pytest.raises(InputError, match="looks like"):
        Period.of(kind, key)


@given(st.sampled_from(KINDS), st.dates())
def test_periods_tile_the_calendar(kind: str, day: date) -> None:
    try:
        period = Period.around(kind, day)
    except InputError:
        assert day.year == 9999 or day.year == 1
        return
    assert period.first <= day <= period.last
    assert Period.of(kind, period.key) == period
    if period.after is not None:
        assert period.after.first == period.last + timedelta(days=1)
        assert period.after.before == period


def test_a_date_of_this_year_goes_without_its_year() -> None:
    assert short_date(date(2026, 5, 29), date(2026, 10, 2)) == "May 29"
    assert short_date(date(2025, 2, 27), date(2026, 10, 2)) == "Feb 27, 2025"
