"""Code in Word documents: as it is indented, between fences, whoever set its letters."""

import io

import docx
import pytest
from docx.enum.style import WD_STYLE_TYPE
from docx.shared import Pt
from lxml import etree

from foveal.text.docx import read_docx
from foveal.text.headings import find_headings
from foveal.text.word_styles import DEEPEST, Styles

PROGRAM = ["# Find it", "def near(a, x):", "    at = bisect(a, x)", "", "    return a[at]"]
PROSE = "The fovea is the small part of the retina that sees sharply, and the eye turns it to what matters most."


def typed(document, lines, face="Consolas"):
    for line in lines:
        document.add_paragraph().add_run(line).font.name = face


def read(document):
    held = io.BytesIO()
    document.save(held)
    return read_docx(held.getvalue(), name="a.docx", max_bytes=10**7).text


@pytest.mark.parametrize("face", ["Consolas", "Courier New", "JetBrains Mono", "Source Code Pro"])
def test_paragraphs_in_letters_of_one_width_are_one_block(face):
    document = docx.Document()
    document.add_heading("Looking", 1)
    document.add_paragraph(PROSE)
    typed(document, [line for line in PROGRAM if line], face)
    document.add_paragraph(PROSE)
    text = read(document)
    assert "most.\n\n```\n# Find it\ndef near(a, x):\n    at = bisect(a, x)\n    return a[at]\n```\n\nThe" in text
    assert [one.title for one in find_headings(text)] == ["Looking"]


def test_a_style_may_say_it_and_one_paragraph_may_hold_all_lines():
    document = docx.Document()
    base = document.styles.add_style("Verbatim", WD_STYLE_TYPE.PARAGRAPH)
    base.font.name = "Courier New"
    code = document.styles.add_style("Source Code", WD_STYLE_TYPE.PARAGRAPH)
    code.base_style = base
    letters = document.styles.add_style("Token", WD_STYLE_TYPE.CHARACTER)
    letters.font.name = "Consolas"
    document.add_paragraph(PROSE)
    document.add_paragraph("\n".join(PROGRAM), style="Source Code")
    document.add_paragraph(PROSE)
    document.add_paragraph("", style="Source Code")
    for line in PROGRAM:
        document.add_paragraph(line, style="Verbatim")
    document.add_paragraph("", style="Source Code")
    document.add_paragraph(PROSE)
    document.add_paragraph().add_run("\tx = {}\n\ty = 1").style = letters
    program = "\n".join(PROGRAM)
    once = f"{PROSE}\n\n```\n{program}\n```\n\n"
    assert read(document) == f"{once}{once}{PROSE}\n\n```\n\tx = {{}}\n\ty = 1\n```"


def test_prose_stays_prose_and_no_line_of_it_is_a_heading():
    document = docx.Document()
    document.add_paragraph("# of pages")
    document.add_paragraph(PROSE)
    typed(document, ["Dear reader, I write to you", "from the coast."])
    mixed = document.add_paragraph("Call ")
    mixed.add_run("look(at)").font.name = "Consolas"
    text = read(document)
    assert find_headings(text) == []
    assert text == f"#\u00a0of pages\n\n{PROSE}\n\nDear reader, I write to you\n\nfrom the coast.\n\nCall look(at)"


def test_a_document_that_is_typed_as_a_whole_stays_as_it_is():
    document = docx.Document()
    document.styles["Normal"].font.name = "Courier New"
    document.add_paragraph("# of pages: 3")
    document.add_paragraph(f"    {PROSE}")
    assert read(document) == f"#\u00a0of pages: 3\n\n{PROSE}"


def test_a_fence_is_longer_than_those_within():
    document = docx.Document()
    document.add_paragraph(PROSE)
    typed(document, ["text = '", "```", "'"])
    assert read(document).endswith("````\ntext = '\n```\n'\n````")


def test_where_the_usual_letters_are_so_no_style_makes_code():
    document = docx.Document()
    document.styles["Normal"].font.name = "Courier New"
    for _ in range(3):
        document.add_paragraph(PROSE)
        document.add_paragraph("It was [1] so;", style="Body Text")
        document.add_paragraph("(see Lee) = it.", style="Body Text")
    assert "```" not in read(document)


def test_what_is_hidden_does_not_count_and_hard_blanks_are_blanks():
    document = docx.Document()
    document.add_paragraph(PROSE)
    typed(document, ["if a:", "\u00a0\u00a0b()"])
    hidden = document.paragraphs[1].add_run(" unseen")
    hidden.font.name, hidden.font.hidden = "Calibri", True
    assert read(document) == f"{PROSE}\n\n```\nif a:\n  b()\n```"


def test_letters_that_a_foundry_named_are_no_code_and_gaps_in_prose_are_small():
    document = docx.Document()
    document.add_paragraph(PROSE)
    typed(document, ["It was [1] so;", "(see Lee) = it."], "Monotype Corsiva")
    document.add_paragraph("one\n\n\n\ntwo")
    assert read(document) == f"{PROSE}\n\nIt was [1] so;\n\n(see Lee) = it.\n\none\n\ntwo"


LEVELS = [(0, "# Find it"), (1, "for a in x:"), (2, "if a:"), (3, "see(a)"), (0, "look()")]


