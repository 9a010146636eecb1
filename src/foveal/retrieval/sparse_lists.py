"""Sparse vectors, and inverted lists over them that are searched exactly without reading them all.

Shapes    SparseVectors (N, vocabulary): row i has `weights[starts[i] : starts[i + 1]]` at the terms beside them, all
          above 0. A score is the sum over shared terms of query weight times document weight
Source    skipping: MaxScore, Turtle and Flood, Information Processing and Management 1995

MaxScore, term by term: the query's terms come by the most that each can add. Once the terms to come cannot lift an
unseen document above the k-th best score so far, only documents already seen are looked up in them, and of those only
the ones that can still get there. Every document is summed in the same order, so skipping changes no bit of a score.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError

Ints = npt.NDArray[Any]
Floats = npt.NDArray[np.float32]
Alive = npt.NDArray[np.bool_]

LOOK_UP = 8
"""Adding a weight of a list in order is about this many times faster than looking a document up in it."""
ROUNDING = 1 + 1e-9
"""Bounds are sums in another order than scores: a bound is taken a little higher than it comes out."""


@dataclass(frozen=True)
class SparseVectors:
    """Vectors with few weights above 0, row after row. Weights of 0 are not kept."""

    starts: Ints  # (N + 1,)
    terms: Ints  # (weights,), below `vocabulary`, each at most once in a row
    weights: Floats  # (weights,)
    vocabulary: int

    def __len__(self) -> int:
        return len(self.starts) - 1

    def row(self, number: int) -> tuple[Ints, Floats]:
        """Terms and weights of one vector."""
        place = slice(self.starts[number], self.starts[number + 1])
        return self.terms[place], self.weights[place]

    @classmethod
    def of_rows(cls, rows: Sequence[tuple[npt.ArrayLike, npt.ArrayLike]], vocabulary: int) -> SparseVectors:
        """From (terms, weights) of each vector.

        InputError: two lengths, a term outside the vocabulary or twice in a row, a weight below 0, NaN or infinite.
        """
        checked = [_checked(number, *row, vocabulary=vocabulary) for number, row in enumerate(rows)]
        starts = np.cumsum([0, *(len(terms) for terms, _ in checked)], dtype=np.int64)
        terms = np.concatenate([np.empty(0, np.int32), *(terms for terms, _ in checked)])
        weights = np.concatenate([np.empty(0, np.float32), *(weights for _, weights in checked)])
        return cls(starts, terms, weights, vocabulary)

    @classmethod
    def of_dense(cls, matrix: npt.NDArray[Any]) -> SparseVectors:
        """From (N, vocabulary) weights, most of them 0."""
        if matrix.ndim != 2:
            raise InputError(f"Sparse vectors came as an array of shape {matrix.shape}; it needs (N, vocabulary).")
        return cls.of_rows([(found := np.flatnonzero(row), row[found]) for row in matrix], matrix.shape[1])

    @classmethod
    def joined(cls, parts: Sequence[SparseVectors], vocabulary: int) -> SparseVectors:
        """All rows of the parts, in order."""
        counts = np.concatenate([np.empty(0, np.int64), *(np.diff(part.starts) for part in parts)])
        terms = np.concatenate([np.empty(0, np.int32), *(part.terms for part in parts)])
        weights = np.concatenate([np.empty(0, np.float32), *(part.weights for part in parts)])
        return cls(np.concatenate([[0], np.cumsum(counts)]).astype(np.int64), terms, weights, vocabulary)


@dataclass(frozen=True)
class Found:
    """The best rows for one query, and how many weights were read to find them."""

    rows: Ints
    scores: npt.NDArray[np.float64]
    read: int


@dataclass(frozen=True, eq=False)
class Lists:
    """An inverted file over documents numbered from 0: for each term the rows that have it, in order, and weights."""

    documents: int
    starts: Ints  # (vocabulary + 1,)
    rows: Ints  # (weights,)
    weights: Floats
    highest: Floats  # (vocabulary,), 0 where no row has the term

    def arrays(self) -> dict[str, npt.NDArray[Any]]:
        """What a snapshot keeps."""
        return {name: getattr(self, name) for name in ("starts", "rows", "weights", "highest")}

    def of(self, term: int) -> tuple[Ints, Floats]:
        """Rows and weights of one term."""
        place = slice(self.starts[term], self.starts[term + 1])
        return self.rows[place], self.weights[place]


def lists_of(vectors: SparseVectors) -> Lists:
    """The lists of the vectors' terms."""
    rows = np.repeat(np.arange(len(vectors), dtype=np.int32), np.diff(vectors.starts))
    return _sorted(len(vectors), vectors.terms, rows, vectors.weights, vectors.vocabulary)


def _sorted(documents: int, terms: Ints, rows: Ints, weights: Floats, vocabulary: int) -> Lists:
    """Lists from weights in the order of their rows."""
    order = np.argsort(terms, kind="stable")
    starts = np.concatenate([[0], np.cumsum(np.bincount(terms, minlength=vocabulary))]).astype(np.int64)
    sorted_weights = weights[order].astype(np.float32)
    highest = np.zeros(vocabulary, dtype=np.float32)
    used = starts[:-1] < starts[1:]
    if used.any():
        highest[used] = np.maximum.reduceat(sorted_weights, starts[:-1][used])
    return Lists(documents, starts, rows[order].astype(np.int32), sorted_weights, highest)


