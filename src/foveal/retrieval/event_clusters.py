"""Items of a stream put together, one at a time: idf that follows the stream, clusters, and what is mended at night.

    terms = StreamTerms(); vector = terms.vector(title_words, text_words)      # term -> weight, of unit length
    clusters = StreamClusters(); name = clusters.add(member, vector, now)      # joins the best cluster, or opens one

Weights    (1 + ln tf) ln((1 + N) / df) with tf = 1 for each time in the title and 0.5 for each in the text; N and df
           are those of the items so far, this one included
Joining    of the live clusters that share one of the 12 heaviest terms the one with the highest
           cos(item, centroid) 2^(-gap / 7 days), if that is 0.17 or more; the centroid is the sum of the members
At night   clusters whose titles' mean vectors have a cosine of 0.75 and whose lives overlap become one; one whose
           members' mean cosine fell below 0.1 is cut in two (spherical 2-means over the members that are kept)
Memory     terms of the stream, terms of a centroid, members of a cluster: each has a bound, the lightest or oldest go
Against    other threshold clusterings drift into clusters of everything on a name; here age, heavy terms and the night
           hold them apart (single pass: Allan, Papka and Lavrenko, SIGIR 1998)
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, repeat
from operator import mul, truediv
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval.event_cuts import Vector, two_parts
from foveal.retrieval.event_holders import Holders
from foveal.retrieval.event_items import DAY, half_life

Floats = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Floats]

IN_TEXT = 0.5
"""What a term counts that stands in the text, where one in the title counts 1: twice as much."""

ROUNDED = 1e-9
"""What a bound is raised by, so that no rounding makes it wrong."""


@dataclass(frozen=True, kw_only=True)
class ClusterSettings:
    """How items are put together."""

    threshold: float = 0.17  # of the cosine, aged
    half_life_days: float = 7.0  # of the cosine, by the gap between item and cluster
    alive_days: float = 14.0  # without a new item, after which a cluster takes none
    heavy_terms: int = 12  # of an item, by which candidates are found
    compared: int = 12  # candidates that are compared in full, those that share most first
    merge_cosine: float = 0.75  # of titles' mean vectors, at night; above 1: no merging
    split_cosine: float = 0.1  # mean cosine between members, below which a cluster is cut; below 0: no cutting
    vocabulary: int = 200_000  # terms whose document frequencies are kept
    centroid_terms: int = 256
    members: int = 200  # of a cluster, whose titles and vectors are kept; the newest

    def __post_init__(self) -> None:
        if not 0 < self.threshold < 1 or min(self.half_life_days, self.alive_days) <= 0:
            raise InputError(
                f"Clustering got threshold={self.threshold}, half_life_days={self.half_life_days}, alive_days="
                f"{self.alive_days}; it needs a threshold between 0 and 1, and days above 0."
            )
        if min(self.heavy_terms, self.compared, self.vocabulary, self.centroid_terms) < 1 or self.members < 2:
            raise InputError(
                f"Clustering got heavy_terms={self.heavy_terms}, compared={self.compared}, vocabulary="
                f"{self.vocabulary}, centroid_terms={self.centroid_terms}, members={self.members}; it needs at least 1 "
                "of each, and 2 members."
            )


class StreamTerms:
    """Document frequencies of a stream so far."""

    def __init__(self, vocabulary: int = 200_000) -> None:
        self.vocabulary, self.count = vocabulary, 0
        self.frequencies: Counter[str] = Counter()

    def vector(self, title: Sequence[str], text: Sequence[str]) -> Vector:
        """Count an item's terms, and weigh them by what came so far; empty where it has none."""
        counts = Counter(chain(title, title, text))  # halves
        self.count += 1
        known = self.frequencies
        known.update(iter(counts))
        if len(known) > 2 * self.vocabulary:
            kept = sorted(known, key=lambda word: (-known[word], word))[: self.vocabulary]
            self.frequencies = Counter({word: known[word] for word in kept})
        return self.weighted(counts)

    def weighted(self, halves: Mapping[str, int]) -> Vector:
        """Terms, by how many halves they count, as a vector of unit length; unknown terms count as come once."""
        shares = map(truediv, repeat(1 + self.count), map(self.frequencies.get, halves, repeat(1)))
        weights = list(map(mul, map(_dampened, halves.values()), map(math.log, shares)))
        length = math.sqrt(sum(map(mul, weights, weights)))
        return dict(zip(halves, map(truediv, weights, repeat(length)), strict=False)) if length else {}

    def idf(self, word: str) -> float:
        """ln((1 + N) / df)."""
        return math.log((1 + self.count) / self.frequencies.get(word, 1))

    def state(self) -> dict[str, Any]:
        """As plain values."""
        return {"count": self.count, "frequencies": dict(self.frequencies)}

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.count, self.frequencies = int(state["count"]), Counter(dict(state["frequencies"]))


