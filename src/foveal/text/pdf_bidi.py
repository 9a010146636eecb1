"""Lines of a PDF that run from right to left (Hebrew, Arabic, …), in the order in which they are read.

A PDF knows glyphs at places. pdfium puts letters that run from right to left back into their order piece by piece, and
errs where a line holds other pieces, too: words come out backwards where the file says for each glyph what it stands
for (as Chromium and Google Docs write it), Latin words in the wrong order, brackets and stops at the wrong end. Where
the characters stand says how the line is read.

    read = in_reading_order(line, box_of, start, size)     # the same characters; of a line from left to right the line

Numbers   and runs of Latin words within the line are read from left to right
Marks     (vowels, hamza) stay with the letter above or below which they stand
Blanks    are those that lie between two letters, and gaps as wide as one
Brackets  open behind a blank and close before one: files and pdfium differ in which of a pair they name
"""

from __future__ import annotations

import re
import unicodedata
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from foveal.text.pdf_columns import Box

GAP, INSIDE = 0.27, 0.18
"""Least gap between letters that is a blank, in sizes of letters; and where pdfium puts a blank into it."""

NUMBERS = 1.7
"""The same between digits, which stand further apart: times as much."""

SLOPE = 3.0
"""Sizes of letters by which those of a line stand below others, from which on it is no line across the page."""

_RIGHT_TO_LEFT = re.compile("[\u0590-\u08ff\ufb1d-\ufdff\ufe70-\ufefc\U00010800-\U00010fff\U0001e800-\U0001efff]")
_OPENS = dict(zip("([{<«‹", ")]}>»›", strict=True))
_CLOSES = {end: begin for begin, end in _OPENS.items()}
_NUMERIC = ("EN", "AN")
_WITHIN_NUMBERS = ("CS", "ES", "ET")


@dataclass(slots=True)
class _Letter:
    """A character with the marks that belong to it, and from where to where it stands."""

    text: str
    left: float
    right: float
    marks: list[str] = field(default_factory=list)
    blank: bool = False  # whether one lies between it and what is read before it

    @property
    def kind(self) -> str:
        """What Unicode says of its direction."""
        return unicodedata.bidirectional(self.text)

    @property
    def whole(self) -> str:
        """The character and its marks."""
        return self.text + "".join(self.marks)


def in_reading_order(line: str, box_of: Callable[[int], Box], start: int, size: float) -> str:
    """The characters of `line`, which begins at `start` of its page, as they are read; letters are of `size` points."""
    if size <= 0 or not _RIGHT_TO_LEFT.search(line):
        return line
    boxes = [box_of(start + place) for place in range(len(line))]
    if not _begins_right(line, boxes):
        return line
    bottoms = [box[1] for box, character in zip(boxes, line, strict=True) if character.isalnum()]
    if max(bottoms, default=0.0) - min(bottoms, default=0.0) > SLOPE * size:
        return line
    shown = line.rstrip("\r\x02\ufffe")
    letters = _letters(shown, boxes[: len(shown)], size)
    read = [piece for run in _runs(letters) for piece in run]
    return "".join(_written(read)) + line[len(shown) :]


def _begins_right(line: str, boxes: Sequence[Box]) -> bool:
    """Whether a line's own direction is from the right: at both of its ends, or else in most of its letters."""
    kinds = [unicodedata.bidirectional(character) for character in line]
    strong = sorted((box[0], kind != "L") for box, kind in zip(boxes, kinds, strict=True) if kind in ("L", "R", "AL"))
    right = [one for _, one in strong]
    return (right[0] and right[-1]) or 2 * sum(right) >= len(right) if right else False