def test_code_that_the_paragraphs_settings_indent_is_indented():
    """As one writes who has no tab in it: by Word's ruler, half an inch a level; the whole lies within a margin."""
    document = docx.Document()
    document.styles["Normal"].font.size = Pt(10)
    document.add_paragraph(PROSE)
    for level, line in LEVELS:
        typed(document, [line])
        document.paragraphs[-1].paragraph_format.left_indent = Pt(36 + 24 * level)
    document.add_paragraph(PROSE)
    body = "\n".join(f"{'    ' * level}{line}" for level, line in LEVELS)
    assert read(document) == f"{PROSE}\n\n```\n{body}\n```\n\n{PROSE}"


def test_a_style_may_set_it_in_and_its_first_line_further_or_less():
    document = docx.Document()
    verbatim = document.styles.add_style("Verbatim", WD_STYLE_TYPE.PARAGRAPH)
    verbatim.font.name, verbatim.font.size = "Courier New", Pt(10)
    deeper = document.styles.add_style("Verbatim 2", WD_STYLE_TYPE.PARAGRAPH)
    deeper.base_style, deeper.paragraph_format.left_indent = verbatim, Pt(12)
    document.add_paragraph(PROSE)
    document.add_paragraph("def see(x):", style="Verbatim")
    document.add_paragraph("a = x[0]", style="Verbatim 2")
    hanging = document.add_paragraph("call(a,\nb)", style="Verbatim 2")
    hanging.paragraph_format.left_indent, hanging.paragraph_format.first_line_indent = Pt(36), Pt(-24)
    document.add_paragraph("  y = {}", style="Verbatim 2").paragraph_format.first_line_indent = Pt(12)
    assert read(document) == f"{PROSE}\n\n```\ndef see(x):\n  a = x[0]\n  call(a,\n      b)\n      y = {{}}\n```"


def test_a_line_that_is_set_in_further_does_not_hang_as_its_style():
    document = docx.Document()
    hanging = document.styles.add_style("Hanging", WD_STYLE_TYPE.PARAGRAPH)
    hanging.font.name, hanging.font.size = "Courier New", Pt(10)
    hanging.paragraph_format.left_indent, hanging.paragraph_format.first_line_indent = Pt(24), Pt(-24)
    document.add_paragraph(PROSE)
    document.add_paragraph("def see(x):", style="Hanging")
    document.add_paragraph("a = x[0]", style="Hanging").paragraph_format.first_line_indent = Pt(12)
    assert read(document) == f"{PROSE}\n\n```\ndef see(x):\n      a = x[0]\n```"


def test_blanks_are_indentation_enough():
    lines = [line for line in PROGRAM if line]
    document = docx.Document()
    document.add_paragraph(PROSE)
    typed(document, lines)
    for paragraph in document.paragraphs[1:]:
        paragraph.paragraph_format.left_indent = Pt(36)
    body = "\n".join(lines)
    assert read(document) == f"{PROSE}\n\n```\n{body}\n```"


# -- styles -----------------------------------------------------------------------------------------------------------

W = "http://schemas.openxmlformats.org/wordprocessingml/2006/main"


def styles_of(*styles):
    """Of (id, based on, more attributes)."""
    each = "".join(
        f'<w:style w:type="paragraph" w:styleId="{name}" {more}><w:basedOn w:val="{above}"/></w:style>'
        for name, above, more in styles
    )
    return Styles.of(etree.fromstring(f'<w:styles xmlns:w="{W}">{each}</w:styles>'))


def test_a_style_has_what_the_nearest_says_that_it_is_based_on():
    styles = styles_of(("a", "", ""), ("b", "a", ""), ("c", "b", ""), ("d", "gone", ""))
    assert styles.inherited({"a": 1, "b": 2}) == {"a": 1, "b": 2, "c": 2}
    assert list(styles.chain("c")) == ["c", "b", "a"]
    assert list(styles.chain("d")) == ["d", "gone"]


def test_styles_that_are_based_on_each_other_end():
    styles = styles_of(("a", "b", ""), ("b", "a", ""))
    assert styles.inherited({}) == {}
    assert len(list(styles.chain("a"))) == DEEPEST + 1


@pytest.mark.parametrize(("said", "usual"), [("1", "a"), ("true", "a"), ("0", ""), ("false", "")])
def test_the_usual_style_is_the_one_that_says_so(said, usual):
    assert styles_of(("b", "", ""), ("a", "", f'w:default="{said}"')).usual == usual
    assert Styles.of(None).usual == ""


@pytest.mark.parametrize(("said", "code"), [("1", True), ("0", False)])
def test_letters_are_those_of_the_usual_style_only_where_it_is_it(said, code):
    """Both readers of styles went by this attribute, one of them whatever it said."""
    document = docx.Document()
    style = document.styles.add_style("Machine", WD_STYLE_TYPE.PARAGRAPH)
    style.font.name = "Consolas"
    for one in document.styles.element.iter(f"{{{W}}}style"):
        if one.get(f"{{{W}}}type") == "paragraph":
            one.attrib.pop(f"{{{W}}}default", None)
    style.element.set(f"{{{W}}}default", said)
    for _ in range(9):
        document.add_paragraph(PROSE).runs[0].font.name = "Georgia"
    for line in PROGRAM:
        paragraph = document.add_paragraph(line)
        if paragraph._p.pPr is not None:
            paragraph._p.remove(paragraph._p.pPr)
    assert ("```" in read(document)) is code
