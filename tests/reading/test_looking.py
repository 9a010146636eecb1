"""Scores of sentences against numpy over the whole attention matrices of the eager model."""

from __future__ import annotations

import copy
import math
from dataclasses import replace
from functools import lru_cache
from itertools import pairwise

import numpy as np
import pytest
import torch
from tiny import FULL, LAYERS

from foveal.attention.profiles import Profile
from foveal.attention.remarks import warn_once
from foveal.errors import ModelUnavailable
from foveal.models.byte_products import pays
from foveal.reading.looking import USUAL, Looking, by_sentence
from foveal.reading.prompts import NO_QUESTION
from foveal.reading.sentences import Sentence, blocks_of, packed, read_sentences

QUESTIONS = ["Who keeps the mill?", "What is the answer to it?", "12"]
TEXT = "The keeper of the mill is Orsin Vale. It rained! He reads <|end|> to the river.\n\nThe key? In a box. " * 3


def looking(model, heads=None, *, int8=False) -> Looking:
    kind = model.name.removeprefix("tiny-")
    heads = heads or ((FULL[kind][1], 2), (FULL[kind][0], 0), (FULL[kind][0], 3))
    profile = Profile(model=model.name, fingerprint="", architecture="", heads=heads)
    return Looking(model, profile, int8=int8)


def windows(look: Looking, size: int = 90):
    return list(packed(read_sentences(blocks_of(TEXT), look.tokens.encode_many, look.tokens.offsets), size))


@lru_cache(maxsize=64)
def eager(model, ids: tuple[int, ...]) -> np.ndarray:
    """(layers, heads, N, N)."""
    before = model.config._attn_implementation
    model.set_attn_implementation("eager")
    try:
        with torch.inference_mode():
            found = model(input_ids=torch.tensor([list(ids)]), output_attentions=True).attentions
    finally:
        model.set_attn_implementation(before)
    return torch.cat(found).numpy().astype(np.float64)


def paid(look: Looking, window, question: str) -> np.ndarray:
    """By definition: each head's mean over the question's rows of the attention to each token: (heads, tokens)."""
    head, tail = list(look.prompt.head), look.prompt.tail(question)
    text = [token for sentence in window for token in sentence.ids]
    matrices = eager(look.model.model, (*head, *text, *tail))
    chosen = np.stack([matrices[layer, number] for layer, number in look.profile.heads])
    return chosen[:, len(head) + len(text) :, len(head) : len(head) + len(text)].mean(1)


def by_definition(look: Looking, window, question: str, *, content_free: bool = True) -> list[float]:
    token = paid(look, window, question) - (paid(look, window, NO_QUESTION) if content_free else 0)
    places = np.cumsum([0, *map(len, window)])
    each = [np.maximum(0, token[:, start:end].mean(1)) for start, end in pairwise(places)]
    return [np.sqrt(places[-1] * USUAL) * heads.mean() for heads in each]


@pytest.mark.parametrize("content_free", [True, False])
def test_scores_by_definition(either, content_free):
    look = looking(either)
    found = look.scores(windows(look), QUESTIONS, content_free=content_free)
    for scores, window in zip(found, windows(look), strict=True):
        assert scores.shape == (len(QUESTIONS), len(window))
        for row, question in zip(scores, QUESTIONS, strict=True):
            expected = by_definition(look, window, question, content_free=content_free)
            np.testing.assert_allclose(row.numpy(), expected, rtol=1e-4, atol=1e-5)


def test_heads_of_a_sliding_layer_by_definition(reading_models):
    look = looking(reading_models["gemma"], heads=((0, 1), (2, 0), (1, 1)))
    window = windows(look)[0]
    found = look.scores([window], QUESTIONS[:1])[0][0]
    np.testing.assert_allclose(found.numpy(), by_definition(look, window, QUESTIONS[0]), rtol=1e-4, atol=1e-5)


def test_several_questions_at_once_are_each_alone(either):
    look = looking(either)
    for place, question in enumerate(QUESTIONS):
        for together, alone in zip(
            look.scores(windows(look), QUESTIONS), look.scores(windows(look), [question]), strict=True
        ):
            torch.testing.assert_close(together[place], alone[0], rtol=1e-4, atol=1e-5)


def test_a_window_scores_the_same_in_any_batch(either):
    look = looking(either)
    several = windows(look)
    assert len({sum(map(len, window)) for window in several}) > 1
    for together, window in zip(look.scores(several, QUESTIONS), several, strict=True):
        torch.testing.assert_close(together, look.scores([window], QUESTIONS)[0], rtol=1e-4, atol=1e-5)


