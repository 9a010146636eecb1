"""A library's passages encoded anew, by another encoder: `foveal admin encoder NAME`, `Library.encode_anew`.

    encode_anew(store, encoder, "claims")      # stopped, the same call goes on behind what it wrote last

Passages stay as they were cut, under the editions that they have, and so documents need not be added again. The new
vectors stand in a table of their own. Searches go on in the old one until the new one is whole, its indexes made: then
one commit to the settings says which table is the library's, and by which encoder it is asked. The old one goes with
the first tidying up an hour later (`Store.refresh_indexes`): searches that were under way still read it.
"""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import suppress
from typing import TYPE_CHECKING, Any

import numpy as np
import pyarrow as pa

from foveal import faults
from foveal.errors import FovealError
from foveal.retrieval import indexing, lance_indexes, tables
from foveal.retrieval.filters import literal
from foveal.retrieval.lance_indexes import chosen_index
from foveal.retrieval.storage_errors import lance_errors
from foveal.retrieval.store import INDEX_FROM, READ, Store
from foveal.types import Encoder

if TYPE_CHECKING:
    from lancedb.table import LanceTable

Progress = Callable[[int, int], None]


def encode_anew(store: Store, encoder: Encoder, name: str, *, on_progress: Progress = lambda _done, _of: None) -> int:
    """Let `encoder`, called `name`, make all vectors; how many passages were encoded by this call.

    `on_progress` is told how many passages have their new vector, and of how many. Where the vectors are this
    encoder's already nothing is done, and what was begun with another is deleted. LibraryBusy: another process writes.
    """
    with store.writing():
        settings = tables.read_settings(store.uri)
        table_name = f"{tables.PASSAGES}_{encoder.fingerprint[:16]}"
        same = settings.get("fingerprint") == encoder.fingerprint
        begun = settings.get(tables.ENCODING, "")
        if begun not in ("", table_name) or (begun and same):
            tables.drop(store.uri, [begun])
        if same:
            tables.write_settings(store.uri, {tables.ENCODING: "", "encoder": name})
            return 0
        tables.write_settings(store.uri, {tables.ENCODING: table_name})
        new = tables.open_or_create(store.uri, table_name, tables.passages_schema(encoder.dimension))
        with lance_errors(store.uri):
            encoded = _Encoding(store, new, encoder, on_progress).fill()
            index = _indexed(new, settings, encoder.dimension)
        faults.point("store.encoded-anew")
        values = {
            "encoder": name, "fingerprint": encoder.fingerprint, "dimension": str(encoder.dimension),
            tables.PASSAGES: table_name, tables.ENCODING: "", tables.ENCODED_AT: faults.now().isoformat(),
            tables.EDITIONS: settings.get(tables.EDITIONS, settings.get("fingerprint", "")), **index,
        }  # fmt: skip
        store.change_passages(values)
    return encoded


class _Encoding:
    """The way of all visible passages into the new table."""

    def __init__(self, store: Store, new: LanceTable, encoder: Encoder, on_progress: Progress) -> None:
        self._store = store
        self._new = new
        self._encoder = encoder
        self._on_progress = on_progress
        self._held: list[pa.Table] = []  # encoded, and not yet written
        self._since = time.monotonic()

    def fill(self) -> int:
        """Copy what is not there yet, with its vector; how many passages that were."""
        documents = self._store.listed("id", "passages")
        ids, counts = documents["id"].to_pylist(), documents["passages"].to_pylist()
        there = self._there()
        current = self._store.current(ids)
        gone = sorted({edition for one, edition in there if one not in current or current[one].edition != edition})
        for first in range(0, len(gone), READ):
            self._new.delete(f"edition IN ({','.join(map(literal, gone[first : first + READ]))})")
        done = {one: there[one, current[one].edition] for one in ids if one in current}
        of, ready = sum(counts), sum(done.values())
        encoded = 0
        self._on_progress(ready, of)
        try:
            for rows in self._waiting([one for one, count in zip(ids, counts, strict=True) if done[one] < count], done):
                for first in range(0, len(rows), indexing.PIECE):
                    piece = rows.slice(first, indexing.PIECE)
                    self._hold(piece, self._encoder.encode(piece["indexed"].to_pylist()))
                    encoded += len(piece)
                    self._on_progress(ready + encoded, of)
        except BaseException:
            with suppress(FovealError):  # what stopped it is to be told
                self._write()
            raise
        self._write()
        return encoded

    def _there(self) -> Counter[tuple[str, str]]:
        """Passages of the new table by document and edition: the first ones of each, in the order of the text."""
        rows = self._new.search().select(["document_id", "edition"]).limit(max(1, self._new.count_rows())).to_arrow()
        return Counter(zip(rows["document_id"].to_pylist(), rows["edition"].to_pylist(), strict=True))

    def _waiting(self, ids: list[str], done: dict[str, int]) -> Iterator[pa.Table]:
        """The visible passages of these documents that have no new vector, in the order of each text."""
        names = [name for name in self._store.passages_schema.names if name != "vector"]
        for first in range(0, len(ids), READ):
            part = ids[first : first + READ]
            current = self._store.current(part)
            pairs = " OR ".join(
                f"(document_id = {literal(one)} AND edition = {literal(now.edition)})" for one, now in current.items()
            )
            rows = self._store.passages_where(pairs, names)
            rows = rows.sort_by([("document_id", "ascending"), ("start", "ascending")])
            seen: Counter[str] = Counter()
            lacking = []
            for one in rows["document_id"].to_pylist():
                seen[one] += 1
                lacking.append(seen[one] > done[one])
            yield rows.filter(pa.array(lacking, type=pa.bool_()))

    def _hold(self, rows: pa.Table, vectors: Any) -> None:
        flat = pa.array(np.ascontiguousarray(vectors, dtype=np.float32).ravel())
        column = pa.FixedSizeListArray.from_arrays(flat, self._encoder.dimension)
        self._held.append(rows.append_column("vector", column))
        late = time.monotonic() - self._since > indexing.UNWRITTEN_S
        if late or sum(map(len, self._held)) >= indexing.BATCH:
            self._write()

    def _write(self) -> None:
        held, self._held, self._since = self._held, [], time.monotonic()  # let go first: a stop may come behind it
        if held:
            self._new.add(pa.concat_tables(held).cast(tables.passages_schema(self._encoder.dimension)))
            faults.point("store.passages-written")


def _indexed(new: LanceTable, settings: dict[str, str], dimension: int) -> dict[str, str]:
    """Make the new table's indexes; the settings that say so."""
    tables.index_words(new)
    index, rows = chosen_index(settings), new.count_rows()
    made = index.config is not None and rows >= INDEX_FROM
    if index.config is not None and made:
        new.create_index("vector", config=index.config(rows, dimension), replace=True)
    return {"vector_index_rows": str(rows if made else 0), lance_indexes.MADE: index.name}
