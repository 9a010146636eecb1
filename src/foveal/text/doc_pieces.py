"""The text of a Word 97 to 2003 document and how it is set, as its file keeps them ([MS-DOC], 2.4 and 2.8).

    word = Word.of(file, name)                     # of an OLE file
    word.text(0, word.counts.body)                 # characters, marks and all
    word.paragraph_at(place), word.run_at(place)   # what is set for the paragraph, or the run, of a character

Pieces   the text lies in pieces, each in UTF-16 or in one byte a character, which a saved change may have scattered
Sprms    a number of two bytes says what is set, and how long the value behind it is
Pages    of 512 bytes say for which bytes of the file a list of sprms holds
"""

from __future__ import annotations

import struct
from bisect import bisect_right
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from typing import TYPE_CHECKING, NamedTuple

from foveal.errors import UnreadableSource
from foveal.text.ole import locked, stream

if TYPE_CHECKING:
    from olefile import OleFileIO

WORD_97 = 0x00C1
"""The first version that is written so."""

PAGE = 512
MOST_PAGES = 1 << 20
MOST_READ = 4
"""Times its length is what is read of the file of longer lists: in a damaged document each paragraph may name all."""

STYLES, NOTE_PLACES, NOTE_TEXTS, RUN_PAGES, PARAGRAPH_PAGES, FONTS = 0xA2, 0xAA, 0xB2, 0xFA, 0x102, 0x112
SECTIONS, PIECES, ENDNOTE_PLACES, ENDNOTE_TEXTS, LISTS, LIST_USES = 0xCA, 0x1A2, 0x20A, 0x212, 0x2E2, 0x2EA
"""Where the file's head says at which byte of the table, and how long, each is."""

TAB_CHANGES, TABLE_FORM, ELSEWHERE = 0xC615, 0xD608, (0x6646, 0x6645)
"""Sprms: two that have lengths of their own; those whose value is where a longer list of sprms lies."""

Sprms = dict[int, bytes]


class Counts(NamedTuple):
    """Characters of each part of the text, which lie one after the other."""

    body: int
    notes: int
    heads: int
    macros: int
    remarks: int
    endnotes: int
    boxes: int


class Piece(NamedTuple):
    """Characters from `start` to `end`, which begin at byte `at`, each of `size` bytes."""

    start: int
    end: int
    at: int
    size: int


@dataclass
class Longer:
    """The file of longer lists of sprms."""

    data: bytes
    read: int = 0

    def at(self, place: int) -> bytes:
        """The list that lies there."""
        size = _short(self.data, place)
        self.read += size
        return self.data[place + 2 : place + 2 + size] if self.read <= MOST_READ * len(self.data) else b""


@dataclass(frozen=True, slots=True)
class Set:
    """What holds for a paragraph or a run: its style (of a paragraph), and the sprms of its own."""

    style: int = 0
    sprms: Sprms = field(default_factory=dict)

    def number(self, sprm: int) -> int | None:
        """The value of a sprm as a number of its first two bytes; None: it is not set."""
        value = self.sprms.get(sprm)
        return None if value is None else int.from_bytes(value[:2], "little")


_Read = Callable[[bytes, int, int, Longer], Set]
"""(page, where its entries begin, which, the longer lists) -> what is set."""


@dataclass(frozen=True)
class _Table:
    """Which setting holds from which byte of the file on."""

    starts: list[int]
    ends: list[int]
    sets: list[Set]

    def at(self, byte: int) -> Set:
        place = bisect_right(self.starts, byte) - 1
        return self.sets[place] if place >= 0 and byte < self.ends[place] else Set()


