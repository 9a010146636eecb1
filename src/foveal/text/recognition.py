"""Text in pictures of pages: lines with their places, by RapidOCR (PP-OCR's models, run by ONNX Runtime).

    page = recognised(picture)      # (height, width, 3) uint8, BGR -> Page: lines in points, the top at y = 0

Turned    a page that lies on its side or stands on its head is read as its letters read best; one that is a little
          askew is set upright, so that lines of one row stand at one height
Left out  lines of which the models are less sure than one half; what is written by hand is mostly lost
Letters   Latin with its accents, Chinese and Japanese; a page of which hardly a letter is known counts as not read
Needs     `pip install 'foveal[ocr]'`: the models come in the package, nothing is fetched; one page is read at a time,
          by all cores
"""

from __future__ import annotations

import hashlib
import logging
import math
import os
import threading
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import lru_cache
from importlib.util import find_spec
from itertools import count
from pathlib import Path
from statistics import median
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError, UnreadableSource
from foveal.text.tesseract import Part, by_tesseract, known_languages, other_languages

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

NEEDED = ("rapidocr", "onnxruntime")

INSTALL = "pip install 'foveal[ocr]'"
"""How text recognition comes to be there."""

KNOWN = "Latin, Chinese and Japanese letters"
"""Those of the models."""

LONGEST = 2000
"""Pixels of a picture's longer side: an A4 page at 171 dots an inch. More cost time and find no more words."""

SIDE = 595.0
"""Points of a page's shorter side, where nothing says how large it is: that of A4."""

SURE = 0.85
"""Mean certainty of a page's letters below which it is tried turned, too."""

PLAIN, LEGIBLE = 0.9, 0.8
"""Mean certainty of a page's letters above which three words of four are right; below which hardly half of them are, or
none: it is too faint, or in letters that the models do not know (faded Latin: .80 with 50 % of the words, .70 with
30 %; Hebrew, Thai, Armenian: .58 to .80; Greek: .78 to .86)."""

SHORTEST = 3
"""Letters of a line whose shape tells how the page lies."""

LEVEL = 5.0
"""A line so many times as wide as high tells how far the page is askew."""

NARROWEST = 3
"""Times its shorter side a picture is long, at most: paper is put beside a narrower one, as the models enlarge every
picture until its shorter side has some 700 pixels, and a strip of 30 by 2000 would take 13 GB."""

logger = logging.getLogger("foveal.text.recognition")

FEW = 10
"""Signs of a page: with fewer, more may stand on it in letters that the models do not know."""

BLANK = 0.001
"""Of a page's dots, those that are dark: with fewer, nothing is written on it."""

SPARSE = 0.3
"""Letters of a line for each of its heights in its length: of Latin it has some two, of Chinese one."""

MUCH = 0.004
"""Of its dots, those that are dark beside what was read, from which on lines may be among them: a line has .005."""

_POINTS = frozenset(".,:;'`\"·•…、。，．：；・‘’“”")

RENEWED = 100
"""Pages after which the models are loaded anew, in a second or two: the memory that ONNX Runtime keeps for the next
page grows with each new shape of lines, by some megabytes a page."""

_ONE = threading.Lock()
_PAGES = count(1)


@dataclass(frozen=True, slots=True)
class Written:
    """A line, or a part of one before a wide gap, and where it stands: in points, from the left and from the top.

    `size` of its letters, and the width of their `stroke`, in points; 0 where they cannot be told.
    """

    text: str
    left: float
    top: float
    right: float
    bottom: float
    size: float = 0.0
    stroke: float = 0.0


@dataclass(frozen=True, slots=True)
class Page:
    """What was recognised on a page; `sure`: the mean certainty of its letters, from 0 to 1; `turns`: quarters by which
    it was turned to the left to be read; `language`: in which Tesseract read it, else ""."""

    lines: tuple[Written, ...] = ()
    sure: float = 0.0
    turns: int = 0
    language: str = ""


@dataclass(frozen=True, slots=True)
class _Box:
    """A line as the models give it: its corners from the upper left one, clockwise, in pixels."""

    text: str
    sure: float
    corners: tuple[tuple[float, float], ...]

    @property
    def width(self) -> float:
        return math.dist(self.corners[0], self.corners[1])

    @property
    def height(self) -> float:
        return math.dist(self.corners[0], self.corners[3])


