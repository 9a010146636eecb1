"""Searching heads to calibrate: variants as whole passes give them, what passes, going on, files, scoring of labels."""

from __future__ import annotations

import json
from dataclasses import replace
from types import SimpleNamespace

import pytest
import torch
from tiny import HEADS, LAYERS, tiny
from transformers import Qwen2Config

from foveal.attention import ACT, SinkRule, act_evaluation, attach, load_calibration
from foveal.attention.act_controls import COLUMNS, EVERY, OURS, PLAIN, arms
from foveal.attention.act_evaluation import (
    Scored,
    accuracy,
    answered,
    candidates,
    compared,
    label_tokens,
    prompt_ids,
    scored,
)
from foveal.attention.act_files import Calibration, calibration_by_name, calibration_of
from foveal.attention.act_search import SearchSettings, Tried, one_by_one, outcomes, search_heads, tried
from foveal.attention.profiles import architecture_of
from foveal.attention.sinks import OtherColumns
from foveal.errors import InputError, UnknownName
from foveal.evaluation.files import stored_lines
from foveal.evaluation.labelled import Labelled

LAX = SinkRule(rule="least", least=0.02, min_rows=2)
WORDS = ["keeper", "key", "mill", "river", "question", "answer", "text", "read", "excerpts", "very"]
LABELS = ("keeper", "mill")


def prompts(count: int, start: int = 0) -> list[Labelled]:
    made = []
    for number in range(start, start + count):
        words = [WORDS[(number * step + step) % len(WORDS)] for step in range(1, 9)]
        made.append(Labelled(f"{number} the {' '.join(words)} is in the", LABELS, number % 2))
    return made


def settings(kind: str, **more) -> SearchSettings:
    return SearchSettings(rule=LAX, layers=tuple(range(LAYERS[kind])), **more)


def every(kind: str) -> list[tuple[int, int]]:
    return [(layer, head) for layer in range(LAYERS[kind]) for head in range(HEADS)]


def test_variants_are_what_a_pass_for_each_head_gives(attention_models, kind):
    model, asked = attention_models[kind], settings(kind)
    changed = 0
    for example in prompts(4):
        plain, ours = outcomes(model, example, every(kind), asked)
        also, theirs = one_by_one(model, example, every(kind), asked)
        assert (plain.right, plain.nats) == (also.right, pytest.approx(also.nats, abs=1e-4))
        for head in every(kind):
            mine = ours.get(head, plain)
            assert mine.nats == pytest.approx(theirs[head].nats, abs=1e-4), head
            assert mine.right == theirs[head].right
            changed += abs(mine.nats - plain.nats) > 1e-3
    assert changed > 8


def test_other_columns_may_be_tried_in_place_of_sinks(attention_models, tmp_path):
    """A control: as many columns, and another search."""
    model, asked = attention_models["qwen"], settings("qwen")
    control = replace(asked, columns=OtherColumns(rule=LAX))
    for way in (outcomes, one_by_one):
        plain, sinks = way(model, prompts(1)[0], every("qwen"), asked)
        _, others = way(model, prompts(1)[0], every("qwen"), control)
        apart = [abs(others.get(head, plain).nats - sinks.get(head, plain).nats) for head in every("qwen")]
        assert max(apart) > 1e-3
        assert any(one.nats != plain.nats for one in others.values())
    store = tmp_path / "search.jsonl"
    tried(model, prompts(2), [(0, 1)], asked, store=store)
    with pytest.raises(InputError, match="another search"):
        tried(model, prompts(2), [(0, 1)], control, store=store)


def helped(model, kind, head, count, start=0) -> list[Labelled]:
    """Examples whose gold label is the one that this head makes likelier: what it gains is known."""
    made = []
    for example in prompts(count, start):
        plain, ours = outcomes(model, replace(example, gold=0), [head], settings(kind))
        made.append(replace(example, gold=0 if ours.get(head, plain).nats <= plain.nats else 1))
    return made


