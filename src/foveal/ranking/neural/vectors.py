"""Word vectors: a table from ids to vectors, with which all neural rankers begin.

Shapes    ids (…) long -> vectors (…, E) float32; padding (id 0) is the zero vector
From      an encoder's wordpiece table: the mean over a word's pieces, then the E directions of most variance (PCA); the
          texts themselves: positive pointwise mutual information of words near each other, factorised (Levy and
          Goldberg, NeurIPS 2014); or drawn at random
Length    each is scaled to length 1 by choice, in float32, so that a dot product is a cosine. A frozen table is scaled
          once, one that is trained at each look
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor, nn

from foveal.errors import InputError
from foveal.models.word_vectors import principal, word_vectors
from foveal.ranking.neural.inputs import Vocabulary, words


class WordVectors(nn.Module):
    """A table (V, E) of word vectors; row 0, padding, is and stays zero."""

    table: Tensor

    def __init__(self, table: Tensor, *, unit: bool = True, trained: bool = False) -> None:
        """`unit`: vectors of length 1. `trained`: the table is a parameter, else a buffer. InputError: no table."""
        super().__init__()
        if table.dim() != 2 or len(table) < 2 or not table.shape[1]:
            raise InputError(f"Word vectors got a table {tuple(table.shape)}; it needs (V, E), V at least 2.")
        table = table.detach().float().clone()
        table[0] = 0
        self.unit, self.trained = unit, trained
        if trained:
            self.table = nn.Parameter(table)
        else:
            self.register_buffer("table", F.normalize(table, dim=-1) if unit else table)

    @property
    def dimension(self) -> int:
        """E."""
        return int(self.table.shape[1])

    def forward(self, ids: Tensor) -> Tensor:
        """ids (…) -> (…, E)."""
        found = F.embedding(ids, self.table)
        if not self.trained:
            return found
        found = found * (ids > 0).unsqueeze(-1)  # no gradient reaches row 0, so that it stays zero
        return F.normalize(found.float(), dim=-1) if self.unit else found

    def like(self, *, trained: bool) -> WordVectors:
        """A copy that is trained, or frozen."""
        return WordVectors(self.table, unit=self.unit, trained=trained)

    def beside(self, other: WordVectors) -> WordVectors:
        """Both vectors of each word in one, each at length 1 first: a cosine is the mean of both cosines.

        Vectors of an encoder know words that the texts hold once; those learnt from the texts know what a word means
        there. InputError: tables of different vocabularies.
        """
        if len(self.table) != len(other.table):
            raise InputError(
                f"Word vectors of {len(self.table)} ids cannot stand beside those of {len(other.table)}. Make both for "
                "the same vocabulary."
            )
        parts = [F.normalize(one.table.detach(), dim=-1) for one in (self, other)]
        return WordVectors(torch.cat(parts, dim=1), unit=self.unit, trained=self.trained)

    @classmethod
    def random(
        cls, size: int, dimension: int = 100, *, seed: int = 0, unit: bool = True, trained: bool = False
    ) -> WordVectors:
        """`size` vectors drawn from the seed."""
        generator = torch.Generator().manual_seed(seed)
        return cls(torch.randn(size, dimension, generator=generator), unit=unit, trained=trained)

    @classmethod
    def from_encoder(
        cls,
        encoder_folder: Path,
        vocabulary: Vocabulary,
        dimension: int = 100,
        *,
        seed: int = 0,
        unit: bool = True,
    ) -> WordVectors:
        """Each word of the vocabulary by the pieces it has in the encoder's table, brought to `dimension`.

        A word that the encoder cannot spell, and ids of unseen words, get random vectors of like length.
        ModelUnavailable: the folder holds no tokenizer and table. InputError: a dimension above that of the encoder,
        or it can spell none of the words.
        """
        places, means = word_vectors(encoder_folder, vocabulary.words)
        if not places:
            raise InputError(
                f"The encoder in {encoder_folder} can spell none of the {len(vocabulary.words)} words. Take one of "
                "their language, or learn the vectors from the texts (`trained_on`; --base none)."
            )
        most = min(means.shape)
        if not 1 <= dimension <= most:
            raise InputError(
                f"Word vectors of {dimension} numbers were asked for; {len(places)} words and an encoder of "
                f"{means.shape[1]} numbers give at least 1 and at most {most}. Take no more, or a wider encoder."
            )
        rows = [place + 1 for place in places]
        return cls(_filled(vocabulary, rows, principal(means, dimension), seed), unit=unit)

    @classmethod
    def trained_on(
        cls,
        texts: Iterable[str],
        vocabulary: Vocabulary,
        dimension: int = 100,
        *,
        window: int = 5,
        seed: int = 0,
        unit: bool = True,
    ) -> WordVectors:
        """Frequent words by the words that stand at most `window` from them; the rest get random vectors.

        The vectors are U sqrt(S) of the truncated U S V^T of max(0, log(p(w, c) / (p(w) p(c)))). InputError: fewer
        frequent words than `dimension`, or no two words near each other.
        """
        if not 1 <= dimension <= vocabulary.known or window < 1:
            raise InputError(
                f"Word vectors of {dimension} numbers and a window of {window} were asked for; {vocabulary.known} "
                f"frequent words give 1 to {vocabulary.known}, and a window is at least 1."
            )
        left, sizes = _factors(_near(texts, vocabulary, window), vocabulary.known, dimension, seed)
        rows = list(range(1, 1 + vocabulary.known))
        return cls(_filled(vocabulary, rows, left * sizes.sqrt(), seed), unit=unit)


def _near(texts: Iterable[str], vocabulary: Vocabulary, window: int) -> Counter[tuple[int, int]]:
    """How often a frequent word stands at most `window` before another one, by their ids less 1."""
    near: Counter[tuple[int, int]] = Counter()
    for text in texts:
        ids = [vocabulary.id_of(word) - 1 for word in words(text, vocabulary.cutting)]
        for apart in range(1, window + 1):  # pairs with a rare word would be most of what is held
            near.update(pair for pair in zip(ids, ids[apart:], strict=False) if max(pair) < vocabulary.known)
    if not near:
        raise InputError("No two frequent words stand near each other in the texts. Give more text.")
    return near


def _factors(near: Counter[tuple[int, int]], size: int, dimension: int, seed: int) -> tuple[Tensor, Tensor]:
    """U (size, dimension) and S of the positive pointwise mutual information, of what stands near either way."""
    before, times = torch.tensor(list(near)).T, torch.tensor(list(near.values()), dtype=torch.float32)
    either = torch.sparse_coo_tensor(
        torch.cat([before, before.flip(0)], 1), times.repeat(2), (size, size), check_invariants=True
    ).coalesce()
    places, counts = either.indices(), either.values()
    sums = torch.zeros(size).scatter_add_(0, places[0], counts)
    information = (counts * counts.sum() / (sums[places[0]] * sums[places[1]])).log().relu()
    matrix = torch.sparse_coo_tensor(places, information, (size, size), check_invariants=True).coalesce()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        left, sizes, _ = torch.svd_lowrank(matrix, q=min(size, dimension + 16), niter=4)
    return left[:, :dimension], sizes[:dimension]


def _filled(vocabulary: Vocabulary, rows: Sequence[int], vectors: Tensor, seed: int) -> Tensor:
    """The table (V, E) with `vectors` at `rows`, and random ones of their mean length elsewhere."""
    generator = torch.Generator().manual_seed(seed)
    table = F.normalize(torch.randn(len(vocabulary), vectors.shape[1], generator=generator), dim=-1)
    table *= vectors.norm(dim=-1).mean()
    table[list(rows)] = vectors
    return table
