"""Long jobs in the SQL database: put there before they are acknowledged, held by one process, taken over from a dead.

    kept = KeptJobs(database)
    kept.put(key, "ask", {"question": "…"})     # ours from now on
    kept.begun(key)                             # False: somebody else has it by now
    kept.beat({key: ("running", {...})})        # still ours: who asked what of us, and what is not ours any more
    kept.ended(key, "done", shown={...})
    kept.left()                                 # jobs that nobody alive has, the oldest first
    kept.take(key)                              # ours, if we were the first to ask

Holding    a process says every few seconds that it still has its jobs. What a process of this machine left when it was
           killed is free at once, another machine's after `HELD_S`
Clocks     of machines may differ: what is held until a time far ahead is free once nobody was seen to say so anew for
           `HELD_S` (database.Hold)
Poison     a job that was begun `MOST_TRIES` times and never came to an end ends as failed: what kills every process
           that tries it must not go round for ever
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import ColumnElement, delete, or_, select, update
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database, Hold, new_holder, rows_changed, storable_json, storable_text
from foveal.web.job_schema import JobRow

HELD_S = 30.0
"""Seconds that a holder of another machine may be silent."""

MOST_TRIES = 3

LOOKED_AT = 50
"""Jobs without a holder that are told of in one go."""

OPEN = ("waiting", "running")


@dataclass(frozen=True)
class KeptJob:
    """A job as the database has it."""

    key: str
    kind: str
    asked: Mapping[str, Any]
    state: str
    progress: Mapping[str, Any]
    shown: Mapping[str, Any] | None
    error: str
    tries: int
    created_at: datetime


@dataclass(frozen=True)
class Beat:
    """What a process learns when it says that it still has its jobs."""

    wishes: Mapping[str, str]
    lost: Sequence[str]


class KeptJobs:
    """The jobs of one database, as one process sees them."""

    def __init__(self, database: Database, holder: str = "") -> None:
        self.database = database
        self.holder = holder or new_holder()

    def put(self, key: str, kind: str, asked: Mapping[str, Any]) -> None:
        """Keep a new job, which is ours; one of the same key, which has ended, is replaced."""
        moment = faults.now()
        row = JobRow(id=key, kind=kind, asked=storable_json(asked), holder=self.holder, held_until=_until(moment))
        with self.database.writing() as session:
            session.execute(delete(JobRow).where(JobRow.id == key))
            session.add(row)

    def begun(self, key: str) -> bool:
        """Note that it is begun; False: it is not ours any more."""
        values = {"state": "running", "tries": JobRow.tries + 1, "held_until": _until(faults.now())}
        with self.database.writing() as session:
            return self._mine(session, key, values)

    def ended(self, key: str, state: str, *, shown: Mapping[str, Any] | None = None, error: str = "") -> bool:
        """Note its end; False: it is not ours any more, and whoever has it says how it ends."""
        told = storable_json(shown) if shown is not None else ""
        values = {"state": state, "shown": told, "error": storable_text(error)}
        over = {"holder": "", "held_until": None, "ended_at": faults.now()}
        with self.database.writing() as session:
            return self._mine(session, key, values | over)

    def let_go(self, keys: Sequence[str]) -> None:
        """Give jobs back that were not done, for whoever comes next."""
        mine = update(JobRow).where(JobRow.id.in_(keys), JobRow.holder == self.holder, JobRow.state.in_(OPEN))
        back = {"state": "waiting", "holder": "", "held_until": None, "tries": 0}  # a stop is nobody's fault
        with self.database.writing() as session:
            session.execute(mine.values(**back))

    def beat(self, jobs: Mapping[str, tuple[str, Mapping[str, Any]]]) -> Beat:
        """Hold our jobs a while longer, and store the state and progress of each."""
        until = _until(faults.now())
        lost = []
        with self.database.writing() as session:
            for key, (state, progress) in jobs.items():
                values = {"state": state, "progress": storable_json(progress), "held_until": until}
                if not self._mine(session, key, values):
                    lost.append(key)
            wished = select(JobRow.id, JobRow.wish).where(JobRow.id.in_(jobs), JobRow.wish != "")
            wishes = {key: wish for key, wish in session.execute(wished)}  # noqa: C416 (a row is no tuple to mypy)
        return Beat(wishes, lost)

    def find(self, key: str) -> KeptJob | None:
        """The job of a key."""
        with self.database.reading() as session:
            row = session.get(JobRow, key)
            return _kept(row) if row is not None else None

    def asked_with(self, name: str, value: str, most: int) -> list[KeptJob]:
        """The newest jobs that were asked with that value."""
        words = json.dumps({name: value}, ensure_ascii=False)[1:-1]  # as `put` wrote it, where no text can stand for it
        found = select(JobRow).where(JobRow.asked.contains(words, autoescape=True))
        with self.database.reading() as session:
            return [_kept(row) for row in session.scalars(found.order_by(JobRow.created_at.desc()).limit(most))]

    def wish(self, key: str, wish: str) -> None:
        """Ask of whoever has a job to stop it ("cancel") or to come to an end ("now"). One that nobody has ends."""
        with self.database.writing() as session:
            row = session.get(JobRow, key)
            if row is None or row.state not in OPEN:
                return
            values: dict[str, Any] = {"wish": wish}
            if wish == "cancel" and not _hold(row).lasts(session):
                values |= {"state": "cancelled", "ended_at": faults.now(), "holder": "", "held_until": None}
            session.execute(update(JobRow).where(JobRow.id == key).values(**values))

    def left(self) -> list[KeptJob]:
        """Jobs that wait or were begun, and that nobody alive has; the oldest first."""
        open_ones = select(JobRow).where(JobRow.state.in_(OPEN), JobRow.holder != self.holder)
        with self.database.reading() as session:
            rows = session.scalars(open_ones.order_by(JobRow.created_at, JobRow.id)).all()
        free = [_kept(row) for row in rows if not _hold(row).lasts_in(self.database)]  # all: who is silent is seen so
        return free[:LOOKED_AT]

    def take(self, key: str) -> bool:
        """Make a job ours; False: another process was first. One that was tried too often ends instead."""
        with self.database.writing() as session:
            row = session.get(JobRow, key)
            if row is None or row.state not in OPEN or _hold(row).lasts(session):
                return False
            free = update(JobRow).where(JobRow.id == key, _same_holder(row))
            if row.tries >= MOST_TRIES:
                said = f"The server was stopped {row.tries} times while it was at this. It is not tried again."
                session.execute(
                    free.values(state="failed", error=said, ended_at=faults.now(), holder="", held_until=None)
                )
                return False
            mine = free.values(holder=self.holder, held_until=_until(faults.now()), state="waiting")
            return rows_changed(session, mine) == 1

    def forget(self, older_s: float) -> None:
        """Delete what ended longer ago than that, and what nobody could do for as long."""
        before = faults.now() - timedelta(seconds=older_s)
        nobodys = (JobRow.created_at < before) & (JobRow.held_until.is_(None) | (JobRow.held_until < before))
        with self.database.writing() as session:
            session.execute(delete(JobRow).where((JobRow.ended_at < before) | nobodys))

    def counts(self) -> dict[str, int]:
        """Jobs by state, of all processes."""
        from sqlalchemy import func

        with self.database.reading() as session:
            rows = session.execute(select(JobRow.state, func.count()).group_by(JobRow.state))
            return {state: count for state, count in rows}  # noqa: C416 (a row is no tuple to mypy)

    def _mine(self, session: Session, key: str, values: Mapping[str, Any]) -> bool:
        mine = update(JobRow).where(JobRow.id == key, JobRow.holder == self.holder, JobRow.state.in_(OPEN))
        return rows_changed(session, mine.values(**values)) == 1


def _hold(row: JobRow) -> Hold:
    return Hold(f"job {row.id}", row.holder, row.held_until, HELD_S)


def _same_holder(row: JobRow) -> ColumnElement[bool]:
    """That nobody took it, or said that it is theirs, since it was looked at."""
    return or_((JobRow.holder == row.holder) & (JobRow.held_until == row.held_until), JobRow.holder == "")


def _kept(row: JobRow) -> KeptJob:
    return KeptJob(
        key=row.id,
        kind=row.kind,
        asked=json.loads(row.asked),
        state=row.state,
        progress=json.loads(row.progress),
        shown=json.loads(row.shown) if row.shown else None,
        error=row.error,
        tries=row.tries,
        created_at=row.created_at,
    )


def _until(moment: datetime) -> datetime:
    return moment + timedelta(seconds=HELD_S)
