"""The compiled parts of a decoding step: those of memory_parts.py, whose definitions are written here once more."""

from __future__ import annotations

import copy
import math
from dataclasses import fields, replace

import numpy as np
import pytest
import torch
from tiny import CACHE

from foveal.attention import RetrievalAttention, attach, memory_native
from foveal.attention.kernel import merge
from foveal.attention.memory_parts import Scores, Tail, _read_found, read_found
from foveal.attention.roar_graph import Found, RoarGraph, RoarSettings
from foveal.attention.rows import Rows
from foveal.errors import InputError
from foveal.models.threads import with_threads

INF = math.inf


@pytest.fixture(autouse=True)
def _without_gradients():
    """Where gradients may be asked for, nothing compiled runs."""
    with torch.no_grad():
        yield


def drawn(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(seed))


def rows_of(values: torch.Tensor, base: int) -> Rows:
    """The same values, the first `base` of them in the part that never changes."""
    rows = Rows(values[:, :base])
    if base < values.shape[1]:
        rows.append(values[:, base:])
    return rows


def found_of(heads: int, each: int, k: int, count: int, *, missing: float = 0.0) -> Found:
    draw = torch.Generator().manual_seed(3)
    ids = torch.rand(heads, each, count, generator=draw).argsort(-1)[..., :k]
    ids = ids.masked_fill(torch.rand(ids.shape, generator=draw) < missing, -1)
    products = (4 * drawn(heads, each, k, seed=4)).masked_fill(ids < 0, 0.0)
    return Found(ids, products, torch.zeros(heads, each, dtype=torch.int64))


def compiled(found: Found, values: Rows, scores: Scores) -> tuple[torch.Tensor, torch.Tensor]:
    part = memory_native.read_found(found.ids, found.products, values, scores.scale, scores.softcap)
    assert part is not None
    return part


# -- the values of found keys ------------------------------------------------------------------------------------------


