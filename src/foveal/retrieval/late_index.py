"""Late interaction over a few documents of many: candidates by centroids, then MaxSim on unpacked vectors (PLAID).

    1  candidates     documents with a token at one of the `probes` centroids nearest to each token of the query
    2  approximated   MaxSim with each token's centroid for it, of the centroids that pass `threshold`, then of all
    3  scored         MaxSim with the vectors as `late_codes.py` gives them back

Shapes    documents and queries are (tokens, D), float32, rows of unit length; results are (id, score), best first
Source    PLAID (Santhanam et al., CIKM 2022) over the codes of ColBERTv2
Sizes     a vector takes 6 + D bits / 8 bytes; the lists of both directions about as much as the codes
Against   `late.Exact` scores all documents by the float vectors: the truth that this index's recall is measured by

New documents get the codes of the centroids that there are; once they are many, or of another kind, build anew. What is
removed is passed over from then on, and gone after `compact`. One process writes an index's folder.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import fmean

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, UnknownDocument
from foveal.ranges import require_k
from foveal.retrieval.late import Floats, Ids, Scored, TokenVectors, best_matches, check_ids
from foveal.retrieval.late_codes import BITS, VECTORS_AT_ONCE, ResidualCodec, fitted_codec, token_centroids
from foveal.retrieval.late_contents import Contents, read, write

Alive = npt.NDArray[np.bool_]
"""(N,): which documents may be found."""


@dataclass(frozen=True, kw_only=True)
class LateIndexSettings:
    """How an index is built."""

    bits: int = 4  # of a number's residual: 1, 2, 4 or 8
    centroids: int | None = None  # a power of two; None: about 4 sqrt(token vectors)
    rounds: int = 8  # of k-means
    sampled: int = 16  # vectors a centroid that k-means goes by
    seed: int = 0

    def __post_init__(self) -> None:
        count = self.centroids
        if self.bits not in BITS or self.rounds < 1 or self.sampled < 1:
            raise InputError(
                f"A late index got bits={self.bits}, rounds={self.rounds}, sampled={self.sampled}; it needs "
                f"one of {', '.join(map(str, BITS))} bits, and at least 1 of the others."
            )
        if count is not None and (count < 1 or count & (count - 1)):
            raise InputError(f"A late index got {count} centroids; it needs a power of two, or None to choose one.")


@dataclass(frozen=True, kw_only=True)
class LateSearch:
    """How much a search looks at; more costs time and finds more."""

    probes: int = 2  # centroids of each query token whose documents are candidates
    threshold: float = 0.3  # product with some query token that a centroid needs in the first approximation
    approximated: int = 2048  # documents that the first approximation leaves; at least 8 k
    scored: int = 512  # documents that are scored exactly; at least 2 k

    def __post_init__(self) -> None:
        if self.probes < 1 or not 1 <= self.scored <= self.approximated:
            raise InputError(
                f"A late search got probes={self.probes}, approximated={self.approximated}, scored={self.scored}; it "
                "needs at least one probe, and approximated >= scored >= 1."
            )


@dataclass(frozen=True)
class Looked:
    """Documents that one search looked at, stage by stage."""

    candidates: int
    approximated: int  # left by the first approximation
    scored: int


@dataclass(frozen=True)
class LateStats:
    """Sizes of an index, and the documents a query costs (0 where no queries were given)."""

    documents: int  # that can be found
    removed: int  # that wait for `compact`
    vectors: int
    centroids: int
    bits: int
    bytes_per_vector: int  # code, scale and residual
    bytes_per_document: float  # all arrays of the index
    candidates_per_query: float
    scored_per_query: float


class LateIndex:
    """A `late.TokenIndex` that scores few documents. A search sees the index as it was when it began."""

    def __init__(self, contents: Contents, *, fingerprint: str, search: LateSearch | None = None) -> None:
        """From its contents; `build` and `load` make them."""
        self.fingerprint = fingerprint
        self.effort = search or LateSearch()
        self._contents = contents

    @classmethod
    def build(
        cls,
        ids: Sequence[str],
        vectors: Sequence[Floats] | TokenVectors,
        *,
        fingerprint: str,
        settings: LateIndexSettings | None = None,
        search: LateSearch | None = None,
    ) -> LateIndex:
        """From one array (tokens, D) a document, and the fingerprint of what encoded them.

        InputError: an id twice, no documents, NaN, another D, no token, a vector that is not of unit length, fewer
        vectors than centroids.
        """
        check_ids(ids, len(vectors))
        stacked = unit(TokenVectors.of(vectors, ids), ids)
        codec = codec_for(stacked.vectors, settings or LateIndexSettings())
        return cls(Contents.of(codec, ids, stacked), fingerprint=fingerprint, search=search)

    @classmethod
    def load(
        cls,
        folder: Path,
        *,
        fingerprint: str | None = None,
        mmap: bool = True,
        snapshot: int | None = None,
        search: LateSearch | None = None,
    ) -> LateIndex:
        """The last snapshot in `folder`, or that of the number `snapshot`; `mmap`: read as a search needs it.

        `fingerprint` is that of the encoder in use. InputError: the folder holds no such index, or the index is
        another encoder's. LibraryCorrupt: damaged. LibraryTooNew: written by a newer Foveal.
        """
        contents, written_by = read(folder, mmap=mmap, snapshot=snapshot)
        if fingerprint not in (None, written_by):
            raise InputError(
                f"The index in {folder} was made with another encoder (fingerprint {written_by[:12]}, not "
                f"{fingerprint[:12]}): their vectors cannot be compared. Use that encoder, or build the index anew."
            )
        return cls(contents, fingerprint=written_by, search=search)

    def save(self, folder: Path, *, keep: int = 1) -> int:
        """Write a snapshot into `folder`, whole or not at all, and give its number; the last `keep` ones stay."""
        return write(folder, self._contents, self.fingerprint, keep=keep)

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the documents that can be found."""
        contents = self._contents
        return tuple(name for name, alive in zip(contents.ids, contents.alive, strict=True) if alive)

    def add(self, ids: Sequence[str], vectors: Sequence[Floats] | TokenVectors, *, fingerprint: str) -> None:
        """Add documents; all arrays are copied, so add many at once. InputError: as `build`, or another encoder's."""
        check_ids(ids, len(vectors))
        contents, held = self._contents, set(self.ids)
        if fingerprint != self.fingerprint:
            raise InputError(
                f"The index holds vectors of the encoder {self.fingerprint[:12]} and got some of {fingerprint[:12]}; "
                "they cannot be compared. Encode the documents with the index's encoder, or build the index anew."
            )
        doubled = [name for name in ids if name in held]
        if doubled:
            raise InputError(f"The index already holds the document {doubled[0]!r}; remove it first to replace it.")
        stacked = unit(TokenVectors.of(vectors, ids), ids)
        self._check_dimension(stacked.vectors)
        self._contents = contents.with_more(Contents.of(contents.codec, ids, stacked))

    def remove(self, ids: Sequence[str]) -> None:
        """Let documents be found no more. UnknownDocument: one of them is not held; then none is removed."""
        contents, gone = self._contents, set(ids)
        unknown = gone - set(self.ids)
        if unknown:
            raise UnknownDocument(f"The index holds no document {min(unknown)!r}; `ids` lists those that it holds.")
        self._contents = contents.without(gone)

    def compact(self) -> None:
        """Free the space of removed documents. InputError: none would be left."""
        contents = self._contents
        if not contents.alive.any():
            raise InputError("Compacting would leave an index without documents; delete its folder instead.")
        self._contents = contents.compacted()

    def search(self, queries: Sequence[Floats], k: int) -> list[list[Scored]]:
        """For each query (tokens, D) at most `k` ids with their scores, best first."""
        return [found for found, _ in self.search_counted(queries, k)]

    def search_counted(self, queries: Sequence[Floats], k: int) -> list[tuple[list[Scored], Looked]]:
        """`search`, and for each query what it looked at. InputError: k < 1, NaN, another D."""
        require_k(k)
        if not len(queries):
            return []
        stacked, contents = TokenVectors.of(queries), self._contents
        self._check_dimension(stacked.vectors)
        found = [
            best_of_parts([contents], [contents.alive], stacked[row], k, self.effort) for row in range(len(stacked))
        ]
        return [([(contents.ids[row], score) for _, row, score in best], looked) for best, looked in found]

    def stats(self, queries: Sequence[Floats] = (), k: int = 10) -> LateStats:
        """Sizes, and what a search for `k` looks at, as a mean over `queries`."""
        contents = self._contents
        looked = [counts for _, counts in self.search_counted(queries, k)]
        alive = int(contents.alive.sum())
        return LateStats(
            documents=alive,
            removed=len(contents.alive) - alive,
            vectors=len(contents.coded.codes),
            centroids=len(contents.codec.centroids),
            bits=contents.codec.bits,
            bytes_per_vector=contents.codec.bytes_per_vector,
            bytes_per_document=contents.bytes / len(contents.ids),
            candidates_per_query=fmean([one.candidates for one in looked] or [0]),
            scored_per_query=fmean([one.scored for one in looked] or [0]),
        )

    def _check_dimension(self, vectors: Floats) -> None:
        if vectors.shape[1] != self._contents.codec.dimension:
            raise InputError(
                f"The index holds vectors of {self._contents.codec.dimension} numbers and got some of "
                f"{vectors.shape[1]}. Encode with the index's encoder."
            )


