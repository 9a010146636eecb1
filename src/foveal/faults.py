"""Fault injection for tests: named points in the code where a test makes the process die, fail or wait.

    point("store.passages-written")            # in the code: costs one look at a dict
    FOVEAL_FAULTS="store.passages-written=kill"  # for a child process: dies there, as by SIGKILL
    with injected({"store.write": "full"}): …  # inside a test's own process

A fault is `kill` (no clean-up, as a power cut), `full` (OSError ENOSPC), `interrupt` (KeyboardInterrupt), or
`sleep:SECONDS`; `kill@3` strikes at the third visit. The points that the package has are listed in `POINTS`.
The clock is `now()`, which a test moves with `injected({}, clock=...)`, and for a child process FOVEAL_CLOCK does, in
seconds that it is wrong by. Dead and slow servers: `tests/servers.py`.
"""

from __future__ import annotations

import errno
import os
import signal
import time
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta

from foveal.errors import InputError

POINTS = {
    "models.before-rename": "an offline model is unpacked and checked, but not yet in its place",
    "store.passages-written": "passages of a batch are in the store, its documents are not yet visible",
    "store.documents-written": "a batch is visible, passages that it replaced are not yet deleted",
    "store.before-index": "all documents are visible, the indexes do not cover them yet",
    "store.encoded-anew": "passages that are encoded anew are whole, and not yet those of the library",
    "store.write": "just before anything is written to the store",
    "reading.before-state": "a reader's new state is written beside the old one, but not yet in its place",
    "reading.before-memory": "the Titans reader has read on, and its memory is not yet written",
    "mail.planned": "some of a run's messages are queued, the others are not yet made",
    "mail.claimed": "a message is marked as being sent, and nothing of its body has left yet",
    "mail.accepted": "the mail server has taken a message, and the database does not know it yet",
    "memory.layer-kept": "a layer of a kept text is on the disk, the next one is not yet read",
    "memory.before-rename": "all layers of a kept text are on the disk, but it is not yet in its place",
    "training.before-whole": "a checkpoint's files are written, but it is not yet declared whole",
}

_active: dict[str, str] = {}
_visits: Counter[str] = Counter()
_clock: Callable[[], datetime] | None = None


def point(name: str) -> None:
    """A place where a fault may strike."""
    faults = _active or _from_environment()
    if name in faults:
        _visits[name] += 1
        fault, _, visit = faults[name].partition("@")
        if _visits[name] == int(visit or 1):
            _strike(fault)


def now() -> datetime:
    """The current time in UTC; tests may move it."""
    if _clock:
        return _clock()
    wrong_by = os.environ.get("FOVEAL_CLOCK")
    return datetime.now(UTC) + timedelta(seconds=float(wrong_by)) if wrong_by else datetime.now(UTC)


@contextmanager
def injected(faults: Mapping[str, str], *, clock: Callable[[], datetime] | None = None) -> Iterator[None]:
    """Make `faults` strike inside the block, and `now()` read `clock`."""
    global _clock
    for name in faults:
        if name not in POINTS:
            raise InputError(f"No fault point is called {name!r}. There are: {', '.join(POINTS)}.")
    before, clock_before = dict(_active), _clock
    _active.update(faults)
    _visits.clear()
    _clock = clock or _clock
    try:
        yield
    finally:
        _active.clear()
        _active.update(before)
        _clock = clock_before


def _from_environment() -> dict[str, str]:
    entries = os.environ.get("FOVEAL_FAULTS", "")
    return dict(entry.split("=", 1) for entry in entries.split(",") if "=" in entry)


def _strike(fault: str) -> None:
    kind, _, argument = fault.partition(":")
    match kind:
        case "kill":
            os.kill(os.getpid(), signal.SIGKILL)
        case "full":
            raise OSError(errno.ENOSPC, "No space left on device (injected)")
        case "interrupt":
            raise KeyboardInterrupt
        case "sleep":
            time.sleep(float(argument))
        case _:
            raise InputError(f"No fault is called {kind!r}. There are: kill, full, interrupt, sleep:SECONDS.")
