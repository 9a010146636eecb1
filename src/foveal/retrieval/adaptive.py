"""Adaptive re-ranking: what lies near a good passage is probably good, too, so the ranker looks there as well
(GAR: MacAvaney, Tonellotto and Macdonald, "Adaptive Re-Ranking with a Corpus Graph", CIKM 2022).

A ranker that may score `budget` passages takes `batch` at a time, by turns from the first search's ranking and from
the frontier: the neighbours of what it has scored, those of the best-scored first. So it finds passages that the first
search missed, at the same cost.

Needs     a ranker that scores each passage by itself (a cross-encoder does; one that compares the candidates with each
          other does not: its scores of two batches mean different things)
Source    Algorithm 1 of the paper; neighbours by vectors as in its section 3.2
"""

from __future__ import annotations

from collections.abc import Callable, Hashable, Sequence
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval.feedback import VectorSearch
from foveal.retrieval.flat import flat_search
from foveal.retrieval.pipeline import by_span, followed_by
from foveal.types import Encoder, Hit, Ranker, Span

Key = TypeVar("Key", bound=Hashable)

Neighbours = Callable[[Sequence[Hit]], list[list[Hit]]]
"""Hits -> for each the passages near it, the nearest first."""


def adaptive(
    first: Sequence[Key],
    score: Callable[[list[Key]], Sequence[float]],
    neighbours: Callable[[list[Key]], Sequence[Sequence[Key]]],
    *,
    budget: int,
    batch: int,
) -> dict[Key, float]:
    """Key -> score of the keys that were scored, at most `budget`, in the order in which they were.

    `first` is the first search's ranking. A turn whose pool is empty goes to the other one; a key is scored once.
    """
    scored: dict[Key, float] = {}
    waiting = dict.fromkeys(first)  # the first ranking, in its order
    frontier: dict[Key, float] = {}  # key -> the best score among those that it is a neighbour of
    of_frontier = False
    while len(scored) < budget and (waiting or frontier):
        pool: Sequence[Key] = list(waiting)
        if frontier and (of_frontier or not waiting):
            pool = sorted(frontier, key=lambda key: -frontier[key])
        taken = list(pool[: min(batch, budget - len(scored))])
        scored |= zip(taken, score(taken), strict=True)
        for key in taken:
            waiting.pop(key, None)
            frontier.pop(key, None)
        for key, near in zip(taken, neighbours(taken), strict=True):
            for other in near:
                if other not in scored:
                    frontier[other] = max(scored[key], frontier.get(other, scored[key]))
        of_frontier = not of_frontier
    return scored


@dataclass(frozen=True)
class AdaptiveRanker:
    """A `Ranker` that lets another one score hits and their neighbours; what it did not get to follows as it was.

    It may give passages that it was not given: those are the point.
    """

    ranker: Ranker
    neighbours: Neighbours
    budget: int = 100  # passages scored in all
    batch: int = 16  # passages scored in a turn

    def __post_init__(self) -> None:
        if not 1 <= self.batch <= self.budget:
            raise InputError(
                f"Adaptive re-ranking got batch={self.batch} and budget={self.budget}; it needs 1 <= batch <= budget."
            )

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:
        """The scored passages, best first, then the rest of `hits`."""
        known = {hit.passage.span: hit for hit in reversed(hits)}
        order = list(dict.fromkeys(hit.passage.span for hit in hits))

        def score(spans: list[Span]) -> list[float]:
            ranked = self.ranker.rank(query, [known[span] for span in spans])
            known.update({hit.passage.span: hit for hit in ranked})
            return [known[span].score for span in spans]

        def near(spans: list[Span]) -> list[list[Span]]:
            found = self.neighbours([known[span] for span in spans])
            for hit in (one for group in found for one in group):
                known.setdefault(hit.passage.span, hit)
            return [[hit.passage.span for hit in group] for group in found]

        scores = adaptive(order, score, near, budget=self.budget, batch=self.batch)
        return followed_by(by_span(scores, known, "adaptive"), hits)


def vector_neighbours(encoder: Encoder, nearest: VectorSearch, *, count: int = 8) -> Neighbours:
    """The `count` passages nearest to each by its vector, itself left out; `nearest` as by `feedback.vector_search`."""
    if count < 1:
        raise InputError(f"Each passage would have {count} neighbours; it needs at least 1.")

    def neighbours(hits: Sequence[Hit]) -> list[list[Hit]]:
        vectors = encoder.encode([hit.passage.text for hit in hits])
        near = [nearest(vector, count + 1) for vector in vectors]
        return [
            [other for other in others if other.passage.span != hit.passage.span][:count]
            for hit, others in zip(hits, near, strict=True)
        ]

    return neighbours


def corpus_graph(vectors: npt.NDArray[np.float32], count: int) -> npt.NDArray[np.int64]:
    """Vectors (N, D) -> the rows of the `count` nearest others of each, (N, min(count, N - 1)), nearest first.

    For a collection in memory whose neighbours are looked up often: made once, N^2 D multiplications.
    """
    if count < 1 or len(vectors) < 2:
        raise InputError(
            f"A corpus graph got {len(vectors)} vectors and count={count}; it needs two or more, and at least 1."
        )
    kept = min(count, len(vectors) - 1)
    ids, _ = flat_search(vectors, vectors, kept + 1)
    graph = np.empty((len(vectors), kept), dtype=np.int64)
    for row, near in enumerate(ids):
        graph[row] = near[near != row][:kept]  # a copy of itself may come before it, so that its place is not fixed
    return graph
