"""The fresh search over dated pages in memory, exact as of any moment; and what it is fused by, from judged questions.

    search = PastSearcher(PastPages(items), document_vectors, model.encode_query)
    search.run(asked, need, settings)                  # question -> page -> score, as `fresh.py` would find it
    fit_fusion(search, now, later, judged)             # the weight and the need classifier of an event model

Need      questions at their moment are about something of now; months later those that do not say when are not. That
          says in which order. How readily P comes above a half, and the weight, stay as near to what is set without
          questions as finds the former no worse (MRR@10 and recall@10, within a standard error of the best), while
          the latter lose at most a hundredth of their recall to the same without time
Questions that the model learnt from must not be given: of those it knows the answers, so its vectors would count for
          more than they will
Against   `fresh.py` searches a library: there idf is of all documents, here of those up to the moment
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal.evaluation.metrics import Qrels, Run, per_query
from foveal.retrieval.event_clusters import Encode
from foveal.retrieval.event_encoder import EventEncoder
from foveal.retrieval.event_examples import dated, document_text, event_texts, sweep
from foveal.retrieval.event_items import DAY, Item, datetime_of, seconds
from foveal.retrieval.event_matching import Match, NeedClassifier, best_of, has_time_words, need_features
from foveal.retrieval.fresh_fusion import LOOKED_AT, FreshSettings, Fusion, fused, recency_prior
from foveal.retrieval.past_lexical import PastIndex
from foveal.training.event_rows import EventExamples

if TYPE_CHECKING:
    from foveal.models.event_attention import EventText
    from foveal.retrieval.dated_collections import DatedCollection

log = logging.getLogger("foveal.retrieval")

Floats = npt.NDArray[np.float32]
Queries = Callable[[Sequence[str], Sequence[Sequence["EventText"]]], Floats]
A_WEIGHT, A_MOVE = 0.1, 0.5
"""A step of the weights, and of the readiness."""

WEIGHTS = tuple(round(A_WEIGHT * step, 1) for step in range(11))
READINESS = tuple(A_MOVE * step for step in range(-2, 9))
"""What the bias of the need classifier is moved by."""

HARM = 0.01
"""The share of recall that questions may lose which need no event."""

METRICS = ("mrr@10", "recall@10")
"""Whose mean chooses: few questions say little, and two figures of them say more than one."""

YEAR = 365 * DAY
LATER = (90, 180)
"""Days after which a question that does not say when is about nothing of now."""

WORDS_READ = 600
"""Characters of a page's text that words look at."""


class PastPages:
    """Dated pages: those up to a moment, by words or vectors."""

    def __init__(self, items: Sequence[Item]) -> None:
        """Items without a date are left out."""
        self.items = dated(items)
        self.ids = [item.id for item in self.items]
        self.moments = np.array([seconds(item.published_at) for item in self.items if item.published_at is not None])
        self.index = PastIndex([f"{item.title} {item.text[:WORDS_READ]}" for item in self.items], self.moments.tolist())
        self.dates: dict[str, float] = dict(zip(self.ids, self.moments.tolist(), strict=True))

    def words(self, text: str, at: float, k: int, *, since: float = -np.inf) -> dict[str, float]:
        """The `k` best by BM25 as of the moment."""
        return {self.ids[number]: score for number, score in self.index.search(text, at, k, since=since).items()}

    def nearest(
        self, documents: Floats, vector: Floats, at: float, k: int, *, since: float = -np.inf
    ) -> dict[str, float]:
        """The `k` with the highest cosine; `documents` are the pages' vectors (n, d)."""
        near = np.flatnonzero((self.moments <= at) & (self.moments >= since))
        scores = documents[near] @ vector
        return {self.ids[near[row]]: float(scores[row]) for row in np.argsort(-scores, kind="stable")[:k]}

    def age(self, page: str, at: float) -> float:
        """Days from the page to the moment."""
        return (at - self.dates[page]) / DAY


@dataclass(frozen=True)
class Asked:
    """Questions at a moment of their own, in seconds, with the events that were matched then."""

    queries: Mapping[str, str]
    at: Mapping[str, float]
    matches: Mapping[str, Sequence[Match]]

    def only(self, names: Sequence[str]) -> Asked:
        """Some of them."""
        return replace(self, queries={name: self.queries[name] for name in names})


