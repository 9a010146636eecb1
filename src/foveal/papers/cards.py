"""The picture that other sites show beside a link to ours (Open Graph): a title over its drawn field, as PNG.

    card("Where to Look", "Léa Martin +2 · cs.CL", drawn("Where to Look", "cs.CL"))       # 1200 by 630 pixels
    card("Where to Look", "…", drawn(…), page=kept(home, paper.id).read_bytes())          # the first page beside it

How       the field of `thumbnails.drawn` and the words are written as one page of a PDF, which pdfium renders: so text
          needs no font file and no package for pictures. A first page (a PNG of ours) goes in as it is
Letters   those of Western Europe; Greek ones by their name, accents of others are taken off. A title most of whose
          letters cannot be written so is left out, and the field stands alone
"""

from __future__ import annotations

import struct
import unicodedata
import zlib
from collections.abc import Iterator
from contextlib import closing
from functools import lru_cache
from xml.etree import ElementTree as ET

from foveal.papers.thumbnails import HEIGHT as FIELD_HEIGHT
from foveal.papers.thumbnails import WIDTH as FIELD_WIDTH
from foveal.papers.thumbnails import png_of
from foveal.text.pdf import PDFIUM

WIDTH, HEIGHT = 1200, 630
"""Pixels: what sites that show links ask for."""

MARGIN, PAGE_WIDTH = 72, 520
SIZES = ((64, 4), (52, 5), (42, 6))
"""Points of a title's letters, and lines that fit."""

_BOLD = (  # Helvetica-Bold, thousandths of its size, from the space to the tilde
    "278 333 474 556 556 889 722 238 333 333 389 584 278 333 278 278 556 556 556 556 556 556 556 556 556 556 333 333 "
    "584 584 584 611 975 722 722 722 722 667 611 778 722 278 556 722 611 833 722 778 667 778 722 667 611 722 667 944 "
    "667 667 611 333 278 333 584 556 333 556 611 556 611 556 333 611 611 278 278 556 278 889 611 611 611 611 389 556 "
    "333 611 556 778 556 556 500 389 280 389 584"
)
_WIDTHS = {chr(32 + place): int(width) for place, width in enumerate(_BOLD.split())}
_SVG = "{http://www.w3.org/2000/svg}"


@lru_cache(maxsize=32)
def card(title: str, line: str, field: str, *, page: bytes | None = None) -> bytes:
    """The picture, as PNG; `field` is an SVG of `thumbnails.drawn`, `page` a PNG of `thumbnails.first_page`."""
    import pypdfium2

    pdf = _pdf(_drawing(title, line, field, page), page)
    with PDFIUM, closing(pypdfium2.PdfDocument(pdf)) as document:
        pixels = document[0].render(scale=1, rev_byteorder=True).to_numpy()[:, :, :3].copy()
    return png_of(pixels)


def writable(text: str) -> str:
    """The text in letters that the font has; "" where most of it has none."""
    made = "".join(_letter(one) for one in text)
    asked = sum(one.isalnum() for one in text)
    return made.strip() if 2 * sum(one.isalnum() for one in made) >= asked else ""


def wrapped(text: str, size: float, width: float, lines: int) -> list[str] | None:
    """The text in at most `lines` lines of that width; None where it does not fit."""
    made: list[str] = []
    for word in text.split():
        longer = f"{made[-1]} {word}" if made else word
        if made and measured(longer, size) <= width:
            made[-1] = longer
        else:
            made.append(word)
    return made if len(made) <= lines and all(measured(one, size) <= width for one in made) else None


def measured(text: str, size: float) -> float:
    """How wide a line is, in points."""
    plain = unicodedata.normalize("NFKD", text)
    return sum(_WIDTHS.get(one, 611) for one in plain if not unicodedata.combining(one)) * size / 1000


def _letter(one: str) -> str:
    """A character as Windows-1252 has it: itself, without its accents, by its name (Greek), or nothing."""
    for form in (one, unicodedata.normalize("NFKC", one), _without_accents(one)):
        if form.isprintable() and form.encode("cp1252", "ignore").decode("cp1252") == form:
            return form
    name = unicodedata.name(one, "").split()
    return name[-1].lower() if name[:1] == ["GREEK"] and "LETTER" in name else " " if one.isspace() else ""


def _without_accents(one: str) -> str:
    return "".join(part for part in unicodedata.normalize("NFKD", one) if not unicodedata.combining(part))


