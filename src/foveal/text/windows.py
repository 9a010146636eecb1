"""Windows of at most so many tokens over a stretch of text, ending where a reader would stop.

A window ends at the last paragraph end in it (but not after "as follows:" or a title, nor where a sentence goes on),
else sentence end, else line end (of a table, a log, a program, not of wrapped prose; nor before a line without a word,
as a fence), else behind a comma or the like, else line or word end, else between two tokens; the first of these that
leaves the window full enough (a quarter of the limit for a paragraph end, half for the others; a sentence end at a
quarter comes before what cuts a sentence). What is to stay whole, as a block of code, is not cut if the limit allows:
the window ends before it or behind it. A token is never cut; what is blank after a token stays with it, up to the begin
of the next line.

Tokens    any function from a text to (start, end) pairs. Pairs that share characters (the bytes of one emoji) stay
          together; a token longer than 32 characters (a tokenizer's one "unknown" for a whole blob) counts as several
Memory    the text is tokenised in blocks of about 64k characters, so that 256 MB take no more than 64 kB
Time      linear in the text
"""

from __future__ import annotations

import re
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cached_property
from itertools import chain

import numpy as np
from numpy.typing import NDArray

from foveal.errors import InputError
from foveal.text.units import Offsets, goes_on, leads_in, paragraph_starts, sentences

TokenOffsets = Callable[[str], Offsets]
Positions = NDArray[np.int64]

NOTHING: Offsets = []
"""No places: nothing that is to stay whole."""

BLOCK = 2**16
"""Characters tokenised together."""

_LINE_END = re.compile(r"\r\n?|\n")
_NO_WORD = re.compile(r"(?=[^\S\r\n]*+[^\w\s])[^\w\r\n]++(?:[\r\n]|\Z)")
_CLAUSE_END = re.compile(r"(?:[,;:]|--|[—–])[\"'”’»)\]*_]*\s+|[，；：、]")

WRAPPED = 40
"""Characters of a line from which on it may be one of prose that was wrapped."""

LONGEST = 32
"""Characters of a token; a longer one counts as several."""


@dataclass(frozen=True, slots=True)
class Window:
    """Characters `start` to `end` of a text, and the number of tokens in them."""

    start: int
    end: int
    tokens: int


@dataclass(frozen=True, slots=True)
class WindowRule:
    """How long windows are, in tokens, and how they follow each other."""

    limit: int  # most tokens of a window, at least 1
    overlap: int = 0  # tokens that a window repeats of the one before, below `limit`
    even: bool = False  # whether the last two windows share their tokens about evenly, so that no crumb is left

    def __post_init__(self) -> None:
        if not 0 <= self.overlap < self.limit:
            raise InputError(
                f"Windows got max_tokens {self.limit} and overlap {self.overlap}; they need 0 <= overlap < max_tokens."
            )


def windows(
    text: str,
    start: int,
    end: int,
    rule: WindowRule,
    token_offsets: TokenOffsets,
    *,
    body: int = 0,
    whole: Offsets = NOTHING,
) -> Iterator[Window]:
    """Windows over `text[start:end]`, in order, covering it; one, too, where it holds no token, none where it is empty.

    No window ends before `body` (where the text below a heading begins), if the limit allows. A window exceeds the
    limit only where tokens that share characters are more than the limit. `whole` are places of `text`, in order and
    apart, that no window ends in if they have no more tokens than the limit.
    """
    covered, size = start, BLOCK
    while covered < end:
        stop = _block_end(text, start, end, size)
        block = Block(text[start:stop], token_offsets, _among(whole, start, stop))
        base, before = start, covered
        held = block.index(body - start) + 1
        floor = held if held < block.furthest(0, rule.limit) else 0
        for first, last in _cut(block, rule, max(floor, block.index(covered - start) + 1), whole=stop == end):
            yield Window(base + block.begin(first), base + block.end(last), block.tokens(first, last))
            covered = base + block.end(last)
            start = base + block.begin(_next_first(block, first, last, rule.overlap))
        size = BLOCK if covered > before else 2 * size  # too few tokens to cut: read again, twice as far


def count_tokens(text: str, token_offsets: TokenOffsets) -> int:
    """The tokens of `text`, as windows count them."""
    total, start = 0, 0
    while start < len(text):
        stop = _block_end(text, start, len(text), BLOCK)
        block = Block(text[start:stop], token_offsets)
        total, start = total + block.tokens(0, block.count), stop
    return total


