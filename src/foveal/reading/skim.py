"""Coarse to fine: which windows are worth a model's look, told by words alone.

BM25 over the windows of one text, each window a document (Robertson and Zaragoza, 2009). Reading all of a text is the
default; with less effort the windows with the question's words come first, and, where these are few, others spread
evenly, since an answer need not use the question's words.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Iterable, Sequence

from foveal.reading.sentences import Sentence

K1, B = 1.2, 0.75
_WORD = re.compile(r"\w+")
_COMMON_WORDS = (
    "a an and are as at be been but by can did do does for from had has have he her his how i if in is it its of on or"
    " she so that the their them then there these they this those to was we were what when where which who whom whose"
    " why will with would you your not no about into than"
)
_COMMON = frozenset(_COMMON_WORDS.split())


def content_words(text: str) -> set[str]:
    """The words of `text`, in lower case, that say what it is about; runs of ideographs give their pairs."""
    words: set[str] = set()
    for word in _WORD.findall(text.lower()):
        if any("\u3040" <= character <= "\u9fff" for character in word):
            words |= {word[place : place + 2] for place in range(max(1, len(word) - 1))}
        elif word not in _COMMON:
            words.add(word)
    return words


def held(text: str, words: set[str]) -> set[str]:
    """Those of `words`, made by `content_words`, that `text` holds."""
    lower = text.lower()
    plain = words.intersection(_WORD.findall(lower))
    return plain if lower.isascii() else plain | {word for word in words if not word.isascii() and word in lower}


def promising(windows: Iterable[Sequence[Sentence]], questions: Sequence[str], effort: float) -> list[int] | None:
    """The numbers of the windows to read at `effort`, in order; None: all."""
    if effort >= 1:
        return None
    scores = bm25(windows, [content_words(" ".join(questions))])[0]
    count = len(scores)
    wanted = max(1, math.ceil(effort * count))
    ranked = sorted(range(count), key=lambda number: -scores[number])
    chosen = {number for number in ranked[:wanted] if scores[number] > 0}
    spread = (int(step * count / wanted) for step in range(wanted))
    for number in spread:
        if len(chosen) < wanted:
            chosen.add(number)
    return sorted(chosen)


def bm25(windows: Iterable[Sequence[Sentence]], queries: Sequence[set[str]]) -> list[list[float]]:
    """For each query, which is a set of words, the score of every window; the windows are gone through once."""
    every = set[str]().union(*queries)
    counts: list[Counter[str]] = []
    lengths: list[int] = []
    for window in windows:
        text = "".join(sentence.text for sentence in window).lower()
        found = Counter(word for word in _WORD.findall(text) if word in every and word.isascii())
        found.update({word: text.count(word) for word in every if not word.isascii() and word in text})
        counts.append(found)
        lengths.append(sum(len(sentence) for sentence in window))
    if not counts:
        return [[] for _ in queries]
    mean = sum(lengths) / len(lengths) or 1.0
    holding = Counter(word for found in counts for word in found)
    weight = {word: math.log(1 + (len(counts) - n + 0.5) / (n + 0.5)) for word, n in holding.items()}

    def score(found: Counter[str], length: int, words: set[str]) -> float:
        norm = K1 * (1 - B + B * length / mean)
        return sum(weight[w] * n * (K1 + 1) / (n + norm) for w, n in found.items() if w in words)

    both = list(zip(counts, lengths, strict=True))
    return [[score(found, length, words) for found, length in both] for words in queries]
