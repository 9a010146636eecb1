"""bench memory-longheads: its rows say what is true of small cases, and its cells come back from their file."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
import torch
from tiny import tiny

from foveal.attention import LongHeads
from foveal.attention.rotation import rotations_of
from foveal.bench import memory_longheads_tasks as tasks
from foveal.bench.memory_longheads import exact_rows
from foveal.bench.memory_longheads_heads import (
    AGAIN,
    DENSE,
    ENDS,
    LENGTH,
    NAMES,
    RANDOM,
    SEEN,
    Answered,
    answered,
    captured,
    every_way,
    longer,
    mass_row,
    passkey,
    question_text,
    told_rows,
)
from foveal.bench.memory_longheads_heads import OURS as READ_DENSELY
from foveal.bench.memory_longheads_model import (
    ASK,
    PARTS,
    SIGNS,
    WINDOW,
    Recipe,
    place_of,
    small_model,
    untrained,
    windows,
)
from foveal.bench.memory_longheads_small import (
    METHOD,
    OURS,
    PUBLISHED,
    SLIDING,
    clearly_rows,
    flat_rows,
    logits_of,
    recall,
    recalled,
    slid_logits,
)
from foveal.bench.memory_longheads_tasks import Cells, by_square, plain_rows
from foveal.bench.memory_longheads_tasks import flat_rows as flat_over_lengths
from foveal.bench.settings import BenchSettings
from foveal.evaluation.longdoc import Question, Task


def test_exact_rows_are_ok():
    rows = list(exact_rows())
    assert len(rows) == 4
    assert all(row.ok for row in rows)


def test_windows_ask_for_the_key_that_they_hold():
    made = windows(Recipe(steps=1), 20)
    assert made.shape == (20, WINDOW)
    for row in made.tolist():
        asked = [place for place, byte in enumerate(row) if byte == ASK]
        assert len(asked) == 4
        key = [byte for byte in row if byte >= SIGNS][:PARTS]
        assert all(row[place + 1 : place + 1 + PARTS] == key for place in asked)
    assert torch.equal(made, windows(Recipe(steps=1), 20))


def test_the_first_to_ask_stands_at_every_distance_equally_often():
    """Asked from afar in the bench, a model must have been asked from afar; drawn alike, 3 of 16,000 would be."""
    rows = windows(Recipe(steps=50, batch=40), 2000).tolist()
    apart = [row.index(ASK) - next(place for place, byte in enumerate(row) if byte >= SIGNS) for row in rows]
    for fifth in range(5):
        share = sum(fifth * 48.6 <= far - PARTS < (fifth + 1) * 48.6 for far in apart) / len(apart)
        assert 0.17 < share < 0.23
    starts = [next(place for place, byte in enumerate(row) if byte >= SIGNS) for row in rows]
    assert min(starts) == 0
    assert max(starts) > 220


def test_the_small_model_is_trained_once(tmp_path):
    settings = BenchSettings(cache=tmp_path)
    recipe = Recipe(layers=1, width=16, head=8, heads=2, groups=1, steps=3, batch=2)
    first = small_model(settings, recipe)
    again = small_model(settings, recipe)
    assert all(torch.equal(one, other) for one, other in zip(first.parameters(), again.parameters(), strict=True))
    assert not torch.equal(first.lm_head.weight, untrained(recipe).lm_head.weight)
    prompts, answers = recall(3, 400, 0)
    assert (prompts[:, -1] == ASK).all()
    assert all(
        answer.tolist() == prompt[prompt >= SIGNS].tolist() for prompt, answer in zip(prompts, answers, strict=True)
    )
    assert 0 <= recalled(first, prompts, answers, METHOD) <= 1
    slid = slid_logits(first, prompts[0])
    torch.testing.assert_close(slid[0, 0], logits_of(first, prompts[:1, 16:272], None)[0, -1])


def test_mass_is_the_share_of_the_free_chunks():
    draw = torch.Generator().manual_seed(0)
    rotation = rotations_of(untrained(Recipe())).of("full_attention")
    parts = [torch.randn(heads, 256 * 8, 32, generator=draw) for heads in (4, 2, 2)]
    told = captured(*parts, rotation, 2)
    assert max(told.values()) == told["best possible"]
    everything = captured(*parts, rotation, 5)
    assert all(value == pytest.approx(1, abs=1e-4) for value in everything.values())


def test_mean_turned_keys_in_place_are_means_of_what_attention_sees():
    """The mean of a chunk's logits is the product with its mean key, both turned to where they stand."""
    draw, rotation = torch.Generator().manual_seed(1), rotations_of(untrained(Recipe())).of("full_attention")
    queries, keys, values = (torch.randn(1, 256 * 8, 32, generator=draw) for _ in range(3))
    places = torch.arange(256 * 8)
    logits = (rotation(queries, places) @ rotation(keys, places).transpose(1, 2))[0, -256:] * 32**-0.5
    weights = logits.masked_fill(places > places[-256:, None], -torch.inf).softmax(-1)
    shares = []
    for logit, weight in zip(logits.view(256, 8, 256), weights.view(256, 8, 256), strict=True):
        best = logit[1:-2].mean(-1).topk(2).indices
        free = weight[1:-2].sum(-1)
        shares.append(float(free[best].sum() / free.sum()))
    told = captured(queries, keys, values, rotation, 2)
    assert told["mean_rope, in place"] == pytest.approx(sum(shares) / len(shares), abs=1e-5)
    assert told["mean_rope, in place"] != told["mean_rope"]


