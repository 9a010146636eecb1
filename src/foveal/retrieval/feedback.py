"""Pseudo-relevance feedback: what a first search finds best tells more of what is meant, and a second search uses it.

    rocchio         q' = a q + b mean(found) - c mean(not found)       vectors (Rocchio, 1971; Li et al., TOIS 2023)
    rm3             P'(w) = o P(w | query) + (1 - o) P(w | found)      words (Abdul-Jaleel et al., TREC 2004)

Shapes    query vector (D,), found vectors (n, D) -> unit vector (D,); texts with scores -> word -> weight, sum 1
Needs     nothing to train; one search and n passages to encode more (vectors), or two searches in all (words)
Against   it helps where the first results are good and hurts where they are not: the query drifts. Measure it on
          judged queries first (`fusion_weights.fusion_verdict` compares any two runs)
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.models.characters import each_read
from foveal.ranges import require_k
from foveal.retrieval.fusion import weighted_sum
from foveal.retrieval.pipeline import by_span
from foveal.retrieval.rows import hits
from foveal.retrieval.store import Collection
from foveal.retrieval.terms import terms
from foveal.retrieval.words import has_phrase
from foveal.types import Encoder, Hit, Retriever, Span

if TYPE_CHECKING:
    from foveal.retrieval.store import Store

Floats = npt.NDArray[np.float32]

VectorSearch = Callable[[Floats, int], list[Hit]]
"""A query's vector (D,) and k -> the k passages nearest to it, best first."""


def rocchio(
    query: Floats, found: Floats, not_found: Floats | None = None, *, a: float = 1.0, b: float = 0.75, c: float = 0.0
) -> Floats:
    """a query + b mean(found) - c mean(not_found), of unit length; the query itself where that is nothing.

    Shapes (D,), (n, D), (m, D) -> (D,); n and m may be 0. InputError: shapes that do not fit.
    """
    moved = a * query.astype(np.float64)
    for vectors, share in ((found, b), (not_found, -c)):
        if vectors is None or len(vectors) == 0:
            continue
        if query.ndim != 1 or vectors.ndim != 2 or vectors.shape[1] != len(query):
            raise InputError(
                f"Rocchio got a query of shape {query.shape} and vectors of shape {vectors.shape}; it needs (D,) and "
                "(n, D) of one encoder."
            )
        moved = moved + share * vectors.mean(axis=0, dtype=np.float64)
    length = np.linalg.norm(moved)
    if not length > 1e-12:
        return query
    unit: Floats = (moved / length).astype(np.float32)
    return unit


def relevance_model(
    texts: Sequence[str], scores: Sequence[float], idf: Mapping[str, float] | None = None
) -> dict[str, float]:
    """RM1: word -> sum over the texts of its share of a text's words times the text's share of the scores.

    Scores that lie below 0 are all moved up so that the lowest is 0. With `idf` each word counts by it, too (a word
    that it lacks not at all), so that words of every text do not crowd out those that tell the texts apart.
    """
    if len(texts) != len(scores) or not all(map(math.isfinite, scores)):
        raise InputError(
            f"Feedback got {len(texts)} texts and scores {list(scores)}; it needs one finite score a text."
        )
    lifted = [score - min(0.0, *scores) for score in scores] if scores else []
    whole = math.fsum(lifted)
    model: dict[str, float] = defaultdict(float)
    for text, score in zip(texts, lifted, strict=True):
        counts = Counter(terms(text))
        for word, count in counts.items():
            share = score / whole if whole else 1 / len(texts)
            model[word] += share * count / counts.total() * (1.0 if idf is None else idf.get(word, 0.0))
    return _shares(model)


def rm3(
    query: str,
    texts: Sequence[str],
    scores: Sequence[float],
    *,
    words: int = 10,
    original: float = 0.5,
) -> dict[str, float]:
    """Word -> weight, sum 1: the query's own words with the share `original`, the best `words` of what was found with
    the rest. With nothing found, the query's own have all."""
    _check_expansion(words, original)
    own = _shares(Counter(terms(query)))
    model = relevance_model(texts, scores)
    best = sorted(model, key=lambda word: (-model[word], word))[:words]
    found = _shares({word: model[word] for word in best})
    if not own or not found:
        return own or found
    return {word: original * own.get(word, 0.0) + (1 - original) * found.get(word, 0.0) for word in {**own, **found}}


