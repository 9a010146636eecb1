"""Segments by meaning, without training: two ways to cut a sequence of sentence or paragraph vectors.

Dynamic programming   the segmentation that maximises the sum over segments of |sum of its vectors|, less a penalty for
                      each segment (lambda in the literature). Unit vectors that agree add up; so a segment pays for
                      itself only where it is about something of its own. The optimum is exact
Depth                 similarity of the means of w vectors before and after each gap; boundaries at valleys deeper than
                      mean + c * std (Hearst's depth scores over embeddings). By default nearer vectors weigh more,
                      which finds short segments better than plain means do

Shapes    vectors (n, d) of unit length -> boundaries: indices of the units that open a segment, in order, without 0
Speed     O(n * candidates * d) in blocks of matrix products. A start that another start beats from here on is dropped:
          by the triangle inequality it never leads again, so this loses nothing. Candidates are about as many as the
          units of a segment; at worst (vectors without any similarity) they are all n, and it takes O(n^2 d)
Against   texttiling.py needs no encoder and errs five times as often on Choi's benchmark. In contracts and policies, by
          paragraphs, all three do little better than chance: prefer their headings, or a segmenter trained on such
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.errors import InputError
from foveal.text.segmentation import check_limits, limited
from foveal.text.texttiling import depths, valleys
from foveal.text.units import Offsets, paragraphs, sentences
from foveal.text.windows import count_tokens
from foveal.types import Document, Encoder, Passage

Unit = Literal["sentence", "paragraph"]
UNITS = {"sentence": sentences, "paragraph": paragraphs}

PENALTY = 1.2
"""Lambda for sentences with MiniLM, chosen on Choi's benchmark; paragraphs of contracts like 0.9."""

ROWS = 16
"""Ends computed together."""

ONE_THREAD = 2**18
"""Multiplications of a product that BLAS does on one thread; where cores are busy, more threads wait for each other."""

Vectors = NDArray[np.float64]
Indices = NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class DynamicProgrammingSegmenter:
    """The best segmentation by vectors, within limits of tokens."""

    encoder: Encoder
    unit: Unit = "sentence"  # what is encoded, and never cut unless it exceeds max_tokens by itself
    penalty: float = PENALTY  # what a further segment costs, at least 0; more makes fewer, longer passages
    max_tokens: int | None = None  # most tokens of a passage
    min_tokens: int | None = None  # fewest tokens of a passage, where the limits can both be kept

    def __post_init__(self) -> None:
        check_limits(self.max_tokens, self.min_tokens)
        check_unit(self.unit)
        _check_penalty(self.penalty)

    def segment(self, document: Document) -> list[Passage]:
        """The document's passages, in order; none where the text is empty."""
        units = UNITS[self.unit](document.text)
        texts = [document.text[start:end] for start, end in units]
        counts = self.max_tokens is not None or self.min_tokens is not None
        bounds = segment_vectors(
            self.encoder.encode(texts) if texts else np.zeros((0, 1)),
            self.penalty,
            sizes=[count_tokens(text, self.encoder.token_offsets) for text in texts] if counts else None,
            min_size=self.min_tokens,
            max_size=self.max_tokens,
        )
        return limited(document, _starts(units, bounds), self.max_tokens, None, self.encoder.token_offsets)


@dataclass(frozen=True, kw_only=True)
class DepthSegmenter:
    """Boundaries where the similarity of neighbours has a deep valley; sizes are brought within limits afterwards."""

    encoder: Encoder
    unit: Unit = "sentence"  # what is encoded
    w: int = 8  # units on each side of a gap that are compared, at least 1
    fading: bool = True  # whether a unit weighs less the further it is from the gap; plain means do best with w = 5
    c: float = 0.5  # a boundary is deeper than mean + c * standard deviation; more makes fewer passages
    max_tokens: int | None = None  # longer passages are cut at paragraphs, sentences, words
    min_tokens: int | None = None  # shorter passages join the smaller neighbour, if both fit max_tokens together

    def __post_init__(self) -> None:
        check_limits(self.max_tokens, self.min_tokens)
        check_unit(self.unit)
        _check_width(self.w)

    def segment(self, document: Document) -> list[Passage]:
        """The document's passages, in order; none where the text is empty."""
        units = UNITS[self.unit](document.text)
        texts = [document.text[start:end] for start, end in units]
        bounds = depth_boundaries(self.encoder.encode(texts), self.w, self.c, fading=self.fading) if texts else []
        return limited(document, _starts(units, bounds), self.max_tokens, self.min_tokens, self.encoder.token_offsets)


