"""A few texts in memory with a retriever by vectors and one by words, for tests of what is built on retrievers."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from honest import HashedWords

from foveal.retrieval.terms import terms
from foveal.types import Encoder, Hit, Passage, Span


def hit(name: str, score: float = 0.0, text: str | None = None, source: str = "given") -> Hit:
    """A hit in a document of that name."""
    text = name if text is None else text
    return Hit(Passage(Span(name, 0, len(text)), text), score, source)


def names(hits: Sequence[Hit]) -> list[str]:
    """The documents that the hits lie in."""
    return [one.passage.span.document_id for one in hits]


class Shelf:
    """A Retriever by cosine over texts by name; `asked` notes its queries and k."""

    def __init__(self, texts: dict[str, str], encoder: Encoder | None = None) -> None:
        self.encoder = encoder or HashedWords(dimension=256)
        self.passages = [Passage(Span(name, 0, len(text)), text) for name, text in texts.items()]
        self.vectors = self.encoder.encode(list(texts.values()))
        self.asked: list[tuple[str, int]] = []

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked += [(query, k) for query in queries]
        return [self.nearest(vector, k) if query.strip() else [] for query, vector in
                zip(queries, self.encoder.encode(list(queries)), strict=True)]  # fmt: skip

    def nearest(self, vector: np.ndarray, k: int) -> list[Hit]:
        scores = self.vectors @ vector
        return [Hit(self.passages[row], float(scores[row]), "dense") for row in np.argsort(-scores, kind="stable")[:k]]


class Words(Shelf):
    """A Retriever by the number of the query's words, each counted as often as the passage has it; none: not found."""

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        self.asked += [(query, k) for query in queries]
        return [self._found(query)[:k] for query in queries]

    def _found(self, query: str) -> list[Hit]:
        asked = set(terms(query))
        counts = [sum(word in asked for word in terms(passage.text)) for passage in self.passages]
        order = sorted(range(len(counts)), key=lambda row: -counts[row])
        return [Hit(self.passages[row], float(counts[row]), "words") for row in order if counts[row]]


class ByTruth:
    """A Ranker that knows the score of each document; 0 for one that it does not know. It notes what it scored."""

    def __init__(self, truth: dict[str, float]) -> None:
        self.truth = truth
        self.scored: list[list[str]] = []

    def rank(self, query: str, hits: Sequence[Hit]) -> list[Hit]:  # noqa: ARG002
        self.scored.append(names(hits))
        ranked = [Hit(one.passage, self.truth.get(one.passage.span.document_id, 0.0), "truth") for one in hits]
        return sorted(ranked, key=lambda one: -one.score)
