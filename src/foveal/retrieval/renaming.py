"""Another title for a document of a library: `foveal rename`, `Library.rename`.

    rename(store, store.entry("5eba7d"), "Lease of 2021")      # "" gives the document its own title back

The document becomes a new edition at once, whole: what search sees of its passages begins with the new title. Their
vectors stay, since of a passage's 200 words a title is a few, and to encode a book again takes minutes. When the source
is added again the title stays, whatever the source says by then (`Indexer`).
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from foveal.errors import InputError
from foveal.models.characters import one_text
from foveal.retrieval.filters import literal
from foveal.retrieval.indexing import Indexer, indexed_text, storable
from foveal.retrieval.rows import OWN_TITLE, Entry, Prepared, passage_rows, titled
from foveal.retrieval.store import Store
from foveal.types import Document, Passage, Span

LONGEST = 300
"""Characters of a title that is given."""


def rename(store: Store, entry: Entry, title: str) -> Entry:
    """Give a document that title, and its passages with it. InputError: it is too long, or no text.

    LibraryBusy: another process writes.
    """
    title = " ".join(one_text(title, "A title").split())
    if len(title) > LONGEST:
        raise InputError(f"A title may have {LONGEST} characters; this one has {len(title):,}. Give a shorter one.")
    with store.writing(going_on=True):
        before = store.text(entry.id)
        document = titled(_own(before), title) if title else _own(before)
        if document.title == before.title:
            return entry
        list(storable([document]))
        _replace(store, document, entry)
        store.refresh_indexes()
    return store.entry(entry.id)


def _own(document: Document) -> Document:
    """The document with the title that its source gave it."""
    metadata = dict(document.metadata)
    return replace(document, title=str(metadata.pop(OWN_TITLE, document.title)), metadata=metadata)


def _replace(store: Store, document: Document, entry: Entry) -> None:
    """Publish the document as a new edition, with the passages and vectors of the one that it replaces."""
    current = store.current([document.id])[document.id]
    condition = f"document_id = {literal(document.id)} AND edition = {literal(current.edition)}"
    names = ["start", "end", "heading", "indexed", "text_at", *(["vector"] if store.dimension else [])]
    rows = store.passages_where(condition, names).sort_by("start")
    passages = [
        Passage(Span(document.id, row["start"], row["end"]), row["indexed"][row["text_at"] :], row["heading"])
        for row in rows.drop_columns(names[5:]).to_pylist()
    ]
    vectors = None
    if store.dimension and passages:
        flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = np.asarray(flat, dtype=np.float32).reshape(len(passages), store.dimension)
    edition = Indexer(store, lambda _: (), None).edition(document)
    indexed = [indexed_text(document, passage) for passage in passages]
    if (document.id, edition) in store.begun():  # of one that was stopped: they would be there twice
        store.discard([edition])
    if passages:
        store.append([passage_rows(store.passages_schema, document, edition, passages, indexed, vectors)])
    store.publish([Prepared(document, edition, len(passages), entry.added_at)])
