"""What is happening: a stream of dated titles becomes events, each with its life, its burst and a phrase.

    store = EventStore()
    for item in items: store.add(item, now)             # in order of arrival; `now` is the clock, always given
    store.trending(now)                                 # what counts now, no two alike
    store.snapshot(path); EventStore.restored(path)     # goes on as if it had never stopped

Each item passes a filter (`event_items.py`), is weighed and put to its like (`event_clusters.py`), and is counted
(`bursts.py`); at midnight of the stream clusters are merged, cut and closed. Near-duplicates are not put together anew,
but count for their event: they are evidence of a burst. The same entry once more (by its id: a feed that is polled) is
none, whatever it says by then.

Dates     later than the clock: kept in quarantine until their time; earlier than the last item by up to 48 hours:
          counted where they belong; by more, or none at all: kept as no evidence, and reported. Naive and aware ones
          in one stream are refused
Memory    constant: everything that is kept has a bound
Source    Yang et al., "Event-driven Real-time Retrieval in Web Search", 2023, arXiv 2312.00372 (its abstract; no code);
          the stages are those of Event-Centric Query Expansion, arXiv 2305.19019
"""

from __future__ import annotations

import math
from bisect import insort
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from pathlib import Path

from foveal.errors import InputError
from foveal.retrieval.bursts import BurstSettings, BurstTracker
from foveal.retrieval.event_clusters import Cluster, ClusterSettings, Encode, Member, StreamClusters, StreamTerms
from foveal.retrieval.event_index import PlainSums, Sums, cosine
from foveal.retrieval.event_items import (
    DAY,
    FilterSettings,
    Item,
    ItemFilter,
    LastIds,
    NearDuplicates,
    datetime_of,
    entities,
    event_terms,
    half_life,
    seconds,
)
from foveal.retrieval.event_phrases import trimmed
from foveal.retrieval.event_snapshots import Event, read, write
from foveal.retrieval.terms import terms

TOP_FEATURES = 5
"""Terms of an event among which its burst is looked for."""

EVENT = "\0event "
NAME = "\0name "
"""What the features of events and of names begin with, so that no term is one."""


@dataclass(frozen=True, kw_only=True)
class EventSettings:
    """How a stream becomes events."""

    text_characters: int = 300  # of an item's text
    late_hours: float = 48.0  # by which an item may come late and still be evidence
    skew_hours: float = 1.0  # by which a date may lie after the clock
    quarantine: int = 10_000  # items of the future that wait; more push out the farthest
    closed: int = 2_000  # events over, whose records are kept
    growing: float = 2.5  # burst from which an event is said to grow; chosen on planted stories (docs/events.md)
    trend_half_life_days: float = 1.0
    diversity: float = 0.3  # weight of being unlike what is listed already, in `trending`
    filter: FilterSettings = field(default_factory=FilterSettings)
    clusters: ClusterSettings = field(default_factory=ClusterSettings)
    bursts: BurstSettings = field(default_factory=BurstSettings)

    def __post_init__(self) -> None:
        if min(self.late_hours, self.skew_hours) < 0 or self.trend_half_life_days <= 0:
            raise InputError(
                f"An event store got late_hours={self.late_hours}, skew_hours={self.skew_hours}, trend_half_life_days="
                f"{self.trend_half_life_days}; it needs hours of 0 or more, and a half-life above 0."
            )
        if min(self.text_characters, self.quarantine, self.closed) < 0 or not 0 <= self.diversity <= 1:
            raise InputError(
                f"An event store got text_characters={self.text_characters}, quarantine={self.quarantine}, closed="
                f"{self.closed}, diversity={self.diversity}; it needs 0 or more of each, and a share from 0 to 1."
            )


