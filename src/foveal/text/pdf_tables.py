"""The tables of a PDF's page, told by where its words stand and by its ruled lines; written as tables of Markdown.

    for held, table in tables_in(characters, places, letters, said_of, rules_of): …     # lines `held` are a table

A table replaces lines that follow each other, so that nothing else is moved. A false table is worse than a missed one:

Taken     columns in a grid of ruled lines, or between two ruled lines; below or above a caption ("Table 3"); two or
          more columns of numbers; columns of numbers below a bold head
Left      columns of prose, contents, bibliographies, lists, forms, code, equations, addresses; letters written from the
          right; what was written upon a page
"""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cache
from itertools import pairwise
from statistics import median

from foveal.text.pdf_blocks import mark_of
from foveal.text.pdf_headings import Line
from foveal.text.pdf_table import Table
from foveal.text.pdf_table_columns import Grid, Level, Piece, columns_of, lines_of, signs_joined
from foveal.text.pdf_table_extent import bars_of, between_columns, runs_along, trimmed, without_prose
from foveal.text.pdf_table_rows import (
    Lines,
    Said,
    grouped,
    head_of,
    is_above_numbers,
    is_number,
    names_of,
    numeric,
    row_of,
)
from foveal.text.pdf_table_rules import Rules
from foveal.text.pdf_table_words import Letters, Place, Row, likely, words_of

FEWEST = 3
"""Lines of a table with its head."""

TRIES = 3
"""Times that columns are looked for among the lines that are left."""

MOST = 500
"""Lines of one, at most; no page has more."""

FILLED = 0.45
"""Of the cells."""

LONGEST_NAME = 100
"""Characters of a column's name."""

WORDS = 3
"""Of a line of a column that is a text of its own, as of cards that stand side by side."""

LONG = 45
"""Characters of a usual cell of a column that is prose."""


def tables_in(
    characters: str,
    places: Sequence[Place],
    letters: Letters,
    said_of: Callable[[Place], str],
    rules_of: Callable[[], Rules],
) -> Iterator[tuple[range, Table]]:
    """The tables of a page, each with the numbers of the lines that it stands for.

    `places` are the lines of the page's `characters`; `said_of` gives what a part of a line says, `rules_of` the ruled
    lines of the page, if there may be a table.
    """
    rules: Rules | None = None
    for held, rows in likely(characters, places, letters):
        rules = rules_of() if rules is None else rules
        near = (characters[slice(*place)] for place in places[max(0, held.start - 3) : held.stop + 3])
        captioned = any(map(_CAPTION.match, near))
        found = _table(characters, rows, letters, said_of, rules, first=held.start < 2, captioned=captioned)
        if found is not None:
            table, kept = found
            words = (word for line in kept for piece in line.pieces for word in piece.words)
            taken = {place for word in words for place in range(word.start, word.end)}
            inside = [n for n in held if not taken.isdisjoint(range(*places[n]))]
            whole = range(inside[0], inside[-1] + 1)
            if all(word.start in taken for n in whole for word in words_of(characters, places[n], letters)):
                yield whole, table


def without_tables(pages: Sequence[Sequence[Line]], first: int) -> tuple[list[list[Line]], list[Table]]:
    """The pages' lines, those that stand for a table with a mark, and the tables, numbered from `first` on."""
    tables = list[Table]()
    marked = list[list[Line]]()
    for page in pages:
        marked.append([])
        for line in page:
            if line.table:
                marked[-1].append(replace(line, text=mark_of(first + len(tables))))
                tables.append(line.table)
            else:
                marked[-1].append(line)
    return marked, tables


