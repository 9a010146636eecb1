"""Which events a query may be about, and whether it is about any: what is looked up before a search for news.

    matcher = EventMatcher(store, encode)
    matcher.matches("who won the election", now)        # at most 5, the best first
    need = NeedClassifier.fit(features, labels); need.probability(features_of(…))

Matching   (cosine of query and phrase + w · share of the query's words, by idf, that the event holds) / (1 + w), over
           the live events whose burst is high enough
Need       P(time-sensitive | query, time): a logistic regression over the best match, its burst, the share of fresh
           documents among the first 20 that words find, words of time, and how well the best fresh document fits
           beside the best of all: what was asked of an old event fits something old much better
Source     the expansion of a query by its event: Yang et al., 2023, arXiv 2312.00372; both scores are ours
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import TypeVar

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.models.event_attention import EventText
from foveal.retrieval.event_clusters import Cluster, Encode
from foveal.retrieval.event_items import DAY, event_terms, seconds
from foveal.retrieval.events import EventStore, phrase_of

Floats = npt.NDArray[np.float64]
Kept = TypeVar("Kept")
REMEMBERED = 50_000
"""Phrases whose vectors are kept."""


@dataclass(frozen=True, kw_only=True)
class MatchSettings:
    """Which events are given to a query."""

    k: int = 5
    words: float = 0.5  # weight of shared words, where the cosine counts 1
    least: float = 0.25  # similarity below which an event is none of the query's
    least_burst: float = 0.0

    def __post_init__(self) -> None:
        if self.k < 1 or self.words < 0 or not -1 <= self.least <= 1:
            raise InputError(
                f"Matching got k={self.k}, words={self.words}, least={self.least}; it needs at least 1, 0 or more, and "
                "a similarity from -1 to 1."
            )


@dataclass(frozen=True)
class Match:
    """An event of a query, and why."""

    event: EventText
    similarity: float  # -1 to 1
    shared: tuple[str, ...]  # words that both have

    @property
    def why(self) -> str:
        """One line."""
        words = f"; shared: {', '.join(self.shared)}" if self.shared else ""
        return f"{self.event.text} (similarity {self.similarity:.2f}, burst {self.event.burst:.1f}{words})"


class EventMatcher:
    """Matches queries with the events of a store, as the stream stands. Threads may share it."""

    def __init__(self, store: EventStore, encode: Encode | None = None, settings: MatchSettings | None = None) -> None:
        """`encode` gives unit vectors; None: by words only."""
        self.store, self.encode, self.settings = store, encode, settings or MatchSettings()
        self._phrases: dict[str, tuple[int, str]] = {}  # event -> items when it was looked at, phrase
        self._vectors: dict[str, npt.NDArray[np.float32]] = {}  # phrase -> vector

    def matches(self, query: str, now: datetime) -> list[Match]:
        """At most `k` events for the query at `now`, the best first; none for a query without words."""
        clock, asked = seconds(now), {word: self.store.terms.idf(word) for word in event_terms(query)}
        alive = self.store.alive(clock)
        if not alive or not query.strip():
            return []
        phrases = [self._phrase(cluster) for cluster in alive]
        overlaps = np.array([overlap(asked, cluster) for cluster in alive])
        weight = self.settings.words
        similar = overlaps
        if self.encode is not None:
            similar = (self._cosines(query, phrases) + weight * overlaps) / (1 + weight)
        found: list[Match] = []
        for place in np.argsort(-similar, kind="stable").tolist():
            if len(found) == self.settings.k or similar[place] < self.settings.least:
                break
            cluster = alive[place]
            burst = self.store.burst(cluster, clock)
            if burst >= self.settings.least_burst:
                held = cluster.centroid
                shared = tuple(word for word in asked if word in held)
                likeness = float(similar[place])
                found.append(Match(_event_text(cluster, phrases[place], burst, clock, likeness), likeness, shared))
        return found

    def _phrase(self, cluster: Cluster) -> str:
        known = self._phrases.get(cluster.id)
        if known is None or known[0] != cluster.count:
            known = (cluster.count, phrase_of(cluster, cluster.members))
            self._phrases[cluster.id] = known
            self._phrases = _last(self._phrases)
        return known[1]

    def _cosines(self, query: str, phrases: Sequence[str]) -> Floats:
        assert self.encode is not None
        held = self._vectors  # this one also where another thread forgets some
        new = [phrase for phrase in dict.fromkeys(phrases) if phrase not in held]
        vectors = self.encode([query, *new])
        held.update(zip(new, vectors[1:], strict=True))
        rows = np.stack([held[phrase] for phrase in phrases])
        self._vectors = _last(held)
        return np.asarray(rows @ vectors[0], dtype=np.float64)


def _last(held: dict[str, Kept]) -> dict[str, Kept]:
    """What is remembered: all of it, or a new dict of what came last."""
    return held if len(held) <= REMEMBERED else dict(list(held.items())[-REMEMBERED:])


def overlap(asked: Mapping[str, float], cluster: Cluster) -> float:
    """The share of a query's words, by their idf, that the cluster holds: 0 to 1."""
    whole, held = sum(asked.values()), cluster.centroid  # which is made anew each time
    return sum(idf for word, idf in asked.items() if word in held) / whole if whole > 0 else 0.0


