"""HiNT: each passage matched with the query by 2-D GRUs, then the strongest signals of all passages, alone and in
their sequence (Fan et al., "Modeling Diverse Relevance Patterns in Ad-hoc Retrieval", SIGIR 2018).

    S^M_ij = [w_s . q_i, w_s . d_j, M_ij],  M the exact matches, and the cosines       for each passage of 100 words
    e_p = last states of 2-D GRUs (2 units) over both S, from the upper left and from the lower right corner    (8)
    v_p = tanh(W e_p + b)   (10);   forward and backward h_p of an LSTM (10) over e_1, e_2, …
    f = w . (for each of the 10 numbers: the 10 best of all v_p and both h_p, falling) + c

Shapes      B pairs of m and n words -> (B,). Passages are cut from a document's start; the last one may be shorter
Padding     GRUs start and end at real words; passages without words are not computed, and not among the best; where
            there are fewer than 10 values, 0 stands
LSTM        reads e_p, as in the authors' configuration, not v_p
"""

from __future__ import annotations

from dataclasses import dataclass, fields

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.grid_gru import GridGRU, turned
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import cosine_matches, indicator_matches, top_matches
from foveal.ranking.neural.vectors import WordVectors


@dataclass(frozen=True, kw_only=True)
class HiNTSettings:
    """Sizes of HiNT; checked when made."""

    passage: int = 100  # words
    passages: int = 20  # of a document, the first ones
    units: int = 2  # of each 2-D GRU
    signals: int = 10  # numbers of v_p, and units of the LSTM in each direction
    k: int = 10  # best values of each number

    def __post_init__(self) -> None:
        require_sizes("HiNT", self, *(one.name for one in fields(self)))


class HiNT(NeuralRanker):
    """A local matching layer for each passage, and a global decision layer; see the module's head."""

    name = "hint"
    symmetric = False
    focus = "interaction"
    granularity = "multiple"
    settings: HiNTSettings

    def __init__(self, vectors: WordVectors, settings: HiNTSettings | None = None) -> None:
        chosen = settings or HiNTSettings()
        super().__init__(vectors, chosen)
        self.reduced = nn.Linear(vectors.dimension, 1, bias=False)
        self.matching = GridGRU(3, chosen.units, grids=4)  # exact down, exact up, cosines down, cosines up
        self.alone = nn.Linear(4 * chosen.units, chosen.signals)
        self.lstm = nn.LSTM(4 * chosen.units, chosen.signals, batch_first=True, bidirectional=True)
        self.output = nn.Linear(chosen.signals * chosen.k, 1)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        evidence, mask = self.passage_evidence(pairs)
        return self.decision(evidence, mask)

    def passage_evidence(self, pairs: Pairs) -> tuple[Tensor, Tensor]:
        """e, (B, P, 4 * units), and which passages have words, (B, P) bool."""
        words = self._cut(pairs.document_mask.unsqueeze(1)).sum((2, 3))  # (B, P)
        mask = (words > 0) & pairs.query_mask.any(1, keepdim=True)
        pair, passage = mask.nonzero(as_tuple=True)
        rows, columns = pairs.query_mask.sum(1)[pair], words[pair, passage]
        cut = [self._cut(grid)[pair, passage] for grid in self._grids(pairs)]
        views = torch.stack([view for one in cut for view in (one, turned(one, rows, columns))])
        found = self.matching(views, rows, columns).transpose(0, 1).flatten(1)
        evidence = found.new_zeros(*mask.shape, found.shape[1]).index_put((pair, passage), found)
        return evidence, mask

    def decision(self, evidence: Tensor, mask: Tensor) -> Tensor:
        """Evidence (B, P, 4 * units) and its mask (B, P) -> scores (B,)."""
        alone = torch.tanh(self.alone(evidence))
        lengths = mask.sum(1).clamp(min=1)  # a sequence of none cannot be packed; its mask is empty all the same
        packed = pack_padded_sequence(evidence, lengths.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.lstm(packed)[0], batch_first=True, total_length=mask.shape[1])
        signals = torch.cat([alone, *states.chunk(2, dim=2)], dim=1).transpose(1, 2)  # (B, signals, 3 P)
        best = top_matches(signals, mask.repeat(1, 3).unsqueeze(1).expand_as(signals), self.settings.k)
        scores: Tensor = self.output(best.flatten(1)).squeeze(1)
        return scores

    def _grids(self, pairs: Pairs) -> list[Tensor]:
        """S of the exact matches and of the cosines, each (B, m, n, 3)."""
        query, document = self.vectors(pairs.query), self.vectors(pairs.document)
        cosines = cosine_matches(query, document, pairs)
        of_query = self.reduced(query).expand_as(cosines)
        of_document = self.reduced(document).transpose(1, 2).expand_as(cosines)
        return [torch.stack([of_query, of_document, one], dim=3) for one in (indicator_matches(pairs), cosines)]

    def _cut(self, grid: Tensor) -> Tensor:
        """(B, m, n, …) -> (B, P, m, passage, …): the document's passages, the last one filled with 0."""
        size = self.settings.passage
        count = min(self.settings.passages, -(-grid.shape[2] // size))
        missing = count * size - grid.shape[2]  # below 0 it cuts
        grid = F.pad(grid, (*[0, 0] * (grid.dim() - 3), 0, missing))
        return grid.reshape(*grid.shape[:2], count, size, *grid.shape[3:]).transpose(1, 2)
