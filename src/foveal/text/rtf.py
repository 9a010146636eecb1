"""RTF (.rtf) to Markdown: paragraphs, headings, lists, tables, notes, boxes.

Text      as it is seen: inserted words are read, deleted and hidden ones are not; of a field its result
Signs     bytes in the code page of their font or of the file, \\u without what stands in for it, fonts of signs
Headings  by the outline level of a paragraph, or that of its style, or the style's name
Lists     "-" for bullets, else the number that the file writes in front of the paragraph
Tables    rows as Markdown; a table within a cell is a part of its line
Notes     footnotes and endnotes behind the text, called [^1] as in Markdown
Boxes     behind the paragraph that they belong to
Left out  heads and feet of pages, comments, pictures, objects, entries of an index

A group of RTF ({…}) begins with what holds around it and gives that back at its end; its text goes to a flow: that of
the body, of a note, of the name of a style. Against striprtf: it loses notes and headings, reads what is deleted or
hidden, and needs minutes for a file of links without ends.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import datetime
from typing import NamedTuple

from foveal.errors import UnreadableSource
from foveal.text.code_blocks import no_heading
from foveal.text.office import OfficeText, table
from foveal.text.plain import storable
from foveal.text.raised import lowered, raised
from foveal.text.rtf_tokens import BYTES, CLOSE, OPEN, Font, code_page, tokens
from foveal.text.table_cells import CELLS_APART

DEEPEST = 9  # levels of headings and of lists
MOST_GROUPS = 10_000
"""Groups within groups; the files that programs write have some ten."""

MOST_EMPTY = 8
"""Places of a table to each cell that the file has; a row that would make more begins another table."""

_SKIPPED = frozenset((
    "colortbl", "pict", "nonshppict", "shprslt", "objdata", "objclass", "objname", "fldinst", "datafield",
    "formfield", "header", "headerl", "headerr", "headerf", "footer", "footerl", "footerr", "footerf", "ftnsep",
    "ftnsepc", "ftncn", "aftnsep", "aftnsepc", "aftncn", "xe", "tc", "rxe", "pntxta", "pntxtb", "listtable",
    "listoverridetable", "revtbl", "rsidtbl", "filetbl", "generator", "annotation", "atnid", "atnauthor",
    "atndate", "atnref", "comment", "doccomm", "template", "background", "bkmkstart", "bkmkend", "nonesttables",
    "themedata", "datastore", "private", "sp", "pn",
))  # fmt: skip
_READ = frozenset(("nesttableprops", "fldrslt", "moMath", "moMathPara"))
"""Groups that are read though their mark \\* lets a program skip those that it does not know."""

_SIGNS = {
    "tab": "\t", "\t": "\t", "line": "\n", "lbr": "\n", "softline": "\n", "emdash": "—", "endash": "–", "bullet": "•",
    "lquote": "‘", "rquote": "’", "ldblquote": "“", "rdblquote": "”", "emspace": " ", "enspace": " ", "qmspace": " ",
    "zwj": "\u200d", "zwnj": "\u200c", "~": "\u00a0", "_": "-", "\\": "\\", "{": "{", "}": "}",
    "mden": "/", "msup": "^", "msub": "_",
}  # fmt: skip
_ENDS = frozenset(("par", "sect", "page", "column", "\n", "\r"))
_PAGES = {"ansi": "cp1252", "mac": "mac_roman", "pc": "cp437", "pca": "cp850"}
_MOMENT = ("yr", "mo", "dy", "hr", "min")
_TEXTS = frozenset(("body", "note", "box"))
_HEADING = re.compile(r"heading ([1-9])\b")


@dataclass
class _Style:
    """A style of paragraphs, as far as it makes headings of them."""

    name: str = ""
    based: int | None = None
    outline: int | None = None

    def level(self) -> int | None:
        """The level of heading that it says by itself, 0 for a document's title."""
        if self.name == "title":
            return 0
        if self.outline is not None and 0 <= self.outline < DEEPEST:
            return self.outline + 1
        named = _HEADING.match(self.name)
        return int(named[1]) if named else None


