"""Names of a library's passages, and their rows by name: what indexes beside Lance's own go by.

A name is "start:edition:document", so that a passage whose document was changed has another one. Names of a whole
library stay in Arrow: a million are joined and compared in seconds, and no row of them becomes a Python object.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pyarrow.compute as pc

from foveal.retrieval.filters import literal
from foveal.retrieval.rows import FOUND
from foveal.retrieval.storage_errors import lance_errors
from foveal.retrieval.store import Store
from foveal.retrieval.store_search import filtered

Name = str
"""A passage: start, edition and document, with colons between."""

TEXT = pa.large_string()

LOOKED_UP = 200
"""Passages that are fetched by one query."""


def visible_names(store: Store) -> pa.LargeStringArray:
    """The names of all visible passages."""
    with lance_errors(store.uri):
        documents, count = store._documents, store._documents.count_rows()
        passages = _places(store, None)  # first: a document that comes meanwhile is seen at the next look
        shown = documents.search().select(["id", "edition"]).limit(max(1, count)).to_arrow()
    current = _joined(shown["edition"], shown["id"])
    visible = pc.is_in(_joined(passages["edition"], passages["document_id"]), value_set=current)
    return _names(passages.filter(visible))


def stored_names(store: Store, where: str) -> pa.LargeStringArray:
    """The names of all passages, visible or not, of which `where` (SQL) holds."""
    with lance_errors(store.uri):
        return _names(_places(store, where))


def passages_called(store: Store, names: Sequence[Name]) -> dict[Name, dict[str, Any]]:
    """Name -> its row, for those that are there."""
    found: dict[Name, dict[str, Any]] = {}
    for first in range(0, len(names), LOOKED_UP):
        group = names[first : first + LOOKED_UP]
        parts = [name.split(":", 2) for name in group]
        documents = ",".join(literal(one) for one in dict.fromkeys(document for _, _, document in parts))
        starts = ",".join(dict.fromkeys(start for start, _, _ in parts))
        with lance_errors(store.uri):
            builder = store._passages.search().where(f"document_id IN ({documents}) AND start IN ({starts})")
            rows = builder.select(FOUND).limit(max(1, store._passages.count_rows())).to_arrow().to_pylist()
        wanted = set(group)
        found |= {name: row for row in rows if (name := _name(row)) in wanted}
    return found


def edition_of(name: Name) -> str:
    """The edition that a name has in it."""
    return name.split(":", 2)[1]


def _places(store: Store, where: str | None) -> pa.Table:
    table = store._passages
    builder = filtered(table.search().select(["document_id", "edition", "start"]), where)
    return builder.limit(max(1, table.count_rows())).to_arrow()


def _names(places: pa.Table) -> pa.LargeStringArray:
    return pc.unique(_joined(places["start"], places["edition"], places["document_id"]))


def _joined(*columns: pa.ChunkedArray) -> pa.ChunkedArray:
    return pc.binary_join_element_wise(*(column.cast(TEXT) for column in columns), pa.scalar(":", TEXT))


def _name(row: Mapping[str, Any]) -> Name:
    return f"{row['start']}:{row['edition']}:{row['document_id']}"
