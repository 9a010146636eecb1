"""PDF to text, page by page, by pdfium.

Text      in the order in which the file holds it, but for boxes that it holds late (`pdf_order.py`), or column by
          column where that goes across (`pdf_columns.py`), or where lines run from top to bottom
          (`pdf_vertical.py`); put together by `pdf_lines.py`; notes and figures
          beside the sentences that they interrupt (`pdf_flow.py`); large first letters in their words
          (`pdf_initials.py`), spaced letters together (`pdf_spaced.py`), clusters as they are said (`pdf_clusters.py`)
Headings  by the outline and by the letters' size and weight (`pdf_headings.py`), marked as in Markdown
Tables    as tables of Markdown, told by where words stand and by ruled lines (`pdf_tables.py`)
Forms     what was filled in, or typed upon a page, is read where it stands (`pdf_forms.py`)
Pages     `pages[i]` is the offset at which page i + 1 begins; a page without text begins where the next one does
Title     from the file's properties where these name a title, else the largest line of the first page
Scans     pages that are pictures are recognised, where that is installed (`pdf_scans.py`); else the log says how many
          are not read
Refuses   files that are locked, damaged, or hold no text at all; of a file with damaged pages the log says how many

pdfium is not made for threads: one file is read at a time. Handles are closed at once.
"""

from __future__ import annotations

import logging
import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass, replace
from datetime import datetime
from functools import cache, partial
from itertools import islice, pairwise
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.dates import pdf_date
from foveal.text.pdf_bidi import in_reading_order
from foveal.text.pdf_clusters import with_clusters
from foveal.text.pdf_code import typed, without_code
from foveal.text.pdf_columns import WIDE, Box, in_columns
from foveal.text.pdf_flow import SMALLER, flowing
from foveal.text.pdf_forms import beside, page_of
from foveal.text.pdf_headings import MOST_CELLS, Bookmark, Line, Typed, marked
from foveal.text.pdf_initials import with_initials
from foveal.text.pdf_letters import BOLD, Glyphs, characters_of, line_size
from foveal.text.pdf_lines import RUNNING, joined
from foveal.text.pdf_order import in_gaps
from foveal.text.pdf_raised import begins_behind, goes_on, raised_first, with_raised
from foveal.text.pdf_scans import drawn, with_scans
from foveal.text.pdf_spaced import is_set_apart, without_gaps
from foveal.text.pdf_table import Table
from foveal.text.pdf_table_rules import rules_of
from foveal.text.pdf_table_words import Letters, Place
from foveal.text.pdf_tables import tables_in, without_tables
from foveal.text.pdf_title import first_line, largest_line, sane
from foveal.text.pdf_vertical import in_vertical_lines
from foveal.text.plain import storable
from foveal.text.printed_pages import kept, printed_on
from foveal.text.recognition import INSTALL, RecognitionSettings, known

Told = Callable[[int, int], None]

logger = logging.getLogger("foveal.text.pdf")

NO_RECOGNITION = RecognitionSettings(ocr="off")

OUTLINE, MOST_BOOKMARKS = 6, 20_000  # levels; entries
LONG = 100  # characters of a line that is hardly a heading

STAMPS = 4  # lines of a page that may all be a head, a number, a stamp of the scanner
TURNED = 200  # characters that are looked at of a page that was turned
NOWHERE = (0, 0)  # of a line whose place in pdfium's text is not known
SCANNED = 0.4  # of such a page the least share that a picture covers
CURVES = 1000  # segments of lines on a page without text: letters have some twenty each

PDFIUM = threading.Lock()
"""Held by whoever calls pdfium: see thumbnails.py and cards.py of the papers, too."""

