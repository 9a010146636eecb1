"""Searching a recorded corpus, and what a plan's searches are worth at an equal number of passages.

    search = RecordedSearch(recorded)                       # BM25, or two lists as one where vectors are given
    found = pooled(search, question, queries, budget=9)     # ids of distinct passages
    recall = found_answer(recorded, run, found)             # 1.0 or 0.0

Pool     the question's first `first` passages, then those of the queries by turns, each one's best first, until the
         budget is full; passages that were there count once. What the queries leave is filled from the question
Context  a query is asked with the question's words behind it: a poor one then finds what the question finds, a good one
         what both are about
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence

import numpy as np

from foveal.errors import InputError
from foveal.research.sources import in_context
from foveal.research.trajectories import Recorded, Trajectory
from foveal.research.transcripts import Shown
from foveal.retrieval.fusion import reciprocal_ranks
from foveal.retrieval.past_lexical import PastIndex

DEPTH = 100
"""Passages of a ranking: a plan whose queries all find the same needs more than the budget."""

BUDGET, FIRST = 9, 3
"""Distinct passages that each way to search is allowed; of these the question's own."""

Vectors = Callable[[Sequence[str]], np.ndarray]
"""Texts -> unit vectors (texts, d)."""


class RecordedSearch:
    """Ranks the passages of a recorded corpus; what was asked once is kept."""

    def __init__(self, recorded: Recorded, vectors: Vectors | None = None) -> None:
        """`vectors`: fuse the words' ranking with that by vectors, by reciprocal ranks."""
        self.recorded = recorded
        self.ids = list(recorded.sources)
        texts = [f"{one.title}\n{one.text}" for one in recorded.sources.values()]
        self._words = PastIndex(texts, [0.0] * len(texts))
        self._vectors = vectors
        self._matrix = vectors(texts) if vectors else None
        self._kept: dict[str, list[str]] = {}

    def __call__(self, query: str) -> list[str]:
        """Ids, the best first; for a query without any known word none."""
        if query not in self._kept:
            self._kept[query] = self._ranked(query)
        return self._kept[query]

    def shown(self, ids: Sequence[str]) -> list[Shown]:
        """Title and text of passages."""
        return [(self.recorded.sources[one].title, self.recorded.sources[one].text) for one in ids]

    def _ranked(self, query: str) -> list[str]:
        words = self._words.search(query, 0.0, DEPTH)
        if self._vectors is None or self._matrix is None:
            return [self.ids[number] for number in words]
        near = self._matrix @ self._vectors([query])[0]
        dense = {int(number): float(near[number]) for number in np.argsort(-near, kind="stable")[:DEPTH]}
        fused = reciprocal_ranks([words, dense])
        return [self.ids[number] for number, _ in sorted(fused.items(), key=lambda pair: -pair[1])][:DEPTH]


def pooled(
    search: Callable[[str], Sequence[str]],
    question: str,
    queries: Sequence[str],
    *,
    budget: int = BUDGET,
    first: int = FIRST,
) -> list[str]:
    """The distinct passages that the question and its queries find, within the budget. InputError: no budget."""
    if budget < 1 or first < 0:
        raise InputError(f"A budget of {budget} passages, {first} of the question: it needs 1 and 0, or more.")
    whole = list(search(question))
    lists = [list(search(in_context(query, question))) for query in queries]
    order = [*(whole[:first] if lists else whole), *by_turns(lists), *whole]
    return list(dict.fromkeys(order))[:budget]


def by_turns(lists: Sequence[Sequence[str]]) -> Iterator[str]:
    """The first of each list, then the second of each, and so on."""
    for place in range(max(map(len, lists), default=0)):
        yield from (one[place] for one in lists if place < len(one))


def found_answer(recorded: Recorded, run: Trajectory, found: Sequence[str]) -> float:
    """1.0 where one of the passages holds an answer of the run, else 0.0."""
    return float(any(recorded.holds(one, run) for one in found))


def supporting_recall(run: Trajectory, found: Sequence[str]) -> float:
    """The share of the run's supporting passages that were found; 0.0 where it has none."""
    return len(set(found) & set(run.supporting)) / len(run.supporting) if run.supporting else 0.0


def new_words(query: str, before: Sequence[str]) -> set[str]:
    """Content words of a query that stand in none of the texts `before` it."""
    from foveal.retrieval.terms import terms

    return set(terms(query)) - {word for text in before for word in terms(text)}


def mean(values: Mapping[str, float]) -> float:
    """Of a value for each question; 0.0 of none."""
    return float(np.mean(list(values.values()))) if values else 0.0
