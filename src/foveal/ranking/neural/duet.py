"""DUET: exact matches and learned vectors of the letters, each scored by a network of its own, added (Mitra, Diaz and
Craswell, "Learning to Match Using Local and Distributed Representations of Text for Web Search", WWW 2017).

    local         X_ij = idf_i [q_i = d_j];  ReLU(W X_i + b) over the whole document for each query word; ReLU(FC); FC
    distributed   x_t = counts of the letter n-grams of word t, n = 1 to 5
                  q: ReLU(convolution over 3 words), max over t, ReLU(FC)
                  d: ReLU(convolution over 3 words), max over windows of `pool` words, ReLU(FC) of each window
                  q times each window of d, number by number; ReLU(FC); FC
    f = 0.1 (f_local + f_distributed)

Shapes      words and ids of B pairs -> (B,). Both networks need fixed lengths: longer texts are cut, shorter ones end
            in zeros, and what sees no word is 0
Collapse    without care all scores become equal (MatchZoo's tutorial: MAP 0.32 on WikiQA): the last layers start at 0
            to 0.01, dropout is high, and the sum is scaled by 0.1
Cosines     in place of [q_i = d_j], by `match`, raised MRR@10 on MS MARCO from 0.20 to 0.26 (Hofstätter et al.)
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.ranges import POSITIVE, require_number, require_one_of
from foveal.ranking.neural.base import NeuralRanker, perceptron, require_sizes
from foveal.ranking.neural.inputs import Pairs
from foveal.ranking.neural.letters import LetterGrams, LetterSums, Words, lengths_of, letters_of, window_sums
from foveal.ranking.neural.matches import cosine_matches, indicator_matches
from foveal.ranking.neural.vectors import WordVectors

LONGEST_POOL = 100
"""Words of a document's pooling window in the paper, whose documents have 1,000 words."""


