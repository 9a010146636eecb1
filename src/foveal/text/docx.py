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
from collections import defaultdict
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.archives import ArchiveFiles, opened
from foveal.text.html_kept import label_of
from foveal.text.plain import storable
from foveal.text.raised import lowered, raised
from foveal.text.table_cells import rows_in_a_line

DOCUMENT, ABOUT = "word/document.xml", "docProps/core.xml"
NOTES = {"footnoteReference": "footnotes", "endnoteReference": "endnotes"}

DEEPEST = 9  # levels of lists
_W = "{http://schemas.openxmlformats.org/wordprocessingml/2006/main}"
_GONE = {f"{_W}{name}" for name in ("del", "moveFrom", "instrText", "delText", "rPr", "pPr", "sectPr")} | {
    f"{_W}rt",  # how the word below is read; within the line it would cut the word in two
    "{http://schemas.openxmlformats.org/markup-compatibility/2006}Fallback",
}
_WRAPPED = {f"{_W}{name}" for name in ("sdt", "sdtContent", "customXml")}  # around rows and cells, as in forms
_M = "{http://schemas.openxmlformats.org/officeDocument/2006/math}"
_STRICT = "http://purl.oclc.org/ooxml/"
_BETWEEN = {"f": "/", "sSup": "^", "sSub": "_", "sSubSup": "_^", "limLow": "_", "limUpp": "^"}
_SET = {"superscript": raised, "subscript": lowered}
_SIGNS = {"tab": "\t", "br": "\n", "cr": "\n", "noBreakHyphen": "-"}
_KINDS = {
    "decimal": "1",
    "decimalZero": "1",
    "lowerLetter": "a",
    "upperLetter": "A",
    "lowerRoman": "i",
    "upperRoman": "I",
}


@dataclass(frozen=True)
class WordText:
    """What a document says, and what it says of itself."""

    text: str
    title: str | None
    author: str | None
    created: str | None


def read_docx(content: bytes, *, name: str, max_bytes: int) -> WordText:
    """The document in `content`; UnreadableSource says why there is none."""
    with opened(content, name, max_bytes=max_bytes) as files:
        parts = _Parts(files)
        body = parts.xml("document").find(f"{_W}body")
        about = parts.xml("core-properties") if "core-properties" in parts.places else None
        reader = _Reader(_Styles.of(parts), _Numbers.of(parts))
        blocks = list(reader.blocks(body)) if body is not None else []
        blocks += list(_notes(parts, reader))
    text = storable(re.sub(r"\n{3,}", "\n\n", "\n\n".join(blocks))).strip()
    if not text:
        raise UnreadableSource(f"{name} holds no text. What stands in its pictures is not read.")
    return WordText(text, _said(about, "title") or reader.title, _said(about, "creator"), _said(about, "created"))


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

    @classmethod
    def of(cls, parts: _Parts) -> _Styles:
        levels, lists, based = dict[str, int](), dict[str, tuple[str, int]](), dict[str, str]()
        for style in parts.xml("styles").iter(f"{_W}style") if "styles" in parts.places else ():
            own, called = style.get(f"{_W}styleId") or "", (_value(style, "name") or "").lower()
            based[own] = _value(style, "basedOn") or ""
            if called == "title":
                levels[own] = 0
            elif (outline := _number(_value(style, "pPr", "outlineLvl"))) is not None and outline < DEEPEST:
                levels[own] = outline + 1
            elif heading := re.fullmatch(r"heading (\d)", called):
                levels[own] = int(heading[1])
            if listed := _listed(style.find(f"{_W}pPr")):
                lists[own] = listed
        for style in list(based):
            above, steps = style, 0
            while above and steps < DEEPEST and above not in levels:
                above, steps = based.get(above, ""), steps + 1
            if above in levels:
                levels.setdefault(style, levels[above])
        return cls(levels, lists)


@dataclass
class _Numbers:
    """The lists of a document, and how far each has counted."""

    forms: dict[str, dict[int, tuple[str, str, int]]]  # of a list by level: kind, text, first number
    shared: dict[str, str]  # list -> what it counts with others
    anew: dict[str, dict[int, int]] = field(default_factory=dict)  # of a list by level: what it begins again with
    counted: dict[str, dict[int, int]] = field(default_factory=lambda: defaultdict(dict))

    @classmethod
    def of(cls, parts: _Parts) -> _Numbers:
        if "numbering" not in parts.places:
            return cls({}, {})
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
        return cls(forms, shared, {number: dict(_overridden(one)) for number, one in lists.items()})

    def label(self, listed: tuple[str, int]) -> str:
        """What stands in front of the next paragraph of a list, on a level."""
        number, level = listed
        kind, text, first = self.forms.get(number, {}).get(level, ("bullet", "", 1))
        if kind not in _KINDS:
            return "-" if kind != "none" else ""
        counted = self.counted[self.shared[number]]
        if (begin := self.anew.get(number, {}).pop(level, None)) is not None:
            counted[level] = begin - 1
        counted[level] = counted.get(level, first - 1) + 1
        for deeper in [one for one in counted if one > level]:
            del counted[deeper]

        def said(place: re.Match[str]) -> str:
            above = int(place[1]) - 1
            form = self.forms[number].get(above, ("decimal", "", 1))
            return label_of(counted.get(above, form[2]), _KINDS.get(form[0], "1"))

        return re.sub(r"%([1-9])", said, text)


