"""Paragraphs as topics see them: list items with what introduces them, scraps with what follows, words without marks.

Merging   items join the paragraph that ends with a colon before them, as long as each is short and all together fit:
          a contract that writes each clause as an item keeps its clauses. A scrap of fewer than 20 characters joins
          what follows it
Reading   links and emphasis are taken off (`readable`): what is encoded is what a person reads
Against   units.py gives paragraphs by blank lines alone
"""

from __future__ import annotations

import re
from collections.abc import Sequence

from foveal.text.units import Offsets, paragraphs

ITEM_WORDS, GROUP_WORDS = 60, 200
"""Words of an item, and of a paragraph with its items, at most: longer items are paragraphs of their own."""

SCRAP = 20
"""Characters below which a paragraph says nothing by itself."""

_ITEM = re.compile(r"\s*(?:[-*+•‣◦–]|\(?\d{1,3}[.)]|\(?[a-zA-Z]{1,4}[.)])\s")
_LINK = re.compile(  # no link begins within another, so that brackets which nothing closes are read once
    r"!?\[([^\[\]\n]*+)\]\([^)\]\n]*+(?:\](?!\()[^)\]\n]*+)*\)"
)
_MARKS = re.compile(
    r"(?<![\w\\])(?:\*{1,3}|_{1,3})(?=\S)|(?<=\S)(?:\*{1,3}|_{1,3})(?!\w)|\\(?=[.*_#()\[\]-])|<[^>\n]{1,200}>"
)


def paragraph_units(text: str) -> Offsets:
    """The units of `text` with their places, covering it."""
    places = paragraphs(text)
    groups = merged([text[start:end] for start, end in places])
    return [(places[first][0], places[last - 1][1]) for first, last in groups]


def merged(texts: Sequence[str]) -> list[tuple[int, int]]:
    """Paragraphs in groups (first, after the last), in order: what belongs together as said above."""
    groups: list[tuple[int, int]] = []
    first = 0
    while first < len(texts):
        last = first + 1
        if texts[first].rstrip().endswith((":", "：")):
            words = len(texts[first].split())
            while last < len(texts) and _ITEM.match(texts[last]):
                more = len(texts[last].split())
                words += more
                if more > ITEM_WORDS or words > GROUP_WORDS:
                    break
                last += 1
        groups.append((first, last))
        first = last
    return _without_scraps(texts, groups)


def readable(text: str) -> str:
    """A paragraph without links, emphasis and tags, on one line."""
    return " ".join(_MARKS.sub("", _LINK.sub(r"\1", text)).split())


def _without_scraps(texts: Sequence[str], groups: Sequence[tuple[int, int]]) -> list[tuple[int, int]]:
    """Each group of fewer than SCRAP characters as part of the next one; at the end, of the one before."""
    kept: list[tuple[int, int]] = []
    start: int | None = None
    for first, last in groups:
        start = first if start is None else start
        if sum(len(texts[at].strip()) for at in range(start, last)) < SCRAP:
            continue
        kept.append((start, last))
        start = None
    if start is not None:
        kept = [*kept[:-1], (kept[-1][0], len(texts))] if kept else [(start, len(texts))]
    return kept
