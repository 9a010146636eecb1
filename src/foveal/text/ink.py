"""How large and how bold a line of letters is drawn in a picture: the height of its small letters, and its strokes.

    ink_of(line)        # (height, width) of grey, letters from side to side -> Ink(band=13.2, stroke=2.1), in pixels

Band      rows in which much ink stands: from the base line to the top of small letters (of capitals, digits and Chinese
          characters: to theirs). The frame around a line is no measure: it is as loose as its finder makes it
Stroke    the area of the ink by half the length of its edges from side to side, as a stroke has two
Em        the band is a known part of the size in which a printer would say that the letters are set
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

SMALL, CAPITAL, WIDE = 0.46, 0.66, 0.86
"""Heights of small letters, of capitals and digits, and of Chinese characters, in parts of the size (Times)."""

FAINT = 0.25
"""Of the darkest ink: what is lighter is paper, or its grain."""

DARK, LIGHT = 1, 90
"""Percentiles of a line's greys that are its ink and its paper."""

MUCH, FEWEST = 0.7, 3
"""Of the ink of the fullest quarter of the rows, from which on a row belongs to the band; rows of that quarter, at
least."""

_WIDE = re.compile("[\u3040-\u30ff\u3400-\u9fff\uac00-\ud7af\uff00-\uffef]")


class Ink(NamedTuple):
    """Pixels; 0 where nothing is drawn."""

    band: float
    stroke: float


def ink_of(line: NDArray[np.uint8]) -> Ink:
    """Of a picture (height, width) in grey, dark letters upon light paper or light ones upon dark."""
    import numpy as np

    if min(line.shape) < FEWEST:
        return Ink(0.0, 0.0)
    grey = line.astype(np.float32)
    if float(np.median(grey)) < (float(grey.max()) + float(grey.min())) / 2:
        grey = 255 - grey
    paper, dark = (float(np.percentile(grey, part)) for part in (LIGHT, DARK))
    ink = np.clip((paper - grey) / max(1.0, paper - dark), 0, 1)
    ink[ink < FAINT] = 0
    rows = ink.mean(axis=1)
    fullest = np.sort(rows)[-max(FEWEST, len(rows) // 4) :].mean()
    found = np.flatnonzero(rows >= MUCH * fullest)
    if not fullest or not len(found):
        return Ink(0.0, 0.0)
    first, last = int(found[0]), int(found[-1])
    band = ink[first : last + 1]
    edges = float(np.abs(np.diff(band, axis=1)).sum())
    height = last - first + 1 + _beyond(rows, first, -1, fullest) + _beyond(rows, last, 1, fullest)
    return Ink(round(float(height), 2), round(2 * float(band.sum()) / max(1.0, edges), 3))


def em_of(text: str) -> float:
    """The part of the letters' size that their band is."""
    if len(_WIDE.findall(text)) * 2 > len(text):
        return WIDE
    return SMALL if any(map(str.islower, text)) else CAPITAL


def _beyond(rows: NDArray[np.float32], edge: int, step: int, fullest: float) -> float:
    """The part of a row by which the band reaches beyond its outer row, less the half that is counted too much."""
    beside = float(rows[edge + step]) if 0 <= edge + step < len(rows) else 0.0
    inner = float(rows[edge])
    return (inner - MUCH * fullest) / max(1e-6, inner - beside) - 0.5
