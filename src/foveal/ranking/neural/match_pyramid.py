"""MatchPyramid: the match matrix read as an image (Pang et al., AAAI 2016).

    M_ij = cos(q_i, d_j), q_i . d_j, or 1[q_i = d_j]  ->  [3 x 3 convolution, ReLU], twice  ->  dynamic pooling  ->  MLP

Shapes    M (B, m, n) -> maps (B, C, m, n) -> (B, C, rows, columns) -> (B,)
Pooling   a grid of fixed size over the true lengths of both texts: cell (a, b) is the highest value of rows
          floor(a m / rows) … ceil((a + 1) m / rows) - 1, columns likewise; short texts share rows between cells
Against   arc_ii.py convolves the words' vectors; here only their matches are seen, and phrases show as diagonals
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranking.neural.base import NeuralRanker, perceptron, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import cosine_matches, dot_matches, indicator_matches, pair_mask
from foveal.ranking.neural.vectors import WordVectors

MATCHES = ("cosine", "dot", "indicator")


@dataclass(frozen=True, kw_only=True)
class MatchPyramidSettings:
    """The match matrix, the convolutions, the grid, and the network over it."""

    match: str = "cosine"
    filters: tuple[int, ...] = (16, 32)
    width: int = 3  # of a convolution, odd
    rows: int = 3
    columns: int = 10
    hidden: int = 100
    dropout: float = 0.1

    def __post_init__(self) -> None:
        require_sizes("MatchPyramid", self, "rows", "columns", "hidden")
        if self.match not in MATCHES or not self.filters or min(self.filters) < 1 or self.width % 2 == 0:
            raise InputError(
                f"MatchPyramid got match={self.match!r}, filters={self.filters}, width={self.width}; it needs one of "
                f"{', '.join(MATCHES)}, at least 1 filter in each layer, and an odd width."
            )


class MatchPyramid(NeuralRanker):
    """Convolutions over the match matrix."""

    name = "match-pyramid"
    symmetric = True
    focus = "interaction"
    granularity = "single"
    settings: MatchPyramidSettings

    def __init__(self, vectors: WordVectors, settings: MatchPyramidSettings | None = None) -> None:
        settings = settings or MatchPyramidSettings()
        super().__init__(vectors, settings)
        sizes, width = (1, *settings.filters), settings.width
        self.layers = nn.ModuleList(nn.Conv2d(a, b, width, padding=width // 2) for a, b in pairwise(sizes))
        self.drop = nn.Dropout(settings.dropout)
        self.network = perceptron([sizes[-1] * settings.rows * settings.columns, settings.hidden, 1])

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        mask = pair_mask(pairs).unsqueeze(1)
        maps = self.explain(pairs).unsqueeze(1)
        for layer in self.layers:
            maps = layer(maps).relu() * mask  # what a bias leaves in the padding would be seen by the next layer
        grid = (self.settings.rows, self.settings.columns)
        pooled = dynamic_pooling(maps, [pairs.query_mask.sum(1), pairs.document_mask.sum(1)], grid)
        scores: Tensor = self.network(self.drop(pooled.flatten(1))).squeeze(-1)
        return scores

    def explain(self, pairs: Pairs) -> Tensor:
        """(B, m, n): M."""
        if self.settings.match == "indicator":
            return indicator_matches(pairs)
        of = dot_matches if self.settings.match == "dot" else cosine_matches
        return of(self.vectors(pairs.query), self.vectors(pairs.document), pairs)


def dynamic_pooling(maps: Tensor, lengths: Sequence[Tensor], grid: tuple[int, int]) -> Tensor:
    """Maps (B, C, m, n) of values >= 0, and the true lengths (B,) of both sides -> (B, C, rows, columns); 0 where a
    side is empty.
    """
    rows = _windows(lengths[0], grid[0], maps.shape[2])
    columns = _windows(lengths[1], grid[1], maps.shape[3])
    high = torch.stack([(maps * rows[:, cell, None, :, None]).amax(2) for cell in range(grid[0])], dim=2)
    return torch.stack([(high * columns[:, cell, None, None, :]).amax(3) for cell in range(grid[1])], dim=3)


def _windows(lengths: Tensor, cells: int, size: int) -> Tensor:
    """(B,) -> (B, cells, size) bool: the rows that each cell sees."""
    cell = torch.arange(cells, device=lengths.device)
    first = cell * lengths[:, None] // cells
    after = -(-(cell + 1) * lengths[:, None] // cells)
    place = torch.arange(size, device=lengths.device)
    return (place >= first.unsqueeze(-1)) & (place < after.unsqueeze(-1))
