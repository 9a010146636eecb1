"""Pictures of text (photographs of pages, scans, screenshots) to text, by recognition.

    found = read_picture(content, name="IMG_2041.jpg", recognition=settings)     # PictureText: text, pages, title

Formats   what Pillow reads of PNG, JPEG, TIFF (a page a frame, as fax machines and scanners write it), WebP, BMP, GIF,
          AVIF, JPEG 2000; HEIF with pi-heif
Long      screenshots of whole web pages are read strip by strip
Upright   as the camera held it says the picture itself (EXIF); what it does not say recognition finds
Refuses   pictures in which no text is found, damaged ones, and such as unpack to very many points
"""

from __future__ import annotations

import io
import logging
import math
import re
import struct
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from typing import TYPE_CHECKING, Any

from foveal.errors import UnreadableSource
from foveal.text.dates import pdf_date
from foveal.text.pdf_flow import flowing
from foveal.text.pdf_headings import marked
from foveal.text.pdf_lines import joined
from foveal.text.pdf_title import first_line, largest_line
from foveal.text.recognised_lines import in_lines
from foveal.text.recognised_pages import key_of, recognised_pages
from foveal.text.recognition import INSTALL, LONGEST, SIDE, Page, RecognitionSettings, known

if TYPE_CHECKING:
    from foveal.text.recognition import Picture

logger = logging.getLogger("foveal.text.pictures")

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF", "AVIF", "JPEG2000")
"""What Pillow reads; HEIF, as telephones write it, is read with pi-heif."""

_HEIF = re.compile(rb"....ftyp(?:hei[cmsx]|hev[cmsx]|mif1|msf1)", re.DOTALL)

MOST_POINTS = 150_000_000
"""Of a picture, unpacked: 600 MB with what shows through; A0 at 300 dots an inch has fewer."""

LONG, STRIP, NARROW = 3, 1.5, 300
"""Times its width from which on a picture is read strip by strip, as a screenshot of a long page would be illegible at
the size of a page; of a strip; and the width in points that it needs to hold lines."""

MOST_FRAMES = 5000

LONGEST_TITLE = 80
"""Characters of a first line that is a title."""

DAMAGE = (OSError, ValueError, SyntaxError, EOFError, KeyError, TypeError, IndexError, struct.error, OverflowError)
"""What Pillow raises of damaged pictures."""

TAKEN, TAKEN_AT = 36867, 306
"""Tags of EXIF: when a picture was taken, when the file was made."""


@dataclass(frozen=True)
class PictureText:
    """What a picture says; `taken`: when, by its own word; `unread`: pages that are damaged."""

    text: str
    pages: tuple[int, ...]
    title: str | None
    taken: datetime | None
    unread: int = 0


def read_picture(
    content: bytes,
    *,
    name: str,
    recognition: RecognitionSettings,
    on_page: Callable[[int, int], None] = lambda _read, _of: None,
) -> PictureText:
    """The text in a picture; UnreadableSource says why there is none."""
    if not recognition.active:
        install = f"With text recognition it can be read: {INSTALL}"
        off = "The setting ocr is off: set it to auto, and text recognition reads it."
        raise UnreadableSource(f"{name} is a picture. {off if recognition.ocr == 'off' else install}")
    with _opened(content, name) as opened:
        frames = _frames(opened, name)
        taken = _taken(opened)

        def picture_of(number: int) -> tuple[Picture, float]:
            return _frame(opened, number - 1, frames, name)

        found = recognised_pages(
            range(1, frames + 1),
            picture_of,
            key=key_of(content),
            cache=recognition.cache,
            languages=recognition.languages,
            on_page=on_page,
        )
    lines = in_lines([found.get(number, Page()).lines for number in range(1, frames + 1)])
    text, offsets = joined(marked(flowing(lines)))
    if not text.strip():
        raise UnreadableSource(
            f"{name} is a picture in which text recognition found nothing to read; it knows {known()}. Leave it out."
        )
    largest = largest_line([(line.text, line.size) for line in lines[0]])
    paged = frames > 1 and opened.format == "TIFF"
    return PictureText(text, offsets if paged else (), largest or _first(text), taken, frames - len(found))


def _first(text: str) -> str | None:
    """The first line, unless it may be one of a page's middle."""
    line = first_line(text)
    return line if line and len(line) <= LONGEST_TITLE and line[0].isupper() else None


@contextmanager
def _quietly() -> Iterator[None]:
    """Pillow warns of damaged tags, and of many points, for which we have a limit of our own."""
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", module="PIL")
        yield


@contextmanager
def _opened(content: bytes, name: str) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    formats = _formats(content, name)
    try:
        with _quietly():
            opened = Image.open(io.BytesIO(content), formats=formats)
    except Image.DecompressionBombError as error:
        raise UnreadableSource(f"{name} is a picture of too many points. Save it smaller.") from error
    except (UnidentifiedImageError, *DAMAGE) as error:
        raise UnreadableSource(
            f"{name} is no picture that can be read: it is damaged, or none of {', '.join(formats)}. Save it as PNG."
        ) from error
    with opened:
        yield opened


