"""Numbers of Excel as its cells show them: dates as ISO 8601, percentages, amounts with their currency or unit.

    shown("45432.5", "yyyy-mm-dd hh:mm")       # "2024-05-20 12:00"
    shown("0.1234", "0.0%")                    # "12.3%"
    shown("1234.5", '[$€-407]#,##0.00')        # "€1,234.50"
    shown("0.30000000000000004", "#,##0.00")   # "0.3"

Dates     by day, the time behind where the format shows one and it is not midnight; of a time of day and a duration
          (26:30) the time alone
Words     a format with signs or words of its own (%, €, "kg") is followed, its part for negative numbers and for zero
          as well; so is one of zeros only, as of postal codes (00123)
Others    the number itself, with at most 15 digits that count, whole numbers without a point
"""

from __future__ import annotations

import re
from datetime import date, timedelta
from decimal import ROUND_HALF_UP, Decimal
from functools import lru_cache
from typing import NamedTuple

BUILT_IN = {
    9: "0%", 10: "0.00%", 18: "h:mm", 19: "h:mm:ss", 20: "h:mm", 21: "h:mm:ss", 22: "yyyy-mm-dd h:mm",
    45: "mm:ss", 46: "[h]:mm:ss", 47: "mm:ss",
    **dict.fromkeys(range(14, 18), "yyyy-mm-dd"),
    **dict.fromkeys((5, 6), '"$"#,##0;("$"#,##0)'), **dict.fromkeys((7, 8), '"$"#,##0.00;("$"#,##0.00)'),
    42: '"$"#,##0;("$"#,##0);"$"-', 44: '"$"#,##0.00;("$"#,##0.00);"$"-',
    **dict.fromkeys((*range(27, 37), *range(50, 59)), "yyyy-mm-dd h:mm"),  # of East Asia, dates and times
}  # fmt: skip
"""Formats that files call by number; the others say no more than the number does."""

DIGITS = 15
"""Digits of a number that Excel keeps."""

MOST_PLACES = 10
"""Digits behind the point that a format is followed with."""

LONGEST_FORMAT = 255
"""Characters of a format, in Excel as well; a longer one is as none."""

LAST_DAY = 2_958_465
"""9999-12-31, the last day that Excel counts."""

_NUMBER = re.compile(r"[-+]?(?:\d{1,400}(?:\.\d{0,400})?|\.\d{1,400})(?:[eE][-+]?\d{1,3})?")
_PIECE = re.compile(
    r'"(?P<quoted>[^"]*)"|\[(?P<bracket>[^\]]*)\]|\\(?P<escaped>.)|_.|\*.|(?P<core>[#0?][#0?,.]*)|(?P<sign>.)',
    re.DOTALL,
)
_CONDITION = re.compile(r"\s*[<>=]")
_ELAPSED = re.compile(r"h+|m+|s+", re.IGNORECASE)
_ISO = re.compile(r"(\d{4}-\d\d-\d\d)?T?(?:(\d\d:\d\d)(:\d\d)?(?:\.\d+)?)?Z?")
_PLAIN_SIGNS = frozenset("()+- /:,")


class _Section(NamedTuple):
    """One of the parts of a format between semicolons."""

    before: str
    core: str | None  # where the digits go; None: they are not shown
    after: str
    followed: bool  # whether it can be, number and all


class _Format(NamedTuple):
    """What a format says of numbers."""

    day: bool  # it shows a date
    time: bool  # it shows a time
    elapsed: bool  # its hours go on beyond 24
    worded: bool  # it has signs or words of its own
    sections: tuple[_Section, ...]


def shown(value: str, code: str, *, from_1904: bool = False) -> str:
    """A number, as a file holds it, in a format; what is no number stays as it is."""
    if not _NUMBER.fullmatch(value):
        return value
    number = float(value)
    form = _format(code)
    if form.day or form.time:
        return _moment(number, form, from_1904=from_1904) or plain_number(number)
    if _is_blank(number, form.sections):
        return ""
    if not form.worded or not abs(number) < 10**DIGITS:
        return plain_number(number)
    return _followed(number, form.sections)


def iso_shown(value: str) -> str:
    """A date or time that a file holds as ISO 8601, without a time at midnight."""
    found = _ISO.fullmatch(value.strip())
    if not found or not (found[1] or found[2]):
        return value
    second = found[3] if found[3] and found[3] != ":00" else ""
    clock = f"{found[2]}{second}" if found[2] and not (found[1] and found[2] == "00:00" and not second) else ""
    return " ".join(filter(None, (found[1], clock)))


def plain_number(number: float) -> str:
    """A number as Excel has it where no format is set: 15 digits, no point in whole ones."""
    short = Decimal(f"{number:.{DIGITS}g}")
    if not short.is_finite():
        return str(number)
    if not short:
        return "0"
    if -10 <= short.adjusted() < 21:
        said = f"{short:f}"
        return said.rstrip("0").rstrip(".") if "." in said else said
    return f"{number:.{DIGITS}g}".upper()


