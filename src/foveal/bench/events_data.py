"""News with dates for `bench events`: pages, questions split by time, their events, and the runs that all tables share.

A question sees pages dated up to the day after it; idf, events and their bursts are of those pages only. Questions
before April 2023 are learnt from (the last of them choose among steps), those after are measured.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime
from functools import cached_property

import numpy as np

from foveal.bench.settings import BenchSettings
from foveal.evaluation.metrics import Run
from foveal.models.event_attention import EventText
from foveal.retrieval.dated_collections import DatedCollection, load_dated
from foveal.retrieval.event_clusters import Encode
from foveal.retrieval.event_examples import (
    Swept,
    coarse_examples,
    dated,
    document_text,
    event_texts,
    fine_examples,
    sweep,
)
from foveal.retrieval.event_items import DAY, Item, datetime_of, half_life, seconds
from foveal.retrieval.event_phrases import trimmed
from foveal.retrieval.past_lexical import PastIndex
from foveal.training.event_rows import EventExamples, PastSearch
from foveal.training.searches import Floats

FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
SPLIT = datetime(2023, 4, 1)
WINDOW_DAYS, HALF_LIFE_DAYS, FLOOR = 14.0, 7.0, 0.3
DEPTH, WORDS_READ = 100, 600
YEAR, COARSE = 365 * DAY, 1500
"""Pages of a run; characters of a page that words look at."""

QUICK_EVERY = 2
"""In the quick run each second test question is asked."""


class News:
    """The collection, its stream, and what was going on at each question."""

    def __init__(self, settings: BenchSettings) -> None:
        self.settings, self.encoder = settings, settings.encoder()
        self.collection: DatedCollection = load_dated(settings.folder("news/realtimeqa", FILES))
        self.items = dated(self.collection.items)
        self.ids = [item.id for item in self.items]
        self.texts = [document_text(item) for item in self.items]
        self.moments = np.array([seconds(_date(item)) for item in self.items])
        self.at = {query: seconds(moment) for query, (_, moment) in self.collection.asked.items()}

    @cached_property
    def vectors(self) -> Floats:
        """MiniLM's of all pages (title and the opening)."""
        return self.settings.cached_vectors(("realtimeqa", "pages"), self.texts, self.encoder)

    @cached_property
    def encode(self) -> Encode:
        """The encoder, which knows titles and questions already."""
        texts = list(dict.fromkeys(
            [item.title for item in self.items] + [trimmed(item.title, source=item.source) for item in self.items]
            + [text for text, _ in self.collection.asked.values()]
        ))  # fmt: skip
        return remembering(
            self.encoder.encode, texts, self.settings.cached_vectors(("realtimeqa", "titles"), texts, self.encoder)
        )

    @cached_property
    def swept(self) -> Swept:
        """The events of each question at its moment."""
        return sweep(self.items, self.collection.asked, self.encode)

    @cached_property
    def later(self) -> dict[str, float]:
        """Each question's moment, a year later."""
        return {query: moment + YEAR for query, moment in self.at.items()}

    @cached_property
    def swept_later(self) -> Swept:
        """The events of each question, asked a year later."""
        asked = self.collection.asked
        moved = {query: (text, datetime_of(self.later[query], aware=False)) for query, (text, _) in asked.items()}
        return sweep(self.items, moved, self.encode)

    @cached_property
    def coarse(self) -> EventExamples:
        """What the stream before the split asks itself."""
        return coarse_examples(self.items, self.encode, before=SPLIT, most=COARSE, seed=self.settings.seed)

    @cached_property
    def whole(self) -> EventExamples:
        """All judged questions."""
        return fine_examples(self.items, self.collection.asked, self.collection.judged, self.swept, name="realtimeqa")

    @cached_property
    def sides(self) -> tuple[EventExamples, EventExamples]:
        """Learnt from, and measured."""
        learnt, test = self.whole.split(seconds(SPLIT))
        if self.settings.quick:
            test = test.only(list(test.examples.queries)[::QUICK_EVERY])
        return learnt, test

    @cached_property
    def index(self) -> PastIndex:
        """Words of titles and the beginning of texts."""
        return PastIndex([f"{item.title} {item.text[:WORDS_READ]}" for item in self.items], self.moments.tolist())

    @cached_property
    def dates(self) -> dict[str, float]:
        """Page -> seconds."""
        return dict(zip(self.ids, self.moments.tolist(), strict=True))

    def events(self, queries: Sequence[str]) -> list[tuple[EventText, ...]]:
        """Each question's events."""
        return [event_texts(self.swept.matches.get(query, ())) for query in queries]

    # -- runs ---------------------------------------------------------------------------------------------------

    def words(self, data: EventExamples, *, windowed: bool = False, at: Mapping[str, float] | None = None) -> Run:
        """BM25 as of each question's moment, over all pages or those of the last 14 days."""
        found: Run = {}
        for query, text in data.examples.queries.items():
            moment = (at or self.at)[query]
            since = moment - WINDOW_DAYS * DAY if windowed else -np.inf
            scores = self.index.search(text, moment, DEPTH, since=since)
            found[query] = {self.ids[number]: score for number, score in scores.items()}
        return found

    def nearest(
        self,
        data: EventExamples,
        documents: Floats,
        queries: Floats,
        *,
        windowed: bool = False,
        at: Mapping[str, float] | None = None,
    ) -> Run:
        """Cosine as of each question's moment."""
        moments = {query: (at or self.at)[query] for query in data.examples.queries}
        search = PastSearch(self.ids, documents, self.moments)
        if not windowed:
            return search.run(moments, queries, DEPTH)
        found: Run = {}
        for (query, moment), vector in zip(moments.items(), queries, strict=True):
            near = np.flatnonzero((self.moments <= moment) & (self.moments >= moment - WINDOW_DAYS * DAY))
            scores = documents[near] @ vector
            best = np.argsort(-scores, kind="stable")[:DEPTH]
            found[query] = {self.ids[near[row]]: float(scores[row]) for row in best}
        return found

    def recent(
        self, run: Run, *, at: Mapping[str, float] | None = None, need: Mapping[str, float] | None = None
    ) -> Run:
        """Scores (of 0 or more) times the recency prior 1 - P + P (0.3 + 0.7 2^(-age / 7 d)); P is 1 without `need`."""
        return {
            query: {
                page: score * self.prior(page, (at or self.at)[query], 1.0 if need is None else need[query])
                for page, score in found.items()
            }
            for query, found in run.items()
        }

    def prior(self, page: str, moment: float, need: float = 1.0) -> float:
        """The recency prior of a page."""
        age = (moment - self.dates[page]) / DAY
        return 1 - need + need * (FLOOR + (1 - FLOOR) * half_life(age, HALF_LIFE_DAYS))

    def sources(self, data: EventExamples) -> dict[str, frozenset[str]]:
        """The pages of each question whose title is the phrase of its top event."""
        titles = {item.id: trimmed(item.title, source=item.source) for item in self.items}
        found = {}
        for query in data.examples.queries:
            events = data.events.get(query, ())
            found[query] = frozenset(
                page for page in (events[0].documents if events else ()) if titles[page] == events[0].text
            )
        return found