# the page


def _drawing(title: str, line: str, field: str, page: bytes | None) -> str:
    """The operators of a PDF's page."""
    width = WIDTH - 2 * MARGIN - (PAGE_WIDTH + 28 if page else 0)
    scale = max(WIDTH / FIELD_WIDTH, HEIGHT / FIELD_HEIGHT)
    left, top = (WIDTH - scale * FIELD_WIDTH) / 2, HEIGHT - (HEIGHT - scale * FIELD_HEIGHT) / 2
    ground = "".join(_shapes(ET.fromstring(field)))
    shown = writable(title)
    parts = [
        f"q {scale:.4f} 0 0 {-scale:.4f} {left:.2f} {top:.2f} cm {ground} Q",
        f"q /Shade gs 0 0 0 rg 0 0 {WIDTH} {HEIGHT} re f Q" if shown else "",
        "".join(_title(shown, width)) if shown else "",
        _text(_cut(writable(line), 28, WIDTH - 2 * MARGIN), 28, MARGIN, 64, 0.92),
    ]
    if page:
        height = PAGE_WIDTH * FIELD_HEIGHT / FIELD_WIDTH
        at = WIDTH - MARGIN - PAGE_WIDTH, (HEIGHT - height) / 2
        parts.append(f"q {PAGE_WIDTH} 0 0 {height:.1f} {at[0]:.1f} {at[1]:.1f} cm /Page Do Q")
    return "\n".join(parts)


def _title(text: str, width: float) -> Iterator[str]:
    """The title from above, in the largest letters in which it fits; cut in the smallest."""
    for size, lines in SIZES:
        found = wrapped(text, size, width, lines)
        if found:
            break
    else:
        words = " ".join(_cut(word, size, width) for word in text.split()).split()
        while not (found := wrapped(" ".join(words) + " …", size, width, lines)):
            words.pop()
    for number, one in enumerate(found):
        yield _text(one, size, MARGIN, HEIGHT - MARGIN - size * (0.8 + 1.2 * number), 1)


def _cut(text: str, size: float, width: float) -> str:
    while text and measured(text, size) > width:
        text = text[:-2].rstrip() + "…"
    return text


def _text(text: str, size: float, x: float, y: float, grey: float) -> str:
    if not text:
        return ""
    written = text.encode("cp1252", "ignore").hex()
    return f"BT /Bold {size} Tf {grey} g {x:.1f} {y:.1f} Td <{written}> Tj ET\n"


def _shapes(svg: ET.Element) -> Iterator[str]:
    """What `drawn` uses of SVG: a ground of two colours, circles, and paths of points and bows."""
    stops = [_rgb(one.get("stop-color", "#000000")) for one in svg.iter(f"{_SVG}stop")]
    yield f"{stops[1]} rg 0 0 {FIELD_WIDTH} {FIELD_HEIGHT} re f "
    eye = next(svg.iter(f"{_SVG}radialGradient"))
    yield from _ground(float(eye.get("cx", 0)), float(eye.get("cy", 0)), stops)
    for one in svg:
        if one.tag == f"{_SVG}circle":
            yield _painted(one, _circle(*(float(one.get(name, 0)) for name in ("cx", "cy", "r"))))
        elif one.tag == f"{_SVG}path":
            yield _painted(one, _path(one.get("d", "")))


def _ground(x: float, y: float, stops: list[str]) -> Iterator[str]:
    """The ground's light around the eye, in rings."""
    inner, outer = ([float(part) for part in one.split()] for one in stops[:2])
    for ring in range(60, 0, -1):
        share = ring / 60
        mixed = " ".join(f"{a + (b - a) * share:.4f}" for a, b in zip(inner, outer, strict=True))
        yield f"{mixed} rg {_circle(x, y, 0.75 * FIELD_WIDTH * share)} f "


def _painted(one: ET.Element, shape: str) -> str:
    filled, stroke = one.get("fill", "black"), one.get("stroke")
    look = f"/A{round(10 * float(one.get('opacity', 1)))} gs 1 J {one.get('stroke-width', '1')} w"
    if stroke:
        return f"{look} {_rgb(stroke)} RG {shape} S "
    return f"{look} {_rgb(filled)} rg {shape} f "


