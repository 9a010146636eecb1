"""Slides and sheets of OpenDocument, and documents of all kinds that are damaged or nested deep."""

from __future__ import annotations

import io
import time
import zipfile
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.opendocuments import BULLET, cells, items, letters, list_style, opendocument, p, rows, style

from foveal.errors import UnreadableSource
from foveal.text.opendocument import read_opendocument
from foveal.text.opendocument_text import MOST_DEEP
from foveal.text.table_cells import CELLS_APART


def read(body, kind, **others):
    return read_opendocument(opendocument(body, kind, **others), name="a.odp", max_bytes=10**6)


def slides(*pages, **others):
    return read("".join(f"<draw:page>{one}</draw:page>" for one in pages), "presentation", **others)


def box(inside, *, at=(), of="", more=""):
    inside = inside if inside.startswith("<") else p(inside)
    place = f'svg:x="{at[0]}" svg:y="{at[1]}"' if at else ""
    kind = f'presentation:class="{of}"' if of else ""
    return f"<draw:frame {place} {kind} {more}><draw:text-box>{inside}</draw:text-box></draw:frame>"


def test_slides_are_headed_by_their_titles():
    page = box("below", at=("1cm", "5cm"), of="outline") + box(
        "# Of<text:line-break/>eyes", at=("1cm", "1cm"), of="title"
    )
    found = slides(page, box("no title"), box("", of="title"), box("Only a title", of="title"))
    assert found.text.split("\n\n") == [
        "## Slide 1: # Of eyes", "below", "## Slide 2", "no title", "## Slide 4: Only a title",
    ]  # fmt: skip
    assert found.title == "# Of eyes"
    assert slides(page, about="<dc:title>Talk</dc:title>").title == "Talk"
    assert read(f"<draw:page>{box('drawn')}</draw:page>", "drawing").text == "## Page 1\n\ndrawn"


def test_boxes_are_read_from_the_top_down_and_from_the_left():
    group = f"<draw:g>{box('in b', at=('9cm', '4.2cm'))}<draw:g>{box('in a', at=('3cm', '4cm'))}</draw:g></draw:g>"
    turned = f'<draw:rect draw:transform="rotate (1.5) translate (1in 1in)">{p("turned")}</draw:rect>'
    line = f'<draw:line svg:x1="1cm" svg:y1="12cm">{p("line")}</draw:line>'
    page = "".join(
        (
            box("right", at=("12cm", "6cm")), box("beside it, without a place"), box("left", at=("10mm", "6.3cm")),
            group, box("between", at=("6cm", "4.1cm")), box("top", at=("0in", "-0.2in")), line, turned,
            box("foot", of="footer"), box("7", of="page-number"), box("prompt", more='presentation:placeholder="true"'),
            f"<draw:frame><draw:image>{p('no')}</draw:image></draw:frame><office:forms/>",
            f"<draw:g draw:display='none'>{box('unseen')}</draw:g>",
        )
    )  # fmt: skip
    assert slides(page).text.split("\n\n")[1:] == [
        "top", "turned", "in a", "in b", "between", "left", "right", "beside it, without a place", "line",
    ]  # fmt: skip


def test_columns_of_a_slide_are_read_one_after_the_other():
    wide = 'svg:width="{}" svg:height="{}"'
    page = "".join(
        (
            box("title", at=("1cm", "1cm"), more=wide.format("20cm", "2cm")),
            box("right", at=("12cm", "4cm"), more=wide.format("9cm", "10cm")),
            box("left above", at=("1cm", "4cm"), more=wide.format("9cm", "4cm")),
            box("left below", at=("1cm", "9cm"), more=wide.format("90mm", "4cm")),
            f'<draw:line svg:x1="20cm" svg:y1="16cm" svg:x2="1cm" svg:y2="16cm">{p("line")}</draw:line>',
        )
    )
    assert slides(page).text.split("\n\n")[1:] == ["title", "left above", "left below", "right", "line"]


