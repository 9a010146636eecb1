"""GraphSeg: segments as what hangs together in a graph of sentences (Glavaš, Nanni and Ponzetto, *SEM 2016).

Sentences are joined where they are related by more than a threshold. Neighbours that share a maximal clique make the
first segments; two of these that follow each other become one if some clique has a sentence of both; what is shorter
than `least` joins the neighbour that it is more related to.

Cliques   need not be listed: two sentences share a maximal clique exactly if they are joined, since a maximal clique
          can be grown from any edge. The test lists them all the same, and finds the same segments
Shapes    vectors (n, d) of unit length -> boundaries: indices of the units that open a segment, in order, without 0
Against   the paper's relatedness is an alignment of words by GloVe; here it is the cosine of an encoder's vectors.
          embedding_segmentation.py weighs a segment as a whole, and errs less
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise, product

import numpy as np
from numpy.typing import ArrayLike, NDArray

from foveal.errors import InputError
from foveal.text.embedding_segmentation import UNITS, Unit, check_unit
from foveal.text.segmentation import check_limits, limited
from foveal.types import Document, Encoder, Passage

Vectors = NDArray[np.float64]
Stretch = tuple[int, int]

ROWS = 1024
"""Units of each side that are compared together."""


@dataclass(frozen=True, kw_only=True)
class GraphSeg:
    """Segments by the graph of the units' relatedness; sizes are brought within limits afterwards."""

    encoder: Encoder
    unit: Unit = "sentence"  # what is encoded
    threshold: float = 0.3  # cosine above which two units are joined, -1 to 1; the paper tries 0.1 to 0.5
    least: int = 2  # units of a segment, at least 1
    max_tokens: int | None = None  # longer passages are cut at paragraphs, sentences, words
    min_tokens: int | None = None  # shorter passages join the smaller neighbour, if both fit max_tokens together

    def __post_init__(self) -> None:
        check_limits(self.max_tokens, self.min_tokens)
        check_unit(self.unit)
        _check(self.threshold, self.least)

    def segment(self, document: Document) -> list[Passage]:
        """The document's passages, in order; none where the text is empty."""
        units = UNITS[self.unit](document.text)
        texts = [document.text[start:end] for start, end in units]
        bounds = graph_boundaries(self.encoder.encode(texts), self.threshold, self.least) if texts else []
        starts = [units[at][0] for at in (0, *bounds)] if units else []
        return limited(document, starts, self.max_tokens, self.min_tokens, self.encoder.token_offsets)


def graph_boundaries(vectors: ArrayLike, threshold: float = 0.3, least: int = 2) -> list[int]:
    """The units that open a segment, without unit 0. InputError: vectors, threshold or least that cannot be."""
    _check(threshold, least)
    array = np.asarray(vectors, dtype=np.float64)
    if array.ndim != 2 or not np.isfinite(array).all():
        raise InputError(f"Vectors came with shape {array.shape}; they need to be (units, dimension), all finite.")
    if not len(array):
        return []
    joined = np.einsum("nd,nd->n", array[:-1], array[1:]) > threshold
    edges = [0, *(np.flatnonzero(~joined) + 1).tolist(), len(array)]
    first = list(pairwise(edges))
    segments = _large(array, _together(array, first, threshold), least)
    return [start for start, _ in segments[1:]]


def _together(vectors: Vectors, segments: Sequence[Stretch], threshold: float) -> list[Stretch]:
    """The segments, two that follow each other made one if any unit of the one is joined to any of the other."""
    made = [segments[0]]
    for before, after in pairwise(segments):
        if _joined(vectors[slice(*before)], vectors[slice(*after)], threshold):
            made[-1] = (made[-1][0], after[1])
        else:
            made.append(after)
    return made


def _joined(one: Vectors, other: Vectors, threshold: float) -> bool:
    """Whether any row of the one is joined to any of the other; `ROWS` at a time, as a log may be one long segment."""
    blocks = range(0, len(one), ROWS), range(0, len(other), ROWS)
    return any((one[a : a + ROWS] @ other[b : b + ROWS].T > threshold).any() for a, b in product(*blocks))


def _large(vectors: Vectors, segments: Sequence[Stretch], least: int) -> list[Stretch]:
    """The segments, from the first to the last each of fewer than `least` units joined to its nearer neighbour."""
    kept = list(segments)
    at = 0
    while at < len(kept):
        start, end = kept[at]
        if end - start >= least or len(kept) == 1:
            at += 1
            continue
        ahead = _related(vectors, kept[at], kept[at + 1]) if at + 1 < len(kept) else -np.inf
        behind = _related(vectors, kept[at - 1], kept[at]) if at else -np.inf
        if ahead > behind:
            kept[at : at + 2] = [(start, kept[at + 1][1])]
        else:
            kept[at - 1 : at + 1] = [(kept[at - 1][0], end)]
            at -= 1
    return kept


def _related(vectors: Vectors, one: Stretch, other: Stretch) -> float:
    """Mean cosine between the units of two segments: the product of their means."""
    return float(vectors[slice(*one)].mean(0) @ vectors[slice(*other)].mean(0))


def _check(threshold: float, least: int) -> None:
    if not -1 <= threshold <= 1 or least < 1:
        raise InputError(f"GraphSeg got threshold {threshold} and least {least}; it needs -1 to 1, and at least 1.")
