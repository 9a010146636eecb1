"""Long jobs that outlive their process: kept in the database as they go, taken over when their process is gone.

    jobs.keeping = Keeping(jobs, lambda: KeptJobs(site.database), rebuilt)
    jobs.keeping.begin()               # a thread: says that ours are ours, and looks for what others left

Kept       work that has a `kind`, `to_row()` (what it takes to do it again) and `result()` (what its page shows);
           where `check_here()` says that this machine cannot do it, it is left to others
Again      what was taken over begins anew: asking and reading change nothing, adding passes over what is there already,
           and a run of research goes on from its events
Database   away: nothing new is accepted (503); what runs goes on, and its end is stored once the database is back
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import TYPE_CHECKING, Any

from sqlalchemy.exc import SQLAlchemyError

from foveal.errors import DatabaseError, FovealError
from foveal.web.job import Job, JobSettings, Progress, Work
from foveal.web.kept_jobs import Beat, KeptJob, KeptJobs

if TYPE_CHECKING:
    from foveal.web.jobs import Jobs

BEAT_S = 2.0
"""Seconds between two times that ours are said to be ours, and their progress is stored."""

LOOK_S = 5.0
"""Seconds between two looks for jobs that nobody has."""

FORGET_S = 600.0
"""Seconds between two times that what is old is deleted."""

WHOSE = "whose job"
"""Beside what was asked, in the database: the address that asked, which alone may cancel, whichever process tells."""

logger = logging.getLogger("foveal.web.jobs")


Rebuild = Callable[[str, Mapping[str, Any], Mapping[str, Any] | None], Work]
"""The work of a kind, from what was asked and, where it is done, from its result. FovealError: not here."""


class Keeping:
    """The jobs of one app, in the database."""

    def __init__(self, jobs: Jobs, kept: Callable[[], KeptJobs], rebuilt: Rebuild, *, beat_s: float = BEAT_S) -> None:
        self._jobs = jobs
        self._made = kept
        self._rebuilt = rebuilt
        self._beat_s = beat_s
        self._kept: KeptJobs | None = None
        self._ours: dict[str, Job] = {}
        self._ends: dict[str, Job] = {}  # that the database does not know of yet
        self._stop = threading.Event()
        self._thread: threading.Thread | None = None
        self._lock = threading.Lock()
        self._beating = threading.Lock()

    @property
    def kept(self) -> KeptJobs:
        """The jobs of the database."""
        with self._lock:
            self._kept = self._kept or self._made()
            return self._kept

    # -- what jobs say -------------------------------------------------------------------------------------------

    def accepted(self, job: Job) -> None:
        """Keep a job before it is acknowledged. SQLAlchemyError, DatabaseError: it cannot be."""
        work: Any = job.work
        if kind := getattr(work, "kind", ""):
            self.kept.put(job.id, kind, {**work.to_row(), WHOSE: job.whose})
            self._ours[job.id] = job

    def begun(self, job: Job) -> bool:
        """Whether it is still ours to do."""
        if job.id not in self._ours:
            return True
        try:
            return self.kept.begun(job.id)
        except (SQLAlchemyError, FovealError) as error:
            logger.warning("the database is away, the job goes on: %s", error)
            return True

    def ended(self, job: Job) -> None:
        """Store how it ended, as soon as that can be."""
        if job.id in self._ours:
            self._ends[job.id] = job
            self._store_ends()

    def find(self, key: str) -> Job | None:
        """A job of another process."""
        kept = self.kept.find(key)
        return self._made_again(kept) if kept is not None else None

    def of(self, whose: str, most: int) -> list[tuple[Job, datetime]]:
        """The newest jobs of whoever that is, and when each was begun, as the database has them."""
        made = [(self._made_again(kept), kept.created_at) for kept in self.kept.asked_with(WHOSE, whose, most)]
        return [(job, began) for job, began in made if job is not None]

    def _made_again(self, kept: KeptJob) -> Job | None:
        asked, whose = _parted(kept.asked)
        try:
            work = self._rebuilt(kept.kind, asked, kept.shown)
        except FovealError:
            return None
        return _as_kept(Job(work, JobSettings(), kept.key, whose), kept)

    def wish(self, key: str, wish: str) -> None:
        """Ask whoever has it."""
        self.kept.wish(key, wish)

    # -- the thread ----------------------------------------------------------------------------------------------

    def begin(self) -> None:
        """Look after the jobs from now on."""
        if self._thread is None:
            self._thread = threading.Thread(target=self._go, name="foveal-jobs", daemon=True)
            self._thread.start()

    def close(self) -> None:
        """Give back what is not done."""
        self._stop.set()
        if self._thread is not None:
            self._thread.join(self._beat_s)
        try:
            self._store_ends()
            if self._ours:
                self.kept.let_go(list(self._ours))
        except (SQLAlchemyError, FovealError) as error:
            logger.warning("jobs could not be given back, and are free in a while: %s", error)
        self._ours.clear()

    def look(self) -> None:
        """Say that ours are ours; take over what others left."""
        self.beat()
        for one in self.kept.left():
            asked, whose = _parted(one.asked)
            try:
                work: Any = self._rebuilt(one.kind, asked, None)
                if check := getattr(work, "check_here", None):
                    check()
            except FovealError as error:  # its file lies on another machine
                logger.info("the job %s is left to others: %s", one.key, error)
                continue
            if self._jobs.has_room(work.lane) and self.kept.take(one.key):
                logger.warning("the job %s was left by its process, and is done here", one.key)
                self._resume(one.key, work, whose)

    def beat(self) -> None:
        """Hold ours a while longer, store how far they are, and hear what other processes' pages want of them."""
        self._store_ends()
        with self._beating:
            ours = {key: job for key, job in list(self._ours.items()) if not job.over}
            told = (
                self.kept.beat({key: (job.state, _progress(job)) for key, job in ours.items()})
                if ours
                else Beat({}, [])
            )
        for key in told.lost:
            if not ours[key].over:
                logger.warning("the job %s is another process's by now: this one was silent for too long", key)
                self._ours.pop(key, None)
                self._jobs.lose(ours[key])
        for key, wish in told.wishes.items():
            if key in self._ours:
                self._grant(ours[key], wish)

    def _grant(self, job: Job, wish: str) -> None:
        """Do what a page of another process wants."""
        now: Any = getattr(job.work, "answer_now", None)
        if wish == "cancel":
            self._jobs.cancel(job)
        elif wish == "now" and now is not None:
            now()

    def _resume(self, key: str, work: Work, whose: str) -> None:
        job = Job(work, self._jobs.settings, key, whose)
        self._ours[key] = job
        taken_over: Any = getattr(work, "taken_over", None)
        if taken_over is not None:
            taken_over(job)
        self._jobs.resume(job)

    def _go(self) -> None:
        looked = forgot = 0.0
        while not self._stop.is_set():
            try:
                self._jobs.go_on()
                if time.monotonic() - looked >= LOOK_S or not looked:
                    looked = time.monotonic()
                    self.look()
                elif self._ours:
                    self.beat()
                if time.monotonic() - forgot >= FORGET_S or not forgot:
                    forgot = time.monotonic()
                    self.kept.forget(self._jobs.settings.age_s)
            except (SQLAlchemyError, FovealError) as error:
                logger.warning("jobs are not looked after just now: %s", error)
            except Exception:  # the thread must go on
                logger.exception("jobs are not looked after just now")
            self._stop.wait(self._beat_s)

    def _store_ends(self) -> None:
        """Store how jobs ended. While the database is away one is tried at a time, each in its turn."""
        with self._beating:
            for key, job in list(self._ends.items()):
                try:
                    self._store_end(key, job)
                except (SQLAlchemyError, DatabaseError) as error:
                    logger.warning("how the job %s ended is stored later: %s", key, error)
                    self._ends[key] = self._ends.pop(key)
                    return
                self._ends.pop(key, None)
                self._ours.pop(key, None)

    def _store_end(self, key: str, job: Job) -> None:
        """Store how it ended; what came of it cannot be stored: that it failed. The others' ends do not wait for it."""
        work: Any = job.work
        try:
            shown = work.result() if job.state == "done" else None
            self.kept.ended(key, job.state, shown=shown, error=job.error or "")
        except (SQLAlchemyError, DatabaseError):
            raise
        except Exception:  # whatever the work's own code raises
            logger.exception("what came of the job %s cannot be stored", key)
            self.kept.ended(key, "failed", error="What came of it cannot be stored. The server's log says why.")


def _parted(asked: Mapping[str, Any]) -> tuple[dict[str, Any], str]:
    """What was asked, and whose job it is; "" of one that an older Foveal kept."""
    return {name: value for name, value in asked.items() if name != WHOSE}, str(asked.get(WHOSE, ""))


def _progress(job: Job) -> dict[str, Any]:
    return {"text": job.progress.text, "done": job.progress.done, "total": job.progress.total}


def _as_kept(job: Job, kept: KeptJob) -> Job:
    """A job as another process has it; its states are those of `State`."""
    job.elsewhere = True
    job.state = kept.state  # type: ignore[assignment]
    job.error = kept.error or None
    job.progress = Progress(**kept.progress) if kept.progress else Progress("Waiting")
    return job
