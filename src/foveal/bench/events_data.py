"""News with dates for `bench events`: pages, questions split by time, their events, and the runs that all tables share.

A question sees pages dated up to the day after it; idf, events and their bursts are of those pages only. Questions
before April 2023 are learnt from (the last of them choose among steps), those after are measured; of other news than
RealtimeQA's the first two thirds are learnt from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from datetime import datetime, timedelta
from functools import cached_property

import numpy as np

from foveal.bench.known_sets import is_set
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
from foveal.retrieval.event_items import DAY, seconds
from foveal.retrieval.event_phrases import trimmed
from foveal.retrieval.fresh_fitting import PastPages, a_year_later
from foveal.retrieval.fresh_fusion import FreshSettings, recency_prior
from foveal.training.event_rows import EventExamples
from foveal.training.searches import Floats
from foveal.types import Encoder

FILES = ("corpus.jsonl", "queries.jsonl", "qrels/test.tsv")
FROM, SPLIT = datetime(2022, 6, 1), datetime(2023, 4, 1)
"""RealtimeQA: where its questions begin, and where those begin that are measured."""
LEARNT = 2 / 3
"""The share of the days with questions that is learnt from, of other news."""
WINDOW_DAYS = FreshSettings.fresh_days
FLOOR = 0.3
"""What a recency prior leaves of the scores of old pages, in searches that know no events."""
DEPTH, COARSE = 100, 1500
"""Pages of a run; questions that the stream asks itself."""

QUICK_EVERY = 2
"""In the quick run each second test question is asked."""


class News:
    """The collection, its stream, and what was going on at each question."""

    def __init__(self, settings: BenchSettings) -> None:
        self.settings, self.encoder = settings, settings.encoder()
        self.collection: DatedCollection = load_dated(settings.folder("news/realtimeqa", FILES))
        self.items = dated(self.collection.items)
        self.texts = [document_text(item) for item in self.items]
        self.at = {query: seconds(moment) for query, (_, moment) in self.collection.asked.items()}

    @cached_property
    def known(self) -> bool:
        """Whether this is the collection that figures were measured on before."""
        return is_set("RealtimeQA", len(self.items), len(self.collection.judged))

    @cached_property
    def split_at(self) -> datetime:
        """The moment from which on questions are measured."""
        if self.known:
            return SPLIT
        moments = sorted({moment for _, moment in self.collection.asked.values()})
        return moments[min(round(LEARNT * len(moments)), len(moments) - 1)]

    @cached_property
    def begins_at(self) -> datetime:
        """The moment from which on pages make the stream: of other news two weeks before the first question."""
        first = min(moment for _, moment in self.collection.asked.values())
        return FROM if self.known else first - timedelta(days=WINDOW_DAYS + 1)

    @cached_property
    def vectors(self) -> Floats:
        """MiniLM's of all pages (title and the opening)."""
        return self.vectors_by(self.encoder, self.texts)

    def vectors_by(self, encoder: Encoder, texts: Sequence[str], *, name: str = "") -> Floats:
        """Vectors of the pages from the cache; `name` is that of another encoder than the bench's own."""
        kept = "pages" if encoder.fingerprint == self.encoder.fingerprint else name
        made: Floats = self.settings.cached_vectors(("realtimeqa", kept), texts, encoder)
        return made

    @cached_property
    def pages(self) -> PastPages:
        """The pages as of any moment."""
        return PastPages(self.items)

    @cached_property
    def encode(self) -> Encode:
        """The encoder, which knows titles and questions already."""
        return self.encoding(self.encoder, "titles")

    def encoding(self, encoder: Encoder, name: str) -> Encode:
        """An encoder that knows titles and questions already; `name` is that of its vectors in the cache."""
        texts = list(dict.fromkeys(
            [item.title for item in self.items] + [trimmed(item.title, source=item.source) for item in self.items]
            + [text for text, _ in self.collection.asked.values()]
        ))  # fmt: skip
        return remembering(encoder.encode, texts, self.settings.cached_vectors(("realtimeqa", name), texts, encoder))

    @cached_property
    def swept(self) -> Swept:
        """The events of each question at its moment."""
        return sweep(self.items, self.collection.asked, self.encode)

    @cached_property
    def later(self) -> dict[str, tuple[str, datetime]]:
        """The questions, asked a year later."""
        return {query: (text, a_year_later(moment)) for query, (text, moment) in self.collection.asked.items()}

    @cached_property
    def coarse(self) -> EventExamples:
        """What the stream before the split asks itself."""
        return coarse_examples(self.items, self.encode, before=self.split_at, most=COARSE, seed=self.settings.seed)

    @cached_property
    def whole(self) -> EventExamples:
        """All judged questions."""
        return fine_examples(self.items, self.collection.asked, self.collection.judged, self.swept, name="realtimeqa")

    @cached_property
    def sides(self) -> tuple[EventExamples, EventExamples]:
        """Learnt from, and measured."""
        learnt, test = self.whole.split(seconds(self.split_at))
        if self.settings.quick:
            test = test.only(list(test.examples.queries)[::QUICK_EVERY])
        return learnt, test

    def events(self, queries: Sequence[str]) -> list[tuple[EventText, ...]]:
        """Each question's events."""
        return [event_texts(self.swept.matches.get(query, ())) for query in queries]

    # -- runs ---------------------------------------------------------------------------------------------------

    def words(self, data: EventExamples, *, windowed: bool = False) -> Run:
        """BM25 as of each question's moment, over all pages or those of the last 14 days."""
        return {
            query: self.pages.words(text, self.at[query], DEPTH, since=self._since(query, windowed))
            for query, text in data.examples.queries.items()
        }

    def nearest(self, data: EventExamples, documents: Floats, queries: Floats, *, windowed: bool = False) -> Run:
        """Cosine as of each question's moment."""
        return {
            query: self.pages.nearest(documents, vector, self.at[query], DEPTH, since=self._since(query, windowed))
            for query, vector in zip(data.examples.queries, queries, strict=True)
        }

    def _since(self, query: str, windowed: bool) -> float:
        return self.at[query] - WINDOW_DAYS * DAY if windowed else -np.inf

    def recent(self, run: Run) -> Run:
        """Scores (of 0 or more) times the recency prior of a question that is about something of now."""
        return {
            query: {page: score * self.prior(page, self.at[query]) for page, score in found.items()}
            for query, found in run.items()
        }

    def prior(self, page: str, moment: float) -> float:
        """The recency prior of a page, as it is specified for searches that know no events."""
        return recency_prior(self.pages.age(page, moment), 1.0, FreshSettings(floor=FLOOR))

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
