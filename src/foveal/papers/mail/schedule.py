"""When a digest is due: at the subscriber's hour, in the subscriber's zone, once a period.

    due("daily", 8, "America/New_York", now)       # Due(period=2026-10-02, at=12:00 UTC), or None

Daily      on weekdays; the period is that day
Weekly     on Mondays, over the ISO week before; monthly on the first day, over the month before
Clocks     an hour that a change of clocks leaves out is the one after it; of an hour that comes twice, the first
Late       a machine that slept, or whose mail server did, sends what is at most `CATCH_UP` old, and leaves the rest:
           the next one is soon
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from foveal.errors import InputError
from foveal.papers.periods import Period

CADENCES = ("daily", "weekly", "monthly")
REPLIES = "replies"
"""What is no digest, and kept like one: mails about answers (replies.py)."""

CHANGES = "changes"
"""Likewise: mails about watched questions (changes.py)."""

NO_DIGESTS = (REPLIES, CHANGES)

KINDS = {"daily": "day", "weekly": "week", "monthly": "month"}
"""The kind of period of each."""

CATCH_UP = {"daily": timedelta(hours=12), "weekly": timedelta(hours=36), "monthly": timedelta(hours=72)}
WEEKEND = (5, 6)


@dataclass(frozen=True)
class Due:
    """A digest that is to be sent: about which period, since when."""

    period: Period
    at: datetime


def due(cadence: str, hour: int, zone: str, now: datetime) -> Due | None:
    """The newest digest whose hour has come, None where it came too long ago."""
    place = zone_of(zone)
    today = now.astimezone(place).date()
    for day, period in _days(cadence, today):
        at = datetime.combine(day, time(hour), place).astimezone(UTC)
        if at <= now:
            return Due(period, at) if now - at <= CATCH_UP[cadence] else None
    return None


def current(cadence: str, today: date) -> Period:
    """The period of the digest that a day belongs to, whatever the hour. InputError: the cadence is no digest's."""
    if cadence not in CADENCES:
        raise InputError(f"No digest is {cadence[:20]!r}. Give one of: {', '.join(CADENCES)}.")
    if cadence == "daily":
        return Period.around("day", today)
    return next(period for _, period in _days(cadence, today))


def zone_of(name: str) -> ZoneInfo:
    """The time zone of that name. InputError: there is none."""
    try:
        return ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:  # a folder, "../x", and bytes of no zone
        raise InputError(
            f"No time zone is called {name[:60]!r}. One looks like Europe/Paris, America/New_York, UTC."
        ) from error


def _days(cadence: str, today: date) -> Iterator[tuple[date, Period]]:
    """Days on which a digest goes out with what each is about, from `today` backwards."""
    for back in range(70):
        day = today - timedelta(days=back)
        if cadence == "daily" and day.weekday() not in WEEKEND:
            yield day, Period.around("day", day)
        elif (cadence == "weekly" and day.weekday() == 0) or (cadence == "monthly" and day.day == 1):
            yield day, Period.around(KINDS[cadence], day - timedelta(days=1))
