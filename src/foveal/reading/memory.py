"""What a reader keeps of a text: whole sentences, the best of them, never more tokens than it was given.

A sentence is kept for its score (see looking.py). `Memory` is the pool while the
text goes by; `chosen` is what fits a budget at the end; `passages` are runs of kept sentences as a person reads them.
"""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field, replace

from foveal.reading.sentences import Sentence

POOL = 4
"""Budgets of tokens that the pool holds while a text is read, so that a later look can choose anew."""

_LEANS_BACK = re.compile(
    r"\s*[\"“(]?(?:he|she|it|they|this|that|these|those|his|her|its|their|him|them|there|then|so|but|however|hence"
    r"|therefore|the latter|the former|such)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True, slots=True)
class Kept:
    """A sentence that was kept: its place, text, tokens and score, and the window it was read in."""

    start: int
    end: int
    text: str
    tokens: int
    score: float
    window: int
    before: str = ""  # the sentence before it, for one that leans on it ("It was there that …")
    like: float = 0.0  # cosine with the question (see likeness.py), 0 where it is not known
    lift: float = 0.0  # what the question's words and its meaning add (see witnesses.py)

    @property
    def worth(self) -> float:
        """What sentences are ranked by: the root of the score, and the lift beside it."""
        return math.copysign(math.sqrt(abs(self.score)), self.score) + self.lift


@dataclass
class Memory:
    """The best sentences so far, at most `POOL` budgets of tokens."""

    budget: int
    floor: float
    kept: list[Kept] = field(default_factory=list)
    top: float = 0.0  # best score so far

    def add(self, sentences: Iterable[Kept]) -> int:
        """Take in what is worth it; how many were."""
        better = [one for one in sentences if one.score >= self.floor and one.tokens <= self.budget]
        self.kept += better
        self.top = max([self.top, *(one.score for one in better)])
        if sum(one.tokens for one in self.kept) > 2 * POOL * self.budget:
            self.kept = within(in_order(self.kept), POOL * self.budget)
        return len(better)

    @property
    def tokens(self) -> int:
        """Tokens of what `chosen` would give now."""
        return sum(one.tokens for one in self.chosen())

    def chosen(self) -> list[Kept]:
        """What fits the budget, best first taken, in the order of the text."""
        return in_order(within(in_order(self.kept), self.budget))


def scored(
    window: Sequence[Sentence], scores: Sequence[float], number: int, likes: Sequence[float] | None = None
) -> Iterator[Kept]:
    """The sentences of window `number` with their scores, each with the one before it, where it stands right there.

    `likes`: their cosines with the question.
    """
    before, end = "", -1
    for sentence, score, like in zip(window, scores, likes or [0.0] * len(window), strict=True):
        lead = before if sentence.start == end else ""
        yield Kept(sentence.start, sentence.end, sentence.text, len(sentence), score, number, lead, like)
        before, end = sentence.text, sentence.end


def within(kept: Sequence[Kept], budget: int) -> list[Kept]:
    """The best of `kept`, by worth, that fit `budget` tokens: a sentence that does not fit is passed over."""
    left, taken = budget, []
    for one in sorted(kept, key=lambda one: (-one.worth, one.start)):
        if one.tokens <= left:
            taken.append(one)
            left -= one.tokens
    return taken


def distinct(kept: Iterable[Kept]) -> list[Kept]:
    """`kept` without what stands word for word in a better one, or in an earlier one that is as good."""
    best: dict[str, Kept] = {}
    for one in sorted(kept, key=lambda one: (-one.worth, one.start)):
        best.setdefault(" ".join(one.text.split()), one)
    return list(best.values())


def in_order(kept: Iterable[Kept]) -> list[Kept]:
    """`kept` as they stand in the text; of one sentence read twice, the better score."""
    best: dict[tuple[int, int], Kept] = {}
    for one in kept:
        held = best.get((one.start, one.end))
        if held is None or one.score > held.score:
            best[one.start, one.end] = one
    return [best[place] for place in sorted(best)]


@dataclass(frozen=True, slots=True)
class Excerpt:
    """A run of kept sentences that follow each other: `text` is exactly characters `start` to `end`."""

    start: int
    end: int
    text: str
    score: float  # of its best sentence
    worth: float = 0.0  # of its worthiest


def excerpts(kept: Sequence[Kept]) -> list[Excerpt]:
    """Kept sentences, in order, joined where one begins where the other ends; blank ends are cut off."""
    runs: list[Excerpt] = []
    for one in (leaning(one) for one in kept):
        if runs and runs[-1].end >= one.start:
            last = runs[-1]
            joined = last.text + one.text[last.end - one.start :]
            best, worth = max(last.score, one.score), max(last.worth, one.worth)
            runs[-1] = Excerpt(last.start, max(last.end, one.end), joined, best, worth)
        else:
            runs.append(Excerpt(one.start, one.end, one.text, one.score, one.worth))
    return [_stripped(run) for run in runs if run.text.strip()]


def shown_of(kept: Sequence[Kept], budget: int, *, best_first: bool) -> list[Excerpt]:
    """What a model is shown of `kept`: the best that fit `budget` tokens, at least the very best, each text once."""
    shown = excerpts(in_order(within(distinct(kept), budget) or [max(kept, key=lambda one: one.worth)]))
    return sorted(shown, key=lambda one: -one.worth) if best_first else shown


def leaning(one: Kept) -> Kept:
    """`one` with the sentence before it, if it begins with a word that points back."""
    if not one.before or not _LEANS_BACK.match(one.text):
        return one
    return replace(one, start=one.start - len(one.before), text=one.before + one.text)


def _stripped(run: Excerpt) -> Excerpt:
    text = run.text.strip()
    start = run.start + len(run.text) - len(run.text.lstrip())
    return replace(run, start=start, end=start + len(text), text=text)
