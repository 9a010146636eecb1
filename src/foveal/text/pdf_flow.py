"""What stands within a PDF's sentences, put beside them: notes at the foot, figures and tables at an edge.

A page is read from top to bottom. Where a sentence goes on over its end, the notes at its foot, or the figure at the
top of the next page, would stand within the sentence, and a passage would begin or end there.

    flowing(pages)      # the same lines of each page; no line leaves its page

Block     lines in smaller letters than the text, the first a note's ("1 See …", "* …"), or one of them a caption
          ("Figure 3"), between two lines of text of which the second goes on with the first
Where     before the paragraph, else the sentence, that the block interrupts; where that began on the page before,
          behind its end
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby

from foveal.text.pdf_headings import SHORT, Body, Line

SMALLER = 0.955
"""Times the body's size; below it a line may be a note's or a float's."""

FARTHEST = 30
"""Lines of text over which a block may be moved."""

EDGE = 2
"""Outer lines of a page that may run along."""

_NOTE = re.compile(r"\s*(?:\[\d{1,3}\]|\d{1,3}[.)]?|[⁰¹²³⁴-⁹]{1,3}|[*∗†‡§¶#]{1,3})\s?[^\W\d_]")
_CAPTION = re.compile(
    r"\s*(?:figures?|figs?\.?|tables?|tab\.|algorithm|listing|chart|scheme|plate|map|abbildung|abb\.|tabelle|tableau"
    r"|figura|tabla)\s*[A-Z]?\d",
    re.IGNORECASE,
)
_ENDED = re.compile(
    r"[.!?…:。！？][\"'”’»)\]]*(?: ?[\d⁰¹²³⁴-⁹]{1,3}(?:[,–⁻-][\d⁰¹²³⁴-⁹]{1,3})*)?\s*$"
)  # and marks of notes
_NUMBER = re.compile(r"(?<!\d)\d{1,4}(?!\d)")
_HYPHEN = re.compile("[\x02\ufffe]")


def flowing(pages: Sequence[Sequence[Line]]) -> list[list[Line]]:
    """The lines of each page, with what interrupts a sentence moved before or behind it."""
    body = Body.of(pages)
    inner = _inner(pages, body)
    found = [_Page(list(page), first, last, body) for page, (first, last) in zip(pages, inner, strict=True)]
    for number, page in enumerate(found):
        above = found[number - 1].last if number else None
        below = found[number + 1].first if number + 1 < len(found) else None
        page.settle(above, below)
    return [page.lines for page in found]


def _inner(pages: Sequence[Sequence[Line]], body: Body) -> Iterator[tuple[int, int]]:
    """Of each page the first line and that behind the last one, without what runs along the edges."""
    edges = [[*page[:EDGE], *page[-EDGE:]] for page in pages]
    shifts = Counter(
        int(found) - number
        for number, page in enumerate(edges)
        for line in page
        for found in _NUMBER.findall(line.text)
    )
    shift = max(shifts, key=shifts.__getitem__, default=0)

    def shape(line: Line, number: int) -> str:
        return line.text.replace(str(number + shift), "").strip()

    shapes = [{shape(line, number) for line in page} for number, page in enumerate(edges)]

    titles = {
        _letters("".join(line.text for line in lines))
        for page in pages
        for outstanding, lines in groupby(page, key=body.stands_out)
        if outstanding
    }

    def runs_along(line: Line, number: int) -> bool:
        if _letters(line.text) in titles and not body.stands_out(line):
            return True
        if line.text[:1].islower() and _ENDED.search(line.text):  # the end of a sentence, as of a note
            return False
        said, near = shape(line, number), {*range(max(0, number - 2), min(number + 3, len(pages)))} - {number}
        return not said or sum(said in shapes[other] for other in near) >= 2

    for number, page in enumerate(pages):
        first, last = 0, len(page)
        while first < min(EDGE, last) and runs_along(page[first], number):
            first += 1
        while last > max(first, len(page) - EDGE) and runs_along(page[last - 1], number):
            last -= 1
        yield first, last


def _letters(text: str) -> str:
    return "".join(filter(str.isalpha, text.casefold()))


