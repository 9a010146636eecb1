"""Where the letters of a PDF's page stand and how they are set, as pdfium has it: by their places in its text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable
from ctypes import c_double, c_int, create_string_buffer
from typing import Any

from foveal.text.pdf_columns import Box
from foveal.text.pdf_vertical import Point

BOLD = 600
"""Weight from which on letters are bold."""

LONGEST_NAME = 100
"""Bytes of a font's name."""

_BOLD = re.compile("bold|black|heavy|(?<![a-z])cmbx|-medi", re.IGNORECASE)


def boxes(text: Any) -> Callable[[int], Box]:
    """Where the character at a place of a page's text stands."""
    from pypdfium2 import raw

    left, right, bottom, top = (c_double() for _ in range(4))

    def box_of(place: int) -> Box:
        raw.FPDFText_GetCharBox(text, place, left, right, bottom, top)
        return left.value, bottom.value, right.value, top.value

    return box_of


def origins(text: Any) -> Callable[[int], Point]:
    """Where the character at a place of a page's text begins; punctuation of no height has a place, too."""
    from pypdfium2 import raw

    x, y = c_double(), c_double()

    def origin_of(place: int) -> Point:
        raw.FPDFText_GetCharOrigin(text, place, x, y)
        return x.value, y.value

    return origin_of


def widths(text: Any) -> Callable[[int], float]:
    """How far it is from where the character at a place begins to the next one."""
    from pypdfium2 import raw

    box = raw.FS_RECTF()

    def width_of(place: int) -> float:
        return float(box.right - box.left) if raw.FPDFText_GetLooseCharBox(text, place, box) else 0.0

    return width_of


def look(text: Any, place: int) -> tuple[float, int]:
    """Points to one decimal, as they are drawn, and weight of the letter at a place."""
    from pypdfium2 import raw

    matrix = raw.FS_MATRIX()
    drawn = raw.FPDFText_GetMatrix(text, place, matrix)
    scale = math.sqrt(abs(matrix.a * matrix.d - matrix.b * matrix.c)) if drawn else 1.0
    size = raw.FPDFText_GetFontSize(text, place) * (scale or 1.0)
    return round(size, 1) if math.isfinite(size) else 0.0, max(0, raw.FPDFText_GetFontWeight(text, place))


def is_bold(text: Any, place: int) -> bool:
    """Whether the letter at a place is bold, by its weight or its font's name, which often is all that tells it."""
    from pypdfium2 import raw

    name, flags = create_string_buffer(LONGEST_NAME), c_int()
    length = raw.FPDFText_GetFontInfo(text, place, name, LONGEST_NAME, flags)
    told = 0 < length <= LONGEST_NAME and _BOLD.search(name.value.decode("latin-1"))
    return bool(told) or raw.FPDFText_GetFontWeight(text, place) >= BOLD
