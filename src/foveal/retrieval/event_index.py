"""The sums of a stream's clusters, and which of them an item is nearest to: what an index is asked, and the plain one.

    index = PlainIndex(settings); index.open(cluster)
    index.add(cluster, vector, heavy)           # into its sums; whether these were cut
    index.best(member, heavy)                   # the id of the cluster that an item joins; None: it opens one

Joining    of the clusters that share most of an item's heaviest terms (`event_holders.py`) some are compared in full:
           the one with the highest cosine, aged by the gap between item and cluster, if that is high enough
Against    event_index_compiled.py does the same with numbers in place of words, in C++: to the last bit
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from heapq import nlargest
from itertools import repeat
from typing import TYPE_CHECKING, Any, Protocol

from foveal.retrieval.event_cuts import Vector
from foveal.retrieval.event_holders import Holders
from foveal.retrieval.event_items import DAY, half_life

if TYPE_CHECKING:
    from foveal.retrieval.event_clusters import Cluster, ClusterSettings, Member

ROUNDED = 1e-9
"""What a bound is raised by, so that no rounding makes it wrong."""


class Sums(Protocol):
    """What a cluster's members come to. `centroid` and `heavy` are made anew where they lie in another form."""

    squared: float  # the centroid's length, squared

    @property
    def centroid(self) -> Vector:
        """The sum of the members' vectors."""

    @property
    def heavy(self) -> dict[str, int]:
        """Term -> members that have it among their heaviest."""

    def top(self, count: int) -> tuple[str, ...]:
        """The heaviest terms of the centroid, equal ones in the order in which they came."""


class PlainSums:
    """Sums as dictionaries."""

    __slots__ = ("centroid", "heavy", "squared")

    def __init__(
        self, centroid: Vector | None = None, heavy: dict[str, int] | None = None, squared: float = 0.0
    ) -> None:
        self.centroid: Vector = {} if centroid is None else centroid
        self.heavy: dict[str, int] = {} if heavy is None else heavy
        self.squared = squared

    def top(self, count: int) -> tuple[str, ...]:
        """As `Sums` says."""
        centroid = self.centroid
        least = min(nlargest(count, centroid.values()), default=0.0)  # few terms are left to be put in order
        found = [term for term, weight in centroid.items() if weight >= least]
        return tuple(sorted(found, key=centroid.__getitem__, reverse=True)[:count])


class Index(Protocol):
    """The sums of the live clusters."""

    def __len__(self) -> int:
        """The terms by which any cluster is found."""

    def heaviest(self, vector: Mapping[str, float]) -> list[str]:
        """The terms of an item by which candidates are found, the heaviest first, equal ones by name."""

    def best(self, member: Member, heavy: Sequence[str]) -> str | None:
        """The id of the cluster that an item joins."""

    def open(self, cluster: Cluster) -> None:
        """A new one, without members."""

    def span(self, cluster: Cluster) -> None:
        """Its first or last moment is another."""

    def add(self, cluster: Cluster, vector: Mapping[str, float], heavy: Sequence[str]) -> bool:
        """Put a member in; whether the centroid was cut."""

    def put(self, cluster: Cluster, sums: PlainSums) -> None:
        """Its sums anew."""

    def take_out(self, cluster: Cluster) -> None:
        """The cluster is gone, and keeps its sums itself."""

    def rest(self) -> None:
        """It is night."""

    def of(self, term: str) -> Vector:
        """Cluster -> weight in it of a term by which it is found."""

    def state(self) -> list[list[Any]]:
        """[term, {cluster: weight}] of each term by which any is found."""


