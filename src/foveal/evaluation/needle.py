"""Needle in a haystack: plants facts in a long text at known places, has it read, and asks what was kept and answered.

    cells = run(read, lambda tokens: haystack(essays, tokens, count), needles, [16_000, 64_000], range(0, 101, 10),
                store=folder / "ours.jsonl")
    summary(cells)["paraphrase"].retention

Length      tokens of the haystack, by the caller's counter; depth: per cent of its characters (see haystack.py)
Retained    every planted sentence lies wholly in what the reader kept; answered: the output holds the answer
Resuming    each result is written at once; a run that was killed goes on where it was. One file serves one reader on
            one haystack: results are known by needle, length and depth only

The test is by Kamradt (LLMTest_NeedleInAHaystack, 2023); what is retained is asked since InfiniRetri (Ye et al., 2025).
"""

from __future__ import annotations

import hashlib
import math
import random
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import cycle, islice, product
from pathlib import Path
from typing import TYPE_CHECKING

from foveal.errors import InputError, UnknownName
from foveal.evaluation.answers import contains
from foveal.evaluation.files import stored_lines, write_lines
from foveal.evaluation.haystack import Planted, plant
from foveal.evaluation.kept import Range
from foveal.evaluation.needles import Needle
from foveal.evaluation.plots import heatmap

if TYPE_CHECKING:
    import numpy as np

Place = tuple[str, int, float]
"""Key of a needle, length and depth: what a result is known by."""

MEASURES = {
    "retained": "share retained",
    "answered": "share answered",
    "memory_tokens": "tokens kept",
    "seconds": "seconds",
    "tokens_per_second": "tokens per second",
}
"""What `heat_map` can show of a cell, and how it is called there."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a reader did: its answer, the characters of the text that it kept and how many tokens those are, the
    seconds that it took, and the tokens that it read."""

    answer: str
    kept: Sequence[Range]
    memory_tokens: int
    seconds: float
    tokens_read: int


@dataclass(frozen=True, slots=True)
class Cell:
    """One needle at one length (tokens) and depth (%). `needle` is its `key`."""

    needle: str
    kind: str
    length: int
    depth: float
    retained: bool
    answered: bool
    answer: str
    memory_tokens: int
    seconds: float
    tokens_read: int

    @property
    def tokens_per_second(self) -> float:
        return self.tokens_read / self.seconds if self.seconds else math.inf


@dataclass(frozen=True, slots=True)
class Summary:
    """Over `cells` results: shares retained and answered, mean tokens kept, and all tokens read over all seconds."""

    cells: int
    retention: float
    accuracy: float
    memory_tokens: float
    tokens_per_second: float


def run(
    read: Callable[[str, str], Outcome],
    haystack_of: Callable[[int], str],
    needles: Sequence[Needle],
    lengths: Sequence[int],
    depths: Sequence[float],
    *,
    on_result: Callable[[Cell], None] | None = None,
    store: Path | None = None,
    per_place: int | None = None,
    answered: Callable[[str, str], bool] = contains,
) -> list[Cell]:
    """Have `read(text, question)` read each needle at each length and depth; results by length, then depth.

    With `store`, results that the file holds are taken from it and new ones are added. `per_place` plants only so
    many needles at each place, in turn from the list in an order drawn for each length. `answered(output, answer)`
    judges an output. `on_result` is called with each new result.
    """
    done = _stored(store) if store else {}
    cells = []
    for length, planned in _planned(needles, lengths, depths, per_place):
        missing = any((key(needle), length, depth) not in done for depth, needle in planned)
        text = haystack_of(length) if missing else ""
        for depth, needle in planned:
            place = key(needle), length, depth
            if place not in done:
                done[place] = _cell(read, plant(text, needle, needle.depths(depth)), length, depth, answered)
                if store:
                    write_lines(store, done.values())
                if on_result:
                    on_result(done[place])
            cells.append(done[place])
    return cells


def summary(cells: Sequence[Cell]) -> dict[str, Summary]:
    """For each kind of needle, in the order of the cells, what `Summary` says."""
    kinds = {kind: [cell for cell in cells if cell.kind == kind] for kind in dict.fromkeys(cell.kind for cell in cells)}
    return {kind: _summed(of_kind) for kind, of_kind in kinds.items()}


