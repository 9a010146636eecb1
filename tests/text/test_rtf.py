"""RTF: what is seen of it, in the code pages, lists, tables and notes that programs write; and damaged files."""

from __future__ import annotations

import time
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from foveal.errors import UnreadableSource
from foveal.text.rtf import read_rtf
from foveal.text.rtf_tokens import BYTES, CLOSE, OPEN, WORD, Font, code_page, tokens


def read(body, *, head=r"\ansi\ansicpg1252\deff0"):
    content = body if isinstance(body, bytes) else f"{{\\rtf1{head} {body}}}".encode("latin-1")
    return read_rtf(content, name="a.rtf")


def text(body, **given):
    return read(body, **given).text


FONTS = (
    r"{\fonttbl{\f0\froman\fcharset0\fprq2{\*\panose 02020603050405020304}Times New Roman{\*\falt Times};}"
    r"{\f1\fswiss\fcharset204 Arial Cyr;}{\f2\ftech\fcharset2 Symbol;}{\f3\fnil\fcharset128 MS Mincho;}"
    r"{\f4\fnil\fcharset2 Wingdings;}{\f5\fmodern\fcharset0 Courier New;}{\f6\fnil\fcharset2 Nobody's Own;}"
    r"{\f7\fnil\cpg1250 Times CE;}}"
)
STYLES = (
    r"{\stylesheet{\ql \li0\ri0 \f0\fs24 \snext0 Normal;}{\s1\ql\outlinelevel0 \b\fs32 \sbasedon0 \snext0 heading 1;}"
    r"{\s2\ql \sbasedon0 Heading 2,h2;}{\*\cs10 \additive Default Paragraph Font;}{\s15\qc \sbasedon0 Title;}"
    r"{\s16 \sbasedon1 Mine;}{\s17\sbasedon18 Round;}{\s18\sbasedon17 about;}}"
)


def test_tokens():
    assert list(tokens(b"{\\b1 a\\'e9\r\n\\~\\bin3 {{{}\\x-12\\")) == [
        (OPEN, b"", None), (WORD, b"b", 1), (BYTES, b"a", None), (BYTES, b"\xe9", None), (WORD, b"~", None),
        (CLOSE, b"", None), (WORD, b"x", -12),
    ]  # fmt: skip


def test_paragraphs_are_apart_and_what_looks_like_a_heading_is_none():
    assert text(r"One\line and a half.\par # of pages\tab x\page Last \{a\} \\ b \~c\-d\_e\emdash\rquote") == (
        "One\nand a half.\n\n#\u00a0of pages\tx\n\nLast {a} \\ b \u00a0cd-e—’"
    )
    assert text("One\r\n tw\no\\\nthree\\\r\nfour") == "One two\n\nthree\n\nfour"


def test_headings_by_level_by_style_and_by_name():
    body = (
        r"\pard\plain \s15 Of eyes\par \pard\s1\outlinelevel0 Cones\par\pard\plain By day.\par\s2 Red\par"
        r"\pard\s16 Mine\par\pard\s17 Body\par\pard\outlinelevel2 Own\par"
        r"\pard\s1\outlinelevel9 {\listtext 1.\tab}Still one\par\pard\s99 End\par"
    )
    found = read(STYLES + body)
    assert found.text.split("\n\n") == [
        "# Of eyes", "# Cones", "By day.", "## Red", "# Mine", "Body", "### Own", "# 1. Still one", "End",
    ]  # fmt: skip
    assert found.title == "Of eyes"


def test_what_a_file_says_of_itself():
    info = (
        r"{\info{\title A \'84study\'93 of \u1079?}{\author Ada}{\operator Bob}{\doccomm no}{\*\company Ltd}"
        r"{\creatim\yr2024\mo5\dy20\hr14\min30}{\revtim\yr2025\mo1\dy1}}"
    )
    found = read(f"{info}Text\\par")
    assert (found.text, found.title, found.author) == ("Text", "A „study“ of з", "Ada")
    assert found.created == "2024-05-20T14:30:00"
    assert read(r"{\info{\creatim\yr2024\mo15\dy20}}Text").created is None


