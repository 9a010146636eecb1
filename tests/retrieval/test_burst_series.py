"""The sums of all features of a bin at once, against those of one feature after the other: the same to the last bit."""

from __future__ import annotations

import json

import numpy as np

from foveal.retrieval.burst_series import FIRST_ROOM, Left, Series
from foveal.retrieval.bursts import BurstTracker

KEEP = [2 ** (-1 / 12), 2 ** (-1 / 112)]
SLOTS = 28


def folded(series, feature, at, x):
    """One feature: bin, sums, sums of squares, place in the week -> sum and last bin."""
    one = series.setdefault(feature, [at, [0.0, 0.0], [0.0, 0.0], {}])
    for place, keep in enumerate(KEEP):
        left = keep ** (at - one[0])
        one[1][place] = left * one[1][place] + x
        one[2][place] = left * one[2][place] + x * x
    seen, last = one[3].get(at % SLOTS, (0.0, at))
    one[3][at % SLOTS] = (KEEP[-1] ** (at - last) * seen + x, at)
    one[0] = at


def plain(series):
    return {
        name: [at, sums, squares, [[slot, *week[slot]] for slot in sorted(week)]]
        for name, (at, sums, squares, week) in series.items()
    }


def test_all_features_of_a_bin_at_once_are_one_after_the_other():
    draw, left = np.random.default_rng(0), Left(KEEP)
    rows, one_by_one, at = Series(2, SLOTS), {}, -40
    for _ in range(120):
        at += int(draw.integers(1, 9))
        counts = {f"f{n}": int(draw.integers(1, 9)) for n in draw.integers(3 * FIRST_ROOM, size=draw.integers(0, 40))}
        scale = float(draw.random()) + 0.1
        rows.fold(counts, at, np.fromiter(counts.values(), np.float64, len(counts)) * scale, left)
        for feature, count in counts.items():
            folded(one_by_one, feature, at, count * scale)
        assert len(rows) == len(one_by_one)
    assert rows.state() == plain(one_by_one)
    again = Series(2, SLOTS)
    again.restore(json.loads(json.dumps(rows.state())))
    assert again.state() == rows.state()
    again.fold(["new", "f1"], at + 3, np.array([1.0, 2.0]), left)
    folded(one_by_one, "new", at + 3, 1.0)
    folded(one_by_one, "f1", at + 3, 2.0)
    assert again.state() == plain(one_by_one)


def test_those_with_the_lowest_sums_are_forgotten_equal_ones_by_name():
    left, rows = Left(KEEP), Series(2, SLOTS)
    rows.fold(["d", "c", "a", "b"], 5, np.array([1.0, 1.0, 3.0, 1.0]), left)
    rows.fold(["e"], 9, np.array([1.0]), left)
    before = rows.state()
    rows.prune(3, 9, left)
    assert list(rows.rows) == ["a", "b", "e"]  # of b, c and d, which weigh the same, the first by name
    assert rows.state() == {name: before[name] for name in rows.rows}
    rows.fold(["z"], 10, np.array([1.0]), left)
    assert rows.state()["z"] == [10, [1.0, 1.0], [1.0, 1.0], [[10, 1.0, 10]]]


def test_powers_are_pythons_own_however_many_were_asked_for(monkeypatch):
    monkeypatch.setattr("foveal.retrieval.burst_series.MOST_POWERS", 5)
    left = Left(KEEP)
    assert all(left[bins] == tuple(keep**bins for keep in KEEP) for bins in range(12))
    assert len(left) <= 5
    assert left.of(np.array([3, 700, 3])).tolist() == [[keep**bins for keep in KEEP] for bins in (3, 700, 3)]


def test_the_highest_z_score_is_the_largest_of_all_or_0():
    draw, tracker = np.random.default_rng(2), BurstTracker()
    for at in np.sort(draw.integers(0, 200, 3000)).tolist():
        tracker.add(at, [f"f{int(n)}" for n in draw.integers(60, size=3)])
    for _ in range(200):
        features, at = [f"f{int(n)}" for n in draw.integers(70, size=5)], int(draw.integers(190, 204))
        assert tracker.highest(features, at) == max(0.0, *(tracker.z(one, at) for one in features))
    assert tracker.highest([], 200) == 0.0


def test_a_row_that_was_forgotten_is_another_features():
    left, rows = Left(KEEP), Series(2, SLOTS)
    rows.fold(["a", "b", "c"], 5, np.array([1.0, 2.0, 3.0]), left)
    kept = rows.state()["c"]
    rows.forget(["a", "b", "unknown"])
    assert (list(rows.rows), len(rows)) == (["c"], 1)
    rows.fold(["d", "e", "f"], 7, np.array([4.0, 5.0, 6.0]), left)
    assert sorted(rows.rows.values()) == [0, 1, 2, 3]
    assert rows.state() == {"c": kept} | {
        name: [7, [x, x], [x * x, x * x], [[7, x, 7]]] for name, x in (("d", 4.0), ("e", 5.0), ("f", 6.0))
    }
