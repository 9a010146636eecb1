"""Blocks of a PDF that stand for several of its lines, and are written once all else is put together: code, tables.

    marked = mark_of(3)                            # one character that no text holds, a number, another such
    pages, within = fenced(pages, blocks)          # the blocks in the marks' places; pages that begin within one

A block that goes on over a page's end is one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from itertools import pairwise
from typing import Protocol

Mend = Callable[[str], str]
"""What joins the words that hyphens cut."""

_MARK = re.compile("\ufdd0(\\d+)\ufdd1")
_MARKS = re.compile("[\ufdd0\ufdd1]")  # no characters of any text


class Block(Protocol):
    """The lines of a block, from top to bottom of one page."""

    def goes_on(self, other: Block) -> bool:
        """Whether the block goes on with another one, at the top of the next page."""
        ...

    def written(self, others: Sequence[Block], mend: Mend) -> list[str]:
        """How the block, and each of those with which it goes on, is written."""
        ...


def mark_of(number: int) -> str:
    """What stands for a block among lines."""
    return f"\ufdd0{number}\ufdd1"


def is_mark(line: str) -> bool:
    """Whether a line stands for a block."""
    return bool(_MARK.fullmatch(line))


def without_marks(line: str) -> str:
    """A line as the file has it, without what would read as such a mark."""
    return _MARKS.sub("", line)


def fenced(pages: Sequence[str], blocks: Sequence[Block], mend: Mend = str) -> tuple[list[str], set[int]]:
    """The pages with the blocks in the marks' places, and the pages that begin within a block of the page before."""
    chains, going_on = {number: [number] for number in range(len(blocks))}, set[int]()
    for number, (page, following) in enumerate(pairwise(pages), 1):
        last, first = _last(page), _first(following)
        if last is not None and first is not None and blocks[chains[last][0]].goes_on(blocks[first]):
            going_on.add(number)
            chains[last].append(first)
            chains[first] = chains[last]
    shown = dict[int, str]()
    for chain in (chain for number, chain in chains.items() if chain[0] == number):
        written = blocks[chain[0]].written([blocks[number] for number in chain[1:]], mend)
        shown.update(zip(chain, written, strict=True))
    return [_MARK.sub(lambda found: shown.get(int(found[1]), ""), page) for page in pages], going_on


def _last(page: str) -> int | None:
    """Which block a page ends with."""
    found = _MARK.fullmatch(page, page.rfind("\n") + 1)
    return int(found[1]) if found else None


def _first(page: str) -> int | None:
    """Which block a page begins with."""
    found = _MARK.fullmatch(page.partition("\n")[0])
    return int(found[1]) if found else None
