"""Documents that are ZIP archives: whichever kind they are, damage and odd ways of packing are refused in one way."""

import io
import zipfile

import pytest
from pptx import Presentation
from text.books import epub, paragraph, word
from text.opendocuments import opendocument

from foveal.errors import UnreadableSource
from foveal.text.docx import read_docx
from foveal.text.epub import read_epub
from foveal.text.opendocument import read_opendocument
from foveal.text.pptx import read_pptx
from foveal.text.xlsx import read_xlsx


def workbook():
    from openpyxl import Workbook

    book, held = Workbook(), io.BytesIO()
    book.active.append(["words"])
    book.save(held)
    return held.getvalue()


def deck():
    presentation, held = Presentation(), io.BytesIO()
    presentation.slides.add_slide(presentation.slide_layouts[5]).shapes.title.text = "words"
    presentation.save(held)
    return held.getvalue()


KINDS = {
    "docx": (read_docx, word(paragraph("words"))),
    "xlsx": (read_xlsx, workbook()),
    "pptx": (read_pptx, deck()),
    "odt": (read_opendocument, opendocument("<text:p>words</text:p>")),
    "epub": (read_epub, epub({"a.xhtml": "<p>words</p>"})),
}


def packed(content, how):
    held = io.BytesIO()
    with zipfile.ZipFile(io.BytesIO(content)) as before, zipfile.ZipFile(held, "w", how) as after:
        for name in before.namelist():
            after.writestr(name, before.read(name))
    return held.getvalue()


def read(kind, content):
    return KINDS[kind][0](content, name=f"a.{kind}", max_bytes=10**6).text


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_packed_as_none_is_is_refused(kind):
    assert "words" in read(kind, packed(KINDS[kind][1], zipfile.ZIP_STORED))
    for how in (zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA):
        with pytest.raises(UnreadableSource, match=r"is damaged: .+ is packed as none is"):
            read(kind, packed(KINDS[kind][1], how))


@pytest.mark.parametrize("kind", KINDS)
def test_what_is_cut_or_locked_is_refused(kind):
    content = KINDS[kind][1]
    with pytest.raises(UnreadableSource, match="is damaged"):
        read(kind, content[: len(content) // 2])
    with pytest.raises(UnreadableSource, match="locked with a password, or of an old Office format"):
        read(kind, bytes.fromhex("d0cf11e0a1b11ae1") + bytes(600))