def _event_text(cluster: Cluster, phrase: str, burst: float, clock: float, similarity: float) -> EventText:
    documents = tuple(member.id for member in reversed(cluster.members) if member.at <= clock)
    return EventText(phrase, max(0.0, clock - cluster.last) / DAY, burst, cluster.id, similarity, documents)


# -- whether a query needs events -------------------------------------------------------------------------------------

FEATURES = ("best match", "burst", "fresh share", "words of time", "best fresh")
_PLACES = (
    "amsterdam|brunswick|caledonia|delhi|england|guinea|hampshire|haven|jersey|mexico|orleans|south wales|testament|"
    "york|zealand"
)
_TIME = re.compile(
    r"\b(?:today|tonight|yesterday|now|currently|current|latest|recent(?:ly)?|breaking|just|ongoing|upcoming"
    rf"|new(?! (?:{_PLACES})\b)"
    r"|(?:this|last|past|next) (?:week|month|year|weekend|night|summer|winter|spring|fall)"
    r"|(?:mon|tues|wednes|thurs|fri|satur|sun)day"
    r"|heute|gestern|jetzt|derzeit|aktuell\w*|neueste[nrs]?|kürzlich|jüngst"
    r"|(?:diese[mnrs]?|letzte[mnrs]?|vergangene[mnrs]?) (?:woche|monats?|jahr(?:es)?|wochenende|nacht)"
    r"|aujourd['’]hui|maintenant|actuel(?:le)?(?:ment|s)?|récent(?:e|es|s|emment)?|dernières nouvelles"
    r"|(?:cette|ce) (?:semaine|année|mois|nuit)|la (?:semaine|nuit) dernière|le mois dernier"
    r"|l['’](?:année|an) (?:dernière|dernier)"
    r"|hoy|ayer|ahora|actualmente|recientes?|recientemente|últimas noticias|est[ea] (?:semana|mes|año)"
    r"|(?:semana|mes|año) pasad[oa])\b"
    r"|今天|昨天|现在|現在|目前|最近|最新|[今去昨]年|本周|上周|[今昨]日|[今先]週|[今先]月",
    re.IGNORECASE,
)
"""Words of time in the six languages of `research.asked_dates`; "new" within a name is none."""

_YEAR = re.compile(r"(?<![0-9A-Za-z])20[0-4]\d(?![0-9A-Za-z])")


def has_time_words(query: str, since: int | None = None) -> bool:
    """Whether a query says when, in so many words; with `since` no year before that one counts."""
    return bool(_TIME.search(query)) or any(since is None or year >= since for year in _years(query))


def _years(query: str) -> list[int]:
    return list(map(int, _YEAR.findall(query)))


