"""OpenDocument texts: what they say now, with headings, the numbers of lists, tables, notes, boxes, code."""

from __future__ import annotations

import io
import time

import pytest
from text.books import epub
from text.opendocuments import (
    BULLET,
    cells,
    items,
    letters,
    list_style,
    numbered,
    opendocument,
    p,
    rows,
    style,
)

from foveal.errors import UnreadableSource
from foveal.text.opendocument import read_opendocument


def read(body, kind="text", **others):
    return read_opendocument(opendocument(body, kind, **others), name="a.odt", max_bytes=10**6)


def blocks(body, **others):
    return read(body, **others).text.split("\n\n")


def heading(text, level, more=""):
    return f'<text:h text:outline-level="{level}" {more}>{text}</text:h>'


def test_headings_titles_and_what_a_document_says_of_itself():
    styles = style("Title") + style("Subtitle", parent_style_name="Title") + style("Heading_20_2", display_name="x")
    styles += style("Heading_20_3") + style("Chapter", default_outline_level="2")
    automatic = style("P1", parent_style_name="Title")
    body = p("Of  eyes", "P1") + p("A study", "Subtitle") + heading("Cones", 1) + p("# of cones") + heading("Deep", 9)
    body += p("By style", "Heading_20_3") + p("By level", "Chapter") + p("") + p(" ") + heading("", 1) + p("No", "P9")
    about = "<dc:creator>Ada</dc:creator><meta:creation-date>2001-02-03T04:05:06</meta:creation-date>"
    found = read(body, styles=styles, automatic=automatic, about=about)
    assert found.text.split("\n\n") == [
        "# Of eyes", "A study", "# Cones", "#\u00a0of cones", "###### Deep", "### By style", "## By level", "No",
    ]  # fmt: skip
    assert (found.title, found.author, found.created) == ("Of eyes", "Ada", "2001-02-03T04:05:06")
    about = "<dc:title>Its own</dc:title><meta:initial-creator>Bob</meta:initial-creator>"
    found = read(body, about=about)
    assert (found.title, found.author, found.created) == ("Its own", "Bob", None)
    assert read(heading("Seen<text:note><text:note-body/></text:note>", 1)).title == "Seen"


def test_headings_are_numbered_as_their_outline_says():
    level = '<text:outline-level-style text:level="{}" style:num-format="{}" style:num-suffix="{}" {}/>'
    styles = "<text:outline-style>" + level.format(1, "I", ".", "") + level.format(3, "", "", "")
    styles += level.format(2, "1", "", 'text:display-levels="2"') + "</text:outline-style>"
    styles += style("Plain", list_style_name="")
    body = "".join(
        (
            heading("One", 1), heading("A", 2), heading("B", 2), heading("None", 3), heading("Two", 1),
            heading("C", 2), heading("Out", 2, 'text:is-list-header="true"'), heading("D", 2),
            heading("E", 2, 'text:restart-numbering="true" text:start-value="7"'),
            heading("Not", 2, 'text:style-name="Plain"'), heading("F", 2),
        )
    )  # fmt: skip
    assert blocks(body, styles=styles) == [
        "# I. One", "## I.1 A", "## I.2 B", "### None", "# II. Two",
        "## II.1 C", "## Out", "## II.2 D", "## II.7 E", "## Not", "## II.8 F",
    ]  # fmt: skip


THREE = list_style(
    "L1",
    numbered(1, "1"),
    numbered(2, "1", "", text__display_levels="2"),
    numbered(3, "a", ")", style__num_prefix="(", text__start_value="2"),
)


def test_lists_are_numbered_as_their_styles_write_it():
    body = items(
        p("one") + items(p("in") + items("deep", "deeper"), "in two"), p("two") + p("goes on") + items("in"), style="L1"
    )
    assert read(body, automatic=THREE).text.splitlines()[::2] == [
        "1. one", "  1.1 in", "    (b) deep", "    (c) deeper", "  1.2 in two", "2. two", "  goes on", "  2.1 in",
    ]  # fmt: skip


