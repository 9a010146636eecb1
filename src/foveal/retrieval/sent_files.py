"""Files that were sent to a home, HOME/uploads/HASH/NAME: known by the hash of their bytes wherever the home lies.

    known_again(documents, store, home)      # those that the library holds from where the home lay before
    documents_at(store, address)             # what a source gave, also then

A document's id is the hash of its address, which begins with the home's path. A file elsewhere may be another one when
its path is; of a sent one HASH says that it is the same. So it goes on under the id and address that it has.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator
from dataclasses import replace
from pathlib import Path

from foveal.retrieval.filters import literal
from foveal.retrieval.rows import Entry
from foveal.retrieval.store import Store
from foveal.text.files import file_address
from foveal.types import Document, document_id

UPLOADS, DIGITS = "uploads", 20
"""The folder in the home, and how many digits of a file's hash name its own folder there."""

_PLACE = re.compile(rf"file://.*(/{UPLOADS}/[0-9a-f]{{{DIGITS}}}/[^/#]+)")


def known_again(documents: Iterable[Document], store: Store, home: Path) -> Iterator[Document]:
    """The documents; one of a file sent to this home has the id under which it came to the home's former place."""
    sent = f"{file_address(home / UPLOADS)}/"
    for document in documents:
        address = str(document.metadata.get("source", ""))
        if address.startswith(sent) and document.id == document_id(address):
            before = documents_at(store, address)
            if before and before[0].id != document.id:
                source = {"source": before[0].source}
                document = replace(document, id=before[0].id, metadata={**document.metadata, **source})
        yield document


def documents_at(store: Store, address: str) -> list[Entry]:
    """The documents that a source gave; of a sent file that has none, what it gave where the home lay before.

    A page of the web may be called as a sent file is, and hold anything.
    """
    found = store.entries(f"id = {literal(document_id(address))} OR source = {literal(address)}")
    place = _PLACE.fullmatch(address)
    if found or not place:
        return found
    return store.entries(f"starts_with(source, 'file://') AND ends_with(source, {literal(place[1])})")
