"""K-NRM: soft counts of matches at several strengths (Xiong et al., SIGIR 2017).

    phi_k = sum_i log max(sum_j exp(-(M_ij - mu_k)^2 / (2 sigma_k^2)), 1e-10);   f = tanh(w . (scale phi) + b)

Shapes    M (B, m, n) cosines of word vectors, K kernels -> phi (B, K) -> (B,), -1 to 1
Exact     the first kernel (mu 1, sigma 1e-3) counts equal ids, not cosines near 1
Words     the paper adds up all words of the query alike, and learns vectors by which a common one matches little; where
          vectors stay as they are, `words="idf"` multiplies each word's logarithms with its idf
Against   drmm.py counts in hard bins, through which no gradient goes: here the word vectors are trained, too.
          `log="log1p"` is MatchZoo's form, log(1 + x), whose scores are others. `scale` keeps the tanh from its ends
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from foveal.ranges import POSITIVE, Range, require_one_of, require_settings
from foveal.ranking.neural.base import NeuralRanker
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import (
    cosine_matches,
    indicator_matches,
    kernel_sums,
    kernels,
    log_sums,
    pair_mask,
)
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class KNRMSettings:
    """The kernels, and what is made of their sums."""

    kernels: int = 11
    sigma: float = 0.1
    exact_sigma: float = 1e-3
    scale: float = 0.01  # of phi
    log: str = "clamp"  # or "log1p"
    words: str = "equal"  # or "idf": how much each word of the query counts

    def __post_init__(self) -> None:
        require_settings("K-NRM", self, kernels=Range(2), sigma=POSITIVE, exact_sigma=POSITIVE, scale=POSITIVE)
        require_one_of("K-NRM", self, "log", ("clamp", "log1p"))
        require_one_of("K-NRM", self, "words", ("equal", "idf"))


def scaled_logs(sums: Tensor, pairs: Pairs, settings: KNRMSettings) -> Tensor:
    """Kernel sums (B, m, K) -> their scaled logarithms, each word's times its idf where words count by it."""
    logs = settings.scale * log_sums(sums, pairs.query_mask, smooth=settings.log == "log1p")
    return logs * pairs.idf.unsqueeze(-1) if settings.words == "idf" else logs


class KNRM(NeuralRanker):
    """Kernel pooling over the match matrix."""

    name = "knrm"
    symmetric = False
    focus = "interaction"
    granularity = "single"
    bounded = True
    trains_vectors = True
    settings: KNRMSettings

    def __init__(self, vectors: WordVectors, settings: KNRMSettings | None = None) -> None:
        settings = settings or KNRMSettings()
        super().__init__(vectors, settings)
        self.kernels = kernels(settings.kernels, sigma=settings.sigma, exact=settings.exact_sigma)
        self.output = nn.Linear(settings.kernels, 1)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        return torch.tanh(self.output(self.logs(pairs).sum(1)).squeeze(-1))

    def logs(self, pairs: Pairs) -> Tensor:
        """(B, m, K): the scaled logarithms, whose sum over i is phi."""
        matches, mask = self.explain(pairs), pair_mask(pairs)
        exact = kernel_sums(indicator_matches(pairs), mask, self.kernels[:1])
        sums = torch.cat([exact, kernel_sums(matches, mask, self.kernels[1:])], dim=-1)
        return scaled_logs(sums, pairs, self.settings)

    def explain(self, pairs: Pairs) -> Tensor:
        """(B, m, n): cosines."""
        return cosine_matches(self.vectors(pairs.query), self.vectors(pairs.document), pairs)

    def term_scores(self, pairs: Pairs) -> Tensor:
        """(B, m): w . logs of the word, what it adds before the bias and the tanh."""
        return self.logs(pairs) @ self.output.weight[0]
