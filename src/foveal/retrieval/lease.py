"""The one writer of a library on an object store: a row of a table, taken by a conditional commit and kept by renewal.

    with lease(database, uri) as right:      LibraryBusy: another process holds it
        right.check()                        LibraryBusy: it was lost meanwhile; nothing may be written any more

Table     `writer` has one row (token, holder, until). Who takes the row, renews it or gives it back updates it where
          its token is the one that was seen: of two that try at once Lance commits one, and the other finds no such row
After a kill  the row runs out `LEASE_S` seconds after it was renewed last; then the next writer of the same machine
          takes it, and one of another machine once it has watched it for as long
Clocks    `until` is in the clock of who wrote it, which another machine's may not agree with, nor one's own once it was
          set. That a row is over is therefore believed of the own machine only, and of the same setting (`token` begins
          with both): any other row is free where nobody renews it for `LEASE_S` seconds of one's own clock, and so is
          one that lasts longer than any right clock could say. A row that is not over is somebody's: where that is
          wrong, one waits in vain, and no two write
Sleep     of a machine counts: who slept through the lease may not write, as another may be writing by now
Against   the lock of a folder (tables.writer_lock): the kernel drops that when the process ends
"""

from __future__ import annotations

import hashlib
import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pyarrow as pa

from foveal import faults
from foveal.errors import LibraryBusy
from foveal.retrieval.storage_errors import lance_errors

if TYPE_CHECKING:
    import lancedb

LEASE_S = 60.0
"""Seconds that a right to write lasts unless it is renewed: what a kill costs the next writer."""

RENEWED_S = 15.0
"""Seconds between two renewals: three may fail before the right is lost."""

BOOT_ID = Path("/proc/sys/kernel/random/boot_id")
"""What Linux draws at each start."""

SET_S = 1.0
"""Seconds by which a machine's clock is taken to have been set: time servers otherwise only let it go faster."""

TABLE = "writer"

ROW = pa.schema([("token", pa.string()), ("holder", pa.string()), ("until", pa.float64())])

LANCE = (OSError, RuntimeError, ValueError)
"""What Lance raises."""

logger = logging.getLogger("foveal.retrieval")


class Right:
    """The right to write of a process; `check` before each commit."""

    def __init__(self, uri: str, *, until: float | None = None) -> None:
        """`until` on the clock of `elapsed`; None: it lasts as long as the process (a folder's lock)."""
        self._uri, self._until = uri, until

    def check(self) -> None:
        """LibraryBusy: the right was not renewed in time, so that another process may be writing by now."""
        if self._until is not None and elapsed() > self._until:
            raise LibraryBusy(
                f"This process lost the right to write to the library at {self._uri}: it could not renew it for "
                f"{LEASE_S:.0f} s. What was reported done is kept; run the same command again to go on."
            )

    def last(self, seconds: float, *, since: float | None = None) -> None:
        """It lasts so long from `since` on, on the clock of `elapsed` (None: from now on)."""
        self._until = (elapsed() if since is None else since) + seconds


def elapsed() -> float:
    """Seconds since some moment, those included in which the machine slept, where the system counts them."""
    clock = getattr(time, "CLOCK_BOOTTIME", None)
    return time.monotonic() if clock is None else time.clock_gettime(clock)


@cache
def machine() -> str:
    """What the processes that share this machine's clock are known by: since it was started last, where it tells."""
    try:
        started = BOOT_ID.read_text(encoding="ascii")
    except (OSError, ValueError):
        started = f"{uuid.getnode():x}"
    return hashlib.sha256(started.encode()).hexdigest()[:16]


def _token() -> str:
    """Of a new holder: its machine, since when that counts by its clock, and what nobody else has."""
    return f"{machine()}-{_began():.3f}-{uuid.uuid4().hex}"


def _began() -> float:
    """When `elapsed` was 0, by the clock of `until`: another time once that is set."""
    return faults.now().timestamp() - elapsed()


def _is_ours(token: str) -> bool:
    """Whether a token is of this machine, whose clock was not set since."""
    match token.split("-"):
        case [of, began, _]:
            return of == machine() and abs(float(began) - _began()) < SET_S
    return False  # of another version


