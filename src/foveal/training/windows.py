"""Windows of a long text, for next-token training: each begins anywhere, as the seed and its number say.

    rows = Windows(tokens, 512, seed=0)                          # tokens (N,) -> rows[n] (512,)
    Job(model, rows, loss, collate=collate, plan=batches_of(rows, batch, seed))

Every epoch has windows of its own, so that a run may be as long as it likes, and each is a function of its number
alone, so that one that was broken off goes on with the same.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch

from foveal.training.examples import shuffled_anew

if TYPE_CHECKING:
    from torch import Tensor, nn

OWN = "_original_forward"
"""Where accelerate keeps a module's forward while another is in its place."""


@dataclass(frozen=True, eq=False)
class Windows:
    """Windows (length,) of tokens (N,)."""

    tokens: Tensor
    length: int
    seed: int

    def __len__(self) -> int:
        """Windows that the text fills."""
        return max(1, len(self.tokens) // self.length)

    def __getitem__(self, number: int) -> Tensor:
        return self.drawn(number)[0]

    def drawn(self, number: int) -> tuple[Tensor, np.random.Generator]:
        """The window of this number, and the generator that drew its place, for what else is drawn for it."""
        draw = np.random.default_rng([self.seed, number])
        at = int(draw.integers(len(self.tokens) - self.length + 1))
        return self.tokens[at : at + self.length].long(), draw


def batches_of(rows: Windows, batch: int, seed: int) -> Callable[[int], list[list[int]]]:
    """A plan in which every epoch has windows of its own."""

    def plan(epoch: int) -> list[list[int]]:
        drawn = shuffled_anew(max(len(rows), batch), batch, seed, epoch=epoch)
        return [one for one in drawn if len(one) == batch]

    return plan


def collate(rows: Sequence[Tensor]) -> dict[str, Tensor]:
    """Windows side by side."""
    return {"ids": torch.stack(list(rows))}


def plain_again(module: nn.Module) -> None:
    """Take off what a training in mixed precision leaves around a module's forward: bfloat16 for ever.

    Accelerate's own way takes off what transformers wraps its forwards in, too.
    """
    own = module.__dict__.pop(OWN, None)
    if own is not None:
        module.__dict__.pop("forward", None)
        if own != module.forward:  # the module had one besides its class's
            module.forward = own


@contextmanager
def plainly(module: nn.Module) -> Iterator[None]:
    """Inside, a module that is trained in mixed precision computes as it will afterwards."""
    own, mixed = module.__dict__.get(OWN), module.__dict__.get("forward")
    if own is not None:
        module.forward = own
    try:
        yield
    finally:
        if own is not None and mixed is not None:
            module.forward = mixed