@dataclass(frozen=True)
class PastSearcher:
    """The fresh search over pages; `encode` gives vectors of questions with their events."""

    pages: PastPages
    documents: Floats
    encode: Queries

    def features(self, asked: Asked, settings: FreshSettings) -> dict[str, list[float]]:
        """What the need classifier sees of each question."""
        found = {}
        for name, text in asked.queries.items():
            at = asked.at[name]
            every = self.pages.words(text, at, LOOKED_AT)
            fresh = self.pages.words(text, at, 1, since=at - settings.fresh_days * DAY)
            share = sum(self.pages.age(page, at) <= settings.fresh_days for page in every) / max(1, len(every))
            best = best_of(fresh.values(), every.values())
            year = datetime_of(at, aware=True).year
            found[name] = need_features(text, asked.matches.get(name, ()), share, best, year=year)
        return found

    def needs(self, asked: Asked, need: NeedClassifier | float, settings: FreshSettings) -> dict[str, float]:
        """P(time-sensitive) of each question."""
        if isinstance(need, int | float):
            return dict.fromkeys(asked.queries, float(need))
        return {name: need.probability(row) for name, row in self.features(asked, settings).items()}

    def run(self, asked: Asked, need: NeedClassifier | float, settings: FreshSettings) -> Run:
        """What is found for each question, the prior included."""
        needs = self.needs(asked, need, settings)
        return self.joined(asked, self.rankings(asked, needs, settings), needs, settings)

    def rankings(
        self, asked: Asked, needs: Mapping[str, float], settings: FreshSettings
    ) -> dict[str, list[dict[str, float]]]:
        """Of each question what `fused` takes; one without need has no events."""
        events = {
            name: tuple(asked.matches.get(name, ())) if needs[name] >= settings.least_need else ()
            for name in asked.queries
        }
        vectors = self.encode(list(asked.queries.values()), [event_texts(found) for found in events.values()])
        made = {}
        for (name, text), vector in zip(asked.queries.items(), vectors, strict=True):
            at = asked.at[name]
            since = at - settings.fresh_days * DAY
            words = partial(self.pages.words, at=at, k=settings.depth)
            near = partial(self.pages.nearest, self.documents, vector, at, settings.depth)
            made[name] = [words(text), words(text, since=since), near(), near(since=since)]
            if events[name]:
                made[name].append(words(events[name][0].event.text))
        return made

    def joined(
        self,
        asked: Asked,
        rankings: Mapping[str, Sequence[Mapping[str, float]]],
        needs: Mapping[str, float],
        settings: FreshSettings,
    ) -> Run:
        """The rankings as one, times the recency prior."""
        found: Run = {}
        for name in asked.queries:
            scores = fused(rankings[name], needs[name], settings, expanded=len(rankings[name]) > 4)
            found[name] = {
                page: score * recency_prior(self.pages.age(page, asked.at[name]), needs[name], settings)
                for page, score in scores.items()
            }
        return found


@dataclass(frozen=True)
class _Tried:
    """Questions whose rankings are known with their events and without."""

    search: PastSearcher
    asked: Asked
    judged: Qrels
    features: Mapping[str, Sequence[float]]
    without: Mapping[str, Sequence[Mapping[str, float]]]
    looked: Mapping[str, Sequence[Mapping[str, float]]]

    @classmethod
    def of(cls, search: PastSearcher, asked: Asked, judged: Qrels) -> _Tried:
        usual = FreshSettings()
        without, looked = (search.rankings(asked, dict.fromkeys(asked.queries, need), usual) for need in (0.0, 1.0))
        own = {name: judged[name] for name in asked.queries}
        return cls(search, asked, own, search.features(asked, usual), without, looked)

    def values(self, need: NeedClassifier | None, settings: FreshSettings) -> dict[str, Floats]:
        """`METRICS` with this need, or without time: of each the values of all questions."""
        needs = {name: need.probability(row) if need else 0.0 for name, row in self.features.items()}
        rankings = {
            name: (self.looked if value >= settings.least_need else self.without)[name] for name, value in needs.items()
        }
        found = per_query(self.search.joined(self.asked, rankings, needs, settings), self.judged, METRICS)
        return {metric: np.array(list(found[metric].values()), dtype=np.float32) for metric in METRICS}


@dataclass(frozen=True)
class _Choice:
    """A weight and a readiness, and what they bring."""

    fusion: Fusion
    steps: float
    """How far they are from what is set without any question, in steps of `WEIGHTS` and `READINESS`."""
    values: Floats
    """Of each question of now."""
    lost: float
    """The share of recall that questions of later lose; with its standard error above it."""


