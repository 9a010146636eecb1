"""Excel workbooks (.xlsx, .xlsm, .xltx) to Markdown: each sheet under its name, its cells as tables.

Order     sheets as their tabs stand; in a sheet row by row
Tables    rows that no empty row parts; their first row is the head. A row with one cell alone, and what stands in the
          first column only, above a table or for itself, are paragraphs
Cells     what they show: dates as ISO 8601, percentages and amounts as formatted (xlsx_numbers.py), the last result of
          a formula, or the formula itself where none was kept; of merged cells the first
Left out  hidden sheets, rows (those that a filter hides, too) and columns, comments, charts, pictures, heads and feet
Limits    unpacked files, and the text that is made of them, hold at most `max_bytes` each: a workbook may show a text a
          million times that it holds once

Read with lxml and not with openpyxl, which refuses a workbook for an odd colour, walks through a million cells to a
filled one, and unpacks without a limit.
"""

from __future__ import annotations

import io
import posixpath
import re
from bisect import bisect_right
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.archives import ArchiveFiles, opened, tell_damage
from foveal.text.code_blocks import no_heading
from foveal.text.files import too_large
from foveal.text.office import OfficeText, said, table
from foveal.text.plain import storable
from foveal.text.xlsx_numbers import BUILT_IN, iso_shown, shown

LAST_COLUMN = 16_384
"""Columns of a sheet, from A to XFD."""

_PLACE = re.compile(r"\$?([A-Za-z]{1,3})\$?(\d{1,7})")
_SIGN = re.compile(r"_x([0-9A-Fa-f]{4})_")
_YES = ("1", "true", "on")

Row = dict[int, str]
"""What the filled cells of a row show, by column from 1."""


def read_xlsx(content: bytes, *, name: str, max_bytes: int) -> OfficeText:
    """The workbook in `content`; UnreadableSource says why there is none, or that it exceeds `max_bytes`."""
    with opened(content, name, max_bytes=max_bytes) as files:
        book = _Book.of(files)
        blocks = [
            block for title, place in book.sheets for block in sheet_blocks(title, _rows(book, place), book.spend)
        ]
        about: Any = None
        with suppress(UnreadableSource):  # damaged: the text is there all the same
            about = files.xml(book.about) if book.about else None
    text = storable("\n\n".join(blocks)).strip()
    if not text:
        raise UnreadableSource(
            f"{name} holds no text: its cells are empty. What its pictures and charts say is not read."
        )
    return OfficeText(text, said(about, "title"), said(about, "creator"), said(about, "created"))


@dataclass
class _Book:
    """What the sheets of a workbook share."""

    files: ArchiveFiles
    sheets: list[tuple[str, str]]  # name and place of each that is shown
    strings: list[str]
    formats: list[str]  # of numbers, by style of cell
    about: str | None  # where its properties lie
    from_1904: bool
    left: int = field(init=False)  # bytes of text that it may still show

    def __post_init__(self) -> None:
        self.left = self.files.max_bytes

    @classmethod
    def of(cls, files: ArchiveFiles) -> _Book:
        top = _related(files, "")
        main = next((one for kind, one in top.values() if kind == "officeDocument"), "xl/workbook.xml")
        root = files.xml(main)
        parts = _related(files, main)
        by_kind = dict(parts.values())
        about = next((one for kind, one in top.values() if kind == "core-properties"), None)
        sheets = []
        for one in root.iterfind(".//{*}sheets/{*}sheet"):
            _, place = parts.get(_attribute(one, "id"), ("", ""))
            if place and one.get("state") not in ("hidden", "veryHidden"):
                sheets.append((" ".join((one.get("name") or "").split()), place))
        from_1904 = any(one.get("date1904") in _YES for one in root.iterfind("{*}workbookPr"))
        return cls(files, sheets, _strings(files, by_kind), _formats(files, by_kind), about, from_1904)

    def spend(self, count: int) -> None:
        """Count characters that are shown. UnreadableSource: they exceed what is left of the limit."""
        self.left -= count
        if self.left < 0:
            raise too_large(self.files.name, None, self.files.max_bytes)