def _table(
    characters: str,
    rows: Sequence[Row],
    letters: Letters,
    said_of: Callable[[Place], str],
    rules: Rules,
    *,
    first: bool,
    captioned: bool,
) -> tuple[Table, tuple[Level, ...]] | None:
    """The table that lines hold, and those of them that are it; None: they hold none.

    `first`: they are the first of their page; `captioned`: above or below them stands "Table 3".
    """
    if any(_from_right(characters, row) for row in rows):
        return None
    said = _reader(characters, said_of)
    whole = lines_of(rows, rules)
    if first and runs_along(whole, said):
        whole = whole[1:]
    if len(whole) > MOST:
        return None
    settled = _grid(without_prose(whole, rules), rules, said)
    if settled is None:
        return None
    grid, bars = settled
    found = _lines(grid, bars, rules, letters, said)
    heads = head_of(found)
    if not _is_table(found, heads, rules, letters, first=first, captioned=captioned):
        return None
    partial = [rule for rule in rules.across if rule.level not in bars]
    head = names_of(found, heads, said, partial)
    if any(len(name) > LONGEST_NAME for name in head):
        return None
    body = [row_of(found, group) for group in grouped(found, heads)]
    sure = bool(heads) and (all(found.bold[:heads]) or is_above_numbers(found, heads))
    size = median(line.size for line in grid.lines)
    return Table(head if any(head) else (), tuple(body), found.columns, sure, size), grid.lines


def _grid(lines: tuple[Level, ...], rules: Rules, said: Said) -> tuple[Grid, list[float]] | None:
    """The columns of the lines that are the table, and the heights of the ruled lines that go along it."""
    grid, bars = columns_of(lines, rules), list[float]()
    for _ in range(TRIES):
        if grid is None:
            return None
        bars = bars_of(grid, rules.across)
        kept = trimmed(grid, rules, bars, said)
        if len(kept) == len(lines):
            break
        lines, grid = kept, columns_of(kept, rules)
    if grid is None or len(grid.lines) < FEWEST:
        return None
    grid = signs_joined(grid, [[*map(said, pieces)] for pieces in grid.held()])
    return (grid, bars) if grid.width > 1 else None


def _from_right(characters: str, row: Row) -> bool:
    """Whether a line holds letters that are written from the right."""
    line = characters[row.words[0].start : row.words[-1].end]
    return not line.isascii() and any(unicodedata.bidirectional(one) in ("R", "AL") for one in line)


def _reader(characters: str, said_of: Callable[[Place], str]) -> Said:
    """What a piece says; words that do not follow each other in the page's text are put side by side."""

    def said(piece: Piece) -> str:
        start, end = piece.words[0].start, piece.words[-1].end
        if all(one.end <= other.start for one, other in pairwise(piece.words)):
            line = characters[start:end]
            if "\n" not in line and len(line.split()) == len(piece.words):
                return " ".join(said_of((start, end)).split())
        return " ".join("".join(said_of((word.start, word.end)).split()) for word in piece.words)

    return cache(said)


def _lines(grid: Grid, bars: Sequence[float], rules: Rules, letters: Letters, said: Said) -> Lines:
    """What stands where in the columns."""
    held = grid.held()
    return Lines(
        grid,
        cells=tuple(_cells(grid, line, said) for line in grid.lines),
        bars=tuple(bars),
        shades=tuple(bars_of(grid, rules.shaded)),
        bold=tuple(all(letters.is_bold(piece.words[0].start) for piece in line.pieces) for line in grid.lines),
        columns=tuple(
            (min(one.left for one in pieces), max(one.right for one in pieces)) if pieces else edges
            for pieces, edges in zip(held, pairwise(grid.edges), strict=True)
        ),
        widest=tuple(max((one.right - one.left for one in pieces), default=0.0) for pieces in held),
    )


def _cells(grid: Grid, line: Level, said: Said) -> dict[int, str]:
    """What a line says in each column, by the first column in which a piece stands."""
    cells = dict[int, str]()
    for piece in line.pieces:
        column = grid.span(piece)[0]
        cells[column] = f"{cells[column]} {said(piece)}" if column in cells else said(piece)
    return cells


# -- whether it is one -------------------------------------------------------------------------------------------------

_LISTED = re.compile(r"\[?\(?(?:\d{1,3}|[a-zA-Z]|[ivxIVX]{1,5})[.)\]]+|[•·–—\-*▪◦‣●○■□✓]|\[[\w+., -]{1,12}\]")
_LEADERS = re.compile(r"(?:[.·…_]\s?){4}")
_EQUATION = re.compile(r"[=≤≥∑∏∫∈∀∃≡≈∝←-⇿]")
_ADDRESS = re.compile(r"\w@\w")
_CAPTION = re.compile(
    r"\s*(?:supplementary )?(?:table|tab\.|exhibit|tabelle|tableau|tabla|tabella)\s*"
    r"(?:[A-Z]?\d{1,3}(?:[.-]\d{1,3})*|[IVX]{1,5})\b",
    re.IGNORECASE,
)
_PAGE = re.compile(r"\d{1,4}|[ivxlc]{1,7}")


