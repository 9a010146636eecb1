"""Which sources are read, and at which hours: the table `papers` of foveal.toml, and times of day that survive DST.

    [papers]
    zone = "Europe/Paris"                # of all hours below; default UTC

    [papers.sources.cs]                  # "cs" is the name that reports use
    from = "arxiv"                       # a name of registry.PAPER_SOURCES that is asked over HTTP; stars, pictures
    ask = "cat:cs.CL OR cat:cs.IR"       # what that source understands
    at = ["06:30", "18:00"]              # hours of the day; default 06:30
    url = "https://…"                    # another server of the same kind; optional

Hours      a time that a change of clocks leaves out is taken an hour later; one that comes twice counts once
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, date, datetime, time, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from foveal.errors import InputError
from foveal.registry import PAPER_SOURCES
from foveal.settings import Settings

STARS = "stars"
"""What is read of repositories, beside the sources of papers."""

PICTURES = "pictures"
"""First pages of the papers listed last (pictures.py)."""

KINDS = (*(name for name in PAPER_SOURCES if name != "pasted"), STARS, PICTURES)
HOUR = "06:30"
UTC_ZONE = ZoneInfo("UTC")
_CLOCK = re.compile(r"([01]\d|2[0-3]):([0-5]\d)")


@dataclass(frozen=True, kw_only=True)
class Plan:
    """One source, what it is asked, and when."""

    name: str
    kind: str  # a name of KINDS
    ask: str = ""
    at: tuple[time, ...] = (time(6, 30),)
    zone: ZoneInfo = UTC_ZONE
    url: str | None = None

    def __post_init__(self) -> None:
        if self.kind not in KINDS:
            raise InputError(f"The source {self.name!r} comes from {self.kind!r}. There are: {', '.join(KINDS)}.")
        if not self.at or not 1 <= len(self.name) <= 80:
            raise InputError(f"The source {self.name[:90]!r} needs a name of 1 to 80 characters, and an hour.")

    def due(self, now: datetime) -> datetime:
        """The last time, not after `now`, at which it was to be read."""
        return max(moment for moment in self._around(now) if moment <= now)

    def next(self, now: datetime) -> datetime:
        """The first time after `now`."""
        return min(moment for moment in self._around(now) if moment > now)

    def _around(self, now: datetime) -> Iterator[datetime]:
        today = now.astimezone(self.zone).date()
        for days in (-2, -1, 0, 1, 2):
            yield from (moment_of(today + timedelta(days=days), clock, self.zone) for clock in self.at)


def moment_of(day: date, clock: time, zone: ZoneInfo) -> datetime:
    """When a clock in `zone` shows that time on that day, in UTC."""
    return datetime.combine(day, clock, zone).astimezone(UTC)


def plans_of(settings: Settings) -> tuple[Plan, ...]:
    """The plans that foveal.toml sets. InputError: one is not as it should be."""
    table = settings.papers or {}
    if unknown := table.keys() - {"zone", "sources"}:
        raise InputError(
            f"The table [papers] of foveal.toml sets {', '.join(sorted(unknown))}; it knows zone, sources."
        )
    zone = _zone(table.get("zone", "UTC"))
    sources = table.get("sources", {})
    if not isinstance(sources, Mapping) or not all(isinstance(one, Mapping) for one in sources.values()):
        raise InputError(
            "The table [papers.sources] of foveal.toml needs a table for each source: [papers.sources.NAME]."
        )
    return tuple(_plan(name, held, zone) for name, held in sources.items())


def _plan(name: str, held: Mapping[str, Any], zone: ZoneInfo) -> Plan:
    if unknown := held.keys() - {"from", "ask", "at", "url"}:
        raise InputError(
            f"The source {name!r} of foveal.toml sets {', '.join(sorted(unknown))}; it knows from, ask, at, url."
        )
    if not all(isinstance(held.get(key, ""), str) for key in ("from", "ask", "url")):
        raise InputError(f"The source {name!r} of foveal.toml needs words for from, ask and url, in quotation marks.")
    hours = held.get("at", HOUR)
    clocks = tuple(_time(name, one) for one in (hours if isinstance(hours, list) else [hours]))
    return Plan(
        name=name, kind=held.get("from", ""), ask=held.get("ask", ""), at=clocks, zone=zone, url=held.get("url") or None
    )


def _time(name: str, given: object) -> time:
    found = _CLOCK.fullmatch(given) if isinstance(given, str) else None
    if found is None:
        raise InputError(f'The source {name!r} is to be read at {given!r}; an hour looks like "06:30".')
    return time(int(found[1]), int(found[2]))


def _zone(given: object) -> ZoneInfo:
    try:
        return ZoneInfo(str(given))
    except (ZoneInfoNotFoundError, ValueError, OSError) as error:
        raise InputError(f"{given!r} is no time zone. One looks like UTC or Europe/Paris.") from error
