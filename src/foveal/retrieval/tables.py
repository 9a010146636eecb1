"""The tables of a library: their columns, their schema version, and the writer's lock.

    settings   (key, value)                  schema version, encoder and segmenter of the library, its table of passages
    documents  one row per document          its text and origin; a document exists when it has a row here
    revisions  (id, revision)                texts that a changed source has replaced: citations keep pointing to them
    passages   one row per passage           place, indexed text, vector; belongs to one *edition* of its document
               (passages_… once they were encoded anew, see `encoding_anew.py`)
    writer     one row, on object stores     who may write (see `lease.py`); in a folder the file .writer is the lock

An edition is a hash of all that decides a document's passages (text, origin, segmenter, encoder). A passage is visible
when the row of its document carries its edition, so writing passages first and the document's row last makes a
document visible at once, whole, by one commit. What a kill leaves behind is invisible, and deleted by the next writer.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import contextmanager
from datetime import datetime, timedelta
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from foveal import faults
from foveal.errors import LibraryBusy, LibraryCorrupt, LibraryError, LibraryTooNew
from foveal.evaluation.files import other_holder
from foveal.retrieval.lance_import import lancedb
from foveal.retrieval.lease import Right, lease
from foveal.retrieval.storage_errors import lance_errors, storage_errors
from foveal.settings import make_home, store_uri

if TYPE_CHECKING:
    from lancedb import DBConnection
    from lancedb.index import FTS
    from lancedb.table import LanceTable

SCHEMA = 1
"""Version of the tables that this Foveal writes."""

Migration = Callable[["DBConnection"], None]

MIGRATIONS: dict[int, Migration] = {}
"""From a schema version to the step that makes the next one; each may be run again after a kill."""

FRESHNESS = timedelta(0)
"""A reader looks for another process's commit at each read: what is visible must not lag behind what is written."""

PINNED = timedelta(seconds=2)
"""On an object store a reader looks for commits as rarely as that: each look is some requests (`open_tables.py`)."""

MADE = "foveal-made"
"""Key of the documents' schema under which each library has a number of its own, that comes with a table's opening."""

PASSAGES, EDITIONS = "passages", "editions"
"""Settings: the table of passages, where it is another one by now, and the fingerprint that editions are made with:
that of the first encoder, so that passages which are encoded anew keep theirs."""

ENCODING, ENCODED_AT = "encoding", "encoded_at"
"""Settings: the table of passages that is being made, and when the last one was whole."""

_TIME = pa.timestamp("us", "UTC")

SETTINGS = pa.schema([("key", pa.string()), ("value", pa.string())])

DOCUMENTS = pa.schema(
    [
        ("id", pa.string()),
        ("revision", pa.string()),
        ("edition", pa.string()),
        ("title", pa.string()),
        ("url", pa.string()),
        ("source", pa.string()),
        ("published_at", _TIME),
        ("pages", pa.list_(pa.int64())),
        ("metadata", pa.json_()),
        ("text", pa.large_string()),
        ("characters", pa.int64()),
        ("passages", pa.int64()),
        ("added_at", _TIME),
    ]
)

REVISIONS = DOCUMENTS


def passages_schema(dimension: int | None) -> pa.Schema:
    """The columns of `passages`; without vectors where `dimension` is None.

    `indexed` is what search sees (title, heading, text); the passage itself is indexed[text_at:].
    """
    columns = [
        ("document_id", pa.string()),
        ("edition", pa.string()),
        ("start", pa.int64()),
        ("end", pa.int64()),
        ("page", pa.int32()),
        ("heading", pa.string()),
        ("title", pa.string()),
        ("url", pa.string()),
        ("source", pa.string()),
        ("published_at", _TIME),
        ("metadata", pa.json_()),
        ("indexed", pa.string()),
        ("text_at", pa.int32()),
    ]
    vector = [("vector", pa.list_(pa.float32(), dimension))] if dimension else []
    return pa.schema(columns + vector)


def is_remote(uri: str) -> bool:
    """Whether the tables at `uri` lie on an object store."""
    return store_uri(uri) is not None