def test_the_empty_question_scores_nothing(either):
    look = looking(either)
    for scores in look.scores(windows(look), [NO_QUESTION]):
        torch.testing.assert_close(scores, torch.zeros_like(scores), rtol=0, atol=1e-6)


def test_one_is_an_even_spread(either):
    """A sentence that gets as much a token as if all attention were spread evenly over 768 tokens scores 1."""
    look = looking(either)
    for scores, window in zip(look.scores(windows(look), QUESTIONS, content_free=False), windows(look), strict=True):
        sizes = torch.tensor([len(sentence) for sentence in window])
        paid_to_text = (scores * sizes).sum(1) / math.sqrt(768 * sizes.sum())  # the rest goes to the prompt
        assert (scores >= 0).all()
        assert ((paid_to_text > 0) & (paid_to_text < 1)).all()
    for size in (768, 192):
        window = [Sentence(0, 3, "abc", (1, 2, 3)), Sentence(3, size, "d", (4,) * (size - 3))]
        even = by_sentence(torch.full((2, size + 1), 1 / size), window)  # the last token is not of the window
        torch.testing.assert_close(even, torch.full((2, 2), (768 / size) ** 0.5))


def test_what_one_head_looks_at_less_is_not_taken_from_another():
    window = [Sentence(0, 1, "a", (1,)), Sentence(1, 2, "b", (2,))]
    found = by_sentence(torch.tensor([[0.5, -0.25], [-0.5, 0.25]]), window).mean(0)
    torch.testing.assert_close(found / math.sqrt(2 * 768), torch.tensor([0.25, 0.125]))


def test_any_other_forward_gives_the_same(either):
    """A hook sends the pass through transformers; without it the lean layers are read."""
    look = looking(either)
    lean = look.scores(windows(look), QUESTIONS)
    hook = either.model.lm_head.register_forward_pre_hook(lambda *_: None)
    try:
        found = look.scores(windows(look), QUESTIONS)
    finally:
        hook.remove()
    for one, other in zip(lean, found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)


def test_a_method_that_has_nothing_to_choose_in_windows_so_short_says_so_once(qwen, caplog):
    warn_once.cache_clear()
    usual, named = (Looking(qwen, looking(qwen).profile, attention=name) for name in ("auto", "flexprefill"))
    for look in (usual, named, named):
        look.scores(windows(look), QUESTIONS[:1])
    [told] = [record.message for record in caplog.records]
    assert "flexprefill" in told
    assert "begins at 2,049 tokens" in told


def test_a_text_whose_last_window_is_too_short_for_the_method_is_not_told_of(qwen, caplog):
    warn_once.cache_clear()
    look = Looking(qwen, looking(qwen).profile, attention="streaming")
    ids = tuple(qwen.encode("It rained by the mill. ")) * 60
    for count in (300, 40):
        look.scores([[Sentence(0, count, "rain", ids[:count])]], QUESTIONS[:1])
    assert caplog.records == []


def test_no_layer_is_run_below_the_deepest_head(qwen):
    look, run = looking(qwen, heads=((1, 0),)), []
    hooks = [layer.register_forward_pre_hook(lambda *_: run.append(1)) for layer in qwen.model.base_model.layers]
    look.scores(windows(look), QUESTIONS)
    for hook in hooks:
        hook.remove()
    assert (len(run), LAYERS["qwen"]) == (2, 3)


@pytest.mark.skipif(not pays(), reason="products of bytes are not faster here")
def test_in_int8_it_looks_at_the_same(either):
    exact, rough = looking(either), looking(either, int8=True)
    assert (exact.rough, rough.rough) == (False, True)
    for one, other in zip(
        exact.scores(windows(exact), QUESTIONS), rough.scores(windows(rough), QUESTIONS), strict=True
    ):
        assert np.corrcoef(one.flatten(), other.flatten())[0, 1] > 0.95


def test_a_model_that_computes_no_numbers_is_told_of(qwen):
    """It would look nowhere, and every text would hold nothing."""
    model = copy.deepcopy(qwen.model)
    with torch.no_grad():
        model.model.layers[0].self_attn.k_proj.weight[0, 0] = math.nan
    look = looking(replace(qwen, model=model))
    with pytest.raises(ModelUnavailable, match="no number"):
        look.scores(windows(look)[:1], QUESTIONS[:1])
