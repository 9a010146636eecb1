"""Pages of lines from top to bottom are read from the right; all others stay as they are."""

from __future__ import annotations

import io

import pytest
from fontTools.fontBuilder import FontBuilder
from fontTools.pens.ttGlyphPen import TTGlyphPen

from foveal.text.pdf import read_pdf
from foveal.text.pdf_vertical import in_vertical_lines

ABOVE = (
    "吾輩は猫である。名前はまだ無い。どこで生れたかとんと見当がつかぬ。何でも薄暗いじめじめした所で泣いていた事だけ"
    "は記憶している。吾輩はここで始めて人間というものを見た。しかも後で聞くとそれは書生という人間中で一番獰悪な種族"
    "であったそうだ。この書生というのは時々我々を捕えて煮て食うという話である。"
)
BELOW = (
    "然しその当時は何という考もなかったから別段恐しいとも思わなかった。ただ彼の掌に載せられてスーと持ち上げられた時"
    "何だかフワフワした感じがあったばかりである。掌の上で少し落ちついて書生の顔を見たのが始であろう。"
)
DRAWN = sorted({*ABOVE, *BELOW, *"第一章0123456789 ab"})
SIZE, PITCH = 12, 20


def font() -> bytes:
    """A font in which each character is a box; glyph n draws `DRAWN[n - 1]`."""
    pen = TTGlyphPen(None)
    pen.moveTo((60, -60))
    pen.lineTo((60, 800))
    pen.lineTo((940, 800))
    pen.lineTo((940, -60))
    pen.closePath()
    names = [".notdef", *(f"g{n}" for n in range(len(DRAWN)))]
    made = FontBuilder(1000, isTTF=True)
    made.setupGlyphOrder(names)
    made.setupCharacterMap({ord(one): names[n] for n, one in enumerate(DRAWN, 1)})
    made.setupGlyf(dict.fromkeys(names, pen.glyph()))
    made.setupHorizontalMetrics(dict.fromkeys(names, (1000, 60)))
    made.setupHorizontalHeader(ascent=880, descent=-120)
    made.setupNameTable({"familyName": "Boxes", "styleName": "Regular"})
    made.setupOS2()
    made.setupPost()
    held = io.BytesIO()
    made.save(held)
    return held.getvalue()


def codes(text: str) -> str:
    return "".join(f"{DRAWN.index(one) + 1:04x}" for one in text)


def drawn(name: str, lines, x: float, y: float, right: float, down: float) -> str:
    """Lines, each `right` and `down` of the one before."""
    shown = (f"1 0 0 1 {x + right * n} {y - down * n} Tm <{codes(line)}> Tj" for n, line in enumerate(lines))
    return f"BT /{name} {SIZE} Tf {' '.join(shown)} ET "


def columns(text: str, *, y: float = 780, count: int = 20) -> str:
    """A text in columns of so many characters, drawn from the right."""
    lines = [text[at : at + count] for at in range(0, len(text), count)]
    return drawn("V", lines, 540, y, -PITCH, 0)


def rows(*lines: str, x: float = 60, y: float = 780) -> str:
    return drawn("H", lines, x, y, 0, PITCH)


