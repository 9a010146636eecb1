"""The one SQL database of a home: papers, people and their votes, runs. SQLite by default, PostgreSQL by URL.

    database = Database.open(Settings.load())       # made, or brought to today's tables, where it needs it
    with database.reading() as session: …           # sees one state of it all, for as long as the block lasts
    with database.writing() as session: …           # one short transaction: commits at the end, or nothing of it holds

Tables     a part declares its own on `Base` (papers/schema.py); one Alembic chain in `migrations/` makes them
SQLite     WAL: readers never wait; writers wait for each other up to `BUSY_S` seconds; foreign keys hold
Times      aware, in UTC, in both (`Moment`): SQLite would forget the zone
"""

from __future__ import annotations

import json
import os
import re
import secrets
import socket
import sqlite3
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from hashlib import sha256
from pathlib import Path
from typing import Any, cast

from sqlalchemy import (
    Connection,
    CursorResult,
    DateTime,
    Dialect,
    Engine,
    Executable,
    MetaData,
    String,
    create_engine,
    delete,
    event,
    exc,
    func,
    inspect,
    select,
)
from sqlalchemy.engine import ExceptionContext, make_url
from sqlalchemy.orm import DeclarativeBase, InstrumentedAttribute, Mapped, Session, mapped_column
from sqlalchemy.types import TypeDecorator

from foveal import faults
from foveal.errors import DatabaseError, InputError
from foveal.settings import Settings, make_home

NOTED_DAYS = 90
"""Days for which it is kept that a hold was seen."""

TAKEN = ("SQLITE_CONSTRAINT_PRIMARYKEY", "SQLITE_CONSTRAINT_UNIQUE", "SQLITE_CONSTRAINT_ROWID", "23505")
"""What SQLite and PostgreSQL call it that a key is there already."""

BUSY_S = 30
"""Seconds that a writer waits for another one."""

CONNECT_S = 5
"""Seconds that a server may take to answer, and that a thread waits for a connection of the pool."""

MIGRATIONS = Path(__file__).with_name("migrations")

MIGRATING = 7_031_988_411
"""The number of the lock under which a server's tables are made."""

_NAMES = {
    "ix": "ix_%(column_0_label)s",
    "uq": "uq_%(table_name)s_%(column_0_name)s",
    "ck": "ck_%(table_name)s_%(constraint_name)s",
    "fk": "fk_%(table_name)s_%(column_0_name)s_%(referred_table_name)s",
    "pk": "pk_%(table_name)s",
}
"""Constraints have names in every database, so that a later migration can change them."""


class Base(DeclarativeBase):
    """What every table is declared on."""

    metadata = MetaData(naming_convention=_NAMES)
    __mapper_args__ = {"confirm_deleted_rows": False}  # noqa: RUF012 - of two that delete a row one is late


class Moment(TypeDecorator[datetime]):
    """An aware datetime, kept in UTC."""

    impl = DateTime(timezone=True)
    cache_ok = True

    def process_bind_param(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """To the database; a time without a zone is a mistake of the caller."""
        if value is not None and value.tzinfo is None:
            raise InputError(f"The time {value} has no zone; give an aware datetime.")
        return value and value.astimezone(UTC)

    def process_result_value(self, value: datetime | None, dialect: Dialect) -> datetime | None:  # noqa: ARG002
        """From the database."""
        return value and (value.replace(tzinfo=UTC) if value.tzinfo is None else value.astimezone(UTC))


class LastNumberRow(Base):
    """The last number that was given to a row of a table: kept for SQLite, see `next_number`."""

    __tablename__ = "last_number"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)  # of the table
    number: Mapped[int]


class LeaseRow(Base):
    """Who runs a job that one process at a time may run, and until when; or which hold was seen, see `Hold`."""

    __tablename__ = "lease"

    name: Mapped[str] = mapped_column(String(40), primary_key=True)
    holder: Mapped[str] = mapped_column(String(80))
    until: Mapped[datetime] = mapped_column(Moment)


