"""Contrastive pre-training: two views of a text find each other among those of other texts.

Shapes    first, second (B, L) with masks -> vectors (B, D) -> {"loss"}; `item` (B,) the texts' numbers
Source    SimCSE: Gao et al., EMNLP 2021; ICT, BFS, WLP: Chang et al., ICLR 2020; the queue: MoCo, He et al., CVPR 2020;
          as used by Contriever: Izacard et al., TMLR 2022
Data      `pair_examples` and `crop_examples`
Against   PairContrast compares a batch with itself; MomentumContrast also with the vectors of earlier batches, which a
          slowly moving copy of the encoder made, so that a small batch still has many negatives
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, normalize

from foveal.errors import InputError


def info_nce(
    queries: Tensor, keys: Tensor, positives: Tensor, *, left_out: Tensor | None = None, temperature: float = 1.0
) -> Tensor:
    """Mean over rows of -log softmax(queries · keys / temperature)[positive], in float32.

    Queries (B, D), keys (N, D), positives (B,) the right key of each; `left_out` (B, N) bool: keys that do not count.
    """
    scores = queries.float() @ keys.float().T / temperature
    if left_out is not None:
        scores = scores.masked_fill(left_out, -torch.inf)
    return cross_entropy(scores, positives)


def _cls(hidden: Tensor, mask: Tensor) -> Tensor:  # noqa: ARG001
    return hidden[:, 0]


def _mean(hidden: Tensor, mask: Tensor) -> Tensor:
    weights = mask[..., None].to(hidden.dtype)
    return (hidden * weights).sum(1) / weights.sum(1).clamp(min=1)


POOLINGS = {"cls": _cls, "mean": _mean}


class PairContrast(nn.Module):
    """The second text of each pair is found by the first, among all second texts of the batch; cosines.

    With ICT's, BFS's and WLP's pairs it is their task; with twins it is SimCSE, whose two vectors differ by dropout.
    A second text that equals a row's own, or comes from the same text, is no negative of it.
    """

    def __init__(self, encoder: Any, *, pooling: str = "cls", temperature: float = 0.05) -> None:
        """`encoder`: any transformers encoder, taken as it is. InputError: no such pooling, a temperature of 0."""
        super().__init__()
        _check(pooling, temperature)
        self.encoder, self.pooling, self.temperature = encoder, pooling, temperature

    def forward(
        self, first: Tensor, first_mask: Tensor, second: Tensor, second_mask: Tensor, item: Tensor | None = None
    ) -> dict[str, Tensor]:
        queries = vectors(self.encoder, first, first_mask, self.pooling)
        keys = vectors(self.encoder, second, second_mask, self.pooling)
        same = (second[:, None] == second[None]).all(-1)
        if item is not None:
            same |= item[:, None] == item[None]
        own = torch.eye(len(first), dtype=torch.bool, device=first.device)
        positives = torch.arange(len(first), device=first.device)
        return {"loss": info_nce(queries, keys, positives, left_out=same & ~own, temperature=self.temperature)}


class MomentumContrast(nn.Module):
    """MoCo: keys come from a copy of the encoder that follows it, and queue up as negatives of later batches.

    The other keys of the batch are negatives, too (ours: the first batch has no queue). Keys of the same text are not.
    The queue and the copy are buffers and weights of the state dict: a checkpoint resumes with them. In eval mode
    nothing follows and nothing queues up.
    """

    def __init__(
        self,
        encoder: Any,
        *,
        pooling: str = "mean",
        temperature: float = 0.05,
        momentum: float = 0.999,  # share of the copy that stays at each step (Contriever: 0.9995)
        queue: int = 16_384,  # keys kept (Contriever: 131,072)
    ) -> None:
        super().__init__()
        _check(pooling, temperature)
        if not 0 <= momentum < 1 or queue < 1:
            raise InputError(f"MoCo got momentum={momentum}, queue={queue}; it needs 0 <= momentum < 1 and room.")
        self.encoder, self.follower = encoder, copy.deepcopy(encoder).requires_grad_(False)
        self.pooling, self.temperature, self.momentum = pooling, temperature, momentum
        self.queue: Tensor
        self.queued: Tensor
        self.next: Tensor
        self.register_buffer("queue", torch.zeros(queue, encoder.config.hidden_size))
        self.register_buffer("queued", torch.full((queue,), -1))  # the text of each key; -1: the place is empty
        self.register_buffer("next", torch.zeros((), dtype=torch.long))

    def forward(
        self, first: Tensor, first_mask: Tensor, second: Tensor, second_mask: Tensor, item: Tensor
    ) -> dict[str, Tensor]:
        queries = vectors(self.encoder, first, first_mask, self.pooling)
        with torch.no_grad():
            if self.training:
                self._follow()
            keys = vectors(self.follower, second, second_mask, self.pooling)
        own = torch.eye(len(first), dtype=torch.bool, device=first.device)
        beside = (item[:, None] == item[None]) & ~own
        earlier = (self.queued[None] == item[:, None]) | (self.queued[None] < 0)
        loss = info_nce(
            queries,
            torch.cat([keys, self.queue.clone()]),  # the queue is changed before the gradient needs it
            torch.arange(len(first), device=first.device),
            left_out=torch.cat([beside, earlier], dim=1),
            temperature=self.temperature,
        )
        if self.training:
            self._enqueue(keys, item)
        return {"loss": loss}

    def _follow(self) -> None:
        for slow, fast in zip(self.follower.parameters(), self.encoder.parameters(), strict=True):
            slow.lerp_(fast, 1 - self.momentum)

    def _enqueue(self, keys: Tensor, item: Tensor) -> None:
        size = len(self.queue)
        keys, item = keys[-size:], item[-size:]
        places = (self.next + torch.arange(len(keys), device=keys.device)) % size
        self.queue[places] = keys.to(self.queue.dtype)
        self.queued[places] = item
        self.next.copy_((self.next + len(keys)) % size)


def vectors(encoder: Any, ids: Tensor, mask: Tensor, pooling: str) -> Tensor:
    """Unit vectors (B, D) of the texts."""
    hidden = encoder(input_ids=ids, attention_mask=mask.long()).last_hidden_state
    return normalize(POOLINGS[pooling](hidden, mask), dim=-1)


def _check(pooling: str, temperature: float, poolings: Mapping[str, Any] = POOLINGS) -> None:
    if pooling not in poolings or not temperature > 0:
        raise InputError(
            f"Contrastive training got pooling={pooling!r}, temperature={temperature}; it needs one of "
            f"{', '.join(poolings)}, and a temperature above 0."
        )
