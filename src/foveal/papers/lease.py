"""One process at a time does a job: it holds the job's lease, and says again and again that it still does.

    mine = new_holder()
    take(session, "mail", mine, seconds=120)       # True: nobody else has it (again: it is prolonged)
    holds(name, mine, moment)                      # a condition for an UPDATE that only the holder may make
    release(session, "mail", mine)

A holder of this machine that is no more (killed) has left its lease; that of another machine ends by its time, or,
where that is far ahead, as `database.Hold` has it.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, exists, update
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import Database, Hold, LeaseRow, add_unless_taken, rows_changed
from foveal.database import new_holder as new_holder


def take(session: Session, name: str, holder: str, *, seconds: float) -> bool:
    """Take or prolong a lease; False: somebody else has it."""
    moment = faults.now()
    until = moment + timedelta(seconds=seconds)
    row = session.get(LeaseRow, name)
    if row is None:
        return add_unless_taken(session, LeaseRow(name=name, holder=holder, until=until))
    if row.holder != holder and _hold(row, seconds).lasts(session):
        return False
    same = (LeaseRow.holder == row.holder) & (LeaseRow.until == row.until)  # as it was looked at
    mine = update(LeaseRow).where(LeaseRow.name == name, same | (LeaseRow.holder == holder))
    return rows_changed(session, mine.values(holder=holder, until=until)) == 1


def has(database: Database, name: str, *, seconds: float) -> LeaseRow | None:
    """The lease of a job that somebody does who may be alive."""
    with database.reading() as session:
        row = session.get(LeaseRow, name)
    return row if row is not None and _hold(row, seconds).lasts_in(database) else None


def advice(session: Session, name: str, *, seconds: float) -> str:
    """What to do about a lease by a clock that is ahead, "" where there is nothing to be done."""
    row = session.get(LeaseRow, name)
    return "" if row is None else _hold(row, seconds).advice


def release(session: Session, name: str, holder: str) -> None:
    """Give a lease back, if it is still ours."""
    session.execute(delete(LeaseRow).where(LeaseRow.name == name, LeaseRow.holder == holder))


def holds(name: str, holder: str, moment: datetime) -> ColumnElement[bool]:
    """Whether `holder` has the lease, as a condition."""
    return exists().where(LeaseRow.name == name, LeaseRow.holder == holder, LeaseRow.until > moment)


def _hold(row: LeaseRow, seconds: float) -> Hold:
    return Hold(f"lease {row.name}", row.holder, row.until, seconds)
