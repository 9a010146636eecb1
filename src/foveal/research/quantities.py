"""Numbers and dates in a text, by value: digits, words, scales, units, ordinals, decades, ranges; dates in usual forms.

    numbers("about 1.2 million euros")     # [Anchor(value=1200000, unit="€", rounded=True)]
    dates("on 5 March 2021")               # [Anchor(date=(2021, 3, 5))]

The units known are in measures.py; of others the number alone counts. Texts of languages that write 1.200,5 where
English has 1,200.5 are known by their small words, or by a number that says so. Where nothing tells, "3,125" is read in
both ways: it bears out what is written with the same digits and marks, and contradicts only what neither is.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from foveal.evaluation.scripts import UNSPACED_RANGES
from foveal.research.measures import UNITS, in_base

Kind = Literal["number", "date", "name"]


def _listed(words: str) -> list[str]:
    return words.split()


MONTHS = _listed("january february march april may june july august september october november december")
_MONTH = {name[:length]: place for place, name in enumerate(MONTHS, 1) for length in {3, 4, len(name)}}
_MONTH_NAMES = "|".join(sorted(_MONTH, key=len, reverse=True))
_DATES = (
    re.compile(r"\b(?P<y>[12]\d{3})-(?P<m>0[1-9]|1[0-2])-(?P<d>[0-3]\d)(?:\b|(?=T\d\d:))"),
    re.compile(r"(?<!\d)(?P<y>[12]\d{3})[年년] ?(?P<m>0?[1-9]|1[0-2])[月월](?: ?(?P<d>[0-3]?\d)[日일])?"),
    re.compile(r"\b(?P<d>[0-3]?\d)\.(?P<m>0?[1-9]|1[0-2])\.(?P<y>[12]\d{3})\b"),
    re.compile(
        rf"\b(?P<d>[0-3]?\d)(?:st|nd|rd|th)?(?: of)? (?P<n>{_MONTH_NAMES})\.?(?:,? (?P<y>[12]\d{{3}}))?\b",
        re.IGNORECASE,
    ),
    re.compile(
        rf"\b(?P<n>{_MONTH_NAMES})\.? (?P<d>[0-3]?\d)(?:st|nd|rd|th)?\b(?:,? (?P<y>[12]\d{{3}})\b)?", re.IGNORECASE
    ),
    re.compile(rf"\b(?P<n>{_MONTH_NAMES})\.?,? (?P<y>[12]\d{{3}})\b", re.IGNORECASE),
)
_SMALL = dict(
    zip(
        _listed(
            "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen "
            "fifteen sixteen seventeen eighteen nineteen"
        ),
        range(20),
        strict=True,
    )
)
_TENS = {name: 10.0 * at for at, name in enumerate(_listed("twenty thirty forty fifty sixty seventy eighty ninety"), 2)}
_ORDINALS = dict(
    zip(
        _listed(
            "third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth thirteenth "
            "fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
        ),
        range(3, 21),
        strict=True,
    )
)
_SCALES = {"hundred": 1e2, "thousand": 1e3, "million": 1e6, "billion": 1e9, "trillion": 1e12}
_VALUES = _SMALL | _TENS | _ORDINALS
_SHORT_SCALES = {
    "k": 1e3,
    "m": 1e6,
    "mn": 1e6,
    "b": 1e9,
    "bn": 1e9,
    "tn": 1e12,
    "万": 1e4,
    "萬": 1e4,
    "亿": 1e8,
    "億": 1e8,
}
_BESIDE = f"{UNSPACED_RANGES}\uac00-\ud7af"
"""Letters that stand right beside a number and are none of its own: those of scripts without spaces, and Hangul."""

_WORDED = "|".join(sorted((*_SMALL, *_TENS, *_SCALES, *_ORDINALS), key=len, reverse=True))
_UNIT_NAMES = "|".join(re.escape(one) for one in sorted(UNITS, key=len, reverse=True))
_BLANKS = "\u00a0\u2007\u2009\u202f"
_SPACED = r"[1-9]\d{0,2}(?= (?:\d{3} ){0,3}0\d\d(?!\d))(?: \d{3}){1,4}(?!\d)"
"""Groups with plain blanks between: one number for sure where a group begins with 0; "ward 12 300 people" has two.
So many at most: a row of a table has thousands, and would be read to its end from each of them.
"""

_OTHER_SPACED = r"(?<!-)[1-9]\d{0,2}(?: \d{3}){1,4}(?!\d)(?=(?:,\d+)? ?(?:[€$£%]|(?-i:[a-zß-ÿ])))"
"""Or where other languages write so, and what is counted follows: in a row of a table the next cell does."""

INDIAN = r"[1-9]\d?(?:,\d\d){1,6},\d{3}(?![,\d])"
GROUPED = rf"{_SPACED}|[1-9]\d{{0,2}}(?:[{_BLANKS}]\d{{3}})+(?!\d)"
"""Digits whose groups blanks part."""

_ENGLISH_DIGITS = rf"(?:{_SPACED}|{INDIAN})(?:\.\d+)?|\d{{1,3}}(?:[,{_BLANKS}]\d{{3}})+(?:\.\d+)?|\d+(?:\.\d+)?"
_OTHER_DIGITS = rf"(?:{_SPACED}|{_OTHER_SPACED}|[1-9]\d{{0,2}}(?:[.{_BLANKS}]\d{{3}})+(?!\d))(?:,\d+)?|\d+(?:[.,]\d+)?"
_NUMBER_FORM = (
    rf"(?<![^\W{_BESIDE}])(?<!\.)"
    r"(?P<currency>[$€£])? ?(?P<digits>DIGITS)"
    r"(?:(?P<ordinal>st|nd|rd|th|['’]?s)\b|[- ]?(?P<scale>(?:hundred|thousand|million|billion|trillion|k|mn|bn|tn)\b"
    rf"|[万萬亿億]|(?(currency)[mb]\b|(?!))))?(?:[- \u00a0]?(?P<unit>{_UNIT_NAMES})(?!\w)"
    rf"(?:(?:/| per )(?P<per>{_UNIT_NAMES})(?!\w))?)?(?![^\W{_BESIDE}])"
)
_NUMBER, _OTHER_NUMBER = (
    re.compile(_NUMBER_FORM.replace("DIGITS", digits), re.IGNORECASE) for digits in (_ENGLISH_DIGITS, _OTHER_DIGITS)
)
_SIGNED = re.compile(r"\d[. ]\d{3}(?!\d)|\d,\d")
"""Where English and other languages read a number differently."""

_SAYS_OTHER = re.compile(r"(?<![\d.])[1-9]\d{0,2}(?:(?:\.\d{3})+,\d|(?:\.\d{3}){2}(?![.\d]))")
_HINTS = (
    re.compile(
        r"(?<![\d.,])(?:[1-9]\d{0,2}(?:,\d{3})+(?:\.\d|,\d{3})|\d+\.\d{1,2}(?![\d.])|0\.\d)"
        r"|[$£] ?[1-9]\d{0,2},\d{3}(?!\d)"
    ),
    re.compile(r"(?<![\d.,\[(])(?:\d{1,3},\d{1,2}(?![\d,\])])|0,\d+(?![\d,\])]))"),
)
"""Numbers that only English writes so, and that only others do, for texts without small words. "2020,35" is a row of a
table, "0,1,2" a list."""

_CYRILLIC, _LATIN = re.compile(r"[\u0400-\u04ff]{3}"), re.compile(r"[a-z]{3}", re.IGNORECASE)
_SCRIPT = re.compile(rf"[{_BESIDE}]")
"""Languages of Cyrillic letters part fractions by a comma; those beside whose letters numbers stand, thousands."""

_EITHER = re.compile(r"[1-9]\d{0,2}[.,]\d{3}\Z")
"""What is a thousand times as much in the other way of writing."""

_WRITTEN = re.compile(r"\d[\d.,]*")
_ENGLISH = frozenset(
    _listed("the of and to that for with by from which are were this it been or not have has is was at")
)
_LABELS = frozenset(
    _listed(
        "accuracy amount books built classes closed columns copies cost day days depth downloads employees "
        "founded games goals growth height households income inhabitants labels length loss members month months "
        "number opened people players population price released revenue rows sales samples seats share size speed "
        "students users views visitors weight width wins words year years"
    )
)
"""Words of English tables, which have no small words."""

_OTHER = frozenset(
    _listed(
        "der die das den dem des ein eine einen und ist sind mit nicht auf von zu im für bei es gab wurde wurden hat "
        "le les la une est sont dans pour avec sur par du au aux et il elle qui que ont était "
        "el los las una es son con por para del y se un no su fue "
        "il lo gli che di della nel per è sono "
        "het een van zijn niet voor met op er en "
        "os uma não com em foi do da na ao "
        "och att som på av är inte till det "
    )
)
"""Small words of German, French, Spanish, Italian, Dutch, Portuguese, Swedish; those that English has are left out."""

_NUMBER_WORDS = re.compile(rf"\b(?:{_WORDED})(?:(?:[- ]| and )(?:{_WORDED}))*\b", re.IGNORECASE)
_AFTER_WORDS = re.compile(rf"[- ]?({_UNIT_NAMES})(?!\w)", re.IGNORECASE)
_RANGE = re.compile(r"\b([12]\d)(\d\d)[-–—/](\d\d)(?!\d)")
NEAR = 80
"""Characters around a number in which a word speaks of less."""

_TRUE_MINUS = re.compile(r"(?<!\d)(?<!\d\s)−\Z")
_MINUS = re.compile(rf"{_TRUE_MINUS.pattern}|(?:^|(?<=[\s(]))(?<!\d\s)-\Z")
"""A hyphen is one only where a number with a unit, or a fraction, stands right behind it: others join words."""

_LESS = re.compile(
    r"\b(?:f[ae]ll|fell|declin|decreas|drop|down|lower|below|minus|negative|loss|lost|los[ei]|reduc|shr[aiu]nk|contract"
    r"|cut|less|fewer|deficit|under)",
    re.IGNORECASE,
)
_BELOW = re.compile(r"\b(?:below|minus|negative|under)\b", re.IGNORECASE)
_LEVEL = re.compile(r"\b(?:to|at)\s*\Z", re.IGNORECASE)
"""Before a number that is reached: what fell to 5 did not fall by it."""

_LETTERS = re.compile(r"[^\W\d_]+")
_SIGN = re.compile(r"(?<!\w)([A-Z][A-Z0-9]*)(?:\+|\+?[-‐‑–])\Z")
"""What stands before the 2 of IL-2, the 19 of COVID-19, the 3 of CD4+3−."""

_WORD_BEFORE = re.compile(r"(\w+)\s\Z")
_DECADE = re.compile(r"\d['’]?s\Z", re.IGNORECASE)
"""The end of "80s"; that of "5 metres" is none."""

_ROUNDED = re.compile(
    r"\b(?:about|around|approximately|roughly|nearly|almost|some|over|under|(?:more|less) than|at least|up to)\s*$",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Anchor:
    """A number, date or name, where it stands (`start`, `end`), and its form.

    `value`, `unit` and `per` are a number's, `date` is (year, month, day), 0 for what is not given, `words` a name's.
    """

    kind: Kind
    text: str
    start: int
    end: int
    value: float = 0.0
    or_else: float | None = None  # of a number that is another one in the other way of writing; None: it is not
    comma: bool | None = None  # of a number: whether commas part fractions in its text; None: nothing tells
    unit: str = ""
    per: str = ""  # the unit that it is counted by: of 30 ng/ml "ml"
    rounded: bool = False
    below: bool = False  # a number with a minus before it
    falls: bool = False  # what stands around it speaks of less: "fell", "below", "loss"
    sign: str = ""  # of a number that is part of one, the rest: IL of IL-2
    after: str = ""  # the word right before a number
    date: tuple[int, int, int] = (0, 0, 0)
    words: tuple[str, ...] = ()


def dates(text: str) -> list[Anchor]:
    """The dates of a text, of a month at least."""
    found: list[Anchor] = []
    taken = bytearray(len(text))
    for pattern in _DATES:
        for one in pattern.finditer(text):
            parts = one.groupdict()
            month = int(parts["m"]) if parts.get("m") else _MONTH[parts["n"].casefold()]
            day, year = int(parts.get("d") or 0), int(parts.get("y") or 0)
            anchor = Anchor("date", one[0], one.start(), one.end(), date=(year, month, day))
            if day <= 31 and not within(anchor, taken):
                found.append(anchor)
                take(taken, anchor)
    return found


def numbers(text: str) -> list[Anchor]:
    """The numbers of a text; those that are written as words from 2 on."""
    comma = decimal_comma(text)
    other = comma and _SIGNED.search(text) is not None
    found = [_from_digits(one, text, comma=comma) for one in (_OTHER_NUMBER if other else _NUMBER).finditer(text)]
    found += [
        Anchor("number", one[0], one.start(3), one.end(3), value=float(one[1] + one[3]), comma=comma)  # 1913-16
        for one in _RANGE.finditer(text)
    ]
    starts = {one.start: one for one in found}
    found = list(starts.values())
    taken = bytearray(len(text))
    take(taken, *found)
    for one in _NUMBER_WORDS.finditer(text):
        value = _worded(one[0])
        unit = _AFTER_WORDS.match(text, one.end())
        named = UNITS[unit[1].casefold()] if unit else ""
        anchor = Anchor("number", one[0], one.start(), one.end(), value=value, comma=False, unit=named)
        if value > 1 and not within(anchor, taken):  # "one" and "zero" say other things, too
            found.append(anchor)
            take(taken, anchor)
    return found


def decimal_comma(text: str) -> bool | None:
    """Whether a text sets thousands apart by points, and fractions by a comma; None: nothing tells."""
    if _SAYS_OTHER.search(text):
        return True
    words = _LETTERS.findall(text.casefold())
    more = sum(word in _OTHER for word in words) - sum(word in _ENGLISH for word in words)
    if more:
        return more > 0
    if not _LABELS.isdisjoint(words):
        return False
    if (cyrillic := len(_CYRILLIC.findall(text))) or _SCRIPT.search(text):
        return cyrillic > len(_LATIN.findall(text))
    english, other = (hint.search(text) is not None for hint in _HINTS)
    return None if english == other else other


def _from_digits(one: re.Match[str], text: str, *, comma: bool | None) -> Anchor:
    scale = (one["scale"] or "").lower()
    factor = _SCALES.get(scale) or _SHORT_SCALES.get(scale) or 1.0
    digits = in_english(one["digits"]) if comma else one["digits"]
    value, or_else = _value(digits) * factor, None
    if is_either(one["digits"]):
        or_else = _value(one["digits"] if comma else in_english(one["digits"])) * factor
    unit = one["unit"] or one["currency"] or ""
    rounded = factor > 1 or _ROUNDED.search(text[max(0, one.start() - 24) : one.start()]) is not None
    written = one[0]
    start = one.start() + len(written) - len(written.lstrip())
    exact = bool(unit) or "." in digits
    below = (_MINUS if exact else _TRUE_MINUS).search(text[max(0, start - 3) : start]) is not None
    says_less = _BELOW if _LEVEL.search(text[max(0, start - 24) : start]) else _LESS
    falls = says_less.search(text[max(0, start - NEAR) : one.end() + NEAR]) is not None
    sign, after = (found.search(text[max(0, start - 24) : start]) for found in (_SIGN, _WORD_BEFORE))
    return Anchor(
        "number", written.strip(), start, one.end(), value=value, or_else=or_else, comma=comma,
        unit=UNITS.get(unit.casefold(), ""), rounded=rounded,
        per=UNITS.get((one["per"] or "").casefold(), ""), below=below, falls=falls,
        sign="" if unit or sign is None else sign[1], after="" if after is None else after[1],
    )  # fmt: skip


def _value(digits: str) -> float:
    return float(re.sub(r"[^\d.]", "", digits))


def is_either(digits: str) -> bool:
    """Whether they are a thousand times as much in the other way of writing: 3,125."""
    return _EITHER.match(digits) is not None


def in_english(digits: str) -> str:
    """1.200,5 as 1200.5; a point before other than three digits parts a fraction there, too."""
    if "," in digits or re.fullmatch(r"[1-9]\d{0,2}(?:\.\d{3})+", digits):
        digits = digits.replace(".", "")
    return digits.replace(",", ".")


def _worded(text: str) -> float:
    """The value of number words: "two hundred and five thousand"."""
    total, part = 0.0, 0.0
    for word in re.split(r"[- ]+", text.lower()):
        if word in _VALUES:
            part += _VALUES[word]
        elif word == "hundred":
            part = max(part, 1) * 100
        elif word in _SCALES:
            total, part = total + max(part, 1) * _SCALES[word], 0.0
    return total + part


def take(taken: bytearray, *anchors: Anchor) -> None:
    """Mark the characters of anchors as taken: a byte for each of the text, since a table holds thousands of them."""
    for one in anchors:
        taken[one.start : one.end] = b"\1" * (one.end - one.start)


def within(one: Anchor, taken: bytearray) -> bool:
    """Whether an anchor lies over characters that are taken."""
    return any(taken[one.start : one.end])


def same_number(one: Anchor, other: Anchor) -> bool:
    """Whether the second bears the number `one` out: as much of the same, no other unit, or what it is rounded from.

    Of a text that does not tell how it writes numbers, one that may be two bears out only what is written as it is.
    """
    if other.kind == "date":
        return not one.unit and one.value == float(other.date[0])
    own, its = _is_two(one), _is_two(other)
    if its and _digits(one) == _digits(other):
        one = replace(one, value=one.or_else if one.comma and one.or_else is not None else one.value)
    elif its or (own and other.comma is None):
        return False
    elif own and other.comma:  # it speaks of that text, and as that does
        one = readings(one)[1]
    value = _as_in(one, other) if other.kind == "number" else None
    if value is None or (other.sign and not _of_sign(one, other.sign)):
        return False
    if one.below != other.below and not (other if one.below else one).falls:
        return False
    if math.isclose(one.value, value) or (_decade(one) and one.value == value % 100):
        return True
    return one.rounded and one.value > 0 and value > 0 and _rounds(value, one.value)


def readings(one: Anchor) -> list[Anchor]:
    """What an anchor may be: one, but for a number that another way of writing makes another one, where nothing tells
    which way its text has."""
    if one.or_else is None or one.comma is not None:
        return [one]
    return [replace(one, comma=False), replace(one, value=one.or_else, comma=True)]


def _is_two(one: Anchor) -> bool:
    return one.or_else is not None and one.comma is None


def _digits(one: Anchor) -> str:
    """The digits of a number as they are written, with what parts them."""
    found = _WRITTEN.search(one.text)
    return "" if found is None else found[0]


def _of_sign(one: Anchor, sign: str) -> bool:
    """Whether a number may be that of a sign: of IL-2 that of "IL 2" and "interleukin 2", not of "2 mice"."""
    if one.sign or one.after.casefold() == sign.casefold():
        return True
    return len(one.after) > len(sign) + 1 and one.after[0].casefold() == sign[0].casefold()


def _as_in(one: Anchor, other: Anchor) -> float | None:
    """The value of the second in the unit of the first; None: its unit is of another kind. Where one of them does not
    say by what it is counted, that is no difference: 5 mg a day is written in many ways."""
    if not (one.unit and other.unit):
        return other.value
    rate = bool(one.per and other.per)
    wanted, mine = in_base(one.unit, one.per if rate else "")
    found, its = in_base(other.unit, other.per if rate else "")
    return other.value * (its / mine) if wanted == found else None


def _decade(one: Anchor) -> bool:
    """Whether a number is "the 80s"."""
    return one.value < 100 and _DECADE.search(one.text) is not None


def rivals(lost: Iterable[Anchor], among: Sequence[Anchor], said: Sequence[Anchor]) -> bool:
    """Whether a text has, in the place of a number or date that it lacks, another of its kind that is not `said`. What
    it may hold, in another way of writing than is known, it does not lack."""
    wanted = [one for one in lost if one.kind != "name"]
    if not wanted:
        return False
    unsure = {(_base(each), amount) for each in among if _is_two(each) for amount in _amounts(each)}
    own = {_kind(one) for one in wanted if all((_base(one), amount) not in unsure for amount in _amounts(one))}
    mine = {amount for one in said for amount in _amounts(one)}
    return any(_kind(one) in own and mine.isdisjoint(_amounts(one)) for one in among if one.kind != "name")


def _amounts(one: Anchor) -> list[tuple[float, tuple[int, int, int]]]:
    """How much it is, in the base of its unit, or which date; two where it may be two."""
    values = [one.value] if one.or_else is None or not _is_two(one) else [one.value, one.or_else]
    return [(float(f"{value * in_base(one.unit)[1]:.9g}"), one.date) for value in values]


def _base(one: Anchor) -> str:
    return in_base(one.unit)[0][0]


def _kind(one: Anchor) -> tuple[str, str]:
    """Date, year, or number with what its unit is of."""
    year = one.kind == "number" and not one.unit and one.value.is_integer() and 1000 <= one.value <= 2100
    return ("year", "") if year else (one.kind, _base(one))


def _rounds(exact: float, rounded: float) -> bool:
    """Whether a number, with as many significant digits as another has, is that other one; a half goes up, or to the
    even digit."""
    digits = len(f"{rounded:.12g}".replace(".", "").lstrip("0").rstrip("0")) if rounded < 1e12 else 3
    if digits < 1 or not math.isfinite(exact):
        return False
    half = 10.0 ** (math.floor(math.log10(exact)) - digits + 1) / 2
    return float(f"{exact:.{digits}g}") == rounded or math.isclose(exact + half, rounded)


def same_date(wanted: tuple[int, int, int], other: Anchor) -> bool:
    """Whether an anchor is a date with all that is wanted of it."""
    return other.kind == "date" and all(not mine or mine == its for mine, its in zip(wanted, other.date, strict=True))
