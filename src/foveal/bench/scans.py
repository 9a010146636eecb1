"""bench search-scans: pages of a real manual, typeset, scanned as machines scan them, and read by text recognition.

Pages     of Python's reference manual, which is on every machine, drawn at 200 dots an inch; clean, as a scanner gives
          them (askew, with grain, blurred), photocopied (hard and dirty), on their side, in two columns of small print
Words     right, and in their order: the longest runs that the two lists of words share, over the words drawn
Search    for sentences of the pages, by words, in a library of their text and in one of their scans: is the page first?
Peer      Tesseract, where it is on this machine, on the same pictures, with one thread: more slow it
Letters   that the models do not know: see scans_letters.py
"""

from __future__ import annotations

import io
import os
import random
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from difflib import SequenceMatcher
from pathlib import Path
from statistics import fmean, median
from typing import Any

import numpy as np

from foveal.bench.scans_letters import letters
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.tables import Row
from foveal.library import Library
from foveal.text.pictures import read_picture
from foveal.text.recognition import INSTALL, RecognitionSettings, available
from foveal.types import Document

PAGES, PAGES_QUICK = 12, 4
QUERIES, QUERIES_QUICK = 100, 20

DOTS = 200  # an inch
A4 = (8.27, 11.69)  # inches
MARGIN, LEADING, GUTTER = 0.9, 1.25, 0.35  # inches; times the size; inches

WORDS_RIGHT, HARD_RIGHT, FOUND, LOST = 0.97, 0.9, 0.97, 0.01
"""Least share of words right of clean and scanned pages, and of harder ones; of pages found of those that are found in
the text; the most that may be lost against Tesseract."""

_WORD = re.compile(r"\S+")


@dataclass(frozen=True)
class Kind:
    """How pages are set and scanned."""

    name: str
    points: float = 11.0
    columns: int = 1
    worn: Callable[[Any, int], Any] = lambda picture, _seed: picture
    least: float = WORDS_RIGHT


def scans(settings: BenchSettings) -> Iterator[Row]:
    """Rows of each kind of page, beside Tesseract's; then of search."""
    if not available():
        raise InputError(f"bench search-scans needs text recognition. Install it: {INSTALL}")
    texts = _texts(PAGES_QUICK if settings.quick else PAGES, settings.seed)
    kinds = (
        Kind("clean"),
        Kind("scanned", worn=_scanned),
        Kind("photocopied", worn=_photocopied, least=HARD_RIGHT),
        Kind("on its side", worn=lambda picture, seed: _scanned(picture, seed).rotate(90, expand=True)),
        Kind("two columns of small print", points=8.0, columns=2, worn=_scanned, least=HARD_RIGHT),
    )
    for kind in kinds:
        drawn = [_page(text, kind) for text in texts]
        pictures = [kind.worn(picture, seed) for seed, (picture, _) in enumerate(drawn)]
        wanted = [words for _, words in drawn]
        ours, ms = _timed(_recognised, pictures)
        right = fmean(_right(_WORD.findall(found), words) for found, words in zip(ours, wanted, strict=True))
        note = f"{len(texts)} pages, {sum(map(len, wanted)):,} words; {ms:,.0f} ms a page"
        yield Row.of(f"{kind.name}: Foveal", "words right", right, at_least=kind.least, note=note)
        if shutil.which("tesseract"):
            theirs, ms = _timed(_by_tesseract, pictures)
            peer = fmean(_right(_WORD.findall(found), words) for found, words in zip(theirs, wanted, strict=True))
            yield Row.of(f"{kind.name}: Tesseract", "words right", peer, note=f"{ms:,.0f} ms a page")
            yield Row.of(f"{kind.name}: Foveal less Tesseract", "words right", right - peer, at_least=-LOST)
        if kind.name == "scanned":
            yield from _search_rows(ours, wanted, settings)
    if shutil.which("tesseract"):
        yield from letters(settings, _scanned_pages, _right, ours=_recognised, theirs=_by_tesseract)


def _scanned_pages(text: str, count: int) -> tuple[list[Any], list[list[str]]]:
    """Pages one after the other, as a scanner gives them, and the words on them."""
    pictures, wanted, words = list[Any](), list[list[str]](), text.split()
    for seed in range(count):
        picture, on_it = _page(" ".join(words), Kind("scanned"))
        words = words[len(on_it) :]
        pictures.append(_scanned(picture, seed))
        wanted.append(on_it)
    return pictures, wanted


def _search_rows(found: Sequence[str], wanted: Sequence[Sequence[str]], settings: BenchSettings) -> Iterator[Row]:
    texts = [" ".join(words) for words in wanted]
    asked = _sentences(texts, QUERIES_QUICK if settings.quick else QUERIES, settings.seed)
    whole, scanned = (_first_found(pages, asked) for pages in (texts, found))
    note = f"{len(asked)} sentences of the pages, by words"
    yield Row.of("search in the text", "page is first", whole, note=note)
    yield Row.of("search in the scans", "page is first", scanned, at_least=FOUND * whole, note=note)


def _texts(count: int, seed: int) -> list[str]:
    """Long chapters of Python's manual, without their frames and marks."""
    from pydoc_data.topics import topics

    plain = (re.sub(r"[*=+|`-]{2,}|[`|]", " ", text) for _, text in sorted(topics.items()))
    long = [" ".join(text.split()) for text in plain if len(text) > 4000]
    return random.Random(seed).sample(long, min(count, len(long)))


