"""The topic of a paper for its page: class and shares, the text in pieces by how much was looked at, the heads."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from foveal.nn.classified import Classified
    from foveal.papers.classes import PaperClasses
    from foveal.papers.store import Paper

OTHERS, WORDS = 2, 4
"""Classes besides the likeliest, and words of a head, that are shown."""

LEAST = 0.01
"""A share below which a class is not named."""


@dataclass(frozen=True)
class Topic:
    """All that the template shows; `strength` is 0 to 4."""

    label: str
    share: str
    by: str
    others: tuple[tuple[str, str], ...]
    pieces: tuple[tuple[str, int], ...]  # text and strength: joined, what was read
    heads: tuple[tuple[tuple[str, str, int], ...], ...]  # of each head word, share, strength


def topic_of(classes: PaperClasses | None, paper: Paper) -> Topic | None:
    """None: no classifier is named, or the paper has no word."""
    found = classes.of(paper) if classes else None
    if classes is None or found is None:
        return None
    others = tuple((name, _percent(share)) for name, share in found.ranked(1 + OTHERS)[1:] if share >= LEAST)
    heads = tuple(
        tuple((word, _percent(share), _strength(share)) for word, share in found.best(WORDS, head=head))
        for head in range(len(found.weights))
    )
    return Topic(found.label, _percent(found.share), classes.name, others, tuple(_pieces(found)), heads)


def _pieces(found: Classified) -> Iterator[tuple[str, int]]:
    """The words and what stands between them."""
    at = 0
    for (start, end), strength in zip(found.spans, found.strengths(), strict=True):
        if start > at:
            yield found.text[at:start], 0
        yield found.text[start:end], strength
        at = end
    if at < len(found.text):
        yield found.text[at:], 0


def _strength(share: float) -> int:
    return min(4, 1 + int(share * 16))


def _percent(share: float) -> str:
    return f"{100 * share:.0f} %"
