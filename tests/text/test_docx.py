"""Word documents: what they say now, with headings, the numbers in front of paragraphs, tables and notes."""

from __future__ import annotations

import io
import zipfile

import pytest
from hypothesis import given
from hypothesis import strategies as st
from text.books import epub, paragraph, word

from foveal.errors import UnreadableSource
from foveal.text.docx import read_docx
from foveal.text.loading import LoadSettings, read_document


def read(body, **others):
    return read_docx(word(body, **others), name="a.docx", max_bytes=10**6)


def style(called, *, own, based="", more=""):
    on = f'<w:basedOn w:val="{based}"/>' if based else ""
    return f'<w:style w:styleId="{own}"><w:name w:val="{called}"/>{on}<w:pPr>{more}</w:pPr></w:style>'


STYLES = "".join(
    (
        style("Title", own="T"),
        style("heading 1", own="H1"),
        style("Heading 2", own="H2"),
        style("My heading", own="Mine", based="H2"),
        style("Clause", own="Clause", more='<w:outlineLvl w:val="3"/>'),
        style("Body", own="B"),
    )
)


def test_headings_are_known_by_their_styles_or_their_levels(tmp_path):
    body = "".join(
        (
            paragraph("Of eyes", "T"), paragraph("Cones", "H1"), paragraph("By day.", "B"), paragraph("Red", "H2"),
            paragraph("Blue", "Mine"), paragraph("Clause one", "Clause"), paragraph("Own", level=1), paragraph(""),
            paragraph("Body text", level=9),
        )
    )  # fmt: skip
    for name in ("a.docx", "a.docm", "A.DOTX", "a.dotm"):
        (tmp_path / name).write_bytes(word(body, styles=STYLES, about="<dc:creator>Ada</dc:creator>"))
    assert len({read_document(path).text for path in tmp_path.iterdir()}) == 1
    found = read_document(tmp_path / "a.docx")
    assert found.text.split("\n\n") == [
        "# Of eyes", "# Cones", "By day.", "## Red", "## Blue", "#### Clause one", "## Own", "Body text",
    ]  # fmt: skip
    assert (found.title, found.metadata["author"], found.metadata["kind"]) == ("Of eyes", "Ada", "docx")


def levels(*given):
    return "".join(
        f'<w:lvl w:ilvl="{n}"><w:start w:val="{start}"/><w:numFmt w:val="{kind}"/><w:lvlText w:val="{text}"/></w:lvl>'
        for n, (kind, text, start) in enumerate(given)
    )


LISTS = (
    '<w:abstractNum w:abstractNumId="7">'
    f"{levels(('decimal', '%1.', 1), ('decimal', '%1.%2', 1), ('lowerLetter', '(%3)', 2))}"
    f'</w:abstractNum><w:abstractNum w:abstractNumId="8">{levels(("bullet", "x", 1), ("upperRoman", "%2)", 4))}'
    '</w:abstractNum><w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num>'
    '<w:num w:numId="2"><w:abstractNumId w:val="8"/></w:num><w:num w:numId="3"><w:abstractNumId w:val="7"/></w:num>'
)


def test_paragraphs_are_called_by_the_numbers_that_word_writes():
    places = [(1, 0), (1, 1), (1, 2), (1, 2), (1, 1), (3, 0), (1, 1), (2, 0), (2, 1), (9, 0), (0, 0)]
    body = "".join(paragraph(f"text {n}", listed=place) for n, place in enumerate(places))
    labels = [one.rsplit("text", 1)[0].strip() for one in read(body, numbering=LISTS).text.split("\n\n")]
    assert labels == ["1.", "1.1", "(b)", "(c)", "1.2", "2.", "2.1", "-", "IV)", "-", ""]


