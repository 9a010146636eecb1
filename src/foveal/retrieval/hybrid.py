"""Search by words and by meaning at once: two rankings, fused (see `fusion.py`).

Both retrievers are asked for `depth` passages whatever `k` is (or for `k`, where that is more), so that a passage's
fused score does not depend on k up to there.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foveal.errors import InputError
from foveal.retrieval.dense import DenseRetriever
from foveal.retrieval.fusion import FUSIONS, Ranking
from foveal.retrieval.lexical import LexicalRetriever
from foveal.retrieval.store import Collection, require_k
from foveal.retrieval.words import has_phrase
from foveal.types import Hit, Retriever, Span

DENSE_WEIGHT = 0.45
"""Share of the dense score in the weighted sum; tuned on SciFact's training claims by `foveal bench search`."""

Weigh = Callable[[str, Ranking[Span], Ranking[Span]], float]
"""A query, its lexical and its dense ranking -> the dense weight, 0 to 1 (such as `fusion_weights.QueryWeights`)."""


@dataclass(frozen=True)
class HybridRetriever:
    """A `Retriever` over two others."""

    lexical: Retriever
    dense: Retriever
    fusion: str = "weighted"  # a name of fusion.FUSIONS; "weighted": sum of min-max scores; "rrf": reciprocal ranks
    dense_weight: float = DENSE_WEIGHT  # 0 to 1; the lexical score has the rest
    depth: int = 200  # passages asked of each retriever
    weigh: Weigh | None = None  # the dense weight of each query, in place of `dense_weight`
    texts: bool = True  # or passages with "" for theirs, for who reads them elsewhere

    def __post_init__(self) -> None:
        if self.fusion not in FUSIONS or not 0 <= self.dense_weight <= 1 or self.depth < 1:
            raise InputError(
                f"Hybrid search got fusion={self.fusion!r}, dense_weight={self.dense_weight}, depth={self.depth}; it "
                f"needs one of {', '.join(FUSIONS)}, a weight from 0 to 1, and a depth of at least 1."
            )

    @classmethod
    def over(cls, collection: Collection, where: str | None, **options: Any) -> HybridRetriever:
        """The retriever over a collection; `options` are fusion, dense_weight, depth, weigh and texts."""
        texts = options.get("texts", True)
        lexical = LexicalRetriever.over(collection, where, texts=texts)
        return cls(lexical, DenseRetriever.over(collection, where, texts=texts), **options)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest fused score."""
        require_k(k)
        depth = max(self.depth, k)
        lexical, dense = self.lexical.search(queries, depth), self.dense.search(queries, depth)
        return [
            self._fused(query, words, _holding(words, meaning) if has_phrase(query) else meaning, k)
            for query, words, meaning in zip(queries, lexical, dense, strict=True)
        ]

    def _fused(self, query: str, lexical: Sequence[Hit], dense: Sequence[Hit], k: int) -> list[Hit]:
        found = {hit.passage.span: hit for hit in (*lexical, *dense)}
        rankings = [{hit.passage.span: hit.score for hit in hits} for hits in (lexical, dense)]
        weight = self.weigh(query, *rankings) if self.weigh else self.dense_weight
        place = {span: number for number, span in enumerate(found)}  # fused by number: a span's hash is slow
        numbered = [{place[span]: score for span, score in ranking.items()} for ranking in rankings]
        fused: dict[int, float] = FUSIONS[self.fusion](numbered, [1 - weight, weight])
        spans = list(found)
        best = sorted(fused, key=lambda number: (-fused[number], spans[number].document_id, spans[number].start))
        return [replace(found[spans[number]], score=fused[number], source="hybrid") for number in best[:k]]


def _holding(lexical: Sequence[Hit], dense: Sequence[Hit]) -> list[Hit]:
    """The dense hits that the lexical search found, too: a phrase that must stand there must not be got around."""
    spans = {hit.passage.span for hit in lexical}
    return [hit for hit in dense if hit.passage.span in spans]