@pytest.mark.slow
def test_a_head_that_helps_is_found_and_confirmed(attention_models, tmp_path):
    model, head = attention_models["qwen"], (1, 2)
    examples, others = helped(model, "qwen", head, 24), helped(model, "qwen", head, 16, start=100)
    store, told = tmp_path / "search.jsonl", []
    found = search_heads(
        model, examples, others, settings("qwen"), store=store, on_step=lambda *step: told.append(step)
    )
    assert head in found.heads
    best = max(found.gains, key=lambda one: one.gain)
    assert (best.layer, best.head) == head
    assert best.low > 0
    assert best.p < 0.01
    assert len(found.gains) == LAYERS["qwen"] * HEADS
    assert found.measured["validation_gain_low"] > 0
    assert told[-1][0] == "validation"
    again = search_heads(model, examples, others, settings("qwen"), store=store)
    assert again == found
    quick = search_heads(model, examples, others, settings("qwen", strategy="halving"))
    assert head in quick.heads


def test_where_no_head_helps_on_other_examples_none_is_named(attention_models):
    model, head = attention_models["qwen"], (1, 2)
    examples = helped(model, "qwen", head, 24)
    others = [replace(one, gold=1 - one.gold) for one in helped(model, "qwen", head, 16, start=100)]
    found = search_heads(model, examples, others, settings("qwen"))
    assert found.heads == ()
    assert found.measured["heads_passed"] >= 1
    ids = torch.tensor([prompt_ids(model, examples[0].prompt)])
    with torch.inference_mode():
        plain = model.model(input_ids=ids).logits
        with attach(model.model, found.method(model)):
            assert torch.equal(model.model(input_ids=ids).logits, plain)
    assert list(arms(model, found)) == [PLAIN, OURS, EVERY]


def test_a_stopped_search_goes_on_and_tries_nothing_twice(attention_models, tmp_path):
    model, store = attention_models["qwen"], tmp_path / "search.jsonl"
    examples, asked = prompts(6), settings("qwen")
    whole = tried(model, examples, every("qwen"), asked)

    class Stopped(Exception):
        pass

    def stop(_: str, done: int, __: int) -> None:
        if done > 2 * len(every("qwen")):
            raise Stopped

    tried(model, examples, every("qwen")[:5], asked, store=store)  # some heads of all examples are there
    with pytest.raises(Stopped):
        tried(model, examples, every("qwen"), asked, store=store, on_step=stop)
    steps = []
    again = tried(model, examples, every("qwen"), asked, store=store, on_step=lambda *step: steps.append(step))
    assert [one.example for one in again] == [one.example for one in whole]
    for one, two in zip(again, whole, strict=True):
        for name, outcome in two.heads.items():
            assert one.heads[name] == pytest.approx(outcome, abs=1e-4)
    assert len(stored_lines(store, Tried, what="trials")) == 6
    with pytest.raises(InputError, match="another search"):
        tried(model, examples, every("qwen"), replace(asked, beta=0.7), store=store)


def test_halving_tries_the_better_half_on_more(attention_models):
    model = attention_models["qwen"]
    table = tried(model, prompts(40), every("qwen"), settings("qwen", strategy="halving"))
    assert {len(one.heads) for one in table} == {12}  # never fewer than 16, and there are 12
    from foveal.attention.act_search import _rounds

    assert _rounds(100, 294, "halving") == [(0, 16, 294), (16, 32, 147), (32, 64, 73), (64, 100, 36)]


def test_what_a_search_cannot_use_is_told(attention_models):
    model = attention_models["qwen"]
    asked, some, others = settings("qwen"), prompts(6), prompts(4, 50)
    with pytest.raises(InputError, match="has no label"):
        search_heads(model, [replace(some[0], gold=None), *some[1:]], others, asked)
    with pytest.raises(InputError, match="stand in examples and validation"):
        search_heads(model, some, some[:3], asked)
    with pytest.raises(InputError, match="not one token each"):
        search_heads(model, [replace(one, choices=("keeper", "zebra!")) for one in some], others, asked)
    compat = settings("qwen", scoring="compat")
    with pytest.raises(InputError, match="share the token"):
        search_heads(model, [replace(one, choices=("a mill", "the mill")) for one in some], others, compat)
    with pytest.raises(InputError, match="has 0 to 2"):
        search_heads(model, some, others, SearchSettings(layers=(7,)))
    for wrong in ({"strategy": "greedy"}, {"measure": "luck"}):
        with pytest.raises(UnknownName):
            SearchSettings(**wrong)
    with pytest.raises(InputError, match="between 0 and 1"):
        SearchSettings(rate=0)