def test_the_text_of_masses_is_a_question_behind_paragraphs(tmp_path):
    (tmp_path / "xquad").mkdir()
    told = [
        {"paragraphs": [{"context": f"The keeper of mill {n} is old.", "qas": [asked(f"keeper {n}")]}]}
        for n in range(9)
    ]
    (tmp_path / "xquad" / "xquad.en.json").write_text(json.dumps({"data": told}))
    model = tiny("qwen", tmp_path / "model")
    ids = question_text(BenchSettings(data=tmp_path, cache=tmp_path), model, 600)
    assert len(ids) == 600
    assert "Who is the keeper" in model.tokenizer.decode(ids[-60:])
    assert "The keeper of mill" in model.tokenizer.decode(ids)


def asked(answer: str) -> dict[str, object]:
    return {"question": f"Who is the {answer}?", "answers": [{"text": answer}]}


def test_masses_are_held_against_what_was_measured_in_a_full_run():
    assert mass_row("mean_rope, in place", 0.63, "", quick=False).ok
    assert mass_row("mean_rope, in place", 0.4, "", quick=False).ok is False
    assert mass_row("random", 0.4, "", quick=False).ok is False  # no control
    assert mass_row("mean_rope", 0.4, "", quick=False).ok is None  # within the chunk: nothing was specified
    assert mass_row("mean_rope, in place", 0.4, "", quick=True).ok is None
    told = mass_row("mean_rope, in place", 0.4, "", quick=True)
    assert told.system == "mean turned key, in place"
    assert "0.63 when specified" in told.note


def test_a_text_that_is_read_once_is_asked_as_if_it_was_read_for_each(tmp_path):
    model = tiny("qwen", tmp_path)
    seen = LongHeads(chunk_size=16, attention_length=64)
    found = longer(model, 384, 1, 0, seen)
    assert list(found) == [DENSE, READ_DENSELY, RANDOM, ENDS, AGAIN]
    prompt, every = passkey(model, 384, 0.5, 0, multiple=16), replace(seen, begin=768)
    for name, kind in ((READ_DENSELY, "attention"), (RANDOM, "random"), (ENDS, "none")):
        method = replace(seen, representation=kind)
        assert found[name] == [answered(model, prompt, method, read_by=replace(method, begin=768))]
    assert found[DENSE] == [answered(model, prompt, every)]
    assert found[DENSE][0].heads == 12
    assert found[ENDS][0].heads == 0


def test_each_way_of_asking_finds_what_it_would_in_a_text_read_for_it_alone(tmp_path):
    model = tiny("qwen", tmp_path)
    prompt = passkey(model, 768, 0.5, 0, multiple=64)
    found = dict(every_way(model, prompt, 3, quick=False))
    kinds = ("attention", "mean_rope", "random", "none")
    ways = ("densely", "by LongHeads")
    assert list(found) == [DENSE, *(f"{NAMES[kind]}, read {way}" for kind in kinds for way in ways)]
    for kind in kinds:
        method = replace(SEEN, representation=kind, seed=3)
        alone = answered(model, prompt, method, read_by=replace(method, begin=2 * LENGTH))
        assert found[f"{NAMES[kind]}, read densely"] == alone
        assert found[f"{NAMES[kind]}, read by LongHeads"] == answered(model, prompt, method)
    assert [name for name, _ in every_way(model, prompt, 3, quick=True)] == [*list(found)[:4], *list(found)[5:8]]


def test_longer_texts_are_held_against_dense_attention_and_random_chunks():
    def told(right: float, heads: int) -> list[Answered]:
        return [Answered(number < 4 * right, heads, "") for number in range(4)]

    found = {DENSE: told(1, 336), READ_DENSELY: told(1, 30), RANDOM: told(0.5, 10), ENDS: told(0, 0)}
    found[AGAIN] = told(0.5, 28)
    rows = list(told_rows(found, "4 texts of 16,384 tokens"))
    assert [row.ok for row in rows] == [True, True, True, True, None, True]
    assert "30 of 336 heads saw the key" in rows[1].note
    worse = found | {READ_DENSELY: told(0.75, 29), RANDOM: told(0.75, 10), ENDS: told(0.75, 0)}
    assert [row.ok for row in told_rows(worse, "")] == [True, False, False, False, None, False]
    assert next(told_rows(found | {DENSE: told(0, 336)}, "")).ok is False


