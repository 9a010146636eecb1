"""A PostgreSQL server of the tests' own, from a wheel, and an empty database in it."""

from __future__ import annotations

import tempfile
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from sqlalchemy import create_engine, inspect, make_url, text

from foveal.database import engine_of, upgrade
from foveal.errors import DatabaseError

UNSYNCED = (*(f"ALTER SYSTEM SET {name} = off" for name in ("fsync", "synchronous_commit", "full_page_writes")),
            "SELECT pg_reload_conf()")  # fmt: skip
"""The server dies with the tests: nothing need outlive a power cut."""


@contextmanager
def postgres_server() -> Iterator[str]:
    """The address of a server that ends with the block.

    It lies outside of pytest's folders: another session that begins closes those to the server's user.
    """
    with warnings.catch_warnings():  # platformdirs asks for a folder that a server's user need not have
        warnings.simplefilter("ignore")
        import pgserver

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        server = pgserver.get_server(Path(folder) / "server", cleanup_mode="delete")
        _run(server.get_uri(), *UNSYNCED)
        try:
            yield server.get_uri()
        finally:
            server.cleanup()


def emptied(url: str) -> str:
    """The same address, once its database holds nothing."""
    _run(url, "DROP SCHEMA public CASCADE", "CREATE SCHEMA public")
    return url


def with_tables(url: str) -> str:
    """The same address, once its database has today's tables and nothing in them: made anew they take longer than most
    tests, so they are emptied.
    """
    engine = engine_of(_driven(url))
    try:
        upgrade(engine)
    except DatabaseError:  # a test made them those of a newer Foveal
        emptied(url)
        upgrade(engine)
    with engine.begin() as connection:
        tables = ", ".join(f'"{one}"' for one in inspect(connection).get_table_names() if one != "alembic_version")
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    engine.dispose()
    return url


def another(url: str, name: str) -> str:
    """The address of a new database on the same server."""
    _run(url, f'CREATE DATABASE "{name}"')
    return make_url(url).set(database=name).render_as_string(hide_password=False)


def _run(url: str, *statements: str) -> None:
    engine = create_engine(_driven(url), isolation_level="AUTOCOMMIT")
    with engine.connect() as connection:
        for statement in statements:
            connection.execute(text(statement))
    engine.dispose()


def _driven(url: str) -> str:
    return url.replace("postgresql://", "postgresql+psycopg://")
