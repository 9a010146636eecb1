"""bench memory-retrieval: its cells hold what is true of their heads, and go on where they were stopped."""

from __future__ import annotations

import pytest
import torch

from foveal.bench.memory_retrieval import exact_rows
from foveal.bench.memory_retrieval_data import Case
from foveal.bench.memory_retrieval_search import (
    K,
    _over,
    _read,
    group_cells,
    visits_for,
    within_scan,
)
from foveal.evaluation.files import stored_lines, write_lines


def case(head: int, seed: int) -> Case:
    draw = torch.Generator().manual_seed(seed)
    shared = torch.Generator().manual_seed(0)
    keys = torch.randn(900, 64, generator=shared) + 2
    parts = [torch.randn(count, 64, generator=draw) * 1.5 - 1 for count in (400, 40)]
    window = torch.randn(2, 30, 64, generator=shared)
    return Case(2, head, keys, torch.randn(900, 64, generator=shared), *parts, window[0], window[1])


@pytest.fixture(scope="module")
def made():
    return group_cells([case(1, 1), case(4, 2)], 1200, hnsw=True, controls=True)


def test_a_cell_tells_what_was_visited_found_and_left_out(made):
    for cell in made:
        assert cell.hidden == 900
        assert set(cell.curves) == {"roar", "hnsw", "hnsw, centred", "ivf", "ivf, centred"}
        assert all(of <= 1 and at > 0 for curve in cell.curves.values() for at, of in curve)
        assert cell.curves["roar"][-1][1] > 0.95
        assert cell.recovered["streaming"] < cell.recovered["roar"] <= cell.recovered["flat"] + 1e-6
        assert cell.error["tail"] < cell.error["roar"] < cell.error["streaming"]
        assert cell.error["averaged"] > cell.error["roar"]
        guessed, true = cell.missed
        assert guessed == pytest.approx(true, abs=0.05)
        assert 6 < cell.mahalanobis[0] < 10
        assert cell.controls["most frequent pivot, sinks hidden"] <= 1


def test_cells_come_back_from_their_file(made, tmp_path):
    write_lines(tmp_path / "cells.jsonl", made)
    assert [_read(line) for line in stored_lines(tmp_path / "cells.jsonl", dict, what="cells")] == made


def test_what_all_keys_give_is_their_softmax():
    logits, values = torch.randn(3, 50), torch.randn(50, 4)
    output, sums = _over(logits, values)
    torch.testing.assert_close(output[:, 0], logits.softmax(-1) @ values)
    torch.testing.assert_close(sums[:, 0], logits.logsumexp(-1))


def test_keys_for_a_recall_lie_between_two_measured_points():
    curve = [(100.0, 0.8), (200.0, 0.9), (300.0, 1.0)]
    assert visits_for(curve) == (pytest.approx(250), True)
    assert visits_for(curve, 0.7) == (100, True)
    assert visits_for(curve[:2]) == (200, False)
    assert within_scan(curve, 250) == 0.9
    assert within_scan(curve, 50) == 0
    assert K == 100


def test_merging_is_exact():
    merged = next(iter(exact_rows()))
    assert merged.ok
