"""The words of a PDF's page by where they stand, and the runs of its lines among which a table may be.

    runs = likely(characters, places, letters)    # [(range(3, 17), rows), …]: lines in the order of reading

A table is looked for where wide gaps part the words of lines, or lines stand beside each other at one height: the cells
of a row may be drawn as one line, or one by one. On most pages few lines are looked at, and no table is found.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise

from foveal.text.pdf_columns import WIDE, Box
from foveal.text.pdf_vertical import Point

EVERY = 3
"""Of so many lines one is looked at first: a table has as many."""

TALL = 1.25
"""Times the height of a line's letters, which are lower than their size: such a gap is wide."""

FEWEST = 2
"""Lines with gaps of a run."""

SOME = 4
"""Lines of a run that tell whether it is in letters of one width."""

LEVEL = 0.4
"""Times the size of letters: words whose base lines are nearer stand at one height."""

BRIDGE = 4
"""Lines without a gap that may stand between two with one: cells of several lines, a group's name."""

SLIM, CELLS = 0.25, 16
"""Of the widest line with gaps, and as many lines as narrow as that: two cells of many lines, of two rows."""

SHORT = 0.6
"""Of the widest line: one that is shorter may stand among the rows of a table."""

NARROW = 0.75
"""Of the widest line with gaps: lines between these, which are wider, are text."""

FAR = 3.5
"""Times the size of letters, from one line to the next, from which on another part of the page begins."""

HIGHER = 12.0
"""Times the size of letters by which a cell may begin above the end of the one before."""

LARGER = 1.25
"""Times the size of a line with gaps, from which on a line is a heading."""

CAPTION = re.compile(
    r"\s*(?:supplementary )?(?:figures?|figs?\.?|tables?|tab\.|exhibit|algorithm|listing|chart|scheme|plate|abbildung"
    r"|abb\.|tabelle|tableau|tabla|tabella|figura)\s*(?:[A-Z]?\d|[IVX]+\b)",
    re.IGNORECASE,
)

_OTHER = re.compile(rf"{CAPTION.pattern}|[•◦▪●○■‣▶➢]", re.IGNORECASE)  # the items of a list, too
_WORD = re.compile(r"[^\s\x02\ufffe]+[\x02\ufffe]?")

Place = tuple[int, int]


@dataclass(frozen=True, slots=True)
class Letters:
    """How letters of a page, by their places in its text, stand and are set."""

    box_of: Callable[[int], Box]
    origin_of: Callable[[int], Point]
    size_of: Callable[[int], float]
    is_bold: Callable[[int], bool]
    is_typed: Callable[[int, int], bool | None]  # from a place to another, in letters of one width; None: as may be


@dataclass(frozen=True, slots=True)
class Word:
    """Characters `start` to `end` of a page, from `left` to `right`, and the height of their base line, in points."""

    start: int
    end: int
    left: float
    right: float
    level: float


@dataclass(frozen=True)
class Row:
    """A line as the PDF gives it: its words and the size of its first letter."""

    words: tuple[Word, ...]
    size: float

    @cached_property
    def left(self) -> float:
        return min(word.left for word in self.words)

    @cached_property
    def right(self) -> float:
        return max(word.right for word in self.words)

    @property
    def level(self) -> float:
        return self.words[0].level

    @cached_property
    def low(self) -> float:
        """Of its lowest word: pdfium may give several rows as one line."""
        return min(word.level for word in self.words)


def likely(characters: str, places: Sequence[Place], letters: Letters) -> Iterator[tuple[range, list[Row]]]:
    """The runs of lines among which a table may be, each with its lines."""
    page = _Page(characters, places, letters)
    done = 0
    for seed in page.seeds():
        if seed < done:
            continue
        first = page.first(seed, done)
        before, done = done, page.end(first)
        if sum(page.gapped(n) or page.is_high(n) for n in range(first, done)) < FEWEST:
            continue
        begin = page.begin(first, before)
        numbers = range(page.numbers[begin], page.numbers[done - 1] + 1)
        rows = [page.row(n) for n in range(begin, done)]
        if not _are_typed(characters, places, numbers, letters):
            yield numbers, rows


def words_of(characters: str, place: Place, letters: Letters) -> Iterator[Word]:
    """The words of a line; a hyphen at which a PDF's line ends ends one, too."""
    for found in _WORD.finditer(characters, *place):
        start, end = found.span()
        yield Word(start, end, letters.box_of(start)[0], letters.box_of(end - 1)[2], letters.origin_of(start)[1])


