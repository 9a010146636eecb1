"""Condenser and coCondenser: masked language modelling that the text's own vector has to help with.

Shapes    ids (B, L), ids_mask (B, L) bool, labels (B, L) -> {"loss", and its parts}; item (B,) the texts' numbers
Source    Condenser: Gao and Callan, EMNLP 2021; coCondenser: Gao and Callan, ACL 2022
Data      `masked_examples`; for coCondenser `span_examples`, whose rows 2i and 2i + 1 are pieces of one text

A head of fresh layers gets [CLS] from the top of the encoder but every other token from a middle layer; what the upper
layers learnt of the text can reach it only through [CLS]. The head is thrown away after training.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.training.pretraining_contrast import info_nce
from foveal.training.pretraining_masked import MaskedEncoder, fresh_layer, through


class Condenser(nn.Module):
    """The masked-language loss through the head, and that of the encoder's own top (`late`), by choice."""

    def __init__(self, model: Any, *, early: int | None = None, head_layers: int = 2, late_loss: bool = True) -> None:
        """`early`: the layer, counted from 1, whose tokens the head gets; half of them by default, as published.

        InputError: no such layer, or no layer above it.
        """
        super().__init__()
        self.model = MaskedEncoder(model)
        layers = self.model.config.num_hidden_layers
        self.early = layers // 2 if early is None else early
        if not 0 < self.early < layers or head_layers < 1:
            raise InputError(
                f"Condenser got early={early} and head_layers={head_layers} for {layers} layers; it needs an early "
                f"layer from 1 to {layers - 1}, and at least one layer in its head."
            )
        self.head = nn.ModuleList(fresh_layer(self.model.config) for _ in range(head_layers))
        self.late_loss = late_loss

    def condensed(self, early: Tensor, late: Tensor, mask: Tensor) -> Tensor:
        """The head's output (B, L, D) from the late [CLS] and the early tokens."""
        return through(self.head, torch.cat([late[:, :1], early[:, 1:]], dim=1), mask)

    def read(self, ids: Tensor, ids_mask: Tensor, labels: Tensor) -> tuple[dict[str, Tensor], Tensor]:
        """The losses, and the texts' vectors (B, D)."""
        states = self.model.hidden(ids, ids_mask)
        early, late = states[self.early], states[-1]
        losses = {"head": self.model.loss(self.condensed(early, late, ids_mask), labels)}
        if self.late_loss:
            losses["late"] = self.model.loss(late, labels)
        return losses, late[:, 0]

    def forward(self, ids: Tensor, ids_mask: Tensor, labels: Tensor) -> dict[str, Tensor]:
        losses, _ = self.read(ids, ids_mask, labels)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}


class CoCondenser(nn.Module):
    """Condenser, and the contrastive loss by which pieces of one text find each other in the batch."""

    def __init__(self, condenser: Condenser) -> None:
        super().__init__()
        self.condenser = condenser

    def forward(self, ids: Tensor, ids_mask: Tensor, labels: Tensor, item: Tensor | None = None) -> dict[str, Tensor]:
        losses, vectors = self.condenser.read(ids, ids_mask, labels)
        losses["contrast"] = span_contrast(vectors, item)
        return {"loss": torch.stack(list(losses.values())).sum(), **losses}


def span_contrast(vectors: Tensor, item: Tensor | None = None) -> Tensor:
    """Vectors (2 N, D), rows 2i and 2i + 1 of one text: each finds the other among all but itself, by inner product.

    `item` (2 N,): the texts' numbers. Where a text is drawn twice into a batch, its other pieces are no negatives.
    """
    if len(vectors) % 2 or len(vectors) < 4:
        raise InputError(f"Pieces of texts came as {len(vectors)} vectors; they need two for each of at least 2 texts.")
    partners = torch.arange(len(vectors), device=vectors.device) ^ 1
    out = torch.eye(len(vectors), dtype=torch.bool, device=vectors.device)
    if item is not None:
        out = item[:, None] == item[None]
        out[torch.arange(len(vectors), device=vectors.device), partners] = False
    return info_nce(vectors, vectors, partners, left_out=out)
