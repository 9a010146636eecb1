"""Records of PowerPoint 97 to 2003 ([MS-PPT]): which of them the last save holds, and the texts in them.

A record is 8 bytes of head (version and instance, kind, length) and a body; one of version 15 holds others.
A text is a head (what it is for), its characters, and runs of paragraphs and of letters that style them.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple

USER_EDIT, DIRECTORY = 0xFF5, 0x1772
HEAD, UNITS, BYTES, STYLE, OUTLINED = 0xF9F, 0xFA0, 0xFA8, 0xFA1, 0xF9E
FIELDS = (0xFD8, 0xFF7, 0xFF8, 0xFF9, 0xFFA)
"""Kinds of records; fields are a "*" in the text, for a number of a slide, a date, a head or a foot."""

ENCRYPTED = 0xF3D1C4DF
"""A token in the stream "Current User" of a locked file."""

MOST_PARAGRAPHS = 100_000

OTHER = 4
"""What a text is for that does not say it."""

BULLET_FLAGS, TABS, BULLET = 0xF, 1 << 20, 1
_PARAGRAPH = (  # bits of what a run of paragraphs says, in the order in which it is written, and bytes of each
    (0xF, 2), (1 << 7, 2), (1 << 4, 2), (1 << 6, 2), (1 << 5, 4), (1 << 11, 2), (1 << 12, 2), (1 << 13, 2),
    (1 << 14, 2), (1 << 8, 2), (1 << 10, 2), (1 << 15, 2), (TABS, 2), (1 << 16, 2), (7 << 17, 2), (1 << 21, 2),
)  # fmt: skip
_LETTERS = (
    (0xFFFF, 2), (1 << 16, 2), (1 << 21, 2), (1 << 22, 2), (1 << 23, 2), (1 << 17, 2), (1 << 18, 4), (1 << 19, 2),
)  # fmt: skip


class Record(NamedTuple):
    kind: int
    instance: int
    holds: bool  # other records
    body: bytes


def record_at(data: bytes, at: int) -> Record | None:
    """The record that begins there, cut where the data ends; None: none can."""
    if not 0 <= at <= len(data) - 8:
        return None
    head, kind, length = struct.unpack_from("<HHI", data, at)
    return Record(kind, head >> 4, head & 15 == 15, data[at + 8 : at + 8 + length])


def records(within: Record | bytes) -> Iterator[Record]:
    """The records that one holds, or that lie in a stream."""
    data, at = within if isinstance(within, bytes) else within.body if within.holds else b"", 0
    while len(data) - at >= 8:
        length = int.from_bytes(data[at + 4 : at + 8], "little")
        found = record_at(data, at)
        if found is not None:
            yield found
        at += 8 + length


def child(within: Record, kind: int) -> Record | None:
    """The first record of a kind that one holds."""
    return next((one for one in records(within) if one.kind == kind), None)


@dataclass
class Edits:
    """What the last save, and those before it that it adds to, hold: where records lie, by their numbers.

    Records of a damaged file may lie within one another: `left` bytes of them are read at most.
    """

    data: bytes
    places: dict[int, int]
    document: int  # the number of the record that lists all
    locked: bool
    left: int

    @classmethod
    def of(cls, data: bytes, current: bytes) -> Edits:
        token, at = struct.unpack_from("<II", current, 12) if len(current) >= 20 else (0, 0)
        first = record_at(data, at)
        if first is None or first.kind != USER_EDIT:
            at = _last_edit(data)
        places, document, locked = dict[int, int](), 0, token == ENCRYPTED
        seen, left = set[int](), len(data)
        while at not in seen and left > 0:
            seen.add(at)
            edit = record_at(data, at)
            if edit is None or edit.kind != USER_EDIT or len(edit.body) < 20:
                break
            at, directory, own = struct.unpack_from("<3I", edit.body, 8)
            document = document or own
            locked = locked or (len(edit.body) >= 32 and any(edit.body[28:32]))
            left -= len(edit.body)
            for number, place in _directory(record_at(data, directory)):
                places.setdefault(number, place)
                left -= 4
        return cls(data, places, document, locked, 4 * len(data))

    def record(self, number: int, kind: int | None = None) -> Record | None:
        """The record of a number; None: it is not there, of another kind, or exceeds what is left to be read."""
        found = record_at(self.data, self.places[number]) if number in self.places else None
        if found is None or kind not in (None, found.kind) or len(found.body) > self.left:
            return None
        self.left -= len(found.body)
        return found


def _last_edit(data: bytes) -> int:
    """Where the last save lies, if nothing says so; 0: there is none."""
    at = found = 0
    while len(data) - at >= 8:
        _, kind, length = struct.unpack_from("<HHI", data, at)
        found = at if kind == USER_EDIT else found
        at += 8 + length
    return found


def _directory(record: Record | None) -> Iterator[tuple[int, int]]:
    """Numbers of records, and where these lie."""
    body = record.body if record is not None and record.kind == DIRECTORY else b""
    numbers = [one for (one,) in struct.iter_unpack("<I", body[: len(body) // 4 * 4])]
    at = 0
    while at < len(numbers):
        begin, count = numbers[at] & 0xFFFFF, numbers[at] >> 20
        yield from enumerate(numbers[at + 1 : at + 1 + count], begin)
        at += 1 + count


class Paragraph(NamedTuple):
    words: str
    level: int
    bullet: bool | None  # None: as its master says


@dataclass(frozen=True)
class Text:
    """A text: what it is for (0 title, 1 body, 2 notes, 4 other, 6 centred title, ...), and its filled paragraphs."""

    kind: int
    paragraphs: Sequence[Paragraph]

    @staticmethod
    def levels(style: bytes) -> list[bool]:
        """Whether the levels of a master's text (its style) have bullets."""
        found, at = list[bool](), 2
        for _ in range(min(int.from_bytes(style[:2], "little"), 5)):
            bullet, at = _said(style, at, _PARAGRAPH)
            _, at = _said(style, at, _LETTERS)
            found.append(bool(bullet))
        return found


