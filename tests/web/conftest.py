"""What tests of the web app share."""

from __future__ import annotations

from collections.abc import Iterator
from importlib.util import find_spec

import pytest
from postgres import postgres_server


@pytest.fixture(autouse=True)
def unsettled(monkeypatch: pytest.MonkeyPatch) -> None:
    """An app in this process leaves the garbage collector alone: it would walk all that the other tests have loaded."""
    monkeypatch.setattr("foveal.web.app.settle", lambda: None)


@pytest.fixture(scope="module", autouse=True)
def patient(request: pytest.FixtureRequest) -> None:
    """What a page is expected to show may take as long as a click: a busy machine needs more than five seconds."""
    if "browser" in request.module.__name__ and find_spec("playwright"):
        from playwright.sync_api import expect

        expect.set_options(timeout=40_000)


@pytest.fixture(scope="session")
def postgres() -> Iterator[str]:
    """The address of a PostgreSQL server; `postgres.emptied` makes its database new."""
    with postgres_server() as url:
        yield url
