"""What the attention benches are made of: their rows hold what they say."""

from __future__ import annotations

from functools import partial
from typing import Any

import pytest
import torch

from foveal.attention import DHSA
from foveal.bench.attention_kernel import HEADS, drawn, exact, step
from foveal.bench.attention_matched import FAMILIES, of_density, reached
from foveal.bench.attention_models import block_mass
from foveal.bench.attention_needles import recall_of
from foveal.bench.attention_scarce import OTHERS
from foveal.bench.attention_tasks import PAIRS, STATIC, _several
from foveal.evaluation.grid import Cell
from foveal.registry import METHODS


def test_the_kernel_is_exact():
    assert [row.ok for row in exact()] == [True, True]


@pytest.mark.parametrize("share", [0.05, 0.3, 1.0])
def test_drawn_blocks_have_the_share_that_was_asked(share):
    blocks = drawn(128 * 40, share, seed=0)
    assert blocks.keep.shape[1] == HEADS
    assert float(blocks.density().mean()) == pytest.approx(max(share, 2 / 41), abs=0.02)
    assert (blocks.keep[0, 0] != blocks.keep[0, 1]).any() or share == 1


def test_block_mass_is_the_attention_in_full():
    draw = torch.Generator().manual_seed(0)
    q, k = torch.randn(1, 4, 64, 8, generator=draw), torch.randn(1, 2, 64, 8, generator=draw)
    mass = block_mass(q, k, 0.3, rows=16, columns=8)
    scores = (q @ k.repeat_interleave(2, 1).transpose(-1, -2) * 0.3)[0]
    weights = scores.masked_fill(torch.ones(64, 64).triu(1).bool(), -torch.inf).softmax(-1)
    for row in range(4):
        for column in range(8):
            expected = weights[:, row * 16 : (row + 1) * 16, column * 8 : (column + 1) * 8].sum(-1).mean(-1)
            torch.testing.assert_close(mass[:, row, column], expected, atol=1e-6, rtol=1e-5)


def test_other_methods_get_the_density_that_flexprefill_took():
    draw = torch.Generator().manual_seed(0)
    query = torch.randn(1, 2, 4096, 8, generator=draw)
    context = type("Context", (), {"scale": 0.3, "layer": 0, "memory": None, "softcap": None})()
    seen = [(query, query, context)]
    cut: Any = {"boundaries": "fixed"}  # no predictor is there for these keys
    fixed = {
        "dhsa-equal": lambda _, share: DHSA(density=share, **cut),
        "dhsa-sink-4": lambda _, share: DHSA(density=share, sink=128, **cut),
    }
    for density in (0.3, 0.6):
        for name, family in (FAMILIES | fixed).items():
            got = reached(of_density(partial(family, 4096), seen, density), seen)
            assert got == pytest.approx(density, abs=0.03), (name, density)


def test_every_method_is_compared():
    ours = {"dhsa-equal", "dhsa-sink-4", "flexprefill-equal"}
    with_tails = {"block-topk-tail", "random-tail"}  # as DHSA's: the tail is not what it is compared by
    assert {name.partition("@")[0] for name in (*FAMILIES, *PAIRS)} == {*METHODS, *ours, *with_tails}
    assert {*STATIC, *OTHERS} >= with_tails


def test_each_of_ours_must_be_ahead_of_each_pattern_at_one_density():
    """What only ties falls short; a method at another density is told."""
    correct = dict.fromkeys(STATIC, 0.5) | {"flexprefill": 0.75, "dhsa-equal": 0.5, "dhsa-blocks": 0.75}
    cells = [
        Cell(
            name,
            "0.40",
            "niah_multikey_1",
            4096,
            seed,
            right,
            0.2,
            0.5 if name == "random" else 0.4,
            1.0,
            "",
            str(seed),
        )
        for name, right in correct.items()
        for seed in range(2)
    ]
    rows = list(_several(cells, {4096: 0.4}))
    ahead = {row.system.removeprefix("several needles, "): row.ok for row in rows if " less " in row.system}
    wanted = {"flexprefill": True, "dhsa-equal": False, "dhsa-blocks": True}
    assert ahead == {f"{ours} less {other}": ok for ours, ok in wanted.items() for other in STATIC}
    assert [row.system for row in rows if row.metric.startswith("density") and not row.ok] == [
        "several needles, random"
    ]


def test_a_recalled_sentence_is_scored_by_its_words():
    assert recall_of("eat a sandwich and sit in Dolores Park on a sunny day.") == 1
    assert recall_of("eat a sandwich in Golden Gate Park.") == pytest.approx(5 / 12)
    assert recall_of("") == 0


def test_a_decoding_step_is_timed_beside_one_over_all_keys():
    row = step(2_048)
    assert row.system == "DHSA's decoding step, 2k"
    assert row.value > 0
    assert row.ok is None  # no bar: so short a text is read faster in one piece
