"""Drafts from the prompt against a plain search, and that answers with drafts are the answers without."""

from __future__ import annotations

import random
from collections.abc import Sequence
from typing import Annotated, Any

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from pydantic import BaseModel, ConfigDict, Field
from test_decoding import LEAN, prompt, tiny
from test_local_chat import tiny_chat

from foveal.models import decoding
from foveal.models.chat import Sampling
from foveal.models.decoding import Decoder, tokens
from foveal.models.language import load_language_model
from foveal.models.prompt_lookup import ALIKE, LONGEST, PromptLookup


def draft_by_definition(ids: list[int], most: int) -> list[int]:
    """All places, the last of the most alike; the triangle numbers and one."""
    found = []
    for place in range(len(ids) - 1):
        alike = 0
        while alike < ALIKE and alike <= place and ids[place - alike] == ids[len(ids) - 1 - alike]:
            alike += 1
        found.append((alike, place))
    alike, place = max(found, default=(0, 0))
    count = {0: 0, 1: 2, 2: 4, 3: 7, 4: 11}.get(alike, LONGEST)
    return ids[place + 1 :][: min(count, most)]


@given(st.lists(st.integers(0, 3), max_size=60), st.integers(0, 60), st.integers(-1, 14))
def test_a_draft_is_what_stands_behind_the_likest_place(ids: list[int], cut: int, most: int) -> None:
    lookup = PromptLookup(ids[:cut])
    for token in ids[cut:]:
        lookup.add([token])
    assert lookup.draft(most) == draft_by_definition(ids, max(0, most))


def test_what_is_quoted_is_quoted_on() -> None:
    text = list(range(100, 140))
    lookup = PromptLookup([*text, 7, 8])
    lookup.add([110, 111])
    assert lookup.draft(20) == [112, 113, 114, 115]  # two alike
    lookup.add([112, 113])
    assert lookup.draft(20) == text[14:25]
    assert lookup.draft(3) == text[14:17]
    lookup.add([5])
    assert lookup.draft(20) == []


class Oracle:
    """Drafts that are right for a while and then wrong, by chance."""

    def __init__(self, answer: Sequence[int], seed: int) -> None:
        self.answer, self.at, self.chance = list(answer), 0, random.Random(seed)

    def add(self, ids: Sequence[int]) -> None:
        assert self.answer[self.at : self.at + len(ids)] == list(ids)
        self.at += len(ids)

    def draft(self, most: int) -> list[int]:
        drafts = self.answer[self.at :][: self.chance.choice([0, 1, 4, 11])]
        if drafts and self.chance.random() < 0.6:
            drafts[self.chance.randrange(len(drafts))] += 1
        return [one % 97 for one in drafts][: max(0, most)]


@pytest.mark.parametrize("kind", LEAN)
@pytest.mark.parametrize("temperature", [0.0, 0.9])
def test_answers_are_the_same_whatever_is_drafted(kind: str, temperature: float, monkeypatch: Any) -> None:
    monkeypatch.setitem(decoding.CHUNK, "cpu", 8)
    decoder, ids = Decoder(tiny(kind)), prompt(20)
    sampling = Sampling(max_tokens=60, temperature=temperature, seed=3)
    plain = list(tokens(decoder, decoder.prefill(ids), sampling))
    for seed in range(4):
        monkeypatch.setattr(decoding, "PromptLookup", lambda _, seed=seed: Oracle(plain, seed))
        state = decoder.prefill(ids)
        assert list(tokens(decoder, state, sampling, prompt=ids)) == plain
        assert state.lengths[0] <= len(ids) + 60  # nothing is read beyond what may be told
        stop = plain[25]
        stopped = list(tokens(decoder, decoder.prefill(ids), sampling, prompt=ids, stop_ids=[stop]))
        assert stopped == plain[: plain.index(stop)]


def test_a_right_draft_saves_its_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    decoder, ids = Decoder(tiny("llama")), prompt(20)
    plain = list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=60)))

    class Right(Oracle):
        def draft(self, most: int) -> list[int]:
            return self.answer[self.at :][: min(most, LONGEST)]

    widths: list[int] = []
    trust = Decoder.trust
    monkeypatch.setattr(decoding, "PromptLookup", lambda _: Right(plain, 0))
    monkeypatch.setattr(Decoder, "trust", lambda *a: (widths.append(len(a[2]) + len(a[3])), trust(*a))[1])
    assert list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=60), prompt=ids)) == plain
    assert widths == [12, 12, 12, 12, 11]  # the first token was chosen before


class Found(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=20)
    numbers: list[Annotated[int, Field(ge=0, le=99)]] = Field(max_length=4)


def test_a_grammar_is_kept_to_whatever_is_drafted(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = [{"role": "user", "content": 'Say {"name": "abc", "numbers": [1, 2, 33]} again.'}]
    chat = tiny_chat()
    with_drafts = [chat.parse(asked, Found, Sampling(temperature=1.0, seed=seed)) for seed in range(6)]
    monkeypatch.setattr(PromptLookup, "draft", lambda *_: [])
    assert with_drafts == [chat.parse(asked, Found, Sampling(temperature=1.0, seed=seed)) for seed in range(6)]


def test_a_models_own_forward_goes_without() -> None:
    decoder, ids = Decoder(tiny("gpt2")), prompt(20)
    plain = list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=20)))
    assert list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=20), prompt=ids)) == plain


@pytest.mark.model
def test_a_real_model_that_quotes_takes_fewer_steps(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = load_language_model("gemma3-270m")
    line = "The ferry leaves at six. The key of the mill hangs behind the clock. It rained all day.\n"
    ids = loaded.encode("<bos>") + loaded.encode(line * 3)
    decoder, steps = Decoder(loaded.model), []
    trust = Decoder.trust
    monkeypatch.setattr(Decoder, "trust", lambda *a: (steps.append(1), trust(*a))[1])
    quoted = list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=23), prompt=ids))
    assert loaded.tokenizer.decode(quoted).startswith("The ferry leaves at six. The key of the mill")
    assert len(steps) <= 8
    assert torch.is_inference_mode_enabled() is False


def test_a_decoder_that_steps_by_itself_goes_without(monkeypatch: pytest.MonkeyPatch) -> None:
    """What it looks at is its own affair, and `trust` would pass it by."""

    class Own(Decoder):
        trusts = False

    monkeypatch.setattr(Decoder, "trust", lambda *_: pytest.fail("a step was passed by"))
    decoder, ids = Own(tiny("llama")), [1, 2, 3] * 5
    assert len(list(tokens(decoder, decoder.prefill(ids), Sampling(max_tokens=8), prompt=ids))) == 8
