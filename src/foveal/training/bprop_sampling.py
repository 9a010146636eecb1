"""Which words stand for a text, and sets of them: B-PROP's contrastive distribution, and PROP's likelihood.

B-PROP    Ma et al., SIGIR 2021: a word stands for a text if an encoder looks at it there more than it does elsewhere
PROP      Ma et al., WSDM 2021: if the text's unigram model, smoothed by the collection's, gives it
Letters   a(t) attention that is paid to the word t of a text, over all of its places; g(t) = a / (a + b), since
          frequent words collect too much; P(t|D) = g(t) / sum of g; P(t|R) = E_D[g(t)] / sum, the random distribution;
          c(t) = min(-P(t|D) log2 P(t|R), 100); P(t|C) = softmax of c / T
Sets      two sets of as many words (Poisson) are drawn from P(t|C) without replacement; the one with the larger sum of
          c is the more representative one
Against   bprop_attention.py gives a(t); here is arithmetic over words only

The reference has T = 1, where P(t|C) is all but even, since c is some hundredths; and it takes P(t|R) = 2 for a word
that the collection lacks, which turns the sign of c. Here T = 0.02, and every word has a little mass in P(t|R).
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from foveal.errors import InputError, UnknownName
from foveal.evaluation.files import whole_file
from foveal.ranges import COUNT, NOT_NEGATIVE, POSITIVE, Range, require_settings

Floats = npt.NDArray[np.float64]
Weights = Mapping[str, float]
"""Word -> weight."""

SATURATIONS = ("fraction", "root", "sigmoid")
CONTRASTS = ("entropy", "difference")
UNITS = ("score", "deviation")
HIGHEST = 100.0
"""Of c(t)."""

LONGEST = 1000
"""Words of a set, on average, at most: queries have fewer, and a text hardly has as many."""

TRIES = 50
"""Draws of a pair that is to keep a margin, before it is given up."""

_STOP_WORDS = (
    "a about above after again against all also although am among an and any are as at be because been before "
    "being below between both but by can could did do does doing down during each either else few for from "
    "further had has have having he her here hers him his how however i if in into is it its itself just may me "
    "might more most must my neither no nor not now of off on once only or other our ours out over own same "
    "shall she should since so some such than that the their theirs them then there these they this those "
    "through thus to too under until up upon us very was we were what when where whether which while who whom "
    "whose why will with within without would yet you your yours"
)
STOP_WORDS = tuple(_STOP_WORDS.split())
"""English words that stand for no text. Another language: give its own."""


@dataclass(frozen=True, kw_only=True)
class Contrast:
    """From attention to P(t|C); checked when made."""

    saturation: str = "fraction"  # or "root": sqrt(a); "sigmoid": 1 / (1 + exp(-200 (a - 0.02)))
    b: float = 0.01  # attention at which a fraction is half of what it can be
    contrast: str = "entropy"  # or "difference": max(P(t|D) - P(t|R), 0), to which a temperature of 0.1 belongs
    temperature: float = 0.02  # infinite: every word is as likely
    unit: str = "score"  # of the temperature: c itself, or its standard "deviation" over the words of a text

    def __post_init__(self) -> None:
        if self.saturation not in SATURATIONS:
            raise UnknownName(f"No saturation is called {self.saturation!r}. There are: {', '.join(SATURATIONS)}.")
        if self.contrast not in CONTRASTS:
            raise UnknownName(f"No contrast is called {self.contrast!r}. There are: {', '.join(CONTRASTS)}.")
        if self.unit not in UNITS:
            raise UnknownName(f"No unit of temperature is called {self.unit!r}. There are: {', '.join(UNITS)}.")
        require_settings("The contrast", self, b=POSITIVE, temperature=Range(0, open_least=True, infinite=True))


@dataclass(frozen=True, kw_only=True)
class Sets:
    """How word sets are drawn; checked when made."""

    pairs: int = 10  # of a text
    length: float = 3.0  # words of a set, the mean of a Poisson distribution: near that of the queries to come
    margin: float = 0.0  # share of the better score by which the two must differ at least; else they are drawn again
    least: int = 10  # candidate words; a text with fewer gives no pair
    left_out: tuple[str, ...] = field(default=STOP_WORDS, repr=False)  # never drawn

    def __post_init__(self) -> None:
        require_settings(
            "Word sets", self, pairs=COUNT, length=Range(0, LONGEST, open_least=True), margin=NOT_NEGATIVE,
            least=COUNT,
        )  # fmt: skip


# -- from attention to c(t) ------------------------------------------------------------------------------------------


def saturated(attention: Weights, contrast: Contrast) -> dict[str, float]:
    """a(t) -> g(t)."""
    if contrast.saturation == "fraction":
        return {word: a / (a + contrast.b) for word, a in attention.items()}
    if contrast.saturation == "root":
        return {word: math.sqrt(a) for word, a in attention.items()}
    return {word: 1 / (1 + math.exp(-200 * (a - 0.02))) for word, a in attention.items()}


def distribution(attention: Weights, contrast: Contrast) -> dict[str, float]:
    """a(t) -> P(t|D)."""
    return normalised(saturated(attention, contrast))


def normalised(weights: Weights) -> dict[str, float]:
    """Weights that add up to 1; none of none, or where all are 0."""
    total = math.fsum(weights.values())
    return {word: weight / total for word, weight in weights.items()} if total > 0 else {}


class RandomTerms:
    """P(t|R): what a text of the collection looks like on the whole. It grows with the collection.

    A word that no text has gets `epsilon` beside the others' E_D[g]: (E + epsilon) / (sum + epsilon (V + 1)).
    """

    def __init__(self, sums: Weights | None = None, texts: int = 0, *, epsilon: float = 1e-6) -> None:
        if not epsilon > 0:
            raise InputError(f"The random distribution got epsilon={epsilon}; words that it lacks need one above 0.")
        self.sums, self.texts, self.epsilon = dict(sums or {}), texts, epsilon
        self._total = math.fsum(self.sums.values())

    @classmethod
    def fit(cls, saturations: Iterable[Weights], *, epsilon: float = 1e-6) -> RandomTerms:
        """Of the g(t) of each text. InputError: there is no text."""
        made = cls(epsilon=epsilon)
        made.update(saturations)
        if made.texts == 0:
            raise InputError("The random distribution got no text; it is a mean over a collection. Give its texts.")
        return made

    def update(self, saturations: Iterable[Weights]) -> None:
        """Take in more texts: the same as if they had been there from the beginning."""
        for weights in saturations:
            self.texts += 1
            for word, weight in weights.items():
                self.sums[word] = self.sums.get(word, 0.0) + weight
        self._total = math.fsum(self.sums.values())

    def probability(self, word: str) -> float:
        """P(t|R), above 0."""
        texts = max(1, self.texts)
        mass = self._total / texts + self.epsilon * (len(self.sums) + 1)
        return (self.sums.get(word, 0.0) / texts + self.epsilon) / mass

    def save(self, path: Path) -> None:
        """Write it as JSON, whole or not at all."""
        content = {"texts": self.texts, "epsilon": self.epsilon, "sums": self.sums}
        with whole_file(path) as partial:
            partial.write_text(json.dumps(content, ensure_ascii=False), encoding="utf-8")

    @classmethod
    def load(cls, path: Path) -> RandomTerms:
        """Read what `save` wrote. InputError: it is something else."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            sums = {str(word): float(value) for word, value in content["sums"].items()}
            return cls(sums, int(content["texts"]), epsilon=float(content["epsilon"]))
        except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
            raise InputError(f"{path} holds no random term distribution ({error}). Fit and save it anew.") from error


