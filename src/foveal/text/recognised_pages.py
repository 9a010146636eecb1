"""Pages recognised one by one, each kept: a broken-off scan goes on at its next page; added again, it is there.

    pages = recognised_pages([3, 4], picture_of, key=digest, cache=folder, on_page=told)      # {3: Page, 4: Page}

Kept      CACHE/KEY/engine, page by page, as JSON: what recognition gave, before it is put in order; it can be made anew
Key       of the file's bytes: another file of the same name is another one
Failures  a page that cannot be read is left out, and the others go on; where none can be read, the first one says why
"""

from __future__ import annotations

import hashlib
import json
import logging
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import astuple
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import FovealError, UnreadableSource
from foveal.evaluation.files import whole_file
from foveal.text.recognition import SIDE, Page, Written, engine_name, recognised

if TYPE_CHECKING:
    from foveal.text.recognition import Picture

VERSION = 3
"""Of what is kept: another one is recognised anew."""

logger = logging.getLogger("foveal.text.recognition")


def recognised_pages(
    numbers: Sequence[int],
    picture_of: Callable[[int], tuple[Picture, float]],
    *,
    key: str,
    cache: Path | None,
    languages: str = "",
    on_page: Callable[[int, int], None] = lambda _read, _of: None,
) -> dict[int, Page]:
    """The pages of these numbers, but for those that cannot be read; `picture_of` gives a page's picture and the points
    of its shorter side.

    `on_page` hears how many are done, and of how many; what it raises ends it. A page without a picture is empty.
    UnreadableSource: text recognition cannot be loaded, or no page can be read.
    """
    folder = cache / key / f"{engine_name(languages).replace(' ', '-')}-{VERSION}" if cache else None
    found, failed, before, keeps = dict[int, Page](), dict[int, UnreadableSource](), Page(), True
    for done, number in enumerate(numbers, 1):
        path = folder / f"{number}.json" if folder else None
        page: Page | UnreadableSource | None = _kept(path)
        if page is None:
            page = _read(number, picture_of, before, languages)
            if keeps and isinstance(page, Page):
                keeps = _keep(page, path)
        if isinstance(page, Page):
            found[number], before = page, page if page.lines else before
        else:
            failed[number] = page
        on_page(done, len(numbers))
    if failed and not found:
        raise next(iter(failed.values()))
    for number, error in failed.items():
        logger.warning("Page %d cannot be read or found. %s", number, error)
    return found


def _read(
    number: int, picture_of: Callable[[int], tuple[Picture, float]], before: Page, languages: str
) -> Page | UnreadableSource:
    """A page, or why it cannot be read; the one `before` it tells how it may lie."""
    try:
        picture, side = picture_of(number)
    except UnreadableSource as error:
        return error
    try:
        if not picture.size:
            return Page()
        turns, like = before.turns, before.language
        return recognised(picture, side=side or SIDE, turns=turns, languages=languages, like=like)
    except (FovealError, MemoryError):
        raise
    except Exception as error:  # of the models, or of what finds their lines
        logger.exception("Text recognition failed on page %d", number)
        fault = f"Text recognition failed on page {number}, by a fault of ours ({type(error).__name__}: {error})."
        return UnreadableSource(f"{fault} The log says where; please report it.")


def key_of(content: bytes) -> str:
    """The key of a file's bytes."""
    return hashlib.sha256(content).hexdigest()[:32]


def _kept(path: Path | None) -> Page | None:
    with suppress(OSError, ValueError, TypeError, KeyError):  # lost, or cut short with the machine's power
        if path:
            told = json.loads(path.read_text(encoding="utf-8"))
            lines = tuple(Written(str(line[0]), *map(float, line[1:])) for line in told["lines"])
            return Page(lines, float(told["sure"]), int(told["turns"]), str(told["language"]))
    return None


def _keep(page: Page, path: Path | None) -> bool:
    """Whether further pages can be kept: a full disk is tried, and told of, once."""
    if path is None:
        return True
    try:
        with whole_file(path) as partial:
            told = {
                "sure": page.sure,
                "turns": page.turns,
                "language": page.language,
                "lines": [astuple(line) for line in page.lines],
            }
            partial.write_text(json.dumps(told, ensure_ascii=False), encoding="utf-8")
    except OSError as error:  # it costs time only
        logger.warning("Recognised pages could not be kept; they are read anew the next time: %s", error)
        return False
    return True
