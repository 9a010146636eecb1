"""Names of a claim that the source has elsewhere: the name is there, and not in the sentence that says the rest.

    claim = "It was made in that year by Toho."
    misplaced(anchors(claim), claim, ["In that year it was made by MGM.", "Toho showed a play."])     # "Toho"

Nearest    the sentence with the most words of the claim, one of its names aside
Misplaced  it has most of them, and in that name's place, among the same words, another name that the claim lacks; what
           else is told of the name has little of the claim. Not where both names are one thing's: they stand side by
           side somewhere, share a word, or one is the heading's
Limits     a copy, or nearly one: of what is told in other words the name's place is not known. English only, since in
           German every noun has a capital
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from foveal.research.quantities import MONTHS, Anchor
from foveal.research.role_words import Sentence, is_english, listed

TAKEN_FROM = 0.7
"""Share of a claim's other words that the nearest sentence must hold."""
ELSEWHERE = 0.5
"""Share of what the nearest sentence holds, below which a sentence with the name is about another matter."""
LEAST = 3
"""Words of a claim beside the name."""
BESIDE = 4
"""Words between two names of one thing."""

_DATED = listed("monday tuesday wednesday thursday friday saturday sunday").union(MONTHS)
_JOINS = ("of", "the", "de", "van", "von")

Run = tuple[int, int]
"""The places of a name: from, to."""


def misplaced(names: Sequence[Anchor], claim: str, said: Sequence[str], heading: str = "") -> str:
    """The one of some names of a claim that stands in another name's place; "" if there is none."""
    if not names or not said or not is_english((claim, *said)):
        return ""
    mine, others = Sentence.of(claim), [Sentence.of(one) for one in said]
    known = {key for name in names for key in Sentence.of(name.text).places}
    head = Sentence.of(heading).places.keys()
    for run in _runs(mine):
        own = set(filter(None, mine.keys[slice(*run)]))
        rest = mine.places.keys() - own
        if not own & known or own & (head | _DATED) or len(rest) < LEAST or mine.word(run[0] - 1) == "the":
            continue
        shares = [_share(rest, one) for one in others]
        at = max(range(len(others)), key=shares.__getitem__)
        best, told = others[at], _told(own, others, shares)
        about = [one.places.keys() for one in others if own & one.places.keys()]
        if own & best.places.keys() or not about or any((rest - best.places.keys()) & one for one in about):
            continue
        if shares[at] < TAKEN_FROM or told > ELSEWHERE * shares[at]:
            continue
        taken = mine.places.keys() | head | _DATED
        for place in _runs(best):
            instead = set(filter(None, best.keys[slice(*place)]))
            if instead & taken or not _same_place(mine, run, best, place, rest):
                continue
            if not _beside(own, instead, others):
                return mine.shown(*run)
    return ""


def _share(keys: set[str], of: Sentence) -> float:
    return len(keys & of.places.keys()) / len(keys)


def _told(own: set[str], others: Sequence[Sentence], shares: Sequence[float]) -> float:
    """The most that a sentence with a name holds of the rest."""
    return max((share for one, share in zip(others, shares, strict=True) if own & one.places.keys()), default=0.0)


def _runs(of: Sentence) -> Iterator[Run]:
    """The names of a sentence: words with capitals in a row, joined over "of" and the like."""
    at, size = 0, len(of.words)
    while at < size:
        if not _capital(of, at) or not of.keys[at]:
            at += 1
            continue
        end = at + 1
        while end < size and (_capital(of, end) or (of.words[end] in _JOINS and _capital(of, end + 1))):
            end += 1
        yield at, end
        at = end


def _capital(of: Sentence, at: int) -> bool:
    return at < len(of.words) and of.capital[at]


def _same_place(mine: Sentence, run: Run, other: Sentence, place: Run, rest: set[str]) -> bool:
    """Whether two names stand among the same words: on each side, or next to one where a sentence begins or ends."""
    shared = rest & other.places.keys()
    before, behind = _nearest(mine, run[0], -1, shared), _nearest(mine, run[1] - 1, 1, shared)
    left, right = _nearest(other, place[0], -1, shared), _nearest(other, place[1] - 1, 1, shared)
    same_right = behind is not None and right is not None and mine.keys[behind] == other.keys[right]
    if before is not None and left is not None and mine.keys[before] == other.keys[left]:
        ends = behind is None and (right is None or run[1] >= len(mine.words))
        return same_right or (ends and mine.words[before + 1 : run[0]] == other.words[left + 1 : place[0]])
    if same_right and before is None and left is None and run[0] <= 1 and place[0] <= 2:
        return mine.words[run[1] : behind] == other.words[place[1] : right]
    return False


def _nearest(of: Sentence, at: int, step: int, keys: set[str]) -> int | None:
    """The next word that both texts have, with one other between at most."""
    passed = 0
    while 0 <= (at := at + step) < len(of.words) and passed < 2:
        if of.keys[at] in keys:
            return at
        passed += bool(of.keys[at])
    return None


def _beside(own: set[str], instead: set[str], others: Sequence[Sentence]) -> bool:
    """Whether words of two names stand side by side somewhere."""
    return any(
        abs(one - other) <= BESIDE
        for text in others
        for key in own
        for one in text.places.get(key, ())
        for second in instead
        for other in text.places.get(second, ())
    )