def test_lists_tables_and_notes_of_slides_and_hidden_slides():
    automatic = list_style("L1", BULLET, BULLET.replace('"1"', '"2"'))
    automatic += style("D1", "drawing-page", inside='<style:drawing-page-properties presentation:visibility="hidden"/>')
    listed = items(p("one") + items("in", style="L1"), "two", style="L1")
    table = f"<draw:frame><table:table>{rows(cells('a', 'b'), cells('1', '2'))}</table:table><draw:image/></draw:frame>"
    notes = "<presentation:notes><draw:page-thumbnail/>{}</presentation:notes>"
    notes = notes.format(box(p("Say it.") + p("Twice."), of="notes") + box("no", of="header"))
    page = box(listed, of="outline") + table + notes
    hidden = f'<draw:page draw:style-name="D1">{box("hidden")}</draw:page>'
    body = f"{hidden}<draw:page>{page}</draw:page><draw:page>{notes}</draw:page>"
    assert read(body, "presentation", automatic=automatic).text == (
        "## Slide 2\n\n- one\n\n  - in\n\n- two\n\n| a | b |\n|---|---|\n| 1 | 2 |\n\nNotes: Say it.\n\nTwice."
        "\n\n## Slide 3\n\nNotes: Say it.\n\nTwice."
    )
    with pytest.raises(UnreadableSource, match="holds no text"):
        read(hidden, "presentation", automatic=automatic)


def sheet(*given, name="Sizes", more=""):
    return f'<table:table table:name="{name}" {more}>{"".join(given)}</table:table>'


def sheets(*given, limit=10**6, **others):
    content = opendocument("".join(given), "spreadsheet", **others)
    return read_opendocument(content, name="a.ods", max_bytes=limit).text


def repeated(inside, *, columns=1, rows=1):
    """A row of one cell, both perhaps repeated."""
    cell = f'<table:table-cell table:number-columns-repeated="{columns}">{inside}</table:table-cell>'
    return f'<table:table-row table:number-rows-repeated="{rows}">{cell}</table:table-row>'


def cell(shown, **stated):
    said = " ".join(f'office:{key.replace("_", "-")}="{value}"' for key, value in stated.items())
    return f"<table:table-cell {said}>{shown and p(shown)}</table:table-cell>"


def test_sheets_are_tables_of_what_their_cells_show():
    shown = cell("03.02.01", value_type="date", date_value="2001-02-03") + cell("25 %", value="0.25")
    stated = cell("", value_type="float", value="1.5") + cell("", value_type="string", string_value="x  y")
    note = (
        f"<table:table-cell office:value='4'><office:annotation>{p('comment')}</office:annotation></table:table-cell>"
    )
    body = rows(cells("When", "Share | all"), shown, stated, note)
    first = sheet("<table:shapes>" + box("beside") + "</table:shapes>", body, name="A  b")
    found = sheets(f"<table:tracked-changes>{p('no')}</table:tracked-changes>", first, sheet(rows(cells(""))))
    assert found == (
        "## A b\n\n| When | Share \\| all |\n|---|---|\n| 03.02.01 | 25 % |\n| 1.5 | x y |\n| 4 |  |\n\nbeside"
    )
    assert sheets(sheet(rows(cells("one")), name="")) == "## Sheet\n\n| one |"


def test_what_is_hidden_in_sheets_is_not_read():
    automatic = style("ta2", "table", inside='<style:table-properties table:display="false"/>')
    hidden = sheet(rows(cells("no")), more='table:style-name="ta2"')
    column = '<table:table-column table:number-columns-repeated="{}" table:visibility="{}"/>'
    columns = column.format(1, "visible") + "<table:table-column-group table:display='false'>"
    columns += column.format(2, "collapse") + "</table:table-column-group>" + column.format(1, "visible")
    wide = f'<table:table-cell table:number-columns-repeated="2">{p("wide")}</table:table-cell>'
    half = f'<table:table-cell table:number-columns-repeated="3">{p("half")}</table:table-cell>'
    body = rows(cells("a", "no", "no", "d"), cells("1") + wide + cells("4"), cells("2") + half, cells("", "no"))
    body += rows(cells("no")).replace("<table:table-row>", '<table:table-row table:visibility="filter">')
    body += f"<table:table-row-group table:display='false'>{rows(cells('no'))}</table:table-row-group>"
    body += f"<table:table-row-group><table:table-rows>{rows(cells('in', 'no', 'no', 'e'))}</table:table-rows>"
    body += "</table:table-row-group>"
    assert sheets(hidden, sheet(columns, body), automatic=automatic) == (
        "## Sizes\n\n| a | d |\n|---|---|\n| 1 | 4 |\n| 2 | half |\n| in | e |"
    )


