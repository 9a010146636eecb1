"""DRMM: a histogram of each query word's matches, weighed by how much the word matters (Guo et al., CIKM 2016).

    h_i = log(1 + counts of M_i. in 29 equal parts of -1 to 1, and of the exact matches in a bin of their own)
    z_i = tanh(w_2 tanh(W_1 h_i + b_1) + b_2);   g = softmax_i(w_g idf_i), or softmax_i(w_g . q_i);   f = sum_i g_i z_i

Shapes    M (B, m, n) cosines -> h (B, m, bins) -> z, g (B, m) -> (B,), -1 to 1
Vectors   frozen: a histogram has no gradient. Exact matches are told by ids
Against   knrm.py counts softly; drmm_tks.py takes the best matches instead of counts
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import histograms, masked_softmax
from foveal.ranking.neural.vectors import WordVectors

HISTOGRAMS = ("log", "count", "share")
GATES = ("idf", "vectors")


@dataclass(frozen=True, kw_only=True)
class DRMMSettings:
    """The histogram, the network over it, and the gate over words."""

    bins: int = 30  # the last one for exact matches
    hidden: int = 5
    histogram: str = "log"  # LCH: log(1 + count); "count" CH; "share" NH: the count over that of all bins
    gate: str = "idf"  # or "vectors", TV

    def __post_init__(self) -> None:
        require_sizes("DRMM", self, "hidden")
        if self.bins < 2 or self.histogram not in HISTOGRAMS or self.gate not in GATES:
            raise InputError(
                f"DRMM got bins={self.bins}, histogram={self.histogram!r}, gate={self.gate!r}; it needs at least 2 "
                f"bins, one of {', '.join(HISTOGRAMS)}, and one of {', '.join(GATES)}."
            )


class DRMM(NeuralRanker):
    """Histogram matching with a gate over the query's words."""

    name = "drmm"
    symmetric = False
    focus = "interaction"
    granularity = "single"
    bounded = True
    settings: DRMMSettings

    def __init__(self, vectors: WordVectors, settings: DRMMSettings | None = None) -> None:
        """InputError: the word vectors are trained, which histograms cannot."""
        settings = settings or DRMMSettings()
        super().__init__(vectors, settings)
        if vectors.trained:
            raise InputError("DRMM got word vectors that are trained, but no gradient passes a histogram. Freeze them.")
        self.network = term_network(settings.bins, settings.hidden)
        self.gate = TermGate(vectors.dimension, settings.gate)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        return self.term_scores(pairs).sum(1)

    def term_scores(self, pairs: Pairs) -> Tensor:
        """(B, m): g_i z_i."""
        weights = self.gate(self.vectors(pairs.query), pairs.idf, pairs.query_mask)
        added: Tensor = weights * self.network(self.histograms(pairs)).squeeze(-1)
        return added

    def histograms(self, pairs: Pairs) -> Tensor:
        """(B, m, bins): h."""
        counts = self.counts(self.explain(pairs), pairs)
        if self.settings.histogram == "log":
            return counts.log1p()
        return counts / counts.sum(-1, keepdim=True).clamp(min=1) if self.settings.histogram == "share" else counts

    def counts(self, matches: Tensor, pairs: Pairs) -> Tensor:
        """M (B, m, n) -> (B, m, bins): how many of a word's matches each bin holds."""
        return histograms(matches, pairs, self.settings.bins)


class TermGate(nn.Module):
    """How much each word of the query counts: a softmax over them, of w idf or of w . vector."""

    def __init__(self, dimension: int, kind: str) -> None:
        super().__init__()
        self.kind = kind
        self.weight = nn.Linear(1 if kind == "idf" else dimension, 1, bias=False)  # a bias would change nothing
        if kind == "idf":
            nn.init.constant_(self.weight.weight, 0.1)  # idf is large: one drawn below 0 hides rare words for good

    def forward(self, vectors: Tensor, idf: Tensor, mask: Tensor) -> Tensor:
        """Vectors (B, m, E), idf and mask (B, m) -> (B, m); all 0 where there is no word."""
        logits = self.weight(idf.unsqueeze(-1) if self.kind == "idf" else vectors)
        return masked_softmax(logits.squeeze(-1), mask)


def term_network(inputs: int, hidden: int) -> nn.Sequential:
    """tanh(w_2 tanh(W_1 x + b_1) + b_2)."""
    return nn.Sequential(nn.Linear(inputs, hidden), nn.Tanh(), nn.Linear(hidden, 1), nn.Tanh())
