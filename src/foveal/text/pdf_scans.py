"""The scanned pages of a PDF: drawn by pdfium, recognised, and put among the other pages.

    pages, read, failed = with_scans(lines, [3, 4], content, picture_of, recognition=settings, on_page=told)

A page is drawn when it is its turn, so that nothing else waits for pdfium while pages are recognised; its letters get
the size that those of the other pages have.
"""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Sequence
from typing import TYPE_CHECKING, Any

from foveal.errors import UnreadableSource
from foveal.text.pdf_headings import Body, Line
from foveal.text.recognised_lines import in_lines
from foveal.text.recognised_pages import key_of, recognised_pages
from foveal.text.recognition import LONGEST, RecognitionSettings

if TYPE_CHECKING:
    from foveal.text.recognition import Picture

logger = logging.getLogger("foveal.text.pdf")

DENSEST = 300 / 72
"""Pixels a point: of a small page no more are drawn."""


def with_scans(
    pages: Sequence[Sequence[Line]],
    scanned: Iterable[int],
    content: bytes,
    picture_of: Callable[[int], tuple[Picture, float]],
    *,
    recognition: RecognitionSettings,
    on_page: Callable[[int, int], None],
) -> tuple[list[list[Line]], list[int], list[int]]:
    """The lines of all pages, and the numbers (from 1) of the `scanned` ones of which something was recognised, and of
    those with which it failed: the log says why."""
    numbers = sorted(scanned)
    try:
        found = recognised_pages(
            numbers,
            picture_of,
            key=key_of(content),
            cache=recognition.cache,
            languages=recognition.languages,
            on_page=on_page,
        )
    except UnreadableSource as error:
        if not any(line.text.strip() for page in pages for line in page):
            raise
        logger.warning("Scanned pages are left out. %s", error)  # the others hold text
        return [list(page) for page in pages], [], numbers
    failed, numbers = [number for number in numbers if number not in found], [*found]
    others = [page for number, page in enumerate(pages, 1) if number not in found]
    body = Body.of(others).size if any(line.size for page in others for line in page) else 0.0
    lines = dict(zip(numbers, in_lines([found[number].lines for number in numbers], body=body), strict=True))
    read = [number for number in numbers if lines[number]]
    return [list(lines[n] if n in read else page) for n, page in enumerate(pages, 1)], read, failed


def drawn(page: Any) -> tuple[Picture, float]:
    """A page as pdfium draws it, (height, width, 3) in BGR, and the points of its shorter side."""
    width, height = page.get_size()
    scale = min(DENSEST, LONGEST / max(1.0, width, height))
    bitmap = page.render(scale=scale, may_draw_forms=True)
    return bitmap.to_numpy()[:, :, :3].copy(), min(width, height)