def segment_vectors(
    vectors: ArrayLike,
    penalty: ArrayLike = PENALTY,
    *,
    sizes: Sequence[int] | None = None,
    min_size: int | None = None,
    max_size: int | None = None,
) -> list[int]:
    """The units that open a segment, without unit 0, of the best segmentation of `vectors` (n, d).

    `penalty` is what each segment costs, or (n) what one costs that opens at that unit, below 0 a reward: so other
    evidence of boundaries joins in. `sizes` (n) holds the size of each unit for the limits (default: 1 each). No
    segment of several units exceeds `max_size`; of the segmentations left, one with the fewest segments below
    `min_size` is taken, then the best one.
    """
    sums = _prefix_sums(vectors)
    count, least = len(sums) - 1, min_size or 0
    costs = _costs(penalty, count)
    ends = _prefix_sizes(sizes, count)
    most = ends[-1] if max_size is None else max_size
    dearest = float(np.abs(costs).max(initial=0))
    short = 2.0 * (count + 1) * (1.0 + dearest)  # more than all the rest can be worth: the fewest short ones win
    best, opened = np.append(-costs, 0.0), np.zeros(count + 1, dtype=np.int64)  # best: with what opening there costs
    starts: Indices = np.zeros(1, dtype=np.int64)
    for first in range(1, count + 1, ROWS):
        last = min(count + 1, first + ROWS)
        starts = _still_leading(starts, first - 1, best, sums, ends, least, most)
        reach = np.concatenate((starts, np.arange(first, last)))
        values = _lengths(sums, np.arange(first, last), reach)
        values += _outside_limits(ends, np.arange(first, last), reach, least, most) * -short
        so_far = best[reach]
        for row, end in enumerate(range(first, last)):
            known = len(starts) + row
            candidates = so_far[:known] + values[row, :known]
            winner = int(candidates.argmax())
            best[end] += candidates[winner]
            so_far[known] = best[end]
            opened[end] = reach[winner]
        starts = reach
    return _traced(opened)


def guided_segments(
    vectors: ArrayLike, penalty: float = PENALTY, guide: float = 1.0, *, w: int = 8, max_size: int | None = None
) -> list[int]:
    """As `segment_vectors`, where a segment that opens in a valley of `gap_similarity` costs less, on a ridge more.

    `guide` is what a difference of 1 from the mean similarity is worth, at least 0; so both kinds of evidence decide:
    what a segment holds together, and what changes at its border.
    """
    _check_penalty(penalty)
    _check_penalty(guide)
    similarity = gap_similarity(vectors, w, fading=True)
    if not len(similarity):
        return []
    costs = penalty + guide * (similarity - similarity.mean())
    return segment_vectors(vectors, np.concatenate(([penalty], costs)), max_size=max_size)


def depth_boundaries(vectors: ArrayLike, w: int = 8, c: float = 0.5, *, fading: bool = True) -> list[int]:
    """The units that open a segment, without unit 0: after the valleys of `gap_similarity` that are deep enough."""
    _check_width(w)
    similarity = gap_similarity(vectors, w, fading=fading)
    if not len(similarity):
        return []
    depth = depths(similarity)
    deep = valleys(similarity) & (depth > depth.mean() + c * depth.std())
    gaps: list[int] = (np.flatnonzero(deep) + 1).tolist()
    return gaps


def gap_similarity(vectors: ArrayLike, w: int, *, fading: bool) -> Vectors:
    """Cosine (n - 1) of the means of up to `w` vectors before and after each gap.

    With `fading` the weights fall evenly from w next to the gap to 1: the sum over widths 1 to w of the plain sums.
    """
    sums = _prefix_sums(vectors)
    count = len(sums) - 1
    at = np.arange(1, count)
    widths = range(1, w + 1) if fading else (w,)
    left = sum((sums[at] - sums[np.maximum(at - width, 0)] for width in widths), np.zeros_like(sums[at]))
    right = sum((sums[np.minimum(at + width, count)] - sums[at] for width in widths), np.zeros_like(sums[at]))
    norms = np.linalg.norm(left, axis=1) * np.linalg.norm(right, axis=1)
    cosine: Vectors = np.einsum("nd,nd->n", left, right) / np.maximum(norms, 1e-12)
    return cosine