@dataclass(frozen=True, kw_only=True)
class DUETSettings:
    """Sizes of DUET; checked when made."""

    query_length: int = 20  # words, at least `window`
    document_length: int = 200
    filters: int = 300
    hidden: int = 300
    features: int = 2_000  # places of letter n-grams
    window: int = 3  # words of a convolution
    pool: int | None = None  # words of a document's pooling window; None: 100, or half of a shorter document
    dropout: float = 0.5
    match: Literal["exact", "cosine"] = "exact"
    weighted: bool = True  # the local matches by idf
    scale: float = 0.1  # of the score

    def __post_init__(self) -> None:
        require_sizes("DUET", self, "filters", "hidden", "features", "window", "pool")
        if min(self.query_length, self.document_length) < self.window or min(self.windows, self.pooled) < 1:
            raise InputError(
                f"DUET got query_length={self.query_length}, document_length={self.document_length}, window="
                f"{self.window}, pool={self.pooled}; both lengths must hold a window, and the document's at least "
                "window + pool - 1 words. Lengthen the texts, or take a smaller window or pool."
            )
        require_number("DUET", "scale", self.scale, POSITIVE)
        require_one_of("DUET", self, "match", ("exact", "cosine"))

    @property
    def pooled(self) -> int:
        """Words of a document's pooling window."""
        return min(LONGEST_POOL, self.document_length // 2) if self.pool is None else self.pool

    @property
    def windows(self) -> int:
        """How many pooling windows a document has."""
        return self.document_length - self.window + 1 - self.pooled + 1


class DUET(NeuralRanker):
    """A local and a distributed network, added; see the module's head. InputError in a call: pairs without words."""

    name = "duet"
    symmetric = False
    focus = "hybrid"
    granularity = "single"
    needs_words = True
    settings: DUETSettings

    def __init__(self, vectors: WordVectors, settings: DUETSettings | None = None) -> None:
        chosen = settings or DUETSettings()
        super().__init__(vectors, chosen)
        self.local = _Local(chosen)
        self.distributed = _Distributed(chosen)

    def forward(self, pairs: Pairs) -> Tensor:
        """Scores (B,)."""
        queries, documents = letters_of(pairs, self.name)
        local = self.local(self.local_matches(pairs), pairs.query_mask)
        scores: Tensor = self.settings.scale * (local + self.distributed(queries, documents))
        return scores

    def explain(self, pairs: Pairs) -> Tensor:
        """(B, m, n): what the local network sees."""
        return self.local_matches(pairs)

    def local_matches(self, pairs: Pairs) -> Tensor:
        """X, (B, m, n)."""
        if self.settings.match == "exact":
            found = indicator_matches(pairs)
        else:
            found = cosine_matches(self.vectors(pairs.query), self.vectors(pairs.document), pairs)
        return found * pairs.idf.unsqueeze(2) if self.settings.weighted else found


class _Local(nn.Module):
    def __init__(self, settings: DUETSettings) -> None:
        super().__init__()
        self.sizes = settings.query_length, settings.document_length
        self.columns = nn.Linear(settings.document_length, settings.filters)
        self.scorer = _scorer(settings.query_length * settings.filters, settings)

    def forward(self, matches: Tensor, query_mask: Tensor) -> Tensor:
        """X (B, m, n) and where the query has a word (B, m) -> (B,)."""
        rows = self.sizes[0]
        mask = F.pad(query_mask, (0, rows - query_mask.shape[1])).unsqueeze(2)  # a negative pad cuts
        found = F.relu(self.columns(fitted(matches, *self.sizes))) * mask
        scores: Tensor = self.scorer(found.flatten(1)).squeeze(1)
        return scores


class _Distributed(nn.Module):
    def __init__(self, settings: DUETSettings) -> None:
        super().__init__()
        self.settings = settings
        grams = LetterGrams(settings.features, shortest=1, longest=5)
        self.query_letters = LetterSums(grams, settings.window * settings.filters)
        self.document_letters = LetterSums(grams, settings.window * settings.filters)
        self.query_bias = nn.Parameter(torch.zeros(settings.filters))
        self.document_bias = nn.Parameter(torch.zeros(settings.filters))
        self.query_dense = nn.Linear(settings.filters, settings.filters)
        self.document_dense = nn.Linear(settings.filters, settings.filters)  # a convolution of width 1
        self.scorer = _scorer(settings.windows * settings.filters, settings)

    def forward(self, queries: Words, documents: Words) -> Tensor:
        """Word lists of B queries and documents -> (B,)."""
        query = self._windows(self.query_letters, self.query_bias, queries, self.settings.query_length).amax(1)
        query = F.relu(self.query_dense(query))
        words = self._windows(self.document_letters, self.document_bias, documents, self.settings.document_length)
        best = F.max_pool1d(words.transpose(1, 2), self.settings.pooled, stride=1).transpose(1, 2)
        document = F.relu(self.document_dense(best)) * _sees(documents, best).unsqueeze(2)
        scores: Tensor = self.scorer((query.unsqueeze(1) * document).flatten(1)).squeeze(1)
        return scores

    def _windows(self, letters: LetterSums, bias: Tensor, texts: Words, length: int) -> Tensor:
        """ReLU of the convolution, (B, length - window + 1, filters); 0, its least value, where it sees no word."""
        sums = window_sums(letters.of_words(texts, length), self.settings.window)
        return F.relu(sums + bias) * _sees(texts, sums).unsqueeze(2)


def _scorer(inputs: int, settings: DUETSettings) -> nn.Sequential:
    """(…, inputs) -> (…, 1), the last layer drawn from 0 to 0.01."""
    network = perceptron([inputs, settings.hidden, 1], dropout=settings.dropout)
    *_, weight, bias = network.parameters()  # of the last layer
    nn.init.uniform_(weight, 0.0, 0.01)
    nn.init.zeros_(bias)
    return network


def fitted(grid: Tensor, rows: int, columns: int) -> Tensor:
    """(B, m, n) -> (B, rows, columns): cut, or filled with zeros."""
    return F.pad(grid, (0, columns - grid.shape[2], 0, rows - grid.shape[1]))  # a negative pad cuts


def _sees(texts: Words, places: Tensor) -> Tensor:
    """(B, places) bool: whether a window that starts at a place starts at a word; later ones see none."""
    return torch.arange(places.shape[1], device=places.device) < lengths_of(texts, places.device)[:, None]
