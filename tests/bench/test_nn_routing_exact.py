"""bench nn-routing, exact: its rows hold, and its definitions tell another rule apart."""

from __future__ import annotations

import pytest
import torch

from foveal.bench import nn_routing, nn_routing_exact
from foveal.bench.settings import BenchSettings


def test_both_selections_are_their_definitions():
    rows = list(nn_routing_exact.routed_exactly(BenchSettings(quick=True)))
    assert [row.system for row in rows if row.ok is not True] == []
    assert len(rows) == 12
    assert max(row.value for row in rows if row.metric == "largest difference") > 0  # two roads, not one


@torch.no_grad()
def test_another_rule_is_seen():
    layer, x = nn_routing_exact.layer_of(0), torch.randn(1, 60, 32, dtype=torch.float64)
    made = layer(x).output
    for other in (nn_routing_exact.by_mask(layer, x, window=8), nn_routing_exact.in_full(layer, x)):
        assert (made - other).abs().max() > 1e-3
    near = nn_routing_exact.layer_of(0, routing_heads=0, local_window=11)
    nearer = nn_routing_exact.layer_of(0, routing_heads=0, local_window=10)
    assert (near(x).output - nn_routing_exact.in_blocks(nearer, x)).abs().max() > 1e-3
    topk = nn_routing_exact.layer_of(0, selection="topk")
    both = nn_routing_exact.layer_of(0, selection="topk", causal=False, share_qk=True)
    assert (topk(x).output - nn_routing_exact.by_cluster(both, x)).abs().max() > 1e-3


def test_planted_directions_are_no_easy_set():
    """k-means is wrong of some tokens, so that a tenth less would be seen."""
    pytest.importorskip("sklearn")
    (row,) = nn_routing.clusters(BenchSettings(quick=True))
    theirs = float(row.note.rpartition(" ")[2])
    assert 0.9 < theirs < 0.97
    assert row.ok
