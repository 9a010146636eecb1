"""Pictures as PNG, whole or not at all: bars, lines, heat maps, grids, borders of a text (matplotlib, no display).

matplotlib comes with `foveal[bench]`. Figures are made without pyplot, so that nothing is kept between two of them
and the caller's own plots are left alone.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Mapping, Sequence
from datetime import date
from importlib import import_module
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from foveal.errors import InputError
from foveal.evaluation.files import whole_file
from foveal.evaluation.tables import Row, shown
from foveal.registry import require

if TYPE_CHECKING:
    import numpy as np

COLOURS = ("#0072b2", "#d55e00", "#009e73", "#cc79a7", "#56b4e9", "#e69f00", "#000000")
"""Told apart in all common forms of colour blindness (Okabe and Ito, 2008)."""
MARKERS = ("o", "s", "^", "D", "v", "P", "X")
DOTS_PER_INCH = 150
BORDERS_WIDE = 10
"""Inches of a picture of borders."""
LETTERS = 9
"""Of a title or label, that fit into an inch."""
SMALL_LETTERS, LEAST_LETTERS = 12, 6
"""Of a name above a picture: those that fit into an inch, and how few of one still say something."""


def mark_of(index: int) -> dict[str, str]:
    """Colour and marker of line number `index`: no two alike up to 49 lines."""
    colour, again = index % len(COLOURS), index // len(COLOURS)
    return {"color": COLOURS[colour], "marker": MARKERS[(colour + again) % len(MARKERS)]}


def bars(rows: Sequence[Row], path: Path, *, title: str) -> Path:
    """One panel for each metric, one bar for each system; a row that fell short is hatched and says so."""
    metrics = list(dict.fromkeys(row.metric for row in rows))
    if not metrics:
        raise InputError("A bar chart got no rows; give at least one.")
    panels = [[row for row in rows if row.metric == metric] for metric in metrics]
    heights = [len(panel) + 1.2 for panel in panels]
    figure = blank(8, 0.7 + 0.42 * sum(heights))
    figure.suptitle(plain(title), fontsize=13)
    axes = figure.subplots(len(panels), 1, squeeze=False, gridspec_kw={"height_ratios": heights})
    for axis, metric, panel in zip(axes[:, 0], metrics, panels, strict=True):
        _bar_panel(axis, metric, panel)
    return saved(figure, path)


def lines(
    x: Sequence[float] | Sequence[date],
    series: Mapping[str, Sequence[float]],
    path: Path,
    *,
    title: str,
    x_label: str,
    y_label: str,
    logarithmic: str = "",
) -> Path:
    """One line for each of `series` over `x`, numbers or days; the labels name the units.

    `logarithmic` is any of "x", "y", "xy".
    """
    for name, values in series.items():
        if len(values) != len(x):
            raise InputError(f"The line {name!r} has {len(values)} values over {len(x)} places; these must be equal.")
    figure = blank(8, 5)
    axis = figure.subplots()
    for index, (name, values) in enumerate(series.items()):
        axis.plot(x, values, label=plain(name), linewidth=1.8, markersize=5, **mark_of(index))
    if all(value == int(value) for values in series.values() for value in values if math.isfinite(value)):
        _whole(axis.yaxis)  # no half documents
    for name in logarithmic:
        _logarithmic(axis, name)
    if len(x) and isinstance(x[0], date):
        _dated(axis)
    axis.set(title=plain(title), xlabel=plain(x_label), ylabel=plain(y_label))
    axis.grid(visible=True, alpha=0.3)
    if series:
        axis.legend(frameon=False)
    return saved(figure, path)


def _dated(axis: Any) -> None:
    dates: Any = import_module("matplotlib.dates")
    places = dates.AutoDateLocator(minticks=3, maxticks=8)
    axis.xaxis.set_major_locator(places)
    axis.xaxis.set_major_formatter(dates.ConciseDateFormatter(places))


def heatmap(
    matrix: np.ndarray | Sequence[Sequence[float]],
    path: Path,
    *,
    title: str,
    x_label: str,
    y_label: str,
    value_label: str,
    x_names: Sequence[str] | None = None,
    y_names: Sequence[str] | None = None,
    limits: tuple[float, float] | None = None,
) -> Path:
    """A matrix (rows downward) as colours, its numbers written in where there are few; names label columns and rows.

    The colours reach from the least to the greatest value, or over `limits`; a NaN has none.
    """
    import numpy as np

    values = np.asarray(matrix, dtype=float)
    if values.ndim != 2 or values.size == 0:
        raise InputError(f"A heat map got an array of shape {values.shape}; it needs rows and columns, at least one.")
    rows, columns = values.shape
    for what, names, count in (("columns", x_names, columns), ("rows", y_names, rows)):
        if names is not None and len(names) != count:
            raise InputError(f"A heat map of {count} {what} got {len(names)} names for them; give one for each.")
    width, height = min(12.0, max(6.0, 2.5 + 0.55 * columns)), min(10.0, max(3.5, 1.8 + 0.4 * rows))
    figure = blank(width, height)
    axis = figure.subplots()
    low, high = limits or (None, None)
    image = axis.imshow(values, aspect="auto", cmap="viridis", interpolation="nearest", vmin=low, vmax=high)
    figure.colorbar(image, label=plain(fill(value_label, int(LETTERS * (height - 1)))))
    axis.set(title=plain(fill(title, int(LETTERS * (width - 1.5)))), xlabel=plain(x_label), ylabel=plain(y_label))
    _names(axis.xaxis, x_names, slanted=True)
    _names(axis.yaxis, y_names, slanted=False)
    if rows <= 20 and columns <= 14:
        _numbers(axis, values, image)
    return saved(figure, path)


def grids(panels: Mapping[str, np.ndarray], path: Path, *, columns: int, title: str) -> Path:
    """Boolean matrices (rows, places) side by side, `columns` to a row, each under its name; what is true is dark."""
    if not panels or columns < 1:
        raise InputError(f"{len(panels)} grids came, {columns} to a row; give at least one of each.")
    rows = -(-len(panels) // columns)
    figure = blank(max(6.0, 1.25 * columns), 0.6 + 1.5 * rows)
    figure.suptitle(plain(title), fontsize=12)
    axes = figure.subplots(rows, columns, squeeze=False).flat
    for axis, (name, matrix) in zip(axes, panels.items(), strict=False):
        axis.imshow(matrix, cmap="Blues", vmin=0, vmax=1, interpolation="nearest", aspect="auto")
        axis.set_title(plain(name), fontsize=6)
        axis.set_xticks([])
        axis.set_yticks([])
    for axis in list(axes)[len(panels) :]:
        axis.set_axis_off()
    return saved(figure, path)


def borders(
    gaps: Sequence[tuple[int, float]],
    opened: Sequence[tuple[int, int]],
    length: int,
    path: Path,
    *,
    title: str,
    parts: Sequence[tuple[int, int, str]] = (),
) -> Path:
    """Where a text of `length` characters was cut: `gaps` are places with the probability of a border there, 0 to 1;
    `opened` the places that begin a segment, with their level in the tree (1: the top, the thickest line). Without gaps
    there is no scale: where it is cut is all that is known. `parts` (start, end, name) are named above, where there is
    room.
    """
    if length < 1:
        raise InputError("A picture of borders got a text of no characters; give one with some.")
    figure = blank(BORDERS_WIDE, 3.6)
    axis = figure.subplots()
    thicker = " (thicker: of a higher level)" if len({level for _, level in opened}) > 1 else ""
    for at, (place, level) in enumerate(opened):
        width = max(0.6, 2.4 - 0.6 * (level - 1))
        axis.axvline(place, color=COLOURS[1], linewidth=width, alpha=0.7, label="" if at else f"cut here{thicker}")
    if gaps:
        places, values = zip(*sorted(gaps), strict=True)
        axis.vlines(places, 0, values, color=COLOURS[0], linewidth=1.2)
        told = "between two paragraphs: how likely a border is"
        axis.plot(places, values, linestyle="", marker="o", markersize=3, color=COLOURS[0], label=told)
    axis.set(xlabel="character", ylabel="probability of a border", xlim=(0, length), ylim=(0, 1))
    if not gaps:
        axis.set(ylabel="", yticks=[])
    if not opened:
        axis.text(0.5, 0.5, "one passage: nothing is cut", transform=axis.transAxes, ha="center", va="center")
    named = _named_above(axis, parts, length)
    axis.set_title(plain(title), pad=18 if named else None)
    if gaps or opened:
        figure.legend(loc="outside lower center", ncols=2, frameon=False, fontsize=9)
    return saved(figure, path)


def _named_above(axis: Any, parts: Sequence[tuple[int, int, str]], length: int) -> bool:
    """Write names above their stretches, shortened to the room there; whether there is any."""
    for start, end, name in parts:
        room = int(BORDERS_WIDE * SMALL_LETTERS * (end - start) / length)
        if name and room >= LEAST_LETTERS:
            shown_name = name if len(name) <= room else f"{name[: room - 1].rstrip()}…"
            middle = (start + end) / 2
            axis.text(middle, 1.02, plain(shown_name), transform=axis.get_xaxis_transform(), ha="center", fontsize=8)
    return any(name for _, _, name in parts)


def _bar_panel(axis: Any, metric: str, panel: Sequence[Row]) -> None:
    places = range(len(panel))
    lengths = [row.value if math.isfinite(row.value) else 0.0 for row in panel]
    colours = [COLOURS[1] if row.ok is False else COLOURS[0] for row in panel]
    drawn = axis.barh(places, lengths, color=colours, height=0.66)
    for bar, row in zip(drawn, panel, strict=True):
        bar.set_hatch("//" if row.ok is False else "")
        bar.set_edgecolor("white")
    notes = [shown(row.value) + (f"  (asked {row.bar}: fell short)" if row.ok is False else "") for row in panel]
    axis.bar_label(drawn, labels=[plain(note) for note in notes], padding=4, fontsize=9)
    axis.set_yticks(places, [plain(row.system) for row in panel])
    axis.invert_yaxis()
    longest = max(len(note) for note in notes)
    axis.margins(x=0.1 + 0.012 * longest)
    axis.set_xlabel(plain(metric))
    axis.spines[["top", "right"]].set_visible(False)


def _whole(axis: Any) -> None:
    axis.set_major_locator(require("matplotlib.ticker", extra="bench").MaxNLocator(integer=True))


def _logarithmic(axis: Any, name: str) -> None:
    """Make the axis `name` logarithmic, with plain numbers at 1, 2 and 5 of each decade."""
    if name not in ("x", "y"):
        raise InputError(f"No axis is called {name!r}; `logarithmic` is any of 'x', 'y', 'xy'.")
    ticker = require("matplotlib.ticker", extra="bench")
    axis.set(**{f"{name}scale": "log"})
    chosen = getattr(axis, f"{name}axis")
    chosen.set_major_locator(ticker.LogLocator(subs=(1, 2, 5)))
    chosen.set_major_formatter(lambda value, _: shown(value))
    chosen.set_minor_formatter(ticker.NullFormatter())


def _names(axis: Any, names: Sequence[str] | None, *, slanted: bool) -> None:
    if names is None:
        _whole(axis)
        return
    step = max(1, math.ceil(len(names) / 40))  # more names than that cannot be read
    places = range(0, len(names), step)
    turned = {"rotation": 45, "ha": "right", "rotation_mode": "anchor"} if slanted else {}
    axis.set_ticks(places, [plain(names[place]) for place in places], fontsize=9, **turned)


def _numbers(axis: Any, values: np.ndarray, image: Any) -> None:
    for (row, column), value in _cells(values):
        red, green, blue, _ = image.cmap(image.norm(value))
        dark = 0.299 * red + 0.587 * green + 0.114 * blue < 0.5
        style = {"ha": "center", "va": "center", "fontsize": 8, "color": "white" if dark else "black"}
        axis.text(column, row, f"{value:.3g}", **style)


def _cells(values: np.ndarray) -> list[tuple[tuple[int, int], float]]:
    rows, columns = values.shape
    return [((row, column), float(values[row, column])) for row in range(rows) for column in range(columns)]


def plain(text: str) -> str:
    """Text in which a dollar sign is one, and opens no formula."""
    return text.replace("$", r"\$")


def blank(width: float, height: float) -> Any:
    """An empty figure, in inches, that fits its labels in; without pyplot it draws by Agg, which needs no display."""
    module = require("matplotlib.figure", extra="bench")
    return module.Figure(figsize=(width, height), dpi=DOTS_PER_INCH, layout="constrained")


def saved(figure: Any, path: Path) -> Path:
    """Write a figure as PNG, whole or not at all. InputError: another ending."""
    if path.suffix != ".png":
        raise InputError(f"A plot was to be written to {path}; its name must end in .png.")
    with whole_file(path) as partial, warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Glyph .* missing from font")  # drawn as a box, which is enough
        figure.savefig(partial, format="png")
    return path
