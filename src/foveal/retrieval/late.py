"""Late interaction: a text is the vectors of its tokens, and each token of a query finds its best match (ColBERT).

    s(q, d) = sum over the query's tokens i of max over the document's tokens j of q_i . d_j         (MaxSim)

Shapes    a text is (tokens, D), float32, rows of unit length; many texts are one `TokenVectors`, (T, D) with the places
          where each begins. Scores (Q, N)
Source    Khattab and Zaharia, SIGIR 2020
Needs     vectors by `late_tokens.py`; nothing is trained here
Against   one vector a text (`dense.py`) is some hundred times smaller and loses what a single word decides; a
          cross-encoder (`ranking/`) sees both texts at once, so nothing can be encoded before the question is known.
          Here all documents are scored; `late_index.py` scores a few, `muvera.py` searches one long vector each

NumPy's products and segment maxima beat torch's here (measured: 1.9 and 15 times on one core), so torch is not needed.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.models.characters import each_read, require_several
from foveal.ranges import require_k
from foveal.types import Hit, Passage

Floats = npt.NDArray[np.float32]
Ids = npt.NDArray[np.int64]
Scored = tuple[str, float]
"""A document's id and its score."""

SCORES_AT_ONCE = 2**24
"""Products of token vectors held at a time, 64 MiB."""
QUERY_TOKENS_AT_ONCE = 1024
"""Query tokens that are multiplied with a block of documents at a time."""


@dataclass(frozen=True)
class TokenVectors:
    """The token vectors of N texts: text i has the rows `starts[i]` to `starts[i + 1]`, at least one."""

    vectors: Floats  # (T, D)
    starts: Ids  # (N + 1,), from 0 to T

    @classmethod
    def of(cls, texts: Sequence[Floats] | TokenVectors, names: Sequence[str] | None = None) -> TokenVectors:
        """From one array (tokens, D) a text; nothing is copied if they are stacked already.

        InputError, with the text's name: no text, NaN, another D than the first has, no token.
        """
        if not len(texts):
            raise InputError("Late interaction got no texts; it needs the token vectors of at least one.")
        width = np.shape(texts[0])[-1]
        for row in range(len(texts)):
            _check_tokens(names[row] if names else str(row), np.asarray(texts[row]), width)
        if isinstance(texts, TokenVectors):
            return texts
        lengths = [len(vectors) for vectors in texts]
        stacked = np.concatenate([np.asarray(vectors, dtype=np.float32) for vectors in texts])
        return cls(stacked, np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64))

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, row: int) -> Floats:
        return self.vectors[self.starts[row] : self.starts[row + 1]]

    def blocks(self, tokens: int) -> Iterator[tuple[int, int]]:
        """First and last row (excluded) of runs of texts that have at most `tokens` tokens, or are one text."""
        first = 0
        while first < len(self):
            last = int(np.searchsorted(self.starts, self.starts[first] + tokens, side="right")) - 1
            last = min(max(last, first + 1), len(self))
            yield first, last
            first = last