@pytest.mark.parametrize(
    ("count", "first", "last"), [(24, 2, 22), (32, 2, 30), (4, 2, 2), (3, 2, 2), (2, 1, 1), (1, 0, 0)]
)
def test_candidates_leave_out_the_first_two_layers_and_the_last(count, first, last):
    config = Qwen2Config(num_hidden_layers=count, num_attention_heads=14)
    found = candidates(SimpleNamespace(name="sized", model=SimpleNamespace(config=config)))
    assert found == [(layer, head) for layer in range(first, last + 1) for head in range(14)]
    assert count != 24 or len(found) == 294  # Qwen2.5 0.5B


def test_candidates_of_layers_that_are_named(attention_models):
    assert {layer for layer, _ in candidates(attention_models["gemma"], [0, 3])} == {0, 3}


# -- files -------------------------------------------------------------------------------------------------------------


def calibration(model, **more) -> Calibration:
    config = model.model.config
    fields = {
        "model": model.name,
        "fingerprint": model.fingerprint,
        "architecture": architecture_of(config),
        "layers": config.num_hidden_layers,
        "heads_a_layer": config.num_attention_heads,
        "template": "0",
        "heads": ((1, 2), (0, 0)),
    }
    return Calibration(**{**fields, **more})


def test_a_calibration_comes_back_from_its_file(attention_models, tmp_path):
    model = attention_models["qwen"]
    made = search_heads(model, prompts(8), prompts(6, 50), settings("qwen", rate=0.9))
    for one in (made, calibration(model, beta=0.7, rule=SinkRule(rule="alpha", alpha=3.0))):
        assert load_calibration(one.save(tmp_path / "one.json")) == one
    kept = calibration(model)
    kept.save_for(tmp_path)
    assert calibration_of(model, tmp_path) == calibration_by_name("act", model, tmp_path) == kept
    assert calibration_by_name(f"act:{tmp_path / 'one.json'}", model, tmp_path).beta == 0.7
    for name in (str(tmp_path / "one.json"), "other:one.json"):  # that of the home is not taken in its place
        with pytest.raises(UnknownName, match="act:FILE"):
            calibration_by_name(name, model, tmp_path)
    method = kept.method(model)
    assert (method.heads, method.beta) == ({0: [0], 1: [2]}, 0.4)


def test_a_calibration_of_something_else_is_refused(attention_models, tmp_path):
    model, other = attention_models["qwen"], attention_models["gemma"]
    made = calibration(model)
    with pytest.raises(InputError, match="is of tiny-qwen"):
        made.check(other)
    tuned = tiny("qwen", tmp_path / "tuned", seed=1)
    with pytest.raises(InputError, match="other files"):
        made.check(tuned)
    made.check(tuned, strict=False)
    with pytest.raises(InputError, match=r"head 1\.4; tiny-qwen has layers 0 to 2 with heads 0 to 3"):
        calibration(model, heads=((1, 4),))
    with pytest.raises(InputError, match="from 0 to 1"):
        calibration(model, beta=2.0)
    with pytest.raises(InputError, match="were calibrated yet"):
        calibration_of(model, tmp_path)
    path = made.save(tmp_path / "one.json")
    told = json.loads(path.read_text())
    for wrong in ("", "{", "[]", json.dumps(told | {"version": 9}), json.dumps(told | {"rule": {"alpha": 0}})):
        path.write_text(wrong)
        with pytest.raises(InputError):
            load_calibration(path)


# -- labels ------------------------------------------------------------------------------------------------------------


def label_scores(model, example, method, scoring):
    """The definition: one whole forward pass for each label."""
    told, prompt = [], prompt_ids(model, example.prompt)
    for place in range(len(example.choices)):
        label = model.encode(example.continuation(place))
        with torch.inference_mode(), attach(model.model, method):
            rows = model.model(input_ids=torch.tensor([prompt + label])).logits[0].log_softmax(-1)
        if scoring == "whole":
            own = [rows[len(prompt) - 1 + n, token] for n, token in enumerate(label)]
            told.append(torch.stack(own).mean())
        else:
            told.append(rows[len(prompt) - 1, label[-1]])
    return torch.stack(told)


