"""What the attention benches are made of: their rows hold what they say."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from foveal.bench.attention_kernel import HEADS, drawn, exact
from foveal.bench.attention_models import block_mass
from foveal.bench.attention_tasks import PAIRS, at_density
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
    methods = at_density(4096, 0.5)
    named = {name.partition("@")[0] for name in (*methods, *PAIRS)}
    assert named == {*METHODS, "dhsa-equal"}
    query = torch.randn(1, 2, 4096, 8, generator=torch.Generator().manual_seed(0))
    context = type("Context", (), {"scale": 0.3, "layer": 0, "memory": None, "softcap": None})()
    for name in ("streaming", "block-topk", "random"):
        blocks = methods[f"{name}@0.50"].prefill(query, query, context)
        assert float(blocks.density().mean()) == pytest.approx(0.5, abs=0.12), name
    fixed = replace(methods["dhsa-equal@0.50"], boundaries="fixed")
    assert float(fixed.prefill(query, query, context).density().mean()) == pytest.approx(0.5, abs=0.05)