def connect(uri: str, *, pinned: bool = False) -> DBConnection:
    """A connection to the tables at `uri` (a folder, or an object store's URI); `pinned` ones stay as they are opened.

    What an object store asks for (keys, endpoint, region) comes from the environment, by its own names (AWS_…).
    """
    os.environ.setdefault("LANCEDB_LOG", "error")  # its warnings are about itself: errors reach us as exceptions
    with lance_errors(uri):
        return lancedb().connect(uri, read_consistency_interval=None if pinned else FRESHNESS)


def exists(uri: str) -> bool:
    """Whether a library was made at `uri`. LibraryCorrupt where only a part of one is there."""
    if not is_remote(uri) and not Path(uri).is_dir():
        return False
    with lance_errors(uri):
        database = connect(uri)
        names = set(database.list_tables().tables)
        made = "settings" in names and _is_written(database, "settings")  # the table that is made last
        passages = passages_table(read_settings(uri)) if made else PASSAGES
        missing = {"settings", "documents", "revisions", passages} - names
        held = [name for name in ("documents", "passages", "revisions") if name in names]
        full = not made and any(database.open_table(name).count_rows() for name in held if _is_written(database, name))
    if (made and missing) or full:
        raise LibraryCorrupt(
            f"The library at {uri} lacks its table {', '.join(sorted(missing))}. Put the folder back from a copy, or "
            "move it away and add the sources again."
        )
    return made


def _is_written(database: DBConnection, name: str) -> bool:
    """Whether a table that is listed has a version: while it is made, or after a kill, only its folder is there."""
    try:
        database.open_table(name)
    except ValueError as error:
        if "not found" in str(error):
            return False
        raise
    return True


def create(uri: str, values: Mapping[str, str], dimension: int | None) -> None:
    """Make the empty tables; `settings` last, so that a kill leaves no library rather than half of one.

    What a killed `create` left is empty and made anew (`exists` refuses to take anything else for that).
    """
    if not is_remote(uri):
        with storage_errors(uri):
            _make_folder(uri)
    database = connect(uri)
    documents = DOCUMENTS.with_metadata({MADE: uuid.uuid4().hex})
    with lance_errors(uri):
        database.create_table("documents", schema=documents, mode="overwrite")
        database.create_table("revisions", schema=REVISIONS, mode="overwrite")
        passages = database.create_table("passages", schema=passages_schema(dimension), mode="overwrite")
        passages.create_index("indexed", config=full_text())  # phrases need it from the first passage on
        rows = {"schema": str(SCHEMA), **values}
        table = pa.table({"key": list(rows), "value": list(rows.values())}, schema=SETTINGS)
        database.create_table("settings", table, mode="overwrite")


def full_text() -> FTS:
    """The full-text index: words by Unicode's rules, stemmed as English; all words and places kept, for phrases."""
    from lancedb.index import FTS

    return FTS(
        base_tokenizer="icu/split", stem=True, remove_stop_words=False, with_position=True, max_token_length=None
    )


def outdated(indexes: Iterable[Any]) -> list[str]:
    """The names of full-text indexes that an older Foveal made, which left words of more than 40 characters out.

    They are searched as they are until the next writer makes them anew, so that nobody waits who only reads.
    """
    words = (index for index in indexes if index.columns == ["indexed"])
    return [index.name for index in words if (index.index_details or {}).get("max_token_length") is not None]


def read_settings(uri: str) -> dict[str, str]:
    """The settings of the library at `uri`, `schema` among them."""
    with lance_errors(uri):
        rows = connect(uri).open_table("settings").to_arrow().to_pylist()
    return {row["key"]: row["value"] for row in rows}


def write_setting(uri: str, key: str, value: str) -> None:
    """Set one value, by one commit."""
    write_settings(uri, {key: value})


def write_settings(uri: str, values: Mapping[str, str]) -> None:
    """Set values, by one commit."""
    with lance_errors(uri):
        table = connect(uri).open_table("settings")
        rows = pa.table({"key": list(values), "value": list(values.values())}, schema=SETTINGS)
        table.merge_insert("key").when_matched_update_all().when_not_matched_insert_all().execute(rows)


def passages_table(settings: Mapping[str, str]) -> str:
    """The name of a library's table of passages."""
    return settings.get(PASSAGES, PASSAGES)


