"""The second look: an answer may hang on two places, and only the first shares anything with the question.

"Where does the keeper live?" finds "The keeper is Orsin Vale"; what finds "Orsin Vale rents a room above the mill" is
that sentence. So the best finds are put behind the question, the sentences of the whole text that hold their rarest
words are gathered, each with its neighbours, and these are looked at as one window. It costs a window or a few a
question, whatever the length of the text, and an eighth of a short one.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from typing import NamedTuple

from foveal.evaluation.bm25 import idf
from foveal.reading.memory import Kept
from foveal.reading.sentences import Sentence
from foveal.reading.skim import content_words, held

LEADS = 2
"""Finds that are followed."""

NEAR = 0.35
"""A find that scores below this share of the best one is not followed."""

LONGEST_LEAD = 300
"""Characters of a find that are put behind the question."""

LEAST, SHARE = 256, 8
"""A second look at a short text may fill this many tokens, or one part in so many of what was read if that is more."""

LEAST_WINDOW = 64
"""Tokens that a window of it needs; a find is left out where, behind the question, it would leave less room."""

CANDIDATES = 128
"""Sentences that are remembered for a question while the text goes by."""

DIGITS = 9
"""Of a sentence's score: sums that differ by rounding alone are equal, whatever the order of the words in a set."""

Windows = Callable[[], Iterable[Sequence[Sentence]]]
Whole = Callable[[Sentence], Sequence[Sentence]]


@dataclass(frozen=True)
class Asked:
    """A question with the finds that it is followed by, best first."""

    question: str
    leads: tuple[Kept, ...]

    @property
    def text(self) -> str:
        """The question with what is known by now."""
        known = " ".join(one.text.strip()[:LONGEST_LEAD] for one in self.leads)
        return f"{self.question.strip()} (Known so far: {known})"

    def with_room(self, room: Callable[[str], int], least: int) -> Asked | None:
        """With as many of the finds, best first, as leave `room` for `least` tokens; None: not even the best does."""
        one = self
        while one.leads and room(one.text) < least:
            one = replace(one, leads=one.leads[:-1])
        return one if one.leads else None

    @property
    def words(self) -> set[str]:
        """What the finds say beyond the question."""
        return content_words(" ".join(one.text for one in self.leads)) - content_words(self.question)


def asked(question: str, kept: Sequence[Kept]) -> Asked | None:
    """The question with the best of `kept`; None where nothing was found."""
    ranked = sorted(kept, key=lambda one: (-one.score, one.start))[:LEADS]
    found = tuple(one for one in ranked if one.text.strip() and one.score >= NEAR * ranked[0].score)
    return Asked(question, found) if found else None


class _Candidate(NamedTuple):
    score: float
    place: int  # negative: of equal scores the first in the text is better
    sentences: tuple[Sentence, ...]  # itself, then its neighbours


@dataclass
class _Gathering:
    """The best sentences so far for one question."""

    asked: Asked
    words: set[str]
    best: list[_Candidate] = field(default_factory=list)  # a heap, the worst first

    def take(self, window: Sequence[Sentence], words: Sequence[set[str]], weight: dict[str, float]) -> None:
        """Consider the sentences of a window, which hold `words`."""
        leads = {one.start for one in self.asked.leads}
        for place, (sentence, found) in enumerate(zip(window, words, strict=True)):
            score = round(math.fsum(weight[word] for word in found & self.words), DIGITS)
            if score <= 0 or sentence.start in leads:
                continue
            around = (sentence, *window[max(0, place - 1) : place], *window[place + 1 : place + 2])
            candidate = _Candidate(score, -sentence.start, around)
            if len(self.best) < CANDIDATES:
                heapq.heappush(self.best, candidate)
            elif candidate > self.best[0]:
                heapq.heapreplace(self.best, candidate)

    def window(self, size: int, whole: Whole) -> list[Sentence]:
        """At most `size` tokens: the best sentences with their neighbours, in the order of the text."""
        taken: dict[int, Sentence] = {}
        left = size
        for candidate in sorted(self.best, reverse=True):
            new = [one for one in candidate.sentences if one.start not in taken]
            for one in (piece for sentence in new for piece in whole(sentence)):
                if len(one) <= left:
                    taken[one.start] = one
                    left -= len(one)
            if left <= 0:
                break
        return [taken[start] for start in sorted(taken)]


def as_it_is(sentence: Sentence) -> Sequence[Sentence]:
    """A sentence whose tokens are known."""
    return (sentence,)


def gathered(
    windows: Windows, questions: Sequence[Asked], size: int, whole: Whole = as_it_is
) -> Iterator[list[Sentence]]:
    """For each question at most `size` tokens of sentences that hold the words of its finds; the text goes by twice.

    `whole` makes tokens of a sentence that has none yet, so that only those that are taken need them.
    """
    gatherings = [_Gathering(one, one.words) for one in questions]
    every = set[str]().union(*(one.words for one in gatherings))
    count, holding = 0, Counter[str]()
    for window in windows():
        count += len(window)
        for sentence in window:
            holding.update(held(sentence.text, every))
    weight = {word: idf(count, n) for word, n in holding.items()}
    for window in windows():
        words = [held(sentence.text, every) for sentence in window]
        for one in gatherings:
            one.take(window, words, weight)
    return (one.window(size, whole) for one in gatherings)
