"""Which layers and heads of a model are meant: numbers as a caller has them (a range, an array, a generator), checked.

layers_of(numpy.arange(2, 22))          frozenset of int; a generator is gone through once, here
heads_of({9: torch.tensor([8, 13])})    {9: (8, 13)}
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from operator import index
from typing import Any

from foveal.attention.decoders import told
from foveal.errors import InputError


def layers_of(layers: Iterable[int] | None) -> frozenset[int] | None:
    """The layers as a set. InputError: they are no whole numbers."""
    try:
        return None if layers is None else frozenset(map(index, layers))
    except TypeError as error:
        raise InputError(f"Layers came as {layers!r}; they are whole numbers, such as [1] or range(2, 22).") from error


def heads_of(heads: Mapping[int, Iterable[int] | None] | None) -> dict[int, tuple[int, ...] | None] | None:
    """Layer -> its heads, None where a layer means all of them. InputError: this is no such mapping."""
    if heads is None:
        return None
    try:
        return {index(layer): None if of is None else tuple(map(index, of)) for layer, of in heads.items()}
    except (AttributeError, TypeError) as error:
        raise InputError(f"Heads came as {heads!r}; they are named by layer, such as {{9: [8, 13]}}.") from error


def check_choice(
    config: Any, layers: Iterable[int] | None, heads: Mapping[int, Iterable[int] | None] | None = None
) -> None:
    """InputError: layers or heads that a model of this configuration does not have."""
    named = [*(layers or ()), *(heads or ())]
    chosen = [head for of_layer in (heads or {}).values() for head in of_layer or ()]
    _within(named, "Layers", "the model", config, "num_hidden_layers")
    _within(chosen, "Heads", "a layer", config, "num_attention_heads")


def _within(named: list[int], what: str, where: str, config: Any, count: str) -> None:
    if named and (min(named) < 0 or max(named) >= told(config, count)):
        raise InputError(f"{what} {sorted(named)} were chosen; {where} has 0 to {told(config, count) - 1}.")