def without(run: Run, removed: Mapping[str, frozenset[str]]) -> Run:
    """The run without those pages."""
    return {q: {page: score for page, score in found.items() if page not in removed[q]} for q, found in run.items()}


def judged_without(
    judged: Mapping[str, Mapping[str, int]], removed: Mapping[str, frozenset[str]]
) -> dict[str, dict[str, int]]:
    """The judgements without those pages, and without questions that have none left."""
    kept = {q: {page: grade for page, grade in found.items() if page not in removed[q]} for q, found in judged.items()}
    return {query: found for query, found in kept.items() if any(grade > 0 for grade in found.values())}


def swapped(data: EventExamples) -> EventExamples:
    """The same questions, each with the events of the one that was asked half the list later."""
    names = list(data.examples.queries)
    other = dict(zip(names, names[len(names) // 2 :] + names[: len(names) // 2], strict=True))
    return replace(data, events={query: data.events.get(other[query], ()) for query in names})


def remembering(encode: Encode, texts: Sequence[str], vectors: Floats) -> Encode:
    """The encoder, which looks up what is known and encodes the rest once."""
    known = dict(zip(texts, vectors, strict=True))

    def found(asked: Sequence[str]) -> Floats:
        new = [text for text in dict.fromkeys(asked) if text not in known]
        if new:
            known.update(zip(new, encode(new), strict=True))
        return np.stack([known[text] for text in asked]).astype(np.float32)

    return found


def _date(item: Item) -> datetime:
    assert item.published_at is not None
    return item.published_at
