"""What takes long to make is made anew in a thread, and what was made before serves meanwhile.

    known = Remade()
    known.get(state, make)       # what `make` gives for that state, or what it gave for the one before

Quick     what took no more than `QUICK_S` seconds is made at once: who asks gets what holds now
Rest      behind a making of t seconds the next one in a thread begins after `REST` t: of what changes every few seconds
          the making takes a fifth of one core, however large it is
Failing   what was made before serves on; each cause is logged once, until a making succeeds
Fits      what was made of another state serves only where `fits` says so; nothing fits: who asks waits
"""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Hashable
from dataclasses import dataclass
from threading import Lock, Thread
from typing import Generic, TypeVar

QUICK_S = 0.5
REST = 4.0
CAUSES = 8  # that are logged of makings that fail one after the other: where each names another number, all differ

logger = logging.getLogger("foveal.retrieval")

Key = TypeVar("Key", bound=Hashable)
Made = TypeVar("Made")


@dataclass(frozen=True)
class _One(Generic[Made]):
    made: Made
    seconds: float  # that it took


class Remade(Generic[Key, Made]):
    """The last that was made, of one kind. Threads may share it."""

    def __init__(self, *, kept: int = 1, quick_s: float = QUICK_S) -> None:
        """`kept`: states of which what was made stays in memory."""
        self._kept, self._quick_s = kept, quick_s
        self._known: dict[Key, _One[Made]] = {}  # the last made is the last
        self._next_at = 0.0
        self._told: set[str] = set()  # what went wrong since a making succeeded
        self._thread: Thread | None = None
        self._lock, self._making = Lock(), Lock()

    def get(self, key: Key, make: Callable[[], Made], *, fits: Callable[[Key], bool] = lambda _: True) -> Made:
        """What was made of `key`, or what fits meanwhile. Whatever `make` raises is raised where nothing does."""
        if (found := self._ready(key, make, fits)) is not None:
            return found.made
        with self._making:  # of those that come together one makes it, and the others wait for it
            return (self._ready(key, make, fits) or self._make(key, make)).made

    def settle(self) -> None:
        """Wait for what is being made in a thread."""
        if (thread := self._thread) is not None:
            thread.join()

    def _ready(self, key: Key, make: Callable[[], Made], fits: Callable[[Key], bool]) -> _One[Made] | None:
        with self._lock:
            if key in self._known:
                return self._known[key]
            slow = [one for state, one in self._known.items() if one.seconds > self._quick_s and fits(state)]
            if slow and self._thread is None and time.monotonic() >= self._next_at:
                self._begin(key, make)
            return slow[-1] if slow else None

    def _begin(self, key: Key, make: Callable[[], Made]) -> None:
        thread = Thread(target=self._in_thread, args=(key, make), name="foveal-remaking", daemon=True)
        try:
            thread.start()
        except RuntimeError as error:  # too many threads, or the process ends: the next who asks may have more luck
            self._tell(error)
        else:
            self._thread = thread

    def _in_thread(self, key: Key, make: Callable[[], Made]) -> None:
        try:
            with self._making:  # who waits for something else makes it behind this, not beside it
                if key not in self._known:
                    self._make(key, make)
        except Exception as error:  # what was made before serves on
            self._tell(error, exc_info=True)
        finally:
            with self._lock:
                self._thread = None

    def _tell(self, error: Exception, *, exc_info: bool = False) -> None:
        """Log what went wrong, once: who asks next begins the same again, at each request."""
        cause = f"{type(error).__name__}: {error}"
        if cause not in self._told and len(self._told) < CAUSES:
            self._told.add(cause)
            logger.error("what changed is not known to searches yet: %s", cause, exc_info=exc_info)

    def _make(self, key: Key, make: Callable[[], Made]) -> _One[Made]:
        begun = time.monotonic()
        try:
            one = _One(make(), time.monotonic() - begun)
        finally:
            over = time.monotonic()
            self._next_at = over + REST * (over - begun)
        self._told.clear()
        with self._lock:
            self._known.pop(key, None)
            self._known[key] = one
            while len(self._known) > self._kept:
                del self._known[next(iter(self._known))]
        return one
