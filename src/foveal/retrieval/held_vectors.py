"""The vectors of a store's passages, in memory: for a process that answers many searches over some ten thousand.

    held = HeldVectors(documents, passages)
    rows = held.nearest(vector, k)        # as Lance gives them, or None: search the table this time

Search      exact, by one product with all vectors; rows are dicts of `rows.PLACES` and `_distance` (1 - inner product)
Freshness   they are read again when documents were published or removed: what else is written to the passages is not
            visible. While one thread reads, others search the table
Size        up to `HELD` vectors: of MiniLM's (384 numbers) 150 MB
"""

from __future__ import annotations

from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foveal.retrieval.rows import PLACES

if TYPE_CHECKING:
    from lancedb.table import LanceTable

HELD = 100_000
"""Passages whose vectors are held; of more, none."""


@dataclass(frozen=True)
class _Held:
    version: int  # of the documents
    vectors: npt.NDArray[np.float32]  # (N, D)
    places: tuple[list[Any], ...]  # N values of each of PLACES


class HeldVectors:
    """Vectors of one table of passages. Threads may share it."""

    def __init__(self, documents: LanceTable, passages: LanceTable) -> None:
        self._documents = documents
        self._table = passages
        self._held: _Held | None = None
        self._reading = Lock()

    def nearest(self, vector: npt.NDArray[np.float32], k: int) -> list[dict[str, Any]] | None:
        """The `k` rows with the largest inner products with `vector` (D,), best first; None: nothing is held now."""
        held = self._current()
        if held is None:
            return None
        scores = held.vectors @ vector
        best = np.arange(len(scores)) if k >= len(scores) else np.argpartition(-scores, k - 1)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return [
            dict(zip(PLACES, (column[row] for column in held.places), strict=True)) | {"_distance": 1 - float(score)}
            for row, score in zip(best.tolist(), scores[best], strict=True)
        ]

    def _current(self) -> _Held | None:
        """What the table holds for the present version of the documents."""
        version = self._documents.version
        held = self._held
        if held is not None and held.version == version:
            return held
        if not self._reading.acquire(blocking=False):
            return None
        try:
            self._held = None  # two sets of vectors are never held at once
            self._held = self._read()
            return self._held
        finally:
            self._reading.release()

    def _read(self) -> _Held | None:
        version, count = self._documents.version, self._table.count_rows()
        if not 0 < count <= HELD:
            return None
        rows = self._table.search().select([*PLACES, "vector"]).limit(count).to_arrow()
        if self._documents.version != version:
            return None  # the next search reads again
        flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = np.ascontiguousarray(flat, dtype=np.float32).reshape(len(rows), -1)
        return _Held(version, vectors, tuple(rows[name].to_pylist() for name in PLACES))
