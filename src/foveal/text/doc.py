"""Word documents of 97 to 2003 (.doc, .dot) to Markdown: as those of today are read (see docx.py).

Text      as it is seen: inserted words are read, deleted and hidden ones are not; of a field its result
Headings  by the outline level of a paragraph, or that of its style, or by Word's own styles of headings
Numbers   as Word writes them in front of paragraphs, which are not in the text
Notes     footnotes and endnotes behind the text, called [^1] as in Markdown
Boxes     behind the text
Left out  heads and feet of pages, comments, pictures, objects

Against antiword and catdoc, which keep neither headings nor the numbers of lists, and read no Unicode beyond their
tables.
"""

from __future__ import annotations

import re
import struct
from collections.abc import Iterator
from dataclasses import dataclass, field

from foveal.errors import UnreadableSource
from foveal.text.code_blocks import no_heading
from foveal.text.doc_pieces import (
    ENDNOTE_PLACES,
    ENDNOTE_TEXTS,
    FONTS,
    LIST_USES,
    LISTS,
    NOTE_PLACES,
    NOTE_TEXTS,
    SECTIONS,
    STYLES,
    Set,
    Word,
    places_in,
    sprms_in,
)
from foveal.text.office import OfficeText, table
from foveal.text.ole import about, opened_ole
from foveal.text.plain import storable
from foveal.text.raised import lowered, raised
from foveal.text.table_cells import CELLS_APART
from foveal.text.word_lists import DEEPEST, Level, Numbers
from foveal.text.word_signs import plain_signs, sign_at

IN_TABLE, ROW_ENDS, INNER_CELL_ENDS, INNER_ROW_ENDS = 0x2416, 0x2417, 0x244B, 0x244C
OUTLINE, DEPTH, LIST = 0x2640, 0x260A, 0x460B
HIDDEN, DELETED, RAISED, SIGN, FONT, OBJECT = 0x083C, 0x0800, 0x2A48, 0x6A09, 0x4A4F, 0x6A03
"""Sprms of paragraphs and runs."""

TITLE = 62
"""Word's number of its style for a document's title; 1 to 9 are headings."""

KINDS = {
    0: "decimal", 1: "upperRoman", 2: "lowerRoman", 3: "upperLetter", 4: "lowerLetter", 5: "ordinal",
    22: "decimalZero", 23: "bullet", 255: "none",
}  # fmt: skip
"""How lists count; others are written as decimal numbers."""

LONGEST_NUMBER = 255
"""Signs of a number in front of a paragraph, as Word allows."""

LONGEST_FIELD = 2000
"""Signs that tell what a field is to do; with more, its end is lost, and what follows is text."""

_RUBY = re.compile(r"\s*EQ\b[^()]*\\o\s*\\a\w\s*\(\s*\\s\s*\\up\s*[\d.]*\s*\([^()]*\)\s*[,;](.*)\)\s*", re.DOTALL)
"""Letters with how they are read above them: a field without a result."""

_ENDS = re.compile("[\r\x07\x0c]")
_MARKS = {"\x0b": "\n", "\x0c": "\n", "\x0e": "\n", "\x1e": "-", "\t": "\t", "\n": "\n", "\xa0": "\xa0"}
_PAIR = re.compile("[\ud800-\udbff][\udc00-\udfff]")


def read_doc(content: bytes, *, name: str) -> OfficeText:
    """The document in `content`; UnreadableSource says why there is none."""
    with opened_ole(content, name) as file:
        told = about(file)
        reader = _Reader(Word.of(file, name))
        blocks = [*reader.body(), *reader.notes(), *reader.boxes()]
    text = storable("\n\n".join(blocks)).strip()
    if not text:
        raise UnreadableSource(f"{name} holds no text. What stands in its pictures is not read.")
    return OfficeText(text, told.title or reader.title, told.author, told.created)


@dataclass(frozen=True, slots=True)
class _Style:
    """What a style of paragraphs brings with it."""

    word: int = 0  # Word's own number of it
    based: int = 0xFFF
    set: Set = field(default_factory=Set)


@dataclass
class _Field:
    """A field that is open: what is to be done, and whether its result has begun, which is read."""

    told: str = ""
    is_read: bool = False
    box: str = ""  # of a form


