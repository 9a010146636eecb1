"""Excel workbooks of 97 to 2003, and of before (.xls, .xlt), to Markdown, as xlsx.py sets those of today; with xlrd.

Cells     as formatted (xlsx_numbers.py), errors by their names, the last result of a formula; of merged ones the first
Left out  hidden sheets, rows and columns, comments, charts, pictures, heads and feet
Limit     the text that is made holds at most `max_bytes`: a workbook may show a text a million times that it holds once
"""

from __future__ import annotations

import io
from collections.abc import Iterator
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.files import too_large
from foveal.text.office import OfficeText
from foveal.text.ole import DAMAGE, About, about, locked, opened_ole, stream
from foveal.text.plain import storable
from foveal.text.xlsx import Row, sheet_blocks
from foveal.text.xlsx_numbers import BUILT_IN, shown

ALONE = (b"\x09\x00\x04\x00", b"\x09\x02\x06\x00", b"\x09\x04\x06\x00", b"\x09\x08\x08\x00")
"""How a workbook begins that is no OLE file: those of Excel 2 to 4 are not."""

TEXT, NUMBER, DATE, BOOLEAN, ERROR = range(1, 6)
"""Kinds of cells, as xlrd counts them."""

_DAMAGE = (*DAMAGE, LookupError, AssertionError, MemoryError, RecursionError, ArithmeticError, NameError)
"""What xlrd raises of damaged workbooks, besides its own errors."""


def read_xls(content: bytes, *, name: str, max_bytes: int) -> OfficeText:
    """The workbook in `content`; UnreadableSource says why there is none, or that it exceeds `max_bytes`."""
    said, workbook = About(), content
    if not content.startswith(ALONE):
        with opened_ole(content, name) as file:
            said, workbook = about(file), stream(file, "Workbook") or stream(file, "Book")
        if not workbook:
            raise UnreadableSource(f"{name} is no workbook of Excel 97 to 2003. Save it anew, as .xlsx.")
    text = storable("\n\n".join(_blocks(workbook, name, _Limit(name, max_bytes)))).strip()
    if not text:
        raise UnreadableSource(
            f"{name} holds no text: its cells are empty. What its pictures and charts say is not read."
        )
    return OfficeText(text, said.title, said.author, said.created)


class _Limit:
    """How much text a workbook may still show."""

    def __init__(self, name: str, max_bytes: int) -> None:
        self.name, self.max_bytes, self.left = name, max_bytes, max_bytes

    def spend(self, count: int) -> None:
        """Count characters that are shown. UnreadableSource: they exceed what is left of the limit."""
        self.left -= count
        if self.left < 0:
            raise too_large(self.name, None, self.max_bytes)


def _blocks(workbook: bytes, name: str, limit: _Limit) -> list[str]:
    """The blocks of all sheets that are shown; where formats are damaged, without these and with what is hidden."""
    import xlrd
    from xlrd.formula import FormulaError

    try:
        try:
            return _read(workbook, limit, formats=True)
        except _DAMAGE as error:  # xlrd's own errors tell of more
            if isinstance(error, UnreadableSource):  # a ValueError, too
                raise
            limit.left = limit.max_bytes
            return _read(workbook, limit, formats=False)
    except UnreadableSource:
        raise
    except (xlrd.XLRDError, FormulaError, *_DAMAGE) as error:
        if "encrypted" in str(error):
            raise locked(name) from error
        raise UnreadableSource(
            f"{name} is damaged ({type(error).__name__}: {' '.join(str(error).split()):.80}). Get it anew, or open it "
            "with an office program and save it anew, as .xlsx."
        ) from error


def _read(workbook: bytes, limit: _Limit, *, formats: bool) -> list[str]:
    """The blocks of all sheets that are shown. It raises what xlrd does of damaged files."""
    import xlrd

    found, places = list[str](), set[int]()
    with xlrd.open_workbook(
        file_contents=workbook, logfile=io.StringIO(), formatting_info=formats, on_demand=True, ragged_rows=True
    ) as book:
        for n, title in enumerate(book.sheet_names()):
            # a sheet itself says whether it is shown only when it is read; damaged ones lie at one place, over and over
            if not book._sheet_visibility[n] and book._sh_abs_posn[n] not in places:
                places.add(book._sh_abs_posn[n])
                rows = _rows(book, book.sheet_by_index(n), limit)
                found += sheet_blocks(" ".join(title.split()), rows, limit.spend)
                book.unload_sheet(n)
    return found


def _rows(book: Any, sheet: Any, limit: _Limit) -> Iterator[Row | None]:
    """The rows of a sheet that are seen and filled; None where there is an empty one before the next."""
    hidden = {column for column, about in sheet.colinfo_map.items() if about.hidden or not about.width}
    parted = False
    for n in range(sheet.nrows):
        about = sheet.rowinfo_map.get(n)
        if about is not None and (about.hidden or about.height == 0):
            continue
        row = dict(_cells(book, sheet, n, hidden))
        limit.spend(sum(map(len, row.values())))
        if row and parted:
            yield None
        parted = not row
        if row:
            yield row


def _cells(book: Any, sheet: Any, row: int, hidden: set[int]) -> Iterator[tuple[int, str]]:
    """What the filled cells of a row show, with their columns from 1."""
    for column, (kind, value) in enumerate(zip(sheet.row_types(row), sheet.row_values(row), strict=True)):
        if column not in hidden and (words := _cell(book, kind, value, sheet, row, column).strip()):
            yield column + 1, words


def _cell(book: Any, kind: int, value: Any, sheet: Any, row: int, column: int) -> str:
    import xlrd

    if kind == TEXT:
        return str(value)
    if kind == BOOLEAN:
        return "TRUE" if value else "FALSE"
    if kind == ERROR:
        return str(xlrd.error_text_from_code.get(value, "#N/A"))
    if kind in (NUMBER, DATE):
        style = sheet.cell_xf_index(row, column) if sheet.formatting_info else None
        code = _format(book, style) if style is not None else "yyyy-mm-dd h:mm" if kind == DATE else ""
        return shown(repr(float(value)), code, from_1904=book.datemode == 1)
    return ""


def _format(book: Any, style: int) -> str:
    """The format of numbers of a style; built-in ones as xlsx.py has them, where the file tells none of its own."""
    key = book.xf_list[style].format_key if style < len(book.xf_list) else 0
    code = book.format_map[key].format_str if key in book.format_map else ""
    return BUILT_IN.get(key, "") if code.lower() in ("", "general") else str(code)
