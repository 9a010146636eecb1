"""bench memory-retrieval: its cells hold what is true of their heads, and go on where they were stopped."""

from __future__ import annotations

import math
from dataclasses import replace
from itertools import pairwise

import pytest
import torch
from tiny import tiny

from foveal.attention import memory_parts
from foveal.attention.memory_decoding import MemoryDecoder
from foveal.attention.memory_parts import Scores, Snapped
from foveal.attention.memory_store import load
from foveal.attention.roar_graph import RoarSettings
from foveal.bench import memory_retrieval_data, memory_retrieval_search
from foveal.bench.code import code_digest
from foveal.bench.memory_retrieval import _at_long, _beside_peers, _over_lengths, exact_rows
from foveal.bench.memory_retrieval_data import KINDS, Case, kept_by, read_text
from foveal.bench.memory_retrieval_search import (
    BEAMS,
    PROBES,
    SEARCHES,
    K,
    _over,
    _read,
    group_cells,
    store_of,
    visits_for,
    within_scan,
)
from foveal.bench.memory_retrieval_speed import UNSEEN, _layer, _stepper, against_flat, fast_row, looked_bytes
from foveal.bench.memory_retrieval_tasks import TOP_K, answer_rows, opened, stepped
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import stored_lines, write_lines
from foveal.models.threads import with_threads


def case(head: int, seed: int) -> Case:
    draw = torch.Generator().manual_seed(seed)
    shared = torch.Generator().manual_seed(0)
    keys = torch.randn(900, 64, generator=shared) + 2
    parts = [torch.randn(count, 64, generator=draw) * 1.5 - 1 for count in (400, 400, 40)]
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


def test_a_recall_that_the_graph_does_not_reach_is_no_gain(made):
    short = [(100.0, 0.5), (200.0, 0.9)]
    never = [replace(one, curves=one.curves | {"roar": short, "hnsw": [(5000.0, 0.5)]}) for one in made]
    row = next(_beside_peers(never, "two pairs"))
    assert row.system == "keys for recall 0.95, roar / hnsw"
    assert row.value == math.inf
    assert row.ok is False
    assert row.note.endswith("not reached by hnsw in 2 (the most tried counts), by roar in 2")


def test_keys_over_length_are_told_for_one_recall_too(made):
    """At one setting a graph visits as many keys in any text, and finds less in a long one."""
    lengths, needs = (1200, 3900, 14_700), (150.0, 150 * 8**0.5, 1200.0)

    def grown(*curves):
        return [
            replace(one, hidden=length - 300, length=length, curves={"roar": curve})
            for length, curve in zip(lengths, curves, strict=True)
            for one in made
        ]

    cells = grown(*([(100.0, 0.5), (keys, 0.95)] for keys in needs))
    rows = {(row.system, row.metric): row for row in _over_lengths(cells, lengths)}
    assert rows["roar, 900 hidden", "share visited for recall 0.95"].value == pytest.approx(150 / 900)
    assert rows["roar, 14,400 hidden", "share visited for recall 0.95"].value == pytest.approx(1200 / 14_400)
    exponent = rows["keys for recall 0.95 over length", "exponent"]
    assert exponent.value == pytest.approx(0.75)  # eight times the keys in sixteen times the text
    assert exponent.ok is False
    *_, last = _over_lengths(grown([(150.0, 0.95)], [(400.0, 0.95)], [(100.0, 0.5)]), lengths)
    assert math.isnan(last.value)
    assert last.ok is False


@pytest.mark.parametrize("efforts", [BEAMS, SEARCHES, PROBES], ids=["graph", "hnsw", "ivf"])
def test_no_index_is_tried_in_wider_steps_than_another(efforts):
    assert all(one < other <= 1.5 * one for one, other in pairwise(efforts))


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
    with with_threads(1), pytest.MonkeyPatch.context() as patch:
        patch.setattr(memory_parts, "MEMBERS", 16)  # as many clusters as in a long text
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


def test_what_is_kept_is_known_by_the_compiled_code_too(text, tmp_path, monkeypatch):
    """A graph that another walk found, or that was built otherwise, is another."""
    cells, read = store_of(tmp_path / "one"), kept_by()
    for module in (memory_retrieval_data, memory_retrieval_search):
        monkeypatch.setattr(module, "native_digest", lambda _: "other")
    assert store_of(tmp_path / "one") != cells
    assert kept_by() != read
    monkeypatch.setattr(memory_retrieval_data, "keep", lambda *_, **__: None)
    settings = BenchSettings(data=tmp_path, cache=tmp_path)
    again = read_text(settings, 3000, layers=(), index="roar", model=text.model)
    assert again.ids == text.ids
    assert again.folder.name != text.folder.name


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


def test_what_each_step_reads_whole_does_not_grow_with_a_kept_text(text, monkeypatch):
    settings = BenchSettings(data=text.folder.parent, cache=text.folder.parent.parent)
    monkeypatch.setattr(memory_parts, "MEMBERS", 16)
    with with_threads(1):
        shorter = read_text(settings, 2200, layers=(), index="flat", model=text.model)
    row = fast_row([text, shorter])
    assert row.system == f"fast memory, kept texts of {text.tokens:,} / {shorter.tokens:,} tokens"
    assert (row.value, row.ok) == (1.0, True)
    memory = load(text.folder, text.model)
    assert row.note.startswith(f"{memory.statistics()['fast_bytes'] / 1e6:.2f} MB")
    for layer in memory.memories:  # a window that holds as much again shows
        held = layer.sequences[0].window
        held.append(held.keys, held.values)
    few = load(shorter.folder, shorter.model).statistics()["fast_bytes"]
    assert memory.statistics()["fast_bytes"] / few > 1.5


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
