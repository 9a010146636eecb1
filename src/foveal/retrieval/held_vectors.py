"""The vectors and places of a store's passages, in memory: for a process that answers many searches over few of them.

    held = HeldVectors(tables).at(moment)    # of the documents; None: search the table this time
    rows = held.nearest(vector, k)                        # as Lance gives them
    rows = held.placed(rows)                              # rows that name themselves by `_rowid`, with their places

Search      exact, by one product with all vectors; rows are dicts of `rows.PLACES` and `_distance` (1 - inner product)
Places      a third of a search by words is to read them from the table. Lance never gives a row's number to another
            row, so that one that is known is right, and one that is not is told by None
Freshness   all is read again when documents were published or removed: what else is written to the passages is not
            visible. While one thread reads, others search the table
Size        up to `HELD` vectors: of MiniLM's (384 numbers) 150 MB
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from threading import Lock
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foveal.retrieval.rows import PLACES

if TYPE_CHECKING:
    from foveal.retrieval.open_tables import Moment, OpenTables

HELD = 100_000
"""Passages whose vectors are held; of more, none."""


@dataclass(frozen=True)
class Held:
    """What a table of passages held at one moment of the documents."""

    moment: Moment
    vectors: npt.NDArray[np.float32]  # (N, D)
    columns: tuple[list[Any], ...]  # N values of each of PLACES
    by_number: dict[int, int]  # Lance's number of a row -> n

    def nearest(self, vector: npt.NDArray[np.float32], k: int) -> list[dict[str, Any]]:
        """The `k` rows with the largest inner products with `vector` (D,), best first."""
        scores = np.einsum("nd,d->n", self.vectors, vector)  # OpenBLAS's threads would spin 50 ms after 2 ms of work
        best = np.arange(len(scores)) if k >= len(scores) else np.argpartition(-scores, k - 1)[:k]
        best = best[np.argsort(-scores[best], kind="stable")]
        return [
            self._place(row) | {"_distance": 1 - float(score)}
            for row, score in zip(best.tolist(), scores[best], strict=True)
        ]

    def placed(self, rows: Sequence[dict[str, Any]]) -> list[dict[str, Any]] | None:
        """Rows that have a `_rowid`, each with its place; None where one of them is not known."""
        if any(row["_rowid"] not in self.by_number for row in rows):
            return None
        return [self._place(self.by_number[row["_rowid"]]) | row for row in rows]

    def _place(self, row: int) -> dict[str, Any]:
        return {name: column[row] for name, column in zip(PLACES, self.columns, strict=True)}


class HeldVectors:
    """What is held of one library's passages. Threads may share it."""

    def __init__(self, tables: OpenTables) -> None:
        self._tables = tables
        self._held: Held | None = None
        self._reading = Lock()

    def at(self, moment: Moment) -> Held | None:
        """What the table holds for that moment of the documents, the present one; None: nothing is held now."""
        held = self._held
        if held is not None and held.moment == moment:
            return held
        if not self._reading.acquire(blocking=False):
            return None
        try:
            self._held = None  # two sets of vectors are never held at once
            self._held = held = self._read()
        finally:
            self._reading.release()
        return held if held is not None and held.moment == moment else None

    def _read(self) -> Held | None:
        moment, passages = self._tables.moment(), self._tables.now().passages
        count = passages.count_rows()
        if not 0 < count <= HELD:
            return None
        rows = passages.search().select([*PLACES, "vector"]).with_row_id(True).limit(count).to_arrow()
        if self._tables.moment() != moment:
            return None  # the next search reads again
        flat = rows["vector"].combine_chunks().flatten().to_numpy(zero_copy_only=False)
        vectors = np.ascontiguousarray(flat, dtype=np.float32).reshape(len(rows), -1)
        by_number = {number: n for n, number in enumerate(rows["_rowid"].to_pylist())}
        return Held(moment, vectors, tuple(rows[name].to_pylist() for name in PLACES), by_number)
