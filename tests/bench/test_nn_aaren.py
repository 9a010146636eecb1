"""bench nn-aaren: its checks hold for Aaren, and would not for something else."""

from __future__ import annotations

import math
from types import SimpleNamespace

import numpy as np
import torch

from foveal.bench import nn_aaren, nn_aaren_recall, nn_aaren_tables, nn_routing
from foveal.bench.settings import BenchSettings
from foveal.evaluation.event_sequences import Events
from foveal.nn.scan import SCANS
from foveal.training.loop import LoopSettings


def test_the_exact_checks():
    assert nn_aaren.gradients() <= nn_aaren.GRADIENT
    assert nn_aaren.merged(0) <= nn_aaren.DOUBLE
    assert nn_aaren.slope([10, 100, 1000], [1, 100, 10_000]) == 2


def test_a_gradient_that_is_off_by_little_is_seen(monkeypatch):
    def off(pieces, decay):
        seen = SCANS["step"](pieces, decay)
        return seen._replace(w=seen.w * (1 + 1e-13))

    monkeypatch.setitem(SCANS, "off", off)
    assert nn_aaren.gradients(["off"]) > nn_aaren.GRADIENT


def test_a_gigabyte_is_a_thousand_million_bytes():
    assert nn_aaren.MOST_MIB * 2**20 == nn_routing.MEMORY_MIB * 2**20 == 1e9


def test_the_true_rate_is_integrated():
    one = Events(np.array([0.0, 0.5, 2.0]), np.array([0, 0, 0]))

    def rate(t: float) -> float:
        return 0.2 + 0.8 * sum(math.exp(-(t - at)) for at in one.times if at < t)

    told = 0.0
    for begin, end in ((0.0, 0.5), (0.5, 2.0)):
        places = np.linspace(begin + 1e-9, end, 20_001)
        told += np.trapezoid([rate(t) for t in places], places) - math.log(rate(end))
    assert abs(nn_aaren_tables.true_nats([one]) - told / 2) < 1e-4


def test_what_is_below_the_true_rate_has_seen_what_it_foretells(monkeypatch):
    monkeypatch.setattr(nn_aaren_tables, "is_set", lambda *_: True)
    monkeypatch.setattr(nn_aaren_tables, "true_nats", lambda _: 0.5)
    told = {"nll": 0.49, "time_nll": 0.49, "mark_nll": 0.0, "rmse": 1.0, "accuracy": 1.0, "streamed": 0, "mean gap": 1}
    found = {
        name: [{"told": {**told, "time_nll": nats}, "baseline": told}]
        for name, nats in (("aaren", 0.51), ("attention", 0.49), ("gru", 0.3))
    }
    rows = {row.system: row for row in nn_aaren_tables._event_rows("hawkes", found, [])}
    met = [rows[f"hawkes, {name} less the true rate"].ok for name in found]
    assert met == [True, True, False]


def test_pairs_ask_for_what_was_said():
    tokens, answers = nn_aaren_recall.Pairs(10, 0)[3]
    said = {int(tokens[2 * at]): int(tokens[2 * at + 1]) - 16 for at in range(4)}
    assert len(said) == 4
    assert [said[int(key)] for key in tokens[8:]] == answers[8:].tolist()
    assert (answers[:8] == -100).all()


def test_a_cell_is_made_once(tmp_path):
    settings, made = BenchSettings(cache=tmp_path), []

    def make(folder):
        made.append(folder)
        return {"x": 1.5}

    for _ in range(2):
        assert nn_aaren_recall.cell(settings, "one", {"a": 1}, make, code="c") == {"x": 1.5}
    nn_aaren_recall.cell(settings, "one", {"a": 2}, make, code="c")
    assert len(made) == 2
    nn_aaren_recall.cell(settings, "one", {"a": 2}, make, code="mended")
    assert len(made) == 3


def test_cells_of_other_code_are_made_anew(tmp_path, monkeypatch):
    """What a mended layer reaches is not what is told of the layer before."""
    settings, table = BenchSettings(cache=tmp_path), nn_aaren_tables
    recipe = SimpleNamespace(
        model=torch.nn.Linear(1, 1), loss=None, job=lambda _: SimpleNamespace(identity={}),
        measure=lambda *_: {"mse": 1.0}, baseline=lambda _: {},
    )  # fmt: skip
    trainings = []
    monkeypatch.setattr(table, "train", lambda *_: trainings.append(1))
    for code in ("before", "before", "mended"):
        monkeypatch.setattr(table, "digest_of", lambda *_, code=code: code)
        told = table.trained(settings, "x", lambda _: recipe, LoopSettings(), 0)
        assert told["told"] == {"mse": 1.0}
    assert len(trainings) == 2


def test_bits_of_a_stream_in_pieces_are_those_at_once():
    torch.manual_seed(0)
    model = nn_aaren_recall.ByteModel(nn_aaren_recall.StreamSettings(dim=16, layers=1, dropout=0.0), 0).eval()
    text = torch.randint(256, (101,))
    with torch.no_grad():
        logits = model(text[None, :-1])[0][0]
    whole = torch.nn.functional.cross_entropy(logits, text[1:]) / math.log(2)
    assert abs(nn_aaren_recall.bits(model, text, 16) - float(whole)) < 1e-4