_DIGITS = re.compile(r"\d+")
_LINE = re.compile(r"^[^\n]*+", re.MULTILINE)
_HYPHEN = re.compile("[\x02\ufffe]")
_LETTER = re.compile(r"[^\W_]")
_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class PdfText:
    """What a PDF says; `created` is when the file was made, which may be long after the text was."""

    text: str
    pages: tuple[int, ...]
    title: str | None
    author: str | None
    created: datetime | None
    unread: int  # pages that are pictures without text, or damaged
    recognised: int = 0  # pages that are pictures, and were read
    printed: str = ""  # what is printed on them, as printed_pages.py has it


def read_pdf(
    content: bytes,
    *,
    name: str,
    max_characters: int,
    on_page: Told = lambda _read, _of: None,
    recognition: RecognitionSettings = NO_RECOGNITION,
    on_scan: Told = lambda _read, _of: None,
) -> PdfText:
    """The text of the PDF in `content`; UnreadableSource says why there is none.

    `on_page` hears after each page how many have been read, and of how many, `on_scan` the same of those that are
    recognised; what they raise ends the reading.
    """
    pictures: list[int] = []
    damaged: list[int] = []
    lines: list[list[Line]] = []
    with PDFIUM, _opened(content, name) as pdf:
        for page in _pages(pdf, name, max_characters, pictures, damaged):
            lines.append(page)
            on_page(len(lines), len(pdf))
        labels = [_label(pdf, number) for number in range(len(lines))]
        outline = list(_outline(pdf))
        properties = {key: storable(pdf.get_metadata_value(key)).strip() for key in ("Title", "Author", "CreationDate")}
    pictures, read, failed = _unread(lines, pictures), list[int](), list[int]()
    if pictures and recognition.active:
        drawing = partial(_drawn, content, name)
        lines, read, failed = with_scans(lines, pictures, content, drawing, recognition=recognition, on_page=on_scan)
    largest = largest_line([(line.text, line.size) for line in lines[0] if not line.table]) if lines else None
    plain, codes = without_code(lines)
    plain, tables = without_tables(plain, len(codes))
    shown = marked(flowing(plain), outline)
    text, offsets = joined(shown, [*codes, *tables])
    missed = [number for number in pictures if number not in read]
    if not text.strip():
        raise UnreadableSource(f"{name} is a PDF of {_count(len(lines))} without text. {_advice(recognition)}")
    if empty := [number for number in missed if number not in failed]:
        logger.warning(
            "%s: %d of its %d pages are pictures without text (the first is page %d) and cannot be read or found. %s",
            name,
            len(empty),
            len(lines),
            empty[0],
            _advice(recognition),
        )
    if damaged:
        logger.warning(
            "%s: %d of its %d pages are damaged (the first is page %d) and cannot be read or found. Get the file anew, "
            "or mend it, for instance: qpdf in.pdf out.pdf",
            name,
            len(damaged),
            len(lines),
            damaged[0],
        )
    title = sane(properties["Title"]) or largest or first_line(text)
    created, unread = pdf_date(properties["CreationDate"]), len({*missed, *damaged})
    printed = kept(labels) or printed_on(shown)
    return PdfText(text, offsets, title, properties["Author"] or None, created, unread, len(read), printed)


def _label(pdf: Any, number: int) -> str:
    """What the file says is printed on page `number` (from 0)."""
    try:
        return storable(pdf.get_page_label(number))
    except UnicodeDecodeError:  # half a character, in a damaged file
        return ""


def _count(pages: int) -> str:
    return f"{pages} page{'s' if pages > 1 else ''}"


def _advice(recognition: RecognitionSettings) -> str:
    """What to do with pages that are pictures."""
    if recognition.active:
        return f"Text recognition found nothing to read there; it knows {known()}."
    if recognition.ocr == "off":
        return "They are probably scans. The setting ocr is off: set it to auto, and text recognition reads them."
    return f"They are probably scans. With text recognition they can be read: {INSTALL}"


