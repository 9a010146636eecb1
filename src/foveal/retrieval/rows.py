"""Rows of the store's tables and the values they stand for: documents, passages that were found, what is visible."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any, NamedTuple

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foveal import faults
from foveal.errors import LibraryCorrupt
from foveal.text.markdown import behind_front_matter
from foveal.types import PRINTED_PAGES, Document, Hit, Pages, Passage, Scalar, Span, revision_of

PLACES = ["document_id", "edition", "start", "end", "heading"]
"""Columns of a passage that say where it is."""

FOUND = [*PLACES, "indexed"]
"""Columns of a passage that a search asks for: reading the texts is a third of its work. `text_at`, which would take as
long again, follows from the passage's length: its text ends what is indexed."""


OWN_TITLE = "own_title"
"""In the metadata of a document that was renamed: the title that its source gave it."""


@dataclass(frozen=True, slots=True)
class Entry:
    """A document of the library, without its text. `source` is the file, page or folder that it came from."""

    id: str
    revision: str
    title: str
    url: str | None
    source: str
    published_at: datetime | None
    pages: tuple[int, ...]
    metadata: Mapping[str, Scalar]
    characters: int
    passages: int
    added_at: datetime

    def __post_init__(self) -> None:
        if self.metadata.get(PRINTED_PAGES):
            object.__setattr__(self, "pages", Pages.of(self.pages, self.metadata))


@dataclass(frozen=True)
class Stats:
    """The size of a library; `bytes` is what its files take (on an object store: those of the present version)."""

    home: str
    documents: int
    passages: int
    revisions: int
    bytes: int
    encoder: str
    segmenter: str
    schema: int
    ranker: str = ""  # that orders its searches; "": none


@dataclass(frozen=True, slots=True)
class Found:
    """A passage that a search found, the engine's score (BM25, or the cosine), and the revision it was found in."""

    passage: Passage
    score: float
    revision: str


class Current(NamedTuple):
    """What of a document is visible."""

    edition: str
    revision: str


@dataclass(frozen=True)
class Prepared:
    """A document ready to be published: its passages are in the store under `edition`."""

    document: Document
    edition: str
    passages: int
    added_at: datetime | None = None  # None: now


def hits(found: Sequence[Found], source: str) -> list[Hit]:
    """What a search found, as hits of the retriever `source`."""
    return [Hit(one.passage, one.score, source, one.revision) for one in found]


def documents_of(found: Sequence[Hit]) -> list[str]:
    """Ids of the documents that hits stand in, and of those by way of which they were found."""
    spans = (span for hit in found for span in (hit.passage.span, *hit.via))
    return list(dict.fromkeys(span.document_id for span in spans))


def way_to(hit: Hit, entries: Mapping[str, Entry]) -> list[tuple[Span, Entry]]:
    """The passages by way of which a hit was found, with their documents; without those that are gone."""
    return [(span, entries[span.document_id]) for span in hit.via if span.document_id in entries]


def shown_from(hit: Hit, entry: Entry) -> int:
    """Where what a hit shows may begin in its passage: behind a note's front matter (its title is told)."""
    at_head = hit.passage.span.start == 0 and entry.metadata.get("kind") == "markdown"
    return behind_front_matter(hit.passage.text) if at_head else 0


def found_in(row: Mapping[str, Any], score: str, revision: str) -> Found:
    span = Span(row["document_id"], row["start"], row["end"])
    text = row["indexed"][len(row["indexed"]) - len(span) :] if "indexed" in row else ""
    passage = Passage(span, text, row["heading"])
    return Found(passage, row[score] if score == "_score" else 1.0 - row[score], revision)


def records(table: pa.Table) -> list[dict[str, Any]]:
    """The rows of a table of documents. A date beyond Python's calendar is none: earlier versions stored some."""
    place = table.schema.get_field_index("published_at")
    if place >= 0:
        dates, field = table.column(place), table.schema.field(place)
        first, last = (pa.scalar(end.replace(tzinfo=UTC), field.type) for end in (datetime.min, datetime.max))
        known = pc.and_(pc.greater_equal(dates, first), pc.less_equal(dates, last))
        table = table.set_column(place, field, pc.if_else(known, dates, pa.scalar(None, field.type)))
    rows: list[dict[str, Any]] = table.to_pylist()
    return rows


