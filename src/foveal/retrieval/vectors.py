"""One index over vectors in memory or mapped from disk: exact, in cells, as a graph, in few bytes, or several of these.

    index = DenseIndex.build(ids, vectors, IndexSettings(kind="ivfpq"), fingerprint=encoder.fingerprint)
    found, scores = index.search(encoder.encode(queries), k=10, fingerprint=encoder.fingerprint)
    index.add(ids, vectors); index.delete(ids); index.compact()
    index.save(folder); DenseIndex.load(folder, mmap=True); index.stats(queries)

Shapes    vectors (N, D) and queries (Q, D); found ids and scores (Q, min(k, N)), the best first
Kinds     flat   all vectors, exact                                 4 D bytes a vector
          int8   all vectors, a byte a number                       D + 4
          binary signs by Hamming distance, the best by int8        D / 8 + D + 4
          ivf    the vectors of the nearest cells (Jégou et al.)    4 D
          hnsw   those that a walk over a graph meets (hnsw.py)     4 D, and about 8 `links` for the links
          pq     all vectors as product codes                       D / 8, or `code_bytes`; re-scored
          ivfpq  codes of what the cell's centroid leaves           the same; re-scored
Scores    cos, ip: the inner product (cos: of unit vectors, made so here); l2: minus the squared distance
Against   a library keeps its vectors in Lance (store.py), which has a graph of its own. This index is for vectors
          without a library: training loops, experiments, a trained quantiser. Figures: `foveal bench retrieval-index`
Rows are kept sorted by cell, so `add` copies what is stored: add in large parts. What is deleted from a graph is still
walked through until `compact` links the others anew, which takes as long as `build`; where few are left in the midst of
what was deleted, or by inner product (ip) the long ones were, all are compared.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.ranges import require_k
from foveal.retrieval import flat, hnsw
from foveal.retrieval.flat import Floats, Ids, Int8Vectors, SignVectors
from foveal.retrieval.quantised import Cells, Codes, ProductQuantiser, table_scores
from foveal.retrieval.snapshots import read_snapshot, write_snapshot
from foveal.retrieval.vector_forms import (
    Arrays,
    IndexSettings,
    Names,
    arranged,
    encoded,
    ids_like,
    names_of,
    quantiser_of,
    ready,
    trained,
)

LOST = 0.25
"""Share of a graph's links, above that of vectors, that deleted ones may hold by products; docs/retrieval.md."""


@dataclass(frozen=True)
class IndexStats:
    """What an index holds, what it takes, and how much of the exact result it finds."""

    kind: str
    metric: str
    dimension: int
    vectors: int  # that can be found
    deleted: int  # that wait for `compact`
    compared: float | None  # vectors that hnsw compared with a query, on average; None where it was not measured
    trained_on: int  # vectors at the time of `build`; build anew once there are several times as many
    searched_bytes: float  # a vector: what each search runs through, or may
    kept_bytes: float  # a vector: what only the best candidates are re-scored by; stays on disk where mapped
    shared_bytes: int  # centroids, rotation
    recall: float | None  # share of the exact best k found; None where it was not measured


