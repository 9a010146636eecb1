"""Which of a PDF's lines are a table, and which stand above and below it: sentences, captions, a page's head, notes.

    lines = without_prose(lines, rules)            # the longest run without full lines of text
    lines = trimmed(grid, rules, bars, said)       # from the head of the table to the last line of its last row

Ruled     the lines that go down say where a table begins and ends; else the first one across below its last row ends
          it, and the highest one above its body that is a head's height apart begins it
Not so    lines above belong to it as names of columns; a line below does where it goes on with a cell of the last row
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from foveal.text.pdf_table_columns import Grid, Level
from foveal.text.pdf_table_rows import Said, is_number, is_year
from foveal.text.pdf_table_rules import Across, Down, Rules

ALONG = 0.8
"""Of a table's width: a ruled line that parts its rows is as long."""

HEADS = 4
"""Lines of a head between two ruled lines."""

WORDS, STRETCHED, FULL, LONE = 5, 1.0, 0.8, 0.7
"""Words of a line of text, times the size of letters a stretched blank, and the share of the width that words fill; of
a line without gaps."""

MANY, NARROW = 3, 0.8
"""Gaps of a line which are all narrower, in sizes of letters: they are stretched blanks."""

EDGE = 5.0
"""Points within a table from which on a line that goes down is between columns; by which those across end alike."""

ABOVE, BELOW, BESIDE = 2.5, 2.0, 50.0
"""How far off a table's ruled lines may be: in sizes of letters above and below it; in points, if they go down."""

NAMED, NEXT, ROW = 2.2, 1.45, 3.0
"""Sizes of letters from a line of the head to the next one, between lines of a cell, and from row to row."""

_NUMBER = re.compile(r"\d{1,4}|[ivxlc]{1,7}")


def bars_of(grid: Grid, across: Sequence[Across]) -> list[float]:
    """The heights of the ruled lines that go along the table, from the top."""
    several = [line for line in grid.lines if len(line.pieces) > 1]
    left, right = min(line.left for line in several), max(line.right for line in several)
    top, bottom = grid.lines[0], grid.lines[-1]
    along = [
        rule
        for rule in across
        if min(right, rule.right) - max(left, rule.left) >= ALONG * (right - left)
        and bottom.level - BELOW * bottom.size < rule.level < top.level + ABOVE * top.size
    ]
    alike = [
        [other for other in along if abs(other.left - one.left) + abs(other.right - one.right) < EDGE] for one in along
    ]
    most = max(alike, key=len, default=[])
    return [rule.level for rule in (most if len(most) > 1 else along)]


def runs_along(lines: Sequence[Level], said: Said) -> bool:
    """Whether the first line of a page is but its head, with its number, and not set as the next one is."""
    line, following = lines[0], lines[1] if len(lines) > 1 else None
    words = [said(piece) for piece in line.pieces]
    edges = {words[0].split()[0], words[-1].split()[-1]}
    numbers = [one for one in edges if _NUMBER.fullmatch(one) and not is_year(one)]
    if len(words) > 3 or not numbers or sum(map(is_number, words)) >= max(2, len(words)):
        return False
    if following is None or len(following.pieces) != len(line.pieces):
        return True
    beside = zip(line.pieces, following.pieces, strict=True)
    return not all(min(abs(a.left - b.left), abs(a.right - b.right)) < EDGE for a, b in beside)


def without_prose(lines: Sequence[Level], rules: Rules) -> tuple[Level, ...]:
    """The longest run of lines that do not read as full lines of text with stretched blanks."""
    if not lines:
        return ()
    left, right = min(line.left for line in lines), max(line.right for line in lines)
    runs: list[list[Level]] = [[]]
    for line in lines:
        ruled = any(
            rule.bottom <= line.level + 1 < rule.top and left + EDGE < rule.x < right - EDGE for rule in rules.down
        )
        if not ruled and _is_prose(line, left, right):
            runs.append([])
        else:
            runs[-1].append(line)
    return tuple(max(runs, key=lambda run: sum(len(line.pieces) for line in run)))


def _is_prose(line: Level, left: float, right: float) -> bool:
    gaps = [other.left - one.right for one, other in pairwise(line.pieces)]
    widest = max(gaps, default=0.0)
    if len(gaps) >= MANY and widest < NARROW * line.size:
        return True
    if sum(len(piece.words) for piece in line.pieces) < WORDS or line.left > left + 2 * line.size:
        return False
    full = FULL if gaps else LONE
    return widest < STRETCHED * line.size and line.right - line.left - sum(gaps) > full * (right - left)


