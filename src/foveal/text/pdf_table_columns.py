"""The columns of what may be a table in a PDF: strips between which nothing stands, or a ruled line does.

    lines = lines_of(rows, rules)                  # the pieces of words that stand at one height, from the top
    grid = columns_of(lines, rules)                # Grid(lines, edges, above) or None

Pieces    words between gaps that are wider than a blank; a line down parts them, too
Strips    are blank in all lines of several pieces, but for a few; heads that stand over several columns are left aside
          where there are more columns without them
Columns   hold pieces of several lines; signs that belong to a number ($, %, ±) are part of its column
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from statistics import median

from foveal.text.pdf_table_rules import Down, Rules
from foveal.text.pdf_table_words import LEVEL, Row, Word

BLANK = 0.5
"""Times the size of letters: words farther apart are of two pieces; a strip between columns is as wide."""

TINY, BREAKS = 0.12, (0, 2)
"""Times the size of letters: nearer ones are of one word; characters between them: of a line's end, or none."""

HEADS = 3
"""Lines of a head that may stand over several columns."""

FEW = 0.15
"""Of the lines: as many may cross a strip."""

MOST_COLUMNS = 40

LONG = 0.6
"""Of the lines' height: as long is a ruled line between columns."""

SLACK = 1.5
"""Points by which a piece may stand out of its column."""

_BEFORE_NUMBER = re.compile(r"[$€£¥₹(~≈<>≤≥]{1,2}|US\\$|EUR|USD|GBP|CHF")
_BEHIND_NUMBER = re.compile(r"[%)‰*†‡]{1,3}")
_WITHIN_NUMBER = re.compile(r"±|×|\+/-")


@dataclass(frozen=True, slots=True)
class Piece:
    """Words of a line that stand close to each other."""

    words: tuple[Word, ...]

    @property
    def left(self) -> float:
        return self.words[0].left

    @property
    def right(self) -> float:
        return self.words[-1].right

    @property
    def middle(self) -> float:
        return (self.left + self.right) / 2


@dataclass(frozen=True, slots=True)
class Level:
    """The pieces that stand at one height, from the left, and the size of their letters."""

    pieces: tuple[Piece, ...]
    level: float
    size: float

    @property
    def left(self) -> float:
        return self.pieces[0].left

    @property
    def right(self) -> float:
        return self.pieces[-1].right


@dataclass(frozen=True, slots=True)
class Grid:
    """Lines and where their columns part: column n is from `edges[n]` to `edges[n + 1]`.

    `heads` are lines at the top that were left aside as they stand over several columns.
    """

    lines: tuple[Level, ...]
    edges: tuple[float, ...]
    heads: int

    @property
    def width(self) -> int:
        return len(self.edges) - 1

    def held(self) -> list[list[Piece]]:
        """The pieces that stand in each column, and in no other."""
        held: list[list[Piece]] = [[] for _ in range(self.width)]
        for line in self.lines:
            for piece in line.pieces:
                first, last = self.span(piece)
                if first == last:
                    held[first].append(piece)
        return held

    def span(self, piece: Piece) -> tuple[int, int]:
        """The first and the last column in which a piece stands."""
        most = len(self.edges) - 2
        first = bisect_right(self.edges, piece.words[0].left + SLACK) - 1
        last = bisect_right(self.edges, piece.words[-1].right - SLACK) - 1
        first = min(max(first, 0), most)
        return first, min(max(last, first), most)


def lines_of(rows: Iterable[Row], rules: Rules) -> tuple[Level, ...]:
    """The lines in which words stand, whatever the order in which the PDF has them."""
    sized = sorted(((word, row.size) for row in rows for word in row.words), key=lambda one: -one[0].level)
    lines: list[list[tuple[Word, float]]] = []
    for word, size in sized:
        if lines and lines[-1][0][0].level - word.level < LEVEL * min(size, lines[-1][0][1]):
            lines[-1].append((word, size))
        else:
            lines.append([(word, size)])
    return tuple(_level(line, rules.down) for line in lines)


def _level(line: Sequence[tuple[Word, float]], down: Sequence[Down]) -> Level:
    words = sorted((word for word, _ in line), key=lambda word: word.left)
    size = median(size for _, size in line)
    level = Counter(round(word.level, 1) for word in words).most_common(1)[0][0]
    held: list[list[Word]] = []
    for word in _joined(words, size):
        if held and word.left - held[-1][-1].right < BLANK * size and not _ruled_off(held[-1][-1], word, down):
            held[-1].append(word)
        else:
            held.append([word])
    return Level(tuple(Piece(tuple(words)) for words in held), level, size)


def _joined(words: Sequence[Word], size: float) -> Iterator[Word]:
    """The words of a line; pdfium may give a page letter by letter, each as a line, where a table fills it."""
    whole: Word | None = None
    for word in words:
        if whole and word.start - whole.end in BREAKS and word.left - whole.right < TINY * size:
            whole = replace(whole, end=word.end, right=word.right)
        else:
            if whole:
                yield whole
            whole = word
    if whole:
        yield whole


def _ruled_off(one: Word, other: Word, down: Sequence[Down]) -> bool:
    """Whether a line goes down between two words."""
    return any(
        one.right - SLACK < rule.x < other.left + SLACK and rule.bottom <= one.level + 1 < rule.top for rule in down
    )


