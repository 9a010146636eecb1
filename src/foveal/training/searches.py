"""First-stage searches over a training corpus in memory: where negatives and candidates come from.

Shapes     queries, k -> for each query at most k document ids with scores, higher is better
Words      BM25 (Robertson and Zaragoza, 2009) in Lucene's form, over lower-cased words; no stems, no stop words; where
           no space parts words (Chinese, Thai), over pieces; the same to the bit in every process
Vectors    cosine of unit vectors, all of them compared
Against    a library's own retrievers (retrieval/) search passages on disk; a training run may be given those instead
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.evaluation import bm25
from foveal.evaluation.metrics import Run
from foveal.evaluation.scripts import counted_words
from foveal.ranges import require_k
from foveal.training.examples import Examples

Floats = npt.NDArray[np.float32]
Search = Callable[[Sequence[str], int], list[dict[str, float]]]
"""Texts of queries and k -> for each of them document id -> score, at most k."""
Encode = Callable[[Sequence[str]], Floats]
"""Texts -> unit vectors (len(texts), D)."""


def run_of(search: Search, examples: Examples, k: int) -> Run:
    """What `search` finds for the queries of `examples`, without what counts neither way for a query."""
    spare = max((len(documents) for documents in examples.aside.values()), default=0)
    found = dict(zip(examples.queries, search(list(examples.queries.values()), k + spare), strict=True))
    return {query: _without(ranking, examples.aside.get(query, ()), k) for query, ranking in found.items()}


def fingerprint(found: Mapping[str, Mapping[str, float]]) -> str:
    """SHA-256 over what was found: for each query which documents, and the mean size of all scores to a hundredth.

    The last digits of a score depend on machine and threads; a run that was stopped there must still be known here.
    """
    sizes = [abs(score) for ranking in found.values() for score in ranking.values()]
    total = math.fsum(sizes)
    counts = 0 < total < math.inf
    size = round(100 * math.log(total / len(sizes))) if counts else None  # of a logarithm: no plain number is a half
    told = [size, {query: sorted(one) for query, one in found.items()}]
    return hashlib.sha256(json.dumps(told, sort_keys=True).encode()).hexdigest()


def _without(ranking: Mapping[str, float], aside: Collection[str], k: int) -> dict[str, float]:
    """The best `k` of a ranking but for some documents."""
    left = [document for document in ranking if document not in aside]
    best = left if len(left) <= k else sorted(left, key=lambda document: -ranking[document])[:k]
    return {document: ranking[document] for document in best}


@dataclass(frozen=True)
class WordSearch:
    """A `Search` by BM25; `cut` gives the words of a text."""

    corpus: Mapping[str, str]
    k1: float = bm25.K1
    b: float = bm25.B
    cut: Callable[[str], Sequence[str]] = counted_words

    @cached_property
    def _index(self) -> tuple[list[str], dict[str, tuple[npt.NDArray[np.int64], Floats]]]:
        """Document ids, and for each word the documents that hold it with what it adds to their scores."""
        ids = list(self.corpus)
        words = [Counter(self.cut(self.corpus[name])) for name in ids]
        lengths = np.array([sum(counts.values()) for counts in words], dtype=np.float64)
        norms = self.k1 * (1 - self.b + self.b * lengths / max(1.0, lengths.mean()))
        held: dict[str, list[tuple[int, int]]] = defaultdict(list)
        for row, counts in enumerate(words):
            for word, count in counts.items():
                held[word].append((row, count))
        index = {}
        for word, pairs in held.items():
            rows, counts = np.array(pairs).T
            rarity = bm25.idf(len(ids), len(pairs))
            index[word] = (rows, (rarity * counts / (counts + norms[rows])).astype(np.float32))
        return ids, index

    def __call__(self, queries: Sequence[str], k: int) -> list[dict[str, float]]:
        """The best `k` documents that hold a word of the query."""
        ids, _ = self._index
        found = []
        for scores in map(self._scores, queries):
            best = _best(scores, k)
            found.append({ids[row]: float(scores[row]) for row in best if scores[row] > 0})
        return found

    def of(self, query: str, documents: Iterable[str]) -> dict[str, float]:
        """The scores of these documents; 0 for one that holds no word of the query."""
        scores = self._scores(query)
        return {document: float(scores[self._rows[document]]) for document in documents}

    def _scores(self, query: str) -> npt.NDArray[np.float64]:
        """Those of all documents (N,)."""
        ids, index = self._index
        scores = np.zeros(len(ids))
        for word in sorted(set(self.cut(query)) & index.keys()):  # a set's own order is the process's
            rows, added = index[word]
            scores[rows] += added
        return scores

    @cached_property
    def _rows(self) -> dict[str, int]:
        return {name: row for row, name in enumerate(self.corpus)}


@dataclass(frozen=True)
class VectorSearch:
    """A `Search` by the vectors (N, D) of the documents `ids`."""

    ids: Sequence[str]
    vectors: Floats
    encode: Encode

    def __post_init__(self) -> None:
        if self.vectors.ndim != 2 or len(self.ids) != len(self.vectors):
            raise InputError(f"{len(self.ids)} documents came with vectors {self.vectors.shape}; each needs one.")

    @classmethod
    def over(cls, corpus: Mapping[str, str], encode: Encode) -> VectorSearch:
        """The search over these texts, encoded now."""
        return cls(list(corpus), encode(list(corpus.values())), encode)

    def __call__(self, queries: Sequence[str], k: int) -> list[dict[str, float]]:
        """The `k` documents with the highest cosine."""
        asked = self.encode(list(queries))
        found = []
        for first in range(0, len(asked), 256):
            every = asked[first : first + 256] @ self.vectors.T
            found += [{self.ids[row]: float(scores[row]) for row in _best(scores, k)} for scores in every]
        return found


def blended(searches: Sequence[Search], weights: Sequence[float], *, depth: int = 200) -> Search:
    """A `Search` by the weighted sum of scores that are each brought to 0 to 1 (what one lacks counts 0)."""
    if len(searches) != len(weights) or any(weight < 0 for weight in weights):
        raise InputError(f"{len(searches)} searches were to be blended by {list(weights)}; each needs one >= 0.")

    def search(queries: Sequence[str], k: int) -> list[dict[str, float]]:
        parts = [one(queries, max(k, depth)) for one in searches]
        found = []
        for rankings in zip(*parts, strict=True):
            summed: dict[str, float] = defaultdict(float)
            for ranking, weight in zip(rankings, weights, strict=True):
                for document, score in scaled(ranking).items():
                    summed[document] += weight * score
            found.append(dict(sorted(summed.items(), key=lambda item: (-item[1], item[0]))[:k]))
        return found

    return search


def scaled(ranking: Mapping[str, float]) -> dict[str, float]:
    """The scores laid over 0 to 1; all 1 where they are the same."""
    low, high = min(ranking.values(), default=0.0), max(ranking.values(), default=0.0)
    return {document: (score - low) / (high - low) if high > low else 1.0 for document, score in ranking.items()}


def _best(scores: npt.NDArray[np.floating[Any]], k: int) -> list[int]:
    """The rows of the `k` highest scores, the first one first; ties by row."""
    require_k(k)
    falling = -scores
    if k < len(scores):  # all that can be among them: a fifth of the time of sorting all
        near = np.flatnonzero(~(falling > np.partition(falling, k - 1)[k - 1]))  # of no number nothing is known
    else:
        near = np.arange(len(scores))
    order: list[int] = near[np.argsort(falling[near], kind="stable")][:k].tolist()
    return order