@dataclass(frozen=True)
class Word:
    """A document's bytes, and where what lies."""

    content: bytes
    table: bytes
    counts: Counts
    pieces: list[Piece]
    paragraphs: _Table
    runs: _Table
    data: bytes = b""  # the file of pictures, form fields and longer lists

    @classmethod
    def of(cls, file: OleFileIO, name: str) -> Word:
        """UnreadableSource: it is no such document, is of an older Word, or locked."""
        content = stream(file, "WordDocument")
        if len(content) < 0x1AA or content[:2] not in (b"\xec\xa5", b"\xdc\xa5"):
            raise UnreadableSource(f"{name} holds no document of Word. Check what it is, and name it so.")
        version, flags = _short(content, 2), _short(content, 0x0A)
        if version < WORD_97:
            raise UnreadableSource(f"{name} is of Word 95 or older, which is not read. Save it as .docx, and add that.")
        if flags & 0x0100:
            raise locked(name)
        table, longer = stream(file, "1Table" if flags & 0x0200 else "0Table"), Longer(stream(file, "Data"))
        counts = Counts(*struct.unpack_from("<7I", content, 0x4C))
        pieces = list(_pieces(_part(content, table, PIECES), len(content)))
        paragraphs = _formats(content, _part(content, table, PARAGRAPH_PAGES), _paragraph, longer)
        runs = _formats(content, _part(content, table, RUN_PAGES), _run, longer)
        return cls(content, table, counts, pieces, paragraphs, runs, longer.data)

    def part(self, place: int) -> bytes:
        """The bytes of the table of which the file's head tells at `place`."""
        return _part(self.content, self.table, place)

    def text(self, start: int, end: int) -> str:
        """The characters from `start` to `end`, one a place: of a pair of surrogates each is one, as in the file."""
        said: list[str] = []
        for piece in self.pieces:
            first, last = max(start, piece.start), min(end, piece.end)
            if first < last:
                at = piece.at + (first - piece.start) * piece.size
                found = self.content[at : at + (last - first) * piece.size]
                text = found.decode("cp1252", "replace") if piece.size == 1 else _units(found)
                said.append(text.ljust(last - first, "\0"))
        return "".join(said)

    def paragraph_at(self, place: int) -> Set:
        return self.paragraphs.at(self._byte(place))

    def run_at(self, place: int) -> Set:
        return self.runs.at(self._byte(place))

    def runs_of(self, start: int, end: int) -> Iterator[tuple[int, int, Set]]:
        """The stretches between two places in each of which one setting holds."""
        while start < end:
            piece = self._piece(start)
            byte = self._byte(start)
            place = bisect_right(self.runs.starts, byte) - 1
            until = self.runs.starts[place + 1] if place + 1 < len(self.runs.starts) else 1 << 40
            if place >= 0 and byte < self.runs.ends[place]:
                until = self.runs.ends[place]
            size = piece.size if piece else 1
            stop = min(end, piece.end if piece else end, start + max(1, (until - byte + size - 1) // size))
            yield start, stop, self.runs.at(byte)
            start = stop

    def _piece(self, place: int) -> Piece | None:
        found = bisect_right(self.pieces, place, key=lambda one: one.start) - 1
        return self.pieces[found] if found >= 0 and place < self.pieces[found].end else None

    def _byte(self, place: int) -> int:
        piece = self._piece(place)
        return piece.at + (place - piece.start) * piece.size if piece else -1


def sprms_in(listed: bytes, longer: Longer | None = None) -> Sprms:
    """What a list of sprms sets; the last one of a kind counts."""
    found, at = Sprms(), 0
    while at + 2 < len(listed):
        sprm = _short(listed, at)
        at += 2
        size = (1, 1, 2, 4, 2, 2, 0, 3)[sprm >> 13]
        if sprm == TABLE_FORM:
            size = _short(listed, at) + 1
        elif sprm >> 13 == 6:
            size = listed[at] + 1
            if sprm == TAB_CHANGES and listed[at] == 255:
                gone = listed[at + 1]
                size = 2 + 4 * gone + 1 + 3 * listed[at + 2 + 4 * gone]
        value = listed[at : at + size]
        if sprm in ELSEWHERE and longer and longer.data and len(value) == 4:
            more = longer.at(int.from_bytes(value, "little"))
            found |= {key: one for key, one in sprms_in(more).items() if key not in ELSEWHERE}
        else:
            found[sprm] = value
        at += size
    return found


def places_in(listed: bytes, size: int) -> tuple[list[int], list[bytes]]:
    """A list of n + 1 places and, behind them, n entries of `size` bytes."""
    count = max(0, (len(listed) - 4) // (4 + size))
    places = list(struct.unpack_from(f"<{count + 1}I", listed)) if len(listed) >= 4 else []
    behind = 4 * (count + 1)
    return places, [listed[behind + n * size : behind + (n + 1) * size] for n in range(count)]


def _units(found: bytes) -> str:
    """UTF-16 as one character a unit; halves of pairs stay, and are joined where a text is done."""
    count = len(found) // 2
    if any(0xD8 <= one <= 0xDF for one in found[1::2]):
        return "".join(map(chr, struct.unpack_from(f"<{count}H", found)))
    return found[: 2 * count].decode("utf-16-le")


def _short(content: bytes, at: int) -> int:
    return int.from_bytes(content[at : at + 2], "little")


def _part(content: bytes, table: bytes, place: int) -> bytes:
    if len(content) < place + 8:
        return b""
    at, size = struct.unpack_from("<II", content, place)
    return table[at : at + size]


def _pieces(listed: bytes, length: int) -> Iterator[Piece]:
    """The pieces within a file of so many bytes; of a damaged one no more than it can hold."""
    at, left = 0, length
    while at < len(listed) and listed[at] == 1:  # settings of pieces that were changed
        at += 3 + _short(listed, at + 1)
    if at >= len(listed) or listed[at] != 2:
        return
    size = int.from_bytes(listed[at + 1 : at + 5], "little")
    places, entries = places_in(listed[at + 5 : at + 5 + size], 8)
    for (start, end), entry in zip(pairwise(places), entries, strict=False):
        told = int.from_bytes(entry[2:6], "little")
        packed = bool(told & 0x4000_0000)
        first = told & 0x3FFF_FFFF
        at, size = (first // 2, 1) if packed else (first, 2)
        end = min(end, start + max(0, min(length - at, left) // size))
        left -= max(0, end - start) * size
        if start < end:
            yield Piece(start, end, at, size)


def _formats(content: bytes, listed: bytes, read: _Read, longer: Longer) -> _Table:
    """The settings that the pages of a list hold."""
    _, entries = places_in(listed, 4)
    found = dict[int, tuple[int, Set]]()
    for at in dict.fromkeys((int.from_bytes(entry, "little") & 0x3F_FFFF) * PAGE for entry in entries[:MOST_PAGES]):
        page = content[at : at + PAGE]
        if len(page) < PAGE:
            continue
        count = min(page[-1], (PAGE - 5) // 5)
        bounds = struct.unpack_from(f"<{count + 1}I", page)
        for number in range(count):
            if bounds[number] < bounds[number + 1]:
                found[bounds[number]] = (bounds[number + 1], read(page, 4 * (count + 1), number, longer))
    starts = sorted(found)
    return _Table(starts, [found[one][0] for one in starts], [found[one][1] for one in starts])


def _paragraph(page: bytes, behind: int, number: int, longer: Longer) -> Set:
    place = behind + 13 * number
    at = 2 * page[place] if place < PAGE else 0
    if not at:
        return Set()
    size, at = (2 * page[at] - 1, at + 1) if page[at] else (2 * page[at + 1], at + 2)
    listed = page[at : at + size]
    return Set(_short(listed, 0), sprms_in(listed[2:], longer))


def _run(page: bytes, behind: int, number: int, longer: Longer) -> Set:
    place = behind + number
    at = 2 * page[place] if place < PAGE else 0
    return Set(0, sprms_in(page[at + 1 : at + 1 + page[at]], longer)) if at else Set()
