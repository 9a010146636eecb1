"""A segmentation as a tree: segments with their place, title, level, and how sure each border is.

    outline = SameTopicSegmenter(encoder=encoder).outline(document)
    for segment in outline.leaves: print(segment.span, segment.title, segment.before, segment.after)

Levels      1 is the top. By headings where there are any, else by how sure borders are: a text of n segments has about
            n ^ (1 / levels) parts of the first level, cut at its surest borders, and so on down; so the levels nest
Confidence  of a border, 0 to 1: 1 where the author set a heading or the text ends, else the probability that the
            section ends there; near 0 where only the limit of tokens asked for a cut
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

from foveal.types import Document, Passage, Span

START, HEADING, TOPIC, SIZE = "start", "heading", "topic", "size"
"""Why a segment begins where it does."""


@dataclass(frozen=True, slots=True)
class Leaf:
    """A segment before it has its place in the tree: its border, and the level from which on it opens a new part."""

    start: int
    end: int
    tokens: int
    opens: int = 1  # 1: also at the top
    path: tuple[str, ...] = ()
    title: str | None = None
    confidence: float = 1.0  # of its first border
    method: str = HEADING


@dataclass(frozen=True, slots=True)
class Segment:
    """A part of a document; `before` and `after` are the confidences of its borders, `parts` what it is made of."""

    span: Span
    title: str | None
    level: int
    before: float
    after: float
    method: str
    parts: tuple[Segment, ...] = ()

    @property
    def leaves(self) -> Iterator[Segment]:
        """The segments that have no parts, in order."""
        if not self.parts:
            yield self
        for part in self.parts:
            yield from part.leaves

    def as_json(self) -> dict[str, Any]:
        """Plain values, parts within."""
        return {
            "start": self.span.start,
            "end": self.span.end,
            "title": self.title,
            "level": self.level,
            "confidence": [round(self.before, 4), round(self.after, 4)],
            "method": self.method,
            "parts": [part.as_json() for part in self.parts],
        }


@dataclass(frozen=True)
class Outline:
    """A document cut into segments, and the tree that they make."""

    document: Document
    tree: tuple[Segment, ...] = ()
    passages: tuple[Passage, ...] = ()
    gaps: tuple[tuple[int, float], ...] = field(default=(), repr=False)  # place of a gap, probability of a border

    @property
    def leaves(self) -> list[Segment]:
        """The finest segments, in order: one for each passage."""
        return [leaf for part in self.tree for leaf in part.leaves]

    def as_json(self) -> list[dict[str, Any]]:
        """The tree, as plain values."""
        return [part.as_json() for part in self.tree]


def tree_of(document_id: str, leaves: Sequence[Leaf], titles: dict[tuple[int, int], str | None]) -> tuple[Segment, ...]:
    """The tree of these leaves; `titles` names inner parts by (first leaf, after the last leaf)."""
    afters = [*(leaf.confidence for leaf in leaves[1:]), 1.0]

    def parts(first: int, last: int, level: int) -> tuple[Segment, ...]:
        opens = [at for at in range(first, last) if at == first or leaves[at].opens <= level]
        return tuple(part(low, high, level) for low, high in pairwise([*opens, last]))

    def part(first: int, last: int, level: int) -> Segment:
        below = min((leaves[at].opens for at in range(first + 1, last)), default=None)
        one, inside = leaves[first], parts(first, last, below) if below is not None else ()
        title = one.title if below is None else titles.get((first, last)) or _shared(leaves[first:last])
        span = Span(document_id, one.start, leaves[last - 1].end)
        return Segment(span, title, level, one.confidence, afters[last - 1], one.method, _relevelled(inside, level + 1))

    return parts(0, len(leaves), min((leaf.opens for leaf in leaves[1:]), default=1)) if leaves else ()


def inner_parts(leaves: Sequence[Leaf]) -> list[tuple[int, int]]:
    """The parts of the tree that have parts: (first leaf, after the last one)."""
    starts = {(segment.span.start, segment.span.end) for top in tree_of("", leaves, {}) for segment in _inner(top)}
    first = {leaf.start: at for at, leaf in enumerate(leaves)}
    last = {leaf.end: at + 1 for at, leaf in enumerate(leaves)}
    return sorted((first[start], last[end]) for start, end in starts)


def nested_levels(confidences: Sequence[float], levels: int) -> list[int]:
    """For each border (of n - 1) the level from which on it counts, 1 to `levels`: the surest ones open at the top."""
    count = len(confidences) + 1
    order = sorted(range(len(confidences)), key=lambda at: (-confidences[at], at))
    opens = [levels] * len(confidences)
    for level in range(levels - 1, 0, -1):
        for at in order[: max(1, round(count ** (level / levels)) - 1)]:
            opens[at] = level
    return opens


def _inner(segment: Segment) -> Iterator[Segment]:
    if segment.parts:
        yield segment
    for part in segment.parts:
        yield from _inner(part)


def _relevelled(parts: Sequence[Segment], level: int) -> tuple[Segment, ...]:
    """The parts, counted as of that level: levels that nothing opens at are passed over."""
    return tuple(
        Segment(one.span, one.title, level, one.before, one.after, one.method, _relevelled(one.parts, level + 1))
        for one in parts
    )


def _shared(leaves: Sequence[Leaf]) -> str | None:
    """The lowest heading that all the leaves stand under; the first one's title where they share none."""
    shared: list[str] = []
    for titles in zip(*(leaf.path for leaf in leaves), strict=False):
        if len(set(titles)) > 1:
            break
        shared.append(titles[0])
    return shared[-1] if shared else leaves[0].title
