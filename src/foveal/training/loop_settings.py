"""How a model is trained: what `foveal.training.loop` and what watches over it are told."""

from __future__ import annotations

import math
from dataclasses import dataclass

from foveal.errors import InputError


@dataclass(frozen=True, kw_only=True)
class LoopSettings:
    """How a model is trained; checked when made."""

    epochs: float = 3.0
    steps: int | None = None  # instead of epochs
    batch: int = 32
    learning_rate: float = 2e-5  # of AdamW; rises over `warm_up`, then falls to 0 in a line
    warm_up: float = 0.1  # share of the steps
    weight_decay: float = 0.0
    seed: int = 0
    evaluate_every: int | None = None  # steps; None: an epoch
    checkpoint_every: int | None = None  # steps; None: with each evaluation
    patience: int | None = None  # evaluations without a better one after which training stops
    bfloat16: bool = False  # mixed precision (see precision.py); losses, and what is measured, stay in float32

    def __post_init__(self) -> None:
        for name in ("epochs", "batch", "learning_rate", "steps", "evaluate_every", "checkpoint_every", "patience"):
            value = getattr(self, name)
            if value is not None and not 0 < value < math.inf:
                raise InputError(f"A training got {name} = {value}; it needs a number above 0.")
        if not 0 <= self.weight_decay < math.inf or not 0 <= self.seed < 2**32:  # NumPy takes no other seeds
            raise InputError(
                f"A training got weight_decay = {self.weight_decay}, seed = {self.seed}; they need 0 or more, and 0 to "
                f"{2**32 - 1}."
            )
        if not 0 <= self.warm_up < 1:
            raise InputError(f"A training got warm_up = {self.warm_up}; it needs a share of the steps, 0 to below 1.")
