"""From passages to documents, and from long vectors to short ones.

Documents (P7)    a document's score from those of its passages: the best (MaxP), the first (FirstP), the sum (SumP; Dai
                  and Callan, SIGIR 2019), or the mean of the three best
Dimensions (I6)   vectors (N, D) -> (N, d): by principal components fitted on vectors, or by the first d numbers, for an
                  encoder trained so that these carry most (Matryoshka; Kusupati et al., NeurIPS 2022)
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, UnknownName
from foveal.ranges import require_k
from foveal.types import Hit, Retriever

Floats = npt.NDArray[np.float32]

BEST_MEANT = 3
"""Passages of the mean of the best."""

AGGREGATIONS: Mapping[str, Callable[[Sequence[float]], float]] = {
    "max": max,
    "first": lambda scores: scores[0],
    "sum": sum,
    "mean-best": lambda scores: sum(sorted(scores, reverse=True)[:BEST_MEANT]) / BEST_MEANT,
}
"""A document's score from its passages' scores, in the order of the text."""


def document_hits(hits: Sequence[Hit], how: str = "max", *, first_at: Mapping[str, int] | None = None) -> list[Hit]:
    """One hit a document, best first: its best passage, with the document's score in place of its own.

    max        the best passage's score
    first      that of the passage at `first_at[document_id]` (default 0); documents whose first was not found are out
    sum        of all passages found; sums favour long documents, and mean something for scores above 0 only
    mean-best  of the best three; passages that were not found count as 0, so that three good ones beat one

    UnknownName: another `how`.
    """
    if how not in AGGREGATIONS:
        raise UnknownName(f"No aggregation is called {how!r}. There are: {', '.join(AGGREGATIONS)}.")
    of: dict[str, list[Hit]] = {}
    for hit in hits:
        of.setdefault(hit.passage.span.document_id, []).append(hit)
    made = []
    for name, found in of.items():
        found.sort(key=lambda hit: hit.passage.span.start)
        if how == "first" and found[0].passage.span.start != (first_at or {}).get(name, 0):
            continue
        best = max(found, key=lambda hit: hit.score)
        made.append(replace(best, score=float(AGGREGATIONS[how]([hit.score for hit in found]))))
    return sorted(made, key=lambda hit: -hit.score)


@dataclass(frozen=True)
class DocumentRetriever:
    """A `Retriever` of documents over one of passages: each hit is a document's best passage with its score."""

    passages: Retriever
    how: str = "max"
    depth: int = 200  # passages asked for; at least 10 k
    first_at: Mapping[str, int] = field(default_factory=dict)  # where documents' first passages begin, if not at 0

    def __post_init__(self) -> None:
        if self.how not in AGGREGATIONS or self.depth < 1:
            raise InputError(
                f"Documents from passages got how={self.how!r}, depth={self.depth}; it needs one of "
                f"{', '.join(AGGREGATIONS)}, and a depth of at least 1."
            )

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` documents with the highest scores."""
        require_k(k)
        found = self.passages.search(queries, max(self.depth, 10 * k))
        return [document_hits(hits, self.how, first_at=self.first_at)[:k] for hits in found]


@dataclass(frozen=True)
class Components:
    """A linear map to the directions in which vectors differ most."""

    mean: Floats  # (D,); zeros where the vectors were not centred
    directions: Floats  # (d, D), orthonormal, the strongest first
    kept: float  # share of the vectors' squared length (of their variance, where centred) that d numbers hold

    def __call__(self, vectors: Floats) -> Floats:
        """Vectors (N, D) -> unit vectors (N, d). InputError: another D."""
        if vectors.ndim != 2 or vectors.shape[1] != len(self.mean):
            raise InputError(
                f"The components were fitted on vectors of {len(self.mean)} numbers and got the shape {vectors.shape}."
            )
        moved: Floats = (vectors - self.mean).astype(np.float32)
        return _unit(moved @ self.directions.T)


def fitted_components(vectors: Floats, dimension: int, *, centred: bool = False) -> Components:
    """The `dimension` principal components of vectors (N, D).

    By default the vectors are not centred: then products, by which search goes, lose least. Centring removes what all
    vectors share, which no longer gives the same ranking. InputError: NaN, more components than numbers or vectors.
    """
    _check_cut(vectors, dimension)
    if dimension > len(vectors):
        raise InputError(
            f"{dimension} components need at least as many vectors and got {len(vectors)}. Give more vectors, or keep "
            "fewer components."
        )
    wide = vectors.astype(np.float64)
    mean = wide.mean(axis=0) if centred else np.zeros(wide.shape[1])
    moved = wide - mean
    strengths, directions = np.linalg.eigh(moved.T @ moved)  # rising
    strongest = slice(None, -dimension - 1, -1)
    kept = float(strengths[strongest].sum() / max(strengths.sum(), 1e-30))
    return Components(mean.astype(np.float32), directions.T[strongest].astype(np.float32), kept)


def first_numbers(vectors: Floats, dimension: int) -> Floats:
    """Matryoshka: the first `dimension` numbers of vectors (N, D), of unit length again. InputError: NaN, too many."""
    _check_cut(vectors, dimension)
    return _unit(vectors[:, :dimension])


def _check_cut(vectors: Floats, dimension: int) -> None:
    if vectors.ndim != 2 or not 1 <= dimension <= vectors.shape[1]:
        raise InputError(
            f"A cut to {dimension} numbers got vectors of shape {vectors.shape}; it needs (N, D) with D at least that."
        )
    if not np.isfinite(vectors).all():
        row = int(np.flatnonzero(~np.isfinite(vectors).all(axis=1))[0])
        raise InputError(f"Vector {row} holds NaN or infinity; each number must be finite. Encode its text again.")


def _unit(vectors: Floats) -> Floats:
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    unit: Floats = (vectors / np.maximum(lengths, np.float32(1e-12))).astype(np.float32)
    return unit
