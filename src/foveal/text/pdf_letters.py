"""Where the letters of a PDF's page stand and how they are set, as pdfium has it: by their places in its text."""

from __future__ import annotations

import math
import re
from collections.abc import Callable, Sequence
from ctypes import c_double, c_int, create_string_buffer
from dataclasses import dataclass
from functools import cache
from typing import Any

from foveal.text.pdf_columns import Box
from foveal.text.pdf_vertical import Point

BOLD, HEAVY = 600, 700
"""Weight from which on letters are bold, and what they have where their font is named so."""

HYPHEN = 2
"""How pdfium writes a hyphen at a line's end; in a whole page's text it is U+FFFE."""

SMALLEST, SMALL = 0.65, 0.9
"""Of the size of large capitals, that of small ones."""

TITLE = 80
"""Characters of a line that may be a title in small capitals."""

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


def looks(text: Any) -> Callable[[int], tuple[float, int]]:
    """Points to one decimal, as they are drawn, and weight of the letter at a place of a page's text: of bold ones, of
    which browsers tell by the font's name alone, at least `HEAVY`."""
    from pypdfium2 import raw

    matrix = raw.FS_MATRIX()

    def look_of(place: int) -> tuple[float, int]:
        drawn = raw.FPDFText_GetMatrix(text, place, matrix)
        scale = math.sqrt(abs(matrix.a * matrix.d - matrix.b * matrix.c)) if drawn else 1.0
        size = raw.FPDFText_GetFontSize(text, place) * (scale or 1.0)
        weight = max(0, raw.FPDFText_GetFontWeight(text, place))
        if weight < HEAVY and _is_named_bold(text, place):
            weight = HEAVY
        return round(size, 1) if math.isfinite(size) else 0.0, weight

    return look_of


@dataclass(frozen=True, slots=True)
class Glyphs:
    """The characters of a page's text by their places; each is asked for once, as pdfium is slow to answer."""

    look_of: Callable[[int], tuple[float, int]]
    box_of: Callable[[int], Box]
    origin_of: Callable[[int], Point]
    width_of: Callable[[int], float]
    place_of: Callable[[int], int] = int  # a place in the text that is read -> that in pdfium's

    @classmethod
    def of(cls, text: Any) -> Glyphs:
        return cls(cache(looks(text)), cache(boxes(text)), cache(origins(text)), widths(text))

    def at(self, places: Sequence[int]) -> Glyphs:
        """The characters by their places in another text, each of which is one of these `places`."""

        def by(ask: Callable[[int], Any]) -> Callable[[int], Any]:
            return lambda place: ask(places[place])

        asked = (self.look_of, self.box_of, self.origin_of, self.width_of, self.place_of)
        return Glyphs(*map(by, asked))

    def is_bold(self, place: int) -> bool:
        """Whether a letter is bold, by its weight or its font's name, which often is all that tells it."""
        return self.look_of(place)[1] >= BOLD

    def raised_of(self, place: int) -> tuple[float, float, float]:
        """Size, height of the base line, and where the character begins from the left."""
        x, level = self.origin_of(place)
        return self.look_of(place)[0], level, x


def characters_of(text: Any) -> tuple[str, Glyphs, bool]:
    """A page's text, its characters by their places, and whether these are known: pdfium counts what has no place in
    Unicode, and a letter of mathematics (𝑥) or an emoji as two, so that all behind it would stand elsewhere."""
    from pypdfium2 import raw

    whole, glyphs, count = text.get_text_range(), Glyphs.of(text), text.count_chars()
    if len(whole) == count:
        return whole, glyphs, True
    found: list[str] = []
    places: list[int] = []
    units = [raw.FPDFText_GetUnicode(text, place) for place in range(count)]
    for place, (unit, after) in enumerate(zip(units, [*units[1:], 0], strict=True)):
        if unit == 0 or 0xDC00 <= unit <= 0xDFFF:
            continue
        pair = 0xD800 <= unit <= 0xDBFF and 0xDC00 <= after <= 0xDFFF
        code = 0x10000 + ((unit - 0xD800) << 10) + (after - 0xDC00) if pair else unit
        found.append("\ufffe" if code == HYPHEN else chr(code))
        places.append(place)
    same = "".join(found) == whole
    return whole, glyphs.at(places) if same else glyphs, same


def line_size(line: str, start: int, sizes: Sequence[float], look_of: Callable[[int], tuple[float, int]]) -> float:
    """The size of a line's letters, of which `sizes` are some: the middle one; of a title in small capitals, which are
    capitals of a smaller size, that of the large ones."""
    middle, largest = sorted(sizes)[len(sizes) // 2], max(sizes)
    if middle >= largest or len(line) > TITLE or not SMALLEST * largest <= min(sizes) <= SMALL * largest:
        return middle
    capitals = {look_of(start + place)[0] for place, one in enumerate(line) if one.isupper()}
    others = {look_of(start + place)[0] for place, one in enumerate(line) if one.islower()}
    return largest if capitals == {largest} and len(others) == 1 else middle


def first_of(characters: str, place: tuple[int, int]) -> int:
    """Where the first character of a line is that is no blank; its end, where there is none."""
    start, end = place
    line = characters[start:end]
    return start + len(line) - len(line.lstrip())


def _is_named_bold(text: Any, place: int) -> bool:
    from pypdfium2 import raw

    name, flags = create_string_buffer(LONGEST_NAME), c_int()
    length = raw.FPDFText_GetFontInfo(text, place, name, LONGEST_NAME, flags)
    return 0 < length <= LONGEST_NAME and _BOLD.search(name.value.decode("latin-1")) is not None
