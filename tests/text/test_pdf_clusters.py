"""Clusters of letters in PDFs as browsers write them: each is read once, as the file says, with blanks between words.

The fonts of these files draw Latin shapes; what they stand for is Thai and Hindi, as their maps to Unicode say.
"""

import shutil
import subprocess
from contextlib import closing

import pytest
from pypdfium2 import PdfDocument

from foveal.text.pdf import read_pdf
from foveal.text.pdf_clusters import _read
from foveal.text.pdf_letters import characters_of

LETTERS = {
    "A": "สุ",
    "B": "นั",
    "C": "ข",
    "D": "लो",
    "E": "म",
    "F": "ड़ी",
    "G": "औ",
    "H": "र",
    "I": "दु",
    "X": "𝑥",
    "a": "a",
    "b": "b",
}


def pdf(*drawn: tuple[float, float, str, str | None]) -> bytes:
    """A page of codes of `LETTERS` at x, y; those with the same span behind each other are of one mark."""
    content, inside = [], None
    for x, y, code, said in drawn:
        if said != inside and inside is not None:
            content.append("EMC")
        if said is not None and said != inside:
            content.append(f"/Span <</ActualText <FEFF{said.encode('utf-16-be').hex()}>>> BDC")
        inside = said
        content.append(f"BT /F 20 Tf 1 0 0 1 {x} {y} Tm ({code}) Tj ET")
    content += ["EMC"] * (inside is not None)
    mapped = "\n".join(f"<{ord(code):02x}> <{said.encode('utf-16-be').hex()}>" for code, said in LETTERS.items())
    to_unicode = (
        "/CIDInit /ProcSet findresource begin 12 dict begin begincmap /CMapName /X def /CMapType 2 def "
        f"1 begincodespacerange <00> <ff> endcodespacerange {len(LETTERS)} beginbfchar\n{mapped}\nendbfchar "
        "endcmap end end"
    )
    objects = [
        "<< /Type /Catalog /Pages 2 0 R >>",
        "<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        "<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F 4 0 R >> >> /Contents 6 0 R >>",
        "<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica /ToUnicode 5 0 R >>",
        *(f"<< /Length {len(one)} >>\nstream\n{one}\nendstream" for one in (to_unicode, "\n".join(content))),
    ]
    out, places = b"%PDF-1.5\n", []
    for number, one in enumerate(objects, 1):
        places.append(len(out))
        out += f"{number} 0 obj\n{one}\nendobj\n".encode()
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    ending = f"xref\n0 {len(places) + 1}\n0000000000 65535 f \n{table}trailer << /Size {len(places) + 1} /Root 1 0 R >>"
    return out + f"{ending}\nstartxref\n{len(out)}\n%%EOF".encode()


def read(*drawn):
    return read_pdf(pdf(*drawn), name="a.pdf", max_characters=10**6).text


def test_a_cluster_of_several_glyphs_is_read_once():
    dog = read(
        *((50, 700, "A", "สุ"), (58, 693, "A", "สุ")),
        *((64, 700, "B", "นั"), (70, 712, "B", "นั")),
        (78, 700, "C", None),
    )
    assert dog == "สุนัข"


def test_a_blank_is_where_a_cluster_ends_some_way_before_the_next():
    fox = (50, 700, "D", "लो"), (62, 700, "D", "लो"), (77, 700, "E", None), (91, 700, "F", "ड़ी")
    assert read(*fox, (112, 700, "G", None), (128, 700, "H", None)) == "लोमड़ी और"


def test_what_a_cluster_says_goes_before_what_its_glyphs_stand_for():
    assert read((50, 700, "I", "द"), (70, 700, "E", None)) == "द म"


def test_the_same_cluster_twice_is_two():
    assert read((50, 700, "A", "สุ"), (64, 700, "C", None), (79, 700, "A", "สุ")) == "สุขสุ"


def test_letters_behind_one_that_pdfium_counts_as_two_have_their_places():
    """A page with a letter of mathematics lost its headings and tables."""
    with closing(PdfDocument(pdf((50, 700, "X", None), (62, 700, "a", None), (74, 700, "b", None)))) as opened:
        text = opened[0].get_textpage()
        characters, glyphs, placed = characters_of(text)
        assert (characters, placed, text.count_chars()) == ("𝑥ab", True, 4)
        assert [glyphs.origin_of(place)[0] for place in range(3)] == [50, 62, 74]


@pytest.mark.parametrize(
    ("told", "said"), [("\x0e*\x0e8", "สุ"), ("fi", "fi"), ("สุ", "สุ"), ("", ""), ("\xd8\x00", "\xd8\x00")]
)
def test_what_pdfium_tells_of_a_mark(told, said):
    assert _read(told) == said


@pytest.mark.skipif(shutil.which("chromium") is None, reason="needs chromium")
@pytest.mark.parametrize(
    "text",
    [
        "กาลครั้งหนึ่งมีสุนัขจิ้งจอกตัวหนึ่งเดินเข้าไปในสวน",
        "พบรูที่รั้วและเขียนโปรแกรม มันจึงพูดว่าองุ่น",
        "एक बार एक लोमड़ी एक बाग में गई और उसने पके हुए अंगूर देखे।",
        "ఒకసారి ఒక నక్క తోటలోకి వెళ్లి పండిన ద్రాక్షను చూసింది.",
    ],
)
def test_a_page_that_a_browser_prints(text, tmp_path):
    page = tmp_path / "page.html"
    page.write_text(f'<meta charset="utf-8"><p>{text}</p><p>{text}</p>', encoding="utf-8")
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    made = tmp_path / "page.pdf"
    subprocess.run([*command, f"--print-to-pdf={made}", page.as_uri()], check=True, capture_output=True, timeout=120)
    assert read_pdf(made.read_bytes(), name="a.pdf", max_characters=10**6).text.split() == 2 * text.split()


@pytest.mark.skipif(not shutil.which("chromium"), reason="needs a browser")
def test_tables_that_a_browser_prints_in_clusters(tmp_path):
    text = "भूरी लोमड़ी आलसी कुत्ते के ऊपर से कूद जाती है और जंगल की ओर भाग जाती है।"
    words = text.split()
    rows = "".join(f"<tr><td>{words[n]}<td>{12 + n}.5<td>{words[n + 1]}<td>{300 + n}</tr>" for n in range(5))
    page, made = tmp_path / "page.html", tmp_path / "page.pdf"
    plain = f'<table class="n">{rows}</table><p>{text} {text}</p>'
    style = "<style>.n td{border:0!important}body{width:16cm}table{border-collapse:collapse}"
    style += "td{border:1px solid;padding:2px 6px}</style>"
    page.write_text(
        f'<meta charset="utf-8">{style}<p>{text}</p><table>{rows}</table><p>{text}</p>{plain}', encoding="utf-8"
    )
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", "--no-pdf-header-footer"]
    subprocess.run([*command, f"--print-to-pdf={made}", page.as_uri()], check=True, capture_output=True, timeout=120)
    said = read_pdf(made.read_bytes(), name="a.pdf", max_characters=10**6).text
    assert "| कुत्ते | 15.5 | के | 303 |" in said
