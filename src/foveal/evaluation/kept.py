"""What a reader keeps of a long text, as half-open ranges of characters: whether they cover a place, and three
baselines that need no model.

Offsets     start and end character of each token of the text, in order (`Encoder.token_offsets` gives them)
Baselines   keep a number of tokens, whichever the question: the first, the last, or half of each. A reader is
            compared with them at an equal number of tokens
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from foveal.errors import InputError

Range = tuple[int, int]
"""Start (included) and end (excluded) character of one text."""


def covered(text: str, place: Range, kept: Iterable[Range]) -> bool:
    """Whether each character of `place` that is no white space lies in one of `kept`, which may touch or overlap."""
    start, end = place
    for opening, closing in sorted(kept):
        while start < end and text[start].isspace():
            start += 1
        if start >= end or opening > start:
            break
        start = max(start, closing)
    return not text[start:end].strip()


def first_tokens(text: str, budget: int, offsets: Sequence[Range]) -> list[Range]:
    """The first `budget` tokens."""
    if _all_fit(budget, offsets):
        return [(0, len(text))]
    return [(0, offsets[budget - 1][1])]


def last_tokens(text: str, budget: int, offsets: Sequence[Range]) -> list[Range]:
    """The last `budget` tokens."""
    if _all_fit(budget, offsets):
        return [(0, len(text))]
    return [(offsets[-budget][0], len(text))]


def first_and_last(text: str, budget: int, offsets: Sequence[Range]) -> list[Range]:
    """The first and the last half of `budget` tokens, the middle left out; of an odd budget one more of the first."""
    if _all_fit(budget, offsets):
        return [(0, len(text))]
    last = last_tokens(text, budget // 2, offsets) if budget > 1 else []
    return first_tokens(text, budget - budget // 2, offsets) + last


def _all_fit(budget: int, offsets: Sequence[Range]) -> bool:
    if budget < 1:
        raise InputError(f"A budget of {budget} tokens came; it needs to be at least 1.")
    return budget >= len(offsets)
