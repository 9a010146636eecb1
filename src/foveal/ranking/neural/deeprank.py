"""DeepRank: reads only around the places where a query word stands in the document (Pang, Lan, Guo, Xu, Xu and Cheng,
"DeepRank: A New Deep Architecture for Relevance Ranking in Information Retrieval", CIKM 2017).

    for query word i, its first 20 places p:
    S = [w_s . q_a, w_s . d_b, cos(q_a, d_b)], a of the query, b = p - 5 … p + 5           3 x m x 11
    x_p = [LeakyReLU(max over (a, b) of (3 x 3 convolution of S)), 1 / (p + 1)]              4 + 1 numbers, p from 0
    h_i = max over p of the states of a GRU of 3 units in both directions                    6 numbers, 0 without one
    f = w . sum over i of w_i h_i + c,  w_i = the idf of the word plus what is learned for it

Shapes      B pairs of m and n words -> (B,); words are the same where their ids are
Weights     one number a word, as in the authors' code, which starts at its idf: here the idf, and a number that starts
            at 0. A word never seen in training keeps its idf
Padding     the convolution sees 0 beyond the texts, and its values there are not among the maximum
"""

from __future__ import annotations

from dataclasses import dataclass, fields
from typing import NamedTuple

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence

from foveal.ranking.neural.base import NeuralRanker, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.matches import cosine_matches, same_word
from foveal.ranking.neural.vectors import WordVectors

SLOPE = 0.2
"""Of the leaky ReLU below 0."""


@dataclass(frozen=True, kw_only=True)
class DeepRankSettings:
    """Sizes of DeepRank; checked when made."""

    places: int = 20  # of a query word, the first ones
    around: int = 5  # words on either side of a place
    filters: int = 4
    units: int = 3  # of the GRU, in each direction

    def __post_init__(self) -> None:
        require_sizes("DeepRank", self, *(one.name for one in fields(self)))


class Places(NamedTuple):
    """N places where a query word stands in the document, ordered by pair, query word, place; each (N,)."""

    pair: Tensor
    word: Tensor  # of the query
    place: Tensor  # in the document
    before: Tensor  # how many places of this query word came before


class DeepRank(NeuralRanker):
    """Snippets around exact matches, by query word; see the module's head."""

    name = "deeprank"
    symmetric = False
    focus = "interaction"
    granularity = "multiple"
    settings: DeepRankSettings

    def __init__(self, vectors: WordVectors, settings: DeepRankSettings | None = None) -> None:
        chosen = settings or DeepRankSettings()
        super().__init__(vectors, chosen)
        self.reduced = nn.Linear(vectors.dimension, 1, bias=False)
        self.convolution = nn.Conv2d(3, chosen.filters, 3, padding=1)
        self.gru = nn.GRU(chosen.filters + 1, chosen.units, batch_first=True, bidirectional=True)
        self.learned = nn.Embedding(len(vectors.table), 1)
        nn.init.zeros_(self.learned.weight)
        self.output = nn.Linear(2 * chosen.units, 1)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        return self.term_scores(pairs).sum(1) + self.output.bias

    def term_scores(self, pairs: Pairs) -> Tensor:
        """w_i (w . h_i), (B, m): 0 for a word that the document lacks. The score is their sum, and a constant."""
        weights = pairs.idf + self.learned(pairs.query).squeeze(2)
        scores: Tensor = weights * (self.states(pairs) @ self.output.weight[0])
        return scores

    def states(self, pairs: Pairs) -> Tensor:
        """h, (B, m, 2 * units)."""
        found = places(pairs, self.settings.places)
        batch, words = pairs.query.shape
        states = self.output.weight.new_zeros(batch * words, 2 * self.settings.units)
        if len(found.pair):
            rows, counts = torch.unique_consecutive(found.pair * words + found.word, return_counts=True)
            read = self._read(self._seen(pairs, found), found.before, counts)
            states = states.index_copy(0, rows, read.to(states.dtype))
        return states.reshape(batch, words, -1)

    def _seen(self, pairs: Pairs, found: Places) -> Tensor:
        """x, (N, filters + 1)."""
        windows, mask = self.windows(pairs, found)
        values = self.convolution(windows).masked_fill(~mask.unsqueeze(1), -torch.inf)
        best = F.leaky_relu(values.amax(dim=(2, 3)), SLOPE)
        return torch.cat([best, 1 / (found.place + 1).to(best.dtype).unsqueeze(1)], dim=1)

    def windows(self, pairs: Pairs, found: Places) -> tuple[Tensor, Tensor]:
        """S (N, 3, m, 2 * around + 1), 0 beyond the texts, and where in them it lies, (N, m, 2 * around + 1) bool."""
        query, document = self.vectors(pairs.query), self.vectors(pairs.document)
        size = pairs.document.shape[1]
        near = found.place[:, None] + torch.arange(-self.settings.around, self.settings.around + 1).to(query.device)
        held, pair = near.clamp(0, size - 1), found.pair[:, None]
        inside = (near == held) & pairs.document_mask[pair, held]
        mask = pairs.query_mask[found.pair].unsqueeze(2) & inside.unsqueeze(1)
        cosines = cosine_matches(query, document, pairs).transpose(1, 2)[pair, held].transpose(1, 2)
        of_query = self.reduced(query)[found.pair].expand_as(cosines)
        of_document = self.reduced(document).squeeze(2)[pair, held].unsqueeze(1).expand_as(cosines)
        return torch.stack([of_query, of_document, cosines], dim=1) * mask.unsqueeze(1), mask

    def _read(self, seen: Tensor, before: Tensor, counts: Tensor) -> Tensor:
        """x (N, filters + 1), its number in its row (N,), and the rows' lengths (R,) -> h (R, 2 * units)."""
        row = torch.repeat_interleave(torch.arange(len(counts), device=seen.device), counts)
        rows = seen.new_zeros(len(counts), int(counts.max()), seen.shape[1]).index_put((row, before), seen)
        packed = pack_padded_sequence(rows, counts.cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.gru(packed)[0], batch_first=True, padding_value=-torch.inf)
        return states.amax(1)


def places(pairs: Pairs, limit: int) -> Places:
    """The first `limit` places of each query word in its document."""
    found = same_word(pairs)
    order = found.cumsum(2)
    pair, word, place = (found & (order <= limit)).nonzero(as_tuple=True)
    return Places(pair, word, place, order[pair, word, place] - 1)
