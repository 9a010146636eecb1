"""bench heads: its needles, its one-pass answers against a token loop, its figures of published files."""

from __future__ import annotations

import gzip
import json
import random
from dataclasses import replace

import pytest
import torch
from tiny import HEADS, tiny

from foveal.attention.head_ablation import Ablated
from foveal.attention.head_cache import HeadCache
from foveal.attention.head_detection import DetectionSettings
from foveal.attention.head_repetition import RepeatSettings
from foveal.attention.head_tracing import Trace, TracedToken
from foveal.attention.retrieval_heads import HeadScores, random_heads
from foveal.bench.heads_attribution import Told, _both, _copied
from foveal.bench.heads_compression import (
    OURS,
    Cell,
    _bars,
    _cells,
    _grid_methods,
    _methods,
    asked_text,
    grid_rows,
    less,
    repeat_scores,
)
from foveal.bench.heads_data import ReadText, answered, keys, read_text
from foveal.bench.heads_detect import PUBLISHED, _alike, _counted, _few_runs, _stable, published_rows, runs_of
from foveal.bench.heads_masking import _needle_bars, _short, _solved, _story, reasoning_rows, sum_rows
from foveal.bench.heads_ranking import order_rows
from foveal.bench.settings import BenchSettings
from foveal.errors import InputError
from foveal.evaluation.files import stored_lines
from foveal.evaluation.likelihood import paired
from foveal.evaluation.needles import Needle
from foveal.models.chat import Sampling
from foveal.models.decoding import Decoder, tokens
from foveal.models.key_values import rewind


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    return tiny("qwen", tmp_path_factory.mktemp("heads-bench"))


@pytest.fixture(scope="module")
def settings(tmp_path_factory):
    data = tmp_path_factory.mktemp("data")
    (data / "essays").mkdir()
    (data / "essays" / "one.txt").write_text("The mill is old. The river is in the text. The keeper reads it. " * 20)
    return BenchSettings(data=data, cache=tmp_path_factory.mktemp("cache"))


@pytest.fixture(scope="module")
def text(model, settings) -> ReadText:
    return read_text(settings, model, 300, 3, 0)


def test_keys_differ_and_come_from_a_seed():
    made = keys(24, 0)
    assert made == keys(24, 0) != keys(24, 1)
    assert len({one.needle.question for one in made}) == 24
    assert all(
        one.needle.answer in one.needle.sentences[0] and one.prefix.strip() in one.needle.sentences[0] for one in made
    )


def test_a_text_is_read_once(model, settings, text):
    again = read_text(settings, model, 300, 3, 0)
    assert again.ids == text.ids
    for one, other in zip(again.layers, text.layers, strict=True):
        torch.testing.assert_close(one.keys[:, :, : one.length], other.keys[:, :, : other.length])
    assert set(again.observed) == {0, 1, 2}
    for key, places in zip(text.keys, text.places, strict=True):
        assert key.needle.answer in model.tokenizer.decode([text.ids[place] for place in places])


def test_one_pass_says_what_greedy_decoding_says(model, text):
    asked, _ = text.question(text.keys[0])
    state = Decoder(model.model).prefill([*text.ids, *asked])
    told = list(tokens(Decoder(model.model), state, Sampling(max_tokens=3)))
    for gold, right in ((told, True), ([*told[:2], (told[2] + 1) % 50], False)):
        rewind(text.layers, len(text.ids))
        assert answered(model, text.layers, None, asked, gold)[0] is right
    rewind(text.layers, len(text.ids))


def test_cells_go_on_where_they_were_stopped(text, tmp_path, monkeypatch):
    scores = HeadScores(torch.rand(1, 3, HEADS))
    systems = {"full cache": None, "duo (gates)": HeadCache(policy="duo", keep=0.9, sinks=4, recent=30, scores=scores)}
    store = tmp_path / "cells.jsonl"
    made = dict(_cells(text, systems, store))
    assert {name: len(own) for name, own in made.items()} == {"full cache": 3, "duo (gates)": 3}
    assert stored_lines(store, Cell, what="cells") == [cell for own in made.values() for cell in own]
    monkeypatch.setattr("foveal.bench.heads_compression._cut", None)  # nothing is answered again
    assert dict(_cells(text, systems, store)) == made
    assert made["full cache"][0].share == 1 > made["duo (gates)"][0].share


def cells(name: str, right: int, count: int) -> list[Cell]:
    return [Cell(name, f"question {number}", number < right, 1.0, 0.4, 10) for number in range(count)]


def test_what_a_cache_is_ahead_by_comes_with_how_sure_that_is():
    ours, one, other = cells("ours", 18, 24), cells("one", 12, 24), cells("other", 6, 24)
    row = less("ours less drawn", ours, [one, other], at_least=0.01)
    apart = [0.0] * 6 + [0.5] * 6 + [1.0] * 6 + [0.0] * 6
    sure = paired(apart, seed=0)
    assert row.value == pytest.approx(37.5)
    assert row.note == f"0.750, 0.375; 24 questions, 95 %: {100 * sure.low:+.1f} to {100 * sure.high:+.1f}"
    assert row.ok