def entry_of(row: Mapping[str, Any]) -> Entry:
    values = {name: row[name] for name in Entry.__dataclass_fields__}
    return Entry(**(values | {"pages": tuple(row["pages"] or ()), "metadata": _metadata(row)}))


def document_of(row: Mapping[str, Any]) -> Document:
    """The document of a row. LibraryCorrupt: its text is not the one that was stored."""
    if revision_of(row["text"]) != row["revision"]:
        raise LibraryCorrupt(
            f"The text of {row['title'][:80]!r} ({row['id']}) is not what was stored: a file is damaged. "
            "Put the library back from a copy, or add that source again."
        )
    return Document(
        id=row["id"],
        revision=row["revision"],
        text=row["text"],
        title=row["title"],
        url=row["url"],
        published_at=row["published_at"],
        pages=tuple(row["pages"] or ()),
        metadata=_metadata(row),
    )


def _metadata(row: Mapping[str, Any]) -> dict[str, Scalar]:
    """What is known; of numbers that are none, or too large, earlier versions stored nothing under their names."""
    return {key: value for key, value in json.loads(row["metadata"]).items() if value is not None}


def row_of(prepared: Prepared) -> dict[str, Any]:
    document = prepared.document
    return {
        "id": document.id,
        "revision": document.revision,
        "edition": prepared.edition,
        "title": document.title,
        "url": document.url,
        "source": source_of(document),
        "published_at": document.published_at,
        "pages": list(document.pages),
        "metadata": as_json(document.metadata),
        "text": document.text,
        "characters": len(document.text),
        "passages": prepared.passages,
        "added_at": prepared.added_at or faults.now(),
    }


def titled(document: Document, title: str) -> Document:
    """The document under a title that a person gave it; its own is kept beside."""
    return replace(document, title=title, metadata={**document.metadata, OWN_TITLE: document.title})


def as_json(metadata: Mapping[str, Scalar]) -> str:
    return json.dumps(dict(metadata), ensure_ascii=False, sort_keys=True)


def plain(schema: pa.Schema) -> pa.Schema:
    """The same columns with JSON as strings, which is how Python values become a table."""
    fields = [pa.field(f.name, pa.string()) if f.name == "metadata" else f for f in schema]
    return pa.schema(fields)


def passage_rows(
    schema: pa.Schema,
    document: Document,
    edition: str,
    passages: Sequence[Passage],
    indexed: Sequence[str],
    vectors: np.ndarray | None,
) -> pa.Table:
    """Rows for `Store.append`: each text of `indexed` ends with its passage's; `vectors` (n, dimension), or None."""
    n = len(passages)
    columns: dict[str, Any] = {
        "document_id": [document.id] * n,
        "edition": [edition] * n,
        "start": [passage.span.start for passage in passages],
        "end": [passage.span.end for passage in passages],
        "page": [document.page(passage.span.start) for passage in passages],
        "heading": [passage.heading for passage in passages],
        "title": [document.title] * n,
        "url": [document.url] * n,
        "source": [source_of(document)] * n,
        "published_at": [document.published_at] * n,
        "metadata": pa.array([as_json(document.metadata)] * n, type=pa.json_()),
        "indexed": list(indexed),
        "text_at": [len(text) - len(passage.text) for text, passage in zip(indexed, passages, strict=True)],
    }
    if vectors is not None:
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
        columns["vector"] = pa.FixedSizeListArray.from_arrays(flat, vectors.shape[1])
    return pa.table(columns, schema=schema)


def source_of(document: Document) -> str:
    """The address of the file, page or folder that a document came from."""
    return str(document.metadata.get("source", document.url or ""))
