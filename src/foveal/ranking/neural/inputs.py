"""From texts to what a neural ranker reads: words, ids, and batches of query and document.

Shapes    `Pairs`: query (B, m) and document (B, n) ids, 0 where there is no word; idf (B, m) of the query's words
Words     lower case, no stems, letter and accent as one character; an ideograph is a word by itself; of Thai, Lao,
          Burmese and Khmer, which no space parts, each three letters that follow on each other are one. For long
          documents function words are best left out
Ids       1 … known: words that came `min_frequency` times in the texts, the most frequent first; after them the rarer
          ones, each with an id of its own, so that it matches itself and nothing else; last some ids that words never
          seen share by their hash: two of them are taken for one word once in `buckets` times
"""

from __future__ import annotations

import json
import re
import unicodedata
import zlib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import torch
import torch.nn.functional as F  # noqa: N812
from torch import Tensor

from foveal.errors import InputError
from foveal.evaluation import bm25
from foveal.evaluation.files import whole_file
from foveal.evaluation.scripts import SOFT_HYPHEN, SYLLABIC_RANGES, composed
from foveal.retrieval.words import FUNCTION_WORDS

_ALONE = r"\u3040-\u30ff\u3400-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"
_MARKS = "\u200c\u200d" + "".join(one for one in map(chr, range(0x300, 0x1D00)) if unicodedata.category(one)[0] == "M")
"""Accents and vowel signs, which \\w lacks, and joiners: without them a Hindi word falls apart into its consonants."""
_WORD = re.compile(rf"[{_ALONE}]|[^\W{_ALONE}]+(?:[{_MARKS}]+[^\W{_ALONE}]*)*")
_WORD_OF_ANY = re.compile(rf"[{_ALONE}][\u3099\u309a]*|[^\W{_ALONE}]+(?:[{_MARKS}{SOFT_HYPHEN}]+[^\W{_ALONE}]*)*")
_PART = re.compile(f"(?:[{SYLLABIC_RANGES}][{_MARKS}{SOFT_HYPHEN}]*)+|[^{SYLLABIC_RANGES}]+")
_SYLLABIC = re.compile(f"[{SYLLABIC_RANGES}]")
_LETTER = re.compile(f".[{_MARKS}{SOFT_HYPHEN}]*")

APART, CUTTING = 1, 2
"""How texts are cut: as before, accents apart and Thai whole, which kept rankers of then go on with; and as now."""

Placed = tuple[str, int, int]


def words(text: str, cutting: int = CUTTING) -> list[str]:
    """The words of `text` in lower case, in order."""
    lower = text.lower()
    if cutting == APART:
        return _WORD.findall(lower)
    if _SYLLABIC.search(lower):
        return [word for word, _, _ in _cut(lower)]
    return [composed(word) for word in _WORD_OF_ANY.findall(lower)]


def placed(text: str, cutting: int = CUTTING) -> list[Placed]:
    """The same, each with the characters of `text` that it stands at: start (included) and end (excluded).

    Of pieces that overlap each has the letter that it begins with, the last one all of its own.
    """
    places = [place for place, one in enumerate(text) for _ in one.lower()]  # a capital may have two small characters
    lower = text.lower()
    found = _cut(lower) if cutting != APART else ((one[0], *one.span()) for one in _WORD.finditer(lower))
    return [(word, places[start], places[end - 1] + 1) for word, start, end in found]


def _cut(lower: str) -> Iterator[Placed]:
    for word in _WORD_OF_ANY.finditer(lower):
        if not _SYLLABIC.search(word[0]):
            yield composed(word[0]), *word.span()
            continue
        for part in _PART.finditer(lower, *word.span()):
            one = bool(_SYLLABIC.search(part[0]))
            letters = [letter.span() for letter in _LETTER.finditer(lower, *part.span())] if one else [part.span()]
            last = max(0, len(letters) - 3)
            for first, (start, end) in enumerate(letters[: last + 1]):
                until = letters[min(first + 2, len(letters) - 1)][1]
                yield composed(lower[start:until]), start, until if first == last else end


