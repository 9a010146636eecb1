"""What tests of papers share."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from postgres import postgres_server

from foveal.database import Database
from foveal.settings import Settings


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server; `postgres.emptied` makes its database new."""
    with postgres_server() as url:
        yield url


@pytest.fixture
def database(tmp_path: Path) -> Iterator[Database]:
    """An empty database of a home of its own; a module that asks both kinds of database has one of its own."""
    opened = Database.open(Settings(home=tmp_path, cache=tmp_path))
    yield opened
    opened.close()