@dataclass(frozen=True)
class FeedbackRetriever:
    """A `Retriever` by vectors that searches twice: then by Rocchio's vector of the query and the best passages."""

    encoder: Encoder
    nearest: VectorSearch
    passages: int = 3  # of the first search, taken as found
    a: float = 1.0  # weight of the query
    b: float = 0.75  # weight of the passages' mean

    def __post_init__(self) -> None:
        if self.passages < 1 or not (self.a >= 0 and self.b >= 0 and self.a + self.b > 0):
            raise InputError(
                f"Feedback got passages={self.passages}, a={self.a}, b={self.b}; it needs at least 1 passage, and "
                "weights of at least 0, not both 0."
            )

    @classmethod
    def over(cls, collection: Collection, where: str | None, **options: Any) -> FeedbackRetriever:
        """The retriever over a collection; `options` are passages, a and b. InputError: it has no encoder."""
        return cls(collection.encoder, vector_search(collection.store, where), **options)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages nearest to the moved vector. An empty query, or one of no token that the
        encoder knows, finds nothing.
        """
        require_k(k)
        return [found or [] for found in each_read(self.encoder, queries, partial(self._found, k=k))]

    def _found(self, asked: list[str], k: int) -> list[list[Hit]]:
        vectors: Floats = self.encoder.encode(asked)
        first = [self.nearest(vector, self.passages) for vector in vectors]
        seen: Floats = self.encoder.encode([hit.passage.text for found in first for hit in found])
        answers, start = [], 0
        for vector, found in zip(vectors, first, strict=True):
            moved = rocchio(vector, seen[start : start + len(found)], a=self.a, b=self.b)
            start += len(found)
            answers.append([replace(hit, source="feedback") for hit in self.nearest(moved, k)])
        return answers


@dataclass(frozen=True)
class ExpansionRetriever:
    """A `Retriever` by words that searches twice: for the query, and for the best words of what that found.

    Where scores are sums over words, as BM25 is, the weighted sum of both searches is a search for the RM3 query in
    which all words of either part count alike. A query with "quoted words" is left as it is: a phrase that must stand
    in a passage must not be got around.
    """

    retriever: Retriever
    passages: int = 10  # of the first search, that words are taken from
    words: int = 10
    original: float = 0.5  # share of the first search's score
    depth: int = 200  # passages asked of each search
    idf: Mapping[str, float] | None = None

    def __post_init__(self) -> None:
        _check_expansion(self.words, self.original)
        if not 1 <= self.passages <= self.depth:
            raise InputError(
                f"Expansion got passages={self.passages} and depth={self.depth}; it needs 1 <= passages <= depth."
            )

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest mixed score."""
        require_k(k)
        depth = max(self.depth, k)
        first = self.retriever.search(queries, depth)
        second = self.retriever.search(
            [self.expansion(query, found) for query, found in zip(queries, first, strict=True)], depth
        )
        return [self._mixed(one, two)[:k] if two else one[:k] for one, two in zip(first, second, strict=True)]

    def expansion(self, query: str, found: Sequence[Hit]) -> str:
        """The best words of the first passages, joined by spaces; empty where nothing is to be added."""
        if has_phrase(query) or not found:
            return ""
        best = found[: self.passages]
        model = relevance_model([hit.passage.text for hit in best], [hit.score for hit in best], self.idf)
        return " ".join(sorted(model, key=lambda word: (-model[word], word))[: self.words])

    def _mixed(self, first: Sequence[Hit], second: Sequence[Hit]) -> list[Hit]:
        found = {hit.passage.span: hit for hit in (*second, *first)}
        rankings: list[dict[Span, float]] = [{hit.passage.span: hit.score for hit in hits} for hits in (first, second)]
        mixed = weighted_sum(rankings, [self.original, 1 - self.original])
        return by_span(mixed, found, "expansion")


def vector_search(store: Store, where: str | None = None) -> VectorSearch:
    """Search in a store by a vector that is given."""
    return lambda vector, k: hits(store.nearest(vector, k, where), "dense")


def _shares(weights: Mapping[str, float]) -> dict[str, float]:
    whole = math.fsum(weights.values())
    return {word: weight / whole for word, weight in weights.items()} if whole else {}


def _check_expansion(words: int, original: float) -> None:
    if words < 1 or not 0 <= original <= 1:
        raise InputError(
            f"Expansion got words={words}, original={original}; it needs at least 1 word and a share from 0 to 1."
        )
