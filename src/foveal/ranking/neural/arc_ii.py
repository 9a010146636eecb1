"""ARC-II: windows of both sides meet, and a 2-D convolution reads their map (Hu et al., NeurIPS 2014).

    z_ij = ReLU(W [q_i .. q_{i+k-1}; d_j .. d_{j+k-1}] + b);   highest of each 2 x 2;
    [3 x 3 convolution, ReLU, highest of each pool x pool] times L;   f = MLP(all of it)

Shapes    vectors (B, m, E), (B, n, E), with zeros up to the two lengths -> z (B, filters, m, n) -> … -> (B,)
Computed  W [q; d] is W_q q + W_d d: one 1-D convolution for each side, added for all i, j
Gate      where either window is padding alone z is 0, and stays so after each layer
Against   match_pyramid.py convolves matches; here the map is made of the vectors themselves
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise

import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranking.neural.base import NeuralRanker, perceptron, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import both
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class ARCIISettings:
    """The lengths, the convolutions, and the network."""

    query_length: int = 10  # words; what is longer is cut
    document_length: int = 100
    filters: int = 32  # of the first layer
    window: int = 3  # words of it
    maps: tuple[int, ...] = (64, 64)  # filters of each 2-D convolution
    pool: int = 3  # after each of them
    hidden: int = 100
    dropout: float = 0.3

    def __post_init__(self) -> None:
        require_sizes("ARC-II", self, "query_length", "document_length", "filters", "window", "pool", "hidden")
        if self.window > min(self.query_length, self.document_length) or min(self.maps, default=1) < 1:
            raise InputError(
                f"ARC-II got a window of {self.window} words over texts of {self.query_length} and "
                f"{self.document_length}, and maps={self.maps}; the window must not be longer than either, and each "
                "layer needs a filter."
            )


class ARCII(NeuralRanker):
    """Convolution over the map of both sides' windows."""

    name = "arc-ii"
    symmetric = True
    focus = "interaction"
    granularity = "single"
    settings: ARCIISettings

    def __init__(self, vectors: WordVectors, settings: ARCIISettings | None = None) -> None:
        settings = settings or ARCIISettings()
        super().__init__(vectors, settings)
        self.query = nn.Conv1d(vectors.dimension, settings.filters, settings.window)  # its bias is b
        self.document = nn.Conv1d(vectors.dimension, settings.filters, settings.window, bias=False)
        sizes = (settings.filters, *settings.maps)
        self.layers = nn.ModuleList(nn.Conv2d(a, b, 3, padding=1) for a, b in pairwise(sizes))
        self.grid = (self._pooled(settings.query_length), self._pooled(settings.document_length))
        self.drop = nn.Dropout(settings.dropout)
        self.network = perceptron([sizes[-1] * self.grid[0] * self.grid[1], settings.hidden, 1])

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        query = pairs.query[:, : self.settings.query_length]
        document = pairs.document[:, : self.settings.document_length]
        mask = both(query > 0, document > 0).float().unsqueeze(1)
        maps = self.met(query, document).relu() * mask
        maps, mask = _pool(maps, 2), _pool(mask, 2)
        for layer in self.layers:
            maps = layer(maps).relu() * mask
            maps, mask = _pool(maps, self.settings.pool), _pool(mask, self.settings.pool)
        whole = F.pad(maps, (0, self.grid[1] - maps.shape[3], 0, self.grid[0] - maps.shape[2]))
        scores: Tensor = self.network(self.drop(whole.flatten(1))).squeeze(-1)
        return scores

    def met(self, query: Tensor, document: Tensor) -> Tensor:
        """ids (B, m) and (B, n) -> (B, filters, m, n): W [q; d] + b of all pairs of windows."""
        more = (0, self.settings.window - 1)
        left = self.query(F.pad(self.vectors(query).transpose(1, 2), more))
        right = self.document(F.pad(self.vectors(document).transpose(1, 2), more))
        met: Tensor = left.unsqueeze(3) + right.unsqueeze(2)
        return met

    def _pooled(self, length: int) -> int:
        length = -(-length // 2)
        for _ in self.settings.maps:
            length = -(-length // self.settings.pool)
        return length


def _pool(maps: Tensor, size: int) -> Tensor:
    """The highest of each size x size; the last ones may be narrower."""
    return F.max_pool2d(maps, size, ceil_mode=True)
