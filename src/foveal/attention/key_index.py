"""The indexes of a layer's keys, behind one interface: which keys have the largest products with a query?

    index = build("roar", keys, queries)                  # keys (G, n, D); the prompt's queries (H, T, D) to learn from
    found = index.search(query, 100)                      # query (H, Q, D) -> keys, products, and how many were visited
    index.add(new_keys)

flat    all keys, exactly: one product for the heads of a group
roar    the attention-aware graph (roar_graph.py)
hnsw    the usual graph, which links keys to near keys; faiss, one a group
ivf     keys in clusters, of which the nearest few are visited; faiss, one a group

The indexes of faiss (the extra `bench`) hold the keys as they are, or (`centred`) less their mean, which adds the same
to each product of a query and is added back. They cannot be kept in a file of their own here: what is read again is
built again.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Protocol

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from foveal.attention.roar_graph import Found, RoarGraph, RoarSettings, check_asked, check_shapes
from foveal.attention.rows import Rows
from foveal.errors import InputError, UnknownName
from foveal.registry import require

WIDENED = 2048
"""Keys of a group that are widened to float32 at a time: few enough to stay in the processor's cache."""


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """What the indexes are built and searched with; each takes what is its own."""

    roar: RoarSettings = field(default_factory=RoarSettings)
    beam: int | None = None  # queue of a walk; None, by the keys that are asked for: roar 1/2 (at least 100), hnsw 3/2
    links: int = 32  # of a key of hnsw
    construction: int = 200  # queue when hnsw is built
    clusters: int = 128  # of ivf; fewer where there are few keys
    probes: int = 32  # clusters of ivf that are visited
    centred: bool = False  # whether hnsw and ivf are given keys less their mean

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        beam = 1 if self.beam is None else self.beam
        if min(self.links, self.construction, self.clusters, self.probes, beam) < 1:
            raise InputError(f"An index got {self}; each number must be at least 1.")


class KeyIndex(Protocol):
    """An index over the keys of a layer's groups, asked by its heads."""

    kind: ClassVar[str]
    keys: Rows

    def search(self, queries: Tensor, k: int) -> Found:
        """The best k keys of queries (H, Q, D), fewer where there are not so many. InputError: wrong shapes."""
        ...

    def add(self, keys: Tensor) -> None:
        """Take in keys (G, m, D) behind the others."""
        ...

    def arrays(self) -> dict[str, NDArray[Any]]:
        """What a file must hold, besides the keys, to read the index again."""
        ...

    def stats(self) -> dict[str, float]:
        """What is told of it: bytes besides the keys, and what is its own."""
        ...


class Flat:
    """Every key of the group, by one product for its heads."""

    kind: ClassVar[str] = "flat"

    def __init__(self, keys: Rows) -> None:
        self.keys = keys

    @classmethod
    def build(cls, keys: Tensor, queries: Tensor, settings: IndexSettings) -> Flat:  # noqa: ARG003
        return cls(Rows(keys))

    @classmethod
    def read(cls, keys: Rows, arrays: Mapping[str, NDArray[Any]], settings: IndexSettings) -> Flat:  # noqa: ARG003
        return cls(keys)

    def search(self, queries: Tensor, k: int) -> Found:
        check_asked(queries, self.keys, k)
        products = every_product(queries, self.keys)
        k = min(k, products.shape[-1])
        best = products.topk(k)
        visited = torch.full(queries.shape[:2], products.shape[-1])
        return Found(best.indices, best.values, visited)

    def add(self, keys: Tensor) -> None:
        self.keys.append(keys)

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def stats(self) -> dict[str, float]:
        return {"bytes": 0.0}


def every_product(queries: Tensor, keys: Rows) -> Tensor:
    """Queries (H, Q, D) with all keys of their groups: (H, Q, n) float32."""
    heads, each, width = queries.shape
    folded = queries.float().reshape(keys.groups, -1, width)
    pieces = [piece for part in keys.parts for piece in torch.split(part, WIDENED, 1)]
    return torch.cat([folded @ piece.float().mT for piece in pieces], 2).reshape(heads, each, -1)


class Roar:
    """The attention-aware graphs."""

    kind: ClassVar[str] = "roar"

    def __init__(self, graph: RoarGraph, settings: IndexSettings) -> None:
        self.graph, self.settings = graph, settings
        self.keys = graph.keys

    @classmethod
    def build(cls, keys: Tensor, queries: Tensor, settings: IndexSettings) -> Roar:
        return cls(RoarGraph.build(keys, queries, settings.roar), settings)

    @classmethod
    def read(cls, keys: Rows, arrays: Mapping[str, NDArray[Any]], settings: IndexSettings) -> Roar:
        means, shapes = (torch.from_numpy(np.array(arrays[name])) for name in ("means", "shapes"))
        graph = RoarGraph(keys, arrays["links"], np.array(arrays["entries"]), means=means, shapes=shapes)
        return cls(graph, settings)

    def search(self, queries: Tensor, k: int) -> Found:
        return self.graph.search(queries, k, beam=self.settings.beam)

    def add(self, keys: Tensor) -> None:
        self.graph.add(keys, beam=self.settings.roar.beam)

    def arrays(self) -> dict[str, NDArray[Any]]:
        graph = self.graph
        if graph.means is None or graph.shapes is None or graph.keys.added.shape[1]:
            raise InputError("A graph is kept as it was built; this one has been added to since.")
        return {
            "links": graph.links,
            "entries": graph.entries,
            "means": graph.means.numpy(),
            "shapes": graph.shapes.numpy(),
        }

    def stats(self) -> dict[str, float]:
        degree = float((self.graph.links >= 0).mean() * self.graph.links.shape[2])
        notes = {name: float(np.mean(values)) for name, values in self.graph.notes.items()}
        return {"bytes": float(self.graph.nbytes), "degree": degree, **notes}