def test_a_list_that_begins_again_and_one_that_a_style_of_lists_describes():
    again = '<w:lvlOverride w:ilvl="{}"><w:startOverride w:val="{}"/>{}</w:lvlOverride>'
    form = levels(("upperLetter", "%1)", 1))
    numbering = (
        f'{LISTS}<w:num w:numId="4"><w:abstractNumId w:val="7"/>{again.format(0, 1, "")}{again.format(1, 5, "")}'
        "</w:num>"
        f'<w:num w:numId="5"><w:abstractNumId w:val="7"/>{again.format(0, 3, form)}</w:num>'
    ).replace('<w:abstractNum w:abstractNumId="7">', '<w:abstractNum w:abstractNumId="7"><w:styleLink w:val="L"/>')
    meant = '<w:abstractNum w:abstractNumId="9"><w:numStyleLink w:val="L"/></w:abstractNum>'
    numbering += '<w:num w:numId="6"><w:abstractNumId w:val="9"/></w:num>'
    places = [(1, 0), (1, 0), (4, 0), (4, 0), (4, 1), (4, 1), (1, 0), (5, 0), (5, 0), (6, 0)]
    body = "".join(paragraph(f"text {n}", listed=place) for n, place in enumerate(places))
    labels = [one.rsplit("text", 1)[0].strip() for one in read(body, numbering=meant + numbering).text.split("\n\n")]
    assert labels == ["1.", "2.", "1.", "2.", "2.5", "2.6", "3.", "C)", "D)", "5."]


def labels_of(places, *levels):
    """The labels of paragraphs on these levels of one list, whose levels are given as XML."""
    inside = "".join(f'<w:lvl w:ilvl="{n}"><w:start w:val="1"/>{one}</w:lvl>' for n, one in enumerate(levels))
    numbering = f'<w:abstractNum w:abstractNumId="1">{inside}</w:abstractNum>'
    numbering += '<w:num w:numId="1"><w:abstractNumId w:val="1"/></w:num>'
    body = "".join(paragraph("text", listed=(1, level)) for level in places)
    return [one.rsplit("text", 1)[0].strip() for one in read(body, numbering=numbering).text.split("\n\n")]


def form(kind, text, more=""):
    return f'<w:numFmt w:val="{kind}"/>{more}<w:lvlText w:val="{text}"/>'


def test_articles_are_counted_on_through_chapters_where_the_list_says_so():
    chapter, point = form("upperRoman", "Chapter %1"), form("lowerLetter", "(%3)")
    places = (0, 1, 2, 2, 1, 0, 1, 2)
    never, above = '<w:lvlRestart w:val="0"/>', '<w:lvlRestart w:val="1"/>'
    assert labels_of(places, chapter, form("decimal", "Art. %2", never), point) == [
        "Chapter I", "Art. 1", "(a)", "(b)", "Art. 2", "Chapter II", "Art. 3", "(a)",
    ]  # fmt: skip
    points = form("lowerLetter", "(%3)", above)  # it begins again with a chapter, not with an article
    assert labels_of((0, 1, 2, 1, 2, 0, 1, 2), chapter, form("decimal", "Art. %2"), points) == [
        "Chapter I", "Art. 1", "(a)", "Art. 2", "(b)", "Chapter II", "Art. 1", "(a)",
    ]  # fmt: skip


def test_legal_numbers_are_decimal_and_a_bullet_lets_what_is_below_begin_again():
    legal = form("decimalZero", "Section %1.%2", "<w:isLgl/>")
    assert labels_of((0, 1, 0, 1, 1), form("upperRoman", "Article %1"), legal) == [
        "Article I", "Section 1.01", "Article II", "Section 2.01", "Section 2.02",
    ]  # fmt: skip
    assert labels_of((0, 1, 1, 0, 1), form("bullet", "x"), form("decimal", "%2)")) == ["-", "1)", "2)", "-", "1)"]


