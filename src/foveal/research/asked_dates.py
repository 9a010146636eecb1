"""The time that a question names, for which sources count: by rule, in six languages.

    dates_in("What changed since May 2024?", today)                # ("2024-05-01", "")
    dates_in("papers between March and May 2024", today)           # ("2024-03-01", "2024-05-31")
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
from datetime import date, timedelta

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
_SHORT = {names[:3]: number for number, names in enumerate(MONTHS, 1)} | {"sept": 9}
"""English names cut short, which are months where a year follows."""

_VERBS = frozenset(("may", "march"))
"""What is no month where it begins with a small letter."""

_YEAR, _NUMBER = r"(?:19|20)\d\d", r"(?:3[01]|[12]\d|0?[1-9])"
_NAMES = "|".join(sorted(_MONTH, key=len, reverse=True))
_CUT = rf"(?:{'|'.join(_SHORT)})(?!\w)\.?(?=(?: {_NUMBER}(?:st|nd|rd|th)?,?)? {_YEAR})"
_DAY = (
    rf"(?:{_YEAR}-(?:0[1-9]|1[0-2])(?:-[0-3]\d)?(?![\d-])"
    rf"|(?:(?:(?:the|dem|den|le|el) )?{_NUMBER}(?:st|nd|rd|th|er|\.)? (?:of |de )?)?"
    rf"(?:{_NAMES}|{_CUT})(?: {_NUMBER}(?:st|nd|rd|th)?(?!\w|\.\d))?"
    rf"(?:,? (?:del? )?{_YEAR}|(?! ?\d|,? (?:del? )?\d{{3}})(?: (?:de )?|(?!\w)))"
    rf"|{_YEAR})"
)
_CJK_MONTH = rf"(?<!\d)(?:1[0-2]|0?[1-9]) ?月(?: ?{_NUMBER} ?[日号號])?"
_CJK = rf"(?:{_YEAR} ?年(?: ?{_CJK_MONTH})?|{_CJK_MONTH})"
_ISO = re.compile(r"(\d{4})-(\d\d)(?:-(\d\d))?")


@dataclass(frozen=True, slots=True)
class _Rule:
    """How a stretch of time is said; `shift`, in its own unit: where it begins and ends, None: open."""

    pattern: re.Pattern[str]
    shift: tuple[int | None, int | None]


def _said(first: int | None, last: int | None, *patterns: str) -> _Rule:
    """One way of many to say it: DATE is a year, a month or a day, the year of which may be left out; C a Chinese or
    Japanese one."""
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
    named = sorted(_with_years([_parts(one) for one in given], today), key=lambda one: [part or 0 for part in one])
    first, last = shift
    since = until = ""
    if first is not None:
        year, month, day = _moved(named[0], first)
        since = date(year, month or 1, day or 1).isoformat()
    if last is not None:
        year, month, day = _moved(named[-1], last)
        until = date(year, month or 12, day or _length(year, month or 12)).isoformat()
    return since, until


def _parts(said: str) -> tuple[int | None, int | None, int | None]:
    """Year, month and day, as far as they are named."""
    if iso := _ISO.fullmatch(said):
        return int(iso[1]), int(iso[2]), int(iso[3]) if iso[3] else None
    year = re.search(_YEAR, said)
    rest = said.replace(year[0], " ") if year else said
    number = re.search(r"(\d\d?) ?月", rest)
    names = ((_MONTH | _SHORT).get(one.lower()) for one in re.findall(r"[^\W\d]+", rest))
    month = int(number[1]) if number else next(filter(None, names), None)
    day = re.search(r"(?<!\d)\d\d?(?!\d)(?! ?月)", rest) if month else None
    return int(year[0]) if year else None, month, int(day[0]) if day else None


def _with_years(
    named: list[tuple[int | None, int | None, int | None]], today: date
) -> list[tuple[int, int | None, int | None]]:
    """The dates of a stretch with the years that were left out: that of the other date, so that the first comes before
    the last; where none is named, the last time that the last one has begun. A day that a month lacks is its last."""
    first, last = named[0], named[-1]
    if last[0]:
        until = last[0]
    elif first[0] and first[1]:
        until = first[0] + (_place(last) < _place(first))
    else:
        until = today.year - ((last[1] or 1, last[2] or 1) > (today.month, today.day))
    since = first[0] or until - (_place(first) > _place(last))
    years = zip((since, until)[-len(named) :], named, strict=True)
    return [(year, month, min(day, _length(year, month)) if day and month else None) for year, (_, month, day) in years]


def _place(one: tuple[int | None, int | None, int | None]) -> tuple[int, int]:
    """Where in its year a date lies; a year alone at its end."""
    _, month, day = one
    return month or 12, day or 31


def _length(year: int, month: int) -> int:
    return calendar.monthrange(year, month)[1]


def _moved(one: tuple[int, int | None, int | None], by: int) -> tuple[int, int | None, int | None]:
    """A date moved in its own unit."""
    year, month, day = one
    if month is None:
        return year + by, None, None
    if day is not None:
        moved = date(year, month, day) + timedelta(days=by)
        return moved.year, moved.month, moved.day
    at = year * 12 + month - 1 + by
    return at // 12, at % 12 + 1, None
