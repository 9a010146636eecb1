"""How each neural ranker learns best, as far as it was tried: what `NeuralSettings.of` starts from.

Chosen by MAP on the dev questions of WikiQA alone, among a few learning rates and losses with one seed. These models
are small and their word vectors mostly frozen, so that they want larger steps than large ones do.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any


@dataclass(frozen=True, kw_only=True)
class Recipe:
    """The fields of `NeuralSettings`, and the loop's learning rate."""

    learning_rate: float = 3e-3
    loss: str = "hinge"
    train_vectors: bool | None = None  # None: as the model has it
    sizes: Mapping[str, Any] = field(default_factory=dict)


RECIPES: dict[str, Recipe] = {
    "anmm": Recipe(learning_rate=1e-2),
    "drmm": Recipe(learning_rate=1e-2),
    "drmm-tks": Recipe(learning_rate=1e-2),
    "hint": Recipe(learning_rate=5e-3),
    "knrm": Recipe(learning_rate=1e-2, train_vectors=False),  # the paper trains them, on millions of clicks
}
"""Name -> recipe, where it is not the common one."""


def recipe(name: str) -> Recipe:
    """The recipe of the model called `name`."""
    return RECIPES.get(name, Recipe())