def _drawn(content: bytes, name: str, number: int) -> tuple[Any, float]:
    """Page `number` (from 1) as a picture, and the points of its shorter side; without one where it is damaged."""
    import numpy as np
    import pypdfium2

    try:
        with PDFIUM, _opened(content, name) as pdf, closing(pdf[number - 1]) as page:
            return drawn(page)
    except pypdfium2.PdfiumError:
        return np.zeros((0, 0, 3), np.uint8), 0.0


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
        if pdf.get_formtype() == raw.FORMTYPE_ACRO_FORM:
            with suppress(pypdfium2.PdfiumError):  # a damaged form
                pdf.init_forms()  # draws fields that bring no picture of what was filled in
        yield pdf


def _pages(pdf: Any, name: str, max_characters: int, pictures: list[int], damaged: list[int]) -> Iterator[list[Line]]:
    """The lines of each page; the numbers of those with a picture and hardly a line go to `pictures`, of those that
    cannot be read to `damaged`."""
    import pypdfium2

    left = max_characters
    for number in range(len(pdf)):
        try:
            with page_of(pdf, number) as (page, own), closing(_text_of(page)) as text:
                lines = list(_lines(text, own))
                written = sum(line.lines for line in lines)
                if written <= STAMPS and _has_picture(page, SCANNED if written else 0.0):
                    pictures.append(number + 1)
        except pypdfium2.PdfiumError:  # a damaged page is empty, and the others keep their numbers
            lines = []
            damaged.append(number + 1)
        left -= sum((line.table.room if line.table else len(line.text)) + 1 for line in lines)
        if left < -1:
            raise UnreadableSource(
                f"{name} unpacks to more than {max_characters:,} characters. Split it, or raise LoadSettings.max_bytes."
            )
        yield lines


def _text_of(page: Any) -> Any:
    """A page's text. One that was turned, though its letters stood upright, is read as it was: pdfium would begin with
    its last line."""
    from pypdfium2 import raw

    text = page.get_textpage()
    if page.get_rotation():
        places = [
            place for place in range(min(text.count_chars(), TURNED)) if raw.FPDFText_GetUnicode(text, place) > 32
        ]
        if places and not any(raw.FPDFText_GetCharAngle(text, place) for place in places):
            text.close()
            page.set_rotation(0)
            text = page.get_textpage()
    return text


def _unread(pages: Sequence[Sequence[Line]], pictures: Sequence[int]) -> list[int]:
    """Of pages with a picture those that say nothing of their own: their few lines (head, number, stamp) run along."""
    if not pictures:
        return []
    shapes = [{_DIGITS.sub("#", line.text).strip() for line in page} - {""} for page in pages]
    found = Counter(shape for page in shapes for shape in page)
    return [number for number in pictures if all(found[one] >= RUNNING for one in shapes[number - 1])]


def _has_picture(page: Any, least: float) -> bool:
    """Whether a picture covers at least that share of a page; of one without text (0), whether it is drawn in lines as
    many as letters are that were made curves."""
    import pypdfium2
    from pypdfium2 import raw

    room, drawn_in = least * page.get_width() * page.get_height(), 0
    for one in page.get_objects(filter=(raw.FPDF_PAGEOBJ_IMAGE, raw.FPDF_PAGEOBJ_PATH), max_depth=2):
        with suppress(pypdfium2.PdfiumError):  # it stands nowhere
            if one.type == raw.FPDF_PAGEOBJ_PATH:
                drawn_in += max(0, raw.FPDFPath_CountSegments(one))
            else:
                left, bottom, right, top = one.get_bounds()
                if (right - left) * (top - bottom) >= room:
                    return True
    return not least and drawn_in >= CURVES


