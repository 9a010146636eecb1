"""PDF to text, page by page, by pdfium.

Text      in the order in which the file holds it, put together by `pdf_lines.py`
Pages     `pages[i]` is the offset at which page i + 1 begins; a page without text begins where the next one does
Title     from the file's properties where these name a title, else the largest line of the first page
Refuses   files that are locked, damaged, or hold no text at all (scans: they need text recognition first)

pdfium is not made for threads: one file is read at a time. Handles are closed at once.
"""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from datetime import datetime
from itertools import takewhile
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.dates import pdf_date
from foveal.text.pdf_lines import joined
from foveal.text.plain import storable

FIRST_CHARACTERS = 4000  # of the first page, searched for the title

PDFIUM = threading.Lock()
"""Held by whoever calls pdfium: see thumbnails.py and cards.py of the papers, too."""

_NO_TITLE = re.compile(
    r"untitled|^microsoft (word|powerpoint)|\.(docx?|pptx?|tex|dvi|indd|pdf|rtf|qxd)$", re.IGNORECASE
)


@dataclass(frozen=True)
class PdfText:
    """What a PDF says; `created` is when the file was made, which may be long after the text was."""

    text: str
    pages: tuple[int, ...]
    title: str | None
    author: str | None
    created: datetime | None


def read_pdf(content: bytes, *, name: str, max_characters: int) -> PdfText:
    """The text of the PDF in `content`; UnreadableSource says why there is none."""
    with PDFIUM, _opened(content, name) as pdf:
        pages = list(_pages(pdf, name, max_characters))
        properties = {key: storable(pdf.get_metadata_value(key)).strip() for key in ("Title", "Author", "CreationDate")}
        largest = _largest_line(pdf) if pages else None
    text, offsets = joined(pages)
    if not text.strip():
        raise UnreadableSource(
            f"{name} is a PDF of {len(pages)} pages without text: probably a scan. Run text recognition (OCR) over it "
            "first, for instance: ocrmypdf in.pdf out.pdf"
        )
    title = _sane(properties["Title"]) or largest or _first_line(text)
    return PdfText(text, offsets, title, properties["Author"] or None, pdf_date(properties["CreationDate"]))


@contextmanager
def _opened(content: bytes, name: str) -> Iterator[Any]:
    import pypdfium2
    from pypdfium2 import raw

    try:
        pdf = pypdfium2.PdfDocument(content)
    except pypdfium2.PdfiumError as error:
        if error.err_code in (raw.FPDF_ERR_PASSWORD, raw.FPDF_ERR_SECURITY):
            raise UnreadableSource(
                f"{name} is locked with a password. Unlock it first, for instance: qpdf --decrypt in.pdf out.pdf"
            ) from error
        raise UnreadableSource(
            f"{name} is no PDF that can be read: it is damaged or cut short. Get it anew."
        ) from error
    with closing(pdf):
        yield pdf


def _pages(pdf: Any, name: str, max_characters: int) -> Iterator[str]:
    import pypdfium2

    left = max_characters
    for number in range(len(pdf)):
        try:
            with closing(pdf[number]) as page, closing(page.get_textpage()) as text:
                characters = storable(text.get_text_range())
        except pypdfium2.PdfiumError:  # a damaged page is empty, and the others keep their numbers
            characters = ""
        left -= len(characters)
        if left < 0:
            raise UnreadableSource(
                f"{name} unpacks to more than {max_characters:,} characters. Split it, or raise LoadSettings.max_bytes."
            )
        yield characters


def _largest_line(pdf: Any) -> str | None:
    """The first line (with those that go on from it) in the largest letters of page 1, if larger than the usual."""
    import pypdfium2

    try:
        with closing(pdf[0]) as page, closing(page.get_textpage()) as text:
            sized = list(_sized_lines(text))
    except pypdfium2.PdfiumError:
        return None
    letters = Counter[float]()
    for line, size in sized:
        letters[size] += len(line)
    lines = [(line, size) for line, size in sized if _wordy(line)]
    largest = max((size for _, size in lines), default=0.0)
    if not letters or largest <= 1.1 * letters.most_common(1)[0][0]:
        return None
    first = next(n for n, (_, size) in enumerate(lines) if size >= 0.5 * largest)  # a figure's letters may be larger
    title = takewhile(lambda sized: sized[1] == lines[first][1], lines[first : first + 4])
    return _sane(" ".join(line for line, _ in title))


def _sized_lines(text: Any) -> Iterator[tuple[str, float]]:
    """The first page's lines, each with the size of most of its letters, in points to one decimal."""
    from pypdfium2 import raw

    line, sizes = "", Counter[float]()
    for index in range(min(text.count_chars(), FIRST_CHARACTERS)):
        character = chr(raw.FPDFText_GetUnicode(text, index))
        if character not in "\r\n":
            line += "-" if character in "\x02\ufffe" else character
            if character.isalnum():
                sizes[round(raw.FPDFText_GetFontSize(text, index), 1)] += 1
        elif sizes:
            yield storable(" ".join(line.split())), sizes.most_common(1)[0][0]
            line, sizes = "", Counter()
    if sizes:
        yield storable(" ".join(line.split())), sizes.most_common(1)[0][0]


def _first_line(text: str) -> str | None:
    return next((line for line in text[:FIRST_CHARACTERS].split("\n") if len(line) > 7 and _wordy(line)), None)


def _wordy(line: str) -> bool:
    """Whether a line could be (part of) a title: mostly letters, and not arXiv's stamp or an address."""
    letters = sum(character.isalpha() for character in line)
    return letters >= 3 and 2 * letters > len(line) and not re.match(r"arXiv:|https?:|www\.|\S+@", line)


def _sane(title: str) -> str | None:
    title = " ".join(title.split())
    return title if 4 <= len(title) <= 300 and _wordy(title) and not _NO_TITLE.search(title) else None
