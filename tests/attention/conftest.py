"""The tiny models, made once."""

from __future__ import annotations

import resource
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import torch
from tiny import KINDS, tiny

from foveal.models.language import LanguageModel
from foveal.models.lean import supports
from foveal.models.threads import with_threads


@pytest.fixture(autouse=True)
def _one_thread(request):
    """A tiny model is slower with two threads, and much slower where another process has one of the cores."""
    with with_threads(torch.get_num_threads() if request.node.get_closest_marker("model") else 1):
        yield


@pytest.fixture(scope="session")
def attention_models(tmp_path_factory) -> dict[str, LanguageModel]:
    return {kind: tiny(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(autouse=True)
def _left_as_they_were(request):
    """A hook or a switch that a test leaves on a model of all tests would change what later ones compute, and round."""
    yield
    if "attention_models" in request.fixturenames:
        changed = [kind for kind, one in request.getfixturevalue("attention_models").items() if not supports(one.model)]
        assert not changed, f"{request.node.name} left something on {changed}"


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(attention_models, kind):
    """The transformers model of `kind`."""
    return attention_models[kind].model


@pytest.fixture
def address_space_left():
    """A block in which this process may take no more than so many bytes beyond those that it has."""

    @contextmanager
    def left(count: int) -> Iterator[None]:
        before = resource.getrlimit(resource.RLIMIT_AS)
        pages = Path("/proc/self/statm")
        if not pages.is_file():
            pytest.skip("what a process has is not told here")
        has = int(pages.read_text().split()[0]) * resource.getpagesize()
        resource.setrlimit(resource.RLIMIT_AS, (has + count, before[1]))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_AS, before)

    return left