PICTURES = (
    ".png",
    ".jpg",
    ".jpeg",
    ".jpe",
    ".tif",
    ".tiff",
    ".webp",
    ".bmp",
    ".gif",
    ".avif",
    ".heic",
    ".heif",
    ".jp2",
    ".j2k",
    ".jpx",
)
"""How the names of pictures end that are read (see `pictures.py`)."""

OCR = ("auto", "all", "off")
"""What is recognised: scanned pages, and pictures that are named themselves, where recognition is installed; pictures
in folders, too; nothing."""


@dataclass(frozen=True, kw_only=True)
class RecognitionSettings:
    """How text in pictures is read."""

    ocr: str = "auto"  # of OCR
    languages: str = ""  # of Tesseract, in which it reads all pages; "": it reads those that the models cannot
    cache: Path | None = None  # where recognised pages are kept

    def __post_init__(self) -> None:
        if self.ocr not in OCR:
            raise InputError(f"The setting ocr got {self.ocr!r}; it needs one of {', '.join(OCR)}.")

    @property
    def active(self) -> bool:
        """Whether scans are read."""
        return self.ocr != "off" and available()


def available() -> bool:
    """Whether text recognition is installed."""
    return all(find_spec(name) is not None for name in NEEDED)


def engine_name(languages: str = "") -> str:
    """What recognises, with its version, and in which languages: what was recognised by another is recognised anew."""
    from importlib.metadata import version

    helped = [languages] if languages else other_languages()
    name = hashlib.sha256(" ".join(helped).encode()).hexdigest()[:8] if helped else ""
    return f"rapidocr {version('rapidocr')}" + (f" tesseract {name}" if helped else "")


def known() -> str:
    """Which letters are read."""
    if others := other_languages():
        return f"{KNOWN}, and by Tesseract those of {', '.join(others)}"
    return f"{KNOWN}, and others where Tesseract is installed with their language"


def require() -> None:
    """UnreadableSource: text recognition is not installed."""
    if not available():
        raise UnreadableSource(f"Text recognition is not installed. Install it: {INSTALL}")


def recognised(picture: Picture, *, side: float = SIDE, turns: int = 0, languages: str = "", like: str = "") -> Page:
    """The lines of a picture (height, width, 3) of a page whose shorter side has `side` points.

    `turns` are tried first: pages of one scan mostly lie alike, and each try takes as long as reading the page.
    `languages`: those of Tesseract in which it reads the page; the models read what it cannot. By default the models
    read, and Tesseract what they cannot, first in the language `like`: that of the page before.
    UnreadableSource: text recognition is not installed, or cannot be loaded. InputError: a language that Tesseract has
    not.
    """
    require()
    scale = side / max(1, min(picture.shape[:2]))
    if languages and (page := _by_languages(picture, [known_languages(languages)], _turns_from(turns), scale, like)):
        return page
    with _ONE:
        if next(_PAGES) % RENEWED == 0:
            _engine.cache_clear()
        upright, boxes, turned = _upright(picture, turns)
    strange = _is_strange(boxes)
    few = len(_said(boxes)) < FEW and not _is_blank(upright, boxes)
    if (strange or few or _sure(boxes) < PLAIN) and not languages:
        ways: tuple[int, ...] = (turned, (turned + 2) % 4) if strange else (turned,)
        if not boxes:
            ways = () if _is_blank(picture) else _turns_from(turned)
        page = _by_languages(picture, other_languages(), ways, scale, like)
        if page and (strange or page.sure > _sure(boxes) or not boxes):
            return page
    if strange:
        return Page(turns=turned)
    read = [box for box in boxes if _is_read(box)]
    more = [] if languages else _others_beside(upright, read, scale, like)
    page = _page([*read, *more] if more else boxes, upright, turned, scale)
    return replace(page, sure=round(_sure(boxes), 3))


def _others_beside(upright: Picture, boxes: Sequence[_Box], scale: float, like: str) -> list[_Box]:
    """Lines in other letters on a page of which the models read some: where much is dark beside what they read."""
    if not other_languages() or _is_blank(upright, boxes, most=MUCH):
        return []
    try:
        found = by_tesseract(_without(upright, boxes), other_languages(), dots=72 / scale, like=like)
    except TimeoutError as error:
        logger.warning("%s The page is left to the models.", error)
        return []
    return [_boxed(one) for one in found.parts] if found else []


