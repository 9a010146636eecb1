"""bench scale-library: one library at 10,000, 100,000 and 1,000,000 passages (--quick: up to 100,000), and far beyond.

Real passages come first; what is more are jittered copies (scale_data.py). Each size is built anew, then searched by a
process of its own. A size is a cell: it is measured once for each text of the code that decides it (and machine,
versions of Lance and PyTorch, and passages), and kept in the cache, so that a run that was broken off goes on where it
was.

The cost model (docs/scale.md) is first fitted to the smaller sizes and held against the largest. The last rows are no
measurements: they follow from all sizes by the same model.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.metadata import version
from pathlib import Path
from typing import Any

import numpy as np

from foveal.bench.code import code_digest
from foveal.bench.libraries import new_store
from foveal.bench.machine import processor, usable_cores
from foveal.bench.scale_data import REAL, Real, passages_of, power_law, real_passages, write
from foveal.bench.settings import BenchSettings, text_digest
from foveal.errors import FovealError
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.tables import Row
from foveal.retrieval import tables
from foveal.types import Encoder

SIZES, QUICK_SIZES = (10_000, 100_000, 1_000_000), (10_000, 30_000, 100_000)
QUICK_REAL = 10_000
QUERIES, QUICK_QUERIES = 300, 150
P95_MS, RSS_MIB = 50, 2048
BEYOND = (10**8, 10**10)
"""Sizes that are extrapolated to."""
COSTING = (
    "foveal.bench.scale_data", "foveal.bench.scale_search", "foveal.retrieval.dense", "foveal.retrieval.fusion",
    "foveal.retrieval.hybrid", "foveal.retrieval.lance_indexes", "foveal.retrieval.lexical",
    "foveal.retrieval.open_tables", "foveal.retrieval.rows", "foveal.retrieval.store", "foveal.retrieval.store_search",
    "foveal.retrieval.tables",
)  # fmt: skip
"""The modules that decide what a size costs."""
ENGINES = ("lancedb", "torch")
"""The packages that do."""
FORETOLD = 1.5
"""Times by which what the smaller sizes foretell of the largest may be too high or too low."""


@dataclass(frozen=True)
class Cell:
    """One size: seconds of its making, bytes, and what its searches took (ms) and held (MiB)."""

    key: str
    size: int
    real: int
    write_s: float
    index_s: float
    bytes: int
    lexical_p50: float
    dense_p50: float
    hybrid_p50: float
    hybrid_p95: float
    encode_p50: float
    start_mib: float
    peak_mib: float


def library(settings: BenchSettings) -> Iterator[Row]:
    """The rows of `foveal bench scale-library`."""
    encoder = settings.encoder()
    real = real_passages(settings, QUICK_REAL if settings.quick else REAL, encoder)
    cells = []
    for size in QUICK_SIZES if settings.quick else SIZES:
        cells.append(_cell(size, real, encoder, settings))
        yield from _rows(cells[-1])
    yield from _fits(cells)


def _cell(size: int, real: Real, encoder: Encoder, settings: BenchSettings) -> Cell:
    """The cell of a size, measured now or before."""
    store = settings.cache / "scale" / "library.jsonl"
    queries = QUICK_QUERIES if settings.quick else QUERIES
    code = " ".join([code_digest(*COSTING), *map(version, ENGINES)])
    what = f"5 {code} {processor()} {usable_cores()} {size} {queries} {settings.seed} {encoder.fingerprint}"
    key = text_digest(what, real.texts)[:16]
    cells = stored_lines(store, Cell, what="cells of bench scale")
    known = next((cell for cell in cells if cell.key == key), None)
    if known is None:
        known = _measured(key, size, real, queries, encoder, settings.seed)
        write_lines(store, [*cells, known])
    return known


def _measured(key: str, size: int, real: Real, queries: int, encoder: Encoder, seed: int) -> Cell:
    with tempfile.TemporaryDirectory(prefix="foveal-scale-") as place:
        store = new_store(Path(place) / "library", encoder, "fixed")
        start = time.perf_counter()
        with store.writing():
            write(store, passages_of(real, size, seed))
            written = time.perf_counter()
            store.refresh_indexes(compact=True)
        indexed = time.perf_counter()
        found = _searched(Path(place), _queries(real, queries, seed))
        return Cell(
            key=key,
            size=size,
            real=min(size, len(real.texts)),
            write_s=written - start,
            index_s=indexed - written,
            bytes=_bytes(store.uri),
            lexical_p50=found["lexical"]["p50_ms"],
            dense_p50=found["dense"]["p50_ms"],
            hybrid_p50=found["hybrid"]["p50_ms"],
            hybrid_p95=found["hybrid"]["p95_ms"],
            encode_p50=found["encode"]["p50_ms"],
            start_mib=found["start_mib"],
            peak_mib=found["peak_mib"],
        )


def _bytes(uri: str) -> int:
    """Of the tables as they are: what compaction has just replaced is deleted by the next writer."""
    database = tables.connect(uri)
    return sum(int(database.open_table(name).stats()["total_bytes"]) for name in ("documents", "passages"))


def _queries(real: Real, count: int, seed: int) -> list[str]:
    """The first words of passages drawn at random: what is asked is there, in a library of any size."""
    drawn = np.random.default_rng(seed).choice(min(10_000, len(real.texts)), count, replace=False)
    return [" ".join(real.texts[row].split()[:8]) for row in drawn]


def _searched(place: Path, queries: Sequence[str]) -> dict[str, Any]:
    """What a process of its own measured (scale_search.py)."""
    asked = place / "queries.json"
    asked.write_text(json.dumps(queries), encoding="utf-8")
    command = [sys.executable, "-m", "foveal.bench.scale_search", str(place / "library"), str(asked)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        raise FovealError(f"The process that searches ended with status {done.returncode}: {done.stderr[-500:]}")
    found: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return found


def _rows(cell: Cell) -> Iterator[Row]:
    system = f"{cell.size:,} passages"
    copies = cell.size - cell.real
    what = f"{cell.real:,} real passages" + (f", {copies:,} jittered copies" if copies else "")
    shown = f"{what}; p50 {cell.hybrid_p50:.1f} ms (by words {cell.lexical_p50:.1f}, by meaning {cell.dense_p50:.1f})"
    yield Row.of(system, "hybrid query, warm: p95 ms", cell.hybrid_p95, at_most=P95_MS, note=shown)
    started = f"{cell.start_mib:.0f} MiB before the first query"
    yield Row.of(system, "memory of the searching process: MiB", cell.peak_mib, at_most=RSS_MIB, note=started)
    yield Row.of(
        system, "bytes a passage on disk", cell.bytes / cell.size, note=f"{cell.bytes / 2**20:,.0f} MiB in all"
    )
    yield Row.of(system, "seconds to write", cell.write_s, note=f"{cell.size / cell.write_s:,.0f} passages a second")
    per_second = cell.size / cell.index_s
    yield Row.of(
        system, "seconds to index", cell.index_s, note=f"{per_second:,.0f} passages a second; words and vectors"
    )


@dataclass(frozen=True)
class CostModel:
    """What a library of any size costs, from sizes that were measured (docs/scale.md, "Beyond")."""

    line: tuple[float, float]  # hybrid query: ms = factor * size ** exponent
    memory: float  # bytes of the searching process, a passage
    start_mib: float
    last: Cell  # disk and the time to build grow with the size alone from here

    @classmethod
    def of(cls, cells: Sequence[Cell]) -> CostModel:
        """Fitted to two sizes or more, ascending."""
        first, last = cells[0], cells[-1]
        memory = (last.peak_mib - first.peak_mib) * 2**20 / (last.size - first.size)
        return cls(power_law({cell.size: cell.hybrid_p50 for cell in cells}), memory, last.start_mib, last)

    def query_ms(self, size: int) -> float:
        """Half of the hybrid queries of one process are faster."""
        factor, exponent = self.line
        return float(factor * size**exponent)

    def disk(self, size: int) -> float:
        """Bytes."""
        return size * self.last.bytes / self.last.size

    def resident(self, size: int) -> float:
        """Bytes of memory of the process that searches all of it."""
        return self.start_mib * 2**20 + size * self.memory

    def build_s(self, size: int) -> float:
        """Seconds to write and index."""
        return size * (self.last.write_s + self.last.index_s) / self.last.size


def _fits(cells: Sequence[Cell]) -> Iterator[Row]:
    """Exponents of growth, whether the model foretells the largest size, and what it says of sizes beyond."""
    by = {
        "hybrid": {cell.size: cell.hybrid_p50 for cell in cells},
        "lexical": {cell.size: cell.lexical_p50 for cell in cells},
        "dense": {cell.size: cell.dense_p50 for cell in cells},
    }
    span = f"{cells[0].size:,} to {cells[-1].size:,} passages; p50"
    for name, values in by.items():
        bar = {"at_most": 0.99} if name == "hybrid" else {}
        yield Row.of("growth of query time", f"exponent, {name}", power_law(values)[1], **bar, note=span)
    model = CostModel.of(cells)
    yield Row.of("growth of memory", "bytes a passage", model.memory, note=span)
    yield from _foretold(cells)
    for size in BEYOND:
        yield from _beyond(size, model)


def _foretold(cells: Sequence[Cell]) -> Iterator[Row]:
    """The model of the smaller sizes held against the largest, which it has not seen."""
    model, last = CostModel.of(cells[:-1]), cells[-1]
    sizes = " and ".join(f"{cell.size:,}" for cell in cells[:-1])
    found = {
        "hybrid query": (model.query_ms(last.size), last.hybrid_p50, "ms"),
        "memory": (model.resident(last.size) / 2**20, last.peak_mib, "MiB"),
        "disk": (model.disk(last.size) / 2**20, last.bytes / 2**20, "MiB"),
        "time to build": (model.build_s(last.size), last.write_s + last.index_s, "s"),
    }
    for what, (said, measured, unit) in found.items():
        yield Row.of(
            f"cost model of {sizes} passages, at {last.size:,}",
            f"{what}: times too high or too low",
            max(said / measured, measured / said),
            at_most=FORETOLD,
            note=f"foretold {said:,.4g} {unit}, measured {measured:,.4g}; the bar, a factor of {FORETOLD}, was set "
            "before the two were compared",
        )


def _beyond(size: int, model: CostModel) -> Iterator[Row]:
    system = f"10^{len(str(size)) - 1} passages, extrapolated"
    said = "not measured: the fitted line"
    yield Row.of(system, "hybrid query in one process: p50 ms", model.query_ms(size), note=said)
    yield Row.of(system, "terabytes on disk", model.disk(size) / 1e12, note="bytes a passage as measured")
    yield Row.of(system, "gigabytes of memory", model.resident(size) / 1e9, note="in one process")
    hours = model.build_s(size) / 3600
    yield Row.of(system, "core hours to write and index", hours * usable_cores(), note="if time grew with size alone")
