"""The articles that apply to a question, in two stages: words find candidates, an article model scores them, and both
scores are added up (Nguyen et al., Artificial Intelligence and Law, 2022).

    law = LegalRetriever.load(folder, articles=collection.articles.values())     what `legal_training` made
    law.search([question], k=10)         a `Retriever`
    law.explain(question, k=3)           both scores, and the sentences that were attended to
    law.applying(question)               as many articles as the rule gives

Score       weight · neural + (1 - weight) · lexical, over the candidates of one question, after
            "zscore"  each to mean 0 and deviation 1
            "raw"     as they are, as Paraformer's authors do (with weight 0.1: word scores are ten times as large)
            "rank"    candidates less rank, as Attentive CNN's authors do
Answers     at most `most` articles, those whose score lies at most `gap` below the first one's. F2 counts what is
            missing more than what is wrong, so how many are given matters as much as their order
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import Any

from foveal.errors import InputError, ModelUnavailable
from foveal.evaluation.legal import Article, articles_of
from foveal.evaluation.metrics import Run, ranked
from foveal.evaluation.scripts import word_runs
from foveal.models.chat import Cancel
from foveal.ranges import COUNT, SHARE, Range, require_k, require_one_of, require_settings
from foveal.ranking.article_models import load_article_model
from foveal.ranking.sections import SectionRanker, SentenceWeight, passage_of
from foveal.retrieval.fusion import Key, Ranking, as_given, weighted_sum, z_scores
from foveal.retrieval.pipeline import followed_by
from foveal.text.languages import word_cutter
from foveal.training import checkpoints
from foveal.training.searches import Search, WordSearch
from foveal.types import Hit, Passage, Retriever

K1, B = 1.2, 0.75
"""Of BM25 over articles: the figures that it is compared with, here and elsewhere, are by these."""

LEGAL = "legal.json"
"""What a model's folder says of the two stages around it."""


def rank_points(ranking: Ranking[Key]) -> dict[Key, float]:
    """The number of keys less each one's rank, from 1; equal scores in their order."""
    as_given(ranking)
    order = sorted(ranking, key=lambda key: -ranking[key])
    return {key: float(len(order) - rank) for rank, key in enumerate(order, start=1)}


FUSIONS: dict[str, Callable[[Ranking[Any]], dict[Any, float]]] = {
    "zscore": z_scores,
    "raw": as_given,
    "rank": rank_points,
}
"""What is done to the scores of one question's candidates before they are added up."""


@dataclass(frozen=True, kw_only=True)
class LegalSettings:
    """How the two stages work together."""

    candidates: int = 100  # articles that words find and the model scores
    weight: float = 0.5  # of the model's score; the words' has the rest
    fusion: str = "zscore"  # a key of `FUSIONS`
    most: int = 1  # articles that are given as applying
    gap: float = math.inf  # how far below the first one's score these may lie

    def __post_init__(self) -> None:
        require_one_of("Legal search", self, "fusion", tuple(FUSIONS))
        require_settings("Legal search", self, candidates=COUNT, weight=SHARE, most=COUNT, gap=Range(0, infinite=True))