@pytest.mark.parametrize(
    ("kind", "count", "last"),
    [
        ("lowerLetter", 28, "bb"), ("upperLetter", 53, "AAA"), ("ordinal", 22, "22nd"), ("ordinal", 13, "13th"),
        ("chineseCountingThousand", 10, "十"), ("chineseCounting", 21, "二十一"), ("chineseCounting", 105, "一百零五"),
        ("japaneseCounting", 112, "百十二"), ("aiueo", 3, "3"),
    ],
)  # fmt: skip
def test_numbers_of_other_kinds(kind, count, last):
    assert labels_of([0] * count, form(kind, "第%1条"))[-1] == f"第{last}条"


def test_an_empty_paragraph_of_a_list_has_its_number_unless_it_is_deleted_or_hidden():
    def empty(mark):
        listed = '<w:numPr><w:ilvl w:val="0"/><w:numId w:val="1"/></w:numPr>'
        return f"<w:p><w:pPr>{listed}<w:rPr>{mark}</w:rPr></w:pPr></w:p>"

    first, last = paragraph("One.", listed=(1, 0)), paragraph("Two.", listed=(1, 0))
    for mark, number in (("", 3), ("<w:del/>", 2), ("<w:vanish/>", 2), ('<w:vanish w:val="0"/>', 3)):
        assert read(first + empty(mark) + last, numbering=LISTS).text == f"1. One.\n\n{number}. Two."
    row = f"<w:tr><w:tc>{empty('')}</w:tc><w:tc>{paragraph('rods')}</w:tc></w:tr>"
    assert read(f"<w:tbl>{row}{row}</w:tbl>", numbering=LISTS).text == "| 1. | rods |\n|---|---|\n| 2. | rods |"


def test_a_style_has_the_list_of_the_one_that_it_is_based_on():
    listed, deeper = '<w:numPr><w:numId w:val="1"/></w:numPr>', '<w:numPr><w:ilvl w:val="1"/></w:numPr>'
    off = '<w:numPr><w:numId w:val="0"/></w:numPr>'
    styles = (
        style("clause", own="C", more=listed) + style("mine", own="M", based="C")
        + style("sub", own="S", based="M", more=deeper) + style("plain", own="P", based="C", more=off)
    )  # fmt: skip
    body = paragraph("a", "C") + paragraph("b", "M") + paragraph("c", "S") + paragraph("d", "P") + paragraph("e", "M")
    assert read(body, styles=styles, numbering=LISTS).text.split("\n\n") == ["1. a", "2. b", "2.1 c", "d", "3. e"]


def test_a_style_is_on_the_level_of_its_list_that_names_it():
    text = '<w:numFmt w:val="decimal"/><w:lvlText w:val="{}"/>'
    own = f'<w:lvl w:ilvl="0"><w:pStyle w:val="A"/>{text.format("A%1")}</w:lvl>'
    numbering = f'{LISTS}<w:abstractNum w:abstractNumId="9">{own}</w:abstractNum>'
    numbering += '<w:num w:numId="4"><w:abstractNumId w:val="9"/></w:num>'
    deep = '<w:numPr><w:ilvl w:val="1"/><w:numId w:val="1"/></w:numPr>'
    styles = style("deep", own="D", more=deep)
    styles += style("a", own="A", based="D", more='<w:numPr><w:numId w:val="4"/></w:numPr>')
    body = paragraph("one", "D") + paragraph("two", "A") + paragraph("three", "A")
    assert read(body, styles=styles, numbering=numbering).text.split("\n\n") == ["1.1 one", "A1 two", "A2 three"]


def test_ordinals_are_english_in_english_only():
    numbering = f'<w:abstractNum w:abstractNumId="1"><w:lvl w:ilvl="0">{form("ordinal", "%1")}</w:lvl></w:abstractNum>'
    numbering += '<w:num w:numId="1"><w:abstractNumId w:val="1"/></w:num>'
    for language, label in (("en-GB", "1st"), ("es-ES", "1")):
        lang = f'<w:rPrDefault><w:rPr><w:lang w:val="{language}"/></w:rPr></w:rPrDefault>'
        found = read(
            paragraph("uno", listed=(1, 0)), numbering=numbering, styles=f"<w:docDefaults>{lang}</w:docDefaults>"
        )
        assert found.text == f"{label} uno"


