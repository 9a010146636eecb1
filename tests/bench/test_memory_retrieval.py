"""bench memory-retrieval: its cells hold what is true of their heads, and go on where they were stopped."""

from __future__ import annotations

import pytest
import torch
from tiny import tiny

from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.memory_parts import Scores, Snapped
from foveal.attention.roar_graph import RoarSettings
from foveal.bench.code import code_digest
from foveal.bench.memory_retrieval import _at_long, exact_rows
from foveal.bench.memory_retrieval_data import KINDS, Case, read_text
from foveal.bench.memory_retrieval_search import (
    K,
    _over,
    _read,
    group_cells,
    store_of,
    visits_for,
    within_scan,
)
from foveal.bench.memory_retrieval_speed import UNSEEN, _layer, _stepper, against_flat, looked_bytes
from foveal.bench.memory_retrieval_tasks import TOP_K, answer_rows, opened, stepped
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import stored_lines, write_lines
from foveal.models.threads import with_threads


def case(head: int, seed: int) -> Case:
    draw = torch.Generator().manual_seed(seed)
    shared = torch.Generator().manual_seed(0)
    keys = torch.randn(900, 64, generator=shared) + 2
    parts = [torch.randn(count, 64, generator=draw) * 1.5 - 1 for count in (400, 40)]
    window = torch.randn(2, 30, 64, generator=shared)
    return Case(2, head, keys, torch.randn(900, 64, generator=shared), *parts, window[0], window[1])


@pytest.fixture(scope="module")
def made():
    return group_cells([case(1, 1), case(4, 2)], 1200, hnsw=True, controls=True)


def test_a_cell_tells_what_was_visited_found_and_left_out(made):
    for cell in made:
        assert cell.hidden == 900
        assert set(cell.curves) == {"roar", "hnsw", "hnsw, centred", "ivf", "ivf, centred"}
        assert all(of <= 1 and at > 0 for curve in cell.curves.values() for at, of in curve)
        assert cell.curves["roar"][-1][1] > 0.95
        assert cell.recovered["streaming"] < cell.recovered["roar"] <= cell.recovered["flat"] + 1e-6
        assert cell.error["tail"] < cell.error["roar"] < cell.error["streaming"]
        assert cell.error["averaged"] > cell.error["roar"]
        guessed, true = cell.missed
        assert guessed == pytest.approx(true, abs=0.05)
        assert 6 < cell.mahalanobis[0] < 10
        assert cell.controls["most frequent pivot, sinks hidden"] <= 1


def test_peers_are_held_against_the_graph_at_the_longest_length_that_they_are_built_at(made):
    rows = {row.system: row for row in _at_long(made, made)}
    for kind, bar in (("hnsw", "≤ 0.3333"), ("hnsw, centred", None), ("ivf", None), ("ivf, centred", None)):
        row = rows[f"keys for recall 0.95, roar / {kind}, 900 hidden"]
        assert row.bar == bar
        assert row.note.startswith("median of 2 pairs; not reached by")
    assert rows["RetrievalAttention, 900 hidden"].bar == "≤ 0.05"


def test_cells_come_back_from_their_file(made, tmp_path):
    write_lines(tmp_path / "cells.jsonl", made)
    assert [_read(line) for line in stored_lines(tmp_path / "cells.jsonl", dict, what="cells")] == made


def test_what_all_keys_give_is_their_softmax():
    logits, values = torch.randn(3, 50), torch.randn(50, 4)
    output, sums = _over(logits, values)
    torch.testing.assert_close(output[:, 0], logits.softmax(-1) @ values)
    torch.testing.assert_close(sums[:, 0], logits.logsumexp(-1))


def test_keys_for_a_recall_lie_between_two_measured_points():
    curve = [(100.0, 0.8), (200.0, 0.9), (300.0, 1.0)]
    assert visits_for(curve) == (pytest.approx(250), True)
    assert visits_for(curve, 0.7) == (100, True)
    assert visits_for(curve[:2]) == (200, False)
    assert within_scan(curve, 250) == 0.9
    assert within_scan(curve, 50) == 0
    assert K == 100


def test_merging_is_exact():
    merged = next(iter(exact_rows()))
    assert merged.ok


# -- needles -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def text(tmp_path_factory):
    """A short text with its needles, read by a tiny model with graphs for all heads."""
    folder = tmp_path_factory.mktemp("retrieval-bench")
    model = tiny("qwen", folder / "model", positions=8192)
    settings = BenchSettings(data=folder, cache=folder / "cache")
    with with_threads(1):
        return read_text(settings, 3000, layers=(), index="roar", model=model)


