"""TF-IDF of the character n-grams within words: a measure of likeness that needs no model, for any script.

    known = CharacterTfIdf.fit(texts)                          # texts as lists of words
    a, b = known.rows([words_of_headline]), known.rows([words_of_article])
    a.dot(b, here, there)                                      # cosines, since rows have unit length

Gram      each run of 2 to 5 characters of a word with a space before and behind it; by choice also runs of words
Weight    count · (ln((1 + N) / (1 + n)) + 1), n of the N texts have the gram; rows are scaled to unit length
Kept      grams of at least `least` texts, at most the `most` that most texts have
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from functools import cached_property

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError
from foveal.training.sparse_rows import SparseRows

SHORTEST, LONGEST = 2, 5
LONG_WORD = 64
"""Characters of a word that count; what is longer (an address, a text without spaces) would have as many grams."""

RUN = "\x1f"
"""Stands before a run of words, where no word has it."""

KNOWN_WORDS = 200_000
"""Words whose grams are remembered: looking them up is most of the work."""

Ints = npt.NDArray[np.int64]


@dataclass(frozen=True, kw_only=True)
class GramSettings:
    """Which grams are kept."""

    shortest: int = SHORTEST
    longest: int = LONGEST
    words: int = 0  # runs of up to so many words are grams, too: 2 gives words and pairs
    least: int = 2
    most: int = 50_000

    def __post_init__(self) -> None:
        if not 1 <= self.shortest <= self.longest or min(self.least, self.most) < 1 or self.words < 0:
            raise InputError(f"{self} needs 1 <= shortest <= longest, and at least 1 of least and most.")


def units_of(words: Sequence[str], settings: GramSettings) -> list[str]:
    """The words, and marked by `RUN` the runs of words that count."""
    runs = [
        RUN + " ".join(words[at : at + size])
        for size in range(1, settings.words + 1)
        for at in range(len(words) - size + 1)
    ]
    return [*words, *runs]


def grams_of(word: str, settings: GramSettings) -> list[str]:
    """The grams of a word, as often as they come; a run of words is one gram."""
    if word.startswith(RUN):
        return [word]
    padded = f" {word[:LONG_WORD]} "
    sizes = range(settings.shortest, settings.longest + 1)
    return [padded[at : at + size] for size in sizes for at in range(len(padded) - size + 1)]


@dataclass(frozen=True, eq=False)
class CharacterTfIdf:
    """The grams that count, with their weights."""

    grams: tuple[str, ...]
    weights: npt.NDArray[np.float32]
    settings: GramSettings = field(default_factory=GramSettings)

    @cached_property
    def _place(self) -> dict[str, int]:
        return {gram: at for at, gram in enumerate(self.grams)}

    @cached_property
    def _known(self) -> dict[str, Ints]:
        return {}  # word -> its grams that are known

    @classmethod
    def fit(cls, texts: Iterable[Sequence[str]], settings: GramSettings | None = None) -> CharacterTfIdf:
        """From texts as lists of words. InputError: no text has a word."""
        settings = settings or GramSettings()
        number: dict[str, int] = {}
        held: dict[str, Ints] = {}
        counts = np.zeros(1024, dtype=np.int64)
        total = 0
        for words in texts:
            total += 1
            rows = []
            for word in set(units_of(words, settings)):
                if word not in held:
                    ids = {number.setdefault(gram, len(number)) for gram in grams_of(word, settings)}
                    held[word] = np.fromiter(ids, np.int64)
                rows.append(held[word])
            if len(number) > len(counts):
                counts = np.concatenate([counts, np.zeros(len(number) + len(counts), dtype=np.int64)])
            if rows:
                counts[np.unique(np.concatenate(rows))] += 1
        names = list(number)
        seen = counts[: len(names)]
        kept = np.flatnonzero(seen >= min(settings.least, total))
        if not len(kept):
            raise InputError("A vocabulary was to be learnt from texts without a word. Give texts.")
        order = sorted(kept.tolist(), key=lambda at: (-int(seen[at]), names[at]))[: settings.most]
        weights = np.log((1 + total) / (1 + seen[order])) + 1
        return cls(tuple(names[at] for at in order), weights.astype(np.float32), settings)

    @property
    def fingerprint(self) -> str:
        """SHA-256 over what decides a row."""
        named = "\0".join(self.grams).encode("utf-8", "surrogatepass")
        return hashlib.sha256(named + self.weights.tobytes()).hexdigest()

    def rows(self, texts: Iterable[Sequence[str]]) -> SparseRows:
        """A row of unit length for each text; all 0 where no gram is known."""
        return SparseRows.of([self._row(words) for words in texts], len(self.grams))

    def _row(self, words: Sequence[str]) -> tuple[Ints, npt.NDArray[np.float32]]:
        counts = Counter(units_of(words, self.settings))
        parts = [self._ids(word) for word in counts]
        if not any(map(len, parts)):
            return np.zeros(0, np.int64), np.zeros(0, np.float32)
        times = np.repeat(np.fromiter(counts.values(), np.float64), [len(part) for part in parts])
        columns, back = np.unique(np.concatenate(parts), return_inverse=True)
        values = np.bincount(back, times) * self.weights[columns]
        return columns, (values / np.sqrt(values @ values)).astype(np.float32)

    def _ids(self, word: str) -> Ints:
        known = self._known
        if word not in known:
            found = (self._place.get(gram, -1) for gram in grams_of(word, self.settings))
            ids = np.fromiter((at for at in found if at >= 0), np.int64)
            if len(known) >= KNOWN_WORDS:
                return ids
            known[word] = ids
        return known[word]
