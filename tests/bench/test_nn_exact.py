"""bench nn-exact: its rows hold, and its controls are what they say."""

from __future__ import annotations

import torch

from foveal.bench import nn_exact
from foveal.bench.settings import BenchSettings


def test_a_layer_streams_and_does_not_leak():
    settings = BenchSettings(quick=True)
    with torch.no_grad():
        rows = [*nn_exact.streaming("Aaren, 3 layers", settings), *nn_exact.writing(settings)]
    assert [row.system for row in rows if row.ok is not True] == []
    named = {row.system: row.value for row in rows}
    assert named["a key written twice, both at the first weights"] < 0.9
    assert named["32 pairs, depth 2, updates off"] < 0.1


def test_a_layer_that_looks_ahead_is_seen():
    def ahead(x):
        return (x.flip(1).cumsum(1).flip(1),)

    assert nn_exact.leaked(ahead, 4, seed=0) == 1
    assert nn_exact.leaked(lambda x: (x.cumsum(1),), 4, seed=0) == 0