@dataclass
class _Flow:
    """Text that belongs together: the body, a note, a box, a label; or a name, of a style or a font."""

    kind: str
    parent: _Flow | None = None
    number: int = 0  # of a note, style or font
    charset: int = 0  # of a font
    page: int = 0
    style: _Style = field(default_factory=_Style)
    pieces: list[str] = field(default_factory=list)  # of the paragraph
    label: str = ""  # in front of it
    cell: list[str] = field(default_factory=list)  # the paragraphs of a cell, its rows of a table within it
    row: list[str] = field(default_factory=list)
    inner_cell: list[str] = field(default_factory=list)
    inner_row: list[str] = field(default_factory=list)
    rows: list[list[str]] = field(default_factory=list)
    blocks: list[str] = field(default_factory=list)
    behind: list[str] = field(default_factory=list)  # boxes that follow the paragraph
    below: list[str] = field(default_factory=list)  # those that follow the table

    def taken(self) -> str:
        """The paragraph that is done; the next one begins."""
        words = "".join(self.pieces).strip()
        self.pieces = []
        return words

    def end_paragraph(self, group: _Group, level: int | None) -> str:
        """Put away the paragraph, in its cell or as a block; its line if it is a heading, else ""."""
        words, label, self.label = self.taken(), self.label, ""
        if group.in_table:
            cell = self.inner_cell if group.nested else self.cell
            cell += [f"{label} {words}".strip()] if words else []
            return ""
        self.end_table()
        line = ""
        if words and level is not None:
            line = " ".join(f"{'' if label == '-' else label} {words}".split())
            self.blocks.append(f"{'#' * min(6, max(1, level))} {line}")
        elif words:
            indent = "  " * (min(max(0, group.level), DEEPEST) if label == "-" else 0)
            self.blocks.append(f"{indent}{label} {words}" if label else no_heading(words))
        self.blocks += self.behind
        self.behind = []
        return line

    def end_cell(self, word: str) -> None:
        """Put away a cell or a row."""
        if word in ("nestcell", "cell"):
            paragraphs = self.inner_cell if word == "nestcell" else self.cell
            words = " ".join(filter(None, [*paragraphs, f"{self.label} {self.taken()}".strip()]))
            self.label = ""
            self.below += self.behind
            self.behind = []
            paragraphs.clear()
            (self.inner_row if word == "nestcell" else self.row).append(words)
        elif word == "nestrow":
            self.cell.append(CELLS_APART.join(filter(None, self.inner_row)))
            self.inner_row = []
        elif self.row:
            self.rows.append(self.row)
            self.row = []

    def end_table(self) -> None:
        """Put away the rows of a table, and what of a row nothing ended."""
        if rest := [*self.cell, *self.inner_row, *self.inner_cell]:
            self.row.append(" ".join(filter(None, rest)))
        self.cell, self.inner_row, self.inner_cell = [], [], []
        self.end_cell("row")
        if self.rows:
            self.blocks += filter(None, map(table, _tables(self.rows)))
            self.rows = []
        self.blocks += self.below
        self.below = []


class _Group(NamedTuple):
    """What holds within a group."""

    flow: _Flow | None  # where its text goes; None: nowhere
    role: str = ""  # what groups within it are: "styles", "info", "shape", "choice"
    owner: _Flow | None = None  # the flow around a group that has none, but may have one within
    font: int = -1
    hidden: bool = False
    deleted: bool = False
    set_apart: str = ""  # "super" or "sub"
    bare: int = 1  # characters behind a \\u that stand in for it
    style: int = 0
    outline: int | None = None
    in_table: bool = False
    nested: bool = False  # in a table within a table
    level: int = 0  # of a list