def _is_read(box: _Box) -> bool:
    """Whether a line has letters enough for its length: of a line of Russian the models read two commas."""
    letters = sum(map(str.isalnum, box.text))
    return box.sure >= LEGIBLE and letters * box.height >= SPARSE * box.width


def _without(picture: Picture, boxes: Sequence[_Box]) -> Picture:
    """A picture with paper in the place of these lines."""
    import numpy as np

    bare = picture.copy()
    paper = np.median(picture.reshape(-1, 3), axis=0).astype(np.uint8)
    for top, bottom, left, right in map(_extent, boxes):
        bare[top:bottom, left:right] = paper
    return bare


def _page(boxes: Sequence[_Box], upright: Picture, turns: int, scale: float, language: str = "") -> Page:
    askew = _askew(boxes)
    return Page(tuple(_placed(box, upright, askew, scale) for box in boxes), round(_sure(boxes), 3), turns, language)


def _by_languages(
    picture: Picture, languages: Sequence[str], turns: Sequence[int], scale: float, like: str
) -> Page | None:
    """What Tesseract reads of a page, turned as it can."""
    import numpy as np

    for turn in turns if languages else ():
        upright = np.ascontiguousarray(np.rot90(picture, turn))
        try:
            found = by_tesseract(upright, languages, dots=72 / scale, like=like)
        except TimeoutError as error:
            logger.warning("%s The page is left to the models.", error)
            return None
        if found:
            return _page([_boxed(one) for one in found.parts], upright, turn, scale, found.language)
    return None


def _boxed(part: Part) -> _Box:
    left, top, right, bottom = part.left, part.top, part.right, part.bottom
    return _Box(part.text, part.sure, ((left, top), (right, top), (right, bottom), (left, bottom)))


def _turns_from(turns: int) -> tuple[int, ...]:
    """All quarters, `turns` first."""
    return tuple((turns + more) % 4 for more in (0, 2, 1, 3))


def _upright(picture: Picture, turns: int) -> tuple[Picture, list[_Box], int]:
    """The picture turned as most of it can be read, its lines, and the quarters by which it was turned."""
    tried = [_turned(picture, turns)]
    _, boxes, _ = tried[0]
    if not boxes or not _doubtful(boxes):  # where nothing is found, turning finds nothing either
        return tried[0]
    for more in (2, 1, 3) if 2 * _lying(boxes) >= 1 else (1, 3, 2):
        tried.append(_turned(picture, (turns + more) % 4))
        if not _doubtful(tried[-1][1]):
            return tried[-1]
    return max(tried, key=lambda one: _legible(one[1]))


def _turned(picture: Picture, turns: int) -> tuple[Picture, list[_Box], int]:
    import numpy as np

    turned = np.ascontiguousarray(np.rot90(picture, turns))
    return turned, _boxes(turned), turns


def _is_strange(boxes: Sequence[_Box]) -> bool:
    """Whether a page may be in letters that the models do not know: nothing was found, or nothing legible, or hardly
    more than full stops."""
    said = _said(boxes)
    points = sum(one in _POINTS for one in said)
    return 2 * points >= len(said) or _sure(boxes) < LEGIBLE


def _is_blank(picture: Picture, boxes: Sequence[_Box] = (), *, most: float = BLANK) -> bool:
    """Whether there is hardly a dark dot beside these lines."""
    import numpy as np

    grey = picture.min(axis=2)
    dark = grey < 0.75 * np.median(grey)
    for top, bottom, left, right in map(_extent, boxes):
        dark[top:bottom, left:right] = False
    return float(np.mean(dark)) < most


def _extent(box: _Box) -> tuple[int, int, int, int]:
    """Rows and columns of a line: the first, and the one behind the last."""
    across, down = zip(*box.corners, strict=True)
    top, left = (max(0, math.floor(min(one)) - 1) for one in (down, across))
    return top, math.ceil(max(down)) + 2, left, math.ceil(max(across)) + 2


