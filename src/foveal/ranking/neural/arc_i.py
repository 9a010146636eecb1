"""ARC-I: a convolutional vector for each side, and a network over both (Hu et al., NeurIPS 2014).

    per side: [z_i = ReLU(W [x_i .. x_{i+k-1}] + b), highest of each `pool`] times L;   f = MLP([z_query; z_document])

Shapes    vectors (B, m, E), with zeros up to `query_length` -> (B, query_length / pool^L, filters), likewise the
          document; laid side by side -> (B,)
Gate      a window of padding alone is 0 whatever the bias, so that the length of the batch changes nothing
Against   arc_ii.py lets the sides meet before they are pooled; here they meet in the network only
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranking.neural.base import NeuralRanker, perceptron, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class ARCISettings:
    """The lengths, the convolutions of either side, and the network over both."""

    query_length: int = 10  # words; what is longer is cut
    document_length: int = 100
    filters: int = 128
    window: int = 3  # words
    pool: int = 4
    layers: int = 1
    hidden: int = 100
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_sizes("ARC-I", self, "query_length", "document_length", "filters", "window", "pool", "layers", "hidden")
        if self.window > min(self.query_length, self.document_length):
            raise InputError(
                f"ARC-I got a window of {self.window} words over texts of {self.query_length} and "
                f"{self.document_length}; it must not be longer. Set another window, or "
                "longer texts."
            )


class ARCI(NeuralRanker):
    """Convolution of each side, by the same weights."""

    name = "arc-i"
    symmetric = True
    focus = "representation"
    granularity = "single"
    settings: ARCISettings

    def __init__(self, vectors: WordVectors, settings: ARCISettings | None = None) -> None:
        settings = settings or ARCISettings()
        super().__init__(vectors, settings)
        inputs = [vectors.dimension, *[settings.filters] * (settings.layers - 1)]
        self.layers = nn.ModuleList(nn.Conv1d(size, settings.filters, settings.window) for size in inputs)
        self.parts = [self._pooled(length) for length in (settings.query_length, settings.document_length)]
        self.drop = nn.Dropout(settings.dropout)
        self.network = perceptron([settings.filters * sum(self.parts), settings.hidden, 1])

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        sides = (pairs.query[:, : self.settings.query_length], pairs.document[:, : self.settings.document_length])
        held = [self._side(ids, parts) for ids, parts in zip(sides, self.parts, strict=True)]
        scores: Tensor = self.network(self.drop(torch.cat(held, dim=1))).squeeze(-1)
        return scores

    def _side(self, ids: Tensor, parts: int) -> Tensor:
        """ids (B, m) -> (B, filters · parts)."""
        mask = (ids > 0).float().unsqueeze(1)
        channels = self.vectors(ids).transpose(1, 2)
        for layer in self.layers:
            channels = layer(F.pad(channels, (0, self.settings.window - 1))).relu() * mask
            channels = F.max_pool1d(channels, self.settings.pool, ceil_mode=True)
            mask = F.max_pool1d(mask, self.settings.pool, ceil_mode=True)
        return F.pad(channels, (0, parts - channels.shape[-1])).flatten(1)  # as if padded to the full length before

    def _pooled(self, length: int) -> int:
        for _ in range(self.settings.layers):
            length = -(-length // self.settings.pool)
        return length
