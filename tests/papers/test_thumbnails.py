"""Pictures of papers: the same for ever, safe whatever the title, of one size, small."""

from __future__ import annotations

import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from lxml import etree

from foveal.errors import UnreadableSource
from foveal.papers.thumbnails import HEIGHT, WIDTH, drawn, first_page, keep, kept


@given(st.text(max_size=300), st.sampled_from(["", "cs.CL", "<x>", "stat.ML"]))
def test_any_title_draws_a_small_picture_that_holds_none_of_its_words(title, subject):
    svg = drawn(title, subject)
    assert svg == drawn(title, subject)
    assert len(svg) < 12_000
    root = etree.fromstring(svg)
    assert (root.get("width"), root.get("height")) == (str(WIDTH), str(HEIGHT))
    tags = {etree.QName(element).localname for element in root.iter()}
    assert tags <= {"svg", "defs", "radialGradient", "stop", "rect", "path", "circle"}
    assert not "".join(root.itertext()).strip()


def test_other_words_draw_another_picture_and_the_subject_chooses_its_colours():
    assert drawn("Where to Look", "cs.CL") != drawn("Where to Read", "cs.CL")
    assert len({drawn("Where to Look", subject) for subject in ("cs.CL", "cs.IR", "cs.CV", "cs.RO", "q-bio")}) > 1


def pdf(width: float = 595) -> bytes:
    from fpdf import FPDF

    document = FPDF(unit="pt", format=(width, 842))
    document.add_page()
    document.set_fill_color(255, 0, 0)
    document.rect(0, 0, width, 40, style="F")
    return bytes(document.output())


@pytest.mark.parametrize("width", [595, 300, 1700])
def test_the_first_page_becomes_a_png_of_our_size(width, tmp_path: Path):
    png = first_page(pdf(width))
    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (WIDTH, HEIGHT)
    start = png.index(b"IDAT") + 4
    pixels = zlib.decompress(png[start : start + struct.unpack(">I", png[start - 8 : start - 4])[0]])
    assert len(pixels) == HEIGHT * (1 + 3 * WIDTH)
    assert pixels[1:4] == b"\xff\0\0"  # red, not blue: the order of colours
    assert pixels[-3:] == b"\xff\xff\xff"


def test_a_file_that_is_no_pdf_says_so(tmp_path: Path):
    (tmp_path / "a.pdf").write_text("no PDF at all")
    with pytest.raises(UnreadableSource, match="no PDF with a page"):
        first_page(tmp_path / "a.pdf")
    with pytest.raises(UnreadableSource):
        first_page(tmp_path / "missing.pdf")


@pytest.mark.parametrize("which", ["2605.01234", "hep-th/9901001", "../../etc/passwd", "..", "doc-0123456789ab"])
def test_kept_pictures_lie_in_one_folder(which, tmp_path: Path):
    assert kept(tmp_path, which) is None
    path = keep(tmp_path, which, b"png")
    assert path.parent == tmp_path / "thumbnails"
    assert path.read_bytes() == b"png"
    assert kept(tmp_path, which) == path
