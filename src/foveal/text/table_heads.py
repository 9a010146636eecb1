"""What the columns of a table are called, for passages from its middle, where the table's head stands far above.

    with_columns(document, passages)     # of one that begins among rows the heading ends with columns
    rows_in(document, start, end)        # where of these characters rows are, and the head of those whose head is above

CSV       files named .csv or .tsv (text and Markdown of a page or upload, too); the mark between cells is the one that
          cuts most rows alike, the head is the first row of the usual width: what stands above is no part of the table
Markdown  a row, then a rule (|---|---|), then rows: so tables of web pages and Word documents read, too
No head   a first row with numbers where the rows below have numbers, years aside: "Ada, 36" names no column
"""

from __future__ import annotations

import csv
import re
from bisect import bisect_right
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import islice
from pathlib import PurePosixPath
from urllib.parse import unquote, urlsplit

from foveal.text.headings import LONGEST_TITLE, plain_title
from foveal.types import Document, Passage

BETWEEN = " | "
"""Stands between the names of columns in a heading."""

LEAST_SHOWN = 60
"""Characters of the columns' names that are shown, however long the path of headings before them is."""

LONGEST_ROW = 300
"""Characters of a table's head that a reader is shown above its rows."""

ENDINGS = {".csv": ",;\t|", ".tsv": "\t"}
"""Names of files that are tables, and the marks that may stand between their cells."""

ROWS = 40
"""Rows that are looked at to know a table."""

LONGEST_HEAD = 2**16
"""Characters of a file in which its head is looked for."""

SeparatedRow = tuple[int, int, list[str]]
"""Where a row of a CSV file begins, where the next one does, and its cells."""

_RULE = re.compile(r"^[ \t]{0,3}(?=[^\n]*-)(?=[^\n]*\|)[ \t|:-]++\r?$", re.MULTILINE)
_CELL_END = re.compile(r"(?<!\\)\|")
_NUMBER = re.compile(r"[-+−(]?[$€£¥]?\d[\d.,' \u00a0\u202f]*(?:[eE][-+]?\d+)?\)?[%‰]?")
_YEAR = re.compile(r"(?:1[5-9]|20)\d\d")


@dataclass(frozen=True, slots=True)
class Table:
    """The rows of a table below its head: characters `start` to `end`, and what the columns are called.

    The head begins at `top`; `head` is it as it is written, in one line, `names` are its cells. `mark` parts the cells
    of a row; "" in Markdown.
    """

    start: int
    end: int
    columns: tuple[str, ...]
    top: int
    head: str
    names: tuple[str, ...]
    mark: str = ""

    def named(self, room: int) -> str:
        """The names of the columns in at most `room` characters."""
        line = BETWEEN.join(self.columns)
        return line if len(line) <= room else f"{line[: room - 1].rstrip(' |')}…"

    def told(self, row: str) -> str:
        """A row with each cell behind its column's name, "name: Kettle; built: 1790"; as it is where it has others."""
        try:
            cells = next(csv.reader([row], delimiter=self.mark), []) if self.mark else _cells(row)
        except csv.Error:  # a quotation that goes on in the next line, or a line end within a cell
            cells = []
        if len(cells) != len(self.names):
            return " ".join(row.split())
        pairs = ((name, " ".join(cell.split())) for name, cell in zip(self.names, cells, strict=True))
        return "; ".join(f"{name}: {cell}" if name else cell for name, cell in pairs if cell)


@dataclass(frozen=True, slots=True)
class Ruled:
    """A table of Markdown: its head begins at `top`, the rule below it at `rule`, the rows are `start` to `end`."""

    top: int
    rule: int
    start: int
    end: int
    head: list[str]
    rows: list[list[str]]  # the cells of the first rows


@dataclass(frozen=True, slots=True)
class Rows:
    """What of a stretch of text is rows of `tables`: characters `start` to `end` of the document.

    `table` is the one among whose rows the stretch begins, without its head; None where the head stands in it.
    """

    start: int
    end: int
    tables: tuple[Table, ...]
    table: Table | None

    @property
    def head(self) -> str:
        """The head that is missing, in one line of at most some `LONGEST_ROW` characters; "" where none is."""
        head = self.table.head if self.table else ""
        return head if len(head) <= LONGEST_ROW else f"{head[:LONGEST_ROW].rstrip()} …"


def rows_in(document: Document, start: int, end: int) -> Rows | None:
    """The rows, with their head, of the tables between `start` and `end`; None where there are none."""
    if "|" not in document.text[start:end] and not marks_of(document):
        return None  # most passages: the tables of a long text are not looked for
    every = _tables(document.revision, document.text, marks_of(document))
    there = [one for one in every if one.top < end and one.end > start]
    if not there:
        return None
    first = there[0]
    headless = first if first.start <= start else None
    return Rows(max(start, first.top), min(end, there[-1].end), tuple(there), headless)


def path_without(table: Table, heading: str) -> str:
    """The path of headings in a passage's `heading`, which `with_columns` ended with what the columns are called."""
    line = BETWEEN.join(table.columns)
    begins = [0, *(found.end() for found in re.finditer(" > ", heading))]
    at = next((one for one in begins if line.startswith(heading[one:].removesuffix("…"))), len(heading))
    return heading[:at].removesuffix(" > ")


def with_columns(document: Document, passages: Sequence[Passage]) -> list[Passage]:
    """The passages; the heading of each that begins among a table's rows ends with the names of its columns."""
    tables = list(tables_of(document))
    starts = [table.start for table in tables]
    found = []
    for passage in passages:
        at = bisect_right(starts, passage.span.start) - 1
        if at >= 0 and passage.span.start < tables[at].end:
            path = [passage.heading] if passage.heading else []
            columns = tables[at].named(max(LEAST_SHOWN, LONGEST_TITLE - len(passage.heading or "")))
            passage = replace(passage, heading=" > ".join([*path, columns]))
        found.append(passage)
    return found


