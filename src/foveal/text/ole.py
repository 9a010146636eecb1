"""The files within a file of Office 97 to 2003 and of Outlook (OLE compound files), read with olefile.

with opened_ole(content, name) as file:
    words = stream(file, "WordDocument")     # b"" where there is none
    told = about(file)                       # title, author, created
"""

from __future__ import annotations

import io
import logging
import struct
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import TYPE_CHECKING, Any

from foveal.errors import UnreadableSource
from foveal.text.plain import storable

if TYPE_CHECKING:
    from olefile import OleFileIO

OLE = b"\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"
"""How such a file begins."""

DAMAGE = (
    OSError, struct.error, IndexError, KeyError, ValueError, TypeError, OverflowError, AttributeError, RecursionError,
)  # fmt: skip
"""What olefile, and the readers of what it gives, raise of damaged files."""

PAGE, TITLE, AUTHOR, CREATED = 1, 2, 4, 12
BYTES, UNITS = 0x1E, 0x1F
"""Properties, and types of those that are texts."""

MOST_PROPERTIES, LONGEST_PROPERTY = 100, 4096

OVERLAPS = 32
"""Times its own length is what is read of a file, at most: short lists are read again, long texts are not."""

logging.getLogger("olefile").setLevel(logging.CRITICAL)  # it tells of each small defect


@dataclass(frozen=True, slots=True)
class About:
    """What a file says of itself; `created` as ISO 8601."""

    title: str | None = None
    author: str | None = None
    created: str | None = None


@contextmanager
def opened_ole(content: bytes, name: str) -> Iterator[OleFileIO]:
    """The compound file; UnreadableSource: it is none, or damaged: also where what reads it finds it so."""
    import olefile

    if not content.startswith(OLE):
        raise UnreadableSource(
            f"{name} does not begin as a file of Office 97 to 2003 or of Outlook. Check what it is, and name it so."
        )

    class Bounded(olefile.OleFileIO):  # type: ignore[misc]
        """Of a damaged file the chain of a stream may be a ring, which olefile follows as long as the stream says."""

        left = OVERLAPS * len(content)

        def _open(  # as olefile names what it gets
            self,
            start: int,
            size: int = olefile.olefile.UNKNOWN_SIZE,
            force_FAT: bool = False,  # noqa: N803
        ) -> Any:
            known = 0 if size == olefile.olefile.UNKNOWN_SIZE else size
            self.left -= known
            if known > len(content) or self.left < 0:
                raise OSError("a file within it is longer than it is itself")
            return super()._open(start, size, force_FAT)

    try:
        with Bounded(io.BytesIO(content)) as file:
            if file.exists("EncryptedPackage") or file.exists("EncryptedSummary"):
                raise locked(name)
            yield file
    except UnreadableSource:  # a ValueError, too
        raise
    except DAMAGE as error:
        raise UnreadableSource(
            f"{name} is damaged ({type(error).__name__}: {' '.join(str(error).split()):.80}). Get it anew, or open it "
            "with an office program and save it anew."
        ) from error


def locked(name: str) -> UnreadableSource:
    return UnreadableSource(f"{name} is locked by a password. Save it without one, and add that.")


def stream(file: OleFileIO, place: str) -> bytes:
    """The bytes of a file within, b"" where there is none."""
    return bytes(file.openstream(place).read()) if file.exists(place) else b""


def about(file: OleFileIO) -> About:
    """Title, author and date, of what the file says of them; a damaged list says nothing.

    Read by us ([MS-OLEPS]): in a damaged one olefile takes a number of four bytes for how many there are.
    """
    try:
        told = _properties(stream(file, "\x05SummaryInformation"))
    except DAMAGE:
        return About()
    page = int.from_bytes(told.get(PAGE, (0, b""))[1][:2], "little")
    ticks = int.from_bytes(told.get(CREATED, (0, b""))[1][:8], "little")
    return About(_said(told.get(TITLE), page), _said(told.get(AUTHOR), page), _moment(ticks))


def _properties(listed: bytes) -> dict[int, tuple[int, bytes]]:
    """The properties by number: their types, and the bytes from each on."""
    if len(listed) < 48:
        return {}
    begin = int.from_bytes(listed[44:48], "little")
    (count,) = struct.unpack_from("<I", listed, begin + 4)
    found = dict[int, tuple[int, bytes]]()
    for number in range(min(count, MOST_PROPERTIES)):
        which, place = struct.unpack_from("<II", listed, begin + 8 + 8 * number)
        (kind,) = struct.unpack_from("<I", listed, begin + place)
        found[which] = (kind, listed[begin + place + 4 : begin + place + 4 + LONGEST_PROPERTY])
    return found


def _said(value: tuple[int, bytes] | None, page: int) -> str | None:
    """A property that is a text, in one line."""
    if value is None or value[0] not in (BYTES, UNITS):
        return None
    length = int.from_bytes(value[1][:4], "little") * (2 if value[0] == UNITS else 1)
    given = value[1][4 : 4 + length]
    try:
        name = "utf-16-le" if value[0] == UNITS or page == 1200 else "utf-8" if page == 65001 else f"cp{page or 1252}"
        text = given.decode(name, "replace")
    except LookupError:  # of a code page
        text = given.decode("cp1252", "replace")
    return " ".join(storable(text.split("\0")[0]).split()) or None


def _moment(ticks: int) -> str | None:
    """A date as ISO 8601; `ticks` of 100 nanoseconds since 1601."""
    try:
        return (datetime(1601, 1, 1) + timedelta(seconds=ticks // 10**7)).isoformat() if ticks else None
    except OverflowError:
        return None
