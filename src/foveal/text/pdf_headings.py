"""The headings of a PDF: lines that are set larger or bolder than the text, and lines that its outline names.

    marked(pages, outline)      # the text of each page, a heading being "## Title" on a line by itself, as in Markdown

Body      the size in which most letters of the document are set, and the weight of most letters of that size
By type   few words, at least 1.08 times the size of the body, or as large and bolder; up to three lines of one style
          are one heading; text of the body's size follows. A style counts where it is used twice
By name   bookmarks whose words stand on the page that they lead to, where at least half of them do
Levels    those of the outline; of other styles by size, the larger the higher
Never     what stands on three pages in a row (running heads), heads of tables, addresses, what comes before the
          abstract, the entries of a table of contents; and none where they would be more than a quarter of all lines
"""

from __future__ import annotations

import re
import unicodedata
from collections import Counter, defaultdict
from collections.abc import Collection, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate, groupby
from statistics import mode

from foveal.text.code_blocks import no_heading
from foveal.text.pdf_table import Table

LARGER, BOLDER = 1.08, 200
"""Times the body's size, and more than its weight (400 is regular, 700 bold), from which on a line stands out."""

NAMES = 1.25
"""Times the body's size, from which on a line in small letters may be a heading, such as a function's name."""

ALIKE = 0.1
"""A line's size may differ from the body's by this share and still be text."""

WORDS, CHARACTERS, LINES = 16, 200, 3
"""Most of a heading."""

SHORT = 0.85
"""Of the usual line: a bold line of the body's size is shorter, as it would else be a part of a paragraph."""

MOST_CELLS = 2
"""Parts of a heading between wide gaps, such as its number and its words; the head of a table has more."""

SENTENCE = 8
"""Words of a heading that ends with a full stop, at most."""

LEAST = 3
"""Headings of a document, or bookmarks that are found, below which there are none."""

SHARE = 0.25
"""Of all lines: with more headings, what stands out is no heading but, say, a form's labels."""

LEVELS = 6

ENTRIES = 4
"""Lines of a page with dots that lead to a number, from which on it is one of a table of contents."""

EDGE = 2
"""Outer lines of a page, where a heading is but a running head if it stands larger elsewhere."""

Style = tuple[float, bool]
"""Points, rounded to halves, and whether it is bolder than the body."""


@dataclass(frozen=True, slots=True)
class Typed:
    """A line in letters of one width: where it begins and its base line in points, from a letter to the next, text."""

    left: float
    level: float
    step: float
    text: str  # with the blanks between its words, without those before them
    proven: bool = False  # whether its letters would be of several widths if they could


@dataclass(frozen=True, slots=True)
class Line:
    """A line of a page: its text, its letters' size in points (0 where there are none), the weight of the lightest."""

    text: str
    size: float
    weight: int
    cells: int = 1  # parts of a bold line between wide gaps
    typed: Typed | None = None
    code: int = 0  # lines of code that it stands for
    table: Table | None = None  # that it stands for

    @property
    def letters(self) -> int:
        return self.table.letters if self.table else len(self.text)

    @property
    def lines(self) -> int:
        """How many lines of the page it stands for; 0: it is empty."""
        return self.code or (self.table.lines if self.table else int(bool(self.text.strip())))


@dataclass(frozen=True, slots=True)
class Bookmark:
    """An entry of a PDF's outline; level 1 is the highest, page 0 the first."""

    title: str
    level: int
    page: int


@dataclass(frozen=True, slots=True)
class _Run:
    """Lines `first` to `last` (excluded) of a page that are one heading."""

    page: int
    first: int
    last: int
    style: Style
    title: str
    level: int | None = None  # where the outline says it


def marked(pages: Sequence[Sequence[Line]], outline: Sequence[Bookmark] = ()) -> list[str]:
    """The pages' lines joined, each heading on a line by itself between blank ones, behind one `#` for each level."""
    body = Body.of(pages)
    named = _named(pages, outline, body)
    taken = {(run.page, place) for run in named for place in range(run.first, run.last)}
    runs = _accepted([*named, *_standing_out(pages, body, taken)], pages)
    levels = _levels(runs)
    by_page: dict[int, list[_Run]] = defaultdict(list)
    for run in runs:
        by_page[run.page].append(run)
    return ["\n".join(_written(page, by_page[number], levels)) for number, page in enumerate(pages)]


def _written(page: Sequence[Line], runs: Sequence[_Run], levels: dict[Style, int]) -> Iterator[str]:
    starts, at = {run.first: run for run in runs}, 0
    while at < len(page):
        run = starts.get(at)
        if run is None:
            yield no_heading(page[at].text)
            at += 1
            continue
        yield from ("", f"{'#' * (run.level or levels[run.style])} {run.title}", "")
        at = run.last


