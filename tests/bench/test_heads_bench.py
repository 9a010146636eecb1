"""bench heads: its needles, its one-pass answers against a token loop, its figures of published files."""

from __future__ import annotations

import random

import pytest
import torch
from tiny import HEADS, tiny

from foveal.attention.head_ablation import Ablated
from foveal.attention.head_cache import HeadCache
from foveal.attention.head_tracing import Trace, TracedToken
from foveal.attention.retrieval_heads import HeadScores
from foveal.bench.heads_attribution import Told, _both, _copied
from foveal.bench.heads_compression import Cell, _bars, _cells
from foveal.bench.heads_data import ReadText, answered, keys, read_text
from foveal.bench.heads_detect import _alike, _counted, _stable
from foveal.bench.heads_masking import _needle_bars, _story
from foveal.bench.settings import BenchSettings
from foveal.evaluation.files import stored_lines
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


def test_bars_are_met_or_not():
    right = {"full cache": 0.8, "razor (gates)": 0.79, "snapkv": 0.5, "streaming": 0.8, "random heads, draw 1": 0.3}
    assert [row.ok for row in _bars(right)] == [True, True, False, True]
    mine, others = Ablated("10 strongest", 10, 0.2, 1.0), [0.9, 0.8]
    assert [row.ok for row in _needle_bars(17, 0.9, mine, others)] == [True, True, True, True]
    assert [row.ok for row in _needle_bars(10, 0.9, mine, others)] == [True, None, True, True]
    assert [row.ok for row in _needle_bars(17, 0.9, Ablated("", 17, 0.6, 1.0), [0.5])] == [False, False, False, False]


def test_heads_are_counted_by_bands_and_compared():
    table = torch.tensor([[[0.0, 0.05], [0.3, 0.9]]] * 4)
    assert _counted(HeadScores(table)) == (4, 4, 25.0, 25.0, 25.0, 25.0)
    near, far = HeadScores(table), HeadScores(table.flip(-1))
    (family,) = _alike("Qwen1.5-14B", "Qwen1.5-14B-Chat", near, near)
    (other,) = _alike("a", "b", near, far)
    assert (family.ok, other.ok) == (True, False)
    assert all(row.ok for row in _stable("", near))


def test_sums_have_one_answer():
    for _ in range(20):
        story = _story(random.Random(1))
        assert story["answer"] == int(str(story["a"])) + int(str(story["b"])) - int(str(story["c"])) >= 0


def test_an_answer_points_at_the_sentence_that_got_its_votes():
    needle = Needle("literal", ("The code is 48.",), "?", "48")
    tokens_ = (TracedToken(0, 3, (50, 52), 0.9, 0), TracedToken(3, 5, (12, 14), 0.6, 0))
    told = Told(needle, "The code is 48.", Trace("It 48", tokens_), (0, 15), (40, 60))
    assert (_copied(told, told.right), _copied(told, told.double)) == (1, 0)
    assert _both(told, told.right) > _both(told, told.double)
    turned = Told(needle, "", told.trace, (40, 60), (0, 15))
    assert _copied(turned, turned.right) == 0
