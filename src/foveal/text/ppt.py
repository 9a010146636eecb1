"""PowerPoint presentations of 97 to 2003 (.ppt, .pps, .pot) to Markdown, as pptx.py sets those of today.

Slides    in the order of the presentation, as it was saved last: what an earlier save left in the file is not read
Text      boxes in the order of reading, paragraphs with bullets; what a box takes from the outline as well
Tables    as tables of Markdown; notes behind their slide, as "Notes: ..."
Left out  hidden slides and shapes, heads and feet, masters, comments, charts, pictures, numbers of lists ("-" instead)
Records   of the stream "PowerPoint Document" (ppt_records.py), as [MS-PPT] and [MS-ODRAW] tell of them
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from foveal.errors import UnreadableSource
from foveal.text.code_blocks import no_heading
from foveal.text.office import OfficeText, table
from foveal.text.ole import about, locked, opened_ole, stream
from foveal.text.plain import storable
from foveal.text.ppt_records import (
    Edits,
    Paragraph,
    Record,
    Text,
    child,
    records,
    texts_in,
)
from foveal.text.pptx import NO_TITLE
from foveal.text.reading_order import Box, in_order

DOCUMENT, DOCUMENT_ATOM, SLIDE, SLIDE_ATOM, NOTES = 0x3E8, 0x3E9, 0x3EE, 0x3EF, 0x3F0
PERSIST, SHOW, LIST, DRAWING = 0x3F3, 0x3F9, 0xFF0, 0x40C
DRAWN, GROUP, SHAPE, ABOUT_SHAPE, OPTIONS, TEXTBOX = 0xF002, 0xF003, 0xF004, 0xF00A, 0xF00B, 0xF00D
CHILD_ANCHOR, ANCHOR, CLIENT, MORE_OPTIONS, PLACEHOLDER, MASTER_STYLE = 0xF00F, 0xF010, 0xF011, 0xF122, 0xBC3, 0xFA3
"""Kinds of records."""

OF_SLIDES, OF_NOTES, OF_MASTERS = 0, 2, 1
TITLES, BULLETED, NOTED = (0, 6), (1, 7, 8), 2
"""Kinds of lists, and of texts."""

NOTES_BODY = 0x0C
FEET = range(7, 11)
HIDDEN, TABLE = 0x3BF, 0x39F

MOST_CELLS = 10_000
"""Cells of a table; PowerPoint makes 75 rows of 75."""

DEEPEST = 20
"""Groups within groups that are read."""


def read_ppt(content: bytes, *, name: str) -> OfficeText:
    """The presentation in `content`, as Markdown, with what it says of its title, author and date.

    UnreadableSource says why it cannot be read: it is locked, damaged, no presentation of these years, or without a
    text on slides that are shown.
    """
    with opened_ole(content, name) as file:
        data = stream(file, "PowerPoint Document")
        if not data:
            raise UnreadableSource(f"{name} is no presentation of PowerPoint 97 to 2003. Save it anew, as .pptx.")
        edits = Edits.of(data, stream(file, "Current User"))
        if edits.locked:
            raise locked(name)
        told = about(file)
        slides = list(_Deck.of(edits, name).slides())
    text = storable("\n\n".join(block for slide in slides for block in slide.shown())).strip()
    if not text:
        raise UnreadableSource(
            f"{name} holds no text on slides that are shown. What stands in its pictures is not read. "
            "Show the slides that are hidden, or save it as PDF and run OCR on that."
        )
    own = told.title if told.title and told.title.lower() not in NO_TITLE else storable(slides[0].title) or None
    return OfficeText(text, own, told.author, told.created)


@dataclass(frozen=True, slots=True)
class _Slide:
    number: int
    title: str
    blocks: list[str]

    def shown(self) -> list[str]:
        """The slide as Markdown; nothing, where it has neither title nor text."""
        if not self.title and not self.blocks:
            return []
        return [f"## Slide {self.number}: {self.title}" if self.title else f"## Slide {self.number}", *self.blocks]


@dataclass(frozen=True)
class _Listed:
    """A slide, or notes, in the list of them: where it lies, its own number, and its texts in the outline."""

    persist: int
    own: int
    texts: list[Text]


@dataclass
class _Deck:
    edits: Edits
    first: int
    listed: list[_Listed]
    notes: dict[int, int]  # where notes and masters lie, by their numbers
    masters: dict[int, int]
    bullets: dict[int, list[bool]] = field(default_factory=dict)  # by level, of masters that were read

    @classmethod
    def of(cls, edits: Edits, name: str) -> _Deck:
        document = edits.record(edits.document, DOCUMENT)
        if document is None:
            raise UnreadableSource(f"{name} is damaged: it lacks the list of its slides. Get it anew.")
        inside = list(records(document))
        lists: dict[int, list[_Listed]] = {kind: [] for kind in (OF_SLIDES, OF_NOTES, OF_MASTERS)}
        for one in inside:
            if one.kind == LIST and one.instance in lists:
                lists[one.instance] += _listed(one)
        atom = next((one.body for one in inside if one.kind == DOCUMENT_ATOM), b"")
        first = int.from_bytes(atom[32:34], "little") if len(atom) >= 34 else 1
        notes, masters = ({one.own: one.persist for one in lists[kind]} for kind in (OF_NOTES, OF_MASTERS))
        return cls(edits, first, lists[OF_SLIDES], notes, masters)

    def slides(self) -> Iterator[_Slide]:
        seen = set[int]()
        for n, listed in enumerate(self.listed, self.first):
            if listed.persist in seen:
                continue
            seen.add(listed.persist)
            record = self.edits.record(listed.persist, SLIDE)
            slide = self._slide(n, record, listed.texts) if record is not None else _outlined(n, listed.texts)
            if slide is not None:
                yield slide

    def _slide(self, n: int, record: Record, outline: Sequence[Text]) -> _Slide | None:
        """What is on a slide, its notes behind it; None: it is hidden."""
        atom, show = child(record, SLIDE_ATOM), child(record, SHOW)
        if show is not None and len(show.body) > 10 and show.body[10] & 4:
            return None
        master, noted = (
            struct.unpack_from("<II", atom.body, 12) if atom is not None and len(atom.body) >= 20 else (0, 0)
        )
        bullets = self._bullets(master)
        title, blocks = "", list[str]()
        for shape in _shapes(record, dict(enumerate(outline))):
            if not title and shape.texts and shape.texts[0].kind in TITLES:
                title = " ".join(" ".join(one.words for text in shape.texts for one in text.paragraphs).split())
            elif shape.cells:
                blocks += [told] if (told := _table(shape.cells)) else []
            else:
                blocks += [block for text in shape.texts for block in _paragraphs(text, bullets)]
        return _Slide(n, title, blocks + self._noted(noted))

    def _noted(self, own: int) -> list[str]:
        """What a speaker noted, in the box for notes."""
        record = self.edits.record(self.notes.pop(own), NOTES) if own and own in self.notes else None
        said = [
            block
            for shape in (_shapes(record, {}) if record is not None else ())
            for text in shape.texts
            if text.kind == NOTED or shape.placeholder == NOTES_BODY
            for block in _paragraphs(text, [])
        ]
        if not said:
            return []
        return [*(["Notes:", said[0]] if said[0].startswith("- ") else [f"Notes: {said[0]}"]), *said[1:]]

    def _bullets(self, own: int) -> list[bool]:
        """Whether the levels of a master's texts have bullets."""
        if own not in self.bullets:
            record = self.edits.record(self.masters[own]) if own in self.masters else None
            styles = [one for one in records(record) if one.kind == MASTER_STYLE] if record is not None else []
            body = next((one for one in styles if one.instance == 1), None)
            # LibreOffice and PowerPoint alike: a body has bullets, unless its master says that it has none
            self.bullets[own] = Text.levels(body.body) if body is not None else [True] * 5
        return self.bullets[own]


