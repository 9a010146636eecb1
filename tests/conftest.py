"""What all tests share: a home and a cache of their own, never the user's."""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from quicker import Unseen, one_migration, one_tree

from foveal.settings import Settings

if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:  # a suite in the background of a shell; children inherit it
    signal.signal(signal.SIGINT, signal.default_int_handler)

settings.register_profile(
    "foveal", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True, max_examples=50
)
settings.load_profile("foveal")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the pages in a browser: their files take longest, and no process is to wait for the last of them."""
    items.sort(key=lambda item: ("/test_browser_" not in item.nodeid, "/web/" not in item.nodeid))


@pytest.fixture(autouse=True, scope="session")
def _own_folders(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """Keep the user's library out of the tests. The unpacked models' cache is shared: making it takes a while."""
    before = {name: os.environ.get(name) for name in ("FOVEAL_HOME", "FOVEAL_FAULTS")}
    os.environ["FOVEAL_HOME"] = str(tmp_path_factory.mktemp("home"))
    os.environ.pop("FOVEAL_FAULTS", None)
    yield
    for name, value in before.items():
        os.environ.pop(name, None) if value is None else os.environ.update({name: value})


@pytest.fixture(autouse=True, scope="session")
def _once(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What need not be made for each test."""
    with pytest.MonkeyPatch.context() as patch:
        one_tree(patch)
        one_migration(patch, tmp_path_factory.mktemp("tables"))
        yield


unseen = Unseen()


def pytest_runtest_setup(item: pytest.Item) -> None:
    """Before each test."""
    unseen.at(item.nodeid.partition("::")[0])


@pytest.fixture(autouse=True)
def _same_draws() -> None:
    """A test draws the same numbers each time, whatever ran before it."""
    random.seed(0)
    if "numpy" in sys.modules:
        sys.modules["numpy"].random.seed(0)
    if "torch" in sys.modules:
        sys.modules["torch"].manual_seed(0)


@pytest.fixture
def own_settings(tmp_path: Path) -> Settings:
    """Settings of a home that is this test's."""
    return Settings(home=tmp_path / "home", cache=Settings.load().cache)


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Curves are not drawn: half the time of a small training, and test_report draws them."""
    monkeypatch.setattr("foveal.training.report.picture", lambda _, path, **__: path)


@pytest.fixture
def own_clock(monkeypatch: pytest.MonkeyPatch) -> None:
    """A server's clock goes as that of who asks, whom a test moves."""
    monkeypatch.setattr("foveal.database.served_now", lambda _: None)
