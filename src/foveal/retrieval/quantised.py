"""Vectors in few bytes, and vectors in cells: product quantisation, a rotation for it, and the inverted file.

Shapes    vectors (N, D) float32; codes (N, M) uint8, one for each of M parts of D / M numbers; centroids (M, C, D / M)
Source    product quantisation and the inverted file: Jégou, Douze and Schmid, PAMI 2011, sections II and IV;
          the rotation ("OPQ", non-parametric): Ge, He, Ke and Sun, CVPR 2013, section 3.1
Needs     a sample of the stored vectors to train on; more of them than centroids
Against   flat.py holds forms that need no training (int8, signs); vectors.py builds an index out of both

Scores are inner products of the float query with what the codes stand for ("asymmetric"): M table look-ups a vector.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval.flat import Floats, Ids

if TYPE_CHECKING:
    from torch import Tensor

Codes = npt.NDArray[np.uint8]

MOST_CENTROIDS = 256
"""Centroids of a part: what one byte can name."""

POINTS_PER_CENTROID = 64
"""Vectors that k-means looks at for each centroid; more change little."""

KMEANS_ROUNDS = 12
"""Rounds of k-means: assign, then average."""

ROTATION_ROUNDS = 12
"""Rounds of fitting the rotation, each with one round of k-means."""

DISTANCES_AT_ONCE = 2**23
"""Distances to centroids held at a time, 32 MiB."""


@dataclass(frozen=True)
class ProductQuantiser:
    """M parts of a vector, each known by the nearest of its C centroids."""

    centroids: Floats  # (M, C, D / M)
    rotation: Floats | None = None  # (D, D), orthogonal; a vector x is cut into parts as x @ rotation

    @property
    def parts(self) -> int:
        """Bytes of a coded vector, M."""
        return len(self.centroids)

    @property
    def dimension(self) -> int:
        """Length of a vector, D."""
        return self.parts * int(self.centroids.shape[2])

    @classmethod
    def train(
        cls,
        vectors: Floats,
        parts: int,
        *,
        centroids: int = MOST_CENTROIDS,
        rotate: bool = False,
        seed: int = 0,
    ) -> ProductQuantiser:
        """The quantiser of `parts` parts fitted to a sample of the vectors.

        InputError: D is not a multiple of `parts`, or there are fewer vectors than centroids.
        """
        _check_parts(vectors, parts, centroids)
        sample = drawn(vectors, POINTS_PER_CENTROID * centroids, seed)
        if rotate:
            start = _rotated(sample, parts, centroids, seed)
        else:
            start = cls(drawn_centroids(_cut(sample, parts), centroids, seed))
        return replace(start, centroids=kmeans(_cut(start._turned(sample), parts), start.centroids))

    def encode(self, vectors: Floats) -> Codes:
        """The nearest centroid of each part: (N, M)."""
        self._check(vectors)
        near: Codes = nearest(_cut(self._turned(vectors), self.parts), self.centroids).T.astype(np.uint8)
        return np.ascontiguousarray(near)

    def decode(self, codes: Codes) -> Floats:
        """What the codes stand for, (N, D), turned back to the vectors' own axes."""
        joined = self.centroids[np.arange(self.parts), codes].reshape(len(codes), self.dimension)
        return joined if self.rotation is None else joined @ self.rotation.T

    def tables(self, queries: Floats) -> Floats:
        """Inner products of each query's parts with their centroids: (Q, M, C)."""
        self._check(queries)
        products: Floats = np.matmul(_cut(self._turned(queries), self.parts), self.centroids.transpose(0, 2, 1))
        return np.ascontiguousarray(products.transpose(1, 0, 2))

    def error(self, vectors: Floats) -> float:
        """The mean squared length of what coding loses."""
        lost = vectors - self.decode(self.encode(vectors))
        return float((lost * lost).sum(axis=1).mean())

    def _turned(self, vectors: Floats) -> Floats:
        return vectors if self.rotation is None else vectors @ self.rotation

    def _check(self, vectors: Floats) -> None:
        if vectors.ndim != 2 or vectors.shape[1] != self.dimension:
            raise InputError(
                f"A product quantiser of dimension {self.dimension} got vectors of shape {vectors.shape}; it needs "
                f"(N, {self.dimension}). Train one on these vectors."
            )