def texts_in(records: Iterable[Record], outline: dict[int, Text] | None = None) -> list[Text]:
    """The texts that records tell, in turn, empty ones too; one that is in the outline is taken out of there."""
    found = list[Text]()
    kind, words, style, fields = -1, "", b"", set[int]()
    for one in records:
        if one.kind == HEAD:
            if kind >= 0:
                found.append(Text(kind, tuple(_paragraphs(words, style, fields))))
            kind, words, style, fields = int.from_bytes(one.body[:4], "little"), "", b"", set()
        elif one.kind == UNITS:
            words = one.body.decode("utf-16-le", "replace")
        elif one.kind == BYTES:
            words = one.body.decode("latin-1")
        elif one.kind == STYLE:
            style = one.body
        elif one.kind in FIELDS:
            fields.add(int.from_bytes(one.body[:4], "little"))
        elif one.kind == OUTLINED:
            told = outline.pop(int.from_bytes(one.body[:4], "little"), None) if outline else None
            found += [told] if told is not None else []
    if kind >= 0 or words:
        found.append(Text(kind if kind >= 0 else OTHER, tuple(_paragraphs(words, style, fields))))
    return found


def _paragraphs(words: str, style: bytes, fields: set[int]) -> Iterator[Paragraph]:
    """The paragraphs of a text that say something."""
    if fields:
        words = "".join(" " if n in fields and one == "*" else one for n, one in enumerate(words))
    runs = _runs(style, len(words))
    end, level, bullet = next(runs, (len(words) + 1, 0, None))
    at = 0
    for line in words.split("\r")[:MOST_PARAGRAPHS]:
        while at >= end:
            end, level, bullet = next(runs, (len(words) + 2, 0, None))
        if said := line.replace("\x0b", "\n").strip():
            yield Paragraph(said, level, bullet)
        at += len(line) + 1


def _runs(style: bytes, length: int) -> Iterator[tuple[int, int, bool | None]]:
    """Runs of paragraphs: where each ends, its level, and whether it has bullets."""
    at = end = 0
    while end < length and at + 10 <= len(style):
        count, level = struct.unpack_from("<IH", style, at)
        bullet, at = _said(style, at + 6, _PARAGRAPH)
        end += count
        yield end, min(level, 8), bullet


def _said(style: bytes, at: int, parts: Sequence[tuple[int, int]]) -> tuple[bool | None, int]:
    """Whether what stands there says that there are bullets, and where it ends."""
    mask = int.from_bytes(style[at : at + 4], "little")
    at, bullet = at + 4, None
    for bits, size in parts:
        if not mask & bits:
            continue
        if bits == BULLET_FLAGS and mask & BULLET:
            bullet = bool(style[at : at + 1] and style[at] & 1)
        at += size + (4 * int.from_bytes(style[at : at + 2], "little") if bits == TABS else 0)
    return bullet, at
