"""Long jobs of the web app: adding, asking, reading go on in threads, and pages and streams look on.

    job = site.jobs.start(AskWork(...))         # at once; the browser is sent to job.page
    job.since(after)                            # the events that came after one of that number
    with job.watched(wake): …                   # `wake()` is called, from any thread, when there is more

Work      an object with a title, a lane and a page, called with its job; what pages show of it lies in its fields.
          `dropped(job)`, if it has that, is called where it is cancelled before its turn
Lanes     jobs of one lane take turns: one writer per library, one user of the model; the others wait, and say so
Events    numbered from 1 up, so that a stream that broke off goes on after the last one it got. Progress that nobody
          can use any more is dropped; so is what is older than `events`, and the stream then says "again"
Kept      in memory, the youngest `kept` for `age_s` seconds: an answer's address can be shared that long; in the
          database, too, where there is a `keeping` (job_keeping.py): so they outlive this process, and others show them
Ending    `close` sets every job's cancel token and ends the streams; what is kept in the database goes on elsewhere,
          or at the next start
"""

from __future__ import annotations

import logging
import sys
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING

from fastapi import HTTPException

from foveal.errors import Cancelled, FovealError
from foveal.web.job import MODEL, Job, JobSettings, Progress, State, Work
from foveal.web.tracing import traced

if TYPE_CHECKING:
    from foveal.web.job_keeping import Keeping

logger = logging.getLogger("foveal.web.jobs")


