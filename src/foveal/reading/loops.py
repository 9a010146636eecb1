"""The end of an answer that says the same again and again, as small models do.

until_round(model.stream(…))                 # its pieces, no more once they go round
said_once("Red. " + "It is so. " * 12)       # "Red. It is so."

A table's rule, a row of equal cells, an array of zeros or a refrain ends sooner than what is taken for such a loop.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

LEAST = 120
"""Characters of a repetition, all together."""
SHORT, LONGEST = 40, 200
"""Characters of what is said again: up to `SHORT` it must stand there eight times, up to `LONGEST` four times."""
LOOKED = 16
"""Pieces after which an answer is looked at."""

_END = re.compile(r"(?:[.!?][”\"’»)]*(?=\s|\Z)|[。！？][”」』]?)(?:\s*\[+\d[\d,; ]*\]+)*|(?=\n)")
"""Of a sentence, with the marks of its sources, or of a line."""


def until_round(pieces: Iterable[str]) -> Iterator[str]:
    """The pieces of an answer as they come, up to where they have said the same again and again for a while."""
    said: list[str] = []
    for piece in pieces:
        said.append(piece)
        yield piece
        if len(said) % LOOKED == 0 and _repeated("".join(said)):
            break


def said_once(text: str) -> str:
    """A text without the repetition that it ends in: what is said again and again stands there once."""
    found = _repeated(text)
    if found is None:
        return text
    start, end = found
    once = text[:end].rstrip(",;:- \n")
    ends = (one.end() for one in _END.finditer(text, start))
    return text[: next((one for one in ends if one >= len(once)), len(once))]


def _repeated(text: str) -> tuple[int, int] | None:
    """From where on a text is a repetition up to its end, and where in it all is said once."""
    for size in range(1, min(LONGEST, len(text) // 4) + 1):
        start = len(text) - size
        while start and text[start - 1] == text[start - 1 + size]:
            start -= 1
        if len(text) - start >= max(LEAST, size * (8 if size <= SHORT else 4)):
            return start, start + size
    return None