class Block:
    """A tokenised stretch of text. Atoms are the smallest pieces to cut between: mostly one token each."""

    def __init__(self, text: str, token_offsets: TokenOffsets, whole: Offsets = NOTHING) -> None:
        """`whole`: places of `text` that no window should end in, in order."""
        self.text = text
        self.starts, self.ends, weights = _atoms(token_offsets(text))
        self.before = np.concatenate(([0], np.cumsum(weights)))  # tokens before each atom, and in all
        self.count = len(self.starts)
        self.whole = [(self.index(start), self.index(end)) for start, end in whole]

    def tokens(self, first: int, last: int) -> int:
        """Tokens of the atoms from `first` up to, without, `last`."""
        return int(self.before[last] - self.before[first])

    def index(self, position: int) -> int:
        """The first atom that begins at or after character `position`."""
        return int(np.searchsorted(self.starts, position))

    def furthest(self, first: int, limit: float) -> int:
        """The last atom `last` for which `tokens(first, last)` is at most `limit`."""
        return int(np.searchsorted(self.before, self.before[first] + limit, side="right")) - 1

    def begin(self, atom: int) -> int:
        """Where a window that opens with `atom` begins: after the line break before it, else at it."""
        if atom == 0:
            return 0
        if atom == self.count:
            return len(self.text)
        line = self.text.rfind("\n", self.ends[atom - 1], self.starts[atom]) + 1
        return line or int(self.starts[atom])

    def end(self, atom: int) -> int:
        """Where a window ends that `atom` follows."""
        return len(self.text) if atom == self.count else self.begin(atom)

    def led_into(self, atom: int) -> bool:
        """Whether what stands before `atom` introduces it, or is the begin of its sentence."""
        return leads_in(self.text, int(self.starts[atom])) or goes_on(self.text, int(self.starts[atom]))

    @cached_property
    def paragraphs(self) -> list[int]:
        """The atoms that open a paragraph."""
        return self._opened(paragraph_starts(self.text))

    @cached_property
    def sentences(self) -> list[int]:
        """The atoms that open a sentence."""
        return self._opened([start for start, _ in sentences(self.text) if not goes_on(self.text, start)])

    @cached_property
    def rows(self) -> list[int]:
        """The atoms that open a line with which nothing goes on: that of a table, a log, a program."""
        ends = [found.span() for found in _LINE_END.finditer(self.text)]
        above = [0, *(end for _, end in ends)]
        going = {end for begin, (stop, end) in zip(above, ends, strict=False) if self._may_go_on(begin, stop, end)}
        small = {end for end in going if self.text[end].islower()}
        wrapped = going if 2 * len(small) >= len(going) else small  # among lines of prose, some begin with a name
        return self._opened([end for _, end in ends if end not in wrapped and not self._closes(end)])

    @cached_property
    def clauses(self) -> list[int]:
        """The atoms behind a comma or the like."""
        return self._opened([found.end() for found in _CLAUSE_END.finditer(self.text)])

    @cached_property
    def lines(self) -> list[int]:
        """The atoms that open a line."""
        ends = [found.end() for found in _LINE_END.finditer(self.text)]
        return self._opened([end for end in ends if not self._closes(end)])

    @cached_property
    def words(self) -> list[int]:
        """The atoms with a gap before them."""
        opened: list[int] = (np.flatnonzero(self.starts[1:] > self.ends[:-1]) + 1).tolist()
        return opened

    def within_sentences(self) -> Iterator[list[int]]:
        """Where to cut a sentence, the better places first."""
        yield self.rows
        yield self.clauses
        yield self.lines
        yield self.words

    def _may_go_on(self, begin: int, stop: int, end: int) -> bool:
        """Whether the line from `begin` to `stop` is as long as one of wrapped prose, and both it and that at `end`
        read on."""
        last = self.text[stop - 1 : stop]
        return stop - begin >= WRAPPED and self.text[end : end + 1].isalpha() and (last.isalnum() or last in ",;-")

    def _closes(self, at: int) -> bool:
        """Whether the line at `at` only ends what stands before it: a fence, a bracket, a rule."""
        return bool(_NO_WORD.match(self.text, at))

    def _opened(self, positions: list[int]) -> list[int]:
        opened: list[int] = np.unique(np.searchsorted(self.starts, positions)).tolist()
        return opened


def _cut(block: Block, rule: WindowRule, floor: int, *, whole: bool) -> Iterator[tuple[int, int]]:
    """Windows of `block` as (first atom, atom after the last); those that what follows the block may change are left.

    `floor` is the first atom at which the first window may end: behind what is covered already.
    """
    first = last = 0
    keep = rule.limit if whole else 2 * rule.limit
    while block.tokens(first, block.count) > keep and last < block.count:
        last = _window_end(block, first, max(first + 1, floor), rule, whole=whole)
        if block.whole:
            last = _around_whole(block, first, last, max(first + 1, floor), rule.limit)
        yield first, last
        first, floor = _next_first(block, first, last, rule.overlap), last + 1
    if whole and (last < block.count or block.count == 0):
        yield first, block.count