def contrasted(document: Weights, random: RandomTerms, contrast: Contrast) -> dict[str, float]:
    """P(t|D) -> c(t)."""
    if contrast.contrast == "difference":
        return {word: max(p - random.probability(word), 0.0) for word, p in document.items()}
    return {word: min(-p * math.log2(random.probability(word)), HIGHEST) for word, p in document.items()}


# -- candidates, and sets of them ------------------------------------------------------------------------------------


class Choices(NamedTuple):
    """The words of a text that may be drawn, how likely each is, and what it adds to the score of its set."""

    words: tuple[str, ...]
    probabilities: Floats  # sum 1
    scores: Floats

    def without(self, left_out: Iterable[str]) -> Choices:
        """The others; their probabilities add up to 1 again."""
        unwanted = frozenset(left_out)
        kept = np.array([word not in unwanted for word in self.words], dtype=bool)
        mass = self.probabilities[kept].sum()
        if not mass > 0:
            return Choices((), np.empty(0), np.empty(0))
        words = tuple(word for word, stays in zip(self.words, kept, strict=True) if stays)
        return Choices(words, self.probabilities[kept] / mass, self.scores[kept])


class Pair(NamedTuple):
    """Two word sets of one text: the more representative one, and the other."""

    better: tuple[str, ...]
    worse: tuple[str, ...]
    better_score: float
    worse_score: float


def contrastive_choices(document: Weights, random: RandomTerms, contrast: Contrast | None = None) -> Choices:
    """B-PROP's: P(t|C) and c(t) of the words of P(t|D); none of none."""
    contrast = contrast or Contrast()
    scores = contrasted(document, random, contrast)
    values = np.array(list(scores.values()), dtype=np.float64)
    if not len(values):
        return Choices((), values, values)
    temperature = contrast.temperature
    if contrast.unit == "deviation":  # words that are all alike have none: then all are as likely
        temperature *= values.std() or math.inf
    raised = np.exp((values - values.max()) / temperature)
    return Choices(tuple(scores), raised / raised.sum(), values)


