"""The tiny models, made once."""

from __future__ import annotations

import pytest
import torch
from tiny import KINDS, tiny

from foveal.models.language import LanguageModel
from foveal.models.threads import with_threads


@pytest.fixture(autouse=True)
def _one_thread(request):
    """A tiny model is slower with two threads, and much slower where another process has one of the cores."""
    with with_threads(torch.get_num_threads() if request.node.get_closest_marker("model") else 1):
        yield


@pytest.fixture(scope="session")
def attention_models(tmp_path_factory) -> dict[str, LanguageModel]:
    return {kind: tiny(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(params=KINDS)
def kind(request) -> str:
    return request.param


@pytest.fixture
def model(attention_models, kind):
    """The transformers model of `kind`."""
    return attention_models[kind].model
