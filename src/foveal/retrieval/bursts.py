"""When a word, name or event comes far more often than it used to: Kleinberg's automaton, and a z-score for streams.

    for burst in bursts(counts, totals): burst.start, burst.end, burst.weight        # whole series, exact
    tracker = BurstTracker(); tracker.add(bin, ["quake"]); tracker.z("quake", bin)   # one document at a time

Shapes    a bin t (an hour, a day) has d_t documents, of which r_t carry the feature: counts (T,), totals (T,)
Source    Kleinberg, KDD 2002, section 4: state i has the rate p_i = min((R / D) s^i, 0.9999) and the cost
          -ln[C(d, r) p_i^r (1 - p_i)^(d - r)]; going up from i to j costs (j - i) gamma ln T, going down nothing
Against   the automaton needs the whole series and gives intervals; the z-score needs none of it and gives a number now
Skipped   bins without documents: they say nothing, and would cost the logarithm of 0
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval.burst_series import Left, Series

HIGHEST_RATE = 0.9999
WEEK_HOURS = 168
FORGOTTEN = 64
"""Half-lives after which a sum holds nothing any more that a float could tell."""
TWO_WEEKS = 1.5
"""Weeks, the older ones counting less, that a place in the week must have been seen in before its mean counts."""


# -- Kleinberg's automaton --------------------------------------------------------------------------------------------


@dataclass(frozen=True)
class Path:
    """The state (T,) of each bin (that of the bin before, where there are no documents), and what the path costs."""

    states: npt.NDArray[np.int64]
    cost: float


@dataclass(frozen=True)
class Burst:
    """Bins `start` to `end`, both included, in state `level` or above; `weight` is what the state below would cost
    more: the sum of cost(level - 1, t) - cost(level, t)."""

    start: int
    end: int
    weight: float
    level: int = 1


def rates(counts: Sequence[int], totals: Sequence[int], *, s: float = 2.0, states: int = 2) -> list[float]:
    """The rate of each state."""
    share = sum(counts) / sum(totals) if sum(totals) else 0.0
    return [min(share * s**state, HIGHEST_RATE) for state in range(states)]


def state_costs(
    counts: Sequence[int], totals: Sequence[int], *, s: float = 2.0, states: int = 2
) -> npt.NDArray[np.float64]:
    """The cost (T, states) of each bin in each state; 0 in bins without documents."""
    logs = [(math.log(p), math.log1p(-p)) if p > 0 else (0.0, 0.0) for p in rates(counts, totals, s=s, states=states)]
    costs = np.zeros((len(counts), states))
    for t, (r, d) in enumerate(zip(counts, totals, strict=True)):
        ways = math.lgamma(d + 1) - math.lgamma(r + 1) - math.lgamma(d - r + 1)
        costs[t] = [-(ways + r * yes + (d - r) * no) for yes, no in logs]
    return costs


def cheapest_path(
    counts: Sequence[int], totals: Sequence[int], *, s: float = 2.0, gamma: float = 1.0, states: int = 2
) -> Path:
    """The path of least cost, by Viterbi, from state 0; of equal ones that of the lower states.

    InputError: a bin with more documents of the feature than documents, or settings out of range.
    """
    _checked(counts, totals, s, gamma, states)
    used = [t for t, d in enumerate(totals) if d > 0]
    if not used or not sum(counts):
        return Path(np.zeros(len(counts), dtype=np.int64), 0.0)
    costs = state_costs(counts, totals, s=s, states=states)[used]
    up = gamma * math.log(len(used))
    moving = np.array([[max(0, j - i) * up for j in range(states)] for i in range(states)])  # from i to j
    best = moving[0] + costs[0]
    came: list[npt.NDArray[np.int64]] = []
    for cost in costs[1:]:
        through = best[:, None] + moving
        came.append(through.argmin(axis=0))
        best = through.min(axis=0) + cost
    state = int(best.argmin())
    total, path = float(best[state]), [state]
    for before in reversed(came):
        path.append(int(before[path[-1]]))
    return Path(_spread(path[::-1], used, len(counts)), total)


def bursts(
    counts: Sequence[int], totals: Sequence[int], *, s: float = 2.0, gamma: float = 1.0, states: int = 2
) -> list[Burst]:
    """The intervals above state 0, the heaviest first; errors as `cheapest_path`."""
    path = cheapest_path(counts, totals, s=s, gamma=gamma, states=states).states
    costs = state_costs(counts, totals, s=s, states=states)
    found = []
    for level in range(1, states):
        for start, end in _runs(path >= level):
            weight = float((costs[start : end + 1, level - 1] - costs[start : end + 1, level]).sum())
            found.append(Burst(start, end, weight, level))
    return sorted(found, key=lambda burst: (-burst.weight, burst.start, burst.level))


def _spread(path: Sequence[int], used: Sequence[int], length: int) -> npt.NDArray[np.int64]:
    states = np.zeros(length, dtype=np.int64)
    state, known = 0, dict(zip(used, path, strict=True))
    for t in range(length):
        state = known.get(t, state)
        states[t] = state
    return states


def _runs(on: npt.NDArray[np.bool_]) -> list[tuple[int, int]]:
    """First and last place of each run of True."""
    edges = np.flatnonzero(np.diff(np.concatenate([[False], on, [False]]).astype(np.int8)))
    return [(int(start), int(end) - 1) for start, end in edges.reshape(-1, 2)]


def _checked(counts: Sequence[int], totals: Sequence[int], s: float, gamma: float, states: int) -> None:
    if len(counts) != len(totals):
        raise InputError(f"Bursts got {len(counts)} counts and {len(totals)} totals; each bin needs one of both.")
    for t, (r, d) in enumerate(zip(counts, totals, strict=True)):
        if not 0 <= r <= d:
            raise InputError(f"Bin {t} has {r} of {d} documents; a feature cannot be in more than there are.")
    if s <= 1 or gamma < 0 or states < 2:
        raise InputError(f"Bursts got s={s}, gamma={gamma}, states={states}; it needs s > 1, gamma >= 0, states >= 2.")


# -- the z-score of a stream ------------------------------------------------------------------------------------------


@dataclass(frozen=True, kw_only=True)
class BurstSettings:
    """How a stream is watched."""

    bin_hours: float = 6.0  # a bin; a week must be a whole number of them
    fast_hours: float = 6.0  # half-life of the level now
    slow_days: tuple[float, ...] = (3.0, 28.0)  # half-lives of what is usual
    late_hours: float = 48.0  # bins stay open so long, for documents that come late
    steady: float = 20.0  # documents that are added to a bin's and to the usual, before these are compared
    features: int = 50_000  # kept; the rarest go first

    def __post_init__(self) -> None:
        lengths = (self.bin_hours, self.fast_hours, self.late_hours, *self.slow_days)
        if min(lengths) <= 0 or not self.slow_days or self.features < 1 or self.steady < 0:
            raise InputError(
                f"A burst tracker got lengths {lengths} and features={self.features}; all must be above 0."
            )
        if abs(WEEK_HOURS / self.bin_hours - round(WEEK_HOURS / self.bin_hours)) > 1e-9:
            raise InputError(f"Bins of {self.bin_hours} hours do not fill a week; take 1, 2, 3, 4, 6, 8, 12 or 24.")

    @property
    def slots(self) -> int:
        """Bins of a week."""
        return round(WEEK_HOURS / self.bin_hours)

    @property
    def open_bins(self) -> int:
        """Bins that are still counted, the current one included."""
        return max(1, math.ceil(self.late_hours / self.bin_hours)) + 1


_Weighed = tuple[list[tuple[dict[str, int], float]], list[int], list[tuple[int, float, int]], float, float]
"""Open bins' counts with their weights, places in the week that were seen twice, these with their weights and the last
bin that closed there, sum of w, sum of w^2."""


class BurstTracker:
    """Counts of features in bins, and how far the last ones lie above what is usual for them.

    A bin that closes is folded, for each feature x_b of it, into exponentially weighted sums of 1, x and x^2 (bins
    without the feature count as 0), over all bins and over those of the same place in the week. Totals are normalised:
    where a bin held more documents than is usual, its counts are scaled down; a few more change nothing (`steady`).

    z = (level - usual) / sqrt(K2 var + usual + 1), level = sum of w_b x_b over the open bins, w_b = 2^(-age / fast),
    usual = K mu, or the same sum over the means of each bin's place in the week, where that is more; K = sum of w,
    K2 = sum of w^2. Of the half-lives that one counts which explains most.
    """

    def __init__(self, settings: BurstSettings | None = None) -> None:
        self.settings = settings or BurstSettings()
        halves = [24 * days / self.settings.bin_hours for days in self.settings.slow_days]
        self._keep = [2 ** (-1 / half) for half in halves]  # what a bin leaves of the sums before it
        self._left = Left(self._keep)
        self._forgotten = math.ceil(FORGOTTEN * max(halves))  # bins
        self.open: dict[int, dict[str, int]] = {}  # bin -> feature -> documents
        self.totals: dict[int, int] = {}  # of the open bins
        self.closed: int | None = None  # the last bin that takes no more
        self.usual = 0.0  # documents of a bin, over the longest half-life
        self.weights = [0.0] * len(halves)  # sums of 1
        self.slots = [0.0] * self.settings.slots  # the same for each place in the week
        self.series = Series(len(halves), self.settings.slots)
        self._weights_at: dict[int, _Weighed] = {}

    def add(self, at: int, features: Iterable[str]) -> None:
        """A document in bin `at` with these features, each counted once. A bin that is closed takes no more."""
        self.advance(at)
        if self.closed is not None and at <= self.closed:
            return
        self.totals[at] = self.totals.get(at, 0) + 1
        counts = self.open.setdefault(at, {})
        for feature in dict.fromkeys(features):
            counts[feature] = counts.get(feature, 0) + 1
        if len(counts) > 2 * self.settings.features:
            kept = sorted(counts, key=lambda name: (-counts[name], name))[: self.settings.features]
            self.open[at] = {name: counts[name] for name in kept}

    def advance(self, at: int) -> None:
        """Close the bins that are too old to be counted any more at bin `at`."""
        self._weights_at.clear()
        last = at - self.settings.open_bins
        if self.closed is None:
            self.closed = last
        while self.closed < last:
            if not self.totals:  # all is the same after so long without a document, however much longer it was
                self.closed = max(self.closed, last - self._forgotten)
            self._close(self.closed + 1)

    def z(self, feature: str, at: int) -> float:
        """How far the feature's level lies above what is usual, in standard deviations; 0 where it has not come."""
        weighed = self._weighed(at)
        return self._above_usual(feature, _level(feature, weighed), weighed)

    def highest(self, features: Iterable[str], at: int) -> float:
        """The highest z-score of the features; 0 where none is above."""
        weighed, highest = self._weighed(at), 0.0
        for feature in features:
            level = _level(feature, weighed)
            if level > highest:  # no z-score lies above its level
                highest = max(highest, self._above_usual(feature, level, weighed))
        return highest

    def _above_usual(self, feature: str, level: float, weighed: _Weighed) -> float:
        row = self.series.rows.get(feature)
        if row is None:
            return level  # nothing is usual: mean and variance are 0
        _, slots, weeks, first, second = weighed
        of_week = 0.0
        at, *sums = self.series.sums[row].tolist()
        for (seen, last), (slot, weight, newest) in zip(self.series.week[row, slots].tolist(), weeks, strict=True):
            if seen:  # the mean count of the bins before at this place in the week
                of_week += weight * (self._left[newest - int(last)][-1] * seen / self.slots[slot])
        lowest, halves = math.inf, len(self.weights)
        lefts = self._left[(self.closed or 0) - int(at)]
        for keep, weight, total, squares in zip(lefts, self.weights, sums[:halves], sums[halves:], strict=True):
            left = keep / weight
            mean = left * total
            variance = max(0.0, left * squares - mean * mean)
            usual = max(first * mean, of_week)
            lowest = min(lowest, (level - usual) / math.sqrt(second * variance + usual + 1))
        return lowest

    def _weighed(self, at: int) -> _Weighed:
        """What `z` needs of the bins at `at`, whatever the feature; kept until anything is counted or closed."""
        found = self._weights_at.get(at)
        if found is None:
            settings = self.settings
            begun = (self.closed if self.closed is not None else at) + 1
            bins = range(max(begun, at - settings.open_bins + 1), at + 1)
            weights = {b: 2 ** (-(at - b) * settings.bin_hours / settings.fast_hours) for b in bins}
            counted = [(self.open[b], w * self._scale(self.totals[b])) for b, w in weights.items() if b in self.totals]
            closed, week = self.closed or 0, len(self.slots)
            slots = [(b % week, w) for b, w in weights.items()]
            weeks = [(slot, w, closed - (closed - slot) % week) for slot, w in slots if self.slots[slot] >= TWO_WEEKS]
            squares = sum(w * w for w in weights.values())
            places = [slot for slot, _, _ in weeks]
            found = self._weights_at[at] = counted, places, weeks, sum(weights.values()), squares
        return found

    def forget(self, features: Iterable[str]) -> None:
        """These features will not be asked for again."""
        names = list(features)
        self.series.forget(names)
        for counts in self.open.values():
            for name in names:
                counts.pop(name, None)

    def state(self) -> dict[str, Any]:
        """All of it as plain values."""
        return {
            "open": [[b, counts] for b, counts in self.open.items()], "totals": list(self.totals.items()),
            "closed": self.closed, "usual": self.usual, "weights": self.weights, "slots": self.slots,
            "series": self.series.state(),
        }  # fmt: skip

    def restore(self, state: Mapping[str, Any]) -> None:
        """Take what `state` gave."""
        self._weights_at.clear()
        self.open = {int(b): {name: int(n) for name, n in counts.items()} for b, counts in state["open"]}
        self.totals = {int(b): int(count) for b, count in state["totals"]}
        self.closed, self.usual = state["closed"], float(state["usual"])
        self.weights, self.slots = list(state["weights"]), list(state["slots"])
        self.series.restore(state["series"])

    # -- parts --------------------------------------------------------------------------------------------------

    def _close(self, at: int) -> None:
        total = self.totals.pop(at, 0)
        scale = self._scale(total)
        self.closed = at
        self.weights = [keep * weight + 1 for keep, weight in zip(self._keep, self.weights, strict=True)]
        self.usual += (total - self.usual) / self.weights[-1]
        slot = at % len(self.slots)
        self.slots[slot] = self._left[len(self.slots)][-1] * self.slots[slot] + 1
        counts = self.open.pop(at, {})
        self.series.fold(counts, at, np.fromiter(counts.values(), np.float64, len(counts)) * scale, self._left)
        if len(self.series) > 2 * self.settings.features:
            self.series.prune(self.settings.features, at, self._left)

    def _scale(self, total: int) -> float:
        steady = self.settings.steady
        return min(1.0, (self.usual + steady) / (total + steady)) if self.usual else 1.0


def _level(feature: str, weighed: _Weighed) -> float:
    level = 0.0
    for counts, weight in weighed[0]:
        if feature in counts:
            level += weight * counts[feature]
    return level
