"""Pages in letters that our models do not know, by Tesseract, where it is installed with a language of such letters.

    tried = other_languages()                         # ("ell", "rus"): of what `tesseract --list-langs` tells
    found = by_tesseract(picture, tried, dots=171)    # Reading: how sure, and the lines; None: none of them fits

Language  a page is read in each until one is CERTAIN, else the surest counts: in a language's own letters Tesseract is
          sure of nine words of ten, in others of less than LEAST
Grain     on which it finds no line: where none fits, the page is tried again through a median of 3 by 3
Threads   one: on pages of this size Tesseract's own threads wait for each other

R. Smith, "An Overview of the Tesseract OCR Engine", ICDAR 2007. Foveal neither ships nor fetches it.
"""

from __future__ import annotations

import csv
import logging
import os
import re
import shutil
import subprocess
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import groupby
from typing import TYPE_CHECKING

from foveal.errors import InputError

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

    Picture = NDArray[np.uint8]

CERTAIN, LEAST = 0.93, 0.8
"""Mean certainty of a page's letters with which no other language is tried; below the other, it was none of them."""

FEWEST = 5
"""Letters of a page: fewer are specks."""

WIDE = 2.0
"""Times the height of a line is a gap at which it is parted, as cells of a table are."""

BLANK = 0.25
"""Times the height is a gap that is a blank, where single letters are taken for words."""

LONGEST_S = 120
"""Seconds for a page."""

PAGE = "4"
"""How pages are taken apart: into lines over their whole width, which gaps part."""

_LANGUAGES = (
    "amh ara asm aze_cyrl bel ben bod bul chr div dzo ell fas grc guj heb hin hye iku kan kat kat_old kaz khm kir "
    "kor lao mal mar mkd mon mya nep ori pan pus rus san sin snd srp syr tam tat tel tgk tha tir uig ukr urd "
    "uzb_cyrl yid"
)
_SCRIPTS = (
    "Arabic Armenian Bengali Cyrillic Devanagari Ethiopic Georgian Greek Gujarati Gurmukhi Hangul Hebrew Kannada "
    "Khmer Lao Malayalam Myanmar Oriya Sinhala Syriac Tamil Telugu Thaana Thai Tibetan"
)
_OTHER = frozenset((*_LANGUAGES.split(), *(f"script/{name}" for name in _SCRIPTS.split())))
_GLUED = re.compile(r"[\u0e00-\u0eff\u0f00-\u0fff\u1000-\u109f\u1780-\u17ff\uac00-\ud7a3]")
"""Letters of Thai, Lao, Tibetan, Burmese, Khmer and Korean, which Tesseract takes for words."""
_NAMES = re.compile(r"\w+(?:/\w+)?(?:\+\w+(?:/\w+)?)*")

logger = logging.getLogger("foveal.text.recognition")


@dataclass(frozen=True, slots=True)
class Part:
    """A line, or a part of one before a wide gap, and its box in pixels, from the upper left corner."""

    text: str
    sure: float
    left: float
    top: float
    right: float
    bottom: float


@dataclass(frozen=True, slots=True)
class Reading:
    """What Tesseract read of a page in `language`, and its mean certainty of the letters, from 0 to 1."""

    language: str
    sure: float
    parts: tuple[Part, ...]


@lru_cache(maxsize=1)
def installed() -> frozenset[str]:
    """The languages that Tesseract has on this machine; none: it is not there."""
    if not shutil.which("tesseract"):
        return frozenset()
    try:
        told = _run(["--list-langs"], b"")
    except TimeoutError as error:
        logger.warning("%s It is not used.", error)
        return frozenset()
    return frozenset(line.strip() for line in told.splitlines()[1:])


def other_languages() -> tuple[str, ...]:
    """Those of letters other than Latin, Chinese and Japanese."""
    return tuple(sorted(_OTHER & installed()))


def known_languages(languages: str) -> str:
    """The name of languages, as in "rus" or "vie+eng", all of them installed; InputError says which one is not."""
    if not _NAMES.fullmatch(languages):
        raise InputError(
            f"The setting ocr_languages got {languages!r:.60}; it needs names of Tesseract's languages, joined by +: "
            "rus, vie+eng."
        )
    if missing := [one for one in languages.split("+") if one not in installed()]:
        has = ", ".join(sorted(installed() - {"osd"})) or "none, or is not installed"
        raise InputError(
            f"The setting ocr_languages names {missing[0]!r}, which Tesseract has not; it has {has}. Install it (on "
            f"Debian and Ubuntu: apt install tesseract-ocr-{missing[0].replace('_', '-')}), or name another."
        )
    return languages