def _letters(line: str, boxes: Sequence[Box], size: float) -> list[_Letter]:
    """The letters from the right to the left, with their marks, and where blanks lie."""
    found, marks, blanks = list[_Letter](), list[_Letter](), list[float]()
    for character, (left, _, right, _) in zip(line, boxes, strict=True):
        if character.isspace():
            blanks.append(left)
        else:
            (marks if unicodedata.combining(character) else found).append(_Letter(character, left, right))
    blanks.sort()
    found.sort(key=lambda one: -(one.left + one.right))
    _marked(found, sorted(marks, key=lambda one: -(one.left + one.right)))
    for before, one in pairwise(found):
        gap, at = before.left - one.right, bisect_left(blanks, one.right)
        digits = NUMBERS if before.kind in _NUMERIC and one.kind in _NUMERIC else 1.0
        inside = gap > digits * INSIDE * size and at < len(blanks) and blanks[at] <= before.left
        one.blank = inside or gap > digits * GAP * size
    return found


def _marked(letters: Sequence[_Letter], marks: Sequence[_Letter]) -> None:
    """Give each mark to the letter above or below which it stands, else to the one before it.

    Of a letter and its marks that are one glyph pdfium says that they stand side by side: then they are all of it.
    """
    middles = [-(one.left + one.right) / 2 for one in letters]
    for mark in marks if letters else ():
        middle = (mark.left + mark.right) / 2
        at = bisect_left(middles, -middle)
        near = letters[max(0, at - 1) : at + 1]
        over = next((one for one in near if one.left < middle < one.right), near[0])
        over.marks.append(mark.text)
        over.left = min(over.left, mark.left)


def _runs(letters: Sequence[_Letter]) -> Iterator[list[_Letter]]:
    """Pieces that are read one after the other; those from left to right are turned round."""
    last, place = _last_latin(letters), 0
    while place < len(letters):
        end = max(last[place] + 1, _end_of_number(letters, place), place + 1)
        yield _turned(list(letters[place:end]))
        place = end


def _last_latin(letters: Sequence[_Letter]) -> list[int]:
    """Of each letter or digit from left to right the last Latin letter that follows before one from right to left."""
    found, last = [-1] * len(letters), -1
    for place in reversed(range(len(letters))):
        kind = letters[place].kind
        if kind in ("R", "AL"):
            last = -1
        elif kind == "L":
            last = max(last, place)
        if kind == "L" or _in_number(letters, place):
            found[place] = last
    return found


def _end_of_number(letters: Sequence[_Letter], place: int) -> int:
    """Where a number ends that begins at `place`: of it are its own stops and signs, and no blank."""
    end = place
    while end < len(letters) and _in_number(letters, end) and not (end > place and letters[end].blank):
        end += 1
    return end


def _turned(run: list[_Letter]) -> list[_Letter]:
    """A run from left to right: the blanks stay between the letters between which they were."""
    blanks = [one.blank for one in run]
    turned = run[::-1]
    for one, blank in zip(turned, [blanks[0], *blanks[:0:-1]], strict=True):
        one.blank = blank
    return turned


def _in_number(letters: Sequence[_Letter], place: int) -> bool:
    """Whether a letter is a digit, or a sign that stands at one."""
    one = letters[place]
    if one.kind in _NUMERIC:
        return True
    if one.kind not in _WITHIN_NUMBERS:
        return False
    before = place > 0 and not one.blank and letters[place - 1].kind in _NUMERIC
    after = place + 1 < len(letters) and not letters[place + 1].blank and letters[place + 1].kind in _NUMERIC
    return (before or after) if one.kind == "ET" else (before and after)


def _written(letters: Sequence[_Letter]) -> Iterator[str]:
    opened = set[str]()  # brackets that are to be closed
    for place, one in enumerate(letters):
        if one.blank and place:
            yield " "
        if one.text in _OPENS or one.text in _CLOSES:
            begin = _CLOSES.get(one.text, one.text)
            first, last = place == 0 or one.blank, place + 1 == len(letters) or letters[place + 1].blank
            opens = first if first != last else begin not in opened
            (opened.add if opens else opened.discard)(begin)
            one.text = begin if opens else _OPENS[begin]
        yield one.whole
