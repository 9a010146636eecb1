"""Search that knows what happened today: words, meaning with events, and what is fresh, fused by how much time matters.

    library.search("election result", retriever="fresh", at="2023-05-01")        # as of that day; without: now
    library.search(…, retriever="fresh", tell=told.append)                       # told[-1].said, .matches: what it took

Candidates  BM25; the library's vectors, searched by the query with its events; both again among the last 14 days; and
            what words find for the phrase of the best event
Fusion      weighted sums (`fresh_fusion.py`), times 1 - P + P (0.1 + 0.9 2^(-age / 7 days)): P is the probability
            that the query is about something of now, age that of the document
As of       nothing dated after `at` is found, and no such document is evidence of an event
Trained     `model=` names an event model of `foveal train events`, whose encoder the library must have been made with;
            without one the plain vector is searched. Where the model was trained on judged questions it brings a
            weight of vectors against words, and weights of P
Source      Yang et al., 2023, arXiv 2312.00372; the fusion is ours
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np

from foveal.errors import InputError
from foveal.models.characters import is_read
from foveal.ranges import require_k
from foveal.retrieval.event_clusters import Encode
from foveal.retrieval.event_encoder import EventEncoder, loaded
from foveal.retrieval.event_examples import event_texts
from foveal.retrieval.event_items import DAY, seconds
from foveal.retrieval.event_library import KEPT, mined
from foveal.retrieval.event_matching import EventMatcher, Match, MatchSettings, NeedClassifier, best_of, need_features
from foveal.retrieval.events import EventSettings, EventStore
from foveal.retrieval.filters import literal
from foveal.retrieval.fresh_fusion import LOOKED_AT, FreshSettings, fused, recency_prior
from foveal.retrieval.lexical import LexicalRetriever
from foveal.retrieval.pipeline import by_span
from foveal.retrieval.rows import hits
from foveal.retrieval.store import Collection, Store
from foveal.retrieval.words import has_phrase
from foveal.settings import Settings
from foveal.text.dates import moment
from foveal.types import Encoder, Hit, Span

EARLIEST = seconds(datetime(1, 1, 1, tzinfo=UTC))

SAID = 3
"""Events that are named to the reader."""


@dataclass(frozen=True)
class Found:
    """What a search found, and what it took the query to be about."""

    hits: list[Hit]
    need: float  # P(time-sensitive)
    matches: tuple[Match, ...]  # the events that were attached; none where the need is small
    ages: dict[str, float | None] = field(default_factory=dict)  # document -> days, None: without a date

    @property
    def said(self) -> str:
        """One line for the reader: how surely the query is about something of now, and which events were taken."""
        events = "; ".join(match.why for match in self.matches[:SAID]) or "none"
        return f"About something of now: {self.need:.0%}. Events taken for it: {events}."

    def match_of(self, hit: Hit) -> Match | None:
        """The event that the hit's document reports; None: it reports none of those that were attached."""
        document = hit.passage.span.document_id
        return next((match for match in self.matches if document in match.event.documents), None)