def test_bytes_are_in_the_code_page_of_the_font_or_the_file():
    assert text(r"\'cf\'f0\'e8 \'e2\'e5\'f2", head=r"\ansi\ansicpg1251") == "При вет"
    body = r"caf\'e9 {\f1 \'cf\'f0\'e8}\f3 \'93\'fa\'96\'7b \'83A\f7 \'f5\plain \'f5"
    assert text(FONTS + body) == "café При日本 アőõ"
    assert text(r"\'8e", head=r"\mac") == "é"
    assert text(r"\'82", head=r"\pc") == "é"
    assert text("caf\\'c3\\'a9", head=r"\ansicpg65001") == "café"
    assert text("caf\xe9 \\'83", head=r"\ansicpg932") == "caf� �"
    assert text("caf\xe9", head=r"\ansicpg77777") == "café"
    assert text(r"{\fonttbl\f0\fswiss\fcharset204 Helvetica;\f1\fcharset0 Other;}\f0 \'cf \f1 \'cf") == "П Ï"
    assert code_page(936) == "gb18030"


def test_characters_by_their_number_leave_out_what_stands_in_for_them():
    assert text(r"a\u1079?b\u-10179 ??c\u8212\'97d\u8217\~e", head=r"\uc1") == "aзb�?c—d’e"
    assert text(r"\uc2 \u-10179 ??\u-8704 ??x{\uc0 \u960 \u960 y}\u960 ??z") == "😀xππyπz"
    assert text(r"\u960{?}\u960\par b\u \u65601 ?c") == "π?π\n\nbAc"


def test_fonts_of_signs():
    assert text(FONTS + r"10 {\f2 m}m, {\f2 \u-3999 ?} {\f4 \'fe} {\f6 abc}") == "10 μm, α ☑ abc"
    assert Font.of("Symbol", charset=2).words(b"a", "cp1252") == "α"


def test_hidden_and_deleted_words_are_left_out_and_new_ones_are_read():
    body = (
        r"It is {\deleted not }{\revised\revauth1 so}{\v hid{den}}\v  gone\v0 , {\v{\footnote\plain lost}}yes\deleted"
    )
    body += r"\plain ."
    assert text(body) == "It is so, yes."


def test_lists_have_their_bullets_and_numbers():
    body = (
        r"{\listtext\pard\plain\f2 \'b7\tab}\pard\ls1\ilvl0 One\par{\listtext\pard\plain\f5 o\tab}"
        r"\pard\ls1\ilvl1 Deep\par{\listtext\pard 1.\tab}\pard\ilvl0 First\par{\listtext\tab a)\tab}Second\par\pard"
        r"{\pntext\f4 \'a7\tab}{\*\pn\pnlvlblt{\pntxtb\'b7}}\fi-360 Old\par{\listtext }Bare\par"
    )
    assert text(FONTS + body).split("\n\n") == ["- One", "  - Deep", "1. First", "a) Second", "- Old", "Bare"]


def test_tables_are_rows():
    row = r"\trowd\cellx100\cellx200\pard\intbl {}\cell {}\cell\row "
    body = r"Before\par" + row.format("Part", "Size | x") + row.format("fovea", r"1.5\par mm") + row.format("", "")
    assert text(body + r"\pard After\par") == (
        "Before\n\n| Part | Size \\| x |\n|---|---|\n| fovea | 1.5 mm |\n\nAfter"
    )
    assert text(r"\trowd\intbl a\cell b") == "| a | b |"


def test_a_table_within_a_cell_is_in_its_line():
    inner = r"\pard\intbl\itap2 a\nestcell b\nestcell{\*\nesttableprops\trowd\cellx1\nestrow}{\nonesttables\par}"
    body = rf"\trowd\pard\intbl of\par {inner}{inner}\pard\intbl end\cell x\cell\row\pard After\par"
    assert text(body) == "| of a · b a · b end | x |\n\nAfter"


