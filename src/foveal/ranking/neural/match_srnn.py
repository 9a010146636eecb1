"""Match-SRNN: the match of two texts from the matches of their beginnings, by a 2-D GRU (Wan et al., "Match-SRNN:
Modeling the Recursive Matching Structure with Spatial RNN", IJCAI 2016).

    s_ij = ReLU(q_i^T T_1..C d_j + W [q_i; d_j] + b)       the neural tensor, C channels
    h_ij = GRU(h_{i-1,j}, h_{i,j-1}, h_{i-1,j-1}, s_ij)    grid_gru.py, from the upper left corner
    f = w . h_mn + c

Shapes      B pairs of m and n words -> (B,); m and n are each pair's own, so that h_mn is the state of its last words
Symmetric   both texts are treated alike; changed over, T, W and the GRU's left and upper parts change over, too
Start       T is the identity plus noise, so that words match by their cosine before anything is learned; from noise
            alone the tensor learns small training sets by heart. Dropout as in MatchZoo. The GRU's cells begin by
            keeping most of what their neighbours hold: with four equal shares a quarter of it is lost at each step
Train       m + n - 1 steps, one after the other: the slowest of the small models for long documents
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.grid_gru import GridGRU
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.vectors import WordVectors

KEPT = 2.0
"""So much lower than the logits of the neighbours' shares is that of a cell's own input, at first."""


@dataclass(frozen=True, kw_only=True)
class MatchSRNNSettings:
    """Sizes of Match-SRNN; checked when made."""

    channels: int = 10  # of the neural tensor
    units: int = 10  # of the 2-D GRU
    dropout: float = 0.2  # of the word vectors and of the last state

    def __post_init__(self) -> None:
        require_sizes("Match-SRNN", self, "channels", "units")  # and the dropout


class MatchSRNN(NeuralRanker):
    """The state of a 2-D GRU at the last words of both texts, weighted; see the module's head."""

    name = "match-srnn"
    symmetric = True
    focus = "interaction"
    granularity = "single"
    settings: MatchSRNNSettings

    def __init__(self, vectors: WordVectors, settings: MatchSRNNSettings | None = None) -> None:
        chosen = settings or MatchSRNNSettings()
        super().__init__(vectors, chosen)
        size = vectors.dimension
        self.tensor = nn.Parameter(torch.empty(chosen.channels, size, size))
        with torch.no_grad():
            for one in self.tensor:
                nn.init.xavier_uniform_(one).add_(torch.eye(size))
        self.of_query = nn.Linear(size, chosen.channels)  # W's left half, and b
        self.of_document = nn.Linear(size, chosen.channels, bias=False)
        self.gru = GridGRU(chosen.channels, chosen.units)
        with torch.no_grad():
            self.gru.bias[:, 6 * chosen.units : 7 * chosen.units] -= KEPT  # z_in
        self.drop = nn.Dropout(chosen.dropout)
        self.output = nn.Linear(chosen.units, 1)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        query, document = self.drop(self.vectors(pairs.query)), self.drop(self.vectors(pairs.document))
        matches = self.tensor_matches(query, document)
        last = self.gru(matches.unsqueeze(0), pairs.query_mask.sum(1), pairs.document_mask.sum(1)).squeeze(0)
        scores: Tensor = self.output(self.drop(last)).squeeze(1)
        return scores

    def tensor_matches(self, query: Tensor, document: Tensor) -> Tensor:
        """Vectors (B, m, E) and (B, n, E) -> s, (B, m, n, channels)."""
        bilinear = torch.einsum("bme,cef,bnf->bmnc", query, self.tensor, document)
        linear = self.of_query(query).unsqueeze(2) + self.of_document(document).unsqueeze(1)
        return F.relu(bilinear + linear)