class PlainIndex:
    """Sums in dictionaries, candidates by arrays."""

    def __init__(self, settings: ClusterSettings) -> None:
        self.settings = settings
        self.holding = Holders()  # of the terms that are among the heaviest of a member
        self._clusters: dict[str, Cluster] = {}

    @classmethod
    def restored(cls, settings: ClusterSettings, state: Iterable[Any], live: Iterable[Cluster]) -> PlainIndex:
        """The inverse of `state`."""
        made = cls(settings)
        made.holding = Holders.restored(state)
        for one in live:
            made._clusters[one.id] = one
            made.holding.length(one.id, math.sqrt(one.sums.squared) or 1.0)
        return made

    def __len__(self) -> int:
        return len(self.holding)

    def heaviest(self, vector: Mapping[str, float]) -> list[str]:
        """As `Index` says."""
        most = self.settings.heavy_terms
        first = sorted(vector, key=vector.__getitem__, reverse=True)[: most + 1]
        if len({vector[term] for term in first}) < len(first):  # equal ones go by name
            return heaviest_first(vector)[:most]
        return first[:most]

    def best(self, member: Member, heavy: Sequence[str]) -> str | None:
        """As `Index` says."""
        settings, at, vector = self.settings, member.at, member.vector
        best, best_id, highest = None, 0, settings.threshold
        rest = length_without(heavy, vector)
        for name in self.holding.nearest({term: vector[term] for term in heavy}, settings.compared):
            cluster = self._clusters[name]
            gap = max(0.0, at - cluster.last, cluster.first - at) / DAY
            if gap > settings.alive_days:
                continue
            faded = half_life(gap, settings.half_life_days)
            likely = best is not None and rest * faded < highest  # else the bound is hardly ever low enough
            if likely and most(cluster.sums, vector, heavy, rest) * faded < highest:
                continue
            found = cosine(cluster.sums, vector) * faded
            if found < highest:
                continue
            number = int(name[1:])
            if found > highest or best is None or number < best_id:
                best, best_id, highest = name, number, found
        return best

    def open(self, cluster: Cluster) -> None:
        """As `Index` says."""
        cluster.sums = PlainSums()
        self._clusters[cluster.id] = cluster

    def span(self, cluster: Cluster) -> None:
        """As `Index` says."""

    def add(self, cluster: Cluster, vector: Mapping[str, float], heavy: Sequence[str]) -> bool:
        """As `Index` says."""
        sums, product = cluster.sums, 0.0
        centroid, counts = sums.centroid, sums.heavy
        for term, weight in vector.items():
            before = centroid.get(term, 0.0)
            product += weight * before
            centroid[term] = before + weight
        sums.squared += 2 * product + (1.0 if vector else 0.0)
        cut = len(centroid) > 2 * self.settings.centroid_terms
        if cut:
            self.put(cluster, shortened(sums, self.settings.centroid_terms))
            counts = cluster.sums.heavy
        for term in heavy:
            counts[term] = counts.get(term, 0) + 1
        self._hold(cluster, heavy if cluster.count == 1 else vector)
        return cut

    def put(self, cluster: Cluster, sums: PlainSums) -> None:
        """As `Index` says."""
        for term in cluster.sums.heavy:
            if term not in sums.heavy:
                self.holding.drop(cluster.id, term)
        cluster.sums = sums
        self._hold(cluster, sums.heavy)

    def _hold(self, cluster: Cluster, terms: Iterable[str]) -> None:
        """Note the weights of those terms by which the cluster is found."""
        sums = cluster.sums
        centroid, counts = sums.centroid, sums.heavy
        self.holding.length(cluster.id, math.sqrt(sums.squared) or 1.0)
        held = list(filter(counts.__contains__, terms))
        self.holding.hold(cluster.id, dict(zip(held, map(centroid.get, held, repeat(0.0)), strict=False)))

    def take_out(self, cluster: Cluster) -> None:
        """As `Index` says."""
        self.holding.forget(cluster.id)
        del self._clusters[cluster.id]

    def rest(self) -> None:
        """As `Index` says."""

    def of(self, term: str) -> Vector:
        """As `Index` says."""
        return self.holding.of(term)

    def state(self) -> list[list[Any]]:
        """As `Index` says."""
        return self.holding.state()


def cosine(sums: Sums, vector: Mapping[str, float]) -> float:
    """Of a vector of unit length and the centroid."""
    if not sums.squared:
        return 0.0
    held, product = sums.centroid, 0.0
    for term in filter(held.__contains__, vector):  # few are in both: the fastest way to pass over the others
        product += vector[term] * held[term]
    return product / math.sqrt(sums.squared)


def most(sums: Sums, vector: Mapping[str, float], heavy: Iterable[str], rest: float) -> float:
    """What the cosine is at most, by some terms alone; `rest` is the length of the vector without them."""
    held, product, square = sums.centroid, 0.0, 0.0
    for term in filter(held.__contains__, heavy):
        weight = held[term]
        product += vector[term] * weight
        square += weight * weight
    other = max(0.0, 1 - square / sums.squared) + ROUNDED if sums.squared else 0.0
    return product / (math.sqrt(sums.squared) or 1.0) + rest * math.sqrt(other) + ROUNDED


def length_without(terms: Iterable[str], vector: Mapping[str, float]) -> float:
    """What is left of the length of a unit vector without these terms, rounded up."""
    return math.sqrt(max(0.0, 1 - sum(vector[term] ** 2 for term in terms)) + ROUNDED)


def shortened(sums: Sums, terms: int) -> PlainSums:
    """The heaviest terms of the centroid, and those that most members have among their heaviest."""
    held, counts = sums.centroid, sums.heavy
    kept = {term: held[term] for term in heaviest_first(held)[:terms]}
    heavy = set(heaviest_first(counts)[:terms])
    return PlainSums(kept, {term: count for term, count in counts.items() if term in heavy}, sums.squared)


def heaviest_first(weights: Mapping[str, float]) -> list[str]:
    """Terms by falling weight, equal ones by name."""
    return sorted(sorted(weights), key=weights.__getitem__, reverse=True)  # two plain sorts: faster than one of pairs
