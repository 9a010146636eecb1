"""How passages become parts of an index, and how these are searched: by token vectors, or by weighted words.

A part is made of one reading and stays as it is; several are searched as one, and made one by `merged`
(`passage_segments.py` keeps them, and the passages' names). Rows are numbered within a part.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Protocol, TypeVar

import numpy as np
import numpy.typing as npt

from foveal.retrieval import late_contents, late_index, sparse_lists
from foveal.retrieval.late import TokenModel, TokenVectors
from foveal.retrieval.late_codes import ResidualCodec
from foveal.retrieval.late_contents import CODEC, Contents
from foveal.retrieval.late_index import LateIndexSettings, LateSearch, centroids_for
from foveal.retrieval.sparse_encoders import SparseEncoder
from foveal.retrieval.sparse_lists import Lists, SparseVectors

Part = TypeVar("Part")
Mask = npt.NDArray[np.bool_]
Arrays = Mapping[str, npt.NDArray[Any]]
Best = list[tuple[int, int, float]]
"""(part, row, score), best first."""

READ_AT_ONCE = 256
"""Texts whose vectors are in memory together, as floats."""

FITTED_ON = 2**17
"""Token vectors that wait, in half floats, for the centroids that are fitted on them: 100 MB of 384 numbers."""

OUTGROWN = 4
"""An index is made anew once its passages call for this many times the centroids that it was laid out with."""


class PassageKind(Protocol[Part]):
    """A kind of index by a model."""

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would be read in another way."""
        ...

    def read(self, texts: Sequence[str], *, like: Part | None, of: int) -> Part:
        """A part of these texts, that goes with the part `like`; the first of an index that is to have `of` texts."""
        ...

    def best(self, parts: Sequence[Part], alive: Sequence[Mask], query: str, k: int) -> Best:
        """The `k` best rows of those that are alive, a mask for each part; there is at least one part."""
        ...

    def merged(self, parts: Sequence[Part], kept: Sequence[Mask]) -> Part:
        """One part of the rows that are to be kept, in order."""
        ...

    def outgrown(self, part: Part, planned: int, of: int) -> bool:
        """Whether an index that was laid out for `planned` passages should be made anew for `of`."""
        ...

    def shared(self, part: Part) -> Arrays:
        """The arrays that all parts of an index have in common."""
        ...

    def own(self, part: Part) -> Arrays:
        """The arrays of this part alone."""
        ...

    def opened(self, shared: Arrays, own: Arrays, count: int) -> Part:
        """The part of `count` rows that had these arrays. KeyError, ValueError: they do not fit."""
        ...


class LatePassages:
    """By token vectors: PLAID's codes, one codec for all parts (`late_index.py`)."""

    def __init__(self, model: TokenModel) -> None:
        self.model, self.effort = model, LateSearch()

    @property
    def fingerprint(self) -> str:
        """The model's."""
        return self.model.fingerprint

    def read(self, texts: Sequence[str], *, like: Contents | None, of: int) -> Contents:
        """The first texts decide the centroids; as many of these as all will need."""
        codec, parts, waiting, tokens, read = like.codec if like else None, list[Contents](), list[TokenVectors](), 0, 0
        for group in _groups(texts):
            begun = [text[:60] for text in group]  # for messages
            vectors = late_index.unit(TokenVectors.of(self.model.documents(group), begun), begun)
            read, tokens = read + len(group), tokens + len(vectors.vectors)
            waiting.append(vectors if codec else TokenVectors(vectors.vectors.astype(np.float16), vectors.starts))
            if codec is None and (tokens >= FITTED_ON or read == len(texts)):
                codec = _fitted(waiting, expected=round(tokens * of / read))
            if codec is not None:
                parts += [Contents.of(codec, (), one) for one in waiting]
                waiting = []
        return self.merged(parts, [part.alive for part in parts])

    def best(self, parts: Sequence[Contents], alive: Sequence[Mask], query: str, k: int) -> Best:
        """By MaxSim."""
        return late_index.best_of_parts(parts, alive, self.model.queries([query])[0], k, self.effort)[0]

    def merged(self, parts: Sequence[Contents], kept: Sequence[Mask]) -> Contents:
        """All under the codec that they have in common."""
        return late_contents.merged(parts, kept)

    def outgrown(self, part: Contents, planned: int, of: int) -> bool:
        """By the centroids that so many passages of this length would be given."""
        length = len(part.coded.codes) / len(part)
        return centroids_for(_tokens(length * of)) >= OUTGROWN * centroids_for(_tokens(length * planned))

    def shared(self, part: Contents) -> Arrays:
        """The codec."""
        return {name: array for name, array in part.arrays.items() if name in CODEC}

    def own(self, part: Contents) -> Arrays:
        """Codes and lists."""
        return {name: array for name, array in part.arrays.items() if name not in CODEC}

    def opened(self, shared: Arrays, own: Arrays, count: int) -> Contents:
        """Checked against each other by their lengths."""
        part = late_contents.joined((), {**shared, **own})
        if len(part) != count:
            raise ValueError("its names do not fit its arrays")
        return part


