"""How a model is trained: what `foveal.training.loop` and what watches over it are told."""

from __future__ import annotations

import json
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

from foveal.ranges import BELOW_ONE, COUNT, EPOCHS, NOT_NEGATIVE, RATE, SEED, require_settings

if TYPE_CHECKING:
    from _typeshed import DataclassInstance


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
        require_settings(
            "A training", self, epochs=EPOCHS, steps=COUNT, batch=COUNT, learning_rate=RATE, warm_up=BELOW_ONE,
            weight_decay=NOT_NEGATIVE, seed=SEED, evaluate_every=COUNT, checkpoint_every=COUNT, patience=COUNT,
        )  # fmt: skip


def without_loop(settings: DataclassInstance) -> str:
    """Settings as JSON but for those of the loop, which a run is known by in their own right (`loop.identity`)."""
    return json.dumps({name: value for name, value in asdict(settings).items() if name != "loop"})
