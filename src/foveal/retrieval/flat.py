"""Exact search over vectors in memory, and two smaller forms of the vectors: int8 and signs.

Shapes    vectors (N, D) and queries (Q, D), float32; results are ids (Q, min(k, N)), int64, and scores, float32, best
          first. The score is the inner product: the cosine, where vectors have unit length. Ties come in any order
Sizes     float32 4 D bytes a vector; int8 D + 4; signs D / 8 (for D = 384: 1536, 388 and 48)
Against   the store's index (Lance) is what a library searches; this is the truth that an index is measured by, and a
          peer of its speed and size in `foveal bench ann`

Int8 keeps one scale per vector. Signs are searched as in BPR (Yamada, Asai and Hajishirzi, ACL 2021): Hamming distance
to the query's signs finds candidates, 4 k and more, and the float query scores those against their int8 form.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.ranges import require_k

if TYPE_CHECKING:
    from torch import Tensor

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]

SCORES_AT_ONCE = 2**24
"""Scores held at a time, 64 MiB: for one query those of all its vectors, for many those of a block of vectors."""
INT8_BLOCK = 8_192
"""Int8 vectors made floats at a time: few enough to stay in the processor's cache."""
QUERIES_AT_ONCE = 256
"""Queries scored at a time."""
FEW = 8
"""Queries up to which a block of vectors is multiplied by them, not they by it: faster for a few."""


@dataclass(frozen=True)
class Int8Vectors:
    """Vectors as whole numbers: row i is about `codes[i] * scales[i]`."""

    codes: npt.NDArray[np.int8]  # (N, D), -127 to 127
    scales: Floats  # (N,)


@dataclass(frozen=True)
class SignVectors:
    """One bit for each number, 1 where it is above 0, in 64-bit words."""

    words: npt.NDArray[np.uint64]  # (N, ceil(D / 64)); the bits past D are 0
    dimension: int


def flat_search(vectors: Floats, queries: Floats, k: int) -> tuple[Ids, Floats]:
    """The `k` vectors with the largest inner products, for each query; all are looked at."""
    _checked(vectors.shape, queries, k)
    import torch

    size = SCORES_AT_ONCE // min(QUERIES_AT_ONCE, max(1, len(queries)))
    return _best(((block, None) for block in _blocks(torch.from_numpy(vectors), size)), queries, k)


def quantise_int8(vectors: Floats) -> Int8Vectors:
    """Each vector in steps of its largest absolute value / 127; one of less than 1e-36 is taken as zero."""
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise InputError(f"Vector {row} holds NaN or infinity; int8 needs finite numbers. Encode its text again.")
    largest = np.abs(vectors).max(axis=1, initial=0.0)
    steps = largest / 127
    scales = np.where(steps >= np.finfo(np.float32).tiny, steps, 1).astype(np.float32)  # smaller ones divide badly
    return Int8Vectors(np.rint(vectors / scales[:, None]).astype(np.int8), scales)


def int8_search(stored: Int8Vectors, queries: Floats, k: int) -> tuple[Ids, Floats]:
    """`flat_search` over int8 vectors, the query in float32."""
    _checked(stored.codes.shape, queries, k)
    import torch

    codes, scales = (_blocks(torch.from_numpy(part), INT8_BLOCK) for part in (stored.codes, stored.scales))
    return _best(((block.float(), scale) for block, scale in zip(codes, scales, strict=True)), queries, k)


