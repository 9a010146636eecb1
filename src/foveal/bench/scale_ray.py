"""bench scale-ray: adding by a Ray cluster of one node and of two, each node one worker; and a node that dies.

    speed       loading and cutting (an encoder and the disk would hide it): seconds by two workers beside one, in turn
    identical   the tables that two nodes make beside those of this process, row by row, vectors included
    a kill      one of two nodes dies in the middle: what is there afterwards, beside what should be

The nodes are processes of this machine (`ray.cluster_utils`), on loopback; the texts are those of the data folder, cut
into files of about 200,000 characters.
"""

from __future__ import annotations

import tempfile
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace
from pathlib import Path
from statistics import median
from typing import Any

from foveal.bench.latency import documents_in
from foveal.bench.machine import wait_until_idle
from foveal.bench.settings import BenchSettings
from foveal.errors import FovealError
from foveal.evaluation.tables import Row
from foveal.library import Library
from foveal.registry import require
from foveal.retrieval.adding import AddReport
from foveal.scale.adding import RayWork
from foveal.scale.cluster import nodes
from foveal.settings import Settings
from foveal.text.loading import Source, discover
from foveal.text.sources import load_settings

FILE_CHARACTERS = 200_000
FILES, QUICK_FILES = 480, 128
RUNS, QUICK_RUNS = 5, 3
ENCODED_FILES, QUICK_ENCODED_FILES = 8, 3
"""Files whose passages are encoded, too, to compare tables."""

STARTING_S = 30.0
"""Each node starts helpers of its own, which import for seconds after the node is there; they are waited for."""

FASTER = 1.7
COLUMNS = {"documents": "added_at"}
"""Columns that differ from run to run."""


def ray_rows(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench scale-ray`."""
    require("ray", extra="scale")
    with tempfile.TemporaryDirectory(prefix="foveal-scale-") as place:
        folder = Path(place)
        files = _files(folder / "texts", settings, QUICK_FILES if settings.quick else FILES)
        yield from _speed(folder, settings)
        few = files[: QUICK_ENCODED_FILES if settings.quick else ENCODED_FILES]
        yield from _identical(folder, few)
        yield from _killed(folder, files)


def _files(folder: Path, settings: BenchSettings, count: int) -> list[Path]:
    """The data folder's texts as files of one size; they are taken again from the start where they are too few."""
    folder.mkdir()
    text = "\n\n".join(one.text for one in documents_in(settings.data))
    if len(text) < FILE_CHARACTERS:
        raise FovealError(f"{settings.data} holds too little text for this bench. Name another folder by --data.")
    pieces = [text[at : at + FILE_CHARACTERS] for at in range(0, len(text) - FILE_CHARACTERS, FILE_CHARACTERS)]
    files = []
    for number in range(count):
        files.append(folder / f"{number:04d}.txt")
        files[-1].write_text(f"Part {number}.\n\n{pieces[number % len(pieces)]}", encoding="utf-8")
    return files


def _speed(folder: Path, settings: BenchSettings) -> Iterator[Row]:
    """Seconds of loading and cutting, by one and by two workers in turn."""
    library = _library(folder / "speed", "none")
    sources = [one for one in discover([folder / "texts"]) if isinstance(one, Source)]
    seconds: dict[int, list[float]] = {1: [], 2: []}
    for _ in range(QUICK_RUNS if settings.quick else RUNS):
        for workers in seconds:
            with nodes([1] * workers) as (ray, _cluster):
                _cut(library, sources[: len(sources) // 8], ray)  # workers start, and load what they need
                wait_until_idle(STARTING_S)
                seconds[workers].append(_cut(library, sources, ray))
    ratios = [one / two for one, two in zip(seconds[1], seconds[2], strict=True)]
    megabytes = sum(source.size or 0 for source in sources) / 1e6
    spread = f"{min(ratios):.2f} to {max(ratios):.2f}; {megabytes:.0f} MB in {len(sources)} files"
    yield Row.of("two Ray workers", "times as fast as one: load and cut", median(ratios), at_least=FASTER, note=spread)
    for workers, took in seconds.items():
        rate = f"{megabytes / median(took):.1f} MB a second"
        yield Row.of(f"{workers} Ray worker{'s' * (workers > 1)}", "seconds to load and cut", median(took), note=rate)
    start = time.perf_counter()
    own = library.add([folder / "texts"])
    spent = own.seconds.get("load", 0.0) + own.seconds.get("segment", 0.0)
    wall = f"of {time.perf_counter() - start:.1f} s to add all of it, by words alone"
    yield Row.of("no Ray, this process", "seconds to load and cut", spent, note=wall)
    each = f"{FILE_CHARACTERS:,} characters each, one core"
    yield Row.of("no Ray, this process", "documents a second: load and cut", len(own.added) / spent, note=each)


def _cut(library: Library, sources: Sequence[Source], ray: Any) -> float:
    """Seconds in which a cluster loads and cuts the sources, and this process takes what it made."""
    work = RayWork(library, ray)
    start = time.perf_counter()
    for document in work.load(sources, load_settings(library.settings), AddReport()):
        work.segment(document)
    return time.perf_counter() - start


def _identical(folder: Path, files: Sequence[Path]) -> Iterator[Row]:
    """Rows that differ between the tables of two nodes and of this process."""
    own, theirs = _library(folder / "own", "minilm"), _library(folder / "theirs", "minilm")
    own.add(files)
    with nodes([1, 1]) as (ray, _cluster):
        report = theirs.add(files, work=RayWork(theirs, ray))
    note = f"{report.passages:,} passages of {len(files)} files, vectors included"
    yield Row.of("two Ray workers", "rows unlike those of one process", unlike(own, theirs), at_most=0, note=note)


def _killed(folder: Path, files: Sequence[Path]) -> Iterator[Row]:
    """What a library lacks that was added while one of two nodes died."""
    whole, broken = _library(folder / "whole", "none"), _library(folder / "broken", "none")
    whole.add(files)
    with nodes([1, 1]) as (ray, cluster):
        died = threading.Event()

        def kill(report: AddReport) -> None:
            if not died.is_set() and report.sources_read > len(files) // 4:
                died.set()
                cluster.remove_node(next(iter(cluster.worker_nodes)), allow_graceful=False)

        broken.add(files, work=RayWork(broken, ray), on_progress=kill)
    if not died.is_set():
        raise FovealError("All was read before a node could be killed. Run this bench over more text.")
    said = "a quarter of the files was read when the node was killed"
    yield Row.of("a node that dies", "rows lost or changed", unlike(whole, broken), at_most=0, note=said)


def unlike(one: Library, other: Library) -> int:
    """Rows of documents and passages that are not the same in both, in their order; what is missing counts, too."""
    differ = 0
    for name in ("documents", "passages"):
        left, right = (_rows(library, name) for library in (one, other))
        differ += abs(len(left) - len(right)) + sum(a != b for a, b in zip(left, right, strict=False))
    return differ


def _rows(library: Library, name: str) -> list[dict[str, Any]]:
    from foveal.retrieval import tables

    rows = tables.connect(library.store.uri).open_table(name).to_arrow()
    return rows.drop_columns([one for one in [COLUMNS.get(name)] if one]).to_pylist()  # type: ignore[no-any-return]


def _library(home: Path, encoder: str) -> Library:
    return Library.open(settings=replace(Settings(home=home, cache=Settings.load().cache), encoder=encoder))
