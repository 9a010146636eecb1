"""A trained article model behind any search: its score beside the search's own, by the weight that training found.

    LegalRanker.load(folder).rank(question, hits)         folder: what `legal_training.train_legal` made

`SectionRanker` orders by the model alone, which was not what was kept: the model and the first stage together were. The
weight was tuned beside BM25; the scores of both are brought to one scale first, so that it holds for another search.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from foveal.errors import InputError
from foveal.models.chat import Cancel
from foveal.ranking.legal import LegalRetriever, LegalSettings, tuned
from foveal.ranking.sections import Explained, SectionRanker
from foveal.types import Hit, require_hits


@dataclass(frozen=True)
class LegalRanker:
    """A `Ranker` by both scores."""

    ranker: SectionRanker
    settings: LegalSettings = field(default_factory=LegalSettings)
    budget: int | None = None  # hits that the model reads, the rest follow below; None: as many as `ranker` reads

    def __post_init__(self) -> None:
        if self.budget is not None and self.budget < 1:
            raise InputError(f"A legal ranker got budget={self.budget}; it needs at least 1 hit to read, or None.")
        if self.ranker.budget is not None:
            object.__setattr__(self, "budget", min(self.ranker.budget, self.budget or self.ranker.budget))

    @property
    def fitted_over(self) -> int:
        """The hits that the weight was fitted over: z-scores depend on how long a list is."""
        return self.settings.candidates

    @classmethod
    def load(cls, folder: Path | str, **options: Any) -> LegalRanker:
        """The ranker of a model that was tuned; `options` are the fields of `SectionRanker`. ModelUnavailable: the
        folder holds no model, or one that nothing was tuned for.
        """
        about, settings = tuned(Path(folder))
        given = {"cut": about["cut"], "headings": about["headings"], **options}
        return cls(SectionRanker.load(folder, **given), settings)

    def rank(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Hit]:
        """The best hits by both scores, then the rest in their order, below them; errors as `SectionRanker.rank`."""
        if not require_hits(hits):
            return []
        settings = replace(self.settings, candidates=len(hits[: self.budget]))
        law = LegalRetriever(_Given(hits), self.ranker, settings)
        return [one.hit for one in law.explain(query, len(hits), cancel=cancel)]

    def explain(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Explained]:
        """The weights of each hit's sentences, by the model."""
        return self.ranker.explain(query, hits, cancel=cancel)


@dataclass(frozen=True)
class _Given:
    """A `Retriever` of hits that were found already."""

    hits: Sequence[Hit]

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        return [list(self.hits[:k]) for _ in queries]
