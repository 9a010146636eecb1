"""BM25 as of any moment: word counts, lengths and the documents themselves are those up to then, exactly.

    index = PastIndex(texts, moments)                # any order; moments in seconds
    index.search("election run-off", at, 10)         # numbers of texts dated up to `at`, with their scores

Documents are kept in the order of their dates, so that the past of a moment is the beginning of each list.
Source: Robertson and Zaragoza, 2009, in Lucene's form: idf ln(1 + (N - n + 0.5) / (n + 0.5)), tf / (tf + norm).
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.evaluation import bm25
from foveal.ranges import require_k
from foveal.retrieval.terms import terms


class PastIndex:
    """Texts by their moments."""

    def __init__(self, texts: Sequence[str], moments: Sequence[float]) -> None:
        """InputError: not one moment for each text."""
        if len(texts) != len(moments):
            raise InputError(f"{len(texts)} texts came with {len(moments)} moments; each needs one.")
        self.order = np.argsort(np.asarray(moments, dtype=np.float64), kind="stable")
        self.moments = np.asarray(moments, dtype=np.float64)[self.order]
        held: dict[str, list[tuple[int, int]]] = defaultdict(list)
        lengths = []
        for place, number in enumerate(self.order.tolist()):
            counts = Counter(terms(texts[number]))
            lengths.append(sum(counts.values()))
            for term, count in counts.items():
                held[term].append((place, count))
        self.lengths = np.array(lengths, dtype=np.float64)
        self.summed = np.concatenate([[0.0], np.cumsum(self.lengths)])
        self.held = {term: tuple(np.array(pairs, dtype=np.int64).T) for term, pairs in held.items()}

    def before(self, at: float) -> int:
        """How many texts are dated up to `at`."""
        return int(np.searchsorted(self.moments, at, side="right"))

    def scores(self, query: str, at: float, *, since: float = -math.inf) -> npt.NDArray[np.float64]:
        """The score of each text, by its number; 0 for those dated outside of `since` to `at`."""
        count = self.before(at)
        found = np.zeros(len(self.order))
        if count:
            mean = max(1.0, self.summed[count] / count)
            for term in dict.fromkeys(terms(query)):
                if term in self.held:
                    places, counts = (part[: np.searchsorted(self.held[term][0], count)] for part in self.held[term])
                    rarity = bm25.idf(count, len(places))
                    norms = bm25.norm(self.lengths[places], mean)
                    found[places] += rarity * counts / (counts + norms)
            found[self.moments < since] = 0.0
        by_number = np.empty_like(found)
        by_number[self.order] = found
        return by_number

    def search(self, query: str, at: float, k: int, *, since: float = -math.inf) -> dict[int, float]:
        """The `k` texts with the highest scores above 0, best first. InputError: k below 1."""
        require_k(k)
        scores = self.scores(query, at, since=since)
        best = np.argsort(-scores, kind="stable")[:k]
        return {int(number): float(scores[number]) for number in best if scores[number] > 0}
