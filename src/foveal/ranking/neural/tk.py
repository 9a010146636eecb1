"""TK: words in their context by a small Transformer, matched by kernels (Hofstätter, Zlabinger and Hanbury,
"Interpretable & Time-Budget-Constrained Contextualization for Re-Ranking", ECAI 2020).

    w = alpha e + (1 - alpha) Transformer(e + positions)        the same Transformer, two layers, for both texts
    K_ik = sum over j of exp(-(cos(w_i, w_j) - mu_k)^2 / (2 sigma^2))
    s_log = w_log . sum over i of log max(K_i, 1e-10);   s_len = w_len . sum over i of K_i / |d|
    f = beta s_log + gamma s_len

Shapes      B pairs of m and n words -> (B,)
Kernels     mu 1.0, 0.9, 0.7 … -0.9, all of sigma 0.1. The bracket is around 2 sigma^2: one well-known copy divides the
            exponential in its place
Lengths     a vector of length 1 enters as one of length sqrt(E), which is what layer norms give the contexts and about
            what the positions have: without that, neither would leave anything of the word
Scale       both sums by one learned number, 0.01 at first: they are large at first, and losses would saturate
Words       equal words in different contexts have no cosine of 1, so there is no kernel for exact matches
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranges import POSITIVE, require_number
from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import cosines, kernel_sums, kernels, log_sums, pair_mask
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class TKSettings:
    """Sizes of TK; checked when made."""

    layers: int = 2
    heads: int = 10  # the word vectors' numbers must divide by it
    feedforward: int = 100
    kernels: int = 11
    sigma: float = 0.1
    scale: float = 0.01  # of both sums, at first

    def __post_init__(self) -> None:
        require_sizes("TK", self, "layers", "heads", "feedforward")
        kernels(self.kernels, sigma=self.sigma)
        require_number("TK", "scale", self.scale, POSITIVE)


class TK(NeuralRanker):
    """Kernels over contextualised words; see the module's head. InputError: vectors that the heads do not divide."""

    name = "tk"
    symmetric = False
    focus = "interaction"
    granularity = "multiple"
    settings: TKSettings

    def __init__(self, vectors: WordVectors, settings: TKSettings | None = None) -> None:
        chosen = settings or TKSettings()
        super().__init__(vectors, chosen)
        size = vectors.dimension
        if size % chosen.heads:
            raise InputError(
                f"TK got word vectors of {size} numbers and {chosen.heads} heads; the heads must divide the numbers. "
                f"Take {math.gcd(size, chosen.heads)} heads, or other vectors."
            )
        layer = nn.TransformerEncoderLayer(size, chosen.heads, chosen.feedforward, dropout=0.0, batch_first=True)
        self.contextualise = nn.TransformerEncoder(layer, chosen.layers, enable_nested_tensor=False)
        self.alpha = nn.Parameter(torch.tensor(0.5))
        self.scale = nn.Parameter(torch.tensor(chosen.scale))
        self.kernels = kernels(chosen.kernels, sigma=chosen.sigma, exact=chosen.sigma)
        self.log_weights = nn.Linear(chosen.kernels, 1, bias=False)
        self.length_weights = nn.Linear(chosen.kernels, 1, bias=False)
        for weights in (self.log_weights, self.length_weights):
            nn.init.uniform_(weights.weight, -0.014, 0.014)
        self.mix = nn.Parameter(torch.ones(2))  # beta, gamma

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        return self.term_scores(pairs).sum(1)

    def term_scores(self, pairs: Pairs) -> Tensor:
        """(B, m): each query word's part of both sums, 0 where there is no word. The score is their sum."""
        sums = kernel_sums(self._matches(pairs), pair_mask(pairs), self.kernels)
        lengths = pairs.document_mask.sum(1).clamp(min=1)[:, None, None]
        by_log = self.log_weights(log_sums(sums, pairs.query_mask)).squeeze(2)
        by_length = self.length_weights(sums / lengths).squeeze(2)
        scores: Tensor = self.scale * (self.mix[0] * by_log + self.mix[1] * by_length)
        return scores

    def explain(self, pairs: Pairs) -> Tensor:
        """(B, m, n): the cosines of the words in their contexts."""
        return self._matches(pairs) * pair_mask(pairs)

    def contextual(self, ids: Tensor) -> Tensor:
        """w: ids (B, n) -> (B, n, E), 0 where there is no word."""
        mask = ids > 0
        words = self.vectors(ids)
        if self.vectors.unit:
            words = words * math.sqrt(words.shape[2])
        hidden = ~mask
        hidden[:, 0] &= mask.any(1)  # a text without words attends to its first place: a softmax of nothing is NaN
        context = self.contextualise(words + positions(words), src_key_padding_mask=hidden)
        mixed: Tensor = self.alpha * words + (1 - self.alpha) * context
        return mixed.masked_fill(~mask.unsqueeze(2), 0.0)

    def _matches(self, pairs: Pairs) -> Tensor:
        return cosines(self.contextual(pairs.query), self.contextual(pairs.document))


def positions(words: Tensor) -> Tensor:
    """(B, n, E) -> (n, E): sines, then cosines, of the place over 1 … 10,000 in geometric steps (Vaswani et al., 2017);
    a last 0 where E is odd.
    """
    count, size = words.shape[1:]
    half = size // 2
    rates = torch.exp(torch.arange(half, device=words.device) * (-math.log(10_000.0) / max(1, half - 1)))
    angles = torch.arange(count, device=words.device)[:, None] * rates
    return torch.cat([angles.sin(), angles.cos(), angles.new_zeros(count, size % 2)], dim=1)
