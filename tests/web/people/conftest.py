"""A site over a database with two papers, copied for each test."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import pytest
from fastapi import FastAPI
from members import with_papers
from visitors import Outbox, Visitor

from foveal.database import Database
from foveal.settings import Settings
from foveal.web.app import create_app
from foveal.web.site import SiteSettings


@pytest.fixture(scope="session")
def filled_site(tmp_path_factory: pytest.TempPathFactory) -> Path:
    home = tmp_path_factory.mktemp("filled-site")
    with_papers(Database.open(Settings(home=home, cache=home))).close()
    return home / "foveal.db"


@pytest.fixture
def app(filled_site: Path, tmp_path: Path) -> Iterator[FastAPI]:
    shutil.copy(filled_site, tmp_path / "foveal.db")
    made = create_app(Settings(home=tmp_path, cache=tmp_path), SiteSettings(title="Foveal"))
    made.state.site.deliver = Outbox()
    yield made
    made.state.site.close()


@pytest.fixture
def database(app: FastAPI) -> Database:
    return app.state.site.database  # type: ignore[no-any-return]


@pytest.fixture
def outbox(app: FastAPI) -> Outbox:
    return app.state.site.deliver  # type: ignore[no-any-return]


@pytest.fixture
def visitor(app: FastAPI) -> Visitor:
    return Visitor(app)
