"""How near passages are to a question in meaning: whether a library holds an answer at all.

The best of a search is near the question in a library that holds the answer and in one that does not; how near, tells
them apart (docs/ask.md has how well). A passage speaks of several things, so its sentences are asked one by one.

Shapes    vectors of unit length; a likeness is a cosine, which means something for one encoder alone
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from foveal.text.units import sentences
from foveal.types import Encoder

LIKE = 0.45
"""Below it the encoder `KNOWN` finds next to no answer."""

KNOWN = "minilm"
"""The encoder whose cosines were looked at; of another one's nothing is known."""

MIDDLE, STEEP = 0.574, 18.2
"""A logistic curve through the likeness of questions that a library holds the answer to, and of as many others."""

MOST = 96
"""Sentences that are compared."""


def likeness(question: str, passages: Sequence[str], encoder: Encoder | None) -> float | None:
    """The largest cosine of a sentence of the passages, best first, with the question; None: not known."""
    texts = [text[start:end].strip() for text in passages for start, end in sentences(text)]
    texts = list(dict.fromkeys(text for text in texts if text))[:MOST]
    if not texts or encoder is None or encoder.name != KNOWN:
        return None
    asked, *vectors = encoder.encode([question, *texts])
    return max(float(vector @ asked) for vector in vectors)


def held_share(like: float) -> float:
    """Of questions with such a likeness, the share whose answer is there, if every second one's is."""
    return 1 / (1 + math.exp(-STEEP * (like - MIDDLE)))
