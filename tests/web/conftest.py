"""What tests of the web app share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from postgres import postgres_server


@pytest.fixture(autouse=True)
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app in this process leaves the garbage collector alone: it would walk all that the other tests have loaded."""
    monkeypatch.setattr("foveal.web.app.settle", lambda: None)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server; `postgres.emptied` makes its database new."""
    with postgres_server() as url:
        yield url
