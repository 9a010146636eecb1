"""Long jobs of the web app: adding, asking, reading go on in threads, and pages and streams look on.

    job = site.jobs.start(AskWork(...))         # at once; the browser is sent to job.page
    job.since(after)                            # the events that came after one of that number
    with job.watched(wake): …                   # `wake()` is called, from any thread, when there is more

Work      an object with a title, a lane and a page, called with its job; what pages show of it lies in its fields
Lanes     jobs of one lane take turns: one writer per library, one user of the model; the others wait, and say so
Events    numbered from 1 up, so that a stream that broke off goes on after the last one it got. Progress that nobody
          can use any more is dropped; so is what is older than `events`, and the stream then says "again"
Kept      in memory, the youngest `kept` for `age_s` seconds: an answer's address can be shared that long
Ending    `close` sets every job's cancel token and ends the streams; `closed_by_signals` has Ctrl-C do that first,
          since a server waits for open streams before it tells its app that it shuts down
"""

from __future__ import annotations

import logging
import secrets
import signal
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from types import FrameType
from typing import Any, Literal, Protocol

from fastapi import HTTPException

from foveal.errors import Cancelled, FovealError, InputError
from foveal.models.chat import Cancel

LIBRARY, MODEL = "library", "model"
"""Lanes: what writes to the library, and what keeps the model busy."""

State = Literal["waiting", "running", "done", "failed", "cancelled"]

logger = logging.getLogger("foveal.web.jobs")


@dataclass(frozen=True, kw_only=True)
class JobSettings:
    """How many jobs there may be."""

    running: int = 1  # of one lane at a time: a second one would only halve the speed of the first
    waiting: int = 32  # of one lane; more are refused
    kept: int = 200  # that have ended
    age_s: float = 24 * 3600.0  # seconds that an ended job is kept
    events: int = 2000  # of one job
    every_s: float = 0.2  # least seconds between two events of progress
    grace_s: float = 5.0  # seconds that `close` waits for threads to end

    def __post_init__(self) -> None:
        """InputError: a number out of its range."""
        if min(self.running, self.kept, self.events) < 1 or min(self.waiting, self.age_s, self.every_s) < 0:
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

    def __init__(self, work: Work, settings: JobSettings) -> None:
        """A job that waits."""
        self.id = secrets.token_urlsafe(9)
        self.work = work
        self.settings = settings
        self.cancel = Cancel()
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
        """The events after number `after`; "again" alone where some of them are gone: look at the page anew."""
        with self._lock:
            if after < self._cut:
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


@dataclass
class Jobs:
    """All jobs of an app."""

    settings: JobSettings = field(default_factory=JobSettings)
    closing: bool = False
    _jobs: dict[str, Job] = field(default_factory=dict)  # in the order in which they were started
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self, work: Work) -> Job:
        """A job that does `work`, now or when its turn comes. HTTPException 503: too many wait."""
        with self._lock:
            self._forget()
            if self.closing:
                raise HTTPException(503, "The server is being stopped. Come back later.", {"Retry-After": "60"})
            if len(self._waiting(work.lane)) > self.settings.waiting:
                raise HTTPException(
                    503, "Too much is waiting here already. Come back in a few minutes.", {"Retry-After": "60"}
                )
            job = Job(work, self.settings)
            self._jobs[job.id] = job
            self._begin(work.lane)
        return job

    def get(self, key: str) -> Job:
        """The job of that key. HTTPException 404: there is none (any more)."""
        with self._lock:
            self._forget()
            if key not in self._jobs:
                raise HTTPException(
                    404, "This is not kept here any more, or never was: results stay for a day at most. Ask again."
                )
            return self._jobs[key]

    def ahead(self, job: Job) -> int:
        """How many jobs go before one that waits."""
        with self._lock:
            waiting = self._waiting(job.work.lane)
            before = waiting.index(job) if job in waiting else 0
            return before + len(self._running(job.work.lane)) if job.state == "waiting" else 0

    def unfinished(self, lane: str) -> list[Job]:
        """The jobs of a lane that run or wait, in their order."""
        with self._lock:
            return [*self._running(lane), *self._waiting(lane)]

    def cancel(self, job: Job) -> None:
        """Stop it: at once if it waits, within a step if it runs. Nothing happens to one that has ended."""
        job.cancel.set()
        with self._lock:
            if job.state == "waiting":
                job.end("cancelled")

    def close(self) -> None:
        """Stop all, end the streams, and give threads a while to end what they write."""
        with self._lock:
            self.closing = True
            there, threads = list(self._jobs.values()), list(self._threads)
        for job in there:
            if not job.over:
                self.cancel(job)
                job.tell("closing")  # wakes the streams
        until = time.monotonic() + self.settings.grace_s
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))

    def _waiting(self, lane: str) -> list[Job]:
        return [job for job in self._jobs.values() if job.work.lane == lane and job.state == "waiting"]

    def _running(self, lane: str) -> list[Job]:
        return [job for job in self._jobs.values() if job.work.lane == lane and job.state == "running"]

    def _begin(self, lane: str) -> None:
        """Let those run whose turn it is."""
        free = self.settings.running - len(self._running(lane))
        for job in self._waiting(lane)[: max(0, free)]:
            job.state = "running"
            thread = threading.Thread(target=self._run, args=(job,), name=f"job-{job.id}", daemon=True)
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
            thread.start()
        for place, job in enumerate(self._waiting(lane)):
            first = place + len(self._running(lane))
            job.progress = Progress(f"Waiting: {first} {'job goes' if first == 1 else 'jobs go'} first")
            job.tell("progress", text=job.progress.text, done=0, total=None)

    def _run(self, job: Job) -> None:
        try:
            job.progressed("Begun", now=True)
            job.work(job)
            ending: tuple[State, str | None] = ("done", None)
        except Cancelled:
            ending = ("cancelled", None)
        except FovealError as error:
            ending = ("failed", str(error))
        except Exception as error:  # a thread's end: what nobody foresaw must not leave a page waiting for ever
            logger.exception("%s failed", job.work.title)
            ending = (
                "failed",
                f"Something that nobody foresaw went wrong ({type(error).__name__}). The log says more.",
            )
        with self._lock:
            job.end(*ending)
            self._begin(job.work.lane)

    def _forget(self) -> None:
        """Drop jobs that ended long ago, and the oldest of too many."""
        ended = [job for job in self._jobs.values() if job.ended_at is not None]
        oldest = time.monotonic() - self.settings.age_s
        for place, job in enumerate(reversed(ended)):
            if place >= self.settings.kept or (job.ended_at or 0.0) < oldest:
                del self._jobs[job.id]


@contextmanager
def closed_by_signals(close: Callable[[], None]) -> Iterator[None]:
    """Inside, SIGINT and SIGTERM call `close` (in a thread: it takes locks) before what they did until now.

    Only in the main thread, where signals are handled; elsewhere it does nothing.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM)}

    def handle(number: int, frame: FrameType | None) -> None:
        threading.Thread(target=close, daemon=True).start()
        previous = before[signal.Signals(number)]
        if callable(previous):
            previous(number, frame)
        elif previous is not signal.SIG_IGN:
            signal.signal(number, signal.SIG_DFL)
            signal.raise_signal(number)

    for number in before:
        signal.signal(number, handle)
    try:
        yield
    finally:
        for number, previous in before.items():
            signal.signal(number, previous)