def _circle(x: float, y: float, r: float) -> str:
    """Four Bézier curves."""
    k = 0.5523 * r
    return (
        f"{x + r:.2f} {y:.2f} m {x + r:.2f} {y + k:.2f} {x + k:.2f} {y + r:.2f} {x:.2f} {y + r:.2f} c "
        f"{x - k:.2f} {y + r:.2f} {x - r:.2f} {y + k:.2f} {x - r:.2f} {y:.2f} c "
        f"{x - r:.2f} {y - k:.2f} {x - k:.2f} {y - r:.2f} {x:.2f} {y - r:.2f} c "
        f"{x + k:.2f} {y - r:.2f} {x + r:.2f} {y - k:.2f} {x + r:.2f} {y:.2f} c h"
    )


def _path(data: str) -> str:
    """ "M1 2h0M3 4h0…" (dots) or "M1 2Q3 4 5 6" (a bow)."""
    if "Q" not in data:
        dots = [one.removesuffix("h0") for one in data.split("M")[1:]]
        return " ".join(f"{one} m {one} l" for one in dots)
    start, bow = (list(map(float, part.split())) for part in data.removeprefix("M").split("Q"))
    (x, y), (bx, by, ex, ey) = start, bow
    first, second = (x + 2 * (bx - x) / 3, y + 2 * (by - y) / 3), (ex + 2 * (bx - ex) / 3, ey + 2 * (by - ey) / 3)
    return f"{x} {y} m {first[0]:.2f} {first[1]:.2f} {second[0]:.2f} {second[1]:.2f} {ex} {ey} c"


def _rgb(colour: str) -> str:
    return " ".join(f"{int(colour[at : at + 2], 16) / 255:.4f}" for at in (1, 3, 5))


def _pdf(drawing: str, page: bytes | None) -> bytes:
    """A file with one page, and what that needs."""
    states = "".join(f"/A{n} <</ca {n / 10} /CA {n / 10}>> " for n in range(1, 11)) + "/Shade <</ca 0.42>>"
    font = "<</Type /Font /Subtype /Type1 /BaseFont /Helvetica-Bold /Encoding /WinAnsiEncoding>>"
    picture = "/XObject <</Page 5 0 R>>" if page else ""
    resources = f"<</Font <</Bold {font}>> /ExtGState <<{states}>> {picture}>>"
    box = f"[0 0 {WIDTH} {HEIGHT}]"
    bodies = [
        b"<</Type /Catalog /Pages 2 0 R>>",
        b"<</Type /Pages /Kids [3 0 R] /Count 1>>",
        f"<</Type /Page /Parent 2 0 R /MediaBox {box} /Contents 4 0 R /Resources {resources}>>".encode(),
        _stream("", drawing.encode("ascii")),
        *([_picture(page)] if page else []),
    ]
    file, places = bytearray(b"%PDF-1.7\n"), []
    for number, body in enumerate(bodies, 1):
        places.append(len(file))
        file += f"{number} 0 obj\n".encode() + body + b"\nendobj\n"
    table = "".join(f"{place:010d} 00000 n \n" for place in places)
    tail = f"xref\n0 {len(bodies) + 1}\n0000000000 65535 f \n{table}trailer <</Size {len(bodies) + 1} /Root 1 0 R>>\n"
    return bytes(file) + f"{tail}startxref\n{len(file)}\n%%EOF\n".encode()


def _picture(png: bytes) -> bytes:
    """A PNG of ours (8 bits, three colours) as an image of a PDF: their packed lines are the same."""
    width, height = struct.unpack(">II", png[16:24])
    parms = f"/DecodeParms <</Predictor 15 /Colors 3 /Columns {width}>> /Filter /FlateDecode"
    about = f"/Type /XObject /Subtype /Image /Width {width} /Height {height} /ColorSpace /DeviceRGB /BitsPerComponent 8"
    return _stream(f"{about} {parms}", _lines_of(png), packed=True)


def _lines_of(png: bytes) -> bytes:
    """The packed lines of a PNG file."""
    at, found = 8, b""
    while at < len(png):
        (size,), kind = struct.unpack(">I", png[at : at + 4]), png[at + 4 : at + 8]
        found += png[at + 8 : at + 8 + size] if kind == b"IDAT" else b""
        at += 12 + size
    return found


def _stream(about: str, content: bytes, *, packed: bool = False) -> bytes:
    if not packed:
        content, about = zlib.compress(content), f"{about} /Filter /FlateDecode"
    return f"<<{about} /Length {len(content)}>>\nstream\n".encode() + content + b"\nendstream"
