"""A stream and questions in the order of time: each question sees the events of just what came before it.

    swept = sweep(items, {"q1": ("who won?", moment)}, encode)          # query -> its matches then
    fine = fine_examples(items, asked, judged, swept)                   # what `training.events` learns from
    coarse = coarse_examples(items, encode, before=moment)              # the same from the stream itself, no judgements

Coarse     a title asks for an earlier item of its event, a sentence from deep in a text for its own item: titles
           and texts of the stream stand for what people click
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime

import numpy as np

from foveal.errors import InputError
from foveal.models.event_attention import EventText
from foveal.retrieval.event_clusters import Encode
from foveal.retrieval.event_items import Item, entities, seconds
from foveal.retrieval.event_matching import EventMatcher, Match
from foveal.retrieval.event_phrases import trimmed, triple
from foveal.retrieval.events import EventSettings, EventStore
from foveal.training.event_rows import DocumentFacts, EventExamples
from foveal.training.examples import Examples

OPENING = 200
"""Characters of an item's text that are encoded behind its title."""

_SENTENCE = re.compile(r"(?<=[.!?])\s+")


@dataclass(frozen=True)
class Swept:
    """What the stream said when each query was asked, and the event of each item when all had come."""

    matches: Mapping[str, tuple[Match, ...]]
    event_of: Mapping[str, str]
    store: EventStore


def document_text(item: Item) -> str:
    """What of an item is encoded: its title and the opening of its text."""
    return f"{trimmed(item.title, source=item.source)}. {' '.join(item.text[:OPENING].split())}".strip(". ") or item.id


def dated(items: Sequence[Item]) -> list[Item]:
    """The items that have a date, in its order; of one moment in the order given."""
    return sorted((item for item in items if item.published_at is not None), key=lambda item: seconds(_date(item)))


def sweep(
    items: Sequence[Item],
    asked: Mapping[str, tuple[str, datetime]],
    encode: Encode | None,
    settings: EventSettings | None = None,
) -> Swept:
    """Feed the items in order and ask each query at its moment, after the items of that moment."""
    store = EventStore(settings, encode=encode)
    matcher = EventMatcher(store, encode)
    stream, matches, owners = dated(items), dict[str, tuple[Match, ...]](), dict[str, str]()
    queries = sorted(asked, key=lambda name: (seconds(asked[name][1]), name))
    at = 0
    for name in queries:
        text, moment = asked[name]
        while at < len(stream) and seconds(_date(stream[at])) <= seconds(moment):
            _feed(store, stream[at], owners)
            at += 1
        matches[name] = tuple(matcher.matches(text, moment))
    for item in stream[at:]:
        _feed(store, item, owners)
    events = {name: store._today(event) for name, event in owners.items()}
    return Swept(matches, events, store)


def fine_examples(
    items: Sequence[Item],
    asked: Mapping[str, tuple[str, datetime]],
    judged: Mapping[str, Mapping[str, int]],
    swept: Swept,
    *,
    name: str = "news",
) -> EventExamples:
    """Judged queries with their events, over the dated items. Judgements of items without a date are left out."""
    known = {item.id: item for item in dated(items)}
    kept = {query: {one: grade for one, grade in found.items() if one in known} for query, found in judged.items()}
    kept = {query: found for query, found in kept.items() if query in asked and any(g > 0 for g in found.values())}
    corpus = {one: document_text(item) for one, item in known.items()}
    examples = Examples({query: asked[query][0] for query in kept}, corpus, kept, name)
    events = {query: tuple(match.event for match in swept.matches.get(query, ())) for query in kept}
    moments = {query: seconds(asked[query][1]) for query in kept}
    return EventExamples(examples, moments, events, facts_of(known, swept.event_of))


def facts_of(items: Mapping[str, Item], events: Mapping[str, str]) -> dict[str, DocumentFacts]:
    """What training wants to know of each item."""
    found = {}
    for name, item in items.items():
        title = trimmed(item.title, source=item.source)
        names = frozenset(entities(title)) | _capitalised(title)
        found[name] = DocumentFacts(seconds(_date(item)), events.get(name, ""), names, triple(title))
    return found


def coarse_examples(
    items: Sequence[Item],
    encode: Encode | None,
    *,
    before: datetime | None = None,
    most: int = 2000,
    seed: int = 0,
) -> EventExamples:
    """At most `most` queries that the stream asks itself, up to a moment. InputError: it asks none."""
    stream = [item for item in dated(items) if before is None or seconds(_date(item)) < seconds(before)]
    draw = np.random.default_rng(seed)
    store = EventStore(encode=encode)
    matcher = EventMatcher(store, encode)
    owners: dict[str, str] = {}
    asked: dict[str, tuple[str, datetime]] = {}
    judged: dict[str, dict[str, int]] = {}
    matches: dict[str, tuple[Match, ...]] = {}
    chance = min(1.0, 2 * most / max(1, len(stream)))
    for item in stream:
        event = _feed(store, item, owners)
        if draw.random() >= chance or event is None:
            continue
        query, answers = _question(item, store, event, draw)
        if query and answers and len(asked) < most:
            name = f"c{len(asked)}"
            asked[name] = (query, _date(item))
            judged[name] = dict.fromkeys(answers, 1)
            matches[name] = tuple(matcher.matches(query, _date(item)))
    if not asked:
        raise InputError("The stream asks nothing: no event has two items, and no text is long. Give more items.")
    events = {name: store._today(event) for name, event in owners.items()}
    return fine_examples(stream, asked, judged, Swept(matches, events, store), name="stream")


def _question(item: Item, store: EventStore, event: str, draw: np.random.Generator) -> tuple[str, list[str]]:
    """A title and the earlier items of its event, or a sentence and its item."""
    members = store.clusters.live[store._today(event)].members
    others = [member.id for member in members if member.id != item.id and member.at <= seconds(_date(item))]
    if others and draw.random() < 0.5:
        return trimmed(item.title, source=item.source), others[-3:]
    sentences = [" ".join(one.split()) for one in _SENTENCE.split(item.text[OPENING:]) if 6 <= len(one.split()) <= 40]
    return (sentences[int(draw.integers(len(sentences)))], [item.id]) if sentences else ("", [])


def _feed(store: EventStore, item: Item, owners: dict[str, str]) -> str | None:
    event = store.add(item, _date(item))
    if event is not None:
        owners[item.id] = event
    return event


def _date(item: Item) -> datetime:
    if item.published_at is None:
        raise InputError(f"The item {item.id!r} has no date, so it has no place in a stream. Leave it out.")
    return item.published_at


def _capitalised(title: str) -> frozenset[str]:
    """Words that begin with a capital, but for the first: names that `entities` cannot tell in a headline's case."""
    return frozenset(
        word.strip(".,:;!?'’").lower() for word in title.split()[1:] if word[:1].isupper() and len(word) > 3
    )


def event_texts(matches: Sequence[Match]) -> tuple[EventText, ...]:
    """The events of matches."""
    return tuple(match.event for match in matches)
