"""One store for a library's texts, passages and vectors, over the Lance tables of `tables.py`.

Store.open(uri)                       read; other processes may read and one may write meanwhile
with store.writing(): …               the one writer: append, publish, remove, refresh_indexes
store.lexical(query, k, where)        and the other searches of `StoreSearch` (store_search.py)
store.text(document_id)               and the other reads: entries, revisions, places, vectors
store.use_index(name)                 choose that index (`lance_indexes.INDEXES`; inside `writing`)
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from datetime import timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foveal import faults
from foveal.errors import UnknownDocument
from foveal.retrieval import lance_indexes, tables
from foveal.retrieval.filters import literal
from foveal.retrieval.lance_indexes import chosen_index, lance_index
from foveal.retrieval.lease import Right, clean
from foveal.retrieval.rows import Current, Entry, Prepared, document_of, entry_of, plain, records, row_of
from foveal.retrieval.storage_errors import lance_errors
from foveal.retrieval.store_search import LOOKED_UP, StoreSearch, filtered
from foveal.types import Document, Encoder, Span

if TYPE_CHECKING:
    from lancedb.table import LanceTable

INDEX_FROM = 5_000
"""Passages from which vectors get an index: below, an exact scan is about as fast."""

RETRAIN_AT = 3
"""The vector index is trained anew once the passages are this many times what it was trained on."""

KEPT_VERSIONS = timedelta(hours=1)
"""Versions of a table older than this go when indexes are refreshed: no reader needs one that long."""

SAMPLED, RUNS = 4_096, 16
"""Documents that stand for all in `sample`, and the runs of neighbours that they are taken in."""

READ = 100
"""Documents whose texts are read together."""

KEPT_BY_COMPACT = timedelta(minutes=1)
"""The same for `compact`: a search that is under way still finds the version that it began with."""


class Collection(Protocol):
    """What a retriever may be built over (a `Library` is one)."""

    store: Store

    @property
    def encoder(self) -> Encoder: ...


class Store(StoreSearch):
    """The tables of one library."""

    def __init__(self, uri: str, settings: Mapping[str, str]) -> None:
        super().__init__(uri, settings)
        self._right = Right(uri)
        self._left = False  # whether an earlier writer's unfinished work is there

    @classmethod
    def open(cls, uri: str) -> Store:
        """The library at `uri`, brought to today's schema. LibraryError: it is not one, or cannot be read."""
        tables.migrate(uri)
        return cls(uri, tables.read_settings(uri))

    @property
    def passages_schema(self) -> pa.Schema:
        """The columns of the passages."""
        return tables.passages_schema(self.dimension)

    @property
    def _revisions(self) -> LanceTable:
        return self._tables.now().revisions

    # -- reading ------------------------------------------------------------------------------------------------

    def entry(self, document_id: str) -> Entry:
        """The document of that id, or of the only id that begins so. UnknownDocument: none, or several."""
        condition = f"id = {literal(document_id)}"
        if len(document_id) < 32:
            condition = f"id >= {literal(document_id)} AND id < {literal(document_id + 'g')}"
        found = self.entries(condition, limit=2)
        if len(found) != 1:
            said = "Several documents have ids that begin with" if found else "No document has the id"
            raise UnknownDocument(f"{said} {document_id}. `foveal list` shows them all.")
        return found[0]

    def entries(self, condition: str | None = None, *, limit: int | None = None) -> list[Entry]:
        """The documents for which the SQL `condition` holds, in the order in which they were added."""
        columns = [name for name in tables.DOCUMENTS.names if name not in ("text", "edition")]
        with lance_errors(self.uri):
            builder = filtered(self._documents.search().select(columns), condition)
            rows = records(builder.limit(limit or max(1, self._documents.count_rows())).to_arrow())
        return sorted((entry_of(row) for row in rows), key=lambda entry: (entry.added_at, entry.source, entry.id))

    def listed(self, *columns: str) -> pa.Table:
        """These columns of all documents, in the order in which they were added. Far cheaper than `entries`."""
        order = ("added_at", "source", "id")
        with lance_errors(self.uri):
            builder = self._documents.search().select(list(dict.fromkeys((*columns, *order))))
            found = builder.limit(max(1, self._documents.count_rows())).to_arrow()
        return found.sort_by([(name, "ascending") for name in order]).select(list(columns))

    def sample(self, column: str) -> list[Any]:
        """That column of all documents, or of `SAMPLED` where these are more: some from each part of the table."""
        with lance_errors(self.uri):
            count = self._documents.count_rows()
            if count <= SAMPLED:
                found = self._documents.search().select([column]).limit(max(1, count)).to_arrow()
            else:
                run = SAMPLED // RUNS
                starts = np.linspace(0, count - run, RUNS, dtype=np.int64)
                places = (starts[:, None] + np.arange(run)).ravel().tolist()
                found = self._documents.take_offsets(places).select([column]).to_arrow()
        values: list[Any] = found[column].to_pylist()
        return values

    def sources(self) -> dict[str, str]:
        """Document -> source, of every document. Far cheaper than `entries`, and lets other threads go on."""
        with lance_errors(self.uri):
            builder = self._documents.search().select(["id", "source"])
            rows = builder.limit(max(1, self._documents.count_rows())).to_arrow()
        return dict(zip(rows["id"].to_pylist(), rows["source"].to_pylist(), strict=True))

    def text(self, document_id: str, revision: str | None = None) -> Document:
        """The whole document; with `revision` (a hash, or its beginning), that one, though it was replaced since."""
        own = condition = f"id = {literal(document_id)}"
        if revision:
            condition += f" AND starts_with(revision, {literal(revision)})"
        with lance_errors(self.uri):
            rows = records(self._documents.search().where(condition).limit(1).to_arrow())
            if not rows and revision and self._documents.count_rows(own):  # of a removed one a kill may leave some
                rows = records(self._revisions.search().where(condition).limit(1).to_arrow())
        if rows:
            return document_of(rows[0])
        if revision:
            there = ", ".join(known[:12] for known in self.revisions(document_id)) or "none"
            raise UnknownDocument(f"{document_id} has no revision {revision[:12]}. Its revisions: {there}.")
        raise UnknownDocument(f"No document has the id {document_id}. `foveal list` shows them all.")

    def texts(self) -> Iterator[Document]:
        """All documents, whole, in the order in which they were added; `READ` at a time, which is far cheaper than one
        by one.
        """
        ids = self.listed("id")["id"].to_pylist()
        for first in range(0, len(ids), READ):
            part = ids[first : first + READ]
            with lance_errors(self.uri):
                found = self._documents.search().where(f"id IN ({','.join(map(literal, part))})").limit(len(part))
                rows = {row["id"]: row for row in records(found.to_arrow())}
            yield from (document_of(rows[one]) for one in part if one in rows)

    def revisions(self, document_id: str) -> list[str]:
        """The hashes of a document's texts: today's, then those that were replaced, the last first."""
        condition = f"id = {literal(document_id)}"
        with lance_errors(self.uri):
            rows: list[dict[str, Any]] = []
            for table in (self._documents, self._revisions):
                builder = table.search().where(condition).select(["revision", "added_at"]).limit(10_000)
                rows += sorted(builder.to_arrow().to_pylist(), key=lambda row: row["added_at"], reverse=True)
                if not rows:  # it was removed: what a kill left of it is to be deleted
                    break
        return list(dict.fromkeys(row["revision"] for row in rows))

    def places(self, document_id: str) -> list[tuple[int, int, str | None]]:
        """Start, end and heading of each visible passage of a document, in the order of its text."""
        current = self.current([document_id]).get(document_id)
        if current is None:
            return []
        condition = f"document_id = {literal(document_id)} AND edition = {literal(current.edition)}"
        rows = self.passages_where(condition, ["start", "end", "heading"]).to_pylist()
        return sorted((row["start"], row["end"], row["heading"]) for row in rows)

    def counts(self) -> dict[str, int]:
        """Documents, passages (those of documents being written included) and replaced revisions."""
        with lance_errors(self.uri):
            return {
                "documents": self._documents.count_rows(),
                "passages": self._passages.count_rows(),
                "revisions": self._revisions.count_rows(),
            }

    def passages_where(self, condition: str, columns: Sequence[str]) -> pa.Table:
        """These columns of the passages for which the SQL `condition` holds."""
        with lance_errors(self.uri):
            builder = self._passages.search().where(condition).select(list(columns))
            return builder.limit(max(1, self._passages.count_rows())).to_arrow()

    def visible_passages(self) -> int:
        """Passages of the documents that are there: without those that are being written, or that a kill left."""
        with lance_errors(self.uri):
            column = self._documents.search().select(["passages"]).limit(max(1, self._documents.count_rows()))
            return int(pc.sum(column.to_arrow()["passages"]).as_py() or 0)

    def bytes(self) -> int:
        """What the library takes: its files, or on an object store those of the present version of its tables."""
        if tables.is_remote(self.uri):
            with lance_errors(self.uri):
                return sum(int(table.stats()["total_bytes"]) for table in self._tables.now())
        size = 0
        for folder, _, names in os.walk(self.uri):  # which passes over folders that go meanwhile
            for name in names:
                with suppress(FileNotFoundError):  # another process is compacting
                    size += Path(folder, name).stat().st_size
        return size

    def vectors(self) -> np.ndarray:
        """All vectors (passages, dimension), float32, in the table's order: what an exact search compares."""
        with lance_errors(self.uri):
            column = self._passages.search().select(["vector"]).limit(self._passages.count_rows()).to_arrow()["vector"]
        flat = column.combine_chunks().flatten().to_numpy(zero_copy_only=False)
        return np.asarray(flat, dtype=np.float32).reshape(-1, self.dimension or 1)

    def encoded(self) -> Iterator[tuple[Span, str, np.ndarray]]:
        """Place, indexed text and vector (dimension,) of every visible passage."""
        names = ["document_id", "edition", "start", "end", "indexed", "vector"]
        with lance_errors(self.uri):
            rows = self._passages.search().select(names).limit(max(1, self._passages.count_rows())).to_arrow()
        columns = [rows[name].to_pylist() for name in names[:-1]]
        vectors = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        current = self.current(sorted(set(columns[0])))
        for (key, edition, start, end, text), vector in zip(
            zip(*columns, strict=True), vectors.reshape(-1, self.dimension or 1), strict=True
        ):
            if key in current and current[key].edition == edition:
                yield Span(key, start, end), text, np.asarray(vector, dtype=np.float32)

    def vector(self, document_id: str) -> np.ndarray | None:
        """The vector (dimension,) of a document's first passage; None where it has none."""
        if document_id not in (current := self.current([document_id])):
            return None
        condition = f"document_id = {literal(document_id)} AND edition = {literal(current[document_id].edition)}"
        rows = self.passages_where(condition, ["start", "vector"]).to_pylist()
        first = min(rows, key=lambda row: row["start"], default=None)
        return None if first is None else np.asarray(first["vector"], dtype=np.float32)

    # -- writing ------------------------------------------------------------------------------------------------

    @contextmanager
    def writing(self, *, going_on: bool = False) -> Iterator[None]:
        """Be the one writer. What an earlier writer left half-done is deleted first. LibraryBusy: there is one.

        `going_on`: it stays, for who goes on with it (`begun`), until `repair`.
        """
        with tables.writer_lock(self.uri) as self._right:
            self._tables.refresh()
            self.follow()
            self._left = tables.read_settings(self.uri).get("writing") == "yes"
            if not going_on:
                self.repair()
            tables.write_setting(self.uri, "writing", "yes")
            yield
            self._right.check()
            if not self._left:
                tables.write_setting(self.uri, "writing", "no")

    def begun(self) -> frozenset[tuple[str, str]]:
        """Document and edition of passages that an earlier writer stored and did not publish; inside `writing`."""
        return frozenset(self._unseen()) if self._left else frozenset()

    def begun_passages(self, document_id: str, edition: str) -> list[tuple[int, int, str]]:
        """Start, end and indexed text of the passages that are stored under an edition, in the order of the text."""
        condition = f"document_id = {literal(document_id)} AND edition = {literal(edition)}"
        rows = self.passages_where(condition, ["start", "end", "indexed"]).to_pylist()
        return sorted((row["start"], row["end"], row["indexed"]) for row in rows)

    def append(self, rows: Sequence[pa.Table]) -> None:
        """Put passages into the store, by one commit. They stay invisible until their document is published."""
        if any(len(table) for table in rows):
            with lance_errors(self.uri):
                self._about_to_write()
                self._passages.add(pa.concat_tables(rows))
            faults.point("store.passages-written")

    def publish(self, prepared: Sequence[Prepared]) -> None:
        """Make documents visible whose passages are all in the store, by one commit, replacing older editions."""
        if not prepared:
            return
        replaced = self.current([one.document.id for one in prepared])
        changed = [one for one in prepared if one.document.id in replaced]
        rows = pa.Table.from_pylist([row_of(one) for one in prepared], schema=plain(tables.DOCUMENTS))
        with lance_errors(self.uri):
            self._about_to_write()
            self._keep_revisions(changed, replaced)
            self._right.check()  # copying revisions may have taken long
            merge = self._documents.merge_insert("id").when_matched_update_all().when_not_matched_insert_all()
            merge.execute(rows.cast(tables.DOCUMENTS))
            faults.point("store.documents-written")
        self.discard([replaced[one.document.id].edition for one in changed])

    def remove(self, document_ids: Sequence[str]) -> None:
        """Delete documents, their passages and their replaced revisions. They vanish at once, by the first commit."""
        for first in range(0, len(document_ids), 500):
            ids = ",".join(literal(one) for one in document_ids[first : first + 500])
            with lance_errors(self.uri):
                self._about_to_write()
                self._documents.delete(f"id IN ({ids})")
                faults.point("store.documents-written")
                self._passages.delete(f"document_id IN ({ids})")
                self._revisions.delete(f"id IN ({ids})")

    def discard(self, editions: Sequence[str]) -> None:
        """Delete the passages of editions that are not visible (any more)."""
        for first in range(0, len(editions), LOOKED_UP):
            given = ",".join(map(literal, editions[first : first + LOOKED_UP]))
            with lance_errors(self.uri):
                self._right.check()
                self._passages.delete(f"edition IN ({given})")

    def change_passages(self, values: Mapping[str, str]) -> None:
        """Let settings change, the table of passages among them: by one commit. Inside `writing`."""
        self._about_to_write()
        tables.write_settings(self.uri, values)
        with lance_errors(self.uri):  # on an object store readers look at the documents alone
            for row in self._documents.search().select(["id", "edition"]).limit(1).to_arrow().to_pylist():
                self._documents.update(where=f"id = {literal(row['id'])}", values={"edition": row["edition"]})
        self._tables.refresh()
        self.follow()

    def _about_to_write(self) -> None:
        """LibraryBusy: this process may not write any more."""
        self._right.check()
        faults.point("store.write")

    def stale(self) -> bool:
        """Whether rows wait to be covered by an index (an earlier writer was killed), or one is an older Foveal's."""
        with lance_errors(self.uri):
            indexes = self._passages.list_indices()
            waiting = any(index.num_unindexed_rows for index in indexes) or bool(tables.outdated(indexes))
            return waiting or self._lacks_vector_index(tables.read_settings(self.uri))

    def use_index(self, name: str) -> None:
        """Search vectors by the index of that name from now on; it is made at once, where passages are enough.

        Readers that opened the library before go on with their own effort. UnknownName: no index is called that.
        """
        lance_index(name)
        tables.write_setting(self.uri, lance_indexes.SETTING, name)
        self.settings[lance_indexes.SETTING] = name
        self.refresh_indexes()

    def refresh_indexes(self, *, compact: bool = False) -> None:
        """Let the indexes cover all rows; with `compact`, drop older versions sooner."""
        from lancedb.index import BTree

        faults.point("store.before-index")
        with lance_errors(self.uri):
            self._about_to_write()
            tables.ensure(self._documents, "id", BTree())
            tables.ensure(self._passages, "document_id", BTree())
            tables.ensure(self._passages, "indexed", tables.full_text())
            for name in tables.outdated(self._passages.list_indices()):
                self._passages.create_index("indexed", config=tables.full_text(), name=name, replace=True)
            self._ensure_vector_index()
            if compact:
                self._drop_orphans()
            kept = KEPT_BY_COMPACT if compact else KEPT_VERSIONS
            settings = tables.connect(self.uri).open_table("settings")
            for table in (self._documents, self._passages, self._revisions, settings):
                table.optimize(cleanup_older_than=kept, delete_unverified=False)
            tables.drop_left(self.uri, kept)
            if tables.is_remote(self.uri):
                clean(tables.connect(self.uri), kept)

    def _ensure_vector_index(self) -> None:
        """Make the index, or make it anew: none is there, another was chosen, or passages are far more by now."""
        index, rows = chosen_index(tables.read_settings(self.uri)), self._passages.count_rows()
        if index.config is None:
            _drop_index(self._passages, "vector")
        elif self.dimension and self.vector_index_due():
            self._passages.create_index("vector", config=index.config(rows, self.dimension), replace=True)
            self.vector_index_made(rows)

    def vector_index_due(self) -> bool:
        """Whether the chosen index is to be made, or made anew."""
        settings = tables.read_settings(self.uri)
        if not self.dimension or chosen_index(settings).config is None:
            return False
        made_of = RETRAIN_AT * int(settings.get("vector_index_rows", "0"))
        return self._lacks_vector_index(settings) or self._passages.count_rows() >= max(INDEX_FROM, made_of)

    def vector_index_made(self, rows: int) -> None:
        """Take note that the chosen index was made, of so many passages; inside `writing`."""
        tables.write_setting(self.uri, "vector_index_rows", str(rows))
        tables.write_setting(self.uri, lance_indexes.MADE, chosen_index(tables.read_settings(self.uri)).name)

    def _lacks_vector_index(self, settings: Mapping[str, str]) -> bool:
        """Whether the chosen index should be there and is not."""
        index = chosen_index(settings)
        if not self.dimension or index.config is None or self._passages.count_rows() < INDEX_FROM:
            return False
        made = settings.get(lance_indexes.MADE, lance_indexes.DEFAULT)
        return made != index.name or not tables.has_index(self._passages, "vector")

    def _keep_revisions(self, changed: Sequence[Prepared], replaced: Mapping[str, Current]) -> None:
        """Copy the rows that are about to be replaced by another text, once each, to `revisions`."""
        old = [one for one in changed if replaced[one.document.id].revision != one.document.revision]
        for first in range(0, len(old), LOOKED_UP):
            ids = ",".join(literal(one.document.id) for one in old[first : first + LOOKED_UP])
            rows = self._documents.search().where(f"id IN ({ids})").limit(LOOKED_UP).to_arrow()
            merge = self._revisions.merge_insert(["id", "revision"]).when_not_matched_insert_all()
            merge.execute(rows.cast(plain(tables.DOCUMENTS)).cast(tables.DOCUMENTS))

    def _drop_orphans(self) -> None:
        """Delete replaced texts of documents that were removed."""
        with lance_errors(self.uri):
            stored = self._revisions.search().select(["id"]).limit(max(1, self._revisions.count_rows())).to_arrow()
            ids = sorted(set(stored["id"].to_pylist()))
            gone = sorted(set(ids) - self.current(ids).keys())
            for first in range(0, len(gone), LOOKED_UP):
                self._right.check()
                self._revisions.delete(f"id IN ({','.join(map(literal, gone[first : first + LOOKED_UP]))})")

    def repair(self) -> None:
        """Delete what an earlier writer left: passages that no search shows, replaced texts of removed documents."""
        if self._left:
            self.discard(sorted({edition for _, edition in self._unseen()}))
            self._drop_orphans()
            self._left = False

    def _unseen(self) -> set[tuple[str, str]]:
        """Document and edition of the passages that no search shows."""
        with lance_errors(self.uri):
            count = max(1, self._passages.count_rows())
            stored = self._passages.search().select(["document_id", "edition"]).limit(count).to_arrow()
        pairs = set(zip(stored["document_id"].to_pylist(), stored["edition"].to_pylist(), strict=True))
        current = self.current(sorted({document_id for document_id, _ in pairs}))
        return {(d, e) for d, e in pairs if d not in current or current[d].edition != e}


def _drop_index(table: LanceTable, column: str) -> None:
    for index in table.list_indices():
        if index.columns == [column]:
            table.drop_index(index.name)
