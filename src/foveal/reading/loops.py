"""The end of an answer that says the same again and again, as small models do.

goes_round("Red. " + "It is so. " * 9)       # asked as the words come, of the last ones
said_once("Red. " + "It is so. " * 9)        # "Red. It is so."
"""

from __future__ import annotations

import re

LEAST = 32
"""Characters of a repetition that is no number and no line of a table any more."""
WINDOW, LONGEST = 1000, 4000
"""Characters at an answer's end that are looked at, as it comes and at last."""

_ROUND = re.compile(r"(.{1,40}?)\1{7,}\Z|(.{41,200}?)\2{3,}\Z", re.DOTALL)
_SENTENCE_END = re.compile(r"[.!?](?=\s|\Z)|[。！？]")


def goes_round(text: str) -> bool:
    """Whether the end of a text, as far as it is written, is a repetition."""
    return _found(text, max(0, len(text) - WINDOW)) is not None


def said_once(text: str) -> str:
    """A text without the repetition that it ends in: what is said again and again stands there once."""
    found = _found(text, max(0, len(text) - LONGEST))
    if not found:
        return text
    end = max(found.end(1), found.end(2))
    once = text[: end + (text[end : end + 1] in tuple(".!?。"))].rstrip(",;:- \n")
    ends = [one.end() for one in _SENTENCE_END.finditer(once)]
    return once[: ends[-1]] if _SENTENCE_END.search(found[1] or found[2]) and ends else once


def _found(text: str, start: int) -> re.Match[str] | None:
    found = _ROUND.search(text, start)
    return found if found and len(found[0]) >= LEAST else None
