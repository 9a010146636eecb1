"""Finds the words that answer a question, with their exact place, over a whole collection and without reading it.

    s(q, [i, j]) = q_start . h_i + q_end . h_j        i <= j < i + longest, both tokens of one passage

Shapes    a passage is the vectors (n, W) of its tokens, made once, without the question; a question is (2, W), its
          start and its end vector. N tokens are stored, not N * longest phrases
Source    DensePhrases: Lee, Sung, Kang and Chen, ACL 2021; before it DenSPI: Seo et al., ACL 2019 (both by memory)
Needs     an encoder of the BERT family; one that `training/phrases.py` trained: a plain one finds few answers
Against   a passage's vector (`dense.py`) says where an answer stands, a reader then which words it is; here both come
          from one search, and nothing has seen question and passage together. `late.py` stores as many vectors

Exact     the products of all tokens; every phrase is scored
Pruned    the tokens with the largest products for the start, and for the end; each is joined with all its partners
          within `longest`. The products may come from any index of vectors, exact or in cells (`PhraseIndex.tokens`)
Of phrases that overlap the best is given. They begin where a word begins and end where one ends; the paper's learnt
filter of tokens is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, LibraryCorrupt
from foveal.models.characters import each_read
from foveal.models.phrase_reading import window_scores
from foveal.ranges import require_k
from foveal.retrieval.flat import INT8_BLOCK, SCORES_AT_ONCE, Floats, Ids, Int8Vectors, flat_search, int8_search
from foveal.retrieval.flat import quantise_int8 as as_int8
from foveal.retrieval.phrase_encoders import PhraseVectors
from foveal.retrieval.snapshots import read_snapshot, write_snapshot
from foveal.types import Hit, Passage, Span

if TYPE_CHECKING:
    from foveal.retrieval.vector_forms import IndexSettings
    from foveal.retrieval.vectors import DenseIndex

Bools = npt.NDArray[np.bool_]
KIND = "phrases"


# -- the index -------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class PhraseHit:
    """Words that were found: characters `start` to `end` of the passage's document, and exactly their text."""

    passage: Passage
    start: int
    end: int
    score: float
    text: str

    @property
    def span(self) -> Span:
        """Its place in the document."""
        return Span(self.passage.span.document_id, self.start, self.end)


@dataclass(frozen=True, kw_only=True)
class Pruned:
    """A search that scores only the phrases at the best tokens."""

    tokens: int = 1000  # with the largest products for the start, and as many for the end; the paper's k1
    index: DenseIndex | None = None  # of the tokens, by inner product: `PhraseIndex.tokens`; None: all are compared

    def __post_init__(self) -> None:
        if self.tokens < 1:
            raise InputError(f"A pruned search got tokens={self.tokens}; it needs at least 1.")


