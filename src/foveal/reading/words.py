"""The question's words in the sentences that went by: they lift what is kept, beside the attention that chose it.

Attention finds what answers in other words; where a question's rare words stand is a second witness, which costs
nothing more while a text is read. A sentence's words are scored as by BM25, with counts over the sentences read, and
lift it by at most `SHARE` of the best find's score. So what is looked at much stays first, and of the many that are
looked at a little those with the question's words are kept; some are kept that attention passed over.
"""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from foveal.reading.memory import Kept, in_order
from foveal.reading.skim import K1, B, content_words, held

SHARE = 0.25
"""Most that words add, as a share of the best find's score (docs/reading.md has what it was chosen by)."""

CANDIDATES = 64
"""Sentences with the question's words that are remembered while the text goes by."""


@dataclass
class Words:
    """What is known of a question's words: sentences and tokens read, sentences that hold each word, the best ones."""

    sentences: int = 0
    tokens: int = 0
    holding: dict[str, int] = field(default_factory=dict)
    best: list[Kept] = field(default_factory=list)

    def copy(self) -> Words:
        """These as they are now."""
        return replace(self, holding=dict(self.holding), best=list(self.best))

    def add(self, question: str, kept: Iterable[Kept]) -> None:
        """Take note of sentences that were read, kept or not."""
        asked = content_words(question)
        for one in kept:
            found = held(one.text, asked)
            self.sentences += 1
            self.tokens += one.tokens
            for word in found:
                self.holding[word] = self.holding.get(word, 0) + 1
            if found:
                self.best.append(one)
        if len(self.best) > 4 * CANDIDATES:
            self._prune(asked)

    def score(self, text: str, tokens: int, asked: set[str]) -> float:
        """BM25 of a sentence of `tokens`, each word counted once."""
        mean = self.tokens / max(1, self.sentences)
        norm = 1 + K1 * (1 - B + B * tokens / max(1.0, mean))
        return sum(self._weight(word) for word in held(text, asked)) * (K1 + 1) / norm

    def lifted(self, question: str, kept: Iterable[Kept]) -> list[Kept]:
        """`kept` and the best by words, each with its lift, in the order of the text; nothing if nothing was kept."""
        kept = list(kept)
        if not kept:
            return []
        asked = content_words(question)
        self._prune(asked)
        every = in_order([*kept, *self.best])
        scores = [self.score(one.text, one.tokens, asked) for one in every]
        unit = SHARE * max(one.score for one in kept) / (max(scores) or 1.0)
        return [replace(one, lift=unit * score) for one, score in zip(every, scores, strict=True)]

    def _weight(self, word: str) -> float:
        count = self.holding.get(word, 0)
        return math.log(1 + (self.sentences - count + 0.5) / (count + 0.5))

    def _prune(self, asked: set[str]) -> None:
        ranked = sorted(self.best, key=lambda one: (-self.score(one.text, one.tokens, asked), one.start))
        self.best = ranked[:CANDIDATES]
