"""The attention-aware graph: finds the keys with the largest products with a *query*, which lies far from all keys.

    graph = RoarGraph.build(keys, queries)                # of a prompt: the queries say where later ones will look
    ids, products, visited = graph.search(query, 100)     # a hundred keys of each head, and what that took

Queries and keys come from different projections, so a graph that links keys to near keys leads a query into dead ends.
Here the training queries' exact neighbours are linked to one another (a query's best key is the pivot, its others the
candidates), the queries are taken out, and what the projection left apart is connected by letting every key look for
itself. One graph a head, for the heads of a group ask differently; the keys of a group are stored once.

Which keys are near each other is measured after a change of coordinates that leaves every product with a query as it
was: centred (a constant for each query), or centred and *balanced*, so that keys and queries vary alike. Each head gets
the better one in a trial on a sample. Walking needs neither: products with a query are those of the raw keys.

Shapes    keys (G, n, D), queries (H, T, D), H a multiple of G; links (H, n, degree) int32, -1 where there are fewer
Source    RetrievalAttention (arXiv 2409.10516), RoarGraph (Chen et al., VLDB 2024); ours: the change of coordinates,
          the trial, the frequent pivots as further entries, the fixed order that makes it the same under any threads
"""

from __future__ import annotations

import ctypes
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.attention import roar_plain
from foveal.attention.rows import Rows
from foveal.errors import InputError, LibraryCorrupt
from foveal.models.compiled import library

SOURCE = "attention/native/roar_graph.cpp"
DAMAGED = "Links of a graph lead to no key: the files of the kept text are damaged. Remove it and keep it anew."
ENTRIES = 16
QUEUE = 100
"""Least queue of a walk that is given none: with less, few keys are found however few are asked for."""

SHAPES = ("balanced", "centred")

TRIAL_KEYS, TRIAL_QUERIES, TRIAL_ASKED, TRIAL_BEST = 3072, 768, 64, 50
"""What a trial takes of a head: keys, training queries, queries that ask, and the keys that they look for."""


@dataclass(frozen=True, kw_only=True)
class RoarSettings:
    """How a graph is built. The graph's authors take 35 links and queues of 100 to 500; these are smaller, so that the
    graphs of all heads are built in no more than four times what reading takes, with 32 links a key."""

    nearest: int = 100  # keys of each training query, its pivot among them
    near: int = 20  # links of the projection
    degree: int = 32  # links of a key in all
    beam: int = 48  # queue of a key that looks for itself
    queries: int = 12_288  # most training queries of a head
    coordinates: str = "auto"  # "balanced", "centred", or by the trial

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.nearest < 2 or self.queries < 1 or self.beam < 1 or not 1 <= self.near < self.degree:
            raise InputError(
                f"A graph got nearest {self.nearest}, near {self.near}, degree {self.degree}, beam {self.beam}, "
                f"queries {self.queries}; it needs two nearest keys, and 1 ≤ near < degree."
            )
        if self.coordinates not in ("auto", *SHAPES):
            raise InputError(f"Coordinates are auto, {', '.join(SHAPES)}, not {self.coordinates!r}.")


class Found(NamedTuple):
    """What each query found."""

    ids: Tensor  # (H, Q, k) int64, best first; -1 where there were fewer keys
    products: Tensor  # (H, Q, k) float32, with the raw keys, not scaled
    visited: Tensor  # (H, Q) int64, keys that it was multiplied with


class _Graph(ctypes.Structure):
    """`Graph` of the source, field by field; so with the next ones."""

    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("keys", "more_keys", "links", "more_links")),
        *((name, ctypes.c_int64) for name in ("base", "count", "width", "degree", "stride", "more_stride")),
        ("entries", ctypes.c_void_p),
        *((name, ctypes.c_int64) for name in ("entry_count", "bfloat16")),
    )


class _Build(ctypes.Structure):
    _fields_ = (
        *((name, ctypes.c_void_p) for name in ("keys", "lists")),
        *((name, ctypes.c_int64) for name in ("count", "width", "queries", "nearest", "near", "degree", "beam")),
        *((name, ctypes.c_void_p) for name in ("links", "entries")),
        *((name, ctypes.c_int64) for name in ("entry_count", "threads", "covered", "cut_off")),
    )