def _are_typed(characters: str, places: Sequence[Place], numbers: range, letters: Letters) -> bool:
    """Whether lines are in letters of one width, as programs are: most of those that are looked at."""
    some = [places[n] for n in numbers[:: max(1, len(numbers) // SOME)]]
    told = [letters.is_typed(start, end) for start, end in some if characters[start:end].strip()]
    return 2 * sum(one is True for one in told) > len(told)


class _Page:
    """The lines of a page that hold words, by their numbers among them; words are looked for where they are needed."""

    def __init__(self, characters: str, places: Sequence[Place], letters: Letters) -> None:
        self.characters, self.places, self.letters = characters, places, letters
        self.numbers = [n for n, (start, end) in enumerate(places) if _WORD.search(characters, start, end)]
        self._rows: list[Row | None] = [None] * len(self.numbers)
        self._gapped: list[bool | None] = [None] * len(self.numbers)

    def seeds(self) -> Iterator[int]:
        """Lines that stand beside the one before, or have wide gaps as one near them has, of those looked at."""
        before, width = None, 0.0
        for n, number in enumerate(self.numbers):
            start, end = self.places[number]
            line = self.characters[start:end]
            first = self.letters.box_of(start + len(line) - len(line.lstrip()))
            last = self.letters.box_of(start + len(line.rstrip("\x02\ufffe \t\r\n")) - 1)
            height = max(first[3] - first[1], last[3] - last[1], 1.0)
            if before is not None and first[0] > before[2] and -height / 2 < first[1] - before[1] < HIGHER * height:
                yield n
            elif n % EVERY == 1:
                width = max(width, last[2] - first[0])
                two = last[2] - first[0] < SHORT * width  # a group's name stands alone above its rows
                for k in range(n, min(n + 1 + two, len(self.numbers))):
                    if self._has_gap(k, height) and not self._is_typed(k) and self._has_gap_near(k, height):
                        yield k
            before = first[0], first[1], last[2], last[3]

    def _is_typed(self, n: int) -> bool:
        return self.letters.is_typed(*self.places[self.numbers[n]]) is True

    def _has_gap_near(self, n: int, height: float) -> bool:
        near = (k for k in range(n - 2, n + 3) if k != n and 0 <= k < len(self.numbers))
        return any(self._has_gap(k, height) for k in near)

    def _has_gap(self, n: int, height: float) -> bool:
        words = _WORD.finditer(self.characters, *self.places[self.numbers[n]])
        box_of = self.letters.box_of
        return any(box_of(b.start())[0] - box_of(a.end() - 1)[2] > TALL * height for a, b in pairwise(words))

    def row(self, n: int) -> Row:
        row = self._rows[n]
        if row is None:
            words = tuple(words_of(self.characters, self.places[self.numbers[n]], self.letters))
            row = self._rows[n] = Row(words, self.letters.size_of(words[0].start) or 1.0)
        return row

    def is_high(self, n: int) -> bool:
        """Whether a line is several rows, as pdfium may give them."""
        return self.row(n).level - self.row(n).low > self.row(n).size

    def gapped(self, n: int) -> bool:
        """Whether a line has a wide gap, or stands at the height of a neighbour, or begins above and beside it."""
        known = self._gapped[n]
        if known is None:
            known = self._gapped[n] = self._is_gapped(n)
        return known

    def _is_gapped(self, n: int) -> bool:
        row = self.row(n)
        wide, high = WIDE * row.size, LEVEL * row.size
        if any(b.left - a.right > wide and -high < b.level - a.level < high for a, b in pairwise(row.words)):
            return True
        return any(_beside(self.row(k), self.row(k + 1)) for k in (n - 1, n) if 0 <= k < len(self.numbers) - 1)

    def first(self, seed: int, done: int) -> int:
        """The first line with gaps of the run in which `seed` is."""
        first, at, width = seed, seed - 1, self._width(seed)
        while at >= done and first - at <= self._bridge(range(at + 1, first), width) and not self._apart(at):
            first = at if self.gapped(at) else first
            at -= 1
        return first

    def begin(self, first: int, done: int) -> int:
        """Where a run begins whose first line with gaps is at `first`: lines above may be a head's."""
        at, width = first, self._width(first)
        while at > done and first - at < self._bridge(range(at - 1, first), width) and not self._apart(at - 1):
            if self.row(at - 1).size > LARGER * self.row(first).size:
                break
            at -= 1
        return at

    def end(self, first: int) -> int:
        """Behind the last line that belongs to the run at `first`."""
        last = at = first + 1
        size, left, right = self.row(first).size, self.row(first).left, self.row(first).right
        while at < len(self.numbers) and not self._apart(at - 1):
            row = self.row(at)
            if at - last >= self._bridge(range(last, at), right - left):
                break
            if row.size > LARGER * size:
                break
            if self.gapped(at):
                last = at + 1
                left, right = min(left, row.left), max(right, row.right)
            elif row.right - row.left > NARROW * (right - left) and at > first + 1:
                break
            at += 1
        while last < at and self.row(last).right - self.row(last).left <= NARROW * (right - left):
            last += 1  # more lines of the last row
        return last

    def _width(self, first: int) -> float:
        """How far the lines of about a row go, that at `first` among them."""
        rows = [self.row(n) for n in range(first, min(first + CELLS, len(self.numbers)))]
        return max(row.right for row in rows) - min(row.left for row in rows)

    def _bridge(self, lines: range, width: float) -> int:
        """How many lines without a gap may follow each other there."""
        return CELLS if all(self.row(n).right - self.row(n).left <= SLIM * width for n in lines) else BRIDGE

    def _apart(self, n: int) -> bool:
        """Whether a table cannot go over from a line to the next: a caption stands there, or much blank space."""
        above, below = self.row(n), self.row(n + 1)
        size = max(above.size, below.size)
        if above.low - below.level <= -HIGHER * size:
            return True
        if above.low - below.level >= FAR * size and self._down(n) >= FAR * size:
            return True
        return any(_OTHER.match(self.characters, row.words[0].start, row.words[-1].end) for row in (above, below))

    def _down(self, n: int) -> float:
        """From the lowest line of the row in which line `n` is to the highest one of the next row."""
        above, below = self.row(n).low, self.row(n + 1).level
        upper = [self.row(k).low for k in range(max(0, n - BRIDGE), n + 1)]
        lower = [self.row(k).level for k in range(n + 1, min(n + 2 + BRIDGE, len(self.numbers)))]
        lowest = min(level for level in upper if level > below)
        return lowest - max(level for level in lower if level < min(above, lowest))


def _beside(before: Row, row: Row) -> bool:
    """Whether a line stands beside the one before, at its height or higher."""
    apart = row.left > before.right or row.right < before.left
    return apart and -LEVEL * row.size < row.level - before.low < HIGHER * row.size