def test_notes_stand_behind_the_text():
    note = r"{\super\chftn}{\footnote\ftnalt \pard\plain {\super\chftn} The %s\par of it.}"
    assert text(rf"One{note % 'first'} and{note % 'second'}.\par Two.\par") == (
        "One[^1] and[^2].\n\nTwo.\n\n[^1]: The first of it.\n\n[^2]: The second of it."
    )


def test_fields_are_their_results_and_links_their_words():
    link = r'{\field{\*\fldinst {HYPERLINK "http://a.example" }}{\fldrslt {\ul the words}}}'
    assert text(rf"See {link}, page {{\field{{\*\fldinst PAGE}}{{\fldrslt 3}}}}.") == "See the words, page 3."


def test_what_stands_beside_the_text_is_left_out():
    body = (
        r"{\header Head\par}{\footerf Foot\par}{\*\ftnsep -}{\pict\pngblip 89504e47\bin4 }}}}ab}{\*\shppict{\pict ff}}"
        r"{\nonshppict{\pict 00}}{\*\unknown what{ever}}{\object{\*\objdata 0102}{\result Shown}}{\colortbl;\red0;}"
        r"{\xe an entry}{\*\atnid A}\chatn{\*\annotation{\*\atndate 1}A comment}{\*\bkmkstart _Toc}"
        r"{\*\listtable{\list x}}"
    )
    assert text(rf"{body} text\par}} and more") == "Shown text"


def test_boxes_stand_behind_their_paragraph():
    box = r"{\shp{\*\shpinst\shpleft1{\sp{\sn a}{\sv 1}}{\shptxt \pard In the {\b box}.\par Two.\par}}%s}"
    box %= r"{\shprslt{\pict 00} x}"
    assert text(rf"A{box} word.\par End.\par{{\header{box}}}") == "A word.\n\nIn the box.\n\nTwo.\n\nEnd."
    assert text(rf"\pard\intbl a{box}\cell\row\pard End.\par") == "| a |\n\nIn the box.\n\nTwo.\n\nEnd."


def test_what_is_raised_and_what_is_there_twice():
    assert text(r"10{\super 6} H{\sub 2}O, 1{\super st}") == "10⁶ H₂O, 1st"
    assert text(r"{\upr{old}{\*\ud{new}}} and") == "new and"
    assert text(r"{\mmath{\*\moMath{\mf{\mfPr{\mctrlPr x}}{\mnum{\mr a}}{\mden{\mr b}}}}}") == "a/b"


def test_files_as_programs_write_them():
    pad = (
        r"{\rtf1\ansi\ansicpg1252\deff0\nouicompat\deflang1033{\fonttbl{\f0\fnil\fcharset0 Calibri;}}",
        r"{\*\generator Riched20 10.0.19041}\viewkind4\uc1 ",
        r"\pard\sa200\sl276\slmult1\f0\fs22\lang9 Hello \b world\b0 .\par",
        r"\ldblquote Quoted\rdblquote  at 20\'b0.\par",
        "}\r\n\0",
    )
    assert text("\r\n".join(pad).encode()) == "Hello world.\n\n“Quoted” at 20°."
    edit = (
        r"{\rtf1\ansi\ansicpg1252\cocoartf2709",
        r"\cocoatextscaling0{\fonttbl\f0\fswiss\fcharset0 Helvetica;}",
        r"{\colortbl;\red255\green255\blue255;}",
        r"{\*\listtable{\list{\listlevel{\leveltext\leveltemplateid1\'01\uc0\u8226 ;}{\levelnumbers;}}}}",
        r"\pard\tx720\pardirnatural\f0\fs24 \cf0 First line" + "\\",
        "\\ls1\\ilvl0{\\listtext\t\\uc0\\u8226 \t}item \\uc0\\u8212  dash\\",
        "}",
    )
    assert text("\n".join(edit).encode()) == "First line\n\n- item — dash"


@pytest.mark.parametrize("content", [b"", b"{\\rt", b"Text", b" {\\rtf1 x}"])
def test_what_does_not_begin_as_rtf_is_refused(content):
    with pytest.raises(UnreadableSource, match="begins with"):
        read(content)


