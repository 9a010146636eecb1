"""Mails as Outlook saves them (.msg) to text, as other mails are read (see messages.py).

Body      the plain one; else its page, else its RTF, which Outlook packs
Within    a mail that is attached is read below its own subject, sender and date; what else is attached is left aside

[MS-OXMSG] says where what lies, [MS-OXRTFCP] how RTF is packed. The packages for it are GPL, or read the body only.
"""

from __future__ import annotations

import struct
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from typing import TYPE_CHECKING

from foveal.errors import UnreadableSource
from foveal.text.messages import Mail
from foveal.text.ole import opened_ole, stream
from foveal.text.plain import storable

if TYPE_CHECKING:
    from olefile import OleFileIO

SUBJECT, BODY, HTML, RTF = "0037", "1000", "1013", "1009"
SENDER, SENDER_ADDRESS, SENDER_SMTP, SENT_FOR = "0C1A", "0C1F", "5D01", "0042"
NAME, ADDRESS, SMTP, ATTACHED = "3001", "3003", "39FE", "3701000D"
"""Properties that are files of their own: __substg1.0_, the property, its type."""

SENT, RECEIVED, MADE = 0x00390040, 0x0E060040, 0x30070040
CODE_PAGE, RECIPIENT_KIND = 0x3FFD0003, 0x0C150003
"""Properties in the list of short ones."""

DEEPEST, MOST_RECIPIENTS, MOST_ATTACHED = 20, 1000, 1000

_BEGUN = datetime(1601, 1, 1, tzinfo=UTC)
_USUAL = (
    rb"{\rtf1\ansi\mac\deff0\deftab720{\fonttbl;}{\f0\fnil \froman \fswiss \fmodern \fscript \fdecor MS Sans Serif"
    rb"SymbolArialTimes New RomanCourier{\colortbl\red0\green0\blue0"
    + b"\r\n"
    + rb"\par \pard\plain\f0\fs20\b\i\u\tab\tx"
)
"""What packed RTF may point to before it has said anything."""


def read_msg(content: bytes, *, name: str) -> Mail:
    """The mail in `content`. UnreadableSource: it is none, or says nothing."""
    with opened_ole(content, name) as file:
        if not file.exists("__properties_version1.0"):
            raise UnreadableSource(f"{name} is no mail of Outlook, as its name says. Check what it is, and name it so.")
        mail = _Item(file, "", name, _folders(file))
        text, told = mail.text(), mail.mail("")
    if not text.strip():
        raise UnreadableSource(f"{name} is a mail without text. What is attached to it is not read: save it apart.")
    return Mail(text, told.title, told.author, told.to, told.cc, told.published_at)