def _is_table(lines: Lines, heads: int, rules: Rules, letters: Letters, *, first: bool, captioned: bool) -> bool:
    """Whether there is enough that tells a table, and nothing that tells something else.

    One without a head is the rest of another, `first` on its page.
    """
    grid, width = lines.grid, lines.width
    body = lines.cells[heads:]
    if len(lines.cells) < FEWEST or len(body) < 2:
        return False
    several = [line for line in grid.lines if len(line.pieces) > 1]
    crossing = sum(any(len(set(grid.span(piece))) > 1 for piece in line.pieces) for line in grid.lines[heads:])
    if crossing > 0.2 * len(body) or len(several) < FEWEST:
        return False
    counted = numeric(body, width)
    ruled = len(lines.bars) >= 2 or (len(lines.bars) == 1 and bool(heads) and lines.ruled(heads - 1))
    gridded = ruled and bool(between_columns(grid, rules.down))
    ruled = ruled or (len(lines.shades) > 2 and width > 2)
    named = len(set[int]().union(*lines.cells[:heads])) >= max(2, width - 1)
    bold = named and all(lines.bold[:heads]) and not any(lines.bold[heads:])
    if not gridded and _is_typed(grid, letters):
        return False
    if _is_something_else(lines, body, ruled=ruled, gridded=gridded):
        return False
    if (heads or first) and (gridded or (ruled and (width > 2 or counted))):
        return True
    if not heads:
        return False
    if captioned and (width > 2 or counted):
        return True
    if width == 2:
        return bool(counted) and bold and len(body) >= FEWEST
    return len(counted - {0}) >= 2 or bool(counted and (bold or ruled)) or (bold and len(body) > FEWEST)


def _is_typed(grid: Grid, letters: Letters) -> bool:
    """Whether most of what is written is in letters of one width, as code is."""
    typed = plain = 0
    for line in grid.lines:
        for piece in line.pieces:
            start, end = piece.words[0].start, piece.words[-1].end
            told = letters.is_typed(start, end)
            typed += (end - start) * (told is True)
            plain += (end - start) * (told is False)
    return typed > plain


def _is_something_else(lines: Lines, body: Sequence[Mapping[int, str]], *, ruled: bool, gridded: bool) -> bool:
    """Whether it is rather prose, a list, contents, a form, code or equations."""
    cells = [cell for row in lines.cells for cell in row.values()]
    width = lines.width
    if sum(map(len, (row for row in body))) < FILLED * len(body) * width and not ruled:
        return True
    if any(_LEADERS.search(cell) for cell in cells):
        return True
    if 4 * sum(bool(_EQUATION.search(cell)) for cell in cells) > len(cells):
        return True
    if 3 * sum(cell.endswith(":") or bool(_ADDRESS.search(cell)) for cell in cells) > len(cells):
        return True
    columns = [[row[c] for row in body if c in row] for c in range(width)]
    listed = sum(bool(_LISTED.fullmatch(cell)) for cell in columns[0])
    between = any(lines.ruled(n) for n in range(len(lines.cells) - len(body), len(lines.cells) - 1))
    if not (gridded and between) and all(map(_is_prose, columns)):
        return True
    if 2 * listed > len(columns[0]) and width == 2:
        return True
    long = [c for c, column in enumerate(columns) if column and median(map(len, column)) > LONG]
    if long and not ruled:
        return True
    return _is_contents(columns) and len(lines.bars) < 2


def _is_prose(lines: Sequence[str]) -> bool:
    """Whether a column reads as a text set in lines: on the average each of several words, and hardly a number."""
    return sum(len(line.split()) for line in lines) >= WORDS * len(lines) and not any(map(is_number, lines))


def _is_contents(columns: Sequence[Sequence[str]]) -> bool:
    """Whether the last column counts up like the pages to which contents lead, and no other holds but numbers."""
    last = [int(cell) if cell.isdigit() else -1 for cell in columns[-1]]
    rising = len(last) >= 3 and all(a <= b for a, b in pairwise(last)) and last[0] >= 0
    return rising and len(columns) <= 3 and all(_PAGE.fullmatch(cell) for cell in columns[-1])
