"""PACRR: the best matches of each query word and of the n-grams that begin near it, read by an LSTM (Hui, Yates,
Berberich and de Melo, "PACRR: A Position-Aware Neural IR Model for Relevance Matching", EMNLP 2017).

    M = cosines (m x n);  C^1 = M;  C^g = max over filters of ReLU(g x g convolution of M), g = 2 … l_g, of M's size
    row i: the k best values of each C^g_i, falling, and softmax(idf)_i;  f = the last state of an LSTM of one unit

Shapes      B pairs of m and n words -> (B,), within -1 to 1. Any m and n: the LSTM ends at each query's last word
Padding     M is 0 there, and no place beyond a text's last word is among the k best; where there are fewer than k, 0
idf         is a number of each row, as in the authors' code. Weighting the rows by it and then reading the unweighted
            ones, as in one well-known copy, has no effect
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import cosine_matches, masked_softmax, pair_mask, top_matches
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class PACRRSettings:
    """Sizes of PACRR; checked when made."""

    longest: int = 3  # l_g, words of the longest n-gram
    filters: int = 32  # of each convolution
    k: int = 3  # best values of a query word and an n-gram size

    def __post_init__(self) -> None:
        require_sizes("PACRR", self, *(one.name for one in fields(self)))


class NgramMaps(nn.Module):
    """M (B, m, n) -> l_g maps of that size: M itself, then the best filter of the g x g convolution, g = 2 … l_g."""

    def __init__(self, longest: int, filters: int) -> None:
        super().__init__()
        self.convolutions = nn.ModuleList(nn.Conv2d(1, filters, size) for size in range(2, longest + 1))

    def forward(self, matches: Tensor) -> list[Tensor]:
        """The maps; place (i, j) of a g x g one sees (g - 1) // 2 rows and columns before it, g // 2 after it."""
        maps = [matches]
        for size, convolution in enumerate(self.convolutions, start=2):
            before, after = (size - 1) // 2, size // 2
            image = F.pad(matches.unsqueeze(1), (before, after, before, after))
            maps.append(F.relu(convolution(image).amax(1)))  # max and ReLU may change places
        return maps


class PACRR(NeuralRanker):
    """The LSTM's last state over the query's words; see the module's head."""

    name = "pacrr"
    symmetric = False
    focus = "interaction"
    granularity = "multiple"
    bounded = True
    settings: PACRRSettings

    def __init__(self, vectors: WordVectors, settings: PACRRSettings | None = None) -> None:
        chosen = settings or PACRRSettings()
        super().__init__(vectors, chosen)
        self.maps = NgramMaps(chosen.longest, chosen.filters)
        self.lstm = nn.LSTM(chosen.longest * chosen.k + 1, 1, batch_first=True)
        with torch.no_grad():
            self.lstm.get_parameter("bias_ih_l0")[1] = (
                1.0  # the forget gate: open at first, so that the first words are not lost
            )

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        matches = cosine_matches(self.vectors(pairs.query), self.vectors(pairs.document), pairs)
        mask = pair_mask(pairs)
        best = [top_matches(one, mask, self.settings.k) for one in self.maps(matches)]
        idf = masked_softmax(pairs.idf, pairs.query_mask).unsqueeze(2)
        states, _ = self.lstm(torch.cat([*best, idf], dim=2))
        lengths = pairs.query_mask.sum(1)
        last: Tensor = states[torch.arange(len(pairs), device=states.device), (lengths - 1).clamp(min=0), 0]
        return torch.where(lengths > 0, last, torch.zeros_like(last))
