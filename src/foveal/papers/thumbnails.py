"""A picture for every paper, made by us: drawn from its title, or the first page of a PDF that lies here.

    drawn("Where to Look", "cs.CL")                     # SVG, the same for ever: an eye's field over the title's words
    keep(home, "2605.01234", first_page(pdf))           # PNG; from then on `kept` finds it

The field   receptors stand as in a retina, dense around the fovea and sparse away from it; every word of the title has
            a place of its own, which its letters decide, and is looked at the more strongly the longer and nearer it
            is; three palettes are the subject's. Only such numbers reach the file: there is nothing to escape
Pages       only of a PDF that somebody gave us: fetching other people's PDFs to show them needs a licence that says so
"""

from __future__ import annotations

import math
import re
import struct
import zlib
from contextlib import closing
from hashlib import sha256
from pathlib import Path
from random import Random

import numpy as np
from numpy.typing import NDArray

from foveal.errors import UnreadableSource
from foveal.evaluation.files import whole_file
from foveal.text.pdf import PDFIUM

WIDTH, HEIGHT = 640, 320
"""Pixels of every picture."""

MOST_POINTS = 14_400
"""Of a PDF's page, across or down: what the format allows."""

CARDS = Path("thumbnails", "cards")
"""Of a home: pictures for links to pages."""

PALETTES = (
    ("#0b1d38", "#1f5f86", "#a9dcef", "#ffb547"),
    ("#230f30", "#7a2f68", "#f3bdd0", "#ffd166"),
    ("#092621", "#1f7361", "#aee6cd", "#ffa06a"),
    ("#2b1a0b", "#97531f", "#fad6ae", "#86ecdf"),
    ("#15163a", "#4a4db5", "#c6caff", "#ffc24b"),
    ("#2c0e1b", "#a33750", "#ffc9c4", "#93e4ff"),
    ("#122414", "#557f35", "#daeeb0", "#ffb95e"),
    ("#141b26", "#4c6584", "#d5e2ef", "#ff9672"),
)
"""Ground at the edge, ground at the fovea, receptors, what is looked at."""

_GOLDEN = math.pi * (3 - math.sqrt(5))
_STOP = re.compile(
    "an?|and|are|as|at|by|for|from|how|in|into|is|it|of|on|or|over|the|to|via|we|what|when|with"
)  # words of a title that nobody looks at


def drawn(title: str, subject: str = "") -> str:
    """The picture of a title, as SVG; `subject` (a category) chooses the colours."""
    words = [word for word in re.findall(r"\w+", title.casefold()) if not _STOP.fullmatch(word)][:14] or [title]
    edge, ground, receptor, light = PALETTES[(_number(subject) + _number(title) % 3) % len(PALETTES)]
    chance = Random(_number(title))
    eye = WIDTH * (0.3 + 0.4 * chance.random()), HEIGHT * (0.36 + 0.28 * chance.random())
    turn = chance.random() * math.tau
    looks = [_look(word, place, len(words), eye) for place, word in enumerate(words)]
    body = "".join(
        (
            f'<rect width="{WIDTH}" height="{HEIGHT}" fill="url(#g)"/>',
            _receptors(eye, turn, looks, (receptor, light)),
            *(_gaze(eye, place, weight, light) for place, weight in looks),
            _fovea(eye, light),
        )
    )
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" viewBox="0 0 {WIDTH} {HEIGHT}">'
        f'<defs><radialGradient id="g" gradientUnits="userSpaceOnUse" cx="{eye[0]:.0f}" cy="{eye[1]:.0f}" r="{WIDTH}">'
        f'<stop offset="0" stop-color="{ground}"/><stop offset=".75" stop-color="{edge}"/></radialGradient></defs>'
        f"{body}</svg>"
    )


def first_page(pdf: Path | bytes) -> bytes:
    """The upper part of a PDF's first page, as a PNG of `WIDTH` by `HEIGHT`. UnreadableSource: it has none."""
    import pypdfium2

    try:
        with PDFIUM, closing(pypdfium2.PdfDocument(pdf)) as document:
            page = document[0]
            width, height = page.get_size()
            if not (1 <= width <= MOST_POINTS and 1 <= height <= MOST_POINTS):
                raise UnreadableSource(f"The first page of this PDF measures {width:.0f} by {height:.0f} points.")
            below = max(0.0, height - width * HEIGHT / WIDTH)  # what would be cut off is not rendered
            picture = page.render(scale=WIDTH / width, crop=(0, below, 0, 0), rev_byteorder=True).to_numpy().copy()
    except (pypdfium2.PdfiumError, IndexError, ValueError, FileNotFoundError) as error:
        raise UnreadableSource(f"This is no PDF with a page to show ({error}). Give another file.") from error
    return png_of(_cropped(picture))


def kept(home: Path, paper_id: str) -> Path | None:
    """The picture of a paper's first page, where there is one."""
    path = _place(home, paper_id)
    return path if path.is_file() else None


def keep(home: Path, paper_id: str, png: bytes) -> Path:
    """Store the picture of a paper's first page."""
    path = _place(home, paper_id)
    path.parent.mkdir(parents=True, exist_ok=True)
    with whole_file(path) as partial:
        partial.write_bytes(png)
    return path


