"""aNMM: weights shared by values of matches, and attention over the query's words (Yang et al., CIKM 2016).

    x_ik = sum of the M_ij that fall into bin k;   g = softmax_i(v . q_i);   f = sum_i g_i h_i
    aNMM-1 (sets=1)   h_i = sigmoid(w . x_i)
    aNMM-2 (sets=K)   h_i = sigmoid(r . [sigmoid(w_1 . x_i), …, sigmoid(w_K . x_i)])

Shapes    M (B, m, n) cosines -> x (B, m, bins) -> h, g (B, m) -> (B,), 0 to 1
Bins      the last one holds exact matches, told by ids; the others are equal parts of -1 to 1
Against   drmm.py counts matches, and weighs words by idf; here a bin sums them, and word vectors say what matters.
          The sums have a gradient, so that word vectors can be trained
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.drmm import TermGate
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import binned, bins, pair_mask, same_word
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class ANMMSettings:
    """The bins, and the weights over them."""

    bins: int = 200
    sets: int = 1  # of weights: 1 is aNMM-1; MatchZoo's hidden layer of 100 is aNMM-2 with 100
    dropout: float = 0.1  # of the sums

    def __post_init__(self) -> None:
        require_sizes("aNMM", self, "sets")
        if self.bins < 2:
            raise InputError(f"aNMM got bins={self.bins}; it needs at least 2, the last one for exact matches.")


class ANMM(NeuralRanker):
    """Value-shared weights with attention over words."""

    name = "anmm"
    symmetric = False
    focus = "interaction"
    granularity = "single"
    bounded = True
    middle = 0.5
    settings: ANMMSettings

    def __init__(self, vectors: WordVectors, settings: ANMMSettings | None = None) -> None:
        settings = settings or ANMMSettings()
        super().__init__(vectors, settings)
        self.shared = nn.Linear(settings.bins, settings.sets, bias=False)
        self.combined = nn.Linear(settings.sets, 1, bias=False) if settings.sets > 1 else None
        self.gate = TermGate(vectors.dimension, "vectors")
        self.drop = nn.Dropout(settings.dropout)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        return self.term_scores(pairs).sum(1)

    def term_scores(self, pairs: Pairs) -> Tensor:
        """(B, m): g_i h_i."""
        held = torch.sigmoid(self.shared(self.drop(self.sums(pairs))))
        if self.combined is not None:
            held = torch.sigmoid(self.combined(held))
        added: Tensor = self.gate(self.vectors(pairs.query), pairs.idf, pairs.query_mask) * held.squeeze(-1)
        return added

    def sums(self, pairs: Pairs) -> Tensor:
        """(B, m, bins): x."""
        matches = self.explain(pairs)
        places = bins(matches.detach(), same_word(pairs), self.settings.bins)
        return binned(matches, places, pair_mask(pairs), self.settings.bins)
