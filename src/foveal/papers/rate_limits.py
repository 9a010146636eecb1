"""Rate limits that hold over all processes: token buckets in the database.

    take(database, LINKS_OF_ADDRESS, "ana@example.org")       # or TooMany, with the seconds to wait

A bucket holds `most` at first and fills again evenly over `seconds`. Taking one is a single statement, which the
database runs whole: two at once cannot both take the last one. Whose bucket it is stands in its key as a hash. One that
was last taken from further ahead of now than it takes to fill is of a clock that was wrong: it is full, from now on.
"""

from __future__ import annotations

import hashlib
import ipaddress
import math
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from functools import lru_cache
from typing import Any, cast

from sqlalchemy import Double, Executable, Table, bindparam, case, delete, select
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.orm import Session
from sqlalchemy.sql.expression import ColumnElement, FunctionElement

from foveal.database import Database, Moment
from foveal.errors import InputError, TooMany
from foveal.papers.people_schema import BucketRow
from foveal.papers.schema import now

_BUCKETS = cast(Table, BucketRow.__table__)

ROUNDING = 0.001
"""What may be missing from one: SQLite counts days, and is some hundredths of a millisecond off."""

IDLE = timedelta(days=2)
"""A bucket that nobody took from for so long is full again, whatever its limit, and is forgotten."""


@dataclass(frozen=True, kw_only=True)
class Limit:
    """`most` things in `seconds`, of one person or address; `what` is said to those who come too often."""

    name: str
    most: int
    seconds: float
    what: str

    def __post_init__(self) -> None:
        if self.most < 1 or not 0 < self.seconds <= IDLE.total_seconds():
            raise InputError(f"{self} needs at least one thing, and a time above 0 and up to {IDLE}.")

    @property
    def per_second(self) -> float:
        """How fast the bucket fills."""
        return self.most / self.seconds

    def times(self, people: int) -> Limit:
        """The same for an address that so many people share."""
        return replace(self, most=self.most * people)


LINKS_OF_ADDRESS = Limit(name="link-address", most=5, seconds=3_600, what="links to sign in were sent to this address")
LINKS_OF_IP = Limit(name="link-ip", most=20, seconds=86_400, what="links to sign in were asked for from here")
LINK_TRIES = Limit(name="link-try", most=5, seconds=3_600, what="addresses were tried with this link")
VOTES = Limit(name="vote", most=60, seconds=60, what="votes came from you")
REMARKS = Limit(name="comment", most=10, seconds=600, what="remarks came from you")
COMPLAINTS = Limit(name="complaint", most=10, seconds=3_600, what="reports to the moderators came from you")
CHANGES = Limit(name="change", most=120, seconds=60, what="changes came from you")


class _SecondsSince(FunctionElement[float]):
    """Seconds from the second moment to the first."""

    inherit_cache = True
    type = Double()


@compiles(_SecondsSince, "sqlite")
def _in_sqlite(element: Any, compiler: Any, **words: Any) -> str:
    later, earlier = (compiler.process(clause, **words) for clause in element.clauses)
    return f"((julianday({later}) - julianday({earlier})) * 86400.0)"


@compiles(_SecondsSince)
def _elsewhere(element: Any, compiler: Any, **words: Any) -> str:
    later, earlier = (compiler.process(clause, **words) for clause in element.clauses)
    return f"EXTRACT(EPOCH FROM ({later} - {earlier}))"


def take(database: Database, limit: Limit, whose: str, *, at: datetime | None = None) -> None:
    """Take one from somebody's bucket. TooMany: it is empty."""
    moment = at or now()
    with database.writing() as session:
        if taken(session, limit, whose, moment):
            return
        wait = _wait(session, limit, whose, moment)
    raise TooMany(
        f"Too many: {limit.most} {limit.what} within {_span(limit.seconds)}. Come again in {_span(wait)}.", wait
    )


def network_of(ip: str) -> str:
    """Whose address it is, for limits: of IPv6 the first 64 bits, which one household has."""
    try:
        address = ipaddress.ip_address(ip)
    except ValueError:
        return ip
    if isinstance(address, ipaddress.IPv6Address):
        mapped = address.ipv4_mapped
        return str(mapped or ipaddress.ip_network((int(address), 64), strict=False))
    return str(address)


def taken(session: Session, limit: Limit, whose: str, moment: datetime) -> bool:
    """Whether there was one to take."""
    given = {"key": _key(limit, whose), "left": limit.most - 1.0, "at": moment, "moment": moment}
    return session.execute(_taking(session.get_bind().dialect.name, limit), given).first() is not None


@lru_cache(maxsize=64)
def _taking(dialect: str, limit: Limit) -> Executable:
    """A full bucket, or the one that is there filled up, less one: its key comes back, unless it held less than one.

    The key, not the row count: of an insert the driver of PostgreSQL is not asked for that.
    """
    moment = bindparam("moment", type_=Moment())
    since: ColumnElement[float] = _SecondsSince(moment, BucketRow.at)
    later = since > 0  # clocks of two processes differ: time never runs back, unless one was wrong by far
    wrong = since < -limit.seconds
    gone = case((later, since), (wrong, limit.seconds), else_=0.0)
    filled = BucketRow.left + gone * limit.per_second
    left = case((filled > limit.most, float(limit.most)), else_=filled)
    full = (postgresql if dialect == "postgresql" else sqlite).insert(_BUCKETS)
    statement: Executable = full.on_conflict_do_update(
        index_elements=["key"],
        set_={"left": left - 1.0, "at": case((later | wrong, moment), else_=BucketRow.at)},
        where=left >= 1.0 - ROUNDING,
    ).returning(_BUCKETS.c.key)
    return statement


def forget_idle(session: Session, moment: datetime) -> None:
    """Drop the buckets that are full again, or of a clock that was wrong."""
    session.execute(delete(BucketRow).where((BucketRow.at < moment - IDLE) | (BucketRow.at > moment + IDLE)))


def _wait(session: Session, limit: Limit, whose: str, moment: datetime) -> int:
    """Whole seconds until there is one again."""
    row = session.execute(select(BucketRow.left, BucketRow.at).where(BucketRow.key == _key(limit, whose))).one()
    missing: float = 1.0 - row.left - max(0.0, (moment - row.at).total_seconds()) * limit.per_second
    return max(1, math.ceil(missing / limit.per_second))


def _key(limit: Limit, whose: str) -> str:
    return f"{limit.name}:{hashlib.sha256(whose.encode('utf-8', 'surrogatepass')).hexdigest()[:40]}"


def _span(seconds: float) -> str:
    """What people say: "2 hours"."""
    size, name = next((one for one in ((3_600, "hour"), (60, "minute")) if seconds >= one[0]), (1, "second"))
    count = math.ceil(seconds / size)
    return f"{count} {name}{'s' * (count > 1)}"
