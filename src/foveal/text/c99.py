"""C99: divisive clustering of a matrix of ranks (Choi, NAACL 2000).

How alike two sentences are says little by itself: a passage of long sentences is more alike than one of short ones.
So each cosine of word counts is replaced by its rank, the share of the cosines around it (an 11 by 11 square) that are
lower. Segments are squares on the diagonal; the one boundary that makes the squares densest is added, and again, to the
end; as many are kept as gained more density than is usual.

Letters   units as lists of words -> boundaries: the units that open a segment, in order, without unit 0
Needs     no model. n units: n x n numbers, so that a longer text is done in stretches of `stretch` units
Against   texttiling.py looks at neighbours only; embedding_segmentation.py compares meanings, and errs less
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from foveal.errors import InputError
from foveal.text.segmentation import check_limits, limited
from foveal.text.texttiling import term_of
from foveal.text.units import paragraphs, sentences, words
from foveal.text.windows import TokenOffsets
from foveal.types import Document, Passage

Matrix = NDArray[np.float64]


@dataclass(frozen=True, kw_only=True)
class C99:
    """Segments of whole sentences (of paragraphs, if `unit` says so); sizes can be kept within limits."""

    unit: str = "sentence"  # or "paragraph"
    square: int = 11  # side of the square in which a cosine is ranked: odd, at least 3
    cutoff: float = 1.2  # a boundary gains more density than mean + cutoff * standard deviation of all gains
    stretch: int = 1000  # units that are looked at together, at least 3
    max_tokens: int | None = None  # longer passages are cut at paragraphs, sentences, words
    min_tokens: int | None = None  # shorter passages join the smaller neighbour, if both fit max_tokens together
    token_offsets: TokenOffsets = words  # the tokens to count

    def __post_init__(self) -> None:
        check_limits(self.max_tokens, self.min_tokens)
        if self.unit not in ("sentence", "paragraph"):
            raise InputError(f"C99 got unit {self.unit!r}; it needs 'sentence' or 'paragraph'.")
        if self.square < 3 or self.square % 2 == 0 or self.stretch < 3:
            raise InputError(
                f"C99 got square {self.square} and stretch {self.stretch}; it needs an odd number of at least 3, and 3."
            )

    def segment(self, document: Document) -> list[Passage]:
        """The document's passages, in order; none where the text is empty."""
        text = document.text
        units = (sentences if self.unit == "sentence" else paragraphs)(text)
        bounds = self.boundaries([[text[start:end][a:b] for a, b in words(text[start:end])] for start, end in units])
        starts = [units[at][0] for at in (0, *bounds)] if units else []
        return limited(document, starts, self.max_tokens, self.min_tokens, self.token_offsets)

    def boundaries(self, units: Sequence[Sequence[str]]) -> list[int]:
        """The units that open a segment, without the first; a unit is the list of its words."""
        found: list[int] = []
        for first in range(0, len(units), self.stretch):
            part = units[first : first + self.stretch]
            own = densest(ranks(similarities(part), self.square), self.cutoff)
            found += ([first] if first else []) + [first + at for at in own]
        return found


def similarities(units: Sequence[Sequence[str]]) -> Matrix:
    """Cosines (n, n) of the units' counts of words, small words left out; 0 where a unit has none."""
    counts = [Counter(term for word in unit if word[0].isalnum() and (term := term_of(word))) for unit in units]
    places = {term: place for place, term in enumerate(dict.fromkeys(term for count in counts for term in count))}
    table = np.zeros((len(units), max(1, len(places))))
    for row, count in enumerate(counts):
        table[row, [places[term] for term in count]] = list(count.values())
    norms = np.linalg.norm(table, axis=1, keepdims=True)
    table /= np.where(norms > 0, norms, 1.0)
    return np.asarray(table @ table.T).round(12)  # equal ones must not differ by how they were summed


def ranks(similar: Matrix, square: int) -> Matrix:
    """For each cosine the share of the others in the square around it that are lower; none lies beyond the edge."""
    size, reach = len(similar), square // 2
    lower, looked = np.zeros((size, size)), np.zeros((size, size))
    for down in range(-reach, reach + 1):
        rows, other_rows = _shifted(size, down)
        for right in range(-reach, reach + 1):
            if down == right == 0:
                continue
            columns, other_columns = _shifted(size, right)
            lower[rows, columns] += similar[other_rows, other_columns] < similar[rows, columns]
            looked[rows, columns] += 1
    return lower / np.maximum(looked, 1)


def _shifted(size: int, by: int) -> tuple[slice, slice]:
    """The places that have one `by` further on, and those."""
    last, other_last = (max(0, size - max(0, one)) for one in (by, -by))  # a slice to -1 would be nearly all
    return slice(max(0, -by), last), slice(max(0, by), other_last)


def densest(ranked: Matrix, cutoff: float) -> list[int]:
    """The boundaries added first, as many as gains in density are above mean + cutoff * standard deviation."""
    order, density = divided(ranked)
    gains = np.diff(density)
    return sorted(order[: int(np.count_nonzero(gains > gains.mean() + cutoff * gains.std()))]) if order else []


def divided(ranked: Matrix) -> tuple[list[int], list[float]]:
    """All boundaries in the order in which they are added, and the density before the first and after each."""
    size = len(ranked)
    sums = np.zeros((size + 1, size + 1))
    sums[1:, 1:] = ranked.cumsum(axis=0).cumsum(axis=1)
    places = np.arange(1, size)
    first, last = np.zeros(size + 1, dtype=int), np.full(size + 1, size)
    inside, area = float(sums[size, size]), float(size * size)
    order: list[int] = []
    density = [inside / area if area else 0.0]
    while len(places):
        left, right = first[places], last[places]
        more = _square(sums, left, places) + _square(sums, places, right) - _square(sums, left, right)
        wider = (places - left) ** 2 + (right - places) ** 2 - (right - left) ** 2
        best = int(np.argmax((inside + more) / (area + wider)))
        at, inside, area = int(places[best]), inside + float(more[best]), area + float(wider[best])
        last[int(left[best]) + 1 : at], first[at + 1 : int(right[best])] = at, at
        places = np.delete(places, best)
        order.append(at)
        density.append(inside / area)
    return order, density


def _square(sums: Matrix, start: NDArray[np.int_], end: NDArray[np.int_]) -> Matrix:
    """The sum of the ranks of the units `start` to `end` with each other."""
    whole: Matrix = sums[end, end] - sums[start, end] - sums[end, start] + sums[start, start]
    return whole
