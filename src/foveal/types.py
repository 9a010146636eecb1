"""The words that every part of Foveal shares: documents, spans, passages, hits, answers, and the protocols.

A document's text is fixed when it is added. All that is found in it is a `Span`, in characters of that text, and
`document.text[span.start:span.end]` is exactly what is shown.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_right
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, Protocol, runtime_checkable

from foveal.errors import InputError

if TYPE_CHECKING:
    import numpy as np

Scalar = str | int | float | bool
"""A value of a document's metadata."""

PRINTED_PAGES = "printed_pages"
"""In a document's metadata, where its pages have other numbers printed on them than their own."""


def document_id(address: str) -> str:
    """The id of the document at `address` (a URL, `file://` URI, `arxiv:ID`, ...): 32 hexadecimal digits."""
    return hashlib.sha256(address.encode("utf-8", "surrogatepass")).hexdigest()[:32]


def revision_of(text: str) -> str:
    """SHA-256 of the text, in hexadecimal: two documents with the same revision read the same."""
    return hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()


@dataclass(frozen=True, slots=True)
class Span:
    """Characters `start` (included) to `end` (excluded) of one document's text."""

    document_id: str
    start: int
    end: int

    def __post_init__(self) -> None:
        if not 0 <= self.start <= self.end:
            raise InputError(f"A span got start {self.start} and end {self.end}; it needs 0 <= start <= end.")

    def __len__(self) -> int:
        return self.end - self.start


class Pages(tuple[int, ...]):
    """The character at which each page begins, and what is printed on them (text/printed_pages.py)."""

    printed: str

    def __new__(cls, starts: Iterable[int] = (), printed: str = "") -> Pages:
        """`printed` in runs: "1=i; 13=1"; "" where it is the page's own number."""
        made = super().__new__(cls, starts)
        made.printed = printed
        return made

    @classmethod
    def of(cls, starts: Iterable[int], metadata: Mapping[str, object]) -> Pages:
        """Those of a text whose metadata may say what is printed on them."""
        return cls(starts, str(metadata.get(PRINTED_PAGES) or ""))


@dataclass(frozen=True, slots=True)
class Document:
    """A text with its address and origin.

    `pages` holds the character offset at which each page begins (empty where the source has no pages), and knows what
    is printed on them where `metadata` says so;
    `published_at` is an aware datetime; `metadata` holds plain values only.
    """

    id: str
    revision: str
    text: str
    title: str
    url: str | None = None
    published_at: datetime | None = None
    pages: tuple[int, ...] = ()
    metadata: Mapping[str, Scalar] = field(default_factory=dict)

    def __post_init__(self) -> None:
        if self.metadata.get(PRINTED_PAGES):
            object.__setattr__(self, "pages", Pages.of(self.pages, self.metadata))

    @classmethod
    def of(cls, address: str, text: str, title: str, **origin: object) -> Document:
        """The document read from `address`; `origin` is any of url, published_at, pages, metadata."""
        return cls(document_id(address), revision_of(text), text, title, **origin)  # type: ignore[arg-type]

    def quote(self, span: Span) -> str:
        """The characters of `span`, which must lie in this document."""
        if span.document_id != self.id or span.end > len(self.text):
            raise InputError(
                f"{span} does not lie in document {self.id} of {len(self.text)} characters; "
                "look its own document up with Library.get(span.document_id)."
            )
        return self.text[span.start : span.end]

    def page(self, offset: int) -> int | None:
        """The page, counted from 1, that holds the character at `offset`; None where there are no pages."""
        return page_at(self.pages, offset)


def page_at(pages: Sequence[int], offset: int) -> int | None:
    """The page, counted from 1, of the character at `offset`, given where each page begins."""
    return max(1, bisect_right(pages, offset)) if pages else None


@dataclass(frozen=True, slots=True)
class Passage:
    """A piece of a document: its place, exactly its text, and the heading path it stands under (joined by " > ")."""

    span: Span
    text: str
    heading: str | None = None


@dataclass(frozen=True, slots=True)
class Hit:
    """A passage that was found; `source` names the retriever or ranker that gave the score (higher is better).

    `revision` is that of the document's text when it was found: `Library.get(id, revision=…)` gives just this text.
    `via` are the passages by way of which a search in hops found it, one of each hop before.
    """

    passage: Passage
    score: float
    source: str
    revision: str | None = None
    via: tuple[Span, ...] = ()

    @classmethod
    def of(cls, text: str, name: str | None = None) -> Hit:
        """A text of one's own, for a ranker to order; `name` is its document's id (None: made from the text).

        Its score is 0 and its source "given".
        """
        return cls(Passage(Span(revision_of(text)[:32] if name is None else name, 0, len(text)), text), 0.0, "given")


def require_hits(given: Sequence[Hit]) -> Sequence[Hit]:
    """What a ranker was given. InputError: a plain text is among it, or it is one."""
    told: Sequence[object] = given  # by whom no type checker helps
    texts = [told] if isinstance(told, str) else [one for one in told if isinstance(one, str)]
    if texts:
        raise InputError(
            f"A ranker got the text {texts[0][:60]!r}, and orders hits, which have a place. Make them of your texts: "
            "[Hit.of(text) for text in texts] (from foveal import Hit)."
        )
    return given


@dataclass(frozen=True, slots=True)
class Citation:
    """A place that supports an answer; `quote` is exactly the characters of `span` in the text of `revision`."""

    span: Span
    quote: str
    title: str
    url: str | None = None
    revision: str | None = None


@dataclass(frozen=True, slots=True)
class Answer:
    """An answer with the places that support it; `confidence` lies in 0 to 1, None where it was not estimated."""

    text: str
    citations: tuple[Citation, ...] = ()
    confidence: float | None = None


@runtime_checkable
class Encoder(Protocol):
    """Texts to unit vectors, for search by meaning."""

    name: str
    dimension: int
    max_tokens: int
    """Tokens of a text that reach its vector, the two special ones included; the rest is cut off."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would get another vector: vectors of two fingerprints are never compared."""
        ...

    def encode(self, texts: Sequence[str]) -> np.ndarray:
        """Vectors (len(texts), dimension), float32, of unit length, in the order given."""
        ...

    def token_offsets(self, text: str) -> list[tuple[int, int]]:
        """Start and end character of each token of `text`, uncut, without special tokens."""
        ...


class Segmenter(Protocol):
    """Cuts a document into passages that cover its text from 0 to len(text), in order, without gaps."""

    def segment(self, document: Document) -> list[Passage]: ...


class Retriever(Protocol):
    """Finds candidates in a collection: for each query at most `k` hits, best first."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]: ...


class Ranker(Protocol):
    """Orders candidates anew, best first: hits of a search, or texts of one's own (`Hit.of`)."""

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]: ...


class Reader(Protocol):
    """Answers a question from one document."""

    def read(self, document: Document, question: str) -> Answer: ...
