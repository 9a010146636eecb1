"""The events of a library: its dated documents as a stream, up to any moment.

    mined(store, at).trending(at)            # kept in memory until documents come, or others are in the past
    mined(store, at, kept=folder)            # and in a file, if it took long: another process goes on from there

A document is an item by its title, the opening of its text and the host or folder that it came from. Where mining takes
long, a process that has events of the last hour answers by them while it mines what came since (`remade.py`).
"""

from __future__ import annotations

import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

from foveal.errors import InputError
from foveal.retrieval.event_clusters import Encode
from foveal.retrieval.event_items import Item, seconds
from foveal.retrieval.events import EventSettings, EventStore
from foveal.retrieval.open_tables import Moment
from foveal.retrieval.remade import Remade
from foveal.retrieval.rows import records
from foveal.retrieval.storage_errors import lance_errors
from foveal.retrieval.store import Store

READ_AT_ONCE = 2000
OPENING = 600
"""Characters of a document's text that are read."""

KEPT = 2
"""Moments whose events are kept in memory."""

SLOW_S = 1.0
"""Seconds of mining from which the result is kept in a file."""

OLDER = timedelta(hours=1)
"""By how much what is known may lie before the moment that is asked for, while it is mined anew."""


@dataclass(frozen=True)
class _State:
    """What events are made of."""

    uri: str
    moment: Moment  # of the documents
    past: int  # documents up to `at`: of one version, so many are always the same
    settings: EventSettings
    encoder: str | None
    at: datetime = field(compare=False)

    def goes_before(self, other: _State) -> bool:
        """Whether the same library a little earlier; never a later one, whose events were not known yet, nor one with
        more documents: some were taken away, and no title of theirs may be shown."""
        if self.past > other.past:
            return False
        same = (self.uri, self.moment[1:], self.settings, self.encoder)
        return (other.uri, other.moment[1:], other.settings, other.encoder) == same and (
            timedelta() <= other.at - self.at <= OLDER
        )


_mined: Remade[_State, EventStore] = Remade(kept=KEPT)
logger = logging.getLogger("foveal.retrieval")


def items_of(store: Store) -> Iterator[Item]:
    """The documents of a library as items, in the order of the table; those without a date, too."""
    columns = ["id", "title", "text", "published_at", "source", "url"]
    with lance_errors(store.uri):
        count = store._documents.count_rows()
        for first in range(0, count, READ_AT_ONCE):
            rows = store._documents.search().select(columns).limit(READ_AT_ONCE).offset(first).to_arrow()
            for row in records(rows):
                source = source_of(row["url"] or row["source"] or "")
                yield Item(row["id"], row["title"] or "", (row["text"] or "")[:OPENING], row["published_at"], source)


def source_of(address: str) -> str:
    """Whose a document is: the host of an address, or the folder of a file."""
    parts = urlsplit(address)
    if parts.hostname:
        return parts.hostname.removeprefix("www.")
    return PurePosixPath(parts.path).parent.name


def mined(
    store: Store,
    at: datetime,
    *,
    encode: Encode | None = None,
    settings: EventSettings | None = None,
    encoder: str = "",
    kept: Path | None = None,
) -> EventStore:
    """The events of the documents dated up to `at`, each taken for come at its date.

    Documents without a date are counted in `reasons` only. `encoder` is the fingerprint of what encodes; the files of
    `kept` are of one library, moment, encoder and settings each, and only the newest are left there.
    """
    seen = store.moment()
    with lance_errors(store.uri):
        past = store._documents.count_rows(f"published_at <= timestamp '{at.astimezone(UTC).isoformat()}'")
    settings = settings or EventSettings()
    state = _State(store.uri, seen, past, settings, None if encode is None else encoder, at)
    file = None if kept is None else kept / _file_name(state)

    def made() -> EventStore:
        return _restored(file, settings, encode) or _anew(store, at, settings, encode, file)

    return _mined.get(state, made, fits=lambda older: older.goes_before(state))


def _anew(store: Store, at: datetime, settings: EventSettings, encode: Encode | None, file: Path | None) -> EventStore:
    begun = time.perf_counter()
    made = EventStore(settings, encode=encode)
    dated = []
    for item in items_of(store):
        if item.published_at is None:
            made.add(item, at)
        elif seconds(item.published_at) <= seconds(at):
            dated.append((seconds(item.published_at), item))
    for _, item in sorted(dated, key=lambda one: (one[0], one[1].id)):
        made.add(item, item.published_at or at)
    if file is not None and time.perf_counter() - begun >= SLOW_S:
        _keep(made, file)
    return made


def _file_name(state: _State) -> str:
    """Begins alike for one library, so that its older files are known."""
    key = (state.uri, state.moment, state.past, state.settings, state.encoder)
    library, whole = (sha256(repr(one).encode()).hexdigest()[:16] for one in (key[0], key))
    return f"{library}-{whole}.json.gz"


def _restored(file: Path | None, settings: EventSettings, encode: Encode | None) -> EventStore | None:
    if file is None or not file.is_file():
        return None
    try:
        return EventStore.restored(file, settings, encode=encode)
    except InputError as error:
        logger.warning("%s", error)
        return None


def _keep(made: EventStore, file: Path) -> None:
    """Write it, and take away all but the newest files of that library. What cannot be written is mined again."""
    try:
        file.parent.mkdir(parents=True, exist_ok=True)
        made.snapshot(file)
        siblings = sorted(file.parent.glob(f"{file.name[:17]}*.json.gz"), key=lambda one: -one.stat().st_mtime_ns)
        for old in siblings[KEPT:]:
            old.unlink(missing_ok=True)
    except OSError as error:
        logger.warning("the events could not be kept in %s (%s): they are mined again by the next process", file, error)
