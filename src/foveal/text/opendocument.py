"""OpenDocument texts, slides and sheets (.odt, .odp, .ods, their templates) to Markdown, as a person sees them.

Text      paragraphs, headings, lists with their numbers, tables, boxes below the paragraph that they hang on; footnotes
          and endnotes behind the text, called [^1]; code as it is set; formulas in a line: E=mc^2
Slides    "## Slide 5: Its title", then its boxes as they are read (reading_order.py); its notes as "Notes: ..."
Sheets    "## Its name" and a table of its cells as they are shown, then its boxes
Left out  what is deleted or hidden (letters, paragraphs, sections, rows, columns, slides, sheets), comments, heads and
          feet of pages, pictures, charts and other objects within; slides and sheets without a text
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import unquote

from foveal.errors import UnreadableSource
from foveal.text.archives import ArchiveFiles, opened
from foveal.text.files import too_large
from foveal.text.mathml import in_a_line
from foveal.text.office import OfficeText, said
from foveal.text.opendocument_styles import DRAW, OFFICE, PRESENTATION, SVG, TABLE, Styles
from foveal.text.opendocument_text import Reader, is_hidden
from foveal.text.plain import storable
from foveal.text.reading_order import Box, in_order
from foveal.text.word_code import with_fences

CONTENT, STYLES, ABOUT, LISTED = "content.xml", "styles.xml", "meta.xml", "META-INF/manifest.xml"

_MATH = "{http://www.w3.org/1998/Math/MathML}math"
_TEXT, _SHEETS = f"{OFFICE}text", f"{OFFICE}spreadsheet"
_PAGES = {f"{OFFICE}presentation": "Slide", f"{OFFICE}drawing": "Page"}
_HREF = "{http://www.w3.org/1999/xlink}href"
_GROUPS = (f"{DRAW}g", f"{DRAW}a")
_FEET = ("header", "footer", "date-time", "page-number", "page")
_LENGTH = re.compile(r"(-?[0-9]{1,9}(?:\.[0-9]{1,9})?)(cm|mm|in|pt|pc|px|)")
_MOVED = re.compile(r"translate\s*\(\s*([-0-9.a-z]+)[\s,]+([-0-9.a-z]+)\s*\)")
_IN_CM = {"cm": 1.0, "mm": 0.1, "in": 2.54, "pt": 2.54 / 72, "pc": 2.54 / 6, "px": 2.54 / 96, "": 1.0}
_SMALL = 0.5  # cm that a box is wide and high that does not say it

_MARKED = re.compile(r"(?:(?<!#)#++|-) ")


def read_opendocument(content: bytes, *, name: str, max_bytes: int) -> OfficeText:
    """The document in `content`; of what kind it is, its body says, not its name.

    UnreadableSource: it is damaged, locked, holds no text, or unpacks to more than `max_bytes`.
    """
    with opened(content, name, max_bytes=max_bytes) as files:
        _refuse_locked(files)
        root = files.xml(CONTENT)
        styles = Styles.of(root, files.xml(STYLES) if STYLES in files.names else None)
        reader = Reader(styles, _Formulas(files).said, name)
        blocks = list(_blocks(_body(root, name), reader))
        blocks += reader.notes_called()
        about = _extra(files, ABOUT)
    text = storable("\n\n".join(with_fences(blocks))).strip()
    if not text:
        raise UnreadableSource(f"{name} holds no text. What stands in its pictures is not read.")
    author = said(about, "creator") or said(about, "initial-creator")
    title = said(about, "title") or (storable(reader.title) if reader.title else None)
    return OfficeText(text, title, author, said(about, "creation-date"))


def _body(root: Any, name: str) -> Any:
    """The element that holds the text, the slides or the sheets."""
    for one in root.iterfind(f"{OFFICE}body/*"):
        if one.tag in (_TEXT, _SHEETS, *_PAGES):
            return one
    raise UnreadableSource(
        f"{name} is not what its name says: its {CONTENT} holds no text, slides or sheets of an OpenDocument. "
        "Save it anew as .odt, .odp or .ods."
    )


def _blocks(body: Any, reader: Reader) -> Iterator[str]:
    if body.tag == _TEXT:
        yield from reader.blocks(body)
    elif body.tag == _SHEETS:
        for table in body.iterchildren(f"{TABLE}table"):
            yield from _sheet(table, reader)
    else:
        for at, page in enumerate(body.iterchildren(f"{DRAW}page"), start=1):
            yield from _slide(page, f"{_PAGES[body.tag]} {at}", reader)


def _sheet(table: Any, reader: Reader) -> Iterator[str]:
    if reader.styles.look("table", table.get(f"{TABLE}style-name")).shown is False:
        return
    rows = reader.table(table)
    boxes = [one for held in table.iterchildren(f"{TABLE}shapes") for one in reader.blocks(held)]
    if rows or boxes:
        yield f"## {' '.join((table.get(f'{TABLE}name') or 'Sheet').split())}"
        yield from filter(None, [rows, *boxes])


def _slide(page: Any, called: str, reader: Reader) -> Iterator[str]:
    if reader.styles.look("drawing-page", page.get(f"{DRAW}style-name")).shown is False:
        return
    title, blocks = "", []
    for box in _boxes(page):
        found = reader.blocks([box])
        if not title and _class(box) == "title":
            title = " ".join(_MARKED.sub("", " ".join(found)).split())
        else:
            blocks += found
    notes = [one for held in page.iterchildren(f"{PRESENTATION}notes") for one in reader.blocks(_boxes(held))]
    if title or blocks or notes:
        reader.title = reader.title or title or None
        yield f"## {called}{': ' if title else ''}{title}"
        yield from blocks
        yield from (f"Notes: {one}" if at == 0 else one for at, one in enumerate(notes))


def _class(box: Any) -> str:
    return box.get(f"{PRESENTATION}class") or ""


def _boxes(page: Any) -> list[Any]:
    """The boxes of a slide in the order of reading, those of a group together; not its feet."""
    drawn = [one for one in page.iterchildren("*") if one.tag.startswith(DRAW)]
    groups = [in_order([(_place(box), box) for box in _leaves(one)]) for one in drawn]
    return [box for group in in_order([(_around(map(_place, one)), one) for one in groups]) for box in group]


def _leaves(drawn: Any) -> Iterator[Any]:
    """A shape, or those of a group, in groups of their own or not."""
    left = [drawn]
    while left:
        one = left.pop()
        if one.tag in _GROUPS and not is_hidden(one):
            left += [inner for inner in one.iterchildren("*", reversed=True) if inner.tag.startswith(DRAW)]
        elif one.tag not in _GROUPS and _class(one) not in _FEET:
            yield one


def _place(box: Any) -> Box | None:
    """Where a box stands, in thousandths of a cm; None: it does not say."""
    x, y = (_length(box, name, f"{name}1") for name in "xy")
    moved = _MOVED.search(box.get(f"{DRAW}transform") or "") if x is None or y is None else None
    if moved:
        x, y = _in_cm(moved[1]), _in_cm(moved[2])
    if x is None or y is None:
        return None
    right, bottom = _length(box, "x2"), _length(box, "y2")  # of a line
    width = (_length(box, "width") or _SMALL) if right is None else right - x
    height = (_length(box, "height") or _SMALL) if bottom is None else bottom - y
    left, across = sorted((x, x + width))
    top, down = sorted((y, y + height))
    return Box(*(round(1000 * one) for one in (left, top, across, down)))


def _around(boxes: Iterable[Box | None]) -> Box | None:
    """The place of several boxes; None: none of them says its own."""
    known = [one for one in boxes if one is not None]
    if not known:
        return None
    lefts, tops, rights, bottoms = zip(*known, strict=True)
    return Box(min(lefts), min(tops), max(rights), max(bottoms))


def _length(box: Any, *names: str) -> float | None:
    return _in_cm(next((said for name in names if (said := box.get(f"{SVG}{name}"))), ""))


def _in_cm(said: str) -> float | None:
    length = _LENGTH.fullmatch(said)
    return float(length[1]) * _IN_CM[length[2]] if length else None


@dataclass
class _Formulas:
    """The formulas that lie in an archive beside the text, each of which is read where it is shown first."""

    files: ArchiveFiles
    read: set[str] = field(default_factory=set)

    def said(self, held: Any) -> str:
        """What an object, or a formula itself, says in a line; "" where it is no formula."""
        formula = held if held.tag == _MATH else held.find(_MATH)
        place = posixpath.normpath(unquote(held.get(_HREF) or "")) + f"/{CONTENT}"
        if formula is None and place not in self.read:
            self.read.add(place)
            formula = _extra(self.files, place)
        return in_a_line(formula) if formula is not None and formula.tag == _MATH else ""


def _extra(files: ArchiveFiles, place: str) -> Any:
    """The root of a part without which the document can be read; None: it is not there, or damaged."""
    if place in files.names:
        with suppress(UnreadableSource):
            return files.xml(place)
        if files.left < 0:  # not damaged, but more than is read
            raise too_large(files.name, None, files.max_bytes)
    return None


def _refuse_locked(files: ArchiveFiles) -> None:
    listed = _extra(files, LISTED)
    if listed is not None and next(listed.iter("{*}encryption-data"), None) is not None:
        raise UnreadableSource(f"{files.name} is locked with a password. Save it without one (File, Save As).")
