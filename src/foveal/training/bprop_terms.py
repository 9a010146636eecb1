"""The words that stand for a text, by one encoder's attention against a collection's: keywords, word sets, queries.

    terms = ContrastiveTerms.fit(texts, AttentionReader.load("minilm"))
    terms.of("The fovea is a pit of the retina …", k=5)        # Term("fovea", score, probability), the best first

P(t|D) of a text longer than the encoder's window is the mean over its windows, each by its share of the tokens; in the
random distribution each window counts as a text. The arithmetic is in bprop_sampling.py.
"""

from __future__ import annotations

import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

import numpy as np

from foveal.errors import InputError, UnknownName
from foveal.training.bprop_attention import AttentionReader
from foveal.training.bprop_sampling import (
    Choices,
    Contrast,
    Likelihood,
    Pair,
    RandomTerms,
    Sets,
    contrastive_choices,
    distribution,
    saturated,
    word_sets,
)
from foveal.training.examples import Examples

log = logging.getLogger("foveal.training")

METHODS = ("attention", "unigram")


class Term(NamedTuple):
    """A word of a text: c(t), and P(t|C) among all words of the text."""

    word: str
    score: float
    probability: float


@dataclass(frozen=True)
class ContrastiveTerms:
    """B-PROP's contrastive term distribution of any text, against one collection."""

    reader: AttentionReader
    random: RandomTerms
    contrast: Contrast = field(default_factory=Contrast)

    @classmethod
    def fit(cls, texts: Sequence[str], reader: AttentionReader, contrast: Contrast | None = None) -> ContrastiveTerms:
        """Against the collection of these texts. InputError: there is none."""
        made = cls(reader, RandomTerms(), contrast or Contrast())
        made.update(texts)
        if made.random.texts == 0:
            raise InputError("Contrastive terms got no text; they are told apart from those of a collection. Give it.")
        return made

    def update(self, texts: Sequence[str]) -> None:
        """Take more texts into the collection."""
        windows = [window for text in texts for window in self.reader.windows(text)]
        self.random.update(saturated(read.terms(), self.contrast) for read in self.reader.read(windows))

    def distributions(self, texts: Sequence[str]) -> list[dict[str, float]]:
        """P(t|D) of each text; of one without a word none, and a warning."""
        cut = [self.reader.windows(text) for text in texts]
        read = iter(self.reader.read([window for windows in cut for window in windows]))
        found: list[dict[str, float]] = []
        for windows in cut:
            parts = [next(read) for _ in windows]
            parts = [part for part in parts if part.words]
            every = sum(part.tokens for part in parts)
            summed: dict[str, float] = {}
            for part in parts:
                for word, share in distribution(part.terms(), self.contrast).items():
                    summed[word] = summed.get(word, 0.0) + share * part.tokens / every
            found.append(summed)
        _warn(found)
        return found

    def choices(self, texts: Sequence[str]) -> list[Choices]:
        """P(t|C) and c(t) of each text."""
        return [contrastive_choices(one, self.random, self.contrast) for one in self.distributions(texts)]

    def of(self, text: str, k: int | None = None, *, temperature: float | None = None) -> list[Term]:
        """The `k` words with the highest c(t) (None: all), stop words included; the same each time."""
        if k is not None and k < 1:
            raise InputError(f"The words of a text were asked for with k = {k}; it needs at least 1.")
        contrast = self.contrast if temperature is None else replace(self.contrast, temperature=temperature)
        choices = contrastive_choices(self.distributions([text])[0], self.random, contrast)
        order = sorted(range(len(choices.words)), key=lambda place: (-choices.scores[place], choices.words[place]))
        return [
            Term(choices.words[place], float(choices.scores[place]), float(choices.probabilities[place]))
            for place in order[:k]
        ]

    def word_sets(self, text: str, sets: Sets | None = None, *, seed: int = 0) -> list[Pair]:
        """Pairs of word sets of one text; the same for the same seed."""
        return word_sets(self.choices([text])[0], sets or Sets(), np.random.default_rng(seed))


def term_distribution(
    texts: Sequence[str], reader: AttentionReader, method: str = "attention"
) -> list[dict[str, float]]:
    """P(t|D) of each text: by attention (B-PROP), or the unigram model smoothed by these texts (PROP).

    UnknownName: no such method. InputError: no text has a word.
    """
    if method not in METHODS:
        raise UnknownName(f"No term distribution is called {method!r}. There are: {', '.join(METHODS)}.")
    if method == "attention":
        return ContrastiveTerms(reader, RandomTerms(), Contrast()).distributions(texts)
    words = reader.words(texts)
    likelihood = Likelihood.fit(words, others=0, threshold=None)
    rng = np.random.default_rng(0)  # of the other words, of which there are none
    found = [likelihood.choices(one, rng) for one in words]
    _warn([one.words for one in found])
    return [dict(zip(one.words, one.probabilities.tolist(), strict=True)) for one in found]


def word_set_examples(corpus: Mapping[str, str], pairs: Mapping[str, Sequence[Pair]]) -> Examples:
    """Examples for any trainer: the better set of each pair asks for its text. Sets that two texts got are left out.

    InputError: no text has a pair.
    """
    asked: dict[str, set[str]] = {}
    for document, found in pairs.items():
        for pair in found:
            asked.setdefault(" ".join(pair.better), set()).add(document)
    own = {query: documents.copy().pop() for query, documents in asked.items() if len(documents) == 1}
    if not own:
        raise InputError("No word set asks for one text alone, so there are no examples. Draw sets of longer texts.")
    queries = [(f"w{number}", query) for number, query in enumerate(own)]
    judged = [(f"w{number}", document, 1) for number, document in enumerate(own.values())]
    return Examples.gathered(queries, corpus.items(), judged, name="word sets")


def _warn(found: Sequence[object]) -> None:
    empty = sum(not one for one in found)
    if empty:
        log.warning("%d of %d texts have no word of letters, so no word stands for them.", empty, len(found))
