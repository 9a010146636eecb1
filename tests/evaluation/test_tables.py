import io
import json
import math

import numpy as np
import pytest
from rich.console import Console

from foveal.evaluation.tables import Row, all_hold, largest, least, mean, shown, table


@pytest.mark.parametrize(
    ("value", "bounds", "bar", "ok"),
    [
        (0.7, {"at_least": 0.67}, "≥ 0.67", True),
        (0.67, {"at_least": 0.67}, "≥ 0.67", True),
        (0.66, {"at_least": 0.67}, "≥ 0.67", False),
        (5, {"at_most": 5}, "≤ 5", True),
        (5.1, {"at_most": 5}, "≤ 5", False),
        (12, {"at_least": 12, "at_most": 30}, "12 to 30", True),
        (31, {"at_least": 12, "at_most": 30}, "12 to 30", False),
        (math.nan, {"at_least": 0}, "≥ 0", False),
        (math.nan, {"at_most": 0}, "≤ 0", False),
        (math.inf, {"at_most": 1e9}, "≤ 1,000,000,000", False),
        (3, {}, None, None),
    ],
)
def test_a_row_is_held_against_its_bounds(value, bounds, bar, ok):
    row = Row.of("system", "metric", value, **bounds)
    assert (row.bar, row.ok) == (bar, ok)


@pytest.mark.parametrize("bounds", [{"at_least": np.float64(0.5)}, {"at_most": np.float32(0.1)}])
def test_a_bar_of_numpy_is_a_plain_one(bounds):
    """Its False is not `False`: such a row fell short in the table, and not in the exit status."""
    row = Row.of("system", "metric", 0.2, **bounds)
    assert row.ok is False
    assert json.loads(json.dumps(row.as_json()))["ok"] is False


@pytest.mark.parametrize("errors", [(math.nan, 0.0), (0.0, math.nan), (0.1, math.nan, 0.2)])
def test_an_error_that_is_no_number_is_the_largest(errors):
    assert math.isnan(largest(*errors))
    assert Row.of("ours", "largest error", largest(*errors), at_most=1e-5).ok is False
    assert largest(0.1, -1.0, 0.2) == 0.2
    assert math.isnan(least(*errors))
    assert least(0.1, -1.0, 0.2) == -1.0


def test_the_mean_of_none_is_no_number_and_meets_no_bar():
    assert mean([True, False, True, True]) == 0.75
    assert math.isnan(mean([]))
    assert Row.of("ours", "share", mean([]), at_least=0.0, at_most=1.0).ok is False


def test_where_all_are_asked_to_hold_one_that_does_not_falls_short_and_so_does_none():
    row = all_hold("ours", "cites", [True, True, False, True])
    assert (row.value, row.ok, row.note) == (0.75, False, "3 of 4")
    assert all_hold("ours", "cites", [True]).ok is True
    assert all_hold("ours", "cites", []).ok is False


def test_a_row_is_plain_json():
    row = Row.of("ours", "nDCG@10", 0.5, at_least=0.4, note="seed 0")
    expected = {"system": "ours", "metric": "nDCG@10", "value": 0.5, "bar": "≥ 0.4", "ok": True, "note": "seed 0"}
    assert json.loads(json.dumps(row.as_json(), allow_nan=False)) == expected
    assert Row.of("ours", "nDCG@10", math.nan).as_json()["value"] is None


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0.68634, "0.6863"),
        (1234.5, "1,234"),
        (999.96, "1000"),
        (1000, "1,000"),
        (-2e6, "-2,000,000"),
        (math.inf, "inf"),
        (0, "0"),
        (math.nan, "nan"),
    ],
)
def test_numbers_are_shown_with_four_digits(value, text):
    assert shown(value) == text


def test_the_table_shows_what_fell_short_and_takes_no_markup():
    rows = [Row.of("[bold]ours[/bold]", "ms", 3, at_most=5), Row.of("peer", "ms", 9, at_most=5, note="busy [sic]")]
    out = io.StringIO()
    Console(file=out, width=120).print(table(rows, title="bench [x]"))
    lines = out.getvalue().splitlines()
    assert "bench [x]" in lines[0]
    (ours,) = [line for line in lines if "[bold]ours[/bold]" in line]
    (peer,) = [line for line in lines if "peer" in line]
    assert "ok" in ours
    assert "≤ 5" in ours
    assert "FELL SHORT" in peer
    assert "busy [sic]" in peer


def test_a_table_may_be_empty():
    assert table([]).row_count == 0
