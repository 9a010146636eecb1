"""Word documents (.docx) to Markdown: paragraphs, headings, lists with their numbers, tables, notes.

Text      as it stands now: what was inserted is read, what was deleted, moved away or made hidden is not
Headings  by the outline level of a paragraph, or that of its style
Numbers   as Word writes them in front of paragraphs ("3.2", "(b)"), which are not in the text and which others cite
Notes     footnotes and endnotes behind the text, called [^1] as in Markdown
Formulas  in a line, as those of web pages: (a+b)/2c, x^2
Left out  heads and feet of pages, comments, pictures
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.archives import ArchiveFiles, opened
from foveal.text.code_blocks import no_heading
from foveal.text.office import OfficeText, said, table
from foveal.text.office_formulas import formula
from foveal.text.plain import storable
from foveal.text.raised import lowered, raised
from foveal.text.table_cells import rows_in_a_line
from foveal.text.word_code import CodeLine, face_of, is_typed, typed_styles, with_fences
from foveal.text.word_indents import Indents
from foveal.text.word_lists import DEEPEST, Level, Numbers
from foveal.text.word_signs import plain_signs, sign_at
from foveal.text.word_styles import Styles

DOCUMENT, ABOUT = "word/document.xml", "docProps/core.xml"
NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes"}

_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_GONE = {f"{_W}{name}" for name in ("del", "moveFrom", "instrText", "delText", "rPr", "pPr", "sectPr")} | {
    f"{_W}rt",  # how the word below is read; within the line it would cut the word in two
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
}
_WRAPPED = {f"{_W}{name}" for name in ("sdt", "sdtContent", "customXml")}  # around rows and cells, as in forms
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_STRICT = "http://purl.oclc.org/ooxml/"
_SET = {"superscript": raised, "subscript": lowered}
_SIGNS = {"tab": "\t", "ptab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}


def read_docx(content: bytes, *, name: str, max_bytes: int) -> OfficeText:
    """The document in `content`; UnreadableSource says why there is none."""
    try:
        return _read(content, name, max_bytes)
    except RecursionError as error:
        raise UnreadableSource(f"{name} is nested too deeply to be read. Save it anew in Word.") from error


def _read(content: bytes, name: str, max_bytes: int) -> OfficeText:
    with opened(content, name, max_bytes=max_bytes) as files:
        parts = _Parts(files)
        body = parts.xml("document").find(f"{_W}body")
        about = parts.xml("core-properties") if "core-properties" in parts.places else None
        styles = Styles.of(parts.xml("styles") if "styles" in parts.places else None)
        numbers = _numbers(parts, _value(styles.defaults, "rPr", "lang") or "en")
        reader = _Reader(_Styles.of(styles, numbers), numbers)
        blocks = list(reader.blocks(body)) if body is not None else []
        blocks += list(_notes(parts, reader))
    text = storable("\n\n".join(with_fences(blocks))).strip()
    if not text:
        raise UnreadableSource(f"{name} holds no text. What stands in its pictures is not read.")
    return OfficeText(text, said(about, "title") or reader.title, said(about, "creator"), said(about, "created"))


class _Parts:
    """The files of a document by what they are, wherever they lie: Word on the web writes word/document2.xml."""

    def __init__(self, files: ArchiveFiles) -> None:
        self.files = files
        top = {"document": DOCUMENT, "core-properties": ABOUT} | self._related("")
        place = top.get("officeDocument", DOCUMENT)
        usual = {name: f"word/{name}.xml" for name in ("styles", "numbering", *NOTES.values())}
        named = {**top, "document": place if place in files.names else DOCUMENT, **usual, **self._related(place)}
        self.places = {name: place for name, place in named.items() if place in files.names or name == "document"}

    def xml(self, name: str) -> Any:
        """The root of a part. UnreadableSource: it has none."""
        root = self.files.xml(self.places[name])
        if f"{{{_STRICT}" in str(root.tag):  # the same elements by other names
            for one in root.iter("*"):
                one.tag = _usual(one.tag)
                for key, value in one.attrib.items():
                    del one.attrib[key]
                    one.set(_usual(key), value)
        return root

    def _related(self, place: str) -> dict[str, str]:
        """What a file says that belongs to it: the kind of each, and where it lies."""
        folder, name = posixpath.split(place)
        listed = posixpath.join(folder, "_rels", f"{name}.rels")
        found: dict[str, str] = {}
        root: Any = None
        with suppress(UnreadableSource):  # damaged: then all lies where it usually does
            root = self.files.xml(listed) if listed in self.files.names else None
        for one in root.iterchildren("{*}Relationship") if root is not None else ():
            target = posixpath.normpath(posixpath.join("/", folder, one.get("Target") or "")).lstrip("/")
            if target in self.files.names:
                found.setdefault((one.get("Type") or "").rpartition("/")[2], target)
        return found


def _usual(name: str) -> str:
    """A name of a strict document as others have it."""
    return name.replace(f"{{{_STRICT}wordprocessingml/main}}", _W).replace(f"{{{_STRICT}officeDocument/math}}", _M)


@dataclass(frozen=True)
class _Styles:
    """What the styles of paragraphs bring with them, by style."""

    levels: dict[str, int]  # of headings, 0 for the document's title
    lists: dict[str, tuple[str, int]]  # number of the list, and level
    typed: frozenset[str]  # those in letters of one width, of runs too
    indents: Indents

    @classmethod
    def of(cls, styles: Styles, lists: Numbers) -> _Styles:
        levels, numbers, depths, faces = dict[str, int](), dict[str, str](), dict[str, int](), dict[str, str]()
        for own, style in styles.elements.items():
            called = (_value(style, "name") or "").lower()
            if face := face_of(style):
                faces[own] = face
            if called == "title":
                levels[own] = 0
            elif (outline := _number(_value(style, "pPr", "outlineLvl"))) is not None and outline < DEEPEST:
                levels[own] = outline + 1
            elif heading := re.fullmatch(r"heading (\d)", called):
                levels[own] = int(heading[1])
            number, depth = _listed(style.find(f"{_W}pPr"))
            if number is not None:
                numbers[own] = number
            own_level = (level for level, form in lists.forms.get(number or "", {}).items() if form.style == own)
            if (depth := next(own_level, depth)) is not None:
                depths[own] = depth
        deep = styles.inherited(depths)
        found = {style: (number, deep.get(style, 0)) for style, number in styles.inherited(numbers).items()}
        typed = typed_styles(styles.inherited(faces), styles.usual)
        return cls(styles.inherited(levels), found, typed, Indents.of_styles(styles))

    def listed(self, about: Any, style: str) -> tuple[str, int] | None:
        """The list that a paragraph is part of, and its level there: as it says itself, and else its style."""
        (number, depth), (others, usual) = _listed(about), self.lists.get(style, ("0", 0))
        number, depth = others if number is None else number, usual if depth is None else depth
        return None if number == "0" else (number, min(depth, DEEPEST))


def _numbers(parts: _Parts, language: str) -> Numbers:
    """The lists of a document."""
    if "numbering" not in parts.places:
        return Numbers({}, {})
    root = parts.xml("numbering")
    abstract = {one.get(f"{_W}abstractNumId"): _levels(one) for one in root.iter(f"{_W}abstractNum")}
    styled = {_value(one, "styleLink"): one.get(f"{_W}abstractNumId") for one in root.iter(f"{_W}abstractNum")}
    meant = {  # a list whose form is that of a style of lists
        one.get(f"{_W}abstractNumId"): styled[link]
        for one in root.iter(f"{_W}abstractNum")
        if (link := _value(one, "numStyleLink")) in styled and link
    }
    lists = {one.get(f"{_W}numId"): one for one in root.iter(f"{_W}num")}
    told = {number: _value(one, "abstractNumId") or "" for number, one in lists.items()}
    shared = {number: meant.get(whose, whose) for number, whose in told.items()}
    forms = {number: abstract.get(shared[number], {}) | _levels(one) for number, one in lists.items()}
    return Numbers(forms, shared, language, {number: dict(_overridden(one)) for number, one in lists.items()})


def _levels(abstract: Any) -> dict[int, Level]:
    found = {}
    for one in abstract.iter(f"{_W}lvl"):
        level, first = _number(one.get(f"{_W}ilvl")), _number(_value(one, "start") or "1")
        kind, text = _value(one, "numFmt") or "decimal", _value(one, "lvlText") or ""
        if level is not None:
            restart = _number(_value(one, "lvlRestart"))
            legal = _is_set(one.find(f"{_W}isLgl"))
            found[level] = Level(kind, text, first or 0, restart, legal, _value(one, "pStyle"))
    return found


def _overridden(listed: Any) -> Iterator[tuple[int, int]]:
    """The levels of a list that begin again, as by "Restart at 1", and with which number."""
    for one in listed.iter(f"{_W}lvlOverride"):
        level, first = _number(one.get(f"{_W}ilvl")), _number(_value(one, "startOverride"))
        if level is not None and first is not None:
            yield level, first


@dataclass
class _Reader:
    """Goes through a document in its order."""

    styles: _Styles
    numbers: Numbers
    title: str | None = None  # the first paragraph that is styled as one, or heading
    notes: dict[tuple[str, str], int] = field(default_factory=dict)  # kind and id -> the number that was given

    def blocks(self, part: Any, *, bare: bool = False) -> Iterator[str]:
        """The paragraphs and tables below an element, as Markdown; `bare` numbers without a text, too."""
        for one in part.iterchildren():
            if one.tag == f"{_W}p":
                yield from self._paragraph(one, bare=bare)
            elif one.tag == f"{_W}tbl":
                yield self._table(one)
            elif one.tag not in _GONE and isinstance(one.tag, str):  # content controls, insertions around paragraphs
                yield from self.blocks(one, bare=bare)

    def _paragraph(self, paragraph: Any, *, bare: bool) -> Iterator[str]:
        words = "".join(self._words(paragraph))
        text = words.strip()
        about = paragraph.find(f"{_W}pPr")
        style = _value(about, "pStyle") or "" if about is not None else ""
        listed, label = self.styles.listed(about, style), ""
        if listed and (text or not _is_mark_gone(about)):  # an empty one has its number, too
            label = self.numbers.label(listed)
        if text:
            level = self._level(about, style)
            if level is None:
                indent = "  " * (listed[1] if listed and label == "-" else 0)
                if not label and is_typed(paragraph, style, self.styles.typed):
                    yield CodeLine(words.rstrip(), self.styles.indents.of(paragraph, style))
                else:
                    yield f"{indent}{label} {text}" if label else no_heading(text)
            else:
                line = " ".join(f"{label if label != '-' else ''} {text}".split())
                self.title = self.title or line
                yield f"{'#' * min(6, max(1, level))} {line}"
        elif bare and label not in ("", "-"):
            yield label
        elif not label and is_typed(paragraph, style, self.styles.typed):
            yield CodeLine()
        for box in paragraph.iter(f"{_W}txbxContent"):
            outer = next(box.iterancestors(f"{_W}txbxContent", f"{_W}p"))  # of a box within a box its own paragraph
            if outer is paragraph and not _is_gone(box):
                yield from self.blocks(box)

    def _level(self, about: Any, style: str) -> int | None:
        own = _number(_value(about, "outlineLvl")) if about is not None else None
        return own + 1 if own is not None and own < DEEPEST else self.styles.levels.get(style)

    def _words(self, part: Any) -> Iterator[str]:
        for one in part.iterchildren():
            if one.tag in _GONE or one.tag == f"{_W}txbxContent" or not isinstance(one.tag, str):
                continue
            name = one.tag.removeprefix(_W)
            if one.tag == f"{_M}oMath":
                yield formula(one)
            elif name == "r" and _is_hidden(one):
                continue
            elif name == "r" and (set_apart := _value(one, "rPr", "vertAlign")) in _SET:
                yield _SET[set_apart]("".join(self._words(one)))
            elif (sign := _sign(one, name, part)) is not None:
                yield sign
            elif name in NOTES:
                key = (name, one.get(f"{_W}id") or "")
                yield f"[^{self.notes.setdefault(key, len(self.notes) + 1)}]"
            else:
                yield from self._words(one)

    def _table(self, element: Any) -> str:
        rows = (row for row in _inner(element, "tr") if row.find(f"{_W}trPr/{_W}del") is None)
        return table([[self._cell(cell) for cell in _inner(row, "tc")] for row in rows])

    def _cell(self, cell: Any) -> str:
        """What a cell says, in one line; bars are those of a table only where one stands within it."""
        merged = cell.find(f"{_W}tcPr/{_W}vMerge")
        if merged is not None and merged.get(f"{_W}val") != "restart" and not "".join(cell.itertext()).strip():
            return ""  # a part of the one above: its empty paragraph is not seen, nor counted
        said = "\n".join(self.blocks(cell, bare=True))  # a column of numbers has no other text
        return rows_in_a_line(said) if cell.find(f".//{_W}tbl") is not None else " ".join(said.split())


def _notes(parts: _Parts, reader: _Reader) -> Iterator[str]:
    """The notes that the text calls, in the order of their numbers."""
    found: dict[tuple[str, str], Any] = {}
    for kind, name in NOTES.items():
        if name in parts.places and any(kind == one for one, _ in reader.notes):
            found |= {(kind, note.get(f"{_W}id") or ""): note for note in parts.xml(name).iterchildren()}
    for key, number in list(reader.notes.items()):
        if key in found:
            yield f"[^{number}]: {' '.join(' '.join(reader.blocks(found[key])).split())}"


def _inner(element: Any, name: str) -> Iterator[Any]:
    """The rows of a table, or the cells of a row, those in content controls among them."""
    for one in element.iterchildren():
        if one.tag == f"{_W}{name}":
            yield one
        elif one.tag in _WRAPPED:
            yield from _inner(one, name)


def _sign(element: Any, name: str, run: Any) -> str | None:
    """What stands for an element of a run that has nothing within; None: it is none."""
    if name == "t":
        text = element.text or ""
        return text if text.isascii() else plain_signs(text, _font(run))
    if name == "sym":
        return sign_at(element.get(f"{_W}font") or "", element.get(f"{_W}char") or "")
    if name == "checkBox":  # of a form
        marks = [mark for kind in ("checked", "default") if (mark := element.find(f"{_W}{kind}")) is not None]
        return "☒" if _is_set(next(iter(marks), None)) else "☐"
    return _SIGNS.get(name)


def _font(run: Any) -> str:
    fonts = run.find(f"{_W}rPr/{_W}rFonts")
    return "" if fonts is None else fonts.get(f"{_W}ascii") or fonts.get(f"{_W}hAnsi") or ""


def _is_hidden(run: Any) -> bool:
    return _is_set(run.find(f"{_W}rPr/{_W}vanish"))


def _is_mark_gone(about: Any) -> bool:
    """Whether a paragraph's end is deleted or hidden: without a text, it is not there."""
    gone = (f"{_W}rPr/{_W}del", f"{_W}rPr/{_W}moveFrom")
    return about is not None and (_is_hidden(about) or any(about.find(one) is not None for one in gone))


def _is_set(mark: Any) -> bool:
    return mark is not None and mark.get(f"{_W}val") not in ("0", "false", "off")


def _is_gone(element: Any) -> bool:
    return any(one.tag in _GONE for one in element.iterancestors())


def _listed(about: Any) -> tuple[str | None, int | None]:
    """What a paragraph, or a style, says of its list ("0" is none), and of its level there."""
    return _value(about, "numPr", "numId"), _number(_value(about, "numPr", "ilvl"))


def _value(element: Any, *names: str) -> str | None:
    """The value of an element below others."""
    for name in names:
        element = element.find(f"{_W}{name}") if element is not None else None
    found: str | None = None if element is None else element.get(f"{_W}val")
    return found


def _number(stated: str | None) -> int | None:
    return int(stated) if stated is not None and re.fullmatch(r"\d{1,6}", stated) else None