def by_tesseract(picture: Picture, languages: Sequence[str], *, dots: float, like: str = "") -> Reading | None:
    """What stands in a picture (height, width, 3), BGR, of `dots` an inch; None: in none of the languages.

    `like` is tried first, and taken if it fits: the language of the page before.
    """
    import cv2

    for smoothed in (False, True):
        readings = list[Reading]()
        packed = cv2.imencode(".bmp", cv2.medianBlur(picture, 3) if smoothed else picture)[1].tobytes()
        for language in sorted(languages, key=lambda one: one != like):
            reading = _reading(packed, language, dots)
            if reading is None:
                continue
            readings.append(reading)
            if not reading.parts or reading.sure >= (LEAST if language == like else CERTAIN):
                break  # a picture without lines has none in any language
        best = max(readings, key=lambda one: one.sure, default=None)
        if best and best.sure >= LEAST:
            return best
    return None


def _reading(packed: bytes, language: str, dots: float) -> Reading | None:
    """What Tesseract read; None: it failed."""
    options = ["stdin", "stdout", "-l", language, "--psm", PAGE, "--dpi", str(min(2400, max(70, round(dots)))), "tsv"]
    if not (told := _run(options, packed)):
        return None
    try:
        parts = tuple(_parts(told))
    except (ValueError, KeyError, TypeError, csv.Error) as error:
        logger.warning("Tesseract's table cannot be read: %s", error)
        return None
    letters = sum(len(one.text) for one in parts)
    sure = sum(one.sure * len(one.text) for one in parts) / letters if letters >= FEWEST else 0.0
    return Reading(language, sure, parts)


def _run(options: Sequence[str], given: bytes) -> str:
    """What Tesseract says; nothing where it fails, which the log tells. TimeoutError: it hangs."""
    try:
        done = subprocess.run(
            ["tesseract", *options],
            input=given,
            capture_output=True,
            check=True,
            timeout=LONGEST_S,
            env={**os.environ, "OMP_THREAD_LIMIT": "1"},
        )
    except subprocess.TimeoutExpired as error:
        raise TimeoutError(f"Tesseract took more than {LONGEST_S} s.") from error
    except (OSError, subprocess.SubprocessError) as error:
        said = getattr(error, "stderr", None) or b""
        logger.warning("Tesseract failed (%s): %s", error, said.decode("utf-8", "replace").strip()[-300:])
        return ""
    return done.stdout.decode("utf-8", "replace")


@dataclass(frozen=True, slots=True)
class _Word:
    line: tuple[str, ...]
    part: Part


def _parts(told: str) -> Iterator[Part]:
    """The lines of Tesseract's table, in its order."""
    for _, words in groupby(_words(told), key=lambda one: one.line):
        part: Part | None = None
        for word in words:
            joined = _joined(part, word.part) if part else word.part
            if joined is None and part:
                yield part
            part = joined or word.part
        if part:
            yield part


def _words(told: str) -> Iterator[_Word]:
    for row in csv.DictReader(told.splitlines(), delimiter="\t", quoting=csv.QUOTE_NONE):
        text = (row.get("text") or "").strip()
        if row.get("level") == "5" and text:
            left, top, width, height = (float(row[name]) for name in ("left", "top", "width", "height"))
            sure = max(0.0, float(row["conf"])) / 100
            line = (row["block_num"], row["par_num"], row["line_num"])
            yield _Word(line, Part(text, sure, left, top, left + width, top + height))


def _joined(one: Part, more: Part) -> Part | None:
    """A line with one more word of it, which may stand on its left; None: it stands far from it."""
    height = max(one.bottom - one.top, more.bottom - more.top)
    gap = max(more.left - one.right, one.left - more.right)
    if gap > WIDE * height:
        return None
    glued = gap < BLANK * height and _GLUED.match(one.text[-1]) and _GLUED.match(more.text[0])
    letters = len(one.text), len(more.text)
    return Part(
        one.text + ("" if glued else " ") + more.text,
        (one.sure * letters[0] + more.sure * letters[1]) / sum(letters),
        min(one.left, more.left),
        min(one.top, more.top),
        max(one.right, more.right),
        max(one.bottom, more.bottom),
    )
