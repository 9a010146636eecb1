"""What a stream's layer computes, forward and back, grows as its text does: counted in numbers made, not in seconds."""

from __future__ import annotations

from typing import Any

import pytest
import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from foveal.nn.language_training import LanguageSize, config_of, made

SIZE = LanguageSize(layers=1, width=16, heads=2, window=16)


class Made(TorchDispatchMode):
    """Counts the numbers that operations give; views give none."""

    numbers = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        given = func(*args, **(kwargs or {}))
        if not func.is_view:
            self.numbers += sum(one.numel() for one in tree_leaves(given) if isinstance(one, torch.Tensor))
        return given


def work(model: torch.nn.Module, tokens: int) -> int:
    ids = torch.randint(31, (1, tokens), generator=torch.Generator().manual_seed(0))
    with Made() as made_numbers:
        model(ids, labels=ids).loss.backward()
    return made_numbers.numbers


@pytest.mark.parametrize("name", ["lmm", "mac", "mag", "mal", "aaren", "delta", "gru", "window", "routing"])
def test_twice_the_text_is_twice_the_work(name):
    """Gradients of parts that are cut out one by one would each be as long as the text: 2.8 times for twice as much."""
    model = made(config_of(name, SIZE, vocabulary=31), 0).train()
    assert work(model, 1024) <= 2.06 * work(model, 512)


def test_it_would_be_seen():
    class Cutting(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.embed = torch.nn.Embedding(31, 16)

        def forward(self, ids: torch.Tensor, labels: torch.Tensor) -> Any:
            x = self.embed(ids)
            parts = [x[:, at : at + 8].square() for at in range(0, labels.shape[1], 8)]
            return type("Output", (), {"loss": torch.cat(parts, 1).sum()})

    assert work(Cutting(), 1024) > 2.5 * work(Cutting(), 512)
