"""The vector indexes that a library can have, as Lance 0.40 offers them, with parameters for its size.

    flat      none: every search compares all vectors; exact, and for a filter that keeps few passages the best
    ivf       cells of full vectors (IVF_FLAT): exact within the cells looked into; the largest on disk
    ivf-pq    cells of product codes, a byte for 8 numbers (IVF_PQ; Jégou, Douze and Schmid, PAMI 2011)
    ivf-sq    cells of vectors at a byte a number (IVF_SQ)
    ivf-rq    cells of vectors at four bits a number (IVF_RQ; RaBitQ: Gao and Long, SIGMOD 2024). The default
    hnsw      one graph over vectors at a byte a number (IVF_HNSW_SQ; HNSW: Malkov and Yashunin, PAMI 2018)
    hnsw-pq   one graph over product codes (IVF_HNSW_PQ)

All compare by the inner product of unit vectors, and the best of what they find are compared again by their full
vectors (`refine`, times k). A setting of the library chooses: `foveal admin index NAME`, `Store.use_index(name)`, or
"vector_index" among the values that `tables.create` writes.

What LanceDB's interface cannot do: rotate vectors before product codes (OPQ); take centroids or codes that were trained
elsewhere; search signs by Hamming distance and re-score those found by int8; re-score by anything but the full vectors,
which it reads from disk. `vectors.DenseIndex` does these, in memory, without transactions and filters. Passages added
later are compared one by one until `refresh_indexes` merges them into the index; its centroids stay those that were
trained until it is made anew.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.errors import UnknownName

if TYPE_CHECKING:
    from lancedb.query import LanceVectorQueryBuilder

DEFAULT = "ivf-rq"

SETTING = "vector_index"
"""The library's setting that holds the name of its index."""

MADE = "vector_index_made"
"""The setting that says which index was made last; before it existed, that was the default."""

DEEP = 100
"""Passages from which on a search compares fewer times as many by their full vectors: of a million passages, twice 200
found just what three times 200 found. It looks into more cells: fused with words, the best 10 of those 200 were then
the exact search's."""

MANY = 1000
"""Passages from which on cells are looked into until as many are found: all of them, where they hold few."""

Config = Callable[[int, int], Any]
"""Passages and dimension to Lance's configuration of an index."""


@dataclass(frozen=True, kw_only=True)
class LanceIndex:
    """How an index is made, and searched so that it finds about what an exact search finds (`foveal bench ann`)."""

    name: str
    config: Config | None  # None: there is no index
    probes: int = 1  # cells looked into; a graph has one
    probes_deep: int = 1  # the same where `DEEP` or more are asked for
    refine: int | None = None  # times k that are compared by full vectors; None: the index holds these
    refine_deep: int | None = None  # the same where `DEEP` or more are asked for; None: as for fewer
    effort: int | None = None  # candidates that a search of a graph keeps, at least

    def asked(self, builder: LanceVectorQueryBuilder, k: int, *, filtered: bool) -> LanceVectorQueryBuilder:
        """The query for `k` passages; where they are filtered or many, cells are looked into until `k` are found.

        Without that bound Lance looks into all cells, whose number grows with the library.
        """
        least = self.probes_deep if k >= DEEP else self.probes
        most = 0 if filtered or k >= MANY else least
        builder = builder.minimum_nprobes(least).maximum_nprobes(most)
        if refine := self.refine_deep if self.refine_deep and k >= DEEP else self.refine:
            builder = builder.refine_factor(refine)
        if self.effort:  # Lance wants as many candidates as are compared by full vectors
            builder = builder.ef(max(self.effort, (self.refine or 1) * k))
        return builder


def lance_index(name: str) -> LanceIndex:
    """The index called `name`. UnknownName lists those there are."""
    if name not in INDEXES:
        raise UnknownName(f"No vector index is called {name!r}. There are: {', '.join(INDEXES)}.")
    return INDEXES[name]


def chosen_index(settings: Mapping[str, str]) -> LanceIndex:
    """The index that a library's settings name, or the default. UnknownName: there is none of that name."""
    return lance_index(settings.get(SETTING, DEFAULT))


def cells(rows: int) -> int:
    """Cells for so many passages: 4 sqrt(N), at most one for 32 passages, at least 1."""
    return max(1, min(int(4 * rows**0.5), rows // 32))


def code_bytes(dimension: int) -> int:
    """Parts of a product code: the most that divide the dimension and have at least 8 numbers each."""
    return max(one for one in range(1, max(1, dimension // 8) + 1) if dimension % one == 0)


def _ivf(rows: int, _dimension: int) -> Any:
    from lancedb.index import IvfFlat

    return IvfFlat(distance_type="dot", num_partitions=cells(rows))


def _ivf_pq(rows: int, dimension: int) -> Any:
    from lancedb.index import IvfPq

    count = max(1, min(cells(rows), rows // 256))  # for product codes Lance makes no more than one for 256 passages
    return IvfPq(distance_type="dot", num_partitions=count, num_sub_vectors=code_bytes(dimension))


def _ivf_sq(rows: int, _dimension: int) -> Any:
    from lancedb.index import IvfSq

    return IvfSq(distance_type="dot", num_partitions=cells(rows))


def _ivf_rq(_rows: int, _dimension: int) -> Any:
    from lancedb.index import IvfRq

    return IvfRq(distance_type="dot", num_bits=4)  # Lance's own number of cells: few and large, which its codes allow


def _hnsw(_rows: int, _dimension: int) -> Any:
    from lancedb.index import HnswSq

    return HnswSq(distance_type="dot", num_partitions=1, m=20, ef_construction=200)


def _hnsw_pq(_rows: int, dimension: int) -> Any:
    from lancedb.index import HnswPq

    sub_vectors = code_bytes(dimension)
    return HnswPq(distance_type="dot", num_partitions=1, num_sub_vectors=sub_vectors, m=20, ef_construction=200)


INDEXES = {
    one.name: one
    for one in (
        LanceIndex(name="flat", config=None),
        LanceIndex(name="ivf", config=_ivf, probes=64, probes_deep=256),
        LanceIndex(name="ivf-pq", config=_ivf_pq, probes=64, probes_deep=256, refine=20),
        LanceIndex(name="ivf-sq", config=_ivf_sq, probes=64, probes_deep=256, refine=3),
        LanceIndex(name="ivf-rq", config=_ivf_rq, probes=96, probes_deep=128, refine=3, refine_deep=2),
        LanceIndex(name="hnsw", config=_hnsw, refine=2, effort=128),
        LanceIndex(name="hnsw-pq", config=_hnsw_pq, refine=10, effort=192),
    )
}
