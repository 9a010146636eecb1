"""The sums of a stream's clusters in C++: the same numbers as `event_index.PlainIndex` gives, to the last bit.

    index = CompiledIndex(settings, event_native.native())

Terms are numbered here, clusters have places there. What is asked for of a cluster is read and made words again; so
whoever needs its centroid twice keeps it.
"""

from __future__ import annotations

import weakref
from array import array
from collections.abc import Iterable, Mapping, Sequence
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

from foveal.retrieval.event_cuts import Vector
from foveal.retrieval.event_index import PlainSums

if TYPE_CHECKING:
    from foveal.retrieval.event_clusters import Cluster, ClusterSettings, Member

_Laid: TypeAlias = "tuple[Mapping[str, float], array[int], array[float]]"

SPARE = 10_000
"""Terms that no cluster has any more, beside as many as are in use, before their numbers are given out again."""


class _Terms(dict[str, int]):
    """Term -> number; a new one gets the next that is free."""

    def __init__(self, calls: SimpleNamespace, index: int) -> None:
        super().__init__()
        self.calls, self.index = calls, index
        self.names: list[str] = []
        self.free: list[int] = []

    def __missing__(self, term: str) -> int:
        if self.free:
            number = self.free.pop()
            self.names[number] = term
        else:
            number = len(self.names)
            self.names.append(term)
        name = term.encode("utf-8", "surrogatepass")
        self.calls.name(self.index, number, name, len(name))
        self[term] = number
        return number

    def forget(self) -> None:
        """Free the numbers of terms that no cluster has."""
        used = np.zeros(len(self.names), dtype=np.uint8)
        self.calls.used(self.index, used.ctypes.data)
        for number in np.flatnonzero(used == 0).tolist():
            name = self.names[number]
            if self.get(name) == number:  # else it is free already
                del self[name]
                self.names[number] = ""
                self.free.append(number)


class CompiledSums:
    """Sums that lie in an index."""

    __slots__ = ("index", "place", "squared")

    def __init__(self, index: CompiledIndex, place: int, squared: float = 0.0) -> None:
        self.index, self.place, self.squared = index, place, squared

    @property
    def centroid(self) -> Vector:
        """Made anew."""
        return self.index.read(self.place).centroid

    @property
    def heavy(self) -> dict[str, int]:
        """Made anew."""
        return self.index.read(self.place).heavy

    def top(self, count: int) -> tuple[str, ...]:
        """As `event_index.Sums` says."""
        return self.index.top(self.place, count)