def tables_of(document: Document) -> Iterator[Table]:
    """The tables of a document whose columns have names, in order."""
    marks = marks_of(document)
    return _separated(document.text, marks) if marks else _ruled(document.text)


@lru_cache(maxsize=1)
def _tables(revision: str, text: str, marks: str | None) -> tuple[Table, ...]:  # noqa: ARG001 (a hash is compared faster)
    """The tables of a text whose passages are asked for one by one."""
    return tuple(_separated(text, marks) if marks else _ruled(text))


def marks_of(document: Document) -> str | None:
    """The marks between cells of a document that is a table; None: it is none."""
    addresses = (str(document.metadata.get("source") or ""), document.url or "")
    return next((found for one in addresses if (found := _marks(one))), None)


def _marks(address: str) -> str | None:
    """The marks between cells, where an address ends like a table's; an upload may be called data.csv.txt."""
    name = PurePosixPath(unquote(urlsplit(address).path.partition("#")[0]))
    return next((ENDINGS[one] for one in map(str.lower, name.suffixes[-2:]) if one in ENDINGS), None)


def _separated(text: str, marks: str) -> Iterator[Table]:
    """The table that a CSV file is."""
    found = separated(text, marks)
    if found is None:
        return
    mark, rows = found
    top, end, head = rows[0]
    if columns := columns_of(head, [cells for _, _, cells in rows[1:]]):
        line = re.sub(r"[ \r\n]+", " ", text[top:end].strip(" \r\n"))
        yield Table(end, len(text), columns, top, line, _one_line(head), mark)


def separated(text: str, marks: str) -> tuple[str, list[SeparatedRow]] | None:
    """The one of `marks` that parts the cells of a CSV file, and its first rows of the usual width; None: no table."""
    read = [_rows(text, mark) for mark in marks]
    widths = [Counter(len(cells) for _, _, cells in rows if len(cells) > 1).most_common(1) for rows in read]
    known = [(found[0][1], found[0][0], n) for n, found in enumerate(widths) if found]
    if not known:
        return None
    _, width, chosen = max(known, key=lambda one: (one[0], one[1], -one[2]))
    return marks[chosen], [row for row in read[chosen] if len(row[2]) == width]


def _rows(text: str, mark: str) -> list[SeparatedRow]:
    """The first rows, each with its place and that behind it; none where they cannot be told apart."""
    lines = text[:LONGEST_HEAD].splitlines(keepends=True)
    reader, rows, seen, place = csv.reader(lines, delimiter=mark), list[SeparatedRow](), 0, 0
    try:
        for cells in islice(reader, ROWS):
            begin, place = place, place + sum(map(len, lines[seen : reader.line_num]))
            seen = reader.line_num
            rows.append((begin, place, cells))
    except csv.Error:  # a quotation that nothing ends
        pass
    return rows


def _ruled(text: str) -> Iterator[Table]:
    """The tables of a Markdown text whose columns have names, and rows."""
    for one in ruled(text):
        names = _one_line(map(plain_title, one.head))
        columns = columns_of(names, one.rows)
        if one.rows and columns:
            title = " ".join(text[one.top : one.rule].split())
            yield Table(one.start, one.end, columns, one.top, title, names)


def ruled(text: str) -> Iterator[Ruled]:
    """The tables of a Markdown text: a head, a rule below it of as many cells, and rows."""
    end = 0
    for rule in _RULE.finditer(text):
        if rule.start() < end:  # among the rows of the last one
            continue
        above = text.rfind("\n", 0, max(0, rule.start() - 1)) + 1
        head = _cells(text[above : max(above, rule.start() - 1)])
        if len(head) < 2 or len(head) != len(_cells(rule[0])):
            continue
        end, rows = rule.end() + 1, list[list[str]]()
        while end < len(text):
            stop = text.find("\n", end)
            stop = stop if stop >= 0 else len(text)
            line = text[end:stop]
            if "|" not in line:
                break
            if len(rows) < ROWS:
                rows.append(_cells(line))
            end = stop + 1
        start, end = min(rule.end() + 1, len(text)), min(end, len(text))
        yield Ruled(above, rule.start(), start, end, head, rows)


def _cells(line: str) -> list[str]:
    """The cells of a row of Markdown."""
    line = line.strip()
    inside = line[line.startswith("|") : len(line) - (line.endswith("|") and not line.endswith("\\|"))]
    return [cell.strip() for cell in _CELL_END.split(inside)] if "|" in line else []


def columns_of(head: Sequence[str], rows: Sequence[Sequence[str]]) -> tuple[str, ...]:
    """What the columns are called; nothing where the head seems to be a row like those below it."""
    names = _one_line(head)
    counted = [n for n in range(len(names)) if _is_counted([row[n] for row in rows if n < len(row)])]
    like_rows = any(_NUMBER.fullmatch(names[n]) and not _YEAR.fullmatch(names[n]) for n in counted)
    return () if like_rows or not rows else tuple(filter(None, names))


def _one_line(cells: Iterable[str]) -> tuple[str, ...]:
    return tuple(" ".join(cell.split()) for cell in cells)


def _is_counted(cells: Sequence[str]) -> bool:
    """Whether a column holds numbers: most of those that hold anything."""
    filled = [cell.strip() for cell in cells if cell.strip()]
    return 2 * sum(bool(_NUMBER.fullmatch(cell)) for cell in filled) > len(filled)
