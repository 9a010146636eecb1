"""The text that a person names where one is to be read."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from foveal.cli.output import progress_bar, shortened
from foveal.errors import InputError, LibraryError, UnknownDocument
from foveal.settings import expanded

if TYPE_CHECKING:
    from foveal.reading.sources import Text as Readable
    from foveal.settings import Settings
    from foveal.text.sources import OnPart, Part

LONG_S, LONGEST_NAME = 1.0, 40
"""Seconds of loading after which it is shown how far it is, and characters of the source's name beside that."""


def opened_source(source: str, settings: Settings, encoding: str | None = None) -> Readable:
    """The text that a person names: a file, a page, standard input, else a document of the library."""
    from foveal.library import Library
    from foveal.reading import DocumentText
    from foveal.reading.opening import opened
    from foveal.text.arxiv import arxiv_address
    from foveal.text.sources import load_settings

    known = source == "-" or "://" in source or source.startswith("arxiv:") or _exists(source)
    if known or encoding:
        with loading_shown() as on_part:
            return opened(source, load_settings(settings), encoding=encoding, on_part=on_part)
    source = arxiv_address(f"arxiv:{source}") or source  # an id without its prefix
    try:
        return DocumentText(Library.open(settings=settings, create=False).get(source))
    except (LibraryError, UnknownDocument) as error:
        try:
            with loading_shown() as on_part:
                return opened(source, load_settings(settings), on_part=on_part)
        except InputError as missing:
            raise InputError(f"{missing} Nor is it a document of the library: {error}") from missing


@contextmanager
def loading_shown() -> Iterator[OnPart]:
    """Shows the pages or chapters of a long source while it is loaded; nothing of one that takes no time."""
    begun, bar = time.monotonic(), progress_bar()
    task = bar.add_task("Loading", total=None)
    shown = False

    def told(part: Part) -> None:
        nonlocal shown
        what = f"Loading {part.what} of {shortened(part.name, LONGEST_NAME)}"
        bar.update(task, completed=part.read, total=part.of, description=what)
        if not shown and time.monotonic() - begun >= LONG_S:
            shown = True
            bar.start()

    try:
        yield told
    finally:
        if shown:
            bar.stop()


def _exists(source: str) -> bool:
    """Whether `source` is a path of this machine; a text that was typed in its place may be too long for one."""
    try:
        return expanded(source).exists()
    except (OSError, RuntimeError):
        return False
