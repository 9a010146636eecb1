"""Features of a query and its hits, for learning to rank: what retrievers, words, places and dates say of each hit.

Shapes    a query and n hits -> (n, F), float64, finite; `names` says what the F columns are
Source    the kinds of LETOR (Qin et al., Information Retrieval 13, 2010): match, place, document

By retriever, with NAME for its name in `sources`: NAME:score (its lowest where it did not find the hit), NAME:share
(min-max, 0 where not found), NAME:log-rank (of 1 + depth where not found), NAME:reciprocal-rank (0 where not found).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval.fusion import min_max
from foveal.retrieval.terms import terms
from foveal.types import Hit, Retriever, Span

Floats = npt.NDArray[np.float64]

BY_SOURCE = ("score", "share", "log-rank", "reciprocal-rank")
OWN = (
    "given-share", "given-reciprocal-rank", "log-words", "coverage", "weighted-coverage", "phrase", "title-coverage",
    "heading-coverage", "log-place", "dated", "log-age",
)  # fmt: skip
"""Features that need no retriever: the order the hits were given in; words of the passage, share of the query's words
that it holds (also weighed by idf), whether it holds them all in a row; the same share for title and heading; how far
into its document it stands; whether it has a date, and the log of 1 + its age in days."""


@dataclass(frozen=True)
class Features:
    """How hits are turned into numbers. `title` and `published` look up what a hit does not carry.

    Each retriever of `sources` is asked once more for each query; give ones that are cheap, or replay what they found.
    """

    sources: Mapping[str, Retriever] = field(default_factory=dict)
    depth: int = 200  # hits asked of each source
    idf: Mapping[str, float] = field(default_factory=dict)  # of the collection; a word that it lacks counts the most
    title: Callable[[Hit], str] = lambda _: ""
    published: Callable[[Hit], datetime | None] = lambda _: None
    now: datetime | None = None  # ages are counted to here; None: to the time of the call

    def __post_init__(self) -> None:
        if self.depth < 1 or any(":" in name for name in self.sources):
            raise InputError(
                f"Features got depth={self.depth} and sources {list(self.sources)}; the depth must be at least 1, and "
                "a name may hold no colon."
            )

    @property
    def names(self) -> tuple[str, ...]:
        """What the columns are."""
        return (*(f"{source}:{kind}" for source in self.sources for kind in BY_SOURCE), *OWN)

    def __call__(self, query: str, hits: Sequence[Hit]) -> Floats:
        """The features of each hit, (len(hits), len(names))."""
        if not hits:
            return np.empty((0, len(self.names)))
        columns = [self._by_source(source, query, hits) for source in self.sources.values()]
        return np.hstack([*columns, _given(hits), self._own(query, hits)])

    @cached_property
    def _rarest(self) -> float:
        """The idf of a word that the collection lacks; looked for once, since it goes through all words."""
        return max(self.idf.values(), default=1.0)

    def _by_source(self, source: Retriever, query: str, hits: Sequence[Hit]) -> Floats:
        found = source.search([query], self.depth)[0]
        scores: dict[Span, float] = {hit.passage.span: hit.score for hit in found}
        ranks = {hit.passage.span: rank for rank, hit in enumerate(found, start=1)}
        shares, lowest = min_max(scores), min(scores.values(), default=0.0)
        rows = []
        for span in (hit.passage.span for hit in hits):
            rank = ranks.get(span)
            reciprocal = 1 / rank if rank else 0.0
            log_rank = math.log(rank or 1 + self.depth)
            rows.append((scores.get(span, lowest), shares.get(span, 0.0), log_rank, reciprocal))
        return np.array(rows)

    def _own(self, query: str, hits: Sequence[Hit]) -> Floats:
        asked = terms(query)
        now = self.now or datetime.now(UTC)
        rows = []
        for hit in hits:
            words = terms(hit.passage.text)
            heading = set(terms(hit.passage.heading or ""))
            published = self.published(hit)
            age = max(0.0, (now - published).total_seconds() / 86_400) if published else 0.0
            rows.append(
                (
                    math.log1p(len(words)),
                    _coverage(asked, set(words)),
                    _coverage(asked, set(words), self.idf, self._rarest),
                    float(bool(asked) and _holds(words, asked)),
                    _coverage(asked, set(terms(self.title(hit)))),
                    _coverage(asked, heading),
                    math.log1p(hit.passage.span.start),
                    float(published is not None),
                    math.log1p(age),
                )
            )
        return np.array(rows)


def _given(hits: Sequence[Hit]) -> Floats:
    """The score of each hit as a share of the range of all, and one through its place."""
    shares = min_max({place: hit.score for place, hit in enumerate(hits)})
    return np.array([(shares[place], 1 / (1 + place)) for place in range(len(hits))])


def _coverage(
    asked: Sequence[str], words: set[str], idf: Mapping[str, float] | None = None, rarest: float = 1.0
) -> float:
    """The share of the query's different words that are among `words`, each weighed by its idf if that is given."""
    weights = {word: idf.get(word, rarest) if idf else 1.0 for word in asked}
    whole = math.fsum(weights.values())
    return math.fsum(weight for word, weight in weights.items() if word in words) / whole if whole else 0.0


def _holds(words: Sequence[str], run: Sequence[str]) -> bool:
    """Whether `run` stands in `words` in a row."""
    return any(words[place : place + len(run)] == run for place in range(len(words) - len(run) + 1))