def test_flat_means_perplexity_and_no_worse_means_no_worse():
    """3 % of 3 nats would be 9 % of perplexity."""
    lengths = (4096, 65_536)
    for second, ok in ((20.5, True), (21.0, False)):
        told = {"LongHeads": [20.0, second], "model as it is": [20.0, 500.0]}
        rows = list(flat_over_lengths(told, lengths, "", quick=False))
        assert [row.ok for row in rows] == [None, ok, None, None]
    small = {"LongHeads": [3.0, 3.0, 3.05, 3.0, 3.0], "model as it is": [3.0] * 5}
    for slid, ok in ((3.0125, True), (3.005, False)):
        rows = {(row.system, row.metric): row.ok for row in flat_rows(small, slid, "", quick=False)}
        assert rows["LongHeads, past the window", "perplexity / the sliding window's"] is ok
        assert rows["LongHeads, 4,096 bytes", "perplexity, a byte"]
        both = flat_rows({**small, OURS: [3.0] * 5}, slid, "", quick=False)
        told = {row.system: row.ok for row in both if "sliding" in row.metric}
        assert told == {"LongHeads, past the window": ok, f"{OURS}, past the window": True}
    assert all(row.ok for row in flat_rows(small, 3.005, "", quick=True) if "past" in row.system)


def test_clearly_more_is_more_than_luck():
    told = {OURS: 0.9, PUBLISHED: 0.2, SLIDING: 0.06}
    assert [row.ok for row in clearly_rows(told, "", 50)] == [True, False]
    assert [row.bar for row in clearly_rows(told, "", 50)] == ["≥ 0.2"] * 2


def test_seconds_of_a_long_text_by_those_of_two_shorter_ones():
    def taken(length: int) -> float:
        return 0.01 * length + 1e-6 * length**2

    assert by_square((8192, 16_384), [taken(8192), taken(16_384)], 65_536) == pytest.approx(taken(65_536))
    assert by_square((10, 20), [5.0, 4.0], 40) == 20.0  # noise never makes longer texts quicker


def test_a_plain_model_that_cannot_be_afforded_has_a_row_that_says_so(tmp_path, monkeypatch):
    model = tiny("qwen", tmp_path / "model")
    settings = BenchSettings(data=tmp_path, cache=tmp_path)
    cells = Cells(tmp_path / "cells.jsonl")
    rows = list(plain_rows(model, cells, settings, 1600))
    assert [row.metric for row in rows] == ["keys told"] * 3
    monkeypatch.setattr("foveal.bench.memory_longheads_tasks.AFFORDED", 0.0)
    told = list(plain_rows(model, cells, settings, 1600))[-1]
    assert told.metric == "processor seconds that a text would take"
    assert told.note.startswith("not run: by what 200 and 400 tokens took")


def test_cells_come_back_from_their_file(tmp_path):
    made = Cells(tmp_path / "cells.jsonl").get(("a", 1), lambda: (0.5, "said"))
    assert Cells(tmp_path / "cells.jsonl").get(("a", 1), lambda: (0.7, "other")) == made


def test_another_manual_makes_another_small_model(tmp_path, monkeypatch):
    settings = BenchSettings(cache=tmp_path)
    before = place_of(settings, Recipe())
    monkeypatch.setattr("foveal.bench.memory_longheads_model.manual", lambda: (b"learnt", b"held out"))
    after = place_of(settings, Recipe())
    assert before != after == place_of(settings, Recipe()) != place_of(settings, Recipe(seed=1))


def test_an_answer_is_of_its_document(tmp_path, monkeypatch):
    """The same question on a document that has changed is asked again."""
    said = []
    monkeypatch.setattr(tasks, "document_answer", lambda _, question, method: said.append(method) or question.text)
    model, settings = tiny("qwen", tmp_path / "model"), BenchSettings(data=tmp_path, cache=tmp_path, quick=True)
    cells = Cells(tmp_path / "cells.jsonl")
    for text, count in (("by the mill", 2), ("by the mill", 2), ("by the river", 4)):
        asked_for = Question("q", "d", text, "Where?", ("the river",))
        monkeypatch.setattr(tasks, "load", lambda name, _, one=asked_for: Task(name, "contains", (one,)))
        rows = list(tasks.question_rows(model, cells, settings))
        assert len(said) == count
    assert [row.value for row in rows[:2]] == [1, 1]
