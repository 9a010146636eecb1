"""Answers for pages: the words with their citations as links, and each cited place with page and heading."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from markupsafe import Markup

from foveal.text.printed_pages import pages_said
from foveal.text.table_cells import CELLS_APART
from foveal.text.table_heads import BETWEEN
from foveal.types import Citation, Span
from foveal.web.document_text import Place, place_address

_NUMBER = re.compile(  # as `reading.answering` writes them; a text's own "a[1]" is none
    r"(?:(?<=[.!?…。！？”\"'’»)\]]) | (?=\[\d{1,3}\]\s*(?:\n|\Z))|(?<![^\s(*“\"]))"
    r"\[(\d{1,3})\](?=[\s,.;:!?)\]'’”\"*–—，。、；：]|\Z)"
)
"""The blank before one goes where it stands behind a sentence, and stays where it is a word of it."""

_CODE = re.compile(r"`([^`\n]+)`")


@dataclass(frozen=True, slots=True)
class Cited:
    """A place that an answer, or a search, points to."""

    number: int
    quote: str
    title: str
    where: str  # "page 3 · Methods"; "" where neither is known
    address: str


def pieces(text: str, citations: int) -> Iterator[tuple[str, int | None]]:
    """The text of an answer in pieces: words, and the numbers of citations that there are."""
    at = 0
    for found in _NUMBER.finditer(text):
        if 1 <= int(found[1]) <= citations:
            yield text[at : found.start()], None
            yield "", int(found[1])
            at = found.end()
    yield text[at:], None


def coded(words: str) -> Markup:
    """Words of a model as HTML: what stands between backticks as code, and all else as it is."""
    parts = _CODE.split(words)
    return Markup("").join(
        Markup("<code>{}</code>").format(part) if n % 2 else Markup.escape(part) for n, part in enumerate(parts)
    )


def cited(number: int, citation: Citation, pages: Sequence[int], places: Sequence[Place]) -> Cited:
    """A citation with its page and the heading of the passage that it stands in."""
    span = citation.span
    where = where_of(pages, heading_at(places, span.start), citation.title, span)
    address = place_address(span.document_id, span.start, span.end, citation.revision)
    return Cited(number, citation.quote, citation.title, where, address)


def heading_at(places: Sequence[Place], offset: int) -> str | None:
    """The heading of the passage at `offset`."""
    return next((heading for start, end, heading in places if start <= offset < end), None)


def where_of(pages: Sequence[int], heading: str | None, title: str, span: Span) -> str:
    """A place in words: "page 3 · Methods > Data"; columns of a table with dots between them, too."""
    below = "" if heading == title else (heading or "").removeprefix(f"{title} > ").replace(BETWEEN, CELLS_APART)
    return " · ".join(part for part in (pages_said(pages, span), below) if part)


def author_of(metadata: Mapping[str, object], most: int = 120) -> str:
    """Who wrote a document, or sent it, as its metadata has it; "" where it does not say."""
    author = metadata.get("author")
    return one_line(author, most) if isinstance(author, str) else ""


def one_line(text: str, most: int = 240) -> str:
    """A text in one line of at most `most` characters."""
    line = " ".join(text.split())
    return line if len(line) <= most else f"{line[: most - 1].rstrip()}…"