def _listed(one: Record) -> Iterator[_Listed]:
    """What a list of slides holds: each with the records of its texts behind it."""
    held: tuple[int, int] | None = None
    behind = list[Record]()
    for record in records(one):
        if record.kind == PERSIST and len(record.body) >= 16:
            if held is not None:
                yield _Listed(*held, texts_in(behind))
            persist, _, _, own = struct.unpack_from("<4I", record.body)
            held, behind = (persist, own), []
        else:
            behind.append(record)
    if held is not None:
        yield _Listed(*held, texts_in(behind))


def _outlined(n: int, texts: Sequence[Text]) -> _Slide:
    """A slide that is lost, as the outline has it."""
    title = next((text for text in texts if text.kind in TITLES), None)
    words = " ".join(" ".join(one.words for one in title.paragraphs).split()) if title is not None else ""
    return _Slide(n, words, [block for text in texts if text is not title for block in _paragraphs(text, [True] * 5)])


@dataclass(frozen=True)
class _Shape:
    """A shape that says something: its texts, or the cells of a table."""

    box: Box | None
    placeholder: int = 0
    texts: Sequence[Text] = ()
    cells: Sequence[_Shape] = ()


def _shapes(slide: Record, outline: dict[int, Text]) -> list[_Shape]:
    """The shapes of a slide that say something, as they are read."""
    drawing = child(slide, DRAWING)
    drawn = child(drawing, DRAWN) if drawing is not None else None
    group = child(drawn, GROUP) if drawn is not None else None
    return _grouped(group, outline, 0) if group is not None else []


