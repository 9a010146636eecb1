"""Databases for the tests of people: `database` is SQLite; `both` is that and a real PostgreSQL.

The tables are made once; each test gets a copy of the file, or emptied tables.
"""

from __future__ import annotations

import shutil
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path

import pytest
from members import with_papers
from sqlalchemy import text

from foveal.database import Base, Database
from foveal.settings import Settings


@pytest.fixture(scope="session")
def filled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A database with papers, to be copied."""
    home = tmp_path_factory.mktemp("filled")
    made = with_papers(Database.open(Settings(home=home, cache=home)))
    made.close()  # the last connection leaves one file
    return home / "foveal.db"


@pytest.fixture
def database(filled: Path, tmp_path: Path) -> Iterator[Database]:
    shutil.copy(filled, tmp_path / "foveal.db")
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    yield opened
    opened.close()


@pytest.fixture(scope="session")
def postgres_database() -> Iterator[Database]:
    """Outside of pytest's folders: another pytest that starts takes the server's user the way to them."""
    with warnings.catch_warnings():  # platformdirs asks for a folder that a server's user need not have
        warnings.simplefilter("ignore")
        import pgserver

    with tempfile.TemporaryDirectory(ignore_cleanup_errors=True) as folder:
        home = Path(folder)
        server = pgserver.get_server(home / "server", cleanup_mode="delete")
        opened = Database.open(Settings(home=home, cache=home, database=server.get_uri()))
        try:
            yield opened
        finally:
            opened.close()
            server.cleanup()


@pytest.fixture(params=["sqlite", "postgres"])
def both(request: pytest.FixtureRequest) -> Database:
    if request.param == "sqlite":
        return request.getfixturevalue("database")  # type: ignore[no-any-return]
    opened: Database = request.getfixturevalue("postgres_database")
    tables = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
    with opened.engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    return with_papers(opened)