def open_or_create(uri: str, name: str, schema: pa.Schema) -> LanceTable:
    """The table of that name, made empty where there is none."""
    with lance_errors(uri):
        database = connect(uri)
        if name in database.list_tables().tables and _is_written(database, name):
            return database.open_table(name)
        return database.create_table(name, schema=schema, mode="overwrite")


def drop(uri: str, names: Iterable[str]) -> None:
    """Delete these tables, where they are there."""
    with lance_errors(uri):
        database = connect(uri)
        for name in {*database.list_tables().tables} & {*names}:
            database.drop_table(name)


def drop_left(uri: str, older: timedelta) -> None:
    """Delete tables of passages that are the library's no more since so long."""
    settings = read_settings(uri)
    since = settings.get(ENCODED_AT, "")
    if since and faults.now() - datetime.fromisoformat(since) > older:
        with lance_errors(uri):
            names = {name for name in connect(uri).list_tables().tables if name.startswith(PASSAGES)}
        drop(uri, names - {passages_table(settings), settings.get(ENCODING, "")})
        write_setting(uri, ENCODED_AT, "")


def index_words(passages: LanceTable) -> None:
    """Let the indexes of a table of passages, but for that of vectors, be there and cover all rows."""
    from lancedb.index import BTree

    ensure(passages, "document_id", BTree())
    ensure(passages, "indexed", full_text())
    passages.optimize()


def ensure(table: LanceTable, column: str, config: Any) -> None:
    """Make the index of a column, where there is none."""
    if not has_index(table, column):
        table.create_index(column, config=config)


def has_index(table: LanceTable, column: str) -> bool:
    """Whether a column has an index."""
    return any(index.columns == [column] for index in table.list_indices())


def schema_of(uri: str, *, newest: int = SCHEMA) -> int:
    """The schema version at `uri`. LibraryTooNew above `newest`; LibraryCorrupt where there is none."""
    stated = read_settings(uri).get("schema", "")
    if not stated.isdecimal():
        raise LibraryCorrupt(f"The library at {uri} states no schema version. Put it back from a copy.")
    if int(stated) > newest:
        raise LibraryTooNew(
            f"The library at {uri} has schema {stated}; this Foveal knows up to {newest}. "
            "Update Foveal (pip install -U foveal), or choose another --home."
        )
    return int(stated)


def migrate(uri: str, *, newest: int = SCHEMA, migrations: Mapping[int, Migration] | None = None) -> None:
    """Bring an older library to schema `newest`, step by step; each step is recorded once it is done.

    LibraryBusy: another process is writing to it, or is migrating it.
    """
    steps = MIGRATIONS if migrations is None else migrations
    if schema_of(uri, newest=newest) == newest:
        return
    with writer_lock(uri):
        for version in range(schema_of(uri, newest=newest), newest):
            if version not in steps:
                raise LibraryError(
                    f"The library at {uri} has schema {version}, which this Foveal can no longer bring up to date. "
                    "Add its sources to a new library (another --home)."
                )
            with lance_errors(uri):
                steps[version](connect(uri))
            write_setting(uri, "schema", str(version + 1))


def _make_folder(uri: str) -> None:
    make_home(Path(uri).parent)
    Path(uri).mkdir(exist_ok=True)


@contextmanager
def writer_lock(uri: str) -> Iterator[Right]:
    """Hold the only right to write to the library at `uri`. LibraryBusy: another process holds it.

    A folder's lock goes with the process, also when that is killed; on an object store it is a lease (`lease.py`).
    """
    if is_remote(uri):
        with lease(connect(uri), uri) as right:
            yield right
        return
    with storage_errors(uri):
        _make_folder(uri)
        lock = os.open(Path(uri) / ".writer", os.O_CREAT | os.O_RDWR, 0o644)
    try:
        holder = other_holder(lock, str(os.getpid()))
        if holder is not None:
            raise LibraryBusy(
                f"Another process (pid {holder}) is writing to the library at {uri}. Wait until it is done; "
                "searching goes on meanwhile."
            )
        yield Right(uri)
    finally:
        os.close(lock)
