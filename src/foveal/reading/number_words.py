"""English numbers in words as digits, where they say nothing else: an answer's 42 may be forty-two in the text.

    in_digits("the forty-two sacks")          ->  {"42"}
    in_digits("nineteen forty-two, two thirds, the twenty-first, two dozen, one of them")  ->  set()
    in_digits("two or three hundred")         ->  {"300"}
    unseparated("3,000 sacks")                ->  "3000 sacks"

Known     two to ninety-nine; with hundred and thousand up to 999,999. What is a word of another language, too, as the
          Polish "ten", only beside an English word
Against   research/quantities.py reads far more, and rounds; here nothing may count that is not said
"""

from __future__ import annotations

import re
from itertools import pairwise

from foveal.evaluation.scripts import composed

_SMALL_WORDS = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen sixteen seventeen "
    "eighteen nineteen"
)
_TENS_WORDS = "twenty thirty forty fifty sixty seventy eighty ninety"
_SMALL, _TENS = _SMALL_WORDS.split(), _TENS_WORDS.split()
_ONES = _SMALL[1:10]
_UNITS = {word: value for value, word in enumerate(_SMALL) if value} | {
    word: 10 * value for value, word in enumerate(_TENS, 2)
}
_HYPHENS = "-\u2010\u2011"
_GAP = rf"[{_HYPHENS}\s]"
_AND = rf"(?:,? |[{_HYPHENS}])and{_GAP}"
_WORD = "|".join([*_SMALL, *_TENS, "hundred", "thousand"])
_HUNDREDS = "(?:(?<=hundred)|(?<=thousand))"
_RUN = re.compile(rf"\b(?:{_WORD})\b(?:{_HUNDREDS}(?:,\s|{_AND})(?:{_WORD})\b|{_GAP}\s?(?:{_WORD})\b)*", re.IGNORECASE)
"""All number words that stand together; what they are the number of may be a number, too."""

_LONGEST = 12
"""Words of a number: nine hundred and ninety nine thousand and as many."""

_SPLIT = re.compile(rf",?{_GAP}+(?=and)|{_GAP}+|(?=,)")

_PART = "third|fourth|fifth|sixth|seventh|eighth|ninth|tenth|eleventh|twelfth|[a-z]+teenth|[a-z]+tieth"
_PARTS = f"(?:{_PART}|half|quarter)s?|halves"
_DECADES = "|".join(f"{word[:-1]}ies" for word in _TENS)
_MORE = "[a-z]+illion(?:th)?|dozen|score|lakh|crore"
_GOES_ON = re.compile(
    rf"\w|{_GAP}\s?(?:\d|[\u00bc-\u00be\u2150-\u215e]"
    rf"|(?:first|second|{_PARTS}|hundredths?|thousandths?|hundreds|thousands|{_DECADES}|point|oh|n?[ao]ught"
    rf"|(?:{_MORE})s?)\b)|{_AND}(?:an?|{_WORD}){_GAP}(?:{_PARTS})\b|{_HUNDREDS}{_AND}(?:first|second|{_PART})\b",
    re.IGNORECASE,
)
"""Of what follows, that which makes it another number, or none."""

_COMES_FROM = re.compile(
    rf"(?:\bpoint|\boh|\bn?[ao]ught|\d|illion(?:,? and|,)?|\bdozen(?:,? and)?|score,? and){_GAP}\Z", re.IGNORECASE
)
_BEFORE = 20
"""Characters before a number that are looked at."""

_LIST = re.compile(rf"[{_HYPHENS}]?,?(?: (?:or|to|and|nor))? |[\u2013\u2014]|[{_HYPHENS}](?:or|to)[{_HYPHENS}]")
"""What stands between numbers of which the last one's hundred or million is that of all."""

_LINKED = re.compile(_AND, re.IGNORECASE)
_ELSEWHERE = (["ten"], ["four"], ["seven"], ["eleven"])
"""Words of Polish, Czech and Dutch, of French, of Turkish, of Swedish and Danish."""

_ENGLISH = re.compile(
    r"\b(?:the|and|with|this|that|these|those|they|their|there|he|she|it|his|her|our|you|your|were|which|who|from|has"
    r"|are|would|could|about|than|when|where)\b",
    re.IGNORECASE,
)

_SEPARATED = re.compile(r"(?<!\d)(?<!\d[.,])([1-9]\d{0,2}(?:,\d{3})+)(?!\d|,\d|\.\d+,\d)")
"""Whatever letters are next to it: an answer's 3,000 km may be 3,000km in the text, and Chinese has no blank there."""


def in_digits(text: str) -> set[str]:
    """The numbers in words of `text`, as digits; one and zero, which say other things too, only within others."""
    text = " ".join(composed(text).split())  # a line may end within a number
    runs = list(_RUN.finditer(text))
    others, found = _others(text, runs), set[str]()
    for place, run in enumerate(runs):
        words = _SPLIT.split(run[0].lower())
        value = None if place in others else _value(words)
        if value is not None and value > 1 and (words not in _ELSEWHERE or _ENGLISH.search(text)):
            found.add(str(value))
    return found


def unseparated(text: str) -> str:
    """The text without the commas of thousands."""
    return _SEPARATED.sub(lambda one: one[1].replace(",", ""), text) if "," in text else text


def _others(text: str, runs: list[re.Match[str]]) -> set[int]:
    """Which of the runs are, by what stands beside them, other numbers or none."""
    more = [bool(_GOES_ON.match(text, run.end())) for run in runs]
    before = [text[max(0, run.start() - _BEFORE) : run.start()] for run in runs]
    found = {place for place in range(len(runs)) if more[place] or _COMES_FROM.search(before[place])}
    scales = [3 if goes_on else _scale(run[0].lower()) for run, goes_on in zip(runs, more, strict=True)]
    for place, (run, after) in reversed(list(enumerate(pairwise(runs)))):
        between = text[run.end() : after.start()]
        if scales[place] < scales[place + 1] and _LIST.fullmatch(between):  # two or three hundred
            found.add(place)
            scales[place] = scales[place + 1]
        if _are_one(run[0].lower(), after[0].lower()) and _LINKED.fullmatch(between):
            found |= {place, place + 1}
    return found


def _scale(said: str) -> int:
    return 2 if "thousand" in said else int("hundred" in said)


def _are_one(first: str, second: str) -> bool:
    """Whether numbers with "and" between them may be one, as five and twenty are in older texts, or thirty and five."""
    return (first in _ONES and second in _TENS) or (first in _TENS and second in _ONES)


def _value(words: list[str]) -> int | None:
    """What words say as one number; None: they are several, or none."""
    if len(words) > _LONGEST:
        return None
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
    """What follows on hundred or thousand; nothing is 0. Behind a comma alone another number may begin: None."""
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
