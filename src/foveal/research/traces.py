"""A run in a file: a line of JSON for each event, written as it happens. It replays, and a killed run goes on from it.

    events = load(path)                        # whole lines only: what a kill cut off is left out
    with TraceFile.open(path) as trace: trace.write(event)

The file is held by one process at a time. Words that stream are handed to the system at once, and what a resumed run
builds on is forced to the disk, so that a kill of the process loses nothing, and a power cut at most a few words.
"""

from __future__ import annotations

import fcntl
import io
import json
import logging
import os
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import TracebackType

from foveal.errors import InputError
from foveal.research.answers import researched
from foveal.research.events import Event
from foveal.research.graph import OVER
from foveal.research.state import RunState

FORMAT = 1
FORCED = frozenset(("run", "plan.observation", "node.answer", "step", "report", "done"))
"""Events that are on the disk before the run goes on; so is the end of a node."""

logger = logging.getLogger("foveal.research.traces")


def is_forced(event: Event) -> bool:
    """Whether a run that goes on after a kill builds on this event."""
    return event.kind in FORCED or (event.kind == "node.state" and event.data.get("state") in OVER)


class TraceFile:
    """The file of one run, open for writing."""

    def __init__(self, path: Path, file: io.FileIO) -> None:
        self.path = path
        self._file = file

    @classmethod
    def open(cls, path: Path, *, goes_on: bool = False) -> TraceFile:
        """The file at `path`, held until it is closed; `goes_on`: there is a run in it, to which events are added.

        InputError: another process holds it, it cannot be written, or there is a file that is no trace.
        """
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            file = path.open("a+b", buffering=0)
        except OSError as error:
            raise InputError(f"The trace {path} cannot be written ({error.strerror}). Name another file.") from error
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            file.close()
            raise InputError(f"{path} is being written by another run. Name another, or wait for its end.") from error
        if not goes_on and path.stat().st_size:
            file.close()
            raise InputError(f"{path} is there already. Name another file, or go on with it: foveal research resume.")
        trace = cls(path, file)
        trace._begin(goes_on)
        return trace

    def _begin(self, goes_on: bool) -> None:
        if goes_on:
            self._file.seek(0)
            content = self._file.read() or b""
            os.ftruncate(self._file.fileno(), content.rfind(b"\n") + 1)
        else:
            self._file.write(json.dumps({"foveal_trace": FORMAT}).encode() + b"\n")

    def write(self, event: Event) -> None:
        """Add an event. A disk that is full ends the trace, not the run."""
        if self._file.closed:
            return
        try:
            line = event.line().encode("utf-8", "replace") + b"\n"
            if self._file.write(line) != len(line):
                raise OSError("no space is left")
            if is_forced(event):
                os.fsync(self._file.fileno())
        except OSError as error:
            logger.warning("the trace %s ends at event %d: %s", self.path, event.id, error)
            self.close()

    def close(self) -> None:
        """Let go of the file."""
        self._file.close()

    def __enter__(self) -> TraceFile:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


def text_of(events: Iterable[Event]) -> str:
    """The file of a run, from events that are kept elsewhere."""
    return "".join(f"{line}\n" for line in (json.dumps({"foveal_trace": FORMAT}), *(one.line() for one in events)))


def load(path: Path) -> list[Event]:
    """The events of a trace, in order. InputError: it is none, or lines of it are damaged."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise InputError(f"The trace {path} cannot be read ({error.strerror}). Check its name.") from error
    lines = content[: content.rfind(b"\n") + 1].splitlines()
    try:
        rows = [json.loads(line) for line in lines]
    except ValueError as error:
        raise InputError(f"{path} is damaged, or no trace ({error}). Give a file that --trace wrote.") from error
    if not rows or not isinstance(rows[0], dict) or rows[0].get("foveal_trace") != FORMAT:
        raise InputError(f"{path} is no trace of a run that this version reads. Give a file that --trace wrote.")
    return checked([Event.from_row(row) for row in rows[1:]], path)


def checked(events: Sequence[Event], path: Path) -> list[Event]:
    """The events, which are numbered from 1 without a gap, begin with the run, and add up. InputError: they do not."""
    if not events or events[0].kind != "run" or [one.id for one in events] != list(range(1, len(events) + 1)):
        raise InputError(f"{path} holds no whole run: its events do not go from 1 on without a gap.")
    try:
        researched(RunState.of(events))
    except (LookupError, TypeError, ValueError, AttributeError) as error:
        raise InputError(
            f"{path} is damaged: an event lacks what it is to hold ({error}). Give another copy."
        ) from error
    return list(events)
