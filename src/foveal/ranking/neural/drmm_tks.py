"""DRMM-TKS: DRMM with the k best matches of each query word in place of their histogram (MatchZoo's variant).

    t_i = the k highest of M_i., falling;   z_i = tanh(w_2 tanh(W_1 t_i + b_1) + b_2);   f = sum_i g_i z_i, g as in DRMM

Shapes    M (B, m, n) cosines -> t (B, m, k) -> (B,), -1 to 1; a document of fewer words gives 0 for those it lacks
Against   drmm.py: the order of values has a gradient, so that word vectors can be trained
"""

from __future__ import annotations

from dataclasses import dataclass

from torch import Tensor

from foveal.errors import InputError
from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.drmm import GATES, TermGate, term_network
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import pair_mask, top_matches
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class DRMMTKSSettings:
    """The matches taken, the network over them, and the gate over words."""

    k: int = 10
    hidden: int = 5
    gate: str = "idf"  # or "vectors"

    def __post_init__(self) -> None:
        require_sizes("DRMM-TKS", self, "k", "hidden")
        if self.gate not in GATES:
            raise InputError(f"DRMM-TKS got gate={self.gate!r}; it needs one of {', '.join(GATES)}.")


class DRMMTKS(NeuralRanker):
    """The best matches of each word, with a gate over words."""

    name = "drmm-tks"
    symmetric = False
    focus = "interaction"
    granularity = "single"
    bounded = True
    settings: DRMMTKSSettings

    def __init__(self, vectors: WordVectors, settings: DRMMTKSSettings | None = None) -> None:
        settings = settings or DRMMTKSSettings()
        super().__init__(vectors, settings)
        self.network = term_network(settings.k, settings.hidden)
        self.gate = TermGate(vectors.dimension, settings.gate)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        return self.term_scores(pairs).sum(1)

    def term_scores(self, pairs: Pairs) -> Tensor:
        """(B, m): g_i z_i."""
        best = top_matches(self.explain(pairs), pair_mask(pairs), self.settings.k)
        weights = self.gate(self.vectors(pairs.query), pairs.idf, pairs.query_mask)
        added: Tensor = weights * self.network(best).squeeze(-1)
        return added