@dataclass(frozen=True)
class Cells:
    """The inverted file: rows that are sorted by cell, and where each cell begins."""

    centroids: Floats  # (cells, D)
    starts: Ids  # (cells + 1,); cell c holds rows starts[c] to starts[c + 1]

    @cached_property
    def sizes(self) -> Ids:
        """Rows of each cell."""
        return np.diff(self.starts)

    @cached_property
    def half_norms(self) -> Floats:
        """|c|² / 2 of each centroid, with which the nearest is that of the largest product."""
        halves: Floats = (self.centroids * self.centroids).sum(axis=1) / 2
        return halves

    def products(self, query: Floats) -> Floats:
        """The query's inner products with the centroids: (cells,)."""
        products: Floats = self.centroids @ query
        return products

    def probed(self, products: Floats, probes: int, wanted: int, *, nearest_first: bool) -> Ids:
        """The `probes` best cells, the best first, and further ones until they hold `wanted` rows or are all.

        Best is the nearest centroid, or (inner product as metric) that of the largest product.
        """
        scores = products - self.half_norms if nearest_first else products
        count = min(probes, len(scores))
        best = np.argpartition(-scores, count - 1)[:count]
        if self.sizes[best].sum() >= wanted:
            return best[np.argsort(-scores[best])]
        order = np.argsort(-scores)
        enough = int(np.searchsorted(np.cumsum(self.sizes[order]), wanted)) + 1
        return order[: max(count, enough)]


def table_scores(table: Floats, codes: Codes) -> Floats:
    """The sum over parts of `table[part, code]`, for codes (N, M) and the table (M, C) of one query: (N,)."""
    scores = np.zeros(len(codes), dtype=np.float32)
    for part, products in enumerate(table):
        scores += products.take(codes[:, part])
    return scores


def nearest_cells(vectors: Floats, centroids: Floats) -> Ids:
    """The cell whose centroid lies nearest to each vector: (N,)."""
    cells: Ids = nearest(vectors[None], centroids[None])[0]
    return cells


