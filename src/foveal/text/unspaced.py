"""Lines of Chinese and Japanese, which part no words by blanks, put together.

A page ends them anywhere, within a word, too: what a word search finds, and what is quoted, needs them whole. (Lines
of Thai and its like end between words.)
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from itertools import accumulate

FULL = 0.85
"""Of the usual line's width: a shorter line ends where its writer ended it."""

NARROWEST = 30
"""Columns of a full line, at least: verses and entries of lists and forms are narrower, though all may be as wide."""

_LETTERS = "\u3005-\u3007\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_WIDE = "\u2e80-\u9fff\uac00-\ud7a3\uf900-\ufaff\uff01-\uff60\uffe0-\uffe6\U00020000-\U0003ffff"
_ENDS = re.compile(rf"[{_LETTERS}、。，．：；！？）」』】》〉][”’…—]{{0,3}}\Z")
_BEGINS = re.compile(rf"[（「『【《〈“‘]{{0,3}}[{_LETTERS}]")
_IS_WIDE = re.compile(f"[{_WIDE}]")
_SENTENCE = re.compile(r"[。！？][”’…」』）]{0,3}\Z")


def width(line: str) -> int:
    """How wide a line is, in columns: ideographs, kana and syllables of Korean take two."""
    return len(line) + len(_IS_WIDE.findall(line))


def usual_width(lines: Iterable[str]) -> float:
    """That of a full line, of those that end in such a script: three quarters of their text are in lines no wider; 0:
    there are none, or they are too narrow."""
    widths = sorted(width(line) for line in lines if _ENDS.search(line))
    upto = list(accumulate(widths))
    usual = next((one for one, total in zip(widths, upto, strict=True) if total >= 0.75 * upto[-1]), 0)
    return float(usual) if usual >= NARROWEST else 0.0


def goes_on(before: str, after: str, usual: float) -> bool:
    """Whether a line goes on in the next one without a blank."""
    return usual > 0 and bool(_ENDS.search(before) and _BEGINS.match(after)) and width(before) >= FULL * usual


def ends_paragraph(before: str, after: str, usual: float) -> bool:
    """Whether a sentence ends in a short line, and the next line begins another paragraph."""
    return bool(_SENTENCE.search(before) and _BEGINS.match(after)) and width(before) < FULL * usual
