"""The order in which boxes are read: rows, their columns, and heads with what stands below them."""

from __future__ import annotations

import random

import pytest

from foveal.text.reading_order import Box, reading_order


def at(left, top, width=10, height=10):
    return Box(left, top, left + width, top + height)


@pytest.mark.parametrize(
    ("boxes", "order"),
    [
        ([], []),
        ([at(0, 20), at(0, 0), at(0, 40)], [1, 0, 2]),
        ([at(20, 0), at(0, 1), at(0, 19), at(20, 20)], [1, 0, 2, 3]),
        ([at(50, 0), at(0, 0, 40, 60), at(50, 20), at(50, 40)], [1, 0, 2, 3]),
        ([at(50, 0, 40, 60), at(0, 0), at(0, 20), at(0, 40)], [1, 2, 3, 0]),
        ([at(0, 0), at(20, 0), at(0, 11, 10, 50), at(20, 11, 10, 40)], [0, 2, 1, 3]),
        ([at(0, 0), at(20, 0), at(0, 11), at(20, 11)], [0, 1, 2, 3]),
        ([at(0, 0), at(20, 0), at(0, 11, 30, 50)], [0, 1, 2]),
        ([at(0, 0, 90, 90), at(5, 5), at(60, 6), at(5, 50)], [0, 1, 2, 3]),
        ([at(0, 0), at(0, 0), at(0, 0)], [0, 1, 2]),
        ([at(0, 9, 50, 10), at(0, 0, 50, 10)], [1, 0]),
        ([at(0, 0, 0, 0), at(0, 0, 0, 0)], [0, 1]),
    ],
    ids=[
        "none", "rows", "uneven", "boxes on the right", "boxes on the left", "heads", "a grid", "no heads",
        "on a ground", "one place", "a little over", "points",
    ],
)  # fmt: skip
def test_boxes_are_read_in_this_order(boxes, order):
    assert reading_order(boxes) == order


@pytest.mark.parametrize("seed", range(20))
def test_each_box_is_read_once_and_a_grid_by_rows_wherever_it_is_written(seed):
    chance = random.Random(seed)
    boxes = [at(*(chance.randrange(60) for _ in range(4))) for _ in range(30)]
    assert sorted(reading_order(boxes)) == list(range(30))
    grid = [(row, column) for row in range(4) for column in range(5)]
    chance.shuffle(grid)
    found = reading_order(
        [at(20 * column + chance.randrange(3), 20 * row + chance.randrange(3)) for row, column in grid]
    )
    assert [grid[n] for n in found] == sorted(grid)


def test_many_boxes_within_one_another_cost_little():
    stairs = [Box(n, n, 40_000, 40_000) for n in range(3000)] + [Box(n, 0, n, 50_000) for n in range(3000)]
    assert len(reading_order(stairs)) == 6000
