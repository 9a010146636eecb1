"""What a stream's features came to so far: for each one row of exponentially weighted sums, all rows of a bin at once.

    series = Series(2, 28)                                  # half-lives, places in the week
    series.fold({"quake": 3}, at, np.array([2.5]), left)    # bin `at` closes; its counts, scaled
    series.sums[series.rows["quake"]]                       # bin of the last fold, sums of x and of x^2

Shapes    sums (F, 1 + 2 halves): the bin up to which a row stands, sums of x, sums of x^2; week (F, slots, 2): the sum
          of x at a place in the week, 0 where there was none, and its last bin
Powers    are Python's own, kept by their exponent: NumPy's may differ in the last bit
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

Rows = npt.NDArray[np.int64]
Sums = npt.NDArray[np.float64]

FIRST_ROOM = 64
MOST_POWERS = 10_000
"""Kept at a time."""


class Left(dict[int, tuple[float, ...]]):
    """What is left of sums after so many bins, for each half-life."""

    def __init__(self, keep: Sequence[float]) -> None:
        super().__init__()
        self.keep = tuple(keep)

    def __missing__(self, bins: int) -> tuple[float, ...]:
        if len(self) >= MOST_POWERS:
            self.clear()
        found = self[bins] = tuple(keep**bins for keep in self.keep)
        return found

    def of(self, bins: Rows) -> Sums:
        """The same for each of `bins` (F,): (F, halves)."""
        different, which = np.unique(bins, return_inverse=True)
        powers: Sums = np.array([self[one] for one in different.tolist()])[which]
        return powers


class Series:
    """The rows of all features."""

    def __init__(self, halves: int, slots: int) -> None:
        self.halves, self.slots = halves, slots
        self.rows: dict[str, int] = {}
        self._free: list[int] = []
        self.sums, self.week = self._room(FIRST_ROOM)

    def __len__(self) -> int:
        return len(self.rows)

    def fold(self, features: Iterable[str], at: int, x: Sums, left: Left) -> None:
        """Bin `at` closed with `x` (F,) of these features; features that are new get a row."""
        rows = self._rows_of(features, at)
        if not len(rows):
            return
        sums = self.sums[rows]
        now = left.of(at - sums[:, 0].astype(np.int64))
        sums[:, 0] = at
        sums[:, 1 : 1 + self.halves] = now * sums[:, 1 : 1 + self.halves] + x[:, None]
        sums[:, 1 + self.halves :] = now * sums[:, 1 + self.halves :] + (x * x)[:, None]
        self.sums[rows] = sums
        slot = at % self.slots
        seen, last = self.week[rows, slot].T
        gaps = np.where(seen > 0, at - last, 0).astype(np.int64)
        self.week[rows, slot, 0] = left.of(gaps)[:, -1] * seen + x
        self.week[rows, slot, 1] = at

    def forget(self, features: Iterable[str]) -> None:
        """These features will not be asked for again."""
        for row in [self.rows.pop(feature) for feature in features if feature in self.rows]:
            self.sums[row] = self.week[row] = 0.0
            self._free.append(row)

    def prune(self, most: int, closed: int, left: Left) -> None:
        """Keep the `most` features whose sums over the longest half-life are the highest, equal ones by name."""
        names = sorted(self.rows)
        rows = np.fromiter(map(self.rows.__getitem__, names), np.int64, len(names))
        sums = self.sums[rows]
        totals = left.of(closed - sums[:, 0].astype(np.int64))[:, -1] * sums[:, self.halves]
        kept = np.sort(np.argsort(-totals, kind="stable")[:most])
        sums, week, size = sums[kept], self.week[rows[kept]], len(self.sums)
        self.sums, self.week = self._room(size)
        self.sums[: len(kept)], self.week[: len(kept)] = sums, week
        self.rows, self._free = {names[place]: row for row, place in enumerate(kept.tolist())}, []

    def state(self) -> dict[str, list[Any]]:
        """Feature -> [bin, sums of x, sums of x^2, [place in the week, sum, last bin] of each]."""
        return {name: self._plain(row) for name, row in self.rows.items()}

    def restore(self, state: Mapping[str, Sequence[Any]]) -> None:
        """Take what `state` gave."""
        self.rows, self._free = {name: row for row, name in enumerate(state)}, []
        self.sums, self.week = self._room(max(FIRST_ROOM, len(state)))
        for row, (at, sums, squares, week) in enumerate(state.values()):
            self.sums[row] = at, *sums, *squares
            for slot, seen, last in week:
                self.week[row, slot] = seen, last

    def _plain(self, row: int) -> list[Any]:
        at, *sums = self.sums[row].tolist()
        week = [[slot, seen, int(last)] for slot, (seen, last) in enumerate(self.week[row].tolist()) if seen]
        return [int(at), sums[: self.halves], sums[self.halves :], week]

    def _rows_of(self, features: Iterable[str], at: int) -> Rows:
        found = []
        for feature in features:
            row = self.rows.get(feature)
            if row is None:
                row = self.rows[feature] = self._free.pop() if self._free else len(self.rows)
                if row == len(self.sums):
                    sums, week = self._room(row)
                    self.sums, self.week = np.concatenate([self.sums, sums]), np.concatenate([self.week, week])
                self.sums[row, 0] = at
            found.append(row)
        return np.array(found, dtype=np.int64)

    def _room(self, rows: int) -> tuple[Sums, Sums]:
        return np.zeros((rows, 1 + 2 * self.halves)), np.zeros((rows, self.slots, 2))