@dataclass(frozen=True)
class FreshRetriever:
    """A `Retriever` as of a moment; `where` is an SQL condition from `filters.sql`."""

    store: Store
    encoder: Encoder | None
    at: datetime | str | None = None  # None: now, at the time of each search
    model: EventEncoder | None = None
    where: str | None = None
    events: bool = True  # False: the switch that turns them off
    need: NeedClassifier | float = field(default_factory=NeedClassifier)  # or P itself, for all queries
    settings: FreshSettings = field(default_factory=FreshSettings)
    mining: EventSettings = field(default_factory=EventSettings)
    matching: MatchSettings = field(default_factory=MatchSettings)
    kept: Path | None = None  # a folder for events that took long to mine
    tell: Callable[[Found], None] | None = None  # is given what each search found, and took the query to be about

    def __post_init__(self) -> None:
        if isinstance(self.need, int | float) and not 0 <= self.need <= 1:
            raise InputError(f"Fresh search got need={self.need}; it needs a probability, from 0 to 1.")

    @classmethod
    def over(
        cls,
        collection: Collection,
        where: str | None,
        *,
        at: datetime | str | None = None,
        model: EventEncoder | str | Path | None = None,
        **options: Any,
    ) -> FreshRetriever:
        """The retriever over a collection; `at` is a moment or a date such as 2023-05-01, whose whole day counts.

        What was fitted with the model stands for `settings` and `need` where these are not given.
        InputError: no date, or a model of another encoder than the library's. UnknownName: no such model.
        """
        encoder = collection.encoder if collection.store.dimension else None
        settings = getattr(collection, "settings", None) or Settings.load()
        found = model
        if model is not None and not isinstance(model, EventEncoder):
            if encoder is None:
                raise InputError("This library has no vectors, so no event model fits it. Leave the model out.")
            found = loaded(str(model), settings.home)
        if isinstance(found, EventEncoder):
            _require_own(found, encoder)
            if found.fusion is not None:
                options = {"settings": found.fusion.settings(), "need": found.fusion.need, **options}
        moment(at)
        options.setdefault("kept", settings.cache / "events")
        return cls(collection.store, encoder, at, found, where, **options)  # type: ignore[arg-type]

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest fused score, none dated after `at`."""
        every = self.explained(queries, k)
        if self.tell is not None:
            for found in every:
                self.tell(found)
        return [found.hits for found in every]

    def explained(self, queries: Sequence[str], k: int) -> list[Found]:
        """The same, with P(time-sensitive) and the events that were attached."""
        require_k(k)
        at = moment(self.at)
        matcher = self._matcher(at) if self.events else None
        return [self._found(query, k, at, matcher) for query in queries]

    def _matcher(self, at: datetime) -> EventMatcher:
        encode = None if self.encoder is None else self.encoder.encode
        mark = "" if self.encoder is None else self.encoder.fingerprint
        events = mined(self.store, at, encode=encode, settings=self.mining, encoder=mark, kept=self.kept)
        return _matcher(events, encode, self.matching)

    def _found(self, query: str, k: int, at: datetime, matcher: EventMatcher | None) -> Found:
        if not query.strip():
            return Found([], 0.0, ())
        depth = max(self.settings.depth, k)
        past, fresh = self._conditions(at)
        lists = [LexicalRetriever(self.store, where).search([query], depth)[0] for where in (past, fresh)]
        matches = tuple(matcher.matches(query, at)) if matcher else ()
        need = self._need(query, matches, lists, at)
        matches = matches if need >= self.settings.least_need else ()
        if self.encoder is not None and is_read(self.encoder, query):
            vector = self._vector(query, matches)
            lists += [hits(self.store.nearest(vector, depth, where), "dense") for where in (past, fresh)]
        if matches:
            lists.append(LexicalRetriever(self.store, past).search([matches[0].event.text], depth)[0])
        if has_phrase(query):  # it binds what meaning and events found, too
            worded = {hit.passage.span for one in (lists[0], lists[1]) for hit in one}
            lists = [[hit for hit in one if hit.passage.span in worded] for one in lists]
        ages = self._ages([hit.passage.span.document_id for one in lists for hit in one], at)
        return Found(self._fused(lists, need, ages, expanded=bool(matches))[:k], need, matches, ages)

    def _vector(self, query: str, matches: Sequence[Match]) -> np.ndarray:
        if self.model is not None:
            vector: np.ndarray = self.model.encode_query([query], [event_texts(matches)])[0]
            return vector
        assert self.encoder is not None
        return np.asarray(self.encoder.encode([query])[0])

    def _need(self, query: str, matches: Sequence[Match], lists: Sequence[Sequence[Hit]], at: datetime) -> float:
        if isinstance(self.need, int | float):
            return float(self.need)
        every, fresh = lists
        ages = self._ages([hit.passage.span.document_id for hit in every[:LOOKED_AT]], at)
        share = sum(age is not None and age <= self.settings.fresh_days for age in ages.values()) / max(1, len(ages))
        best = best_of((hit.score for hit in fresh), (hit.score for hit in every))
        return self.need.probability(need_features(query, matches, share, best, year=at.year))

    def _fused(
        self, lists: Sequence[Sequence[Hit]], need: float, ages: dict[str, float | None], *, expanded: bool
    ) -> list[Hit]:
        passages = {hit.passage.span: hit for one in lists for hit in one}
        rankings: list[dict[Span, float]] = [{hit.passage.span: hit.score for hit in one} for one in lists]
        scores = fused(rankings, need, self.settings, expanded=expanded)
        ranked = {span: score * self.prior(ages.get(span.document_id), need) for span, score in scores.items()}
        return by_span(ranked, passages, "fresh")

    def prior(self, age: float | None, need: float) -> float:
        """What a document's score is multiplied by (see `recency_prior`)."""
        return recency_prior(age, need, self.settings)

    def _ages(self, documents: Sequence[str], at: datetime) -> dict[str, float | None]:
        """Days from each document's date to `at`."""
        names = list(dict.fromkeys(documents))
        ages: dict[str, float | None] = {}
        for first in range(0, len(names), 500):
            ids = ",".join(literal(name) for name in names[first : first + 500])
            for entry in self.store.entries(f"id IN ({ids})"):
                date = entry.published_at
                ages[entry.id] = None if date is None else max(0.0, seconds(at) - seconds(date)) / DAY
        return ages

    def _conditions(self, at: datetime) -> tuple[str, str]:
        """Up to `at` or without a date; and of the last days."""
        stamp = f"timestamp '{at.astimezone(UTC).isoformat()}'"
        since = datetime.fromtimestamp(max(EARLIEST, seconds(at) - self.settings.fresh_days * DAY), UTC)
        past = f"(published_at IS NULL OR published_at <= {stamp})"
        fresh = f"(published_at <= {stamp} AND published_at >= timestamp '{since.isoformat()}')"
        own = f" AND ({self.where})" if self.where else ""
        return past + own, fresh + own


@lru_cache(maxsize=KEPT)
def _matcher(events: EventStore, encode: Encode | None, settings: MatchSettings) -> EventMatcher:
    """Kept as long as the events are: it has the vectors of their phrases, thousands in a large library."""
    return EventMatcher(events, encode, settings)


def _require_own(model: EventEncoder, encoder: Encoder | None) -> None:
    if encoder is None or model.encoder.fingerprint != encoder.fingerprint:
        made = "without vectors" if encoder is None else f"with {encoder.name} ({encoder.fingerprint[:12]})"
        raise InputError(
            f"The event model's encoder is {model.encoder.name} ({model.encoder.fingerprint[:12]}), the library was "
            f"made {made}. Make one with the model's own: foveal add … --encoder MODEL_FOLDER/encoder --home OTHER."
        )
    if model.attention.project is not None:
        raise InputError("The event model projects its vectors, which the library's are not. Train one without.")
