"""DSSM: the cosine of two texts' vectors, made of the counts of their words' letter trigrams (Huang et al., "Learning
Deep Structured Semantic Models for Web Search using Clickthrough Data", CIKM 2013).

    x = counts of the trigrams of "#word#";  l_1 = tanh(W_1 x + b_1), …, y = tanh(W_N l_{N-1} + b_N);  f = cos(y_q, y_d)

Shapes      words of B queries and B documents -> (B,), -1 to 1. Their ids are not looked at
Symmetric   both sides have the same weights: f(s, t) = f(t, s)
Start       the matrices keep angles, and there is no bias: untrained, f is about the cosine of the counts
Train       the paper's softmax takes gamma * f, gamma about 10: a cosine alone is too flat
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from itertools import pairwise

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.letters import LetterGrams, LetterSums, Words, keeping_angles, letters_of, without_slope
from foveal.ranking.neural.matches import cosines
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class DSSMSettings:
    """Sizes of DSSM; checked when made."""

    features: int = 30_000  # places of letter trigrams
    hidden: int = 300  # units of each hidden layer
    layers: int = 2  # hidden layers, at least 1
    output: int = 128  # numbers of a text's vector

    def __post_init__(self) -> None:
        require_sizes("DSSM", self, *(one.name for one in fields(self)))


class DSSM(NeuralRanker):
    """f = cos(y_q, y_d) of letter trigrams; see the module's head. InputError in a call: the pairs have no words."""

    name = "dssm"
    symmetric = True
    focus = "representation"
    granularity = "single"
    needs_words = True
    bounded = True
    settings: DSSMSettings

    def __init__(self, vectors: WordVectors, settings: DSSMSettings | None = None) -> None:
        chosen = settings or DSSMSettings()
        super().__init__(vectors, chosen)
        self.letters = LetterSums(LetterGrams(chosen.features), chosen.hidden)
        self.bias = nn.Parameter(torch.zeros(chosen.hidden))
        sizes = [*[chosen.hidden] * chosen.layers, chosen.output]
        self.layers = nn.ModuleList(keeping_angles(nn.Linear(before, after)) for before, after in pairwise(sizes))

    def forward(self, pairs: Pairs) -> Tensor:
        """Cosines (B,)."""
        queries, documents = letters_of(pairs, self.name)
        return F.cosine_similarity(self.represented(queries), self.represented(documents))

    def represented(self, texts: Words) -> Tensor:
        """Word lists -> (texts, output)."""
        return without_slope(self._upwards(self.letters.of_texts(texts)), texts)

    def explain(self, pairs: Pairs) -> Tensor:
        """(B, m, n): the cosine of two words' vectors, each taken for a text of its own."""
        queries, documents = letters_of(pairs, self.name)
        sizes = pairs.query.shape[1], pairs.document.shape[1]
        sides = [self._upwards(self.letters.of_words(*side)) for side in zip((queries, documents), sizes, strict=True)]
        return cosines(*sides) * pairs.query_mask.unsqueeze(2) * pairs.document_mask.unsqueeze(1)

    def _upwards(self, sums: Tensor) -> Tensor:
        found = torch.tanh(sums + self.bias)
        for layer in self.layers:
            found = torch.tanh(layer(found))
        return found
