"""Heads by a text that repeats itself: what is summed is its definition, and heads made by hand are told apart."""

from __future__ import annotations

import pytest
import torch
from tiny import FULL, HEADS, tiny

from foveal.attention.head_cache import HeadCache, full_heads, score_table
from foveal.attention.head_repetition import (
    RepeatSettings,
    detect_repeats,
    drawn_tokens,
    paid_to_copies,
    ranked,
)
from foveal.attention.masks import Mask
from foveal.attention.sinks import Heads
from foveal.errors import InputError


def by_definition(weights: torch.Tensor, period: int) -> tuple[list[float], list[float]]:
    """Attention (h, N, N): row by row and copy by copy."""
    echo, induction = [0.0] * len(weights), [0.0] * len(weights)
    rows = range(period, weights.shape[1])
    for head in range(len(weights)):
        for row in rows:
            for copy in range(row - period, -1, -period):
                echo[head] += float(weights[head, row, copy]) / len(rows)
                induction[head] += float(weights[head, row, copy + 1]) / len(rows)
    return echo, induction


@pytest.mark.parametrize(("period", "count"), [(50, 200), (3, 12), (150, 300), (40, 130)])
def test_sums_over_blocks_are_the_definition(period, count):
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 4, count, 8, generator=draw), torch.randn(1, 2, count, 8, generator=draw)
    mask = Mask.causal(1, count, count)
    echo, induction = paid_to_copies(Heads.of(q, k, k, [0, 1, 2, 3], mask, 0.5), period)
    later = torch.ones(count, count, dtype=torch.bool).triu(1)
    scores = (q.double() @ k.double().repeat_interleave(2, 1).mT * 0.5)[0].masked_fill(later, -torch.inf)
    wanted = by_definition(scores.softmax(-1), period)
    torch.testing.assert_close(echo.tolist(), wanted[0], atol=1e-5, rtol=1e-4)
    torch.testing.assert_close(induction.tolist(), wanted[1], atol=1e-5, rtol=1e-4)


def test_a_head_that_echoes_and_one_that_goes_on_are_told_apart():
    """Keys that name the token, or the one before: the first head asks for its own, the second for what follows it."""
    period, copies = 12, 4
    names = 20 * torch.eye(period).repeat(copies, 1)
    keys = torch.stack([names, names.roll(1, 0)])[None]  # of the second group: each names the one before it
    queries = torch.stack([names, names])[None]
    mask = Mask.causal(1, period * copies, period * copies)
    echo, induction = paid_to_copies(Heads.of(queries, keys, keys, [0, 1], mask, 1.0), period)
    torch.testing.assert_close(echo, torch.tensor([(1 / 2 + 2 / 3 + 3 / 4) / 3, 0.0]), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(induction, torch.tensor([0.0, 1.0]), atol=0.05, rtol=0.0)


def test_the_best_echo_is_scored_by_it_and_all_others_by_induction():
    echo, induction = torch.rand(5, 40), torch.rand(5, 40) / 2
    echo[3, 7], echo[1, 1], induction[1, 1] = 2.0, 1.5, 1.8
    told = ranked(echo, induction)
    assert told[3, 7] == 2.0  # 1 % of 200 are two
    assert told[1, 1] == induction[1, 1]
    told[3, 7] = induction[3, 7]
    assert torch.equal(told, induction)


@pytest.mark.parametrize("kind", ["qwen", "gemma"])
def test_a_model_is_measured_and_its_cache_cut_by_that(attention_models, kind):
    model, settings = attention_models[kind], RepeatSettings(tokens=30, copies=3)
    scores = detect_repeats(model, settings)
    config = model.model.config
    assert (scores.kind, scores.runs.shape) == ("repeats", (1, config.num_hidden_layers, HEADS))
    assert scores.settings == {"tokens": 30, "copies": 3, "seed": 0}
    assert {layer for layer, _ in scores.above(0.0)} == set(FULL[kind])
    assert torch.equal(detect_repeats(model, settings).runs, scores.runs)
    ids = drawn_tokens(model, settings)
    assert len(ids) == 30
    assert not set(ids) & set(model.tokenizer.all_special_ids)
    with torch.inference_mode():
        model.model.set_attn_implementation("eager")
        told = model.model(input_ids=torch.tensor([ids * 3]), output_attentions=True).attentions
        model.model.set_attn_implementation("sdpa")
    pairs = [by_definition(told[layer][0], 30) for layer in FULL[kind]]
    wanted = ranked(*(torch.tensor(part) for part in zip(*pairs, strict=True)))
    torch.testing.assert_close(scores.runs[0, list(FULL[kind])], wanted, atol=1e-5, rtol=1e-4)
    method = HeadCache(keep=0.5, sinks=4, recent=8, scores=scores)
    sliding = [None if layer in FULL[kind] else 8 for layer in range(config.num_hidden_layers)]
    table = score_table(method, config, sliding)
    assert {layer for layer, _ in full_heads(table, 200, method)} <= set(FULL[kind])


def test_what_does_not_fit_is_refused(tmp_path):
    model = tiny("qwen", tmp_path, positions=64)
    with pytest.raises(InputError, match=r"2500 tokens 4 times are 10000, .* has 64 positions\. Repeat at most 16"):
        detect_repeats(model)
    for wrong in ({"tokens": 1}, {"copies": 1}):
        with pytest.raises(InputError, match="at least 2 tokens, twice"):
            RepeatSettings(**wrong)
