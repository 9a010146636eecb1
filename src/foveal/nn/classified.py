"""What a text classifier says of a text: its class, how sure that is, and where each head looked.

    found.label, found.share            "cs.CL", 0.91
    found.best(5)                       the words that were looked at most, the same words taken together
    found.strengths()                   for each word 0 to 4, for a page that shades them

That a word was looked at is no proof that it decided: `foveal bench layers-lama` takes such words away and sees what
falls.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True, eq=False)
class Classified:
    """A text's class. `weights` (m, n): of each head the shares of its n words, which add up to 1."""

    text: str
    classes: tuple[str, ...]
    shares: tuple[float, ...]  # of the classes, adding up to 1
    spans: tuple[tuple[int, int], ...]  # of the words that were read
    weights: Floats

    @property
    def label(self) -> str:
        """The likeliest class."""
        return self.ranked(1)[0][0]

    @property
    def share(self) -> float:
        """How likely that is."""
        return self.ranked(1)[0][1]

    @property
    def rating(self) -> float | None:
        """Where all classes are numbers: the one in the middle of what is likely, which errs least; else None."""
        values = numbers_of(self.classes)
        if values is None:
            return None
        order = np.argsort(values)
        middle = int(np.searchsorted(np.cumsum(np.asarray(self.shares)[order]), 0.5))
        return values[int(order[min(middle, len(order) - 1)])]

    @property
    def of_words(self) -> Floats:
        """(n,): the mean of the heads, times n: 1 is what an even look would give each word."""
        found: Floats = self.weights.mean(0) * len(self.spans)
        return found

    def ranked(self, count: int | None = None) -> list[tuple[str, float]]:
        """Classes and their shares, the likeliest first."""
        pairs = sorted(zip(self.classes, self.shares, strict=True), key=lambda pair: -pair[1])
        return pairs[:count]

    def best(self, count: int = 5, *, head: int | None = None) -> list[tuple[str, float]]:
        """The words that got the greatest shares, of one head or of all; marks alone are left out."""
        shares = self.weights.mean(0) if head is None else self.weights[head]
        found: dict[str, float] = {}
        for (start, end), share in zip(self.spans, shares.tolist(), strict=True):
            word = self.text[start:end].lower()
            if word.isalnum() or len(word) > 1:
                found[word] = found.get(word, 0.0) + share
        return sorted(found.items(), key=lambda pair: -pair[1])[:count]

    def strengths(self) -> list[int]:
        """For each word 0 to 4: how far above an even look it got, on a scale of logarithms."""
        return [int(min(4, max(0, round(1.4 * float(np.log2(max(one, 1e-6))))))) for one in self.of_words]

    def as_json(self) -> dict[str, Any]:
        """Plain values."""
        words = [
            {"start": start, "end": end, "text": self.text[start:end], "weight": round(float(one), 4)}
            for (start, end), one in zip(self.spans, self.of_words, strict=True)
        ]
        shares = {name: round(share, 6) for name, share in self.ranked()}
        heads = np.round(self.weights.astype(np.float64), 6).tolist()  # of float32 it would write all its digits
        return {"label": self.label, "shares": shares, "words": words, "heads": heads}


def numbers_of(classes: tuple[str, ...] | list[str]) -> list[float] | None:
    """The classes as numbers, None where one is none: a missing label ("nan") has no place among ratings."""
    try:
        found = [float(one) for one in classes]
    except ValueError:
        return None
    return found if all(map(math.isfinite, found)) else None
