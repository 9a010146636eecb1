"""What runs when: a node starts as soon as its own parents are over, not when a turn ends, and at most N at a time.

    scheduler = Scheduler(work, parallel=10)
    scheduler.add({"founder": ("root",), "born": ("founder",)})
    scheduler.wait(["born"], until=lambda: cancelled)

A node whose work raises is over as well: the others go on, and what builds on it begins without its answer.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Collection, Mapping
from concurrent.futures import ThreadPoolExecutor
from threading import Condition

from foveal.errors import InputError

TICK_S = 0.05

logger = logging.getLogger("foveal.research.scheduling")


class Scheduler:
    """Runs the nodes of one graph; names that it was never given count as over."""

    def __init__(self, work: Callable[[str], None], *, parallel: int) -> None:
        """`work(name)` does a node's work. InputError: fewer than one at a time."""
        if parallel < 1:
            raise InputError(f"{parallel} searchers at a time is none; give 1 or more.")
        self._work = work
        self._pool = ThreadPoolExecutor(parallel, thread_name_prefix="foveal-searcher")
        self._waits: dict[str, set[str]] = {}  # nodes that have not begun -> what they wait for
        self._busy: set[str] = set()
        self._stopped = False
        self._changed = Condition()

    def add(self, nodes: Mapping[str, Collection[str]]) -> None:
        """Take in nodes with their parents, all at once, and start those that can be."""
        with self._changed:
            self._waits |= {name: set() for name in nodes}
            for name, parents in nodes.items():
                self._waits[name] = {one for one in parents if one in self._waits or one in self._busy}
            self._release()

    def wait(self, names: Collection[str], *, until: Callable[[], bool] = lambda: False) -> bool:
        """Wait until all of `names` are over, or `until()` holds; whether they are."""
        with self._changed:
            while not until():
                if not any(name in self._waits or name in self._busy for name in names):
                    return True
                self._changed.wait(TICK_S)
        return False

    def busy(self) -> set[str]:
        """Nodes that have begun and are not over."""
        with self._changed:
            return set(self._busy)

    def waiting(self) -> set[str]:
        """Nodes that have not begun."""
        with self._changed:
            return set(self._waits)

    def stop(self) -> None:
        """Begin nothing more; what is at work is not waited for."""
        with self._changed:
            self._stopped = True
            self._waits.clear()
            self._changed.notify_all()
        self._pool.shutdown(wait=False, cancel_futures=True)

    def forget(self) -> None:
        """Drop what has not begun: the graph begins anew."""
        with self._changed:
            self._waits.clear()
            self._changed.notify_all()

    def _release(self) -> None:
        """Start what waits for nothing; the lock is held."""
        ready = [name for name, parents in self._waits.items() if not parents]
        for name in ready:
            del self._waits[name]
            self._busy.add(name)
            self._pool.submit(self._run, name)

    def _run(self, name: str) -> None:
        try:
            if not self._stopped:
                self._work(name)
        except BaseException:  # whatever it is, a panic of Rust, too: the pool would drop it, and nobody hear of it
            logger.exception("the searcher of %r broke", name)
        finally:
            with self._changed:
                self._busy.discard(name)
                for parents in self._waits.values():
                    parents.discard(name)
                if not self._stopped:
                    self._release()
                self._changed.notify_all()
