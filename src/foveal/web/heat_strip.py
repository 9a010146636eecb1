"""Where a reader looked, as a picture along the document: numbers for an SVG that a template draws, and the peaks.

Bars      one for each of `BARS` equal stretches of the text: the highest score of a sentence there, on a scale of
          logarithms, since a literal find has about 10 and a paraphrase 1 to 2; a stretch that was not read has no bar
Peaks     the sentences that were looked at most, as a table: what the picture says, in words
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from foveal.reading.heat import Heat, Looked, over
from foveal.types import Span
from foveal.web.answers import Cited, heading_at, one_line, where_of
from foveal.web.document_text import Place, place_address

BARS = 160
WIDTH, HEIGHT = 960, 80
"""Of the picture, in its own units."""

PEAKS = 6
MOST_TICKS = 12
LEAST = 0.15
"""A score below which a sentence is not kept either (`ReadSettings.floor`)."""

LOWEST_TOP = 3.0
"""The score at the top of the picture, where none is higher: little heat must not look like much."""


@dataclass(frozen=True, slots=True)
class Bar:
    """A stretch of the text in the picture; `height` is None where it was not read."""

    x: float
    width: float
    height: float | None
    strength: int  # 0 to 4


@dataclass(frozen=True, slots=True)
class Peak:
    """A sentence that was looked at much: its place on the page, in the picture, and its score."""

    place: Cited
    score: float
    x: float


@dataclass(frozen=True)
class Strip:
    """All that the template draws."""

    bars: tuple[Bar, ...]
    peaks: tuple[Peak, ...]
    even: float  # height of score 1
    pages: tuple[tuple[int, float], ...]  # numbers of some pages, and where they begin
    last_page: int
    read: float  # share of the text


@dataclass(frozen=True)
class Text:
    """What the picture says of the document itself."""

    id: str
    title: str
    revision: str
    text: str
    pages: Sequence[int]
    places: Sequence[Place]


def strip_of(heat: Heat, about: Text) -> Strip:
    """The picture of `heat`."""
    sentences = heat.sentences()
    length = max(1, len(about.text))
    count = max(1, min(BARS, length))
    found = over(sentences, [round(n * length / count) for n in range(count + 1)])
    top = max([LOWEST_TOP, *(one.score for one in sentences)])
    width = WIDTH / count
    bars = tuple(
        Bar(round(n * width, 2), round(width * 0.82, 2), _height(score, top), _strength(score, top))
        for n, score in enumerate(found)
    )
    return Strip(
        bars,
        tuple(_peak(number, one, about) for number, one in enumerate(heat.peaks(PEAKS, least=LEAST), start=1)),
        _height(1.0, top) or 0.0,
        tuple((number, _x(about.pages[number - 1], length)) for number in _ticks(len(about.pages))),
        len(about.pages),
        sum(one is not None for one in found) / count,
    )


def _peak(number: int, one: Looked, about: Text) -> Peak:
    quote = about.text[one.start : one.end]
    start = one.start + len(quote) - len(quote.lstrip())
    end = max(start, one.end - len(quote) + len(quote.rstrip()))
    where = where_of(about.pages, heading_at(about.places, start), about.title, Span(about.id, start, end))
    address = place_address(about.id, start, end, about.revision)
    x = _x((start + end) / 2, len(about.text))
    return Peak(Cited(number, one_line(quote), about.title, where, address), one.score, x)


def _height(score: float | None, top: float) -> float | None:
    return None if score is None else round(HEIGHT * math.log1p(score) / math.log1p(top), 2)


def _strength(score: float | None, top: float) -> int:
    return min(4, int(5 * math.log1p(score or 0.0) / math.log1p(top)))


def _x(offset: float, length: int) -> float:
    return round(WIDTH * offset / max(1, length), 2)


def _ticks(pages: int) -> range:
    """Numbers of pages to name: at most `MOST_TICKS`, evenly."""
    return range(1, pages + 1, max(1, -(-pages // MOST_TICKS)))
