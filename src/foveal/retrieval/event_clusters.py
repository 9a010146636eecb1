"""Items of a stream put together, one at a time: idf that follows the stream, clusters, and what is mended at night.

    terms = StreamTerms(); vector = terms.vector(title_words, text_words)      # term -> weight, of unit length
    clusters = StreamClusters(); name = clusters.add(member, vector, now)      # joins the best cluster, or opens one

Weights    (1 + ln tf) ln((1 + N) / df) with tf = 1 for each time in the title and 0.5 for each in the text; N and df
           are those of the items so far, this one included
Joining    of the live clusters that share one of the 12 heaviest terms the one with the highest
           cos(item, centroid) 2^(-gap / 7 days), if that is 0.17 or more; the centroid is the sum of the members
At night   clusters whose titles' mean vectors have a cosine of 0.75 and whose lives overlap become one; one whose
           members' mean cosine fell below 0.1 is cut in two (spherical 2-means over the members that are kept)
Sums       lie in an index (`event_index.py`), from some hundred clusters on in a compiled one: it gives the same
Memory     terms of the stream, terms of a centroid, members of a cluster: each has a bound, the lightest or oldest go
Against    other threshold clusterings drift into clusters of everything on a name; here age, heavy terms and the night
           hold them apart (single pass: Allan, Papka and Lavrenko, SIGIR 1998)
"""

from __future__ import annotations

import base64
import math
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import lru_cache
from itertools import chain, repeat
from operator import mul, truediv
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval.event_cuts import Vector, two_parts
from foveal.retrieval.event_index import Index, PlainIndex, PlainSums, Sums, shortened
from foveal.retrieval.event_index_compiled import CompiledIndex
from foveal.retrieval.event_items import DAY
from foveal.retrieval.event_native import native

Floats = npt.NDArray[np.float32]
Encode = Callable[[Sequence[str]], Floats]

IN_TEXT = 0.5
"""What a term counts that stands in the text, where one in the title counts 1: twice as much."""

COMPILED_FROM = 500
"""Live clusters from which on the index is a compiled one: before that it is not worth to load and compile it."""


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
    sums: Sums = field(default_factory=PlainSums)
    count: int = 0
    duplicates: int = 0
    members: list[Member] = field(default_factory=list)
    sources: Counter[str] = field(default_factory=Counter)
    entities: Counter[str] = field(default_factory=Counter)
    days: Counter[int] = field(default_factory=Counter)  # day -> items, duplicates included
    dense: Floats | None = None  # the sum of the titles' vectors
    waiting: list[str] = field(default_factory=list)  # titles that are not encoded yet
    grown: bool = True  # since last night
    peak: float = 0.0  # the highest burst so far

    @property
    def centroid(self) -> Vector:
        """The sum of the members' vectors; not to be changed, and made anew each time where it lies in an index."""
        return self.sums.centroid

    @property
    def coherence(self) -> float:
        """The mean cosine between two different members; 1 for one alone."""
        return (self.sums.squared - self.count) / (self.count * (self.count - 1)) if self.count > 1 else 1.0