def _page(text: str, kind: Kind) -> tuple[Any, list[str]]:
    """A page with as much of the text as it holds, and the words that stand on it."""
    from PIL import Image, ImageDraw

    width, height = (round(side * DOTS) for side in A4)
    font, margin, gutter = _font(kind.points), round(MARGIN * DOTS), round(GUTTER * DOTS)
    column = (width - 2 * margin - (kind.columns - 1) * gutter) // kind.columns
    page = Image.new("RGB", (width, height), "white")
    draw, words, on_it = ImageDraw.Draw(page), text.split(), list[str]()
    step = round(kind.points / 72 * DOTS * LEADING)
    for number in range(kind.columns):
        left, top = margin + number * (column + gutter), margin
        while top + step < height - margin and words:
            line = _line(words, font, column)
            draw.text((left, top), " ".join(line), fill="black", font=font)
            on_it += line
            words, top = words[len(line) :], top + step
    return page, on_it


def _font(points: float) -> Any:
    import matplotlib as mpl
    from PIL import ImageFont

    path = Path(mpl.get_data_path()) / "fonts" / "ttf" / "DejaVuSerif.ttf"
    return ImageFont.truetype(str(path), round(points / 72 * DOTS))


def _line(words: Sequence[str], font: Any, width: int) -> list[str]:
    """As many words as a line holds; at least one."""
    line = [words[0]]
    for word in words[1:]:
        if font.getlength(" ".join((*line, word))) > width:
            break
        line.append(word)
    return line


def _scanned(picture: Any, seed: int) -> Any:
    """A little askew, with grain, a little blurred."""
    from PIL import Image, ImageFilter

    rng = np.random.default_rng(seed)
    turned = picture.rotate(rng.uniform(-1, 1), fillcolor="white", resample=Image.Resampling.BICUBIC)
    grain = rng.normal(0, 12, (turned.height, turned.width, 1))
    noisy = (np.asarray(turned) + grain).clip(0, 255).astype(np.uint8)
    return Image.fromarray(noisy).filter(ImageFilter.GaussianBlur(0.8))


def _photocopied(picture: Any, seed: int) -> Any:
    """Scanned twice, hardened to black and white with specks, and packed as a small JPEG."""
    from PIL import Image

    rng = np.random.default_rng(1000 + seed)
    grey = np.asarray(_scanned(_scanned(picture, seed), 500 + seed).convert("L")).astype(float)
    hard = np.where(grey < 150, 0, 255)
    specks = rng.random(hard.shape)
    hard[specks < 0.0015] = 0
    hard[specks > 0.9985] = 255
    packed = io.BytesIO()
    Image.fromarray(hard.astype(np.uint8)).convert("RGB").save(packed, "JPEG", quality=30)
    return Image.open(packed).convert("RGB")


def _timed(read: Callable[[Any], str], pictures: Sequence[Any]) -> tuple[list[str], float]:
    """What was read, and the middle one's milliseconds; the first picture is read once before."""
    read(pictures[0])
    found, seconds = list[str](), list[float]()
    for picture in pictures:
        begun = time.perf_counter()
        found.append(read(picture))
        seconds.append(time.perf_counter() - begun)
    return found, 1000 * median(seconds)


def _recognised(picture: Any, languages: str = "") -> str:
    """By Foveal, as `foveal add page.png` reads it; marks of headings left out."""
    packed = io.BytesIO()
    picture.save(packed, "PNG", compress_level=1)
    text = read_picture(packed.getvalue(), name="page.png", recognition=RecognitionSettings(languages=languages)).text
    return re.sub(r"^#{1,6} ", "", text, flags=re.MULTILINE)


def _by_tesseract(picture: Any, language: str = "eng") -> str:
    one = {**os.environ, "OMP_THREAD_LIMIT": "1"}
    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "page.png"
        picture.save(path, dpi=(DOTS, DOTS), compress_level=1)
        ran = subprocess.run(
            ["tesseract", str(path), "-", "--psm", "1", "-l", language], capture_output=True, check=True, env=one
        )
    return ran.stdout.decode("utf-8", "replace")


def _right(found: Sequence[str], wanted: Sequence[str]) -> float:
    matches = SequenceMatcher(None, list(wanted), list(found), autojunk=False).get_matching_blocks()
    return sum(match.size for match in matches) / len(wanted)


def _sentences(texts: Sequence[str], count: int, seed: int) -> list[tuple[str, int]]:
    """Twelve words in a row, and the page that they stand on; none that stand on two."""
    rng, asked = random.Random(seed), list[tuple[str, int]]()
    while len(asked) < count:
        page = rng.randrange(len(texts))
        words = texts[page].split()
        begin = rng.randrange(len(words) - 12)
        sentence = " ".join(words[begin : begin + 12])
        if sum(sentence in text for text in texts) == 1:
            asked.append((sentence.replace('"', ""), page))
    return asked


def _first_found(pages: Sequence[str], asked: Sequence[tuple[str, int]]) -> float:
    """The share of sentences whose page a search by words puts first."""
    documents = [Document.of(f"scan:{number}", text, f"Page {number}") for number, text in enumerate(pages)]
    with tempfile.TemporaryDirectory() as place:
        library = Library.open(place, encoder="none")
        library.add_documents(documents)
        ids = [document.id for document in documents]
        return fmean(
            any(hit.passage.span.document_id == ids[page] for hit in library.search(sentence, k=1, retriever="lexical"))
            for sentence, page in asked
        )
