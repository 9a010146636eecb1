"""The rows of attention-choice and of memory: what a spec asks for is among them, with its bar."""

from __future__ import annotations

from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from foveal.attention import BlockTopK, FlexPrefill, RandomBlocks, dhsa
from foveal.attention.boundaries import BoundaryPredictor
from foveal.attention.boundary_training import Found
from foveal.bench import attention_choice, attention_output, attention_prefill
from foveal.bench.attention_models import QWEN, block_mass
from foveal.bench.settings import BenchSettings


def test_mass_kept_has_every_row_and_bar_of_the_spec(monkeypatch, tmp_path):
    """Over drawn queries and keys; what a predictor without training keeps fails its bars, or not, as it may."""
    monkeypatch.setattr(attention_choice, "LENGTH", 1024)
    torch.manual_seed(0)
    predictor = BoundaryPredictor(16, heads=2)
    for module in (attention_choice, dhsa):
        monkeypatch.setattr(module, "shipped_predictor", lambda _: predictor)
    draw = torch.Generator().manual_seed(0)
    q, k = (torch.randn(1, heads, 1024, 8, generator=draw) for heads in (4, 2))
    context = SimpleNamespace(
        scale=0.5, layer=3, memory=None, softcap=None, sinks=None, module=SimpleNamespace(config=None)
    )
    settings = BenchSettings(data=tmp_path, cache=tmp_path, quick=True)
    rows = {row.system: row for row in attention_choice.captured_mass(settings, QWEN, {3: (q, k, context)})}
    named = {name.removeprefix(f"DHSA, {QWEN}, "): row for name, row in rows.items()}
    assert {name: row.bar for name, row in named.items() if row.bar} == {
        "oracle chunks": "0.778 to 0.798",
        "oracle chunks, mean": "0.782 to 0.802",
        "oracle chunks, as published (root, not centred)": "0.737 to 0.757",
        "oracle chunks, mean, one choice for all heads": "0.729 to 0.749",
        "oracle chunks, as published (root, not centred), one choice for all heads": "0.698 to 0.718",
        "predicted, of the gap fixed to oracle": "≥ 0.6",
        "predicted, of the gap random to oracle": "≥ 0.6",
        "less sinks and window": "≥ 0.0001",
        "lost where the predictor's scores are shuffled": "≥ 0.0001",
        "in the kernel's blocks": "≤ 512",
    }
    kept = {name: named[name].value for name in ("predicted chunks", "random chunks", "oracle chunks")}
    closed = (kept["predicted chunks"] - kept["random chunks"]) / (kept["oracle chunks"] - kept["random chunks"])
    assert named["predicted, of the gap random to oracle"].value == pytest.approx(closed)
    assert named["predicted chunks, scores shuffled"].value != kept["predicted chunks"]
    assert named["oracle chunks, mean, one choice for all heads"].value != named["oracle chunks, mean"].value
    blocks = "chunks, in the kernel's blocks"
    assert named[f"predicted {blocks}, one of them first"].value != named[f"predicted {blocks}"].value
    assert "fixed chunks of 32, in the kernel's blocks" in named
    assert named["in the kernel's blocks"].value == 512  # all of the budget where there is as much to see


def drawn_layer(monkeypatch, length: int, seed: int = 0) -> tuple[Any, ...]:
    """Queries, keys, where they stand, and values of a layer, drawn."""
    monkeypatch.setattr(attention_choice, "LENGTH", length)
    draw = torch.Generator().manual_seed(seed)
    q, k, v = (torch.randn(1, heads, length, 8, generator=draw) for heads in (4, 2, 2))
    return q, k, SimpleNamespace(scale=0.5, layer=3, memory=None, softcap=None, sinks=None), v


@torch.no_grad()
def test_a_budget_that_leaves_nothing_out_is_held_to_pytorchs_attention(monkeypatch):
    layer = drawn_layer(monkeypatch, 1024)
    rows = list(attention_choice.exact({3: layer}))
    assert [(row.bar, row.ok) for row in rows] == [("≤ 1e-05", True), ("≤ 0.01", True)]
    whole = attention_choice.block_attention
    monkeypatch.setattr(attention_choice, "block_attention", lambda q, *more, **how: whole(1.02 * q, *more, **how))
    assert [row.ok for row in attention_choice.exact({3: layer})] == [False, False]


