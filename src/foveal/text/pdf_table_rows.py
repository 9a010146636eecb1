"""The rows of a table in a PDF, of the lines that stand in its columns: which are its head, which go on with a row.

    heads = head_of(lines)                         # 2: the first two lines
    names_of(lines, heads, said, partial)          # ("Mill", "Built", …)
    [row_of(lines, group) for group in grouped(lines, heads)]      # [("Sea mill", "1790", …), …]

Rows      ruled lines part them, and blank space that is wider than between the lines of a cell; else a line goes on
          with the row above where it fills few of its columns, and no column has two numbers then
Head      the lines above the first ruled line, else bold ones, else those without numbers above columns of numbers.
          What stands over several columns is put before the name of each
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import groupby

from foveal.text.pdf_table_columns import Grid, Level, Piece
from foveal.text.pdf_table_rules import Across
from foveal.text.pdf_table_words import Word

MOST_HEADS = 5
"""Lines of a head."""

OVERLAP = 0.9
"""Times the size of letters: lines that are nearer are of one row, whose cells stand at different heights."""

LOOSE = 1.2
"""Times the least distance of lines, from which on they are of two rows."""

BANDS = 3
"""Stretches between ruled lines, from which on each is a row."""

CENTRED = 1.5
"""Times the size of letters by which a head may stand beside the middle of its columns."""

_NUMBER = re.compile(
    r"[(\[]?[-+−–±~≈<>≤≥]?\s?(?:US)?[$€£¥₹]?\s?\(?[-+−–]?"
    r"\d[\d.,'’ \u00a0\u202f]*(?:[eE][-+−]?\d+)?(?:\s?[-–/:×x±]\s?\d[\d.,]*)*"
    r"\s?(?:%|‰|°C?|[a-zA-Zµμ]{1,2}|[kKMG]?Hz|min|pts?|bps|[kMG]i?B)?[)\]]?[%*†‡⁰¹²³⁴-⁹]{0,3}"
)
_NOTHING = re.compile(r"[-–—−.·…]{1,3}|n/?a\.?|nil|tbd", re.IGNORECASE)
_YEAR = re.compile(r"(?:FY\s?)?(?:1[5-9]|20)\d\d(?:[-/–]\d{2,4})?")
_HYPHENS = ("\x02", "\ufffe")

Said = Callable[[Piece], str]
Cells = dict[int, list[str]]
"""What stands in the columns of a line or row, piece by piece."""


def is_number(cell: str) -> bool:
    """Whether a cell holds a number, with its sign, unit or mark."""
    return bool(_NUMBER.fullmatch(cell.strip()))


def is_nothing(cell: str) -> bool:
    """Whether a cell is empty, or says that there is nothing."""
    return not cell.strip() or bool(_NOTHING.fullmatch(cell.strip()))


def is_year(cell: str) -> bool:
    """Whether a cell holds a year, as heads of columns do."""
    return bool(_YEAR.fullmatch(cell.strip()))


@dataclass(frozen=True, slots=True)
class Lines:
    """The lines of a table in its columns, the ruled lines across it, and which lines are bold."""

    grid: Grid
    cells: tuple[Mapping[int, str], ...]  # by the first column in which a piece stands
    bars: tuple[float, ...]  # heights, from the top
    shades: tuple[float, ...]  # of the edges of coloured boxes
    bold: tuple[bool, ...]
    columns: tuple[tuple[float, float], ...]  # from where to where they go
    widest: tuple[float, ...]  # the longest line of a cell in each

    @property
    def width(self) -> int:
        return self.grid.width

    def ruled(self, n: int) -> bool:
        """Whether a ruled line parts line `n` from the next one."""
        above, below = self.grid.lines[n], self.grid.lines[n + 1]
        return any(below.level + 0.3 * below.size < bar < above.level for bar in (*self.bars, *self.shades))

    def down(self, n: int) -> float:
        """How far it is from line `n` to the next one, in sizes of letters."""
        above, below = self.grid.lines[n], self.grid.lines[n + 1]
        return (above.level - below.level) / max(1.0, min(above.size, below.size))


def numeric(rows: Sequence[Sequence[str] | Mapping[int, str]], width: int) -> set[int]:
    """The columns that hold numbers: most of the cells that hold anything, and at least two."""
    found = set[int]()
    for column in range(width):
        cells = [row.get(column, "") if isinstance(row, Mapping) else row[column] for row in rows]
        said = [cell for cell in cells if not is_nothing(cell)]
        numbers = sum(map(is_number, said))
        if numbers >= 2 and numbers >= 0.7 * len(said):
            found.add(column)
    return found


def head_of(lines: Lines) -> int:
    """How many lines at the top are the head; 0: none can be told."""
    count = len(lines.cells)
    ruled = [n + 1 for n in range(count - 1) if lines.ruled(n)]
    first = next((n for n in ruled if n >= lines.grid.heads + 1), 0)
    if 0 < first <= MOST_HEADS and first < count and not _counts(lines, first):
        return first
    bold = next((n for n, one in enumerate(lines.bold) if not one), 0)
    if lines.grid.heads < bold <= MOST_HEADS and bold < count:
        return bold
    return _above_numbers(lines)


def _counts(lines: Lines, heads: int) -> bool:
    """Whether what stands above a ruled line are rows of numbers like those below."""
    below = numeric(lines.cells[heads:], lines.width)
    above = numeric(lines.cells[:heads], lines.width)
    cells = [row[column] for row in lines.cells[:heads] for column in above if column in row]
    return heads > 1 and bool(above & below) and not all(map(is_year, cells))


def is_above_numbers(lines: Lines, heads: int) -> bool:
    """Whether the names of columns of numbers are none themselves, but for years."""
    columns = numeric(lines.cells[heads:], lines.width)
    named = [cells[column] for cells in lines.cells[:heads] for column in columns if column in cells]
    return bool(named) and not any(is_number(one) and not is_year(one) for one in named)


def _above_numbers(lines: Lines) -> int:
    columns = numeric(lines.cells[1:], lines.width)
    if not columns:
        return 0
    for n, cells in enumerate(lines.cells[: MOST_HEADS + 1]):
        numbers = [cells[column] for column in columns if column in cells and is_number(cells[column])]
        years = all(_YEAR.fullmatch(one) for one in numbers)
        if numbers and not (years and not _YEAR.fullmatch(lines.cells[-1].get(max(columns), ""))):
            return n if n <= MOST_HEADS and any(column in row for row in lines.cells[:n] for column in columns) else 0
    return 0


def grouped(lines: Lines, first: int) -> list[list[int]]:
    """The lines from `first` on as rows, each with the lines of its cells."""
    count = len(lines.cells)
    bands: list[list[int]] = [[first]]
    for n in range(first, count - 1):
        if lines.ruled(n):
            bands.append([])
        bands[-1].append(n + 1)
    if len(bands) >= BANDS and not any(_clash(lines, band[:k], n) for band in bands for k, n in enumerate(band)):
        return bands
    apart = [down for down in map(lines.down, range(first, count - 1)) if down >= OVERLAP]
    least = min(apart, default=0.0)
    mixed = any(down > LOOSE * least for down in apart) or len(bands) > 2
    rows: list[list[int]] = [[first]]
    for n in range(first, count - 1):
        down = lines.down(n)
        near = down < OVERLAP or (down <= LOOSE * least and _goes_on(lines, rows[-1], n + 1, mixed=mixed))
        if near and not lines.ruled(n):
            rows[-1].append(n + 1)
        else:
            rows.append([n + 1])
    return rows


def _clash(lines: Lines, row: Sequence[int], n: int) -> bool:
    """Whether a column would have two numbers in one row."""
    return any(
        is_number(cell) and any(is_number(lines.cells[k].get(column, "")) for k in row)
        for column, cell in lines.cells[n].items()
    )


def _goes_on(lines: Lines, row: Sequence[int], n: int, *, mixed: bool) -> bool:
    """Whether line `n`, as near as the lines of a cell, goes on with the row of the lines above."""
    held = set[int]().union(*(lines.cells[k] for k in row))
    cells = lines.cells[n]
    both = held & cells.keys()
    if _clash(lines, row, n):
        return False
    if set(cells) == {0}:
        return cells[0][:1].islower() or (mixed and held != {0} and _full(lines, row[-1], n))
    if 0 not in cells:
        if not cells.keys() <= held and 0 not in held:
            return False
        return mixed or len(cells) < max(2, lines.width - 1)
    if held == {0}:  # a label of two lines, with its numbers behind the last one
        return cells[0][:1].islower()
    return mixed and not any(map(is_number, cells.values())) and all(_full(lines, row[-1], n, c) for c in both)


def _full(lines: Lines, above: int, below: int, column: int = 0) -> bool:
    """Whether a cell's line above is so full that the first word of the one below had no room in it."""
    pieces = {lines.grid.span(piece)[0]: piece for piece in lines.grid.lines[above].pieces}
    following = {lines.grid.span(piece)[0]: piece for piece in lines.grid.lines[below].pieces}
    if column not in pieces or column not in following:
        return column not in pieces
    word = following[column].words[0]
    room = lines.widest[column] - (pieces[column].right - pieces[column].left)
    return word.right - word.left + 0.2 * lines.grid.lines[above].size > room


