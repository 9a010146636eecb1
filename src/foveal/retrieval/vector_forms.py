"""The forms in which `vectors.DenseIndex` stores vectors: its settings, what is trained, what each vector becomes.

Shapes    vectors (N, D), made ready by `ready`. Row arrays have N rows: ids, alive, and by kind full, int8, scales,
          signs, codes, offsets, cell, links, levels. Shared arrays, trained once: cells (cells, D), centroids
          (M, C, D / M), rotation; or not of N rows: upper, the graph's links above layer 0
Letters   M parts of a product code, C centroids of a part (quantised.py)
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.retrieval import flat, hnsw
from foveal.retrieval.flat import Floats
from foveal.retrieval.quantised import MOST_CENTROIDS, Codes, ProductQuantiser, cell_centroids, nearest_cells

Names: TypeAlias = npt.NDArray[Any]
"""Ids of vectors: all text, or all whole numbers."""

Arrays: TypeAlias = dict[str, npt.NDArray[Any]]

KEPT = {"flat": "full", "ivf": "full", "hnsw": "full", "int8": "int8", "binary": "int8", "pq": None, "ivfpq": None}
"""The kinds, and the form in which each keeps vectors; None: as `rescore` says."""

CANDIDATES = {"binary": 4, "pq": 10, "ivfpq": 10}
"""Times k that are re-scored, where `candidates` says nothing."""

MOST_LINKS = 256
"""Links of a vector in a graph, at most: each search compares with those of all that it passes."""

VECTORS_PER_CELL = 32
"""Vectors that a cell holds at least, on average: with fewer its centroid says little."""


@dataclass(frozen=True, kw_only=True)
class IndexSettings:
    """How vectors are stored and searched; see vectors.py for the kinds."""

    kind: str = "flat"
    metric: str = "cos"  # cos, ip or l2; int8 and binary compare by products only
    cells: int | None = None  # of ivf and ivfpq; None: `default_cells`
    probes: int = 64  # cells looked into, at least; more where they hold fewer than k vectors
    code_bytes: int | None = None  # of pq and ivfpq: parts of a vector; None: `default_parts`, about D / 8
    centroids: int = MOST_CENTROIDS  # of each part, 2 to 256
    rotate: bool = False  # fit a rotation before cutting vectors into parts (OPQ)
    rescore: str = "full"  # what product codes are re-scored by: full vectors, int8 (D + 4 bytes more), or none
    links: int = 16  # of a vector of hnsw (M), twice as many on layer 0
    construction: int = 200  # vectors that one of hnsw chooses its links from (efConstruction)
    effort: int = 256  # vectors that a search of hnsw keeps on its way, at least (efSearch); no fewer than k
    candidates: int | None = None  # times k that are re-scored; None: 4 (binary) or 10 (pq, ivfpq)
    seed: int = 0

    def __post_init__(self) -> None:
        _require_one_of("kind", self.kind, tuple(KEPT))
        _require_one_of("metric", self.metric, ("cos", "ip", "l2"))
        _require_one_of("rescore", self.rescore, ("full", "int8", "none"))
        for name in ("cells", "probes", "code_bytes", "candidates", "construction", "effort"):
            value = getattr(self, name)
            if value is not None and value < 1:
                raise InputError(f"An index got {name}={value}; it needs at least 1.")
        if not 2 <= self.links <= MOST_LINKS:
            raise InputError(
                f"An index got links={self.links}; it needs 2 to {MOST_LINKS}, and 16 to 32 fit most vectors."
            )
        if self.metric == "l2" and self.kind in ("int8", "binary"):
            raise InputError(
                f"The kind {self.kind} compares by inner products and got metric='l2'. Use cos or ip, or one of the "
                "kinds flat, ivf, hnsw, pq, ivfpq."
            )

    @property
    def in_cells(self) -> bool:
        """Whether only some cells are looked into."""
        return self.kind in ("ivf", "ivfpq")

    @property
    def coded(self) -> bool:
        """Whether vectors are searched by product codes."""
        return self.kind in ("pq", "ivfpq")

    @property
    def keeps(self) -> str:
        """The form in which vectors are kept, beside codes and signs: full, int8 or none."""
        return KEPT[self.kind] or self.rescore

    def rescored(self, k: int) -> int:
        """How many candidates are re-scored for `k` results."""
        return k * (self.candidates or CANDIDATES.get(self.kind, 1))


def default_cells(count: int) -> int:
    """Cells of an inverted file of `count` vectors: 4 sqrt(N), or fewer, so that there are vectors for each."""
    return max(1, min(int(4 * count**0.5), count // VECTORS_PER_CELL))


def default_parts(dimension: int) -> int:
    """Parts of a product code: the most that divide D and have at least 8 numbers each (1 number where D < 16)."""
    most = dimension // 8 if dimension >= 16 else dimension
    return max(one for one in range(1, most + 1) if dimension % one == 0)


def trained(vectors: Floats, settings: IndexSettings, quantiser: ProductQuantiser | None = None) -> Arrays:
    """The shared arrays: cells, and a quantiser of what these leave (or the given one)."""
    if quantiser is not None and settings.kind != "pq":
        raise InputError(f"A trained quantiser was given to the kind {settings.kind}; it needs kind='pq'.")
    shared: Arrays = {}
    left = vectors
    if settings.in_cells:
        cells = settings.cells or default_cells(len(vectors))
        shared["cells"] = cell_centroids(vectors, cells, seed=settings.seed)
        left = vectors - shared["cells"][nearest_cells(vectors, shared["cells"])] if settings.coded else vectors
    if settings.kind == "hnsw":
        shared["upper"] = np.empty((0, settings.links), dtype=np.int32)
    if settings.coded:
        parts = settings.code_bytes or default_parts(vectors.shape[1])
        fitted = quantiser or ProductQuantiser.train(
            left, parts, centroids=settings.centroids, rotate=settings.rotate, seed=settings.seed
        )
        shared["centroids"] = fitted.centroids
        if fitted.rotation is not None:
            shared["rotation"] = fitted.rotation
    return shared


def encoded(ids: Names, vectors: Floats, settings: IndexSettings, shared: Arrays, codes: Codes | None = None) -> Arrays:
    """The row arrays of vectors that are ready; `codes` are product codes made elsewhere."""
    rows: Arrays = {"ids": ids, "alive": np.ones(len(ids), dtype=bool)}
    left = vectors
    if settings.in_cells:
        rows["cell"] = nearest_cells(vectors, shared["cells"]).astype(np.int32)
        left = vectors - shared["cells"][rows["cell"]]
    if settings.coded:
        quantiser = quantiser_of(shared)
        rows["codes"] = quantiser.encode(left) if codes is None else _checked_codes(codes, quantiser, len(ids))
    if settings.kind == "hnsw":
        rows |= hnsw.unlinked(len(ids), settings.links)
    if settings.kind == "binary":
        rows["signs"] = flat.binarise(vectors).words
    offsets = -(vectors * vectors).sum(axis=1) / 2
    if settings.metric == "l2" and settings.coded:
        rows["offsets"] = offsets
    if settings.keeps == "full":
        # l2 as a product: 2 (q · d - |d|² / 2) - |q|², with -|d|² / 2 as one number more and 1 beside it in q
        rows["full"] = np.column_stack([vectors, offsets]) if settings.metric == "l2" else vectors
    if settings.keeps == "int8":
        small = flat.quantise_int8(vectors)
        rows["int8"], rows["scales"] = small.codes, small.scales
    return rows


def arranged(rows: Arrays) -> Arrays:
    """The rows sorted by cell; without cells, product codes part by part: every search runs through all of them."""
    if "cell" in rows:
        order = np.argsort(rows["cell"], kind="stable")
        return {name: array[order] for name, array in rows.items()}
    if "codes" in rows:
        return {**rows, "codes": np.asfortranarray(rows["codes"])}
    return rows


def quantiser_of(shared: Arrays) -> ProductQuantiser:
    """The product quantiser of an index of kind pq or ivfpq."""
    return ProductQuantiser(shared["centroids"], shared.get("rotation"))


def names_of(ids: Sequence[str] | Sequence[int] | Names) -> Names:
    """Ids as one array of text or of whole numbers. InputError: of neither, of both, or not distinct."""
    named = np.asarray(ids) if len(ids) else np.empty(0, dtype="U1")
    if named.ndim != 1 or named.dtype.kind not in "Uiu":
        raise InputError(f"An index got ids of type {named.dtype}; it needs a list of texts, or of whole numbers.")
    mixed = named.dtype.kind == "U" and not all(isinstance(one, str) for one in ids)
    if mixed:
        raise InputError("An index got ids as text and as numbers; it needs all of one kind.")
    distinct, counts = np.unique(named, return_counts=True)
    if (counts > 1).any():
        raise InputError(f"The id {distinct[counts > 1][0]} was given more than once; every vector needs its own.")
    return named


def ids_like(ids: Names, stored: Names) -> Names:
    """Ids to stand beside the stored ones. InputError: text beside numbers, or a number that their type cannot hold."""
    if len(ids) and (ids.dtype.kind == "U") != (stored.dtype.kind == "U"):
        raise InputError("An index got ids as text and as numbers; it needs all of one kind.")
    if not len(ids) or np.result_type(ids, stored).kind != "f":
        return ids
    alike = ids.astype(stored.dtype)  # NumPy would make floats of int64 beside uint64, and large ids one and the same
    if (ids < 0).any() or (alike < 0).any():
        raise InputError(f"Ids of {stored.dtype} got one of {ids.dtype} that these cannot hold. Use one type for all.")
    return alike


def ready(vectors: Floats, ids: Names, metric: str, dimension: int | None = None, *, what: str = "Vector") -> Floats:
    """A copy of the vectors as float32, of unit length for cos. InputError names the id of one that is unusable."""
    try:
        floats = np.array(vectors, dtype=np.float32, order="C")
    except (ValueError, TypeError) as error:
        raise InputError(
            f"An index got vectors that are no table of numbers ({error}); it needs ({len(ids)}, {dimension or 'D'}), "
            "rows of one length, all by one encoder."
        ) from error
    if (
        floats.ndim != 2
        or len(floats) != len(ids)
        or floats.shape[1] == 0
        or floats.shape[1] != (dimension or floats.shape[1])
    ):
        raise InputError(
            f"An index got vectors of shape {floats.shape}; it needs ({len(ids)}, {dimension or 'D'}), a row for each "
            "id, all by one encoder."
        )
    bad = ~np.isfinite(floats).all(axis=1)
    if bad.any():
        raise InputError(f"{what} {ids[bad][0]} holds NaN or infinity; every number must be finite. Encode it again.")
    if metric != "cos":
        return floats
    lengths = np.linalg.norm(floats, axis=1, keepdims=True)
    if (lengths == 0).any():
        raise InputError(
            f"{what} {ids[lengths[:, 0] == 0][0]} has length 0, so it has no cosine. Leave it out, or use metric='ip' "
            "or 'l2'."
        )
    unit: Floats = floats / lengths
    return unit


def _require_one_of(name: str, given: str, known: Sequence[str]) -> None:
    if given not in known:
        raise InputError(f"An index got {name}={given!r}; it needs one of {', '.join(known)}.")


def _checked_codes(codes: Codes, quantiser: ProductQuantiser, count: int) -> Codes:
    expected = (count, quantiser.parts)
    most = quantiser.centroids.shape[1]
    if codes.shape != expected or codes.dtype.kind not in "iu" or codes.min(initial=0) < 0 or codes.max() >= most:
        raise InputError(
            f"An index got codes of shape {codes.shape} and type {codes.dtype}; it needs whole numbers {expected}, "
            f"each from 0 to {most - 1}."
        )
    return codes.astype(np.uint8)