def centroids_for(vectors: int) -> int:
    """The power of two nearest to 4 sqrt(vectors), on a logarithmic scale, and at most their number."""
    power = round(np.log2(4 * vectors**0.5))
    return int(min(2**power, 2 ** (vectors.bit_length() - 1)))


def codec_for(vectors: Floats, settings: LateIndexSettings) -> ResidualCodec:
    """The codec of an index of such vectors (T, D). InputError: fewer vectors than centroids."""
    count = settings.centroids or centroids_for(len(vectors))
    centroids = token_centroids(vectors, count, rounds=settings.rounds, sampled=settings.sampled, seed=settings.seed)
    return fitted_codec(vectors, centroids, bits=settings.bits, seed=settings.seed)


def best_of_parts(
    parts: Sequence[Contents], alive: Sequence[Alive], query: Floats, k: int, effort: LateSearch
) -> tuple[list[tuple[int, int, float]], Looked]:
    """One query (n, D) over an index in parts, which have one codec: (part, row, score), best first, and what it cost.

    Only documents that are `alive`, a mask for each part, are found. Each stage chooses among all parts together; where
    no more documents are alive than are scored anyway, all of them are.
    """
    products = query @ parts[0].codec.centroids.T  # (n, C)
    most, scored = max(effort.approximated, 8 * k), max(effort.scored, 2 * k)
    if sum(int(mask.sum()) for mask in alive) <= scored:
        rows = [np.flatnonzero(mask) for mask in alive]
    else:
        rows = [
            _candidates(part, products, effort.probes, mask) if mask.any() else np.empty(0, dtype=np.int64)
            for part, mask in zip(parts, alive, strict=True)
        ]
    candidates = sum(map(len, rows))
    if candidates > most:
        good = products.max(axis=0) >= effort.threshold
        rows = _best(
            rows, [_approximate(part, products, own, good) for part, own in zip(parts, rows, strict=True)], most
        )
    left = sum(map(len, rows))
    if left > scored:
        rows = _best(rows, [_approximate(part, products, own) for part, own in zip(parts, rows, strict=True)], scored)
    scores = np.concatenate([_exact(part, query, own) for part, own in zip(parts, rows, strict=True)])
    part_of = np.repeat(np.arange(len(parts)), [len(own) for own in rows])
    flat, order = np.concatenate(rows), np.argsort(-scores, kind="stable")[:k]
    found = [(int(part_of[place]), int(flat[place]), float(scores[place])) for place in order]
    return found, Looked(candidates, left, len(flat))


