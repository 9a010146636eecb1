"""What both trainings of a LexSemBridge lose: by candidates, and by the tokens that a text has."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor
from torch.nn.functional import cross_entropy

from foveal.models.lexsembridge import Bridge, Reading

Batch = Mapping[str, Tensor]


def info_nce(
    queries: Tensor, candidates: Tensor, targets: Tensor, *, temperature: float, allowed: Tensor | None = None
) -> Tensor:
    """Mean of -log softmax at `targets` (B,) of products of (B, d) and (C, d), of which `allowed` (B, C) count."""
    scores = queries @ candidates.T / temperature
    return cross_entropy(scores if allowed is None else scores.masked_fill(~allowed, -torch.inf), targets)


def own_only(rows: int, group: int) -> Tensor:
    """(rows, rows · group): which candidates are of the query's own row."""
    return torch.arange(rows * group)[None] // group == torch.arange(rows)[:, None]


def presence_loss(bridge: Bridge, reading: Reading) -> Tensor:
    """Mean -log softmax of the head's logits at a text's own tokens: a fresh head learns so from texts alone."""
    if bridge.head is None or reading.first is None:
        return reading.vectors.new_zeros(())
    there = (reading.ids >= 0) & ~torch.isin(reading.ids, bridge.ignored)
    said = torch.log_softmax(bridge.head(reading.first), dim=-1).gather(1, reading.ids.clamp(min=0))
    return -(said * there).sum() / there.sum().clamp(min=1)