def test_a_cell_that_is_part_of_the_one_above_has_no_number():
    def row(text, merged):
        return f"<w:tr><w:tc><w:tcPr>{merged}</w:tcPr>{paragraph(text, listed=(1, 0))}</w:tc>{other}</w:tr>"

    other, above = f"<w:tc>{paragraph('x')}</w:tc>", '<w:vMerge w:val="restart"/>'
    rows = row("a", above) + row("", "<w:vMerge/>") + row("", '<w:vMerge w:val="continue"/>') + row("b", "<w:vMerge/>")
    assert read(f"<w:tbl>{rows}</w:tbl>", numbering=LISTS).text.split("\n")[2:] == [
        "|  | x |",
        "|  | x |",
        "| 2. b | x |",
    ]


def test_a_box_within_a_box_is_read_once():
    run = "<w:r><w:t>{}</w:t></w:r>"
    inner = f"<w:txbxContent>{paragraph('Inner.')}</w:txbxContent>"
    outer = f"<w:txbxContent>{paragraph(run.format('Outer.') + f'<w:r>{inner}</w:r>')}</w:txbxContent>"
    assert read(paragraph(f"{run.format('Text.')}<w:r>{outer}</w:r>")).text == "Text.\n\nOuter.\n\nInner."


def test_how_a_word_is_read_does_not_stand_within_it():
    run = "<w:r><w:t>{}</w:t></w:r>"
    ruby = f"<w:ruby><w:rt>{run.format('とうきょう')}</w:rt><w:rubyBase>{run.format('東京')}</w:rubyBase></w:ruby>"
    assert read(paragraph(f"<w:r>{ruby}</w:r>{run.format('都')}")).text == "東京都"


def test_a_heading_has_its_number_and_a_style_may_bring_a_list():
    listed = '<w:numPr><w:numId w:val="1"/></w:numPr>'
    styles = style("heading 1", own="H1", more=listed)
    body = paragraph("Terms", "H1") + paragraph("Liability", "H1")
    assert read(body, styles=styles, numbering=LISTS).text == "# 1. Terms\n\n# 2. Liability"


def test_what_was_deleted_or_is_there_twice_is_read_once_or_not_at_all():
    run = "<w:r><w:t>{}</w:t></w:r>"
    box = f"<w:txbxContent>{paragraph('In a box.')}</w:txbxContent>"
    body = paragraph(
        f"{run.format('It is ')}<w:del><w:r><w:delText>not </w:delText></w:r></w:del><w:ins>{run.format('so')}</w:ins>"
        f"<w:moveFrom>{run.format(' gone')}</w:moveFrom><w:hyperlink>{run.format(' linked')}</w:hyperlink>"
        "<w:r><w:instrText>PAGE</w:instrText><w:tab/><w:t>x</w:t><w:br/><w:t>y</w:t></w:r>"
        f"<mc:AlternateContent><mc:Choice><w:r>{box}</w:r></mc:Choice><mc:Fallback><w:r>{box}</w:r></mc:Fallback>"
        "</mc:AlternateContent>"
    )
    assert read(body).text == "It is so linked\tx\ny\n\nIn a box."
    assert read(f"<w:sdt><w:sdtContent>{paragraph('Within.')}</w:sdtContent></w:sdt>").text == "Within."


def test_tables_are_rows():
    cell = "<w:tc>{}</w:tc>"
    rows = [["Part", "Size | x"], ["fovea", "1.5 mm"], ["", ""]]
    table = "".join(f"<w:tr>{''.join(cell.format(paragraph(one)) for one in row)}</w:tr>" for row in rows)
    assert read(f"<w:tbl>{table}</w:tbl>").text == "| Part | Size \\| x |\n|---|---|\n| fovea | 1.5 mm |"


