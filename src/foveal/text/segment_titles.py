"""Titles for segments without headings: the phrase of each that tells it best from its neighbours.

Candidates  one to four words in a row within a sentence, no small word at either end, as they stand in the text
Score       tf^0.3 · t^0.7 · ln(1 + (1 + N) / df) · length, over the N segments. t is how often the rarest of its words
            comes, if no more than half of the segments hold it: in a short text most phrases come once, and of these
            one whose words come again tells more than the first one. The best few are then compared with the segment's
            own vector, where there is an encoder: a phrase is a title if it is rare elsewhere and means what the text
            means
Against     training/bprop_terms.py weighs single words by a model's attention: dearer, and no phrases
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterator, Sequence
from functools import lru_cache

import numpy as np
from numpy.typing import NDArray

from foveal.evaluation.scripts import classes
from foveal.text.texttiling import SMALL_WORDS
from foveal.types import Encoder

LONGEST_PHRASE = 4
"""Words of a title."""

FEW = 6
"""Phrases of a segment that are compared with its vector."""

LENGTH = (1.0, 1.8, 1.9, 1.7)
"""What a phrase of one, two, three, four words counts: one word is seldom a title."""

OWN = 0.3
"""Exponent of how often a phrase comes; that of how often its rarest word does is the rest of 1."""

READ = 6000
"""Characters of a segment that are looked through."""

LONGEST_TITLE = 60
"""Characters of a title: where no space parts words, what stands between two marks is one, and may be a page."""

_PIECE = re.compile(r"[^.!?;:,()\[\]{}\"“”|*_#<>/\\\n•–—…。．！？；：，、「」『』（）【】《》〈〉・।॥؟،؛ぁ-ゟ]+")
"""What no mark parts, of any script; nor hiragana, which join and inflect the words of a Japanese clause."""
_EMPTY = frozenset(
    re.findall(r"\w+", "shall please via per etc ie eg including include includes included use used using")
)

Vectors = NDArray[np.float32]


def segment_titles(
    texts: Sequence[str], encoder: Encoder | None = None, vectors: Vectors | None = None
) -> list[str | None]:
    """A title for each text; None where no phrase can be one. `vectors` (n, d): the texts', in any length."""
    found = [_phrases(text[:READ]) for text in texts]
    holding = Counter(key for phrases in found for key in phrases)
    best = [_best(phrases, holding, len(texts)) for phrases in found]
    if encoder is None or vectors is None:
        return [_written(one[0][0]) if one else None for one in best]
    flat = [phrase for one in best for phrase, _ in one]
    if not flat:
        return [None] * len(texts)
    made = encoder.encode(flat)
    titles: list[str | None] = []
    at = 0
    for one, vector in zip(best, vectors, strict=True):
        close = made[at : at + len(one)] @ (vector / max(1e-9, float(np.linalg.norm(vector))))
        worth = [score / one[0][1] + float(cosine) for (_, score), cosine in zip(one, close, strict=True)]
        titles.append(_written(one[int(np.argmax(worth))][0]) if one else None)
        at += len(one)
    return titles


def _phrases(text: str) -> dict[str, tuple[str, int]]:
    """Phrase in small letters -> as it first stands in the text, and how often."""
    counts: dict[str, tuple[str, int]] = {}
    for phrase in _runs(text):
        key = phrase.lower()
        first, count = counts.get(key, (phrase, 0))
        counts[key] = (first, count + 1)
    return counts


@lru_cache(1)
def _word() -> re.Pattern[str]:
    """Letters and numbers, each with its marks: vowel signs and accents belong to the word that they stand in."""
    run = rf"(?:[^\W_][{classes().marks}]*)+"
    return re.compile(rf"{run}(?:[’'-]{run})*")


def _runs(text: str) -> Iterator[str]:
    for piece in _PIECE.findall(text):
        words = _word().findall(piece)
        for first in range(len(words)):
            for last in range(first, min(len(words), first + LONGEST_PHRASE)):
                phrase = " ".join(words[first : last + 1])
                if len(phrase) <= LONGEST_TITLE and _names(words[first]) and _names(words[last]):
                    yield phrase


def _names(word: str) -> bool:
    """Whether a title may begin or end with the word."""
    lower = word.lower()
    return (
        lower not in SMALL_WORDS and lower not in _EMPTY and not lower[0].isdigit() and (len(word) > 2 or _wide(word))
    )


def _wide(word: str) -> bool:
    """Whether a short word is long enough: of a script whose characters are syllables or words; not one ideograph."""
    return ord(word[0]) >= 0x2E80 and (len(word) > 1 or not "\u4e00" <= word <= "\u9fff")


def _best(phrases: dict[str, tuple[str, int]], holding: Counter[str], texts: int) -> list[tuple[str, float]]:
    """The FEW phrases with the highest scores, the best first; of equally good ones the one that stands first."""
    scored = []
    for key, (written, count) in phrases.items():
        words = [one for one in key.split() if one in phrases]
        comes = min((1 if holding[one] > max(1, texts / 2) else phrases[one][1] for one in words), default=count)
        often = count**OWN * max(count, comes) ** (1 - OWN)
        scored.append((written, often * math.log((1 + texts) / holding[key] + 1) * LENGTH[len(written.split()) - 1]))
    return sorted(scored, key=lambda one: -one[1])[:FEW]


def _written(phrase: str) -> str:
    return phrase[:1].upper() + phrase[1:]