class Database:
    """An engine and its sessions; make it with `Database.open`."""

    def __init__(self, engine: Engine) -> None:
        self.engine = engine

    @classmethod
    def open(cls, settings: Settings) -> Database:
        """The database of a home, with today's tables.

        DatabaseError: it cannot be reached, its URL is none, the home is none, or a newer Foveal made its tables.
        """
        url = settings.database_url
        if url.startswith("sqlite"):
            try:
                make_home(settings.home)
            except OSError as error:
                raise DatabaseError(
                    f"The home {settings.home} cannot be made ({error.strerror}). Name a folder that you may write to."
                ) from error
        try:
            if make_url(url).get_backend_name() not in ("sqlite", "postgresql"):
                raise exc.ArgumentError("no SQLite, and no PostgreSQL")
            engine = engine_of(url)
        except (exc.ArgumentError, ModuleNotFoundError, ValueError) as error:  # no driver; a port that is no number
            got = re.sub("//.*@", "//***@", settings.database)  # nobody's password is told
            raise DatabaseError(
                f"The setting database got {got!r}; it needs 'sqlite', or a URL such as "
                "postgresql://user:password@host/name."
            ) from error
        try:
            upgrade(engine)
        except (exc.OperationalError, exc.DatabaseError) as error:
            raise DatabaseError(
                f"The database {shown(url)} cannot be opened ({error.orig}). Check that it is there and that this "
                "user may write to it, or change the setting database."
            ) from error
        return cls(engine)

    @contextmanager
    def reading(self) -> Iterator[Session]:
        """A transaction that writes nothing."""
        engine = self.engine
        if engine.dialect.name == "postgresql":  # whose statements see each another state, unless asked
            engine = engine.execution_options(isolation_level="REPEATABLE READ")
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    @contextmanager
    def writing(self) -> Iterator[Session]:
        """A transaction; what it loaded stays readable afterwards. Keep it short: nothing is fetched inside one."""
        engine = self.engine.execution_options(writes=True)
        with Session(engine, expire_on_commit=False) as session, session.begin():
            yield session

    def close(self) -> None:
        """Close all connections."""
        self.engine.dispose()


def add_unless_taken(session: Session, row: Base) -> bool:
    """Add a row; False where its key is taken by now, as another process or request was quicker. The rest holds."""
    try:
        with session.begin_nested():
            session.add(row)
    except exc.IntegrityError as error:
        if not _is_taken(error):
            raise
        return False
    return True


def _is_taken(error: exc.IntegrityError) -> bool:
    """Whether a key is there already; other constraints are broken by a mistake, or by what is gone."""
    told = getattr(error.orig, "sqlite_errorname", None) or getattr(error.orig, "sqlstate", None)
    return told in TAKEN


def next_number(session: Session, row: InstrumentedAttribute[int]) -> int | None:
    """The number of a new row, `row` being the column, which no row had before; None: the database sees to it.

    SQLite counts on from the largest that is there: a link to what was deleted would show what is somebody else's.
    """
    last = keep_numbers(session, row)
    if last is None:
        return None
    last.number += 1
    return last.number


def keep_numbers(session: Session, row: InstrumentedAttribute[int]) -> LastNumberRow | None:
    """See that `next_number` gives none up to the largest that is there, whoever gave it; for before rows go.

    The last number, with what was noted of it before; None: the database sees to it.
    """
    if session.get_bind().dialect.name != "sqlite":
        return None
    name = row.class_.__tablename__
    last = session.get(LastNumberRow, name)
    if last is None:
        last = LastNumberRow(name=name, number=0)
        session.add(last)
    last.number = max(last.number, session.scalar(select(func.max(row))) or 0)
    return last