def maxsim(queries: TokenVectors, documents: TokenVectors) -> Floats:
    """MaxSim of each query with each document: (Q, N). InputError: vectors of two dimensions."""
    _check_dimensions(queries.vectors, documents.vectors)
    scores = np.empty((len(queries), len(documents)), dtype=np.float32)
    for q, q_end in queries.blocks(QUERY_TOKENS_AT_ONCE):
        asked = queries.vectors[queries.starts[q] : queries.starts[q_end]]
        where = queries.starts[q:q_end] - queries.starts[q]
        for d, d_end in documents.blocks(max(1, SCORES_AT_ONCE // len(asked))):
            rows = documents.vectors[documents.starts[d] : documents.starts[d_end]]
            best = best_matches(asked @ rows.T, documents.starts[d:d_end] - documents.starts[d])
            scores[q:q_end, d:d_end] = np.add.reduceat(best, where, axis=0)
    return scores


def best_matches(products: Floats, starts: Ids) -> Floats:
    """Products (tokens of a query, tokens of N documents), each document's from `starts` on -> their maxima (., N)."""
    best: Floats = np.maximum.reduceat(products, starts, axis=1)
    return best


def matches(query: Floats, document: Floats) -> tuple[Ids, Floats]:
    """Which token of the document each token of the query matched, (n,), and what it added to the score, (n,)."""
    _check_dimensions(query, document)
    products = query @ document.T
    places = products.argmax(axis=1)
    return places, products[np.arange(len(places)), places]


def maxsim_search(documents: TokenVectors, queries: TokenVectors, k: int) -> tuple[Ids, Floats]:
    """The `k` documents with the highest MaxSim for each query: rows (Q, min(k, N)) and scores, best first."""
    require_k(k)
    scores = maxsim(queries, documents)
    order = np.argsort(-scores, axis=1, kind="stable")[:, :k]
    return order.astype(np.int64), np.take_along_axis(scores, order, axis=1)


class TokenModel(Protocol):
    """Texts to token vectors, those of queries and of documents each in their way."""

    name: str
    dimension: int

    @property
    def fingerprint(self) -> str:
        """Changes whenever the same text would get other vectors."""
        ...

    def queries(self, texts: Sequence[str]) -> list[Floats]:
        """One array (tokens, dimension) a text, float32, rows of unit length."""
        ...

    def documents(self, texts: Sequence[str]) -> list[Floats]:
        """One array (tokens, dimension) a text, float32, rows of unit length."""
        ...


class TokenIndex(Protocol):
    """Documents by id, found by the token vectors of queries: `Exact`, or `late_index.LateIndex`."""

    @property
    def fingerprint(self) -> str:
        """That of the model that made the documents' vectors."""
        ...

    @property
    def ids(self) -> tuple[str, ...]:
        """The ids of the documents that can be found."""
        ...

    def search(self, queries: Sequence[Floats], k: int) -> list[list[Scored]]:
        """For each query at most `k` ids with their scores, best first."""
        ...


@dataclass(frozen=True)
class Exact:
    """A `TokenIndex` that scores all documents: the truth that others are measured by."""

    ids: tuple[str, ...]
    vectors: TokenVectors
    fingerprint: str

    @classmethod
    def build(cls, ids: Sequence[str], vectors: Sequence[Floats] | TokenVectors, *, fingerprint: str) -> Exact:
        """From one array (tokens, D) a document. InputError: an id twice, or vectors as `TokenVectors.of` refuses."""
        check_ids(ids, len(vectors))
        return cls(tuple(ids), TokenVectors.of(vectors, ids), fingerprint)

    def search(self, queries: Sequence[Floats], k: int) -> list[list[Scored]]:
        """For each query the `k` ids with the highest MaxSim."""
        require_k(k)
        if not len(queries):
            return []
        found = maxsim_search(self.vectors, TokenVectors.of(queries), k)
        return [
            [(self.ids[row], float(score)) for row, score in zip(rows, scores, strict=True)]
            for rows, scores in zip(*found, strict=True)
        ]


@dataclass(frozen=True)
class LateInteraction:
    """A `Retriever` by token vectors over passages that have ids."""

    encoder: TokenModel
    passages: Mapping[str, Passage]
    index: TokenIndex

    def __post_init__(self) -> None:
        check_fingerprint(self.index.fingerprint, self.encoder)
        missing = [name for name in self.index.ids if name not in self.passages]
        if missing:
            raise InputError(
                f"Late interaction got an index with {len(missing)} documents that no passage was given for, "
                f"{missing[0]!r} among them. Give all passages of the index, or remove those ids from it."
            )

    @classmethod
    def exact(
        cls, ids: Sequence[str], passages: Sequence[Passage], encoder: TokenModel, *, texts: Sequence[str] | None = None
    ) -> LateInteraction:
        """The retriever that scores every passage; `texts` is what is encoded of them (default: their texts)."""
        check_ids(ids, len(passages))
        shown = [passage.text for passage in passages] if texts is None else texts
        index = Exact.build(ids, encoder.documents(shown), fingerprint=encoder.fingerprint)
        return cls(encoder, dict(zip(ids, passages, strict=True)), index)

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the highest score. An empty query, or one of no token that the encoder
        knows, finds nothing.
        """
        require_several(queries, "search")
        require_k(k)
        found = each_read(self.encoder, queries, lambda asked: self.index.search(self.encoder.queries(asked), k))
        return [self._hits(one or ()) for one in found]

    def _hits(self, scored: Sequence[Scored]) -> list[Hit]:
        return [Hit(self.passages[name], score, "late") for name, score in scored]


def check_ids(ids: Sequence[str], count: int) -> None:
    """InputError: not one id for each of `count` texts, none at all, or an id twice."""
    if len(ids) != count:
        raise InputError(f"Late interaction got {len(ids)} ids for {count} texts; it needs one id for each.")
    if not count:
        raise InputError("Late interaction got no documents; it needs at least one. Check what was read as the corpus.")
    if len(set(ids)) != count:
        seen: set[str] = set()
        doubled = next(name for name in ids if name in seen or seen.add(name))  # type: ignore[func-returns-value]
        raise InputError(f"Late interaction got the id {doubled!r} twice; each document needs an id of its own.")


def check_fingerprint(fingerprint: str, encoder: TokenModel) -> None:
    """InputError: the index was made with another encoder, or other settings of it."""
    if fingerprint != encoder.fingerprint:
        raise InputError(
            f"The index was made with another encoder (fingerprint {fingerprint[:12]}) than {encoder.name} as it is "
            f"set now ({encoder.fingerprint[:12]}): their vectors cannot be compared. Use that encoder with its "
            "settings, or build the index anew."
        )


def _check_tokens(name: str, vectors: Floats, width: int) -> None:
    if vectors.ndim != 2 or vectors.shape[1] != width or not len(vectors):
        raise InputError(
            f"The token vectors of {name!r} have the shape {vectors.shape}; it needs (tokens, {width}) with at least "
            "one token. Encode all texts with the same encoder."
        )
    if not np.isfinite(vectors).all():
        raise InputError(
            f"The token vectors of {name!r} hold NaN or infinity; each number must be finite. Encode its text again."
        )


def _check_dimensions(queries: Floats, documents: Floats) -> None:
    if queries.shape[1] != documents.shape[1]:
        raise InputError(
            f"Late interaction got query vectors of {queries.shape[1]} numbers for document vectors of "
            f"{documents.shape[1]}; both need the same. Encode both with the same encoder."
        )
