"""The text that a person names where one is to be read."""

from __future__ import annotations

from typing import TYPE_CHECKING

from foveal.errors import InputError, LibraryError, UnknownDocument
from foveal.settings import expanded

if TYPE_CHECKING:
    from foveal.reading.sources import Text as Readable
    from foveal.settings import Settings


def opened_source(source: str, settings: Settings, encoding: str | None = None) -> Readable:
    """The text that a person names: a file, a page, standard input, else a document of the library."""
    from foveal.library import Library
    from foveal.reading import DocumentText
    from foveal.reading.opening import opened
    from foveal.text.arxiv import arxiv_address
    from foveal.text.sources import load_settings

    known = source == "-" or "://" in source or source.startswith("arxiv:") or _exists(source)
    if known or encoding:
        return opened(source, load_settings(settings), encoding=encoding)
    source = arxiv_address(f"arxiv:{source}") or source  # an id without its prefix
    try:
        return DocumentText(Library.open(settings=settings, create=False).get(source))
    except (LibraryError, UnknownDocument) as error:
        try:
            return opened(source, load_settings(settings))
        except InputError as missing:
            raise InputError(f"{missing} Nor is it a document of the library: {error}") from missing


def _exists(source: str) -> bool:
    """Whether `source` is a path of this machine; a text that was typed in its place may be too long for one."""
    try:
        return expanded(source).exists()
    except (OSError, RuntimeError):
        return False
