"""A neural ranker behind a retriever: it orders the hits, beside their first scores, and shows which words matched.

    Neural(folder).rank(query, hits)
    Neural(folder).explain(query, hit).best()        the query's words, each with the word that matches it best

Score     weight · s + (1 - weight) · first, both scaled to 0 to 1 over the hits: these models know little of a text's
          length and of rare words. The weight was fitted on the dev queries (training.py); with 1 s stands alone
"""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch

from foveal.errors import InputError
from foveal.models.chat import Cancel
from foveal.ranking.neural.inputs import joined
from foveal.ranking.neural.scorer import Scorer
from foveal.retrieval.pipeline import beside_search, by_score
from foveal.settings import expanded
from foveal.types import Hit, require_hits

log = logging.getLogger("foveal.ranking")

FITTED_OVER = 100
"""Hits that the weight of a trained ranker is fitted over (`NeuralSettings.depth`), all scored in milliseconds."""


@dataclass(frozen=True)
class Explanation:
    """How the words of a query (m) and a text (n) match, as far as the model reads them."""

    query: tuple[str, ...]
    document: tuple[str, ...]
    matches: npt.NDArray[np.float32]  # (m, n)
    score: float
    terms: npt.NDArray[np.float32] | None = None  # (m,): what each word of the query adds, where the model has that

    def best(self) -> list[tuple[str, str, float]]:
        """Each word of the query with the word that matches it best, and how well; nothing for a text of no words."""
        if not self.document:
            return []
        places = self.matches.argmax(1)
        return [
            (word, self.document[place], float(self.matches[row, place]))
            for row, (word, place) in enumerate(zip(self.query, places.tolist(), strict=True))
        ]


class Neural:
    """A `Ranker` by a trained model: its folder, or a `Scorer`."""

    fitted_over = FITTED_OVER

    def __init__(
        self, folder_or_model: str | Path | Scorer, *, weight: float | None = None, budget: int | None = None
    ) -> None:
        """`weight`: of the model beside the first stage (None: as fitted). The best `budget` hits are scored (None: all
        that are given).

        InputError: no such folder, a weight beyond 0 to 1, or a budget below 1.
        """
        if budget is not None and budget < 1:
            raise InputError(f"A neural ranker got budget={budget}; it needs at least 1 hit to score.")
        given = folder_or_model
        scorer = given if isinstance(given, Scorer) else Scorer.load(expanded(given))
        self.scorer = scorer if weight is None else scorer.weighed(weight)
        self.budget = budget
        self.name = self.scorer.model.name

    def rank(self, query: str, hits: Sequence[Hit], *, cancel: Cancel | None = None) -> list[Hit]:
        """The best `budget` hits by score, then the rest in their order, below them. Cancelled: by `cancel`.

        The log says where a query holds no word, and then all scores are equal, or none that the model has learnt.
        """
        if cancel:
            cancel.check()
        taken = require_hits(hits)[: self.budget]
        if taken:
            self._warn(query)
        scores = self.scorer([(query, hit.passage.text) for hit in taken])
        if self.scorer.weight < 1:
            scores = beside_search(scores, taken, self.scorer.weight)
        return by_score(taken, scores, self.name, hits)

    def explain(self, query: str, hit: Hit) -> Explanation:
        """The words of query and passage, and how they match."""
        scorer = self.scorer
        asked, read = scorer.query(query), scorer.document(hit.passage.text)
        pairs = joined(scorer.vocabulary, [asked], [read])
        scorer.model.eval()
        with torch.no_grad():
            pairs = pairs.to(scorer.model.vectors.table.device)
            matches = scorer.model.explain(pairs)[0, : len(asked.ids), : len(read.ids)].float().cpu()
            terms = scorer.model.term_scores(pairs)
        return Explanation(
            asked.words,
            read.words,
            matches.numpy(),
            float(scorer.of_pairs(pairs)[0]),
            None if terms is None else terms[0, : len(asked.ids)].float().cpu().numpy(),
        )

    def _warn(self, query: str) -> None:
        ids, model = self.scorer.query(query).ids, self.scorer.model
        if not ids:
            log.warning("%r holds no word, so the ranker %s gives all passages the same score.", query, self.name)
        elif min(ids) > len(self.scorer.vocabulary.words) and not model.needs_words:  # those read letters
            log.warning("The ranker %s has learnt no word of %r: it sees where they stand, no more.", self.name, query)
