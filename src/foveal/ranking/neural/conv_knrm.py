"""Conv-KNRM: kernel pooling over matches of n-grams (Dai et al., WSDM 2018).

    g^h_i = ReLU(W_h [q_i .. q_{i+h-1}] + b_h), h = 1 .. H, and likewise for the document with the same W_h
    one M per pair of lengths (h_q, h_d), by cosine; kernel pooling on each (knrm.py);   f = tanh(w . (scale phi) + b)

Shapes    vectors (B, m, E) -> H times (B, m, filters) -> H H matrices (B, m, n), K kernels each -> (B,), -1 to 1
Windows   past a text's end there are zero vectors; a window counts where its first word is one
Against   knrm.py sees words one by one; here "neural network" can match "deep learning" as a phrase
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.knrm import KNRMSettings, scaled_logs
from foveal.ranking.neural.matches import cosines, kernel_sums, kernels, pair_mask
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class ConvKNRMSettings(KNRMSettings):
    """K-NRM's (its idf is that of an n-gram's first word), and the n-grams."""

    filters: int = 128
    longest: int = 3  # words of the longest n-gram
    cross: bool = True  # also match n-grams of different lengths

    def __post_init__(self) -> None:
        super().__post_init__()
        require_sizes("Conv-KNRM", self, "filters", "longest")


class ConvKNRM(NeuralRanker):
    """Kernel pooling over the match matrices of n-grams."""

    name = "conv-knrm"
    symmetric = False
    focus = "interaction"
    granularity = "multiple"
    bounded = True
    trains_vectors = True
    settings: ConvKNRMSettings

    def __init__(self, vectors: WordVectors, settings: ConvKNRMSettings | None = None) -> None:
        settings = settings or ConvKNRMSettings()
        super().__init__(vectors, settings)
        self.kernels = kernels(settings.kernels, sigma=settings.sigma, exact=settings.exact_sigma)
        lengths = range(1, settings.longest + 1)
        self.grams = nn.ModuleList(nn.Conv1d(vectors.dimension, settings.filters, length) for length in lengths)
        self.matched = [(q, d) for q in lengths for d in lengths if settings.cross or q == d]
        self.output = nn.Linear(len(self.matched) * settings.kernels, 1)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        return torch.tanh(self.output(self.logs(pairs).sum(1)).squeeze(-1))

    def logs(self, pairs: Pairs) -> Tensor:
        """(B, m, matrices · K): the scaled logarithms, whose sum over i is phi."""
        mask = pair_mask(pairs)
        sums = [kernel_sums(matches, mask, self.kernels) for matches in self.matches(pairs)]
        return scaled_logs(torch.cat(sums, dim=-1), pairs, self.settings)

    def matches(self, pairs: Pairs) -> list[Tensor]:
        """The matrices (B, m, n) in the order of `matched`. Equal n-grams have cosine 1 to float32's last bit or two,
        which the exact kernel (sigma 1e-3) does not see.
        """
        query = self._grams(self.vectors(pairs.query))
        document = self._grams(self.vectors(pairs.document))
        return [cosines(query[q - 1], document[d - 1]) for q, d in self.matched]

    def explain(self, pairs: Pairs) -> Tensor:
        """(B, m, n): the best match of the n-grams of any length that begin at the two words."""
        return torch.stack(self.matches(pairs)).amax(0) * pair_mask(pairs)

    def term_scores(self, pairs: Pairs) -> Tensor:
        """(B, m): w . logs of the n-grams that begin at the word, before the bias and the tanh."""
        return self.logs(pairs) @ self.output.weight[0]

    def _grams(self, vectors: Tensor) -> list[Tensor]:
        """(B, m, E) -> for each length (B, m, filters)."""
        channels = vectors.transpose(1, 2)
        return [F.relu(gram(F.pad(channels, (0, length)))).transpose(1, 2) for length, gram in enumerate(self.grams)]
