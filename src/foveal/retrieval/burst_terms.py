"""Which words of titles burst when, over a whole stream: intervals by Kleinberg's automaton, single bins by a z-score.

    term_bursts(items, 20)           # the heaviest intervals of all terms
    strongest_bins(items, 20)        # the terms of the single days that stand out most

A title counts once for each of its terms, in lower case, numbers left out. Totals are normalised: a day of three times
as many items has three times as many of each word. Bulletins are left out first, by the
rules of `event_items.py`, and the words of their tables.
"""

from __future__ import annotations

import math
from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from datetime import datetime

from foveal.retrieval.bursts import bursts
from foveal.retrieval.event_items import Item, datetime_of, is_bulletin, seconds
from foveal.retrieval.terms import terms

LEAST = 5
"""Titles that must hold a term before it is looked at."""

STEADY = 150
"""Titles that are added to a bin's and to the mean before they are compared: a bin of four says little."""

_BULLETIN_WORDS = (
    "futures hogs hog cattle midsession steady firmer easier exchs noon opg gmt bbl cts pct mln bln dlrs dlr shr qtr "
    "net vs div qtly repurchase bills "
    "jan feb mar apr may jun jul aug sep sept oct nov dec january february march april june "
    "july august september october november december monday tuesday wednesday thursday friday saturday sunday"
)
BULLETIN_WORDS = frozenset(_BULLETIN_WORDS.split())
"""Words of price tables and of dates, which come and go with the calendar."""


@dataclass(frozen=True)
class TermBurst:
    """A term's burst: its first and last bin (both included), how heavy it is, and the titles in it."""

    term: str
    start: datetime
    end: datetime
    weight: float
    count: int


@dataclass(frozen=True)
class TermCounts:
    """Titles by bin, and for each term those that hold it; `bins` of `hours` each since 1970."""

    hours: float
    bins: tuple[int, ...]
    totals: Mapping[int, int]
    counts: Mapping[str, Mapping[int, int]]
    aware: bool

    @classmethod
    def of(cls, items: Iterable[Item], *, hours: float = 24.0, bulletins: bool = False) -> TermCounts:
        """Count the items that have a date and a title, bulletins only where asked for."""
        totals: Counter[int] = Counter()
        counts: dict[str, Counter[int]] = defaultdict(Counter)
        aware = False
        for item in items:
            if item.published_at is None or not item.title.strip() or (not bulletins and is_bulletin(item.title)):
                continue
            aware = item.published_at.tzinfo is not None
            at = int(seconds(item.published_at) // (3600 * hours))
            totals[at] += 1
            for term in dict.fromkeys(terms(item.title)):
                if (
                    len(term) > 1
                    and not any(sign.isdigit() for sign in term)
                    and (bulletins or term not in BULLETIN_WORDS)
                ):
                    counts[term][at] += 1
        kept = {term: found for term, found in counts.items() if sum(found.values()) >= LEAST}
        return cls(hours, tuple(sorted(totals)), totals, kept, aware)

    def date(self, at: int) -> datetime:
        """When a bin begins."""
        return datetime_of(at * 3600 * self.hours, aware=self.aware)


def term_bursts(counts: TermCounts, k: int = 20) -> list[TermBurst]:
    """The `k` heaviest bursts; of a term the heaviest only."""
    found = []
    totals = [counts.totals[at] for at in counts.bins]
    for term, held in counts.counts.items():
        series = [held.get(at, 0) for at in counts.bins]
        best = next(iter(bursts(series, totals)), None)
        if best is not None:
            dates = (counts.date(counts.bins[best.start]), counts.date(counts.bins[best.end]))
            found.append(TermBurst(term, *dates, best.weight, sum(series[best.start : best.end + 1])))
    return sorted(found, key=lambda burst: (-burst.weight, burst.term))[:k]


def strongest_bins(counts: TermCounts, k: int = 20, *, normalised: bool = True) -> list[TermBurst]:
    """The `k` highest z-scores of single bins, one for a term: z = (x - mu) / sqrt(var + mu + 1), mu and var over all
    bins. x is the count times (mean total + 150) / (the bin's total + 150); without `normalised` as it is.
    """
    found = []
    mean_total = sum(counts.totals.values()) / max(1, len(counts.bins))
    scales = {at: (mean_total + STEADY) / (counts.totals[at] + STEADY) if normalised else 1.0 for at in counts.bins}
    for term, held in counts.counts.items():
        values = {at: held[at] * scales[at] for at in held}
        mu = sum(values.values()) / len(counts.bins)
        var = sum(value * value for value in values.values()) / len(counts.bins) - mu * mu
        at = max(values, key=lambda one: (values[one], -one))
        z = (values[at] - mu) / math.sqrt(max(0.0, var) + mu + 1)
        found.append(TermBurst(term, counts.date(at), counts.date(at), z, held[at]))
    return sorted(found, key=lambda burst: (-burst.weight, burst.term))[:k]
