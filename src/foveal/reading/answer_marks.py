"""The marks of an answer, [1] to [m]: what a sentence cites, what it claims without them, and the one it gets.

    remarked("It closed [2][3].", [1])               # "It closed. [1]"
    remarked("According to [2], it closed.", [1])    # "According to [1], it closed."

A mark mostly stands behind what it bears out, and goes to the sentence's end. Where it is a word of the sentence
("According to [2], …", "[2] says that …") its number changes in its place; "[?]" where nothing bears the sentence out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from foveal.reading.cited_forms import numbers_in

INSIDE = r"\d{1,3}(?:\s*(?:[,;&–-]|and|to)\s*\d{1,3})*"
CITED = re.compile(rf"\s*\[({INSIDE})\](?:[ \t]+(?=[.,](?:\s|$)))?")
UNKNOWN = "[?]"

_BEFORE = re.compile(
    r"(?:^|[\s(])(?:according\ to|based\ on|as\ per|in|from|by|per|see|as|both|laut|nach|gemäß|selon|d['’]après|según"
    r"|secondo|segundo)\s*\Z",
    re.IGNORECASE | re.VERBOSE,
)
_BULLET = " \t\r\n-*•>#"
_JOINED = re.compile(r"[\s,;]*(?:and|or|und|et|y|e)?\s*\Z", re.IGNORECASE)
_ACCORDING = re.compile(
    r"(?:according\ to|based\ on|as\ per|laut|gemäß|selon|d['’]après|según|secondo|segundo)\s*\Z",
    re.IGNORECASE | re.VERBOSE,
)
_TELLS = re.compile(
    r"\s*(?:(?:also|only|both|each)\s+)?(?:states?|says?|notes?|mentions?|reports?|explains?|describes?|adds?"
    r"|confirms?|shows?|writes?)\b(?:\s+that\b)?",
    re.IGNORECASE,
)


def cited(sentence: str, count: int) -> list[int]:
    """The excerpts that a sentence cites, counted from 0: "[2]", "[1, 3]", "[1-3]"; others than there are, left out."""
    numbers = (number for inside in CITED.findall(sentence) for number in numbers_in(inside))
    return [number - 1 for number in numbers if 1 <= number <= count]


def unmarked(sentence: str) -> str:
    """A sentence without its marks."""
    return CITED.sub("", sentence)


def claim_of(sentence: str) -> str:
    """What a sentence says by itself, which is to be borne out: no marks, and not who says it."""
    kept, end = "", 0
    for first, last in _words(sentence):
        kept += _ACCORDING.sub("", unmarked(sentence[end:first]))
        told = _TELLS.match(sentence, last)
        end = told.end() if told else last
    return kept + unmarked(sentence[end:])


def remarked(sentence: str, numbers: Sequence[int]) -> str:
    """The sentence with `numbers` as its only marks: what bears it out, or nothing.

    Behind it only the first stands; where its marks are words of it, all do, joined as they were.
    """
    words = list(_words(sentence))
    if not words:
        said = unmarked(sentence)
        if not numbers:
            return said
        body = said.rstrip()
        behind = said[len(body) :] or " "  # where no blank parts sentences, as in Chinese, a number still ends at one
        return f"{body} [{numbers[0]}]{behind}"
    parts, end = [], 0
    for first, last in words:
        parts += [unmarked(sentence[end:first]), _joined([f"[{one}]" for one in numbers], sentence[first:last])]
        end = last
    return "".join([*parts, unmarked(sentence[end:])])


def is_worded(sentence: str) -> bool:
    """Whether marks are words of the sentence."""
    return any(True for _ in _words(sentence))


def _joined(marks: Sequence[str], group: str) -> str:
    """Marks joined as those of a group were: "[1] and [3]"; of none, that it is not known."""
    *most, last = marks or [UNKNOWN]
    found = re.findall(r"\](.*?)\[", group)
    return f"{', '.join(most)}{found[-1] if found else ' '}{last}" if most else last


def is_word(sentence: str, mark: re.Match[str]) -> bool:
    """Whether a mark is a word of the sentence: behind "according to", or before what it does."""
    before, behind = sentence[: mark.start()], sentence[mark.end() :]
    if _BEFORE.search(before):
        return True
    return not before.strip(_BULLET) and behind[:1].isspace() and behind.lstrip()[:1].islower()


def _words(sentence: str) -> Iterator[tuple[int, int]]:
    """First and last character of the marks that are words; several that are joined ("[1] and [3]") are one."""
    first = last = None
    for mark in CITED.finditer(sentence):
        start = mark.start() + len(mark[0]) - len(mark[0].lstrip())
        end = mark.start() + len(mark[0].rstrip())
        if last is not None and _JOINED.fullmatch(sentence[last:start]):
            last = end
            continue
        if first is not None and last is not None:
            yield first, last
        first, last = (start, end) if is_word(sentence, mark) else (None, None)
    if first is not None and last is not None:
        yield first, last
