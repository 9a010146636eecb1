"""Excel workbooks: what their cells show, as tables, and what is hidden, damaged or made to cost too much."""

from __future__ import annotations

import io
import time
import zipfile
from datetime import date, datetime, timedelta
from datetime import time as clock

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openpyxl import Workbook

from foveal.errors import UnreadableSource
from foveal.text.segmentation import HeadingSegmenter
from foveal.text.xlsx import read_xlsx
from foveal.text.xlsx_numbers import iso_shown, shown
from foveal.types import Document

MAIN = "http://schemas.openxmlformats.org/spreadsheetml/2006/main"
RELATED = "http://schemas.openxmlformats.org/officeDocument/2006/relationships"


def saved(book):
    held = io.BytesIO()
    book.save(held)
    return held.getvalue()


def workbook(*rows, title="Mills"):
    book = Workbook()
    book.active.title = title
    for row in rows:
        book.active.append(row)
    return book


def read(content, *, max_bytes=10**7):
    return read_xlsx(content if isinstance(content, bytes) else saved(content), name="a.xlsx", max_bytes=max_bytes)


def changed(content, change, **others):
    """A workbook whose files `change` makes anew, of their name and bytes, and with others."""
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as after:
        for name in before.namelist():
            after.writestr(name, change(name, before.read(name)))
        for name, inside in others.items():
            after.writestr(f"xl/{name}.xml", inside)
    return held.getvalue()


def made(rows="", *, before="", after="", strings="", entity="", sheet=None):
    """A workbook of one sheet whose XML is written by hand."""
    said = sheet or f'<worksheet xmlns="{MAIN}">{before}<sheetData>{rows}</sheetData>{after}</worksheet>'

    def change(name, content):
        if name == "xl/worksheets/sheet1.xml":
            return entity + said
        shared = f'<Relationship Id="shared" Type="{RELATED}/sharedStrings" Target="sharedStrings.xml"/></'.encode()
        return content.replace(b"</", shared) if name.endswith("workbook.xml.rels") else content

    return changed(saved(workbook(["x"])), change, sharedStrings=f'<sst xmlns="{MAIN}">{strings}</sst>')


def body(content):
    """The text of a sheet below its name."""
    return read(content).text.partition("\n\n")[2]


def test_a_sheet_is_its_name_and_a_table():
    book = workbook(["name", "built"], ["Sea mill", 1790], ["Wind | mill", 1801.5])
    book.properties.title, book.properties.creator = "Of mills", "Ada"
    found = read(book)
    assert found.text == "## Mills\n\n| name | built |\n|---|---|\n| Sea mill | 1790 |\n| Wind \\| mill | 1801.5 |"
    assert (found.title, found.author) == ("Of mills", "Ada")
    assert found.created.startswith("20")


def test_blocks_that_empty_rows_part_are_tables_of_their_own_and_lines_alone_are_paragraphs():
    book = workbook(
        [None, "# of mills by year"], [], [None, "year", None, "mills"], [None, 1790, None, 3], [],
        [None, "A note.\n\n\nMore."],
        [None, "Its end."], [], ["a", "b"],
    )  # fmt: skip
    book.active["ZZ900"] = "far"
    assert body(book).split("\n\n") == [
        "#\u00a0of mills by year", "| year | mills |\n|---|---|\n| 1790 | 3 |", "A note.", "More.", "Its end.",
        "| a | b |", "far",
    ]  # fmt: skip


def test_a_title_above_a_table_is_a_paragraph():
    assert body(workbook(["Mills of Hamburg"], ["name", "built"], ["Sea", 1], ["All"])) == (
        "Mills of Hamburg\n\n| name | built |\n|---|---|\n| Sea | 1 |\n| All |  |"
    )


def test_values_are_as_they_are_shown():
    book = workbook()
    cells = [
        (datetime(2024, 5, 20, 14, 30), None, "2024-05-20 14:30"), (date(2024, 5, 20), None, "2024-05-20"),
        (datetime(2024, 5, 20), None, "2024-05-20"), (clock(9, 5, 7), None, "09:05:07"),
        (timedelta(hours=26, minutes=30), None, "26:30"), (3.0, None, "3"), (0.1 + 0.2, None, "0.3"),
        (0.125, "0%", "13%"), (0.1234, "0.00%", "12.34%"), (1234.5, '"$"#,##0.00', "$1,234.50"),
        (-5, "[$€-407]#,##0.00", "-€5.00"), (True, None, "TRUE"), (False, None, "FALSE"), ("#DIV/0!", None, "#DIV/0!"),
        (1e21, None, "1E+21"), (0.00001, None, "0.00001"), (7, "00000", "00007"), ("00123", None, "00123"),
    ]  # fmt: skip
    for n, (value, form, _) in enumerate(cells, 1):
        cell = book.active.cell(n, 2, value)
        book.active.cell(n, 1, "x")
        if form:
            cell.number_format = form
    assert [line.split(" | ")[1].removesuffix(" |") for line in body(book).split("\n") if "---" not in line] == [
        told for _, _, told in cells
    ]


