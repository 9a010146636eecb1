"""A library's three tables as a process sees them: the newest commit on a disk, one pinned moment on an object store.

    opened = OpenTables(uri);  opened.now().passages.search(…)

On a disk each read looks for a newer commit, which costs microseconds. On an object store that would be a request or
two a table, so all three are pinned together and opened anew at most every `tables.PINNED` seconds: a reader lags that
far behind, and a search in between asks for nothing but what it reads. What Lance has in memory (indexes, metadata)
belongs to the connection, and stays.

One moment    a writer adds a document's passages, then its row, then deletes the passages that it replaced. So passages
              opened between two looks at the same documents fit these, and later ones fit until the documents change:
              a search that sees the same documents before and after it read passages has read whole ones
"""

from __future__ import annotations

import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

from foveal.retrieval import tables
from foveal.retrieval.storage_errors import lance_errors, storage_errors

if TYPE_CHECKING:
    from lancedb.table import LanceTable


class Tables(NamedTuple):
    """Handles of the tables; the writer's own commits move them on."""

    documents: LanceTable
    passages: LanceTable
    revisions: LanceTable


Moment = tuple[int | bytes, ...]
"""Changes whenever the documents do, or another library lies at their place: one that is made anew counts its versions
from one again."""


class OpenTables:
    """The tables of the library at `uri`. Threads may share it."""

    def __init__(self, uri: str, passages: str = tables.PASSAGES) -> None:
        """Open them; `passages` is the name of the table that these are in."""
        self._uri = uri
        self._passages = passages
        self._pinned = tables.is_remote(uri)
        self._database: Any = tables.connect(uri, pinned=self._pinned)
        self._lock = threading.Lock()
        self._held = self._opened()
        with lance_errors(uri):
            self._settings = None if self._pinned else self._database.open_table("settings")
        self._until = time.monotonic() + tables.PINNED.total_seconds()

    def now(self) -> Tables:
        """The tables, looked at anew where that is due."""
        if self._pinned and time.monotonic() > self._until:
            self.refresh()
        return self._held

    def moment(self) -> Moment:
        """What tells the documents of now from those of before."""
        with lance_errors(self._uri):
            documents = self.now().documents
            version = documents.version
            made = (documents.schema.metadata or {}).get(tables.MADE.encode(), b"") if self._pinned else b""
        return (version, made) if self._pinned else (version, *self._place("documents"))

    def _place(self, table: str) -> tuple[int, int]:
        """What tells a table on a disk from another one that lies there by now."""
        with storage_errors(self._uri):
            found = (Path(self._uri) / f"{table}.lance").stat()
        return found.st_ino, found.st_ctime_ns

    def settled(self) -> Moment:
        """Changes whenever the library's settings do: another writer begins or ends, or the library is made anew."""
        if self._settings is None:  # its settings would be a request more
            return self.moment()
        with lance_errors(self._uri):
            version = self._settings.version
        return version, *self._place("settings")

    def refresh(self) -> None:
        """Look at the newest commits, whatever is due."""
        if not self._pinned:
            return
        with self._lock, lance_errors(self._uri):
            self._held = self._opened()
            self._until = time.monotonic() + tables.PINNED.total_seconds()

    def _opened(self) -> Tables:
        with lance_errors(self._uri):
            documents = self._database.open_table("documents")
            while True:
                found = Tables(
                    documents, self._database.open_table(self._passages), self._database.open_table("revisions")
                )
                if not self._pinned:
                    return found
                documents = self._database.open_table("documents")
                if documents.version == found.documents.version:
                    return found