@dataclass
class _Rows:
    """A table as far as it was read."""

    cell: list[str] = field(default_factory=list)
    row: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    inner: list[str] = field(default_factory=list)  # the paragraphs of a cell of a table within the cell
    inner_row: list[str] = field(default_factory=list)

    def paragraph(self, words: str, end: str, how: Set) -> None:
        """A paragraph, and what it ends: of a cell, a cell, a row."""
        if how.number(INNER_ROW_ENDS):
            self.cell.append(CELLS_APART.join(filter(None, self.inner_row)))
            self.inner_row = []
        elif how.number(INNER_CELL_ENDS):
            self.inner_row.append(" ".join([*self.inner, words]).strip())
            self.inner = []
        elif how.number(ROW_ENDS):
            self.rows.append(self.row)
            self.row, self.cell = [], []
        elif end == "\x07":
            self.row.append("\n".join([*self.cell, *filter(None, [words])]))
            self.cell = []
        else:
            self.cell += filter(None, [words])

    def taken(self) -> str:
        """The table, which ends here."""
        left = [self.row] if self.row else []
        said = table([*self.rows, *left])
        self.rows, self.row, self.cell = [], [], []
        return said


class _Reader:
    """Goes through a document in its order."""

    def __init__(self, word: Word) -> None:
        self.word = word
        self.styles = _styles(word.part(STYLES))
        self.fonts = _fonts(word.part(FONTS))
        self.numbers, self.listed = _lists(word)
        self.title: str | None = None  # the first paragraph that is styled as one, or heading
        self.sections = {end - 1 for end in places_in(word.part(SECTIONS), 12)[0]}
        self.called: dict[int, int] = {}  # where a note is called -> its number
        for place in sorted({*self._called(NOTE_PLACES), *self._called(ENDNOTE_PLACES)}):
            self.called[place] = len(self.called) + 1

    def body(self) -> Iterator[str]:
        return self._blocks(0, self.word.counts.body)

    def notes(self) -> Iterator[str]:
        """The notes that the text calls, in the order of their numbers."""
        counts = self.word.counts
        parts = (
            (NOTE_PLACES, NOTE_TEXTS, counts.body),
            (ENDNOTE_PLACES, ENDNOTE_TEXTS, sum(counts[:5])),
        )
        found = dict[int, str]()
        for places, texts, first in parts:
            ends, _ = places_in(self.word.part(texts), 0)
            for called, start, end in zip(self._called(places), ends, ends[1:], strict=False):
                words = " ".join(" ".join(self._blocks(first + start, first + end)).split())
                found[self.called[called]] = words
        return (f"[^{number}]: {found[number]}" for number in sorted(found) if found[number])

    def boxes(self) -> Iterator[str]:
        first = sum(self.word.counts[:6])
        return self._blocks(first, first + self.word.counts.boxes)

    def _called(self, part: int) -> list[int]:
        return places_in(self.word.part(part), 2)[0][:-1]

    def _blocks(self, start: int, end: int) -> Iterator[str]:
        """The paragraphs and tables between two places, as Markdown."""
        text, at, rows = self.word.text(start, end), 0, _Rows()
        fields = list[_Field]()  # those that are open
        for match in _ENDS.finditer(text + "\r"):
            place = start + match.start()
            if match[0] == "\x0c" and place not in self.sections:  # a new page within a paragraph
                continue
            how = self.word.paragraph_at(min(place, end - 1))
            words = self._words(text[at : match.start()], start + at, fields)
            at = match.end()
            fields = [one for one in fields if one.is_read or len(one.told) < LONGEST_FIELD]
            if how.number(IN_TABLE) or match[0] == "\x07":
                is_mark = any(how.number(one) for one in (ROW_ENDS, INNER_ROW_ENDS))
                said = words.strip() if is_mark else self._paragraph(words, how, is_cut=False, bare=True)
                rows.paragraph(said, match[0], how)
                continue
            if said := rows.taken():
                yield said
            # an empty paragraph whose end is deleted or hidden is not there
            is_gone = match[0] == "\x0c" or _is_gone(self.word.run_at(place))
            if block := self._paragraph(words, how, is_cut=is_gone):
                yield block
        if said := rows.taken():
            yield said

    def _paragraph(self, words: str, how: Set, *, is_cut: bool, bare: bool = False) -> str:
        """A paragraph with its number, or as a heading; `bare`: a number without a text, too."""
        text = words.strip()
        listed, label = self._list_of(how), ""
        if listed and (text or not is_cut):
            label = self.numbers.label(listed)
        if not text:
            return label if bare and label != "-" else ""
        level = self._level(how)
        if level is None:
            indent = "  " * (listed[1] if listed and label == "-" else 0)
            return f"{indent}{label} {text}" if label else no_heading(text)
        line = " ".join(f"{label if label != '-' else ''} {text}".split())
        self.title = self.title or line
        return f"{'#' * min(6, max(1, level))} {line}"

    def _said_by(self, how: Set, sprm: int) -> int | None:
        """What a paragraph sets, or its style, or the one that this is based on."""
        if (own := how.number(sprm)) is not None:
            return own
        for style in self._chain(how.style):
            if (told := style.set.number(sprm)) is not None:
                return told
        return None

    def _chain(self, number: int) -> Iterator[_Style]:
        for _ in range(len(self.styles)):
            style = self.styles.get(number)
            if style is None:
                return
            yield style
            number = style.based

    def _level(self, how: Set) -> int | None:
        """The level of a heading, 0 for the document's title; None: it is none."""
        own = how.number(OUTLINE)
        if own is not None:
            return own + 1 if own < DEEPEST else None
        for style in self._chain(how.style):
            if style.word == TITLE:
                return 0
            if (told := style.set.number(OUTLINE)) is not None:
                return told + 1 if told < DEEPEST else None
            if 1 <= style.word <= DEEPEST:
                return style.word
        return None

    def _list_of(self, how: Set) -> tuple[str, int] | None:
        number = self._said_by(how, LIST)
        if not number or not 0 < number <= len(self.listed):
            return None
        return self.listed[number - 1], min(self._said_by(how, DEPTH) or 0, DEEPEST)

    def _words(self, text: str, start: int, fields: list[_Field]) -> str:
        """What is seen of a stretch of text."""
        said: list[str] = []
        for first, last, how in self.word.runs_of(start, start + len(text)):
            part = text[first - start : last - start]
            words = "".join(self._signs(part, first, how, fields))
            if _is_gone(how):
                continue
            how_high = how.number(RAISED) or 0
            said.append({1: raised, 2: lowered}.get(how_high & 0xFF, str)(words) if words else "")
        return _PAIR.sub(lambda one: one[0].encode("utf-16-le", "surrogatepass").decode("utf-16-le"), "".join(said))

    def _signs(self, part: str, start: int, how: Set, fields: list[_Field]) -> Iterator[str]:
        font = self.fonts.get(how.number(FONT) or 0, "")
        for place, one in enumerate(part, start):
            if (told := self._in_field(one, how, fields)) is not None:
                yield told
            elif one == "\x02" and place in self.called:
                yield f"[^{self.called[place]}]"
            elif SIGN in how.sprms and one == "(":
                which, sign = struct.unpack("<HH", how.sprms[SIGN][:4].ljust(4, b"\0"))
                yield sign_at(self.fonts.get(which, ""), f"{sign:x}")
            elif one >= " ":
                yield plain_signs(one, font) if "\ue000" <= one <= "\uf8ff" else one
            else:
                yield _MARKS.get(one, "")

    def _in_field(self, one: str, how: Set, fields: list[_Field]) -> str | None:
        """What a sign says that begins, parts or ends a field, or tells what to do; None: it is none of these."""
        if one == "\x13":
            fields.append(_Field())
        elif one == "\x14" and fields:
            fields[-1].is_read = True
        elif one == "\x15" and fields:
            done = fields.pop()
            base = _RUBY.fullmatch(done.told)
            if all(above.is_read for above in fields):
                return done.box or (base[1] if base else "")
        elif all(above.is_read for above in fields):
            return None
        else:
            if one == "\x01" and OBJECT in how.sprms and "FORMCHECKBOX" in fields[-1].told:
                fields[-1].box = _box(self.word.data, int.from_bytes(how.sprms[OBJECT], "little"))
            if len(fields[-1].told) < LONGEST_FIELD:
                fields[-1].told += one
        return ""


