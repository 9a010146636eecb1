"""The one writer of a library on an object store: a row of a table, taken by a conditional commit and kept by renewal.

    with lease(database, uri) as right:      LibraryBusy: another process holds it
        right.check()                        LibraryBusy: it was lost meanwhile; nothing may be written any more

Table     `writer` has one row (token, holder, until). Who takes the row, renews it or gives it back updates it where
          its token is the one that was seen: of two that try at once Lance commits one, and the other finds no such row
After a kill  the row runs out `LEASE_S` seconds after it was renewed last; then the next writer takes it
Clocks    `until` is in the clock of who wrote it: machines whose clocks differ by more than `LEASE_S - RENEWED_S`
          seconds could take each other's right. Time servers keep them within less than one. A row that lasts longer
          than any right clock could say is watched: nobody renews it for `LEASE_S` seconds, and it is free
Sleep     of a machine counts: who slept through the lease may not write, as another may be writing by now
Against   the lock of a folder (tables.writer_lock): the kernel drops that when the process ends
"""

from __future__ import annotations

import logging
import os
import socket
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import timedelta
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


@contextmanager
def lease(database: lancedb.DBConnection, uri: str) -> Iterator[Right]:
    """Hold the only right to write to the library at `uri`, renewed by a thread. LibraryBusy: somebody else does."""
    token = uuid.uuid4().hex
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
            _update(table, token, {"holder": "", "until": 0.0})
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
    now = faults.now().timestamp()
    left = row["until"] - now if row["holder"] else 0.0
    if left > 0 and (left <= 2 * LEASE_S or _is_renewed(table, row, uri)):
        raise LibraryBusy(
            f"Another process ({row['holder']}) is writing to the library at {uri}. Wait until it is done; searching "
            f"goes on meanwhile. (If it was killed, its right runs out in {min(left, LEASE_S):.0f} s.)"
        )
    begun, now = elapsed(), faults.now().timestamp()  # one may have watched for `LEASE_S` seconds meanwhile
    holder = f"pid {os.getpid()} on {socket.gethostname()}"
    if not _update(table, row["token"], {"token": token, "holder": holder, "until": now + LEASE_S}):
        raise LibraryBusy(
            f"Another process began to write to the library at {uri} at this moment. Wait until it is done; searching "
            "goes on meanwhile."
        )
    return begun


def _is_renewed(table: Any, row: dict[str, Any], uri: str) -> bool:
    """Whether somebody changes the row within `LEASE_S` seconds. No right clock wrote it: it may be a dead one's."""
    logger.warning(
        "The right to write to the library at %s is held by %s until a time that no right clock could have written. "
        "Waiting for %.0f s, to see whether that process is alive. Check the clocks of both machines.",
        *(uri, row["holder"], LEASE_S),
    )
    until = elapsed() + LEASE_S
    while elapsed() < until:
        time.sleep(RENEWED_S)
        if table.to_arrow().to_pylist() != [row]:
            return True
    logger.warning("the right to write of %s, by a clock that was wrong, is nobody's any more", row["holder"])
    return False


def _renew(table: Any, token: str, right: Right, over: threading.Event) -> None:
    """Move `until` on until it is over, or the right was lost. A store that cannot be reached is asked again."""
    while not over.wait(RENEWED_S):
        begun = elapsed()  # no later than what is stored: a commit may take as long as the store likes
        try:
            if not _update(table, token, {"until": faults.now().timestamp() + LEASE_S}):
                right.last(-1)
                return
        except LANCE as error:
            logger.warning("the right to write could not be renewed: %s", error)
        else:
            right.last(LEASE_S, since=begun)


def _update(table: Any, token: str, values: dict[str, Any]) -> bool:
    """Change the row where it has that token; whether it had. A conflict is another's commit: then it has not."""
    try:
        return bool(table.update(where=f"token = '{token}'", values=values).rows_updated)
    except LANCE as error:
        if "conflict" not in str(error).lower():
            raise
        return False