def words_of_time(query: str, year: int | None) -> float:
    """1 where a query of that year (None: of any) says that it is about now; -1 where it names years from before the
    last one, and nothing else: who names 2008 in 2023 asks for what is old; 0 where it says neither.
    """
    if has_time_words(query, year):
        return 1.0
    return -1.0 if year is not None and _years(query) and max(_years(query)) < year - 1 else 0.0


def need_features(
    query: str, matches: Sequence[Match], fresh_share: float, best_fresh: float, *, year: int | None = None
) -> list[float]:
    """The numbers of `FEATURES`.

    `fresh_share` is that of the last 14 days among the first 20 by words; `best_fresh` the highest score by words of
    the last 14 days over the highest of all; both 0 to 1. `year`: in which it is asked (None: any may be meant).
    """
    best = max(matches, key=lambda match: match.similarity, default=None)
    similarity, burst = (best.similarity, math.log1p(best.event.burst)) if best else (0.0, 0.0)
    return [similarity, burst, fresh_share, words_of_time(query, year), best_fresh]


def best_of(fresh: Iterable[float], every: Iterable[float]) -> float:
    """The highest of the fresh scores over the highest of all, 0 to 1; 0 where nothing was found."""
    highest = max(every, default=0.0)
    return min(1.0, max(fresh, default=0.0) / highest) if highest > 0 else 0.0


@dataclass(frozen=True)
class NeedClassifier:
    """P(time-sensitive) = sigmoid(weights · features + bias).

    The defaults are set by hand: who says "this week" means it; else an event that fits, or a fresh text that fits
    about as well as any, is needed to come above a half. `fit` moves them as far as examples say.
    """

    weights: tuple[float, ...] = (4.0, 0.25, 2.0, 3.5, 5.0)
    bias: float = -4.5

    def __post_init__(self) -> None:
        if len(self.weights) != len(FEATURES) or not all(map(math.isfinite, (*self.weights, self.bias))):
            raise InputError(f"A need classifier got weights {self.weights}; it needs {len(FEATURES)} finite numbers.")

    def probability(self, features: Sequence[float]) -> float:
        """From 0 to 1."""
        logit = self.bias + sum(weight * value for weight, value in zip(self.weights, features, strict=True))
        return 1 / (1 + math.exp(-max(-500.0, min(500.0, logit))))

    @classmethod
    def fit(
        cls, features: Sequence[Sequence[float]], labels: Sequence[bool], *, penalty: float = 1.0
    ) -> NeedClassifier:
        """Logistic regression by Newton's method, weights drawn to the defaults w0 by `penalty` / 2 |w - w0|^2.

        Both kinds count the same in sum, however many there are of each. InputError: no examples, or only of one kind.
        """
        rows, wanted = np.asarray(features, dtype=np.float64), np.asarray(labels, dtype=np.float64)
        if rows.ndim != 2 or rows.shape != (len(wanted), len(FEATURES)) or len(set(wanted.tolist())) < 2:
            raise InputError(
                f"A need classifier got features {rows.shape} for {len(wanted)} labels; it needs {len(FEATURES)} "
                "numbers for each query, and queries of both kinds."
            )
        design = np.hstack([rows, np.ones((len(rows), 1))])
        share = wanted.mean()
        counts = np.where(wanted > 0, 0.5 / share, 0.5 / (1 - share))
        ridge = np.diag([penalty] * len(FEATURES) + [1e-9])
        usual = cls()
        begun = np.array([*usual.weights, usual.bias])
        theta = begun.copy()
        for _ in range(50):
            p = 1 / (1 + np.exp(-np.clip(design @ theta, -30, 30)))
            slope = design.T @ (counts * (p - wanted)) + ridge @ (theta - begun)
            curve = (design * (counts * p * (1 - p))[:, None]).T @ design + ridge
            step = np.linalg.solve(curve, slope)
            theta = theta - step
            if float(np.abs(step).max()) < 1e-9:
                break
        return cls(tuple(float(value) for value in theta[:-1]), float(theta[-1]))
