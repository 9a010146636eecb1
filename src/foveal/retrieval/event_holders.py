"""Which clusters hold a term, and how much of it: the candidates of an item, found by a few products of arrays.

    holders.hold("e7", {"quake": 1.4}); holders.length("e7", 3.2)   # kept up to date by whoever owns the clusters
    holders.nearest({"quake": 0.5, "coast": 0.3}, k=12)            # ids by falling sum of products / length

The sum over an item's terms is the beginning of a dot product. It is added up in float64, term after term, so that it
is the same to the last bit whatever the order in which clusters came, went, or were read from a file.

All weights lie in one array, each pair of a cluster and a term in a slot of its own: a term lists its slots, a cluster
finds them by the term. So what an item changes is written at once, and what it asks for is read at once.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from itertools import repeat
from typing import Any

import numpy as np
import numpy.typing as npt

FIRST_ROOM = 4

Slots = npt.NDArray[np.int64]


class Postings:
    """The slots of one term."""

    __slots__ = ("size", "slots")

    def __init__(self) -> None:
        self.slots: Slots = np.empty(FIRST_ROOM, dtype=np.int64)
        self.size = 0

    def put(self, slot: int) -> None:
        """Note a slot that is not here."""
        if self.size == len(self.slots):
            self.slots = _wider(self.slots)
        self.slots[self.size] = slot
        self.size += 1

    def drop(self, slot: int) -> None:
        """Forget the slot; the last one takes its room."""
        self.size -= 1
        where = self.slots[: self.size + 1] == slot
        self.slots[where.argmax()] = self.slots[self.size]


class Holders:
    """The postings of all terms."""

    def __init__(self) -> None:
        self.terms: dict[str, Postings] = {}
        self._place: dict[str, int] = {}  # cluster -> its place
        self._names: list[str] = []
        self._lengths = np.ones(FIRST_ROOM)
        self._free: list[int] = []
        self._slots: dict[str, dict[str, int]] = {}  # cluster -> term -> slot
        self._weights = np.empty(FIRST_ROOM)  # of each slot
        self._holder: Slots = np.empty(FIRST_ROOM, dtype=np.int64)  # of each slot: the place of its cluster
        self._made = 0
        self._free_slots: list[int] = []

    def __len__(self) -> int:
        return len(self.terms)

    def length(self, name: str, length: float) -> None:
        """Note the length of a cluster's centroid."""
        place = self._place_of(name)
        self._lengths[place] = length

    def hold(self, name: str, weights: Mapping[str, float]) -> None:
        """Note the weights of terms in a cluster's centroid."""
        place = self._place_of(name)
        known = self._slots[name]
        slots = list(map(known.get, weights, repeat(-1)))
        if -1 in slots:
            for at, term in enumerate(weights):
                if slots[at] < 0:
                    slots[at] = known[term] = self._slot_of(term, place)
        if slots:
            self._weights[slots] = list(weights.values())

    def drop(self, name: str, term: str) -> None:
        """A cluster is not found by that term any more."""
        slot = self._slots.get(name, {}).pop(term, None)
        if slot is None:
            return
        postings = self.terms[term]
        postings.drop(slot)
        if not postings.size:
            del self.terms[term]
        self._free_slots.append(slot)

    def forget(self, name: str) -> None:
        """The cluster is gone."""
        place = self._place.pop(name, None)
        if place is None:
            return
        for term in list(self._slots[name]):
            self.drop(name, term)
        del self._slots[name]
        self._free.append(place)

    def nearest(self, weights: Mapping[str, float], k: int) -> list[str]:
        """The `k` clusters with the largest sum of weight times held weight over their length, equal ones by name."""
        held = [(self.terms[term], weight) for term, weight in weights.items() if term in self.terms]
        if not held:
            return []
        slots = np.concatenate([one.slots[: one.size] for one, _ in held])
        products = np.array([weight for _, weight in held]).repeat([one.size for one, _ in held])
        products *= self._weights.take(slots)
        sums = np.bincount(self._holder.take(slots), products, len(self._names)) / self._lengths[: len(self._names)]
        found = sums.nonzero()[0]
        totals = sums.take(found)
        if len(found) > k:
            last = totals.copy()
            last.partition(len(last) - k)
            most = (totals >= last[len(last) - k]).nonzero()[0]
            found, totals = found.take(most), totals.take(most)
        names = [self._names[place] for place in found.tolist()]
        return [name for _, name in sorted(zip((-totals).tolist(), names, strict=True))[:k]]

    def state(self) -> list[list[Any]]:
        """[term, {cluster: weight}] of each."""
        return [[term, self.of(term)] for term in self.terms]

    def of(self, term: str) -> dict[str, float]:
        """Cluster -> the term's weight in it."""
        if term not in self.terms:
            return {}
        slots = self.terms[term].slots[: self.terms[term].size]
        names = (self._names[place] for place in self._holder[slots].tolist())
        return dict(zip(names, self._weights[slots].tolist(), strict=True))

    def _place_of(self, name: str) -> int:
        place = self._place.get(name)
        if place is not None:
            return place
        if self._free:
            place = self._free.pop()
            self._names[place] = name
        else:
            place = len(self._names)
            self._names.append(name)
            if place == len(self._lengths):
                self._lengths = _wider(self._lengths)
        self._lengths[place] = 1.0
        self._place[name], self._slots[name] = place, {}
        return place

    def _slot_of(self, term: str, place: int) -> int:
        """A new slot of the term for the cluster at that place."""
        if self._free_slots:
            slot = self._free_slots.pop()
        else:
            slot = self._made
            self._made += 1
            if slot == len(self._weights):
                self._weights, self._holder = _wider(self._weights), _wider(self._holder)
        self._holder[slot] = place
        postings = self.terms.get(term)
        if postings is None:
            postings = self.terms[term] = Postings()
        postings.put(slot)
        return slot

    @classmethod
    def restored(cls, state: Iterable[tuple[str, Mapping[str, float]]]) -> Holders:
        """The inverse of `state`; lengths are to be noted anew."""
        made = cls()
        for term, held in state:
            for name, weight in held.items():
                made.hold(name, {term: weight})
        return made


def _wider(row: npt.NDArray[Any]) -> npt.NDArray[Any]:
    return np.concatenate([row, np.ones_like(row)])
