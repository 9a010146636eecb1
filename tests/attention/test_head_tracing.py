"""What an answer was copied from: votes of hand-made heads, query-focused scores, gates."""

from __future__ import annotations

import gc
import json
import weakref

import pytest
import torch
from tiny import FULL, HEADS, tiny

from foveal.attention import Recorder, attach
from foveal.attention.head_gates import Gated, GateSettings, train_gates
from foveal.attention.head_tracing import Trace, TracedToken, traced, voters
from foveal.attention.query_heads import (
    Example,
    detect_query_heads,
    judged,
    kept_sum,
    looks,
    probe_examples,
    read_examples,
)
from foveal.attention.retrieval_heads import HeadScores, head_scores
from foveal.errors import InputError
from foveal.models.language import load_language_model

PROMPT = "The mill is old and the river is in the text. The keeper reads. Question: who? Answer:"
ANSWER = " the keeper of the mill"


def every_head(kind: str) -> HeadScores:
    table = torch.zeros(1, {"qwen": 3, "gemma": 4}[kind], HEADS)
    for layer in FULL[kind]:
        table[0, layer] = torch.tensor([0.9, 0.5, 0.3, 0.2])
    return HeadScores(table)


def by_definition(model, scores):
    """Each token's votes from eager attention, written out."""
    encoded = model.tokenizer.backend_tokenizer.encode(PROMPT + ANSWER, add_special_tokens=False)
    ids, offsets = encoded.ids, encoded.offsets
    first = next(place for place, (_, end) in enumerate(offsets) if end > len(PROMPT))
    layers = sorted({layer for layer, _ in voters(scores)})
    recorder = Recorder(torch.arange(len(ids))[None], dict.fromkeys(layers))
    with torch.inference_mode(), attach(model.model, recorder=recorder) as attached:
        attached.base(input_ids=torch.tensor([ids]), use_cache=False)
    text = [model.tokenizer.decode([one]).strip() for one in ids]
    total = sum(float(scores.scores[head]) for head in voters(scores))
    shares = []
    for place in range(first, len(ids)):
        votes = 0.0
        for layer, head in voters(scores):
            j = int(recorder.attention[layer][0, head, place - 1].argmax())
            if j < first and text[j] == text[place] != "":
                votes += float(scores.scores[layer, head])
        shares.append(votes / total)
    return shares


@pytest.mark.parametrize("kind", ["qwen", "gemma"])
def test_votes_are_those_of_eager_attention(attention_models, kind):
    model, scores = attention_models[kind], every_head(kind)
    found = traced(model, PROMPT, ANSWER, scores)
    assert "".join(ANSWER[token.start : token.end] for token in found.tokens) == ANSWER
    assert [token.share for token in found.tokens] == pytest.approx(by_definition(model, scores))
    assert all((token.source is None) == (token.share == 0) for token in found.tokens)
    for token in found.tokens:
        if token.source:
            assert PROMPT[slice(*token.source)].strip() == ANSWER[token.start : token.end].strip()
        assert 0 <= token.sink <= 1


def test_parts_of_a_character_are_copied_from_their_own_kind(tmp_path):
    """Each byte alone reads as a question mark in a diamond, and so would be a copy of any other."""
    model = tiny("qwen", tmp_path, merges=0)
    assert {model.tokenizer.decode([one]) for one in model.encode("你é")} == {"\ufffd"}
    scores, prompt = every_head("qwen"), "你好" * 8
    other = traced(model, prompt, "éü", scores)  # no byte of these is among the prompt's
    assert len(other.tokens) == 4
    assert other.grounded == 0
    same = traced(model, "é" * 12, "éé", scores)
    assert same.grounded > 0


def test_only_sources_count(attention_models):
    scores = every_head("qwen")
    found = traced(attention_models["qwen"], PROMPT, ANSWER, scores, sources=[])
    assert found.grounded == 0
    assert {token.source for token in found.tokens} == {None}


