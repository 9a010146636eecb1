"""Lines that were broken only to fit a width, told from lines that end where they do.

    unwrapped(text)        # as long as `text`: a blank stands for each line end that a width made

Wrapped   most lines that another one follows are full: its first word would not have fit within the usual width
Kept      the ends of lines in code, tables, lists, verse and addresses, where the writer ended them; a break that
          Markdown spells out (two blanks or a backslash); a line end after a hyphen, or between letters that no blank
          parts in their script

What is found depends on the lines around: give a page of text, not a sentence.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from itertools import pairwise

NARROWEST, WIDEST = 40, 160
"""Characters of a line between which a width is one that somebody wrapped at."""

FEWEST, FULL, SLACK = 3, 0.75, 0.92
"""Lines to judge by, the share of them that must be full, and how much of the width makes a line full."""

FEWEST_WORDS = 4
"""Of a line that was wrapped: one long word after another is a list."""

_LINE = re.compile(r"[^\n]*\n?")
_OPENS = re.compile(  # what begins a line of its own: an item, a row, a quote, a heading, a rule, a fence, a note
    r"\s*(?:[-*+•‣◦–—]\s|\(?(?:\d{1,3}|[a-zA-Z])[.)]\s|[|>#]|```|~~~|\[[^\]\n]*\]:|[-=_*~^.]{3,}\s*$)"
)
_STAYS = re.compile(r"\s*(?:[|#]|```|~~~)|.*(?:  |\\|[-‐\u00ad]|[-=_*~^.]{4,})\n?$", re.DOTALL)
_SPACED = re.compile(r"[^\u0e00-\u0eff\u1000-\u109f\u1780-\u17ff\u3040-\u30ff\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff]")


def unwrapped(text: str, start: int = 0, end: int | None = None, closed: Sequence[tuple[int, int]] = ()) -> str:
    """`text` from `start` to `end` with a blank for each line end that only a width made, none within `closed`."""
    end = len(text) if end is None else end
    shown = list(text[start:end])
    for at in soft_ends(text, start, end, closed):
        shown[at - start] = " "
    return "".join(shown)


def soft_ends(text: str, start: int, end: int, closed: Sequence[tuple[int, int]] = ()) -> list[int]:
    """Where the line ends stand that only a width made, in order; `closed` are the (start, end) of what keeps its."""
    lines = [(start + one.start(), one.group()) for one in _LINE.finditer(text[start:end])]
    free = _outside([at for at, _ in lines], closed)
    going_on = [
        (at + len(line) - 1, line, following)
        for (at, line), (after, following) in pairwise(lines)
        if at in free and after in free and _goes_on(line, following)
    ]
    if len(going_on) < FEWEST:
        return []
    lengths = sorted(len(line.rstrip()) for _, line, _ in going_on)
    width = lengths[int(0.95 * (len(lengths) - 1))]
    full = [at for at, line, following in going_on if _is_full(line, following, width)]
    return full if NARROWEST <= width <= WIDEST and len(full) >= FULL * len(going_on) else []


def _outside(offsets: Sequence[int], closed: Sequence[tuple[int, int]]) -> set[int]:
    """The offsets that lie in none of the `closed`."""
    found, regions = set[int](), iter(sorted(closed))
    a, b = next(regions, (math.inf, math.inf))
    for at in offsets:
        while b <= at:
            a, b = next(regions, (math.inf, math.inf))
        if at < a:
            found.add(at)
    return found


def _goes_on(line: str, following: str) -> bool:
    """Whether two lines may be one paragraph's."""
    if (
        len(line.split(None, FEWEST_WORDS - 1)) < FEWEST_WORDS
        or not following.strip()
        or _STAYS.match(line)
        or _OPENS.match(following)
    ):
        return False
    return bool(_SPACED.match(line.rstrip()[-1]) and _SPACED.match(following.lstrip()[0]))


def _is_full(line: str, following: str, width: int) -> bool:
    return len(line.rstrip()) + 1 + len(following.split(maxsplit=1)[0]) > SLACK * width
