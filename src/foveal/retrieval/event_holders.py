"""Which clusters hold a term, and how much of it: the candidates of an item, found by a few products of arrays.

    holders.hold("e7", {"quake": 1.4}); holders.length("e7", 3.2)   # kept up to date by whoever owns the clusters
    holders.nearest({"quake": 0.5, "coast": 0.3}, k=12)            # ids by falling sum of products / length

The sum over an item's terms is the beginning of a dot product. It is added up in float64, term after term, so that it
is the same to the last bit whatever the order in which clusters came, went, or were read from a file.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np

FIRST_ROOM = 4


class Postings:
    """The clusters of one term, as places in the table of clusters, and its weights in them."""

    __slots__ = ("at", "places", "size", "weights")

    def __init__(self) -> None:
        self.places = np.empty(FIRST_ROOM, dtype=np.int64)
        self.weights = np.empty(FIRST_ROOM)
        self.size = 0
        self.at: dict[int, int] = {}  # place -> where it stands here

    def put(self, place: int, weight: float) -> None:
        """Note the weight; a place that is here is overwritten."""
        where = self.at.get(place)
        if where is None:
            where = self.at[place] = self.size
            if where == len(self.places):
                self.places = np.concatenate([self.places, np.empty_like(self.places)])
                self.weights = np.concatenate([self.weights, np.empty_like(self.weights)])
            self.places[where] = place
            self.size += 1
        self.weights[where] = weight

    def drop(self, place: int) -> None:
        """Forget the place; the last one takes its room."""
        where = self.at.pop(place, None)
        if where is None:
            return
        self.size -= 1
        last = int(self.places[self.size])
        if last != place:
            self.places[where], self.weights[where] = last, self.weights[self.size]
            self.at[last] = where


class Holders:
    """The postings of all terms."""

    def __init__(self) -> None:
        self.terms: dict[str, Postings] = {}
        self._place: dict[str, int] = {}  # cluster -> its place
        self._names: list[str] = []
        self._lengths = np.ones(FIRST_ROOM)
        self._free: list[int] = []

    def __len__(self) -> int:
        return len(self.terms)

    def length(self, name: str, length: float) -> None:
        """Note the length of a cluster's centroid."""
        place = self._place_of(name)
        self._lengths[place] = length

    def hold(self, name: str, weights: Mapping[str, float]) -> None:
        """Note the weights of terms in a cluster's centroid."""
        place, known = self._place_of(name), self.terms
        for term, weight in weights.items():
            postings = known.get(term)
            if postings is None:
                postings = known[term] = Postings()
            postings.put(place, weight)

    def drop(self, name: str, term: str) -> None:
        """A cluster is not found by that term any more."""
        postings = self.terms.get(term)
        if postings is not None and name in self._place:
            postings.drop(self._place[name])
            if not postings.size:
                del self.terms[term]

    def forget(self, name: str, terms: Iterable[str]) -> None:
        """The cluster is gone; `terms` are all that it was held by."""
        for term in terms:
            self.drop(name, term)
        place = self._place.pop(name, None)
        if place is not None:
            self._free.append(place)

    def nearest(self, weights: Mapping[str, float], k: int) -> list[str]:
        """The `k` clusters with the largest sum of weight times held weight over their length, equal ones by name."""
        postings = [(self.terms[term], weight) for term, weight in weights.items() if term in self.terms]
        if not postings:
            return []
        places = np.concatenate([one.places[: one.size] for one, _ in postings])
        products = np.concatenate([weight * one.weights[: one.size] for one, weight in postings])
        sums = np.bincount(places, products, minlength=len(self._names)) / self._lengths[: len(self._names)]
        found = np.flatnonzero(sums)
        if len(found) > k:
            found = found[sums[found] >= np.partition(sums[found], -k)[-k]]
        order = sorted((-float(sums[place]), self._names[place]) for place in found.tolist())
        return [name for _, name in order[:k]]

    def state(self) -> list[list[Any]]:
        """[term, {cluster: weight}] of each."""
        return [[term, self.of(term)] for term in self.terms]

    def of(self, term: str) -> dict[str, float]:
        """Cluster -> the term's weight in it."""
        postings = self.terms.get(term, Postings())
        return {self._names[place]: float(postings.weights[where]) for place, where in postings.at.items()}

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
                self._lengths = np.concatenate([self._lengths, np.ones_like(self._lengths)])
        self._lengths[place] = 1.0
        self._place[name] = place
        return place

    @classmethod
    def restored(cls, state: Iterable[tuple[str, Mapping[str, float]]]) -> Holders:
        """The inverse of `state`; lengths are to be noted anew."""
        made = cls()
        for term, held in state:
            for name, weight in held.items():
                made.hold(name, {term: weight})
        return made
