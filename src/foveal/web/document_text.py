"""A document's text for a page: parts that a browser can bear, blocks of passages, and the cited characters marked.

    cut = borders(len(text), [pages, passages])         # where parts begin and end
    blocks = blocks_of(document, places, headings, start=cut[2], end=cut[3], marked=(a, b))

Every character stands in just one slice, in order, but for blanks at the end of a block: what is marked is text[a:b].
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import groupby, pairwise
from operator import attrgetter
from urllib.parse import quote

from foveal.text.code_blocks import Code
from foveal.text.headings import Heading
from foveal.text.printed_pages import printed_on_page
from foveal.text.table_cells import Cell, Grid
from foveal.types import Document

PART = 60_000
"""Most characters of a part: even of Chinese text, 180 KB."""

NUMBERED, CAPITALS = 3, 6
"""Lines in a row that begin with a capital or a digit, from which on they are rows: if most hold a number, and else."""

HASHES = re.compile(r" {0,2}#{1,6}[ \t]+(?=\S)")
_LINE = re.compile(r"[^\n]*\n?")
_ITEM = re.compile(r"(?:\d{1,3}|[a-zA-Z])[.)]\s|\[\d")  # of a list: "2. ", "b) ", "[3"

_start, _end = attrgetter("start"), attrgetter("end")

Place = tuple[int, int, str | None]


@dataclass(frozen=True, slots=True)
class Slice:
    """Characters that are shown alike, and what begins at the first of them."""

    start: int
    lines: tuple[str, ...]  # joined by nothing, they are the characters; a line break is shown between them
    page: int | None = None  # the page that begins here, from 1
    printed: str = ""  # the number on it, where it is another
    heading: int | None = None  # the level of the heading that this is
    anchor: int | None = None  # where the heading that this is (a part of) begins, on its first slice
    marked: bool = False
    first: bool = False  # of what is marked
    code: str = ""  # "code" of a block of code, "fence" of the lines around it
    cell: Cell | None = None  # the table's cell that this is (a part of)
    hidden: bool = False  # it only parts the cells of a table

    @property
    def plain(self) -> bool:
        """Whether it is nothing but its characters, in one line."""
        return not (self.marked or self.page or self.heading or self.hidden) and len(self.lines) == 1

    @property
    def opening(self) -> int:
        """Which of the lines has the first character: a break before it is a line of none."""
        return next((n for n, line in enumerate(self.lines) if line), 0)

    @property
    def hashes(self) -> str:
        """The `## ` that a heading's first slice begins with, which a page need not show."""
        found = HASHES.match(self.lines[self.opening]) if self.anchor is not None else None
        return found[0] if found else ""


@dataclass(frozen=True, slots=True)
class Block:
    """A passage, or what of it lies in the part."""

    start: int
    end: int
    heading: str | None
    slices: tuple[Slice, ...]


@dataclass(frozen=True, slots=True)
class _Lines:
    """Characters from `first` on as they are shown, and where lines of them break."""

    text: str
    first: int
    breaks: Sequence[int] = ()

    def of(self, start: int, end: int) -> tuple[str, ...]:
        """Those of characters `start` to `end`."""
        cuts = [start, *self.breaks[bisect_left(self.breaks, start) : bisect_left(self.breaks, end)], end]
        return tuple(self.text[a - self.first : b - self.first] for a, b in pairwise(cuts))