@dataclass(frozen=True)
class Vocabulary:
    """Words with ids from 1 on (`words[0]` has id 1), the idf of each, and ids for words that it lacks.

    `idf` is ln(1 + (N - n + 0.5) / (n + 0.5)) where n of the N texts hold the word; `unseen_idf` is that of n = 0.
    """

    words: tuple[str, ...]
    idf: tuple[float, ...]
    known: int  # so many of the words, the first ones, are frequent
    unseen_idf: float
    buckets: int = 1024  # ids that words never seen share
    cutting: int = CUTTING  # how its texts were cut into words, and all that is read by it is

    def __post_init__(self) -> None:
        if self.cutting not in (APART, CUTTING):
            raise InputError(
                f"A vocabulary's texts were cut in the way {self.cutting!r}; this version knows {APART} and {CUTTING}."
            )
        if len(self.words) != len(self.idf) or not 0 <= self.known <= len(self.words) or self.buckets < 1:
            raise InputError(
                f"A vocabulary got {len(self.words)} words, {len(self.idf)} idf, known={self.known}, buckets="
                f"{self.buckets}; it needs an idf for each word, no more known than there are, and at least 1 bucket."
            )

    @classmethod
    def of_texts(
        cls, documents: Iterable[str], queries: Iterable[str] = (), *, min_frequency: int = 2, buckets: int = 1024
    ) -> Vocabulary:
        """The words of documents and queries; idf is counted over the documents. InputError: there is no document."""
        counts: Counter[str] = Counter()
        holding: Counter[str] = Counter()
        total = 0
        for text in documents:
            found = words(text)
            counts.update(found)
            holding.update(set(found))
            total += 1
        if not total or min_frequency < 1:
            raise InputError(
                f"A vocabulary got {total} documents and min_frequency={min_frequency}; it needs at least 1 of both."
            )
        for text in queries:
            counts.update(words(text))
        ordered = sorted(counts, key=lambda word: (-counts[word], word))
        known = sum(count >= min_frequency for count in counts.values())
        idf = tuple(bm25.idf(total, holding[word]) for word in ordered)
        return cls(tuple(ordered), idf, known, bm25.idf(total, 0), buckets)

    @cached_property
    def _ids(self) -> dict[str, int]:
        return {word: place for place, word in enumerate(self.words, start=1)}

    @cached_property
    def idf_by_id(self) -> Tensor:
        """(len,) float32: the idf of each id, 0 for padding."""
        return torch.tensor([0.0, *self.idf, *[self.unseen_idf] * self.buckets], dtype=torch.float32)

    def __len__(self) -> int:
        """How many ids there are, padding and those of unseen words included."""
        return 1 + len(self.words) + self.buckets

    def id_of(self, word: str) -> int:
        """The word's id, never 0."""
        found = self._ids.get(word)
        if found is not None:
            return found
        return 1 + len(self.words) + zlib.crc32(word.encode("utf-8", "surrogatepass")) % self.buckets

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        content = {name: getattr(self, name) for name in ("words", "idf", "known", "unseen_idf", "buckets", "cutting")}
        with whole_file(path) as partial:
            partial.write_text(json.dumps(content, ensure_ascii=True), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> Vocabulary:
        """What `save` wrote. InputError: the file holds no vocabulary, or one of a later version."""
        try:
            found = json.loads(path.read_text(encoding="utf-8"))
            idf = tuple(float(one) for one in found["idf"])
            every = tuple(str(one) for one in found["words"])
            sizes = int(found["known"]), float(found["unseen_idf"]), int(found["buckets"])
            cutting = int(found.get("cutting", APART))
            if cutting <= CUTTING:
                return cls(every, idf, *sizes, cutting)
        except (OSError, ValueError, TypeError, KeyError) as error:
            raise InputError(f"{path} holds no vocabulary ({error}). Train the ranker anew.") from error
        raise InputError(f"{path}: texts were cut in the way {cutting}, by a later version. Use a newer Foveal.")


@dataclass(frozen=True)
class Pairs:
    """B queries, each with a document. Words stand first in a row, padding (id 0) after them."""

    query: Tensor  # (B, m) long
    document: Tensor  # (B, n) long
    idf: Tensor  # (B, m) float32, 0 where there is no word
    query_words: tuple[tuple[str, ...], ...] | None = None  # B rows, as long as the text; for models that need letters
    document_words: tuple[tuple[str, ...], ...] | None = None

    def __post_init__(self) -> None:
        rows = len(self.query)
        if self.query.dim() != 2 or self.document.shape[:1] != (rows,) or self.idf.shape != self.query.shape:
            raise InputError(
                f"Pairs got query {tuple(self.query.shape)}, document {tuple(self.document.shape)}, idf "
                f"{tuple(self.idf.shape)}; they need (B, m), (B, n), (B, m)."
            )

    @property
    def query_mask(self) -> Tensor:
        """(B, m) bool: where a word is."""
        return self.query > 0

    @property
    def document_mask(self) -> Tensor:
        """(B, n) bool: where a word is."""
        return self.document > 0

    def __len__(self) -> int:
        return len(self.query)

    def to(self, device: Any, non_blocking: bool = False) -> Pairs:
        """The same on `device`."""
        tensors = {"query": self.query, "document": self.document, "idf": self.idf}
        moved: dict[str, Any] = {key: one.to(device, non_blocking=non_blocking) for key, one in tensors.items()}
        return replace(self, **moved)

    def padded(self, query: int, document: int) -> Pairs:
        """The same with at least so many columns on each side."""
        more = [max(0, query - self.query.shape[1]), max(0, document - self.document.shape[1])]
        return replace(
            self,
            query=F.pad(self.query, (0, more[0])),
            idf=F.pad(self.idf, (0, more[0])),
            document=F.pad(self.document, (0, more[1])),
        )


@dataclass(frozen=True)
class Prepared:
    """A text's words and their ids, cut at a length."""

    words: tuple[str, ...]
    ids: tuple[int, ...]


def prepared(vocabulary: Vocabulary, text: str, *, length: int, content_only: bool = False) -> Prepared:
    """The first `length` words of `text`; `content_only` leaves function words out (unless there are no others)."""
    if length < 1:
        raise InputError(f"Texts were to be cut at {length} words; it needs at least 1.")
    found = words(text, vocabulary.cutting)
    if content_only:
        found = [word for word in found if word not in FUNCTION_WORDS] or found
    kept = tuple(found[:length])
    return Prepared(kept, tuple(vocabulary.id_of(word) for word in kept))


def joined(vocabulary: Vocabulary, queries: Sequence[Prepared], documents: Sequence[Prepared]) -> Pairs:
    """B prepared queries and as many documents as one batch, each side padded to its longest (at least 1 wide)."""
    if not queries or len(queries) != len(documents):
        raise InputError(f"{len(queries)} queries came with {len(documents)} documents; each needs one, and some pair.")
    query = _rows([one.ids for one in queries])
    return Pairs(
        query,
        _rows([one.ids for one in documents]),
        vocabulary.idf_by_id[query],
        tuple(one.words for one in queries),
        tuple(one.words for one in documents),
    )


def pairs(
    vocabulary: Vocabulary,
    queries: Sequence[str],
    documents: Sequence[str],
    *,
    query_length: int,
    document_length: int,
    content_only: bool = False,
) -> Pairs:
    """Texts as one batch, cut at the lengths, padded to the longest; `content_only` is about the documents.

    InputError: no pair, another number of documents than of queries, or a length below 1.
    """
    return joined(
        vocabulary,
        [prepared(vocabulary, text, length=query_length) for text in queries],
        [prepared(vocabulary, text, length=document_length, content_only=content_only) for text in documents],
    )


def _rows(ids: Sequence[Sequence[int]]) -> Tensor:
    """Lists of ids as (B, longest), 0 behind them."""
    width = max(1, max(map(len, ids)))
    return torch.tensor([[*row, *[0] * (width - len(row))] for row in ids], dtype=torch.long)