def test_lists_begin_anew_or_go_on_and_items_say_their_numbers():
    item = '<text:list-item text:start-value="{}"><text:p>{}</text:p></text:list-item>'
    body = items("a", "b", style="L1", more='xml:id="x"') + items("c", style="L1")
    body += items("d", style="L1", more='text:continue-numbering="true"')
    body += items("e", style="L1", more='text:continue-list="x"')
    body += f'<text:list text:style-name="L1">{item.format(7, "f")}<text:list-header>{p("none")}</text:list-header>'
    body += f"{item.format('x', 'g')}</text:list>" + items("h", more='text:continue-list="gone"')
    assert blocks(body, automatic=THREE) == [
        "1. a", "2. b", "1. c", "2. d", "3. e", "7. f", "none", "8. g", "- h",
    ]  # fmt: skip
    inner = items("x", "y"), items("z"), items("zz", more='text:continue-numbering="true"')
    assert blocks(items("<text:p>a</text:p>" + "".join(inner), style="L1"), automatic=THREE) == [
        "1. a", "  1.1 x", "  1.2 y", "  1.1 z", "  1.2 zz",
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("form", "labels"),
    [
        (numbered(1, "i", ")"), ["i)", "ii)", "iii)"]),
        (numbered(1, "A", "", text__start_value="26"), ["Z", "AA", "AB"]),
        (numbered(1, "A", "", text__start_value="26", style__num_letter_sync="true"), ["Z", "AA", "BB"]),
        (numbered(1, "01, 02, 03, ...", ""), ["01", "02", "03"]),
        (numbered(1, "一, 二, 三, ...", ""), ["一", "二", "三"]),
        (numbered(1, "1", "", loext__num_list_format="Art. %1%."), ["Art. 1.", "Art. 2.", "Art. 3."]),
        (numbered(1, "", ""), ["", "", ""]),
        (numbered(1, "I", "", text__start_value="999998"), ["999998", "999999", "1000000"]),
        (BULLET, ["-", "-", "-"]),
        (BULLET.replace("bullet", "image"), ["-", "-", "-"]),
        (numbered(2, "1"), ["-", "-", "-"]),
    ],
    ids=["roman", "letters", "double", "zero", "chinese", "pattern", "none", "large", "bullet", "picture", "other"],
)
def test_numbers_of_all_kinds(form, labels):
    found = blocks(items("x", "x", "x", style="L2"), automatic=list_style("L2", form))
    assert [one.removesuffix("x").strip() for one in found] == labels


def test_a_list_may_have_its_style_from_its_paragraphs_and_items_may_have_another():
    automatic = THREE + style("P2", list_style_name="L1") + style("P3", inside=paragraphs(enable_numbering="false"))
    automatic += list_style("L3", numbered(1, "a", ")"))
    body = items(p("a", "P2"), p("b", "P3"), p("c", "P2"))
    assert blocks(body, automatic=automatic) == ["1. a", "b", "2. c"]
    other = f'<text:list-item text:style-override="L3">{p("b")}</text:list-item>'
    body = items("a", style="L1").replace("</text:list>", f"{other}</text:list>")
    assert blocks(body, automatic=automatic) == ["1. a", "b) b"]
    alone = (
        '<text:numbered-paragraph text:list-id="n" text:style-name="L1" text:level="{}">{}</text:numbered-paragraph>'
    )
    body = "".join(alone.format(level, p("x")) for level in (1, 2, 2, 1))
    assert blocks(body, automatic=automatic) == ["1. x", "1.1 x", "1.2 x", "2. x"]
    written = f"<text:list-item><text:number>§ 5</text:number>{p('x')}</text:list-item>"
    assert blocks(f'<text:list text:style-name="L1">{written}</text:list>', automatic=automatic) == ["§ 5 x"]


def paragraphs(**said):
    inside = " ".join(f'text:{key.replace("_", "-")}="{value}"' for key, value in said.items())
    return f"<style:paragraph-properties {inside}/>"