def pdf(*pages: str) -> bytes:
    """A PDF of these contents, with the font from left to right (H) and from top to bottom (V)."""
    mapped = "".join(f"<{n:04x}> <{one.encode('utf-16-be').hex()}>\n" for n, one in enumerate(DRAWN, 1))
    to_unicode = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def "
        "1 begincodespacerange <0000> <ffff> endcodespacerange\n"
        f"{len(DRAWN)} beginbfchar\n{mapped}endbfchar endcmap end end"
    ).encode()
    file = font()
    kids = " ".join(f"{10 + 2 * n} 0 R" for n in range(len(pages)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        f"<< /Type /Pages /Kids [{kids}] /Count {len(pages)} >>".encode(),
        *(
            f"<< /Type /Font /Subtype /Type0 /BaseFont /Boxes /Encoding /Identity-{way} /DescendantFonts [5 0 R] "
            "/ToUnicode 8 0 R >>".encode()
            for way in "HV"
        ),
        b"<< /Type /Font /Subtype /CIDFontType2 /BaseFont /Boxes /CIDSystemInfo << /Registry (Adobe) /Ordering "
        b"(Identity) /Supplement 0 >> /FontDescriptor 6 0 R /DW 1000 /CIDToGIDMap /Identity >>",
        b"<< /Type /FontDescriptor /FontName /Boxes /Flags 4 /FontBBox [0 -120 1000 880] /ItalicAngle 0 /Ascent 880 "
        b"/Descent -120 /CapHeight 800 /StemV 80 /FontFile2 7 0 R >>",
        stream(file),
        stream(to_unicode),
    ]
    for n, page in enumerate(pages):
        content = stream(page.encode())
        about = "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /H 3 0 R /V 4 0 R >> >> "
        objects += [content, f"{about}/Contents {9 + 2 * n} 0 R >>".encode()]
    out, places = b"%PDF-1.5\n", []
    for n, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (n, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF"
        % (size, table, size, len(out))
    )


def stream(content: bytes) -> bytes:
    return b"<< /Length %d >>\nstream\n%b\nendstream" % (len(content), content)


def read(*pages: str) -> str:
    return read_pdf(pdf(*pages), name="a.pdf", max_characters=10**6).text


def whole(text: str) -> str:
    return "".join(text.split())


def test_columns_are_read_from_the_right():
    assert whole(read(columns(ABOVE))) == ABOVE
    assert whole(read(columns(ABOVE), columns(BELOW, count=30))) == ABOVE + BELOW


def test_columns_below_others_come_behind_them():
    assert whole(read(columns(ABOVE, y=780) + columns(BELOW, y=480))) == ABOVE + BELOW


def test_a_head_and_a_number_across_the_page_stay_as_they_are():
    assert whole(read(rows("第一章", y=815) + columns(ABOVE) + rows("12", x=290, y=40))) == f"第一章{ABOVE}12"


def test_a_column_of_one_character_and_one_that_begins_lower():
    text = ABOVE[:81]
    assert whole(read(columns(text))) == text
    lower = drawn("V", [ABOVE[:18]], 540, 780 - 2 * SIZE, 0, 0)
    rest = drawn("V", [ABOVE[at : at + 20] for at in range(18, len(ABOVE), 20)], 520, 780, -PITCH, 0)
    assert whole(read(lower + rest)) == ABOVE


def test_characters_that_are_placed_one_by_one():
    lines = [ABOVE[at : at + 20] for at in range(0, len(ABOVE), 20)]
    page = "".join(drawn("H", line, 540 - PITCH * n, 780, 0, SIZE) for n, line in enumerate(lines))
    assert read(page) == ABOVE


def test_a_word_that_stands_upright_in_a_column_is_part_of_it():
    page = drawn("V", [ABOVE[:10]], 540, 780, 0, 0) + drawn("H", ["12"], 534, 780 - 11 * SIZE, 0, 0)
    page = page.replace("/H 12 Tf", "/H 6 Tf") + drawn("V", [ABOVE[10:20]], 540, 780 - 11 * SIZE, 0, 0)
    page += drawn("V", [ABOVE[at : at + 21] for at in range(20, len(ABOVE), 21)], 520, 780, -PITCH, 0)
    assert whole(read(page)) == f"{ABOVE[:10]}12{ABOVE[10:]}"


def test_words_that_lie_in_a_column_keep_their_blanks():
    lying = f"BT /H {SIZE} Tf 0 -1 1 0 516 780 Tm <{codes('aba ab 12 b')}> Tj ET "
    page = columns(ABOVE[:20]) + lying + drawn("V", [ABOVE[20:27]], 520, 780 - 11 * SIZE, 0, 0)
    page += drawn("V", [ABOVE[at : at + 20] for at in range(27, len(ABOVE), 20)], 500, 780, -PITCH, 0)
    assert read(page).split("\n")[:2] == [ABOVE[:20], f"aba ab 12 b{ABOVE[20:27]}"]


def test_lines_from_left_to_right_are_read_in_their_order():
    lines = [ABOVE[at : at + 20] for at in range(0, len(ABOVE), 20)]
    assert read(rows(*lines)) == ABOVE


@pytest.mark.parametrize("characters", ["", "short", "one two three " * 20, "猫" * 10])
def test_what_has_few_such_letters_is_not_looked_at(characters):
    def refuse(_place):
        raise AssertionError

    assert in_vertical_lines(characters, refuse) is None