def _levels(abstract: Any) -> dict[int, tuple[str, str, int]]:
    found = {}
    for one in abstract.iter(f"{_W}lvl"):
        level, first = _number(one.get(f"{_W}ilvl")), _number(_value(one, "start") or "1")
        if level is not None:
            found[level] = _value(one, "numFmt") or "decimal", _value(one, "lvlText") or "", first or 0
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
    numbers: _Numbers
    title: str | None = None  # the first paragraph that is styled as one, or heading
    notes: dict[tuple[str, str], int] = field(default_factory=dict)  # kind and id -> the number that was given

    def blocks(self, part: Any) -> Iterator[str]:
        """The paragraphs and tables below an element, as Markdown."""
        for one in part.iterchildren():
            if one.tag == f"{_W}p":
                yield from self._paragraph(one)
            elif one.tag == f"{_W}tbl":
                yield self._table(one)
            elif one.tag not in _GONE and isinstance(one.tag, str):  # content controls, insertions around paragraphs
                yield from self.blocks(one)

    def _paragraph(self, paragraph: Any) -> Iterator[str]:
        text = "".join(self._words(paragraph)).strip()
        about = paragraph.find(f"{_W}pPr")
        style = _value(about, "pStyle") or "" if about is not None else ""
        if text:
            level, label = self._level(about, style), ""
            listed = _listed(about) or self.styles.lists.get(style)
            if listed and listed[0] != "0":
                label = self.numbers.label(listed)
            if level is None:
                indent = "  " * (listed[1] if listed and label == "-" else 0)
                yield f"{indent}{label} {text}" if label else text
            else:
                line = " ".join(f"{label if label != '-' else ''} {text}".split())
                self.title = self.title or line
                yield f"{'#' * min(6, max(1, level))} {line}"
        for box in paragraph.iter(f"{_W}txbxContent"):
            if not _is_gone(box):
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
                yield _formula(one)
            elif name == "r" and _is_hidden(one):
                continue
            elif name == "r" and (set_apart := _value(one, "rPr", "vertAlign")) in _SET:
                yield _SET[set_apart]("".join(self._words(one)))
            elif name == "t":
                yield one.text or ""
            elif name in _SIGNS:
                yield _SIGNS[name]
            elif name in NOTES:
                key = (name, one.get(f"{_W}id") or "")
                yield f"[^{self.notes.setdefault(key, len(self.notes) + 1)}]"
            else:
                yield from self._words(one)

    def _table(self, table: Any) -> str:
        rows = [
            [self._cell(cell).replace("|", "\\|") for cell in _inner(row, "tc")]
            for row in _inner(table, "tr")
            if row.find(f"{_W}trPr/{_W}del") is None
        ]
        lines = [f"| {' | '.join(cells)} |" for cells in rows if any(cells)]
        return "\n".join([*lines[:1], *([f"|{'---|' * len(rows[0])}"] if len(lines) > 1 else []), *lines[1:]])

    def _cell(self, cell: Any) -> str:
        """What a cell says, in one line; bars are those of a table only where one stands within it."""
        said = "\n".join(self.blocks(cell))
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


def _formula(part: Any) -> str:
    """What a formula says, in one line."""
    name = part.tag.removeprefix(_M) if isinstance(part.tag, str) else ""
    if name == "t":
        return part.text or ""
    said = [words for one in part.iterchildren() if one.tag not in _GONE and (words := _formula(one))]
    if name in _BETWEEN:
        bare = [words if words.isalnum() else f"({words})" for words in said]
        return "".join(f"{sign}{words}" for sign, words in zip(("", *_BETWEEN[name]), bare, strict=False))
    about = part.find(f"{_M}{name}Pr")  # signs that stand beside the words, with what they are if it does not say
    signs = {str(one.tag).removeprefix(_M): one.get(f"{_M}val") or "" for one in (about if about is not None else ())}
    if name == "d":
        return f"{signs.get('begChr', '(')}{signs.get('sepChr', '|').join(said)}{signs.get('endChr', ')')}"
    if name == "rad":
        return f"√({''.join(said[-1:])})" if len(said) < 2 else f"√[{said[0]}]({said[1]})"
    if name == "nary":
        return f"{signs.get('chr', '∫')}{' '.join(said)}"
    return "".join(said)


def _is_hidden(run: Any) -> bool:
    mark = run.find(f"{_W}rPr/{_W}vanish")
    return mark is not None and mark.get(f"{_W}val") not in ("0", "false", "off")


def _is_gone(element: Any) -> bool:
    return any(one.tag in _GONE for one in element.iterancestors())


def _listed(about: Any) -> tuple[str, int] | None:
    """The list that a paragraph is part of, and its level there; "0" is none."""
    numbering = about.find(f"{_W}numPr") if about is not None else None
    number = _value(numbering, "numId") if numbering is not None else None
    level = _number(_value(numbering, "ilvl")) if numbering is not None else None
    return (number, min(level or 0, DEEPEST)) if number is not None else None


def _value(element: Any, *names: str) -> str | None:
    """The value of an element below others."""
    for name in names:
        element = element.find(f"{_W}{name}") if element is not None else None
    found: str | None = None if element is None else element.get(f"{_W}val")
    return found


def _number(stated: str | None) -> int | None:
    return int(stated) if stated is not None and re.fullmatch(r"\d{1,6}", stated) else None


def _said(about: Any, what: str) -> str | None:
    found = about.xpath(f"//*[local-name()='{what}']") if about is not None else ()
    return next((storable(words) for one in found if (words := " ".join("".join(one.itertext()).split()))), None)