def test_bars_are_met_or_not():
    right = {"full cache": 80, "razor (gates)": 79, "snapkv": 50, "streaming": 80, "random heads, draw 1": 30}
    right |= {"razor (repeats)": 30}
    rows = list(_bars({name: cells(name, count, 100) for name, count in right.items()}))
    assert [row.ok for row in rows] == [True, True, False, True, False]
    assert [round(row.value, 6) for row in rows] == [-1, 29, -1, 49, 0]
    mine, others = Ablated("10 strongest", 10, 0.2, 1.0), [0.9, 0.8]
    assert [row.ok for row in _needle_bars(17, 0.9, mine, others)] == [True, True, True, True]
    assert [row.ok for row in _needle_bars(10, 0.9, mine, others)] == [True, None, True, True]
    assert [row.ok for row in _needle_bars(17, 0.9, Ablated("", 17, 0.6, 1.0), [0.5])] == [False, False, False, False]


def test_drawn_heads_are_held_against_found_ones_by_the_same_policy(text):
    gates = HeadScores(torch.rand(1, 3, HEADS), "gates")
    methods = dict(_methods(gates, gates, gates, draws=2))
    assert {methods[name].policy for name in methods if name.startswith("random")} == {methods[OURS].policy}
    grid = dict(_grid_methods(gates, 0.25))
    assert {method.keep for method in grid.values()} == {0.25}
    for policy in ("razor", "duo", "headkv"):
        assert [name for name, method in grid.items() if method.policy == policy] == [
            f"{policy} (gates)", f"{policy} (drawn 1)", f"{policy} (drawn 2)",
        ]  # fmt: skip


def test_shorter_texts_have_rows_of_bytes_and_bars_over_their_lengths(model, settings, monkeypatch):
    monkeypatch.setattr("foveal.bench.heads_compression.LENGTHS", (400, 600))
    monkeypatch.setattr("foveal.bench.heads_compression.FEWER", 2)
    gates = HeadScores(torch.rand(1, 3, HEADS), "gates")
    rows = list(grid_rows(settings, model, gates, gates))
    assert len(rows) == 2 * 2 * 5 + 2 * 4
    assert all("MB freed" in row.note for row in rows[:20])
    assert all((row.bar == "≥ 0.001") == row.system.startswith("full cache") for row in rows[:20])
    assert not any(row.ok for row in rows[:20] if not row.value)  # where it answers nothing, nothing is behind it
    assert all(row.bar == "≥ 0.01" for row in rows[20:])
    assert "4 questions" in rows[20].note


def test_nothing_is_asked_that_the_default_was_chosen_by(model, settings):
    asked = {one.needle.question for one in asked_text(settings, model, 300, 3).keys}
    assert len(asked) == 3
    assert not asked & {one.needle.question for one in keys(24, settings.seed)}


def test_heads_by_repetition_are_measured_once(model, settings, monkeypatch):
    asked = RepeatSettings(tokens=20, copies=2)
    first = repeat_scores(settings, model, asked)
    assert first.kind == "repeats"
    monkeypatch.setattr("foveal.bench.heads_compression.detect_repeats", None)
    assert repeat_scores(settings, model, asked).as_json() == first.as_json()


def test_the_order_of_head_sets_begins_with_random_ones():
    found = {"random heads": 0.375, "all heads": 0.428, "copy heads": 0.434, "query heads": 0.475}
    rows = list(order_rows(found))
    assert [row.system for row in rows] == [
        "all heads less random heads",
        "copy heads less all heads",
        "query heads less copy heads",
    ]
    assert all(row.ok for row in rows)
    assert not next(order_rows(found | {"random heads": 0.5})).ok


def test_heads_are_counted_by_bands_and_compared():
    table = torch.tensor([[[0.0, 0.05], [0.3, 0.9]]] * 4)
    assert _counted(HeadScores(table)) == (4, 4, 25.0, 25.0, 25.0, 25.0)
    near, far = HeadScores(table), HeadScores(table.flip(-1))
    family = list(_alike("Qwen1.5-14B", "Qwen1.5-14B-Chat", near, near))
    other = list(_alike("Yi-6B-200K", "llama-2-7b-80k", near, far))
    assert [(row.metric, row.ok) for row in family] == [("Pearson", True), ("Spearman", True)]
    assert [(row.metric, row.ok) for row in other] == [("Pearson", False), ("Spearman", False)]
    assert all(row.ok for row in _stable("", near))
    assert [row.ok for row in _alike("mine", "Yi-6B-200K", near, near)] == [None, None]