def test_rows_of_fewer_cells_are_filled_up_so_that_the_head_heads_all_columns():
    cell = "<w:tc>{}</w:tc>"
    rows = [["Of eyes"], ["rods", "night", "120"], ["cones", "day"]]
    table = "".join(f"<w:tr>{''.join(cell.format(paragraph(one)) for one in row)}</w:tr>" for row in rows)
    assert read(f"<w:tbl>{table}</w:tbl>").text == (
        "| Of eyes |  |  |\n|---|---|---|\n| rods | night | 120 |\n| cones | day |  |"
    )


def test_a_table_within_a_cell_is_one_line_of_it():
    cell, row = "<w:tc>{}</w:tc>", "<w:tr>{}</w:tr>"
    inner = "".join(row.format("".join(cell.format(paragraph(one)) for one in pair)) for pair in ("ab", "cd"))
    table = row.format(cell.format(f"{paragraph('of')}<w:tbl>{inner}</w:tbl>") + cell.format(paragraph("x | y")))
    assert read(f"<w:tbl>{table}</w:tbl>").text == "| of a · b · c · d | x \\| y |"
    bars = row.format(cell.format(paragraph("|x|") + paragraph("and |y|")))
    assert read(f"<w:tbl>{bars}</w:tbl>").text == "| \\|x\\| and \\|y\\| |"


def test_rows_and_cells_of_forms_are_read_and_deleted_rows_are_not():
    cell = "<w:tc>{}</w:tc>"
    held = "<w:sdt><w:sdtContent>{}</w:sdtContent></w:sdt>"
    rows = (
        f"<w:tr>{cell.format(paragraph('Name'))}{cell.format(paragraph('Sees'))}</w:tr>"
        f"<w:tr>{held.format(cell.format(paragraph('rod')))}{cell.format(paragraph('night'))}</w:tr>"
        + held.format(f"<w:tr>{cell.format(paragraph('cone'))}{cell.format(paragraph('day'))}</w:tr>")
        + f'<w:tr><w:trPr><w:del w:id="1"/></w:trPr>{cell.format(paragraph("gone"))}</w:tr>'
    )
    assert read(f"<w:tbl>{rows}</w:tbl>").text == "| Name | Sees |\n|---|---|\n| rod | night |\n| cone | day |"


def test_what_is_made_hidden_is_not_read():
    run = "<w:r><w:rPr><w:vanish{}/></w:rPr><w:t>{}</w:t></w:r>"
    body = f"<w:p>{run.format('', 'unseen')}{run.format(chr(32) + 'w:val=' + chr(34) + '0' + chr(34), 'seen')}</w:p>"
    assert read(body).text == "seen"


MATH = "http://schemas.openxmlformats.org/officeDocument/2006/math"