@pytest.mark.parametrize(
    ("value", "code", "told"),
    [
        ("1234.567", "#,##0.00", "1234.567"), ("1234.5", '#,##0.00 "kg"', "1,234.50 kg"), ("-3", '"$"0;("$"0)', "($3)"),
        ("0", '"$"0;("$"0);"$"-', "$-"), ("5", ";;;", ""), ("5", "0;0;;@", "5"), ("0", "0;0;;@", ""),
        ("2.5", "# ?/?", "2.5"), ("1500000", '0.0,,"M"', "1.5M"), ("5", '[>3]"many";"few"', "5"), ("-2", "0%", "-200%"),
        ("-0.001", "0%", "0%"), ("1e300", "0%", "1E+300"), ("nan", "0%", "nan"), ("1_0", "0%", "1_0"), ("", "", ""),
        ("12", "0" * 300, "12"), ("12", "[" * 200, "12"), ("3", '0 "', "3"), ("0.5", '#.0"b"', ".5b"),
        ("1", 'yyyy"年"m"月"', "1900-01-01"), ("60", "d.m.yyyy", "1900-02-29"), ("61", "d.m.yyyy", "1900-03-01"),
        ("0", "yyyy", "0"), ("-1", "yyyy", "-1"), ("2958466", "yyyy", "2958466"), ("2958465.9", "yyyy", "9999-12-31"),
        ("0.75", "h:mm AM/PM", "18:00"), ("45432.75", "h:mm", "18:00"),
        ("45432.99999999", "yyyy-mm-dd h:mm", "2024-05-21"),
        ("0.002", "mm:ss", "00:02:53"), ("1.5", "[h]:mm", "36:00"), ("45432", "mmm", "2024-05-20"),
        ("44", '0"°C";-0"°C"', "44°C"), ("3", "General", "3"), ("3", '"No." @', "3"), ("1", '"Yes";;"No"', "Yes"),
    ],
)  # fmt: skip
def test_formats_of_numbers(value, code, told):
    assert shown(value, code) == told


def test_days_are_counted_from_1904_where_the_workbook_says_so():
    book = workbook([date(2024, 5, 20)])
    whole = saved(book)
    assert body(whole) == "2024-05-20"
    late = changed(whole, lambda _, data: data.replace(b"<workbookPr", b'<workbookPr date1904="1"'))
    assert body(late) == "2028-05-21"
    assert shown("2958465", "yyyy", from_1904=True) == "9999-12-31"


@pytest.mark.parametrize(
    ("stated", "told"),
    [
        ("2024-05-20T00:00:00", "2024-05-20"), ("2024-05-20T14:30:00.000Z", "2024-05-20 14:30"),
        ("2024-05-20", "2024-05-20"),
        ("14:30:05", "14:30:05"), ("00:00", "00:00"), ("soon", "soon"), ("", ""),
    ],
)  # fmt: skip
def test_dates_that_are_written_out(stated, told):
    assert iso_shown(stated) == told
    assert body(made(f'<row><c t="d"><v>{stated}</v></c><c><v>1</v></c></row>')) == (f"| {told} | 1 |" if told else "1")


def test_a_formula_is_its_result_or_itself_where_none_was_kept():
    assert body(workbook(["sum", "=SUM(A1:A2)"])) == "| sum | =SUM(A1:A2) |"
    cells = '<c><f>A1</f><v>7</v></c><c t="str"><f>B1</f><v></v></c><c t="str"><f>C1</f><v>so</v></c>'
    cells += '<c><f t="shared" si="0"/></c>'
    cells += '<c t="e"><f>1/0</f><v>#DIV/0!</v></c>'
    assert body(made(f"<row>{cells}</row>")) == "| 7 | so | #DIV/0! |"


def test_texts_of_several_letters_are_whole_and_without_how_they_are_read():
    strings = (
        "<si><r><rPr><b/></rPr><t>Sea </t></r><r><t>mill</t></r></si>"
        "<si><t>東京</t><rPh sb='0' eb='2'><t>トウキョウ</t></rPh></si>"
        "<si><t>a_x000D_\nb _x005F_x0041_ c</t></si>"
    )
    cells = "".join(f'<c t="s"><v>{n}</v></c>' for n in (0, 1, 2, 3, -1, "x"))
    cells += '<c t="inlineStr"><is><t>in line</t></is></c>'
    assert body(made(f"<row>{cells}</row>", strings=strings)) == "| Sea mill | 東京 | a b _x0041_ c | in line |"