def _related(files: ArchiveFiles, place: str) -> dict[str, tuple[str, str]]:
    """The files that one says belong to it, by id: the kind of each, and where it lies."""
    folder, name = posixpath.split(place)
    listed = posixpath.join(folder, "_rels", f"{name}.rels")
    found: dict[str, tuple[str, str]] = {}
    for one in files.xml(listed).iter("{*}Relationship") if listed in files.names else ():
        target = posixpath.normpath(posixpath.join("/", folder, one.get("Target") or "")).lstrip("/")
        if target in files.names:
            found.setdefault(one.get("Id") or "", ((one.get("Type") or "").rpartition("/")[2], target))
    return found


def _attribute(element: Any, name: str) -> str:
    """An attribute by its name, whatever its namespace."""
    return next((str(value) for key, value in element.attrib.items() if re.split("[}:]", key)[-1] == name), "")


def _elements(files: ArchiveFiles, place: str, *tags: str) -> Iterator[Any]:
    """The elements of those names in an XML file, in turn; each is emptied when the next one is asked for."""
    from lxml import etree

    names = [f"{{*}}{tag}" for tag in tags]
    parsed = etree.iterparse(
        io.BytesIO(files.read(place)), tag=names, resolve_entities=False, no_network=True, recover=True, huge_tree=True
    )
    with suppress(etree.XMLSyntaxError):  # it is empty
        for _, element in parsed:
            yield element
            element.clear()
            parent = element.getparent()
            while parent is not None and element.getprevious() is not None:
                del parent[0]
    tell_damage(files.name, place, parsed)


def _strings(files: ArchiveFiles, by_kind: dict[str, str]) -> list[str]:
    """The texts that cells name by their number."""
    place = by_kind.get("sharedStrings")
    return [_words(one) for one in _elements(files, place, "si")] if place else []


def _words(string: Any) -> str:
    """What a text says, whose parts may be set in different letters; how it is pronounced is left out."""
    found = []
    for one in string.iterchildren("{*}t", "{*}r"):
        part = one if str(one.tag).endswith("}t") else one.find("{*}t")
        found.append("" if part is None else part.text or "")
    return _SIGN.sub(lambda sign: chr(int(sign[1], 16)), "".join(found))


def _formats(files: ArchiveFiles, by_kind: dict[str, str]) -> list[str]:
    """The formats of numbers of the styles that cells name by their number."""
    place = by_kind.get("styles")
    if not place:
        return []
    root = files.xml(place)
    own = {one.get("numFmtId"): one.get("formatCode") or "" for one in root.iterfind("{*}numFmts/{*}numFmt")}
    built_in = {str(number): code for number, code in BUILT_IN.items()} | own
    return [built_in.get(one.get("numFmtId"), "") for one in root.iterfind("{*}cellXfs/{*}xf")]


def sheet_blocks(title: str, rows: Iterable[Row | None], spend: Callable[[int], None]) -> Iterator[str]:
    """The blocks of a sheet, below its name; nothing where its cells are empty.

    `rows` are the filled ones, None where an empty one is between two; `spend` is told of characters that are shown
    besides what cells say.
    """
    named = False
    for block in _blocks(rows):
        if not named and title:
            spend(len(title))
            yield f"## {title}"
        named = True
        yield from _told(block, spend)


class _Hidden:
    """The columns of a sheet that are not seen: stretches that a file may name in any order, and more than once."""

    def __init__(self) -> None:
        self.named: list[tuple[int, int]] = []
        self.starts: list[int] = []
        self.ends: list[int] = []

    def add(self, column: Any) -> None:
        """Take in what a file says of some columns; to be done before columns are looked for."""
        if column.get("hidden") in _YES or column.get("width") == "0":
            self.named.append((_count(column.get("min")), _count(column.get("max"))))

    def __contains__(self, column: int) -> bool:
        for start, end in sorted(self.named):
            if self.ends and start <= self.ends[-1] + 1:
                self.ends[-1] = max(self.ends[-1], end)
            else:
                self.starts.append(start)
                self.ends.append(end)
        self.named = []
        at = bisect_right(self.starts, column) - 1
        return at >= 0 and column <= self.ends[at]


