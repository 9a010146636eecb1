"""MV-LSTM: words in their context are matched, and the best matches count (Wan et al., AAAI 2016).

    u_i = [forward_i; backward_i] of a bidirectional LSTM, the same for both sides
    S_ij = cos(u_i, v_j), or u_i^T W v_j + b, or ReLU(u_i^T W_c v_j + w_c . [u_i; v_j] + b_c) for each channel c
    f = MLP(the k highest of all S_ij)

Shapes    vectors (B, m, E) -> states (B, m, 2 hidden) -> S (B, C, m, n) -> (B, C · k) -> (B,)
Padding   the backward LSTM begins at a text's true end; fewer than k matches are filled with 0
Against   knrm.py matches words wherever they stand; here the same word in another context is another state
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from foveal.errors import InputError
from foveal.ranking.neural.base import NeuralRanker, perceptron, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import cosines, pair_mask, top_matches
from foveal.ranking.neural.vectors import WordVectors

MATCHES = ("cosine", "bilinear", "tensor")


@dataclass(frozen=True, kw_only=True)
class MVLSTMSettings:
    """The LSTM, the match of its states, and the network over the best ones."""

    states: int = 32  # of either direction
    match: str = "cosine"
    channels: int = 4  # of "tensor"
    k: int = 10
    hidden: int = 32
    dropout: float = 0.0

    def __post_init__(self) -> None:
        require_sizes("MV-LSTM", self, "states", "channels", "k", "hidden")
        if self.match not in MATCHES:
            raise InputError(f"MV-LSTM got match={self.match!r}; it needs one of {', '.join(MATCHES)}.")


class MVLSTM(NeuralRanker):
    """The best matches of LSTM states."""

    name = "mv-lstm"
    symmetric = True
    focus = "representation"
    granularity = "single"
    settings: MVLSTMSettings

    def __init__(self, vectors: WordVectors, settings: MVLSTMSettings | None = None) -> None:
        settings = settings or MVLSTMSettings()
        super().__init__(vectors, settings)
        self.lstm = nn.LSTM(vectors.dimension, settings.states, batch_first=True, bidirectional=True)
        channels = settings.channels if settings.match == "tensor" else 1
        self.match = (
            None
            if settings.match == "cosine"
            else Bilinear(2 * settings.states, channels, linear=settings.match == "tensor")
        )
        self.drop = nn.Dropout(settings.dropout)
        self.network = perceptron([channels * settings.k, settings.hidden, 1])

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        best = self._matches(pairs).flatten(2)  # (B, C, m n)
        mask = pair_mask(pairs).flatten(1).unsqueeze(1).expand_as(best)
        scores: Tensor = self.network(self.drop(top_matches(best, mask, self.settings.k).flatten(1))).squeeze(-1)
        return scores

    def explain(self, pairs: Pairs) -> Tensor:
        """(B, m, n): S, the highest channel of it."""
        return self._matches(pairs).amax(1) * pair_mask(pairs)

    def _matches(self, pairs: Pairs) -> Tensor:
        query, document = self.states(pairs.query), self.states(pairs.document)
        if self.match is None:
            return cosines(query, document).unsqueeze(1)
        found: Tensor = self.match(query, document)
        return found.relu() if self.settings.match == "tensor" else found

    def states(self, ids: Tensor) -> Tensor:
        """ids (B, m) -> (B, m, 2 · states), 0 at padding."""
        lengths = (ids > 0).sum(1)
        packed = pack_padded_sequence(
            self.vectors(ids), lengths.clamp(min=1).cpu(), batch_first=True, enforce_sorted=False
        )
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=ids.shape[1])
        return states * (ids > 0).unsqueeze(-1)  # an empty text was read as one zero vector


class Bilinear(nn.Module):
    """u^T W_c v + b_c for each channel c, and if `linear` w_c . [u; v] besides."""

    def __init__(self, size: int, channels: int, *, linear: bool) -> None:
        super().__init__()
        self.products = nn.Parameter(torch.empty(channels, size, size))
        nn.init.xavier_uniform_(self.products)
        self.bias = nn.Parameter(torch.zeros(channels))
        self.left = nn.Linear(size, channels, bias=False) if linear else None
        self.right = nn.Linear(size, channels, bias=False) if linear else None

    def forward(self, u: Tensor, v: Tensor) -> Tensor:
        """(B, m, D), (B, n, D) -> (B, C, m, n)."""
        found = torch.einsum("bmd,cde,bne->bcmn", u, self.products, v) + self.bias[:, None, None]
        if self.left is not None and self.right is not None:
            found = found + self.left(u).transpose(1, 2).unsqueeze(3) + self.right(v).transpose(1, 2).unsqueeze(2)
        return found
