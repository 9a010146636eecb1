"""The marks of an answer, [1] to [m]: what a sentence cites, what it claims without them, and the one it gets.

    remarked("It closed [2][3].", [[1]])             # "It closed. [1]"
    remarked("According to [2], it closed.", [[1]])  # "According to [1], it closed."

A mark mostly stands behind what it bears out, and goes to the sentence's end. Where it is a word of the sentence
("According to [2], …", "[2] says that …") its number changes in its place; "[?]" where nothing bears the sentence out.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from itertools import pairwise

from foveal.reading.cited_forms import LABEL, numbers_in

INSIDE = r"\d{1,3}(?:\s*+(?:[,;&–-]|and|to)\s*+\d{1,3})*"
CITED = re.compile(rf"(?<![^\S\n])[^\S\n]*+\[({INSIDE})\](?:[ \t]+(?=[.,](?:\s|$)))?")
UNKNOWN = "[?]"

_TOLD = (
    r"according\ to|based\ on|as\ per|unlike|laut|nach|gemäß|zufolge|selon|d['’]après|según|secondo|segundo"
    r"|compared\ (?:to|with)|in\ contrast\ to"
)
_BEFORE = re.compile(
    rf"(?:^|[\s(*_])(?:(?:{_TOLD}|in|from|to|with|by|per|see|as|both|than|is|are|im|aus|von|bei|en|dans)\s+(?:the\s+)?"
    rf"(?:{LABEL}\s*)?|{LABEL}\s*)[*_]*\Z|(?:根据|依据|据|按照|见)\s*\Z",
    re.IGNORECASE | re.VERBOSE,
)
_BEHIND = 40
"""Characters before a mark in which such a word stands."""
_LINE_START = re.compile(
    r"[\s*•>#_-]*+(?:\d{1,3}[.)]\s++[*_]*+)?"
)  # no run in two ways: a long one would take for ever
_NUMBERED = re.compile(r"(?<![^\n])[ \t]*\d{1,3}[.)][ \t]*\Z")
_JOINED = re.compile(rf"[\s,;/&、–-]*+(?:(?:and|or|und|et|y|e|和|与)\s*+)?(?:{LABEL}\s*+)?", re.IGNORECASE)
_ACCORDING = re.compile(
    rf"(?:(?:{_TOLD})\s+(?:the\s+)?(?:{LABEL}\s*)?|{LABEL}\s*|(?:根据|依据|据|按照)\s*)[*_]*\Z",
    re.IGNORECASE | re.VERBOSE,
)
_TELLS = re.compile(
    r"[*_]*\s*(?:(?:also|only|both|each)\s+)?(?:states?|says?|notes?|mentions?|reports?|explains?|describes?|adds?"
    r"|confirms?|shows?|writes?)\b(?:\s+that\b)?",
    re.IGNORECASE,
)
_AGAINST = re.compile(r"\b(?:unlike|in contrast to|compared (?:to|with))\s+\Z", re.IGNORECASE)
"""Before the mark of a source that another one, right behind a comma, is set against."""
_CLAUSE = re.compile(r",\s+(?=(?:and|but|while|whereas|und|aber|et|mais|y|pero)\s)")
_ROUNDED = re.compile(
    rf"\(\s*+(?:(?:see|sources?|quellen?|cf\.?)\s*+:?\s*+)?(\[{INSIDE}\](?:[\s,;]*+(?:and\s*+)?\[{INSIDE}\])*)\s*+\)",
    re.IGNORECASE,
)

Group = tuple[int, int]
"""Marks that are joined, as in "[1] and [3]": the first character and the one behind the last."""


def cited(sentence: str, count: int) -> list[int]:
    """The excerpts that a sentence cites, counted from 0: "[2]", "[1, 3]", "[1-3]"; others than there are, left out."""
    numbers = (number for inside in CITED.findall(sentence) for number in numbers_in(inside))
    return [number - 1 for number in numbers if 1 <= number <= count]


def unmarked(sentence: str) -> str:
    """A sentence without its marks."""
    return CITED.sub("", sentence)


def folded(sentence: str) -> str:
    """A sentence whose joined marks behind a claim are one, "[1], [2]" as "[1, 2]", with no round brackets about it."""
    sentence = _ROUNDED.sub(lambda found: found[1], sentence)
    parts, end = [], 0
    for first, last in _groups(sentence):
        if not is_word(sentence, first, last):
            inside = re.sub(r"\]\s*[–-]\s*\[", "-", sentence[first:last])
            joined = ", ".join(re.findall(rf"\[({INSIDE})\]", inside))
            parts += [sentence[end:first], f"[{joined}]"]
            end = last
    return "".join([*parts, sentence[end:]])


def claims_of(sentence: str) -> list[str]:
    """What a sentence says by itself, which is to be borne out: no marks, and not who says it.

    Where marks are words of it, a claim for each group of marks: up to the next one; of one behind it, since the last.
    Where these are the same words, as in "According to [1], it closed, and it was sold [2].", each has its clause.
    """
    places = list(_worded(sentence))
    if not places:
        return [unmarked(sentence)]
    texts, end = [], 0
    for first, last in places:
        texts.append(_NUMBERED.sub("", _ACCORDING.sub("", sentence[end:first])))
        told = _TELLS.match(sentence, last)
        end = told.end() if told else last
    texts.append(sentence[end:])
    if len(places) == 1:
        return ["".join(texts)]
    words = [is_word(sentence, *place) for place in places]
    claims = [texts[number + 1] if word else texts[number] for number, word in enumerate(words)]
    for number, (before, behind) in enumerate(pairwise(words)):
        *rest, final = _CLAUSE.split(texts[number + 1])
        if rest and before and not behind:
            claims[number : number + 2] = ", ".join(rest), final
    return claims


def remarked(sentence: str, numbers: Sequence[Sequence[int]]) -> str:
    """The sentence with `numbers` as its only marks: what bears its claims out, or nothing.

    Behind it only the first stands; where its marks are words of it, all do, joined as they were.
    """
    places = list(_worded(sentence))
    if not places:
        said, borne = unmarked(sentence), numbers[0] if numbers else ()
        if not borne:
            return said
        body = said.rstrip()
        behind = said[len(body) :] or " "  # where no blank parts sentences, as in Chinese, a number still ends at one
        return f"{body} [{borne[0]}]{behind}"
    parts, end = [], 0
    for (first, last), own in zip(places, numbers, strict=True):
        parts.append(sentence[end:first])
        end = last
        if own or is_word(sentence, first, last):
            parts.append(_joined([f"[{one}]" for one in own], sentence[first:last]))
        else:
            parts[-1] = parts[-1].rstrip()
    return "".join([*parts, sentence[end:]])


def groups_cited(sentence: str, count: int) -> list[list[int]]:
    """The excerpts that each claim of `claims_of` cites, counted from 0."""
    return [cited(sentence[first:last], count) for first, last in _worded(sentence)] or [cited(sentence, count)]


def is_worded(sentence: str) -> bool:
    """Whether marks are words of the sentence."""
    return any(True for _ in _worded(sentence))


def is_word(sentence: str, first: int, last: int) -> bool:
    """Whether a group of marks is a word of the sentence: behind "according to", or before what it does."""
    if _BEFORE.search(sentence, max(0, first - _BEHIND), first) or _TELLS.match(sentence, last):
        return True
    line = sentence.rfind("\n", 0, first) + 1
    if not _LINE_START.fullmatch(sentence, line, first):
        return False
    behind = sentence[last : last + 80].lstrip("*_")
    return behind[:1] == ":" or (behind[:1].isspace() and behind.lstrip()[:1].islower())


def _joined(marks: Sequence[str], group: str) -> str:
    """Marks joined as those of a group were: "[1] and [3]"; of none, that it is not known."""
    *most, last = marks or [UNKNOWN]
    found = re.findall(r"\](.*?)\[", group)
    return f"{', '.join(most)}{found[-1] if found else ' '}{last}" if most else last


def _worded(sentence: str) -> Iterator[Group]:
    """The groups of marks of a sentence of which one is a word; none where none is."""
    places = list(_groups(sentence))
    if any(is_word(sentence, *place) for place in places):
        yield from places


def _groups(sentence: str) -> Iterator[Group]:
    first = last = None
    for mark in CITED.finditer(sentence):
        start = mark.start() + len(mark[0]) - len(mark[0].lstrip())
        end = mark.start() + len(mark[0].rstrip())
        if first is not None and last is not None:
            against = _AGAINST.search(sentence, max(0, first - _BEHIND), first) and _TELLS.match(sentence, end)
            if _JOINED.fullmatch(sentence, last, start) and not against:
                last = end
                continue
            yield first, last
        first, last = start, end
    if first is not None and last is not None:
        yield first, last
