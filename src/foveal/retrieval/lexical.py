"""Search by words: BM25 (Robertson and Zaragoza, 2009) over title, heading and text, by Lance's full-text index.

Words are cut by Unicode's rules (Chinese, Japanese and Thai by dictionary), lower-cased, freed of accents and stemmed
as English; "quoted words" must stand in the passage as a phrase. Greek and Turkish capitals and small letters are one
(`words.spellings`).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from foveal.models.characters import require_several
from foveal.ranges import require_k
from foveal.retrieval.rows import hits
from foveal.retrieval.store import Collection, Store
from foveal.types import Hit


@dataclass(frozen=True)
class LexicalRetriever:
    """A `Retriever` by words; `where` is an SQL condition from `filters.sql`."""

    store: Store
    where: str | None = None
    texts: bool = True  # or passages with "" for theirs, for who reads them elsewhere

    @classmethod
    def over(cls, collection: Collection, where: str | None, *, texts: bool = True) -> LexicalRetriever:
        """The retriever over a collection."""
        return cls(collection.store, where, texts)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest BM25."""
        require_several(queries, "search")
        require_k(k)
        return [hits(self.store.lexical(query, k, self.where, texts=self.texts), "lexical") for query in queries]
