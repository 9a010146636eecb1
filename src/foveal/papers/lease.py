"""One process at a time does a job: it holds the job's lease, and says again and again that it still does.

    mine = new_holder()
    take(session, "mail", mine, seconds=120)       # True: nobody else has it (again: it is prolonged)
    holds(name, mine, moment)                      # a condition for an UPDATE that only the holder may make
    release(session, "mail", mine)

A holder of this machine that is no more (killed) has left its lease; that of another machine ends by its time, at once
where that is so far ahead that a clock was wrong.
"""

from __future__ import annotations

from datetime import datetime, timedelta

from sqlalchemy import ColumnElement, delete, exists, update
from sqlalchemy.orm import Session

from foveal import faults
from foveal.database import add_unless_taken, rows_changed
from foveal.database import is_dead as is_dead
from foveal.database import new_holder as new_holder
from foveal.papers.schema import LeaseRow


def take(session: Session, name: str, holder: str, *, seconds: float) -> bool:
    """Take or prolong a lease; False: somebody else has it."""
    moment = faults.now()
    until = moment + timedelta(seconds=seconds)
    row = session.get(LeaseRow, name)
    if row is None:
        return add_unless_taken(session, LeaseRow(name=name, holder=holder, until=until))
    wrong = LeaseRow.until > until + timedelta(seconds=seconds)  # no clock that is right gives so much
    free = (LeaseRow.holder == holder) | (LeaseRow.until <= moment) | wrong
    if is_dead(row.holder):
        free = free | (LeaseRow.holder == row.holder)
    taken = update(LeaseRow).where(LeaseRow.name == name, free).values(holder=holder, until=until)
    return rows_changed(session, taken) == 1


def release(session: Session, name: str, holder: str) -> None:
    """Give a lease back, if it is still ours."""
    session.execute(delete(LeaseRow).where(LeaseRow.name == name, LeaseRow.holder == holder))


def holds(name: str, holder: str, moment: datetime) -> ColumnElement[bool]:
    """Whether `holder` has the lease, as a condition."""
    return exists().where(LeaseRow.name == name, LeaseRow.holder == holder, LeaseRow.until > moment)