def _grouped(group: Record, outline: dict[int, Text], depth: int) -> list[_Shape]:
    """The shapes of a group, as they are read; a group in it is read as a whole, a table is one."""
    placed = list[tuple[Box | None, list[_Shape]]]()
    for one in records(group):
        if one.kind == SHAPE:
            shape = _shape(one, outline)
            if shape is not None and shape.texts and shape.placeholder not in FEET:
                placed.append((shape.box, [shape]))
        elif one.kind == GROUP and depth < DEEPEST:
            head = child(one, SHAPE)
            inside = _grouped(one, outline, depth + 1) if head is None or not _option(head, HIDDEN, 0x20002) else []
            box = _box(head) if head is not None else None
            if head is not None and 0 < len(inside) <= MOST_CELLS and _option(head, TABLE, 1):
                inside = [_Shape(box, cells=inside)]
            placed.append((box, inside))
    return [shape for shapes in in_order([one for one in placed if one[1]]) for shape in shapes]


def _shape(one: Record, outline: dict[int, Text]) -> _Shape | None:
    """What a shape says; None: it is hidden, or deleted."""
    flags = child(one, ABOUT_SHAPE)
    if _option(one, HIDDEN, 0x20002) or (flags is not None and len(flags.body) >= 8 and flags.body[4] & 8):
        return None
    client, box = child(one, CLIENT), child(one, TEXTBOX)
    place = child(client, PLACEHOLDER) if client is not None else None
    texts = [text for text in texts_in(records(box), outline) if text.paragraphs] if box is not None else []
    return _Shape(_box(one), place.body[4] if place is not None and len(place.body) > 4 else 0, texts)


def _option(shape: Record, number: int, bits: int) -> bool:
    """Whether a shape has these bits of a property."""
    for options in (one for one in records(shape) if one.kind in (OPTIONS, MORE_OPTIONS)):
        for own, value in struct.iter_unpack("<HI", options.body[: len(options.body[: 6 * options.instance]) // 6 * 6]):
            if own & 0x3FFF == number:
                return bool(value & bits == bits)
    return False


def _box(shape: Record) -> Box | None:
    """Where a shape stands, by its own word."""
    anchor, inner = child(shape, ANCHOR), child(shape, CHILD_ANCHOR)
    if inner is not None and len(inner.body) >= 16:
        left, top, right, bottom = struct.unpack_from("<4i", inner.body)
    elif anchor is not None and len(anchor.body) >= 8:
        top, left, right, bottom = struct.unpack_from("<4i" if len(anchor.body) >= 16 else "<4h", anchor.body)
    else:
        return None
    return Box(left, top, max(left, right), max(top, bottom))


def _table(cells: Sequence[_Shape]) -> str:
    """The cells of a table, by where they stand; what is merged with others is empty."""
    boxes = [(cell, cell.box) for cell in cells if cell.box is not None]
    rows, columns = (sorted({getattr(box, side) for _, box in boxes}) for side in ("top", "left"))
    if len(rows) * len(columns) > MOST_CELLS:
        return table([[_cell(cell)] for cell in cells])
    told = [[""] * len(columns) for _ in rows]
    for cell, box in boxes:
        told[rows.index(box.top)][columns.index(box.left)] += _cell(cell)
    return table(told)


def _cell(cell: _Shape) -> str:
    return " ".join(block for text in cell.texts for block in _paragraphs(text, []))


def _paragraphs(text: Text, bullets: Sequence[bool]) -> Iterator[str]:
    """The paragraphs of a text, as Markdown; `bullets` by level, of the master."""
    above = list[int]()
    for one in text.paragraphs:
        if _has_bullet(text, one, bullets):
            above = [level for level in above if level < one.level]
            before = "  " * len(above) + "- "
            above.append(one.level)
        else:
            above, before = [], ""
        yield no_heading(before + one.words.replace("\n", "\n" + " " * len(before)))


def _has_bullet(text: Text, one: Paragraph, bullets: Sequence[bool]) -> bool:
    if one.bullet is None:
        return text.kind in BULLETED and one.level < len(bullets) and bullets[one.level]
    return one.bullet