def test_a_heading_in_a_list_has_its_number_and_empty_items_count():
    body = items(heading("One", 1), "", heading("Three", 1), style="L1") + items(heading("Bare", 2))
    assert blocks(body, automatic=THREE) == ["# 1. One", "# 3. Three", "## Bare"]


def test_below_articles_nothing_is_indented_as_code_would_be():
    form = list_style(
        "L4", numbered(1, "1", "", style__num_prefix="Art. "), numbered(2, "a", ")"), numbered(3, "i", ")")
    )
    body = items(p("one") + items(p("x") + items("y")), style="L4")
    assert blocks(body, automatic=form) == ["Art. 1 one", "a) x", "i) y"]
    assert blocks(items(items(items("deep alone"))), automatic=form) == ["- deep alone"]


def test_blanks_breaks_links_fields_and_marks():
    body = p(
        " So  it\n is:<text:s/><text:s text:c='2'/>x<text:tab/>y<text:line-break/>z "
        "<text:a xlink:href='https://example.org'>a link</text:a><text:soft-page-break/>"
        "<text:bookmark-start text:name='b'/>, p.<text:page-number>7</text:page-number><!-- no --><?no no?>"
        "<text:bookmark/> <text:span> and</text:span> on"
    ) + p("<text:s text:c='999999'/>a<text:s text:c='0'/>b")
    assert blocks(body) == ["So it is:   x\ty\nz a link, p.7 and on", "ab"]


def test_what_is_deleted_hidden_or_a_comment_is_not_read():
    hidden = letters(text__display="none")
    automatic = style("T1", "text", inside=hidden) + style("T2", "text", inside=letters(text__display="true"))
    automatic += style("P2", inside=hidden) + style("P3", parent_style_name="P2")
    deleted = f"<text:changed-region><text:deletion>{p('deleted')}</text:deletion></text:changed-region>"
    box = f"<draw:frame><draw:text-box>{p('boxed')}</draw:text-box></draw:frame>"
    note = f"<text:note><text:note-body>{p('noted')}</text:note-body></text:note>"
    body = "".join(
        (
            f"<text:tracked-changes>{deleted}</text:tracked-changes><office:forms>{p('form')}</office:forms>",
            p("a<text:change text:change-id='c'/><text:span text:style-name='T1'>not</text:span> b"),
            p("hidden", "P2"), p(f"hidden {box}", "P3"), p("no <text:span text:style-name='T2'>but</text:span>", "P3"),
            f"<text:section text:display='none'>{p('section')}</text:section>",
            f"<text:section text:display='condition' text:is-hidden='true'>{p('section')}</text:section>",
            f"<text:section text:display='condition'>{p('seen')}</text:section>",
            p(f"gone<text:hidden-paragraph text:is-hidden='true'/>{box}{note}"),
            p("kept<text:hidden-paragraph text:is-hidden='false'/>"
              "<text:hidden-text text:is-hidden='true' text:string-value='s'>s</text:hidden-text>"
              "<text:conditional-text text:condition='x'> as shown</text:conditional-text>"
              "<text:variable-set text:display='none'>5</text:variable-set>"
              f"<office:annotation><dc:creator>Bob</dc:creator>{p('comment')}</office:annotation>"
              "<text:script>alert()</text:script>"
              f"<text:span text:style-name='T1'>x{note}</text:span>{note}"),
        )
    )  # fmt: skip
    assert blocks(body, automatic=automatic) == ["a b", "but", "seen", "kept as shown[^1]", "[^1]: noted"]


def test_hidden_items_of_a_list_do_not_count():
    automatic = THREE + style("P2", inside=letters(text__display="none"))
    assert blocks(items("a", p("b", "P2"), "c", style="L1"), automatic=automatic) == ["1. a", "2. c"]


