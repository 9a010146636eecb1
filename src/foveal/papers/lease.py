"""One process at a time does a job: it holds the job's lease, and says again and again that it still does.

    mine = new_holder()
    take(session, "mail", mine, seconds=120)       # True: nobody else has it (again: it is prolonged)
    holds(name, mine, moment)                      # a condition for an UPDATE that only the holder may make
    release(session, "mail", mine)

A holder of this machine that is no more (killed) has left its lease; that of another machine ends by its time.
"""

from __future__ import annotations

import os
import secrets
import socket
from datetime import datetime, timedelta
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, delete, exists, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from foveal import faults
from foveal.papers.schema import LeaseRow


def new_holder() -> str:
    """A name for this process, or a part of it: machine, process, something random."""
    return f"{socket.gethostname()[:50]}/{os.getpid()}/{secrets.token_hex(4)}"


def take(session: Session, name: str, holder: str, *, seconds: float) -> bool:
    """Take or prolong a lease; False: somebody else has it."""
    moment = faults.now()
    until = moment + timedelta(seconds=seconds)
    row = session.get(LeaseRow, name)
    if row is None:
        try:
            with session.begin_nested():
                session.add(LeaseRow(name=name, holder=holder, until=until))
            return True
        except IntegrityError:  # somebody was quicker
            return False
    free = (LeaseRow.holder == holder) | (LeaseRow.until <= moment)
    if is_dead(row.holder):
        free = free | (LeaseRow.holder == row.holder)
    taken = update(LeaseRow).where(LeaseRow.name == name, free).values(holder=holder, until=until)
    return cast("CursorResult[Any]", session.execute(taken)).rowcount == 1


def release(session: Session, name: str, holder: str) -> None:
    """Give a lease back, if it is still ours."""
    session.execute(delete(LeaseRow).where(LeaseRow.name == name, LeaseRow.holder == holder))


def holds(name: str, holder: str, moment: datetime) -> ColumnElement[bool]:
    """Whether `holder` has the lease, as a condition."""
    return exists().where(LeaseRow.name == name, LeaseRow.holder == holder, LeaseRow.until > moment)


def is_dead(holder: str) -> bool:
    """Whether a holder was a process of this machine that is no more."""
    machine, _, rest = holder.partition("/")
    process = rest.partition("/")[0]
    if machine != socket.gethostname()[:50] or not process.isdecimal():
        return False
    try:
        os.kill(int(process), 0)
    except (ProcessLookupError, OverflowError):
        return True
    except PermissionError:
        return False
    return False