def check_unit(unit: str) -> None:
    """InputError unless `unit` is one of UNITS."""
    if unit not in UNITS:
        raise InputError(f"The segmenter got unit {unit!r}; it needs one of: {', '.join(UNITS)}.")


def _still_leading(
    starts: Indices, end: int, best: Vectors, sums: Vectors, ends: Indices, least: int, most: int
) -> Indices:
    """The starts of segments that can still be best for an end after `end`.

    Let k be a start from which every such end is at least `least` away. Any later segment i..j (i < k) is no longer
    than i..k and k..j together, so i is beaten for good once best[k] >= best[i] + |i..k|. Those too far back to be
    within `most` are dropped, too, but for the last, which alone may exceed it.
    """
    near: Indices = starts[(ends[end + 1] - ends[starts] <= most) | (starts == end)]
    k = min(end, int(np.searchsorted(ends, ends[end + 1] - least, side="right")) - 1)
    before = near[near < k]
    if not len(before):
        return near
    beaten = best[before] + _lengths(sums, np.array([k]), before)[0] <= best[k]
    leading: Indices = np.concatenate((before[~beaten], near[near >= k]))
    return leading


def _outside_limits(ends: Indices, later: Indices, starts: Indices, least: int, most: int) -> Vectors:
    """(later, starts): infinity for a segment of several units above `most`, 1 for one below `least`, else 0."""
    if least == 0 and ends[-1] <= most:
        return np.zeros((1, 1))
    sizes = ends[later][:, None] - ends[starts]
    several = later[:, None] - starts > 1
    outside: Vectors = np.where((sizes > most) & several, np.inf, (sizes < least).astype(np.float64))
    return outside


def _lengths(sums: Vectors, ends: Indices, starts: Indices) -> Vectors:
    """|sum of the vectors from each start to each end|, (ends, starts), from prefix sums."""
    origin = sums[ends[0]]  # near the ends the sums are small, and little is lost in the differences of squares
    there, here = sums[ends] - origin, sums[starts] - origin
    squares = np.einsum("ed,ed->e", there, there)[:, None] + np.einsum("sd,sd->s", here, here)
    lengths: Vectors = np.sqrt(np.maximum(squares - 2 * _products(there, here), 0))
    return lengths


def _products(there: Vectors, here: Vectors) -> Vectors:
    """The dot products (ends, starts) of (ends, d) and (starts, d)."""
    width = max(1, ONE_THREAD // max(1, there.size))
    return np.concatenate([there @ here[at : at + width].T for at in range(0, len(here), width)], axis=1)


def _traced(opened: Indices) -> list[int]:
    bounds, end = [], len(opened) - 1
    while end > 0:
        end = int(opened[end])
        bounds.append(end)
    return bounds[::-1][1:]


def _prefix_sums(vectors: ArrayLike) -> Vectors:
    array = np.asarray(vectors, dtype=np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise InputError(
            f"Vectors to segment came with shape {array.shape}; they need to be (units, dimension), all finite."
        )
    return np.concatenate((np.zeros((1, array.shape[1])), np.cumsum(array, axis=0)))


def _prefix_sizes(sizes: Sequence[int] | None, count: int) -> Indices:
    given = np.ones(count, dtype=np.int64) if sizes is None else np.asarray(sizes, dtype=np.int64)
    if given.shape != (count,) or (given < 0).any():
        raise InputError(f"{count} vectors came with {given.size} sizes; each needs one, of at least 0.")
    ends: Indices = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(given)))
    return ends


def _starts(units: Offsets, bounds: Sequence[int]) -> list[int]:
    return [units[at][0] for at in (0, *bounds)] if units else []


def _costs(penalty: ArrayLike, count: int) -> Vectors:
    """What a segment costs that opens at each unit (count)."""
    given = np.asarray(penalty, dtype=np.float64)
    if given.ndim == 0:
        _check_penalty(float(given))
        return np.full(count, float(given))
    if given.shape != (count,) or not np.isfinite(given).all():
        raise InputError(f"{count} vectors came with penalties {given.shape}; each needs one, a finite number.")
    return given


def _check_penalty(penalty: float) -> None:
    if not 0 <= penalty < float("inf"):
        raise InputError(f"The segmenter got penalty {penalty}; it needs a finite number of at least 0.")


def _check_width(w: int) -> None:
    if w < 1:
        raise InputError(f"The segmenter got w {w}; it needs at least 1 unit on each side of a gap.")
