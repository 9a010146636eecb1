"""Sparse methods: what each chooses against its plain definition, and what a model computes under it."""

from __future__ import annotations

import math
import re
from dataclasses import replace
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from rich import get_console
from tiny import CACHE, tiny
from torch import Tensor
from transformers import DynamicCache, MistralConfig, MistralForCausalLM, Qwen2Config

from foveal.attention import (
    CACHES,
    EDITS,
    MEMORIES,
    METHODS,
    FlexPrefill,
    Report,
    attach,
    estimates,
    method_by_name,
    method_for,
    methods,
)
from foveal.attention.blocks import Blocks
from foveal.attention.boundaries import BoundaryPredictor
from foveal.attention.dense import cost_of_blocks
from foveal.attention.dhsa import DHSA
from foveal.attention.estimates import (
    block_means,
    column_mass,
    largest,
    last_masses,
    last_queries,
    slash_mass,
    to_blocks,
)
from foveal.attention.flexprefill import jensen_shannon, reached
from foveal.attention.method import BlockMethod
from foveal.attention.patterns import BlockTopK, Dense, RandomBlocks, Streaming, VerticalSlash
from foveal.errors import InputError, UnknownName
from foveal.evaluation.tables import as_text

BLOCK = 16
SCALE = 0.5


def drawn(heads: int, length: int, width: int = 8, seed: int = 0) -> Tensor:
    return torch.randn(1, heads, length, width, generator=torch.Generator().manual_seed(seed)) * 1.5


def context(layer: int = 0) -> SimpleNamespace:
    return SimpleNamespace(scale=SCALE, layer=layer, memory=None, softcap=None, sinks=None)


def small(cls, **options) -> BlockMethod:
    """A method with blocks of 16 tokens, so that small texts have many."""
    if cls is FlexPrefill:
        return FlexPrefill(**{"block": BLOCK, "min_budget": 2 * BLOCK, "dense_last": 0, **options})
    key_block = BLOCK // 2 if cls is DHSA else BLOCK
    made = type(f"Small{cls.__name__}", (cls,), {"query_block": BLOCK, "key_block": key_block, "least": BLOCK})
    return made(**({"local": BLOCK, "sink": BLOCK, "dense_tail": 0} if cls is DHSA else {}) | options)


SMALL = [
    small(Dense),
    small(Streaming, sinks=BLOCK, recent=3 * BLOCK),
    small(VerticalSlash, vertical=2 * BLOCK, slash=2 * BLOCK),
    small(BlockTopK, density=0.4),
    small(RandomBlocks, density=0.4),
    small(DHSA, budget=64, boundaries="fixed", chunk=10),
    small(FlexPrefill, gamma=0.8),
    small(FlexPrefill, gamma=0.8, tau=1.0),
    small(FlexPrefill, gamma=0.8, tau=0.0, budget="tokens", paired=False),
]


def names(method: BlockMethod) -> str:
    return f"{method.name}-{getattr(method, 'tau', '')}"


# -- estimates ---------------------------------------------------------------------------------------------------------