def read_by_definition(found: Found, values: torch.Tensor, scores: Scores) -> tuple[torch.Tensor, torch.Tensor]:
    """One softmax at a time, in float64."""
    heads, each, _ = found.ids.shape
    output = torch.zeros(heads, each, values.shape[2], dtype=torch.float64)
    sums = torch.full((heads, each), -INF, dtype=torch.float64)
    for head in range(heads):
        for place in range(each):
            there = found.ids[head, place] >= 0
            logits = scores(found.products[head, place, there].double())
            if len(logits):
                read = values[head * len(values) // heads, found.ids[head, place, there]].double()
                output[head, place], sums[head, place] = logits.softmax(0) @ read, logits.logsumexp(0)
    return output.float(), sums.float()


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("softcap", [None, 3.0])
@pytest.mark.parametrize(
    ("heads", "groups", "each", "k", "count", "base", "width"),
    [
        (14, 2, 1, 400, 900, 900, 64),
        (4, 1, 3, 33, 200, 150, 128),
        (6, 3, 2, 9, 50, 0, 20),
        (2, 2, 1, 1, 1, 1, 1),
        (4, 4, 5, 8, 8, 7, 7),
        (3, 1, 1, 7, 300, 299, 80),
    ],
)
def test_found_values_are_read_as_by_definition(dtype, softcap, heads, groups, each, k, count, base, width):
    values, scores = drawn(groups, count, width, seed=1).to(dtype), Scores(0.4, softcap)
    for missing in (0.0, 0.3, 1.0):
        found = found_of(heads, each, k, count, missing=missing)
        output, sums = compiled(found, rows_of(values, base), scores)
        expected, of_all = read_by_definition(found, values, scores)
        torch.testing.assert_close(output, expected, atol=1e-5, rtol=1e-5)
        torch.testing.assert_close(sums, of_all, atol=1e-5, rtol=1e-5)
        plain = _read_found(found, rows_of(values, base), scores)
        torch.testing.assert_close((output, sums), plain, atol=2e-5, rtol=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
def test_values_are_read_wherever_they_lie(dtype, tmp_path):
    """As a model lays them out, group by group within a token; and in a file that is mapped."""
    values, scores, found = drawn(2, 300, 24).to(dtype), Scores(0.5), found_of(4, 2, 40, 300)
    expected = compiled(found, Rows(values), scores)
    laid = values.transpose(0, 1).contiguous().transpose(0, 1)
    cut = drawn(2, 400, 30).to(dtype)[:, 50:350, 3:27]
    cut.copy_(values)
    np.save(tmp_path / "values.npy", values.view(torch.int16 if dtype == torch.bfloat16 else dtype).numpy())
    mapped = torch.from_numpy(np.load(tmp_path / "values.npy", mmap_mode="c")).view(dtype)
    for one in (laid, cut, mapped):
        assert torch.equal(torch.cat(compiled(found, Rows(one), scores)[:1]), expected[0])
    turned = values.transpose(1, 2).contiguous().transpose(1, 2)  # the numbers of a value lie apart
    assert memory_native.read_found(found.ids, found.products, Rows(turned), 0.5, None) is None
    torch.testing.assert_close(read_found(found, Rows(turned), scores), expected, atol=2e-5, rtol=1e-5)


def test_what_was_found_may_be_a_view():
    """A choice that is the same for all queries of a head, and products whose numbers lie apart."""
    values, scores = drawn(2, 60, 8), Scores(0.5)
    ids = found_of(4, 1, 12, 60).ids.expand(-1, 3, -1)
    products = drawn(4, 12, 3).transpose(1, 2)
    found = Found(ids, products, torch.zeros(4, 3, dtype=torch.int64))
    torch.testing.assert_close(
        compiled(found, Rows(values), scores), read_by_definition(found, values, scores), atol=1e-5, rtol=1e-5
    )


def test_scores_far_from_zero_neither_overflow_nor_vanish():
    values, scores = drawn(1, 30, 8), Scores(1.0)
    found = found_of(2, 1, 30, 30)
    for shift in (-3000.0, 3000.0):
        moved = found._replace(products=found.products + shift)
        torch.testing.assert_close(
            compiled(moved, Rows(values), scores), read_by_definition(moved, values, scores), atol=1e-3, rtol=1e-3
        )


@pytest.mark.parametrize("count", [1, 20])
def test_a_product_that_is_no_number_is_not_passed_over(count):
    found = found_of(2, 1, 20, 30)
    products = found.products.clone()
    products[0, 0, 20 - count :] = math.nan
    broken = found._replace(products=products)
    output, sums = compiled(broken, Rows(drawn(1, 30, 8)), Scores(1.0))
    assert torch.equal(sums.isnan()[:, 0], torch.tensor([True, False]))
    assert merge([(drawn(2, 1, 8), drawn(2, 1)), (output, sums)])[0][0].isnan().all()


@pytest.mark.parametrize("base", [0, 20, 30])
def test_an_id_of_no_value_is_refused(base):
    values = rows_of(drawn(2, 30, 8), base)
    found = found_of(4, 1, 5, 30)
    compiled(found, values, Scores(1.0))
    ids = found.ids.clone()
    ids[3, 0, 4] = 30
    with pytest.raises(InputError, match="up to 30 were found where there are 30"):
        read_found(found._replace(ids=ids), values, Scores(1.0))


def test_none_found_is_nothing_read():
    output, sums = compiled(found_of(4, 2, 0, 30), Rows(drawn(2, 30, 8)), Scores(1.0))
    assert not output.any()
    assert torch.isneginf(sums).all()


# -- what is expected of the rest --------------------------------------------------------------------------------------


def tail_of(groups: int, clusters: int, width: int, values: int, *, spread: float = 1.0) -> Tail:
    """Clusters whose keys and values vary together, as those of a text do; the second has no members."""
    mixed = spread * drawn(groups, clusters, width + values, width + values, seed=5) / (width + values) ** 0.5
    both = mixed @ mixed.mT
    counts = torch.randint(1, 900, (groups, clusters), generator=torch.Generator().manual_seed(6))
    keys, read = drawn(groups, clusters, width, seed=7), drawn(groups, clusters, values, seed=8)
    parts = [keys, both[..., :width, :width].contiguous(), read, both[..., :width, width:].contiguous()]
    if clusters > 1:
        for part in (counts, *parts):
            part[:, 1] = 0
    return Tail(counts, *parts)


def expected_by_definition(tail: Tail, queries: torch.Tensor, lowest: torch.Tensor, scale: float):
    """The integral over the scores below the lowest, cluster by cluster, in float64."""
    heads, each, _ = queries.shape
    groups = len(tail.keys)
    counts = tail.counts.expand(groups, -1)
    output = torch.zeros(heads, each, tail.values.shape[2], dtype=torch.float64)
    sums = torch.full((heads, each), -INF, dtype=torch.float64)
    for head in range(heads):
        group = head * groups // heads
        held = [getattr(tail, one.name)[group].double() for one in fields(Tail)[1:]]
        for place in range(each):
            asked = queries[head, place].double() * scale
            parts = []
            for count, key, covariance, value, cross in zip(counts[group].tolist(), *held, strict=True):
                if not count:
                    continue
                mean, variance = float(asked @ key), max(float(asked @ covariance @ asked), 1e-9)
                deviation = variance**0.5
                last = min(float(lowest[head, place]), mean + variance + 12 * deviation)
                steep = max(1.0, (mean + variance - last) / deviation)
                at = torch.linspace(last - 40 * deviation / steep, last, 40_001, dtype=torch.float64)
                log = at - (at - mean) ** 2 / (2 * variance) - 0.5 * math.log(2 * math.pi * variance)
                weights = (log - log.max()).exp() * (at[1] - at[0])
                weights[[0, -1]] /= 2
                mass = math.log(count) + float(log.max() + weights.sum().log())
                along = float((weights * (at - mean)).sum() / weights.sum()) / variance
                parts.append((mass, value + asked @ cross * along))
            if parts:
                masses = torch.tensor([mass for mass, _ in parts], dtype=torch.float64)
                sums[head, place] = masses.logsumexp(0)
                output[head, place] = masses.softmax(0) @ torch.stack([value for _, value in parts])
    return output.float(), sums.float()


def told(tail: Tail, queries: torch.Tensor, lowest: torch.Tensor, scale: float) -> tuple[torch.Tensor, torch.Tensor]:
    clusters = tail.counts, tail.keys, tail.covariance, tail.values, tail.cross
    part = memory_native.expect_rest(queries, lowest, clusters, scale)
    assert part is not None
    return part


@pytest.mark.parametrize(
    ("heads", "groups", "each", "clusters", "width", "values"),
    [
        (4, 2, 1, 6, 64, 64),
        (2, 1, 2, 3, 128, 128),
        (6, 3, 2, 4, 20, 12),
        (2, 2, 1, 5, 64, 128),
        (2, 1, 1, 4, 24, 40),
        (2, 1, 3, 1, 1, 1),
    ],
)
@pytest.mark.parametrize("below", [-60.0, -4.0, 0.0, 4.0, INF], ids=lambda value: f"lowest{value:+}")
def test_the_rest_is_expected_as_by_definition(heads, groups, each, clusters, width, values, below):
    tail, queries = tail_of(groups, clusters, width, values), drawn(heads, each, width, seed=9)
    scale = width**-0.5
    lowest = below + 0.1 * drawn(heads, each, seed=10)
    output, sums = told(tail, queries, lowest, scale)
    expected, mass = expected_by_definition(tail, queries, lowest, scale)
    torch.testing.assert_close(sums, mass, atol=1e-3, rtol=1e-4)
    far = (output - expected).norm() / expected.norm()
    assert far < 5e-3, far
    plain, plainly = tail._beyond(queries, lowest, scale)
    torch.testing.assert_close(sums, plainly, atol=1e-3, rtol=1e-4)
    assert (output - plain).norm() < 5e-3 * expected.norm()


def test_counts_of_a_text_kept_earlier_are_those_of_every_group():
    tail, queries, lowest = tail_of(3, 5, 16, 16), drawn(6, 1, 16), drawn(6, 1)
    same = replace(tail, counts=tail.counts[0])
    each = replace(tail, counts=tail.counts[:1].expand(3, -1))
    assert torch.equal(told(same, queries, lowest, 0.25)[0], told(each, queries, lowest, 0.25)[0])
    torch.testing.assert_close(
        told(same, queries, lowest, 0.25), same._beyond(queries, lowest, 0.25), atol=1e-4, rtol=1e-4
    )


def test_clusters_without_members_and_nothing_below_the_lowest_add_nothing():
    tail, queries = tail_of(2, 4, 16, 16), drawn(4, 1, 16)
    empty = replace(tail, counts=torch.zeros_like(tail.counts))
    for one, lowest in ((empty, 0.0), (tail, -INF)):
        output, sums = told(one, queries, torch.full((4, 1), lowest), 0.25)
        assert torch.isneginf(sums).all()
        assert not output.any()
        seen = drawn(4, 1, 16, seed=1), drawn(4, 1, seed=2)
        torch.testing.assert_close(merge([seen, (output, sums)])[0], seen[0])


def test_keys_that_are_all_alike_have_one_score():
    """Of no variance, but what float32 leaves: all of their mass, or none, lies below the lowest."""
    keys, values = drawn(1, 1, 8).expand(1, 400, 8), drawn(1, 1, 8, seed=1).expand(1, 400, 8)
    tail, queries = Tail.of(keys, values, 4), drawn(2, 1, 8, seed=2)
    score = 0.3 * queries @ keys[:, :1].mT
    output, sums = told(tail, queries, score[..., 0] + 1, 0.3)
    torch.testing.assert_close(sums, score[..., 0] + math.log(400), atol=1e-4, rtol=1e-4)
    torch.testing.assert_close(output, values[:, :1].expand(2, 1, 8), atol=1e-4, rtol=1e-4)
    assert (told(tail, queries, score[..., 0] - 1, 0.3)[1] < -1000).all()


def test_a_query_that_is_no_number_is_not_passed_over():
    tail, queries = tail_of(2, 4, 16, 16), drawn(4, 1, 16)
    queries[0] = math.nan
    output, sums = told(tail, queries, torch.zeros(4, 1), 0.25)
    assert torch.equal(sums.isnan()[:, 0], torch.arange(4) == 0)
    assert torch.equal(output.isnan().any(-1)[:, 0], torch.arange(4) == 0)


# -- both --------------------------------------------------------------------------------------------------------------


def test_the_result_hangs_on_no_thread():
    values, found, scores = Rows(drawn(2, 300, 64)), found_of(6, 3, 90, 300, missing=0.1), Scores(0.3, 4.0)
    tail, queries, lowest = tail_of(2, 8, 64, 64), drawn(6, 3, 64), drawn(6, 3)
    each = []
    for threads in (1, 2, 3):
        with with_threads(threads):
            each.append((*compiled(found, values, scores), *told(tail, queries, lowest, 0.125)))
    for other in each[1:]:
        assert all(torch.equal(one, two) for one, two in zip(each[0], other, strict=True))


@pytest.mark.parametrize("default", [torch.bfloat16, torch.float64])
def test_the_default_type_may_be_another(default):
    """As while transformers loads a model in it, which all threads see: what is written needs its own room."""
    keys, values, scores = drawn(2, 700, 64), Rows(drawn(2, 700, 64, seed=1)), Scores(0.3)
    tail, queries, lowest = tail_of(2, 8, 64, 64), drawn(4, 1, 64, seed=2), drawn(4, 1)
    asked, more = drawn(4, 300, 64, seed=3), drawn(2, 100, 64, seed=4)

    def everything() -> list[torch.Tensor]:
        graph = RoarGraph.build(keys, asked, RoarSettings(coordinates="centred", nearest=20))
        found = graph.search(queries, 200)
        graph.add(more)
        return [
            *found,
            *compiled(found, values, scores),
            *told(tail, queries, lowest, 0.125),
            graph.search(queries, 9).ids,
        ]

    expected = everything()
    before = torch.get_default_dtype()
    torch.set_default_dtype(default)
    try:
        got = everything()
    finally:
        torch.set_default_dtype(before)
    assert all(torch.equal(one, other) for one, other in zip(got, expected, strict=True))


def test_what_cannot_run_compiled_is_left_to_the_definition(monkeypatch):
    found, values, tail = found_of(4, 1, 9, 30), drawn(2, 30, 8), tail_of(2, 3, 8, 8)
    clusters = tail.counts, tail.keys, tail.covariance, tail.values, tail.cross
    queries, lowest = drawn(4, 1, 8), torch.zeros(4, 1)

    def refused(values: torch.Tensor, *clusters: torch.Tensor) -> bool:
        read = memory_native.read_found(found.ids, found.products, Rows(values), 1.0, None)
        rest = memory_native.expect_rest(queries, lowest, clusters, 1.0)
        assert (read is None) == (rest is None)
        return read is None

    assert not refused(values, *clusters)
    assert refused(values.double(), clusters[0], *(part.double() for part in clusters[1:]))
    assert refused(values.to("meta"), *(part.to("meta") for part in clusters))  # stands for a GPU
    with torch.enable_grad():
        assert refused(values, *clusters)
    monkeypatch.setattr(memory_native, "library", lambda _: None)
    assert refused(values, *clusters)
    torch.testing.assert_close(
        read_found(found, Rows(values), Scores(1.0)), read_by_definition(found, values, Scores(1.0))
    )
    assert torch.equal(tail.beyond(queries, lowest, 1.0)[1], tail._beyond(queries, lowest, 1.0)[1])


def test_gradients_go_through_the_definition():
    found, scores = found_of(4, 1, 9, 30), Scores(0.5)
    values = drawn(2, 30, 8).requires_grad_()
    with torch.enable_grad():
        output, _ = read_found(found, Rows(values), scores)
        output.square().sum().backward()
    expected = torch.zeros_like(values)
    for head in range(4):
        weights = scores(found.products[head, 0]).softmax(0)
        expected[head // 2].index_add_(0, found.ids[head, 0], 2 * weights[:, None] * output[head])
    torch.testing.assert_close(values.grad, expected, atol=1e-5, rtol=1e-4)


@pytest.mark.parametrize("dtype", [torch.float32, torch.bfloat16])
@pytest.mark.parametrize("index", ["flat", "roar"])
def test_a_decoding_step_uses_both(attention_models, dtype, index, monkeypatch):
    model = copy.deepcopy(attention_models["qwen"].model).to(dtype)
    ids = torch.arange(200)[None] * 7 % 100
    method = RetrievalAttention(index=index, n_sink=2, n_local=6, top_k=8)

    def step() -> torch.Tensor:
        with attach(model, method):
            memory = {CACHE: method.make_cache(model)}
            model(input_ids=ids[:, :199], **memory)
            found: torch.Tensor = model(input_ids=ids[:, 199:], **memory).logits
            return found

    used: list[str] = []
    for name in ("read_found", "expect_rest"):
        whole = getattr(memory_native, name)

        def noted(*given, whole=whole, name=name):
            part = whole(*given)
            used.append(name if part is not None else f"{name} by definition")
            return part

        monkeypatch.setattr(memory_native, name, noted)
    expected = step()
    assert used == ["read_found", "expect_rest"] * len(model.model.layers)
    used.clear()
    monkeypatch.setattr(memory_native, "library", lambda _: None)
    torch.testing.assert_close(step(), expected, atol=1e-4 if dtype == torch.float32 else 0.1, rtol=1e-2)
    assert used == ["read_found by definition", "expect_rest by definition"] * len(model.model.layers)
