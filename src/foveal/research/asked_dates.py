"""The time that a question names, for which sources count: by rule, in six languages.

    dates_in("What changed since May 2024?", today)                # ("2024-05-01", "")
    dates_in("Studien zwischen 2010 und 2015", today)              # ("2010-01-01", "2015-12-31")

Languages   English, German, French, Spanish, Chinese, Japanese
Subject     what a question tells of a time that is over ("mills before 1901") is its subject: sources of later days
            speak of it. So a last day counts where sources are spoken of ("papers before 1901"), or where the reader
            was asked since when sources count
"""

from __future__ import annotations

import calendar
import re
from dataclasses import dataclass
from datetime import date

MONTHS = (
    "january|januar|jänner|janvier|enero", "february|februar|feber|février|febrero", "march|märz|mars|marzo",
    "april|avril|abril", "may|mai|mayo", "june|juni|juin|junio", "july|juli|juillet|julio", "august|août|agosto",
    "september|septembre|septiembre", "october|oktober|octobre|octubre", "november|novembre|noviembre",
    "december|dezember|décembre|diciembre",
)  # fmt: skip
"""Names of the twelve months, from January."""

NEAR = 24
"""Characters behind a date in which Chinese and Japanese say that it is one of sources."""

_MONTH = {name: number for number, names in enumerate(MONTHS, 1) for name in names.split("|")}
_VERBS = frozenset(("may", "march"))
"""What is no month where it begins with a small letter."""

