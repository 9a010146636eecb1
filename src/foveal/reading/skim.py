"""Coarse to fine: which parts of a text are worth a model's look, told by words alone.

BM25 over the parts of one text, each a document (Robertson and Zaragoza, 2009). Reading all of a text is the default;
with less effort the parts with the question's words come first, and, where these are few, others spread evenly, since
an answer need not use the question's words. Nothing is cut to sentences or tokens for it.
"""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence

from foveal.evaluation.bm25 import idf
from foveal.evaluation.scripts import pieces, word_runs

K1, B = 1.2, 0.75
_COMMON_WORDS = (
    "a an and are as at be been but by can did do does for from had has have he her his how i if in is it its of on or"
    " she so that the their them then there these they this those to was we were what when where which who whom whose"
    " why will with would you your not no about into than"
)
_COMMON = frozenset(_COMMON_WORDS.split())


def content_words(text: str) -> set[str]:
    """The words of `text`, in lower case, that say what it is about; where no space parts them, short pieces."""
    words: set[str] = set()
    for word in word_runs(text.lower()):
        if word not in _COMMON:
            words.update(pieces(word))
    return words


def held(text: str, words: set[str]) -> set[str]:
    """Those of `words`, made by `content_words`, that `text` holds."""
    lower = text.lower()
    plain = words.intersection(word_runs(lower))
    return plain if lower.isascii() else plain | {word for word in words if not word.isascii() and word in lower}


def parts_of(blocks: Iterable[str], size: int) -> Iterator[str]:
    """The text in parts of at most `size` characters: up to the end of a line, else of a sentence, a word, or as it is.

    No part is cut to sentences or tokens: that is done for those that will be read.
    """
    rest = ""
    for block in blocks:
        rest += block
        start = 0
        while len(rest) - start > size:
            end = start + _break(rest[start : start + size])
            yield rest[start:end]
            start = end
        rest = rest[start:]
    if rest:
        yield rest


def _break(text: str) -> int:
    for mark in ("\n", ". ", "。", " "):
        found = text.rfind(mark, len(text) // 2)
        if found > 0:
            return found + len(mark)
    return len(text)


def promising(parts: Iterable[str], questions: Sequence[str], effort: float) -> list[int] | None:
    """The numbers of the parts to read at `effort`, in order; None: all."""
    if effort >= 1:
        return None
    scores = bm25(parts, [content_words(" ".join(questions))])[0]
    count = len(scores)
    wanted = max(1, math.ceil(effort * count))
    ranked = sorted(range(count), key=lambda number: -scores[number])
    chosen = {number for number in ranked[:wanted] if scores[number] > 0}
    left = [number for number in range(count) if number not in chosen]
    few = wanted - len(chosen)
    chosen.update(left[step * len(left) // few] for step in range(few))
    return sorted(chosen)


def bm25(parts: Iterable[str], queries: Sequence[set[str]]) -> list[list[float]]:
    """For each query, which is a set of words, the score of every part; the parts are gone through once."""
    every = set[str]().union(*queries)
    counts: list[Counter[str]] = []
    lengths: list[int] = []
    for part in parts:
        text = part.lower()
        there = {word for word in every if word in text}  # most parts of a long text hold none
        found = Counter[str]()
        if there:
            found.update(word for word in word_runs(text) if word in there and word.isascii())
            found.update({word: text.count(word) for word in there if not word.isascii()})
        counts.append(found)
        lengths.append(len(part))
    if not counts:
        return [[] for _ in queries]
    mean = sum(lengths) / len(lengths) or 1.0
    holding = Counter(word for found in counts for word in found)
    weight = {word: idf(len(counts), n) for word, n in holding.items()}

    def score(found: Counter[str], length: int, words: set[str]) -> float:
        norm = K1 * (1 - B + B * length / mean)
        return sum(weight[w] * n * (K1 + 1) / (n + norm) for w, n in found.items() if w in words)

    both = list(zip(counts, lengths, strict=True))
    return [[score(found, length, words) for found, length in both] for words in queries]
