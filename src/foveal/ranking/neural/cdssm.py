"""CDSSM: DSSM that sees word order, by a convolution over windows of words (Shen et al., "A Latent Semantic Model with
Convolutional-Pooling Structure for Information Retrieval", CIKM 2014).

    l_t = the trigram counts of words t - 1, t, t + 1, side by side;  h_t = tanh(W_c l_t + b_c);  v = max over t of h_t
    y = tanh(W_s v + b_s);  f = cos(y_q, y_d)

Shapes      words of B queries and B documents -> (B,), -1 to 1. Their ids are not looked at
Edges       beyond the first and the last word stands a word without letters. A text without words has v = 0
Sums        W_c l_t is the sum of one matrix per place of the window, each applied to one word: no (n, 90,000) counts
Symmetric   both sides have the same weights: f(s, t) = f(t, s)
Start       a letter trigram feeds few of the filters: where it fed all, the highest of a filter would nearly always be
            another word's, and what two texts share would be lost. A window's middle word counts more than those beside
            it, so that a word has nearly the same h in any place, and the semantic layer keeps angles
Train       the paper's softmax takes gamma * f, gamma about 10. MatchZoo takes 64 filters for small data, and drops
            most numbers of h before the highest are taken (`dropout`)
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.letters import (
    LetterGrams,
    LetterSums,
    Words,
    keeping_angles,
    lengths_of,
    letters_of,
    window_sums,
    without_slope,
)
from foveal.ranking.neural.matches import cosines
from foveal.ranking.neural.vectors import WordVectors

MIDDLE, BESIDE = 0.3, 0.09
"""Standard deviation of a trigram's numbers, at first: of a window's middle word, and of those beside it."""

FED = 15
"""Filters that a trigram feeds at first, of 300 about one in twenty."""


@dataclass(frozen=True, kw_only=True)
class CDSSMSettings:
    """Sizes of CDSSM; checked when made."""

    features: int = 30_000  # places of letter trigrams
    window: int = 3  # words, an odd number
    filters: int = 300
    output: int = 128  # numbers of a text's vector
    dropout: float = 0.0  # of h

    def __post_init__(self) -> None:
        require_sizes("CDSSM", self, "features", "window", "filters", "output")  # and the dropout
        if self.window % 2 == 0:
            raise InputError(f"CDSSM got window={self.window}; it needs an odd number, the same on either side.")


class CDSSM(NeuralRanker):
    """f = cos(y_q, y_d) of word windows; see the module's head. InputError in a call: the pairs have no words."""

    name = "cdssm"
    symmetric = True
    focus = "representation"
    granularity = "single"
    needs_words = True
    bounded = True
    settings: CDSSMSettings

    def __init__(self, vectors: WordVectors, settings: CDSSMSettings | None = None) -> None:
        chosen = settings or CDSSMSettings()
        super().__init__(vectors, chosen)
        self.letters = LetterSums(LetterGrams(chosen.features), chosen.window * chosen.filters)
        with torch.no_grad():
            parts = self.letters.table.weight.view(-1, chosen.window, chosen.filters)
            parts.normal_(std=BESIDE)
            parts[:, chosen.window // 2].mul_(MIDDLE / BESIDE)
            parts.mul_(torch.rand(len(parts), 1, chosen.filters) < FED / chosen.filters)
        self.bias = nn.Parameter(torch.zeros(chosen.filters))
        self.drop = nn.Dropout(chosen.dropout)
        self.semantic = keeping_angles(nn.Linear(chosen.filters, chosen.output))

    def forward(self, pairs: Pairs) -> Tensor:
        """Cosines (B,)."""
        queries, documents = letters_of(pairs, self.name)
        return F.cosine_similarity(self.represented(queries), self.represented(documents))

    def represented(self, texts: Words) -> Tensor:
        """Word lists -> (texts, output)."""
        windows = self.drop(self._windows(texts, None))
        real = torch.arange(windows.shape[1], device=windows.device) < lengths_of(texts, windows.device)[:, None]
        best = windows.masked_fill(~real.unsqueeze(2), -torch.inf).amax(dim=1)
        best = torch.where(real.any(1, keepdim=True), best, torch.zeros_like(best))
        return without_slope(torch.tanh(self.semantic(best)), texts)

    def explain(self, pairs: Pairs) -> Tensor:
        """(B, m, n): the cosine of the vectors of two windows, each taken for a text of its own."""
        queries, documents = letters_of(pairs, self.name)
        sizes = pairs.query.shape[1], pairs.document.shape[1]
        windows = [self._windows(*side) for side in zip((queries, documents), sizes, strict=True)]
        sides = [torch.tanh(self.semantic(one)) for one in windows]
        return cosines(*sides) * pairs.query_mask.unsqueeze(2) * pairs.document_mask.unsqueeze(1)

    def _windows(self, texts: Words, length: int | None) -> Tensor:
        """h, (texts, words, filters): one window around each word."""
        words = self.letters.of_words(texts, length)
        half = self.settings.window // 2
        return torch.tanh(window_sums(F.pad(words, (0, 0, half, half)), self.settings.window) + self.bias)