def rows_changed(session: Session, statement: Executable) -> int:
    """Carry out an update or a delete, and say how many rows it changed."""
    return cast("CursorResult[Any]", session.execute(statement)).rowcount


def storable_text(text: str) -> str:
    """A text as every database takes it: no NUL, no half of a character."""
    return text.replace("\x00", "").encode("utf-8", "replace").decode()


def storable_json(value: object) -> str:
    """A value as a text of JSON that every database takes."""
    return storable_text(json.dumps(value, ensure_ascii=False))


def engine_of(url: str) -> Engine:
    """An engine with what we want of its database set on each connection. MissingExtra: no driver for PostgreSQL."""
    if url.startswith("postgresql+psycopg"):
        from foveal.registry import require

        require("psycopg", extra="postgres")
    if not url.startswith("sqlite"):
        seconds = {"connect_timeout": CONNECT_S} if "psycopg" in url else {}
        served = create_engine(url, pool_pre_ping=True, pool_timeout=CONNECT_S, connect_args=seconds)
        event.listen(served, "handle_error", _unfit)
        return served
    engine = create_engine(url, connect_args={"timeout": BUSY_S})
    event.listen(engine, "handle_error", _unfit)
    event.listen(engine, "connect", _sqlite_connection)
    event.listen(engine, "begin", _sqlite_begin)
    return engine


def upgrade(engine: Engine, revision: str = "head") -> None:
    """Bring the tables to `revision`. DatabaseError: they are newer than this Foveal."""
    if revision == "head" and _is_newest(engine):
        return  # nearly always: Alembic need not be imported, nor its scripts be read
    from alembic import command
    from alembic.config import Config
    from alembic.runtime.migration import MigrationContext
    from alembic.script import ScriptDirectory

    config = Config()
    config.set_main_option("script_location", str(MIGRATIONS).replace("%", "%%"))
    scripts = ScriptDirectory.from_config(config)

    def is_there(connection: Connection) -> bool:
        current = MigrationContext.configure(connection).get_current_revision()
        if current is not None and current not in {script.revision for script in scripts.walk_revisions()}:
            raise DatabaseError(
                f"The database {shown(str(engine.url))} was made by a newer Foveal (its tables are {current}). "
                "Install that one, or use another home."
            )
        return revision == "head" and current is not None and current == scripts.get_current_head()

    with engine.connect() as connection:
        if is_there(connection):
            return
    with engine.execution_options(writes=True).begin() as connection:  # of processes that start at once one migrates
        if engine.dialect.name == "postgresql":
            connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({MIGRATING})")
        if not is_there(connection):
            config.attributes["connection"] = connection
            command.upgrade(config, revision)


def _is_newest(engine: Engine) -> bool:
    newest = max(one.name for one in (MIGRATIONS / "versions").glob("[0-9]*.py")).partition("_")[0]
    with engine.connect() as connection:
        if not inspect(connection).has_table("alembic_version"):
            return False
        return connection.exec_driver_sql("SELECT version_num FROM alembic_version").scalars().all() == [newest]


def new_holder() -> str:
    """A name for this process, or a part of it, as a holder: machine, process, something random."""
    return f"{socket.gethostname()[:50]}/{os.getpid()}/{secrets.token_hex(4)}"


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


