"""Documents that are ZIP archives (EPUB, Office): their files by name, unpacked up to a limit, and the XML among them.

    with opened(content, name, max_bytes=max_bytes) as files:   # UnreadableSource: it is no archive, or damaged
        root = files.xml("word/document.xml")

XML is read without entities of its own and without anything from outside of the archive.
"""

from __future__ import annotations

import io
import logging
import struct
import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from foveal.errors import UnreadableSource
from foveal.text.files import too_large

_OLE = bytes.fromhex("d0cf11e0a1b11ae1")
"""What Office wraps documents in that have a password, and its old formats begin with."""

_PACKED = (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED)
"""How files are packed in such documents; others take memory as they like, and unpack with errors of their own."""

_DAMAGE = (
    *(zipfile.BadZipFile, zlib.error, struct.error),
    *(EOFError, NotImplementedError, OSError, ValueError, RuntimeError),
)
"""What zipfile raises of damaged bytes."""


logger = logging.getLogger("foveal.text.archives")


class ArchiveFiles:
    """The files of an archive, of which at most so many bytes are unpacked."""

    def __init__(self, archive: zipfile.ZipFile, name: str, max_bytes: int) -> None:
        self.archive, self.name, self.max_bytes, self.left = archive, name, max_bytes, max_bytes
        self.names = set(archive.namelist())

    def read(self, place: str) -> bytes:
        """The bytes of a file that is there. UnreadableSource: damaged, or more than what is left of the limit."""
        if self.archive.getinfo(place).compress_type not in _PACKED:
            raise UnreadableSource(f"{self.name} is damaged: {place} is packed as none is. Get it anew.")
        with _damage_told(self.name), self.archive.open(place) as file:
            data = file.read(max(0, self.left) + 1)
        self.left -= len(data)
        if self.left < 0:
            raise too_large(self.name, None, self.max_bytes)
        return data

    def xml(self, place: str) -> Any:
        """The root of an XML file. UnreadableSource: it is not there, or has none."""
        from lxml import etree

        if place not in self.names:
            said = place or "its parts"
            raise UnreadableSource(f"{self.name} is not what its name says: it lacks {said}. Get it anew.")
        parser = etree.XMLParser(resolve_entities=False, no_network=True, recover=True, huge_tree=True)
        content = self.read(place)
        try:
            root = etree.fromstring(content, parser=parser)
        except etree.XMLSyntaxError:  # nothing of it can be recovered
            root = None
        if root is None:
            raise UnreadableSource(f"{self.name} is damaged: {place} is no XML. Get it anew.")
        tell_damage(self.name, place, parser)
        return root


def tell_damage(name: str, place: str, parser: Any) -> None:
    """Say what a parser of XML met and read past; something may be missing then."""
    wrong = next((one for one in parser.error_log if one.level_name == "FATAL"), None)
    if wrong is not None:
        said = f"line {wrong.line}: {wrong.message}"
        logger.warning("%s is damaged in %s (%s): what follows there may be lacking.", name, place, said)


@contextmanager
def opened(content: bytes, name: str, *, max_bytes: int) -> Iterator[ArchiveFiles]:
    """The files of the archive in `content`."""
    if content.startswith(_OLE):
        raise UnreadableSource(
            f"{name} is locked with a password, or of an old Office format. Save it without one, as .docx, .pptx or "
            ".xlsx."
        )
    with _damage_told(name):
        archive = zipfile.ZipFile(io.BytesIO(content))
    with archive:
        yield ArchiveFiles(archive, name, max_bytes)


@contextmanager
def _damage_told(name: str) -> Iterator[None]:
    """What zipfile and zlib raise of bytes that are no archive; errors of those who read on are their own."""
    try:
        yield
    except _DAMAGE as error:
        raise UnreadableSource(f"{name} cannot be read: it is damaged ({error}). Get it anew.") from error
