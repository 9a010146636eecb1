"""Trains the model of legal search on judged questions, and tunes how the two stages work together.

    folder, report = train_legal(collection, run=RunSettings(home=home))     or LegalForm(engine="attentive-cnn")
    law = LegalRetriever.load(folder, articles=collection.articles.values())

Tuned       the weight of the model's score, then the rule that says how many articles are given, by F2 on dev
            questions, which nothing was trained on
Paraformer  over any sentence encoder; where it learns, at 2e-5, its head learns 5 times as fast
Attentive   CNN: its words are those of the articles and the training questions
"""

from __future__ import annotations

import math
from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from itertools import product
from pathlib import Path

import numpy as np

from foveal.errors import InputError, UnknownName
from foveal.evaluation.legal import Article, LegalCollection, answer_scores, first_answers, mean_scores
from foveal.evaluation.metrics import Qrels, Run
from foveal.ranking.article_models import load_article_model
from foveal.ranking.attentive_cnn import AttentiveCNN, AttentiveCNNSettings, Vocabulary
from foveal.ranking.legal import (
    K1,
    LEGAL,
    ArticleWords,
    LegalHit,
    LegalRetriever,
    LegalSettings,
    answers,
    fused,
    scores_of,
    word_search,
)
from foveal.ranking.paraformer import Paraformer, ParaformerSettings
from foveal.ranking.sections import SectionRanker, passage_of, sentences_of
from foveal.retrieval.fusion_weights import GRID, best_weight
from foveal.training import checkpoints
from foveal.training.articles import FROM_SCRATCH, FROZEN, TUNED, ArticleTraining, sentences_in, train_articles
from foveal.training.examples import Examples
from foveal.training.report import Report
from foveal.training.runs import RunSettings
from foveal.types import Encoder

Aside = Mapping[str, Collection[str]]
"""Question id -> ids of articles that count neither way."""

ENGINES = ("paraformer", "attentive-cnn")
MOST = 5
"""Articles that a tuned rule may give."""
HEAD_RATE = 5.0
"""How many times faster a head that starts at the encoder's cosines learns than the encoder with it: 1e-4 beside 2e-5.
At 1e-3 it forgot on ObliQA what it started with; a random start needs that much (set `head_rate=50`)."""


@dataclass(frozen=True)
class Tuned:
    """Settings that were found on dev questions, and F2 of the first article by weight."""

    settings: LegalSettings
    curve: Mapping[float, float]


def tuned(law: LegalRetriever, dev: LegalCollection, *, held_out: Iterable[str] = ()) -> Tuned:
    """The weight of `GRID` with the best F2 of the first article on judged questions, then the rule with the best F2.

    InputError: no questions, or some that are held out, that is kept for measuring.
    """
    if leaked := sorted(set(held_out) & dev.qrels.keys()):
        raise InputError(f"Legal search would be tuned on held-out questions such as {leaked[0]!r}. Use dev questions.")
    if not dev.qrels:
        raise InputError("There are no judged questions to tune legal search on. Give some.")
    return tuned_on({query: law.candidates(dev.queries[query]) for query in dev.qrels}, dev.qrels, law.settings)


def tuned_on(found: Mapping[str, Sequence[LegalHit]], qrels: Qrels, settings: LegalSettings) -> Tuned:
    """The same from candidates that were scored before, of each judged question."""
    values: dict[float, dict[str, float]] = {}
    for weight in GRID:
        scores = answer_scores(first_answers(fused_run(found, weight, settings.fusion)), qrels)
        values[weight] = {query: one.f2 for query, one in scores.items()}
    weight = best_weight(values)
    most, gap = best_rule(fused_run(found, weight, settings.fusion), qrels)
    curve = {one: math.fsum(by_query.values()) / len(by_query) for one, by_query in values.items()}
    return Tuned(replace(settings, weight=weight, most=most, gap=gap), curve)


def best_rule(run: Run, qrels: Qrels) -> tuple[int, float]:
    """How many articles, and how far below the first, with the best mean F2; of several the fewest articles."""
    falls = [
        scores[order[0]] - scores[name]
        for scores in run.values()
        for order in [sorted(scores, key=lambda name: -scores[name])]
        for name in order[1:MOST]
    ]
    gaps = sorted({0.0, *np.quantile(falls, np.linspace(0.02, 0.6, 16)).tolist()}) if falls else [0.0]
    rules = [(1, math.inf), *product(range(2, MOST + 1), gaps)]

    def value(rule: tuple[int, float]) -> float:
        return mean_scores(answer_scores(answers(run, *rule), qrels))["f2"]

    return max(rules, key=lambda rule: round(value(rule), 9))  # the first of equal ones


def fused_run(found: Mapping[str, Sequence[LegalHit]], weight: float, fusion: str = "zscore") -> Run:
    """The candidates of each question by the sum of both scores; by words alone where the model scored none."""
    made: Run = {}
    for query, hits in found.items():
        scored = [one for one in hits if one.neural is not None]
        summed = fused(scored, weight, fusion) if scored else {row: one.lexical for row, one in enumerate(hits)}
        made[query] = scores_of([replace(one.hit, score=summed[row]) for row, one in enumerate(scored or hits)])
    return made