@pytest.mark.slow
def test_needles_of_each_kind_stand_in_one_text(text):
    counts = {kind: len(text.of_kind(kind)) for kind in KINDS}
    assert counts == {"literal": 6, "multi-key": 4, "passkey": 1}
    whole = text.planted[0].text
    for one in text.planted:
        assert all(whole[start:end] in one.needle.sentences for start, end in one.ranges)
        assert any(one.needle.answer in sentence for sentence in one.needle.sentences)
    told = text.model.tokenizer.decode(text.ids)
    assert sum(one.needle.sentences[0] in told for one in text.planted) == 11


def test_every_system_answers_over_the_text_that_was_kept_once(text):
    for system in ("full", "roar", "flat", "snapkv", "streaming"):
        memory = opened(text, system)
        assert memory.statistics()["index"] == system
        before = memory.get_seq_length()
        stepped(MemoryDecoder(text.model.model, memory.method), memory, [5, 6])
        assert memory.get_seq_length() == before + 2
    memory = opened(text, "snapkv")
    for layer in memory.memories:
        hidden = layer.sequences[0].hidden
        last = text.observed(layer.number)
        assert last.shape == (4, 64, 8)
        wanted = Snapped.build(hidden.index.keys.base, last, TOP_K, Scores(8**-0.5))
        assert torch.equal(hidden.index.ids, wanted.ids)


def test_answers_are_held_against_full_attention():
    told = {"full": 0.75, "roar": 0.75, "flat": 0.5, "snapkv": 0.25, "streaming": 0.25}
    rows = list(answer_rows(told, ("roar", "flat"), "4 needles"))
    assert [row.ok for row in rows] == [True, True, False, None, True]
    assert "SnapKV" in rows[3].system


def test_where_full_attention_answers_nothing_that_falls_short():
    """Nothing is no fewer answers than none: the other bars say nothing then."""
    rows = list(answer_rows(dict.fromkeys(("full", "roar", "snapkv", "streaming"), 0.0), ("roar",), "4 needles"))
    assert [row.ok for row in rows] == [False, True, None, True]


def test_cells_are_known_by_the_text_and_by_the_code(tmp_path):
    place = store_of(tmp_path / "12288-abc")
    assert place.parent == tmp_path
    assert place == store_of(tmp_path / "12288-abc") != store_of(tmp_path / "12288-abd")
    assert code_digest("foveal.attention.roar_graph") != code_digest("foveal.attention.key_index")


# -- speed -------------------------------------------------------------------------------------------------------------


class Asked:
    """A layer that keeps what it is asked."""

    length = 100

    def __init__(self) -> None:
        self.queries: list[torch.Tensor] = []

    def update(self, keys, values):
        return keys, values

    def attend(self, query, context):  # noqa: ARG002
        self.queries.append(query[0, :, 0])
        return query


def test_every_head_of_a_group_asks_by_a_query_of_its_own():
    """Heads that ask alike would find the keys that they read already in the cache."""
    queries = torch.randn(2, 10_240, 64, generator=torch.Generator().manual_seed(0))
    layer = Asked()
    step = _stepper(layer, queries)
    for _ in range(3):
        step()
    asked = torch.cat(layer.queries)
    assert len(asked) == 3 * 14
    assert len({tuple(one.tolist()) for one in asked}) == 3 * 14
    own = {tuple(one.bfloat16().tolist()) for one in queries[1, -UNSEEN:]}  # of the second group's drawn queries
    assert all(tuple(one.tolist()) in own for one in layer.queries[0][7:])


def test_a_graph_is_timed_beside_all_keys():
    draw = torch.Generator().manual_seed(0)
    keys, queries = torch.randn(2, 1024, 64, generator=draw).bfloat16(), torch.randn(2, 2048, 64, generator=draw)
    layer = _layer(keys, queries, RoarSettings(queries=64))
    row = against_flat(layer, keys, queries, runs=1)
    assert (row.system, row.metric) == ("one step's attention, 1k hidden", "times as fast as the flat index")
    assert row.bar == "≥ 1"
    assert row.value > 0
    assert layer.tally.steps == 4  # the graph's own, and no others


@pytest.mark.parametrize("index", ["flat", "roar"])
def test_a_flat_index_reads_the_keys_of_a_group_once(text, index):
    memory = opened(text, index)
    stepped(MemoryDecoder(text.model.model, memory.method), memory, [5, 6, 7])
    wide, hidden = 4, len(memory.memories[0].sequences[0].hidden)  # bytes of a float32
    wanted = 0.0
    for layer in memory.memories:
        visited = layer.tally.visited / layer.tally.steps
        assert visited == hidden or index == "roar"
        keys = 2 * hidden if index == "flat" else 14 * visited  # of 2 groups, or of the 7 heads of each
        wanted += wide * 8 * (keys + 14 * TOP_K)
    assert looked_bytes(memory) == pytest.approx(wanted)
