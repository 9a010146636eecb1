"""bench segment: how well texts are cut, and what that is worth to search.

    Choi         ten pieces of the Brown corpus in a row (choi/choi.jsonl); units are sentences. Documents 0, 8, 16, ...
                 of the sets 3-11, 6-8 and 9-11
    Terms        contracts and policies with their headings taken out (tos/*.jsonl); units are paragraphs. Reported
                 without bars: on such text no method without training does well
    Use          recall of answers in regulations (obliqa/, in BEIR's layout) for the same number of returned tokens
                 (bench/segment_use.py)
    Learned      what is learnt from documents with headings, of companies never seen (bench/segment_learned.py; also a
                 bench of its own, segment-learned)
    Exactness    P_k and WindowDiff beside the package segeval
    Speed        dynamic programming over 20,000 units; the default segmenter without the time of its tokens

P_k rewards predicting nothing where segments are long; so each table holds controls, WindowDiff and F1.
"""

from __future__ import annotations

import math
import time
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise, product
from statistics import fmean, median
from typing import Any

import numpy as np
from numpy.typing import NDArray

from foveal.bench.known_sets import is_set
from foveal.bench.runner import SIZE
from foveal.bench.segment_learned import tables
from foveal.bench.segment_learned_data import EVERY, ChoiDocument, choi_chosen, choi_documents, rows_of
from foveal.bench.segment_use import use
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.segmentation import boundary_f1, openings_to_masses, pk, windowdiff
from foveal.evaluation.tables import Row, largest
from foveal.registry import require
from foveal.text.c99 import C99
from foveal.text.embedding_segmentation import depth_boundaries, guided_segments, segment_vectors
from foveal.text.headings import find_headings
from foveal.text.segmentation import HeadingSegmenter
from foveal.text.texttiling import TextTiling
from foveal.text.units import Offsets, paragraphs, words
from foveal.types import Document

ERROR = "P_k %"
GUIDED = "dynamic programming, guided"
KNOWING_NOTHING = ("no boundary", "random, true rate", "fixed size, 7 units")
"""Controls that every method has to be better than, be the text what it may."""
Vectors = NDArray[np.float32]
Method = Callable[["Text", np.random.Generator], list[int]]


@dataclass(frozen=True)
class Text:
    """A document in units, with their vectors and the true segment lengths."""

    units: list[str]
    vectors: Vectors
    masses: list[int]