def cell_centroids(vectors: Floats, cells: int, *, seed: int = 0) -> Floats:
    """The centroids (cells, D) of k-means over a sample of the vectors."""
    if not 1 <= cells <= len(vectors):
        raise InputError(
            f"An inverted file got {cells} cells for {len(vectors)} vectors; it needs 1 to {len(vectors)}."
        )
    sample = drawn(vectors, POINTS_PER_CENTROID // 2 * cells, seed)[None]
    centroids: Floats = kmeans(sample, drawn_centroids(sample, cells, seed))[0]
    return centroids


def kmeans(points: Floats, centroids: Floats, *, rounds: int = KMEANS_ROUNDS) -> Floats:
    """Lloyd's k-means on B sets of points at once: points (B, N, d) and first centroids (B, C, d) -> (B, C, d).

    A centroid that no point is nearest to takes the place of the point that lies farthest from its own.
    """
    for _ in range(rounds):
        centroids = _averaged(points, centroids)
    return centroids


def nearest(points: Floats, centroids: Floats) -> Ids:
    """The nearest centroid of each point: points (B, N, d), centroids (B, C, d) -> (B, N)."""
    blocks = [assigned.numpy() for assigned, _ in _assigned(points, centroids)]
    return np.concatenate(blocks, axis=1) if blocks else np.empty(points.shape[:2], dtype=np.int64)


def drawn(vectors: Floats, most: int, seed: int) -> Floats:
    """At most `most` of the vectors, drawn without putting back, in their order."""
    if len(vectors) <= most:
        return vectors
    return vectors[np.sort(np.random.default_rng(seed).choice(len(vectors), most, replace=False))]


def drawn_centroids(points: Floats, count: int, seed: int) -> Floats:
    """First centroids (B, count, d): the same `count` of the points (B, N, d) in each set."""
    return points[:, np.random.default_rng(seed).choice(points.shape[1], count, replace=False)]


def _rotated(sample: Floats, parts: int, centroids: int, seed: int) -> ProductQuantiser:
    """Fit the rotation: code the turned sample, turn it to fit its codes best (orthogonal Procrustes), and again.

    It begins with the principal axes, dealt out to the parts (allocation of eigenvalues, section 3.2 of the paper).
    """
    rotation = _dealt_axes(sample, parts)
    fitted = ProductQuantiser(drawn_centroids(_cut(sample @ rotation, parts), centroids, seed))
    for _ in range(ROTATION_ROUNDS):
        turned = sample @ rotation
        fitted = ProductQuantiser(_averaged(_cut(turned, parts), fitted.centroids))
        left, _, right = np.linalg.svd(sample.T @ fitted.decode(fitted.encode(turned)))
        rotation = np.ascontiguousarray(left @ right, dtype=np.float32)
    return replace(fitted, rotation=rotation)


def _dealt_axes(sample: Floats, parts: int) -> Floats:
    """Principal axes as columns (D, D), dealt to the parts so that their products of variances are about the same."""
    centred = sample - sample.mean(axis=0)
    variances, axes = np.linalg.eigh(centred.T @ centred / len(sample))
    width = len(variances) // parts
    hands: list[list[int]] = [[] for _ in range(parts)]
    weights = np.zeros(parts)
    for axis in np.argsort(-variances):
        open_hands = [part for part in range(parts) if len(hands[part]) < width]
        part = min(open_hands, key=lambda one: weights[one])
        hands[part].append(int(axis))
        weights[part] += np.log(max(float(variances[axis]), 1e-10)) - np.log(1e-10)
    return np.ascontiguousarray(axes[:, [axis for hand in hands for axis in hand]], dtype=np.float32)


def _averaged(points: Floats, centroids: Floats) -> Floats:
    """One round: the mean of the points nearest to each centroid."""
    import torch

    sets, count, width = centroids.shape
    sums = torch.zeros(sets * count, width, dtype=torch.float32)
    sizes = torch.zeros(sets * count, dtype=torch.float32)
    distances = []
    first = 0
    offsets = torch.arange(sets)[:, None] * count
    for assigned, block_distances in _assigned(points, centroids):
        block = torch.from_numpy(points[:, first : first + assigned.shape[1]]).reshape(-1, width)
        places = (assigned + offsets).reshape(-1)
        sums.index_add_(0, places, block)
        sizes += torch.bincount(places, minlength=sets * count)
        distances.append(block_distances)
        first += assigned.shape[1]
    means = (sums / sizes.clamp(min=1)[:, None]).reshape(sets, count, width).numpy()
    _fill_empty(means, sizes.reshape(sets, count).numpy() == 0, points, torch.cat(distances, dim=1).numpy())
    return means


def _fill_empty(means: Floats, empty: npt.NDArray[np.bool_], points: Floats, distances: Floats) -> None:
    """Put the centroids without points where the points lie that are farthest from theirs."""
    for one in np.flatnonzero(empty.any(axis=1)):
        wanted = int(empty[one].sum())
        means[one, empty[one]] = points[one, np.argsort(-distances[one])[:wanted]]


def _assigned(points: Floats, centroids: Floats) -> Iterator[tuple[Tensor, Tensor]]:
    """For blocks of points in turn: the nearest centroid, and the squared distance to it, both (B, n)."""
    import torch

    means = torch.from_numpy(np.ascontiguousarray(centroids))
    halves = means.square().sum(dim=2) / 2
    size = max(1, DISTANCES_AT_ONCE // halves.numel())
    for first in range(0, points.shape[1], size):
        block = torch.from_numpy(np.ascontiguousarray(points[:, first : first + size]))
        best = torch.baddbmm(-halves[:, None], block, means.transpose(1, 2)).max(dim=2)
        yield best.indices, block.square().sum(dim=2) - 2 * best.values


def _cut(vectors: Floats, parts: int) -> Floats:
    """Vectors (N, D) as their parts, (M, N, D / M)."""
    return vectors.reshape(len(vectors), parts, vectors.shape[1] // parts).transpose(1, 0, 2)


def _check_parts(vectors: Floats, parts: int, centroids: int) -> None:
    dimension = vectors.shape[1]
    if parts < 1 or dimension % parts:
        fitting = [one for one in range(1, dimension + 1) if dimension % one == 0]
        raise InputError(
            f"Product quantisation got {parts} parts for dimension {dimension}, which they do not divide. "
            f"Choose one of {', '.join(map(str, fitting))}."
        )
    if not 2 <= centroids <= MOST_CENTROIDS:
        raise InputError(f"Product quantisation got {centroids} centroids a part; it needs 2 to {MOST_CENTROIDS}.")
    if len(vectors) < centroids:
        raise InputError(
            f"Product quantisation got {len(vectors)} vectors to train {centroids} centroids on; it needs at least as "
            "many vectors. Use fewer centroids, or the kind flat or int8 for so small a collection."
        )
