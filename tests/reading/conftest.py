"""The tiny models, made once, and a long text with two facts in it."""

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
def reading_models(tmp_path_factory) -> dict[str, LanguageModel]:
    return {kind: tiny(kind, tmp_path_factory.mktemp(kind)) for kind in KINDS}


@pytest.fixture(scope="session")
def qwen(reading_models) -> LanguageModel:
    return reading_models["qwen"]


@pytest.fixture(params=KINDS)
def either(request, reading_models) -> LanguageModel:
    return reading_models[request.param]


@pytest.fixture(scope="session")
def bytewise(tmp_path_factory) -> LanguageModel:
    """A model whose tokens are bytes."""
    return tiny("qwen", tmp_path_factory.mktemp("bytewise"), merges=0)


@pytest.fixture(scope="session")
def story() -> str:
    """About 3,000 tokens of the tiny tokenizers."""
    lines = [f"The miller of house {n} counted {n * 7} sacks. It rained on day {n}!" for n in range(50)]
    lines[12] += " The keeper of the mill is Orsin Vale."
    lines[37] += "\n\nOrsin Vale rents a room above the bakery."
    return "\n".join(lines)
