"""A hierarchical navigable small world graph over vectors in memory: a walk compares a query with few of them.

    graph = linked(no_graph(vectors, 16, "cos"), construction=200, seed=0)     # each vector is linked to near ones
    ids, scores, compared = graph.search(queries, 10, effort=256, alive=alive)

Each vector is linked to up to M near ones that lie in different directions, and these to it (2 M on layer 0, where all
are); one in M also stands on layer 1, one in M² on layer 2, and so on. A walk goes down from the top, on each layer to
the nearest, and keeps the best `effort` of those that it meets on layer 0. Where walks find fewer than they were asked
for, or a vector is not linked since there was no compiler, vectors.py compares all.

Shapes    vectors (N, D) float32; links (N, 2 M) of layer 0 and upper (sum of levels, M), int32, -1 where there are
          fewer; levels (N,) uint8; a vector of level l has l rows of `upper`, in the order of the vectors
Twins     a vector that is equal to an earlier one stands beside the graph, on the level TWIN: its only link leads to
          that one, and it is found with it. Within the graph hundreds of equal ones would lead to one another before
          all else: walks stay among them, and miss others that lie near
Source    Malkov and Yashunin, TPAMI 2018: algorithms 1 (insert), 2 (search a layer), 4 (choose neighbours, without its
          two extensions), 5 (search); level floor(-ln U / ln M). Ours: vectors come in batches, so that the graph is
          the same under any number of threads; at the end vectors to which no way leads get one; candidates that are as
          near to one another as to the target are kept, of equally near ones the last one first; twins
Products  of vectors of any length (ip) are no metric: the longest are near to everything, the short ones not even to
          themselves. Links and walks go by the product itself (Morozov and Babenko, NeurIPS 2018): the short ones get
          few links, and are seldom an answer. A number more that makes all vectors equally long (Bachrach et al.,
          RecSys 2014) gives a metric, by which all crowd together far from any query: walks over it found far less.
          Where the longest are deleted few links join those that live (`lost`), and walks find less, however far
Needs     a C++ compiler, once (models/compiled.py)
"""

from __future__ import annotations

import ctypes
import logging
from dataclasses import dataclass, replace
from functools import cache, cached_property
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, LibraryCorrupt
from foveal.retrieval.flat import Floats, Ids

log = logging.getLogger("foveal.retrieval")

Links: TypeAlias = npt.NDArray[np.int32]
Levels: TypeAlias = npt.NDArray[np.uint8]

SOURCE = "retrieval/native/hnsw.cpp"
DAMAGED = "Links of a graph lead to no vector: its files are damaged. Build the index anew."

BATCH = 128
"""Vectors that are inserted at once."""

BETWEEN = 32 * BATCH
"""Vectors after which a build may be broken off."""

UNLINKED = 255
"""The level of a vector that is not in the graph yet; those that are come before it."""

TWIN = 254
"""The level of a vector that is equal to an earlier one."""

CLOSE = 4e-6
"""Share of its length by which a vector differs at most from its twin: as those of one text from two batches do."""

HASHED, ROUNDED = 4096, 6.5e-4
"""Vectors that are hashed at once; to what share of the usual number of a vector they are rounded for it, times D."""

LONGEST = 1e18
"""Length of a vector from which on products may not fit into float32."""


class _Graph(ctypes.Structure):
    """`Graph` of the source, field by field."""

    _fields_ = (
        ("vectors", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("stride", "width", "m", "count", "distance")),
        *((name, ctypes.c_void_p) for name in ("links", "upper", "levels", "starts")),
    )


def unlinked(count: int, links: int) -> dict[str, npt.NDArray[Any]]:
    """Links and levels of so many vectors that are not in the graph yet; `links` is M."""
    return {
        "links": np.full((count, 2 * links), -1, dtype=np.int32),
        "levels": np.full(count, UNLINKED, dtype=np.uint8),
    }


def drawn_levels(count: int, first: int, links: int, seed: int) -> Levels:
    """Levels of `count` vectors from row `first` on."""
    drawn = 1 - np.random.default_rng((seed, first)).random(count)  # above 0
    levels: Levels = np.floor(-np.log(drawn) / np.log(links)).astype(np.uint8)
    return levels


