"""Dates as documents write them, to aware datetimes: ISO 8601, RFC 2822, a bare year or month (its first day), Unix
seconds or milliseconds, the PDF's own form.

    aware("Fri, 02 Oct 2026 23:00:00 -0400")            # an instant
    day_of(moment, date(2026, 10, 2))                   # its day in UTC, where one can believe it
    moment("2023-05-01")                                # as a person asks: the whole day counts

A date without a zone is taken as UTC. What a document has that is no date gives None:
a document without a date is common, not an error.
"""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, time
from email.utils import parsedate_to_datetime

from foveal import faults
from foveal.errors import InputError

UNIX_SECONDS = (1e8, 1e10)  # 1973 to 2286: numbers outside are years, or no dates at all

EARLIEST = date(1990, 1, 1)
"""Of what is published on the web: an earlier day is a program's zero (0001-01-01, 1970-01-01), and no date."""

YEARS = (2, 9998)
"""Of a moment that is searched as of."""

_YEAR = re.compile(r"([12]\d{3})(?:-(0[1-9]|1[0-2]))?", re.ASCII)
_UTC = re.compile(r"(?<=\d) ?(?:UTC|GMT)$")
_NO_YEAR = re.compile(r"(?<![\d+-])(?<!:\d\d )0\d{3}(?!\d)")  # 0001, by mail's rules 2001; no zone
_TWELVE = re.compile(r"\b(1[0-2]|0?\d)(:\d\d(?::\d\d)?) ?([AP])\.?M\b\.?", re.ASCII | re.IGNORECASE)
_PDF = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?([+-]\d\d)?'?(\d\d)?")


def aware(value: object) -> datetime | None:
    """The instant that `value`, a string or a number, names; None where it names none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _from_number(value)
    return _from_text(value.strip()) if isinstance(value, str) else None


def day_of(moment: datetime | None, today: date) -> date | None:
    """The day of an instant in UTC, `today` where it lies ahead; None before EARLIEST."""
    day = min(moment.astimezone(UTC).date(), today) if moment else None
    return day if day and day >= EARLIEST else None


def moment(at: datetime | str | None) -> datetime:
    """An aware moment: now where None is given, the end of the day of a date, UTC where no zone is said.

    InputError: it is no date, or lies so near the calendar's ends that no days can be counted from it.
    """
    if at is None:
        return faults.now()
    if isinstance(at, str):
        try:
            found = datetime.fromisoformat(at)
        except ValueError:
            raise InputError(f"{at!r} is no date; give one such as 2023-05-01 or 2023-05-01T09:00.") from None
        whole_day = len(at) <= len("2023-05-01")
        at = datetime.combine(found, time.max) if whole_day else found
    if not YEARS[0] <= at.year <= YEARS[1]:
        raise InputError(f"{at.date()} is out of reach; give a date in the years {YEARS[0]} to {YEARS[1]}.")
    return at if at.tzinfo else at.replace(tzinfo=UTC)


def pdf_date(value: str) -> datetime | None:
    """The instant of a PDF's `D:YYYYMMDDHHmmSS+HH'mm'`, of which only the year is sure to be there."""
    found = _PDF.match(value)
    if found is None:
        return None
    year, month, day, hour, minute, second, zone, zone_minutes = found.groups()
    text = f"{year}-{month or '01'}-{day or '01'}T{hour or '00'}:{minute or '00'}:{second or '00'}"
    return aware(f"{text}{zone or '+00'}:{zone_minutes or '00'}")


def _from_number(value: float) -> datetime | None:
    first, last = UNIX_SECONDS
    if first <= value < last:
        return datetime.fromtimestamp(value, UTC)
    if 1000 * first <= value < 1000 * last:  # milliseconds, as JavaScript counts
        return datetime.fromtimestamp(value / 1000, UTC)
    return _from_text(str(value))


def _from_text(text: str) -> datetime | None:
    text = _TWELVE.sub(lambda one: f"{int(one[1]) % 12 + 12 * (one[3] in 'pP'):02d}{one[2]}", text)
    if found := _YEAR.fullmatch(text):
        return datetime(int(found[1]), int(found[2] or 1), 1, tzinfo=UTC)
    if text.isdecimal() and len(text) != len("20261002"):  # any ninth digit would pass for the T of a time
        return None
    try:
        moment: datetime | None = datetime.fromisoformat(_UTC.sub("+00:00", text))
    except (ValueError, OverflowError):
        moment = _from_mail(text)
    if moment is None:
        return None
    moment = moment if moment.tzinfo else moment.replace(tzinfo=UTC)
    try:
        moment.astimezone(UTC)
    except OverflowError:  # a zone's hours from the calendar's end: no database can keep it
        return None
    return moment


def _from_mail(text: str) -> datetime | None:
    try:
        return None if _NO_YEAR.search(text) else parsedate_to_datetime(text)
    except (ValueError, IndexError, OverflowError):
        return None
