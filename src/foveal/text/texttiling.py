"""TextTiling: boundaries where the words change (Hearst, Computational Linguistics 23(1), 1997).

The text's words are dealt into pseudo-sentences of w words. At each gap between two of them the words of the k before
are compared with those of the k after (cosine of counts, small words left out); the scores are smoothed; a gap's depth
is how far the score rises on both sides of it. Valleys deeper than mean - std / 2 are boundaries, the deepest first,
none within 4 gaps of another, each moved to the nearest end of a paragraph (of a sentence, if there is one paragraph).

Letters   units (paragraphs or sentences) as lists of words -> boundaries: the units that open a tile, without the first
Needs     no model; words are compared by their first six letters, ideographs as they are
Against   embedding_segmentation.py compares meanings: a fifth of the errors on Choi's benchmark, for the price of
          encoding every sentence
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate
from math import sqrt

import numpy as np
from numpy.typing import NDArray

from foveal.errors import InputError
from foveal.text.segmentation import check_limits, limited
from foveal.text.units import paragraphs, sentences, words
from foveal.text.windows import TokenOffsets
from foveal.types import Document, Passage

Scores = NDArray[np.float64]

STEM = 6
"""Letters by which two words are the same: "government" and "governing" are."""

SMALL_WORDS = frozenset(
    re.findall(
        r"\w+",
        """a about above after again against all also although am among an and another any are as at away back be
        became because become been before began being below between both but by came can cannot could day did do does
        doing done down during each either else even ever every few first for from further get gets go goes going gone
        got had has have having he her here hers herself him himself his how however i if in indeed instead into is it
        its itself just knew know last less let like little made make makes many may me might mine more most much must
        my myself near never new no nor not now of off often old on once one only or other others our ours ourselves
        out over own per perhaps put quite rather really said same saw say says see seem seemed seen several shall she
        should since so some still such take than that the their theirs them themselves then there therefore these
        they thing things this those though through thus to together too took toward two under until up upon us use
        used very was way we well went were what when where whether which while who whom whose why will with within
        without would yet you your yours yourself""",
    )
)
"""Words that stand in any text, whatever it is about."""


@dataclass(frozen=True, kw_only=True)
class TextTiling:
    """Tiles of whole paragraphs whose words differ; sizes can be kept within limits."""

    sentence_words: int = 20  # words of a pseudo-sentence (w), at least 1
    block: int = 10  # pseudo-sentences compared on each side of a gap (k), at least 1
    smoothing: int = 1  # scores averaged with each on each side (1 is the paper's width 2); 0 leaves them as they are
    cutoff: float = -0.5  # a boundary is deeper than mean + cutoff * standard deviation of all gaps
    apart: int = 4  # fewest gaps between two boundaries, at least 1
    max_tokens: int | None = None  # longer passages are cut at paragraphs, sentences, words
    min_tokens: int | None = None  # shorter passages join the smaller neighbour, if both fit max_tokens together
    token_offsets: TokenOffsets = words  # the tokens to count

    def __post_init__(self) -> None:
        check_limits(self.max_tokens, self.min_tokens)
        if min(self.sentence_words, self.block, self.apart) < 1 or self.smoothing < 0:
            raise InputError(
                f"TextTiling got sentence_words {self.sentence_words}, block {self.block}, apart {self.apart}, "
                f"smoothing {self.smoothing}; the first three need to be at least 1, the last at least 0."
            )

    def segment(self, document: Document) -> list[Passage]:
        """The document's passages, in order; none where the text is empty."""
        text = document.text
        units = paragraphs(text)
        if len(units) == 1:
            units = sentences(text)
        bounds = self.boundaries([[text[start:end][a:b] for a, b in words(text[start:end])] for start, end in units])
        starts = [units[at][0] for at in (0, *bounds)] if units else []
        return limited(document, starts, self.max_tokens, self.min_tokens, self.token_offsets)

    def boundaries(self, units: Sequence[Sequence[str]]) -> list[int]:
        """The units that open a tile, without the first; a unit is the list of its words."""
        terms = [term_of(word) for unit in units for word in unit if word[0].isalnum()]
        edges = list(accumulate(sum(1 for word in unit if word[0].isalnum()) for unit in units))
        pseudo = [terms[at : at + self.sentence_words] for at in range(0, len(terms), self.sentence_words)]
        scores = smoothed(block_similarity(pseudo, self.block), self.smoothing)
        gaps = deepest(scores, self.cutoff, self.apart)
        places = {_nearest(edges, (gap + 1) * self.sentence_words) for gap in gaps}
        return sorted(place for place in places if 0 < place < len(units))


