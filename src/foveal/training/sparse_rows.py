"""Rows of a matrix of which most numbers are 0: for each row the columns that have one, and the numbers.

Shapes    R rows of `width` columns; row r has columns[start[r] : start[r + 1]] and as many values
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
Ints = npt.NDArray[np.int64]


@dataclass(frozen=True)
class SparseRows:
    """The rows; columns of one row are distinct and rising."""

    start: Ints  # (R + 1,)
    columns: Ints
    values: Floats
    width: int

    @classmethod
    def of(cls, rows: Sequence[tuple[Ints, Floats]], width: int) -> SparseRows:
        """From (columns, values) of each row."""
        start = np.cumsum([0, *(len(columns) for columns, _ in rows)], dtype=np.int64)
        none: tuple[Ints, Floats] = (np.zeros(0, np.int64), np.zeros(0, np.float32))
        columns, values = (np.concatenate([part[at] for part in (none, *rows)]) for at in (0, 1))
        return cls(start, columns.astype(np.int64), values.astype(np.float32), width)

    def __len__(self) -> int:
        return len(self.start) - 1

    @cached_property
    def transposed(self) -> SparseRows:
        """The columns as rows, made once: a gradient by the weights is a product with these."""
        order = np.argsort(self.columns, kind="stable")
        start = np.cumsum([0, *np.bincount(self.columns, minlength=self.width)], dtype=np.int64)
        rows = np.repeat(np.arange(len(self)), np.diff(self.start))[order]
        return SparseRows(start, rows, self.values[order], len(self))

    def take(self, places: Ints) -> SparseRows:
        """The rows at `places`, in that order."""
        lengths = self.start[places + 1] - self.start[places]
        start = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        held = np.repeat(self.start[places] - start[:-1], lengths) + np.arange(start[-1])
        return SparseRows(start, self.columns[held], self.values[held], self.width)

    def dot(self, other: SparseRows, here: Ints, there: Ints) -> npt.NDArray[np.float64]:
        """The products (N,) of rows `here` (N,) with rows `there` (N,) of `other`."""
        found = np.zeros(len(here))
        spread = np.zeros(self.width, dtype=np.float32)
        order = np.argsort(there, kind="stable")
        held = -1
        for place in order:  # rows of `other` come once each, in turn: one is laid out, and its partners look it up
            if there[place] != held:
                if held >= 0:
                    spread[other.columns[other.start[held] : other.start[held + 1]]] = 0
                held = int(there[place])
                row = slice(other.start[held], other.start[held + 1])
                spread[other.columns[row]] = other.values[row]
            own = slice(self.start[here[place]], self.start[here[place] + 1])
            found[place] = float(spread[self.columns[own]] @ self.values[own])
        return found