@pytest.mark.parametrize("body", ["", r"\par\par", r"{\pict 00ff}", r"{\v hidden}", r"\trowd\cell\cell\row"])
def test_a_file_without_text_is_refused(body):
    with pytest.raises(UnreadableSource, match="holds no text"):
        read(body)


@pytest.mark.parametrize(
    "body",
    [
        "{" * 9_000 + "x", "}" * 10, r"\u", r"\uc-5\u5 x", r"\bin99999999999 x", r"\bin-5 x",
        r"\outlinelevel-3\s-9 x\par",
        r"\ilvl999999{\listtext o}x\par", r"\f-1 x", r"{\info{\creatim\yr99999999999\mo1\dy1}}x", r"\ansicpg x",
        r"{\stylesheet{\s1\sbasedon1 a;}}\s1 x\par", r"{\*\ud x}x", r"{\upr}x",
        r"{\shptxt x}", r"\nestrow\row\nestcell x",
    ],
)  # fmt: skip
def test_odd_files_are_read_or_refused(body):
    with suppress(UnreadableSource):
        assert text(body)


def test_groups_too_deep_are_refused():
    with pytest.raises(UnreadableSource, match="too deep"):
        read("{" * 1_000_000)


@pytest.mark.parametrize(
    "body",
    [
        r"{\field{\*\fldinst{HYPERLINK " * 600, r"{\field{\*\fldinst HYPERLINK}{\fldrslt x}}" * 2_000,
        "x" * 400_000, r"\'e9" * 20_000, r"\u233?" * 20_000,
        r"\trowd" + r"\cell" * 20_000 + r"a\row" + r"\intbl x\cell\row " * 4_000,
        r"\nestcell" * 20_000, "{}" * 40_000, r"\par" * 40_000, r"{\footnote x}" * 4_000, "#" * 60_000,
        r"{\super 1}" * 6_000, r"\v\v0" * 20_000, r"\bin" * 20_000, r"{\*\shpinst{\shptxt x" * 400, "\\" * 60_000,
    ],
    ids=range(16),
)  # fmt: skip
def test_time_grows_no_faster_than_the_file(body):
    begun = time.process_time()
    try:
        found = text(body)
    except UnreadableSource:
        found = ""
    assert time.process_time() - begun < 2  # of a processor's time
    assert len(found) < 60 * len(body) + 100


WHOLE = (
    f"{{\\rtf1\\ansi\\ansicpg1252\\deff0{FONTS}{STYLES}{{\\info{{\\title T}}{{\\creatim\\yr2024\\mo5\\dy20}}}}"
    r"\pard\s1 Eyes\par\pard{\listtext\f2 \'b7\tab}\u960?\'e9 one{\footnote Note}\par"
    r"{\field{\*\fldinst X}{\fldrslt y}}\par"
    r"\trowd\pard\intbl a\cell b\itap2 c\nestcell{\*\nesttableprops\nestrow}\cell\row\pard"
    r"{\shp{\*\shpinst{\shptxt B\par}}}{\upr{a}{\*\ud b}}{\super 2}{\v h}\bin3 abc End\par}"
).encode()


def test_the_whole_of_it():
    assert text(WHOLE).split("\n\n") == [
        "# Eyes", "- πé one[^1]", "y", "| a | bc |", "b² End", "B", "[^1]: Note",
    ]  # fmt: skip


@given(st.data())
def test_a_file_with_damage_anywhere_is_read_or_refused(data):
    content = bytearray(WHOLE)
    for _ in range(data.draw(st.integers(0, 20))):
        signs = st.sampled_from(b"{}\\*'09-;ucfsv \n\x00\x83") | st.integers(0, 255)
        content[data.draw(st.integers(5, len(content) - 1))] = data.draw(signs)
    end = data.draw(st.integers(0, len(content)) | st.just(len(content)))
    try:
        found = read(bytes(content[:end]))
    except UnreadableSource:
        return
    assert found.text.strip()
    assert "\0" not in found.text
    found.text.encode()