@dataclass(frozen=True)
class Likelihood:
    """PROP's: P(t|D) = (tf + mu P(t|collection)) / (|D| + mu), a set's score the sum of log P(t|D)."""

    frequencies: Weights  # word -> share of the collection's words; they add up to 1
    mu: float  # a text's mean length, in words
    others: int = 500  # words of the collection, drawn by their frequency, that may be drawn beside the text's own
    threshold: float | None = 1e-3  # share from which on a frequent word is drawn less, as in word2vec; None: never

    @classmethod
    def fit(cls, texts: Iterable[Sequence[str]], *, others: int = 500, threshold: float | None = 1e-3) -> Likelihood:
        """Of the words of each text, in order. InputError: there is no word."""
        counts: dict[str, float] = {}
        number = 0
        for words in texts:
            number += 1
            for word in words:
                counts[word] = counts.get(word, 0) + 1
        if not counts:
            raise InputError("PROP's likelihood got a collection without words. Give texts.")
        return cls(normalised(counts), sum(counts.values()) / number, others, threshold)

    def choices(self, words: Sequence[str], rng: np.random.Generator) -> Choices:
        """The words of a text in order -> what may be drawn for it, `others` included; none of none."""
        if not words:
            return Choices((), np.empty(0), np.empty(0))
        counts: dict[str, float] = dict.fromkeys(self._drawn(rng), 0.0)
        for word in words:
            counts[word] = counts.get(word, 0.0) + 1
        frequencies = np.array([self.frequencies.get(word, 0.0) for word in counts])
        likely = (np.array(list(counts.values())) + self.mu * frequencies) / (len(words) + self.mu)
        drawn = likely * self._kept(frequencies)
        return Choices(tuple(counts), drawn / drawn.sum(), np.log(likely))

    def _drawn(self, rng: np.random.Generator) -> list[str]:
        names, shares = self._collection
        return [names[place] for place in _without_replacement(shares, min(self.others, len(names)), rng)]

    @cached_property
    def _collection(self) -> tuple[list[str], Floats]:
        return list(self.frequencies), np.array(list(self.frequencies.values()))

    def _kept(self, frequencies: Floats) -> Floats:
        """Probability that a word is not passed over."""
        if self.threshold is None:
            return np.ones_like(frequencies)
        ratio = self.threshold / np.maximum(frequencies, 1e-12)
        return np.minimum(1.0, np.sqrt(ratio) + ratio)


def word_sets(choices: Choices, sets: Sets, rng: np.random.Generator) -> list[Pair]:
    """At most `sets.pairs` pairs; two sets that are equal, or score the same, make none. None of too few candidates."""
    candidates = choices.without(sets.left_out)
    if len(candidates.words) < sets.least:
        return []
    tries = TRIES if sets.margin else 1
    found = []
    for _ in range(sets.pairs):
        drawn = (_pair(candidates, sets, rng) for _ in range(tries))
        pair = next((pair for pair in drawn if pair is not None), None)
        if pair is not None:
            found.append(pair)
    return found


def _pair(candidates: Choices, sets: Sets, rng: np.random.Generator) -> Pair | None:
    length = _length(sets.length, rng)
    drawn = [_drawn_set(candidates, length, rng) for _ in range(2)]
    scores = [float(candidates.scores[places].sum()) for places in drawn]
    worse, better = sorted((0, 1), key=scores.__getitem__)
    rise = scores[better] - scores[worse]
    if rise == 0 or rise < sets.margin * abs(scores[better]) or sorted(drawn[0]) == sorted(drawn[1]):
        return None
    words = [tuple(candidates.words[place] for place in places) for places in drawn]
    return Pair(words[better], words[worse], scores[better], scores[worse])


def _length(mean: float, rng: np.random.Generator) -> int:
    """Poisson, above 0. A tiny mean would be drawn again for ever: 1 is then what nearly all draws give."""
    for _ in range(1000):
        length = int(rng.poisson(mean))
        if length > 0:
            return length
    return 1


def _drawn_set(choices: Choices, length: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    if len(choices.words) <= length:
        return rng.choice(len(choices.words), length, p=choices.probabilities)
    return _without_replacement(choices.probabilities, length, rng)


def _without_replacement(weights: Floats, count: int, rng: np.random.Generator) -> npt.NDArray[np.intp]:
    """`count` places, one after the other by the weights of those that are left: the least of exponential clocks."""
    with np.errstate(divide="ignore"):  # a weight that underflowed to 0 never rings
        clocks = rng.exponential(size=len(weights)) / weights
    early = np.arange(len(clocks))
    if 0 < count < len(clocks):  # few of a whole collection's words: the others need no order
        early = np.flatnonzero(clocks <= np.partition(clocks, count - 1)[count - 1])
    return early[np.argsort(clocks[early], kind="stable")][:count]