def trimmed(grid: Grid, rules: Rules, bars: Sequence[float], said: Said) -> tuple[Level, ...]:
    """The lines without those above and below the table."""
    lines = grid.lines
    several = [n for n, line in enumerate(lines) if len(line.pieces) > 1]
    begin = _begin(grid, several, bars)
    if framed := _frame(grid, rules.down):
        within = [n for n, line in enumerate(lines) if framed[0] < line.level + line.size / 3 < framed[1]]
        return lines[within[0] : within[-1] + 1] if within else lines
    while len(several) > 1 and _crosses(grid, lines[several[-1]]):
        several.pop()
    end = several[-1] + 1
    bottom = next((bar for bar in bars if bar < lines[several[-1]].level), None)
    while end < len(lines) and _follows(grid, lines[end], lines[end - 1], bottom, said):
        end += 1
    if len(bars) > 1 and sum(lines[n].level < bars[-1] for n in several) < 2:
        behind = max((n + 1 for n in range(begin, end) if lines[n].level > bars[-1]), default=end)
        end = behind + (behind < end and _fits(grid, lines[behind - 1], lines[behind], said))
    return lines[begin:end]


def _frame(grid: Grid, down: Sequence[Down]) -> tuple[float, float] | None:
    """The lowest and the highest place of the ruled lines that go down between columns for most of the lines."""
    top, bottom = grid.lines[0].level, grid.lines[-1].level
    between = [(max(rule.bottom, bottom - BESIDE), min(rule.top, top + BESIDE)) for rule in between_columns(grid, down)]
    return (min(one for one, _ in between), max(other for _, other in between)) if between else None


def between_columns(grid: Grid, down: Sequence[Down]) -> list[Down]:
    """The ruled lines that go down between columns for most of the lines."""
    top, bottom = grid.lines[0].level, grid.lines[-1].level
    return [
        rule
        for rule in down
        if min(top, rule.top) - max(bottom, rule.bottom) >= (top - bottom) / 2
        and any(abs(edge - rule.x) < 2 * EDGE for edge in grid.edges[1:-1])
    ]


def _begin(grid: Grid, several: Sequence[int], bars: Sequence[float]) -> int:
    """The first line of the table: from its body up, as long as lines belong to its head."""
    lines = grid.lines
    at = grid.heads or next((n for n in several[:-1] if not _crosses(grid, lines[n])), several[0])
    top = _top(lines, at, bars)
    while at and lines[at - 1].level - lines[at].level <= NAMED * lines[at].size:
        line = lines[at - 1]
        inside = top is not None and line.level < top
        if not inside and not (_leads(grid, line) if top is None else _names(grid, line)):
            break
        at -= 1
    return at


def _top(lines: Sequence[Level], at: int, bars: Sequence[float]) -> float | None:
    """The highest of the ruled lines above a table's body that are a head's height apart."""
    top, level = None, lines[at].level
    for bar in reversed(bars):
        if bar > level:
            if sum(level < line.level < bar for line in lines) > HEADS:
                break
            top = level = bar
    return top


def _names(grid: Grid, line: Level) -> bool:
    """Whether a line above the ruled ones names nearly all columns."""
    spans = [grid.span(piece) for piece in line.pieces]
    return all(a == b for a, b in spans) and len(spans) >= max(2, grid.width - 1)


def _leads(grid: Grid, line: Level) -> bool:
    """Whether a line above a table that is not ruled belongs to its head."""
    spans = [grid.span(piece) for piece in line.pieces]
    crossing = [piece for piece, (first, last) in zip(line.pieces, spans, strict=True) if first != last]
    if any(len(piece.words) > WORDS for piece in line.pieces):
        return False
    if len(line.pieces) == 1:
        return spans[0][0] > 0 and grid.width > 2
    return not crossing or all(grid.span(piece)[0] > 0 and len(piece.words) < WORDS / 2 for piece in crossing)


def _crosses(grid: Grid, line: Level) -> bool:
    """Whether pieces of a line stand in several columns."""
    return any(first != last for first, last in map(grid.span, line.pieces))


def _fits(grid: Grid, above: Level, line: Level, said: Said) -> bool:
    """Whether a line below the last ruled one is a row, such as that of totals."""
    spans = [grid.span(piece) for piece in line.pieces]
    apart = all(first == last for first, last in spans) and len({*spans}) > 1
    near = above.level - line.level < ROW * line.size
    return near and apart and any(is_number(said(piece)) for piece in line.pieces[1:])


def _follows(grid: Grid, line: Level, above: Level, bottom: float | None, said: Said) -> bool:
    """Whether a line of one piece below a table belongs to its last row."""
    first, last = grid.span(line.pieces[0])
    if first != last:
        return False
    if bottom is not None:
        return line.level > bottom
    if above.level - line.level > NEXT * line.size:
        return False
    return first > 0 or said(line.pieces[0])[:1].islower()
