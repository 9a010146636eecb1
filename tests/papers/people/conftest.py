"""Databases for the tests of people: `database` is SQLite; `both` is that and a real PostgreSQL.

The tables are made once; each test gets a copy of the file, or emptied tables.
"""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from members import with_papers
from postgres import another
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
def postgres_database(postgres: str, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Database]:
    """A database of its own: tables are emptied between tests, which is faster than making them."""
    home = tmp_path_factory.mktemp("people")
    opened = Database.open(Settings(home=home, cache=home, database=another(postgres, "people")))
    yield opened
    opened.close()


@pytest.fixture(params=["sqlite", "postgres"])
def both(request: pytest.FixtureRequest) -> Database:
    if request.param == "sqlite":
        return request.getfixturevalue("database")  # type: ignore[no-any-return]
    opened: Database = request.getfixturevalue("postgres_database")
    tables = ", ".join(f'"{table.name}"' for table in Base.metadata.sorted_tables)
    with opened.engine.begin() as connection:
        connection.execute(text(f"TRUNCATE {tables} RESTART IDENTITY CASCADE"))
    return with_papers(opened)