def row_of(lines: Lines, group: Sequence[int]) -> tuple[str, ...]:
    """The cells of a row, each in one line."""
    return tuple(put_together([lines.cells[n][c] for n in group if c in lines.cells[n]]) for c in range(lines.width))


def put_together(parts: Sequence[str]) -> str:
    """The lines of a cell as one; a hyphen at a line's end is followed by no blank."""
    said = ""
    for part in parts:
        tight = said.endswith(_HYPHENS) or (said.endswith("-") and said[-2:-1].isalpha() and part[:1].islower())
        said += part if tight or not said else f" {part}"
    return said


def names_of(lines: Lines, heads: int, said: Said, partial: Sequence[Across]) -> tuple[str, ...]:
    """What the columns are called, from the first `heads` lines."""
    names: list[list[str]] = [[] for _ in range(lines.width)]
    for n in range(heads):
        for (first, last), piece in _over(lines, n, heads, partial):
            words = said(piece)
            for column in range(first, last + 1):
                names[column].append(words)
    return tuple(map(put_together, names))


def _over(lines: Lines, n: int, heads: int, partial: Sequence[Across]) -> Iterator[tuple[tuple[int, int], Piece]]:
    """The pieces of a head's line, each with the columns that it stands over."""
    grid, line = lines.grid, lines.grid.lines[n]
    if n + 1 == heads:
        yield from ((grid.span(piece), piece) for piece in line.pieces)
        return
    groups = _groups(lines, line)
    below = grid.lines[n + 1].level
    for k, piece in enumerate(line.pieces):
        bars = [rule for rule in partial if below < rule.level < line.level]
        own = [bar for bar in bars if sum(bar.left <= one.middle <= bar.right for one in line.pieces) < 2]
        parts = list(_by_bar(piece, own if len(line.pieces) > 1 else bars))
        for bar, part in parts:
            under = [
                c for c, (a, b) in enumerate(lines.columns) if bar and bar.left - 1 <= (a + b) / 2 <= bar.right + 1
            ]
            if under:
                yield (min(under), max(under)), part
            else:
                yield (groups[k] if groups and len(parts) == 1 else grid.span(part)), part