class SparsePassages:
    """By weighted words of a SPLADE model: inverted lists, searched exactly (`sparse_lists.py`)."""

    def __init__(self, model: SparseEncoder) -> None:
        self.model = model

    @property
    def fingerprint(self) -> str:
        """The model's."""
        return self.model.fingerprint

    def read(self, texts: Sequence[str], *, like: Lists | None, of: int) -> Lists:  # noqa: ARG002
        """The lists of the texts' words."""
        vectors = [self.model.encode(group) for group in _groups(texts)]
        return sparse_lists.lists_of(SparseVectors.joined(vectors, self.model.vocabulary))

    def best(self, parts: Sequence[Lists], alive: Sequence[Mask], query: str, k: int) -> Best:
        """By the product of weights."""
        asked = self.model.encode([query], queries=True).row(0)
        found = sparse_lists.best_of_parts(parts, alive, asked, k)
        firsts = np.cumsum([0, *(part.documents for part in parts)])
        places = np.searchsorted(firsts, found.rows, side="right") - 1
        rows = found.rows - firsts[places]
        return list(zip(places.tolist(), rows.tolist(), found.scores.tolist(), strict=True))

    def merged(self, parts: Sequence[Lists], kept: Sequence[Mask]) -> Lists:
        """One list for each word."""
        return sparse_lists.kept(sparse_lists.merged(parts), np.concatenate(kept))

    def outgrown(self, part: Lists, planned: int, of: int) -> bool:  # noqa: ARG002
        """Never: nothing is fitted."""
        return False

    def shared(self, part: Lists) -> Arrays:  # noqa: ARG002
        """None."""
        return {}

    def own(self, part: Lists) -> Arrays:
        """The lists."""
        return part.arrays()

    def opened(self, shared: Arrays, own: Arrays, count: int) -> Lists:  # noqa: ARG002
        """Checked against the model's vocabulary, and by their lengths."""
        part = Lists(documents=count, **own)
        whole = len(part.starts) == len(part.highest) + 1 == self.model.vocabulary + 1
        if not whole or not int(part.starts[-1]) == len(part.rows) == len(part.weights):
            raise ValueError("its arrays do not fit each other, or its model")
        return part


def _groups(texts: Sequence[str]) -> Iterator[Sequence[str]]:
    for first in range(0, len(texts), READ_AT_ONCE):
        yield texts[first : first + READ_AT_ONCE]


def _tokens(count: float) -> int:
    return max(1, round(count))


def _fitted(waiting: Sequence[TokenVectors], *, expected: int) -> ResidualCodec:
    """The codec for so many token vectors, fitted on those that wait: at least four a centroid, so that few have none
    of a residual left to fit its buckets on."""
    vectors = np.concatenate([one.vectors for one in waiting])
    count = min(centroids_for(max(expected, len(vectors))), 2 ** max(0, len(vectors).bit_length() - 3))
    return late_index.codec_for(vectors, LateIndexSettings(centroids=count))