@dataclass(frozen=True)
class PhraseIndex:
    """P passages by the vectors of their N tokens; make it with `build` or `load`. Nothing in it changes."""

    passages: tuple[Passage, ...]
    starts: Ids  # (P + 1,): where each passage's tokens begin, and N
    offsets: npt.NDArray[np.int32]  # (N, 2): start and end character in the passage
    begins: Bools  # (N,)
    ends: Bools  # (N,)
    vectors: Floats | Int8Vectors  # (N, W)
    longest: int  # tokens of a phrase
    fingerprint: str

    @classmethod
    def build(
        cls, passages: Sequence[Passage], encoder: PhraseVectors, *, longest: int = 10, int8: bool = False
    ) -> PhraseIndex:
        """Of passages, whose texts are encoded now; `int8` keeps a byte a number, a quarter.

        InputError: no passages, one twice, one without tokens or whose text is not as long as its span, NaN.
        """
        _check_passages(passages, longest)
        made = encoder.passages([passage.text for passage in passages])
        for passage, tokens in zip(passages, made, strict=True):
            if not len(tokens.vectors) or not np.isfinite(tokens.vectors).all():
                what = "has no token" if not len(tokens.vectors) else "has vectors with NaN or infinity"
                raise InputError(f"The passage at {passage.span} {what}. Leave it out, or check its text.")
        vectors = np.concatenate([tokens.vectors for tokens in made])
        return cls(
            tuple(passages),
            np.cumsum([0, *(len(tokens.vectors) for tokens in made)]),
            np.concatenate([tokens.offsets for tokens in made]).astype(np.int32),
            np.concatenate([tokens.begins for tokens in made]),
            np.concatenate([tokens.ends for tokens in made]),
            as_int8(vectors) if int8 else vectors,
            longest,
            encoder.fingerprint,
        )

    def save(self, folder: Path, *, keep: int = 1) -> int:
        """Write a snapshot into `folder`, whole or not at all, and give its number; the last `keep` ones stay."""
        shown = [[p.span.document_id, p.span.start, p.span.end, p.text, p.heading] for p in self.passages]
        about = {"kind": KIND, "fingerprint": self.fingerprint, "longest": self.longest, "passages": shown}
        arrays: dict[str, npt.NDArray[Any]]
        if isinstance(self.vectors, Int8Vectors):
            arrays = {"codes": self.vectors.codes, "scales": self.vectors.scales}
        else:
            arrays = {"vectors": self.vectors}
        places = {name: getattr(self, name) for name in ("starts", "offsets", "begins", "ends")}
        return write_snapshot(folder, about, {**places, **arrays}, keep=keep)

    @classmethod
    def load(
        cls, folder: Path, *, fingerprint: str | None = None, mmap: bool = True, snapshot: int | None = None
    ) -> PhraseIndex:
        """The last snapshot in `folder`, or that of the number `snapshot`; `fingerprint` is that of the encoder in use.

        InputError: no such index, or another encoder's. LibraryCorrupt: damaged. LibraryTooNew: a newer Foveal's.
        """
        about, arrays = read_snapshot(folder, mmap=mmap, snapshot=snapshot)
        if about.get("kind") != KIND:
            raise InputError(f"{folder} holds an index of another kind. Name a folder that PhraseIndex.save wrote.")
        try:
            index = _joined(about, arrays)
        except (KeyError, ValueError, TypeError) as error:
            raise LibraryCorrupt(f"The index in {folder} is damaged: {error}. Build and save it again.") from error
        if fingerprint not in (None, index.fingerprint):
            raise InputError(_other(index.fingerprint, str(fingerprint)))
        return index

    def tokens(self, settings: IndexSettings) -> DenseIndex:
        """An index of the tokens' vectors for `Pruned`, of any kind; its metric is the inner product."""
        from foveal.retrieval.vectors import DenseIndex

        stored = self.vectors
        full = stored.codes * stored.scales[:, None] if isinstance(stored, Int8Vectors) else stored
        by_product = replace(settings, metric="ip")
        return DenseIndex.build(np.arange(len(full)), full, by_product, fingerprint=self.fingerprint)

    def search(self, questions: Floats, k: int, pruned: Pruned | None = None) -> list[list[PhraseHit]]:
        """For each question (2, W) the `k` best phrases of which none overlaps a better one. InputError: as below."""
        return [self._first(*found, k, self._overlapping) for found in self._scored(questions, k, pruned)]

    def best(self, questions: Floats, k: int, pruned: Pruned | None = None) -> list[list[PhraseHit]]:
        """The best phrase of each of the `k` best passages.

        InputError: k < 1, NaN, another W, or an index of tokens that is not this one's.
        """
        return [self._first(*found, k, self._together) for found in self._scored(questions, k, pruned)]

    # -- scores -------------------------------------------------------------------------------------------------

    def _scored(self, questions: Floats, k: int, pruned: Pruned | None) -> Iterator[tuple[Ids | None, Floats]]:
        """For each question phrases, as first token * longest + length - 1 (None: all of them), and their scores."""
        self._check(questions, k, pruned)
        if pruned is not None:
            yield from (self._pruned(question, pruned) for question in questions)
            return
        at_once = max(1, SCORES_AT_ONCE // (2 * len(self._room)))
        for first in range(0, len(questions), at_once):
            block = questions[first : first + at_once]
            products = self._products(block.reshape(2 * len(block), -1)).reshape(len(block), 2, -1)
            for starting, ending in products:
                starting[~self.begins], ending[~self.ends] = -np.inf, -np.inf
                yield None, window_scores(starting, ending, self._room, self.longest).ravel()

    def _pruned(self, question: Floats, pruned: Pruned) -> tuple[Ids, Floats]:
        """The phrases at the best tokens."""
        count = min(pruned.tokens, len(self._room))
        if pruned.index is not None:
            near = np.asarray(pruned.index.search(question, count, fingerprint=self.fingerprint)[0])
        elif isinstance(self.vectors, Int8Vectors):
            near = int8_search(self.vectors, question, count)[0]
        else:
            near = flat_search(self.vectors, question, count)[0]
        firsts, lasts, more = near[0][:, None], near[1][:, None], np.arange(self.longest)
        codes = np.concatenate([firsts * self.longest + more, (lasts - more) * self.longest + more], axis=None)
        codes = np.unique(codes[codes >= 0])
        first, more = np.divmod(codes, self.longest)
        codes, first, more = (part[more < self._room[first]] for part in (codes, first, more))
        may = self.begins[first] & self.ends[first + more]
        codes, first, last = codes[may], first[may], (first + more)[may]
        rows = np.union1d(first, last)
        starting, ending = self._products(question, rows)
        return codes, starting[np.searchsorted(rows, first)] + ending[np.searchsorted(rows, last)]

    def _products(self, vectors: Floats, rows: Ids | slice = slice(None)) -> Floats:
        """Products of vectors (n, W) with the tokens `rows`: (n, rows)."""
        stored = self.vectors
        if not isinstance(stored, Int8Vectors):
            return vectors @ stored[rows].T
        codes, scales = stored.codes[rows], stored.scales[rows]
        products = np.empty((len(vectors), len(codes)), dtype=np.float32)
        for first in range(0, len(codes), INT8_BLOCK):
            block = slice(first, first + INT8_BLOCK)
            np.matmul(vectors, codes[block].T.astype(np.float32), out=products[:, block])
        products *= scales
        return products

    # -- the best of them ---------------------------------------------------------------------------------------

    def _first(self, codes: Ids | None, scores: Floats, k: int, against: Callable[..., Bools]) -> list[PhraseHit]:
        """The `k` best phrases, none of which stands `against` a better one."""
        # Of phrases in one passage at most so many overlap one; more are looked at where passages overlap.
        count = min(len(scores), k * self.longest * (2 * self.longest - 1))
        while True:
            near = np.arange(len(scores)) if count == len(scores) else np.argpartition(-scores, count - 1)[:count]
            near = near[np.isfinite(scores[near])]
            near = near[np.lexsort((near, -scores[near]))]
            places = self._places(near if codes is None else codes[near])
            chosen: list[int] = []
            free = np.ones(len(near), dtype=bool)
            while len(chosen) < k and free.any():
                chosen.append(int(free.argmax()))
                free &= ~against(places, chosen[-1])
            if len(chosen) == k or count == len(scores):
                return [self._hit(places[best], float(scores[near[best]])) for best in chosen]
            count = min(len(scores), 4 * count)

    def _places(self, codes: Ids) -> Ids:
        """Phrases as (passage, document, start, end character in the document), (n, 4)."""
        first, more = np.divmod(codes, self.longest)
        row = np.searchsorted(self.starts, first, side="right") - 1
        document, at = self._documents[row].T
        return np.stack([row, document, at + self.offsets[first, 0], at + self.offsets[first + more, 1]], axis=1)

    def _hit(self, place: Ids, score: float) -> PhraseHit:
        row, _, start, end = map(int, place)
        passage = self.passages[row]
        at = passage.span.start
        return PhraseHit(passage, start, end, score, passage.text[start - at : end - at])

    @staticmethod
    def _overlapping(places: Ids, best: int) -> Bools:
        _, document, start, end = places[best]
        found: Bools = (places[:, 1] == document) & (places[:, 2] < end) & (places[:, 3] > start)
        return found

    @staticmethod
    def _together(places: Ids, best: int) -> Bools:
        found: Bools = places[:, 0] == places[best, 0]
        return found

    @cached_property
    def _room(self) -> Ids:
        """Tokens of its passage from each token on, itself included: (N,)."""
        return np.repeat(self.starts[1:], np.diff(self.starts)) - np.arange(self.starts[-1])

    @cached_property
    def _documents(self) -> Ids:
        """A number for the document of each passage, and where in it the passage begins: (P, 2)."""
        numbers: dict[str, int] = {}
        spans = [passage.span for passage in self.passages]
        return np.array([(numbers.setdefault(s.document_id, len(numbers)), s.start) for s in spans], dtype=np.int64)

    def _check(self, questions: Floats, k: int, pruned: Pruned | None) -> None:
        stored = self.vectors.codes if isinstance(self.vectors, Int8Vectors) else self.vectors
        require_k(k)
        if questions.ndim != 3 or questions.shape[1:] != (2, stored.shape[1]) or not np.isfinite(questions).all():
            raise InputError(
                f"A search for phrases got questions of the shape {questions.shape}; it needs (Q, 2, "
                f"{stored.shape[1]}), all numbers finite. Encode them with the index's encoder."
            )
        near = None if pruned is None else pruned.index
        if near is not None and (len(near) != len(stored) or near.settings.metric != "ip"):
            raise InputError(
                f"A pruned search got an index of {len(near)} vectors by {near.settings.metric}; it needs one of these "
                f"{len(stored)} tokens by ip. Make it with PhraseIndex.tokens."
            )


@dataclass(frozen=True)
class PhraseRetriever:
    """A `Retriever` of passages by their best phrase; `phrases` gives the words themselves."""

    encoder: PhraseVectors
    index: PhraseIndex
    pruned: Pruned | None = None

    def __post_init__(self) -> None:
        if self.index.fingerprint != self.encoder.fingerprint:
            raise InputError(_other(self.index.fingerprint, self.encoder.fingerprint))

    def search(self, queries: Sequence[str], k: int) -> list[list[Hit]]:
        """For each query the `k` passages with the best phrases. An empty query, or one of no token that the encoder
        knows, finds nothing.
        """
        return [[Hit(one.passage, one.score, KIND) for one in found] for found in self.passages(queries, k)]

    def passages(self, queries: Sequence[str], k: int) -> list[list[PhraseHit]]:
        """The same passages, each with its best phrase."""
        return self._asked(self.index.best, queries, k)

    def phrases(self, queries: Sequence[str], k: int) -> list[list[PhraseHit]]:
        """For each query the `k` best phrases of which none overlaps a better one. An empty query finds nothing."""
        return self._asked(self.index.search, queries, k)

    def _asked(
        self, search: Callable[[Floats, int, Pruned | None], list[list[PhraseHit]]], queries: Sequence[str], k: int
    ) -> list[list[PhraseHit]]:
        found = each_read(self.encoder, queries, lambda asked: search(self.encoder.questions(asked), k, self.pruned))
        return [one or [] for one in found]


def _check_passages(passages: Sequence[Passage], longest: int) -> None:
    if not passages or longest < 1:
        raise InputError(f"An index of phrases got {len(passages)} passages, longest={longest}; it needs 1 of each.")
    seen: set[Span] = set()
    for passage in passages:
        if passage.span in seen:
            raise InputError(f"An index of phrases got the passage at {passage.span} twice. Give each once.")
        if len(passage.text) != len(passage.span):
            raise InputError(
                f"The passage at {passage.span} has a text of {len(passage.text)} characters, so no place in it would "
                "be right. Give exactly the document's text there."
            )
        seen.add(passage.span)


def _joined(about: dict[str, Any], arrays: dict[str, npt.NDArray[Any]]) -> PhraseIndex:
    passages = tuple(Passage(Span(name, *place), text, heading) for name, *place, text, heading in about["passages"])
    vectors = arrays.get("vectors")
    stored = Int8Vectors(arrays["codes"], arrays["scales"]) if vectors is None else vectors
    places = {name: arrays[name] for name in ("starts", "offsets", "begins", "ends")}
    count = len(arrays["codes"] if vectors is None else vectors)
    sizes = {count, *(len(places[name]) for name in ("offsets", "begins", "ends")), int(places["starts"][-1])}
    if len(sizes) != 1 or len(places["starts"]) != len(passages) + 1:
        raise ValueError("its arrays do not fit each other")
    return PhraseIndex(
        passages, vectors=stored, longest=int(about["longest"]), fingerprint=str(about["fingerprint"]), **places
    )


def _other(stored: str, given: str) -> str:
    return (
        f"The index of phrases was made with another encoder (fingerprint {stored[:12]}, not {given[:12]}): their "
        "vectors cannot be compared. Use that encoder, or build the index anew."
    )