def _candidates(contents: Contents, products: Floats, probes: int, alive: Alive | None = None) -> Ids:
    """Rows of the documents with a token at one of the best centroids of a query token."""
    count = min(probes, products.shape[1])
    probed = np.unique(np.argpartition(-products, count - 1, axis=1)[:, :count])
    places, _ = runs(contents.list_starts[probed], contents.list_starts[probed + 1])
    held = np.zeros(len(contents), dtype=bool)
    held[contents.lists[places]] = True
    return np.flatnonzero(held & (contents.alive if alive is None else alive))


def _approximate(contents: Contents, products: Floats, rows: Ids, good: npt.NDArray[np.bool_] | None = None) -> Floats:
    """MaxSim of documents with their tokens' centroids, or those that are `good`; -inf for one that has none."""
    if not len(rows):
        return np.empty(0, dtype=np.float32)
    places, starts = runs(contents.member_starts[rows], contents.member_starts[rows + 1])
    members, scores = contents.members[places], np.full(len(rows), -np.inf, dtype=np.float32)
    if good is None:
        scores[:] = best_matches(np.take(products, members, axis=1), starts).sum(axis=0)
        return scores
    kept = good[members]
    counts = np.add.reduceat(kept, starts, dtype=np.int64)
    some = counts > 0
    if some.any():
        starts = np.concatenate([[0], np.cumsum(counts[some])[:-1]])
        scores[some] = best_matches(np.take(products, members[kept], axis=1), starts).sum(axis=0)
    return scores


