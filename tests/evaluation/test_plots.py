import math
import subprocess
import sys
from datetime import date, timedelta

import numpy as np
import pytest

from foveal.errors import InputError
from foveal.evaluation import plots
from foveal.evaluation.plots import bars, borders, heatmap, lines
from foveal.evaluation.tables import Row

pytest.importorskip("matplotlib")

LABELS = {"title": "Costs $5 and $6, 中文", "x_label": "token", "y_label": "layer"}
PNG = b"\x89PNG\r\n\x1a\n"


def pixels(path):
    from matplotlib.image import imread

    assert path.read_bytes().startswith(PNG)
    return imread(path)[:, :, :3]


def share_of(image, colour):
    wanted = np.array([int(colour[i : i + 2], 16) / 255 for i in (1, 3, 5)])
    return (np.abs(image - wanted).max(axis=2) < 0.02).mean()


def test_bars_are_as_long_as_their_values_and_mark_what_fell_short(tmp_path):
    rows = [Row.of("ours", "ms", 4), Row.of("peer", "ms", 1), Row.of("broken", "ms", math.nan, at_least=1)]
    image = pixels(bars(rows, tmp_path / "bars.png", title="t"))
    blue = np.abs(image - np.array([0, 0x72 / 255, 0xB2 / 255])).max(axis=2) < 0.02
    lengths = sorted(set(blue.sum(axis=1)))  # of each line of pixels
    assert lengths[-1] == pytest.approx(4 * lengths[1], rel=0.02)
    fallen = pixels(bars([Row.of("ours", "ms", 4, at_most=3)], tmp_path / "fell.png", title="t"))
    assert share_of(image, "#d55e00") == 0
    assert share_of(fallen, "#d55e00") > 0.02


def test_each_metric_has_its_panel(tmp_path):
    one = pixels(bars([Row.of("a", "ms", 1)], tmp_path / "1.png", title="t"))
    two = pixels(bars([Row.of("a", "ms", 1), Row.of("a", "nDCG", 0.5)], tmp_path / "2.png", title="t"))
    assert two.shape[0] > one.shape[0]


def test_lines_have_a_colour_each(tmp_path):
    series = {"flat": [1, 2, 3], "index": [1, math.nan, 1]}
    image = pixels(lines(np.array([10, 100, 1000]), series, tmp_path / "lines.png", logarithmic="xy", **LABELS))
    assert share_of(image, "#0072b2") > 0
    assert share_of(image, "#d55e00") > 0


@pytest.mark.parametrize("days", [1, 4, 5, 14])
def test_few_days_have_their_marks(tmp_path, days):
    span = [date(2026, 1, 1) + timedelta(days=day) for day in range(days)]
    assert lines(span, {"a": [1.0] * days}, tmp_path / "days.png", **LABELS).is_file()  # a warning would be an error


@pytest.mark.parametrize(("values", "whole"), [([0, 1, 2], True), ([0.0, 0.5, 2.0], False)], ids=["counts", "shares"])
def test_what_is_counted_has_no_half_ticks(tmp_path, monkeypatch, values, whole):
    kept = []
    monkeypatch.setattr(plots, "saved", lambda figure, _: kept.append(figure))
    lines([1, 2, 3], {"items": values}, tmp_path / "counts.png", **LABELS)
    (axis,) = kept[0].axes
    assert all(tick == int(tick) for tick in axis.get_yticks()) is whole


def test_a_heat_map_has_a_cell_for_each_value(tmp_path):
    image = pixels(heatmap([[0, 1], [1, 0]], tmp_path / "h.png", value_label="share", x_names=["a", "b"], **LABELS))
    low, high = share_of(image, "#440154"), share_of(image, "#fde725")  # the ends of viridis
    assert low == pytest.approx(high, rel=0.1)
    assert low > 0.1


def test_long_words_around_a_heat_map_are_broken_into_lines_that_fit(tmp_path):
    long = {"title": "heads of a model, and what they give to it " * 3, "value_label": "share of looks at a token " * 4}
    image = pixels(heatmap([[0, 1], [1, 0]], tmp_path / "h.png", **LABELS | long))
    edges = [image[0], image[-1], image[:, 0], image[:, -1]]
    assert all((edge == 1).all() for edge in edges)


@pytest.mark.parametrize(
    ("draw", "message"),
    [
        (lambda path: bars([], path, title="t"), "got no rows"),
        (lambda path: lines([1, 2], {"a": [1]}, path, **LABELS), "'a' has 1 values over 2 places"),
        (lambda path: lines([1], {"a": [1]}, path, logarithmic="z", **LABELS), "No axis is called 'z'"),
        (lambda path: heatmap([1, 2], path, value_label="v", **LABELS), r"shape \(2,\)"),
        (lambda path: heatmap([[1]], path, value_label="v", x_names=["a", "b"], **LABELS), "2 names"),
        (lambda path: lines([1], {"a": [1]}, path.with_suffix(".pdf"), **LABELS), r"must end in \.png"),
    ],
)
def test_what_cannot_be_drawn_is_an_error_and_leaves_no_file(tmp_path, draw, message):
    with pytest.raises(InputError, match=message):
        draw(tmp_path / "out.png")
    assert list(tmp_path.iterdir()) == []


def test_importing_loads_no_matplotlib():
    code = "import foveal.evaluation.plots, sys; print('matplotlib' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, check=True).stdout.strip() == b"False"


def test_borders_show_gaps_and_what_was_opened(tmp_path):
    image = pixels(borders([(20, 0.9), (60, 0.1)], [(20, 1)], 100, tmp_path / "a.png", title="A $5 text"))
    assert share_of(image, "#0072b2") > 0
    none = pixels(borders([], [], 100, tmp_path / "b.png", title="t"))
    assert (none[150:-150, 300:-300] < 0.5).any()  # says that nothing is cut
    parts = [(0, 60, "A long name of a part"), (60, 97, ""), (97, 100, "No room here")]
    named = pixels(borders([], [(60, 1), (97, 2)], 100, tmp_path / "d.png", title="", parts=parts))
    dark = (named < 0.5).any(axis=2)
    above = dark[: dark.mean(axis=1).argmax()].any(axis=0)  # what stands over the frame
    quarter = len(above) // 4
    assert above[quarter : 2 * quarter].any()  # in the middle of the first part
    assert not above[3 * quarter :].any()
    assert share_of(none, "#0072b2") == share_of(none, "#d55e00") == 0
    with pytest.raises(InputError, match="no characters"):
        borders([], [], 0, tmp_path / "c.png", title="t")
