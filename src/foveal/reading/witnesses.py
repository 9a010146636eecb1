"""What speaks for a sentence beside the attention that it got: the question's words in it, and what it means.

Attention finds what answers in other words; it also looks much at short sentences that only name what the text is
about. Where a question's rare words stand is a second witness, and how like the question a sentence is in meaning
(likeness.py) a third; both cost little while a text is read. A sentence's words are scored as by BM25, with counts over
the sentences read. So a sentence is ranked by

    worth = sqrt(score) + `WORDS` words / best words + `MEANING` cosine

A find that is looked at much stays first, since the unit of a score is an even spread; of the many that are looked at a
little, those are kept that hold the question's words or mean what it asks. docs/reading.md has what was chosen by what.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

from foveal.evaluation.bm25 import idf
from foveal.reading.memory import Kept, in_order
from foveal.reading.skim import K1, B, content_words, held

WORDS, MEANING = 0.5, 2.0
"""What the most words add, and a cosine of 1."""

LEAST = 0.3
"""Cosine of a sentence that is kept though attention passed it over."""

CANDIDATES = 64
"""Sentences with the question's words that are remembered while the text goes by, and as many that are like it."""


@dataclass
class Witnesses:
    """Of a question: sentences and tokens read, sentences that hold each word, the best by words and by meaning."""

    sentences: int = 0
    tokens: int = 0
    holding: dict[str, int] = field(default_factory=dict)
    best: list[Kept] = field(default_factory=list)
    nearest: list[Kept] = field(default_factory=list)

    def copy(self) -> Witnesses:
        """These as they are now."""
        return replace(self, holding=dict(self.holding), best=list(self.best), nearest=list(self.nearest))

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
            if one.like >= LEAST:
                self.nearest.append(one)
        if len(self.best) > 4 * CANDIDATES or len(self.nearest) > 4 * CANDIDATES:
            self._prune(asked)

    def score(self, text: str, tokens: int, asked: set[str]) -> float:
        """BM25 of a sentence of `tokens`, each word counted once."""
        mean = self.tokens / max(1, self.sentences)
        norm = 1 + K1 * (1 - B + B * tokens / max(1.0, mean))
        rarity = (idf(self.sentences, self.holding.get(word, 0)) for word in held(text, asked))
        return sum(rarity) * (K1 + 1) / norm

    def lifted(self, question: str, kept: Iterable[Kept], *, words: bool = True) -> list[Kept]:
        """`kept` and the best candidates, each with its lift, in the order of the text; nothing if nothing was kept.

        Without `words` by meaning alone.
        """
        kept = list(kept)
        if not kept:
            return []
        asked = content_words(question)
        self._prune(asked)
        every = in_order([*kept, *(self.best if words else ()), *self.nearest])
        scores = [self.score(one.text, one.tokens, asked) for one in every]
        unit = WORDS / (max(scores) or 1.0) if words else 0.0
        return [
            replace(one, lift=unit * score + MEANING * max(0.0, one.like))
            for one, score in zip(every, scores, strict=True)
        ]

    def _prune(self, asked: set[str]) -> None:
        ranked = sorted(self.best, key=lambda one: (-self.score(one.text, one.tokens, asked), one.start))
        self.best = ranked[:CANDIDATES]
        self.nearest = sorted(self.nearest, key=lambda one: (-one.like, one.start))[:CANDIDATES]