@pytest.mark.parametrize("scoring", ["whole", "compat"])
def test_labels_are_scored_by_their_definition(attention_models, kind, scoring):
    model = attention_models[kind]
    choices = ("the keeper of", "river", "excerpts!")
    examples = [replace(one, choices=choices, gold=n % 3) for n, one in enumerate(prompts(5))]
    found = scored(model, examples, scoring=scoring)
    for one, ours in zip(examples, found, strict=True):
        theirs = label_scores(model, one, None, scoring)
        assert ours.right == float(int(theirs.argmax()) == one.gold)
        assert ours.nats == pytest.approx(-float(theirs.log_softmax(-1)[one.gold]), abs=1e-4)


def test_labels_behind_a_calibrated_prompt_go_on_from_its_sums(attention_models, monkeypatch):
    model = attention_models["qwen"]
    examples = [replace(one, choices=("the keeper of", "river is")) for one in prompts(3)]
    heads = {layer: range(HEADS) for layer in range(3)}
    lean = scored(model, examples, ACT(heads, rule=LAX))
    monkeypatch.setattr("foveal.attention.act_evaluation.supports", lambda _: False)
    plain = scored(model, examples, ACT(heads, rule=LAX))
    for one, two in zip(lean, plain, strict=True):
        assert one.nats == pytest.approx(two.nats, abs=1e-4)
    assert [one.nats for one in lean] != pytest.approx([one.nats for one in scored(model, examples)], abs=1e-4)


def test_the_greedy_token_must_be_the_letter(attention_models):
    model = attention_models["qwen"]
    example = prompts(1)[0]
    with torch.inference_mode():
        best = int(model.model(input_ids=torch.tensor([prompt_ids(model, example.prompt)])).logits[0, -1].argmax())
    word = model.tokenizer.decode([best])
    ids = label_tokens(model, example, "greedy")
    assert scored(model, [example], scoring="greedy")[0].right == float(ids[example.gold] == best)
    if word.startswith(" ") and word.strip() and model.encode(word) == [best]:
        sure = replace(example, choices=(word.strip(), "zebra"), gold=0)
        assert scored(model, [sure], scoring="greedy")[0].right == 1.0


def test_answers_in_words_are_decoded_and_scored(attention_models):
    model = attention_models["qwen"]
    with pytest.raises(InputError, match="answers"):
        answered(model, prompts(1))
    one = Labelled("the keeper of the mill reads the", answers=("nothing like it",))
    assert answered(model, [one], max_tokens=4)[0].right == 0.0
    from foveal.attention.memory_decoding import MethodDecoder
    from foveal.models.chat import Sampling
    from foveal.models.decoding import tokens  # what it says is what the model decodes

    decoder = MethodDecoder(model.model)
    state = decoder.read(prompt_ids(model, one.prompt))
    said = model.tokenizer.decode(list(tokens(decoder, state, Sampling(max_tokens=4), stop_ids=model.stop_ids)))
    said = said.strip().partition("\n")[0]
    if said:
        assert answered(model, [replace(one, answers=(said,))], max_tokens=4)[0].right == 1.0


def test_a_character_of_several_tokens_is_read_whole(tmp_path, monkeypatch):
    model = tiny("qwen", tmp_path, merges=0)
    said = model.encode("\n你好\nmore")
    monkeypatch.setattr(act_evaluation, "tokens", lambda *_, **__: iter(said))
    one = Labelled("What do they say?", answers=("你好",))
    assert answered(model, [one], metric="f1")[0].right == 1.0


def test_differences_are_paired():
    ours = [Scored(1.0, 0.2), Scored(1.0, 0.3), Scored(0.0, 1.0), Scored(1.0, 0.1)]
    plain = [Scored(0.0, 0.9), Scored(1.0, 0.3), Scored(0.0, 1.2), Scored(1.0, 0.2)]
    found = compared(ours, plain, seed=0)
    assert found.accuracy.mean == 0.25
    assert found.nats.mean == pytest.approx(-0.25)
    assert found.p == 1.0  # one that differs is no evidence
    assert accuracy(ours) == 0.75


def test_controls_stand_beside_a_calibration(attention_models):
    model = attention_models["gemma"]
    found = arms(model, calibration(model, heads=((2, 1),)), draws=2)
    assert list(found)[:4] == [PLAIN, OURS, "1 heads, draw 1", "1 heads, draw 2"]
    assert COLUMNS in found
    assert {"calibrated, beta 0", "calibrated, beta 0.7"} <= set(found)
    assert found[EVERY].heads == {2: list(range(HEADS))} or found[EVERY].heads.keys() == {2}
