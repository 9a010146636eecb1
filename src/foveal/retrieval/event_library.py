"""The events of a library: its dated documents as a stream, up to any moment.

    mined(store, at).trending(at)            # kept in memory until documents come, or others are in the past

A document is an item by its title, the opening of its text and the host or folder that it came from.
"""

from __future__ import annotations

from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import PurePosixPath
from typing import Any
from urllib.parse import urlsplit

from foveal.retrieval import tables
from foveal.retrieval.event_clusters import Encode
from foveal.retrieval.event_items import Item, seconds
from foveal.retrieval.events import EventSettings, EventStore
from foveal.retrieval.store import Store

READ_AT_ONCE = 2000
OPENING = 600
"""Characters of a document's text that are read."""

KEPT = 2
"""Moments whose events are kept in memory."""

_mined: dict[tuple[Any, ...], EventStore] = {}


def items_of(store: Store) -> Iterator[Item]:
    """The documents of a library as items, in the order of the table; those without a date, too."""
    columns = ["id", "title", "text", "published_at", "source", "url"]
    with tables.lance_errors(store.uri):
        count = store._documents.count_rows()
        for first in range(0, count, READ_AT_ONCE):
            rows = store._documents.search().select(columns).limit(READ_AT_ONCE).offset(first).to_arrow().to_pylist()
            for row in rows:
                source = source_of(row["url"] or row["source"] or "")
                yield Item(row["id"], row["title"] or "", (row["text"] or "")[:OPENING], row["published_at"], source)


def source_of(address: str) -> str:
    """Whose a document is: the host of an address, or the folder of a file."""
    parts = urlsplit(address)
    if parts.hostname:
        return parts.hostname.removeprefix("www.")
    return PurePosixPath(parts.path).parent.name


def mined(
    store: Store, at: datetime, *, encode: Encode | None = None, settings: EventSettings | None = None
) -> EventStore:
    """The events of the documents dated up to `at`, each taken for come at its date.

    Documents without a date are counted in `reasons` only.
    """
    with tables.lance_errors(store.uri):
        version = store._documents.version
        past = store._documents.count_rows(f"published_at <= timestamp '{at.astimezone(UTC).isoformat()}'")
    key = (store.uri, version, past, settings, encode is not None)  # of one version, so many are always the same
    if key not in _mined:
        made = EventStore(settings, encode=encode)
        dated = []
        for item in items_of(store):
            if item.published_at is None:
                made.add(item, at)
            elif seconds(item.published_at) <= seconds(at):
                dated.append((seconds(item.published_at), item))
        for _, item in sorted(dated, key=lambda one: (one[0], one[1].id)):
            made.add(item, item.published_at or at)
        _mined[key] = made
        while len(_mined) > KEPT:
            del _mined[next(iter(_mined))]
    return _mined[key]
