"""Search over learnt sparse vectors (SPLADE and its kin): an inverted index, exact, and a retriever over it.

    retriever = SparseRetriever.build(passages, load_sparse_encoder("naver/splade-v3"))
    retriever.search(["where is sight sharpest?"], 10)         hits, as of any retriever
    retriever.save(folder); SparseRetriever.load(folder, encoder, passages)

Shapes    SparseVectors (N, vocabulary) -> per query [(id, score), ...], best first. Documents that share no term with
          the query are not found; ties go by the order in which documents were added
Sizes     8 bytes for each non-zero weight, and 12 for each term of the vocabulary
Source    SPLADE: Formal et al., arXiv 2109.10086. The lists and how they are skipped: sparse_lists.py; encoders:
          sparse_encoders.py; training: foveal.training.sparse
Against   BM25's weights are counted in the corpus; these are a model's, which also adds words that a text lacks
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from foveal.errors import InputError
from foveal.models.characters import each_read
from foveal.ranges import require_k
from foveal.retrieval.snapshots import read_snapshot, write_snapshot
from foveal.retrieval.sparse_encoders import SparseEncoder
from foveal.retrieval.sparse_lists import (
    Floats,
    Found,
    Ints,
    Lists,
    SparseVectors,
    best_of_parts,
    kept,
    lists_of,
    merged,
)
from foveal.types import Hit, Passage

ENCODED_AT_ONCE = 512
"""Passages whose vectors are made and put into the index together."""


@dataclass(frozen=True)
class SparseStats:
    """What an index holds. Non-zeros are weights above 0 of a document that was not removed."""

    documents: int
    removed: int  # still in the lists until `compact`
    vocabulary: int
    terms_used: int
    non_zeros: int
    non_zeros_mean: float
    non_zeros_most: int
    bytes_per_document: float


class SparseIndex:
    """An inverted index over documents with ids; make it with `build` or `load`. One thread may change it."""

    def __init__(self, vocabulary: int, *, fingerprint: str = "") -> None:
        """An empty index; `fingerprint` is that of the encoder whose vectors it will hold."""
        if vocabulary < 1:
            raise InputError(f"A sparse index got a vocabulary of {vocabulary} terms; it needs at least 1.")
        self.vocabulary, self.fingerprint = vocabulary, fingerprint
        self._ids: list[str] = []
        self._row_of: dict[str, int] = {}
        self._alive = np.empty(0, dtype=np.bool_)
        self._lists: list[Lists] = []  # each of a run of rows, in order; an earlier one holds more than a later one

    @classmethod
    def build(cls, ids: Sequence[str], vectors: SparseVectors, *, fingerprint: str = "") -> SparseIndex:
        """An index of at least one document. InputError: none, or what `add` refuses."""
        if not ids:
            raise InputError("A sparse index got no documents; it needs at least one.")
        index = cls(vectors.vocabulary, fingerprint=fingerprint)
        index.add(ids, vectors)
        return index

    def __len__(self) -> int:
        return len(self._row_of)

    def ids(self) -> list[str]:
        """The ids of the documents, in the order in which they were added."""
        return list(self._row_of)

    def __contains__(self, name: str) -> bool:
        return name in self._row_of

    def add(self, ids: Sequence[str], vectors: SparseVectors) -> None:
        """Put documents in. InputError: not an id for each, an id twice or already there, another vocabulary."""
        if len(ids) != len(vectors):
            raise InputError(f"A sparse index got {len(ids)} ids for {len(vectors)} vectors; it needs one for each.")
        if vectors.vocabulary != self.vocabulary:
            raise InputError(
                f"Vectors over {vectors.vocabulary} terms do not fit an index over {self.vocabulary}. Encode the "
                "documents with the encoder that the index was built with."
            )
        double = [name for name, count in Counter(ids).items() if count > 1 or name in self._row_of]
        if double:
            raise InputError(
                f"The id {double[0]!r} is given twice or already in the index; nothing was added. Remove the old one "
                "first, or leave the new one out."
            )
        if not ids:
            return
        self._row_of |= {name: len(self._ids) + place for place, name in enumerate(ids)}
        self._ids += ids
        self._alive = np.concatenate([self._alive, np.ones(len(ids), dtype=np.bool_)])
        self._lists.append(lists_of(vectors))
        while len(self._lists) > 1 and self._lists[-2].documents <= self._lists[-1].documents:
            self._lists[-2:] = [merged(self._lists[-2:])]

    def remove(self, ids: Sequence[str]) -> None:
        """Take documents out; their weights stay in the lists until `compact`. InputError: an id is not there."""
        unknown = [name for name in ids if name not in self._row_of]
        if unknown:
            raise InputError(f"The id {unknown[0]!r} is not in the index; nothing was removed. Check the ids.")
        for name in dict.fromkeys(ids):
            self._alive[self._row_of.pop(name)] = False

    def compact(self) -> None:
        """Make one list for each term again, without the documents that were removed."""
        self._lists = [kept(merged(self._lists), self._alive)] if self._lists else []
        self._ids = [name for name, alive in zip(self._ids, self._alive, strict=True) if alive]
        self._row_of = {name: row for row, name in enumerate(self._ids)}
        self._alive = np.ones(len(self._ids), dtype=np.bool_)

    def search(self, queries: SparseVectors, k: int) -> list[list[tuple[str, float]]]:
        """For each query at most `k` (id, score), best first. InputError: k below 1, or another vocabulary."""
        require_k(k)
        return [
            [(self._ids[row], float(score)) for row, score in zip(found.rows, found.scores, strict=True)]
            for found in (self.find(*queries.row(number), k) for number in self._numbers(queries))
        ]

    def find(self, terms: Ints, weights: Floats, k: int, *, skip: bool = True) -> Found:
        """The best rows for one query; with `skip` off every list is read to its end, which finds the same."""
        require_k(k)
        alive = [self._alive[first : first + part.documents] for first, part in self._placed()]
        return best_of_parts(self._lists, alive, (terms, weights), k, skip=skip)

    def stats(self) -> SparseStats:
        """Sizes and how sparse the documents are."""
        rows = np.concatenate([np.empty(0, np.int64), *(part.rows + at for at, part in self._placed())])
        alive = np.bincount(rows.astype(np.int64), minlength=len(self._ids))[self._alive]
        used = np.zeros(self.vocabulary, dtype=np.bool_)
        for part in self._lists:
            used |= part.highest > 0
        size = sum(array.nbytes for part in self._lists for array in part.arrays().values())
        return SparseStats(
            documents=len(self),
            removed=len(self._ids) - len(self),
            vocabulary=self.vocabulary,
            terms_used=int(used.sum()),
            non_zeros=int(alive.sum()),
            non_zeros_mean=float(alive.mean()) if len(alive) else 0.0,
            non_zeros_most=int(alive.max(initial=0)),
            bytes_per_document=size / max(1, len(self)),
        )

    def save(self, folder: str | Path) -> None:
        """Write the index into `folder`, compacted, whole or not at all (see `snapshots.py`)."""
        self.compact()
        lists = self._lists[0] if self._lists else lists_of(SparseVectors.of_rows([], self.vocabulary))
        about = {"kind": "sparse", "vocabulary": self.vocabulary, "fingerprint": self.fingerprint}
        write_snapshot(Path(folder), about, {"ids": np.array(self._ids, dtype=np.str_), **lists.arrays()})

    @classmethod
    def load(cls, folder: str | Path, *, mmap: bool = True) -> SparseIndex:
        """The index saved last in `folder`; with `mmap` its lists stay on disk until a query reads them.

        InputError: there is none, or it is of another kind. LibraryCorrupt: its files are damaged.
        """
        about, read = read_snapshot(Path(folder), mmap=mmap)
        if about.get("kind") != "sparse":
            raise InputError(f"{folder} holds an index of kind {about.get('kind')!r}, no sparse one. Name its folder.")
        index = cls(about["vocabulary"], fingerprint=about["fingerprint"])
        arrays = {name: np.asarray(array) for name, array in read.items()}  # a memmap's slices are slow to make
        index._ids = arrays.pop("ids").tolist()
        index._row_of = {name: row for row, name in enumerate(index._ids)}
        index._alive = np.ones(len(index._ids), dtype=np.bool_)
        index._lists = [Lists(documents=len(index._ids), **arrays)]
        return index

    def _numbers(self, queries: SparseVectors) -> range:
        if queries.vocabulary != self.vocabulary:
            raise InputError(
                f"Queries over {queries.vocabulary} terms do not fit an index over {self.vocabulary}. Encode them "
                "with the encoder that the index was built with."
            )
        return range(len(queries))

    def _placed(self) -> list[tuple[int, Lists]]:
        """Each list with its first row."""
        sizes = [part.documents for part in self._lists]
        return list(zip(np.cumsum([0, *sizes])[:-1].tolist(), self._lists, strict=True))


class SparseRetriever:
    """A `Retriever` over passages with ids: an index, and the encoder that makes vectors of texts and queries."""

    def __init__(self, index: SparseIndex, encoder: SparseEncoder, passages: Mapping[str, Passage]) -> None:
        """InputError: the index was built with another encoder, or holds an id without a passage."""
        if index.fingerprint != encoder.fingerprint:
            raise InputError(
                f"The sparse index was built with another encoder than {encoder.name}: its fingerprint is "
                f"{index.fingerprint[:12] or 'not stated'}, not {encoder.fingerprint[:12]}. Search it with its own "
                "encoder, or build it anew."
            )
        missing = [name for name in index.ids() if name not in passages]
        if missing:
            raise InputError(
                f"The sparse index holds {len(missing)} ids without a passage, such as {missing[0]!r}. Give the "
                "passages that it was built from."
            )
        self.index, self.encoder = index, encoder
        self._passages = {name: passages[name] for name in index.ids()}

    @classmethod
    def build(cls, passages: Mapping[str, Passage], encoder: SparseEncoder) -> SparseRetriever:
        """Encode and index all passages. InputError: there is none."""
        if not passages:
            raise InputError("Sparse search got no passages; it needs at least one.")
        retriever = cls(SparseIndex(encoder.vocabulary, fingerprint=encoder.fingerprint), encoder, {})
        retriever.add(passages)
        return retriever

    def add(self, passages: Mapping[str, Passage]) -> None:
        """Encode passages and put them in. InputError: an id is already there; nothing was added."""
        there = [name for name in passages if name in self.index]
        if there:
            raise InputError(
                f"The id {there[0]!r} is already in the index; nothing was added. Remove the old one first."
            )
        texts = [passage.text for passage in passages.values()]
        groups = [texts[first : first + ENCODED_AT_ONCE] for first in range(0, len(texts), ENCODED_AT_ONCE)]
        vectors = SparseVectors.joined([self.encoder.encode(group) for group in groups], self.index.vocabulary)
        self.index.add(list(passages), vectors)
        self._passages |= passages

    def remove(self, ids: Sequence[str]) -> None:
        """Take passages out. InputError: an id is not there; nothing was removed."""
        self.index.remove(ids)
        for name in dict.fromkeys(ids):
            del self._passages[name]

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query at most `k` passages with the highest scores. An empty query, or one of no token that the
        encoder knows, finds nothing.
        """

        def find(asked: list[str]) -> list[list[tuple[str, float]]]:
            return self.index.search(self.encoder.encode(asked, queries=True), k)

        found = each_read(self.encoder, queries, find)
        return [[Hit(self._passages[name], score, "sparse") for name, score in one or ()] for one in found]

    def save(self, folder: str | Path) -> None:
        """Write the index into `folder`, whole or not at all; the passages stay where they came from."""
        self.index.save(folder)

    @classmethod
    def load(
        cls, folder: str | Path, encoder: SparseEncoder, passages: Mapping[str, Passage], *, mmap: bool = True
    ) -> SparseRetriever:
        """What `save` wrote, with its encoder and its passages. InputError: they are others."""
        return cls(SparseIndex.load(folder, mmap=mmap), encoder, passages)