_STATES: dict[str, Callable[[_Group, int], _Group]] = {
    "f": lambda group, number: group._replace(font=number),
    "v": lambda group, number: group._replace(hidden=number != 0),
    "deleted": lambda group, number: group._replace(deleted=number != 0),
    "super": lambda group, number: group._replace(set_apart="super" if number else ""),
    "sub": lambda group, number: group._replace(set_apart="sub" if number else ""),
    "nosupersub": lambda group, _: group._replace(set_apart=""),
    "uc": lambda group, number: group._replace(bare=max(0, number)),
    "s": lambda group, number: group._replace(style=number),
    "outlinelevel": lambda group, number: group._replace(outline=number),
    "intbl": lambda group, number: group._replace(in_table=number != 0),
    "itap": lambda group, number: group._replace(in_table=number > 0, nested=number > 1),
    "ilvl": lambda group, number: group._replace(level=number),
    "pard": lambda group, _: group._replace(style=0, outline=None, in_table=False, nested=False, level=0),
}
"""Words that change what holds in a group."""


def read_rtf(content: bytes, *, name: str) -> OfficeText:
    """The document in `content`; UnreadableSource says why there is none."""
    if not content.startswith(b"{\\rtf"):
        raise UnreadableSource(f"{name} is not what its name says: an RTF file begins with {{\\rtf. Get it anew.")
    reader = _Reader(name)
    for kind, value, number in tokens(content):
        reader.take(kind, value, number)
        if not reader.groups:
            break  # what stands behind the document is no part of it
    while reader.groups:
        reader.close()
    notes = [f"[^{number}]: {words}" for number, words in sorted(reader.notes.items())]
    text = storable("\n\n".join([*reader.body.blocks, *notes])).strip()
    if not text:
        raise UnreadableSource(f"{name} holds no text. What stands in its pictures is not read.")
    return OfficeText(text, reader.about.get("title") or reader.title, reader.about.get("author"), reader.created())