_DAY = rf"(?:(?:{'|'.join(sorted(_MONTH, key=len, reverse=True))})(?: (?:de )?|(?!\w))(?:(?:19|20)\d\d)?|(?:19|20)\d\d)"
_CJK_MONTH = r"(?<!\d)(?:1[0-2]|0?[1-9]) ?月"
_CJK = rf"(?:(?:19|20)\d\d ?年(?: ?{_CJK_MONTH})?|{_CJK_MONTH})"


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a stretch of time is said; `shift` in its own unit (year or month): where it begins and ends, None: open."""

    pattern: re.Pattern[str]
    shift: tuple[int | None, int | None]


def _said(first: int | None, last: int | None, *patterns: str) -> _Rule:
    """One way of many to say it: DATE is a year, a month, or a month of a year; C a Chinese or Japanese one."""
    written = [one.replace("DATE", f"({_DAY})").replace("C", f"({_CJK})") for one in patterns]
    return _Rule(re.compile("|".join(written), re.IGNORECASE), (first, last))


_RULES = (
    _said(
        0, 0, r"\b(?:between|from) DATE (?:and|to|until) DATE\b", r"\b(?:zwischen|von) DATE (?:und|bis) DATE\b",
        r"\bentre (?:el )?DATE (?:et|y) (?:el )?DATE\b", r"\bde DATE (?:à|a) DATE\b", r"\bdesde DATE hasta DATE\b",
        "C ?(?:到|至|から|～|〜|-|–) ?C(?:まで|为止|之间|间)?",
    ),
    _said(
        0, None, r"\bsince DATE\b", r"\bseit DATE\b", r"\bdepuis DATE\b", r"\bdesde (?:el )?DATE\b",
        "自?从?C ?(?:以来|以來|以降|来|來|起|から)", "自从?C",
    ),
    _said(
        1, None, r"\bafter DATE\b", r"\bnach DATE\b", r"\baprès DATE\b", r"\b(?:después de|tras) (?:el )?DATE\b",
        "C ?(?:之后|之後|以后|以後|より後)",
    ),
    _said(
        None, 0, r"\b(?:until|up to|by) DATE\b", r"\bbis DATE\b", r"\bjusqu['’](?:en|à) DATE\b",
        r"\bhasta (?:el )?DATE\b", "截至C", "C ?(?:为止|為止|まで|以前)",
    ),
    _said(
        None, -1, r"\bbefore DATE\b", r"\bvor DATE\b", r"\bavant DATE\b", r"\bantes de(?:l)? DATE\b",
        "C ?(?:之前|より前)",
    ),
)  # fmt: skip
_LAST_YEARS = re.compile(
    r"\b(?:in|over|of) the (?:last|past) (\d{1,2}) years\b|\b(?:letzten|vergangenen) (\d{1,2}) Jahren?\b"
    r"|\b(\d{1,2}) dernières années\b|\búltimos (\d{1,2}) años\b|(?:过去|過去|最近|近|ここ) ?(\d{1,2}) ?年",
    re.IGNORECASE,
)
_LAST_YEAR = re.compile(
    r"\blast year\b|\b(?:letzte[ns]?|vergangene[ns]?|vorige[ns]?) Jahr\b"
    r"|\bl['’](?:année|an) (?:dernière|dernier|passée?)\b|\baño pasado\b|去年|昨年",
    re.IGNORECASE,
)
_SOURCES = re.compile(
    r"(?:\b(?:papers?|articles?|studies|publications?|literature|research|reports?|news|sources?|surveys?|reviews?"
    r"|preprints?|posts|published|written|posted|appeared|printed"
    r"|artikel|studien?|veröffentlicht\w*|veröffentlichungen|literatur|berichte?|nachrichten|quellen?|erschienen\w*"
    r"|études?|publiée?s?|littérature|rapports?|artículos?|estudios?|publicad[oa]s?|literatura|fuentes?|informes?)\b"
    r"|论文|論文|文献|文章|研究|报告|報告|记事|記事)[^.?!。？！]{0,60}$",
    re.IGNORECASE,
)
_SOURCES_BEHIND = re.compile(r"[的の]?(?:论文|論文|文献|文章|研究|报告|報告|记事|記事)")


def dates_in(text: str, today: date, *, of_sources: bool = False) -> tuple[str, str]:
    """The first and the last day that sources may be of, as ISO 8601; "" where a text does not say.

    `of_sources`: whatever it says is said of sources.
    """
    for rule in _RULES:
        for found in rule.pattern.finditer(text):
            given = [one.strip() for one in found.groups() if one]
            if not _VERBS.intersection(given):
                since, until = _days(given, rule.shift, today)
                return since, until if of_sources or _of_sources(text, found) else ""
    if many := _LAST_YEARS.search(text):
        years = next(int(number) for number in many.groups() if number)
        return date(today.year - years, today.month, min(today.day, 28)).isoformat(), ""
    if one := _LAST_YEAR.search(text):
        last = f"{today.year - 1}-12-31" if of_sources or _of_sources(text, one) else ""
        return f"{today.year - 1}-01-01", last
    return "", ""


def _of_sources(text: str, found: re.Match[str]) -> bool:
    """Whether a date is one of sources: they are spoken of before it, in Chinese and Japanese at once behind it."""
    behind = _SOURCES_BEHIND.match(text[found.end() : found.end() + NEAR])
    return bool(behind or _SOURCES.search(text[: found.start()]))


def _days(given: list[str], shift: tuple[int | None, int | None], today: date) -> tuple[str, str]:
    """The first and the last day of what was named; of two dates the earlier one comes first."""
    months = sorted((_month_of(one, today) for one in given), key=lambda one: (one[0], one[1] or 0))
    first, last = shift
    since = until = ""
    if first is not None:
        year, month = _moved(*months[0], first)
        since = date(year, month or 1, 1).isoformat()
    if last is not None:
        year, month = _moved(*months[-1], last)
        until = date(year, month or 12, calendar.monthrange(year, month or 12)[1]).isoformat()
    return since, until


def _month_of(said: str, today: date) -> tuple[int, int | None]:
    """Year and month; of a month alone the last one that has begun."""
    year = re.search(r"(?:19|20)\d\d", said)
    number = re.search(r"(\d\d?) ?月", said)
    name = re.match(r"[^\W\d]+", said)
    month = int(number[1]) if number else _MONTH.get(name[0].lower()) if name else None
    if year:
        return int(year[0]), month
    return today.year - (month is not None and month > today.month), month


def _moved(year: int, month: int | None, by: int) -> tuple[int, int | None]:
    if month is None:
        return year + by, None
    at = year * 12 + month - 1 + by
    return at // 12, at % 12 + 1
