"""What tools give, and the schemas of that. A place in a text is `{document_id, start, end}`: characters of the
revision beside it. A moment is ISO 8601 in UTC; a field without a value is null.

`uri` is the address of a resource of this server (resources.py); null where the text is none of the library.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import TYPE_CHECKING, Literal

from pydantic import BaseModel, Field

from foveal.types import Citation as Cited
from foveal.web.answers import where_of
from foveal.web.library_shapes import DocumentShape, HitShape, Span, told_of

if TYPE_CHECKING:  # it brings numpy and pyarrow, which no list of tools needs
    from foveal.retrieval.rows import Entry

SCHEME = "foveal"
"""Of the addresses of resources."""

MOST_TOLD = 100
"""Documents of which it is told what became of them, and as many that were skipped."""


def document_uri(
    document_id: str, start: int | None = None, end: int | None = None, revision: str | None = None
) -> str:
    """The address of a document, or of characters of it."""
    named = {"start": start, "end": end, "revision": revision[:16] if revision else None}
    asked = "&".join(f"{name}={value}" for name, value in named.items() if value is not None)
    return f"{SCHEME}://library/{document_id}" + (f"?{asked}" if asked else "")


def paper_uri(paper_id: str) -> str:
    """The address of a paper."""
    return f"{SCHEME}://papers/{paper_id}"


class Hit(HitShape):
    """A passage that a search found, the best first."""

    uri: str


class Hits(BaseModel):
    """What a search found; `note` says what a ranker had no time for, or what was going on."""

    hits: list[Hit]
    note: str


class Document(DocumentShape):
    """A document of the library, without its text."""

    uri: str

    @classmethod
    def of(cls, entry: Entry) -> Document:
        """That of the library."""
        return cls(**told_of(entry), uri=document_uri(entry.id))


class Documents(BaseModel):
    """A page of the library's documents, the newest first; `next` is the number of the page behind it."""

    documents: list[Document]
    count: int = Field(description="Of all pages.")
    next: int | None


class Text(BaseModel):
    """Characters of a document; `next` is where what was asked for goes on."""

    id: str
    revision: str
    title: str
    start: int
    end: int
    characters: int = Field(description="Of the whole text.")
    page: int | None = Field(description="That of the first character; null without pages.")
    text: str
    next: int | None
    uri: str


class Heading(BaseModel):
    """A heading; level 1 is the highest."""

    title: str
    level: int
    start: int
    page: int | None


class Outline(BaseModel):
    """Headings of a document, in order; `next` is the number of the heading behind them."""

    id: str
    revision: str
    title: str
    characters: int
    pages: int
    headings: list[Heading]
    count: int = Field(description="Of all headings.")
    next: int | None


class Citation(BaseModel):
    """A place that an answer names by its number: [2]. The quote is exactly what stands there."""

    number: int
    span: Span
    revision: str | None
    quote: str
    title: str
    where: str
    url: str | None
    uri: str | None

    @classmethod
    def of(
        cls, number: int, one: Cited, *, pages: Sequence[int] = (), heading: str | None = None, held: bool = True
    ) -> Citation:
        """That of an answer; `held`: the library holds its text."""
        span = one.span
        return cls(
            number=number,
            span=Span.of(span),
            revision=one.revision,
            quote=one.quote,
            title=one.title,
            where=where_of(pages, heading, one.title, span),
            url=one.url,
            uri=document_uri(span.document_id, span.start, span.end, one.revision) if held else None,
        )


class Answer(BaseModel):
    """What came of a question; `found` is false where the texts do not hold the answer."""

    text: str
    found: bool
    unsupported: list[str] = Field(description="Sentences of the answer that nothing bears out.")
    citations: list[Citation]
    seconds: float | None
    note: str = Field(default="", description="What is missing, and why.")


class Paper(BaseModel):
    """A paper."""

    id: str
    title: str
    abstract: str
    authors: list[str]
    organisation: str
    categories: list[str]
    published_at: datetime | None
    listed_on: str | None = Field(description="The first day that showed it.")
    votes: int
    comments: int
    summary: str = Field(description="One sentence, by a model or a rule; empty without one.")
    keywords: list[str]
    withdrawn: bool
    url: str
    pdf_url: str
    repo_url: str
    uri: str


class Papers(BaseModel):
    """Papers, the best or the newest first; `next` is the number of the page behind them."""

    papers: list[Paper]
    period: str | None = Field(description="The day, week or month that they are of.")
    count: int | None = Field(description="Of all pages; null where nobody counted.")
    next: int | None
    note: str


class Became(BaseModel):
    """What became of one document, or of a source that gave none."""

    name: str
    state: Literal["added", "updated", "unchanged", "skipped"]
    id: str | None = Field(description="Of the (first) document.")
    said: str = Field(description="Why it was skipped.")


class Added(BaseModel):
    """What became of all that was given: how many documents, and the first of them."""

    added: int
    updated: int
    unchanged: int
    skipped: int
    became: list[Became]


class Removed(BaseModel):
    """A document that was taken out; its source stays as it is."""

    id: str
    title: str