@pytest.mark.parametrize(
    ("formula", "said"),
    [
        ("<m:r><m:t>E=m</m:t></m:r><m:sSup><m:e>{c}</m:e><m:sup>{2}</m:sup></m:sSup>", "E=mc^2"),
        ("<m:f><m:num>{a+b}</m:num><m:den>{2c}</m:den></m:f>", "(a+b)/2c"),
        ("<m:sSubSup><m:e>{x}</m:e><m:sub>{i}</m:sub><m:sup>{2}</m:sup></m:sSubSup>", "x_i^2"),
        ("<m:d><m:dPr><m:begChr m:val='['/><m:endChr m:val=''/></m:dPr><m:e>{x}</m:e><m:e>{y}</m:e></m:d>", "[x|y"),
        ("<m:d><m:e>{x}</m:e></m:d>", "(x)"),
        ("<m:rad><m:deg/><m:e>{x+1}</m:e></m:rad>", "√(x+1)"),
        ("<m:rad><m:deg>{3}</m:deg><m:e>{x}</m:e></m:rad>", "√[3](x)"),
        ("<m:m><m:mr><m:e>{1}</m:e><m:e>{2}</m:e></m:mr><m:mr><m:e>{3}</m:e><m:e>{4}</m:e></m:mr></m:m>", "1, 2; 3, 4"),
        ("<m:eqArr><m:e>{x&amp;=1}</m:e><m:e>{y&amp;=2}</m:e></m:eqArr>", "x=1; y=2"),
        ("<m:nary><m:naryPr><m:chr m:val='∑'/></m:naryPr><m:sub>{i}</m:sub><m:sup/><m:e>{x}</m:e></m:nary>", "∑i x"),
    ],
)
def test_formulas_are_written_in_the_line(formula, said):
    formula = formula.replace("{", "<m:r><m:t>").replace("}", "</m:t></m:r>")
    run = "<w:r><w:t>{}</w:t></w:r>"
    body = f'<w:p>{run.format("So")}<m:oMath xmlns:m="{MATH}">{formula}</m:oMath>{run.format("holds.")}</w:p>'
    assert read(body).text == f"So{said}holds."


def test_signs_of_fonts_of_signs_and_boxes_of_forms_are_read():
    sign, run = '<w:sym w:font="{}" w:char="{}"/>', "<w:r>{}</w:r>"
    said = f"<w:t>10 </w:t>{sign.format('Symbol', 'F06D')}<w:t>m </w:t>{sign.format('Symbol', 'F0B1')}<w:t> 2</w:t>"
    font = '<w:rPr><w:rFonts w:ascii="Symbol" w:hAnsi="Symbol"/></w:rPr>'
    body = paragraph(run.format(said)) + paragraph(run.format(f"{font}<w:t>\uf061\uf0ff</w:t>"))
    assert read(body).text == "10 μm ± 2\n\nα\uf0ff"
    boxes = sign.format("Wingdings", "F0FE") + sign.format("Wingdings", "00A8") + sign.format("Wingdings", "F021")
    assert read(paragraph(run.format(f"{boxes}{sign.format('Arial', '2192')}{sign.format('X', 'no')}"))).text == "☑☐→"
    assert read(paragraph(run.format(f"{font}<w:t>\uf061\uf020\uf062</w:t>"))).text == "α β"
    others = (("Wingdings 2", "0052"), ("Wingdings 2", "F0A3"), ("Webdings", "0061"), ("Times New Roman", "00B0"))
    assert read(paragraph(run.format("".join(sign.format(*one) for one in others)))).text == "☑☐°"
    form = "<w:fldChar><w:ffData><w:checkBox>{}</w:checkBox></w:ffData></w:fldChar>"
    off, on = '<w:default w:val="0"/>', '<w:default w:val="1"/>'
    given = (off, on, f"{off}<w:checked/>", f'{on}<w:checked w:val="0"/>')
    assert read(paragraph("".join(run.format(form.format(one)) for one in given))).text == "☐☒☒☐"


def test_parts_that_lie_elsewhere_are_found():
    relation = '<Relationship Type="http://schemas.example/{}" Target="{}"/>'
    related = '<Relationships xmlns="http://schemas.openxmlformats.org/package/2006/relationships">{}</Relationships>'
    held = io.BytesIO()
    own = relation.format("styles", "styles2.xml") + relation.format("hyperlink", "https://example.org")
    known = zipfile.ZipFile(io.BytesIO(word(paragraph("Of eyes", "H1"), styles=STYLES)))
    with known, zipfile.ZipFile(held, "w") as made:
        made.writestr("word/document2.xml", known.read("word/document.xml"))
        made.writestr("word/styles2.xml", known.read("word/styles.xml"))
        made.writestr("_rels/.rels", related.format(relation.format("officeDocument", "/word/document2.xml")))
        made.writestr("word/_rels/document2.xml.rels", related.format(own))
    assert read_docx(held.getvalue(), name="a.docx", max_bytes=10**6).text == "# Of eyes"