def _is_gone(how: Set) -> bool:
    return bool((how.number(HIDDEN) or 0) & 1 or (how.number(DELETED) or 0) & 1)


def _box(data: bytes, place: int) -> str:
    """A box of a form, ticked or not ([MS-DOC] 2.9.78); "": it is none."""
    form = data[place + 68 :][:512] if place >= 0 else b""
    if len(form) < 12 or form[:4] != b"\xff" * 4:
        return ""
    told = int.from_bytes(form[4:6], "little")
    state = told >> 2 & 0x1F
    if state == 25:  # as it was at first: behind the name
        at = 10 + 2 * (int.from_bytes(form[10:12], "little") + 2)
        state = int.from_bytes(form[at : at + 2], "little")
    return ("☒" if state == 1 else "☐") if told & 3 == 1 else ""


def _styles(listed: bytes) -> dict[int, _Style]:
    """The styles of paragraphs by their number ([MS-DOC] 2.9.271)."""
    found = dict[int, _Style]()
    if len(listed) < 6:
        return found
    head, count, base = struct.unpack_from("<HHH", listed)
    at = 2 + head
    for number in range(count):
        size = int.from_bytes(listed[at : at + 2], "little")
        style = listed[at + 2 : at + 2 + size]
        at += 2 + size
        if len(style) < max(base, 8):
            continue
        word, kind = (int.from_bytes(style[place : place + 2], "little") for place in (0, 2))
        if kind & 0xF != 1:
            continue
        name = 2 + 2 * (int.from_bytes(style[base : base + 2], "little") + 1)
        place = base + name + (base + name) % 2
        length = int.from_bytes(style[place : place + 2], "little")
        own = style[place + 4 : place + 2 + length]  # behind the number of the style
        found[number] = _Style(word & 0xFFF, kind >> 4, Set(number, sprms_in(own)))
    return found


