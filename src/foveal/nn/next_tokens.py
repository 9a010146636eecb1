"""What language models share whatever their layers are: their output, their loss, and the choice of a next token.

A module of its own, so that a model that needs no more than these does not load all kinds of layers.

Shapes    logits (B, T, vocabulary); labels (B, T) are shifted inside, -100 is passed over
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor
from transformers.utils.generic import ModelOutput

from foveal.errors import InputError
from foveal.nn.states import StackState

IGNORED = -100


@dataclass
class LanguageOutput(ModelOutput):
    """What a model gives; `loss` with labels, `state` with keep_state."""

    loss: Tensor | None = None
    logits: Tensor | None = None
    state: StackState | None = None


def cross_entropy(logits: Tensor, labels: Tensor, mask: Tensor | None = None) -> Tensor:
    """Mean over the next tokens of labels (B, T), in float32; 0 where there is none to tell."""
    wanted = labels[:, 1:].long()
    if mask is not None:
        wanted = wanted.masked_fill(~mask[:, 1:], IGNORED)
    flat = logits[:, :-1].flatten(0, 1)
    flat = flat if flat.dtype == torch.float64 else flat.float()
    total = F.cross_entropy(flat, wanted.flatten(), ignore_index=IGNORED, reduction="sum")
    return total / (wanted != IGNORED).sum().clamp(min=1)


def drawn(logits: Tensor, temperature: float, top_k: int | None, generator: torch.Generator | None) -> Tensor:
    """A token (B,) for each row of logits (B, V)."""
    if not 0 <= temperature < math.inf or (top_k is not None and top_k < 1):
        raise InputError(f"Got temperature = {temperature}, top_k = {top_k}; they need 0 or more, and 1 or more.")
    if temperature == 0:
        return logits.argmax(-1)
    if top_k is not None:
        least = logits.topk(min(top_k, logits.shape[-1])).values[:, -1:]
        logits = logits.masked_fill(logits < least, -torch.inf)
    behind = logits.float() - logits.float().amax(-1, keepdim=True)  # of a cold draw no quotient may be infinite
    shares = (behind / temperature).softmax(-1)
    if generator is not None:  # a seed of the processor's serves logits of a GPU, too
        shares = shares.to(generator.device)
    return torch.multinomial(shares, 1, generator=generator)[:, 0].to(logits.device)