def test_repeated_cells_and_rows_are_written_out_where_they_hold_text():
    twice = cells("a", '<table:table-cell table:number-columns-repeated="2"><text:p>x</text:p></table:table-cell>', "b")
    far = '<table:table-cell table:number-columns-repeated="999999999"/>'
    body = (
        rows(twice, cells("", far, "far") + far) + repeated(p("row"), rows=3) + repeated("", columns=10**9, rows=10**9)
    )
    assert (
        sheets(sheet(body))
        == (
            "## Sizes\n\n| a | x | x | b |  |\n|---|---|---|---|---|\n|  |  |  |  | far |\n"
            + "| row |  |  |  |  |\n" * 3
        ).rstrip()
    )


@pytest.mark.parametrize(
    "body",
    [
        repeated(p("x"), columns=10**9, rows=10**9),
        repeated(p("x" * 1000), columns=900_000, rows=10**9),
        repeated(p("x"), columns=16_384, rows=1) * 200 + repeated(p("x"), rows=10**6) * 200,
        repeated(p(""), columns=10**9, rows=10**9) * 1000,
        f'<table:table-column table:number-columns-repeated="{10**9}" table:visibility="collapse"/>' * 1000
        + repeated(p("unseen"), columns=10**9) * 1000 + repeated("", columns=10**9),
        "".join(rows(f'<table:table-cell table:number-columns-repeated="{n + 1}"/>{cells("x")}') for n in range(2000)),
    ],
    ids=["cells", "long", "many", "empty", "hidden", "diagonal"],
)  # fmt: skip
def test_sheets_that_state_more_than_they_hold_cost_nothing(body):
    start = time.process_time()
    try:
        found = read_opendocument(opendocument(sheet(body), "spreadsheet"), name="a", max_bytes=10**7).text
    except UnreadableSource as refused:
        found = str(refused)
    assert len(found) < 40_000_000
    assert time.process_time() - start < 5


def test_cells_of_a_long_sheet_that_are_repeated_are_all_written():
    wide = repeated(p("0.00"), columns=100)
    assert sheets(sheet(wide * 5000), limit=10**7).count("0.00") == 500_000


def test_a_sheet_that_is_nearly_empty_is_lines_of_its_cells():
    body = "".join(
        rows(f'<table:table-cell table:number-columns-repeated="{n + 1}"/>{cells("x", "y")}') for n in range(999)
    )
    assert sheets(sheet(body)).split("\n\n")[1].split("\n") == [f"x{CELLS_APART}y"] * 999


def test_sheets_and_slides_of_a_program_that_writes_them():
    pytest.importorskip("odf")
    from odf.draw import Frame, Page, TextBox
    from odf.opendocument import OpenDocumentPresentation, OpenDocumentSpreadsheet
    from odf.style import MasterPage, PageLayout
    from odf.table import CoveredTableCell, Table, TableCell, TableColumn, TableRow
    from odf.text import P

    made = OpenDocumentSpreadsheet()
    table = Table(name="Sizes")
    table.addElement(TableColumn(numbercolumnsrepeated=2))
    for line in (("Part", "mm"), ("fovea", 1.5)):
        row = TableRow()
        for one in line:
            held = TableCell(valuetype="float", value=one) if isinstance(one, float) else TableCell()
            held.addElement(P(text=f"{one}"))
            row.addElement(held)
        table.addElement(row)
    row = TableRow()
    merged = TableCell(numbercolumnsspanned=2)
    merged.addElement(P(text="both"))
    for one in (merged, CoveredTableCell(), TableCell(numbercolumnsrepeated=1000)):
        row.addElement(one)
    table.addElement(row)
    table.addElement(TableRow(numberrowsrepeated=1_000_000))
    made.spreadsheet.addElement(table)
    assert _written(made).text == "## Sizes\n\n| Part | mm |\n|---|---|\n| fovea | 1.5 |\n| both |  |"

    made = OpenDocumentPresentation()
    layout = PageLayout(name="L")
    made.automaticstyles.addElement(layout)
    master = MasterPage(name="M", pagelayoutname=layout)
    made.masterstyles.addElement(master)
    page = Page(masterpagename=master)
    for text, kind, top in (("It sees.", "outline", "5cm"), ("The fovea", "title", "1cm")):
        frame = Frame(width="9cm", height="2cm", x="1cm", y=top, **{"class": kind})
        held = TextBox()
        held.addElement(P(text=text))
        frame.addElement(held)
        page.addElement(frame)
    made.presentation.addElement(page)
    assert _written(made).text == "## Slide 1: The fovea\n\nIt sees."


