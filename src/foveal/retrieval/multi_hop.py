"""Search in hops: a question that no passage answers alone is asked again together with each passage it found
(multi-hop dense retrieval: Xiong et al., ICLR 2021).

    library.search("Where was the author of … born?", retriever="multi-hop")      # over words and meaning, in two hops

    hop 1     the query              -> the best `beam` passages, each a path
    hop h     query + path's texts   -> passages that continue the path; the best `beam` paths stay
    merged    a passage's score is that of the best path that it ends; `via` are the path's passages before it

Source    section 2.2 of the paper; there a path's score is the sum of its hops' scores. Here it is their mean: the
          order of paths of one length is the same, and paths of one hop and of two can stand in one ranking
Needs     scores of one scale whatever the query, as cosines are. BM25 grows with the query's words, so over a lexical
          or hybrid retriever set `by_rank`: a hop's score is then 1 / (60 + rank)
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import Any

from foveal.errors import InputError
from foveal.ranges import require_k
from foveal.retrieval.fusion import RRF_CONSTANT
from foveal.retrieval.hybrid import HybridRetriever
from foveal.retrieval.lexical import LexicalRetriever
from foveal.retrieval.store import Collection
from foveal.types import Hit, Retriever, Span


@dataclass(frozen=True)
class Path:
    """Passages that were found one after the other, each by the query and those before it."""

    hits: tuple[Hit, ...]  # as their hop found them; with `by_rank`, the score is that of the rank

    @property
    def score(self) -> float:
        """The mean of the hops' scores."""
        return math.fsum(hit.score for hit in self.hits) / len(self.hits)

    @property
    def spans(self) -> frozenset[Span]:
        """The places of its passages."""
        return frozenset(hit.passage.span for hit in self.hits)


@dataclass(frozen=True)
class MultiHopRetriever:
    """A `Retriever` that asks another one in hops."""

    retriever: Retriever
    hops: int = 2
    beam: int = 5  # paths that are followed, and passages that continue each
    passage_characters: int = 600  # of a passage that are put behind the query; an encoder sees only so many tokens
    by_rank: bool = False

    def __post_init__(self) -> None:
        if min(self.hops, self.beam, self.passage_characters) < 1:
            raise InputError(
                f"Multi-hop search got hops={self.hops}, beam={self.beam}, passage_characters="
                f"{self.passage_characters}; each must be at least 1."
            )

    @classmethod
    def over(
        cls, collection: Collection, where: str | None, *, by_rank: bool = True, **options: Any
    ) -> MultiHopRetriever:
        """The retriever over a collection's hybrid search, or its words where it has no vectors; `options` are hops,
        beam and passage_characters.
        """
        inner = HybridRetriever if collection.store.dimension else LexicalRetriever
        return cls(inner.over(collection, where), by_rank=by_rank, **options)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages whose best path scores highest, those of all hops in one ranking."""
        require_k(k)
        first = self.retriever.search(queries, max(self.beam, k))
        return [self._merged(self._found(query, found))[:k] for query, found in zip(queries, first, strict=True)]

    def paths(self, query: str) -> list[Path]:
        """The best `beam` paths of the last hop, best first; shorter ones where nothing continued them."""
        return self._found(query, self.retriever.search([query], self.beam)[0])[-1][: self.beam]

    def next_query(self, query: str, path: Path) -> str:
        """The query with the beginnings of the path's passages behind it, without their quotes: words in quotes would
        have to stand in what is found."""
        texts = (hit.passage.text[: self.passage_characters].replace('"', " ") for hit in path.hits)
        return " ".join([query, *(text.strip() for text in texts)])

    def _found(self, query: str, first: Sequence[Hit]) -> list[list[Path]]:
        """The paths of each hop, best first: all that were found, not only those that were followed."""
        found = [_best([Path((hit,)) for hit in self._scored(first)])]
        for _ in range(1, self.hops):
            if not found[-1]:
                break
            found.append(_best(self._continued(query, found[-1][: self.beam])))
        return found

    def _continued(self, query: str, paths: Sequence[Path]) -> list[Path]:
        """Each path with each passage that its query finds and that it lacks; itself where there is none."""
        longest = max(len(path.hits) for path in paths)
        answers = self.retriever.search([self.next_query(query, path) for path in paths], self.beam + longest)
        longer: list[Path] = []
        for path, hits in zip(paths, answers, strict=True):
            new = [hit for hit in hits if hit.passage.span not in path.spans][: self.beam]
            longer += [Path((*path.hits, hit)) for hit in self._scored(new)] or [path]
        return longer

    def _scored(self, hits: Sequence[Hit]) -> list[Hit]:
        if not self.by_rank:
            return list(hits)
        return [replace(hit, score=1 / (RRF_CONSTANT + rank)) for rank, hit in enumerate(hits, start=1)]

    def _merged(self, found: Sequence[Sequence[Path]]) -> list[Hit]:
        best: dict[Span, Hit] = {}
        for path in (one for hop in found for one in hop):
            *before, last = path.hits
            last = replace(last, score=path.score, source="multi-hop", via=tuple(hit.passage.span for hit in before))
            if last.passage.span not in best or best[last.passage.span].score < last.score:
                best[last.passage.span] = last
        return sorted(best.values(), key=lambda hit: (-hit.score, hit.passage.span.document_id, hit.passage.span.start))


def _best(paths: Iterable[Path]) -> list[Path]:
    return sorted(paths, key=lambda path: -path.score)
