"""Co-PACRR: PACRR with the context of its best matches, their place in the document, and no order of the query's words
(Hui, Yates, Berberich and de Melo, "Co-PACRR: A Context-Aware Neural IR Model for Ad-hoc Retrieval", WSDM 2018).

    maps C^1 … C^l_g as in pacrr.py;  context_j = cos(mean of q, mean of the words around d_j)
    row i: for each C^g, for the first 1/4, 2/4, 3/4 and 4/4 of the document: the k best values of C^g_i, and the
    contexts of their places; then softmax(idf)_i
    f = MLP (32, 32, 1, ReLU between) of all rows, side by side

Shapes      B pairs of m and n words -> (B,). The MLP needs `query_length` rows: longer queries are cut, shorter ones
            end in rows of 0. Parts of a document are parts of its own words, rounded up
Shuffled    in training the rows, empty ones too, change places, in one order for the whole batch: the MLP learns that
            their order means nothing. In evaluation they stay as they are
Ties        values that agree to 1/8192 count as equal, and the first place comes first: by rounding alone a word that
            comes twice would give the context of now the one, now the other place
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.ranking.neural.base import NeuralRanker, perceptron, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import cosine_matches, cosines, masked_softmax, pair_mask
from foveal.ranking.neural.pacrr import NgramMaps
from foveal.ranking.neural.vectors import WordVectors

TIE = 1 / 8192
"""Values whose multiples of this, rounded, are the same count as equal."""


@dataclass(frozen=True, kw_only=True)
class CoPACRRSettings:
    """Sizes of Co-PACRR; checked when made."""

    query_length: int = 20  # rows of the MLP
    longest: int = 3  # l_g, words of the longest n-gram
    filters: int = 32  # of each convolution
    k: int = 3  # best values of a query word, an n-gram size and a part of the document
    parts: int = 4  # of the document: its first 1/4, 2/4, 3/4, 4/4
    context: int = 6  # words around a place whose mean is its context: 2 before it, itself, 3 after it
    hidden: int = 32  # units of both hidden layers

    def __post_init__(self) -> None:
        require_sizes("Co-PACRR", self, *(one.name for one in fields(self)))


class CoPACRR(NeuralRanker):
    """An MLP over shuffled rows of best matches and their contexts; see the module's head."""

    name = "co-pacrr"
    symmetric = False
    focus = "interaction"
    granularity = "multiple"
    settings: CoPACRRSettings

    def __init__(self, vectors: WordVectors, settings: CoPACRRSettings | None = None) -> None:
        chosen = settings or CoPACRRSettings()
        super().__init__(vectors, chosen)
        self.maps = NgramMaps(chosen.longest, chosen.filters)
        row = chosen.longest * chosen.parts * 2 * chosen.k + 1
        self.mlp = perceptron([chosen.query_length * row, chosen.hidden, chosen.hidden, 1])

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        rows = self.rows(pairs)
        rows = F.pad(rows, (0, 0, 0, self.settings.query_length - rows.shape[1]))  # a negative pad cuts
        if self.training:
            rows = rows[:, torch.randperm(rows.shape[1], device=rows.device)]
        scores: Tensor = self.mlp(rows.flatten(1)).squeeze(1)
        return scores

    def rows(self, pairs: Pairs) -> Tensor:
        """What is known of each query word, (B, m, longest * parts * 2k + 1); 0 where there is none."""
        query, document = self.vectors(pairs.query), self.vectors(pairs.document)
        context = context_matches(query, document, self.settings.context)
        mask = pair_mask(pairs)
        length = pairs.document_mask.sum(1)[:, None, None]
        place = torch.arange(mask.shape[2], device=mask.device)
        parts = self.settings.parts
        first = [mask & (place * parts < length * part) for part in range(1, parts + 1)]
        maps = self.maps(cosine_matches(query, document, pairs))
        best = [best_in_context(one, part, context, self.settings.k) for one in maps for part in first]
        return torch.cat([*best, masked_softmax(pairs.idf, pairs.query_mask).unsqueeze(2)], dim=2)


def context_matches(query: Tensor, document: Tensor, size: int) -> Tensor:
    """Vectors (B, m, E) and (B, n, E), 0 at padding -> (B, n): the query's mean against that of `size` words around j.

    The window holds (size - 1) // 2 words before j and size // 2 after it. Sums have the cosines of means.
    """
    padded = F.pad(document.float().transpose(1, 2), ((size - 1) // 2, size // 2))
    around = F.avg_pool1d(padded, size, stride=1).transpose(1, 2)
    return cosines(query.float().sum(1, keepdim=True), around).squeeze(1)


def best_in_context(values: Tensor, mask: Tensor, context: Tensor, k: int) -> Tensor:
    """Values and mask (B, m, n), contexts (B, n) -> (B, m, 2k): the best values where the mask is, then the contexts of
    their places; 0 where there are fewer.
    """
    keys = (values / TIE).round().masked_fill(~mask, -torch.inf)
    places = keys.sort(dim=2, descending=True, stable=True).indices[..., :k]
    held = mask.gather(2, places)
    best = values.gather(2, places) * held
    contexts = context.unsqueeze(1).expand_as(values).gather(2, places) * held
    short = k - places.shape[2]
    return torch.cat([F.pad(best, (0, short)), F.pad(contexts, (0, short))], dim=2)