def _formats(content: bytes, name: str) -> tuple[str, ...]:
    """FORMATS, and what the file begins like, if that can be read."""
    if not _HEIF.match(content):
        return FORMATS
    try:
        from pi_heif import register_heif_opener
    except ImportError as error:
        raise UnreadableSource(
            f"{name} is a HEIC picture, which pi-heif reads. Install it: {INSTALL}; or save it as JPEG."
        ) from error
    register_heif_opener(thumbnails=False)
    return (*FORMATS, "HEIF")


def _frames(opened: Any, name: str) -> int:
    """The pages of a TIFF, up to where it is damaged; the strips into which a long screenshot is cut; else one."""
    if opened.format != "TIFF":
        width, height = opened.size
        long = height > max(LONGEST, LONG * width) and width >= NARROW and width * height <= MOST_POINTS
        return math.ceil(height / _step(opened)) if long else 1
    found = 1
    try:
        with _quietly():
            while found < MOST_FRAMES:
                opened.seek(found)
                found += 1
    except EOFError:
        pass
    except DAMAGE as error:
        logger.warning("%s is damaged behind page %d: what follows cannot be read or found. %s", name, found, error)
    return found


def _step(opened: Any) -> int:
    return int(STRIP * opened.width)


def _frame(opened: Any, number: int, frames: int, name: str) -> tuple[Picture, float]:
    """A frame as (height, width, 3) in BGR, upright, no larger than recognition needs; and the points of its side."""
    import numpy as np
    from PIL import Image, ImageOps

    strips = frames > 1 and opened.format != "TIFF"
    try:
        with _quietly():
            if opened.format == "TIFF":
                opened.seek(number)
            if opened.width * opened.height > MOST_POINTS:
                size = f"{opened.width:,} by {opened.height:,} points"
                raise UnreadableSource(f"{name} is a picture of {size}, which is too large. Save it smaller.")
            if not strips:
                opened.draft("RGB", (LONGEST, LONGEST))  # a large JPEG is unpacked to less
                ImageOps.exif_transpose(opened, in_place=True)
            drawn = _on_paper(_strip(opened, number) if strips else opened)
    except UnreadableSource:  # a ValueError, too
        raise
    except (*DAMAGE, Image.DecompressionBombError) as error:
        one_line = " ".join(str(error).split())
        raise UnreadableSource(f"{name} is a picture that is damaged or cut short: {one_line}. Get it anew.") from error
    side = SIDE * min(1.0, drawn.height / drawn.width) if strips else SIDE
    return np.ascontiguousarray(np.asarray(drawn)[:, :, ::-1]), side


def _on_paper(image: Any) -> Any:
    """As RGB, no larger than recognition needs; what shows through is paper."""
    import numpy as np
    from PIL import Image

    if image.mode.startswith("I"):  # sixteen bits a point: Pillow would cut, not scale, them
        image = Image.fromarray((np.asarray(image).clip(0, 65535) // 256).astype(np.uint8))
    if image.mode in ("1", "P", "PA"):  # numbers of colours have no mean
        image = image.convert("L" if image.mode == "1" else "RGBA")
    if max(image.size) > LONGEST:
        image = image.resize(_fitted(image.size), Image.Resampling.LANCZOS, reducing_gap=2.0)
    if "A" in image.mode or "transparency" in image.info:
        clear = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
    return image.convert("RGB")


def _fitted(size: tuple[int, int]) -> tuple[int, int]:
    """As large as recognition needs it."""
    scale = LONGEST / max(size)
    return max(1, round(size[0] * scale)), max(1, round(size[1] * scale))


def _strip(opened: Any, number: int) -> Any:
    """Of a long picture one strip, cut where nothing is drawn."""
    top, bottom = _cut(opened, number * _step(opened)), _cut(opened, (number + 1) * _step(opened))
    return opened.crop((0, top, opened.width, bottom))


def _cut(opened: Any, place: int) -> int:
    """The row near a place in which there is least; the picture's edges where it is there."""
    import numpy as np

    room: int = opened.width // 4
    if place < room or place > opened.height - room:
        return 0 if place < room else int(opened.height)
    rows = opened.crop((0, place - room, opened.width, place + room)).convert("L")
    drawn = np.asarray(rows, np.float32).std(axis=1)
    blank = np.flatnonzero(drawn <= drawn.min() + 1)
    return place - room + int(blank[len(blank) // 2])


def _taken(opened: Any) -> datetime | None:
    """When the picture was taken, as cameras write it: 2024:05:31 12:00:00, in a zone that is not known."""
    try:
        with _quietly():
            exif = opened.getexif()
            told = str(exif.get_ifd(0x8769).get(TAKEN) or exif.get(TAKEN_AT) or "")
    except DAMAGE:  # of the tags: the picture may be whole
        return None
    found = re.match(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)", told)
    return pdf_date(f"D:{''.join(found.groups())}") if found else None