def test_merged_cells_are_read_once():
    book = workbook(["Mills", None, "of", "x"], ["a", "b", "c", "y"])
    book.active.merge_cells("A1:B1")
    assert body(book) == "| Mills |  | of | x |\n|---|---|---|---|\n| a | b | c | y |"


def test_what_is_hidden_is_left_out():
    book = workbook(["name", "pay", "built"], ["Sea", 100, 1790], ["Wind", 200, 1801], ["Last", 300, 1802])
    book.active.column_dimensions["B"].hidden = True
    book.active.row_dimensions[3].hidden = True
    for state in ("hidden", "veryHidden"):
        book.create_sheet(state).append(["secret", "words"])
        book[state].sheet_state = state
    book.create_sheet("Empty")
    book.create_sheet("Later", 0).append(["first"])
    assert (
        read(book).text
        == "## Later\n\nfirst\n\n## Mills\n\n| name | built |\n|---|---|\n| Sea | 1790 |\n| Last | 1802 |"
    )


def test_hidden_columns_in_any_order_and_rows_without_height():
    hidden = (
        '<cols><col min="5" max="9" hidden="1"/><col min="2" max="5" width="0"/><col min="x" max="" hidden="1"/></cols>'
    )
    row = (
        '<row r="{}"><c r="A{}"><v>1</v></c><c r="E{}"><v>2</v></c><c r="I{}"><v>3</v></c><c r="J{}"><v>4</v></c></row>'
    )
    rows = row.replace("{}", "1") + '<row r="2" ht="0"><c><v>9</v></c></row>' + row.replace("{}", "3")
    assert body(made(rows, before=hidden)) == "| 1 | 4 |\n|---|---|\n| 1 | 4 |"


def test_comments_and_charts_are_left_out():
    from openpyxl.chart import BarChart, Reference
    from openpyxl.comments import Comment

    book = workbook(["a", 1], ["b", 2])
    book.active["A1"].comment = Comment("said beside", "Ada")
    chart = BarChart()
    chart.title = "A chart"
    chart.add_data(Reference(book.active, min_col=2, min_row=1, max_row=2))
    book.active.add_chart(chart, "D1")
    book.create_chartsheet("Chart")
    assert read(book).text == "## Mills\n\n| a | 1 |\n|---|---|\n| b | 2 |"


def test_workbooks_that_other_programs_write():
    strict = {
        MAIN: "http://purl.oclc.org/ooxml/spreadsheetml/main",
        RELATED: "http://purl.oclc.org/ooxml/officeDocument/relationships",
    }

    def change(name, data):
        for usual, other in strict.items():
            data = data.replace(usual.encode(), other.encode())
        return data.replace(b'family val="2"', b'family val="99"')

    whole = saved(workbook(["a", date(2024, 5, 20)], ["b", 0.5]))
    assert read(changed(whole, change)) == read(whole)
    prefixed = (
        f'<x:worksheet xmlns:x="{MAIN}"><x:sheetData><x:row><x:c><x:v>1</x:v></x:c><x:c t="inlineStr"><x:is>'
        "<x:t>a</x:t></x:is></x:c></x:row></x:sheetData></x:worksheet>"
    )
    assert body(made(sheet=prefixed)) == "| 1 | a |"


def test_a_row_in_the_middle_of_a_table_is_found_by_its_columns():
    book = workbook(
        ["Mills of the sea"], ["name", "built", "share"], *[[f"Mill {n}", 1700 + n, n / 100] for n in range(90)]
    )
    for (cell,) in book.active.iter_rows(min_row=3, min_col=3, max_col=3):
        cell.number_format = "0%"
    found = read(book)
    document = Document.of("file:///a.xlsx", found.text, "Mills", metadata={"source": "file:///a.xlsx", "kind": "xlsx"})
    passages = HeadingSegmenter(max_tokens=100).segment(document)
    assert len(passages) > 3
    assert {one.heading for one in passages[1:]} == {"Mills > name | built | share"}