# -- training ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class LegalForm:
    """What reads articles, and how they are cut for it."""

    engine: str = "paraformer"  # one of `ENGINES`
    encoder: str | Encoder = "minilm"  # that a Paraformer stands on
    learns: bool = True  # whether it learns with the Paraformer
    model: ParaformerSettings | AttentiveCNNSettings | None = None  # None: usual ones of the engine
    language: str = "plain"  # how words are cut: for the first stage, and for an Attentive CNN
    cut: str = "lines"  # how an article is cut into sentences (`sections.sentences_of`)
    headings: bool = True  # whether an article's heading is read, too

    @property
    def usual(self) -> ArticleTraining:
        """How it is trained unless it is told otherwise."""
        return FROM_SCRATCH if self.engine == "attentive-cnn" else TUNED if self.learns else FROZEN

    def corpus(self, articles: Iterable[Article]) -> dict[str, str]:
        """`corpus_of` these articles."""
        return corpus_of(articles, cut=self.cut, headings=self.headings)

    def untrained(self, examples: Examples, cache: Path | None) -> Paraformer | AttentiveCNN:
        """A model before it learns; an Attentive CNN knows the words of these examples. UnknownName: the engine."""
        if self.engine == "attentive-cnn" and isinstance(self.model, AttentiveCNNSettings | None):
            sentences = [line for text in examples.corpus.values() for line in sentences_in(text)]
            words = Vocabulary.of([*sentences, *examples.queries.values()], language=self.language)
            return AttentiveCNN(words, self.model)
        if self.engine == "paraformer" and isinstance(self.model, ParaformerSettings | None):
            chosen = self.model or ParaformerSettings(head_rate=HEAD_RATE if self.learns else 1.0)
            return Paraformer.over(self.encoder, chosen, tuned=self.learns, cache=cache)
        raise UnknownName(
            f"No engine of legal search is called {self.engine!r} with {type(self.model).__name__}. There are: "
            f"{', '.join(ENGINES)}; their settings are ParaformerSettings and AttentiveCNNSettings."
        )

    def loaded(self, place: Path, cache: Path | None) -> SectionRanker:
        """The trained model in `place`, over articles that are cut as they were for it."""
        given = {} if isinstance(self.encoder, str) else {"encoder": self.encoder}
        model = load_article_model(place, **({"cache": cache, **given} if self.engine == "paraformer" else {}))
        return SectionRanker(model, cut=self.cut, headings=self.headings)


def train_legal(
    collection: LegalCollection,
    form: LegalForm | None = None,
    training: ArticleTraining | None = None,
    settings: LegalSettings | None = None,
    *,
    run: RunSettings[LegalCollection],
    aside: Aside | None = None,
    decide: Callable[[Tuned, Report], Report] = lambda _, report: report,
) -> tuple[Path | None, Report]:
    """Train an article model on judged questions, tune both stages, and write all into HOME/models/<name>.

    The folder is None if the model orders dev questions no better than untrained (the report says so). The dev
    questions tune, too. `aside` names, of questions, articles that count neither way. `decide` gets what was tuned, and
    gives the report that counts. UnknownName: the engine, the encoder, the language. Else as
    `training.articles.train_articles`.
    """
    form = form or LegalForm()
    training = training or form.usual
    settings = settings or LegalSettings(candidates=training.candidates)
    texts = form.corpus(collection.articles.values())
    learnt = examples_of(collection, texts, aside)
    held = examples_of(run.dev, texts, aside) if run.dev else None
    if held is None:
        learnt, held = learnt.split(dev=training.dev_share)
    made = form.untrained(learnt, run.cache)

    def tune(place: Path) -> Tuned:
        words = ArticleWords(tuple(collection.articles.values()), form.language)
        law = LegalRetriever(words, form.loaded(place, run.cache), settings)
        found = tuned_on(_candidates(law, held), held.judged, settings)
        kept = asdict(found.settings) | {"gap": str(found.settings.gap)}  # infinity is no JSON
        about = {"settings": kept, "cut": form.cut, "headings": form.headings, "language": form.language}
        checkpoints.write(place / LEGAL, about | {"curve": {str(one): value for one, value in found.curve.items()}})
        return found

    folder, report = train_articles(
        made,
        learnt,
        training,
        run=run.measured_by(held, examples_of(run.test, texts) if run.test else None),
        first_stage=word_search({name: one.text for name, one in collection.articles.items()}, form.language),
        first_stage_name=f"words, {form.language}, k1 {K1}",
        decide=lambda place, report: decide(tune(place), report),
    )
    if folder is not None and not _is_tuned(folder, settings):
        tune(folder)
    return folder, report


def _is_tuned(folder: Path, settings: LegalSettings) -> bool:
    """Whether both stages were tuned with as many candidates and this fusion."""
    kept = (checkpoints.read(folder / LEGAL) or {}).get("settings", {})
    return (kept.get("candidates"), kept.get("fusion")) == (settings.candidates, settings.fusion)


def corpus_of(articles: Iterable[Article], *, cut: str = "lines", headings: bool = True) -> dict[str, str]:
    """Article id -> its sentences as a model reads them, one a line."""
    read = {one.id: sentences_of(passage_of(one), cut, headings=headings)[1] for one in articles}
    return {name: "\n".join(" ".join(one.split()) for one in sentences) for name, sentences in read.items()}


def examples_of(collection: LegalCollection, texts: Mapping[str, str], aside: Aside | None = None) -> Examples:
    """The questions that have a relevant article, over texts of all articles (`corpus_of`); `aside`: of a question,
    articles that count neither way.
    """
    judged = {
        query: dict(grades) for query, grades in collection.qrels.items() if any(grade > 0 for grade in grades.values())
    }
    left = {query: names for query, names in (aside or {}).items() if query in judged}
    return Examples({query: collection.queries[query] for query in judged}, texts, judged, collection.name, left)


def _candidates(law: LegalRetriever, held: Examples) -> dict[str, list[LegalHit]]:
    """What both stages say for each question, without the articles that count neither way."""
    return {
        query: [
            one for one in law.candidates(text) if one.hit.passage.span.document_id not in held.aside.get(query, ())
        ]
        for query, text in held.queries.items()
    }