class StreamClusters:
    """The live clusters."""

    def __init__(self, settings: ClusterSettings | None = None) -> None:
        self.settings = settings or ClusterSettings()
        self.live: dict[str, Cluster] = {}
        self.index: Index = PlainIndex(self.settings)
        self.made = 0
        self.compiled_from: float = COMPILED_FROM

    def add(self, member: Member, heavy: Sequence[str] | None = None) -> Cluster:
        """The cluster that the item joined or opened; `heavy`: its heaviest terms, where they are known."""
        if len(self.live) >= self.compiled_from:
            self._compile()
        heavy = self.index.heaviest(member.vector) if heavy is None else heavy
        best = self.index.best(member, heavy)
        cluster = self._open(member.at) if best is None else self.live[best]
        self._join(cluster, member, heavy)
        return cluster

    def again(self, cluster: Cluster, source: str, at: float) -> None:
        """A near-duplicate of a member came."""
        cluster.duplicates += 1
        cluster.sources[source] += 1
        cluster.days[int(at // DAY)] += 1
        cluster.first, cluster.last = min(cluster.first, at), max(cluster.last, at)
        cluster.grown = True  # else the night would not note the burst that they are
        self.index.span(cluster)

    def _compile(self) -> None:
        """From now on sums lie in the compiled index, if there is a compiler."""
        self.compiled_from = math.inf
        calls = native()
        if calls is not None:
            index = CompiledIndex(self.settings, calls)
            for one in self.live.values():
                index.put(one, PlainSums(one.sums.centroid, one.sums.heavy, one.sums.squared))
            self.index = index

    def _open(self, at: float) -> Cluster:
        self.made += 1
        cluster = self.live[f"e{self.made}"] = Cluster(f"e{self.made}", at, at)
        self.index.open(cluster)
        return cluster

    def _join(self, cluster: Cluster, member: Member, heavy: Sequence[str]) -> None:
        cluster.count += 1
        cluster.first, cluster.last = min(cluster.first, member.at), max(cluster.last, member.at)
        self.index.span(cluster)
        if self.index.add(cluster, member.vector, heavy):
            self._shorten(cluster)
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

    def _shorten(self, cluster: Cluster) -> None:
        """Sources and names are bounded as the terms are."""
        for counts in (cluster.sources, cluster.entities):
            for name, _ in counts.most_common()[self.settings.centroid_terms :]:
                del counts[name]

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
        """Members at these places become a cluster of their own; both are summed anew from the members kept.

        What is counted and is none of them, near-duplicates and members that were forgotten, stays with the old one.
        """
        away = set(leaving)
        members, duplicates = cluster.members, cluster.duplicates + cluster.count - len(cluster.members)
        days = cluster.days - Counter(int(member.at // DAY) for member in members)
        sources = cluster.sources - Counter(member.source for member in members)
        self._take_out(cluster)
        new = self._open(members[leaving[0]].at)
        old = self.live[cluster.id] = Cluster(cluster.id, math.inf, -math.inf, duplicates=duplicates)
        self.index.open(old)
        old.peak = cluster.peak  # the highest burst of that name so far
        old.first = old.last = next(member.at for place, member in enumerate(members) if place not in away)
        for place, member in enumerate(members):
            self._join(new if place in away else old, member, self.index.heaviest(member.vector))
        old.days.update(days)
        old.sources.update(sources)
        self._shorten(old)
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
        self.index.rest()

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
        sums = PlainSums(dict(older.centroid), dict(older.sums.heavy), older.sums.squared)
        product = sum(weight * sums.centroid.get(term, 0.0) for term, weight in younger.centroid.items())
        for term, weight in younger.centroid.items():
            sums.centroid[term] = sums.centroid.get(term, 0.0) + weight
        for term, count in younger.sums.heavy.items():
            sums.heavy[term] = sums.heavy.get(term, 0) + count
        sums.squared += younger.sums.squared + 2 * product
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
        if len(sums.centroid) > 2 * self.settings.centroid_terms:
            sums = shortened(sums, self.settings.centroid_terms)
            self._shorten(older)
        self.index.put(older, sums)
        self.index.span(older)

    def _take_out(self, cluster: Cluster) -> None:
        del self.live[cluster.id]
        self.index.take_out(cluster)

    # -- as plain values ----------------------------------------------------------------------------------------

    def state(self) -> dict[str, Any]:
        """All of it."""
        return {"made": self.made, "live": [cluster_state(one) for one in self.live.values()],
                "holding": self.index.state()}  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self.made = int(state["made"])
        self.live = {one["id"]: cluster_of(one) for one in state["live"]}
        self.index = PlainIndex.restored(self.settings, state["holding"], self.live.values())


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
    sums = {name: getattr(cluster.sums, name) for name in ("centroid", "squared", "heavy")}
    kept = {name: value for name, value in vars(cluster).items() if name != "sums"}
    return {**kept, **sums, **counts, "dense": dense, "members": members}


def cluster_of(state: Mapping[str, Any]) -> Cluster:
    """The inverse of `cluster_state`."""
    dense = state["dense"]
    members = [
        Member(name, title, source, at, dict(vector), tuple(names))
        for name, title, source, at, vector, names in state["members"]
    ]
    changed = {name: Counter(dict(state[name])) for name in ("sources", "entities", "days")}
    sums = PlainSums(state["centroid"], state["heavy"], state["squared"])
    kept = {name: value for name, value in state.items() if name not in ("centroid", "heavy", "squared")}
    made = {**kept, **changed, "members": members, "sums": sums}
    made["dense"] = None if dense is None else np.frombuffer(base64.b64decode(dense), dtype="<f4").astype(np.float32)
    return Cluster(**made)
