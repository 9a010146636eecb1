"""How many threads a model takes on a CPU: all, or one where waiting for each other costs more than they save.

Torch's threads meet after every product, some hundred times a token. If another process holds one of the cores, each
meeting waits for the scheduler: seen on two cores, 940 ms a token instead of 40 with one thread.

Torch gives a new thread the number that any thread has set last, and the new one keeps it. So a thread that is born
while another takes one for a moment would stay with one; each is therefore given `MOST` when it first comes here.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor

CHOSEN_FOR_S = 1.0
"""Seconds after which the number of threads is chosen anew; a choice takes some milliseconds."""

MEETINGS = 8
"""Meetings that a choice is made by: one alone may have luck."""

PATIENCE = 2.0
"""Times as long as one thread that all may take for these: on an idle machine they need less than once, on a busy one
five times and more, and a wrong choice of one thread costs half the speed of long products."""


MOST = torch.get_num_threads()
"""What torch was set to when nobody had taken fewer yet."""

_KNOWN = threading.local()
_KNOWN.settled = True  # the thread that imports this has what MOST was told by


def settle() -> None:
    """Give this thread the process's number, whatever it was born with; once, so that its own choices hold after."""
    if not getattr(_KNOWN, "settled", False):
        _KNOWN.settled = True
        torch.set_num_threads(MOST)


class Threads:
    """Chooses, by timing a few small operations with all of torch's threads and with one."""

    def __init__(self, device: torch.device) -> None:
        """Choose at the first use, if `device` is a CPU."""
        self._on_cpu = device.type == "cpu"
        self._count = 1
        self._until = 0.0
        self._x: Tensor | None = None

    @contextmanager
    def chosen(self) -> Iterator[None]:
        """The body runs with as many threads as now are faster."""
        settle()
        most = torch.get_num_threads()
        if not self._on_cpu or most == 1:
            yield
            return
        if time.monotonic() > self._until:
            alone = self._seconds(1)
            patience = PATIENCE * alone
            self._count = most if self._seconds(most, at_most=patience) < patience else 1
            self._until = time.monotonic() + CHOSEN_FOR_S
        with with_threads(self._count):
            yield

    def _seconds(self, threads: int, at_most: float = float("inf")) -> float:
        """Seconds that the operations take, given up once it is `at_most`."""
        if self._x is None:
            self._x = torch.ones(1 << 20)
        with with_threads(threads):
            start = time.perf_counter()
            for _ in range(MEETINGS):
                self._x.neg_()
                if (seconds := time.perf_counter() - start) > at_most:
                    break
            return seconds


@contextmanager
def with_threads(count: int) -> Iterator[None]:
    """The body runs with `count` of torch's threads."""
    settle()
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
