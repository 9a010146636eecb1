"""The paragraphs, lists, tables, notes and boxes of an OpenDocument, as blocks of Markdown.

    reader = Reader(styles, formulas.said, name="a.odt", max_bytes=max_bytes)
    blocks = reader.blocks(body) + reader.notes_called()        # ["# Of eyes", "- The fovea[^1]", "[^1]: By Ada."]

Blanks    as OpenDocument has them: those of its XML in a row are one, others stand there as elements
Lists     counted here, as nothing of their numbers is in the text; a list goes on with another where it says so
Code      paragraphs in letters of one width are CodeLine (word_code.py)
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.code_blocks import no_heading
from foveal.text.opendocument_styles import (
    DEEPEST,
    DRAW,
    OFFICE,
    PRESENTATION,
    SVG,
    TABLE,
    TEXT,
    Look,
    Styles,
    count,
    is_typed,
    label,
    number,
)  # fmt: skip
from foveal.text.opendocument_tables import Grids, as_markdown
from foveal.text.raised import lowered, raised
from foveal.text.table_cells import rows_in_a_line
from foveal.text.word_code import CodeLine

MOST_DEEP = 80
"""Elements within elements that are read one within another (lists, tables, sections; spans)."""
_BLANKS = 200  # most in a row that an element says to be there

_MATH = "{http://www.w3.org/1998/Math/MathML}math"
_GONE = {
    *(f"{TEXT}{name}" for name in ("tracked-changes", "ruby-text", "script", "label", "number", "note-citation")),
    *(f"{OFFICE}{name}" for name in ("annotation", "annotation-end", "forms", "event-listeners", "binary-data")),
    *(f"{DRAW}{name}" for name in ("image", "plugin", "applet", "object-ole", "control", "page-thumbnail")),
    *(f"{SVG}{name}" for name in ("title", "desc")),
    *(f"{TABLE}{name}" for name in ("tracked-changes", "title", "desc", "shapes")),
    f"{PRESENTATION}notes",
}
_ID = "{http://www.w3.org/XML/1998/namespace}id"
_PARAGRAPH, _HEADING = f"{TEXT}p", f"{TEXT}h"
_SPAN, _LIST, _HEADER = f"{TEXT}span", f"{TEXT}list", f"{TEXT}list-header"
_SHIFTED: dict[str, Callable[[str, str], str]] = {"super": raised, "sub": lambda words, _: lowered(words)}
_RAW = re.compile(r"[ \t\r\n]+")
_MEANT = str.maketrans("\1\2\3", " \t\n")  # what XML cannot hold stands for blanks that are meant
_ITEM = re.compile(r"-|\d{1,9}[.)]")
_CALL = re.compile(r"\[\^\d+\]")
_VALUES = [f"{OFFICE}{name}" for name in ("string-value", "date-value", "time-value", "boolean-value", "value")]


@dataclass(frozen=True)
class Place:
    """Where a block stands."""

    deep: int = 0
    bare: bool = False  # in a cell, where a number says something without a text
    indent: int = 0  # items around it
    label: str | None = None  # what stands before the next paragraph of an item; None: it is no item
    level: int = 0  # of the list around it, from 1
    style: str = ""  # of that list
    counted: dict[int, int] = field(default_factory=dict)

    @property
    def margin(self) -> str:
        return "  " * self.indent


@dataclass
class _Line:
    """What a paragraph says, while it is read."""

    pieces: list[str] = field(default_factory=list)
    boxes: list[Any] = field(default_factory=list)
    typed: bool | None = None  # whether all its letters are of one width; None: it has none
    hidden: bool = False

    def say(self, text: str | None, face: _Face) -> None:
        if text and not face.hidden:
            self.pieces.append(text)
            if text.strip():
                self.typed = face.typed and self.typed is not False

    @property
    def words(self) -> str:
        return _RAW.sub(" ", "".join(self.pieces)).strip(" ").translate(_MEANT)


@dataclass(frozen=True)
class _Face:
    """How letters are set."""

    typed: bool = False
    hidden: bool = False
    shift: str = ""

    def under(self, look: Look) -> _Face:
        """As a style within changes it."""
        return _Face(
            self.typed if look.face is None else is_typed(look.face),
            self.hidden if look.hidden is None else look.hidden,
            self.shift if look.shift is None else look.shift,
        )


@dataclass
class Reader:
    """Goes through a document in its order."""

    styles: Styles
    formula: Callable[[Any], str]  # of an object, what it says
    name: str
    title: str | None = None  # the first paragraph that is styled as one, or heading
    grids: Grids = field(default_factory=Grids)
    notes: list[Any] = field(default_factory=list)  # those that the text calls, in order
    headings: dict[int, int] = field(default_factory=dict)  # how far each level of them has counted
    lists: dict[str, dict[int, int]] = field(default_factory=dict)  # by their ids, how far they have counted
    latest: dict[str, dict[int, int]] = field(default_factory=dict)  # by their styles

    def blocks(self, part: Iterable[Any], place: Place = Place()) -> list[str]:
        """The paragraphs and tables among elements, as Markdown. UnreadableSource: they lie too deep."""
        if place.deep > MOST_DEEP:
            raise self._too_deep()
        found: list[str] = []
        inner = replace(place, deep=place.deep + 1)
        for one in part:
            if not isinstance(one.tag, str) or one.tag in _GONE or is_hidden(one):
                continue
            if one.tag in (_PARAGRAPH, _HEADING):
                found += self._paragraph(one, inner)
            elif one.tag == _LIST:
                found += self._list(one, inner)
            elif one.tag == f"{TEXT}numbered-paragraph":
                found += self._numbered(one, inner)
            elif one.tag == f"{TABLE}table":
                found += filter(None, [self.table(one, inner)])
            elif one.tag == f"{DRAW}object":
                found += filter(None, [no_heading(self.formula(one))])
            else:  # sections, indexes, shapes
                found += self.blocks(one, inner)
        return found

    def table(self, table: Any, place: Place = Place()) -> str:
        """A table as Markdown; "" where its cells are empty."""
        deep = Place(place.deep, bare=True)
        return as_markdown(self.grids.rows(table, lambda cell: self._cell(cell, deep)))

    def notes_called(self) -> list[str]:
        """The notes that the text has called, by their numbers."""
        found = []
        for at, note in enumerate(self.notes, start=1):  # a note may call one more
            words = " ".join(self.blocks(note.iterchildren(f"{TEXT}note-body")))
            found.append(f"[^{at}]: {' '.join(words.split())}")
        return found

    def _cell(self, cell: Any, place: Place) -> str:
        """What a cell says, in one line: its text as it is shown, or else its value."""
        if (plain := self._plain(cell)) is not None:
            return plain
        if cell.find(_PARAGRAPH) is None and (value := next(filter(None, map(cell.get, _VALUES)), "")):
            return " ".join(value.split())
        said = "\n".join(self.blocks(cell, place))
        inner = "|" in said and cell.find(f".//{TABLE}table") is not None
        return rows_in_a_line(said) if inner else " ".join(said.split())

    def _plain(self, cell: Any) -> str | None:
        """The text of a cell that is one paragraph with nothing in it, as nearly all are; None: it is another."""
        if len(cell) != 1 or len(cell[0]) or cell[0].tag != _PARAGRAPH:
            return None
        look = self.styles.look("paragraph", cell[0].get(f"{TEXT}style-name"))
        return None if look.hidden or look.level is not None else " ".join((cell[0].text or "").split())

    def _paragraph(self, paragraph: Any, place: Place) -> list[str]:
        look = self.styles.look("paragraph", paragraph.get(f"{TEXT}style-name"))
        line, face, called = _Line(), replace(_Face().under(look), shift=""), len(self.notes)
        self._words(line, paragraph, face, place.deep)
        words = line.words
        text = words.strip()
        if line.hidden or (face.hidden and not text):
            del self.notes[called:]
            return []
        level = look.level if paragraph.tag == _PARAGRAPH else number(paragraph.get(f"{TEXT}outline-level")) or 1
        if level is not None and level >= 0:
            said = self._heading(paragraph, " ".join(text.split()), level, place)
        else:
            said = _ordinary(words, place, typed=face.typed if line.typed is None else line.typed)
        return said + self.blocks(line.boxes, Place(place.deep, bare=place.bare))

    def _heading(self, heading: Any, text: str, level: int, place: Place) -> list[str]:
        label = place.label if place.label != "-" else ""
        if label is None and heading.tag == _HEADING:
            label = self._number_of(heading, level)
        if not text:
            return []
        line = f"{label} {text}" if label else text
        self.title = self.title or _CALL.sub("", line)
        return [f"{'#' * min(6, max(1, level))} {line}"]

    def _number_of(self, heading: Any, level: int) -> str:
        """What stands before a heading that is in no list."""
        look = self.styles.look("paragraph", heading.get(f"{TEXT}style-name"))
        if heading.get(f"{TEXT}is-list-header") == "true" or look.listed == "" or level not in self.styles.headings:
            return ""
        begin = number(heading.get(f"{TEXT}start-value")) if heading.get(f"{TEXT}restart-numbering") == "true" else None
        count(self.styles.headings, self.headings, level, begin)
        said = label(self.styles.headings, self.headings, level)
        return said if said != "-" else ""

    def _list(self, element: Any, place: Place) -> list[str]:
        style = element.get(f"{TEXT}style-name") or self._style_within(element) or place.style
        level = place.level + 1
        goes_on = element.get(f"{TEXT}continue-numbering") == "true"
        counted = place.counted
        if level == 1:
            other = self.lists.get(element.get(f"{TEXT}continue-list") or "")  # no list is called ""
            counted = other if other is not None else self.latest.get(style, {}) if goes_on else {}
            self.lists[element.get(_ID) or f"\0{style}"] = self.latest[style] = counted
        elif not goes_on:
            counted.pop(level, None)
        found = []
        for item in element.iterchildren(_HEADER, f"{TEXT}list-item"):
            own = item.get(f"{TEXT}style-override") or style
            found += self._item(item, replace(place, level=level, style=own, counted=counted, label=None))
        return found

    def _style_within(self, element: Any) -> str | None:
        """The list's style that the first paragraph of a list brings with it."""
        first = element.find(f"{TEXT}list-item/*")
        if first is None or first.tag not in (_PARAGRAPH, _HEADING):
            return None
        return self.styles.look("paragraph", first.get(f"{TEXT}style-name")).listed

    def _item(self, item: Any, place: Place) -> list[str]:
        """An item: its first paragraph has the number; what follows stands below it."""
        found: list[str] = []
        inner = replace(place, label="")
        waits = item.tag != _HEADER
        for one in item.iterchildren("*"):
            if waits and one.tag in (_PARAGRAPH, _HEADING) and not is_hidden(one):
                waits = False
                said = self._label(one, place, number(item.get(f"{TEXT}start-value")), item.find(f"{TEXT}number"))
                found += self.blocks([one], replace(place, label=said))
                if said and (place.indent or _ITEM.fullmatch(said)):  # below "Art. 1" a deep margin would be code
                    inner = replace(inner, indent=place.indent + 1)
            else:
                found += self.blocks([one], inner)
        return found

    def _label(self, paragraph: Any, place: Place, begin: int | None, written: Any) -> str:
        """Count an item; what stands before it."""
        look = self.styles.look("paragraph", paragraph.get(f"{TEXT}style-name"))
        if look.numbered is False or (look.hidden and not self._is_seen(paragraph)):
            return ""
        forms = self.styles.lists.get(place.style, {})
        level = min(place.level, DEEPEST)
        count(forms, place.counted, level, begin)
        return label(forms, place.counted, level) if written is None else (written.text or "").strip()

    def _is_seen(self, paragraph: Any) -> bool:
        """Whether a span of a hidden paragraph is not hidden."""
        spans = (self.styles.look("text", one.get(f"{TEXT}style-name")) for one in paragraph.iter(_SPAN))
        return any(look.hidden is False for look in spans)

    def _numbered(self, element: Any, place: Place) -> list[str]:
        """A paragraph that is an item by itself, of a list that it names."""
        style = element.get(f"{TEXT}style-name") or place.style
        counted = self.lists.setdefault(element.get(f"{TEXT}list-id") or f"\0{style}", {})
        level = number(element.get(f"{TEXT}level")) or 1
        return self._item(element, replace(place, level=min(level, MOST_DEEP), style=style, counted=counted))

    def _words(self, line: _Line, part: Any, face: _Face, deep: int) -> None:
        if deep > MOST_DEEP:
            raise self._too_deep()
        line.say(part.text, face)
        for one in part:
            if isinstance(one.tag, str) and one.tag not in _GONE:
                self._inline(line, one, face, deep)
            line.say(one.tail, face)

    def _inline(self, line: _Line, one: Any, face: _Face, deep: int) -> None:
        """What an element within a line says."""
        if one.tag == f"{TEXT}hidden-paragraph":
            line.hidden = line.hidden or is_hidden(one)
        elif is_hidden(one):
            return
        elif one.tag == f"{TEXT}s":
            blanks = number(one.get(f"{TEXT}c"))
            line.say("\1" * min(1 if blanks is None else blanks, _BLANKS), face)
        elif one.tag in (f"{TEXT}tab", f"{TEXT}line-break"):
            line.say("\2" if one.tag == f"{TEXT}tab" else "\3", face)
        elif one.tag == f"{TEXT}note":
            if not face.hidden:
                self.notes.append(one)
                line.pieces.append(f"[^{len(self.notes)}]")
        elif one.tag == _MATH or one.tag.startswith(DRAW):
            self._drawn(line, one, face)
        else:
            its = face if one.tag != _SPAN else face.under(self.styles.look("text", one.get(f"{TEXT}style-name")))
            start = len(line.pieces)
            self._words(line, one, its, deep + 1)
            if its.shift and not face.shift:
                said, before = "".join(line.pieces[start:]), "".join(line.pieces[max(0, start - 2) : start])
                line.pieces[start:] = [_SHIFTED[its.shift](said, before)]

    def _drawn(self, line: _Line, one: Any, face: _Face) -> None:
        """A formula in its line, or a box below the paragraph."""
        held = one if one.tag == _MATH else one.find(f"{DRAW}object")
        if held is None:
            line.boxes.append(one)
        elif not face.hidden:
            line.pieces.append(self.formula(held))

    def _too_deep(self) -> UnreadableSource:
        return UnreadableSource(
            f"{self.name} holds elements more than {MOST_DEEP} deep within each other, as no document needs them: "
            "it is damaged, or made to be so. Open it and save it anew."
        )


def _ordinary(words: str, place: Place, *, typed: bool) -> list[str]:
    """A paragraph that is no heading; no block where it is empty."""
    text, label = words.strip(), place.label or ""
    if typed and not label:
        return [CodeLine(words.rstrip())]
    if not text:
        return [label] if place.bare and label not in ("", "-") else []
    return [f"{place.margin}{label} {text}" if label else no_heading(f"{place.margin}{text}")]


def is_hidden(element: Any) -> bool:
    """Whether an element says that it is not shown: a section, a field, a shape."""
    return (
        element.get(f"{TEXT}display") == "none"
        or element.get(f"{TEXT}is-hidden") == "true"
        or element.get(f"{DRAW}display") in ("none", "printer")
        or element.get(f"{PRESENTATION}placeholder") == "true"
    )