def columns_of(lines: Sequence[Level], rules: Rules) -> Grid | None:
    """The columns in which lines stand; None where there are not two."""
    several = [n for n, line in enumerate(lines) if len(line.pieces) > 1]
    best: Grid | None = None
    for few in (0.0, FEW):
        for heads in range(HEADS + 1):
            body = several[heads:]
            if len(body) < 3 and heads:
                break
            found = _strips([lines[n] for n in body], rules, few)
            if len(found) > (len(best.edges) - 2 if best else 0):
                left, right = min(line.left for line in lines), max(line.right for line in lines)
                best = Grid(tuple(lines), (left - SLACK, *found, right + SLACK), body[0] if heads else 0)
        if best is not None:
            break
    ruled = _ruled(lines, rules)
    if len(ruled) > 2 and (best is None or len(ruled) >= len(best.edges) or not _shared(lines, ruled)):
        best = Grid(tuple(lines), ruled, 0)
    return _cut(best) if best and best.width <= MOST_COLUMNS else None


def _ruled(lines: Sequence[Level], rules: Rules) -> tuple[float, ...]:
    """Where ruled lines go down between the columns, and the ends of those across; nothing where none go down."""
    several = [line for line in lines if len(line.pieces) > 1]
    if not several:
        return ()
    top, bottom = several[0].level, several[-1].level
    left, right = min(line.left for line in several), max(line.right for line in several)
    long = [rule.x for rule in rules.down if min(rule.top, top) - max(rule.bottom, bottom) > LONG * (top - bottom)]
    inside = [x for x in long if left + SLACK < x < right - SLACK]
    along = [rule for rule in rules.across if rule.left < left + SLACK and rule.right > right - SLACK]
    return (left - SLACK, *inside, right + SLACK) if along and len(inside) < MOST_COLUMNS else ()


def _shared(lines: Sequence[Level], edges: Sequence[float]) -> bool:
    """Whether most lines have several pieces between two of the edges: ruled lines part only some of the columns."""
    counts = [
        Counter(bisect_right(edges, piece.middle) for piece in line.pieces) for line in lines if len(line.pieces) > 1
    ]
    return 2 * sum(max(count.values()) > 1 for count in counts) > len(counts)


def _strips(lines: Sequence[Level], rules: Rules, few: float) -> list[float]:
    """The middles of the strips that hardly any line crosses, each with columns at its sides."""
    if len(lines) < 2:
        return []
    size = median(line.size for line in lines)
    allowed = int(few * len(lines))
    bounds = sorted(bound for line in lines for piece in line.pieces for bound in ((piece.left, 1), (piece.right, -1)))
    covered, strips, since = 0, list[tuple[float, float]](), bounds[0][0]
    for (place, step), (following, _) in pairwise(bounds):
        was, covered = covered, covered + step
        if was > allowed >= covered:
            since = place
        if covered <= allowed and following > place:
            end = following
            if strips and strips[-1][0] == since:
                strips[-1] = since, end
            else:
                strips.append((since, end))
    wide = [strip for strip in strips if _parts(strip, size, lines, rules.down)]
    return [*_between([sum(strip) / 2 for strip in wide], lines, allowed)]


def _parts(strip: tuple[float, float], size: float, lines: Sequence[Level], down: Sequence[Down]) -> bool:
    """Whether a strip is wide enough, or ruled."""
    if strip[1] - strip[0] >= BLANK * size:
        return True
    top, bottom = lines[0].level, lines[-1].level
    return any(
        strip[0] - SLACK < rule.x < strip[1] + SLACK and rule.bottom <= bottom + size and rule.top >= top
        for rule in down
    )


def _between(middles: Sequence[float], lines: Sequence[Level], allowed: int) -> Iterator[float]:
    """Those of the places between columns that have pieces of several lines on both of their sides."""
    if len(middles) > MOST_COLUMNS:
        return
    counted = Counter[int]()
    for line in lines:
        counted.update({bisect_right(middles, piece.middle) for piece in line.pieces})
    least = max(1, allowed)
    behind = counted[0]
    for n, middle in enumerate(middles, 1):
        if behind > least and sum(counted[k] for k in range(n, len(middles) + 1)) > least:
            yield middle
            behind = counted[n]
        else:
            behind += counted[n]


def _cut(grid: Grid) -> Grid:
    """The grid, pieces that cross from column to column cut where a blank lies between these."""
    return replace(grid, lines=tuple(replace(line, pieces=tuple(_cut_pieces(grid, line))) for line in grid.lines))


def _cut_pieces(grid: Grid, line: Level) -> Iterator[Piece]:
    for piece in line.pieces:
        first, last = grid.span(piece)
        if first == last or len(line.pieces) == 1:
            yield piece
            continue
        at = 0
        for n, (before, word) in enumerate(pairwise(piece.words), 1):
            over = any(before.right - SLACK <= edge <= word.left + SLACK for edge in grid.edges[first + 1 : last + 1])
            if over and word.left - before.right > BLANK / 2 * line.size:
                yield Piece(piece.words[at:n])
                at = n
        yield Piece(piece.words[at:])


def signs_joined(grid: Grid, said: Sequence[Sequence[str]]) -> Grid:
    """The grid without columns that hold but signs of numbers; `said`: what each column's pieces say."""
    edges = list(grid.edges)
    for n in reversed(range(grid.width)):
        words = [word for word in said[n] if word]
        if not words:
            continue
        if n + 1 < grid.width and all(map(_BEFORE_NUMBER.fullmatch, words)):
            edges.pop(n + 1)
        elif n and all(map(_BEHIND_NUMBER.fullmatch, words)):
            edges.pop(n)
        elif 0 < n < grid.width - 1 and all(map(_WITHIN_NUMBER.fullmatch, words)):
            del edges[n : n + 2]
    return replace(grid, edges=tuple(edges))