class DenseIndex:
    """Vectors with ids; make it with `build` or `load`. One thread may change it; searches change nothing."""

    def __init__(self, settings: IndexSettings, rows: Arrays, shared: Arrays, *, made: dict[str, Any]) -> None:
        self.settings = settings
        self._rows = rows  # ids, alive, and by kind: full, int8, scales, signs, codes, offsets, cell, links, levels
        self._shared = shared  # by kind: cells, centroids, rotation, upper
        self._made = made  # dimension, fingerprint, trained_on

    # -- making -------------------------------------------------------------------------------------------------

    @classmethod
    def build(
        cls,
        ids: Sequence[str] | Sequence[int] | Names,
        vectors: Floats,
        settings: IndexSettings | None = None,
        *,
        fingerprint: str = "",
        quantiser: ProductQuantiser | None = None,
        codes: Codes | None = None,
    ) -> DenseIndex:
        """The index of `vectors` (N, D), each under its id; `fingerprint` is that of their encoder.

        `quantiser` is one trained elsewhere (`training.joint_index`), for kind="pq", and `codes` (N, M) the
        assignments that it was trained for. InputError: no vectors, ids that are not one for each or not distinct,
        NaN, a vector of length 0 with cos, fewer vectors than centroids.
        """
        settings = settings or IndexSettings()
        named = names_of(ids)
        if not len(named):
            raise InputError("An index got no vectors; it needs at least one. Add texts first.")
        usable = ready(vectors, named, settings.metric)
        shared = trained(usable, settings, quantiser)
        made = {"dimension": usable.shape[1], "fingerprint": fingerprint, "trained_on": len(named)}
        index = cls(settings, {}, shared, made=made)
        index._set(encoded(named, usable, settings, shared, codes))
        return index

    def add(self, ids: Sequence[str] | Sequence[int] | Names, vectors: Floats, *, fingerprint: str = "") -> None:
        """Put more vectors in. What was trained at `build` (cells, centroids, rotation) stays as it is.

        InputError: as for `build`, an id that is there already, or another dimension, kind of id or encoder.
        """
        named = names_of(ids)
        self._check_fingerprint(fingerprint)
        usable = ready(vectors, named, self.settings.metric, self.dimension)
        if not len(named):
            return
        named = ids_like(named, self._rows["ids"])
        there = np.isin(named, self._rows["ids"][self._rows["alive"]])
        if there.any():
            raise InputError(f"The id {named[there][0]} is in the index already. Delete it first, to replace it.")
        fresh = encoded(named, usable, self.settings, self._shared)
        self._set({name: np.concatenate([rows, fresh[name]]) for name, rows in self._rows.items()})

    def delete(self, ids: Sequence[str] | Sequence[int] | Names) -> None:
        """Let vectors be found no more; what they take stays until `compact`. InputError: an id is not there."""
        named = ids_like(names_of(ids), self._rows["ids"])
        present = self._rows["ids"][self._rows["alive"]]
        missing = ~np.isin(named, present)
        if missing.any():
            raise InputError(f"The id {named[missing][0]} is not in the index; nothing was deleted. Check the ids.")
        gone = np.isin(self._rows["ids"], named)
        self._rows = {**self._rows, "alive": self._rows["alive"] & ~gone}
        self._forget()

    def compact(self) -> None:
        """Drop what was deleted; a graph is built anew, and holds what was added where there was no compiler."""
        alive = self._rows["alive"]
        if not alive.any():
            raise InputError("An index needs at least one vector, and all were deleted. Build a new one.")
        if not alive.all():
            self._set({name: rows[alive] for name, rows in self._rows.items()}, anew=True)
        elif self.settings.kind == "hnsw":
            self._set(self._rows)

    # -- asking -------------------------------------------------------------------------------------------------

    def __len__(self) -> int:
        return int(np.count_nonzero(self._rows["alive"]))  # a sum takes half as long as a walk

    @property
    def dimension(self) -> int:
        """Length of a vector, D."""
        return int(self._made["dimension"])

    def search(self, queries: Floats, k: int, *, fingerprint: str = "") -> tuple[Names, Floats]:
        """Ids and scores of the `k` best vectors of each query, (Q, min(k, N)), the best first.

        Give the `fingerprint` of the encoder of the queries to have it checked. InputError: another encoder or
        dimension, k below 1, NaN, a query of length 0 with cos, an index of which all is deleted.
        """
        require_k(k)
        self._check_fingerprint(fingerprint)
        usable = ready(queries, np.arange(len(queries)), self.settings.metric, self.dimension, what="Query")
        if not len(self):
            raise InputError("A search got an index whose vectors are all deleted. Add some, or build a new one.")
        rows, scores = self._found(usable, min(k, len(self)))
        if self.settings.metric == "l2":
            scores = 2 * scores - (usable * usable).sum(axis=1, keepdims=True)
        return self._rows["ids"][rows], scores

    def stats(self, queries: Floats | None = None, *, k: int = 10, against: DenseIndex | None = None) -> IndexStats:
        """Size, and with `queries` (real ones: stored vectors find themselves) the recall of the exact best `k`.

        The exact result is that of the full vectors kept here, or of the flat index `against`.
        """
        searched, kept = self._bytes()
        recall = None
        if queries is not None:
            exact = (against or self._flat()).search(queries, k)[0]
            found = self.search(queries, k)[0]
            recall = float(np.mean([np.isin(true, got).mean() for true, got in zip(exact, found, strict=True)]))
        return IndexStats(
            kind=self.settings.kind,
            metric=self.settings.metric,
            dimension=self.dimension,
            vectors=len(self),
            deleted=len(self._rows["ids"]) - len(self),
            compared=None if queries is None else self._compared(queries, k),
            trained_on=int(self._made["trained_on"]),
            searched_bytes=searched,
            kept_bytes=kept,
            shared_bytes=sum(array.nbytes for name, array in self._shared.items() if name != "upper"),
            recall=recall,
        )

    # -- keeping ------------------------------------------------------------------------------------------------

    def save(self, folder: str | Path, *, keep: int = 1) -> int:
        """Write a snapshot into `folder`, whole or not at all, and give its number; the last `keep` ones stay."""
        about = {"settings": asdict(self.settings), "made": self._made}
        arrays = {f"rows-{name}": array for name, array in self._rows.items()}
        arrays |= {f"shared-{name}": array for name, array in self._shared.items()}
        return write_snapshot(Path(folder), about, arrays, keep=keep)

    @classmethod
    def load(cls, folder: str | Path, *, mmap: bool = True, snapshot: int | None = None) -> DenseIndex:
        """The index in `folder`: its last snapshot, or that of the number `snapshot`.

        With `mmap` vectors stay on disk until a search touches them; changing the index does not change the files.
        InputError: there is none, or it is of another kind. LibraryCorrupt: a file is missing or damaged. A search says
        so where links of a graph are, which only it reads.
        """
        about, arrays = read_snapshot(Path(folder), mmap=mmap, snapshot=snapshot)
        if not {"settings", "made"} <= about.keys():
            raise InputError(f"{folder} holds an index of another kind. Name a folder that DenseIndex.save wrote.")
        rows = {name.removeprefix("rows-"): array for name, array in arrays.items() if name.startswith("rows-")}
        shared = {name.removeprefix("shared-"): array for name, array in arrays.items() if name.startswith("shared-")}
        index = cls(IndexSettings(**about["settings"]), rows, shared, made=about["made"])
        if index.settings.kind == "hnsw":
            index._graph_of(rows)
        return index

    # -- the forms of vectors -----------------------------------------------------------------------------------

    @cached_property
    def quantiser(self) -> ProductQuantiser:
        """The product quantiser of pq and ivfpq."""
        return quantiser_of(self._shared)

    @cached_property
    def _cells(self) -> Cells:
        count = len(self._shared["cells"])
        return Cells(self._shared["cells"], np.searchsorted(self._rows["cell"], np.arange(count + 1)))

    @cached_property
    def _graph(self) -> hnsw.Graph:
        return self._graph_of(self._rows)

    def _graph_of(self, rows: Arrays) -> hnsw.Graph:
        return hnsw.Graph(rows["full"], rows["links"], rows["levels"], self._shared["upper"], self.settings.metric)

    def _set(self, rows: Arrays, *, anew: bool = False) -> None:
        """Take these rows; `anew`: they are others than before, so that links of a graph do not hold for them."""
        if self.settings.kind == "hnsw":
            made = self.settings
            start = hnsw.no_graph(rows["full"], made.links, made.metric) if anew else self._graph_of(rows)
            graph = hnsw.linked(start, construction=made.construction, seed=made.seed)
            rows = {**rows, "links": graph.links, "levels": graph.levels}
            self._shared = {**self._shared, "upper": graph.upper}
        self._rows = arranged(rows)
        self._forget()

    def _forget(self) -> None:
        for name in ("_cells", "_graph", "_is_cut"):
            self.__dict__.pop(name, None)

    def _flat(self) -> DenseIndex:
        """This index as an exact one."""
        if "full" not in self._rows:
            raise InputError(
                f"An index of kind {self.settings.kind} keeps no full vectors to measure recall by. "
                "Give stats(against=…) a flat index of the same vectors."
            )
        rows = {name: self._rows[name] for name in ("ids", "alive", "full")}
        return DenseIndex(replace(self.settings, kind="flat"), rows, {}, made=self._made)

    # -- the ways of searching ----------------------------------------------------------------------------------

    def _found(self, queries: Floats, k: int) -> tuple[Ids, Floats]:
        """Rows and scores (Q, k) of ready queries; scores of l2 are products less |d|² / 2."""
        asked = queries
        if self.settings.metric == "l2" and "full" in self._rows:
            asked = np.column_stack([queries, np.ones(len(queries), dtype=np.float32)])
        if self.settings.coded or self.settings.in_cells:
            return self._one_by_one(queries, asked, k)
        if self.settings.kind == "hnsw" and self._graph.walkable and self._walks(k):
            return self._walked(queries, asked, k)
        return self._without_deleted(self._scanned(asked, k), k)

    def _scanned(self, asked: Floats, k: int) -> tuple[Ids, Floats]:
        """The best of all rows, as many more than `k` as are deleted: so that k remain."""
        rows, more = self._rows, k + len(self._rows["ids"]) - len(self)
        if self.settings.keeps == "full":
            return flat.flat_search(rows["full"], asked, more)
        small = Int8Vectors(rows["int8"], rows["scales"])
        if self.settings.kind == "int8":
            return flat.int8_search(small, asked, more)
        candidates = self.settings.rescored(k) + more - k
        signs = SignVectors(rows["signs"], self.dimension)
        return flat.binary_rescored(signs, small, asked, more, candidates=candidates)

    def _walked(self, queries: Floats, asked: Floats, k: int) -> tuple[Ids, Floats]:
        """The best that walks over the graph find; where one finds fewer than `k`, of all rows."""
        rows, scores, _ = self._graph.search(queries, k, effort=self.settings.effort, alive=self._living())
        few = rows[:, -1] < 0
        if few.any():
            rows[few], scores[few] = self._without_deleted(self._scanned(asked[few], k), k)
        return rows, scores

    def _walks(self, k: int) -> bool:
        """Whether walking is worth it. A walk keeps all that it meets until it has met enough that live: where most
        are deleted that is nearly all, in a sorted row, which takes longer than to compare them, and finds less.
        """
        stored, enough = len(self._rows["ids"]), max(self.settings.effort, k)
        if self._is_cut:
            return False
        return len(self) > min(stored / 2, enough * math.sqrt(stored / self.dimension))

    @cached_property
    def _is_cut(self) -> bool:
        """Whether a graph by products lost so many of the long vectors, to which most links lead, that walks miss the
        best; it says so, once."""
        alive = self._living()
        if alive is None or self.settings.metric != "ip" or self._graph.lost(alive) <= LOST:
            return False
        hnsw.tell(
            "Most links of an index by inner product lead to vectors that are deleted, so that searches compare all. "
            "Its `compact` links the others anew."
        )
        return True

    def _living(self) -> npt.NDArray[np.bool_] | None:
        alive = self._rows["alive"]
        return None if len(self) == len(alive) else alive

    def _compared(self, queries: Floats, k: int) -> float | None:
        if self.settings.kind != "hnsw" or not self._graph.walkable or not len(queries):
            return None
        usable = ready(queries, np.arange(len(queries)), self.settings.metric, self.dimension, what="Query")
        few = min(k, len(self))
        if not self._walks(few):
            return float(len(self._rows["ids"]))
        return float(self._graph.search(usable, few, effort=self.settings.effort, alive=self._living())[2].mean())

    def _without_deleted(self, found: tuple[Ids, Floats], k: int) -> tuple[Ids, Floats]:
        rows, scores = found
        alive = self._rows["alive"][rows]
        if alive.all():
            return rows[:, :k], scores[:, :k]
        first = np.argsort(~alive, axis=1, kind="stable")[:, :k]  # the living, in their order
        return np.take_along_axis(rows, first, axis=1), np.take_along_axis(scores, first, axis=1)

    def _one_by_one(self, queries: Floats, asked: Floats, k: int) -> tuple[Ids, Floats]:
        rows = np.empty((len(queries), k), dtype=np.int64)
        scores = np.empty((len(queries), k), dtype=np.float32)
        tables = self.quantiser.tables(queries) if self.settings.coded else None
        for place, query in enumerate(queries):
            parts, products = self._parts(query, k)
            near = np.concatenate([np.arange(part.start, part.stop) for part in parts])
            if tables is None:
                found = np.concatenate([self._rows["full"][part] @ asked[place] for part in parts])
            else:
                found = self._by_codes(tables[place], parts, products)
            if not (alive := self._rows["alive"][near]).all():
                near, found = near[alive], found[alive]
            if tables is not None and self.settings.rescore != "none":
                near = near[_largest(found, self.settings.rescored(k))]
                found = self._rescored(query, asked[place], near)
            best = _largest(found, k)
            rows[place], scores[place] = near[best], found[best]
        return rows, scores

    def _parts(self, query: Floats, k: int) -> tuple[list[slice], Floats]:
        """The slices of rows to look at, with `k` living ones, and the query's product with the centroid of each."""
        stored = len(self._rows["ids"])
        if not self.settings.in_cells:
            return [slice(0, stored)], np.zeros(1, dtype=np.float32)
        cells, products = self._cells, self._cells.products(query)
        wanted, nearest_first = k + stored - len(self), self.settings.metric != "ip"
        probed = cells.probed(products, self.settings.probes, wanted, nearest_first=nearest_first)
        return [slice(cells.starts[cell], cells.starts[cell + 1]) for cell in probed], products[probed]

    def _by_codes(self, table: Floats, parts: list[slice], products: Floats) -> Floats:
        """Scores of the rows of `parts` by their codes: product with the centroid, plus product with what it left."""
        codes, offsets = self._rows["codes"], self._rows.get("offsets")
        joined = codes[parts[0]] if len(parts) == 1 else np.concatenate([codes[part] for part in parts])
        scores = table_scores(table, joined)
        scores += np.repeat(products, [part.stop - part.start for part in parts])
        return scores if offsets is None else scores + np.concatenate([offsets[part] for part in parts])

    def _rescored(self, query: Floats, asked: Floats, few: Ids) -> Floats:
        """The scores of a few rows by their full or int8 vectors."""
        if self.settings.rescore == "full":
            products: Floats = self._rows["full"][few] @ asked
            return products
        products = (self._rows["int8"][few].astype(np.float32) @ query) * self._rows["scales"][few]
        return products + self._rows["offsets"][few] if self.settings.metric == "l2" else products

    def _bytes(self) -> tuple[float, float]:
        """Bytes a vector of what is searched, and of what only re-scores."""
        kept = {"full", "int8", "scales"} if self.settings.coded or self.settings.kind == "binary" else set()
        sizes = {name: array.nbytes / len(array) for name, array in self._rows.items() if name not in ("ids", "alive")}
        if "upper" in self._shared:
            sizes["upper"] = self._shared["upper"].nbytes / len(self._rows["ids"])
        return (
            sum(size for name, size in sizes.items() if name not in kept),
            sum(size for name, size in sizes.items() if name in kept),
        )

    def _check_fingerprint(self, given: str) -> None:
        stored = self._made["fingerprint"]
        if given and given != stored:
            raise InputError(
                f"An index of vectors by the encoder {stored or '(not stated)'} got vectors by {given}; they cannot be "
                "compared. Encode with the same encoder, or build the index anew."
            )


def _largest(scores: Floats, count: int) -> Ids:
    """Places of the `count` largest scores, the largest first."""
    if count >= len(scores):
        return np.argsort(-scores)
    few = np.argpartition(-scores, count - 1)[:count]
    order: Ids = few[np.argsort(-scores[few])]
    return order