@dataclass
class Jobs:
    """All jobs of an app."""

    settings: JobSettings = field(default_factory=JobSettings)
    keeping: Keeping | None = None
    told: Callable[[Exception], str] = str  # what a page says of an error; the log has the whole
    people: Callable[[str], int] = lambda _: 1  # who share an address, and what one of them may do at a time
    closing: bool = False
    _jobs: dict[str, Job] = field(default_factory=dict)  # in the order in which they were started
    _threads: list[threading.Thread] = field(default_factory=list)
    _lock: threading.RLock = field(default_factory=threading.RLock)

    def start(self, work: Work, *, key: str = "", whose: str = "") -> Job:
        """A job that does `work`, now or when its turn comes; it is kept before it is acknowledged.

        HTTPException 503: too many wait; 429: too many of those are of the address `whose`.
        """
        job = Job(work, self.settings, key, whose)
        with self._lock:
            self._forget()
            self._admit(job)
        if self.keeping is not None:
            self.keeping.accepted(job)
        return self._queued(job)

    def resume(self, job: Job) -> None:
        """Do what another process left."""
        self._queued(job)

    def go_on(self) -> None:
        """Let those begin whose turn it is, and which could not when it came."""
        with self._lock:
            for lane in {job.work.lane for job in self._jobs.values() if job.state == "waiting"}:
                if len(self._running(lane)) < self._at_once(lane):
                    self._begin(lane)

    def get(self, key: str) -> Job:
        """The job of that key; of another process, what the database has of it. HTTPException 404: none (any more)."""
        with self._lock:
            self._forget()
            if key in self._jobs:
                return self._jobs[key]
        elsewhere = self.keeping.find(key) if self.keeping is not None else None
        if elsewhere is None:
            raise HTTPException(
                404, "This is not kept here any more, or never was: results stay for a day at most. Ask again."
            )
        return elsewhere

    def of(self, whose: str, most: int) -> list[tuple[Job, datetime]]:
        """The newest jobs of whoever that is, and when each was begun; of this process as it has them.

        Those that are not kept in the database (calls of assistants) are listed by the process that does them.
        """
        found = self.keeping.of(whose, most) if self.keeping is not None else []
        with self._lock:
            rows = [(self._jobs.get(job.id, job), began) for job, began in found]
            own = [job for job in self._jobs.values() if job.whose == whose and not hasattr(job.work, "to_row")]
        rows += [(job, job.began) for job in own]
        return sorted(rows, key=lambda row: row[1], reverse=True)[:most]

    def elsewhere(self, key: str) -> Job | None:
        """A job that is not this process's, and waits, runs, or is about to be taken over."""
        found = self.keeping.find(key) if self.keeping is not None else None
        return None if found is None or found.over else found

    def has_room(self, lane: str) -> bool:
        """Whether one more may wait in a lane."""
        with self._lock:
            return not self.closing and len(self._waiting(lane)) <= self.settings.waiting

    def open_jobs(self) -> list[Job]:
        """All that run or wait."""
        with self._lock:
            return [job for job in self._jobs.values() if not job.over]

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
        if job.elsewhere:
            self.ask_elsewhere(job.id, "cancel")
            return
        job.cancel.set()
        with self._lock:
            waited = job.state == "waiting"
            if waited:
                job.end("cancelled")
        if waited and self.keeping is not None:
            self.keeping.ended(job)
        if waited and (dropped := getattr(job.work, "dropped", None)) is not None:
            dropped(job)

    def lose(self, job: Job) -> None:
        """Stop a job that another process has by now: what it needs stays, and the other one shows it."""
        job.elsewhere = job.stopping = True
        job.cancel.set()
        with self._lock:
            if job.state == "waiting":
                job.end("cancelled")
                self._jobs.pop(job.id, None)

    def ask_elsewhere(self, key: str, wish: str) -> None:
        """Ask the process that has a job to "cancel" it, or to come to an end "now"."""
        if self.keeping is not None:
            self.keeping.wish(key, wish)

    def close(self) -> None:
        """Stop all, end the streams, and give threads a while to end what they write; what is kept goes on later."""
        with self._lock:
            self.closing = True
            there, threads = list(self._jobs.values()), list(self._threads)
        for job in there:
            if not job.over:
                job.stopping = True
                job.cancel.set()
                with self._lock:
                    if job.state == "waiting":
                        job.end("cancelled")
                job.tell("closing")  # wakes the streams
        until = time.monotonic() + self.settings.grace_s
        for thread in threads:
            thread.join(max(0.0, until - time.monotonic()))
        if self.keeping is not None:
            self.keeping.close()

    def _admit(self, job: Job) -> None:
        """HTTPException: not now."""
        if self.closing:
            raise HTTPException(503, "The server is being stopped. Come back later.", {"Retry-After": "60"})
        if len(self._waiting(job.work.lane)) > self.settings.waiting:
            raise HTTPException(
                503, "Too much is waiting here already. Come back in a few minutes.", {"Retry-After": "60"}
            )
        own = sum(one.whose == job.whose and not one.over for one in self._jobs.values()) if job.whose else 0
        if own and own >= self.settings.of_one * self.people(job.whose):
            raise HTTPException(
                429,
                f"{own} of your jobs wait or go on already. Wait for one to end, or cancel it.",
                {"Retry-After": "30"},
            )

    def _queued(self, job: Job) -> Job:
        with self._lock:
            self._jobs.pop(job.id, None)
            self._jobs[job.id] = job
            self._begin(job.work.lane)
        return job

    def _at_once(self, lane: str) -> int:
        return max(self.settings.running, self.settings.answering) if lane == MODEL else self.settings.running

    def _waiting(self, lane: str) -> list[Job]:
        return [job for job in self._jobs.values() if job.work.lane == lane and job.state == "waiting"]

    def _running(self, lane: str) -> list[Job]:
        return [job for job in self._jobs.values() if job.work.lane == lane and job.state == "running"]

    def _begin(self, lane: str) -> None:
        """Let those run whose turn it is."""
        free = 0 if self.closing else self._at_once(lane) - len(self._running(lane))
        for job in self._waiting(lane)[: max(0, free)]:
            job.state = "running"
            thread = threading.Thread(target=self._run, args=(job,), name=f"job-{job.id}", daemon=True)
            try:
                thread.start()
            except RuntimeError as error:  # the system gives no more threads: a later look may get one
                logger.warning("%s waits: %s", job.name, error)
                job.state = "waiting"
                break
            self._threads = [one for one in self._threads if one.is_alive()] + [thread]
        for place, job in enumerate(self._waiting(lane)):
            first = place + len(self._running(lane))
            goes = f"{first} {'job goes' if first == 1 else 'jobs go'} first" if first else "the server is too busy"
            job.progress = Progress(f"Waiting: {goes}")
            job.tell("progress", text=job.progress.text, done=0, total=None)

    def _run(self, job: Job) -> None:
        mine = True
        state: State = "failed"
        error: str | None = "It could not be begun. The log says more."
        try:
            _settle_threads()
            mine = self.keeping is None or self.keeping.begun(job)
            state, error = self._done(job) if mine else ("cancelled", None)
            mine = mine and not job.elsewhere
        finally:  # whatever came up: neither its page nor its lane may wait for ever
            self._end(job, state, error, mine)
        if self.keeping is not None and mine and not (self.closing and state != "done"):
            self.keeping.ended(job)

    def _end(self, job: Job, state: State, error: str | None, mine: bool) -> None:
        """It has ended, and the next one's turn comes, also where a stream that looks on cannot be told."""
        with self._lock:
            try:
                job.end(state, error)
            finally:
                if not mine:
                    self._jobs.pop(job.id, None)  # whoever has it now shows it
                self._begin(job.work.lane)

    def _done(self, job: Job) -> tuple[State, str | None]:
        """Do it: how it ended."""
        try:
            job.progressed("Begun", now=True)
            with traced(f"job {getattr(job.work, 'kind', '') or job.work.lane}"):
                job.work(job)
        except Cancelled:
            return "cancelled", None
        except FovealError as error:
            logger.warning("%s failed: %s", job.name, error)
            return "failed", self.told(error)
        except BaseException as error:  # a thread's end, and a panic of Rust is no Exception: no page waits for ever
            logger.exception("%s failed", job.name)
            said = f"Something that nobody foresaw went wrong ({type(error).__name__}). The log says more."
            return "failed", said
        return "done", None

    def _forget(self) -> None:
        """Drop jobs that ended long ago, and the oldest of too many."""
        ended = [job for job in self._jobs.values() if job.ended_at is not None]
        oldest = time.monotonic() - self.settings.age_s
        for place, job in enumerate(reversed(ended)):
            if place >= self.settings.kept or (job.ended_at or 0.0) < oldest:
                del self._jobs[job.id]


def _settle_threads() -> None:
    """A job computes with the process's number of threads, also where another model took one as it was begun."""
    if "torch" in sys.modules:  # else nobody has; and what needs no model does not wait for it
        from foveal.models.threads import settle

        settle()
