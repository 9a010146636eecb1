"""What was filled into a PDF's form or typed upon its pages is read, behind what asks for it."""

from __future__ import annotations

import pytest

from foveal.text.pdf import read_pdf
from foveal.text.pdf_forms import beside


def stream(content: bytes, about: bytes = b"") -> bytes:
    return b"<< %b /Length %d >>\nstream\n%b\nendstream" % (about, len(content), content)


def pdf(lines, written, *, drawn=True, kind=b"Widget", flags=4) -> bytes:
    """A page of (height, text) lines, and upon it (left, height, text); `drawn`: each brings its picture."""
    shown = b"".join(b"1 0 0 1 72 %d Tm (%b) Tj " % (y, text) for y, text in lines)
    first = 6
    upon = b" ".join(b"%d 0 R" % (first + 2 * n) for n in range(len(written)))
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R /AcroForm << /Fields [%b] /NeedAppearances true /DA (/F1 12 Tf 0 g) "
        b"/DR << /Font << /F1 4 0 R >> >> >> >>" % (upon if kind == b"Widget" else b""),
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] /Resources << /Font << /F1 4 0 R >> >> "
        b"/Contents 5 0 R /Annots [%b] >>" % upon,
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
        stream(b"BT /F1 12 Tf " + shown + b"ET"),
    ]
    for n, (x, y, text) in enumerate(written):
        picture = b"/AP << /N %d 0 R >>" % (first + 2 * n + 1) if drawn else b""
        objects += [
            b"<< /Type /Annot /Subtype /%b /FT /Tx /T (field %d) /V (%b) /Contents (%b) /DA (/F1 12 Tf 0 g) /F %d "
            b"/Rect [%d %d %d %d] %b >>" % (kind, n, text, text, flags, x, y - 4, x + 200, y + 16, picture),
            stream(
                b"/Tx BMC q BT /F1 12 Tf 0 4 Td (%b) Tj ET Q EMC" % text,
                b"/Type /XObject /Subtype /Form /BBox [0 0 200 20] /Resources << /Font << /F1 4 0 R >> >>",
            ),
        ]
    out, places = b"%PDF-1.6\n", []
    for n, one in enumerate(objects, 1):
        places.append(len(out))
        out += b"%d 0 obj\n%b\nendobj\n" % (n, one)
    table = b"".join(b"%010d 00000 n \n" % place for place in places)
    size = len(objects) + 1
    return out + (
        b"xref\n0 %d\n0000000000 65535 f \n%btrailer << /Size %d /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF"
        % (size, table, size, len(out))
    )


ASKED = [(700, b"Name of the person who applies:"), (660, b"Reason for the request:"), (620, b"End of the form.")]
ANSWERED = [(300, 660, b"To read at night"), (300, 700, b"Ada Lovelace")]


def read(content: bytes) -> list[str]:
    text = read_pdf(content, name="a.pdf", max_characters=10**6).text
    return [line for line in text.split("\n") if line]


@pytest.mark.parametrize("drawn", [True, False])
def test_what_was_filled_in_stands_behind_what_asks_for_it(drawn):
    assert read(pdf(ASKED, ANSWERED, drawn=drawn)) == [
        "Name of the person who applies:", "Ada Lovelace", "Reason for the request:", "To read at night",
        "End of the form.",
    ]  # fmt: skip


def test_what_was_typed_upon_a_page_is_read_and_what_is_hidden_is_not():
    typed = [(72, 640, b"In a hurry")]
    assert read(pdf(ASKED, typed, kind=b"FreeText"))[2] == "In a hurry"
    assert "In a hurry" not in read(pdf(ASKED, typed, kind=b"FreeText", flags=2))
    assert read(pdf([], typed, kind=b"FreeText")) == ["In a hurry"]


def test_a_page_without_such_stays_as_it_is():
    assert read(pdf(ASKED, [])) == [text.decode() for _, text in ASKED]


def test_answers_go_behind_their_lines():
    characters = "one two three four five six"  # three lines; of the answers one stands above all
    at = {"one": (10, 100), "two": (10, 80), "three": (10, 60), "four": (50, 81), "five": (10, 70), "six": (10, 120)}
    boxes = {}
    for word, (left, bottom) in at.items():
        first = characters.index(word)
        boxes |= {first + n: (left + 5.0 * n, bottom, left + 5.0 * n + 5, bottom + 10) for n in range(len(word))}
    places = [(0, 3), (4, 7), (8, 18), (19, 27)]
    found = beside(characters, places, 14, boxes.__getitem__)
    assert [characters[a:b].strip() for a, b in found] == ["six", "one", "two", "four", "five", "three"]
