"""English numbers in words as digits, where they say nothing else: an answer's 42 may be forty-two in the text.

    in_digits("the forty-two sacks")          ->  {"42"}
    in_digits("nineteen forty-two, two thirds, the twenty-first, two dozen, one of them")  ->  set()
    unseparated("3,000 sacks")                ->  "3000 sacks"

Known     two to ninety-nine; with hundred and thousand up to 999,999
Against   research/quantities.py reads far more, and rounds; here nothing may count that is not said
"""

from __future__ import annotations

import re

from foveal.evaluation.scripts import composed

_SMALL_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL, _TENS = _SMALL_WORDS.split(), _TENS_WORDS.split()
_UNITS = {word: value for value, word in enumerate(_SMALL) if value} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_HYPHENS = "-\u2010\u2011"
_BIG = "hundred|thousand"
_WORD = "|".join([*_SMALL, *_TENS, _BIG])
_RUN = re.compile(
    rf"\b(?:{_WORD})\b(?:(?:(?<=hundred)|(?<=thousand))(?:,|,? and) (?:{_WORD})\b|[{_HYPHENS}\s]\s?(?:{_WORD})\b)*",
    re.IGNORECASE,
)
"""All number words that stand together; what they are the number of may be a number, too."""

_PART = "third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|[a-z]+teenth|[a-z]+tieth"
_GOES_ON = re.compile(
    rf"\w|[{_HYPHENS}\s]\s?(?:first|second|(?:{_PART}|half|quarter|hundredth|thousandth)s?|halves|hundreds|thousands"
    r"|point|(?:mill|bill|trill)ion(?:ths?|s)?|dozens?|scores?)\b"
    r"|,? and (?:a|one|two|three) (?:half|halves|thirds?|quarters?)\b",
    re.IGNORECASE,
)
"""Of what follows, that which makes it another number, or none."""

_COMES_FROM = re.compile(
    rf"(?:\bpoint|\d|\b(?:mill|bill|trill)ion(?:,? and|,)?|\bdozen)[{_HYPHENS}\s]\Z", re.IGNORECASE
)
_BEFORE = 20
"""Characters before a number that are looked at."""

_SEPARATED = re.compile(r"(?<![\w.,])([1-9]\d{0,2}(?:,\d{3})+)(?!\w|,\d|\.\d+,\d)")


def in_digits(text: str) -> set[str]:
    """The numbers in words of `text`, as digits; one and zero, which say other things too, only within others."""
    found, text = set[str](), " ".join(composed(text).split())  # a line may end within a number
    for run in _RUN.finditer(text):
        before = text[max(0, run.start() - _BEFORE) : run.start()]
        if _GOES_ON.match(text, run.end()) or _COMES_FROM.search(before):
            continue
        value = _value(re.split(rf"[{_HYPHENS}\s,]+", run[0].lower()))
        if value is not None and value > 1:
            found.add(str(value))
    return found


def unseparated(text: str) -> str:
    """The text without the commas of thousands."""
    return _SEPARATED.sub(lambda one: one[1].replace(",", ""), text) if "," in text else text


def _value(words: list[str]) -> int | None:
    """What words say as one number; None: they are several, or none."""
    if "thousand" in words:
        at = words.index("thousand")
        many, rest = _below_thousand(words[:at]), _rest(words[at + 1 :])
        return None if many is None or rest is None else 1000 * many + rest
    return _below_thousand(words)


def _below_thousand(words: list[str]) -> int | None:
    if "hundred" in words:
        at = words.index("hundred")
        many, rest = _below_hundred(words[:at]), _rest(words[at + 1 :], most=99)
        return None if many is None or rest is None or many > 9 else 100 * many + rest
    return _below_hundred(words)


def _rest(words: list[str], *, most: int = 999) -> int | None:
    """What follows on hundred or thousand; nothing is 0."""
    if not words:
        return 0
    value = _below_thousand(words[1:] if words[0] == "and" else words)
    return value if value is not None and value <= most else None


def _below_hundred(words: list[str]) -> int | None:
    values = [_UNITS.get(word, 0) for word in words]
    if len(values) == 1:
        return values[0] or None
    tens = len(values) == 2 and values[0] >= 20 and 0 < values[1] < 10
    return sum(values) if tens else None
