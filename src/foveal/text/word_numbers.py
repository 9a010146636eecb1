"""Numbers in front of paragraphs as Word writes them, by the names that it has for their kinds.

number_as(28, "lowerLetter")                 # "bb"
number_as(105, "chineseCountingThousand")    # "一百零五"
"""

from __future__ import annotations

import re

from foveal.text.html_kept import label_of

MOST_LETTERS = 780  # of a list that counts by letters: its last is z, thirty times

_ROMAN = {"lowerRoman": "i", "upperRoman": "I"}
_DIGITS = "零一二三四五六七八九"
_COUNTED_IN_CHINESE = re.compile("(?:chinese|taiwanese|japanese)Counting(?:Thousand)?")


def number_as(number: int, kind: str) -> str:
    """A number as Word writes it; as a decimal one where it is of a kind that is not known here."""
    if kind == "none":
        return ""
    if kind == "decimalZero":
        return f"{number:02d}"
    if kind in ("lowerLetter", "upperLetter") and 0 < number <= MOST_LETTERS:  # behind z come aa, bb, cc
        letters = chr(ord("a") + (number - 1) % 26) * ((number - 1) // 26 + 1)
        return letters if kind == "lowerLetter" else letters.upper()
    if kind == "ordinal":
        ending = "th" if number % 100 in (11, 12, 13) else {1: "st", 2: "nd", 3: "rd"}.get(number % 10, "th")
        return f"{number}{ending}"
    if _COUNTED_IN_CHINESE.fullmatch(kind) and 0 < number < 10_000:
        return _in_chinese(number, japanese=kind.startswith("japanese"))
    return label_of(number, _ROMAN.get(kind, "1"))


def _in_chinese(number: int, *, japanese: bool) -> str:
    """A number below 10,000 as it is spoken: 二十一, 一百零五 (in Japanese 百五)."""
    words, gap = "", False
    for value, unit in ((1000, "千"), (100, "百"), (10, "十"), (1, "")):
        digit, number = divmod(number, value)
        if digit:
            alone = digit == 1 and unit and (japanese or (unit == "十" and not words))
            words += ("零" if gap and not japanese else "") + ("" if alone else _DIGITS[digit]) + unit
        gap = bool(words) and not digit
    return words