def test_the_meter_leaves_out_what_says_nothing():
    tokens = (TracedToken(0, 1, None, 0.0, 0.5), TracedToken(1, 4, (0, 3), 1.0, 0.1), TracedToken(4, 5, None, 0.0, 0.3))
    found = Trace('"abc"', tokens)
    assert found.grounded == 1.0
    assert found.sink == pytest.approx(0.3)
    assert Trace("", ()).grounded == 0 == Trace("", ()).sink


def test_what_cannot_be_traced_is_told(attention_models):
    model, scores = attention_models["qwen"], every_head("qwen")
    assert traced(model, PROMPT, "", scores).tokens == ()
    with pytest.raises(InputError, match="no prompt"):
        traced(model, "", ANSWER, scores)
    with pytest.raises(InputError, match="Measure its own"):
        traced(model, PROMPT, ANSWER, every_head("gemma"))
    with pytest.raises(InputError, match="reads 2 to"):
        traced(model, PROMPT * 200, ANSWER, scores)
    with pytest.raises(InputError, match="copies enough"):
        traced(model, PROMPT, ANSWER, HeadScores(torch.zeros(1, 3, HEADS)))


@pytest.mark.model
def test_a_real_answer_is_traced_to_its_place():
    model = load_language_model()
    text = "The old code was 48213. The weather was fine that day. The code of the north gate is 77190. Nobody came."
    prompt = model.render([{"role": "user", "content": f"{text}\n\nWhat is the code of the north gate?"}])
    found = traced(model, prompt, "The code of the north gate is 77190.", head_scores(model))
    start = prompt.find("77190")
    digits = [token for token in found.tokens if found.answer[token.start : token.end].isdigit()]
    assert len(digits) >= 5
    assert all(token.source and start <= token.source[0] < start + 5 for token in digits)
    assert found.grounded > 0.5
    invented = traced(model, prompt, "The name of the east tower is Marlowe.", head_scores(model))
    assert invented.grounded < found.grounded - 0.3


# -- query heads -------------------------------------------------------------------------------------------------------

EXAMPLE = Example("who reads?", ("The mill is old.", "The keeper reads the text.", "The river is in the mill."), (1,))


def test_passages_get_what_the_query_looks_at(attention_models):
    model = attention_models["qwen"]
    given = looks(model, EXAMPLE, [0, 1, 2])
    raw = looks(model, EXAMPLE, [0, 1, 2], calibrated=False)
    assert given.shape == raw.shape == (3, HEADS, 3)
    assert (raw >= 0).all()
    assert (given - raw).abs().max() > 0
    found = detect_query_heads(model, [EXAMPLE, EXAMPLE])
    torch.testing.assert_close(found.scores, judged(given, EXAMPLE, "mass"))
    assert (found.kind, found.settings["source"]) == ("query", "given")


def test_tokens_far_below_the_mean_are_dropped():
    paid = torch.tensor([1.0] * 9 + [-20.0])
    assert kept_sum(paid) == 9.0
    assert kept_sum(torch.tensor([1.0, 2.0, 3.0])) == 6.0


def test_heads_are_judged_by_mass_or_by_order():
    scores = torch.tensor([[[0.1, 0.5, 0.2]], [[0.9, 0.5, 0.7]]])
    assert judged(scores, EXAMPLE, "mass").tolist() == [[0.5], [0.5]]
    assert judged(scores, EXAMPLE, "ndcg").tolist() == [[1.0], [0.5]]


def test_examples_of_the_probes_hold_their_facts():
    found = probe_examples(count=4, words=20)
    assert len(found) == len(probe_examples()) >= 20
    one = found[0]
    assert len(one.passages) == 4
    assert "7304-KL" in one.passages[one.gold[0]]
    for wrong in ({"count": 1}, {"words": 5000}):
        with pytest.raises(InputError, match="Probes were to stand"):
            probe_examples(**wrong)