@dataclass(frozen=True)
class Hold:
    """A row that a process said to hold until a time of its own clock, as all that hold, jobs and leases do.

    Clocks of machines differ. What is held for longer than a clock that is right could say may be a dead process's:
    it is nobody's once it stood for `seconds` as it was first seen; not at once, as that process may be alive, and two
    would do one job. What was seen is noted in the table `lease`: all processes know, also one that has just begun;
    by the server's clock where there is one, since clocks of those who look differ, too.
    """

    key: str  # of the row, with what it is: "run 5f…"
    holder: str  # "": nobody
    until: datetime | None
    seconds: float  # that a hold lasts, unless it is said anew
    now: datetime = field(default_factory=faults.now)  # by the clock of who looks

    @property
    def is_ahead(self) -> bool:
        """Whether no clock that is right could have said so."""
        most = self.now + timedelta(seconds=2 * self.seconds)
        return self.until is not None and self.until > most and self._is_on

    def lasts(self, session: Session) -> bool:
        """Whether a process has the row that may be alive; `session` writes: what is ahead is noted where it is new."""
        if not self.is_ahead:
            return self._is_on
        name = f"seen {sha256(self.key.encode()).hexdigest()[:32]}"
        seen = sha256(f"{self.holder} {self.until and self.until.isoformat()}".encode()).hexdigest()
        now = served_now(session) or self.now
        note, free_at = session.get(LeaseRow, name), now + timedelta(seconds=self.seconds)
        if note is not None and note.holder == seen and note.until <= free_at:
            return note.until > now
        if note is not None:
            note.holder, note.until = seen, free_at
        elif add_unless_taken(session, LeaseRow(name=name, holder=seen, until=free_at)):
            old = now - timedelta(days=NOTED_DAYS)
            session.execute(delete(LeaseRow).where(LeaseRow.name.startswith("seen "), LeaseRow.until < old))
        return True

    def lasts_in(self, database: Database) -> bool:
        """The same for who only looks: nothing is written where clocks agree."""
        if not self.is_ahead:
            return self._is_on
        with database.writing() as session:
            return self.lasts(session)

    @property
    def advice(self) -> str:
        """What to do about a hold that is ahead, to be put behind an error; "" where clocks agree."""
        if not self.is_ahead:
            return ""
        return (
            f" It is held until {self.until:%Y-%m-%d} by {self.holder}, whose clock is ahead of this one's: if that "
            f"process is dead, it is free {self.seconds:.0f} s after it was first seen. Try again then, and set the "
            "clocks."
        )

    @property
    def _is_on(self) -> bool:
        return bool(self.holder) and self.until is not None and self.until > self.now and not is_dead(self.holder)


def served_now(session: Session) -> datetime | None:
    """Now by the clock of the database's server; None: it has none."""
    if session.get_bind().dialect.name == "sqlite":
        return None
    return session.scalar(select(func.clock_timestamp()))


def shown(url: str) -> str:
    """A database's URL without its password."""
    return make_url(url).render_as_string(hide_password=True)


def _unfit(failure: ExceptionContext) -> None:
    """Say of a value that no column takes what is wrong with it: drivers raise what is no database's error."""
    if isinstance(failure.original_exception, OverflowError):
        raise InputError(f"A number is too large for the database. Give one of at most {2**63 - 1:,}.")
    if isinstance(failure.original_exception, UnicodeEncodeError):
        raise InputError(
            "A text for the database holds half of a surrogate pair, which is no character. Type it anew, or decode "
            "its bytes anew."
        )
    if isinstance(failure.sqlalchemy_exception, exc.DataError):
        said = str(failure.original_exception)[:200]
        raise InputError(f"The database does not take a value that was given ({said}). Give another one.")


def _sqlite_connection(connection: Any, _: Any) -> None:
    connection.isolation_level = None  # BEGIN is ours: the driver would begin late, and deadlock two writers
    _write_ahead(connection)
    for pragma in ("synchronous = NORMAL", "foreign_keys = ON"):
        connection.execute(f"PRAGMA {pragma}")


def _write_ahead(connection: Any) -> None:
    """WAL; of several that open a new file at once SQLite refuses some here, and lets nobody wait."""
    until = time.monotonic() + BUSY_S
    while True:
        try:
            connection.execute("PRAGMA journal_mode = WAL")
            return
        except sqlite3.OperationalError as error:
            if "locked" not in str(error) or time.monotonic() > until:
                raise
            time.sleep(0.01)


def _sqlite_begin(connection: Connection) -> None:
    # one that reads and then writes would fail at once when another wrote between, whatever the timeout
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
