"""PowerPoint presentations (.pptx, .pptm, .ppsx, .ppsm, .potx) to Markdown: slide by slide, as an audience sees them.

Slides    in the order of the presentation, each below "## Slide 5: Its title"; without titles "## Slide 5"
          They are numbered as PowerPoint numbers them, so hidden ones count; if the list of them is damaged, by files
Text      boxes in the order of reading (pptx_shapes.py), paragraphs with their bullets or numbers (pptx_paragraphs.py)
Tables    as tables of Markdown; cells merged with others are empty
Charts    and diagrams by the words and numbers kept with them (pptx_charts.py)
Notes     of the speaker behind their slide, as "Notes: ..."
Left out  hidden slides and shapes, heads and feet (numbers of slides, dates), comments, what layouts write on every
          slide, pictures, films, and files that are embedded
Names     elements are known by their names within their namespace, as strict documents have others
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from foveal.errors import UnreadableSource
from foveal.text.archives import ArchiveFiles, opened
from foveal.text.office import OfficeText, said
from foveal.text.office_formulas import local
from foveal.text.plain import storable
from foveal.text.pptx_charts import chart_blocks, diagram_blocks, tables
from foveal.text.pptx_paragraphs import Levels, number, paragraphs, unfolded, words_of
from foveal.text.pptx_shapes import TITLES, Layout, role_of, shapes_in_order

PRESENTATION, ABOUT = "ppt/presentation.xml", "docProps/core.xml"

_SLIDE = re.compile(r"ppt/slides/slide([0-9]{1,9})\.xml")
_OFF = ("0", "false")
_ON = ("1", "true")
NO_TITLE = frozenset(  # what PowerPoint calls all that it makes, in the languages that it speaks
    (
        "powerpoint presentation", "presentation", "powerpoint-präsentation", "présentation powerpoint",
        "presentación de powerpoint", "presentazione standard di powerpoint", "presentazione di powerpoint",
        "apresentação do powerpoint", "powerpoint-presentatie", "prezentacja programu powerpoint",
        "prezentace aplikace powerpoint", "powerpoint-presentation", "powerpoint-præsentation",
        "powerpoint-presentasjon", "powerpoint-esitys", "powerpoint sunusu", "презентация powerpoint",
        "powerpoint プレゼンテーション", "powerpoint 演示文稿", "powerpoint 簡報", "powerpoint 프레젠테이션", "slide 1",
        "no slide title",
    )
)  # fmt: skip


class _Part(NamedTuple):
    """A file that another refers to."""

    kind: str
    place: str


Reader = Callable[[Any], list[str]]
"""Gives what stands below the root of a file."""


class _Slide(NamedTuple):
    title: str
    blocks: list[str]


def read_pptx(content: bytes, *, name: str, max_bytes: int) -> OfficeText:
    """The presentation in `content`, as Markdown, with what it says of its title, author and date.

    At most `max_bytes` are unpacked. UnreadableSource says why it cannot be read: it is locked, damaged, larger than
    the limit, no presentation, or without a text on slides that are shown.
    """
    with opened(content, name, max_bytes=max_bytes) as files:
        package = _Package(files)
        slides = {n: slide for n, place in package.slides() if (slide := _slide(package, place)) is not None}
        about = package.xml(package.core)
    blocks = [block for n, slide in slides.items() for block in _shown(n, slide)]
    text = storable("\n\n".join(blocks)).strip()
    if not text:
        raise UnreadableSource(
            f"{name} holds no text on slides that are shown. What stands in its pictures is not read. "
            "Show the slides that are hidden, or save it as PDF and run OCR on that."
        )
    first = next(iter(slides.values())).title
    title = said(about, "title")
    own = title if title and title.lower() not in NO_TITLE else storable(first) or None
    return OfficeText(text, own, said(about, "creator"), said(about, "created"))


class _Package:
    """The files of a presentation, and what they refer to."""

    def __init__(self, files: ArchiveFiles) -> None:
        self.files = files
        self.layouts: dict[str, Layout] = {}
        top = {part.kind: part.place for part in reversed(self.related("").values())}
        self.place = top.get("officeDocument", PRESENTATION)
        self.core = top.get("core-properties", ABOUT)

    def slides(self) -> list[tuple[int, str]]:
        """The slides, hidden ones too, each with its number. UnreadableSource: there is no presentation."""
        numbered = sorted((int(found[1]), one) for one in self.files.names if (found := _SLIDE.fullmatch(one)))
        root = self.xml(self.place)
        if not numbered and (root is None or local(root) != "presentation"):
            raise UnreadableSource(f"{self.files.name} is no presentation: it lacks {PRESENTATION}. Get it anew.")
        related = self.related(self.place)
        listed = list(root.iterfind("{*}sldIdLst/{*}sldId")) if root is not None else []
        places = [related[one].place for each in listed if (one := _link(each, "id")) in related]
        if len(places) < len(listed) or not places:
            places = [place for _, place in numbered]
        first = number(root.get("firstSlideNum")) if root is not None else None
        return list(enumerate(dict.fromkeys(places), 1 if first is None else first))

    def xml(self, place: str) -> Any:
        """The root of a file that can be done without; None: it is not there, or damaged.

        UnreadableSource: more than the limit is unpacked.
        """
        if place not in self.files.names:
            return None
        try:
            return self.files.xml(place)
        except UnreadableSource:
            if self.files.left < 0:
                raise
            return None

    def related(self, place: str, *, needed: bool = False) -> dict[str, _Part]:
        """What a file refers to, by the names that it uses for it; UnreadableSource: that is damaged, and `needed`."""
        folder, name = posixpath.split(place)
        listed = posixpath.join(folder, "_rels", f"{name}.rels")
        root = self.files.xml(listed) if needed and listed in self.files.names else self.xml(listed)
        found = {}
        for one in root.iterchildren("{*}Relationship") if root is not None else ():
            target = posixpath.normpath(posixpath.join("/", folder, one.get("Target") or "")).lstrip("/")
            if target in self.files.names:
                found[one.get("Id") or ""] = _Part((one.get("Type") or "").rpartition("/")[2], target)
        return found

    def layout(self, place: str) -> Layout:
        """The layout in a file."""
        if place not in self.layouts:
            self.layouts[place] = Layout.of(self.xml(place), self.xml(_of_kind(self.related(place), "slideMaster")))
        return self.layouts[place]


def _slide(package: _Package, place: str) -> _Slide | None:
    """What is on a slide, its notes behind it; None: it is hidden."""
    root = package.files.xml(place)
    if root.get("show") in _OFF:
        return None
    related = package.related(place, needed=True)
    layout = package.layout(_of_kind(related, "slideLayout"))
    title, blocks = "", list[str]()
    for shape in shapes_in_order(root, layout):
        role = role_of(shape)
        if not title and role is not None and role.kind in TITLES:
            title = " ".join(" ".join(words_of(one) for one in shape.iterfind("{*}txBody/{*}p")).split())
        else:
            blocks += _blocks(shape, layout.inherited(shape).levels, package, related)
    notes = _of_kind(related, "notesSlide")
    return _Slide(title, blocks + list(_notes(package.files.xml(notes) if notes else None)))


def _shown(n: int, slide: _Slide) -> list[str]:
    """A slide as Markdown; nothing, where it has neither title nor text."""
    if not slide.title and not slide.blocks:
        return []
    return [f"## Slide {n}: {slide.title}" if slide.title else f"## Slide {n}", *slide.blocks]


def _blocks(shape: Any, levels: Levels, package: _Package, related: dict[str, _Part]) -> Iterator[str]:
    """What a shape says: its text, table, chart or diagram."""
    for body in shape.iterchildren("{*}txBody"):
        yield from paragraphs(body, levels)
    for held in shape.iterfind("{*}graphic/{*}graphicData"):
        for one in unfolded(held):
            name = local(one)
            if name == "tbl":
                rows = one.iterchildren("{*}tr")
                yield from tables([[_cell(cell) for cell in row.iterchildren("{*}tc")] for row in rows])
            elif name == "chart":
                yield from _elsewhere(package, related, _link(one, "id"), chart_blocks)
            elif name == "relIds":
                yield from _elsewhere(package, related, _link(one, "dm"), diagram_blocks)


def _elsewhere(package: _Package, related: dict[str, _Part], link: str, read: Reader) -> list[str]:
    """What stands in a file of its own; nothing, where that is missing."""
    return read(package.files.xml(related[link].place)) if link in related else []


def _cell(cell: Any) -> str:
    """What a cell says; nothing, where it is a part of the one to the left or above."""
    if cell.get("hMerge") in _ON or cell.get("vMerge") in _ON:
        return ""
    return " ".join(text for body in cell.iterchildren("{*}txBody") for text in paragraphs(body, {}))


def _notes(root: Any) -> Iterator[str]:
    """What a speaker noted, in the box for notes."""
    tree = root.find("{*}cSld/{*}spTree") if root is not None else None
    said_there = [
        text
        for shape in (unfolded(tree) if tree is not None else ())
        if (role := role_of(shape)) is not None and role.kind == "body"
        for body in shape.iterchildren("{*}txBody")
        for text in paragraphs(body, {})
    ]
    if said_there:
        first, *others = said_there
        yield from (["Notes:", first] if first.startswith("- ") else [f"Notes: {first}"])
        yield from others


def _of_kind(related: dict[str, _Part], kind: str) -> str:
    """Where the first file of a kind lies that another refers to; "": there is none."""
    return next((part.place for part in related.values() if part.kind == kind), "")


def _link(element: Any, name: str) -> str:
    """The name by which an element refers to another file."""
    return next((str(value) for key, value in element.attrib.items() if key.endswith(f"}}{name}")), "")
