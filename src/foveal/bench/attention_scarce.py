"""bench attention, scarce: tasks with several needles, at a quarter and at 35 % of the blocks.

At FlexPrefill's own density in texts of 4k (seven tenths) columns and diagonals of a fixed number answer as dense
attention does, and nothing can be better. Here every method, FlexPrefill and DHSA too, is brought to the same small
density by its own dial (attention_matched.py), as near as that goes: at 4k FlexPrefill cannot take less than a third.
Dense attention stands beside them.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from statistics import fmean

from foveal.attention import AttentionMethod, Dense
from foveal.bench.attention_cells import measured, samples_of
from foveal.bench.attention_matched import at_density, looks
from foveal.bench.attention_models import PromptReader
from foveal.bench.settings import BenchSettings
from foveal.evaluation.grid import Cell, differences, summary
from foveal.evaluation.likelihood import paired
from foveal.evaluation.ruler import TASKS
from foveal.evaluation.tables import Row

LENGTH, QUICK = 4_096, 3_072
COUNT = 8
"""Samples of each task."""

DENSITIES = (0.25, 0.35)
SAME = 0.03
"""Shares of the blocks that differ by no more are called equal."""

OURS = ("flexprefill-equal", "dhsa-equal", "dhsa-blocks")
BEFORE = ("dhsa-sink-4",)
"""DHSA with four blocks of first keys, as it was."""

OTHERS = ("vertical-slash", "streaming", "block-topk", "random", "block-topk-tail", "random-tail")


def scarce(settings: BenchSettings) -> Iterator[Row]:
    """Rows of every method at each density, and of ours less the others."""
    reader = PromptReader(settings)
    length, count = (QUICK, 1) if settings.quick else (LENGTH, COUNT)
    names = [task for task in TASKS if task.startswith("niah_multi")]
    samples = samples_of(reader, length, count, names)
    dense = measured(reader, {"dense": Dense()}, samples)
    yield from _shown(dense)
    seen = looks(reader, reader.model.encode(samples[0].prompt))
    for density in DENSITIES[-1:] if settings.quick else DENSITIES:
        methods: dict[str, AttentionMethod] = at_density(seen, density, (*OURS, *BEFORE, *OTHERS))
        cells = measured(reader, methods, samples)
        yield from _shown(cells)
        for ours in OURS:
            for other in OTHERS:
                yield from _ahead(cells, f"{ours}@{density:.2f}", f"{other}@{density:.2f}")


def _shown(cells: Sequence[Cell]) -> Iterator[Row]:
    for (method, setting), of in summary(cells).items():
        name = f"scarce, {method}@{setting}" if setting else f"scarce, {method}"
        yield Row.of(name, "accuracy", of.accuracy, note=f"{of.cells} samples; density {of.density:.3f}")
        if of.gold_nats is not None:
            yield Row.of(name, "nats a token of the gold answer", of.gold_nats)


def _ahead(cells: Sequence[Cell], ours: str, other: str) -> Iterator[Row]:
    """Ours less another; the bar holds where ours took no more of the blocks."""
    gained = paired(differences(cells, ours, other), seed=0)
    nats = paired(differences(cells, ours, other, "gold_nats"), seed=0)
    took, left = (fmean(cell.density for cell in cells if cell.system == name) for name in (ours, other))
    fair = took <= left + SAME
    note = f"95 % of {gained.count} pairs: {gained.low:+.3f} to {gained.high:+.3f}; nats a token {nats.mean:+.3f}"
    note += "" if fair else f"; no bar: it took {took:.2f} of the blocks, the other {left:.2f}"
    name = f"scarce, {ours} less {other}"
    yield Row.of(name, "accuracy", gained.mean, at_least=0.0001 if fair else None, note=note)
