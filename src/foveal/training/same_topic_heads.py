"""Heads that say whether two paragraphs stand in one section: log-odds from frozen vectors, topics, layout, or a model.

    head.score(read, distance)        # (n - distance,): of paragraphs i and i + distance, above 0 "the same"

vectors    logistic regression on [|u - v|; u * v; u; v] of the encoder's vectors u, v
topics     p and q, what a classifier of topics says of both; P(same) = sum of p q, the chance that two draws agree
layout     logistic regression on how the two are written: list items, numbers that go on, lead-ins, lengths
bi         as `vectors`, over an encoder that was fine-tuned for it
cross      one model reads both (Ro-CLS of the paper)

Shapes     vectors (n, d) of the paragraphs of one text -> scores (n - distance,), float32
Source     Aumiller et al., "Structural Text Segmentation of Legal Documents", ICAIL 2021: cross- and bi-encoder; the
           frozen heads are ours
Speed      whatever the number of heads over one encoder, each paragraph is encoded once (`Paragraphs`)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np
from numpy.typing import NDArray

from foveal.types import Encoder

Floats = NDArray[np.float32]
Arrays = Mapping[str, Floats]

LONGEST = 4096
"""Characters of a paragraph that are read: more than an encoder's window holds, and little of a paragraph of 10 MB."""


@dataclass(frozen=True)
class Paragraphs:
    """The paragraphs of one text, as they are read, and their vectors by the fingerprint of the encoder."""

    texts: Sequence[str]
    known: dict[str, Floats] = field(default_factory=dict)

    def vectors(self, encoder: Encoder) -> Floats:
        """Unit vectors (n, d), made once."""
        if encoder.fingerprint not in self.known:
            empty = np.zeros((0, encoder.dimension), np.float32)
            self.known[encoder.fingerprint] = encoder.encode(self.beginnings) if self.texts else empty
        return self.known[encoder.fingerprint]

    @property
    def beginnings(self) -> list[str]:
        """The texts, each cut to LONGEST characters."""
        return [text[:LONGEST] for text in self.texts]


class Head(Protocol):
    """One opinion; `far` says whether it is of use for paragraphs that do not follow each other at once."""

    @property
    def kind(self) -> str: ...
    @property
    def far(self) -> bool: ...
    def score(self, read: Paragraphs, distance: int) -> Floats: ...
    def arrays(self) -> Arrays: ...


def pair_features(left: Floats, right: Floats) -> Floats:
    """[|u - v|; u * v; u; v] of vectors (m, d) and (m, d): (m, 4d)."""
    return np.concatenate([np.abs(left - right), left * right, left, right], axis=1)


@dataclass(frozen=True)
class VectorHead:
    """Logistic regression on `pair_features`; `weights` (4d,)."""

    encoder: Encoder
    weights: Floats
    bias: float
    kind: str = "vectors"
    far: bool = True
    folder: Path | None = None  # of a fine-tuned encoder ("bi")

    def score(self, read: Paragraphs, distance: int) -> Floats:
        """Log-odds (n - distance,), without ever holding (n, 4d)."""
        vectors = read.vectors(self.encoder)
        left, right = vectors[:-distance], vectors[distance:]
        apart, product, first, second = np.split(self.weights, 4)
        made: Floats = np.abs(left - right) @ apart + (left * right) @ product + left @ first + right @ second
        return made + np.float32(self.bias)

    def arrays(self) -> Arrays:
        """What is saved."""
        return {"weights": self.weights, "bias": np.array([self.bias], dtype=np.float32)}


@dataclass(frozen=True)
class TopicHead:
    """A softmax classifier of topics, `weights` (T, d), `biases` (T,); paragraphs are compared by what it says."""

    encoder: Encoder
    weights: Floats
    biases: Floats
    topics: tuple[str, ...] = ()
    kind: str = "topics"
    far: bool = True

    def posteriors(self, read: Paragraphs) -> Floats:
        """P(topic | paragraph), (n, T)."""
        logits = read.vectors(self.encoder) @ self.weights.T + self.biases
        powers = np.exp(logits - logits.max(axis=1, keepdims=True, initial=-np.inf))
        made: Floats = (powers / powers.sum(axis=1, keepdims=True)).astype(np.float32)
        return made

    def score(self, read: Paragraphs, distance: int) -> Floats:
        """Log-odds (n - distance,) that draws from the two distributions agree."""
        said = self.posteriors(read)
        agree = np.einsum("nt,nt->n", said[:-distance], said[distance:]).clip(1e-6, 1 - 1e-6)
        made: Floats = (np.log(agree) - np.log1p(-agree)).astype(np.float32)
        return made

    def arrays(self) -> Arrays:
        """What is saved."""
        return {"weights": self.weights, "biases": self.biases}


@dataclass(frozen=True)
class LayoutHead:
    """Logistic regression on `layout_features`; `weights` (len(LAYOUT),)."""

    weights: Floats
    bias: float
    kind: str = "layout"
    far: bool = False

    def score(self, read: Paragraphs, distance: int) -> Floats:
        """Log-odds (n - distance,)."""
        made: Floats = layout_features(read.texts[:-distance], read.texts[distance:]) @ self.weights
        return made + np.float32(self.bias)

    def arrays(self) -> Arrays:
        """What is saved."""
        return {"weights": self.weights, "bias": np.array([self.bias], dtype=np.float32)}