@dataclass(frozen=True)
class ArticleWords:
    """A `Retriever` over articles by their words (BM25), cut as a language of `text.languages`, without headings."""

    articles: Sequence[Article]
    language: str = "plain"

    def __post_init__(self) -> None:
        if not articles_of(self.articles):
            raise InputError("There are no articles to search. Give at least one.")
        word_cutter(self.language)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` articles with the highest BM25; those that hold none of its words are not found."""
        require_k(k)
        found = self._search(queries, k)
        return [[Hit(self._passages[name], score, "words") for name, score in one.items()] for one in found]

    @cached_property
    def _passages(self) -> dict[str, Passage]:
        return {article.id: passage_of(article) for article in self.articles}

    @cached_property
    def _search(self) -> Search:
        return word_search({article.id: article.text for article in self.articles}, self.language)


def word_search(texts: Mapping[str, str], language: str = "plain") -> Search:
    """BM25 over texts whose words are cut as the language wants."""
    cut = word_cutter(language)
    return WordSearch(texts, K1, B, lambda text: word_runs(" ".join(cut(text)).lower()))


@dataclass(frozen=True, slots=True)
class LegalHit:
    """An article with the scores of both stages; `hit.score` is their sum."""

    hit: Hit
    lexical: float
    neural: float | None  # None where the model could read nothing of the question
    sentences: tuple[SentenceWeight, ...] = ()  # of the article, in order

    @property
    def attended(self) -> list[SentenceWeight]:
        """The sentences with a weight above 0, the heaviest first."""
        return sorted((one for one in self.sentences if one.weight > 0), key=lambda one: -one.weight)


def tuned(folder: Path) -> tuple[dict[str, Any], LegalSettings]:
    """What `legal_training.train_legal` told of a model that it made, and what it tuned. ModelUnavailable: nothing."""
    about = checkpoints.read(folder / LEGAL)
    if about is None:
        raise ModelUnavailable(f"{folder} holds no {LEGAL}, so nothing is tuned there. `foveal train legal` makes it.")
    return about, LegalSettings(**{**about["settings"], "gap": float(about["settings"]["gap"])})


@dataclass(frozen=True)
class LegalRetriever:
    """A `Retriever` in two stages; the first is any retriever, say a library's, or `ArticleWords`."""

    first: Retriever
    ranker: SectionRanker
    settings: LegalSettings = field(default_factory=LegalSettings)

    def __post_init__(self) -> None:
        if self.ranker.budget is not None and self.ranker.budget < self.settings.candidates:
            raise InputError(
                f"The ranker scores {self.ranker.budget} hits, but {self.settings.candidates} candidates are wanted. "
                f"Give it a budget of {self.settings.candidates}, or none."
            )

    @classmethod
    def load(
        cls, folder: Path, *, articles: Iterable[Article] | None = None, first: Retriever | None = None, **options: Any
    ) -> LegalRetriever:
        """What `train_legal` made, over these articles, or behind a first stage of one's own; `options` go to the model
        (`encoder`, `cache`). ModelUnavailable: the folder holds no such model. InputError: both or neither were given.
        """
        if (articles is None) == (first is None):
            raise InputError("Legal search needs either the articles, or a first stage that finds them; give one.")
        about, settings = tuned(folder)
        model = load_article_model(folder, **options)
        ranker = SectionRanker(model, cut=about["cut"], headings=about["headings"])
        return cls(first or ArticleWords(tuple(articles or ()), about["language"]), ranker, settings)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` best articles. InputError: an empty query."""
        return [[one.hit for one in self.explain(query, k)] for query in queries]

    def explain(self, query: str, k: int, *, cancel: Cancel | None = None) -> list[LegalHit]:
        """The `k` best articles with both scores and the weights of their sentences.

        Where the model can read nothing of the question, the order of words alone, and a warning is logged. InputError:
        an empty query. Cancelled: by `cancel`.
        """
        require_k(k)
        found = self.candidates(query, max(k, self.settings.candidates), cancel=cancel)
        scored, source = [one for one in found if one.neural is not None], f"{self.ranker.model.kind}+words"
        if not scored:  # the words' scores on the scale of the sums, by which the gap was chosen
            scored, source = [replace(one, neural=0.0) for one in found[: self.settings.candidates]], "words"
        summed = fused(scored, self.settings.weight, self.settings.fusion)
        best = [replace(one, hit=replace(one.hit, score=summed[row], source=source)) for row, one in enumerate(scored)]
        best.sort(key=lambda one: -one.hit.score)
        known = {one.hit.passage.span: one for one in found}
        order = followed_by([one.hit for one in best], [one.hit for one in found])
        return [replace(known[hit.passage.span], hit=hit) for hit in order[:k]]

    def candidates(self, query: str, k: int | None = None, *, cancel: Cancel | None = None) -> list[LegalHit]:
        """What the first stage finds, in its order, with the model's score of the first `candidates` beside its own."""
        if not query.strip():
            raise InputError("Legal search got an empty question; ask something.")
        found = self.first.search([query], k or self.settings.candidates)[0]
        said = self.ranker.explain(query, found[: self.settings.candidates], cancel=cancel) if found else []
        known = self.ranker.model.knows(query)
        by_span = {one.hit.passage.span: one for one in said} if known else {}
        hits = []
        for hit in found:
            one = by_span.get(hit.passage.span)
            hits.append(
                LegalHit(hit, hit.score, one.hit.score, one.sentences) if one else LegalHit(hit, hit.score, None)
            )
        return hits

    def applying(self, query: str, *, cancel: Cancel | None = None) -> list[LegalHit]:
        """The articles that are given as the answer, by `most` and `gap`."""
        found = self.explain(query, self.settings.most, cancel=cancel)
        return [one for one in found if one.hit.score >= found[0].hit.score - self.settings.gap]

    def run(self, queries: Mapping[str, str], k: int = 100) -> Run:
        """Query id -> article id -> score, as metrics want it."""
        return {name: scores_of(self.search([text], k)[0]) for name, text in queries.items()}


def answers(run: Mapping[str, Mapping[str, float]], most: int, gap: float) -> dict[str, list[str]]:
    """At most `most` articles of each question, none more than `gap` below the first."""
    given = {}
    for query, scores in run.items():
        order = ranked(scores, query)[:most]
        given[query] = [name for name in order if scores[name] >= scores[order[0]] - gap]
    return given


def fused(hits: Sequence[LegalHit], weight: float, fusion: str) -> dict[int, float]:
    """Place among the hits -> their sum of both scores, each after the fusion's norm; the model scored them all."""
    lexical = {row: one.lexical for row, one in enumerate(hits)}
    neural = {row: one.neural for row, one in enumerate(hits) if one.neural is not None}
    return weighted_sum([lexical, neural], [1 - weight, weight], norm=FUSIONS[fusion])


def scores_of(hits: Iterable[Hit]) -> dict[str, float]:
    """Article id -> score; where several passages are of one document, the best one's."""
    best: dict[str, float] = {}
    for hit in hits:
        name = hit.passage.span.document_id
        best[name] = max(hit.score, best.get(name, hit.score))
    return best