def _lines(text: Any, own: str | None) -> Iterator[Line]:
    """The lines of a page; those that pdfium cut behind raised letters are one again. `own` as `_parts` has it."""
    characters, glyphs, placed = characters_of(text)
    if placed and own is None:
        characters, glyphs = with_clusters(text, characters, glyphs)
    before: tuple[Line, tuple[int, int]] | None = None
    for line, (start, end) in with_initials(
        [*_parts(text, characters, glyphs, own, placed=placed)], characters, glyphs
    ):
        if before is not None:
            cut = not (line.table or before[0].table) and characters[before[1][1] : start].strip("\r") == "\n"
            if cut and goes_on(characters, before[1], (start, end), glyphs.raised_of):
                line = _together(before[0], line)
            elif cut and begins_behind(characters, before[1], (start, end), glyphs.raised_of):
                line = _together(before[0], replace(line, text=raised_first(line.text)), apart=False)
                start = before[1][0]  # it may go on behind them
            else:
                yield before[0]
        before = line, (start, end)
    if before is not None:
        yield before[0]


def _together(one: Line, other: Line, *, apart: bool | None = None) -> Line:
    """Two parts of a line; its letters are mostly of the longer one's size. pdfium may drop the blank between them:
    `apart` says whether there is one, if that is known."""
    size = one.size if len(one.text) >= len(other.text) else other.size
    before, after = one.text.rstrip(), other.text.lstrip()
    if apart is None:
        apart = len(one.text) + len(other.text) > len(before) + len(after) or bool(re.match(r"[\w(\[]", after))
    return Line(before + " " * apart + after, size, min(one.weight, other.weight), max(one.cells, other.cells))