def test_a_strict_document_reads_as_others_do():
    usual = b"http://schemas.openxmlformats.org/wordprocessingml/2006/main"
    strict = b"http://purl.oclc.org/ooxml/wordprocessingml/main"
    held = io.BytesIO()
    known = zipfile.ZipFile(io.BytesIO(word(paragraph("Of eyes", "H1"), styles=STYLES)))
    with known, zipfile.ZipFile(held, "w") as made:
        for name in known.namelist():
            made.writestr(name, known.read(name).replace(usual, strict))
    assert read_docx(held.getvalue(), name="a.docx", max_bytes=10**6).text == "# Of eyes"


def test_notes_stand_behind_the_text():
    call = '<w:r><w:t>Seen</w:t><w:footnoteReference w:id="5"/></w:r><w:r><w:endnoteReference w:id="2"/></w:r>'
    note = '<w:footnote w:id="{}">{}</w:footnote>'
    found = read(
        paragraph(call),
        footnotes=note.format(0, paragraph("no note")) + note.format(5, paragraph("By Ada.")),
        endnotes=note.format(2, paragraph("By Bob.")).replace("footnote", "endnote"),
    )
    assert found.text == "Seen[^1][^2]\n\n[^1]: By Ada.\n\n[^2]: By Bob."


def test_a_document_of_a_program_that_writes_them():
    docx = pytest.importorskip("docx")
    made = docx.Document()
    made.core_properties.title = "A study"
    made.add_heading("Intro", 1)
    made.add_paragraph("The fovea sees.")
    made.add_paragraph("first", style="List Bullet")
    made.add_paragraph("one", style="List Number")
    held = io.BytesIO()
    made.save(held)
    found = read_docx(held.getvalue(), name="a", max_bytes=10**7)
    assert (found.title, found.text) == ("A study", "# Intro\n\nThe fovea sees.\n\n- first\n\n1. one")


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04", "is damaged"),
        (word(paragraph("words"))[:-30], "is damaged"),
        (word(""), "holds no text"),
        (epub({"a.xhtml": "<p>Words.</p>"}), "lacks word/document.xml"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "locked with a password"),
    ],
    ids=["zip", "cut", "empty", "book", "locked"],
)
def test_what_is_no_document_says_so(content, reason):
    with pytest.raises(UnreadableSource, match=reason):
        read_docx(content, name="a.docx", max_bytes=10**6)


def test_what_unpacks_to_more_than_the_limit_or_names_files_of_this_machine(tmp_path):
    (tmp_path / "a.docx").write_bytes(word(paragraph("word " * 400_000)))
    with pytest.raises(UnreadableSource, match="more than 1,000,000 bytes"):
        read_document(tmp_path / "a.docx", LoadSettings(max_bytes=10**6))
    outside = '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd"><!ENTITY f "xxxx">]>'
    found = read_docx(word(paragraph("a &e; &f; b"), before=outside), name="a", max_bytes=10**6)
    assert found.text.split() in (["a", "b"], ["a"])


@given(st.data())
def test_a_document_with_damage_anywhere_is_read_or_refused(data):
    content = bytearray(SMALL)
    for _ in range(data.draw(st.integers(1, 20))):
        content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
    try:
        found = read_docx(bytes(content), name="a", max_bytes=10**6)
    except UnreadableSource:
        return
    assert found.text
    assert "\0" not in found.text


SMALL = word(paragraph("Terms", "H1") + paragraph("text", listed=(1, 0)), styles=STYLES, numbering=LISTS)


def test_what_is_nested_without_end_is_refused():
    deep = "<w:ins>" * 1500 + "<w:r><w:t>in</w:t></w:r>" + "</w:ins>" * 1500
    with pytest.raises(UnreadableSource, match="nested too deeply"):
        read(f"<w:p>{deep}</w:p>")