class _Faiss:
    """What the two indexes of faiss share: one index a group."""

    kind: ClassVar[str] = ""

    def __init__(self, keys: Rows, means: Tensor, indexes: list[Any], settings: IndexSettings) -> None:
        self.keys, self.means, self.indexes, self.settings = keys, means, indexes, settings

    @classmethod
    def build(cls, keys: Tensor, queries: Tensor, settings: IndexSettings) -> _Faiss:  # noqa: ARG003
        faiss = require("faiss", extra="bench")
        faiss.omp_set_num_threads(torch.get_num_threads())
        means = keys.float().mean(1) * settings.centred
        indexes = []
        for group, mean in zip(keys, means, strict=True):
            vectors = np.ascontiguousarray((group.float() - mean).numpy())
            index = cls._made(faiss, vectors, settings)
            index.add(vectors)
            indexes.append(index)
        return cls(Rows(keys), means, indexes, settings)

    @classmethod
    def read(cls, keys: Rows, arrays: Mapping[str, NDArray[Any]], settings: IndexSettings) -> _Faiss:  # noqa: ARG003
        return cls.build(torch.cat(keys.parts, 1), keys.base, settings)

    @staticmethod
    def _made(faiss: Any, vectors: NDArray[np.float32], settings: IndexSettings) -> Any:
        raise NotImplementedError

    def _visits(self, index: Any, queries: NDArray[np.float32], k: int) -> tuple[Any, Any, int]:
        """Products, ids, and the keys visited in all."""
        raise NotImplementedError

    def search(self, queries: Tensor, k: int) -> Found:
        check_asked(queries, self.keys, k)
        heads, each, _ = queries.shape
        k, share = min(k, len(self.keys)), heads // len(self.indexes)
        asked = queries.float()
        ids, products = torch.empty((heads, each, k), dtype=torch.int64), asked.new_empty((heads, each, k))
        visited = torch.empty((heads, each), dtype=torch.int64)
        for head in range(heads):
            group = head // share
            found, places, count = self._visits(self.indexes[group], asked[head].contiguous().numpy(), k)
            ids[head] = torch.from_numpy(places)
            products[head] = torch.from_numpy(found) + (asked[head] @ self.means[group])[:, None]
            visited[head] = round(count / each)
        return Found(ids, products.masked_fill(ids < 0, 0.0), visited)

    def add(self, keys: Tensor) -> None:
        self.keys.append(keys)
        for index, group, mean in zip(self.indexes, keys, self.means, strict=True):
            index.add(np.ascontiguousarray((group.float() - mean).numpy()))

    def arrays(self) -> dict[str, NDArray[Any]]:
        return {}

    def stats(self) -> dict[str, float]:
        return {"bytes": float(sum(index.ntotal * index.d * 4 for index in self.indexes))}


class Hnsw(_Faiss):
    """The usual graph of near keys."""

    kind: ClassVar[str] = "hnsw"

    @staticmethod
    def _made(faiss: Any, vectors: NDArray[np.float32], settings: IndexSettings) -> Any:
        index = faiss.IndexHNSWFlat(vectors.shape[1], settings.links, faiss.METRIC_INNER_PRODUCT)
        index.hnsw.efConstruction = settings.construction
        return index

    def _visits(self, index: Any, queries: NDArray[np.float32], k: int) -> tuple[Any, Any, int]:
        faiss = require("faiss", extra="bench")
        faiss.cvar.hnsw_stats.reset()
        index.hnsw.efSearch = self.settings.beam or 3 * k // 2
        found, places = index.search(queries, k)
        return found, places, int(faiss.cvar.hnsw_stats.ndis)


class Ivf(_Faiss):
    """Clusters of keys."""

    kind: ClassVar[str] = "ivf"

    @staticmethod
    def _made(faiss: Any, vectors: NDArray[np.float32], settings: IndexSettings) -> Any:
        count, width = vectors.shape
        coarse = faiss.IndexFlatIP(width)
        index = faiss.IndexIVFFlat(
            coarse, width, max(1, min(settings.clusters, count // 40)), faiss.METRIC_INNER_PRODUCT
        )
        index.cp.min_points_per_centroid = 1
        index.train(vectors)
        return index

    def _visits(self, index: Any, queries: NDArray[np.float32], k: int) -> tuple[Any, Any, int]:
        faiss = require("faiss", extra="bench")
        faiss.cvar.indexIVF_stats.reset()
        index.nprobe = self.settings.probes
        found, places = index.search(queries, k)
        return found, places, int(faiss.cvar.indexIVF_stats.ndis) + len(queries) * index.nlist


INDEXES: dict[str, Any] = {"flat": Flat, "roar": Roar, "hnsw": Hnsw, "ivf": Ivf}


def build(kind: str, keys: Tensor, queries: Tensor, settings: IndexSettings | None = None) -> KeyIndex:
    """The index called `kind`. UnknownName: there is none. InputError: shapes that do not fit, or no numbers."""
    check_shapes(keys, queries)
    index: KeyIndex = _named(kind).build(keys, queries, settings or IndexSettings())
    return index


def read(kind: str, keys: Rows, arrays: Mapping[str, NDArray[Any]], settings: IndexSettings | None = None) -> KeyIndex:
    """The index of what `arrays` gave, over the same keys."""
    index: KeyIndex = _named(kind).read(keys, arrays, settings or IndexSettings())
    return index


def _named(kind: str) -> Any:
    if kind not in INDEXES:
        raise UnknownName(f"No index of keys is called {kind!r}. There are: {', '.join(INDEXES)}.")
    return INDEXES[kind]
