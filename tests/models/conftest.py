"""The real MiniLM: the folder that its wheel unpacks to, and its encoder in float32; and a server of chat models."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
import torch
from servers import Route, Server, serving

from foveal.models import OFFLINE, remote
from foveal.models.bert import BertEncoder
from foveal.models.offline import unpacked
from foveal.settings import Settings


@pytest.fixture(scope="module")
def folder():
    return unpacked(OFFLINE["minilm"], Settings.load().cache)


@pytest.fixture(scope="module")
def exact(folder):
    return BertEncoder(folder, dtype=torch.float32)


@pytest.fixture
def no_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """No key of whoever runs this, and hardly a wait before a call is tried again."""
    for name in ("FOVEAL_CHAT_KEY", "OPENAI_API_KEY"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setattr(remote, "FIRST_WAIT_S", 0.01)


@pytest.fixture
def routes() -> dict[str, Route]:
    return {}


@pytest.fixture
def server(routes) -> Iterator[Server]:
    with serving(routes) as one:
        yield one
