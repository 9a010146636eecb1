"""The part of a document that a command is to show: by characters, by page, or by what is printed on it."""

from __future__ import annotations

import re
from collections.abc import Sequence

import typer


def part_of(
    span: str | None, page: int | None, printed: str | None, pages: Sequence[int], length: int
) -> tuple[int, int]:
    """The characters of a text that are asked for, by default all; wrong usage where there is no such part."""
    if printed is not None:
        page = _printed(printed, page, pages)
    if span is not None and page is not None:
        raise typer.BadParameter("--span and --page, or --printed, each name a part; give one of them.")
    if span is not None:
        found = re.fullmatch(r"(\d+):(\d+)", span)
        if not found or not int(found[1]) <= int(found[2]) <= length:
            raise typer.BadParameter(f"--span got {span!r}; it needs START:END with both from 0 to {length}.")
        return int(found[1]), int(found[2])
    if page:
        if not pages:
            raise typer.BadParameter("--page is for a document with pages, which this is not; give --span START:END.")
        if page > len(pages):
            raise typer.BadParameter(f"--page got {page}; the document has {len(pages)} pages.")
        return pages[page - 1], pages[page] if page < len(pages) else length
    return 0, length


def _printed(printed: str, page: int | None, pages: Sequence[int]) -> int:
    """The page on which that is printed; wrong usage where there is none, or where one is named already."""
    from foveal.text.printed_pages import page_called

    if page is not None:
        raise typer.BadParameter("--page and --printed each name a page; give one of them.")
    found = page_called(pages, printed)
    if found is None:
        raise typer.BadParameter(f"--printed got {printed[:40]!r}, which is printed on none of the {len(pages)} pages.")
    return found