@pytest.mark.parametrize(
    "rows",
    [
        '<row r="1"><c r="A1"><v>1</v></c></row><row r="1048576"><c r="XFD1048576"><v>2</v></c></row>',
        '<row r="1"><c><v>1</v></c></row><row r="999999999999"><c r="A9"><v>2</v></c></row><row r="3"/>',
        '<row r="1" spans="1:16384"><c r="A1" s="1"/><c r="XFD1" s="1"/><c r="ZZZ1"><v>5</v></c><c r="A1"><v>1</v></c>'
        '</row><row r="5"><c r="A1"><v>2</v></c></row>',
    ],
    ids=["far", "farther", "styled"],
)
def test_a_sheet_that_declares_a_million_rows_costs_nothing(rows):
    content = made(rows, before='<dimension ref="A1:XFD1048576"/><cols><col min="1" max="16384" width="9"/></cols>')
    begun = time.process_time()
    assert body(content).split("\n\n")[0] == "1"
    assert time.process_time() - begun < 1


def test_what_unpacks_or_repeats_beyond_the_limit_is_refused():
    spaces = made(" " * 3_000_000)
    assert len(spaces) < 20_000
    with pytest.raises(UnreadableSource, match="more than 1,000,000 bytes"):
        read(spaces, max_bytes=1_000_000)
    repeated = made('<row><c t="s"><v>0</v></c></row>' * 2000, strings=f"<si><t>{'word ' * 10_000}</t></si>")
    with pytest.raises(UnreadableSource, match="more than 1,000,000 bytes"):
        read(repeated, max_bytes=1_000_000)
    from openpyxl.utils import get_column_letter

    slanted = "".join(f'<row r="{n}"><c r="{get_column_letter(n)}{n}"><v>1</v></c></row>' for n in range(1, 3000))
    with pytest.raises(UnreadableSource, match="more than 1,000,000 bytes"):
        read(made(slanted), max_bytes=1_000_000)


def test_entities_are_not_expanded():
    inside = "".join(f'<!ENTITY e{n} "{f"&e{n - 1};" * 10}">' for n in range(1, 12))
    entity = f'<!DOCTYPE x [<!ENTITY e0 "laugh"><!ENTITY f SYSTEM "file:///etc/passwd">{inside}]>'
    cell = '<c t="inlineStr"><is><t>{}</t></is></c>'
    rows = f"<row>{cell.format('a &e11; b')}{cell.format('&f;')}<c><v>1</v></c></row>"
    found = body(made(f"<row><c><v>7</v></c></row>{rows}", entity=entity))
    assert found.startswith("7")
    assert "laugh" not in found
    assert "root" not in found


def test_deep_elements_are_no_danger():
    assert body(made(f"<row><c><v>1</v></c></row><row><c>{'<is>' * 50_000}")) == "1"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "damaged"), (b"PK\x03\x04 and no more", "damaged"), (bytes.fromhex("d0cf11e0a1b11ae1"), "or .xlsx"),
        (saved(Workbook()), "holds no text"), (changed(saved(Workbook()), lambda *_: b""), "no XML"),
    ],
    ids=["nothing", "cut", "locked", "empty", "hollow"],
)  # fmt: skip
def test_what_is_no_workbook_is_refused(content, said):
    with pytest.raises(UnreadableSource, match=said):
        read(content)


SMALL = saved(workbook(["name", "built"], ["Sea mill", 1790], ["Wind", date(2024, 5, 20)]))


def tried(content):
    try:
        found = read(content)
    except UnreadableSource:
        return
    assert "\0" not in found.text


@given(st.data())
def test_a_workbook_with_damage_anywhere_is_read_or_refused(data):
    content = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 30))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    tried(bytes(content[: data.draw(st.sampled_from([len(content), data.draw(st.integers(0, len(content)))]))]))


@given(st.data())
def test_damage_within_the_files_of_a_workbook_is_read_or_refused(data):
    place = data.draw(
        st.sampled_from([name for name in zipfile.ZipFile(io.BytesIO(SMALL)).namelist() if "theme" not in name])
    )

    def change(name, inside):
        if name != place:
            return inside
        damaged = bytearray(inside)
        for _ in range(data.draw(st.integers(0, 8))):
            damaged[data.draw(st.integers(0, len(damaged) - 1))] = data.draw(
                st.sampled_from(b"<>/\"'=& \x00\xff09aAz:")
            )
        return bytes(damaged[: data.draw(st.sampled_from([len(damaged), data.draw(st.integers(0, len(damaged)))]))])

    tried(changed(SMALL, change))


def test_a_sheet_that_is_cut_short_is_read_up_to_there_and_told_of(caplog):
    row = '<row><c t="inlineStr"><is><t>{}</t></is></c></row>'
    whole = f'<worksheet xmlns="{MAIN}"><sheetData>{row.format("first")}{row.format("second")}</sheetData></worksheet>'
    assert "second" in read(made(sheet=whole)).text
    assert not caplog.text
    assert "first" in read(made(sheet=whole[: whole.index("second")])).text
    assert "a.xlsx is damaged in xl/worksheets/sheet1.xml" in caplog.text
