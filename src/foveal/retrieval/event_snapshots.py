"""An event as a value, and a store of events as a file: packed JSON, written whole or not at all.

write(store, path)                   # all of it but its settings
read(EventStore(settings), path)     # goes on as if it had never stopped
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.retrieval.event_items import Item

if TYPE_CHECKING:
    from foveal.retrieval.events import EventStore

FORMAT = 1


@dataclass(frozen=True)
class Event:
    """What is known of an event at a moment. `stage`: new, growing, steady, fading or closed."""

    id: str
    phrase: str
    stage: str
    first_seen: datetime
    last_seen: datetime
    count: int  # items, near-duplicates left out
    duplicates: int
    burst: float  # the highest so far, 0 or more
    score: float  # of `trending`
    terms: tuple[str, ...]  # the heaviest
    entities: tuple[str, ...]
    sources: Mapping[str, int]
    titles: tuple[str, ...]  # the newest
    documents: tuple[str, ...]  # the newest
    days: Mapping[str, int]  # day -> items, duplicates included


def write(store: EventStore, path: Path) -> Path:
    """The file at `path`, replaced by what the store holds."""
    state = {
        "format": FORMAT, "received": store.received, "aware": store._aware, "latest": store._latest,
        "night": store._night, "reasons": dict(store.reasons), "owner": store._owner, "now": store._now,
        "came": store.came.state(),
        "waiting": [[at, number, _plain(item)] for at, number, item in store._waiting],
        "closed": [_plain_event(event) for event in store.closed.values()],
        "filter": store.filter.state(), "duplicates": store.duplicates.state(), "terms": store.terms.state(),
        "clusters": store.clusters.state(), "bursts": store.bursts.state(),
    }  # fmt: skip
    with whole_file(path) as partial, gzip.open(partial, "wt", 1, "utf-8", "surrogatepass") as file:
        json.dump(state, file, ensure_ascii=False)
    return path


def read(store: EventStore, path: Path) -> None:
    """Fill a new store. InputError: the file is missing, damaged, or of a newer form."""
    try:
        with gzip.open(path, "rt", encoding="utf-8", errors="surrogatepass") as file:
            state = json.load(file)
        if state["format"] > FORMAT:
            raise InputError(f"{path} has format {state['format']}; this Foveal knows up to {FORMAT}. Update it.")
        _take(store, state)
    except (OSError, EOFError, zlib.error, ValueError, LookupError, TypeError, AttributeError) as error:
        if isinstance(error, InputError):
            raise
        raise InputError(f"{path} holds no events ({type(error).__name__}: {error}). Mine them anew.") from error


def _take(store: EventStore, state: Mapping[str, Any]) -> None:
    store.received, store._aware, store._latest = state["received"], state["aware"], state["latest"]
    store._night, store.reasons = state["night"], Counter(state["reasons"])
    store._owner, store._now = dict(state["owner"]), dict(state["now"])
    store.came.restore(state.get("came", list(state["owner"])))  # files of older versions lack it
    store._waiting = [(at, number, _item(item)) for at, number, item in state["waiting"]]
    store.closed = {event["id"]: _event_of(event) for event in state["closed"]}
    store.filter.restore(state["filter"])
    store.duplicates.restore(state["duplicates"])
    store.terms.restore(state["terms"])
    store.clusters.restore(state["clusters"])
    store.bursts.restore(state["bursts"])


def _plain(item: Item) -> list[Any]:
    date = item.published_at.isoformat() if item.published_at else None
    return [item.id, item.title, item.text, date, item.source]


def _item(plain: Sequence[Any]) -> Item:
    name, title, text, date, source = plain
    return Item(name, title, text, datetime.fromisoformat(date) if date else None, source)


def _plain_event(event: Event) -> dict[str, Any]:
    return {**vars(event), "first_seen": event.first_seen.isoformat(), "last_seen": event.last_seen.isoformat()}


def _event_of(plain: Mapping[str, Any]) -> Event:
    moments = {name: datetime.fromisoformat(plain[name]) for name in ("first_seen", "last_seen")}
    lists = {name: tuple(plain[name]) for name in ("terms", "entities", "titles", "documents")}
    return Event(**{**plain, **moments, **lists})
