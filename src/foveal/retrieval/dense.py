"""Search by meaning: the passages whose vectors lie nearest to the query's (bi-encoder; Karpukhin et al., EMNLP 2020).

The score is the cosine. Below `store.INDEX_FROM` passages the search is exact; above, by an inverted file of
four-bit vectors (IVF-RQ; RaBitQ: Gao and Long, SIGMOD 2024) whose best candidates are compared by their full vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial

from foveal.models.characters import each_read, require_several
from foveal.ranges import require_k
from foveal.retrieval.rows import hits
from foveal.retrieval.store import Collection, Store
from foveal.types import Encoder, Hit


@dataclass(frozen=True)
class DenseRetriever:
    """A `Retriever` by vectors; `where` is an SQL condition from `filters.sql`."""

    store: Store
    encoder: Encoder
    where: str | None = None
    texts: bool = True  # or passages with "" for theirs, for who reads them elsewhere

    @classmethod
    def over(cls, collection: Collection, where: str | None, *, texts: bool = True) -> DenseRetriever:
        """The retriever over a collection. InputError: it has no encoder."""
        return cls(collection.store, collection.encoder, where, texts)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest cosine. An empty query, or one of no token that the encoder
        knows, finds nothing.
        """
        require_several(queries, "search")
        require_k(k)
        vectors = each_read(self.encoder, queries, self.encoder.encode)
        nearest = partial(self.store.nearest, k=k, where=self.where, texts=self.texts)
        return [[] if vector is None else hits(nearest(vector), "dense") for vector in vectors]
