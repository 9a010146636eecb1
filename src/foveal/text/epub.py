"""EPUB books to Markdown: the chapters in the order of reading, all of each, with their headings.

A book is a ZIP archive of pages in XHTML. Its container names a package, which lists the files (manifest) and the order
in which they are read (spine). Of the archive only these are unpacked, up to a limit. Tables of contents are left out.

Refuses   what is no such archive, or damaged; books whose chapters are locked for one reader (DRM); of chapters that
          the package lists and the archive lacks the log says how many
"""

from __future__ import annotations

import logging
import posixpath
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from datetime import datetime
from typing import Any
from urllib.parse import unquote, urlsplit

from foveal.errors import UnreadableSource
from foveal.text.archives import ArchiveFiles, opened
from foveal.text.dates import aware
from foveal.text.html import read_chapter
from foveal.text.plain import storable

logger = logging.getLogger("foveal.text.epub")

CONTAINER, LOCKS = "META-INF/container.xml", "META-INF/encryption.xml"
_PAGES = ("application/xhtml+xml", "text/html")


@dataclass(frozen=True)
class Book:
    """What a book says, and what it says of itself."""

    text: str
    title: str | None
    author: str | None
    published_at: datetime | None


def read_epub(
    content: bytes, *, name: str, max_bytes: int, on_chapter: Callable[[int, int], None] = lambda _read, _of: None
) -> Book:
    """The book in `content`; UnreadableSource says why there is none.

    `on_chapter` hears after each chapter how many have been read, and of how many; what it raises ends the reading.
    """
    missing: list[str] = []
    with opened(content, name, max_bytes=max_bytes) as files:
        place = _package_place(files)
        package = files.xml(place)
        chapters = list(_chapters(files, package, posixpath.dirname(place), missing))
    if missing:
        logger.warning(
            "%s lacks %d of the chapters that it lists (the first is %s). Get it anew.", name, len(missing), missing[0]
        )
    texts = []
    for number, page in enumerate(chapters, start=1):
        if text := read_chapter(page, name=name):
            texts.append(text)
        on_chapter(number, len(chapters))
    if not texts:
        raise UnreadableSource(f"{name} is a book without text: its pages may be pictures, which are not read.")
    return Book("\n\n".join(texts), _said(package, "title"), _said(package, "creator"), _published_at(package))


def _package_place(files: ArchiveFiles) -> str:
    return next((str(one) for one in files.xml(CONTAINER).xpath("//*[local-name()='rootfile']/@full-path")), "")


def _chapters(files: ArchiveFiles, package: Any, folder: str, missing: list[str]) -> Iterator[bytes]:
    """The pages in the order of reading, each once; the names of those that are not there go to `missing`."""
    called = {name.casefold(): name for name in sorted(files.names)}  # some books write A.xhtml for a.xhtml
    listed = {one.get("id"): one for one in package.xpath("//*[local-name()='manifest']/*[local-name()='item']")}
    locked = _locked(files)
    seen: set[str] = set()
    for reference in package.xpath("//*[local-name()='spine']/*[local-name()='itemref']/@idref"):
        item = listed.get(reference)
        if item is None or item.get("media-type") not in _PAGES or "nav" in (item.get("properties") or "").split():
            continue
        place = posixpath.normpath(posixpath.join(folder, _path(item.get("href") or "")))
        place = place if place in files.names else called.get(place.casefold(), place)
        if place in locked:
            raise UnreadableSource(f"{files.name} is locked for one reader (DRM), so its text cannot be read.")
        if place not in files.names:
            missing.append(place)
        elif place not in seen:
            seen.add(place)
            yield files.read(place)


def _path(href: str) -> str:
    try:
        return unquote(urlsplit(href).path)
    except ValueError:  # of "//[", which no file is called
        return ""


def _locked(files: ArchiveFiles) -> set[str]:
    """Files that are encrypted; of books that can be read, fonts may be."""
    if LOCKS not in files.names:
        return set()
    return {unquote(str(one)) for one in files.xml(LOCKS).xpath("//*[local-name()='CipherReference']/@URI")}


def _published_at(package: Any) -> datetime | None:
    """The date of publication; of several dates others say by an event that they are of something else."""
    found = []
    for one in package.xpath("//*[local-name()='metadata']/*[local-name()='date']"):
        event = " ".join(one.xpath("@*[local-name()='event']")).lower()
        if date := aware(" ".join("".join(one.itertext()).split())):
            found.append((0 if "publication" in event else 2 if event else 1, date))
    return min(found, key=lambda pair: pair[0], default=(0, None))[1]


def _said(package: Any, what: str) -> str | None:
    """What a package says of its book, several with "; " between."""
    found = package.xpath(f"//*[local-name()='metadata']/*[local-name()='{what}']")
    words = dict.fromkeys(" ".join("".join(one.itertext()).split()) for one in found)
    if what != "creator":
        return next((storable(one) for one in words if one), None)
    return storable("; ".join(filter(None, words))) or None
