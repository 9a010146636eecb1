"""How near texts are to a question in meaning: which sentences answer it, whether a library holds an answer at all.

The best of a search is near the question in a library that holds the answer and in one that does not; how near, tells
them apart (docs/ask.md has how well). A passage speaks of several things, so its sentences are asked one by one.

Shapes    vectors of unit length; a likeness is a cosine, which means something for one encoder alone
"""

from __future__ import annotations

import logging
import math
from collections.abc import Sequence
from functools import lru_cache
from pathlib import Path

import numpy as np

from foveal.errors import FovealError
from foveal.evaluation.scripts import script_of
from foveal.text.units import sentences
from foveal.types import Encoder

LIKE = 0.45
"""Below it the encoder `KNOWN` finds next to no answer."""

log = logging.getLogger("foveal.reading")

KNOWN = "minilm"
"""The encoder whose cosines were looked at; of another one's nothing is known."""

MIDDLE, STEEP = 0.574, 18.2
"""A logistic curve through the likeness of questions that a library holds the answer to, and of as many others."""

LOOKED_AT = 3.0
"""Score of a find that may answer though it is not like the question; what answers nothing seldom has more."""

MOST = 96
"""Sentences that are compared."""


def known_encoder(home: Path | None = None) -> Encoder | None:
    """The encoder `KNOWN`, if this machine has it."""
    from foveal.models import load_encoder

    try:
        return load_encoder(KNOWN, home=home)
    except FovealError as error:
        log.info("The encoder %s is not at hand, and what it would tell is not asked for: %s", KNOWN, error)
        return None


def is_readable(text: str) -> bool:
    """Whether `KNOWN` reads it: what letters it has are Latin ones."""
    return text.isascii() or script_of(text) in ("LATIN", "")


class Meaning:
    """How like questions texts are, sentence by sentence. Threads may share it."""

    def __init__(self, encoder: Encoder) -> None:
        self.encoder = encoder
        self._vector = lru_cache(64)(self._of)

    def cosines(self, questions: Sequence[str], texts: Sequence[str]) -> np.ndarray:
        """(questions, texts), float32; 0 for what is not in Latin letters, which `KNOWN` does not read."""
        found = np.zeros((len(questions), len(texts)), dtype=np.float32)
        rows = [place for place, one in enumerate(questions) if is_readable(one)]
        columns = [place for place, one in enumerate(texts) if is_readable(one)]
        if rows and columns:
            asked = np.stack([self._vector(questions[place]) for place in rows])
            vectors = self.encoder.encode([texts[place].strip() for place in columns])
            found[np.ix_(rows, columns)] = asked @ vectors.T
        return found

    def _of(self, question: str) -> np.ndarray:
        vector: np.ndarray = self.encoder.encode([question])[0]
        return vector


def likeness(question: str, passages: Sequence[str], encoder: Encoder | None) -> float | None:
    """The largest cosine of a sentence of the passages, best first, with the question; None: not known."""
    texts = [text[start:end].strip() for text in passages for start, end in sentences(text)]
    texts = list(dict.fromkeys(text for text in texts if text and is_readable(text)))[:MOST]
    if not texts or encoder is None or encoder.name != KNOWN or not is_readable(question):
        return None
    asked, *vectors = encoder.encode([question, *texts])
    return max(float(vector @ asked) for vector in vectors)


def nothing_answers(nearest: float, looked_at: float, least: float = LIKE) -> bool:
    """Whether a text, by the likeness of its nearest sentence and the best score, holds no answer.

    A small model, asked, would say something all the same. False where the likeness is not known, which is then 0; that
    of a short text may be below it.
    """
    return nearest != 0 and nearest < least and looked_at < LOOKED_AT


def held_share(like: float) -> float:
    """Of questions with such a likeness, the share whose answer is there, if every second one's is."""
    return 1 / (1 + math.exp(-STEEP * (like - MIDDLE)))
