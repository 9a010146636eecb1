"""One long job: its work, how far it is, the events that pages and streams look on at. Who does it: jobs.py."""

from __future__ import annotations

import secrets
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Literal, Protocol

from foveal import faults
from foveal.errors import InputError
from foveal.models.chat import Cancel

LIBRARY, MODEL = "library", "model"
"""Lanes: what writes to the library, and what keeps the model busy."""

State = Literal["waiting", "running", "done", "failed", "cancelled"]


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How many jobs there may be."""

    running: int = 1  # of one lane at a time: a second one would only halve the speed of the first
    answering: int = 1  # the same of the lane MODEL: a server's model answers several at once
    of_one: int = 8  # that wait or run and come from one address; more are refused
    waiting: int = 32  # of one lane; more are refused
    kept: int = 200  # that have ended
    age_s: float = 24 * 3600.0  # seconds that an ended job is kept
    events: int = 2000  # of one job
    every_s: float = 0.2  # least seconds between two events of progress
    grace_s: float = 5.0  # seconds that `close` waits for threads to end

    def __post_init__(self) -> None:
        """InputError: a number out of its range."""
        counts = (self.running, self.answering, self.of_one, self.kept, self.events)
        if min(counts) < 1 or min(self.waiting, self.age_s, self.every_s) < 0:
            raise InputError(f"{self} needs room for a job that runs, one that is kept, and an event.")


@dataclass(frozen=True, slots=True)
class JobEvent:
    """Something that happened; `data` is what the stream sends as JSON."""

    id: int
    kind: str
    data: Mapping[str, Any]


@dataclass(frozen=True, slots=True)
class Progress:
    """How far a job is; without a `total` nobody can tell."""

    text: str
    done: int = 0
    total: int | None = None


class Work(Protocol):
    """What a job does."""

    @property
    def title(self) -> str:
        """What it is, for people: "Ask: where is sight sharpest?"."""
        ...

    @property
    def lane(self) -> str:
        """The jobs that it takes turns with."""
        ...

    def page(self, key: str) -> str:
        """The address of the page that shows the job `key` best."""
        ...

    def __call__(self, job: Job) -> None:
        """Do it. Cancelled: the job's token was set; another error of ours: its message is shown."""
        ...


class Job:
    """One job. Threads write, pages and streams read."""

    def __init__(self, work: Work, settings: JobSettings, key: str = "", whose: str = "") -> None:
        """A job that waits, under a new key or this one; `whose` is who asked: an address, or a person (rights.py)."""
        self.id = key or secrets.token_urlsafe(9)
        self.whose = whose
        self.stopping = False  # the server stops: what is not done is done again elsewhere
        self.elsewhere = False  # another process does it, or did: what is here is what the database says
        self.work = work
        self.settings = settings
        self.cancel = Cancel()
        self.began = faults.now()
        self.state: State = "waiting"
        self.progress = Progress("Waiting")
        self.log: list[str] = []
        self.error: str | None = None
        self.ended_at: float | None = None
        self._events: list[JobEvent] = []
        self._last = 0
        self._cut = 0  # the number of the last event that is not kept any more
        self._told = 0.0
        self._watchers: list[Callable[[], None]] = []
        self._lock = threading.Lock()

    @property
    def page(self) -> str:
        """The page that shows it best."""
        return self.work.page(self.id)

    @property
    def name(self) -> str:
        """As the log calls it: what was asked is nobody's who reads a log."""
        return f"the job {self.id} ({getattr(self.work, 'kind', '') or self.work.lane})"

    @property
    def over(self) -> bool:
        """Whether it has ended, whichever way."""
        return self.state in ("done", "failed", "cancelled")

    @property
    def last(self) -> int:
        """The number of the last event."""
        return self._last

    # -- for the work --------------------------------------------------------------------------------------------

    def tell(self, kind: str, **data: Any) -> None:
        """Add an event, and wake who watches."""
        with self._lock:
            if kind == "progress" and self._events and self._events[-1].kind == kind:
                self._events.pop()
            self._last += 1
            self._events.append(JobEvent(self._last, kind, data))
            if len(self._events) > self.settings.events:
                self._cut = self._events.pop(0).id
            watchers = list(self._watchers)
        for wake in watchers:
            wake()

    def progressed(self, text: str, done: int = 0, total: int | None = None, *, now: bool = False) -> None:
        """Say how far it is; more often than every `every_s` seconds only if it must be `now`. Cancelled: it is."""
        self.cancel.check()
        self.progress = Progress(text, done, total)
        if now or time.monotonic() - self._told >= self.settings.every_s:
            self._told = time.monotonic()
            self.tell("progress", text=text, done=done, total=total)

    def said(self, text: str) -> None:
        """Add a line to the log."""
        self.log.append(text)
        self.tell("said", text=text)

    # -- for who looks on ----------------------------------------------------------------------------------------

    def since(self, after: int) -> list[JobEvent]:
        """The events after number `after`; "again" alone where some of them are gone: look at the page anew.

        So it is for who has seen more than there is: another process told them, before this one took the job over.
        """
        with self._lock:
            if after < self._cut or after > self._last:
                return [JobEvent(self._last, "again", {})]
            return [event for event in self._events if event.id > after]

    @contextmanager
    def watched(self, wake: Callable[[], None]) -> Iterator[None]:
        """Inside, `wake` is called whenever there are new events."""
        with self._lock:
            self._watchers.append(wake)
        try:
            yield
        finally:
            with self._lock:
                self._watchers.remove(wake)

    def end(self, state: State, error: str | None = None) -> None:
        """It has ended. `Jobs` calls this."""
        self.state, self.error, self.ended_at = state, error, time.monotonic()
        self.tell("end", state=state, page=self.page)