@dataclass(frozen=True)
class _Item:
    """A mail, a recipient or what is attached: a folder in the file."""

    file: OleFileIO
    place: str  # "" or a path that ends in a slash
    name: str
    folders: Mapping[str, list[str]]  # of all places what lies there
    head: int = 32  # bytes before the list of short properties

    def short(self) -> dict[int, bytes]:
        """The short properties by their number and type."""
        listed = stream(self.file, f"{self.place}__properties_version1.0")[self.head :]
        return {
            int.from_bytes(listed[at : at + 4], "little"): listed[at + 8 : at + 16]
            for at in range(0, len(listed) - 15, 16)
        }

    def bytes_of(self, which: str) -> bytes:
        return stream(self.file, f"{self.place}__substg1.0_{which}")

    def said(self, which: str) -> str:
        """A property that is a text."""
        if wide := self.bytes_of(f"{which}001F"):
            text = wide[: len(wide) // 2 * 2].decode("utf-16-le", "replace")
        else:
            page = int.from_bytes(self.short().get(CODE_PAGE, b"")[:4], "little") or 1252
            try:
                text = self.bytes_of(f"{which}001E").decode("utf-8" if page == 65001 else f"cp{page}", "replace")
            except LookupError:
                text = self.bytes_of(f"{which}001E").decode("cp1252", "replace")
        return storable(text.rstrip("\0").replace("\r\n", "\n"))

    def line(self, *which: str) -> str | None:
        """The first of these properties that says something, in one line."""
        found = (" ".join(self.said(one).split()) for one in which)
        return next(filter(None, found), None)

    def mail(self, text: str) -> Mail:
        """What stands above the text."""
        people = list(self._people())
        to, cc = (", ".join(who for kind, who in people if kind == wanted) or None for wanted in (1, 2))
        author = _named(self.line(SENDER, SENT_FOR), self.line(SENDER_SMTP, SENDER_ADDRESS))
        return Mail(text, self.line(SUBJECT), author, to or self.line("0E04"), cc or self.line("0E03"), self.date())

    def date(self) -> datetime | None:
        """When it was sent, or received, or made."""
        short = self.short()
        value = next((short[one] for one in (SENT, RECEIVED, MADE) if one in short), b"")
        ticks = int.from_bytes(value, "little")  # of 100 nanoseconds
        try:
            return _BEGUN + timedelta(microseconds=ticks // 10) if ticks else None
        except OverflowError:
            return None

    def text(self, depth: int = 0) -> str:
        """The body, and the mails that are attached to it."""
        parts = [self._body()]
        for place in self._within("__attach_version1.0_")[:MOST_ATTACHED]:
            inner = f"{place}__substg1.0_{ATTACHED}/"
            if depth < DEEPEST and self.file.exists(f"{inner}__properties_version1.0"):
                parts.append(_Item(self.file, inner, self.name, self.folders, head=24).within(depth + 1))
        found = [part for part in parts if part.strip()]
        return found[0] if len(found) == 1 else "\n\n".join(part.strip("\n") for part in found)

    def within(self, depth: int) -> str:
        """A mail within a mail, below what stands above it."""
        text = self.text(depth).strip("\n")
        if not text.strip():
            return ""
        told = self.mail(text)
        date = told.published_at.strftime("%a, %d %b %Y %H:%M:%S %z") if told.published_at else None
        head = (("Subject", told.title), ("From", told.author), ("To", told.to), ("Cc", told.cc), ("Date", date))
        return "\n".join([*(f"{key}: {value}" for key, value in head if value), "", text])

    def _body(self) -> str:
        if (plain := self.said(BODY)).strip():
            return plain
        try:
            if page := self.bytes_of(f"{HTML}0102") or self.said(HTML).encode():
                from foveal.text.html import read_html

                return read_html(page, name=self.name).text
            if packed := self.bytes_of(f"{RTF}0102"):
                from foveal.text.rtf import read_rtf

                return read_rtf(unpacked(packed), name=self.name).text
        except UnreadableSource:  # it says nothing: what is attached may
            pass
        return ""

    def _people(self) -> Iterator[tuple[int, str]]:
        """Recipients: 1 for those that it is sent to, 2 for those that get a copy; and who."""
        for place in self._within("__recip_version1.0_")[:MOST_RECIPIENTS]:
            one = _Item(self.file, place, self.name, self.folders, head=8)
            who = _named(one.line(NAME), one.line(SMTP, ADDRESS))
            if who:
                yield int.from_bytes(one.short().get(RECIPIENT_KIND, b"\1")[:4], "little"), who

    def _within(self, kind: str) -> list[str]:
        found = self.folders.get(self.place.strip("/"), [])
        return sorted(f"{self.place}{one}/" for one in found if one.startswith(kind))


def _folders(file: OleFileIO) -> Mapping[str, list[str]]:
    found = defaultdict[str, list[str]](list)
    for *above, name in file.listdir(streams=False, storages=True):
        found["/".join(above)].append(name)
    return found


def _named(who: str | None, address: str | None) -> str | None:
    """A name with the address; one of the directory of a firm ("/O=…") is none that others know."""
    if not address or "@" not in address or address == who:
        return who or address
    return f"{who.strip(chr(39))} <{address}>" if who else address


def unpacked(packed: bytes) -> bytes:
    """RTF as Outlook packs it: what comes again is told by its place among the last 4,096 bytes, and its length."""
    if len(packed) < 16:
        return b""
    size, raw, mark, _ = struct.unpack_from("<IIII", packed)
    if mark == 0x414C454D:  # it says that it is not packed
        return packed[16 : 16 + raw]
    window, place, said = bytearray(_USUAL.ljust(4096, b"\0")), len(_USUAL), bytearray()
    for start, count, sign in _told(packed[16 : size + 4]):
        if count and start == place:  # the end
            break
        for step in range(count or 1):
            one = window[(start + step) % 4096] if count else sign
            said.append(one)
            window[place] = one
            place = (place + 1) % 4096
    return bytes(said)


def _told(packed: bytes) -> Iterator[tuple[int, int, int]]:
    """What packed RTF says in turn: where, and how many, signs come again; or no count, and a sign."""
    at = 0
    while at < len(packed):
        flags, at = packed[at], at + 1
        for bit in range(8):
            if flags >> bit & 1:
                told, at = int.from_bytes(packed[at : at + 2].ljust(2, b"\0"), "big"), at + 2
                yield told >> 4, (told & 0xF) + 2, 0
            elif at < len(packed):
                yield 0, 0, packed[at]
                at += 1