def forget(home: Path, paper_id: str) -> None:
    """Delete the picture of a paper's first page, and those for links (web/cards.py), which are drawn anew: theirs do
    not tell whose they are."""
    _place(home, paper_id).unlink(missing_ok=True)
    for card in (home / CARDS).glob("*.png"):
        card.unlink(missing_ok=True)


def _place(home: Path, paper_id: str) -> Path:
    return home / "thumbnails" / f"{re.sub('[^A-Za-z0-9.-]', '_', paper_id).lstrip('.')}.png"


def _number(text: str) -> int:
    return int.from_bytes(sha256(text.encode("utf-8", "surrogatepass")).digest()[:8], "big")


def _look(word: str, place: int, words: int, eye: tuple[float, float]) -> tuple[tuple[float, float], float]:
    """Where a word stands (words go from left to right, at a height of their own) and how strongly it is looked at."""
    chance = Random(_number(word))
    x = WIDTH * (place + 0.5 + 0.5 * (chance.random() - 0.5)) / words
    y = HEIGHT * (0.14 + 0.72 * chance.random())
    near = 1 - math.hypot(x - eye[0], y - eye[1]) / WIDTH
    return (x, y), min(1.0, 0.15 + 0.06 * min(len(word), 12)) * max(0.25, near)


def _receptors(
    eye: tuple[float, float], turn: float, looks: list[tuple[tuple[float, float], float]], colours: tuple[str, str]
) -> str:
    """Dots on a golden spiral whose distance grows faster than a sunflower's; those near a word are lit."""
    groups: dict[tuple[int, bool], list[str]] = {}
    for number in range(8, 700):
        distance = 2.7 * number**0.79
        x, y = (e + distance * f(number * _GOLDEN + turn) for e, f in zip(eye, (math.cos, math.sin), strict=True))
        if -6 < x < WIDTH + 6 and -6 < y < HEIGHT + 6:
            lit = any(math.hypot(x - a, y - b) < 16 + 44 * weight for (a, b), weight in looks)
            groups.setdefault((min(5, int(distance // 70)), lit), []).append(f"M{x:.0f} {y:.0f}h0")
    return "".join(
        f'<path d="{"".join(dots)}" stroke="{colours[lit]}" stroke-linecap="round" '
        f'stroke-width="{2 + 0.7 * ring + lit:.1f}" opacity="{0.7 - 0.09 * ring + 0.2 * lit:.2f}"/>'
        for (ring, lit), dots in sorted(groups.items())
    )


def _gaze(eye: tuple[float, float], place: tuple[float, float], weight: float, colour: str) -> str:
    """A bow from the fovea to a word, and the word."""
    bend = (eye[0] + place[0]) / 2, min(eye[1], place[1]) - 0.22 * abs(place[0] - eye[0])
    return (
        f'<path d="M{eye[0]:.0f} {eye[1]:.0f}Q{bend[0]:.0f} {bend[1]:.0f} {place[0]:.0f} {place[1]:.0f}" fill="none" '
        f'stroke="{colour}" stroke-width="{0.8 + 3.4 * weight**2:.1f}" stroke-linecap="round" '
        f'opacity="{0.25 + 0.6 * weight:.2f}"/>'
        f'<circle cx="{place[0]:.0f}" cy="{place[1]:.0f}" r="{3 + 8 * weight:.1f}" fill="{colour}" '
        f'opacity="{0.45 + 0.5 * weight:.2f}"/>'
    )


def _fovea(eye: tuple[float, float], colour: str) -> str:
    rings = "".join(
        f'<circle cx="{eye[0]:.0f}" cy="{eye[1]:.0f}" r="{radius}" fill="none" stroke="{colour}" '
        f'stroke-width="{width}" opacity="{opacity}"/>'
        for radius, width, opacity in ((20, 2.4, 0.9), (40, 1.4, 0.5), (68, 1, 0.28), (104, 0.8, 0.16))
    )
    return f'{rings}<circle cx="{eye[0]:.0f}" cy="{eye[1]:.0f}" r="8" fill="{colour}"/>'


def _cropped(picture: NDArray[np.uint8]) -> NDArray[np.uint8]:
    """Pixels (rows, columns, 3) -> exactly HEIGHT by WIDTH: what is missing is white paper."""
    whole = np.full((HEIGHT, WIDTH, 3), 255, dtype=np.uint8)
    part = picture[:HEIGHT, :WIDTH, :3]
    whole[: part.shape[0], : part.shape[1]] = part
    return whole


def png_of(pixels: NDArray[np.uint8]) -> bytes:
    """Pixels (rows, columns, 3) of 8 bits as a PNG file."""
    rows, columns, _ = pixels.shape
    lines = b"".join(b"\0" + row.tobytes() for row in pixels)

    def chunk(kind: bytes, data: bytes) -> bytes:
        return struct.pack(">I", len(data)) + kind + data + struct.pack(">I", zlib.crc32(kind + data))

    header = struct.pack(">IIBBBBB", columns, rows, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 6)) + chunk(b"IEND", b"")
