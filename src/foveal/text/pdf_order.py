"""Lines of a PDF's page that its file holds late, put where they stand: between lines that left room for them.

Browsers draw boxes that scroll or are placed (programs, nested lists, notes) when all the other text of the page is
drawn. Lines that come behind those that stand below them go into the gaps there, if each of their run has one. Where
one has none, as those of another column, or the cells of a table's next column, the run stays where the file has it.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass, replace

from foveal.text.pdf_letters import Glyphs, first_of
from foveal.text.pdf_table_words import Place

RISE, SLACK = 0.5, 0.2
"""Of the letters' size: by how much a line stands higher than the one before where another run begins; how far letters
may reach into a gap's edge."""

ABOVE, BELOW = 0.7, 0.2
"""Of the letters' size: from the base line up, and down."""

OVER = 0.3
"""Share of the narrower one's width that a line and one beside its gap have in common."""

FEWEST = 5
"""Lines of a text above which others may go: a running head that the file has first is none."""

MOST_RUNS = 200
"""Runs of a page; where there are more, its text is not drawn line by line."""


@dataclass(frozen=True, slots=True)
class _Line:
    """A line, and where it stands: `level` is its base line; None: it is empty."""

    place: Place
    left: float = 0.0
    right: float = 0.0
    level: float | None = None
    size: float = 0.0

    def above(self, other: _Line) -> bool:
        """Whether it stands above another line, with nothing of the one beside the other."""
        assert self.level is not None
        assert other.level is not None
        room = SLACK * max(self.size, other.size)
        return self.level - BELOW * self.size >= other.level + ABOVE * other.size - room

    def over(self, other: _Line) -> bool:
        """Whether one stands over the other, not beside it."""
        common = min(self.right, other.right) - max(self.left, other.left)
        return common > OVER * min(self.right - self.left, other.right - other.left)


def in_gaps(places: Sequence[Place], characters: str, glyphs: Glyphs) -> list[Place]:
    """The lines of a page in the order in which they are read; `places` are theirs, as the file has them."""
    runs = _runs([_begun(place, characters, glyphs) for place in places])
    if not 1 < len(runs) <= MOST_RUNS:
        return list(places)
    first, *others = ([_whole(line, characters, glyphs) for line in run] for run in runs)
    ordered = first
    for run in others:
        ordered = _put(ordered, run)
    return [line.place for line in ordered]


def _begun(place: Place, characters: str, glyphs: Glyphs) -> _Line:
    """A line without where it ends, which most pages are not asked for."""
    first = first_of(characters, place)
    if first == place[1]:
        return _Line(place)
    left, level = glyphs.origin_of(first)
    return _Line(place, left, left, level, glyphs.look_of(first)[0])


def _whole(line: _Line, characters: str, glyphs: Glyphs) -> _Line:
    start, end = line.place
    last = start + len(characters[start:end].rstrip()) - 1
    return line if line.level is None else replace(line, right=max(line.left, glyphs.box_of(last)[2]))


def _runs(lines: Sequence[_Line]) -> list[list[_Line]]:
    """The lines, parted where one stands higher than the one before."""
    runs: list[list[_Line]] = [[]]
    before: float | None = None
    for line in lines:
        if line.level is not None:
            if before is not None and line.level > before + RISE * line.size:
                runs.append([])
            before = line.level
        runs[-1].append(line)
    return runs


def _put(ordered: Sequence[_Line], run: Sequence[_Line]) -> list[_Line]:
    """The lines with those of another run among them, or behind them if one of it has no room between two."""
    standing = [line for line in ordered if line.level is not None]
    into: dict[int, list[_Line]] = defaultdict(list)
    at: int | None = 0
    for line in run:
        at = at if line.level is None else _gap(standing, line)
        if at is None:
            return [*ordered, *run]
        into[at].append(line)
    merged, number = into[0], 0
    for line in ordered:
        merged.append(line)
        if line.level is not None:
            number += 1
            merged += into[number]
    return merged


def _gap(lines: Sequence[_Line], line: _Line) -> int | None:
    """Behind how many of the lines there is room for another one; None: nowhere."""
    first = 0 if len(lines) >= FEWEST and lines[0].level == max(one.level or 0.0 for one in lines) else 1
    for at in range(first, len(lines) + 1):
        above, below = lines[at - 1] if at else None, lines[at] if at < len(lines) else None
        fits = (above is None or above.above(line)) and (below is None or line.above(below))
        if fits and any(one is not None and one.over(line) for one in (above, below)):
            return at
    return None
