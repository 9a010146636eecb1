"""bench nn-exact: its rows hold, and its controls are what they say."""

from __future__ import annotations

import torch

from foveal.bench import nn_exact
from foveal.bench.settings import BenchSettings
from foveal.nn.titans import MAC, TitansSettings


def test_a_layer_streams_and_does_not_leak():
    settings = BenchSettings(quick=True)
    with torch.no_grad():
        rows = [*nn_exact.streaming("Aaren, 3 layers", settings), *nn_exact.writing(settings)]
    assert [row.system for row in rows if row.ok is False] == []
    named = {row.system: row.value for row in rows}
    assert named["a key written twice, both at the first weights"] < 0.9
    assert named["32 pairs, depth 2, updates off"] < 0.1


@torch.no_grad()
def test_roads_that_part_a_little_are_seen_in_float64(monkeypatch):
    def off(layer, x):
        return layer(x)[0] + 1e-7

    monkeypatch.setattr(nn_exact, "token_by_token", off)
    rows = {row.system: row.ok for row in nn_exact.streaming("Aaren, 3 layers", BenchSettings(quick=True))}
    assert rows["Aaren, 3 layers, token by token"] is True
    assert rows["Aaren, 3 layers, token by token, float64"] is False
    assert rows["Aaren, 3 layers, in pieces, float64"] is True


@torch.no_grad()
def test_all_layers_stream_in_float64():
    settings = BenchSettings(quick=True)
    rows = [row for name in nn_exact.LAYERS for row in nn_exact.streaming(name, settings)]
    assert [row.system for row in rows if row.ok is not True] == []
    assert len(rows) == 4 * len(nn_exact.LAYERS)


def test_a_layer_that_looks_ahead_is_seen():
    def ahead(x):
        return (x.flip(1).cumsum(1).flip(1),)

    assert nn_exact.leaked(ahead, 4, seed=0) == 1
    assert nn_exact.leaked(lambda x: (x.cumsum(1),), 4, seed=0) == 0


class Literal(MAC):
    """As the paper has it: all rows of a segment see what each of them recalled."""

    def forward(self, x, *_):
        memory, given = self.memory.init_state(len(x)), []
        for segment in x.split(self.settings.window, 1):
            recalled = self.recall(segment, self.memory.weights(memory))
            seen = segment + recalled.mean(1, keepdim=True)
            m, memory = self.memory(seen, memory)
            given.append(self.gate(seen, m))
        return self._projected(torch.cat(given, 1), x), None


@torch.no_grad()
def test_a_segment_that_sees_all_of_itself_is_seen():
    torch.manual_seed(0)
    layer = Literal(TitansSettings(dim=nn_exact.DIM, variant="mac", window=32))
    assert nn_exact.leaked(layer, nn_exact.DIM, 0) > 0.1
    assert nn_exact.leaked(layer, nn_exact.DIM, 0, half=256) == 0  # a cut at the edge of two segments sees nothing


def test_what_leaks_little_is_seen_in_float64():
    def ahead(x):
        return (x + 1e-9 * x.flip(1).cumsum(1).flip(1),)

    assert nn_exact.leaked(ahead, 4, seed=0) == 0
    assert nn_exact.leaked(ahead, 4, seed=0, dtype=torch.float64) == 1


@torch.no_grad()
def test_the_memory_is_known_in_special_cases():
    settings = BenchSettings()
    rows = [*nn_exact.rules(settings), *nn_exact.writing(settings)]
    assert [row.system for row in rows if row.ok is False] == []
    told = {(row.system, row.metric): row for row in rows}
    assert told["32 pairs, depth 2, chunk 16, eta 0.9, theta 0.2", "found"].bar == "≤ 0.5"
    assert told["32 pairs, depth 2, chunk 16, eta 0.5, theta 0.05", "found"].bar == "≥ 1"
    assert told["32 pairs, depth 2, chunk 16, eta 0.5, theta 0.2", "found"].bar == "≥ 0.9"
    assert told["32 pairs, depth 2, chunk 16, eta 0.5, theta 0.5", "found"].bar == "≤ 0.75"
    assert told["32 pairs, depth 2, chunk 16, eta 0.9, theta 0.05", "found"].bar == "≥ 0.85"
    assert told["32 pairs after all was forgotten towards 0", "norm of what is read"].value < 1e-12
    assert told["32 pairs after all was forgotten towards its first weights", "found"].value == 1
    assert sum("outer gradient" in system for system, _ in told) == 3


def test_pairs_are_forgotten_towards_their_rest():
    pairs = nn_exact.Pairs(torch.eye(64)[:4], torch.eye(64)[4:8], 0.0, alpha=0.5)
    rest = tuple(one + 1 for one in nn_exact.first_weights(1))
    (weights,) = pairs.written(tuple(one + 3 for one in rest), 2, rest)
    torch.testing.assert_close(weights, rest[0] + 3 / 16)
