"""Segmenters by layout, without a model: by headings (the default when a document is added), and by size alone.

HeadingSegmenter  a passage is a run of whole paragraphs under one heading, as long as an encoder can read
FixedSegmenter    windows of a size, ending at a paragraph, sentence or word; they may overlap
WholeSegmenter    each document as it is, for short ones such as abstracts

Passages cover the text from 0 to len(text) in order, and each holds exactly the text of its span; blank space belongs
to the passage before it. Fenced code that fits the limit is not cut. `texttiling.py` and `embedding_segmentation.py`
cut by what the text is about.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, takewhile, zip_longest

from foveal.errors import InputError
from foveal.text.headings import Heading, fenced_blocks
from foveal.text.programs import headings_in, language_of
from foveal.text.table_heads import with_columns
from foveal.text.units import Offsets, words
from foveal.text.windows import TokenOffsets, Window, WindowRule, windows
from foveal.types import Document, Passage, Span

MAX_TOKENS = 200
"""Default limit of a passage: with its title and headings before it, it fits an encoder that reads 256 tokens."""

MIN_TOKENS = 40
"""Default below which a passage joins a neighbour: less says too little to be found or quoted by itself."""

UNLIMITED = 1 << 40
"""Tokens that no text has."""

Titles = tuple[str, ...]

_WORD = re.compile(r"[^\W_]")


@dataclass(frozen=True, kw_only=True)
class FixedSegmenter:
    """Windows of at most `max_tokens` tokens that end at paragraphs, sentences or words; see `windows.py`."""

    max_tokens: int = 256  # most tokens of a passage, at least 1
    overlap: int = 0  # tokens that a passage repeats of the one before, below max_tokens
    token_offsets: TokenOffsets = words  # the tokens to count: those of the encoder that will read the passages

    def __post_init__(self) -> None:
        WindowRule(self.max_tokens, self.overlap)

    def segment(self, document: Document) -> list[Passage]:
        """The windows over the document's text, in order; none where the text is empty."""
        rule = WindowRule(self.max_tokens, self.overlap)
        text = document.text
        found = windows(text, 0, len(text), rule, self.token_offsets, whole=fenced_blocks(text))
        return with_columns(document, [passage(document, window.start, window.end) for window in found])


@dataclass(frozen=True, kw_only=True)
class HeadingSegmenter:
    """Sections by the document's own headings; long ones cut at paragraphs, short ones joined to what they belong to.

    Text without reliable headings is cut by size alone. A heading's line opens its passage; a heading with nothing
    below it stays with what follows. `Passage.heading` is the path of headings that it stands under, and of one that
    begins among the rows of a table what its columns are called (`table_heads.py`). Short definitions of a program are
    joined only within one that both stand in.
    """

    max_tokens: int = MAX_TOKENS  # most tokens of a passage, at least 1
    min_tokens: int = MIN_TOKENS  # a passage of fewer joins its nearest kin, if both fit max_tokens together
    token_offsets: TokenOffsets = words  # the tokens to count: those of the encoder that will read the passages

    def __post_init__(self) -> None:
        check_limits(self.max_tokens, self.min_tokens)

    def segment(self, document: Document) -> list[Passage]:
        """The document's passages, in order; none where the text is empty."""
        text = document.text
        rule, code = WindowRule(self.max_tokens, even=True), fenced_blocks(text)
        pieces = [
            Piece(window, section.path)
            for section in sections(text, headings_in(document))
            for window in windows(
                text, section.start, section.end, rule, self.token_offsets, body=section.body, whole=code
            )
        ]
        prose = language_of(document) is None  # of two functions in one passage its heading would name the first alone
        whole = join_wordless(text, pieces, self.max_tokens)
        joined = join_small(whole, self.min_tokens, self.max_tokens, strangers=prose)
        found = [passage(document, piece.window.start, piece.window.end, piece.path) for piece in joined]
        return with_columns(document, found)


@dataclass(frozen=True, kw_only=True)
class WholeSegmenter:
    """One passage a document, however long; an encoder reads no more of it than it can."""

    def segment(self, document: Document) -> list[Passage]:
        """The document's text; none where it is empty."""
        return [passage(document, 0, len(document.text))] if document.text else []


@dataclass(frozen=True, slots=True)
class Section:
    """Characters `start` to `end` of a text, from a heading to the next; `path` holds titles from the highest down."""

    start: int
    body: int  # where the text below the heading begins
    end: int
    path: Titles


@dataclass(frozen=True, slots=True)
class Piece:
    """A passage in the making: its place, its tokens, and the headings that it stands under."""

    window: Window
    path: Titles = ()

    def __add__(self, other: Piece) -> Piece:
        """The two as one, under the headings that they share; where they share none, under those of the first."""
        window = Window(self.window.start, other.window.end, self.window.tokens + other.window.tokens)
        return Piece(window, self.path[: kinship(self, other)] or self.path or other.path)


def sections(text: str, headings: Sequence[Heading]) -> list[Section]:
    """The sections of `text`, covering it; a heading with nothing below it is part of the section that follows."""
    found: list[Section] = []
    opened: list[Heading] = []
    start = body = 0
    for heading in headings:
        begin = heading.start - heading.lead
        if not _blank(text, body, begin):
            found.append(Section(start, body, begin, _path(opened)))
            start = begin
        opened = [*(above for above in opened if above.level < heading.level), heading]
        body = heading.end
    return [*found, Section(start, body, len(text), _path(opened))]