@dataclass(frozen=True)
class Graph:
    """Vectors and their links; it changes nothing that it is given."""

    vectors: Floats  # (N, D); l2: (N, D + 1), with -|d|² / 2 at the end
    links: Links
    levels: Levels
    upper: Links
    metric: str

    def __post_init__(self) -> None:
        """LibraryCorrupt: parts that do not fit one another."""
        count, most = len(self.vectors), self.links.shape[-1]
        arrays = (self.vectors, self.links, self.levels, self.upper)
        types = [one.dtype.name for one in arrays] == ["float32", "int32", "uint8", "int32"]
        types = types and all(one.flags.c_contiguous for one in arrays)  # the source reads them as they lie
        shapes = (self.links.shape, self.levels.shape) == ((count, most), (count,))
        above = (int(_heights(self.levels).sum()), most // 2)
        if not types or not shapes or self.upper.shape != above:
            raise LibraryCorrupt(
                f"A graph of {count:,} vectors has links {self.links.shape}, levels {self.levels.shape} and links "
                f"above {self.upper.shape}, which do not fit. Build the index and save it again."
            )

    @property
    def width(self) -> int:
        """Numbers of a vector, D."""
        return int(self.vectors.shape[1]) - (self.metric == "l2")

    @cached_property
    def count(self) -> int:
        """Vectors that are linked."""
        apart = np.flatnonzero(self.levels == UNLINKED)
        return int(apart[0]) if len(apart) else len(self.levels)

    @cached_property
    def walkable(self) -> bool:
        """Whether there is a compiled walk, and all vectors are linked. Otherwise it says so, once."""
        if _native() is None:
            return False
        if self.count < len(self.vectors):
            tell(
                "An index holds vectors that were put in where there was no C++ compiler: they are not linked, and "
                "searches compare all. Its `compact` links them."
            )
            return False
        return True

    def lost(self, alive: npt.NDArray[np.bool_]) -> float:
        """The share of the links of the living on layer 0 that lead to vectors (N,) that are deleted, less the share of
        vectors that are: about 0 where chance deletes, and up to 1 where those go to which most links lead."""
        links = self.links[alive & (self.levels < TWIN)]
        there = links >= 0
        return float((~alive[links[there]]).mean() - (~alive).mean()) if there.any() else 0.0

    @cached_property
    def _entry(self) -> int:
        return int(np.argmax(np.where(self.levels < TWIN, self.levels.astype(np.int16), -1)))

    @cached_property
    def _starts(self) -> Ids:
        before = np.zeros(len(self.levels), dtype=np.int64)
        np.cumsum(_heights(self.levels)[:-1], out=before[1:])
        return before

    @cached_property
    def _twins(self) -> dict[int, Ids]:
        """Vector -> those beside the graph that are equal to it. LibraryCorrupt: it is none that can be found."""
        twins = np.flatnonzero(self.levels == TWIN)
        after, firsts = twins, self.links[twins, 0]
        while True:  # what came later may lead to another twin: hashes fall otherwise when more vectors are hashed
            if not ((firsts >= 0) & (firsts < after)).all():
                raise LibraryCorrupt(DAMAGED)
            if not (beside := self.levels[firsts] == TWIN).any():
                break
            after, firsts = np.where(beside, firsts, after), np.where(beside, self.links[firsts, 0], firsts)
        order = np.argsort(firsts, kind="stable")
        found, begins = np.unique(firsts[order], return_index=True)
        return dict(zip(found.tolist(), np.split(twins[order], begins[1:]), strict=False))

    def search(
        self, queries: Floats, k: int, *, effort: int, alive: npt.NDArray[np.bool_] | None = None
    ) -> tuple[Ids, Floats, Ids]:
        """The best `k` rows (Q, k) that are alive, -1 where fewer were found, their scores, and how many each met (Q,).

        Scores are products, less |d|² / 2 with l2. LibraryCorrupt: a link leads nowhere. Only where `walkable`.
        """
        import torch

        twins = self._twins
        walked = _any_alive(alive, twins) if alive is not None and twins else alive
        asked = np.ascontiguousarray(queries)
        ids, scores = np.empty((len(asked), k), dtype=np.int64), np.empty((len(asked), k), dtype=np.float32)
        compared = np.empty(len(asked), dtype=np.int64)
        living = None if walked is None else np.ascontiguousarray(walked, dtype=bool)
        if asked.shape[1:] != (self.width,) or (living is not None and living.shape != self.levels.shape):
            raise LibraryCorrupt("Parts of a graph's index do not fit one another. Build the index and save it again.")
        native = _native()
        assert native is not None
        failed = native.foveal_hnsw_search(
            ctypes.byref(self._call()),
            *(ctypes.c_void_p(asked.ctypes.data), ctypes.c_int64(len(asked)), ctypes.c_int64(self._entry)),
            *(ctypes.c_int64(effort), ctypes.c_int64(k)),
            None if living is None else ctypes.c_void_p(living.ctypes.data),
            ctypes.c_int64(min(torch.get_num_threads(), max(1, len(asked)))),
            *(ctypes.c_void_p(one.ctypes.data) for one in (ids, scores, compared)),
        )
        _check(failed)
        if twins:
            _put_in_twins(ids, scores, twins, alive)
        return ids, scores, compared

    def _call(self) -> _Graph:
        return _Graph(
            *(self.vectors.ctypes.data, self.vectors.shape[1], self.width, self.upper.shape[1], self.count),
            self.metric == "l2",
            *(one.ctypes.data for one in (self.links, self.upper, self.levels, self._starts)),
        )


def no_graph(vectors: Floats, links: int, metric: str) -> Graph:
    """The graph of vectors none of which is linked yet; `links` is M."""
    rows = unlinked(len(vectors), links)
    return Graph(vectors, rows["links"], rows["levels"], np.empty((0, links), dtype=np.int32), metric)


def linked(graph: Graph, *, construction: int, seed: int) -> Graph:
    """The graph with all its vectors linked; each chooses among the `construction` nearest that it finds.

    Without a compiler it is the same graph. InputError: vectors of a length from which on products are no numbers.
    """
    import torch

    first, count, links = graph.count, len(graph.vectors), graph.upper.shape[1]
    native = _native()
    if native is None or first == count:
        return graph
    _check_lengths(graph.vectors[first:, : graph.width])
    levels = graph.levels.copy()
    equal, own = _equal_to_earlier(graph.vectors[:, : graph.width], first), graph.links.copy()
    levels[first:] = np.where(equal < 0, drawn_levels(count - first, first, links, seed), TWIN)
    own[first:, 0] = equal
    above = np.full((int(_heights(levels[first:]).sum()), links), -1, dtype=np.int32)
    made = replace(graph, links=own, levels=levels, upper=np.concatenate([graph.upper, above]))
    call = made._call()
    call.count = first
    for last in range(first + BETWEEN, count + BETWEEN, BETWEEN):
        sizes = (min(last, count), BATCH, construction, torch.get_num_threads())
        _check(native.foveal_hnsw_insert(ctypes.byref(call), *(ctypes.c_int64(size) for size in sizes)))
    _check(native.foveal_hnsw_attach(ctypes.byref(call)))
    return made


def _heights(levels: Levels) -> Ids:
    """The rows of `upper` that vectors have."""
    return np.where(levels < TWIN, levels, 0).astype(np.int64)


def _equal_to_earlier(vectors: Floats, first: int) -> Ids:
    """For each vector (N, D) from row `first` on, an equal one that stands before it; -1: there is none.

    Equal ones have the same hash of their rounded numbers, but for few that lie where rounding changes.
    """
    some = vectors[:: max(1, len(vectors) // HASHED)]
    step = vectors.shape[1] * ROUNDED * float(np.abs(some).mean()) or 1.0
    factors = np.random.default_rng(0).integers(2**62, size=vectors.shape[1]) | 1
    parts = (vectors[at : at + HASHED] for at in range(0, len(vectors), HASHED))
    hashed = np.concatenate([np.rint(part / step).astype(np.int64) @ factors for part in parts])
    order = np.argsort(hashed, kind="stable")
    same = np.flatnonzero(hashed[order][1:] == hashed[order][:-1]) + 1
    found, lead = np.full(len(vectors), -1, dtype=np.int64), -1
    for place in same.tolist():
        if lead < 0 or hashed[lead] != hashed[order[place]]:
            lead = int(order[place - 1])
        one = int(order[place])
        if one >= first and np.linalg.norm(vectors[one] - vectors[lead]) <= CLOSE * np.linalg.norm(vectors[lead]):
            found[one] = lead
    return found[first:]


def _any_alive(alive: npt.NDArray[np.bool_], twins: dict[int, Ids]) -> npt.NDArray[np.bool_]:
    """Which vectors of the graph are to be found: themselves, or for the sake of a twin."""
    living = alive.copy()
    for one, beside in twins.items():
        living[one] |= alive[beside].any()
    return living


def _put_in_twins(ids: Ids, scores: Floats, twins: dict[int, Ids], alive: npt.NDArray[np.bool_] | None) -> None:
    """Set the twins of what was found beside it, in place, of all those that are alive; (Q, k) stays."""
    for row, found in enumerate(ids.tolist()):
        if not any(one in twins for one in found):
            continue
        groups = [np.append(one, twins.get(one, [])).astype(np.int64) for one in found if one >= 0]
        if alive is not None:
            groups = [group[alive[group]] for group in groups]
        whole, sizes = np.concatenate(groups)[: len(found)], [len(group) for group in groups]
        scores[row, : len(whole)] = np.repeat(scores[row, : len(groups)], sizes)[: len(found)]
        ids[row, : len(whole)] = whole


def _check_lengths(vectors: Floats) -> None:
    with np.errstate(over="ignore"):
        squares = np.einsum("nd,nd->n", vectors, vectors)
    if not squares.max() < LONGEST**2:
        raise InputError(
            f"A graph got a vector longer than {LONGEST:g}; products of such do not fit into float32. Scale all "
            "vectors, or use metric='cos'."
        )


def _check(failed: int) -> None:
    if failed == 2:
        raise LibraryCorrupt(DAMAGED)
    if failed:
        raise MemoryError("There is no memory for a graph of vectors.")


def _native() -> ctypes.CDLL | None:
    from foveal.models.compiled import library

    found = library(SOURCE)
    if found is None:
        tell("A graph of vectors needs a C++ compiler, and there is none: searches compare all vectors. Install g++.")
    return found


@cache
def tell(remark: str) -> None:
    """Warn of it, once."""
    log.warning(remark)