def _said(boxes: Sequence[_Box]) -> str:
    return "".join(box.text for box in boxes).replace(" ", "")


def _doubtful(boxes: Sequence[_Box]) -> bool:
    return 2 * _lying(boxes) < 1 or _sure(boxes) < SURE


def _legible(boxes: Sequence[_Box]) -> float:
    return _lying(boxes) * _sure(boxes)


def _lying(boxes: Sequence[_Box]) -> float:
    """The share of letters that stand in lines from side to side."""
    told = [box for box in boxes if len(box.text) >= SHORTEST] or boxes
    lying = sum(len(box.text) for box in told if box.width >= box.height)
    return lying / max(1, sum(len(box.text) for box in told))


def _sure(boxes: Sequence[_Box]) -> float:
    return sum(len(box.text) * box.sure for box in boxes) / max(1, sum(len(box.text) for box in boxes))


def _askew(boxes: Sequence[_Box]) -> float:
    """The angle by which the lines fall to the right, in radians."""
    long = [box for box in boxes if box.width > LEVEL * box.height] or boxes
    return median(math.atan2(b[1] - a[1], b[0] - a[0]) for a, b in (box.corners[:2] for box in long)) if long else 0.0


def _placed(box: _Box, picture: Picture, askew: float, scale: float) -> Written:
    """Where a line stands on the page set upright, and how it is drawn, in points."""
    from foveal.text.ink import em_of, ink_of

    cos, sin = math.cos(askew), math.sin(askew)
    across = [scale * (x * cos + y * sin) for x, y in box.corners]
    down = [scale * (y * cos - x * sin) for x, y in box.corners]
    left, top, right, bottom = (round(one, 1) for one in (min(across), min(down), max(across), max(down)))
    ink = ink_of(_cut(picture, box))
    size, stroke = scale * ink.band / em_of(box.text), scale * ink.stroke
    return Written(box.text, left, top, right, bottom, round(size, 2), round(stroke, 3))


def _cut(picture: Picture, box: _Box) -> Any:
    """A line alone, set upright, (height, width) in grey."""
    import cv2
    import numpy as np

    width, height = max(1, round(box.width)), max(1, round(box.height))
    corners = np.array([(0, 0), (width, 0), (width, height), (0, height)], np.float32)
    to = cv2.getPerspectiveTransform(np.array(box.corners, np.float32), corners)
    cut = cv2.warpPerspective(picture, to, (width, height), flags=cv2.INTER_CUBIC, borderMode=cv2.BORDER_REPLICATE)
    return cv2.cvtColor(cut, cv2.COLOR_BGR2GRAY)


def _boxes(picture: Picture) -> list[_Box]:
    found = _engine()(_widened(picture))
    if found.txts is None or found.boxes is None:
        return []
    rows = zip(found.txts, found.scores, found.boxes.tolist(), strict=True)
    return [_Box(" ".join(text.split()), float(score), tuple(map(tuple, corners))) for text, score, corners in rows]


def _widened(picture: Picture) -> Picture:
    """With paper on the right, or below, until it is not too narrow; lines stay where they are."""
    import numpy as np

    height, width = picture.shape[:2]
    least = math.ceil(max(height, width) / NARROWEST)
    more = (0, max(0, least - height)), (0, max(0, least - width)), (0, 0)
    return np.pad(picture, more, constant_values=255) if least > min(height, width) else picture


def _cores() -> int:
    """Those that this process may use; systems other than Linux do not say it."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@lru_cache(maxsize=1)
def _engine() -> Any:
    """The models, loaded once. They log to their own handler, which writes colours on standard error: errors only."""
    try:
        from rapidocr import RapidOCR

        return RapidOCR(
            params={
                "Global.log_level": "error",
                "Global.use_cls": False,  # turned lines are found by turning the page
                "Global.max_side_len": LONGEST,
                "EngineConfig.onnxruntime.enable_cpu_mem_arena": True,  # a fifth faster, for 0.8 GB
                "EngineConfig.onnxruntime.intra_op_num_threads": _cores(),
            }
        )
    except (ImportError, OSError) as error:
        logger.warning("Text recognition cannot be loaded.", exc_info=error)
        raise UnreadableSource(f"Text recognition cannot be loaded ({error}). Install it anew: {INSTALL}") from error
