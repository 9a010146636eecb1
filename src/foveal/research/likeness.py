"""How alike texts are: by an encoder's vectors, or, without one, by the words that they share.

likeness = Likeness(encoder)
likeness.to(question, texts)                      # cosines, (texts,)
distinct(queries, likeness)                       # those that ask the same (cosine > 0.92) are one
diverse(scores, likeness.vectors(texts), 5)       # MMR (Carbonell and Goldstein, SIGIR 1998)

A run holds the same sentences against each other many times: each is encoded once.
"""

from __future__ import annotations

import zlib
from collections import OrderedDict
from collections.abc import Sequence
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.errors import InputError
from foveal.retrieval.terms import terms
from foveal.types import Encoder

SAME = 0.92
"""Cosine above which two queries ask the same."""

BUCKETS = 4096
KEPT = 10_000
"""Texts whose vectors are kept, those that were wanted last: 15 MB of 384 dimensions."""

Floats = NDArray[Any]


class Likeness:
    """Unit vectors of texts; threads may share it."""

    def __init__(self, encoder: Encoder | None = None) -> None:
        self.encoder = encoder
        self._kept: OrderedDict[str, Floats] = OrderedDict()
        self._turn = Lock()

    def vectors(self, texts: Sequence[str]) -> Floats:
        """(texts, d) float32, of unit length; a text without a word is all zeros where there is no encoder."""
        if not texts:
            return np.zeros((0, BUCKETS if self.encoder is None else self.encoder.dimension), np.float32)
        if self.encoder is not None:
            with self._turn:
                return self._encoded(self.encoder, texts)
        return np.stack([_bag(one) for one in texts])

    def to(self, wanted: str, texts: Sequence[str]) -> list[float]:
        """The cosine of each text with what is wanted."""
        if not texts:
            return []
        vectors = self.vectors([wanted, *texts])
        return [float(one) for one in vectors[1:] @ vectors[0]]

    def _encoded(self, encoder: Encoder, texts: Sequence[str]) -> Floats:
        """The vectors of texts; those that are kept are not computed again. The turn is held."""
        new = [one for one in dict.fromkeys(texts) if one not in self._kept]
        if new:
            for text, vector in zip(new, np.asarray(encoder.encode(new), np.float32), strict=True):
                self._kept[text] = vector.copy()  # a view would hold all of its batch
        vectors = np.stack([self._kept[one] for one in texts])
        for one in texts:
            self._kept.move_to_end(one)
        while len(self._kept) > KEPT:
            self._kept.popitem(last=False)
        return vectors


def _bag(text: str) -> Floats:
    counts = np.zeros(BUCKETS, np.float32)
    for word in terms(text):
        counts[zlib.crc32(word.encode()) % BUCKETS] += 1
    length = np.linalg.norm(counts)
    return counts / length if length else counts


def distinct(texts: Sequence[str], likeness: Likeness, *, before: Sequence[str] = (), most: float = SAME) -> list[int]:
    """Places of the texts that are like none before them, in `before` or among themselves."""
    vectors = likeness.vectors([*before, *texts])
    kept: list[int] = list(range(len(before)))
    for place in range(len(before), len(vectors)):
        near = vectors[kept] @ vectors[place] if kept else np.zeros(0)
        if not np.any(near > most):
            kept.append(place)
    return [place - len(before) for place in kept[len(before) :]]


def diverse(scores: Sequence[float], vectors: Floats, k: int, *, trade: float = 1.0) -> list[int]:
    """Places of at most `k` vectors of (N, D), each the next by trade · score - (1 - trade) · likeness to those before.

    `trade` 1 is the order of the scores. InputError: it is not in 0 to 1.
    """
    if not 0 <= trade <= 1:
        raise InputError(f"The trade of relevance for diversity is {trade}; it needs 0 to 1.")
    picked: list[int] = []
    left = list(range(len(scores)))
    while left and len(picked) < k:
        near = (vectors[left] @ vectors[picked].T).max(axis=1) if picked else np.zeros(len(left))
        gains = [trade * scores[place] - (1 - trade) * float(near[at]) for at, place in enumerate(left)]
        best = max(range(len(left)), key=lambda at: (gains[at], -left[at]))
        picked.append(left.pop(best))
    return picked