@dataclass
class _Page:
    """A page whose lines `start` to `end` hold text, notes and floats."""

    lines: list[Line]
    start: int
    end: int
    body: Body

    @property
    def first(self) -> Line | None:
        """The first line of text."""
        return next((line for line in self.lines[self.start : self.end] if self._is_text(line)), None)

    @property
    def last(self) -> Line | None:
        """The last line of text."""
        return next((line for line in reversed(self.lines[self.start : self.end]) if self._is_text(line)), None)

    def settle(self, above: Line | None, below: Line | None) -> None:
        """Move the blocks that interrupt a sentence; it may begin at `above` or go on at `below`, of other pages."""
        for first, last in reversed([*self._blocks()]):  # from the foot up: places above stay what they are
            before = self.lines[first - 1] if first > self.start else above
            after = self.lines[last] if last < self.end else below
            if before and after and self._goes_on(before, after):
                place = self._before(first) if first > self.start else None
                place = self._behind(last) if place is None and last < self.end else place
                if place is not None:
                    self._move(first, last, place)

    def _blocks(self) -> Iterator[tuple[int, int]]:
        """Runs of small lines that are notes or hold a caption, and captions in letters of the text's size."""
        at = self.start
        while at < self.end:
            stop = at
            while stop < self.end and not self._is_text(self.lines[stop]):
                stop += 1
            small = self.lines[at:stop]
            first = at + max((place for place, line in enumerate(small, 1) if line.code), default=0)  # behind code
            if any(_CAPTION.match(line.text) for line in small):
                yield at, stop
            elif first > self.start and _NOTE.match(" ".join(line.text for line in self.lines[first:stop][:2])):
                yield first, stop
            elif stop == at and _CAPTION.match(self.lines[at].text):
                stop = self._caption_end(at)
                if stop > at:
                    yield at, stop
            at = max(stop, at + 1)

    def _caption_end(self, first: int) -> int:
        """Behind the lines of a caption that begins at `first`, if a sentence goes on there; else `first`."""
        for stop in range(first + 1, min(self.end, first + FARTHEST) + 1):
            if _ENDED.search(self.lines[stop - 1].text) and (
                stop == self.end or self.lines[stop].text[:1].islower() or not self._is_text(self.lines[stop])
            ):
                return stop
        return first

    def _is_text(self, line: Line) -> bool:
        return line.size >= SMALLER * self.body.size and not line.table

    def _goes_on(self, before: Line, after: Line) -> bool:
        """Whether a sentence runs from one line of text to the other."""
        if not (self._is_text(before) and self._is_text(after)) or _ENDED.search(before.text):
            return False
        if before.code or after.code:
            return False
        if self.body.stands_out(before) or self.body.stands_out(after):
            return False
        full = len(_HYPHEN.split(before.text)[-1]) >= SHORT * self.body.width or before.text.count("\ufffe")
        return after.text[:1].islower() or (bool(full) and after.text[:1].isalpha())

    def _before(self, first: int) -> int | None:
        """Where the paragraph, else the sentence, begins that ends above `first`."""
        ended = None
        for place in range(first - 1, max(self.start, first - 1 - FARTHEST), -1):
            line = self.lines[place - 1]
            if not self._is_text(line) or self.body.stands_out(line):
                return place
            if _ENDED.search(line.text):
                if len(line.text) < SHORT * self.body.width:
                    return place
                ended = place if ended is None else ended
        return ended

    def _behind(self, last: int) -> int | None:
        """Behind the paragraph, else the sentence, that goes on at `last`."""
        ended = None
        for place in range(last, min(self.end, last + FARTHEST)):
            line = self.lines[place]
            if not self._is_text(line) or self.body.stands_out(line):
                break
            if _ENDED.search(line.text):
                if len(line.text) < SHORT * self.body.width:
                    return place + 1
                ended = place + 1 if ended is None else ended
        return ended

    def _move(self, first: int, last: int, place: int) -> None:
        blank = Line("", 0.0, 0)
        block = [blank, *self.lines[first:last], blank]
        if place <= first:
            self.lines[place:last] = [*block, *self.lines[place:first]]
        else:
            self.lines[first:place] = [*self.lines[last:place], *block]
        self.end += 2
