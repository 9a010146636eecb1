"""What people call documents of a library: an id, its beginning, a path, a folder or an address.

find(store, "reports/")          # the documents that came from there
"""

from __future__ import annotations

import re

from foveal.errors import UnknownDocument
from foveal.models.characters import one_text
from foveal.retrieval.filters import literal
from foveal.retrieval.pruning import address_of
from foveal.retrieval.rows import Entry
from foveal.retrieval.store import Store
from foveal.types import document_id

NAMED = "The id, path, folder or URL of a document"


def find(store: Store, which: str) -> list[Entry]:
    """The documents that it names. UnknownDocument: none.

    What stands just there goes first; then what came from that file or below that folder; then an id.
    """
    if not one_text(which, NAMED).strip():  # the folder of the shell, where its variable was empty
        raise UnknownDocument("Nothing was named. Give an id, a path, a folder or a URL; `foveal list` shows all.")
    address = address_of(which)
    condition = f"id = {literal(document_id(address))} OR source = {literal(address)}"
    if address.startswith("file://"):
        condition += f" OR starts_with(source, {literal(address.rstrip('/') + '/')})"
    entries = store.entries(condition)
    exact = [entry for entry in entries if entry.id == document_id(address)]
    if entries:
        return exact or entries
    if re.fullmatch(r"[0-9a-f]{6,32}", which):
        return [store.entry(which)]
    short = " An id needs its first 6 digits or more." if re.fullmatch(r"[0-9a-f]{1,5}", which) else ""
    raise UnknownDocument(f"The library holds nothing from {which}.{short} `foveal list` shows what it holds.")