def test_a_few_runs_find_as_many_heads_as_was_specified():
    table = torch.zeros(30, 8, 8)
    table[:, :3, :7] = 0.5  # of the 20 best, each is in every run
    rows = list(_few_runs(dict.fromkeys(PUBLISHED, HeadScores(table)), 0))
    assert [row.system for row in rows] == [f"published, {count} runs" for count in (1, 3, 10, 20)]
    assert [row.bar for row in rows] == ["0.72 to 0.79", "0.85 to 0.92", "0.91 to 0.97", "0.95 to 0.98"]
    assert [row.value for row in rows] == [1.0] * 4
    assert not any(row.ok for row in rows)  # more than was seen is another thing than was seen
    rows = list(_few_runs({"mine": HeadScores(table)}, 0))
    assert [(row.value, row.ok) for row in rows] == [(1.0, None)] * 4


def test_head_scores_of_any_models_are_counted(tmp_path):
    """Plain and packed, of models that the paper does not have: held to its claim, not to its figures."""
    few, many = ({f"0-{head}": [0.9 * (head < count)] * 3 for head in range(40)} for count in (1, 12))
    (tmp_path / "retrieval_heads").mkdir()
    (tmp_path / "retrieval_heads" / "mine.json").write_text(json.dumps(few))
    (tmp_path / "retrieval_heads" / "other.json.gz").write_bytes(gzip.compress(json.dumps(many).encode()))
    rows = list(published_rows(BenchSettings(data=tmp_path)))
    asked = [(row.system, row.ok) for row in rows if row.bar]
    assert asked == [(f"published, {name}", ok) for name, ok in (("mine", True), ("other", False)) for _ in range(2)]
    with pytest.raises(InputError, match=r"retrieval_heads holds no head scores: <model>\.json"):
        list(published_rows(BenchSettings(data=tmp_path / "none")))


def test_runs_are_known_by_their_texts_and_by_the_code(model, settings, monkeypatch):
    grid = DetectionSettings(lengths=(300,), texts=1)
    first = runs_of(settings, model, grid, ["The mill is old."])
    assert first == runs_of(settings, model, grid, ["The mill is old."])
    assert first != runs_of(settings, model, grid, ["The mill is new."])  # else the bench would stop with an error
    monkeypatch.setattr("foveal.bench.heads_detect.code_digest", lambda *_, **__: "other")
    assert first != runs_of(settings, model, grid, ["The mill is old."])


def test_sums_have_one_answer(model):
    draw = random.Random(1)
    for _ in range(20):
        story, short = _story(draw), _short(draw)
        assert story["answer"] == int(str(story["a"])) + int(str(story["b"])) - int(str(story["c"])) >= 0
        assert short["answer"] == int(str(short["a"])) + int(str(short["b"]))
    for steps, one in ((True, story), (False, short)):
        assert _solved(model, None, [one], one, steps=steps) in (True, False)  # every name of its text is there


def test_sums_that_nobody_solves_cannot_show_that_nothing_was_lost():
    found = {("nothing", True): 0.9, ("nothing", False): 0.9, ("strongest", True): 0.5, ("strongest", False): 0.85}
    found |= {("others", True): 0.85, ("others", False): 0.9}
    assert [row.ok for row in sum_rows(found, "")] == [True] * 6
    hard = {key: 0.1 * (key[0] == "nothing") if not key[1] else value for key, value in found.items()}
    assert [row.ok for row in sum_rows(hard, "")] == [True, False, True, True, True, True]
    assert [row.ok for row in sum_rows(found | {("strongest", False): 0.7}, "")][3] is False
    assert [row.ok for row in sum_rows(found | {("strongest", True): 0.85}, "")][2] is False


@pytest.mark.parametrize(("quick", "draws"), [(True, 1), (False, 3)])
def test_sums_are_held_against_several_draws_of_other_heads(settings, monkeypatch, quick, draws):
    masked = []

    def solved(model, method, examples, story, *, steps):
        masked.append(method and tuple((layer, head) for layer, own in method.heads.items() for head in own))
        return method is None or masked[-1] not in others[:1]  # all but the first draw do no harm

    scores = HeadScores(torch.cat([torch.ones(1, 1, 10), torch.zeros(1, 5, 10)], 1))
    others = [tuple(sorted(random_heads(scores, 10, draw))) for draw in range(draws)]
    monkeypatch.setattr("foveal.bench.heads_masking._solved", solved)
    rows = {row.system: row for row in reasoning_rows(replace(settings, quick=quick), None, scores)}
    assert set(masked) == {None, tuple((0, head) for head in range(10)), *others}
    lost = 100 / draws
    assert rows["sums with steps, 10 others masked"].value == pytest.approx(lost)
    assert rows["sums at once, nothing masked"].note.endswith(f"others: {draws} draws")


def test_an_answer_points_at_the_sentence_that_got_its_votes():
    needle = Needle("literal", ("The code is 48.",), "?", "48")
    tokens_ = (TracedToken(0, 3, (50, 52), 0.9, 0), TracedToken(3, 5, (12, 14), 0.6, 0))
    told = Told(needle, "The code is 48.", Trace("It 48", tokens_), (0, 15), (40, 60))
    assert (_copied(told, told.right), _copied(told, told.double)) == (1, 0)
    assert _both(told, told.right) > _both(told, told.double)
    turned = Told(needle, "", told.trace, (40, 60), (0, 15))
    assert _copied(turned, turned.right) == 0
