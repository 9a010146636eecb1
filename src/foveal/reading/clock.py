"""The clock of a reading: what it has taken over all its runs, how fast it goes, and when its state is to be saved."""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.reading.state import State

SAVED_EVERY_S = 5.0


class Clock:
    """Seconds spent on a reading over all its runs, the present rate, and when the state is due."""

    def __init__(self, where: State) -> None:
        """Begin with what `where` says was spent before."""
        self._before = where.seconds
        self._where = where
        self._start = time.perf_counter()
        self._tokens, self._window = where.tokens, where.window
        self._saved = self._start

    def seconds(self) -> float:
        """All that was spent so far."""
        return self._before + time.perf_counter() - self._start

    def rate(self) -> float:
        """Tokens a second, in this run."""
        return (self._where.tokens - self._tokens) / max(1e-9, time.perf_counter() - self._start)

    def left(self, count: int) -> float:
        """Seconds that what is left of `count` windows will take."""
        each = (time.perf_counter() - self._start) / max(1, self._where.window - self._window)
        return max(0, count - self._where.window) * each

    def due(self) -> bool:
        """Whether the state should be saved, which then is taken to be done."""
        now = time.perf_counter()
        if now - self._saved < SAVED_EVERY_S:
            return False
        self._saved = now
        return True
