"""A clock that a test moves: `with moved() as clock: clock.now += timedelta(hours=1)`."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from foveal import faults

NOON = datetime(2026, 10, 2, 12, tzinfo=UTC)


class Clock:
    """Tells `now`."""

    def __init__(self) -> None:
        self.now = NOON

    def __call__(self) -> datetime:
        return self.now


@contextmanager
def moved() -> Iterator[Clock]:
    """What Foveal takes for the time, at noon at first."""
    held = Clock()
    with faults.injected({}, clock=held):
        yield held