def _exact(contents: Contents, query: Floats, rows: Ids) -> Floats:
    """MaxSim of documents with their unpacked vectors, some thousand vectors at a time: they stay in the cache."""
    scores = np.empty(len(rows), dtype=np.float32)
    lengths = np.concatenate([[0], np.cumsum(contents.starts[rows + 1] - contents.starts[rows])])
    for first, last in TokenVectors(query, lengths).blocks(VECTORS_AT_ONCE):
        block = rows[first:last]
        places, starts = runs(contents.starts[block], contents.starts[block + 1])
        vectors = contents.codec.decode(contents.coded[places])
        scores[first:last] = best_matches(query @ vectors.T, starts).sum(axis=0)
    return scores


def _best(rows: Sequence[Ids], scores: Sequence[Floats], count: int) -> list[Ids]:
    """The `count` rows with the highest scores of all parts, in their order."""
    chosen = np.zeros(sum(map(len, rows)), dtype=bool)
    chosen[np.argsort(-np.concatenate(scores), kind="stable")[:count]] = True
    ends = np.cumsum([len(own) for own in rows])[:-1]
    return [own[mask] for own, mask in zip(rows, np.split(chosen, ends), strict=True)]


def unit(documents: TokenVectors, ids: Sequence[str]) -> TokenVectors:
    """The documents. InputError: a vector is not of unit length, as the codes need it."""
    for first, last in documents.blocks(VECTORS_AT_ONCE):
        rows = documents.vectors[documents.starts[first] : documents.starts[last]].astype(np.float32)
        wrong = np.flatnonzero(abs(np.linalg.norm(rows, axis=1) - 1) > 0.01)
        if len(wrong):
            token = wrong[0] + documents.starts[first]
            name = ids[int(np.searchsorted(documents.starts, token, side="right")) - 1]
            raise InputError(
                f"A token vector of {name!r} has the length {np.linalg.norm(rows[wrong[0]]):.3g}; the index needs unit "
                "vectors. Divide each by its length."
            )
    return documents


def runs(starts: Ids, ends: Ids) -> tuple[Ids, Ids]:
    """The places `starts[i]` to `ends[i]` of all i one after the other, and where each i begins among them."""
    lengths = np.asarray(ends) - np.asarray(starts)
    begins = np.cumsum(lengths) - lengths
    places = np.arange(int(lengths.sum()), dtype=np.int64) + np.repeat(np.asarray(starts) - begins, lengths)
    return places, begins