def test_what_is_raised_or_lowered_and_ruby():
    automatic = "".join(
        style(name, "text", inside=letters(style__text_position=position))
        for name, position in (("T1", "super 58%"), ("T2", "-33% 58%"), ("T3", "0% 100%"), ("T4", "33%"))
    )
    span = '<text:span text:style-name="{}">{}</text:span>'
    body = p(
        f"10{span.format('T1', '-3')} H{span.format('T2', '2')}O a{span.format('T3', '2')} m{span.format('T4', 2)}"
    )
    body += p(f"1{span.format('T1', 'st')} x{span.format('T1', 'n' + span.format('T1', '+1'))}")
    body += p("<text:ruby><text:ruby-base>漢字</text:ruby-base><text:ruby-text>かんじ</text:ruby-text></text:ruby>です")
    assert blocks(body, automatic=automatic) == ["10⁻³ H₂O a2 m²", "1st xⁿ⁺¹", "漢字です"]


def test_notes_stand_behind_the_text():
    note = (
        "<text:note text:note-class='{}'><text:note-citation>9</text:note-citation><text:note-body>{}</text:note-body>"
    )
    note += "</text:note>"
    inner = note.format("footnote", p("within."))
    body = p(f"Seen{note.format('footnote', p('By Ada.') + p('Twice.'))}") + p(
        f"and{note.format('endnote', p(f'By Bob{inner}'))}."
    )
    assert blocks(body) == ["Seen[^1]", "and[^2].", "[^1]: By Ada. Twice.", "[^2]: By Bob[^3]", "[^3]: within."]


def test_boxes_stand_below_their_paragraph_and_pictures_are_left_out():
    picture = "<draw:frame><draw:image xlink:href='a.png'><text:p>no</text:p></draw:image><svg:title>no</svg:title>"
    picture += "</draw:frame>"
    box = f"<draw:frame><draw:text-box>{p('in a box')}{picture}</draw:text-box></draw:frame>"
    shape = f"<draw:custom-shape>{p('in a shape')}</draw:custom-shape>"
    body = p("first", "") + f"<draw:frame><draw:text-box>{p('of the page')}</draw:text-box></draw:frame>"
    body += p(f"be{box}fore{picture}<draw:g>{shape}<draw:rect draw:display='none'>{p('no')}</draw:rect></draw:g>")
    assert blocks(body) == ["first", "of the page", "before", "in a box", "in a shape"]


def test_indexes_and_sections_are_read_as_they_stand():
    index = "<text:table-of-content><text:table-of-content-source><text:index-title-template>no"
    index += (
        f"</text:index-title-template></text:table-of-content-source><text:index-body><text:index-title>{p('Contents')}"
    )
    index += f"</text:index-title>{p('One<text:tab/>1')}</text:index-body></text:table-of-content>"
    assert blocks(f"{index}<text:section>{p('within')}</text:section>") == ["Contents", "One\t1", "within"]


def test_tables():
    head = f"<table:table-header-rows>{rows(cells('Part', 'Size | x', 'no'))}</table:table-header-rows>"
    merged = '<table:table-cell table:number-columns-spanned="2"><text:p>both</text:p></table:table-cell>'
    covered = f"<table:covered-table-cell>{p('unseen')}</table:covered-table-cell>"
    columns = '<table:table-column table:number-columns-repeated="2"/><table:table-column table:visibility="collapse"/>'
    body = head + rows(cells("fovea", "1.5 mm", "no"), merged + covered, cells("", "", "no"))
    table = f"<table:table>{columns}{body}</table:table>"
    assert read(table).text == "| Part | Size \\| x |\n|---|---|\n| fovea | 1.5 mm |\n| both |  |"
    inner = f"<table:table>{rows(cells('a', 'b|'), cells('c', 'd'))}</table:table>"
    row = rows(f"<table:table-cell>{p('of')}{inner}</table:table-cell>" + cells("x | y"))
    assert read(f"<table:table>{row}</table:table>").text == "| of a · b\\| · c · d | x \\| y |"


