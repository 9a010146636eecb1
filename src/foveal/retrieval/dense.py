"""Search by meaning: the passages whose vectors lie nearest to the query's (bi-encoder; Karpukhin et al., EMNLP 2020).

The score is the cosine. Below `store.INDEX_FROM` passages the search is exact; above, by an inverted file of
four-bit vectors (IVF-RQ; RaBitQ: Gao and Long, SIGMOD 2024) whose best candidates are compared by their full vectors.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.retrieval.store import Store
from foveal.types import Encoder, Hit


@dataclass(frozen=True)
class DenseRetriever:
    """A `Retriever` by vectors; `where` is an SQL condition from `filters.sql`."""

    store: Store
    encoder: Encoder
    where: str | None = None

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest cosine. An empty query finds nothing."""
        asked = [query for query in queries if query.strip()]
        vectors = iter(self.encoder.encode(asked))
        return [
            [Hit(found.passage, found.score, "dense") for found in self.store.nearest(next(vectors), k, self.where)]
            if query.strip()
            else []
            for query in queries
        ]
