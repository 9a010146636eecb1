"""What a report needs of whoever checks its claims, and a check by words alone.

    class Checks(Protocol):  check(claim, passages) -> Verdict;  check_many(pairs) -> [Verdict]

`WordChecks` needs no model. It finds the sentence, or two in a row, that hold most of the claim's words; every
number, date and name of the claim must stand in what is cited. Numbers that differ where nearly all else is the same,
or a "not" that only one of both has, contradict it.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise
from typing import Protocol

from foveal.research.citations import BORNE_OUT
from foveal.research.evidence import Verdict
from foveal.research.qualifiers import dropped, widened
from foveal.research.quantities import GROUPED, INDIAN, decimal_comma, in_english, is_either
from foveal.research.verification_signals import denies, is_not, turned
from foveal.retrieval.terms import terms
from foveal.text.units import sentences
from foveal.types import Passage, Span

SUPPORTED, CONTRADICTS = 0.7, 0.75
"""Share of the claim's words in the best window from which it is borne out; or, its numbers aside, denied."""

_NUMBER = re.compile(rf"(?<!\d)(?:{GROUPED})(?:[.,]\d+)?|\d+(?:[.,]\d+)*")
_THOUSANDS = re.compile(r",(?=\d{3}(?!\d))|\s")
"""A comma or blank that parts thousands: that of "1,5" parts a fraction, and 15 is another number."""

_INDIAN = re.compile(INDIAN)

_NAME = re.compile(r"\b[A-Z][\w'-]+")
_CUT_NOT = re.compile(r"n['’]t\b")


class Checks(Protocol):
    """Says whether passages bear a claim out."""

    @property
    def sure(self) -> float:
        """The score from which on a supported claim needs no second look: nine in ten such claims are true."""
        ...

    def check(self, claim: str, passages: Sequence[Passage], /) -> Verdict:
        """The verdict on one claim, which is not empty."""
        ...

    def check_many(self, pairs: Sequence[tuple[str, Sequence[Passage]]], /) -> list[Verdict]:
        """Those on many."""
        ...


class WordChecks:
    """A `Checks` by words, numbers and names; `sure`: nine in ten of the claim's words stand in one place."""

    sure = 0.9

    def check(self, claim: str, passages: Sequence[Passage]) -> Verdict:
        """The verdict on one claim; without passages it is unsupported."""
        windows = [one for passage in passages for one in _windows(passage)]
        if not windows:
            return Verdict(label="unsupported", score=0.0)
        shares = [_share(claim, one.text) for one in windows]
        best = max(range(len(windows)), key=lambda place: (shares[place], -len(windows[place].text)))
        cited = " ".join(one.text for one in passages)
        missing = missing_of(claim, cited)
        share, where = shares[best], windows[best]
        told = {"where": where.span, "quote": where.text, "signals": (("words", round(share, 4)),)}
        alone = max(
            (one for passage in passages for one in _sentences(passage)), key=lambda one: _share(claim, one.text)
        )
        if contradicts(claim, alone.text, of=cited):
            return Verdict(label="contradicted", score=0.0, missing=missing, **told)  # type: ignore[arg-type]
        label = "supported" if share >= SUPPORTED else "partly" if share >= BORNE_OUT else "unsupported"
        left_out = (dropped(claim, alone.text) or widened(claim, alone.text)) if share >= BORNE_OUT else ""
        if missing or left_out or bool(denies(claim, alone.text)) != bool(denies(alone.text, claim)):
            label = "partly" if label == "supported" else "unsupported"
        score = share / (1 + len(missing))
        told |= {"left_out": left_out}
        return Verdict(label=label, score=round(score, 4), missing=missing, **told)  # type: ignore[arg-type]

    def check_many(self, pairs: Sequence[tuple[str, Sequence[Passage]]]) -> list[Verdict]:
        """Those on many."""
        return [self.check(claim, passages) for claim, passages in pairs]


def missing_of(claim: str, text: str) -> tuple[str, ...]:
    """Numbers and names of a claim that a text does not hold."""
    comma, known = decimal_comma(text), text.lower()
    own = decimal_comma(claim)
    own = comma if own is None else own  # it speaks of that text, and as that does
    held = {_bare(one, comma) for one in _NUMBER.findall(text)}
    ways = {own, comma} if comma is None else {own}  # where nothing tells, what is written alike is the same
    numbers = [one for one in _NUMBER.findall(claim) if held.isdisjoint(_bare(one, way) for way in ways)]
    first = re.match(r"\W*\w+", claim)
    names = [found[0] for found in _NAME.finditer(claim) if found.start() >= (first.end() if first else 0)]
    unknown = [one for one in names if one.lower().removesuffix("'s") not in known]
    return tuple(dict.fromkeys([*numbers, *unknown]))


def contradicts(claim: str, said: str, *, of: str = "") -> bool:
    """Whether a sentence (`of` a text that shows how it writes numbers) says the same but for these, or denies it."""
    numbers, theirs = (
        {_bare(number, way) for way in _ways(text) for number in _NUMBER.findall(one)}
        for one, text in ((claim, claim), (said, of or said))
    )
    differ = bool(numbers) and bool(theirs) and not numbers & theirs
    return (differ and _alike(claim, said)) or denied(claim, said)


def denied(claim: str, said: str) -> bool:
    """Whether a sentence says that a claim is not so, or the claim that the sentence is not."""
    own, other = (_without_numbers(one) for one in (claim, said))
    near = _alike(claim, said) and len(own & other) / len(own | other) >= 0.5
    return near and turned(claim, said) and turned(said, claim)


def _alike(claim: str, said: str) -> bool:
    """Whether a sentence holds nearly all words of a claim that are no numbers."""
    own, other = (_without_numbers(one) for one in (claim, said))
    return len(own) >= 3 and len(own & other) / len(own) >= CONTRADICTS


def _ways(text: str) -> tuple[bool, ...]:
    """How the numbers of a text are to be read: with commas that part fractions, or not; both, where nothing tells."""
    comma = decimal_comma(text)
    return (True, False) if comma is None else (comma,)


def _bare(number: str, comma: bool | None) -> str:
    """A number without what parts thousands. Where nothing tells what that is (None), one that may be two is like none
    but itself."""
    if comma is None and is_either(number):
        return f"? {number}"
    if comma:
        number = in_english(re.sub(r"\s", "", number))
    groups = r"," if _INDIAN.match(number) else _THOUSANDS
    return re.sub(groups, "", number).rstrip(".")


def _without_numbers(text: str) -> set[str]:
    return {word for word in terms(_CUT_NOT.sub(" not", text)) if not word[0].isdigit() and not is_not(word)}


def _share(claim: str, said: str) -> float:
    words = set(terms(claim))
    return len(words & set(terms(said))) / len(words) if words else 0.0


def _windows(passage: Passage) -> list[Passage]:
    """The sentences of a passage, and each two in a row."""
    cuts = _sentences(passage)
    at = passage.span.start
    pairs = [(one.span.start - at, other.span.end - at) for one, other in pairwise(cuts)]
    return [*cuts, *(_cut(passage, start, end) for start, end in pairs)]


def _sentences(passage: Passage) -> list[Passage]:
    return [_cut(passage, start, end) for start, end in sentences(passage.text) if passage.text[start:end].strip()]


def _cut(passage: Passage, start: int, end: int) -> Passage:
    text = passage.text[start:end].strip()
    first = passage.span.start + start + passage.text[start:end].index(text)
    return Passage(Span(passage.span.document_id, first, first + len(text)), text)
