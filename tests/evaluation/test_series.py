"""Tables and labelled series and event sequences, as their files have them."""

from __future__ import annotations

import gzip
import json
from datetime import datetime, timedelta

import numpy as np
import pytest

from foveal.errors import InputError
from foveal.evaluation.event_sequences import read_events
from foveal.evaluation.series import Table, read_table, read_ts, split_rows, standardised

TS = """# about
@problemName Tones
@classLabel true a b
@data
1,2,3:4,?,6:a
?,1:7:b
"""


def test_a_table_is_read_and_split_by_time(tmp_path):
    begin = datetime(2016, 7, 1)
    lines = ["date,HUFL,OT", *(f"{begin + timedelta(hours=at)},{at},{-at}" for at in range(14_500))]
    with gzip.open(tmp_path / "ETTm.csv.gz", "wt") as file:
        file.write("\n".join(lines))
    table = read_table(tmp_path / "ETTm.csv.gz")
    assert table.names == ("HUFL", "OT")
    assert table.values[3].tolist() == [3, -3]
    assert split_rows(table).test == (11_520, 14_400)  # months of 30 days
    other = Table("other.csv", table.names, table.values[:100], table.moments[:100])
    assert split_rows(other).dev == (70, 80)
    scaled, mean, spread = standardised(table.values, (0, 10))
    np.testing.assert_allclose(scaled[:10].mean(0), 0, atol=1e-6)
    np.testing.assert_allclose(scaled * spread + mean, table.values, rtol=1e-4, atol=1e-3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("date,a\n2020-01-01,1\nyesterday,2\n", "line 3"),
        ("date,a\n2020-01-01,1\n2020-01-02,nan\n", "needs 1 numbers"),
        ("date,a\n2020-01-01,1\n2020-01-02,1,2\n", "needs 1 numbers"),
        ("date\n", "header"),
        ("date,a\n2020-01-01,1\n\n", "two rows or more"),
        ("date,a\n2020-01-01,1\n2020-01-02,1e39\n", "at most 3.4e38"),
        ("date,a\n2020-01-01,1\n2020-01-02T00:00+00:00,2\n", "line 3: its date has a zone"),
    ],
)
def test_a_table_that_is_none(tmp_path, text, told):
    (tmp_path / "bad.csv").write_text(text)
    with pytest.raises(InputError, match=told):
        read_table(tmp_path / "bad.csv")


def test_a_damaged_archive_of_a_table_is_refused(tmp_path):
    packed = bytearray(gzip.compress(b"date,a\n2020-01-01,1\n2020-01-02,2\n" * 100))
    packed[20:22] = bytes(255 ^ one for one in packed[20:22])
    (tmp_path / "bad.csv.gz").write_bytes(packed)
    with pytest.raises(InputError, match="cannot be read"):
        read_table(tmp_path / "bad.csv.gz")


def test_a_ts_file_with_missing_values_and_uneven_channels(tmp_path):
    (tmp_path / "tones.ts").write_text(TS)
    found = read_ts(tmp_path / "tones.ts")
    assert found.labels == ("a", "b")
    assert found.series[0].tolist() == [[1, 4], [2, 4], [3, 6]]  # the last known value
    assert found.series[1].tolist() == [[0, 7], [1, 7]]
    (tmp_path / "bad.ts").write_text(TS.replace("@data", ""))
    with pytest.raises(InputError, match="@data"):
        read_ts(tmp_path / "bad.ts")
    for number, told in (("x", "line 5"), ("inf", "line 5.*beyond"), ("-1e39", "line 5.*beyond")):
        (tmp_path / "worse.ts").write_text(TS.replace("1,2,3", f"1,{number},3"))
        with pytest.raises(InputError, match=told):
            read_ts(tmp_path / "worse.ts")


def test_a_ts_file_from_windows(tmp_path):
    (tmp_path / "tones.ts").write_bytes(b"\xef\xbb\xbf@data\r\n1,2,3: a \r\n\r\n4:b\r\n")
    found = read_ts(tmp_path / "tones.ts")
    assert found.labels == ("a", "b")
    assert [one[:, 0].tolist() for one in found.series] == [[1, 2, 3], [4]]


def test_a_series_that_never_changes_in_training_has_no_spread():
    """In float32 the mean of equal values is another value, and the distance to it passed for a spread of 1e-8."""
    values = np.full((5000, 2), 0.1, np.float32)
    values[4000:, 0] = 0.2
    values[:, 1] = 1000 + np.random.default_rng(0).normal(0, 1, 5000)
    scaled, mean, spread = standardised(values, (0, 4000))
    assert {one.dtype for one in (scaled, mean, spread)} == {np.dtype(np.float32)}
    np.testing.assert_allclose(scaled[[0, -1], 0], [0, 0.1], atol=1e-7)
    assert spread[0] == 1
    exact = values[:4000, 1].astype(np.float64)
    np.testing.assert_allclose([mean[1], spread[1]], [exact.mean(), exact.std()], rtol=1e-7)


def test_events_are_read_and_cut(tmp_path):
    path = tmp_path / "some.jsonl"
    path.write_text(
        json.dumps({"times": [1, 1, 4, 9, 9.5], "types": [0, 1, 0, 2, 0]}) + "\n" + json.dumps({"times": [3]})
    )
    (one,) = read_events(path)
    assert one.gaps.tolist() == [0, 3, 5, 0.5]
    pieces = [(piece.times.tolist(), piece.marks.tolist()) for piece in one.pieces(2)]
    assert pieces == [([1, 1], [0, 1]), ([4, 9], [0, 2])]  # one event alone foretells nothing
    for line, told in (
        ({"times": [2, 1]}, "never fall"),
        ({"times": [1, 2], "types": [0]}, "as many"),
        ({"times": [1, 2], "types": [0.7, 1]}, "whole numbers"),  # not cut to 0
        ({"times": [1, 2], "types": [0, 2**70]}, "whole numbers"),
        ({"times": [1, 10**400]}, "is no"),
        ({"times": [1, float("nan")]}, "all of them numbers"),
        ({"times": [1]}, "no sequence"),
        ({}, "is no"),
    ):
        path.write_text(json.dumps(line))
        with pytest.raises(InputError, match=told):
            read_events(path)
