"""Excel workbooks of 97 to 2003: that they are read as those of today, and that damaged ones end in a telling error.

book.xls is made by us, with LibreOffice, of the workbook that is made here; Excel's own files were tried by hand.
"""

import datetime as dt
import io
import random
import struct
from pathlib import Path

import openpyxl
import pytest
from ole_files import compound
from openpyxl.worksheet.worksheet import Worksheet
from xlrd.formula import FormulaError

from foveal.errors import UnreadableSource
from foveal.text.xls import read_xls
from foveal.text.xlsx import read_xlsx

BOOK = (Path(__file__).parent / "book.xls").read_bytes()
MIB = 2**20


def today() -> bytes:
    """The workbook that book.xls was made of, as .xlsx."""
    book = openpyxl.Workbook()
    sheet = book.active
    assert isinstance(sheet, Worksheet)
    sheet.title = "Umsätze"
    for row in (
        ["Der Jahresbericht"],
        [],
        ["Tag", "Betrag", "Anteil", "Ort", "Geheim"],
        [dt.date(2024, 5, 20), 1234.5, 0.1234, "Größe 水車", "x"],
        [dt.datetime(2024, 5, 21, 12, 30), -7, 0.5, "a|b", "y"],
        ["verborgen", 1, 1, "z", "z"],
        ["Summe", "=B4+B5", True, None, "x"],
    ):
        sheet.append(row)
    for n in (4, 5):
        sheet.cell(n, 2).number_format, sheet.cell(n, 3).number_format = "[$€-407]#,##0.00", "0.0%"
    sheet["A4"].number_format, sheet["A5"].number_format = "yyyy-mm-dd", "yyyy-mm-dd hh:mm"
    sheet.row_dimensions[6].hidden = sheet.column_dimensions["E"].hidden = True
    sheet["A9"], sheet["D9"], sheet["A10"], sheet["B10"], sheet["D10"] = "Verbunden", "daneben", 1, 0.1 + 0.2, "00123"
    sheet.merge_cells("A9:C9")
    hidden = book.create_sheet("Versteckt")
    hidden["A1"], hidden.sheet_state = "nicht zu sehen", "hidden"
    second = book.create_sheet("Zweites")
    rows = (("Wort", "Zahl"), ("eins", 12345678), ("Fehler", "=1/0"), ("PLZ", 123), ("Zeit", dt.time(14, 5)))
    for n, (word, value) in enumerate(rows, 2):
        second.cell(n, 2).value, second.cell(n, 3).value = word, value
    second["C5"].number_format = "00000"
    held = io.BytesIO()
    book.save(held)
    return held.getvalue()


def test_a_workbook_is_read_as_the_same_one_of_today():
    told = read_xls(BOOK, name="book.xls", max_bytes=MIB)
    new = read_xlsx(today(), name="book.xlsx", max_bytes=MIB).text
    # openpyxl keeps no results of formulas, Excel and LibreOffice do
    assert told.text == new.replace("=B4+B5", "€1,227.50").replace("=1/0", "#DIV/0!")
    assert (told.title, told.author) == ("Mühle", "Vale")
    assert "| 2024-05-20 | €1,234.50 | 12.3% | Größe 水車 |" in told.text
    assert not any(word in told.text for word in ("verborgen", "Geheim", "nicht zu sehen"))


def test_a_workbook_that_shows_more_than_the_limit():
    with pytest.raises(UnreadableSource, match=r"book.xls"):
        read_xls(BOOK, name="book.xls", max_bytes=100)


def biff(*found: tuple[int, bytes]) -> bytes:
    return b"".join(struct.pack("<HH", kind, len(body)) + body for kind, body in found)


def test_a_workbook_of_excel_4_is_no_ole_file():
    cell = struct.pack("<HHHH", 0, 0, 0, 5) + b"water"
    old = biff((0x409, struct.pack("<HHH", 0x400, 0x10, 0)), (0x204, cell), (0x0A, b""))
    assert "water" in read_xls(old, name="old.xls", max_bytes=MIB).text


def test_a_locked_workbook():
    locked = biff((0x809, struct.pack("<HHHHII", 0x600, 5, 0, 1996, 0, 6)), (0x2F, bytes(54)), (0x0A, b""))
    with pytest.raises(UnreadableSource, match=r"book.xls is locked by a password"):
        read_xls(compound({"Workbook": locked}), name="book.xls", max_bytes=MIB)


def test_other_files():
    with pytest.raises(UnreadableSource, match="is no workbook of Excel"):
        read_xls(compound({"WordDocument": b"x"}), name="book.xls", max_bytes=MIB)
    with pytest.raises(UnreadableSource, match="does not begin as a file of Office 97"):
        read_xls(b"a,b\n1,2\n", name="book.xls", max_bytes=MIB)
    with pytest.raises(UnreadableSource, match=r"book.xls is damaged"):
        read_xls(compound({"Workbook": b"x" * 5000}), name="book.xls", max_bytes=MIB)


def test_a_code_page_that_there_is_not():
    unknown = biff((0x809, struct.pack("<HHHHII", 0x500, 5, 0, 1996, 0, 6)), (0x42, b"\x00\x04"), (0x0A, b""))
    with pytest.raises(UnreadableSource, match=r"book.xls is damaged \(LookupError"):
        read_xls(compound({"Book": unknown}), name="book.xls", max_bytes=MIB)


def test_damaged_workbooks_are_read_or_refused():
    random_ = random.Random(7)
    for n in range(200):
        damaged = bytearray(BOOK)
        for _ in range(random_.choice((1, 5, 30))):
            damaged[random_.randrange(len(damaged))] = random_.choice((0, 255, random_.randrange(256)))
        cut = bytes(damaged[: random_.randrange(len(damaged)) if n % 4 == 0 else None])
        try:
            assert read_xls(cut, name="b.xls", max_bytes=MIB).text
        except UnreadableSource:
            continue


def test_a_damaged_formula_is_a_damaged_workbook(monkeypatch):
    def stumbles(**_):
        raise FormulaError("Unexpected token 0x00")

    monkeypatch.setattr("xlrd.open_workbook", stumbles)
    with pytest.raises(UnreadableSource, match=r"b.xls is damaged \(FormulaError: Unexpected token"):
        read_xls(BOOK, name="b.xls", max_bytes=MIB)