def attention(q: Tensor, k: Tensor) -> Tensor:
    """Causal softmax attention (H, Q, K) in full; the queries are the last of the keys."""
    k = k.repeat_interleave(q.shape[1] // k.shape[1], 1)
    hidden = torch.ones(q.shape[2], k.shape[2]).triu(1 + k.shape[2] - q.shape[2]).bool()
    return (q @ k.transpose(-1, -2) * SCALE).masked_fill(hidden, -torch.inf).softmax(-1)[0]


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 70), before=st.integers(0, 40), count=st.integers(1, 40))
def test_last_queries_and_their_masses(length, before, count):
    q, k = drawn(4, length), drawn(2, length + before, seed=1)
    weights = last_queries(q, k, count, scale=SCALE)
    rows = min(count, length)
    torch.testing.assert_close(weights[0], attention(q, k)[:, -rows:], atol=1e-6, rtol=1e-5)
    slashes = torch.zeros(4, length + before)
    for row in range(rows):
        place = length + before - rows + row
        for key in range(place + 1):
            slashes[:, place - key] += weights[0, :, row, key] / rows
    torch.testing.assert_close(slash_mass(weights)[0], slashes, atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(column_mass(weights).sum(-1), torch.ones(1, 4))
    with torch.inference_mode():  # the compiled sums, which make no weights
        columns, distances = last_masses(q, k, count, scale=SCALE)
    torch.testing.assert_close(columns, column_mass(weights), atol=1e-6, rtol=1e-5)
    torch.testing.assert_close(distances[0], slashes, atol=1e-6, rtol=1e-5)


@settings(max_examples=50, deadline=None)
@given(seed=st.integers(0, 2**31), count=st.integers(1, 12), kinds=st.integers(1, 6))
def test_the_largest_are_the_first_of_a_stable_sort(seed, count, kinds):
    """Also among many equal ones, and where infinities are."""
    scores = torch.randint(kinds, (3, 5, 12), generator=torch.Generator().manual_seed(seed)).float()
    scores = scores.masked_fill(scores == 0, -torch.inf).masked_fill(scores == 5, torch.inf)
    order = scores.sort(dim=-1, descending=True, stable=True).indices[..., :count]
    expected = torch.zeros_like(scores, dtype=torch.bool).scatter(-1, order, value=True)
    assert torch.equal(largest(scores, count), expected)


@pytest.mark.parametrize(("dtype", "softcap"), [(torch.bfloat16, None), (torch.bfloat16, 5.0), (torch.float32, 5.0)])
def test_masses_of_last_queries_by_every_type_and_cap(dtype, softcap, monkeypatch):
    q, k = (torch.cat([drawn(heads, 300, seed=seed) * 3 for seed in (2, 3)]).to(dtype) for heads in (4, 2))
    weights = last_queries(q, k, BLOCK, scale=SCALE, softcap=softcap)
    with torch.inference_mode():
        ours = last_masses(q, k, BLOCK, scale=SCALE, softcap=softcap)
        monkeypatch.setattr(estimates, "library", lambda _: None)
        without = last_masses(q, k, BLOCK, scale=SCALE, softcap=softcap)
    for found, plain, expected in zip(ours, without, (column_mass(weights), slash_mass(weights)), strict=True):
        torch.testing.assert_close(found, expected, atol=1e-6, rtol=1e-4)
        torch.testing.assert_close(plain, expected)


@pytest.mark.parametrize("compiled", [True, False])
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_an_offset_that_keys_share_does_not_blur_what_is_looked_at(dtype, compiled, monkeypatch):
    """As in the first layers of Qwen 2.5: products of hundreds or thousands, which 8 bits round to multiples of 8."""
    if not compiled:
        monkeypatch.setattr(estimates, "library", lambda _: None)
    q, k = drawn(4, 300) + 4, drawn(2, 300, seed=1) + 90
    q, k = q.to(dtype), k.to(dtype)
    weights = attention(q.double(), k.double())[:, -BLOCK:][None]
    with torch.inference_mode():
        found = last_masses(q, k, BLOCK, scale=SCALE)
    for ours, expected in zip(found, (column_mass(weights), slash_mass(weights)), strict=True):
        assert float((ours - expected).abs().sum(-1).max()) < 1e-3


@settings(max_examples=25, deadline=None)
@given(length=st.integers(1, 60), size=st.sampled_from([4, 16]), lead=st.integers(0, 15))
def test_block_means_are_of_what_there_is(length, size, lead):
    lead %= size
    x = drawn(2, length)
    means = block_means(x, size, lead=lead)
    places = torch.arange(length) + lead
    for block in range(means.shape[2]):
        mine = x[:, :, places // size == block]
        torch.testing.assert_close(means[:, :, block], mine.mean(2), atol=1e-6, rtol=1e-5)
    assert means.shape[2] == -(-(length + lead) // size)


def test_reached_counts_what_it_takes():
    mass = torch.tensor([[0.1, 0.4, 0.2, 0.3]])
    assert reached(mass, 0.4).tolist() == [1]
    assert reached(mass, 0.41).tolist() == [2]
    assert reached(mass, 1.0).tolist() == [4]
    assert reached(mass, 0.0).tolist() == [0]
    assert reached(mass, 0.75, within=True).tolist() == [2]


def test_the_distance_is_nats_with_zeros_allowed():
    one, other = torch.tensor([1.0, 0.0]), torch.tensor([0.0, 1.0])
    assert jensen_shannon(one, other).item() == pytest.approx(math.sqrt(math.log(2)))
    assert jensen_shannon(one, one).item() == 0


# -- FlexPrefill against its definition ------------------------------------------------------------------------------


def by_hand(q: Tensor, k: Tensor, m: FlexPrefill) -> Tensor:
    """The blocks of FlexPrefill (H, blocks, blocks) by loops, for queries that are as many as the keys."""
    length, b = q.shape[2], m.block
    count = -(-length // b)
    full = attention(q, k)
    least = max(1, -(-m.min_budget // b))
    keep = torch.zeros(q.shape[1], count, count, dtype=torch.bool)
    for head in range(q.shape[1]):
        group = head * k.shape[1] // q.shape[1]
        rows = full[head, -b:]
        columns, slashes = [0.0] * length, [0.0] * length
        for r in range(rows.shape[0]):
            for t in range(length - rows.shape[0] + r + 1):
                columns[t] += float(rows[r, t]) / rows.shape[0]
                slashes[length - rows.shape[0] + r - t] += float(rows[r, t]) / rows.shape[0]
        exact = [sum(columns[j * b : (j + 1) * b]) for j in range(count)]
        means = torch.stack([k[0, group, j * b : (j + 1) * b].mean(0) for j in range(count)])
        guess = (q[0, head, -b:].mean(0) @ means.T * SCALE).softmax(-1).tolist()
        aware = distance(guess, exact) < m.tau
        kept_columns = chosen(columns, m, least, aware)
        kept_slashes = chosen(slashes, m, least, aware)
        for r in range(count):
            for c in range(r + 1):
                straddled = m.paired and r - c >= 1 and kept_slashes[r - c - 1]
                keep[head, r, c] = kept_columns[c] or kept_slashes[r - c] or straddled or r == c
        if aware:
            asked = torch.stack([q[0, head, j * b : (j + 1) * b].mean(0) for j in range(count)])
            pooled = (asked @ means.T * SCALE).masked_fill(torch.ones(count, count).triu(1).bool(), -torch.inf)
            shares = (pooled.softmax(-1) / count).flatten()
            total, room = 0.0, [most_of(m, count)] * count
            for place in sorted(range(len(shares)), key=lambda n: -float(shares[n])):
                total += float(shares[place])
                if total > m.gamma:
                    break
                if room[place // count]:
                    room[place // count] -= 1
                    keep[head, place // count, place % count] = place % count <= place // count
    return keep


def distance(one: list[float], other: list[float]) -> float:
    total = 0.0
    for p, q in zip(one, other, strict=True):
        middle = (p + q) / 2
        total += sum(x * math.log(x / middle) / 2 for x in (p, q) if x > 0)
    return math.sqrt(max(0.0, total))


def chosen(mass: list[float], m: FlexPrefill, least: int, aware: bool) -> list[bool]:
    b = m.block
    blocks = [sum(mass[j * b : (j + 1) * b]) for j in range(-(-len(mass) // b))]
    order = [0, *sorted(range(1, len(blocks)), key=lambda n: -blocks[n])]
    if aware:
        count = 0
    elif m.budget == "tokens":
        total, count = 0.0, 0
        for value in sorted(mass, reverse=True):
            if total >= m.gamma:
                break
            total += value
            count += 1
        count = count // b + 1
    else:
        total, count = 0.0, 0
        while count < len(order) and (count == 0 or total < m.gamma):
            total += blocks[order[count]]
            count += 1
    kept = set(order[: min(max(count, least), most_of(m, len(blocks)))])
    return [j in kept for j in range(len(blocks))]


def most_of(m: FlexPrefill, blocks: int) -> int:
    return blocks if m.max_budget is None else max(1, -(-m.max_budget // m.block))


@pytest.mark.parametrize("length", [16 * 9, 16 * 9 + 5])
@pytest.mark.parametrize(
    "options",
    [
        {"gamma": 0.7, "tau": 0.0},
        {"gamma": 0.7, "tau": 1.0},
        {"gamma": 0.9, "tau": 0.25},
        {"gamma": 0.9, "tau": 0.25, "budget": "tokens", "paired": False},
        {"gamma": 0.9, "tau": 0.0, "max_budget": 48},
        {"gamma": 0.9, "tau": 1.0, "max_budget": 48},
        {"gamma": 0.9, "tau": 0.25, "max_budget": 40},
        {"gamma": 0.3, "tau": 1.0, "min_budget": 0},
    ],
    ids=str,
)
def test_flexprefill_is_its_definition(length, options):
    method = small(FlexPrefill, **{"min_budget": 20, **options})
    q, k = drawn(6, length, seed=2), drawn(2, length, seed=3)
    ours = method.prefill(q, k, context())
    assert (ours.keep[0] == by_hand(q, k, method)).all()


def test_a_heads_distance_is_that_of_its_last_queries_from_the_means_of_blocks():
    q, k = drawn(6, 16 * 9 + 5, seed=2), drawn(2, 16 * 9 + 5, seed=3)
    noted = small(FlexPrefill, gamma=0.9, tau=0.25).prefill(q, k, context()).notes
    for head, weights in enumerate(attention(q, k)[:, -BLOCK:]):
        exact = [float(part.sum()) / BLOCK for part in weights.sum(0).split(BLOCK)]
        means = torch.stack([part.mean(0) for part in k[0, head // 3].split(BLOCK)])
        guess = (q[0, head, -BLOCK:].mean(0) @ means.T * SCALE).softmax(-1).tolist()
        assert float(noted["distance"][0, head]) == pytest.approx(distance(guess, exact), abs=1e-5)
        assert bool(noted["query-aware"][0, head]) == (distance(guess, exact) < 0.25)


@pytest.mark.parametrize("paired", [True, False])
def test_it_is_told_how_many_columns_and_diagonals_a_head_keeps(paired):
    method = small(FlexPrefill, gamma=0.8, tau=0.25, paired=paired)
    q, k = drawn(6, 150, seed=2), drawn(2, 150, seed=3)
    notes = method.prefill(q, k, context()).notes
    assert 0 < int(notes["query-aware"].sum()) < 6
    for head, weights in enumerate(attention(q, k)[:, -BLOCK:]):
        columns, distances = [0.0] * 150, [0.0] * 150
        for row, key in np.ndindex(*weights.shape):
            columns[key] += float(weights[row, key]) / BLOCK
            if (distance := 150 - BLOCK + row - key) >= 0:
                distances[distance] += float(weights[row, key]) / BLOCK
        aware = bool(notes["query-aware"][0, head])
        kept = chosen(distances, method, 2, aware)
        touched = [one or (paired and number > 0 and kept[number - 1]) for number, one in enumerate(kept)]
        assert int(notes["columns"][0, head]) == sum(chosen(columns, method, 2, aware))
        assert int(notes["diagonals"][0, head]) == sum(touched)


@pytest.mark.parametrize(("length", "blocks"), [(2048, 4), (8191, 4), (8192, 8)])
def test_a_long_text_keeps_more_at_least(length, blocks):
    even = torch.full((1, 1, length), 1 / length)
    kept = FlexPrefill(gamma=1e-6)._up_to_gamma(even, torch.zeros(1, 1, dtype=torch.bool))
    assert int(kept.sum()) == blocks


@pytest.mark.parametrize("tau", [0.0, 1.0])
def test_no_query_looks_at_more_than_the_greatest_budget(tau):
    """Of columns, of diagonals (each with its neighbour) and of its head's map that many blocks, and its own."""
    q, k = drawn(6, 640, seed=2), drawn(2, 640, seed=3)
    most = small(FlexPrefill, gamma=1 - 1e-6, tau=tau, max_budget=3 * BLOCK).prefill(q, k, context()).keep.sum(-1)
    assert int(most.max()) <= 3 + 2 * 3 + 3 * (tau > 0) + 1
    free = small(FlexPrefill, gamma=1 - 1e-6, tau=tau).prefill(q, k, context()).keep.sum(-1)
    assert int(free.max()) > 30


def test_columns_hold_the_mass_that_was_asked():
    """Columns alone, and distances alone, hold gamma of the last queries' attention."""
    q, k = drawn(6, 400, seed=5), drawn(2, 400, seed=6)
    method = small(FlexPrefill, gamma=0.85, tau=0.0, min_budget=0)
    weights = last_queries(q, k, BLOCK, scale=SCALE)
    aware = torch.zeros(1, 6, dtype=torch.bool)
    for mass in (column_mass(weights), slash_mass(weights)):
        kept = method._up_to_gamma(mass, aware)
        held = (to_blocks(mass, BLOCK) * kept).sum(-1)
        assert (held >= 0.85).all()
        assert (kept.sum(-1) < kept.shape[-1]).all()


def test_density_grows_with_gamma():
    q, k = drawn(6, 600, seed=7), drawn(2, 600, seed=8)
    found = [
        float(small(FlexPrefill, gamma=gamma, min_budget=0).prefill(q, k, context()).density().mean())
        for gamma in (0.3, 0.6, 0.9, 0.99)
    ]
    assert found == sorted(found)
    assert found[0] < found[-1]


def test_the_last_tokens_may_look_at_everything():
    q, k = drawn(2, 320), drawn(2, 320, seed=1)
    blocks = small(FlexPrefill, gamma=0.3, min_budget=0, dense_last=20).prefill(q, k, context())
    assert blocks.keep[:, :, -2:].sum().item() == 2 * (19 + 20)
    without = small(FlexPrefill, gamma=0.3, min_budget=0).prefill(q, k, context())
    assert torch.equal(blocks.keep[:, :, :-2], without.keep[:, :, :-2])  # and the others at no more than before
    assert not without.keep[:, :, -2:].all()


def test_gamma_of_one_leaves_nothing_out():
    assert small(FlexPrefill, gamma=1.0).prefill(drawn(2, 320), drawn(2, 320), context()) is None


# -- DHSA --------------------------------------------------------------------------------------------------------------


def test_dhsa_keeps_its_budget_and_its_edges():
    method = small(DHSA, budget=80, boundaries="fixed", chunk=7)
    q, k = drawn(4, 400), drawn(2, 400, seed=1)
    seen = method.prefill(q, k, context()).seen()
    per_row = seen.sum(-1)
    assert int(per_row.max()) <= 80
    assert (per_row[..., 100:] > 80 - BLOCK).all()
    assert seen[..., 100:, :BLOCK].all()


@pytest.mark.parametrize(("local", "sink"), [(1, 0), (3, 20), (17, 16), (40, 9), (16, 16)])
def test_dhsa_never_looks_at_more_than_its_budget(local, sink):
    """Also where its own block is more than the local keys, or these and the first end within a block."""
    method = small(DHSA, budget=75, local=local, sink=sink, boundaries="fixed", chunk=7)
    q, k = drawn(4, 403), drawn(2, 403, seed=1)
    seen = method.prefill(q, k, context()).seen()
    assert int(seen.sum(-1).max()) <= 75
    rows, places = torch.arange(403)[:, None], torch.arange(403)
    always = (places <= rows) & ((places < sink) | (rows // BLOCK * BLOCK + BLOCK - local <= places))
    assert (seen | ~always).all()


def test_the_budget_that_dhsa_takes_by_itself_holds_what_is_always_seen():
    """As a share of the text does; a budget that is named and does not is refused."""
    method = DHSA(local=1500, sink=128, boundaries="fixed", dense_tail=0)
    assert method.budget_for(3000) == 47 * 32 + 128
    assert DHSA().budget_for(3000) == 1024
    keep = method.prefill(drawn(2, 3000), drawn(1, 3000, seed=1), context()).keep
    assert keep[0, :, -1, -47:].all()  # blocks of 32: 1,500 keys
    assert keep[0, :, -1, :4].all()


def test_dhsa_blocks_are_the_tokens_choice_where_chunks_are_blocks():
    """With chunks of one key block both ways of selecting name the same keys."""
    method = small(DHSA, budget=64, boundaries="fixed", chunk=BLOCK // 2)
    q, k = drawn(4, 320, seed=2), drawn(2, 320, seed=3)
    bounds = method.cut(q, k, context())
    by_token = method.token_keep(q, k, bounds)
    by_block = method.prefill(q, k, context()).keep.repeat_interleave(BLOCK // 2, -1)
    assert (by_token == by_block).all()


def test_dhsa_scores_are_products_of_block_and_chunk_by_loops():
    method = small(DHSA, budget=48, boundaries="oracle", pooling="sqrt_centred")
    q, k = drawn(4, 160, seed=4), drawn(2, 160, seed=5)
    bounds = method.cut(q, k, context()).tolist()
    assert len(bounds) > 4
    centred = k - k.mean(2, keepdim=True)
    expected = torch.zeros(1, 4, 10, 160, dtype=torch.bool)
    for head in range(4):
        for row in range(10):
            asked = q[0, head, row * BLOCK : (row + 1) * BLOCK].mean(0)
            scores = torch.empty(160)
            for start, end in pairwise(bounds):
                vector = centred[0, head // 2, start:end].sum(0) / math.sqrt(end - start)
                scores[start:end] = asked @ vector
            end = (row + 1) * BLOCK
            always = [*range(min(BLOCK, end)), *range(max(BLOCK, end - BLOCK), end)]
            rest = sorted(set(range(end)) - set(always), key=lambda n: -float(scores[n]))
            expected[0, head, row, [*always, *rest][:48]] = True
    assert (method.token_keep(q, k, torch.tensor(bounds)) == expected).float().mean() > 0.999  # equal scores aside


def test_dhsa_asks_for_a_predictor_by_name():
    named = Qwen2Config(num_hidden_layers=3, num_attention_heads=4, hidden_size=32)
    where = SimpleNamespace(scale=SCALE, layer=0, module=SimpleNamespace(config=named), memory=None)
    with pytest.raises(InputError, match="boundaries='fixed'"):
        small(DHSA, budget=64).prefill(drawn(2, 320), drawn(2, 320), where)
    predictor = BoundaryPredictor(16, heads=2)
    found = small(DHSA, budget=64, predictor=predictor).prefill(drawn(2, 320), drawn(2, 320), where)
    assert found.density().max() < 0.5


@pytest.mark.parametrize("encoder", ["tokens", "attn"])
def test_a_predictor_of_a_model_with_other_keys_is_refused(encoder):
    method = small(DHSA, budget=64, predictor=BoundaryPredictor(32, heads=2, encoder=encoder))
    with pytest.raises(InputError, match=r"reads 32 key channels.*; 16 came"):
        method.prefill(drawn(4, 320), drawn(2, 320, seed=1), context())


def test_dhsa_takes_chunks_of_ones_own():
    """Fixed chunks, given as they are; a part of the text that is read first has the starts that are in it."""
    q, k = drawn(4, 320), drawn(2, 320, seed=1)
    fixed = small(DHSA, budget=64, boundaries="fixed", chunk=10)
    given = small(DHSA, budget=64, starts=(0, *range(10, 1_000, 10)))
    assert torch.equal(given.prefill(q, k, context()).keep, fixed.prefill(q, k, context()).keep)
    assert given.cut(q[:, :, :105], k[:, :, :105], context()).tolist() == [*range(0, 105, 10), 105]
    other = small(DHSA, budget=64, starts=(7, 30, 33, 200))
    assert other.cut(q, k, context()).tolist() == [0, 7, 30, 33, 200, 320]
    assert (other.prefill(q, k, context()).keep != fixed.prefill(q, k, context()).keep).any()


def test_shuffled_boundaries_choose_other_keys():
    """The predictor is used: other weights cut elsewhere, and other blocks are looked at."""
    q, k = drawn(4, 400, seed=1), drawn(2, 400, seed=2)
    torch.manual_seed(0)
    one, other = (
        small(DHSA, budget=64, predictor=BoundaryPredictor(16, heads=2)).prefill(q, k, context()) for _ in range(2)
    )
    assert (one.keep != other.keep).any()


# -- all methods -------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("method", SMALL, ids=names)
@pytest.mark.parametrize("before", [0, 48, 55])
def test_every_query_sees_itself_and_the_first_block_and_nothing_later(method, before):
    q, k = drawn(4, 150), drawn(2, 150 + before, seed=1)
    blocks = method.prefill(q, k, context())
    lead = before % BLOCK
    seen = blocks.seen()[:, :, lead:].expand(1, 4, -1, -1)
    rows = torch.arange(150) + before
    assert seen[:, :, torch.arange(150), rows].all()
    assert seen[..., 0].all()
    assert not (seen & (torch.arange(150 + before) > rows[:, None])).any()


CHOOSING = [method for method in SMALL if not isinstance(method, Dense | Streaming | RandomBlocks)]
CHOOSING.append(small(DHSA, budget=64, predictor=BoundaryPredictor(16, heads=2)))


@pytest.mark.parametrize("value", [math.nan, math.inf], ids=str)
@pytest.mark.parametrize("which", ["Queries", "Keys"])
@pytest.mark.parametrize("method", CHOOSING, ids=names)
def test_what_is_no_number_is_refused_by_whatever_chooses_by_it(method, which, value):
    """Else a head that holds one would look at what nobody chose."""
    q, k = drawn(4, 320), drawn(2, 320, seed=1)
    (q if which == "Queries" else k)[0, 1, 315, 3] = value
    with torch.no_grad(), pytest.raises(InputError, match=f"^{which} hold NaN or infinity"):
        method.prefill(q, k, context())


@pytest.mark.parametrize(
    ("queries", "keys"),
    [
        ((1, 3, 320, 8), (1, 2, 320, 8)),
        ((1, 4, 320, 8), (1, 2, 320, 4)),
        ((1, 4, 320, 8), (2, 2, 320, 8)),
        ((1, 4, 336, 8), (1, 2, 320, 8)),
        ((4, 320, 8), (1, 2, 320, 8)),
    ],
    ids=["groups", "widths", "batches", "lengths", "dimensions"],
)
@pytest.mark.parametrize("method", SMALL, ids=names)
def test_queries_and_keys_that_do_not_fit_are_refused(method, queries, keys):
    with pytest.raises(InputError, match="do not fit"):
        method.prefill(torch.zeros(queries), torch.zeros(keys), context())


@pytest.mark.parametrize("method", SMALL, ids=names)
def test_heads_are_chosen_for_one_by_one(method):
    """Heads in another order get the same blocks in that order; random blocks have no head to follow."""
    if isinstance(method, RandomBlocks):
        return
    q, k = drawn(4, 200, seed=3), drawn(4, 200, seed=4)
    order = torch.tensor([2, 0, 3, 1])
    one, other = method.prefill(q, k, context()), method.prefill(q[:, order], k[:, order], context())
    assert (one.keep.expand(1, 4, -1, -1)[:, order] == other.keep.expand(1, 4, -1, -1)).all()


@pytest.mark.parametrize("cls", [BlockTopK, RandomBlocks])
@pytest.mark.parametrize("density", [0.2, 0.5, 1.0])
def test_a_density_is_kept_to(cls, density):
    q, k = drawn(4, 640), drawn(2, 640, seed=1)
    found = small(cls, density=density).prefill(q, k, context()).density()
    assert found.expand(1, 4).sub(density).abs().max() < 0.03


def test_streaming_is_sinks_and_recent_blocks():
    blocks = small(Streaming, sinks=32, recent=48).prefill(drawn(2, 160), drawn(2, 160), context())
    rows, columns = torch.arange(10)[:, None], torch.arange(10)
    assert (blocks.keep[0, 0] == ((columns <= rows) & ((columns < 2) | (rows - columns < 3)))).all()


@pytest.mark.parametrize(("vertical", "slash"), [(48, 32), (33, 16), (16, 64), (10_000, 16), (16, 10_000)])
@pytest.mark.parametrize("paired", [True, False])
def test_vertical_slash_is_its_definition(vertical, slash, paired):
    q, k = drawn(4, 150, seed=1), drawn(2, 150, seed=2)
    kept = small(VerticalSlash, vertical=vertical, slash=slash, paired=paired).prefill(q, k, context()).keep[0]
    for head, weights in enumerate(attention(q, k)[:, -BLOCK:]):
        columns, distances = [0.0] * 10, [0.0] * 10
        for row, key in np.ndindex(*weights.shape):
            if (distance := 150 - BLOCK + row - key) >= 0:
                columns[key // BLOCK] += float(weights[row, key])
                distances[distance // BLOCK] += float(weights[row, key])
        best = []
        for masses, tokens in ((columns, vertical), (distances, slash)):
            order = [0, *sorted(range(1, 10), key=lambda block: -masses[block])]
            best.append(order[: -(-tokens // BLOCK)])
        touched = {*best[1], *(one + 1 for one in best[1] if paired)}
        expected = [[c <= r and (c in best[0] or r - c in touched) for c in range(10)] for r in range(10)]
        assert kept[head].tolist() == expected


def test_block_topk_is_the_own_block_the_first_and_the_best_by_the_product_of_means():
    q, k = drawn(4, 160, seed=1), drawn(2, 160, seed=2)
    kept = small(BlockTopK, density=0.4).prefill(q, k, context()).keep[0]
    for head in range(4):
        asked, means = ([part.mean(0) for part in x.split(BLOCK)] for x in (q[0, head], k[0, head // 2]))
        for row in range(10):
            others = sorted(range(1, row), key=lambda one: -float(asked[row] @ means[one]))
            wanted = max(2, round(0.4 * (row + 1)))
            expected = {*dict.fromkeys([0, row]), *others[: max(0, wanted - len({0, row}))]}
            assert set(kept[head, row].nonzero()[:, 0].tolist()) == expected


@pytest.mark.parametrize("cls", [BlockTopK, RandomBlocks, DHSA])
@pytest.mark.parametrize(("length", "tail", "rows"), [(200, 1, 1), (200, 8, 1), (200, 9, 2), (208, 16, 1)])
def test_a_dense_tail_sees_everything_and_changes_nothing_else(cls, length, tail, rows):
    options = {"budget": 64, "boundaries": "fixed", "chunk": 10} if cls is DHSA else {"density": 0.2}
    q, k = drawn(2, length), drawn(1, length, seed=1)
    plain = small(cls, **options, dense_tail=0).prefill(q, k, context())
    dense = small(cls, **options, dense_tail=tail).prefill(q, k, context())
    assert (dense.keep == dense.visible)[:, :, -rows:].all()
    assert not (plain.keep == plain.visible)[:, :, -rows:].all()
    assert torch.equal(dense.keep[:, :, :-rows], plain.keep[:, :, :-rows])


def test_random_blocks_are_the_same_for_the_same_layer_only():
    q = drawn(4, 320)
    one, same, other = (small(RandomBlocks, density=0.3).prefill(q, q, context(layer)) for layer in (1, 1, 2))
    assert (one.keep == same.keep).all()
    assert (one.keep != other.keep).any()


@pytest.mark.parametrize(
    ("cls", "options", "told"),
    [
        (FlexPrefill, {"gamma": 0}, "gamma"),
        (FlexPrefill, {"tau": 2}, "tau"),
        (FlexPrefill, {"block": 24}, "power of two"),
        (FlexPrefill, {"min_budget": 500, "max_budget": 100}, "greatest"),
        (FlexPrefill, {"budget": "bytes"}, "bytes"),
        (Streaming, {"recent": 0}, "recent"),
        (VerticalSlash, {"slash": 0}, "at least 1"),
        (BlockTopK, {"density": 0}, "density"),
        (BlockTopK, {"dense_tail": -1}, "dense_tail -1"),
        (RandomBlocks, {"dense_tail": -1}, "dense_tail -1"),
        (DHSA, {"density": 0.0}, "density"),
        (DHSA, {"budget": 100}, "cannot hold"),
        (DHSA, {"budget": 150, "local": 32}, "own block, in blocks of 32, these are 160"),
        (DHSA, {"budget": 300, "local": 150, "sink": 150}, "these are 320"),
        (DHSA, {"budget": 512, "density": 0.5}, "give one"),
        (DHSA, {"boundaries": "random"}, "random"),
        (DHSA, {"boundaries": "fixed", "starts": (0, 5)}, "both starts"),
        (DHSA, {"starts": (0, 9, 5)}, "that rise"),
        (DHSA, {"starts": (-1, 5)}, "from 0 on"),
        (DHSA, {"pooling": "median"}, "median"),
    ],
)
def test_a_value_out_of_range_is_said(cls, options, told):
    with pytest.raises(InputError, match=told):
        cls(**options)


def test_methods_are_found_by_name():
    assert set(methods()) == {*METHODS, *MEMORIES, *CACHES, *EDITS}
    assert isinstance(method_by_name("flexprefill", gamma=0.9), FlexPrefill)
    with pytest.raises(UnknownName, match="flexprefill"):
        method_by_name("flex")
    with pytest.raises(InputError, match="gama"):
        method_by_name("flexprefill", gama=0.9)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("longhead", "longheads"),
        ("retrieval", "memory_by_name makes it; on the command line: foveal prefill SOURCE --keep --attention retr"),
        ("head-cache", "cache_by_name makes it; on the command line: it is for Python alone"),
        ("act", "load_calibration makes it; on the command line: foveal read SOURCE … --attention act, or act:FILE"),
    ],
)
def test_a_name_of_another_kind_of_method_is_told_of(name, told):
    with pytest.raises(UnknownName, match=told):
        method_by_name(name)


@pytest.mark.parametrize(
    ("name", "tokens", "made"),
    [
        ("flexprefill:gamma=0.9,min-budget=256", 0, FlexPrefill(gamma=0.9, min_budget=256)),
        ("flexprefill:budget=tokens,paired=false", 0, FlexPrefill(budget="tokens", paired=False)),
        ("flexprefill:", 0, FlexPrefill()),
        ("auto:gamma=0.9", 16_383, None),
        ("auto:gamma=0.9", 16_384, FlexPrefill(gamma=0.9)),
        ("dense", 16_384, None),
        ("block-topk:density=0.5", 1, BlockTopK(0.5)),
    ],
)
def test_options_may_stand_behind_a_name(name, tokens, made):
    assert method_for(name, tokens) == made


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("flexprefill:0.9", "write NAME=VALUE"),
        ("flexprefill:gamma=much", "needs a number"),
        ("auto:gama=0.9", "no option gama"),
        ("auto:gamma=7", "0 < gamma"),
        ("dense:gamma=0.9", "no option gamma"),
    ],
)
def test_what_stands_behind_a_name_must_be_its_options(name, told):
    """At once: also where the text is too short for it."""
    with pytest.raises(InputError, match=told):
        method_for(name, 0)


# -- on a model --------------------------------------------------------------------------------------------------------


def tokens(length: int, rows: int = 1, seed: int = 0) -> Tensor:
    return torch.randint(200, (rows, length), generator=torch.Generator().manual_seed(seed))


@torch.inference_mode()
def logits(model, ids: Tensor, **more) -> Tensor:
    return model(input_ids=ids, **more).logits


class Everything(BlockMethod):
    """Keeps all blocks of 16 tokens."""

    query_block = key_block = least = BLOCK

    def prefill(self, query, key, context):  # noqa: ARG002
        rows, columns = self.grid(query, key)
        return self.blocks(torch.ones(1, 1, len(rows), len(columns), dtype=torch.bool), query, key)


def test_all_blocks_give_what_the_model_gives(model):
    ids = tokens(150, rows=2)
    expected = logits(model, ids)
    with attach(model, Everything()) as attached:
        torch.testing.assert_close(logits(model, ids), expected, atol=1e-4, rtol=1e-4)
    assert attached.report.looks
    assert attached.report.density == 1
    assert attached.report.recall == pytest.approx(1, abs=1e-5)
    torch.testing.assert_close(logits(model, ids), expected)


@pytest.fixture(scope="module")
def mistral() -> MistralForCausalLM:
    """All of its layers have a window, of 100 tokens."""
    torch.manual_seed(0)
    config = MistralConfig(
        vocab_size=300,
        hidden_size=32,
        intermediate_size=48,
        num_hidden_layers=2,
        num_attention_heads=4,
        num_key_value_heads=2,
        sliding_window=100,
        initializer_range=0.3,
        eos_token_id=None,
    )
    return MistralForCausalLM(config).eval()


def test_a_window_that_holds_the_whole_text_leaves_it_to_the_method(mistral):
    """Phi-3 of 128k names a window of 262,144 tokens, and the first Mistral one of 4,096: most texts are shorter."""
    for length, looked in ((100, [0, 1]), (101, [])):
        expected = logits(mistral, tokens(length))
        with attach(mistral, Everything()) as attached:
            torch.testing.assert_close(logits(mistral, tokens(length)), expected, atol=1e-4, rtol=1e-4)
        assert [look.layer for look in attached.report.looks] == looked
    assert "All dense: layers whose window of 100 tokens slides over the text (2 times)." in str(attached.report)


@pytest.mark.parametrize("cache", ["dynamic", "static"])
def test_what_is_written_past_a_window_is_what_the_model_writes(mistral, cache):
    """The prompt fits into the window, what is written behind it does not."""
    asked = {"max_new_tokens": 20, "do_sample": False, "cache_implementation": cache}
    expected = mistral.generate(tokens(90), **asked)
    with attach(mistral, Everything()) as attached:
        assert mistral.generate(tokens(90), **asked).equal(expected)
    assert len(attached.report.looks) == 2


def test_a_report_keeps_the_last_looks(attention_models):
    """A model that serves is attached for days."""
    model = attention_models["qwen"].model
    with attach(model, Everything(), report=Report(most=4)) as attached:
        for length in (150, 160, 170):
            logits(model, tokens(length))
    assert [(look.layer, look.queries) for look in attached.report.looks] == [(2, 160), (0, 170), (1, 170), (2, 170)]
    assert "The last 4 of 9 looks" in str(attached.report)


def test_a_report_keeps_the_last_looks_blocks(model, tmp_path, monkeypatch):
    """Blocks take far more than figures: those of the last looks that fit, of one at least."""
    said = []
    monkeypatch.setattr(
        "foveal.evaluation.plots.grids", lambda panels, *_, title, **__: said.append((len(panels), title))
    )
    for room, held in ((1, 1), (2**20, None)):
        report = Report(keep_blocks=True, block_bytes=room)
        with attach(model, small(BlockTopK, density=0.4), report=report):
            for length in (150, 200):
                logits(model, tokens(length))
        blocks = [look.keep for look in report.looks if look.keep is not None]
        assert len(report.looks) > 2
        assert len(blocks) == (held or len(report.looks))
        assert report.looks[-1].keep is not None
        assert ("blocks of the last 1" in str(report)) == (held == 1)
        report.picture(tmp_path / "blocks.png")
        assert said[-1][0] == sum(map(len, blocks))
        assert said[-1][1].endswith("across, of the last 1 looks" if held else "across")


@pytest.mark.parametrize("method", SMALL, ids=names)
def test_a_text_read_in_two_parts_is_the_same_where_the_choice_is(method, model):
    """The second part's queries go on in blocks of the text, whatever the length of the first."""
    ids = tokens(151)
    with attach(model, Everything()):
        whole = logits(model, ids)
        held = DynamicCache(config=model.config)
        logits(model, ids[:, :87], **{CACHE: held})
        rest = logits(model, ids[:, 87:], **{CACHE: held})
    torch.testing.assert_close(rest, whole[:, 87:], atol=1e-4, rtol=1e-4)
    with attach(model, method) as attached:
        held = DynamicCache(config=model.config)
        logits(model, ids[:, :87], **{CACHE: held})
        assert logits(model, ids[:, 87:], **{CACHE: held}).isfinite().all()
    assert {(look.queries, look.keys) for look in attached.report.looks} >= {(87, 87), (64, 151)}


@pytest.mark.parametrize("side", ["left", "right"])
def test_a_padded_batch_is_each_text_alone(side, model):
    method = small(FlexPrefill, gamma=0.6, min_budget=0)
    long, short = tokens(160), tokens(103, seed=1)
    pad = torch.zeros(1, 57, dtype=torch.long)
    real = torch.ones(2, 160, dtype=torch.long)
    if side == "left":
        ids, real[1, :57], mine = torch.cat([long, torch.cat([pad, short], 1)]), 0, slice(57, 160)
    else:
        ids, real[1, 103:], mine = torch.cat([long, torch.cat([short, pad], 1)]), 0, slice(0, 103)
    with attach(model, method):
        places = (real.cumsum(1) - 1).clamp(min=0)
        both = logits(model, ids, attention_mask=real, position_ids=places)
        torch.testing.assert_close(both[:1], logits(model, long), atol=1e-4, rtol=1e-4)
        torch.testing.assert_close(both[1:, mine], logits(model, short), atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("pad", [0, 23])
@pytest.mark.parametrize("method", SMALL, ids=names)
def test_a_static_cache_changes_neither_what_is_looked_at_nor_what_is_written(method, pad, model):
    """Behind the text it has room that nothing is in; a method that decodes sparsely does so over it, too."""
    ids, real = tokens(150), torch.ones(1, 150, dtype=torch.long)
    real[0, :pad] = 0
    method = replace(method, sparse_decode=True) if isinstance(method, DHSA) else method
    written, looked = [], []
    for cache in ("dynamic", "static"):
        options = {"cache_implementation": cache, "disable_compile": True, "do_sample": False}
        with attach(model, method) as attached:
            written.append(model.generate(ids, attention_mask=real, max_new_tokens=6, **options))
        looked.append([(look.layer, look.queries, look.keys, look.density.tolist()) for look in attached.report.looks])
    assert torch.equal(*written)
    assert looked[0] == looked[1] != []


@pytest.mark.parametrize("gradients", [False, True])
@pytest.mark.parametrize("method", [small(Dense), small(DHSA, density=1.0, boundaries="fixed")], ids=["dense", "dhsa"])
def test_autocast_is_what_it_is_without_a_method(method, gradients, tmp_path):
    """A model in float32 hands over queries and keys in float32, and values in bfloat16."""
    model, ids = tiny("qwen", tmp_path).model, tokens(150)

    def found() -> Tensor:
        with torch.autocast("cpu", torch.bfloat16), torch.set_grad_enabled(gradients):
            output = model(input_ids=ids, labels=ids)
        if gradients:
            model.zero_grad()
            output.loss.backward()
            return model.model.layers[0].self_attn.q_proj.weight.grad.clone()
        return output.logits.float()

    expected = found()
    with attach(model, method) as attached:
        ours = found()
    assert attached.report.recall == pytest.approx(1, abs=1e-4)
    assert not any(look.recall.requires_grad for look in attached.report.looks)
    assert (ours - expected).norm() < 0.06 * expected.norm()  # both round


def test_generate_prefills_sparsely_and_decodes_exactly(model):
    ids = tokens(150)
    with attach(model, Everything()) as attached:
        ours = model.generate(ids, max_new_tokens=6, do_sample=False)
    assert (ours == model.generate(ids, max_new_tokens=6, do_sample=False)).all()
    assert {look.queries for look in attached.report.looks} == {150}


def test_a_budget_that_holds_the_text_keeps_all_of_it():
    """Also where it ends within a block of keys, and chunks are made for decoding."""
    method = small(DHSA, budget=100, boundaries="fixed", sparse_decode=True)
    q, k = drawn(4, 99), drawn(2, 99, seed=1)
    assert method.prefill(q, k, context()).density().min() == 1


def test_capped_logits_are_capped_under_a_method(tmp_path):
    """All of the blocks: what the model computes alone; and the mass that a report finds is all of it."""
    model, ids = tiny("gemma2", tmp_path).model, tokens(150)
    expected = logits(model, ids)
    with attach(model, Everything()) as attached:
        torch.testing.assert_close(logits(model, ids), expected, rtol=1e-4, atol=1e-4)
    assert attached.report.looks
    assert attached.report.recall == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("method", [Everything(), small(BlockTopK, density=0.5)], ids=["all", "half"])
def test_gradients_flow_through_a_method(model, method):
    """Training under a method: those of dense attention where it looks at everything."""
    ids, weight = tokens(100), model.model.layers[1].self_attn.q_proj.weight

    def gradient() -> Tensor:
        model.zero_grad()
        model(input_ids=ids, labels=ids).loss.backward()
        return weight.grad.clone()

    dense = gradient()
    with attach(model, method):
        found = gradient()
    assert found.abs().sum() > 0
    if isinstance(method, Everything):
        torch.testing.assert_close(found, dense, atol=1e-5, rtol=1e-3)
    model.zero_grad()


def full_layers(model) -> list[int]:
    kinds = getattr(model.config, "layer_types", None) or ["full_attention"] * model.config.num_hidden_layers
    return [number for number, kind in enumerate(kinds) if kind == "full_attention"]


def test_layers_and_heads_are_chosen(model):
    method = small(Streaming, sinks=BLOCK, recent=BLOCK)
    ids, last = tokens(150), full_layers(model)[-1]
    with attach(model, method) as everywhere:
        logits(model, ids)
    with attach(model, method, layers=[last]) as one_layer:
        logits(model, ids)
    with attach(model, method, heads={last: [1, 3]}) as two_heads:
        logits(model, ids)
    assert [look.layer for look in everywhere.report.looks] == full_layers(model)
    assert [look.layer for look in one_layer.report.looks] == [last]
    (look,) = two_heads.report.looks
    assert (look.density == 1).tolist() == [True, False, True, False]
    with pytest.raises(InputError, match="Layers"), attach(model, method, layers=[99]):
        pass
    with pytest.raises(InputError, match="Heads"), attach(model, method, heads={last: [4]}):
        pass


def test_the_report_is_a_table_and_a_picture(model, tmp_path, monkeypatch):
    method = small(FlexPrefill, gamma=0.6, min_budget=0)
    with attach(model, method, report=Report(keep_blocks=True)) as attached:
        logits(model, tokens(200))
    told = as_text(attached.report.table(), width=80)
    for name in ("query", "aware", "distance", "columns", "diagonals", "recall", "choose", "look"):
        assert f" {name}" in told  # in 80 columns, none is cut
    assert "200 queries at 200 keys" in told
    looks = len(attached.report.looks)
    assert len(re.findall(r"^ +\d+ +\d\.\d+ \d\.\d\d–\d\.\d\d ", told, re.MULTILINE)) == looks  # a line for each
    assert attached.report.picture(str(tmp_path / "blocks.png")).stat().st_size > 1000  # as most people name a file
    with attach(model, method, report=Report(keep_blocks=True)) as again:
        for _ in range(2):
            logits(model, tokens(200))
    panels: list[int] = []
    monkeypatch.setattr("foveal.evaluation.plots.grids", lambda given, *_, **__: panels.append(len(given)))
    again.report.picture(tmp_path / "both.png")
    assert panels == [sum(len(look.keep) for look in again.report.looks)]  # one of each head of each pass
    with attach(model, method) as plain:
        logits(model, tokens(200))
    with pytest.raises(InputError, match="keep_blocks"):
        plain.report.picture(tmp_path / "no.png")


def test_a_picture_of_nothing_says_why_there_is_none(model, tmp_path, monkeypatch):
    with attach(model, FlexPrefill(), report=Report(keep_blocks=True)) as short:
        logits(model, tokens(60))
    with pytest.raises(InputError, match="begins at 2,049 tokens"):
        short.report.picture(tmp_path / "no.png")
    method = small(BlockTopK, density=0.4)
    with attach(model, method, report=Report(keep_blocks=True)) as attached:
        logits(model, tokens(60))
    with pytest.raises(InputError, match=r"layers \[7\].*of layers \["):
        attached.report.picture(tmp_path / "no.png", layers=[7])
    monkeypatch.setattr("foveal.attention.method.pays", lambda *_: False)
    with attach(model, method, report=Report(keep_blocks=True)) as dear:
        logits(model, tokens(60))
    with pytest.raises(InputError, match="no longer"):
        dear.report.picture(tmp_path / "no.png")


def test_a_report_explains_itself(model, tmp_path, capsys):
    with attach(model, small(BlockTopK, density=0.4), report=Report(keep_blocks=True)) as attached:
        logits(model, tokens(200))
    attached.explain(tmp_path / "blocks.png")
    assert "looks, density" in capsys.readouterr().out
    with get_console().capture() as captured:  # the one that the program prints with, as it was set up
        attached.explain()
    assert "looks, density" in captured.get()
    assert not capsys.readouterr().out
    assert (tmp_path / "blocks.png").stat().st_size > 1000


@pytest.mark.parametrize(
    ("name", "options", "told"),
    [
        ("random", {"density": 5}, "density of 5"),
        ("random", {"seed": "x"}, "needs a whole number"),
        ("flexprefill", {"dense_last": "x"}, "needs a whole number"),
        ("flexprefill", {"gamma": "x"}, "needs a number"),
        ("flexprefill", {"paired": "no"}, "needs true or false"),
        ("flexprefill", {"block": 64.5}, "needs a whole number"),
        ("flexprefill", {"block": None}, "needs a whole number"),
        ("flexprefill", {"dense_last": -1}, "dense_last -1"),
        ("dhsa", {"predictor": "foo"}, "BoundaryPredictor"),
        ("dhsa", {"chunk": 0}, "chunk 0"),
        ("dhsa", {"local": -5}, "local -5"),
    ],
)
def test_an_option_out_of_its_range_is_refused(name, options, told):
    with pytest.raises(InputError, match=told):
        method_by_name(name, **options)


def test_options_may_be_numbers_of_numpy():
    made = method_by_name("flexprefill", gamma=np.float32(0.5), min_budget=np.int64(512))
    assert made == FlexPrefill(gamma=0.5, min_budget=512)


def test_recall_is_the_mass_that_was_kept():
    """Against attention in full, over all rows."""
    q, k, v = drawn(4, 96, seed=1), drawn(2, 96, seed=2), drawn(2, 96, seed=3)
    blocks = small(BlockTopK, density=0.4).prefill(q, k, context())
    from foveal.attention.kernel import block_attention
    from foveal.attention.report import recall

    _, sums = block_attention(q, k, v, blocks, scale=SCALE)
    held = (attention(q, k) * blocks.seen()[0]).sum(-1).mean(-1)
    torch.testing.assert_close(recall(q, k, sums, scale=SCALE, rows=96), held, atol=1e-5, rtol=1e-5)


@pytest.mark.parametrize("padded", [False, True])
def test_blocks_that_would_take_longer_are_left_to_dense_attention(model, monkeypatch, padded):
    """On a processor whose block kernel is slow."""
    from foveal.attention import method as module

    monkeypatch.setattr(module, "CALIBRATED", 100)
    real = torch.ones(2, 150, dtype=torch.long)
    real[0, : 30 * padded] = 0
    ids, half = tokens(150).expand(2, -1), small(BlockTopK, density=0.5)
    with attach(model):
        dense = logits(model, ids, attention_mask=real)
    for cost, sparse in ((1.5, True), (2.5, False)):
        monkeypatch.setattr(module, "cost_of_blocks", lambda *_, cost=cost: cost)
        with attach(model, half) as attached:
            found = logits(model, ids, attention_mask=real)
        assert (attached.report.density < 1) is sparse
    torch.testing.assert_close(found[real.bool()], dense[real.bool()], atol=1e-4, rtol=1e-4)


def test_what_blocks_cost_is_measured_once():
    cost_of_blocks.cache_clear()
    first = cost_of_blocks(torch.float32, 16)
    assert 0 < first <= 10
    assert cost_of_blocks(torch.float32, 16) == first


def test_short_texts_and_masks_of_ones_own_stay_dense(model):
    ids = tokens(20)
    with attach(model, FlexPrefill()) as attached:
        torch.testing.assert_close(logits(model, ids), logits(model, ids))
    assert not attached.report.looks
    assert attached.report.density == 1
    told = " ".join(str(attached.report).split())
    assert told.startswith("All dense: ")
    assert "texts too short for the method, which begins at 2,049 tokens" in told


def test_a_report_says_why_nothing_was_looked_at(model):
    ids, holes = tokens(150), torch.ones(1, 150, dtype=torch.long)
    holes[0, 70] = 0
    own = torch.ones(150, 150, dtype=torch.bool).tril()[None, None]
    with attach(model, Everything()) as attached:
        assert "the method was to choose for no prompt" in str(attached.report)
        logits(model, ids, attention_mask=own)
        logits(model, ids, attention_mask=holes)
    told = " ".join(str(attached.report).split())
    assert "masks of their own" in told
    assert "padding in their midst" in told


def test_a_method_that_raises_leaves_the_model_as_it_was(model):
    class Broken(Everything):
        def prefill(self, *_):
            raise RuntimeError("half-way")

    ids, before = tokens(150), model.config._attn_implementation
    expected = logits(model, ids)
    with pytest.raises(RuntimeError, match="half-way"), attach(model, Broken()):
        logits(model, ids)
    assert model.config._attn_implementation == before
    torch.testing.assert_close(logits(model, ids), expected)


@pytest.mark.parametrize("given", [torch.ones(10, 10, dtype=torch.bool), Blocks.causal(150, 150).block_mask()])
def test_what_is_no_choice_of_blocks_is_refused(attention_models, given):
    class Other(Everything):
        def prefill(self, *_):
            return given

    model = attention_models["qwen"].model
    with pytest.raises(InputError, match=r"Other.prefill gave .*self\.blocks"), attach(model, Other()):
        logits(model, tokens(150))


def test_blocks_for_some_heads_only():
    one = Blocks.of(torch.eye(3, dtype=torch.bool)[None, None], queries=48, keys=48, query_block=16, key_block=16)
    mixed = one.for_heads(torch.tensor([True, False]), Blocks.causal(48, 48, query_block=16, key_block=16))
    assert mixed.density().tolist() == [[0.5, 1.0]]


def test_auto_is_dense_until_a_text_is_long():
    assert method_for("auto", 16_000) is None
    assert isinstance(method_for("auto", 16_384), FlexPrefill)
    assert method_for("dense", 100_000) is None
    assert isinstance(method_for("streaming", 10), Streaming)
    with pytest.raises(UnknownName):
        method_for("flash", 10)
