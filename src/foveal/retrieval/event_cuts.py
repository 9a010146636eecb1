"""Members of a cluster that fell apart, cut in two: spherical 2-means over vectors of terms (Dhillon and Modha, 2001).

Shapes    vectors of unit length, term -> weight -> the places of those that leave
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence

Vector = dict[str, float]
"""Term -> weight; of unit length where nothing else is said."""
ROUNDS = 8
"""Of 2-means, at most."""


def two_parts(vectors: Sequence[Mapping[str, float]]) -> list[int]:
    """The places of the smaller part of a cut in two, by spherical 2-means from two members that are far apart.

    Empty where all are one: there are fewer than two, or none is far from another.
    """
    if len(vectors) < 2:
        return []
    cosines = [_dot(vectors[0], one) for one in vectors]
    first = cosines.index(min(cosines))
    cosines = [_dot(vectors[first], one) for one in vectors]
    second = cosines.index(min(cosines))
    centres: list[Mapping[str, float]] = [vectors[first], vectors[second]]
    side: list[bool] = []
    for _ in range(ROUNDS):
        one, other = (_unit(centre) for centre in centres)
        found = [_dot(vector, other) > _dot(vector, one) for vector in vectors]
        if found == side:
            break
        side = found
        if all(side) or not any(side):
            return []
        centres = [_sum(one for one, there in zip(vectors, side, strict=True) if there == part)
                   for part in (False, True)]  # fmt: skip
    smaller = sum(side) * 2 <= len(side)
    return [place for place, there in enumerate(side) if there == smaller]


def _dot(a: Mapping[str, float], b: Mapping[str, float]) -> float:
    product = 0.0
    for term, weight in a.items():  # faster than a sum of what is yielded
        if term in b:
            product += weight * b[term]
    return product


def _unit(vector: Mapping[str, float]) -> Vector:
    length = max(1e-12, math.sqrt(_dot(vector, vector)))
    return {term: weight / length for term, weight in vector.items()}


def _sum(vectors: Iterable[Mapping[str, float]]) -> Vector:
    total: Vector = {}
    for vector in vectors:
        for term, weight in vector.items():
            total[term] = total.get(term, 0.0) + weight
    return total
