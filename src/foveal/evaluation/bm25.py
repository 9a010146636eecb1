"""What all that weighs words by BM25 in Lucene's form shares (Robertson and Zaragoza, 2009).

A word that a text holds tf times adds idf · tf / (tf + norm) to its score; norm grows with the text's length.
"""

from __future__ import annotations

import math
from typing import TypeVar

import numpy as np
import numpy.typing as npt

Lengths = TypeVar("Lengths", float, npt.NDArray[np.float64])

K1, B = 1.5, 0.75


def idf(texts: int, holding: int) -> float:
    """How much a word tells that `holding` of so many texts hold: ln(1 + (N - n + 0.5) / (n + 0.5))."""
    return math.log(1 + (texts - holding + 0.5) / (holding + 0.5))


def norm(lengths: Lengths, mean: float) -> Lengths:
    """Of one text or several, of so many words each; `mean` is that of all."""
    return K1 * (1 - B + B * lengths / mean)