def _fonts(listed: bytes) -> dict[int, str]:
    """The names of fonts by their number."""
    found, at = dict[int, str](), 4
    for number in range(int.from_bytes(listed[:2], "little")):
        if at >= len(listed):
            break
        size = listed[at]
        name = listed[at + 40 : at + 1 + size]
        found[number] = name[: len(name) // 2 * 2].decode("utf-16-le", "replace").split("\0")[0]
        at += 1 + size
    return found


def _lists(word: Word) -> tuple[Numbers, list[str]]:
    """The lists of a document, and which one each use of a list means ([MS-DOC] 2.9.131, 2.9.150)."""
    head, uses = word.part(LISTS), word.part(LIST_USES)
    count = int.from_bytes(head[:2], "little")
    place = int.from_bytes(word.content[LISTS : LISTS + 4], "little") + 2 + 28 * count
    forms = dict[str, dict[int, Level]]()
    for number in range(count):
        about_list = head[2 + 28 * number : 30 + 28 * number]
        if len(about_list) < 28:
            break
        levels = 1 if about_list[26] & 1 else DEEPEST
        own = forms.setdefault(str(int.from_bytes(about_list[:4], "little")), {})
        for depth in range(levels):
            own[depth], place = _level(word.table, place)
    return _used(uses, forms)


def _used(uses: bytes, forms: dict[str, dict[int, Level]]) -> tuple[Numbers, list[str]]:
    """The uses of lists, each a list of its own that counts with the others of its form, but where it begins anew."""
    count = min(int.from_bytes(uses[:4], "little"), len(uses) // 16)
    found, shared, anew = dict[str, dict[int, Level]](), dict[str, str](), dict[str, dict[int, int]]()
    place = 4 + 16 * count
    for number in range(count):
        use, own = uses[4 + 16 * number : 20 + 16 * number], str(number)
        shared[own] = str(int.from_bytes(use[:4], "little"))
        found[own], anew[own] = dict(forms.get(shared[own], {})), {}
        place += 4
        for _ in range(use[12]):
            start, told = struct.unpack_from("<iI", uses[place : place + 8].ljust(8, b"\0"))
            depth, place = told & 0xF, place + 8
            if told & 0x20:  # a form of its own, which says where it begins
                found[own][depth], place = _level(uses, place)
                start = found[own][depth].first
            if told & 0x10:
                anew[own][depth] = start
    return Numbers(found, shared, anew=anew), list(found)


def _level(listed: bytes, place: int) -> tuple[Level, int]:
    """How a level counts, and where the next one begins."""
    form = listed[place : place + 28]
    if len(form) < 28:
        return Level("bullet", "", 1), place
    first, kind, flags = struct.unpack_from("<iBB", form)
    place += 28 + form[25] + form[24]
    length = int.from_bytes(listed[place : place + 2], "little")
    text = listed[place + 2 : place + 2 + 2 * min(length, LONGEST_NUMBER)].decode("utf-16-le", "replace")
    shown = "".join(f"%{ord(one) + 1}" if ord(one) < DEEPEST else one for one in text)
    restart = form[26] if flags & 0x08 else None
    return Level(KINDS.get(kind, "decimal"), shown, first, restart, bool(flags & 0x04)), place + 2 + 2 * length
