"""LongHeads in a text that grows: what is found in pieces is the best there is, and nothing that was read moves."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from foveal.attention import LongHeads, longheads_layers
from foveal.attention.longheads_choice import LEAST_FOLD, choose, most
from foveal.attention.longheads_layers import ChunkedText, Shape
from foveal.attention.memory_parts import Scores
from foveal.attention.rotation import rotations_of
from foveal.attention.rows import SPARE, Rows

SHAPE, N = Shape(4, 5, 20), 200


@pytest.mark.parametrize(("count", "k"), [(4096, 13), (1001, 5), (300, 13), (16, 1), (15, 1), (40, 2), (9, 9), (7, 0)])
def test_the_most_are_those_of_one_long_search(count, k):
    x = torch.randn(3, 5, count, generator=torch.Generator().manual_seed(count))
    x[0, 0, : count - k] = -torch.inf  # no more than are wanted
    x[1, 1] = x[1, 1].sort().values  # side by side
    ours, theirs = most(x, k), x.topk(k).indices
    assert torch.equal(ours.sort(-1).values, theirs.sort(-1).values)


def test_long_searches_are_folded():
    """Or the test above compares one thing with itself."""
    assert 1001 // 5 >= LEAST_FOLD**2 > 300 // 20


def test_the_best_chunks_are_chosen_by_their_definition():
    wanted = torch.randn(2, 30, 90, generator=torch.Generator().manual_seed(2))
    chunk = torch.arange(60, 90)
    for head, own in enumerate(choose(wanted, chunk, 3).tolist()):
        for row, place in enumerate(chunk.tolist()):
            best = sorted(range(1, place - 1), key=lambda one: -float(wanted[head, row, one]))[:3]
            assert own[row] == sorted([0, *best, place - 1, place])


def new_text(method, model):
    draw = torch.Generator().manual_seed(1)
    q, k, v = (torch.randn(1, heads, N, 8, generator=draw) for heads in (4, 2, 2))
    rotation = rotations_of(model).of("full_attention")
    return ChunkedText.empty(SHAPE, method, rotation, 4, k, v), (q, k, v)


@pytest.mark.parametrize("selection", ["token", "block"])
@pytest.mark.parametrize("kind", ["attention", "minmax", "random"])
def test_few_scores_at_a_time_choose_as_all_at_once(kind, selection, attention_models, monkeypatch):
    method = LongHeads(representation=kind, selection=selection)
    text, parts = new_text(method, attention_models["qwen"].model)
    whole, _ = text.read(*parts, Scores(8**-0.5))
    for limit in (1, 1500):
        monkeypatch.setattr(longheads_layers, "SCORED", limit)
        again, _ = new_text(method, attention_models["qwen"].model)
        torch.testing.assert_close(again.read(*parts, Scores(8**-0.5))[0], whole)
        assert torch.equal(again.counts, text.counts)


def test_what_was_read_is_not_moved_by_the_next_tokens(attention_models):
    text, parts = new_text(replace(LongHeads(), chunk_size=4), attention_models["qwen"].model)
    text.read(*parts, Scores(8**-0.5))
    rows = (text.held.keys, text.held.values, text.vectors)
    before = [one.added.data_ptr() for one in rows]
    for place in range(9):
        text.read(*(part[:, :, place : place + 1] for part in parts), Scores(8**-0.5))
    assert [one.added.data_ptr() for one in rows] == before
    assert len(text) == N + 9


def test_room_is_made_once_and_for_not_much_more():
    rows = Rows(torch.zeros(2, 0, 3), chunk=4)
    wanted = torch.randn(2, 10_000, 3)
    rows.reserve(10_000)
    places = set()
    for some in torch.split(wanted, 999, 1):
        rows.append(some)
        places.add(rows.added.data_ptr())
    (place,) = places
    assert torch.equal(rows.added, wanted)
    assert rows.chunks(torch.zeros(1, dtype=torch.long), torch.tensor([2499])).shape == (1, 4, 3)
    moved, room = 0, 10_000 + SPARE
    for _ in range(30_000):
        rows.reserve(1)
        if rows.added.data_ptr() != place:
            moved, place = moved + 1, rows.added.data_ptr()
        rows.append(wanted[:, :1])
    assert torch.equal(rows.added[:, :10_000], wanted)
    assert moved == 2  # at 14,096 rows for as many again, and at twice that: half of the steps never wait
    assert room < len(rows) == 40_000