class _Shape(ctypes.Structure):
    _fields_ = (("mean", ctypes.c_void_p), ("shape", ctypes.c_void_p))


@dataclass(frozen=True)
class Linked:
    """One head's links (n, degree), entries, and what building it showed."""

    links: NDArray[np.int32]
    entries: NDArray[np.int32]
    covered: float  # share of the keys that the projection reached
    attached: int  # keys that no walk could reach, and were linked


def link(keys: Tensor, lists: Tensor, settings: RoarSettings) -> Linked:
    """The graph over keys (n, D) float32, in whatever coordinates, of the training queries' best keys (T, nearest)."""
    found, count = lists.int().contiguous().numpy(), len(keys)
    entries = _entries(keys, found)
    native = library(SOURCE)
    if native is None:
        sizes = {"near": settings.near, "degree": settings.degree, "beam": settings.beam}
        links = roar_plain.build(keys.numpy(), found, entries, **sizes)
        return Linked(links, entries, float("nan"), 0)
    keys = keys.contiguous()
    links = np.empty((count, settings.degree), np.int32)
    call = _Build(
        *(keys.data_ptr(), found.ctypes.data, count, keys.shape[1], *found.shape),
        *(settings.near, settings.degree, settings.beam, links.ctypes.data, entries.ctypes.data, len(entries)),
        *(torch.get_num_threads(), 0, 0),
    )
    if native.foveal_roar_build(ctypes.byref(call)):
        raise MemoryError(f"There is no memory for a graph of {count:,} keys.")
    return Linked(links, entries, call.covered / count, call.cut_off)


def _entries(keys: Tensor, lists: NDArray[np.int32]) -> NDArray[np.int32]:
    """The key nearest to the mean, then the most frequent pivots; the first again up to ENTRIES."""
    middle = int((keys - keys.mean(0)).norm(dim=1).argmin())
    times = np.bincount(lists[:, 0], minlength=len(keys))
    order = np.argsort(-times, kind="stable")[: ENTRIES - 1]
    frequent = [int(one) for one in order if times[one] and one != middle]
    return np.array([middle, *frequent, *[middle] * ENTRIES][:ENTRIES], np.int32)


def balance(keys: Tensor, queries: Tensor) -> Tensor:
    """The symmetric A^-1 (D, D) by which centred keys and, by A, queries vary alike: A C_keys^-1 A = C_queries^-1.

    Products stay: (A q) · (A^-1 k) = q · k. The geometric mean of two covariances; directions in which either hardly
    varies are held at a millionth of its largest.
    """
    of_keys = (keys.double().T @ keys.double()) / len(keys)
    of_queries = (queries.double().T @ queries.double()) / len(queries)
    root, inverse = _power(of_queries, 0.5), _power(of_queries, -0.5)
    middle = inverse @ _power(root @ of_keys @ root, 0.5) @ inverse
    return _power(middle, -0.5).float()


def _power(matrix: Tensor, exponent: float) -> Tensor:
    values, vectors = torch.linalg.eigh(matrix)
    held = values.clamp(min=max(float(values[-1]) * 1e-6, 1e-30))
    power: Tensor = (vectors * held**exponent) @ vectors.T
    return power