def _parts(
    text: Any, characters: str, glyphs: Glyphs, own: str | None, *, placed: bool
) -> Iterator[tuple[Line, tuple[int, int]]]:
    """The lines of a page as pdfium cuts them, with how their letters are set (the middle one, of short lines the first
    and last, too), and with their places in `characters`, where these are its own, else none.

    `own`: its text without what was written upon it, where there is such.
    """
    if placed and (vertical := in_vertical_lines(characters, glyphs.origin_of)):
        for found in vertical:
            size, weight = glyphs.look_of(found[len(found) // 2])
            yield Line(storable("".join(characters[place] for place in found)), size, weight), NOWHERE
        return
    box_of = glyphs.box_of

    @cache
    def grid_of(start: int, end: int) -> Typed | None:
        return typed(characters[start:end], start, glyphs.origin_of, glyphs.width_of)

    columns = in_columns(characters, box_of) if placed else None
    places = columns or [line.span() for line in _LINE.finditer(characters)]
    if placed and own is None:
        places = in_gaps(places, characters, glyphs)
    if own is not None and placed and characters.startswith(own):
        places = beside(characters, places, len(own), box_of)
    tables = dict(_tables(text, characters, places, glyphs, grid_of) if placed and own is None else ())
    for start, end, table in (
        _pieces(glyphs, characters, places, tables) if placed else ((*one, None) for one in places)
    ):
        if table:
            yield Line("", table.size, 0, table=table), (start, end)
            continue
        line = characters[start:end]
        looks = [glyphs.look_of(start + place) for place in (_letters(line) if placed else ())]
        sizes, weights = zip(*looks, strict=True) if looks else ((0.0,), (0,))
        size, weight = line_size(line, start, sizes, glyphs.look_of), min(filter(None, weights), default=0)
        read = in_reading_order(line, box_of, start, size) if placed else line
        read = with_raised(line, start, max(sizes), glyphs.raised_of) if placed and read == line else read
        together = without_gaps(line, start, size, glyphs) if placed and read == line else read
        cells = 1
        if weight >= BOLD and len(line) < LONG and together == read and not is_set_apart(line, start, size, glyphs):
            cells = _cells(line, start, box_of)
        grid = grid_of(start, end) if placed and together == line else None
        yield Line(storable(together.rstrip("\r")), size, weight, cells, grid), (start, end) if placed else NOWHERE


def _pieces(
    glyphs: Glyphs, characters: str, places: Sequence[Place], tables: Mapping[int, tuple[int, Table]]
) -> Iterator[tuple[int, int, Table | None]]:
    """The lines of a page, cut where they have to be, and the tables that stand for some of them; `tables` are by the
    number of their first line, each with that behind its last one."""
    at = 0
    while at < len(places):
        last, table = tables.get(at, (at + 1, None))
        if table:
            yield places[at][0], places[last - 1][1], table
        else:
            yield from ((start, end, None) for start, end in _cut(glyphs, characters, *places[at]))
        at = last


def _tables(
    text: Any,
    characters: str,
    places: Sequence[Place],
    glyphs: Glyphs,
    grid_of: Callable[[int, int], Typed | None],
) -> Iterator[tuple[int, tuple[int, Table]]]:
    """The tables of a page, by the numbers of their lines."""

    def is_typed(start: int, end: int) -> bool | None:
        grid = grid_of(start, end)
        return (True if grid.proven else None) if grid else False

    def said(place: Place) -> str:
        line = characters[slice(*place)]
        size = max(glyphs.look_of(place[0] + n)[0] for n in {0, len(line) // 2, len(line) - 1})
        return storable(with_raised(line, place[0], size, glyphs.raised_of))

    letters = Letters(glyphs.box_of, glyphs.origin_of, lambda at: glyphs.look_of(at)[0], glyphs.is_bold, is_typed)
    for held, table in tables_in(characters, places, letters, said, lambda: rules_of(text.page)):
        yield held.start, (held.stop, table)


def _cut(glyphs: Glyphs, characters: str, start: int, end: int) -> Iterator[tuple[int, int]]:
    """A line, cut behind a hyphen with which a page's text ends and its notes, in smaller letters, follow; or with
    which a line of typed letters ends: each of these stands for itself."""
    for hyphen in _HYPHEN.finditer(characters, start + 1, end - 1):
        (before, _), (after, _) = glyphs.look_of(hyphen.start() - 1), glyphs.look_of(hyphen.end())
        one_size = SMALLER * before <= after <= before / SMALLER
        if not one_size or all(
            _grid(glyphs, characters, *part) for part in ((start, hyphen.end()), (hyphen.end(), end))
        ):
            yield start, hyphen.end()
            start = hyphen.end()
    yield start, end


def _grid(glyphs: Glyphs, characters: str, start: int, end: int) -> Typed | None:
    """A part of a page's text, up to its next hyphen, if it stands on one."""
    hyphen = _HYPHEN.search(characters, start, end)
    return typed(characters[start : hyphen.end() if hyphen else end], start, glyphs.origin_of, glyphs.width_of)


def _cells(line: str, start: int, box_of: Callable[[int], Box]) -> int:
    """The parts of a line between gaps that no blank makes: the head of a table has several."""
    words = [(start + word.start(), start + word.end() - 1) for word in _WORD.finditer(line)]
    boxes = [(box_of(first), box_of(last)) for first, last in words] if len(words) > MOST_CELLS else []
    height = max((box[3] - box[1] for pair in boxes for box in pair), default=0.0)
    return 1 + sum(after[0][0] - before[1][2] > WIDE * height for before, after in pairwise(boxes))


def _letters(line: str) -> set[int]:
    """Places of letters or digits that stand for all."""
    if len(line) >= LONG:
        found = _LETTER.search(line, len(line) // 2) or _LETTER.search(line)
        return {found.start()} if found else set()
    places = [place for place, one in enumerate(line) if one.isalnum()]
    return {places[0], places[len(places) // 2], places[-1]} if places else set()


def _outline(pdf: Any) -> Iterator[Bookmark]:
    """The bookmarks that lead to a page; of an outline that is damaged, those before the damage."""
    import pypdfium2

    try:
        for bookmark in islice(pdf.get_toc(max_depth=OUTLINE), MOST_BOOKMARKS):
            target = bookmark.get_dest()
            page = target.get_index() if target else None
            if page is not None:
                yield Bookmark(storable(bookmark.get_title()), bookmark.level + 1, page)
    except (pypdfium2.PdfiumError, UnicodeDecodeError):
        return