def heading_at(parts: Sequence[Section], passage: Passage | None, offset: int) -> str | None:
    """The path of headings that the character `offset` of a text stands under; `passage` is the one that holds it.

    A passage that several sections were joined to is called by what they share, or by the first: behind that one a
    section's own path is told. `parts` are the sections of the text.
    """
    own = next((one for one in parts if one.start <= offset < one.end), None)
    if passage is not None and (own is None or own.start <= passage.span.start):
        return passage.heading  # which may also say what the columns of a table are called
    return " > ".join(own.path) or None if own else None


def join_wordless(text: str, pieces: Sequence[Piece], most: int) -> list[Piece]:
    """The pieces with each that has no letter or digit (a table's rule, a line of stars) joined to the one before.

    That may double a passage of `most` tokens; but what an encoder then leaves out is that rule.
    """
    joined: list[Piece] = []
    for piece in pieces:
        if (
            joined
            and _fit(joined[-1], piece, 2 * most)
            and not _WORD.search(text, piece.window.start, piece.window.end)
        ):
            joined[-1] += piece
        else:
            joined.append(piece)
    return joined


def join_small(pieces: Sequence[Piece], least: int, most: int, *, strangers: bool = True) -> list[Piece]:
    """The pieces with each of fewer than `least` tokens joined to a neighbour, if both are at most `most` together.

    It goes to the neighbour that shares more of its headings; of two equally near ones, to the smaller. Without
    `strangers` pieces that stand under headings of which they share none stay apart.
    """

    def fit(one: Piece, other: Piece) -> bool:
        akin = strangers or kinship(one, other) or not (one.path and other.path)
        return bool(akin) and _fit(one, other, most)

    joined: list[Piece] = []
    waiting: Piece | None = None
    for piece, following in zip_longest(pieces, pieces[1:]):
        current = waiting + piece if waiting else piece
        waiting = None
        small = current.window.tokens < least
        back = joined[-1] if small and joined and fit(joined[-1], current) else None
        if small and following and fit(current, following) and (not back or _nearer(current, following, back)):
            waiting = current
        elif back:
            joined[-1] = back + current
        else:
            joined.append(current)
    return joined


def kinship(one: Piece, other: Piece) -> int:
    """How many headings, from the highest down, the two share."""
    return sum(1 for _ in takewhile(lambda pair: pair[0] == pair[1], zip(one.path, other.path, strict=False)))


def check_limits(max_tokens: int | None, min_tokens: int | None) -> None:
    """InputError unless 0 <= min_tokens <= max_tokens and 1 <= max_tokens, where None sets no limit."""
    most, least = 1 if max_tokens is None else max_tokens, min_tokens or 0
    if most < 1 or least < 0 or (max_tokens is not None and least > most):
        raise InputError(
            f"The segmenter got max_tokens {max_tokens} and min_tokens {min_tokens}; it needs max_tokens of at least 1 "
            "and 0 <= min_tokens <= max_tokens."
        )


def limited(
    document: Document,
    starts: Sequence[int],
    max_tokens: int | None,
    min_tokens: int | None,
    token_offsets: TokenOffsets,
) -> list[Passage]:
    """The passages that begin at `starts`, but for those in fenced code; long ones are cut, short ones joined, as by
    HeadingSegmenter."""
    text = document.text
    code = fenced_blocks(text)
    starts = outside(code, starts)
    stretches = [pair for pair in pairwise([*starts, len(text)]) if pair[0] < pair[1]]
    if max_tokens is None and not min_tokens:
        return with_columns(document, [passage(document, start, end) for start, end in stretches])
    most = max_tokens or UNLIMITED
    rule = WindowRule(most, even=True)
    pieces = [
        Piece(window)
        for start, end in stretches
        for window in windows(text, start, end, rule, token_offsets, whole=code)
    ]
    joined = join_small(join_wordless(text, pieces, most), min_tokens or 0, most)
    return with_columns(document, [passage(document, piece.window.start, piece.window.end) for piece in joined])


def outside(code: Offsets, starts: Sequence[int]) -> list[int]:
    """Those of the places that do not lie within a block of `code`, which is in order."""
    at = (bisect_left(code, start, key=lambda place: place[0]) - 1 for start in starts)
    return [start for n, start in zip(at, starts, strict=True) if n < 0 or start >= code[n][1]]


def passage(document: Document, start: int, end: int, path: Titles = ()) -> Passage:
    """The passage of a document from `start` to `end`."""
    return Passage(Span(document.id, start, end), document.text[start:end], " > ".join(path) or None)


def _blank(text: str, start: int, end: int) -> bool:
    return start >= end or text[start:end].isspace()


def _path(opened: Sequence[Heading]) -> Titles:
    return tuple(heading.title for heading in opened)


def _fit(one: Piece, other: Piece, most: int) -> bool:
    return one.window.tokens + other.window.tokens <= most


def _nearer(piece: Piece, following: Piece, back: Piece) -> bool:
    ahead, behind = kinship(piece, following), kinship(back, piece)
    return ahead > behind or (ahead == behind and following.window.tokens <= back.window.tokens)
