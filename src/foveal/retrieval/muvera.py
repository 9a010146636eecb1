"""MUVERA: one long vector for a text's token vectors, so that any search by products finds by MaxSim, about.

    partition of v     the signs of `bits` random directions: 2**bits of them
    query              in each partition the sum of its tokens there
    document           in each partition the mean of its tokens there; an empty one takes the token nearest to it, by
                       the number of signs that differ
    projections        of each partition to `projected` numbers, of the whole to `final`, by random signs; both optional
    repetitions        all of it with new directions, side by side

Shapes    (tokens, D) -> (F,), F = repetitions * 2**bits * (projected or D), or `final`; E below is projected or D
Source    Dhulipala et al., NeurIPS 2024 (arXiv 2405.19504); the defaults are its usual sizes. Scaled here so that the
          product estimates MaxSim itself: without projections it is never above MaxSim, and nears it with more
          partitions; the projections add noise of mean zero
Against   `late_index.py` needs an index of its own; this runs over `flat.py`, Lance or any other store of vectors, and
          `rescored` puts the best candidates in the order of MaxSim
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.ranges import require_k
from foveal.retrieval.flat import flat_search
from foveal.retrieval.late import Floats, Ids, TokenVectors, maxsim

_Blocks = Callable[[Floats, npt.NDArray[np.int64]], Floats]
"""Tokens (repetitions, n, E) and their partitions (repetitions, n) -> (repetitions, 2**bits, E)."""


@dataclass(frozen=True, kw_only=True)
class Muvera:
    """The encoding of token vectors of `dimension` numbers. Both sides need the same settings."""

    dimension: int
    bits: int = 5  # random directions of a repetition, 0 to 12: 2**bits partitions
    repetitions: int = 20
    projected: int | None = 16  # numbers of a partition; None: all `dimension`
    final: int | None = None  # numbers of the whole; None: as many as they are
    seed: int = 0

    def __post_init__(self) -> None:
        sizes = (self.dimension, self.repetitions, self.projected or 1, self.final or 1)
        if not 0 <= self.bits <= 12 or min(sizes) < 1:
            raise InputError(
                f"MUVERA got bits={self.bits}, and sizes dimension={self.dimension}, repetitions={self.repetitions}, "
                f"projected={self.projected}, final={self.final}; it needs bits from 0 to 12 and sizes of at least 1."
            )

    @property
    def size(self) -> int:
        """Numbers of an encoded text."""
        return self.final or self.repetitions * 2**self.bits * (self.projected or self.dimension)

    def queries(self, texts: Sequence[Floats] | TokenVectors) -> Floats:
        """Encoded queries (Q, size), of one array (tokens, dimension) each."""
        return self._encoded(texts, self._summed)

    def documents(self, texts: Sequence[Floats] | TokenVectors) -> Floats:
        """Encoded documents (N, size), of one array (tokens, dimension) each."""
        return self._encoded(texts, self._averaged)

    def partitions(self, tokens: Floats) -> npt.NDArray[np.int64]:
        """The partition of each token (n, D) in each repetition: (repetitions, n)."""
        signs = np.einsum("rbd,nd->rnb", self._directions, tokens) > 0
        numbers: npt.NDArray[np.int64] = (signs * 2 ** np.arange(self.bits)).sum(axis=2, dtype=np.int64)
        return numbers

    def _encoded(self, texts: Sequence[Floats] | TokenVectors, blocks: _Blocks) -> Floats:
        stacked = TokenVectors.of(texts)
        if stacked.vectors.shape[1] != self.dimension:
            raise InputError(
                f"MUVERA was set for vectors of {self.dimension} numbers and got some of {stacked.vectors.shape[1]}."
            )
        encoded = np.empty((len(stacked), self.size), dtype=np.float32)
        for row in range(len(stacked)):
            tokens = np.asarray(stacked[row], dtype=np.float32)
            encoded[row] = self._whole(blocks(self._projected(tokens), self.partitions(tokens)))
        return encoded

    def _projected(self, tokens: Floats) -> Floats:
        """Tokens (n, D) as they enter each repetition: (repetitions, n, E)."""
        if self._inner is None:  # sums and means come later: a linear map may as well go first, on few numbers
            return np.broadcast_to(tokens, (self.repetitions, *tokens.shape))
        mapped: Floats = tokens @ self._inner
        return mapped

    def _summed(self, tokens: Floats, partitions: npt.NDArray[np.int64]) -> Floats:
        """The sum of the tokens of each partition: (repetitions, 2**bits, E)."""
        sums = np.zeros((self.repetitions, 2**self.bits, tokens.shape[2]), dtype=np.float32)
        np.add.at(sums, (np.arange(self.repetitions)[:, None], partitions), tokens)
        return sums

    def _averaged(self, tokens: Floats, partitions: npt.NDArray[np.int64]) -> Floats:
        """The mean of the tokens of each partition, or the token nearest to it: (repetitions, 2**bits, E)."""
        means = self._summed(tokens, partitions)
        for repetition, numbers in enumerate(partitions):
            counts = np.bincount(numbers, minlength=2**self.bits)
            empty = np.flatnonzero(counts == 0)
            differing = _ones(empty[:, None] ^ numbers[None, :])
            means[repetition] /= np.maximum(counts, 1)[:, None]
            means[repetition, empty] = tokens[repetition, differing.argmin(axis=1)]
        return means

    def _whole(self, blocks: Floats) -> Floats:
        """Blocks (repetitions, 2**bits, E) -> (size,), scaled so that products estimate MaxSim."""
        whole: Floats = blocks.reshape(-1) / np.float32(self.repetitions**0.5)
        return whole if self._outer is None else self._outer @ whole

    @cached_property
    def _directions(self) -> Floats:
        generator = np.random.default_rng([self.seed, 0])
        return generator.standard_normal((self.repetitions, self.bits, self.dimension), dtype=np.float32)

    @cached_property
    def _inner(self) -> Floats | None:
        """Random signs (repetitions, D, projected) that keep products on average."""
        if self.projected is None:
            return None
        return _signs((self.repetitions, self.dimension, self.projected), self.projected, [self.seed, 1])

    @cached_property
    def _outer(self) -> Floats | None:
        """Random signs (final, numbers before)."""
        if self.final is None:
            return None
        before = self.repetitions * 2**self.bits * (self.projected or self.dimension)
        return _signs((self.final, before), self.final, [self.seed, 2])


def rescored(
    documents: TokenVectors, queries: TokenVectors, encoding: Muvera, encoded: Floats, k: int, *, candidates: int = 200
) -> tuple[Ids, Floats]:
    """The `candidates` (at least k) nearest by the encoding, the best `k` of them by MaxSim: rows and scores (Q, k).

    `encoded` is `encoding.documents(documents)`.
    """
    require_k(k)
    near, _ = flat_search(encoded, encoding.queries(queries), max(candidates, k))
    ids, scores = np.empty((len(queries), min(k, near.shape[1])), dtype=np.int64), []
    for row, found in enumerate(near):
        exact = maxsim(TokenVectors.of([queries[row]]), TokenVectors.of([documents[one] for one in found]))[0]
        order = np.argsort(-exact, kind="stable")[:k]
        ids[row] = found[order]
        scores.append(exact[order])
    return ids, np.stack(scores)


def _signs(shape: tuple[int, ...], numbers: int, seed: Sequence[int]) -> Floats:
    signs = np.random.default_rng(seed).integers(0, 2, size=shape, dtype=np.int8) * 2 - 1
    scaled: Floats = signs.astype(np.float32) / np.float32(numbers**0.5)
    return scaled


def _ones(numbers: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The bits set in each number (of at most 12 bits)."""
    counts: npt.NDArray[np.int64] = ((numbers[..., None] >> np.arange(12)) & 1).sum(axis=-1)
    return counts
