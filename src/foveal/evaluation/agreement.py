"""What several people said of the same things: Fleiss' kappa, the share on which all agree, the majority's label.

kappa = (P - E) / (1 - E) (Fleiss, 1971): P is the mean over items of (sum_j n_ij² - n) / (n (n - 1)), the share of
pairs of votes that agree; E = sum_j p_j², the share that would by chance, p_j being label j's share of all votes.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from foveal.errors import InputError

Votes = Mapping[str, Sequence[str]]
"""Item -> the label that each person gave it."""


@dataclass(frozen=True)
class Agreement:
    """How far people agree: on items with as many votes as most items have, at least two."""

    kappa: float | None  # None: everybody always gave one label, so that nothing can be said
    unanimous: float  # share of the items
    items: int
    votes_each: int
    left_out: int  # items with another number of votes


def fleiss_kappa(counts: Sequence[Sequence[int]]) -> float | None:
    """Kappa of counts (items, labels), rows of one sum n of at least 2; None where only one label was ever given.

    InputError: no rows, or rows of different sums.
    """
    sums = {sum(row) for row in counts}
    if len(sums) != 1 or min(sums) < 2:
        raise InputError(
            f"Kappa needs items with the same number of votes, two or more each; it got {sorted(sums) or 'no items'}."
        )
    n = sums.pop()
    agreeing = sum((sum(one * one for one in row) - n) / (n * (n - 1)) for row in counts) / len(counts)
    shares = [sum(column) / (n * len(counts)) for column in zip(*counts, strict=True)]
    chance = sum(share * share for share in shares)
    return None if chance >= 1 - 1e-12 else (agreeing - chance) / (1 - chance)


def agreement(votes: Votes, labels: Sequence[str]) -> Agreement:
    """How far the votes agree. InputError: an unknown label, or no item with two votes."""
    unknown = next((one for given in votes.values() for one in given if one not in labels), None)
    if unknown is not None:
        raise InputError(f"A vote is {unknown!r}, which is no label. There are: {', '.join(labels)}.")
    sizes = Counter(len(given) for given in votes.values() if len(given) > 1)
    if not sizes:
        raise InputError("No item has two votes, so nothing can be said of agreement. Let a second person vote.")
    each = max(sizes, key=lambda size: (sizes[size], size))
    rows = [[list(given).count(label) for label in labels] for given in votes.values() if len(given) == each]
    alike = sum(max(row) == each for row in rows) / len(rows)
    return Agreement(fleiss_kappa(rows), alike, len(rows), each, len(votes) - len(rows))


def majority(votes: Sequence[str]) -> str | None:
    """The label that more people gave than any other; None where two lead, or nobody voted."""
    best = Counter(votes).most_common(2)
    if not best or (len(best) == 2 and best[0][1] == best[1][1]):
        return None
    return best[0][0]