def borders(text: str, preferred: Iterable[Sequence[int]], most: int = PART) -> list[int]:
    """Where parts of at most `most` characters begin, and the end of the text.

    A part ends at the last of the first kind of `preferred` places that lies in its second half, else of the next
    kind; else at the end of a line; else where it must.
    """
    kinds = [sorted(set(kind)) for kind in preferred]
    found = [0]
    while len(text) - found[-1] > most:
        start, limit = found[-1], found[-1] + most
        within = (_last(kind, start + max(1, most // 2), limit) for kind in kinds)
        cut = next((one for one in within if one is not None), None)
        if cut is None:
            line = text.rfind("\n", start + most // 2, limit)
            cut = line + 1 if line >= 0 else limit
        found.append(cut)
    return [*found, len(text)]


def part_of(cut: Sequence[int], offset: int) -> int:
    """The number, from 1, of the part that holds the character at `offset`."""
    return max(1, min(bisect_right(cut, offset), len(cut) - 1))


def blocks_of(
    document: Document,
    places: Sequence[Place],
    headings: Sequence[Heading],
    start: int,
    end: int,
    marked: tuple[int, int] = (0, 0),
    *,
    flowing: bool = False,
    code: Sequence[Code] = (),
    tables: Sequence[Grid] = (),
    shown: str = "",
) -> list[Block]:
    """The blocks of characters `start` to `end`; without passages, all of it is one.

    `shown` stands for these characters, one for one. `flowing` joins the lines of paragraphs that were broken to
    fit a page's width, as a PDF's are.
    """
    inside = [one for one in covering(places, len(document.text)) if one[0] < end and one[1] > start]
    cells = [cell for one in tables for cell in one.cells(document.text, start, end)]
    lines = _Lines(shown or document.text[start:end], start)
    made = []
    for first, last, heading in inside:
        a, b = max(first, start), min(last, end)
        place = (a, a + len(document.text[a:b].rstrip()))
        within = replace(lines, breaks=_breaks(document.text, place, headings)) if flowing else lines
        made.append(Block(a, b, heading, tuple(_slices(document, headings, place, marked, within, code, cells))))
    return _with_first(made)


def hard_breaks(text: str, start: int, end: int) -> list[int]:
    """Where a line of text[start:end] really ends: all line ends but those after a full line that words go on from.

    The rows of a table are lines of their own, though they may all be as long as the longest of them.
    """
    lines = [(start + one.start(), one.group()) for one in _LINE.finditer(text[start:end])]
    lengths = sorted(len(line) for _, line in lines if line.strip())
    full = 0.7 * lengths[int(0.9 * len(lengths))] if lengths else 0.0
    rows = _rows([line for _, line in lines])
    found = []
    for number, ((at, line), (_, following)) in enumerate(pairwise(lines), start=1):
        goes_on = len(line) >= full and following[:1].isalnum() and not _ITEM.match(following)
        if not goes_on or number in rows:
            found.append(at + len(line))
    return found


def _rows(lines: Sequence[str]) -> set[int]:
    """Numbers of lines that are rows of a table, or verses: many in a row begin with a capital or a digit."""
    found: set[int] = set()
    for begins, group in groupby(range(1, len(lines)), lambda n: lines[n][:1].isupper() or lines[n][:1].isdigit()):
        run = list(group)
        numbers = sum(any(map(str.isdigit, lines[n])) for n in run)
        if begins and len(run) >= (NUMBERED if 2 * numbers > len(run) else CAPITALS):
            found.update(run)
    return found


def _with_first(blocks: list[Block]) -> list[Block]:
    """The blocks with the first slice that is marked, and seen if one is, told from the others: a link leads there."""
    marked = [(n, k) for n, block in enumerate(blocks) for k, one in enumerate(block.slices) if one.marked]
    if not marked:
        return blocks
    number, place = next(((n, k) for n, k in marked if not blocks[n].slices[k].hidden), marked[0])
    block = blocks[number]
    first = replace(block.slices[place], first=True)
    slices = (*block.slices[:place], first, *block.slices[place + 1 :])
    return [*blocks[:number], replace(block, slices=slices), *blocks[number + 1 :]]


def _breaks(text: str, place: tuple[int, int], headings: Sequence[Heading]) -> list[int]:
    """Hard breaks, and those around headings, however full their lines are."""
    start, end = place
    there = headings[bisect_left(headings, start, key=_end) : bisect_left(headings, end, key=_start)]
    ends = (one.end + (text[one.end - 1] != "\n") for one in there)  # some headings hold the end of their line
    around = {offset for offset in (*(one.start for one in there), *ends) if start < offset < end}
    return sorted(around.union(hard_breaks(text, start, end)))


def covering(places: Sequence[Place], length: int) -> Iterator[Place]:
    """The passages and what lies between them: passages that overlap are cut, blank ones are not stored."""
    at = 0
    for start, end, heading in places:
        if start > at:
            yield at, start, None
        if end > max(at, start):
            yield max(at, start), end, heading
            at = end
    if at < length:
        yield at, length, None


def place_address(document_id: str, start: int, end: int, revision: str | None = None) -> str:
    """The address of characters `start` to `end` of a document, as this site shows them."""
    named = f"&revision={quote(revision[:16])}" if revision else ""
    return f"/library/{quote(document_id)}?span={start}-{end}{named}#c-{start}-{end}"


def _slices(
    document: Document,
    headings: Sequence[Heading],
    place: tuple[int, int],
    marked: tuple[int, int],
    lines: _Lines,
    code: Sequence[Code],
    cells: Sequence[Cell],
) -> Iterator[Slice]:
    start, end = place
    pages = {offset: number for number, offset in enumerate(document.pages, start=1)}
    a, b = bisect_left(document.pages, start), bisect_left(document.pages, end)
    there = headings[bisect_right(headings, start, key=_end) : bisect_left(headings, end, key=_start)]
    cuts = {start, end, *document.pages[a:b], *marked}
    cuts |= {offset for one in there for offset in (one.start, one.end)}
    blocks = code[bisect_right(code, start, key=_end) : bisect_left(code, end, key=_start)]
    cuts |= {offset for one in blocks for offset in (one.start, one.body, one.stop, one.end)}
    within = cells[bisect_right(cells, start, key=_end) : bisect_left(cells, end, key=_start)]
    cuts |= {offset for one in within for offset in (one.start, one.end)}
    cuts |= {offset for one in within for mark in one.marks for offset in mark}
    points = sorted(offset for offset in cuts if start <= offset <= end)
    whole = replace(lines, breaks=())
    for one, after in pairwise(points):
        kind = _code_at(blocks, one)
        heading = next((h for h in there if h.start <= one < h.end), None)
        at = bisect_right(within, one, key=_end)
        cell = within[at] if at < len(within) and within[at].start <= one else None
        yield Slice(
            one,
            (whole if kind else lines).of(one, after),
            page=pages.get(one),
            printed=printed_on_page(document.pages, pages[one]) if one in pages else "",
            heading=min(heading.level, 4) if heading else None,
            anchor=heading.start if heading and heading.start == one else None,
            marked=marked[0] <= one < marked[1],
            code="" if cell else kind,
            cell=cell,
            hidden=cell is not None and any(x <= one < y for x, y in cell.marks),
        )


def _code_at(blocks: Sequence[Code], offset: int) -> str:
    """Whether a character stands in a block of code, or in what is around one."""
    return next(
        ("code" if one.body <= offset < one.stop else "fence" for one in blocks if one.start <= offset < one.end), ""
    )


def _last(places: Sequence[int], least: int, most: int) -> int | None:
    at = bisect_right(places, most) - 1
    return places[at] if at >= 0 and places[at] >= least else None