@lru_cache(maxsize=1000)
def _dampened(halves: int) -> float:
    return 1 + math.log(halves * IN_TEXT)


@dataclass(frozen=True, slots=True)
class Member:
    """An item of a cluster; `at` in seconds."""

    id: str
    title: str
    source: str
    at: float
    vector: Mapping[str, float]
    entities: tuple[str, ...] = ()


@dataclass
class Cluster:
    """Items that report one event. Sums are over all that ever joined; `members` are the newest."""

    id: str
    first: float  # seconds
    last: float
    centroid: Vector = field(default_factory=dict)  # the sum of the members' vectors
    squared: float = 0.0  # of the centroid's length
    count: int = 0
    duplicates: int = 0
    heavy: dict[str, int] = field(default_factory=dict)  # term -> members that have it among their heaviest
    members: list[Member] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    entities: Counter[str] = field(default_factory=Counter)
    days: Counter[int] = field(default_factory=Counter)  # day -> items, duplicates included
    dense: Floats | None = None  # the sum of the titles' vectors
    waiting: list[str] = field(default_factory=list)  # titles that are not encoded yet
    grown: bool = True  # since last night
    peak: float = 0.0  # the highest burst so far

    @property
    def coherence(self) -> float:
        """The mean cosine between two different members; 1 for one alone."""
        return (self.squared - self.count) / (self.count * (self.count - 1)) if self.count > 1 else 1.0

    def cosine(self, vector: Mapping[str, float]) -> float:
        """Of a vector of unit length and the centroid."""
        if not self.squared:
            return 0.0
        held, product = self.centroid, 0.0
        for term in filter(held.__contains__, vector):  # few are in both: the fastest way to pass over the others
            product += vector[term] * held[term]
        return product / math.sqrt(self.squared)

    def most(self, vector: Mapping[str, float], heavy: Iterable[str], rest: float) -> float:
        """What the cosine is at most, by some terms alone; `rest` is the length of the vector without them."""
        held, product, square = self.centroid, 0.0, 0.0
        for term in filter(held.__contains__, heavy):
            weight = held[term]
            product += vector[term] * weight
            square += weight * weight
        other = max(0.0, 1 - square / self.squared) + ROUNDED if self.squared else 0.0
        return product / (math.sqrt(self.squared) or 1.0) + rest * math.sqrt(other) + ROUNDED