def test_numbers_without_a_text_are_read_in_cells():
    more = 'text:continue-numbering="true"'
    number = f"<table:table-cell>{items('', style='L1', more=more)}</table:table-cell>"
    body = rows(number + cells("red"), number + cells("blue"))
    assert read(f"<table:table>{body}</table:table>", automatic=THREE).text == "| 1. | red |\n|---|---|\n| 2. | blue |"


CODE = ["def a(b):", "<text:s text:c='4'/>return b[0]", "", "a(1)"]


def test_code_stands_between_fences():
    styles = style("Preformatted_20_Text") + style("P8", parent_style_name="Preformatted_20_Text")
    code = "".join(p(line, "P8") for line in CODE)
    expected = [
        "Prose is long enough, so that it is no document of code.",
        "```\ndef a(b):\n    return b[0]",
        "a(1)\n```",
    ]
    assert blocks(p(expected[0]) + code, styles=styles) == expected
    spans = "".join(p(f'<text:span text:style-name="T7">{line}</text:span>', "P7") for line in CODE)
    named = style("T7", "text", inside=letters(style__font_name="F1"))
    named += style("P7", inside=letters(fo__font_family="'Courier New'"))
    fonts = '<style:font-face style:name="F1" svg:font-family="Consolas"/>'
    assert blocks(p(expected[0]) + spans, automatic=named, fonts=fonts) == expected
    assert "```" not in read(p(expected[0]) + spans, automatic=named, fonts=fonts.replace("Consolas", "Arial")).text
    mixed = p('prose <text:span text:style-name="T7">code[0]</text:span>')
    assert blocks(mixed, automatic=named, fonts=fonts) == ["prose code[0]"]
    item = items(p("so:") + "".join(p(line, "P8") for line in CODE))
    assert blocks(p(expected[0]) + item, styles=styles) == [expected[0], "- so:", *expected[1:]]


def test_formulas_beside_the_text_and_within_it():
    formula = "<math xmlns='http://www.w3.org/1998/Math/MathML'><semantics><mrow><mi>E</mi><mo>=</mo><mi>m</mi>"
    formula += "<msup><mi>c</mi><mn>2</mn></msup></mrow><annotation>E = m c^2</annotation></semantics></math>"
    frame = "<draw:frame><draw:object xlink:href='./{}'/><draw:image xlink:href='x'/></draw:frame>"
    within = "<draw:frame><draw:object><math:math><math:mi>x</math:mi></math:math></draw:object></draw:frame>"
    others = {"Object 1/content.xml": formula, "Object 2/content.xml": "<x><y/></x>", "Object 4/content.xml": "no"}
    objects = "".join(frame.format(f"Object%20{n}") for n in (1, 1, 2, 3, 4))
    body = p(f"So {objects} holds for {within}.") + frame.format("Object 1")
    assert blocks(body, others=others) == ["So E=mc^2 holds for x."]
    assert blocks(frame.format("Object 1"), others=others) == ["E=mc^2"]


