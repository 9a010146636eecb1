"""EPUB books of a few pages and Word documents of a few paragraphs, made for tests."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping

CONTAINER = (
    '<?xml version="1.0"?><container xmlns="urn:oasis:names:tc:opendocument:xmlns:container" version="1.0"><rootfiles>'
    '<rootfile full-path="OEBPS/book.opf" media-type="application/oebps-package+xml"/></rootfiles></container>'
)


def epub(
    pages: Mapping[str, str],
    *,
    metadata: str = "<dc:title>Of eyes</dc:title><dc:creator>Ada</dc:creator><dc:date>2001-02-03</dc:date>",
    spine: list[str] | None = None,
    others: Mapping[str, bytes | str] | None = None,
) -> bytes:
    """A book of pages by name, each the body of one, in the order of `spine` (default: as given)."""
    names = list(pages)
    items = ""
    for n, name in enumerate(names):
        nav = ' properties="nav"' if name.startswith("nav") else ""
        place = f"text/{name.replace(' ', '%20')}"
        items += f'<item id="p{n}" href="{place}" media-type="application/xhtml+xml"{nav}/>'
    order = "".join(f'<itemref idref="p{names.index(name)}"/>' for name in spine or names)
    package = (
        '<package xmlns="http://www.idpf.org/2007/opf" xmlns:dc="http://purl.org/dc/elements/1.1/" version="3.0">'
        f"<metadata>{metadata}</metadata><manifest>{items}</manifest><spine>{order}</spine></package>"
    )
    head = (
        '<?xml version="1.0" encoding="utf-8"?><html xmlns="http://www.w3.org/1999/xhtml"><head><title>x</title></head>'
    )
    files: dict[str, bytes | str] = {
        "META-INF/container.xml": CONTAINER,
        "OEBPS/book.opf": package,
        **{f"OEBPS/text/{name}": f"{head}<body>{body}</body></html>" for name, body in pages.items()},
        **(others or {}),
    }
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        file.writestr("mimetype", "application/epub+zip", zipfile.ZIP_STORED)
        for name, content in files.items():
            file.writestr(name, content)
    return held.getvalue()


WORD = 'xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main"'
MORE = 'xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"'


def word(body: str, *, before: str = "", **others: str) -> bytes:
    """A Word document; `others` are the insides of styles, numbering, footnotes, endnotes, and of `about`."""
    files = {"word/document.xml": f"{before}<w:document {WORD} {MORE}><w:body>{body}</w:body></w:document>"}
    for name, inside in others.items():
        files[f"word/{name}.xml"] = f"<w:{name} {WORD}>{inside}</w:{name}>"
    if about := others.get("about"):
        files["docProps/core.xml"] = f'<c xmlns:dc="http://purl.org/dc/elements/1.1/">{about}</c>'
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as file:
        for name, content in files.items():
            file.writestr(name, content)
    return held.getvalue()


def paragraph(text: str, style: str = "", *, level: int | None = None, listed: tuple[int, int] | None = None) -> str:
    """A paragraph of Word's, perhaps of a list (its number, and the level in it)."""
    about = f'<w:pStyle w:val="{style}"/>' if style else ""
    about += f'<w:outlineLvl w:val="{level}"/>' if level is not None else ""
    if listed:
        about += f'<w:numPr><w:ilvl w:val="{listed[1]}"/><w:numId w:val="{listed[0]}"/></w:numPr>'
    inside = text if text.startswith("<") else f"<w:r><w:t>{text}</w:t></w:r>"
    return f"<w:p><w:pPr>{about}</w:pPr>{inside}</w:p>"