class StreamClusters:
    """The live clusters, and which of them hold a term among the heaviest of a member."""

    def __init__(self, settings: ClusterSettings | None = None) -> None:
        self.settings = settings or ClusterSettings()
        self.live: dict[str, Cluster] = {}
        self.holding = Holders()  # of the terms that are among the heaviest of a member
        self.made = 0

    def add(self, member: Member, heavy: Sequence[str] | None = None) -> Cluster:
        """The cluster that the item joined or opened; `heavy`: its heaviest terms, where they are known."""
        heavy = self.heaviest(member.vector) if heavy is None else heavy
        best = self._best(member, heavy)
        if best is None:
            best = self._open(member.at)
        self._join(best, member, heavy)
        return best

    def heaviest(self, vector: Mapping[str, float]) -> list[str]:
        """The terms by which candidates are found."""
        most = self.settings.heavy_terms
        first = sorted(vector, key=vector.__getitem__, reverse=True)[: most + 1]
        if len({vector[term] for term in first}) < len(first):  # equal ones go by name
            return heaviest_first(vector)[:most]
        return first[:most]

    def _best(self, member: Member, heavy: Sequence[str]) -> Cluster | None:
        """Of the clusters that share most of the item's heavy terms `compared` are compared in full."""
        settings, at, live = self.settings, member.at, self.live
        best, best_id, highest = None, 0, settings.threshold
        rest = length_without(heavy, member.vector)
        for name in self.holding.nearest({term: member.vector[term] for term in heavy}, settings.compared):
            cluster = live[name]
            gap = max(0.0, at - cluster.last, cluster.first - at) / DAY
            if gap > settings.alive_days:
                continue
            faded = half_life(gap, settings.half_life_days)
            likely = best is not None and rest * faded < highest  # else the bound is hardly ever low enough
            if likely and cluster.most(member.vector, heavy, rest) * faded < highest:
                continue
            found = cluster.cosine(member.vector) * faded
            if found < highest:
                continue
            number = int(name[1:])
            if found > highest or best is None or number < best_id:
                best, best_id, highest = cluster, number, found
        return best

    def _open(self, at: float) -> Cluster:
        self.made += 1
        cluster = self.live[f"e{self.made}"] = Cluster(f"e{self.made}", at, at)
        return cluster

    def _join(self, cluster: Cluster, member: Member, heavy: Iterable[str]) -> None:
        centroid, product = cluster.centroid, 0.0
        for term, weight in member.vector.items():
            before = centroid.get(term, 0.0)
            product += weight * before
            centroid[term] = before + weight
        cluster.squared += 2 * product + (1.0 if member.vector else 0.0)
        cluster.count += 1
        if len(centroid) > 2 * self.settings.centroid_terms:
            self._truncate(cluster)
        cluster.first, cluster.last = min(cluster.first, member.at), max(cluster.last, member.at)
        cluster.members.append(member)
        if len(cluster.members) > self.settings.members:
            del cluster.members[0]
        cluster.sources[member.source] += 1
        if member.entities:
            cluster.entities.update(member.entities)
        cluster.days[int(member.at // DAY)] += 1
        cluster.waiting.append(member.title)
        if len(cluster.waiting) > self.settings.members:
            del cluster.waiting[0]
        cluster.grown = True
        for term in heavy:
            cluster.heavy[term] = cluster.heavy.get(term, 0) + 1
        self._hold(cluster, heavy if cluster.count == 1 else member.vector)

    def _hold(self, cluster: Cluster, terms: Iterable[str]) -> None:
        """Note the weights of those terms by which the cluster is found."""
        self.holding.length(cluster.id, math.sqrt(cluster.squared) or 1.0)
        held = list(filter(cluster.heavy.__contains__, terms))
        self.holding.hold(cluster.id, dict(zip(held, map(cluster.centroid.get, held, repeat(0.0)), strict=False)))

    def _truncate(self, cluster: Cluster) -> None:
        held = cluster.centroid
        kept = heaviest_first(held)[: self.settings.centroid_terms]
        cluster.centroid = {term: held[term] for term in kept}
        for counts in (cluster.sources, cluster.entities):
            for name, _ in counts.most_common()[self.settings.centroid_terms :]:
                del counts[name]
        for term in heaviest_first(cluster.heavy)[self.settings.centroid_terms :]:
            self.holding.drop(cluster.id, term)
            del cluster.heavy[term]
        self._hold(cluster, cluster.heavy)

    # -- at night -----------------------------------------------------------------------------------------------

    def expired(self, now: float) -> list[Cluster]:
        """Take out the clusters that get no item any more."""
        old = [one for one in self.live.values() if now - one.last > self.settings.alive_days * DAY]
        for cluster in old:
            self._take_out(cluster)
        return old

    def split(self) -> list[tuple[Cluster, Cluster]]:
        """Cut the clusters that fell apart: the old one with its larger part, and the new one."""
        made = []
        for cluster in [one for one in self.live.values() if one.grown]:
            if cluster.count > 2 and cluster.coherence < self.settings.split_cosine:
                parts = two_parts([member.vector for member in cluster.members])
                if parts:
                    new = self._cut(cluster, parts)
                    made.append((self.live[cluster.id], new))
        return made

    def _cut(self, cluster: Cluster, leaving: Sequence[int]) -> Cluster:
        """Members at these places become a cluster of their own; both are summed anew from the members kept."""
        away = set(leaving)
        members, duplicates = cluster.members, cluster.duplicates
        self._take_out(cluster)
        new = self._open(members[leaving[0]].at)
        old = self.live[cluster.id] = Cluster(cluster.id, math.inf, -math.inf, duplicates=duplicates)
        old.peak = cluster.peak  # the highest burst of that name so far
        old.first = old.last = next(member.at for place, member in enumerate(members) if place not in away)
        for place, member in enumerate(members):
            self._join(new if place in away else old, member, self.heaviest(member.vector))
        return new

    def merge(self, encode: Encode) -> list[tuple[str, str]]:
        """Make clusters one whose titles mean the same: (id that stays, id that is gone) of each."""
        self._encode(encode)
        names = [name for name, one in self.live.items() if one.dense is not None]
        if len(names) < 2 or self.settings.merge_cosine > 1:
            return []
        rows = np.stack([self.live[name].dense for name in names])  # type: ignore[misc]
        rows = rows / np.maximum(np.linalg.norm(rows, axis=1, keepdims=True), 1e-9)
        pairs = _near(rows, [self.live[name].grown for name in names], self.settings.merge_cosine)
        merged: dict[str, str] = {}
        done = []
        for a, b in pairs:
            one, other = _kept(merged, names[a]), _kept(merged, names[b])
            if one == other or not _overlap(self.live[one], self.live[other]):
                continue
            older, younger = sorted((one, other), key=lambda name: (self.live[name].first, int(name[1:])))
            self._swallow(self.live[older], self.live[younger])
            merged[younger] = older
            done.append((older, younger))
        return done

    def rest(self) -> None:
        """The night is over: nothing has grown since."""
        for cluster in self.live.values():
            cluster.grown = False

    def _encode(self, encode: Encode) -> None:
        clusters = [one for one in self.live.values() if one.waiting]
        titles = [title for one in clusters for title in one.waiting]
        if not titles:
            return
        vectors, at = encode(titles), 0
        for cluster in clusters:
            part = vectors[at : at + len(cluster.waiting)].sum(axis=0)
            at += len(cluster.waiting)
            cluster.dense = part if cluster.dense is None else cluster.dense + part
            cluster.waiting = []

    def _swallow(self, older: Cluster, younger: Cluster) -> None:
        self._take_out(younger)
        product = sum(weight * older.centroid.get(term, 0.0) for term, weight in younger.centroid.items())
        for term, weight in younger.centroid.items():
            older.centroid[term] = older.centroid.get(term, 0.0) + weight
        older.squared += younger.squared + 2 * product
        older.count += younger.count
        older.duplicates += younger.duplicates
        older.peak = max(older.peak, younger.peak)
        older.first, older.last = min(older.first, younger.first), max(older.last, younger.last)
        both = sorted([*older.members, *younger.members], key=lambda member: member.at)
        older.members = both[-self.settings.members :]
        older.sources.update(younger.sources)
        older.entities.update(younger.entities)
        older.days.update(younger.days)
        if older.dense is not None and younger.dense is not None:
            older.dense = older.dense + younger.dense
        for term, count in younger.heavy.items():
            older.heavy[term] = older.heavy.get(term, 0) + count
        self._hold(older, older.heavy)
        if len(older.centroid) > 2 * self.settings.centroid_terms:
            self._truncate(older)

    def _take_out(self, cluster: Cluster) -> None:
        del self.live[cluster.id]
        self.holding.forget(cluster.id)

    # -- as plain values ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All of it."""
        return {"made": self.made, "live": [cluster_state(one) for one in self.live.values()],
                "holding": self.holding.state()}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.made = int(state["made"])
        self.live = {one["id"]: cluster_of(one) for one in state["live"]}
        self.holding = Holders.restored(state["holding"])
        for one in self.live.values():
            self.holding.length(one.id, math.sqrt(one.squared) or 1.0)


def length_without(terms: Iterable[str], vector: Mapping[str, float]) -> float:
    """What is left of the length of a unit vector without these terms, rounded up."""
    return math.sqrt(max(0.0, 1 - sum(vector[term] ** 2 for term in terms)) + ROUNDED)


def heaviest_first(weights: Mapping[str, float]) -> list[str]:
    """Terms by falling weight, equal ones by name."""
    return sorted(sorted(weights), key=weights.__getitem__, reverse=True)  # two plain sorts: faster than one of pairs


def _near(rows: Floats, grown: Sequence[bool], least: float) -> list[tuple[int, int]]:
    """Pairs of rows, of which one has grown, by falling cosine from `least` on."""
    found = []
    for first in np.flatnonzero(grown).tolist():
        cosines = rows @ rows[first]
        near = [other for other in np.flatnonzero(cosines >= least).tolist() if other != first]
        found += [(-float(cosines[other]), min(first, other), max(first, other)) for other in near]
    return [(a, b) for _, a, b in sorted(set(found))]


def _overlap(one: Cluster, other: Cluster) -> bool:
    """Whether there was a moment at which both lived."""
    return max(one.first, other.first) <= min(one.last, other.last)


def _kept(merged: Mapping[str, str], name: str) -> str:
    while name in merged:
        name = merged[name]
    return name


def cluster_state(cluster: Cluster) -> dict[str, Any]:
    """A cluster as plain values; floats come back as they were."""
    dense = None if cluster.dense is None else base64.b64encode(cluster.dense.astype("<f4").tobytes()).decode()
    members = [[one.id, one.title, one.source, one.at, dict(one.vector), list(one.entities)] for one in cluster.members]
    counts = {name: list(getattr(cluster, name).items()) for name in ("sources", "entities", "days")}
    return {**vars(cluster), **counts, "dense": dense, "members": members}


def cluster_of(state: Mapping[str, Any]) -> Cluster:
    """The inverse of `cluster_state`."""
    dense = state["dense"]
    members = [
        Member(name, title, source, at, dict(vector), tuple(names))
        for name, title, source, at, vector, names in state["members"]
    ]
    changed = {name: Counter(dict(state[name])) for name in ("sources", "entities", "days")}
    made = {**state, **changed, "members": members}
    made["dense"] = None if dense is None else np.frombuffer(base64.b64decode(dense), dtype="<f4").astype(np.float32)
    return Cluster(**made)
