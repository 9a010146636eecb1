"""An index of passages by name, in segments that never change: what came is a new one, what goes is passed over.

    index = index.with_more(names, texts, of=…).merged(LARGE).showing(visible)
    index.search("…", 10)                            [(name, score), …], best first

Changing an index gives another one, so that a search goes on with the one that it began with. Segments of about one
size are made one when there are `MERGED` of them, and large ones stay: a passage is written a few times in all, however
many come (a log-structured merge tree, O'Neil et al., 1996).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Generic

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from foveal.retrieval.passage_kinds import Mask, Part, PassageKind
from foveal.retrieval.passage_names import TEXT, Name

MERGED = 8
"""Segments of about one size that are made one."""

LARGE = 4_096
"""Passages from which a segment stays as it is: a merger holds `MERGED` times as many in memory, at most."""

SPARED = 0.5
"""Share of a segment that may be gone passages before it is written anew without them."""


@dataclass(frozen=True, eq=False)
class Segment(Generic[Part]):
    """Passages that were read together, or made one."""

    names: pa.LargeStringArray
    part: Part
    number: int | None = None  # of its snapshot; None: it is in memory only

    def __len__(self) -> int:
        return len(self.names)


@dataclass(frozen=True, eq=False)
class PassageIndex(Generic[Part]):
    """Segments, and which of their passages can be found: a mask for each."""

    kind: PassageKind[Part]
    segments: tuple[Segment[Part], ...] = ()
    alive: tuple[Mask, ...] = ()
    planned: int = 0  # passages that it was laid out for
    shared: int | None = None  # number of the snapshot of what its parts have in common

    def __len__(self) -> int:
        return sum(int(mask.sum()) for mask in self.alive)

    @property
    def names(self) -> list[Name]:
        """What can be found."""
        shown = zip(self.segments, self.alive, strict=True)
        return [name for segment, mask in shown for name in segment.names.filter(mask).to_pylist()]

    def showing(self, visible: pa.LargeStringArray) -> PassageIndex[Part]:
        """The index that finds the visible passages alone."""
        return replace(self, alive=self._within(visible))

    def masks(self, names: pa.LargeStringArray) -> tuple[Mask, ...]:
        """Which passages can be found and are among these, for `search`."""
        return tuple(held & mask for held, mask in zip(self._within(names), self.alive, strict=True))

    def lacking(self, visible: pa.LargeStringArray) -> pa.LargeStringArray:
        """Those of the visible passages that are in no segment; `showing` looked for the others."""
        if len(self) == len(visible):  # nothing is to be compared again
            return visible.slice(0, 0)
        return visible.filter(pc.invert(pc.is_in(visible, value_set=self._held)))

    def outgrown(self, of: int) -> bool:
        """Whether `of` passages call for an index that is made anew."""
        return bool(self.segments) and self.kind.outgrown(self.segments[0].part, self.planned, of)

    def with_more(self, names: Sequence[Name], texts: Sequence[str], *, of: int) -> PassageIndex[Part]:
        """With a new segment of these passages, read now; the index is to have `of` in all."""
        first = self.segments[0].part if self.segments else None
        read = Segment(pa.array(names, TEXT), self.kind.read(texts, like=first, of=of))
        added = replace(self, segments=(*self.segments, read), alive=(*self.alive, np.ones(len(names), dtype=bool)))
        return added if self.segments else replace(added, planned=of, shared=None)

    def search(self, query: str, k: int, masks: Sequence[Mask] | None = None) -> list[tuple[Name, float]]:
        """The `k` best of the passages that can be found, or of those of `masks`."""
        shown = self.alive if masks is None else masks
        asked = [number for number, mask in enumerate(shown) if mask.any()]
        if not asked:
            return []
        parts = [self.segments[number].part for number in asked]
        best = self.kind.best(parts, [shown[number] for number in asked], query, k)
        return [(self.segments[asked[part]].names[row].as_py(), score) for part, row, score in best]

    def merged(self, large: int = LARGE) -> PassageIndex[Part]:
        """The index in fewer segments, and without much that is gone; segments of `large` passages and more stay.

        At most `MERGED * large` passages are written anew at a time.
        """
        index = self._without([number for number, mask in enumerate(self.alive) if not mask.any()])
        while chosen := index._to_merge(large):
            segments = [index.segments[number] for number in chosen]
            kept = [index.alive[number] for number in chosen]
            part = index.kind.merged([segment.part for segment in segments], kept)
            names = pa.concat_arrays([segment.names.filter(mask) for segment, mask in zip(segments, kept, strict=True)])
            rest = index._without(chosen)
            index = replace(
                rest,
                segments=(Segment(names, part), *rest.segments),
                alive=(np.ones(len(names), dtype=bool), *rest.alive),
            )
        return index

    def _without(self, numbers: Sequence[int]) -> PassageIndex[Part]:
        if not numbers:
            return self
        left = [number for number in range(len(self.segments)) if number not in set(numbers)]
        return replace(
            self,
            segments=tuple(self.segments[number] for number in left),
            alive=tuple(self.alive[number] for number in left),
        )

    def _to_merge(self, large: int) -> list[int]:
        """Numbers of segments to make one of: one that is half gone, else some between two powers of `MERGED`."""
        sizes = [int(mask.sum()) for mask in self.alive]
        tiers: dict[int, list[int]] = {}
        for number, (size, segment) in enumerate(zip(sizes, self.segments, strict=True)):
            if size < (1 - SPARED) * len(segment) and size < MERGED * large:
                return [number]
            if size < large:
                tiers.setdefault(int(np.log(size) / np.log(MERGED) + 1e-9), []).append(number)
        return next((tier[:MERGED] for _, tier in sorted(tiers.items()) if len(tier) >= MERGED), [])

    @property
    def _held(self) -> pa.ChunkedArray:
        return pa.chunked_array([segment.names for segment in self.segments], TEXT)

    def _within(self, names: pa.LargeStringArray) -> tuple[Mask, ...]:
        """Which passages of each segment are among these."""
        if not self.segments:
            return ()
        within = pc.is_in(self._held, value_set=names).to_numpy()
        return tuple(np.split(within, np.cumsum([len(segment) for segment in self.segments])[:-1]))