def segment(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench segment`. InputError: a data set is missing, or not laid out as said above."""
    settings.folder("obliqa", ["corpus.jsonl", "queries.jsonl", "qrels/test.tsv"])
    yield from exactness(settings)
    yield from choi(settings)
    yield from terms(settings)
    yield from speed(settings)
    yield from use(settings)
    yield from tables(settings)


def choi(settings: BenchSettings) -> Iterator[Row]:
    """Choi's benchmark, with the bars of the specification (`--quick`: wider, on a fifth of the documents).

    The penalty and the guide of "dynamic programming, guided" are those that are best on documents 4, 12, 20, …
    Other documents in its layout have the controls for a bar.
    """
    documents = choi_documents(settings)
    texts = _choi_texts(settings, documents)
    penalty, guide = _tuned_guide(_choi_texts(settings, documents, first=EVERY // 2) or texts)
    yield Row.of("Choi documents", SIZE, len(texts))
    slack = 1.5 if settings.quick else 1.0
    bars: dict[str, dict[str, float]] = {
        "dynamic programming, penalty 1.2": {"at_most": 4 * slack},
        GUIDED: {"at_most": 4 * slack},
        "depth, plain means of 5": {"at_most": 7 * slack},
        "depth": {"at_most": 7 * slack},
        "TextTiling": {"at_least": 12 / slack, "at_most": 30 * slack},
        "C99": {"at_most": 16 * slack},
    }
    notes = {
        "depth, plain means of 5": "the specification's form, measured there on 21 documents of set 1: 4.8",
        "C99": "the author's, with Porter's stems: 9 to 12 by set",
        GUIDED: f"penalty {penalty:g}, guide {guide:g}, chosen on other documents",
    }
    methods: dict[str, Method] = {
        **_controls(),
        "TextTiling": lambda text, _: TextTiling().boundaries(_words(text.units)),
        "C99": lambda text, _: C99().boundaries(_words(text.units)),
        "depth, plain means of 5": lambda text, _: depth_boundaries(text.vectors, 5, 0.5, fading=False),
        "depth": lambda text, _: depth_boundaries(text.vectors),
        "dynamic programming, penalty 1.2": lambda text, _: segment_vectors(text.vectors, 1.2),
        GUIDED: lambda text, _: guided_segments(text.vectors, penalty, guide),
    }
    sentences = sum(len(piece) for one in documents for piece in one.segments)
    if is_set("Choi", len(documents), sentences):
        yield from _table("Choi", texts, methods, bars, notes, settings.seed)
    else:
        yield from beside_controls(_table("Choi", texts, methods, {}, notes, settings.seed))


def beside_controls(rows: Iterable[Row]) -> Iterator[Row]:
    """The rows of a table without bars; what is set on other documents may err no more than `KNOWING_NOTHING`."""
    least = math.inf
    for row in rows:
        system = row.system.partition(": ")[2]
        if row.metric == ERROR and system in KNOWING_NOTHING:
            least = min(least, row.value)
        if row.metric == ERROR and system == GUIDED:
            told = f"bar: the best of {', '.join(KNOWING_NOTHING)}; figures of Choi's own texts are not asked of others"
            note = f"{told}; {row.note}" if row.note else told
            yield Row.of(row.system, row.metric, row.value, at_most=least, note=note)
        else:
            yield row


def terms(settings: BenchSettings) -> Iterator[Row]:
    """Contracts and policies whose headings were taken out, as they are: no filter of topics, no training."""
    texts = _terms_texts(settings)
    yield Row.of("terms documents", SIZE, len(texts))
    yield Row.of("terms paragraphs", SIZE, sum(len(text.units) for text in texts))
    methods: dict[str, Method] = {
        **_controls(),
        "TextTiling": lambda text, _: TextTiling().boundaries(_words(text.units)),
        "C99": lambda text, _: C99().boundaries(_words(text.units)),
        "depth, plain means of 5": lambda text, _: depth_boundaries(text.vectors, 5, 0.5, fading=False),
        "depth": lambda text, _: depth_boundaries(text.vectors),
        "dynamic programming, penalty 0.9": lambda text, _: segment_vectors(text.vectors, 0.9),
        "dynamic programming, penalty 1.2": lambda text, _: segment_vectors(text.vectors, 1.2),
    }
    yield from _table("terms", texts, methods, {}, {}, settings.seed)


def exactness(settings: BenchSettings) -> Iterator[Row]:
    """The largest difference from segeval on 1,000 random pairs of segmentations."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # segeval compares numbers by `is`, which Python warns of
        segeval = require("segeval", extra="bench")
        rng = np.random.default_rng(settings.seed)
        pairs = [_random_pair(rng, int(rng.integers(4, 40))) for _ in range(1000)]
        peers = {"P_k": (pk, segeval.pk), "WindowDiff": (windowdiff, segeval.window_diff)}
        for metric, (ours, theirs) in peers.items():
            worst = largest(*(abs(ours(found, true) - float(theirs(found, true))) for found, true in pairs))
            yield Row.of(f"{metric} beside segeval", "largest difference", worst, at_most=1e-12)


def speed(settings: BenchSettings) -> Iterator[Row]:
    """Seconds of dynamic programming over 20,000 sentences; megabytes a second of the default segmenter."""
    vectors = np.concatenate([text.vectors for text in _choi_texts(settings, choi_documents(settings))])
    many = np.tile(vectors, (20_000 // len(vectors) + 1, 1))[:20_000]
    seconds = _median_seconds(lambda: segment_vectors(many, 1.2))
    yield Row.of("dynamic programming, 20,000 units", "seconds", seconds, at_most=3, note="without encoding")
    document = Document.of("bench:terms", "\n\n".join(str(row["text"]) for row in _terms_rows(settings)), "terms")
    counted = _Clock()
    segmenter = HeadingSegmenter(token_offsets=counted)
    whole = _median_seconds(lambda: segmenter.segment(document))
    rest = max(1e-6, whole - counted.seconds / counted.runs(document))
    megabytes = len(document.text.encode()) / 1e6
    yield Row.of(
        "headings", "MB/s", megabytes / rest, at_least=2.5 if settings.quick else 5, note="without counting tokens"
    )


class _Clock:
    """Counts the time that goes to tokens: `words`, timed."""

    def __init__(self) -> None:
        self.seconds = 0.0
        self.characters = 0

    def __call__(self, text: str) -> Offsets:
        start = time.perf_counter()
        found = words(text)
        self.seconds += time.perf_counter() - start
        self.characters += len(text)
        return found

    def runs(self, document: Document) -> int:
        return max(1, self.characters // len(document.text))


def _median_seconds(call: Callable[[], object]) -> float:
    call()
    taken = []
    for _ in range(3):
        start = time.perf_counter()
        call()
        taken.append(time.perf_counter() - start)
    return median(taken)


# --- tables ---


def _table(
    name: str,
    texts: Sequence[Text],
    methods: dict[str, Method],
    bars: dict[str, dict[str, float]],
    notes: dict[str, str],
    seed: int,
) -> Iterator[Row]:
    """P_k, WindowDiff and F1 of each method, each the mean over documents."""
    for system, method in methods.items():
        rng = np.random.default_rng(seed)
        found = [openings_to_masses(method(text, rng), len(text.units)) for text in texts]
        pairs = [(masses, text.masses) for masses, text in zip(found, texts, strict=True)]
        percent = 100 * fmean(pk(*pair) for pair in pairs)
        yield Row.of(f"{name}: {system}", ERROR, percent, **bars.get(system, {}), note=notes.get(system, ""))
        yield Row.of(f"{name}: {system}", "WindowDiff %", 100 * fmean(windowdiff(*pair) for pair in pairs))
        yield Row.of(f"{name}: {system}", "boundary F1", fmean(boundary_f1(*pair).f1 for pair in pairs))


def _controls() -> dict[str, Method]:
    """What knows nothing of the text; two of them are told the true number of segments."""
    return {
        "no boundary": lambda _text, _: [],
        "random, true rate": lambda text, rng: _random_openings(
            rng, len(text.units), (len(text.masses) - 1) / max(1, len(text.units) - 1)
        ),
        "even, true number": lambda text, _: _even_openings(len(text.units), len(text.masses)),
        "fixed size, 7 units": lambda text, _: list(range(7, len(text.units), 7)),
    }


def _random_openings(rng: np.random.Generator, units: int, rate: float) -> list[int]:
    openings: list[int] = (np.flatnonzero(rng.random(units - 1) < rate) + 1).tolist()
    return openings


def _even_openings(units: int, segments: int) -> list[int]:
    return [round(at * units / segments) for at in range(1, segments)]


def _random_pair(rng: np.random.Generator, units: int) -> tuple[list[int], list[int]]:
    found, true = (openings_to_masses(_random_openings(rng, units, rng.random()), units) for _ in range(2))
    return found, true


def _words(units: Sequence[str]) -> list[list[str]]:
    return [[unit[start:end] for start, end in words(unit)] for unit in units]


# --- data ---


def _tuned_guide(texts: Sequence[Text]) -> tuple[float, float]:
    """The penalty and the guide with the least P_k."""

    def errors(chosen: tuple[float, float]) -> float:
        found = [guided_segments(text.vectors, *chosen) for text in texts]
        return fmean(
            pk(openings_to_masses(one, len(text.units)), text.masses) for one, text in zip(found, texts, strict=True)
        )

    return min(product((0.9, 1.05, 1.2, 1.4), (0.0, 0.5, 1.0, 2.0)), key=errors)


def _choi_texts(settings: BenchSettings, documents: Sequence[ChoiDocument], *, first: int = 0) -> list[Text]:
    """Documents `first`, `first` + EVERY, … of each set; none where there are none but `first` is not 0."""
    chosen = [one.segments for one in choi_chosen(documents, first)]
    if settings.quick:  # a fifth, where that is more than a few
        chosen = chosen[:: min(5, max(1, len(chosen) // 4))]
    if first and not chosen:
        return []
    units = [[sentence for piece in segments for sentence in piece] for segments in chosen]
    return _encoded(settings, "choi", units, [[len(piece) for piece in segments] for segments in chosen])


def _terms_rows(settings: BenchSettings) -> list[dict[str, Any]]:
    folder = settings.data / "tos"
    files = sorted([*folder.glob("*.jsonl"), *folder.glob("*.jsonl.gz")])
    if not files:
        raise InputError(
            f"The data set tos was not found: {folder} holds no .jsonl or .jsonl.gz file. Name the folder that holds "
            "tos/ (JSON lines with _id and text, Markdown with headings) by --data or FOVEAL_DATA."
        )
    return [row for file in files for row in rows_of(file, "text")]


def _terms_texts(settings: BenchSettings) -> list[Text]:
    """Documents drawn by the seed until there are 2,000 paragraphs (`--quick`: 300)."""
    wanted = 300 if settings.quick else 2000
    rows = _terms_rows(settings)
    units, masses = [], []
    for at in np.random.default_rng(settings.seed).permutation(len(rows)):
        pieces = headless(str(rows[at]["text"]))
        if len(pieces) >= 4 and 10 <= sum(map(len, pieces)) <= wanted // 4:
            units.append([paragraph for piece in pieces for paragraph in piece])
            masses.append([len(piece) for piece in pieces])
        if sum(map(len, units)) >= wanted:
            break
    return _encoded(settings, "terms", units, masses)


def headless(text: str) -> list[list[str]]:
    """The paragraphs of each section, at the highest level that gives four sections or more, without any heading."""
    headings = find_headings(text)
    for level in sorted({heading.level for heading in headings}):
        opens = [heading.start for heading in headings if heading.level <= level]
        pieces = []
        for start, end in pairwise([0, *opens, len(text)]):
            inside = [heading for heading in headings if start <= heading.start < end]
            gaps = pairwise([start, *(edge for heading in inside for edge in (heading.start, heading.end)), end])
            bodies = [text[low:high] for at, (low, high) in enumerate(gaps) if at % 2 == 0]
            pieces.append([body[a:b].strip() for body in bodies for a, b in paragraphs(body) if body[a:b].strip()])
        pieces = [piece for piece in pieces if piece]
        if len(pieces) >= 4:
            return pieces
    return []


def _encoded(settings: BenchSettings, name: str, units: list[list[str]], masses: list[list[int]]) -> list[Text]:
    if not units:
        raise InputError(
            f"The data set {name} in {settings.data} holds no document that fits the bench; see the layout in its "
            "README.md, or name another folder by --data or FOVEAL_DATA."
        )
    flat = [unit for document in units for unit in document]
    vectors = settings.cached_vectors(["segment", name], flat, settings.encoder())
    split = np.split(vectors, np.cumsum([len(document) for document in units])[:-1])
    return [Text(*parts) for parts in zip(units, split, masses, strict=True)]
