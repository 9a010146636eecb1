"""Days, weeks and months of the daily papers.

One rule: the day of a paper is the day it was listed on, in UTC. A week is ISO's: Monday to Sunday, named by its year
and number (2026-W01 begins on 29 December 2025). A month is the calendar's.

    Period.of("week", "2026-W40")      # days 2026-09-28 to 2026-10-04; .before, .after, .title, .key
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from datetime import date, timedelta

from foveal.errors import InputError

KINDS = ("day", "week", "month")
_MONTHS = ("Jan", "Feb", "Mar", "Apr", "May", "Jun", "Jul", "Aug", "Sep", "Oct", "Nov", "Dec")
_LOOKS = {"day": "2026-10-02", "week": "2026-W40", "month": "2026-10"}


@dataclass(frozen=True)
class Period:
    """The days `first` to `last`, both included."""

    kind: str
    first: date
    last: date

    @classmethod
    def of(cls, kind: str, key: str) -> Period:
        """The period that an address names. InputError: it names none."""
        try:
            return cls.around(kind, _first_day(kind, key))
        except ValueError as error:
            raise InputError(
                f"{key[:40]!r} is no {kind}. A {kind} looks like {_LOOKS.get(kind, _LOOKS['day'])}."
            ) from error

    @classmethod
    def said(cls, kind: str, words: str, today: date) -> Period:
        """The period by its key, or by a word: today, yesterday, tomorrow; this, last, next. InputError: it is none."""
        this = cls.around(kind, today)
        near = {**dict.fromkeys(("today", "this"), this), **dict.fromkeys(("yesterday", "last"), this.before)}
        return near.get(words) or (this.after if words in ("tomorrow", "next") else None) or cls.of(kind, words)

    @classmethod
    def around(cls, kind: str, day: date) -> Period:
        """The period of that kind in which `day` lies. InputError: no such kind, or the calendar ends."""
        if kind not in KINDS:
            raise InputError(f"No period is called {kind!r}. There are: {', '.join(KINDS)}.")
        try:
            if kind == "week":
                monday = day - timedelta(days=day.weekday())
                return cls(kind, monday, monday + timedelta(days=6))
            if kind == "month":
                first = day.replace(day=1)
                return cls(kind, first, (first + timedelta(days=31)).replace(day=1) - timedelta(days=1))
        except OverflowError as error:
            raise InputError(f"The calendar ends before the {kind} of {day} does. Choose another.") from error
        return cls(kind, day, day)

    @property
    def key(self) -> str:
        """The period in an address."""
        if self.kind == "week":
            year, week, _ = self.first.isocalendar()
            return f"{year:04d}-W{week:02d}"
        return self.first.isoformat()[: 7 if self.kind == "month" else 10]

    @property
    def title(self) -> str:
        """What a person reads: "Oct 2", "W40", "Oct 2026"."""
        if self.kind == "week":
            return self.key[5:]
        month = _MONTHS[self.first.month - 1]
        return f"{month} {self.first.year}" if self.kind == "month" else f"{month} {self.first.day}"

    @property
    def before(self) -> Period | None:
        """The one before, None at the calendar's beginning."""
        return self._beside(self.first, -1)

    @property
    def after(self) -> Period | None:
        """The next one, None at the calendar's end."""
        return self._beside(self.last, 1)

    def _beside(self, edge: date, days: int) -> Period | None:
        try:
            return Period.around(self.kind, edge + timedelta(days=days))
        except (InputError, OverflowError):
            return None


def short_date(day: date, today: date) -> str:
    """ "May 29" in the year of `today`, else "Feb 27, 2025"."""
    text = f"{_MONTHS[day.month - 1]} {day.day}"
    return text if day.year == today.year else f"{text}, {day.year}"


def _first_day(kind: str, key: str) -> date:
    if kind == "week":
        found = re.fullmatch(r"(\d{4})-W(\d{2})", key)
        if not found:
            raise ValueError(key)
        return date.fromisocalendar(int(found[1]), int(found[2]), 1)
    pattern = r"\d{4}-\d{2}" if kind == "month" else r"\d{4}-\d{2}-\d{2}"
    if kind not in KINDS or not re.fullmatch(pattern, key, re.ASCII):
        raise ValueError(key)
    return date.fromisoformat(f"{key}-01" if kind == "month" else key)
