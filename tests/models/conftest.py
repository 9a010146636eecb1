"""The real MiniLM: the folder that its wheel unpacks to, and its encoder in float32."""

from __future__ import annotations

import pytest
import torch

from foveal.models import OFFLINE
from foveal.models.bert import BertEncoder
from foveal.models.offline import unpacked
from foveal.settings import Settings


@pytest.fixture(scope="module")
def folder():
    return unpacked(OFFLINE["minilm"], Settings.load().cache)


@pytest.fixture(scope="module")
def exact(folder):
    return BertEncoder(folder, dtype=torch.float32)