def _by_bar(piece: Piece, bars: Sequence[Across]) -> Iterator[tuple[Across | None, Piece]]:
    """The words of a piece over each of the short ruled lines."""
    for bar, words in groupby(piece.words, key=lambda word: _below(word, bars)):
        yield bar, Piece(tuple(words))


def _below(word: Word, bars: Sequence[Across]) -> Across | None:
    middle = (word.left + word.right) / 2
    return next((bar for bar in bars if bar.left <= middle <= bar.right), None)


def _groups(lines: Lines, line: Level) -> list[tuple[int, int]]:
    """The columns of each piece where a line's pieces stand in the middle over groups of as many columns; else none."""
    own = int(lines.grid.span(line.pieces[0]) == (0, 0))
    pieces, rest = line.pieces[own:], lines.width - 1
    if not pieces or rest % len(pieces) or rest == len(pieces):
        return []
    each = rest // len(pieces)
    spans = [(1 + k * each, (k + 1) * each) for k in range(len(pieces))]
    middles = ((lines.columns[first][0] + lines.columns[last][1]) / 2 for first, last in spans)
    apart = max(abs(piece.middle - middle) for piece, middle in zip(pieces, middles, strict=True))
    return [(0, 0)] * own + spans if apart <= CENTRED * line.size else []
