"""The fresh search over dated pages in memory, exact as of any moment; and what it is fused by, from judged questions.

    search = PastSearcher(PastPages(items), document_vectors, model.encode_query)
    search.run(asked, need, settings)                  # question -> page -> score, as `fresh.py` would find it
    fit_fusion(search, now, later, judged)             # the weight and the need classifier of an event model

Weight    of eleven the one with the highest MRR@10
Need      the questions at their moment are about something of now; the same, a year later, are not
Questions that the model learnt from must not be given: of those it knows the answers, so its vectors would count for
          more than they will
Against   `fresh.py` searches a library: there idf is of all documents, here of those up to the moment
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal.evaluation.metrics import Qrels, Run, evaluate
from foveal.retrieval.event_clusters import Encode
from foveal.retrieval.event_encoder import EventEncoder
from foveal.retrieval.event_examples import dated, document_text, event_texts, sweep
from foveal.retrieval.event_items import DAY, Item, datetime_of, seconds
from foveal.retrieval.event_matching import Match, NeedClassifier, need_features
from foveal.retrieval.fresh_fusion import LOOKED_AT, FreshSettings, Fusion, fused, recency_prior
from foveal.retrieval.past_lexical import PastIndex
from foveal.training.event_rows import EventExamples

if TYPE_CHECKING:
    from foveal.models.event_attention import EventText
    from foveal.retrieval.dated_collections import DatedCollection

log = logging.getLogger("foveal.retrieval")

Floats = npt.NDArray[np.float32]
Queries = Callable[[Sequence[str], Sequence[Sequence["EventText"]]], Floats]
WEIGHTS = tuple(round(0.1 * step, 1) for step in range(11))
METRIC = "mrr@10"
YEAR = 365 * DAY
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
            ages = [self.pages.age(page, at) for page in self.pages.words(text, at, LOOKED_AT)]
            share = sum(age <= settings.fresh_days for age in ages) / max(1, len(ages))
            found[name] = need_features(text, asked.matches.get(name, ()), share)
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
            if events[name] and settings.expands:
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


def fit_fusion(search: PastSearcher, now: Asked, later: Asked, judged: Qrels) -> Fusion:
    """The need classifier, then the weight, from the same questions at their moment and a year later.

    InputError: no questions.
    """
    settings = FreshSettings(fusion="weighted")
    rows = [search.features(asked, settings) for asked in (now, later)]
    labels = [True] * len(rows[0]) + [False] * len(rows[1])
    need = NeedClassifier.fit([*rows[0].values(), *rows[1].values()], labels)
    needs = search.needs(now, need, settings)
    rankings = search.rankings(now, needs, settings)
    own = {name: judged[name] for name in now.queries}
    values = {}
    for weight in WEIGHTS:
        run = search.joined(now, rankings, needs, replace(settings, weight=weight))
        values[weight] = evaluate(run, own, (METRIC,))[METRIC]
    best = max(values, key=lambda weight: (values[weight], -weight))
    log.info("Words and vectors are fused by %.1f: %s %.4f on %d questions.", best, METRIC, values[best], len(own))
    return Fusion(best, need)


def write_fitted(news: DatedCollection, folder: Path, dev: EventExamples) -> None:
    """Fit the fusion of the event model in `folder` on the dev questions of its training, and write it there.

    Events are matched by the model's own encoder, as a library does that was made with it.
    """
    model = EventEncoder.load(folder)
    pages = PastPages(news.items)
    search = PastSearcher(
        pages, model.encode_document([document_text(item) for item in pages.items]), model.encode_query
    )
    names = list(dev.examples.queries)
    now = {name: news.asked[name] for name in names}
    later = {name: (text, a_year_later(moment)) for name, (text, moment) in now.items()}
    both = [asked_of(news.items, asked, model.encoder.encode) for asked in (now, later)]
    fit_fusion(search, both[0], both[1], dev.examples.judged).write(folder)


def asked_of(items: Sequence[Item], asked: Mapping[str, tuple[str, datetime]], encode: Encode) -> Asked:
    """The questions with the events of their moments."""
    texts = {name: text for name, (text, _) in asked.items()}
    at = {name: seconds(moment) for name, (_, moment) in asked.items()}
    return Asked(texts, at, sweep(items, asked, encode).matches)


def a_year_later(moment: datetime) -> datetime:
    """The moment, 365 days on."""
    return datetime_of(seconds(moment) + YEAR, aware=moment.tzinfo is not None)