# -- what the text itself looks like -----------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class Body:
    """How most of a document is set."""

    size: float
    weight: int
    width: int  # characters of a usual line

    @classmethod
    def of(cls, pages: Iterable[Sequence[Line]]) -> Body:
        lines = [line for page in pages for line in page if line.size]
        letters = Counter[float]()
        for line in lines:
            letters[line.size] += line.letters
        size = letters.most_common(1)[0][0] if letters else 0.0
        of_size = [line for line in lines if line.size == size and not line.table]
        lengths = sorted(len(line.text) for line in of_size)
        weight = mode(line.weight for line in of_size) if of_size else 0
        return cls(size, weight, lengths[len(lengths) * 3 // 4] if lengths else 0)

    def style(self, line: Line) -> Style:
        return round(2 * line.size) / 2, line.weight >= self.weight + BOLDER

    def is_text(self, line: Line) -> bool:
        return bool(line.code or line.table) or abs(line.size - self.size) <= ALIKE * self.size

    def stands_out(self, line: Line) -> bool:
        """Whether a line is set, and reads, as (a part of) a heading."""
        larger = line.size >= LARGER * self.size
        bold = line.weight >= self.weight + BOLDER and line.size >= (1 - ALIKE / 2) * self.size
        if not line.size or line.table or not (larger or bold) or line.cells > MOST_CELLS:
            return False
        text = line.text.strip()
        if len(text.split()) > WORDS or text[-1] in ",;" or not _wordy(text) or _ADDRESS.search(text):
            return False
        return larger or (len(text) < SHORT * self.width and not text[0].islower())


_ADDRESS = re.compile(r"\w@\w|https?:|www\.")
_LED = re.compile(r"(?:[.·…][ \t]?){4}[ \t]*+(?:\d{1,4}|[ivxlc]{1,7})\s*+\Z")
_ENTRY = re.compile(r"\w\W*[ \t](?:\d{1,4}|[ivxlc]{1,7})\s*\Z")


def _wordy(text: str) -> bool:
    letters = sum(character.isalpha() for character in text)
    return letters >= 2 and 2 * letters >= len(text.replace(" ", ""))


# -- by type -----------------------------------------------------------------------------------------------------------


def _standing_out(pages: Sequence[Sequence[Line]], body: Body, taken: set[tuple[int, int]]) -> Iterator[_Run]:
    for number, page in enumerate(pages):
        listed = _listed(page)
        stands = [body.stands_out(line) and n not in listed for n, line in enumerate(page)]
        below = _below(page, stands)
        for (outstanding, style), group in groupby(
            range(len(page)), key=lambda n: (stands[n], body.style(page[n]) if stands[n] else (0.0, False))
        ):
            places = list(group)
            at = places[-1] + 1
            title = _title(page[places[0] : at])
            free = not any((number, place) in taken for place in places)
            few = len(places) <= LINES and len(title) <= CHARACTERS
            named = not title[:1].islower() or style[0] >= NAMES * body.size
            if not (outstanding and free and few and named) or _is_text(title, page[at : at + 1], style, body):
                continue
            if below[at] in listed or _followed(pages, number, below[at], body):
                yield _Run(number, places[0], at, style, title)


def _is_text(title: str, after: Sequence[Line], style: Style, body: Body) -> bool:
    """Whether it is but large text: it goes on in small letters in a line of its style, or is a sentence."""
    goes_on = any(body.style(line) == style and line.text.strip()[:1].islower() for line in after)
    return goes_on or (title.endswith(".") and len(title.split()) > SENTENCE)


def _listed(page: Sequence[Line]) -> set[int]:
    """Which lines of a page are entries of a table of contents: those with dots that lead to a number and, where there
    are several of these, those among and right beside them that end with one."""
    led = {place for place, line in enumerate(page) if _LED.search(line.text)}
    if len(led) < ENTRIES:
        return set()
    entries = [bool(_ENTRY.search(line.text)) for line in page]
    first, last = min(led), max(led)
    while first and entries[first - 1]:
        first -= 1
    while last + 1 < len(page) and entries[last + 1]:
        last += 1
    return led | {place for place in range(first, last + 1) if entries[place]}


def _title(lines: Sequence[Line]) -> str:
    return " ".join(" ".join(line.text.split()) for line in lines)


def _below(page: Sequence[Line], stands: Sequence[bool]) -> list[int | None]:
    """For each place on a page, its end too: which line from there on is the first that does not stand out."""
    found: list[int | None] = [None]
    for n in reversed(range(len(page))):
        found.append(n if not stands[n] and page[n].size else found[-1])
    return found[::-1]


def _followed(pages: Sequence[Sequence[Line]], number: int, below: int | None, body: Body) -> bool:
    """Whether text comes next, but for other headings: on this page, or (behind its last lines) on the next one."""
    page = pages[number]
    if below is not None and body.is_text(page[below]):
        return True
    if below is not None and below < len(page) - 2:  # more than a foot line
        return False
    following = pages[number + 1][:LINES] if number + 1 < len(pages) else ()
    return any(body.is_text(line) for line in following)


# -- by name -----------------------------------------------------------------------------------------------------------

_NUMBER = re.compile(r"^(?:chapter|section|part|appendix)?\s*(?:\d{1,3}(?:\.\d{1,3})*|[ivxlc]+|[a-h])[.:)]?\s+")


def _named(pages: Sequence[Sequence[Line]], outline: Sequence[Bookmark], body: Body) -> list[_Run]:
    """The lines that the outline leads to; none where it is small, or its words stand elsewhere."""
    wanted: dict[int, set[str]] = defaultdict(set)
    for bookmark in outline:
        wanted[bookmark.page].add(_words_of(bookmark.title))
    places = {page: _places(pages[page], words) for page, words in wanted.items() if 0 <= page < len(pages)}
    found = dict[tuple[int, int], _Run]()
    for bookmark in outline:
        place = places.get(bookmark.page, {}).get(_words_of(bookmark.title))
        if place is not None:
            lines = pages[bookmark.page][place.start : place.stop]
            style, level = body.style(lines[0]), min(bookmark.level, LEVELS)
            run = _Run(bookmark.page, place.start, place.stop, style, _title(lines), level)
            found.setdefault((run.page, run.first), run)
    return list(found.values()) if len(found) >= max(LEAST, len(outline) / 2) else []


def _places(page: Sequence[Line], wanted: Collection[str]) -> dict[str, range]:
    """Which lines of a page have the words of a bookmark, the largest first (a running head may have them, too); one
    walk for all that lead to the page."""
    found = dict[str, range]()
    for first in range(len(page)):
        for last in range(first + 1, min(first + LINES, len(page)) + 1):
            words = _words_of(_title(page[first:last]))
            if words in wanted and words and (words not in found or page[found[words].start].size < page[first].size):
                found[words] = range(first, last)
    return found


def _words_of(title: str) -> str:
    """A title's letters and digits, without its number; an outline writes CO₂ as CO2."""
    lowered = " ".join(unicodedata.normalize("NFKC", title).casefold().split())
    return "".join(filter(str.isalnum, _NUMBER.sub("", lowered) or lowered))


# -- which of them, and how high ---------------------------------------------------------------------------------------


def _accepted(runs: Sequence[_Run], pages: Sequence[Sequence[Line]]) -> list[_Run]:
    """Without running heads and styles that are used once; none where they are too few, or too many."""
    inner = _without_smaller_at_edges(runs, pages)
    seen: dict[str, set[int]] = defaultdict(set)
    for run in inner:
        seen[run.title].add(run.page)
    running = {title for title, at in seen.items() if any({n, n + 1, n + 2} <= at for n in at)}
    kept = [run for run in _behind_authors(inner) if run.level or run.title not in running]
    styles = Counter(run.style for run in kept)
    kept = [run for run in kept if run.level or styles[run.style] > 1]
    lines = sum(max(1, line.lines) for page in pages for line in page if line.size)
    return sorted(kept, key=lambda run: (run.page, run.first)) if LEAST <= len(kept) <= SHARE * lines else []


def _without_smaller_at_edges(runs: Sequence[_Run], pages: Sequence[Sequence[Line]]) -> list[_Run]:
    """Without running heads: what stands at a page's edge, and larger elsewhere."""
    largest = defaultdict[str, float](float)
    for run in runs:
        words = _words_of(run.title)
        largest[words] = max(largest[words], run.style[0])
    above = {page: _heights(pages[page]) for page in {run.page for run in runs}}

    def at_edge(run: _Run) -> bool:
        heights = above[run.page]
        return min(heights[run.first], heights[-1] - heights[run.last]) < EDGE

    return [run for run in runs if run.level or not at_edge(run) or run.style[0] >= largest[_words_of(run.title)]]


def _heights(lines: Sequence[Line]) -> list[int]:
    """How many lines of the page stand above each of these; the last number is of all."""
    return list(accumulate((max(1, line.lines) for line in lines), initial=0))


_ABSTRACT = re.compile(r"\W*(?:\d\.?\s*)?(?:abstract|summary|introduction)\W*", re.IGNORECASE)


def _behind_authors(runs: Sequence[_Run]) -> list[_Run]:
    """Without what stands out on the first page before the abstract: title, authors, addresses."""
    opening = [run.first for run in runs if not run.page and _ABSTRACT.fullmatch(run.title)]
    first = min(opening, default=0)
    return [run for run in runs if run.level or run.page or run.first >= first]


def _levels(runs: Sequence[_Run]) -> dict[Style, int]:
    """Of each style: what the outline says of most of its lines, or by size, below the named ones that are larger."""
    told: dict[Style, list[int]] = defaultdict(list)
    for run in runs:
        if run.level:
            told[run.style].append(run.level)
    levels, above = dict[Style, int](), 0
    for style in sorted({run.style for run in runs}, key=lambda style: (-style[0], not style[1])):
        named = mode(told[style]) if told[style] else None
        levels[style] = min(named or above + 1, LEVELS)
        above = max(above, levels[style])
    return levels