def fit_fusion(search: PastSearcher, now: Asked, later: Asked, judged: Qrels) -> Fusion:
    """The need classifier and the weight: `now` are questions at their moments, `later` some that need no event.

    InputError: no questions.
    """
    here, then = (_Tried.of(search, asked, judged) for asked in (now, later))
    labels = [True] * len(here.features) + [False] * len(then.features)
    first = NeedClassifier.fit([*here.features.values(), *then.features.values()], labels)
    tried = []
    for weight in WEIGHTS:
        settings = FreshSettings(weight=weight)
        timeless = then.values(None, settings)["recall@10"]
        for moved in READINESS:
            need = replace(first, bias=first.bias + moved)
            lost = _lost(timeless, then.values(need, settings)["recall@10"])
            steps = abs(weight - FreshSettings().weight) / A_WEIGHT + abs(moved) / A_MOVE
            values = np.mean(list(here.values(need, settings).values()), axis=0)
            tried.append(_Choice(Fusion(weight, need), steps, values, lost))
    chosen = _steadiest(tried)
    log.info(
        "Words and vectors are fused by %.1f, P by %s: %.4f on %d questions; others lose %.4f.",
        chosen.fusion.weight, chosen.fusion.need, chosen.values.mean(), len(here.features), chosen.lost,
    )  # fmt: skip
    return chosen.fusion


def _lost(before: Floats, after: Floats) -> float:
    """The share of `before` that is lost, plus its standard error."""
    return float((before - after).mean() + _error(before - after)) / max(float(before.mean()), 1e-9)


def _error(values: Floats) -> float:
    """The standard error of the mean; where one question alone differs by 1, as large as the mean."""
    return float(np.sqrt(((values - values.mean()) ** 2).sum() / max(1, len(values) - 1) / len(values)))


def _steadiest(tried: Sequence[_Choice]) -> _Choice:
    """Of the harmless, or the least harmful, that nearest to no fit which is not clearly worse than the best.

    Clearly: by more than a standard error of their difference. Some dozens of questions tell the best from its
    neighbours by chance alone.
    """
    bound = max(HARM, min(one.lost for one in tried))
    harmless = [one for one in tried if one.lost <= bound]
    best = max(harmless, key=lambda one: float(one.values.mean()))
    behind = [best.values - one.values for one in harmless]
    near = [one for one, less in zip(harmless, behind, strict=True) if less.mean() <= _error(less) + 1e-6]
    return min(near, key=lambda one: (one.steps, -float(one.values.mean())))


def write_fitted(news: DatedCollection, folder: Path, dev: EventExamples) -> None:
    """Fit the fusion of the event model in `folder` on the dev questions of its training, and write it there.

    Events are matched by the model's own encoder, as a library does that was made with it.
    """
    model = EventEncoder.load(folder)
    pages = PastPages(news.items)
    search = PastSearcher(
        pages, model.encode_document([document_text(item) for item in pages.items]), model.encode_query
    )
    asked = {name: news.asked[name] for name in dev.examples.queries}
    now, later = (asked_of(news.items, one, model.encoder.encode) for one in (asked, asked_later(news, asked)))
    fit_fusion(search, now, later, judged_later(news)).write(folder)


def asked_later(news: DatedCollection, now: Mapping[str, tuple[str, datetime]]) -> dict[str, tuple[str, datetime]]:
    """Judged questions that do not say when, moved by `LATER` days but not past the last of `now`: no event is theirs.

    Where there are none, those of `now`, a year later: then nothing was going on at all.
    """
    until = max(moment for _, moment in now.values())
    moved = {
        called_later(name, days): (text, moment + timedelta(days=days))
        for days in LATER
        for name, (text, moment) in news.asked.items()
        if name in news.judged and not has_time_words(text) and moment + timedelta(days=days) <= until
    }
    return moved or {called_later(name, 365): (text, a_year_later(moment)) for name, (text, moment) in now.items()}


def judged_later(news: DatedCollection) -> Qrels:
    """The judgements of all questions, by their own names and by those of `asked_later`."""
    moved = {called_later(name, days): grades for days in (*LATER, 365) for name, grades in news.judged.items()}
    return {**news.judged, **moved}


def called_later(name: str, days: int) -> str:
    """The name of a question that is asked again."""
    return f"{name}, {days} days later"


def asked_of(items: Sequence[Item], asked: Mapping[str, tuple[str, datetime]], encode: Encode) -> Asked:
    """The questions with the events of their moments."""
    texts = {name: text for name, (text, _) in asked.items()}
    at = {name: seconds(moment) for name, (_, moment) in asked.items()}
    return Asked(texts, at, sweep(items, asked, encode).matches)


def a_year_later(moment: datetime) -> datetime:
    """The moment, 365 days on."""
    return datetime_of(seconds(moment) + YEAR, aware=moment.tzinfo is not None)