@torch.no_grad()
def test_columns_alone_are_held_to_gamma(monkeypatch):
    """And are not, where they are counted in tokens, as in the paper."""
    q, k, where, _ = drawn_layer(monkeypatch, 2048)
    q, k = 5 * q, 5 * k  # so that a few scattered keys have all
    true = {3: block_mass(q, k, 0.5, rows=128, columns=128)}
    rows = list(attention_choice._covered({3: (q, k, where)}, true))
    assert [row.bar for row in rows] == ["≥ 0.9", "≥ 0.95", None]
    assert [row.ok for row in rows] == [True, True, None]
    assert all(row.value < 1 for row in rows)
    counted = partial(FlexPrefill, budget="tokens")
    monkeypatch.setattr(attention_choice, "FlexPrefill", counted)
    assert [row.ok for row in attention_choice._covered({3: (q, k, where)}, true)] == [False, False, None]


def test_the_figures_of_all_pairs_of_settings_are_asked_for():
    """Each of the five settings that were measured, with one diagonal and with two."""
    pairs = [({**one, "paired": False}, {**one, "paired": True}) for one, *_ in attention_choice.ANCHORS[:5]]
    asked = [{"paired": False, **one} for one, *_ in attention_choice.ANCHORS]
    assert all(one in asked and two in asked for one, two in pairs)
    assert len(asked) == 10


@pytest.mark.parametrize(("overlap", "ok"), [(0.31, True), (0.29, False)])
def test_the_predictors_best_scores_are_held_to_those_of_the_best_baseline(monkeypatch, overlap, ok):
    """Whichever is the best by this measure."""
    found = {
        "predictor": Found(0.5, 0.5, 0.6, overlap),
        "random": Found(0.5, 0.5, 0.3, 0.1),
        "cosine": Found(0.1, 0.1, 0.1, 0.2),
    }
    monkeypatch.setattr(attention_choice, "measure", lambda *_, **__: found)
    monkeypatch.setattr(attention_choice, "shipped_predictor", lambda _: None)
    model = SimpleNamespace(model=SimpleNamespace(config=None))
    reader: Any = SimpleNamespace(model_name="m", model=model, essays=[], settings=SimpleNamespace(quick=True, seed=0))
    rows = list(attention_choice.predicts(reader))
    assert [(row.system, row.bar, row.ok) for row in rows] == [
        ("DHSA, m, predictor / random", "≥ 1.5", True), ("DHSA, m, predictor / cosine", "≥ 1.5", ok),
    ]  # fmt: skip


def test_memory_is_told_at_both_lengths_with_what_the_paper_says(monkeypatch, tmp_path):
    peaks = {"dense": (400, 100), "dhsa": (300, 100), "flexprefill": (500, 100)}
    monkeypatch.setattr(attention_prefill, "_peak", lambda method, _: peaks[method])
    monkeypatch.setattr(attention_prefill.PromptReader, "tokens", lambda _, length: [0] * length)
    for name in ("never_slower", "at_length"):
        monkeypatch.setattr(attention_prefill, name, lambda *_: iter(()))
    rows = list(attention_prefill.whole_prompts(BenchSettings(data=tmp_path, cache=tmp_path)))
    assert [(row.system, row.value, row.ok) for row in rows] == [
        ("dense, 16k", 1.0, None), ("dhsa, 16k", 0.75, None), ("flexprefill, 16k", 1.25, None),
        ("dense, 32k", 1.0, None), ("dhsa, 32k", 0.75, True), ("flexprefill, 32k", 1.25, False),
    ]  # fmt: skip
    assert ["35 % less" in row.note for row in rows] == [False, True, False] * 2


def test_the_output_error_falls_as_more_is_looked_at():
    draw = torch.Generator().manual_seed(0)
    q, k, v = (torch.randn(1, heads, 1024, 8, generator=draw) for heads in (4, 2, 2))
    context: Any = SimpleNamespace(scale=0.5, layer=0, memory=None, softcap=None, sinks=None)
    seen = [(q, k, v, context)]
    weights = (q @ k.repeat_interleave(2, 1).mT * 0.5 + torch.full((1024, 1024), -torch.inf).triu(1)).softmax(-1)
    exact = [weights @ v.repeat_interleave(2, 1)]
    told = [attention_output.errors(RandomBlocks(share), seen, exact) for share in (0.2, 0.6, 1.0)]
    assert [error for error, _ in told] == sorted((error for error, _ in told), reverse=True)
    assert told[2] == (pytest.approx(0, abs=1e-5), pytest.approx(1))
    chosen = attention_output.errors(BlockTopK(0.4), seen, exact)
    assert 0 < chosen[0] < 1
    assert 0 < chosen[1] < 1