class CompiledIndex:
    """What `event_index.Index` says."""

    def __init__(self, settings: ClusterSettings, calls: SimpleNamespace) -> None:
        self._calls = calls
        self._index = calls.new(
            *(settings.compared, settings.centroid_terms),
            *(settings.threshold, settings.half_life_days, settings.alive_days),
        )
        if not self._index:
            raise MemoryError("There is no memory for an index of clusters.")
        weakref.finalize(self, calls.free, self._index)
        self._terms = _Terms(calls, self._index)
        self._names: dict[int, str] = {}  # of clusters, by their place
        self._most = settings.heavy_terms
        self._laid: _Laid = ({}, array("i"), array("d"))
        self._by: tuple[Sequence[str], array[int]] = ((), array("i"))
        self._spare = SPARE

    def __len__(self) -> int:
        return int(self._calls.held(self._index))

    def heaviest(self, vector: Mapping[str, float]) -> list[str]:
        """As `Index` says."""
        numbers, weights = self._item(vector)
        out, terms = array("i", bytes(4 * self._most)), list(vector)
        count = self._calls.heaviest(self._index, *_at(numbers, weights), *_from(out))
        return [terms[place] for place in out[:count]]

    def best(self, member: Member, heavy: Sequence[str]) -> str | None:
        """As `Index` says."""
        numbers, weights = self._item(member.vector)
        by = self._heavy(heavy)
        found = self._calls.best(self._index, *_at(numbers, weights), *by.buffer_info(), member.at)
        return None if found < 0 else self._names[found]

    def open(self, cluster: Cluster) -> None:
        """As `Index` says."""
        place = self._calls.open(self._index, int(cluster.id[1:]))
        cluster.sums, self._names[place] = CompiledSums(self, place), cluster.id
        self.span(cluster)

    def span(self, cluster: Cluster) -> None:
        """As `Index` says."""
        self._calls.span(self._index, _place(cluster), cluster.first, cluster.last)

    def add(self, cluster: Cluster, vector: Mapping[str, float], heavy: Sequence[str]) -> bool:
        """As `Index` says."""
        numbers, weights = self._item(vector)
        by, squared = self._heavy(heavy), array("d", (0.0,))
        item = _at(numbers, weights)
        cut = self._calls.add(self._index, _place(cluster), *item, *by.buffer_info(), squared.buffer_info()[0])
        cluster.sums.squared = squared[0]
        return bool(cut)

    def put(self, cluster: Cluster, sums: PlainSums) -> None:
        """As `Index` says; a cluster that was in none comes in."""
        if not isinstance(cluster.sums, CompiledSums):
            self.open(cluster)
        numbers, weights = self._numbers(sums.centroid), array("d", sums.centroid.values())
        by, counts = self._numbers(sums.heavy), array("i", sums.heavy.values())
        heavy = by.buffer_info()[0], *counts.buffer_info()
        self._calls.put(self._index, _place(cluster), *_at(numbers, weights), *heavy, sums.squared)
        cluster.sums.squared = sums.squared

    def take_out(self, cluster: Cluster) -> None:
        """As `Index` says."""
        place = _place(cluster)
        sums = self.read(place)
        sums.squared, cluster.sums = cluster.sums.squared, sums
        self._calls.forget(self._index, place)
        del self._names[place]

    def rest(self) -> None:
        """Numbers of terms that are gone are given out again."""
        self._laid, self._by = ({}, array("i"), array("d")), ((), array("i"))
        if len(self._terms) > self._spare:
            self._terms.forget()
            self._spare = 2 * len(self._terms) + SPARE

    def read(self, place: int) -> PlainSums:
        """The sums of the cluster there, without their length."""
        sizes = array("q", (0, 0))
        self._calls.sizes(self._index, place, sizes.buffer_info()[0])
        terms, weights = array("i", bytes(4 * sizes[0])), array("d", bytes(8 * sizes[0]))
        heavy, counts = array("i", bytes(4 * sizes[1])), array("i", bytes(4 * sizes[1]))
        self._calls.read(self._index, place, *(one.buffer_info()[0] for one in (terms, weights, heavy, counts)))
        word = self._terms.names.__getitem__
        return PlainSums(
            dict(zip(map(word, terms), weights, strict=True)), dict(zip(map(word, heavy), counts, strict=True))
        )

    def top(self, place: int, count: int) -> tuple[str, ...]:
        """The heaviest terms of the centroid there."""
        out = array("i", bytes(4 * count))
        found = self._calls.top(self._index, place, *_from(out))
        return tuple([self._terms.names[number] for number in out[:found]])

    def of(self, term: str) -> Vector:
        """As `Index` says."""
        held: dict[str, Vector] = dict(self.state())
        return held.get(term, {})

    def state(self) -> list[list[Any]]:
        """As `Index` says."""
        held: dict[str, Vector] = {}
        for place, name in self._names.items():
            sums = self.read(place)
            for term in sums.heavy:
                held.setdefault(term, {})[name] = sums.centroid.get(term, 0.0)
        return [[term, weights] for term, weights in held.items()]

    # -- parts --------------------------------------------------------------------------------------------------

    def _numbers(self, terms: Iterable[str]) -> array[int]:
        return array("i", map(self._terms.__getitem__, terms))

    def _item(self, vector: Mapping[str, float]) -> tuple[array[int], array[float]]:
        """The numbers of its terms, and their weights; kept for the next call."""
        laid = self._laid
        if laid[0] is not vector:
            laid = self._laid = vector, self._numbers(vector), array("d", vector.values())
        return laid[1], laid[2]

    def _heavy(self, heavy: Sequence[str]) -> array[int]:
        """Their numbers; kept for the next call."""
        by = self._by
        if by[0] is not heavy:
            by = self._by = heavy, self._numbers(heavy)
        return by[1]


def _place(cluster: Cluster) -> int:
    sums = cluster.sums
    assert isinstance(sums, CompiledSums)
    return sums.place


def _at(numbers: array[int], weights: array[float]) -> tuple[int, int, int]:
    """Where they lie, and how many; whoever asks keeps them as long as that is used."""
    return numbers.buffer_info()[0], weights.buffer_info()[0], len(numbers)


def _from(out: array[int]) -> tuple[int, int]:
    """How many fit, and where."""
    return len(out), out.buffer_info()[0]