def block_similarity(pseudo: Sequence[Sequence[str | None]], block: int) -> Scores:
    """For each gap, the cosine of the term counts of the `block` pseudo-sentences before it and after it."""
    counts = [Counter(term for term in sentence if term) for sentence in pseudo]
    scores = np.zeros(max(0, len(pseudo) - 1))
    for gap in range(len(scores)):
        left, right = Counter[str](), Counter[str]()
        for at in range(max(0, gap + 1 - block), gap + 1):
            left.update(counts[at])
        for at in range(gap + 1, min(len(counts), gap + 1 + block)):
            right.update(counts[at])
        scores[gap] = _cosine(left, right)
    return scores


def smoothed(scores: Scores, width: int) -> Scores:
    """Each score averaged with up to `width` on each side."""
    sums = np.concatenate(([0.0], np.cumsum(scores)))
    at = np.arange(len(scores))
    low, high = np.maximum(at - width, 0), np.minimum(at + width + 1, len(scores))
    means: Scores = (sums[high] - sums[low]) / (high - low)
    return means


def depths(scores: Scores) -> Scores:
    """How far the scores rise from each gap to the nearest peak on its left, plus the same on its right."""
    both: Scores = _climb(scores) + _climb(scores[::-1])[::-1] - 2 * scores
    return both


def valleys(scores: Scores) -> NDArray[np.bool_]:
    """The gaps whose score is below that of the gap before and not above that of the gap after."""
    padded = np.concatenate(([np.inf], scores, [np.inf]))
    lowest: NDArray[np.bool_] = (padded[1:-1] < padded[:-2]) & (padded[1:-1] <= padded[2:])
    return lowest


def deepest(scores: Scores, cutoff: float, apart: int) -> list[int]:
    """The valleys deeper than mean + cutoff * std of all depths, taken from the deepest down, none within `apart`."""
    if not len(scores):
        return []
    depth = depths(scores)
    candidates = np.flatnonzero(valleys(scores) & (depth > max(0.0, depth.mean() + cutoff * depth.std())))
    taken: set[int] = set()
    for gap in candidates[np.argsort(-depth[candidates], kind="stable")].tolist():
        if taken.isdisjoint(range(gap - apart + 1, gap + apart)):
            taken.add(gap)
    return sorted(taken)


def _climb(scores: Scores) -> Scores:
    """The peak that is reached from each gap by going left while the scores do not fall."""
    peaks = scores.copy()
    for at in range(1, len(scores)):
        if scores[at - 1] >= scores[at]:
            peaks[at] = peaks[at - 1]
    return peaks


def term_of(word: str) -> str | None:
    """What a word is compared by; None for a small word."""
    lower = word.lower()
    return None if lower in SMALL_WORDS else lower[:STEM]


def _cosine(left: Counter[str], right: Counter[str]) -> float:
    norms = sum(n * n for n in left.values()) * sum(n * n for n in right.values())
    return sum(n * right[term] for term, n in left.items() if term in right) / sqrt(norms) if norms else 0.0


def _nearest(edges: Sequence[int], position: int) -> int:
    """How many units end at the unit end nearest to word `position`."""
    at = int(np.searchsorted(edges, position))
    if at and (at == len(edges) or position - edges[at - 1] <= edges[at] - position):
        at -= 1
    return at + 1
