"""Search by words and by meaning at once: two rankings, fused (see `fusion.py`).

Both retrievers are asked for `depth` passages whatever `k` is (or for `k`, where that is more), so that a passage's
fused score does not depend on k up to there.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from functools import cache
from typing import Any

from foveal.errors import InputError
from foveal.models.characters import is_read, require_several
from foveal.ranges import require_k
from foveal.retrieval.dense import DenseRetriever
from foveal.retrieval.fusion import FUSIONS, Ranking
from foveal.retrieval.lexical import LexicalRetriever
from foveal.retrieval.rows import hits
from foveal.retrieval.store import Collection
from foveal.retrieval.words import has_phrase
from foveal.types import Encoder, Hit, Retriever

DENSE_WEIGHT = 0.45
"""Share of the dense score in the weighted sum; tuned on SciFact's training claims by `foveal bench search`."""

Weigh = Callable[[str, Ranking[Any], Ranking[Any]], float]
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
        require_several(queries, "search")
        require_k(k)
        depth = max(self.depth, k)
        if (pair := self._of_one_store()) is not None and (found := self._best(*pair, queries, depth, k)) is not None:
            return found
        lexical, dense = self.lexical.search(queries, depth), self.dense.search(queries, depth)
        return [
            self._fused(query, words, _holding(words, meaning) if has_phrase(query) else meaning, k)
            for query, words, meaning in zip(queries, lexical, dense, strict=True)
        ]

    def _of_one_store(self) -> tuple[LexicalRetriever, DenseRetriever] | None:
        """Both, where they search one store and texts are wanted: then the texts of the best alone are read."""
        words, meaning = self.lexical, self.dense
        if not (isinstance(words, LexicalRetriever) and isinstance(meaning, DenseRetriever)):
            return None
        return (words, meaning) if words.store is meaning.store and words.texts and meaning.texts else None

    def _best(
        self, lexical: LexicalRetriever, dense: DenseRetriever, queries: Sequence[str], depth: int, k: int
    ) -> list[list[Hit]] | None:
        """Rows fused by number; only the `k` best are read. None: that cannot be now (see `StoreSearch.best`)."""
        store, best = lexical.store, list[list[Hit]]()
        vectors = cache(lambda: _vectors(queries, dense.encoder))
        with ThreadPoolExecutor(max_workers=1) as beside:
            for query in queries:

                def rank(query: str = query) -> dict[int, float]:
                    searched = beside.submit(store.numbered, query, depth, lexical.where)
                    meaning = store.numbered(vectors()[query], depth, dense.where) if query in vectors() else {}
                    words = searched.result()
                    if has_phrase(query):
                        meaning = {number: score for number, score in meaning.items() if number in words}
                    weight = self.weigh(query, words, meaning) if self.weigh else self.dense_weight
                    return self._joined((words, meaning), weight)

                found = store.best(rank, k, depth=depth)
                if found is None:
                    return None
                best.append(hits(found, "hybrid"))
        return best

    def _joined(self, numbered: Sequence[Mapping[int, float]], dense_weight: float) -> dict[int, float]:
        fused: dict[int, float] = FUSIONS[self.fusion](numbered, [1 - dense_weight, dense_weight])
        return fused

    def _fused(self, query: str, lexical: Sequence[Hit], dense: Sequence[Hit], k: int) -> list[Hit]:
        found = {hit.passage.span: hit for hit in (*lexical, *dense)}
        rankings = [{hit.passage.span: hit.score for hit in one} for one in (lexical, dense)]
        weight = self.weigh(query, *rankings) if self.weigh else self.dense_weight
        place = {span: number for number, span in enumerate(found)}  # fused by number: a span's hash is slow
        numbered = [{place[span]: score for span, score in ranking.items()} for ranking in rankings]
        fused = self._joined(numbered, weight)
        spans = list(found)
        best = sorted(fused, key=lambda number: (-fused[number], spans[number].document_id, spans[number].start))
        return [replace(found[spans[number]], score=fused[number], source="hybrid") for number in best[:k]]


def _vectors(queries: Sequence[str], encoder: Encoder) -> dict[str, Any]:
    """Those of the queries that the encoder reads anything of."""
    read = [query for query in dict.fromkeys(queries) if is_read(encoder, query)]
    return dict(zip(read, encoder.encode(read), strict=True)) if read else {}


def _holding(lexical: Sequence[Hit], dense: Sequence[Hit]) -> list[Hit]:
    """The dense hits that the lexical search found, too: a phrase that must stand there must not be got around."""
    spans = {hit.passage.span for hit in lexical}
    return [hit for hit in dense if hit.passage.span in spans]