def test_a_text_of_a_program_that_writes_them():
    pytest.importorskip("odf")
    from odf.opendocument import OpenDocumentText
    from odf.style import ListLevelProperties, Style, TextProperties
    from odf.text import (
        A,
        H,
        LineBreak,
        List,
        ListItem,
        ListLevelStyleNumber,
        ListStyle,
        Note,
        NoteBody,
        NoteCitation,
        P,
        S,
        Span,
    )  # fmt: skip

    made = OpenDocumentText()
    made.meta.addElement(_titled("A study"))
    raised = Style(name="Raised", family="text")
    raised.addElement(TextProperties(textposition="super 58%"))
    mono = Style(name="Mono", family="paragraph")
    mono.addElement(TextProperties(fontfamily="Liberation Mono"))
    numbers = ListStyle(name="Numbers")
    level = ListLevelStyleNumber(level="1", numformat="1", numsuffix=".")
    level.addElement(ListLevelProperties(spacebefore="1cm"))
    numbers.addElement(level)
    for one in (raised, mono, numbers):
        made.automaticstyles.addElement(one)
    made.text.addElement(H(outlinelevel=1, text="Intro"))
    seen = P(text="The fovea ")
    seen.addElement(A(href="https://example.org", text="sees"))
    seen.addText(" 10")
    seen.addElement(Span(stylename=raised, text="6"))
    seen.addElement(LineBreak())
    seen.addText("cones.")
    note = Note(id="n", noteclass="footnote")
    note.addElement(NoteCitation(text="1"))
    body = NoteBody()
    body.addElement(P(text="By Ada."))
    note.addElement(body)
    seen.addElement(note)
    made.text.addElement(seen)
    listed = List(stylename=numbers)
    for text in ("red", "blue"):
        item = ListItem()
        item.addElement(P(text=text))
        listed.addElement(item)
    made.text.addElement(listed)
    for indent, text in ((0, "if a[0]:"), (4, "b()")):
        line = P(stylename=mono)
        if indent:
            line.addElement(S(c=indent))
        line.addText(text)
        made.text.addElement(line)
    held = io.BytesIO()
    made.write(held)
    found = read_opendocument(held.getvalue(), name="a", max_bytes=10**6)
    assert found.title == "A study"
    assert found.text == (
        "# Intro\n\nThe fovea sees 10⁶\ncones.[^1]\n\n1. red\n\n2. blue\n\n```\nif a[0]:\n    b()\n```\n\n[^1]: By Ada."
    )


def _titled(title):
    from odf.dc import Title

    return Title(text=title)


LOCKED = (
    '<m:manifest xmlns:m="urn:oasis:names:tc:opendocument:xmlns:manifest:1.0"><m:file-entry m:full-path="content.xml">'
    "<m:encryption-data/></m:file-entry></m:manifest>"
)


@pytest.mark.parametrize(
    ("content", "reason"),
    [
        (b"PK\x03\x04", "is damaged"),
        (b"", "is damaged"),
        (opendocument(p("words"))[:-30], "is damaged"),
        (opendocument(p(" ")), "holds no text"),
        (epub({"a.xhtml": "<p>Words.</p>"}), "lacks content.xml"),
        (opendocument("", "chart"), "holds no text, slides or sheets"),
        (opendocument("", others={"content.xml": "<a><b/></a>"}), "holds no text, slides or sheets"),
        (opendocument("", others={"content.xml": "nothing"}), "no XML"),
        (opendocument(p("words"), others={"META-INF/manifest.xml": LOCKED}), "locked with a password"),
        (bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600), "locked with a password"),
    ],
    ids=["zip", "nothing", "cut", "blank", "book", "chart", "other", "no-xml", "locked", "office"],
)
def test_what_is_no_opendocument_says_so(content, reason):
    with pytest.raises(UnreadableSource, match=reason):
        read_opendocument(content, name="a.odt", max_bytes=10**6)


def test_parts_that_are_damaged_or_lacking_do_not_matter_unless_they_are_too_large():
    found = read(p("words"), others={"meta.xml": "no", "META-INF/manifest.xml": "<m"})
    assert (found.text, found.title, found.author) == ("words", None, None)
    for large in ("meta.xml", "META-INF/manifest.xml", "styles.xml", "content.xml"):
        with pytest.raises(UnreadableSource, match="more than 1,000,000 bytes"):
            read(p("words"), others={large: b" " * 2_000_000})


def test_files_of_this_machine_are_not_read():
    outside = '<!DOCTYPE d [<!ENTITY e SYSTEM "file:///etc/passwd"><!ENTITY f "xxxx">]>'
    assert read(p("a &e; &f; b"), before=outside).text.split() in (["a", "b"], ["a"])


def test_long_documents_take_time_by_their_length():
    def seconds(times):
        body = (items("x", p("y") + items("z"), style="L1") + p("<text:span>a</text:span> b" * 20)) * times
        content = opendocument(body, automatic=THREE)
        start = time.process_time()
        read_opendocument(content, name="a", max_bytes=10**8)
        return time.process_time() - start

    seconds(10)
    assert seconds(400) < 30 * max(seconds(40), 0.01)