def binarise(vectors: Floats) -> SignVectors:
    """The signs of the vectors."""
    count, dimension = vectors.shape
    bits = np.packbits(vectors > 0, axis=1)
    padded = np.zeros((count, -(-dimension // 64) * 8), dtype=np.uint8)
    padded[:, : bits.shape[1]] = bits
    return SignVectors(padded.view(np.uint64), dimension)


def hamming(stored: SignVectors, query: SignVectors) -> npt.NDArray[np.int64]:
    """The number of differing signs between the one vector of `query` and each stored one: (N,)."""
    distances: Ids = _ones(stored.words ^ query.words[0]).sum(axis=1, dtype=np.int64)
    return distances


def binary_rescored(
    signs: SignVectors, stored: Int8Vectors, queries: Floats, k: int, *, candidates: int | None = None
) -> tuple[Ids, Floats]:
    """The `candidates` (4 k) nearest by Hamming distance, scored by the float query against their int8 vectors."""
    _checked((len(signs.words), signs.dimension), queries, k)
    count = min(len(signs.words), max(k, candidates or 4 * k))
    ids = np.empty((len(queries), min(k, count)), dtype=np.int64)
    scores = np.empty(ids.shape, dtype=np.float32)
    query_signs = binarise(queries)
    for row, query in enumerate(queries):
        distances = hamming(signs, SignVectors(query_signs.words[row : row + 1], signs.dimension))
        near = np.argpartition(distances, count - 1)[:count]
        found = (stored.codes[near].astype(np.float32) @ query) * stored.scales[near]
        order = np.argsort(-found)[:k]
        ids[row], scores[row] = near[order], found[order]
    return ids, scores


def _best(blocks: Iterable[tuple[Tensor, Tensor | None]], queries: Floats, k: int) -> tuple[Ids, Floats]:
    """The best `k` of all blocks of vectors, whose scores are multiplied by the scales beside them, if any."""
    import torch

    asked = torch.from_numpy(np.ascontiguousarray(queries))
    scores = torch.empty(len(asked), 0)
    ids = torch.empty(len(asked), 0, dtype=torch.long)
    first = 0
    for block, scales in blocks:
        parts = [_products(group, block, scales).topk(min(k, len(block))) for group in _blocks(asked, QUERIES_AT_ONCE)]
        scores = torch.cat([scores, torch.cat([part.values for part in parts])], dim=1)
        ids = torch.cat([ids, torch.cat([part.indices for part in parts]) + first], dim=1)
        scores, places = scores.topk(min(k, scores.shape[1]))
        ids = ids.gather(1, places)
        first += len(block)
    return ids.numpy(), scores.numpy()


def _products(queries: Tensor, block: Tensor, scales: Tensor | None) -> Tensor:
    """Inner products (queries, vectors of the block)."""

    if len(queries) > FEW:
        found = queries @ block.T
    else:
        # As columns, and never one alone: a product with one vector reads memory at half its speed on some machines
        columns = queries.repeat(2, 1) if len(queries) == 1 else queries
        found = (block @ columns.T).T[: len(queries)].contiguous()
    return found if scales is None else found * scales


def _blocks(rows: Tensor, size: int) -> list[Tensor]:
    """The rows, `size` at a time; no rows are one empty block."""
    return [rows[first : first + size] for first in range(0, max(1, len(rows)), size)]


def _ones(words: npt.NDArray[np.uint64]) -> npt.NDArray[np.uint8]:
    """The number of bits set in each word."""
    if hasattr(np, "bitwise_count"):  # NumPy 2
        counts: npt.NDArray[np.uint8] = np.bitwise_count(words)
        return counts
    bits = np.unpackbits(words[..., None].view(np.uint8), axis=-1)
    summed: npt.NDArray[np.uint8] = bits.sum(axis=-1, dtype=np.uint8)
    return summed


def _checked(stored: tuple[int, ...], queries: Floats, k: int) -> None:
    require_k(k)
    if len(stored) != 2 or stored[0] == 0:
        raise InputError(f"A search got stored vectors of shape {stored}; it needs (N, D) with at least one vector.")
    if queries.ndim != 2 or queries.shape[1] != stored[1]:
        raise InputError(
            f"A search got queries of shape {queries.shape} for stored vectors of dimension {stored[1]}; it needs "
            f"(Q, {stored[1]}). Encode both with the same encoder."
        )
    if np.isnan(queries).any():
        row = int(np.flatnonzero(np.isnan(queries).any(axis=1))[0])
        raise InputError(f"Query {row} holds NaN; every number must be finite. Encode its text again.")
