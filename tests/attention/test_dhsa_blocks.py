"""DHSA's second version: its blocks by loops, the number of them, and what is always seen."""

from __future__ import annotations

from types import SimpleNamespace

import pytest
import torch

from foveal.attention import DHSABlocks, attach
from foveal.attention.estimates import last_queries
from foveal.errors import InputError

QUERY, KEY, SCALE = 16, 4, 0.5


class Small(DHSABlocks):
    """Blocks of 16 queries and 4 keys, so that small texts have many."""

    query_block, key_block, least = QUERY, KEY, QUERY


def drawn(heads: int, length: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(1, heads, length, 8, generator=torch.Generator().manual_seed(seed)) * 1.5


def here(**more) -> SimpleNamespace:
    return SimpleNamespace(**{"scale": SCALE, "layer": 0, "memory": None, "softcap": None, "sinks": None} | more)


def lines_by_hand(q, k, half) -> list[list[float]]:
    """What each key block gets for each query block of one head, term by term."""
    length = k.shape[0]
    weights = last_queries(q[None, None], k[None, None], QUERY, scale=SCALE)[0, 0].tolist()
    column, slash = [0.0] * length, [0.0] * length
    for number, row in enumerate(weights):
        for place, weight in enumerate(row[: length - QUERY + number + 1]):
            column[place] += weight / QUERY
            slash[length - QUERY + number - place] += weight / QUERY
    columns = sorted(range(length), key=lambda at: -column[at])[:half]
    distances = sorted(range(length), key=lambda at: -slash[at])[:half]
    found = []
    for first in range(0, length, QUERY):
        scores = [0.0] * -(-length // KEY)
        for at in columns:
            scores[at // KEY] += column[at]
        for distance in distances:
            touched = {(first + n - distance) // KEY for n in range(QUERY) if 0 <= first + n - distance < length}
            for block in touched:
                scores[block] += slash[distance]
        found.append(scores)
    return found


def chosen_by_hand(scores, count) -> list[set[int]]:
    found = []
    for row, told in enumerate(scores):
        own = set(range(row * QUERY // KEY, min((row + 1) * QUERY // KEY, len(told)))) | {0}
        rest = sorted(set(range(max(own) + 1)) - own, key=lambda block: -told[block])
        found.append(own | set(rest[: max(0, count - len(own))]))
    return found


@pytest.mark.parametrize("length", [256, 250])
def test_lines_are_those_of_the_definition(length):
    q, k = drawn(4, length), drawn(2, length, seed=1)
    method = Small(density=0.2, dense_tail=0)
    count = method.count_for(length)
    keep = method.prefill(q, k, here()).keep
    for head in range(4):
        wanted = chosen_by_hand(lines_by_hand(q[0, head], k[0, head // 2], count * KEY // 2), count)
        for row, blocks in enumerate(wanted):
            assert set(keep[0, head, row].nonzero().flatten().tolist()) == blocks, (head, row)


def test_means_are_products_of_block_means():
    q, k = drawn(4, 256), drawn(2, 256, seed=1)
    method = Small(density=0.2, evidence="means", dense_tail=0)
    keep = method.prefill(q, k, here()).keep
    for head in range(4):
        asked, held = q[0, head].view(-1, QUERY, 8).mean(1), k[0, head // 2].view(-1, KEY, 8).mean(1)
        for row, blocks in enumerate(chosen_by_hand((asked @ held.T).tolist(), method.count_for(256))):
            assert set(keep[0, head, row].nonzero().flatten().tolist()) == blocks


@pytest.mark.parametrize("evidence", ["lines", "means"])
@pytest.mark.parametrize("density", [0.05, 0.125, 0.3])
def test_no_query_looks_at_more_than_its_share_but_for_the_tail(evidence, density):
    q, k = drawn(4, 512), drawn(2, 512, seed=1)
    method = Small(density=density, evidence=evidence, dense_tail=20)
    counts = method.prefill(q, k, here()).keep.sum(-1)
    assert int(counts[..., :-2].max()) <= method.count_for(512) == max(5, int(density * 128))
    assert counts[0, :, -2:].tolist() == [[124, 128]] * 4  # the tail of 20 tokens begins in the last but one
    early = torch.arange(1, 33) * 4 <= method.count_for(512)
    assert (counts[0, :, early] == torch.arange(1, 33)[early] * 4).all()


def test_a_part_that_is_read_later_stands_where_it_does():
    q, k = drawn(4, 256), drawn(2, 256, seed=1)
    method = Small(density=0.2)
    whole, part = (method.prefill(one, k, here()).keep for one in (q, q[:, :, 96:]))
    assert torch.equal(part, whole[:, :, 6:])


def test_a_share_that_holds_all_chooses_nothing():
    assert Small(density=1.0).prefill(drawn(2, 64), drawn(2, 64), here()) is None
    with pytest.raises(InputError, match="NaN or infinity"):
        Small(density=0.2).prefill(drawn(2, 256) * torch.nan, drawn(2, 256), here())


@torch.inference_mode()
def test_a_model_reads_by_it_and_generates(model):
    ids = torch.randint(200, (1, 400), generator=torch.Generator().manual_seed(0))
    dense = model(input_ids=ids).logits
    with attach(model, DHSABlocks(density=0.3)) as attached:
        found = model(input_ids=ids).logits
        assert model.generate(ids, max_new_tokens=2, do_sample=False).shape == (1, 402)
    assert attached.report.looks
    assert not torch.allclose(found, dense, atol=1e-4)
    with attach(model, DHSABlocks(density=1.0)):
        torch.testing.assert_close(model(input_ids=ids).logits, dense, atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("options", [{"density": 0.0}, {"density": 1.5}, {"evidence": "guess"}, {"dense_tail": -1}])
def test_a_value_out_of_its_range_is_refused(options):
    with pytest.raises(InputError, match="DHSABlocks got"):
        DHSABlocks(**options)
