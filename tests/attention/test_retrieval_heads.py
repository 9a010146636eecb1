"""Head scores: what a head copied by hand-made looks, files of ours and of the paper's authors, drawing controls."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from importlib import resources
from pathlib import Path

import pytest
import torch
from tiny import HEADS, tiny

from foveal.attention.attach import Context
from foveal.attention.head_detection import (
    CopyWatch,
    DetectionSettings,
    PaidWatch,
    Run,
    answered_without,
    copied,
    detect,
    placed,
    prompt_parts,
    scores_of,
    store_name,
)
from foveal.attention.head_needles import _ANIMALS, reasoning_needles, retrieval_needles
from foveal.attention.masks import Mask
from foveal.attention.memory_decoding import MethodDecoder
from foveal.attention.profiles import architecture_of, whole_layers
from foveal.attention.retrieval_heads import (
    HeadScores,
    by_layer,
    find_scores,
    head_scores,
    load_scores,
    parsed,
    random_heads,
)
from foveal.errors import InputError
from foveal.evaluation.haystack import plant_all
from foveal.models.chat import Sampling
from foveal.models.decoding import tokens
from foveal.models.language import load_language_model
from foveal.models.lean import supports

HOST = ["The mill is old. The river is in the mill. The keeper reads the text in the mill. It is very old. "]
SHORT = DetectionSettings(lengths=(160,), texts=1, per_text=2, answer_tokens=6)


def scores(table: list[list[float]], **fields: str) -> HeadScores:
    return HeadScores(torch.tensor([table]), **fields)


# -- the score ---------------------------------------------------------------------------------------------------------


def test_a_copy_is_a_look_at_a_place_of_the_sentence_that_holds_the_token():
    ids = [5, 7, 8, 7, 9, 5]  # the sentence is places 1 to 3
    sentence = [1, 2, 3]
    assert copied([1, 2, 3], [7, 8, 7], ids, sentence) == {1, 2, 3}
    assert copied([2, 2, 0], [7, 9, 5], ids, sentence) == set()  # another token there, or outside of the sentence
    assert copied([5], [5], ids, sentence) == set()


def test_repeated_words_cannot_push_a_score_above_1():
    ids, sentence = [7, 7, 7], [0, 1, 2]
    assert copied([0] * 9, [7] * 9, ids, sentence) == {0}


def test_a_mean_over_the_runs_that_were_answered(attention_models):
    model = attention_models["qwen"]
    runs = [
        Run("a", 128, 0.0, True, "", {"0-1": 1.0, "2-3": 0.5}),
        Run("b", 128, 0.0, False, "", {"0-1": 0.0, "2-3": 1.0}),  # does not count
        Run("c", 128, 0.0, True, "", {"0-1": 0.5}),
    ]
    found = scores_of(model, SHORT, runs, whole_layers(model.model.config))
    assert found.runs.shape == (2, 3, HEADS)
    assert found.scores[0, 1] == 0.75
    assert found.scores[2, 3] == 0.25
    assert found.activation[0, 1] == 1
    assert found.activation[2, 3] == 0.5
    assert found.always_active() == [(0, 1)]
    assert found.top(2) == [(0, 1), (2, 3)]
    assert found.above(0.3) == [(0, 1)]
    assert found.share(0.1) == pytest.approx(2 / 12)


def test_no_answered_run_is_an_error_that_says_what_came(attention_models):
    with pytest.raises(InputError, match="answered none of 1 questions"):
        scores_of(attention_models["qwen"], SHORT, [Run("a", 1, 0.0, False, "nonsense", {})], [0])


# -- the watch ---------------------------------------------------------------------------------------------------------


def test_models_without_lean_layers_are_watched_through_attach(tmp_path):
    model = tiny("gemma2", tmp_path).model
    assert not supports(model)
    test_the_watch_sees_the_argmax_of_eager_attention(model)


def test_the_watch_sees_the_argmax_of_eager_attention(model):
    ids = torch.randint(3, 90, (1, 40), generator=torch.Generator().manual_seed(1))
    layers = whole_layers(model.config)
    watch = CopyWatch(layers)
    decoder = MethodDecoder(model, watch)
    state = decoder.read(ids[0, :-1].tolist())
    decoder.step(state, [ids[0, -1:].tolist()])
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            rows = model(input_ids=ids, output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    for layer in layers:
        assert watch.looked[layer].tolist() == rows[layer][0, :, -1].argmax(-1).tolist()


def test_sentences_are_found_by_characters(attention_models):
    model = attention_models["qwen"]
    needles = retrieval_needles(2, seed=4)
    planted = plant_all("The mill is old. The river is in the mill. The keeper reads.", needles, [0, 100])
    head, ask = prompt_parts(model, planted[0].text)
    ids, places = placed(model, head, planted)
    for one, own in zip(planted, places, strict=True):
        said = model.tokenizer.decode([ids[place] for place in own])
        assert one.needle.sentences[0] in said
        assert len(said) < len(one.needle.sentences[0]) + 12
    assert model.tokenizer.decode(ask("Who?")).startswith("Based on")
    with pytest.raises(InputError, match="cannot be found"):
        placed(model, "another text", planted)


def test_a_model_that_cannot_answer_is_told_and_a_stopped_detection_goes_on(attention_models, tmp_path):
    model = attention_models["qwen"]
    seen: list[int] = []
    store = tmp_path / "runs.jsonl"
    for _ in range(2):
        with pytest.raises(InputError, match="answered none of 2"):
            detect(model, SHORT, texts=HOST, store=store, on_run=lambda done, *_: seen.append(done))
    assert seen == [1, 2, 1, 2]
    assert len(store.read_text().splitlines()) == 2
    for other, texts in ((attention_models["gemma"], HOST), (model, [*HOST, "more"])):
        with pytest.raises(InputError, match="runs of another detection"):
            detect(other, SHORT, texts=texts, store=store)
    store.write_text("{}")
    with pytest.raises(InputError, match="holds no runs of a detection"):
        detect(model, SHORT, texts=HOST, store=store)


def test_what_a_model_says_without_a_text_is_no_copy(attention_models):
    model = attention_models["qwen"]
    needles = retrieval_needles(3)
    assert answered_without(model, needles, answer_tokens=8) == [False] * 3
    head, ask = prompt_parts(model, "")
    decoder = MethodDecoder(model.model)
    state = decoder.read([*model.encode(head), *ask(needles[1].question)])
    said = model.tokenizer.decode(list(tokens(decoder, state, Sampling(max_tokens=8), stop_ids=model.stop_ids)))
    known = [needles[0], replace(needles[1], answer=said.partition("\n")[0]), needles[2]]
    assert known[1].answer.strip()
    assert answered_without(model, known, answer_tokens=8) == [False, True, False]


def test_a_step_of_thought_is_needed_for_what_is_not_said_again():
    made = reasoning_needles(30, 2)
    assert made == reasoning_needles(30, 2) != reasoning_needles(30, 3)
    assert len({(one.sentences, one.question) for one in made}) == 30
    for one in made:
        (sentence,) = one.sentences
        more, less = (int(number) for number in re.findall(r"\d+", sentence))
        assert more > less
        first = sentence.index(one.answer) < max(sentence.index(animal) for animal in _ANIMALS if animal in sentence)
        assert first == bool(re.search("older|more owed|heavier", one.question))  # what has more is said first
        assert one.answer not in one.question
    with pytest.raises(InputError, match="ask for at least 1"):
        reasoning_needles(0)


@pytest.mark.parametrize("kind", ["qwen", "gemma"])
def test_what_heads_pay_to_a_sentence_is_that_of_eager_attention(attention_models, kind):
    model = attention_models[kind]
    whole = whole_layers(model.model.config)
    ids = torch.randint(5, 150, (40,), generator=torch.Generator().manual_seed(1)).tolist()
    own, steps = [4, 5, 6, 9], ids[34:]
    watch = PaidWatch(whole)
    watch.most = len(own)
    decoder = MethodDecoder(model.model, watch)
    state, looks = decoder.read(ids[:33]), []
    for token in ids[33:39]:
        decoder.step(state, [[token]])
        looks.append(dict(watch.looked))
    told = watch.shares(looks, steps, ids, own)
    with torch.inference_mode():
        model.model.set_attn_implementation("eager")
        weights = model.model(input_ids=torch.tensor([ids[:39]]), output_attentions=True).attentions
        model.model.set_attn_implementation("sdpa")
    for layer in whole:
        for head in range(HEADS):
            paid = 0.0
            for row in range(33, 39):
                mine = weights[layer][0, head, row, : row + 1].tolist()
                best = sorted(range(row + 1), key=lambda place: -mine[place])[: len(own)]
                paid += sum(mine[place] for place in best if place in own) / len(own)
            assert told[f"{layer}-{head}"] == pytest.approx(paid, abs=1e-5)
    assert set(told) == {f"{layer}-{head}" for layer in whole for head in range(HEADS)}
    assert max(told.values()) > 0.01


def test_both_ways_to_detect_are_two_detections(attention_models, tmp_path):
    model, store = attention_models["qwen"], tmp_path / "runs.jsonl"
    assert store_name(model, SHORT) == store_name(model, SHORT, "copy") != store_name(model, SHORT, "reason")
    for by in ("copy", "reason"):
        with pytest.raises(InputError, match="answered none of 2 questions"):
            detect(model, SHORT, by=by, texts=HOST, store=tmp_path / f"{by}.jsonl")
    (tmp_path / "reason.jsonl").rename(store)
    with pytest.raises(InputError, match="runs of another detection"):
        detect(model, SHORT, texts=HOST, store=store)
    with pytest.raises(InputError, match="detected by copy or reason, not by 'luck'"):
        detect(model, SHORT, by="luck", texts=HOST)
    run = Run("q", 160, 0.0, True, "a", {"1-2": 0.5})
    assert scores_of(model, SHORT, [run], [0, 1, 2], "reason").kind == "reason"


def test_settings_are_checked_and_a_text_must_fit(attention_models):
    with pytest.raises(InputError, match="lengths must be 128"):
        DetectionSettings(lengths=(12,))
    two = DetectionSettings(lengths=(160,), texts=1, per_text=2)
    with pytest.raises(InputError, match="1 needles came, and 2 are hidden"):
        detect(attention_models["qwen"], two, texts=HOST, needles=retrieval_needles(1))
    with pytest.raises(InputError, match="Detect at shorter lengths"):
        detect(attention_models["qwen"], DetectionSettings(lengths=(4060,), texts=1, per_text=1), texts=HOST)


# -- files -------------------------------------------------------------------------------------------------------------


def test_scores_come_back_from_their_file(tmp_path):
    table = torch.rand(3, 2, 4).round(decimals=4)
    kept = HeadScores(table, "query", "m", "f" * 64, "a-2x4-8", {"lengths": [1]})
    again = load_scores(kept.save(tmp_path / "heads.json"))
    torch.testing.assert_close(again.runs, table)
    assert (again.kind, again.model, again.fingerprint, again.settings) == ("query", "m", "f" * 64, {"lengths": [1]})


def test_files_of_the_papers_authors_are_read():
    found = parsed(json.dumps({"0-0": [0.5, 0.0], "0-1": [0.25, 1.79], "1-0": [0, 0], "1-1": [0, 0.5]}), "x/m.json")
    assert found.scores.tolist() == [[0.25, pytest.approx(1.02)], [0.0, 0.25]]
    assert found.model == "m"
    assert found.always_active() == [(0, 1)]


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "[]",
        "{}",
        '{"0-0": []}',
        '{"0-0": [1], "0-2": [1]}',
        '{"a": [1]}',
        '{"0-0": "x"}',
        '{"0-0": [NaN]}',
        '{"0": [1]}',
    ],
)
def test_broken_files_are_told_of(text):
    with pytest.raises(InputError):
        parsed(text, "heads.json")
    with pytest.raises(InputError, match="another version"):
        parsed('{"scores": {}, "version": 99}', "heads.json")


def test_ones_own_scores_come_first_and_others_are_refused(attention_models, tmp_path):
    model = attention_models["qwen"]
    assert find_scores(model, home=tmp_path) is None
    with pytest.raises(InputError, match="foveal heads detect tiny-qwen --by query"):
        head_scores(model, "query", tmp_path)
    kept = HeadScores(torch.ones(1, 3, 4), "copy", "other", "0" * 64, architecture_of(model.model.config))
    kept.save_for(tmp_path)
    found = head_scores(model, "copy", tmp_path)  # of a model with the same architecture
    assert found.model == "other"
    found.check(model.model.config)
    with pytest.raises(InputError, match="3 layers with 4 heads"):
        found.check(attention_models["gemma"].model.config)


@pytest.mark.parametrize(
    "damage",
    [b"{", b"\xff\xfe{}", b"", b'{"version": 0, "scores": {"0-0": [1]}}'],
    ids=["cut", "bytes", "empty", "old"],
)
def test_a_file_of_ones_own_that_cannot_be_read_is_passed_over(attention_models, tmp_path, caplog, damage):
    model = attention_models["qwen"]
    kept = HeadScores(torch.ones(1, 3, 4), "copy", "mine", model.fingerprint, architecture_of(model.model.config))
    folder = kept.save_for(tmp_path).parent
    (folder / "of-another-model-copy.json").write_bytes(damage)
    (folder / "of-another-model-query.json").write_bytes(damage)
    assert head_scores(model, "copy", tmp_path).model == "mine"
    assert find_scores(model, "query", tmp_path) is None
    assert caplog.text.count("passed over") == 2
    assert "of-another-model-copy.json" in caplog.text


def test_what_is_shipped_stands_in_the_docs():
    shipped = {file.name for file in (resources.files("foveal.attention") / "shipped" / "heads").iterdir()}
    page = (Path(__file__).parents[2] / "docs" / "retrieval-heads.md").read_text(encoding="utf-8")
    assert set(re.findall(r"`([\w.-]+-(?:copy|query|gates)\.json)`", page)) == shipped


def test_key_value_heads_and_controls():
    found = scores([[0.9, 0.0, 0.05, 0.3], [0.0, 0.1, 0.0, 0.6]])
    assert found.of_groups(2).tolist() == [
        [pytest.approx(0.9), pytest.approx(0.3)],
        [pytest.approx(0.1), pytest.approx(0.6)],
    ]
    with pytest.raises(InputError, match="cannot share"):
        found.of_groups(3)
    drawn = random_heads(found, 4, seed=3, beside=[(0, 1)])
    assert sorted(drawn) == [(0, 2), (1, 0), (1, 1), (1, 2)]  # none above 0.1, none named
    assert random_heads(found, 2, 1) == random_heads(found, 2, 1)
    with pytest.raises(InputError, match="6 heads that are no retrieval heads"):
        random_heads(found, 6, 0)
    assert by_layer([(1, 2), (0, 3), (1, 0)]) == {0: [3], 1: [0, 2]}


@pytest.mark.parametrize(
    ("name", "length"), [("qwen2.5-coder-0.5b", 4096), pytest.param("gemma3-270m", 1024, marks=pytest.mark.slow)]
)
@pytest.mark.model
def test_the_shipped_scores_are_of_the_models_that_are_shipped(name, length):
    model = load_language_model(name)
    found = head_scores(model)
    assert found.fingerprint == model.fingerprint
    found.check(model.model.config)
    assert found.share(0.1) <= 0.2
    assert found.share(0.5) <= 0.05
    assert found.settings["lengths"] == [length]


@pytest.mark.model
@pytest.mark.slow
def test_a_real_head_copies_a_sentence():
    model = load_language_model()
    found = detect(model, DetectionSettings(lengths=(256,), texts=1, per_text=1, seed=5))
    shipped = head_scores(model).above(0.5)
    assert set(found.top(6)) <= {*head_scores(model).top(40)}
    assert set(found.above(0.5)) & set(shipped)


def test_a_look_stays_within_the_window_of_a_layer_that_slides():
    query, key = torch.ones(1, 2, 1, 4), torch.zeros(1, 1, 12, 4)
    key[0, 0, [1, 8]] = torch.tensor([[9.0], [5.0]])
    watch = CopyWatch([0])
    for window, place in ((None, 1), (6, 8)):
        watch.attend(query, key, key, Context(0, torch.nn.Module(), Mask.causal(1, 1, 12, window=window), 1.0))
        assert watch.looked[0].tolist() == [place, place]