def _written(made):
    held = io.BytesIO()
    made.write(held)
    return read_opendocument(held.getvalue(), name="a", max_bytes=10**6)


DEEP = {
    "spans": ("<text:p>", "<text:span>", "</text:span>", "</text:p>"),
    "formulas": ("<text:p>", "<math:math>", "</math:math>", "</text:p>"),
    "sections": ("", "<text:section>", "</text:section>", ""),
    "lists": ("", "<text:list><text:list-item>", "</text:list-item></text:list>", ""),
    "tables": ("", f"<table:table><table:table-row>{'<table:table-cell>'}",
               "</table:table-cell></table:table-row></table:table>", ""),
    "boxes": ("", "<text:p><draw:frame><draw:text-box>", "</draw:text-box></draw:frame></text:p>", ""),
    "notes": ("", "<text:p><text:note><text:note-body>", "</text:note-body></text:note></text:p>", ""),
    "rows": ("<table:table>", "<table:table-row-group>", "</table:table-row-group>", "</table:table>"),
    "groups": ("", "<draw:g>", "</draw:g>", ""),
}  # fmt: skip


@pytest.mark.parametrize("times", [MOST_DEEP // 4, MOST_DEEP, 300, 10_000])
@pytest.mark.parametrize("kind", DEEP)
def test_what_is_nested_deep_is_read_or_refused(kind, times):
    first, begin, end, last = DEEP[kind]
    inner = "x" if first == "<text:p>" else rows(cells("x")) if kind == "rows" else p("<text:s/>x")
    content = opendocument(p("words") + first + begin * times + inner + end * times + last)
    if times > MOST_DEEP:
        with suppress(UnreadableSource):  # the parser itself cuts off what is deeper than it goes
            read_opendocument(content, name="a", max_bytes=10**7)
    elif times < MOST_DEEP or kind in ("formulas", "notes", "rows"):
        assert "x" in read_opendocument(content, name="a", max_bytes=10**7).text
    else:
        with pytest.raises(UnreadableSource, match="deep within each other"):
            read_opendocument(content, name="a", max_bytes=10**7)


NOTE = f"<text:note><text:note-body>{p('By Ada.')}</text:note-body></text:note>"
HIDDEN = style("T1", "text", inside=letters(text__display="none"))
FEW = rows(cells("a", '<table:table-cell table:number-columns-repeated="2"><text:p>x</text:p></table:table-cell>'))
SMALL = {
    "text": opendocument(p(f"Seen{NOTE}") + items("a", items("b"), style="L1") + f"<table:table>{FEW}</table:table>",
                         automatic=HIDDEN + list_style("L1", BULLET), styles=style("Title")),
    "presentation": opendocument(f"<draw:page>{box('a', at=('1cm', '2cm'))}{box('b', of='title')}</draw:page>",
                                 "presentation", automatic=HIDDEN),
    "spreadsheet": opendocument(sheet(FEW + repeated("", columns=10**6, rows=10**6)), "spreadsheet"),
}  # fmt: skip


def _is_read_or_refused(content):
    try:
        found = read_opendocument(content, name="a", max_bytes=10**6)
    except UnreadableSource:
        return
    assert found.text
    assert "\0" not in found.text


@pytest.mark.parametrize("kind", SMALL)
@given(st.data())
def test_an_opendocument_with_damage_anywhere_is_read_or_refused(kind, data):
    content = bytearray(SMALL[kind])
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    _is_read_or_refused(bytes(content[: data.draw(st.integers(len(content) // 2, len(content)))]))
    _is_read_or_refused(bytes(content))


@given(st.data())
def test_xml_with_damage_anywhere_is_read_or_refused(data):
    """The archive is sound here, so that the damage reaches the reader."""
    for kind in SMALL:
        with zipfile.ZipFile(io.BytesIO(SMALL[kind])) as file:
            inside = {name: bytearray(file.read(name)) for name in ("content.xml", "styles.xml")}
        for content in inside.values():
            for _ in range(data.draw(st.integers(0, 8))):
                at = data.draw(st.integers(0, len(content) - 1))
                content[at : at + data.draw(st.integers(0, 30))] = data.draw(st.binary(max_size=6))
        _is_read_or_refused(opendocument("", kind, others={name: bytes(one) for name, one in inside.items()}))