def best_keys(queries: Tensor, keys: Tensor, k: int) -> Tensor:
    """The k keys (T, k) of the largest products with each query, exactly, best first."""
    size = max(1, 2**22 // max(1, len(keys)))
    return torch.cat([_best((part @ keys.T).float(), k) for part in torch.split(queries, size)])


def _best(products: Tensor, k: int) -> Tensor:
    """The places (T, k) of the largest of products (T, n), best first."""
    native = library(SOURCE)
    if native is None:
        return products.sort(descending=True, stable=True).indices[:, :k]
    found = torch.empty((len(products), k), dtype=torch.int32)
    sizes = (*products.shape, k, torch.get_num_threads())
    failed = native.foveal_roar_best(
        ctypes.c_void_p(products.data_ptr()),
        *(ctypes.c_int64(size) for size in sizes),
        ctypes.c_void_p(found.data_ptr()),
    )
    if failed:
        told = "The products of queries and keys are no numbers."
        raise InputError(told) if failed == 2 else MemoryError("There is no memory to look for the best keys.")
    return found.long()


def spread(count: int, most: int) -> Tensor:
    """At most `most` of the numbers 0 to count - 1, evenly."""
    return torch.linspace(0, count - 1, min(count, most), dtype=torch.float32).round().long()


def chosen_shape(keys: Tensor, queries: Tensor, settings: RoarSettings) -> Tensor | None:
    """A^-1 of a head's centred keys (n, D) and queries (T, D) where balancing finds more in a trial; else None."""
    if settings.coordinates == "centred":
        return None
    shape = balance(keys, queries)
    if settings.coordinates == "balanced":
        return shape
    some = keys[spread(len(keys), TRIAL_KEYS)].contiguous()
    asked = queries[spread(len(queries), TRIAL_QUERIES + TRIAL_ASKED)]
    held_out = torch.zeros(len(asked), dtype=torch.bool)
    held_out[spread(len(asked), min(TRIAL_ASKED, len(asked) // 2))] = True
    if not held_out.any():
        return shape
    best = min(TRIAL_BEST, len(some))
    truth = best_keys(asked[held_out], some, best)
    lists = best_keys(asked[~held_out], some, min(settings.nearest, len(some)))
    recalls = {}
    for name, coordinates in (("balanced", some @ shape), ("centred", some)):
        linked = link(coordinates, lists, settings)
        graph = RoarGraph(Rows(some[None]), linked.links[None], linked.entries[None])
        found = graph.search(asked[held_out][None], best)
        recalls[name] = recall(found.ids[0], truth)
    return shape if recalls["balanced"] >= recalls["centred"] else None


def recall(found: Tensor, truth: Tensor) -> float:
    """The share of the true keys (T, k) that are among those found (T, any)."""
    return float((truth[:, :, None] == found[:, None, :]).any(2).float().mean())


class RoarGraph:
    """The graphs of a layer's heads over the keys of its groups."""

    def __init__(
        self,
        keys: Rows,
        links: NDArray[np.int32],
        entries: NDArray[np.int32],
        *,
        means: Tensor | None = None,
        shapes: Tensor | None = None,
        notes: dict[str, list[float]] | None = None,
    ) -> None:
        """`links` (H, n, degree) may be a mapped file, private to this process; `means` (G, D) and `shapes` (H, D, D),
        all 0 where a head's keys are only centred, are needed to add keys. LibraryCorrupt: a file holds too few links.
        """
        if links.ndim != 3 or links.shape[1] != keys.base.shape[1] or len(entries) != len(links):
            raise LibraryCorrupt(DAMAGED)
        self.keys, self.links, self.entries = keys, links, np.ascontiguousarray(entries)
        self.means, self.shapes, self.notes = means, shapes, notes or {}
        self._more = np.empty((len(links), 0, links.shape[2]), np.int32)
        self._made: ctypes.Array[_Graph] | None = None  # what the compiled walk is given, until keys are added

    def __getstate__(self) -> dict[str, Any]:
        """A copy lies elsewhere, so it makes its own of what points into memory."""
        return {**self.__dict__, "_made": None}

    @property
    def heads(self) -> int:
        return len(self.links)

    @property
    def share(self) -> int:
        """Heads of a group."""
        return self.heads // self.keys.groups

    @classmethod
    def build(cls, keys: Tensor, queries: Tensor, settings: RoarSettings | None = None) -> RoarGraph:
        """The graphs of queries (H, T, D) over keys (G, n, D). InputError: shapes that do not fit, or no numbers."""
        settings = settings or RoarSettings()
        check_shapes(keys, queries)
        keys = keys if keys.dtype in (torch.float32, torch.bfloat16) else keys.float()
        keys = keys if keys.stride(2) == 1 else keys.contiguous()  # what the compiled walk reads
        share = len(queries) // len(keys)
        means = keys.float().mean(1)
        made, shapes = [], []
        for head, asked in enumerate(queries):
            centred = keys[head // share].float() - means[head // share]
            some = asked[spread(len(asked), settings.queries)].float()
            shape = chosen_shape(centred, some, settings)
            lists = best_keys(some, centred, min(settings.nearest, len(centred)))
            made.append(link(centred if shape is None else centred @ shape, lists, settings))
            shapes.append(means.new_zeros(2 * keys.shape[2:]) if shape is None else shape)
        return cls(
            Rows(keys),
            np.stack([one.links for one in made]),
            np.stack([one.entries for one in made]),
            means=means,
            shapes=torch.stack(shapes),
            notes={
                "covered": [one.covered for one in made],
                "attached": [one.attached for one in made],
                "balanced": [float(shape.any()) for shape in shapes],
            },
        )

    def search(self, queries: Tensor, k: int, *, beam: int | None = None) -> Found:
        """The best k keys of each query (H, Q, D) among all that a walk with a queue of `beam` scores.

        Its default is half of k, for what falls out of the queue was scored all the same, and at least QUEUE. Where all
        keys are asked for it holds all, whatever is given: nothing then stands for what it left out.

        InputError: wrong shapes. LibraryCorrupt: links that were read from a file lead to no key.
        """
        check_asked(queries, self.keys, k, heads=self.heads)
        k = min(k, len(self.keys))
        beam = k if k == len(self.keys) else beam or max(QUEUE, k // 2)
        asked = queries.float().contiguous()
        native = library(SOURCE)
        if native is None:
            return self._plainly(asked, k, beam)
        heads, each, _ = asked.shape
        ids = torch.empty((heads, each, k), dtype=torch.int32, device="cpu")
        products = torch.empty((heads, each, k), dtype=torch.float32, device="cpu")  # the defaults may be others
        visited = torch.empty((heads, each), dtype=torch.int64, device="cpu")
        graphs = self._made = self._made or self._graphs()
        failed = native.foveal_roar_search(
            graphs,
            *(ctypes.c_int64(heads), ctypes.c_int64(each), ctypes.c_void_p(asked.data_ptr())),
            *(ctypes.c_int64(beam), ctypes.c_int64(k), ctypes.c_int64(torch.get_num_threads())),
            *(ctypes.c_void_p(part.data_ptr()) for part in (ids, products, visited)),
        )
        _check(failed, "walk the graphs")
        return Found(ids.long(), products, visited)

    def add(self, keys: Tensor, *, beam: int = 48) -> None:
        """Link more keys (G, m, D), one after another: each looks for itself and is linked both ways.

        Keys that the thinning of links cut off are attached again. InputError: wrong shapes, or no numbers.
        LibraryCorrupt: as `search`.
        """
        if keys.dim() != 3 or (len(keys), keys.shape[2]) != (self.keys.groups, self.keys.width):
            raise InputError(
                f"Keys {tuple(keys.shape)} were to be added to a graph; it needs ({self.keys.groups}, any, "
                f"{self.keys.width})."
            )
        _require_numbers(keys)
        if self.means is None or self.shapes is None:
            raise InputError("These graphs were made without their coordinates; keys cannot be added.")
        native = library(SOURCE)
        if native is None:
            raise InputError("Keys cannot be added to a graph without a C++ compiler. Install g++, or append instead.")
        first = len(self.keys)
        self._made = None
        self.keys.append(keys)
        new = np.full((self.heads, keys.shape[1], self.links.shape[2]), -1, np.int32)
        self._more = np.concatenate([self._more, new], 1)
        graphs = self._graphs()
        shapes = (_Shape * self.heads)()
        flat = self.means.contiguous(), self.shapes.contiguous()
        for head in range(self.heads):
            mean, shape = flat[0][head // self.share], flat[1][head]
            shapes[head] = _Shape(mean.data_ptr(), shape.data_ptr() if shape.any() else None)
        failed = native.foveal_roar_add(
            *(graphs, shapes, ctypes.c_int64(self.heads), ctypes.c_int64(first), ctypes.c_int64(beam)),
            ctypes.c_int64(torch.get_num_threads()),
        )
        _check(failed, "add keys to the graphs")

    def row(self, head: int, key: int) -> NDArray[np.int32]:
        """The links of one key."""
        base = self.links.shape[1]
        found: NDArray[np.int32] = self.links[head, key] if key < base else self._more[head, key - base]
        return found

    def unreached(self, head: int) -> int:
        """Keys that no walk from the entries can reach."""
        rows = [self.row(head, key).tolist() for key in range(len(self.keys))]
        seen: set[int] = set()
        roar_plain.reached(rows, self.entries[head].tolist(), seen)
        return len(rows) - len(seen)

    @property
    def nbytes(self) -> int:
        """Bytes of the links."""
        return self.links.nbytes + self._more.nbytes

    def _graphs(self) -> ctypes.Array[_Graph]:
        base, more = self.keys.base, self.keys.added
        graphs = (_Graph * self.heads)()
        for head in range(self.heads):
            group = head // self.share
            graphs[head] = _Graph(
                *(base[group].data_ptr(), more[group].data_ptr() if more.shape[1] else None),
                *(self.links[head].ctypes.data, self._more[head].ctypes.data),
                *(base.shape[1], len(self.keys), self.keys.width, self.links.shape[2]),
                *(base.stride(1), more.stride(1) if more.shape[1] else 0),
                *(self.entries[head].ctypes.data, self.entries.shape[1], int(base.dtype == torch.bfloat16)),
            )
        return graphs

    def _plainly(self, asked: Tensor, k: int, beam: int) -> Found:
        ids = torch.full((*asked.shape[:2], k), -1, dtype=torch.int64)
        products, visited = asked.new_zeros(ids.shape), torch.zeros(asked.shape[:2], dtype=torch.int64)
        for head, queries in enumerate(asked):
            keys = torch.cat(self.keys.parts, 1)[head // self.share].float().numpy()
            rows = [self.row(head, key).tolist() for key in range(len(keys))]
            if max(max(row) for row in [*rows, self.entries[head].tolist()]) >= len(keys):
                raise LibraryCorrupt(DAMAGED)
            for place, query in enumerate(queries.numpy()):
                _, _, scored = roar_plain.walk(keys, rows, self.entries[head], query, beam)
                best = sorted(scored)[:k]
                ids[head, place, : len(best)] = torch.tensor([one for _, one in best], dtype=torch.int64)
                products[head, place, : len(best)] = asked.new_tensor([-negated for negated, _ in best])
                visited[head, place] = len(scored)
        return Found(ids, products, visited)


def _check(failed: int, doing: str) -> None:
    if failed == 2:
        raise LibraryCorrupt(DAMAGED)
    if failed:
        raise MemoryError(f"There is no memory to {doing}.")


def check_shapes(keys: Tensor, queries: Tensor) -> None:
    """InputError: keys (G, n, D) and queries (H, T, D) do not fit each other, are empty, or hold no numbers."""
    fits = keys.dim() == queries.dim() == 3 and keys.shape[2] == queries.shape[2]
    if not fits or not len(keys) or not len(queries) or len(queries) % len(keys):
        raise InputError(
            f"Keys {tuple(keys.shape)} and queries {tuple(queries.shape)} came; an index needs keys (groups, n, width) "
            "and queries (heads, any, width), with a multiple of the groups as heads, and one width."
        )
    if not keys.shape[1] or not queries.shape[1]:
        raise InputError("An index needs at least one key and one query to be built.")
    _require_numbers(keys, queries)


def check_asked(queries: Tensor, keys: Rows, k: int, *, heads: int | None = None) -> None:
    """InputError: queries (H, Q, D) do not fit an index over `keys`, of so many `heads`, or none of it is asked for."""
    fits = queries.dim() == 3 and len(queries) and queries.shape[2] == keys.width
    if not fits or len(queries) % keys.groups or len(queries) != (heads or len(queries)) or k < 1:
        raise InputError(
            f"The {k} best keys of queries {tuple(queries.shape)} were asked for; an index over {keys.groups} groups "
            f"of keys of width {keys.width} needs queries ({heads or 'a multiple of the groups'}, any, {keys.width}), "
            "and at least 1 key."
        )


def _require_numbers(*parts: Tensor) -> None:
    if not all(bool(torch.isfinite(part).all()) for part in parts):
        raise InputError("Keys or queries hold NaN or infinity: the model's attention has overflowed. Use bfloat16.")
