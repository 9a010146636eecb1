"""What the API and assistants' tools tell alike of the library: a place, a hit, a document.

    class Hit(HitShape): page: str                      # the API's: a page
    class Hit(HitShape): uri: str                       # a tool's: a resource

Each adds where it is shown. Nothing of the store is imported: a list of tools needs none.
"""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from pydantic import BaseModel, ConfigDict, Field

from foveal.types import Span as Place
from foveal.web.answers import author_of

if TYPE_CHECKING:
    from foveal.retrieval.rows import Entry


class Span(BaseModel):
    """A place in the text of a revision."""

    model_config = ConfigDict(frozen=True)

    document_id: str
    start: int
    end: int

    @classmethod
    def of(cls, span: Place) -> Span:
        """That of the library."""
        return cls(document_id=span.document_id, start=span.start, end=span.end)


class Way(BaseModel):
    """A passage by way of which a search in hops found another one."""

    model_config = ConfigDict(frozen=True)

    span: Span
    title: str

    @classmethod
    def of(cls, span: Place, title: str) -> Way:
        """The passage at `span` of a document of that title."""
        return cls(span=Span.of(span), title=title)


class HitShape(BaseModel):
    """A passage that a search found."""

    span: Span
    revision: str
    text: str
    title: str
    where: str = Field(description="Page and heading: 'page 3 · Methods'.")
    score: float
    source: str = Field(description="What gave the score.")
    via: list[Way] = Field(description="Of multi-hop: the passages by way of which it was found, in order.")


class DocumentShape(BaseModel):
    """A document of the library, without its text."""

    id: str
    revision: str
    title: str
    url: str | None
    kind: str
    author: str
    published_at: datetime | None
    added_at: datetime
    pages: int
    characters: int
    passages: int


def told_of(entry: Entry) -> Mapping[str, Any]:
    """The fields of a `DocumentShape`."""
    return {
        "id": entry.id,
        "revision": entry.revision,
        "title": entry.title,
        "url": entry.url,
        "kind": str(entry.metadata.get("kind", "text")),
        "author": author_of(entry.metadata),
        "published_at": entry.published_at,
        "added_at": entry.added_at,
        "pages": len(entry.pages),
        "characters": entry.characters,
        "passages": entry.passages,
    }