def test_examples_are_read_and_checked(attention_models, tmp_path):
    path = tmp_path / "examples.jsonl"
    path.write_text(json.dumps({"query": "q", "passages": ["a", "b"], "gold": [1]}) + "\n")
    assert read_examples(path) == [Example("q", ("a", "b"), (1,))]
    for wrong, said in (
        ("", "no example"),
        ('{"query": "q"}', "is no example"),
        ("{", "cannot be read"),
        ('{"query": "q", "passages": "one text", "gold": [0]}', "must be a list"),
        ('{"query": "q", "passages": ["a"], "gold": [0.0]}', "whole numbers"),
    ):
        path.write_text(wrong)
        with pytest.raises(InputError, match=said):
            read_examples(path)
    with pytest.raises(InputError, match="none of them empty"):
        Example("q", ("a", " "), (0,))
    with pytest.raises(InputError, match="it has 0 to 0"):
        Example("q", ("a",), (1,))
    with pytest.raises(InputError, match="not by 'best'"):
        detect_query_heads(attention_models["qwen"], [EXAMPLE], metric="best")
    with pytest.raises(InputError, match="at least one"):
        detect_query_heads(attention_models["qwen"], [])
    with pytest.raises(InputError, match="Give fewer"):
        looks(attention_models["qwen"], Example("q", ("the mill " * 3000,), (0,)), [0])


# -- gates -------------------------------------------------------------------------------------------------------------


def test_gates_mix_the_whole_text_and_its_ends(attention_models):
    model = attention_models["qwen"].model
    ids = torch.randint(3, 90, (1, 60), generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        read = model(input_ids=ids[:, :50], use_cache=True).past_key_values
        plain = model.base_model(input_ids=ids).last_hidden_state[:, 50:]
    text = [(layer.keys, layer.values) for layer in read.layers]

    def hidden(gates):
        method = Gated(gates, [0, 1, 2], sinks=3, recent=12)
        method.text = text
        with torch.no_grad(), attach(model, method) as attached:
            return attached.base(input_ids=ids[:, 50:], position_ids=torch.arange(50, 60)[None], use_cache=False)[0]

    torch.testing.assert_close(hidden(torch.ones(3, 2)), plain, atol=1e-5, rtol=1e-4)
    assert (hidden(torch.tensor([[1.0, 0.0]] * 3)) - plain).abs().max() > 1e-3


def test_no_more_numbers_than_there_are_are_hidden():
    with pytest.raises(InputError, match="80 different ones"):
        GateSettings(per_text=81)


def test_gates_fall_where_nothing_is_lost(attention_models):
    settings = GateSettings(steps=6, length=200, texts=1, per_text=2, sinks=4, recent=16)
    told: list[float] = []
    host = ["The mill is old. The river is in the mill. The keeper reads the text in the mill. It is very old. "]
    found = train_gates(attention_models["gemma"], settings, texts=host, on_step=lambda _, __, loss: told.append(loss))
    assert found.kind == "gates"
    assert len(told) == 6
    assert all(one.grad is None for one in attention_models["gemma"].model.parameters())  # the model is as it was
    table = found.of_groups(1)[:, 0]
    assert (table[[0, 2]] == 0).all()  # layers that slide
    assert 0 < table[[1, 3]].min() < 1
    with pytest.raises(InputError, match="at least twice as many"):
        GateSettings(length=100)
    with pytest.raises(InputError, match="at least one step"):
        GateSettings(steps=0)
    long = GateSettings(steps=1, length=4200, texts=1, per_text=1)
    with pytest.raises(InputError, match="4096 positions"):
        train_gates(attention_models["gemma"], long, texts=host)


def test_a_traced_model_is_not_held_on_to(tmp_path):
    model = tiny("qwen", tmp_path)
    traced(model, PROMPT, ANSWER, every_head("qwen"))
    held = weakref.ref(model.model)
    del model
    gc.collect()
    assert held() is None
