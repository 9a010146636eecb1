"""The second look: an answer may hang on two places, and only the first shares anything with the question.

"Where does the keeper live?" finds "The keeper is Orsin Vale"; what finds "Orsin Vale rents a room above the mill" is
that sentence. So the best finds are put behind the question and the windows that hold their new words, told by BM25,
are read again: the share of windows that it is given, and no more than a few of a long text.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Sequence

from foveal.reading.memory import Kept
from foveal.reading.sentences import Sentence
from foveal.reading.skim import bm25, content_words

LEADS = 2
"""Finds that are followed."""

LEAST_WINDOWS, MOST_WINDOWS = 4, 24
"""Windows that are read again even of a short text, and of a long one; a share of 1 has no such end."""

NEAR = 0.35
"""A find that scores below this share of the best one is not followed."""

LONGEST_LEAD = 300
"""Characters of a find that are put behind the question."""


def lead(kept: Sequence[Kept]) -> tuple[str, ...] | None:
    """The texts of the best finds, best first; None where nothing was found."""
    ranked = sorted(kept, key=lambda one: (-one.score, one.start))[:LEADS]
    found = [one for one in ranked if one.text.strip() and one.score >= NEAR * ranked[0].score]
    return tuple(one.text.strip()[:LONGEST_LEAD] for one in found) or None


def question(asked: str, leads: Sequence[str]) -> str:
    """The question with what is known by now."""
    return f"{asked.strip()} (Known so far: {' '.join(leads)})"


def windows(
    stream: Iterable[Sequence[Sentence]], asked: Sequence[str], leads: Sequence[Sequence[str]], share: float
) -> list[list[int]]:
    """For each question the windows, by number, that hold new words of its leads: at most `share` of all, in order."""
    new = [content_words(" ".join(lead)) - content_words(one) for one, lead in zip(asked, leads, strict=True)]
    return [_best(scores, share) for scores in bm25(stream, new)]


def _best(scores: Sequence[float], share: float) -> list[int]:
    most = max(LEAST_WINDOWS, min(MOST_WINDOWS, math.ceil(share * len(scores))) if share < 1 else len(scores))
    ranked = sorted(range(len(scores)), key=lambda number: -scores[number])
    return sorted(number for number in ranked[:most] if scores[number] > 0)