@contextmanager
def lease(database: lancedb.DBConnection, uri: str) -> Iterator[Right]:
    """Hold the only right to write to the library at `uri`, renewed by a thread. LibraryBusy: somebody else does."""
    token = _token()
    with lance_errors(uri):
        table = _opened(database)
        right = Right(uri, until=_take(table, token, uri) + LEASE_S)
    over = threading.Event()
    renewing = threading.Thread(target=_renew, args=(table, token, right, over), name="foveal-lease", daemon=True)
    renewing.start()
    try:
        yield right
    finally:
        over.set()
        renewing.join()
        try:
            _update(table, _has(token), {"holder": "", "until": 0.0})
        except LANCE as error:
            logger.warning("the right to write could not be given back, and runs out by itself: %s", error)


def clean(database: lancedb.DBConnection, kept: timedelta) -> None:
    """Drop the table's older versions: each renewal makes one. What meets a renewal is left to the next time."""
    try:
        _opened(database).optimize(cleanup_older_than=kept, delete_unverified=False)
    except LANCE as error:
        logger.info("older versions of the right to write stay for now: %s", error)


def _opened(database: lancedb.DBConnection) -> Any:
    """The table, made where there is none; of two processes that make it, Lance commits one."""
    try:
        return database.open_table(TABLE)
    except ValueError as error:
        if "not found" not in str(error):
            raise
    free = pa.table({"token": [uuid.uuid4().hex], "holder": [""], "until": [0.0]}, schema=ROW)
    try:
        return database.create_table(TABLE, free, mode="create")
    except ValueError as error:
        if "exists" not in str(error):
            raise
        return database.open_table(TABLE)


def _take(table: Any, token: str, uri: str) -> float:
    """Put `token` into the row; since when it stands there, on the clock of `elapsed`.

    LibraryBusy: it is held, or was taken by another at this moment.
    """
    (row,) = table.to_arrow().to_pylist()
    left = row["until"] - faults.now().timestamp()
    ours = _is_ours(row["token"])
    if row["holder"] and _is_held(table, row, uri, left, ours=ours):
        over = min(max(left, 0.0), LEASE_S) + (0.0 if ours else LEASE_S)
        raise LibraryBusy(
            f"Another process ({row['holder']}) is writing to the library at {uri}. Wait until it is done; searching "
            f"goes on meanwhile. (If it was killed, its right runs out in {over:.0f} s.)"
        )
    begun, now = elapsed(), faults.now().timestamp()  # one may have watched for `LEASE_S` seconds meanwhile
    holder = f"pid {os.getpid()} on {socket.gethostname()}"
    unrenewed = f"{_has(row['token'])} AND until = {row['until']!r}"
    if not _update(table, unrenewed, {"token": token, "holder": holder, "until": now + LEASE_S}):
        raise LibraryBusy(
            f"Another process began to write to the library at {uri} at this moment. Wait until it is done; searching "
            "goes on meanwhile."
        )
    return begun


def _is_held(table: Any, row: dict[str, Any], uri: str, left: float, *, ours: bool) -> bool:
    """Whether a row with a holder is still its own, with `left` seconds on this clock."""
    if 0 < left <= 2 * LEASE_S or (left <= 0 and ours):
        return left > 0
    logger.warning(
        "The right to write to the library at %s is held by %s until %s. Waiting for %.0f s, to see whether that "
        "process is alive.",
        *(uri, row["holder"]),
        "a time that is over here, and may not be there" if left <= 0 else "a time that no right clock could have told",
        LEASE_S,
    )
    until = elapsed() + LEASE_S
    while elapsed() < until:
        time.sleep(RENEWED_S)
        if table.to_arrow().to_pylist() != [row]:
            return True
    logger.warning("the right to write of %s was not renewed, and is nobody's any more", row["holder"])
    return False


def _renew(table: Any, token: str, right: Right, over: threading.Event) -> None:
    """Move `until` on until it is over, or the right was lost. A store that cannot be reached is asked again."""
    while not over.wait(RENEWED_S):
        begun = elapsed()  # no later than what is stored: a commit may take as long as the store likes
        try:
            if not _update(table, _has(token), {"until": faults.now().timestamp() + LEASE_S}):
                right.last(-1)
                return
        except LANCE as error:
            logger.warning("the right to write could not be renewed: %s", error)
        else:
            right.last(LEASE_S, since=begun)


def _has(token: str) -> str:
    """The condition that the row has a token."""
    return f"token = '{token}'"


def _update(table: Any, where: str, values: dict[str, Any]) -> bool:
    """Change the row where it is so; whether it was. A conflict is another's commit: then it is not."""
    try:
        return bool(table.update(where=where, values=values).rows_updated)
    except LANCE as error:
        if "conflict" not in str(error).lower():
            raise
        return False
