"""What a stage of a cascade costs: the times of its runs, and what they foretell of the next one.

Of each size (1, 2-3, 4-7, … candidates) the last `KEPT` runs count. A line, ms = fixed + each · candidates, goes
through their medians, so that one slow moment changes little, and is raised until `SURE` of these runs lie below it.
The first run of all is not counted: it loads and compiles things.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Sequence
from statistics import median
from threading import Lock

SURE = 0.9
"""The share of earlier runs that would not have taken longer than is foretold."""
KEPT = 16
"""Runs of each size that are kept: an older one says nothing of how busy the machine is now."""
GROWTH = 2
"""Times as many candidates as were ever timed that a stage takes at most: a line says little of what lies far off."""
TRY_AGAIN = 50
"""Times in a row that a stage is left out before it is tried again: what it cost in a busy moment is no verdict."""


class StageCost:
    """The times of a stage's runs, and what they foretell; safe for many threads."""

    def __init__(self) -> None:
        self._runs: dict[int, deque[tuple[int, float]]] = {}
        self._cold = True
        self._left_out = 0
        self._lock = Lock()

    @property
    def known(self) -> bool:
        """Whether a run was timed."""
        return bool(self._runs)

    def add(self, candidates: int, ms: float) -> None:
        """A run of so many candidates; the first one is not counted."""
        with self._lock:
            self._left_out = 0
            if not self._cold:
                self._runs.setdefault(candidates.bit_length(), deque(maxlen=KEPT)).append((candidates, ms))
            self._cold = False

    def ms(self, candidates: int) -> float:
        """The time that so many candidates take in nearly all runs; 0 where nothing is known."""
        fixed, each = self.line()
        return fixed + each * candidates

    def most(self, ms: float, at_most: int) -> int:
        """The most candidates, up to `at_most` and to `GROWTH` times what was timed, that take no longer; 0: none."""
        fixed, each = self.line()
        largest = max((count for runs in self._seen() for count, _ in runs), default=at_most)
        ceiling = min(at_most, GROWTH * largest)
        if fixed > ms:
            return 0
        return ceiling if each == 0 else min(ceiling, int((ms - fixed) / each + 1e-9))

    def line(self) -> tuple[float, float]:
        """Milliseconds of a run, and of each of its candidates, the margin included."""
        runs = self._seen()
        if not runs:
            return 0.0, 0.0
        fixed, each = _line([(median(n for n, _ in kept), median(ms for _, ms in kept)) for kept in runs])
        over = sorted(ms / max(fixed + each * n, 1e-9) for kept in runs for n, ms in kept)
        margin = max(1.0, over[max(0, int(SURE * len(over)) - 1)])  # rounded down: of a few runs one may be slow
        return margin * fixed, margin * each

    def _seen(self) -> list[list[tuple[int, float]]]:
        """The runs that are kept, by size."""
        with self._lock:
            return [list(runs) for runs in self._runs.values()]

    def left_out(self) -> bool:
        """Count that the stage is left out; whether it has been so often enough to be tried again."""
        with self._lock:
            self._left_out = (self._left_out + 1) % TRY_AGAIN
            return self._left_out == 0


def _line(points: Sequence[tuple[float, float]]) -> tuple[float, float]:
    """The line ms = fixed + each * n nearest to the points (n, ms), neither of the two below 0."""
    if len(points) == 1:
        return 0.0, points[0][1] / points[0][0]
    n_mean, ms_mean = (math.fsum(column) / len(points) for column in zip(*points, strict=True))
    spread = math.fsum((n - n_mean) ** 2 for n, _ in points)
    each = math.fsum((n - n_mean) * (ms - ms_mean) for n, ms in points) / spread
    fixed = ms_mean - each * n_mean
    if each < 0:
        return max(ms for _, ms in points), 0.0
    if fixed < 0:  # through 0, by least squares
        return 0.0, math.fsum(n * ms for n, ms in points) / math.fsum(n * n for n, _ in points)
    return fixed, each
