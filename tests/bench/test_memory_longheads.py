"""bench memory-longheads: its rows say what is true of small cases, and its cells come back from their file."""

from __future__ import annotations

import pytest
import torch

from foveal.attention.rotation import rotations_of
from foveal.bench.memory_longheads import exact_rows
from foveal.bench.memory_longheads_heads import captured
from foveal.bench.memory_longheads_model import ASK, PARTS, SIGNS, WINDOW, Recipe, small_model, untrained, windows
from foveal.bench.memory_longheads_small import METHOD, logits_of, recall, recalled, slid_logits
from foveal.bench.memory_longheads_tasks import Cells
from foveal.bench.settings import BenchSettings


def test_exact_rows_are_ok():
    rows = list(exact_rows())
    assert len(rows) == 4
    assert all(row.ok for row in rows)


def test_windows_ask_for_the_key_that_they_hold():
    made = windows(Recipe(steps=1), 20)
    assert made.shape == (20, WINDOW)
    for row in made.tolist():
        asked = [place for place, byte in enumerate(row) if byte == ASK]
        assert len(asked) == 4
        key = [byte for byte in row if byte >= SIGNS][:PARTS]
        assert all(row[place + 1 : place + 1 + PARTS] == key for place in asked)
    assert torch.equal(made, windows(Recipe(steps=1), 20))


def test_the_small_model_is_trained_once(tmp_path):
    settings = BenchSettings(cache=tmp_path)
    recipe = Recipe(layers=1, width=16, head=8, heads=2, groups=1, steps=3, batch=2)
    first = small_model(settings, recipe)
    again = small_model(settings, recipe)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.lm_head.weight, untrained(recipe).lm_head.weight)
    prompts, answers = recall(3, 400, 0)
    assert (prompts[:, -1] == ASK).all()
    assert all(
        answer.tolist() == prompt[prompt >= SIGNS].tolist() for prompt, answer in zip(prompts, answers, strict=True)
    )
    assert 0 <= recalled(first, prompts, answers, METHOD) <= 1
    slid = slid_logits(first, prompts[0])
    torch.testing.assert_close(slid[0, 0], logits_of(first, prompts[:1, 16:272], None)[0, -1])


def test_mass_is_the_share_of_the_free_chunks():
    draw = torch.Generator().manual_seed(0)
    rotation = rotations_of(untrained(Recipe())).of("full_attention")
    parts = [torch.randn(heads, 256 * 8, 32, generator=draw) for heads in (4, 2, 2)]
    told = captured(*parts, rotation, 2)
    assert max(told.values()) == told["best possible"]
    everything = captured(*parts, rotation, 5)
    assert all(value == pytest.approx(1, abs=1e-4) for value in everything.values())


def test_cells_come_back_from_their_file(tmp_path):
    made = Cells(tmp_path / "cells.jsonl").get(("a", 1), lambda: (0.5, "said"))
    assert Cells(tmp_path / "cells.jsonl").get(("a", 1), lambda: (0.7, "other")) == made