def heat_map(cells: Sequence[Cell], path: Path, measure: str = "retained", *, title: str | None = None) -> Path:
    """A PNG of the mean of `measure` at each depth (down) and length (across); shares are coloured from 0 to 1."""
    if measure not in MEASURES:
        raise UnknownName(f"No measure of cells is called {measure!r}. There are: {', '.join(MEASURES)}.")
    depths, lengths = (sorted({getattr(cell, name) for cell in cells}) for name in ("depth", "length"))
    at: dict[tuple[float, int], list[float]] = {}
    for cell in cells:
        at.setdefault((cell.depth, cell.length), []).append(float(getattr(cell, measure)))
    means = {place: sum(values) / len(values) for place, values in at.items()}
    return heatmap(
        [[means.get((depth, length), math.nan) for length in lengths] for depth in depths],
        path,
        title=title or f"Needles: {MEASURES[measure]}",
        x_label="length of the text (tokens)",
        y_label="depth of the needle (%)",
        value_label=MEASURES[measure],
        x_names=[f"{length:,}" for length in lengths],
        y_names=[f"{depth:g}" for depth in depths],
        limits=(0.0, 1.0) if measure in ("retained", "answered") else None,
    )


def linear_fit(lengths: Sequence[float], seconds: Sequence[float]) -> tuple[float, float]:
    """Slope (seconds per token) and R² of the least-squares line through the times of at least 3 lengths.

    R² alone does not tell n from n² (n² over lengths 1, 2, 4, 8, 16 has 0.95): look at `growth` as well.
    """
    import numpy as np

    x, y = _times(lengths, seconds)
    slope, intercept = np.polyfit(x, y, 1)
    unexplained, total = ((y - slope * x - intercept) ** 2).sum(), ((y - y.mean()) ** 2).sum()
    return float(slope), float(1 - unexplained / total) if total else 1.0


def growth(lengths: Sequence[float], seconds: Sequence[float]) -> float:
    """The exponent e of the best fit seconds = c · length^e: 1 is linear, 2 quadratic, 0 a fixed cost."""
    import numpy as np

    x, y = _times(lengths, seconds)
    return float(np.polyfit(np.log(x), np.log(y), 1)[0])


def _times(lengths: Sequence[float], seconds: Sequence[float]) -> tuple[np.ndarray, np.ndarray]:
    import numpy as np

    usable = all(0 < one < math.inf for one in (*lengths, *seconds))
    if len(lengths) != len(seconds) or len(set(lengths)) < 3 or not usable:
        raise InputError(
            f"Times {list(seconds)} came of the lengths {list(lengths)}; give one for each of at least 3 different "
            "lengths, all of them finite and above 0."
        )
    return np.asarray(lengths, dtype=float), np.asarray(seconds, dtype=float)


def key(needle: Needle) -> str:
    """Twelve hexadecimal digits that tell needles apart; another question makes another needle."""
    return hashlib.sha256(repr(needle).encode()).hexdigest()[:12]


def _planned(
    needles: Sequence[Needle], lengths: Sequence[int], depths: Sequence[float], per_place: int | None
) -> Iterator[tuple[int, list[tuple[float, Needle]]]]:
    for name, values in (("needles", needles), ("lengths", lengths), ("depths", depths)):
        if not len(values):
            raise InputError(f"A needle test got no {name}; give at least one.")
    if per_place is not None and not 1 <= per_place <= len(needles):
        raise InputError(f"per_place got {per_place} of {len(needles)} needles; it needs to be between 1 and that.")
    for length in lengths:
        if per_place is None:
            yield length, list(product(depths, needles))
        else:  # in an order of each length's own, so that no needle is bound to a depth
            turn = cycle(random.Random(length).sample(needles, len(needles)))
            yield length, [(depth, needle) for depth in depths for needle in islice(turn, per_place)]


def _cell(
    read: Callable[[str, str], Outcome],
    planted: Planted,
    length: int,
    depth: float,
    answered: Callable[[str, str], bool],
) -> Cell:
    needle = planted.needle
    outcome = read(planted.text, needle.question)
    return Cell(
        key(needle),
        needle.kind,
        length,
        depth,
        planted.retained(outcome.kept),
        answered(outcome.answer, needle.answer),
        outcome.answer,
        outcome.memory_tokens,
        outcome.seconds,
        outcome.tokens_read,
    )


def _summed(cells: Sequence[Cell]) -> Summary:
    count, seconds = len(cells), sum(cell.seconds for cell in cells)
    return Summary(
        count,
        sum(cell.retained for cell in cells) / count,
        sum(cell.answered for cell in cells) / count,
        sum(cell.memory_tokens for cell in cells) / count,
        sum(cell.tokens_read for cell in cells) / seconds if seconds else math.inf,
    )


def _stored(store: Path) -> dict[Place, Cell]:
    cells = stored_lines(store, Cell, what="results of a needle test")
    return {(cell.needle, cell.length, cell.depth): cell for cell in cells}