def _rows(book: _Book, place: str) -> Iterator[Row | None]:
    """The rows of a sheet that are seen and filled; None where there is an empty one before the next."""
    hidden, last, parted = _Hidden(), 0, False
    for element in _elements(book.files, place, "col", "row"):
        if str(element.tag).endswith("col"):
            if not last:
                hidden.add(element)
            continue
        number = _count(element.get("r")) or last + 1
        parted = parted or number > last + 1
        last = max(last, number)
        if element.get("hidden") in _YES or element.get("ht") == "0":
            continue
        row = dict(_cells(book, element, hidden))
        if row and parted:
            yield None
        parted = not row
        if row:
            yield row


def _cells(book: _Book, row: Any, hidden: _Hidden) -> Iterator[tuple[int, str]]:
    """What the filled cells of a row show, with their columns."""
    column = 0
    for cell in row.iterchildren("{*}c"):
        column = _column(cell.get("r")) or column + 1
        if column > LAST_COLUMN or column in hidden:
            continue
        words = _cell(book, cell).strip()
        if words:
            book.spend(len(words))
            yield column, words


def _column(place: str | None) -> int:
    """The column of a cell called "AB12", from 1; 0: it does not say."""
    found = _PLACE.fullmatch(place or "")
    column = 0
    for letter in found[1].upper() if found else "":
        column = 26 * column + ord(letter) - 64
    return column


def _cell(book: _Book, cell: Any) -> str:
    kind, value, formula = cell.get("t") or "n", None, None
    for one in cell.iterchildren():
        tag = str(one.tag).rpartition("}")[2]
        if tag == "v":
            value = one.text or ""
        elif tag == "f":
            formula = one.text or ""
        elif tag == "is" and kind == "inlineStr":
            return _words(one)
    if not value and formula and not (value is not None and kind == "str"):  # an empty text is a result, too
        return f"={formula}"
    return _value(book, kind, (value or "").strip() if kind != "str" else value or "", _count(cell.get("s")))


def _value(book: _Book, kind: str, value: str, style: int) -> str:
    """What a cell of some kind and style shows."""
    if kind == "s":
        known = value.isascii() and value.isdigit() and len(value) < 10 and int(value) < len(book.strings)
        return book.strings[int(value)] if known else ""
    if kind == "b":
        return {"1": "TRUE", "0": "FALSE"}.get(value, value.upper())
    if kind == "d":
        return iso_shown(value)
    if kind == "n":
        return shown(value, book.formats[style] if style < len(book.formats) else "", from_1904=book.from_1904)
    return _SIGN.sub(lambda sign: chr(int(sign[1], 16)), value)


def _count(stated: str | None) -> int:
    """A number that a file states; 0: it states none."""
    return int(stated) if stated and re.fullmatch(r"[0-9]{1,9}", stated) else 0


def _blocks(rows: Iterable[Row | None]) -> Iterator[list[Row]]:
    """Rows that no empty row parts."""
    held = list[Row]()
    for row in rows:
        if row is not None:
            held.append(row)
        elif held:
            yield held
            held = []
    if held:
        yield held


def _told(rows: list[Row], spend: Callable[[int], None]) -> Iterator[str]:
    """A block of rows: the lines above its table, and the table without the columns that are empty in it."""
    columns = sorted({column for row in rows for column in row})
    first = 0
    while first < len(rows) and list(rows[first]) == columns[:1]:
        yield _paragraph(rows[first][columns[0]])
        first += 1
    below = rows[first:]
    if len(below) == 1 and len(below[0]) == 1:
        yield _paragraph(*below[0].values())
    elif below:
        columns = sorted({column for row in below for column in row})
        spend(3 * len(below) * len(columns))
        yield table([[row.get(column, "") for column in columns] for row in below])


def _paragraph(words: str) -> str:
    """Words of a cell as a paragraph, in as many lines as they have there."""
    return no_heading(re.sub("\n{3,}", "\n\n", "\n".join(map(str.strip, words.splitlines()))))