class _Reader:
    """Takes the tokens of a file, one by one."""

    def __init__(self, name: str) -> None:
        self.name, self.body = name, _Flow("body")
        self.now = _Group(self.body)
        self.groups: list[_Group] = []  # around the one that is read
        self.fresh = self.starred = False  # a group has just begun; with \*
        self.left_out = 0  # characters still to come that stand in for a \u
        self.held = bytearray()  # bytes that are read together: a character may have two
        self.page, self.usual_font = "cp1252", -1
        self.fonts: dict[int, Font] = {}
        self.styles: dict[int, _Style] = {}
        self.notes: dict[int, str] = {}
        self.called = 0  # notes, so far
        self.about: dict[str, str] = {}
        self.moment: dict[str, int] = {}  # when it was made
        self.title: str | None = None  # the first heading

    def take(self, kind: int, value: bytes, number: int | None) -> None:
        """Go on by a token."""
        if kind == BYTES:
            self.fresh = False
            skipped = min(self.left_out, len(value))
            self.left_out -= skipped
            self.held += value[skipped:]
            return
        self.flush()
        if kind == OPEN:
            self.open()
        elif kind == CLOSE:
            self.close()
        elif value == b"*":
            self.starred = self.fresh
        elif self.left_out and not value.isalpha():
            self.left_out -= 1
        else:
            self.left_out = 0
            fresh, starred, self.fresh, self.starred = self.fresh, self.starred, False, False
            word = value.decode("latin-1")
            if not (fresh and self.begin(word, starred=starred)):
                self.word(word, number)

    def flush(self) -> None:
        """Read what bytes are held."""
        if self.held:
            if self.now.flow is not None:
                self.say(self.fonts.get(self.now.font, Font()).words(bytes(self.held), self.page))
            self.held.clear()

    def say(self, words: str) -> None:
        """Words in the flow of the group, if they are seen."""
        flow = self.now.flow
        if flow is None or self.now.hidden or self.now.deleted:
            return
        if self.now.set_apart:
            before = flow.pieces[-1] if flow.pieces else ""
            words = raised(words, before) if self.now.set_apart == "super" else lowered(words)
        flow.pieces.append(words)

    def open(self) -> None:
        if len(self.groups) >= MOST_GROUPS:
            raise UnreadableSource(f"{self.name} is damaged: its groups lie too deep in one another. Get it anew.")
        self.groups.append(self.now)
        self.fresh, self.starred, self.left_out = True, False, 0
        if self.now.role == "styles":
            self.now = self.now._replace(flow=_Flow("style"), role="")
        elif self.now.role == "choice":
            self.now = self.now._replace(flow=None, role="either")

    def close(self) -> None:
        self.flush()
        self.fresh, self.starred, self.left_out = False, False, 0
        around, flow = self.groups.pop(), self.now.flow
        if flow is not None and (not self.groups or flow is not around.flow):
            self.finish(flow)
        self.now = around

    def finish(self, flow: _Flow) -> None:
        """Put away a flow that is at its end, while its last group still holds."""
        if flow.kind in _TEXTS:
            self.end_paragraph(flow)
            flow.end_table()
            flow.blocks += flow.behind  # of a cell that nothing ended
            if flow.kind == "note":
                self.notes[flow.number] = " ".join(" ".join(flow.blocks).split())
            elif flow.parent is not None:
                flow.parent.behind += flow.blocks
        elif flow.kind == "label" and flow.parent is not None:
            flow.parent.label = _label(flow.taken())
        elif flow.kind == "style":
            flow.style.name = flow.taken().partition(";")[0].partition(",")[0].strip().lower()
            self.styles.setdefault(flow.number, flow.style)
        elif flow.kind == "font":
            self.end_font(flow)
        elif words := " ".join(storable(flow.taken()).split()):
            self.about.setdefault(flow.kind, words)

    def end_font(self, flow: _Flow) -> None:
        name = flow.taken().partition(";")[0].strip()
        self.fonts.setdefault(flow.number, Font.of(name, charset=flow.charset, page=flow.page))

    def begin(self, word: str, *, starred: bool) -> bool:
        """Whether a group is of a kind of its own by its first word, and what follows of that."""
        now = self.now
        if (made := self.flow_of(word)) is not None:
            self.now = made
        elif now.flow is not None and word in ("shpinst", "shpgrp", "do"):
            self.now = now._replace(flow=None, role="shape", owner=now.flow)
        elif now.flow is not None and word == "upr":  # a text twice: for old programs, and in Unicode
            self.now = now._replace(role="choice", owner=now.flow)
        elif now.role == "either" and word == "ud":
            self.now = now._replace(flow=now.owner, role="")
        elif word in ("stylesheet", "info"):
            self.now = now._replace(flow=None, role={"stylesheet": "styles"}.get(word, word))
        elif word in _SKIPPED or (starred and word not in _READ) or (word[0] == "m" and word.endswith("Pr")):
            keeps = now.role == "shape" and word in ("shpinst", "shpgrp", "do")
            self.now = now._replace(flow=None, role="shape" if keeps else "")
        else:
            return False
        return True

    def flow_of(self, word: str) -> _Group | None:
        """A group with a flow of its own, if that is what a word begins."""
        now, flow = self.now, self.now.flow
        if word == "fonttbl":
            return _Group(_Flow("font", number=-1))
        if now.role == "info" and word in ("title", "author", "creatim"):
            return _Group(_Flow(word), font=now.font)
        if now.role == "shape" and word in ("shptxt", "dptxbxtext"):
            return _Group(_Flow("box", now.owner), font=self.usual_font)
        if flow is None or flow.kind not in _TEXTS or word not in ("footnote", "listtext", "pntext"):
            return None
        if now.hidden or now.deleted:
            return now._replace(flow=None)
        if word == "footnote":
            self.called += 1
            flow.pieces.append(f"[^{self.called}]")
            return _Group(_Flow("note", flow, self.called), font=self.usual_font)
        return now._replace(flow=_Flow("label", flow))

    def word(self, word: str, number: int | None) -> None:
        """A control word, or a sign behind a backslash."""
        flow = self.now.flow
        if word in _PAGES or word in ("ansicpg", "deff"):
            self.set_up(word, number or 0)
        elif flow is not None and flow.kind in ("font", "style", "creatim"):
            self.described(flow, word, number or 0)
        elif flow is not None:
            self.within(flow, word, number)

    def set_up(self, word: str, number: int) -> None:
        """What holds for the whole file."""
        if word == "deff":
            self.usual_font = number
        else:
            self.page = _PAGES.get(word) or code_page(number)

    def within(self, flow: _Flow, word: str, number: int | None) -> None:
        """A word within a text."""
        if word in _ENDS:
            self.end_paragraph(flow)
        elif word in _SIGNS:
            self.say(_SIGNS[word])
        elif word == "u" and number is not None:
            self.say(self.fonts.get(self.now.font, Font()).sign(chr(number & 0xFFFF)))
            self.left_out = self.now.bare
        elif word in ("cell", "row", "nestcell", "nestrow"):
            flow.end_cell(word)
        elif word == "plain":
            self.now = self.now._replace(font=self.usual_font, hidden=False, deleted=False, set_apart="")
        elif word in _STATES:
            self.now = _STATES[word](self.now, 1 if number is None else number)

    def described(self, flow: _Flow, word: str, number: int) -> None:
        """What a font, a style or a moment is."""
        if flow.kind == "creatim":
            if word in _MOMENT:
                self.moment[word] = number
        elif flow.kind == "font":
            if word == "f":
                self.end_font(flow)  # the one before
                flow.number, flow.charset, flow.page = number, 0, 0
            elif word == "fcharset":
                flow.charset = number
            elif word == "cpg":
                flow.page = number
        elif word == "s":
            flow.number = number
        elif word == "sbasedon":
            flow.style.based = number
        elif word == "outlinelevel":
            flow.style.outline = number

    def end_paragraph(self, flow: _Flow) -> None:
        if flow.kind not in _TEXTS:
            flow.pieces.append(" ")
            return
        line = flow.end_paragraph(self.now, self.level())
        self.title = self.title or line or None

    def level(self) -> int | None:
        """The level of heading of the paragraph; None: it is none."""
        if self.now.outline is not None and 0 <= self.now.outline < DEEPEST:
            return self.now.outline + 1
        number: int | None = self.now.style
        for _ in range(DEEPEST):
            style = self.styles.get(number) if number is not None else None
            if style is None or (level := style.level()) is not None:
                return level if style else None
            number = style.based
        return None

    def created(self) -> str | None:
        """When the document was made, as ISO 8601."""
        year, month, day, hour, minute = (self.moment.get(one, 0) for one in _MOMENT)
        try:
            return datetime(year, month, day, hour, minute).isoformat()
        except (ValueError, OverflowError):
            return None


def _label(words: str) -> str:
    """What stands in front of a paragraph of a list: a bullet is "-", and so is the "o" that Word sets for one."""
    return "-" if words and (words == "o" or not any(map(str.isalnum, words))) else " ".join(words.split())


def _tables(rows: Sequence[list[str]]) -> Iterator[list[list[str]]]:
    """Rows as tables that their widest row does not fill with empty places."""
    held, width, filled = list[list[str]](), 0, 0
    for row in rows:
        if held and (len(held) + 1) * max(width, len(row)) > MOST_EMPTY * (filled + len(row)) + 1000:
            yield held
            held, width, filled = [], 0, 0
        held.append(row)
        width, filled = max(width, len(row)), filled + len(row)
    if held:
        yield held
