"""LoRA: a linear layer learns a change of low rank, W + (alpha / rank) B A, and its own weights stay as they are
(Hu et al., ICLR 2022, arXiv 2106.09685).

    learned = add_low_rank(model, rank=16, layers=range(15))     # what an optimiser is given
    merge_low_rank(model)                                        # plain linear layers again, the change added in

Shapes    W (out, in), A (rank, in), B (out, rank); B begins at zero, so that nothing changes at first
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterator
from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError

TARGETS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")
"""The linear layers of a decoder's layer, as Llama and its kin call them."""


class LowRank(nn.Module):
    """The change of one layer."""

    def __init__(self, layer: nn.Linear, rank: int, alpha: float, generator: torch.Generator) -> None:
        super().__init__()
        bound = 1 / math.sqrt(layer.in_features)
        drawn = (torch.rand(rank, layer.in_features, generator=generator) * 2 - 1) * bound
        self.a = nn.Parameter(drawn.to(layer.weight))
        self.b = nn.Parameter(layer.weight.new_zeros(layer.out_features, rank))
        self.scale = alpha / rank

    def forward(self, x: Tensor) -> Tensor:
        """x (…, in) -> (…, out)."""
        return nn.functional.linear(nn.functional.linear(x, self.a), self.b) * self.scale


class LowRankLinear(nn.Linear):
    """A linear layer and its change. It holds the layer's own weights, and gives the layer back by `merged`."""

    def __init__(self, base: nn.Linear, change: LowRank) -> None:
        nn.Module.__init__(self)
        self.in_features, self.out_features = base.in_features, base.out_features
        self.weight, self.bias = base.weight, base.bias
        self.change = change
        self._base = (base,)  # in a tuple, so that its weights are not listed twice

    def forward(self, input: Tensor) -> Tensor:  # noqa: A002 (as nn.Linear calls it)
        """x (…, in) -> (…, out)."""
        changed: Tensor = super().forward(input) + self.change(input)
        return changed

    @torch.no_grad()
    def merged(self) -> nn.Linear:
        """The layer, with the change added to its weights."""
        added = self.change.scale * (self.change.b.float() @ self.change.a.float())
        self.weight += added.to(self.weight.dtype)
        return self._base[0]


def add_low_rank(
    model: nn.Module,
    *,
    rank: int = 16,
    alpha: float = 32.0,
    layers: Collection[int] | None = None,
    targets: Collection[str] = TARGETS,
    seed: int = 0,
) -> nn.ModuleDict:
    """Give the linear layers called `targets` in those decoder `layers` (None: in all) a change, and freeze all else.

    The changes alone, by name, are what is learned and saved. InputError: there is no such linear layer.
    """
    if rank < 1 or alpha <= 0:
        raise InputError(f"LoRA got rank={rank} and alpha={alpha}; it needs a rank of at least 1 and an alpha above 0.")
    found = list(_linear(model, layers, targets))
    if not found:
        raise InputError(
            f"{type(model).__name__} has no linear layers called {', '.join(targets)} in the layers asked for. Name "
            "its own as targets, or train its layers whole."
        )
    model.requires_grad_(False)
    generator = torch.Generator().manual_seed(seed)
    learned = nn.ModuleDict()
    for name, parent, child in found:
        linear = getattr(parent, child)
        change = LowRank(linear, rank, alpha, generator)
        setattr(parent, child, LowRankLinear(linear, change))
        learned[name.replace(".", "-")] = change
    return learned


def merge_low_rank(model: nn.Module) -> None:
    """Add every change to its layer's weights, and put the plain layers back."""
    for parent in list(model.modules()):
        for child, module in list(parent.named_children()):
            if isinstance(module, LowRankLinear):
                setattr(parent, child, module.merged())


def decoder_layers(model: Any) -> nn.ModuleList:
    """The layers of a decoder, in order. InputError: there is no one list of them."""
    count = model.config.get_text_config().num_hidden_layers
    found = [module for module in model.modules() if isinstance(module, nn.ModuleList) and len(module) == count]
    if not found:
        raise InputError(f"{type(model).__name__} holds no list of its {count} layers. Train it whole.")
    return found[0]


def _linear(
    model: nn.Module, layers: Collection[int] | None, targets: Collection[str]
) -> Iterator[tuple[str, nn.Module, str]]:
    """Name, parent and own name of each of these linear layers."""
    for number, layer in enumerate(decoder_layers(model)):
        if layers is not None and number not in layers:
            continue
        for name, parent in layer.named_modules():
            for child, module in parent.named_children():
                if child in targets and isinstance(module, nn.Linear):
                    yield f"{number}.{name}.{child}", parent, child
