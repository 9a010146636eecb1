"""Dates as documents write them, to aware datetimes: ISO 8601, RFC 2822, a bare year, Unix seconds, the PDF's own form.

A date without a zone is taken as UTC. What is no date gives None: a document without a date is common, not an error.
"""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime

UNIX_SECONDS = (1e8, 1e10)  # 1973 to 2286: numbers outside are years, or no dates at all

_YEAR = re.compile(r"[12]\d{3}")
_PDF = re.compile(r"D:(\d{4})(\d\d)?(\d\d)?(\d\d)?(\d\d)?(\d\d)?([+-]\d\d)?'?(\d\d)?")


def aware(value: object) -> datetime | None:
    """The instant that `value`, a string or a number, names; None where it names none."""
    if isinstance(value, bool):
        return None
    if isinstance(value, int | float):
        return _from_number(value)
    return _from_text(value.strip()) if isinstance(value, str) else None


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
    return _from_text(str(value))


def _from_text(text: str) -> datetime | None:
    if _YEAR.fullmatch(text):
        return datetime(int(text), 1, 1, tzinfo=UTC)
    try:
        moment: datetime | None = datetime.fromisoformat(text)
    except ValueError:
        moment = _from_mail(text)
    return moment.replace(tzinfo=UTC) if moment and moment.tzinfo is None else moment


def _from_mail(text: str) -> datetime | None:
    try:
        return parsedate_to_datetime(text)
    except (ValueError, IndexError):
        return None