class EventStore:
    """The events of one stream."""

    def __init__(self, settings: EventSettings | None = None, *, encode: Encode | None = None) -> None:
        """`encode` (texts -> unit vectors) lets clusters that mean the same be merged at night; None: they are not."""
        self.settings = settings or EventSettings()
        self.encode = encode
        self.filter = ItemFilter(self.settings.filter)
        self.came = LastIds(self.settings.filter.remembered)  # of the evidence
        self.duplicates = NearDuplicates(self.settings.filter.jaccard, self.settings.filter.remembered)
        self.terms = StreamTerms(self.settings.clusters.vocabulary)
        self.clusters = StreamClusters(self.settings.clusters)
        self.bursts = BurstTracker(self.settings.bursts)
        self.closed: dict[str, Event] = {}
        self.reasons: Counter[str] = Counter()  # why items were no evidence
        self.received = 0
        self._aware: bool | None = None
        self._latest: float | None = None  # of the evidence
        self._night: int | None = None  # day of the last midnight
        self._waiting: list[tuple[float, int, Item]] = []  # the soonest first
        self._waiting_ids: set[str] = set()
        self._owner: dict[str, str] = {}  # items that NearDuplicates remembers -> their event
        self._now: dict[str, str] = {}  # merged -> the event that it is part of

    # -- the stream ---------------------------------------------------------------------------------------------

    def add(self, item: Item, now: datetime) -> str | None:
        """The id of the event that the item is evidence of; None where it is no evidence (`reasons` says why).

        InputError: naive and aware dates are mixed.
        """
        clock, aware = self._clock(now), now.tzinfo is not None
        if item.published_at is not None and item.published_at is not now:
            self._clock(item.published_at, aware)
        self._aware = aware  # only now: what was refused, or only asked, says nothing of the stream
        self._release(clock)
        self.received += 1
        return self._add(item, clock)

    def _add(self, item: Item, clock: float) -> str | None:
        if item.published_at is None:
            self._no("undated")
            return None
        if self.came.again(item.id):
            self._no("again")
            return None
        at = seconds(item.published_at)
        if at > clock + 3600 * self.settings.skew_hours:
            self._no(self._quarantined(at, item))
            return None
        at = min(at, clock)  # a clock that is a little wrong
        if self._latest is not None and at < self._latest - 3600 * self.settings.late_hours:
            self._no("late")
            return None
        if reason := self.filter.refused(item, _length(item.title), int(at // DAY)):
            self._no(reason)
            return None
        title = event_terms(trimmed(item.title, source=item.source))
        text = event_terms(item.text[: self.settings.text_characters])
        self._nights(at)
        self._latest = at if self._latest is None else max(self._latest, at)
        self.came.note(item.id)
        return self._counted(item, at, title, text)

    def _counted(self, item: Item, at: float, title: Sequence[str], text: Sequence[str]) -> str:
        vector = self.terms.vector(title, text)
        names, heavy = entities(item.title), self.clusters.index.heaviest(vector)
        same = self.duplicates.seen([*title, *text], item.id)
        known = self.event_of(same) if same is not None else None
        if known is not None and known in self.clusters.live:
            cluster = self.clusters.live[known]
            self.clusters.again(cluster, item.source, at)
            self.reasons["duplicate"] += 1
        else:
            cluster = self.clusters.add(Member(item.id, item.title, item.source, at, vector, names), heavy)
        if item.id in self.duplicates:
            self._owner[item.id] = cluster.id
            if len(self._owner) > 2 * self.settings.filter.remembered:
                self._owner = {name: event for name, event in self._owner.items() if name in self.duplicates}
        features = [*heavy, *(NAME + name for name in names), EVENT + cluster.id]
        self.bursts.add(self._bin(at), features)
        return cluster.id

    def extend(self, items: Iterable[Item], now: datetime | None = None) -> EventStore:
        """Add items whose date is taken for the moment of their arrival; those without a date come as they stand.

        None arrived after `now`: one that is dated later waits for its time, as in `add`. Without `now` every date is
        believed, and one in 2099 makes all that follow it late.
        """
        clock: datetime | None = None
        for item in items:
            clock = item.published_at or clock
            if clock is not None and now is not None and seconds(clock) > seconds(now):
                clock = now
            if clock is None:
                self.received += 1
                self._no("undated")
                continue
            self.add(item, clock)
        return self

    def event_of(self, document: str) -> str | None:
        """The event of a document that came lately; None where that is not known."""
        name = self._owner.get(document)
        return None if name is None else self._today(name)

    def _today(self, name: str) -> str:
        while name in self._now:
            name = self._now[name]
        return name

    # -- what there is ------------------------------------------------------------------------------------------

    def events(self, now: datetime, k: int | None = None) -> list[Event]:
        """The live events at `now`, the strongest bursts first; none before the first item.

        What came after `now` is left out, but the clusters are those of the stream so far: for an exact look at the
        past, stop the stream there.
        """
        clock = self._clock(now)
        found = [self._event(one, clock) for one in self.alive(clock)]
        found.sort(key=lambda event: (-event.burst, -seconds(event.last_seen), int(event.id[1:])))
        return found if k is None else found[:k]

    def trending(self, now: datetime, k: int = 20) -> list[Event]:
        """The `k` events that count most at `now`: burst 2^(-age / half-life) times the diversity of sources, chosen
        one by one so that none repeats what is listed (maximal marginal relevance; Carbonell and Goldstein, 1998).
        """
        clock = self._clock(now)
        alive = {one.id: one for one in self.alive(clock)}
        events = sorted(
            (event for event in self.events(now) if event.score > 0), key=lambda event: (-event.score, event.id)
        )
        pool: list[Event] = events[: 10 * k]
        sums = {event.id: _read(alive[event.id]) for event in pool}
        chosen: list[Event] = []
        most = max((event.score for event in pool), default=1.0)
        likeness = {event.id: 0.0 for event in pool}
        while pool and len(chosen) < k:
            share = self.settings.diversity
            best = max(pool, key=lambda one: (1 - share) * one.score / most - share * likeness[one.id])
            pool.remove(best)
            chosen.append(best)
            for one in pool:
                likeness[one.id] = max(likeness[one.id], _alike(sums[best.id], sums[one.id]))
        return chosen

    def get(self, name: str, now: datetime) -> Event:
        """The event of that id, also one that is over. InputError: there is none, or none any more."""
        today = self._today(name)
        if today in self.clusters.live:
            return self._event(self.clusters.live[today], self._clock(now))
        if today in self.closed:
            return self.closed[today]
        raise InputError(f"No event is called {name!r} (events that are long over are forgotten). `events` lists them.")

    def alive(self, clock: float) -> list[Cluster]:
        """The clusters that have items up to `clock` (seconds), and one in the last days."""
        days = self.settings.clusters.alive_days * DAY
        return [one for one in self.clusters.live.values() if one.first <= clock and clock - one.last <= days]

    def burst(self, cluster: Cluster, clock: float) -> float:
        """The event's highest burst up to `clock`: noted at night, or that of its last item since, or that of now."""
        since = self.burst_at(cluster, cluster.last) if cluster.grown and cluster.last < clock else 0.0
        return max(cluster.peak, since, self.burst_at(cluster, clock))

    def burst_at(self, cluster: Cluster, clock: float) -> float:
        """The highest z-score among the event and its heaviest terms, times ln(1 + sources); 0 where none is above."""
        features = [
            EVENT + cluster.id,
            *cluster.sums.top(TOP_FEATURES),
            *(NAME + name for name, _ in cluster.entities.most_common(2)),
        ]
        at = self._bin(clock)
        return self.bursts.highest(features, at) * math.log(1 + len(cluster.sources))

    def sizes(self) -> dict[str, int]:
        """How many of each are kept: what has to stay bounded."""
        return {
            "clusters": len(self.clusters.live), "members": sum(map(_kept, self.clusters.live.values())),
            "terms": len(self.terms.frequencies), "heavy terms": len(self.clusters.index),
            "features": len(self.bursts.series), "texts": len(self.duplicates), "owners": len(self._owner),
            "ids": len(self.came), "closed": len(self.closed), "waiting": len(self._waiting),
            "renamed": len(self._now),
        }  # fmt: skip

    def snapshot(self, path: Path) -> Path:
        """Write all of it as packed JSON, whole or not at all; settings are not part of it."""
        return write(self, path)

    @classmethod
    def restored(cls, path: Path, settings: EventSettings | None = None, *, encode: Encode | None = None) -> EventStore:
        """The store as it was written. InputError: the file is missing, damaged, or of a newer form."""
        store = cls(settings, encode=encode)
        read(store, path)
        store._waiting_ids = {item.id for _, _, item in store._waiting}
        return store

    # -- parts --------------------------------------------------------------------------------------------------

    def _clock(self, moment: datetime, known: bool | None = None) -> float:
        """Its seconds. InputError: it has a zone where the stream's dates (or what is `known` of them) have none."""
        aware, known = moment.tzinfo is not None, self._aware if known is None else known
        if known is not None and aware != known:
            kinds = ("naive", "aware") if aware else ("aware", "naive")
            raise InputError(
                f"The stream's dates are {kinds[0]}, {moment.isoformat()} is {kinds[1]}. Give all a zone, or none."
            )
        return seconds(moment)

    def _bin(self, at: float) -> int:
        return int(at // (3600 * self.settings.bursts.bin_hours))

    def _no(self, reason: str) -> None:
        self.reasons[reason] += 1

    def _quarantined(self, at: float, item: Item) -> str:
        """Let the item wait, if it does not yet; why it is no evidence."""
        if item.id in self._waiting_ids:
            return "again"
        insort(self._waiting, (at, self.received, item), key=lambda one: one[:2])
        self._waiting_ids.add(item.id)
        if len(self._waiting) > self.settings.quarantine:
            self._waiting_ids.discard(self._waiting.pop()[2].id)
            self.reasons["future, forgotten"] += 1
        return "future"

    def _release(self, clock: float) -> None:
        """Let in what waited for its time."""
        while self._waiting and self._waiting[0][0] <= clock:
            _, _, item = self._waiting.pop(0)
            self._waiting_ids.discard(item.id)
            self.reasons["future"] -= 1
            self._add(item, clock)

    def _nights(self, at: float) -> None:
        """At midnight of the stream: close what is over, merge, cut. Several nights without items are one."""
        day = int(at // DAY)
        if self._night is None:
            self._night = day
        if day <= self._night:
            return
        self._close(day * DAY)
        self._mend()
        self.clusters.rest()
        self._night = day

    def _close(self, midnight: float) -> None:
        """Note the bursts of the day, and keep the records of what is over."""
        for cluster in self.clusters.live.values():
            if cluster.grown and cluster.count + cluster.duplicates > 1:  # what came once does not burst
                cluster.peak = self.burst(cluster, cluster.last)
        expired = self.clusters.expired(midnight)
        for cluster in expired:
            self.closed[cluster.id] = self._event(cluster, midnight, stage="closed")
        self.bursts.forget(EVENT + cluster.id for cluster in expired)  # else each event would leave one for long
        while len(self.closed) > self.settings.closed:
            del self.closed[next(iter(self.closed))]

    def _mend(self) -> None:
        """Cut what fell apart, merge what means the same, and remember under which name it goes on."""
        for _, new in self.clusters.split():
            self._owner |= {member.id: new.id for member in new.members if member.id in self._owner}
        if self.encode is not None:
            merged = {gone: kept for kept, gone in self.clusters.merge(self.encode)}
            self.bursts.forget(EVENT + gone for gone in merged)
            self._now |= merged
        if len(self._now) > 2 * self.settings.closed:
            known = self.clusters.live.keys() | self.closed.keys()
            self._now = {gone: kept for gone, kept in self._now.items() if self._today(kept) in known}

    def _event(self, cluster: Cluster, clock: float, *, stage: str | None = None) -> Event:
        members = [member for member in cluster.members if member.at <= clock] or cluster.members[:1]
        last = max(member.at for member in members) if cluster.last > clock else cluster.last
        burst = self.burst(cluster, clock)
        age = (clock - last) / DAY
        spread = math.sqrt(len(cluster.sources) / max(1, cluster.count + cluster.duplicates))
        aware = bool(self._aware)
        return Event(
            id=cluster.id,
            phrase=phrase_of(cluster, members),
            stage=stage or self._stage(cluster, clock, age),
            first_seen=datetime_of(cluster.first, aware=aware),
            last_seen=datetime_of(last, aware=aware),
            count=cluster.count,
            duplicates=cluster.duplicates,
            burst=burst,
            score=burst * half_life(age, self.settings.trend_half_life_days) * spread,
            terms=cluster.sums.top(TOP_FEATURES),
            entities=tuple(name for name, _ in cluster.entities.most_common(TOP_FEATURES)),
            sources=dict(cluster.sources.most_common()),
            titles=tuple(member.title for member in reversed(members)),
            documents=tuple(member.id for member in reversed(members)),
            days={
                datetime_of(day * DAY, aware=aware).date().isoformat(): cluster.days[day]
                for day in sorted(cluster.days)
            },
        )

    def _stage(self, cluster: Cluster, clock: float, age: float) -> str:
        if age <= 1 and self.burst_at(cluster, clock) >= self.settings.growing:
            return "growing"
        if clock - cluster.first <= DAY:
            return "new"
        return "steady" if age <= 3 else "fading"


def _kept(cluster: Cluster) -> int:
    return len(cluster.members)


def _read(cluster: Cluster) -> PlainSums:
    """Its centroid, read once for many looks at it."""
    return PlainSums(cluster.centroid, squared=cluster.sums.squared)


def phrase_of(cluster: Cluster, members: Sequence[Member]) -> str:
    """The title nearest the centroid, trimmed; of equally near ones the earliest."""
    sums = _read(cluster)
    nearest = max(members, key=lambda member: (cosine(sums, member.vector), -member.at))
    return trimmed(nearest.title, source=nearest.source)


def _length(title: str) -> int:
    """Words of a title; what no spaces part is counted as two signs a word."""
    spaced = len(title.split())
    return max(spaced, len(terms(title)) if not title.isascii() else 0)


def _alike(one: Sums, other: Sums) -> float:
    """The cosine of two centroids."""
    if not one.squared or not other.squared:
        return 0.0
    small, large = sorted((one.centroid, other.centroid), key=len)
    product = sum(weight * large.get(term, 0.0) for term, weight in small.items())
    return product / math.sqrt(one.squared * other.squared)