def _terms(lists: Lists) -> Ints:
    return np.repeat(np.arange(len(lists.highest), dtype=np.int32), np.diff(lists.starts))


def merged(parts: Sequence[Lists]) -> Lists:
    """The lists of all parts, whose rows follow each other."""
    if len(parts) == 1:
        return parts[0]
    firsts = np.cumsum([0, *(part.documents for part in parts)])
    terms = np.concatenate([_terms(part) for part in parts])
    rows = np.concatenate([part.rows + first for first, part in zip(firsts[:-1], parts, strict=True)])
    weights = np.concatenate([part.weights for part in parts])
    return _sorted(int(firsts[-1]), terms, rows, weights, len(parts[0].highest))


def kept(lists: Lists, alive: Alive) -> Lists:
    """The lists without the rows that are not alive, which the others close up over."""
    if alive.all():
        return lists
    stays = alive[lists.rows]
    numbers = np.cumsum(alive) - 1
    return _sorted(
        int(alive.sum()), _terms(lists)[stays], numbers[lists.rows[stays]], lists.weights[stays], len(lists.highest)
    )


def best_of(lists: Lists, alive: Alive, query: tuple[Ints, Floats], k: int, least: float | None) -> Found:
    """The best k of these lists that score at least `least`; where it is None, nothing is skipped."""
    terms, weights = query
    most = weights * lists.highest[terms]
    order = np.argsort(-most, kind="stable")
    to_come = np.append(np.cumsum(most[order][::-1])[::-1], 0.0) * ROUNDING  # what term i and those after can add
    scores = np.zeros(lists.documents)
    scores[~alive] = -np.inf
    seen: Ints | None = None  # the rows that can still be among the best; None: any
    read = 0
    for place, number in enumerate(order):
        if least is not None and to_come[place] < least:
            near = np.flatnonzero(scores > 0) if seen is None else seen
            seen = near[scores[near] + to_come[place] >= least]
        rows, values = lists.of(terms[number])
        if seen is not None and len(seen) * LOOK_UP < len(rows):
            rows, values = _looked_up(rows, values, seen)
        scores[rows] += np.multiply(values, weights[number], dtype=np.float64)
        read += len(rows)
        if least is not None and to_come[place + 1] < scores[rows].max(initial=least):
            least = max(least, _kth(scores[rows if seen is None else seen], k))
    found = np.flatnonzero(scores > 0) if seen is None else seen[scores[seen] > 0]
    return Found(*top(found, scores[found], k), read)


def best_of_parts(
    parts: Sequence[Lists], alive: Sequence[Alive], query: tuple[Ints, Floats], k: int, *, skip: bool = True
) -> Found:
    """The best k of lists whose rows follow each other, of those that are `alive`, a mask for each part."""
    terms, weights = query
    best, first = Found(np.empty(0, np.int64), np.empty(0), 0), 0
    for lists, mask in zip(parts, alive, strict=True):
        least = float(best.scores[-1]) if len(best.rows) == k else 0.0
        found = best_of(lists, mask, (terms, weights.astype(np.float64)), k, least if skip else None)
        rows, scores = np.append(best.rows, found.rows + first), np.append(best.scores, found.scores)
        best = Found(*top(rows, scores, k), best.read + found.read)
        first += lists.documents
    return best


def _looked_up(rows: Ints, values: Floats, wanted: Ints) -> tuple[Ints, Floats]:
    """The part of a term's list that is of the rows wanted; both are in order."""
    if not len(rows) or not len(wanted):
        return rows[:0], values[:0]
    places = np.minimum(np.searchsorted(rows, wanted), len(rows) - 1)
    there = rows[places] == wanted
    return wanted[there], values[places[there]]


def _kth(scores: npt.NDArray[np.float64], k: int) -> float:
    """The k-th largest; 0 where there are fewer."""
    return float(np.partition(scores, -k)[-k]) if len(scores) >= k else 0.0


def top(rows: Ints, scores: npt.NDArray[np.float64], k: int) -> tuple[Ints, npt.NDArray[np.float64]]:
    """The k rows with the highest scores, best first, ties by row."""
    if len(rows) > k:
        near = scores >= np.partition(scores, -k)[-k]
        rows, scores = rows[near], scores[near]
    order = np.lexsort((rows, -scores))[:k]
    return rows[order], scores[order]


def _checked(number: int, terms: npt.ArrayLike, weights: npt.ArrayLike, *, vocabulary: int) -> tuple[Ints, Floats]:
    """One vector's terms and weights above 0, as arrays."""
    at, values = np.asarray(terms, dtype=np.int64).reshape(-1), np.asarray(weights, dtype=np.float32).reshape(-1)
    if len(at) != len(values):
        raise InputError(f"Sparse vector {number} has {len(at)} terms and {len(values)} weights; it needs as many.")
    if len(at) and (at.min() < 0 or at.max() >= vocabulary or len(np.unique(at)) < len(at)):
        raise InputError(
            f"Sparse vector {number} has a term twice, or outside of 0 to {vocabulary - 1}. Give each term once, with "
            "the vocabulary of its encoder."
        )
    if not np.isfinite(values).all() or (values < 0).any():
        raise InputError(
            f"Sparse vector {number} has a weight that is negative, NaN or infinite; every weight must be a finite "
            "number of 0 or more. Encode its text again."
        )
    return at[values > 0].astype(np.int32), values[values > 0]