def _window_end(block: Block, first: int, floor: int, rule: WindowRule, *, whole: bool) -> int:
    """The atom after a window that opens with `first`: at least `floor`."""
    ceiling = max(floor, block.furthest(first, rule.limit))
    rest = block.tokens(first, block.count)
    if rule.even and whole and rest <= 2 * rule.limit:
        lowest = max(floor, block.furthest(first, max(rule.limit // 4, rest - rule.limit - 1)) + 1)
        highest = max(lowest, min(ceiling, block.furthest(first, rest - rule.limit // 4)))
        if (nearest := _nearest(block, lowest, highest, block.furthest(first, rest // 2))) is not None:
            return nearest
    quarter, half = (max(floor, block.furthest(first, rule.limit // part)) for part in (4, 2))
    for atom in reversed(_between(block.paragraphs, quarter, ceiling)):
        if not block.led_into(atom):
            return atom
    if ends := _between(block.sentences, half, ceiling) or _between(block.sentences, quarter, ceiling):
        return ends[-1]
    return next((places[-1] for one in block.within_sentences() if (places := _between(one, half, ceiling))), ceiling)


def _around_whole(block: Block, first: int, last: int, floor: int, limit: int) -> int:
    """`last`, if it is not within what should stay whole; else behind that, or before it and what leads into it."""
    at = bisect_right(block.whole, last, key=lambda place: place[0]) - 1
    start, end = block.whole[at] if at >= 0 else (last, last)
    if last >= end or block.tokens(start, end) > limit:
        return last
    if start < last and end <= block.furthest(first, limit):
        return end
    if start < floor:
        return last
    before = _between(block.paragraphs, floor, start)
    return next((atom for atom in reversed(before) if not block.led_into(atom)), start)


def _among(whole: Offsets, start: int, stop: int) -> Offsets:
    """Those of the places that lie in text[start:stop], or begin there, as places of it."""
    first = bisect_left(whole, start, key=lambda place: place[0])
    last = bisect_left(whole, stop, key=lambda place: place[0])
    return [(a - start, min(b, stop) - start) for a, b in whole[first:last]]


def _nearest(block: Block, lowest: int, highest: int, middle: int) -> int | None:
    """The paragraph end, else sentence end, from `lowest` to `highest` that is nearest to `middle`; None: none."""
    places = [atom for atom in _between(block.paragraphs, lowest, highest) if not block.led_into(atom)]
    places = places or _between(block.sentences, lowest, highest)
    return min(places, key=lambda place: abs(place - middle)) if places else None


def _between(atoms: list[int], lowest: int, highest: int) -> list[int]:
    return atoms[bisect_left(atoms, lowest) : bisect_right(atoms, highest)]


def _next_first(block: Block, first: int, last: int, overlap: int) -> int:
    """The atom that opens the window after (first, last): `overlap` tokens back at most, where one may begin."""
    if overlap == 0 or last == block.count:
        return last
    earliest = max(first + 1, int(np.searchsorted(block.before, block.before[last] - overlap)))
    for opened in (block.sentences, block.lines, block.words):
        at = bisect_left(opened, earliest)
        if at < len(opened) and opened[at] < last:
            return opened[at]
    return min(earliest, last)


def _atoms(offsets: Offsets) -> tuple[Positions, Positions, Positions]:
    """Starts, ends and tokens of the pieces that may not be cut: tokens that share characters are one piece."""
    flat = np.fromiter(chain.from_iterable(offsets), dtype=np.int64, count=2 * len(offsets)).reshape(-1, 2)
    if not len(flat):
        return flat[:, 0], flat[:, 1], flat[:, 0]
    starts, reached = flat[:, 0], np.maximum.accumulate(flat[:, 1])
    opens = np.concatenate(([0], np.flatnonzero(starts[1:] >= reached[:-1]) + 1))
    closes = np.concatenate((opens[1:], [len(flat)])) - 1
    return _split(starts[opens], reached[closes], closes - opens + 1)


def _split(starts: Positions, ends: Positions, weights: Positions) -> tuple[Positions, Positions, Positions]:
    """The atoms with each of more than LONGEST characters, one token only, cut into several."""
    pieces = np.where(weights == 1, -((starts - ends) // LONGEST), 1).clip(1)
    if (pieces == 1).all():
        return starts, ends, weights
    inside = np.arange(pieces.sum()) - np.repeat(np.cumsum(pieces) - pieces, pieces)
    cut_starts = np.repeat(starts, pieces) + inside * LONGEST
    whole_ends = np.repeat(ends, pieces)
    cut_ends = np.where(np.repeat(pieces, pieces) == 1, whole_ends, np.minimum(cut_starts + LONGEST, whole_ends))
    return cut_starts, cut_ends, np.repeat(weights, pieces)


def _block_end(text: str, start: int, end: int, size: int) -> int:
    """Where to end a block of up to `size` characters: at `end`, or at a line's or word's end in its last half."""
    stop = start + size
    if stop >= end:
        return end
    for mark in ("\n", " "):
        at = text.rfind(mark, start + size // 2, stop)
        if at >= 0:
            return at + 1
    return stop
