"""Dates as documents write them."""

from __future__ import annotations

from datetime import UTC, datetime

import pytest

from foveal.text.dates import aware


@pytest.mark.parametrize(
    ("said", "moment"),
    [
        ("2020-05", datetime(2020, 5, 1, tzinfo=UTC)),
        ("1994", datetime(1994, 1, 1, tzinfo=UTC)),
        ("2026-10-02 23:00:00 UTC", datetime(2026, 10, 2, 23, tzinfo=UTC)),
        ("2026-10-02T23:00:00 GMT", datetime(2026, 10, 2, 23, tzinfo=UTC)),
        ("Sun, 6 Nov 1994 08:49:37 +0000", datetime(1994, 11, 6, 8, 49, 37, tzinfo=UTC)),
        ("Sat, 20 May 2023 10:00:00 PM", datetime(2023, 5, 20, 22, tzinfo=UTC)),
        ("20 May 2023 12:05 a.m. +0200", datetime(2023, 5, 19, 22, 5, tzinfo=UTC)),
        ("2023-05-20 12:30 PM", datetime(2023, 5, 20, 12, 30, tzinfo=UTC)),
        ("Sun, 6 Nov 1994 08:49:37 0200", datetime(1994, 11, 6, 6, 49, 37, tzinfo=UTC)),
    ],
)
def test_a_month_and_a_named_zone_are_read(said, moment):
    assert aware(said) == moment


@pytest.mark.parametrize("said", ["2020-13", "2020-00", "Mon, 01 Jan 0001 00:00:00 GMT", "Mon, 01 Jan 0001 00:00:00"])
def test_what_is_no_month_and_a_programs_zero_are_no_dates(said):
    assert aware(said) is None
