"""Watched questions in the SQL database: how each is asked, who wants to hear of it, and its last report.

    watches = Watches(database)
    number = watches.add("How fast …?", {"sources": ["papers"]}, every="weekly", owner=7, address="ana@example.org")
    for watch in watches.due(now): if watches.take(watch.id, now): …      # watching.py

Holding    one process looks at a question at a time; what one held when it was killed is free at once, on another
           machine after `HELD` (database.Hold)
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from sqlalchemy import delete, func, or_, select, update
from sqlalchemy.orm import defer

from foveal import faults
from foveal.database import Database, Hold, new_holder, next_number, rows_changed, storable_json
from foveal.errors import InputError
from foveal.research.report import Report
from foveal.research.schema import WatchRow

EVERY = {"daily": timedelta(days=1), "weekly": timedelta(days=7)}
HELD = timedelta(hours=3)
MOST = 50
"""Questions that one person may watch."""

LONGEST = 2000
"""Characters of a question."""


@dataclass(frozen=True, kw_only=True)
class Watch:
    """A question that is watched."""

    id: int
    question: str
    options: Mapping[str, Any]  # sources, budget, report (mode, planner), as a run's
    every: str  # a key of EVERY
    owner: int | None  # a person; None: the command line
    address: str  # "" = nobody is written to
    report: Report | None  # the last one
    run: str  # its key, "" for none
    looked_at: datetime | None
    due_at: datetime
    created_at: datetime
    error: str

    @property
    def pause(self) -> timedelta:
        """Between two looks."""
        return EVERY[self.every]


class Watches:
    """The watched questions of one database."""

    def __init__(self, database: Database) -> None:
        self.database = database
        self._holder = new_holder()

    def add(
        self,
        question: str,
        options: Mapping[str, Any],
        *,
        every: str = "weekly",
        owner: int | None = None,
        address: str = "",
        report: Report | None = None,
        run: str = "",
    ) -> int:
        """Watch a question; `report` is what later ones are held against, else the first look makes one, at once.

        InputError: no question, no such pause, watched already, or too many.
        """
        plain, now = _checked(question, every), faults.now()
        with self.database.writing() as session:
            mine = select(func.count()).select_from(WatchRow).where(WatchRow.owner_id == owner)
            if owner is not None and (session.scalar(mine) or 0) >= MOST:
                raise InputError(f"That would be more than {MOST} watched questions. Take one away first.")
            same = (WatchRow.question == plain) & (WatchRow.owner_id.is_not_distinct_from(owner))
            if session.scalar(select(WatchRow.id).where(same)) is not None:
                raise InputError("This question is watched already.")
            row = WatchRow(
                id=next_number(session, WatchRow.id),
                question=plain,
                options=storable_json(options),
                every=every,
                owner_id=owner,
                address=address,
                report=storable_json(report.ledger()) if report else "",
                run_id=run,
                looked_at=now if report else None,
                due_at=now + EVERY[every] if report else now,
            )
            session.add(row)
            session.flush()
            return row.id

    def get(self, number: int) -> Watch:
        """The watched question of a number. InputError: there is none."""
        with self.database.reading() as session:
            row = session.get(WatchRow, number)
            if row is None:
                raise InputError(
                    f"No watched question has the number {number}. `foveal research watch list` shows all."
                )
            return _watch(row)

    def listed(self, owner: int | None = None, *, reports: bool = True) -> list[Watch]:
        """Those of a person, or all of the database, in the order in which they came; to show them takes no reports,
        which are long."""
        wanted = select(WatchRow).order_by(WatchRow.id)
        if not reports:
            wanted = wanted.options(defer(WatchRow.report, raiseload=True))
        if owner is not None:
            wanted = wanted.where(WatchRow.owner_id == owner)
        with self.database.reading() as session:
            return [_watch(row, report=reports) for row in session.scalars(wanted)]

    def due(self, now: datetime) -> list[Watch]:
        """Those whose time has come."""
        wanted = select(WatchRow).where(WatchRow.due_at <= now).order_by(WatchRow.due_at, WatchRow.id)
        with self.database.reading() as session:
            return [_watch(row) for row in session.scalars(wanted)]

    def take(self, number: int, now: datetime) -> bool:
        """Take a due question for this process; False: another one has it, or looked at it meanwhile."""
        with self.database.writing() as session:
            row = session.get(WatchRow, number)
            if row is None or row.due_at > now:
                return False
            if Hold(f"watch {number}", row.holder, row.held_until, HELD.total_seconds(), now).lasts(session):
                return False
            same = (WatchRow.holder == row.holder) & (WatchRow.held_until == row.held_until)  # as it was looked at
            mine = update(WatchRow).where(WatchRow.id == number, WatchRow.due_at <= now)
            mine = mine.where(or_(WatchRow.holder == "", same))
            return rows_changed(session, mine.values(holder=self._holder, held_until=now + HELD)) == 1

    def holds(self, number: int) -> bool:
        """Whether this process still looks at a question: it may have been taken away, or by another process."""
        mine = select(WatchRow.id).where(WatchRow.id == number, WatchRow.holder == self._holder)
        with self.database.reading() as session:
            return session.scalar(mine) is not None

    def settle(
        self,
        number: int,
        *,
        next_at: datetime,
        looked_at: datetime | None = None,
        report: Report | None = None,
        run: str = "",
        error: str = "",
    ) -> None:
        """Let go of a question, and keep what came of the look; nothing where another process has taken it since."""
        values: dict[str, Any] = {"holder": "", "held_until": None, "due_at": next_at, "error": error[:500]}
        if looked_at is not None:
            values["looked_at"] = looked_at
        if report is not None:
            values |= {"report": storable_json(report.ledger()), "run_id": run}
        with self.database.writing() as session:
            mine = update(WatchRow).where(WatchRow.id == number, WatchRow.holder == self._holder)
            session.execute(mine.values(**values))

    def hasten(self, number: int) -> None:
        """Let a question be due now. InputError: there is none."""
        self.get(number)
        with self.database.writing() as session:
            session.execute(update(WatchRow).where(WatchRow.id == number).values(due_at=faults.now()))

    def remove(self, number: int, owner: int | None = None) -> None:
        """Watch it no more; a look that goes on ends. InputError: there is none, or it is another's (`owner` given)."""
        if owner is not None and self.get(number).owner != owner:
            raise InputError(f"No watched question of yours has the number {number}.")
        self.get(number)
        with self.database.writing() as session:
            session.execute(delete(WatchRow).where(WatchRow.id == number))

    def exported(self, owner: int) -> list[dict[str, Any]]:
        """All that is stored of a person's, as JSON holds it."""
        return [
            {
                "question": one.question,
                "options": dict(one.options),
                "every": one.every,
                "address": one.address,
                "created_at": one.created_at.isoformat(),
                "report": one.report.ledger() if one.report else None,
            }
            for one in self.listed(owner)
        ]


def _checked(question: str, every: str) -> str:
    """The question on one line. InputError: there is none, it is too long, or no pause is called that."""
    plain = " ".join(question.split())
    if not plain or len(plain) > LONGEST:
        raise InputError(f"A watched question has 1 to {LONGEST:,} characters; this one has {len(plain):,}.")
    if every not in EVERY:
        raise InputError(f"No pause is called {every[:20]!r}. There are: {', '.join(EVERY)}.")
    return plain


def _watch(row: WatchRow, *, report: bool = True) -> Watch:
    return Watch(
        id=row.id,
        question=row.question,
        options=json.loads(row.options),
        every=row.every,
        owner=row.owner_id,
        address=row.address,
        report=Report.of_ledger(json.loads(row.report)) if report and row.report else None,
        run=row.run_id,
        looked_at=row.looked_at,
        due_at=row.due_at,
        created_at=row.created_at,
        error=row.error,
    )