@lru_cache(maxsize=1024)
def _format(code: str) -> _Format:
    sections, begin, kinds, worded = list[_Section](), 0, "", False
    pieces = list(_PIECE.finditer(code if len(code) <= LONGEST_FORMAT else ""))
    ends = [n for n, one in enumerate(pieces) if one["sign"] == ";"]
    for end in [*ends[:3], len(pieces)]:
        inside = pieces[begin:end]
        kinds += "".join(_letters(inside)) if not sections else ""  # what a date's format shows is in its first part
        section, says = _section(inside)
        sections.append(section)
        worded = worded or says
        begin = end + 1
    kinds = kinds.lower()
    elapsed = any(one["bracket"] and _ELAPSED.fullmatch(one["bracket"]) for one in pieces)
    general = "general" in code.lower() or "@" in kinds
    time = not general and (elapsed or "h" in kinds or "s" in kinds)
    day = not general and not elapsed and ("y" in kinds or "d" in kinds or ("m" in kinds and not time))
    zeros = re.fullmatch(r"0{2,15}", code) is not None
    return _Format(day, time, elapsed, (worded or zeros) and not general, tuple(sections))


def _letters(pieces: list[re.Match[str]]) -> list[str]:
    """The letters of a format that stand for parts of a date or a time."""
    return [one["sign"] for one in pieces if one["sign"] and one["sign"] in "yYdDhHmMsS@"]


def _section(pieces: list[re.Match[str]]) -> tuple[_Section, bool]:
    """A part of a format, and whether it has signs or words of its own."""
    before, after, core, followed, worded = "", "", None, True, False
    for one in pieces:
        words = one["quoted"] or one["escaped"] or one["sign"] or ""
        if one["bracket"] is not None:
            currency = one["bracket"].startswith("$")
            words = one["bracket"][1:].partition("-")[0] if currency else ""
            followed = followed and not _CONDITION.match(one["bracket"])
        elif one["core"]:
            followed, core = followed and core is None, one["core"]  # of fractions and the like there are two
            continue
        elif one["sign"] and one["sign"] in 'Ee@["':
            followed = False
        worded = worded or not set(words) <= _PLAIN_SIGNS
        before, after = (before + words, after) if core is None else (before, after + words)
    return _Section(before, core, after, followed), worded


def _chosen(number: float, sections: tuple[_Section, ...]) -> int:
    """Which part of a format is for a number."""
    return 1 if number < 0 and len(sections) > 1 else 2 if number == 0 and len(sections) > 2 else 0


def _is_blank(number: float, sections: tuple[_Section, ...]) -> bool:
    """Whether a format hides a number, as ";;;" does."""
    return len(sections) > 2 and sections[_chosen(number, sections)] == _Section("", None, "", True)


def _followed(number: float, sections: tuple[_Section, ...]) -> str:
    """A number as the part of a format for its sign shows it."""
    chosen = _chosen(number, sections)
    before, core, after, followed = sections[chosen]
    if not followed:
        return plain_number(number)
    digits = _digits(number, core, percents=before.count("%") + after.count("%")) if core is not None else ""
    if digits is None:
        return plain_number(number)
    negative = number < 0 and chosen == 0 and any(one in "123456789" for one in digits)
    return f"{'-' if negative else ''}{before}{digits}{after}".strip()


def _digits(number: float, core: str, *, percents: int) -> str | None:
    """The digits of a number as a format such as "#,##0.00" has them; None: it asks for too many."""
    whole, _, fraction = core.partition(".")
    scale = len(core) - len(core.rstrip(","))  # each comma behind the digits leaves out three of them
    places = sum(one in "#0?" for one in fraction)
    least = sum(one == "0" for one in fraction)
    if places > MOST_PLACES or len(whole) > 2 * DIGITS or percents > 2 or scale > 4:
        return None
    value = Decimal(f"{abs(number):.{DIGITS}g}").scaleb(2 * percents - 3 * scale)
    if value >= 10**DIGITS:
        return None
    rounded = f"{value.quantize(Decimal(1).scaleb(-places), rounding=ROUND_HALF_UP):f}"
    units, _, rest = rounded.partition(".")
    rest = rest[:least] + rest[least:].rstrip("0")
    units = units.lstrip("0").zfill(whole.count("0"))
    if "," in whole.rstrip(","):
        units = re.sub(r"(?<=\d)(?=(?:\d{3})+$)", ",", units)
    return f"{units}.{rest}" if rest else units


def _moment(number: float, form: _Format, *, from_1904: bool) -> str | None:
    """A count of days as a date, a time or both; None: Excel shows none."""
    if not 0 <= number < LAST_DAY + 1:
        return None
    days, seconds = divmod(round(number * 86_400), 86_400)
    clock = _clock(seconds + (days * 86_400 if form.elapsed else 0))
    if not form.day:
        return clock
    if days == 0 and not from_1904:
        return clock if form.time else None
    return f"{_day(days, from_1904=from_1904)} {clock}" if form.time and seconds else _day(days, from_1904=from_1904)


def _clock(seconds: int) -> str:
    hours, rest = divmod(seconds, 3600)
    minutes, rest = divmod(rest, 60)
    return f"{hours:02}:{minutes:02}:{rest:02}" if rest else f"{hours:02}:{minutes:02}"


def _day(days: int, *, from_1904: bool) -> str:
    """The date that a number of days is; Excel counts a 29 February of 1900 that never was."""
    if from_1904:
        found = date(1904, 1, 1).toordinal() + days
        return date.fromordinal(min(found, date.max.toordinal())).isoformat()
    if days == 60:
        return "1900-02-29"
    return (date(1899, 12, 30) + timedelta(days=min(days, LAST_DAY) + (days < 60))).isoformat()
