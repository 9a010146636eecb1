"""Pictures of text (photographs of pages, scans, screenshots) to text, by recognition.

    found = read_picture(content, name="IMG_2041.jpg", recognition=settings)     # PictureText: text, pages, title

Formats   what Pillow reads of PNG, JPEG, TIFF (a page a frame, as fax machines and scanners write it), WebP, BMP, GIF
Upright   as the camera held it says the picture itself (EXIF); what it does not say recognition finds
Refuses   pictures in which no text is found, damaged ones, and such as unpack to very many points
"""

from __future__ import annotations

import io
import re
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
from foveal.text.recognition import INSTALL, LONGEST, SIDE, RecognitionSettings

if TYPE_CHECKING:
    from foveal.text.recognition import Picture

FORMATS = ("PNG", "JPEG", "TIFF", "WEBP", "BMP", "GIF")

MOST_POINTS = 200_000_000
"""Of a picture, unpacked: 600 MB."""

MOST_FRAMES = 5000

LONGEST_TITLE = 80
"""Characters of a first line that is a title."""

TAKEN, TAKEN_AT = 36867, 306
"""Tags of EXIF: when a picture was taken, when the file was made."""


@dataclass(frozen=True)
class PictureText:
    """What a picture says; `taken`: when, by its own word."""

    text: str
    pages: tuple[int, ...]
    title: str | None
    taken: datetime | None


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
        frames = min(MOST_FRAMES, getattr(opened, "n_frames", 1)) if opened.format == "TIFF" else 1
        taken = _taken(opened)

        def picture_of(number: int) -> tuple[Picture, float]:
            return _frame(opened, number - 1, name)

        found = recognised_pages(
            range(1, frames + 1), picture_of, key=key_of(content), cache=recognition.cache, on_page=on_page
        )
    lines = in_lines([page.lines for page in found.values()])
    text, offsets = joined(marked(flowing(lines)))
    if not text.strip():
        raise UnreadableSource(f"{name} is a picture in which text recognition found nothing to read. Leave it out.")
    largest = largest_line([(line.text, line.size) for line in lines[0]])
    return PictureText(text, offsets if frames > 1 else (), largest or _first(text), taken)


def _first(text: str) -> str | None:
    """The first line, unless it may be one of a page's middle."""
    line = first_line(text)
    return line if line and len(line) <= LONGEST_TITLE and line[0].isupper() else None


@contextmanager
def _opened(content: bytes, name: str) -> Iterator[Any]:
    from PIL import Image, UnidentifiedImageError

    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", Image.DecompressionBombWarning)  # ours is the limit
            opened = Image.open(io.BytesIO(content), formats=FORMATS)
    except (UnidentifiedImageError, OSError, ValueError, Image.DecompressionBombError) as error:
        raise UnreadableSource(
            f"{name} is no picture that can be read: it is damaged, or none of {', '.join(FORMATS)}. Save it as PNG."
        ) from error
    with opened:
        yield opened


def _frame(opened: Any, number: int, name: str) -> tuple[Picture, float]:
    """A frame as (height, width, 3) in BGR, upright, no larger than recognition needs; and the points of its side."""
    import numpy as np
    from PIL import Image, ImageOps

    try:
        opened.seek(number)
        if opened.width * opened.height > MOST_POINTS:
            size = f"{opened.width:,} by {opened.height:,} points"
            raise UnreadableSource(f"{name} is a picture of {size}, which is too large. Save it smaller.")
        opened.draft("RGB", (LONGEST, LONGEST))  # a large JPEG is unpacked to less
        upright = ImageOps.exif_transpose(opened)
        if upright.mode.startswith("I"):  # sixteen bits a point: Pillow would cut, not scale, them
            upright = Image.fromarray((np.asarray(upright).clip(0, 65535) // 256).astype(np.uint8))
        clear = upright.convert("RGBA") if "A" in upright.mode or "transparency" in upright.info else None
        if clear is not None:  # what shows through is paper
            upright = Image.alpha_composite(Image.new("RGBA", clear.size, "white"), clear)
        upright = upright.convert("RGB")
        upright.thumbnail((LONGEST, LONGEST), Image.Resampling.LANCZOS)
    except (OSError, ValueError, SyntaxError, EOFError, Image.DecompressionBombError) as error:
        raise UnreadableSource(f"{name} is a picture that is damaged or cut short: {error}. Get it anew.") from error
    return np.ascontiguousarray(np.asarray(upright)[:, :, ::-1]), SIDE


def _taken(opened: Any) -> datetime | None:
    """When the picture was taken, as cameras write it: 2024:05:31 12:00:00, in a zone that is not known."""
    try:
        exif = opened.getexif()
        told = str(exif.get_ifd(0x8769).get(TAKEN) or exif.get(TAKEN_AT) or "")
    except Exception:  # damaged tags: the picture may be whole
        return None
    found = re.match(r"(\d{4}):(\d\d):(\d\d) (\d\d):(\d\d):(\d\d)", told)
    return pdf_date(f"D:{''.join(found.groups())}") if found else None