@dataclass(frozen=True)
class CrossHead:
    """A cross-encoder's score of (left, right), read together; `folder` holds the model, where it was saved."""

    scorer: Callable[[Sequence[tuple[str, str]]], Sequence[float]]
    folder: Path | None = None
    kind: str = "cross"
    far: bool = False

    def score(self, read: Paragraphs, distance: int) -> Floats:
        """Log-odds (n - distance,); a real pair of segments is given, never one string with a separator in it."""
        texts = read.beginnings
        pairs = list(zip(texts[:-distance], texts[distance:], strict=True))
        return np.array(self.scorer(pairs), dtype=np.float32) if pairs else np.zeros(0, np.float32)

    def arrays(self) -> Arrays:
        """Nothing: its weights lie in the model's own folder."""
        return {}


def gap_scores(head: Head, read: Paragraphs, reach: int) -> Floats:
    """For each gap (n - 1,) the head's opinion: the mean over all pairs at most `reach` apart with the gap between.

    A pair counts by 1 / its distance. Heads that know neighbours only look at the two beside the gap.
    """
    count = len(read.texts)
    total, weight = np.zeros(max(0, count - 1)), np.zeros(max(0, count - 1))
    for distance in range(1, (min(reach, count - 1) if head.far else min(1, count - 1)) + 1):
        scores = head.score(read, distance)
        for first in range(distance):  # the pair (i, i + distance) spans the gaps i to i + distance - 1
            total[first : first + len(scores)] += scores / distance
            weight[first : first + len(scores)] += 1 / distance
    made: Floats = (total / np.maximum(weight, 1e-12)).astype(np.float32)
    return made


# -- layout -----------------------------------------------------------------------------------------------------------

_ITEM = re.compile(r"\s*(?:[-*+•‣◦–]|\(?\d{1,3}[.)]|\(?[a-zA-Z]{1,4}[.)])\s")
_NUMBER = re.compile(r"\s*(?:section|article|clause|§)?\s*\(?(\d{1,3}(?:\.\d{1,3})*)[.)]?(?=\s)", re.IGNORECASE)
_CONNECTIVE = re.compile(
    r"\W*(?:in addition|additionally|furthermore|moreover|however|such|this|these|those|they|it|also|if|where|provided"
    r"|notwithstanding|for example|likewise|similarly|therefore|accordingly|otherwise|and|or|but)\b",
    re.IGNORECASE,
)
_TITLED = re.compile(
    r"\s*(?:\*\*|__)?[\d.()\s]*[A-Z][\w’'/&-]*(?:\s+[\w’'/&,-]+){0,6}(?:\*\*|__)?[.:–-](?:\*\*|__)?\s+\S"
)
_WORDS = re.compile(r"[^\W\d_]{4,}")

LAYOUT = (
    "left ends with a colon", "left ends without a mark", "left ends with a comma or semicolon",
    "right begins small", "right is an item", "left is an item", "both are items", "right begins with a connective",
    "right begins with a title", "left begins with a title", "number goes on", "number of the first order changes",
    "number of a higher order", "words of left", "words of right", "left is short", "right is short", "shared words",
)  # fmt: skip
"""What `layout_features` tells, in order."""


def layout_features(left: Sequence[str], right: Sequence[str]) -> Floats:
    """How each of the pairs is written, (m, len(LAYOUT)), in numbers from about -1 to 1."""
    rows = [_layout(a[:LONGEST], b[:LONGEST]) for a, b in zip(left, right, strict=True)]
    return np.array(rows, dtype=np.float32).reshape(len(rows), len(LAYOUT))


def _layout(left: str, right: str) -> list[float]:
    end, (items_left, items_right) = left.rstrip()[-1:], (bool(_ITEM.match(left)), bool(_ITEM.match(right)))
    before, after = _number(left), _number(right)
    long_left, long_right = (min(1.0, np.log1p(len(text.split())) / 6) for text in (left, right))
    return [
        end == ":",
        end.isalnum(),
        end in (",", ";"),
        right.lstrip()[:1].islower(),
        items_right,
        items_left,
        items_left and items_right,
        bool(_CONNECTIVE.match(right)),
        bool(_TITLED.match(right)),
        bool(_TITLED.match(left)),
        _goes_on(before, after),
        bool(before and after and before[0] != after[0]),
        bool(after and len(after) < len(before or after)),
        long_left,
        long_right,
        long_left < 0.35,
        long_right < 0.35,
        _shared(left, right),
    ]


def _number(text: str) -> tuple[int, ...]:
    found = _NUMBER.match(text)
    return tuple(map(int, found[1].split("."))) if found else ()


def _goes_on(before: tuple[int, ...], after: tuple[int, ...]) -> bool:
    """Whether 2.3 is followed by 2.4 or 2.3.1."""
    if not before or not after:
        return False
    return after == (*before[:-1], before[-1] + 1) or after == (*before, 1)


def _shared(left: str, right: str) -> float:
    one, other = ({word[:6] for word in _WORDS.findall(text.lower())} for text in (left, right))
    return len(one & other) / max(1, min(len(one), len(other)))
