"""A local chat model: a tiny random one with a tokenizer of bytes for the mechanics, a real one for the sense."""

from __future__ import annotations

import threading
from pathlib import Path
from typing import Any, Literal

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field, RootModel, field_validator
from tiny import byte_tokenizer
from transformers import GPT2Config, GPT2LMHeadModel, Qwen2Config, Qwen2ForCausalLM

from foveal.attention import attach
from foveal.errors import Cancelled, InputError
from foveal.models.answer_text import AnswerText, overlap
from foveal.models.chat import Cancel, ChatModel, Sampling
from foveal.models.language import LanguageModel, load_language_model
from foveal.models.local_chat import LocalChat

TEMPLATE = (
    "{% for m in messages %}{{ m.role }}: {{ m.content }}\n{% endfor %}"
    "{% if add_generation_prompt %}assistant: {% endif %}"
)
HELLO = [{"role": "user", "content": "Hello"}]


def tiny_chat(*, lean: bool = True, context: int = 256) -> LocalChat:
    torch.manual_seed(0)
    tokenizer = byte_tokenizer()
    tokenizer.chat_template = TEMPLATE
    size = len(tokenizer)
    config: Any
    model: Any
    if lean:
        config = Qwen2Config(
            vocab_size=size,
            hidden_size=32,
            intermediate_size=64,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=context,
            initializer_range=0.4,
            eos_token_id=tokenizer.eos_token_id,
        )
        model = Qwen2ForCausalLM(config)
    else:
        eos = tokenizer.eos_token_id
        config = GPT2Config(vocab_size=size, n_embd=32, n_layer=2, n_head=2, n_positions=context, eos_token_id=eos)
        model = GPT2LMHeadModel(config)
    return LocalChat(LanguageModel("tiny", Path(), model.eval(), tokenizer, Path()))


@pytest.fixture(scope="module")
def chat() -> LocalChat:
    return tiny_chat()


def test_it_is_a_chat_model(chat: LocalChat) -> None:
    assert isinstance(chat, ChatModel)
    assert chat.count_tokens("héllo") == 6


@pytest.mark.parametrize("sampling", [Sampling(max_tokens=60), Sampling(max_tokens=60, temperature=1, seed=3)])
def test_the_pieces_joined_are_the_answer_and_come_again(chat: LocalChat, sampling: Sampling) -> None:
    pieces = list(chat.stream(HELLO, sampling))
    assert "".join(pieces) == chat.chat(HELLO, sampling) == chat.chat(HELLO, sampling)


@pytest.mark.parametrize("lean", [True, False])
def test_many_answers_are_the_single_ones(lean: bool) -> None:
    chat = tiny_chat(lean=lean)
    talks = [[{"role": "user", "content": "x" * length}] for length in (1, 30, 7, 150, 2, 3, 4, 5, 6, 100)]
    sampling = Sampling(max_tokens=40, temperature=0.8, top_p=0.9, stop=("e",))
    assert chat.chat_many(talks, sampling) == [chat.chat(talk, sampling) for talk in talks]
    assert chat.chat_many([]) == []


def test_scores_are_those_of_one_forward(chat: LocalChat) -> None:
    to_ids = chat.language_model.encode
    prompt, ids = to_ids("user: Hello\nassistant: "), to_ids("Hé, world")
    assert len(ids) == 10
    with torch.inference_mode():
        logits = chat.language_model.model(torch.tensor([prompt + ids])).logits[0].log_softmax(-1)
    expected = [float(logits[len(prompt) - 1 + place, token]) for place, token in enumerate(ids)]
    assert chat.score(HELLO, "Hé, world") == pytest.approx(expected, abs=1e-4)
    assert chat.score(HELLO, "") == []


def test_an_answer_ends_where_the_context_does_and_a_longer_prompt_is_refused() -> None:
    chat = tiny_chat(context=64)
    answer = chat.chat([{"role": "user", "content": "x" * 20}], Sampling(max_tokens=500, temperature=1))
    assert len(answer) <= 64 - 38
    with pytest.raises(InputError, match="takes 118 tokens, and tiny reads and writes 64"):
        chat.chat([{"role": "user", "content": "x" * 100}])
    with pytest.raises(InputError, match="no messages"):
        chat.stream([])


def test_a_cancel_stops_the_stream(chat: LocalChat) -> None:
    cancel = Cancel()
    stream = chat.stream(HELLO, Sampling(max_tokens=200, temperature=1), cancel=cancel)
    next(stream)
    cancel.set()
    with pytest.raises(Cancelled):
        list(stream)
    with pytest.raises(Cancelled):
        chat.chat_many([HELLO], cancel=cancel)


def test_streams_of_many_threads_are_each_their_own(chat: LocalChat) -> None:
    talks = [[{"role": "user", "content": letter * 20}] for letter in "abcd"]
    alone = [chat.chat(talk, Sampling(max_tokens=30)) for talk in talks]
    found: dict[int, str] = {}

    def call(row: int) -> None:
        found[row] = chat.chat(talks[row], Sampling(max_tokens=30))

    callers = [threading.Thread(target=call, args=(row,)) for row in range(4)]
    for caller in callers:
        caller.start()
    for caller in callers:
        caller.join()
    assert [found[row] for row in range(4)] == alone


def test_an_open_stream_does_not_hold_others_up(chat: LocalChat) -> None:
    stream = chat.stream(HELLO, Sampling(max_tokens=100, temperature=1))
    begun = next(stream)
    other = chat.chat(HELLO, Sampling(max_tokens=100, temperature=1))
    assert begun + "".join(stream) == other


class Answer(BaseModel):
    model_config = ConfigDict(extra="forbid")
    text: str = Field(max_length=10)
    sure: bool


class Refusing(Answer):
    @field_validator("text")
    @classmethod
    def refuse(cls, _: str) -> str:
        raise ValueError("never good enough")


@pytest.mark.parametrize("lean", [True, False])
def test_any_parse_is_an_instance(lean: bool) -> None:
    chat = tiny_chat(lean=lean)
    for seed in range(5):
        made = chat.parse(HELLO, Answer, Sampling(max_tokens=200, temperature=1, seed=seed))
        assert len(made.text) <= 10


def test_a_parse_that_is_cut_or_refused_is_an_error(chat: LocalChat) -> None:
    with pytest.raises(InputError, match="not done with its Answer after 12 tokens; raise max_tokens"):
        chat.parse(HELLO, Answer, Sampling(max_tokens=12))
    with pytest.raises(InputError, match="never good enough"):
        chat.parse(HELLO, Refusing)


class Fixed(BaseModel):
    model_config = ConfigDict(extra="forbid")
    word: Literal["fovea"]


@pytest.mark.parametrize("most", [1, 5, len('{"word": "fovea"}') - 1])
def test_what_must_follow_and_has_no_room_is_not_done(chat: LocalChat, most: int) -> None:
    with pytest.raises(InputError, match=f"not done with its Fixed after {most} tokens; raise max_tokens"):
        chat.parse(HELLO, Fixed, Sampling(max_tokens=most))
    assert chat.parse(HELLO, Fixed, Sampling(max_tokens=len('{"word": "fovea"}'))).word == "fovea"


def test_a_number_alone_ends_by_a_stop_token(chat: LocalChat) -> None:
    for seed in range(4):
        made = chat.parse(HELLO, RootModel[int], Sampling(max_tokens=200, temperature=1, seed=seed))
        assert isinstance(made.root, int)


def test_messages_that_make_no_text_are_refused() -> None:
    """Nothing to read would be an answer to what was read last."""
    chat = tiny_chat()
    chat.chat(HELLO, Sampling(max_tokens=2))
    chat.language_model.tokenizer.chat_template = "{{ messages[0].content }}"
    nothing = [{"role": "user", "content": ""}]
    for call in (
        lambda: chat.chat(nothing),
        lambda: chat.chat_many([nothing]),
        lambda: chat.score(nothing, "more"),
        lambda: chat.parse(nothing, Fixed),
    ):
        with pytest.raises(InputError, match="makes no text of these messages"):
            call()


def test_many_answers_are_the_single_ones_where_something_is_attached(chat: LocalChat) -> None:
    """As where another thread attaches between two looks at the model."""
    talks = [[{"role": "user", "content": text}] for text in ("one", "another")]
    sampling = Sampling(max_tokens=12)
    expected = [chat.chat(talk, sampling) for talk in talks]
    with attach(chat.language_model.model):
        assert chat.chat_many(talks, sampling) == expected
    assert chat.chat_many(talks, sampling) == expected


def shown(text: str, *, stop: tuple[str, ...] = (), thinking: bool = False) -> list[str]:
    """The pieces of `text` when it comes byte by byte."""
    tokenizer = byte_tokenizer()
    answer = AnswerText(tokenizer, stop, thinking=thinking)
    pieces = []
    for token in tokenizer.backend_tokenizer.encode(text).ids:
        pieces.append(answer.add(token))
        if answer.ended:
            break
    return [piece for piece in [*pieces, answer.rest()] if piece]


def test_no_piece_is_half_a_character() -> None:
    assert shown("né 你🎉!") == ["n", "é", " ", "你", "🎉", "!"]


@pytest.mark.parametrize(
    ("text", "stop", "expected"),
    [
        ("one END two", ("END",), "one "),
        ("one EN", ("END",), "one EN"),
        ("EENDED", ("ENDE",), "E"),
        ("abcabd", ("abd", "zz"), "abc"),
        ("a\n\nb", ("\n\n", "b"), "a"),
        ("xab", ("b", "ab"), "x"),  # both are met at once: from the earlier one on
    ],
)
def test_a_stop_text_is_never_shown(text: str, stop: tuple[str, ...], expected: str) -> None:
    assert "".join(shown(text, stop=stop)) == expected


def test_overlap_is_the_longest_end_that_begins_the_stop() -> None:
    assert [overlap(text, "aab") for text in ("xa", "xaa", "aaaa", "aab", "")] == [1, 2, 2, 0, 0]


@pytest.mark.parametrize(
    ("text", "thinking", "expected"),
    [
        ("<think>hm</think>\n\nYes", False, "Yes"),
        ("hm</think>Yes", True, "Yes"),
        ("<thin", False, "<thin"),
        ("plain", False, "plain"),
        ("<think>never ends", False, ""),
    ],
)
def test_reasoning_is_left_out(text: str, thinking: bool, expected: str) -> None:
    assert "".join(shown(text, thinking=thinking)) == expected


def test_reasoning_that_takes_all_tokens_is_an_error_and_no_empty_answer(monkeypatch) -> None:
    """Of a model whose template begins to reason, and cannot be told not to."""
    chat = tiny_chat()
    tokenizer = chat.language_model.tokenizer
    monkeypatch.setattr(tokenizer, "chat_template", "{{ messages[0].content }}<think>\n")
    asked = [{"role": "user", "content": "one"}]
    for answer in (chat.chat, lambda *given: chat.chat_many([given[0]] * 2, given[1])):
        with pytest.raises(InputError, match="reasoned to its last token, and gave no answer"):
            answer(asked, Sampling(max_tokens=6))


class City(BaseModel):
    model_config = ConfigDict(extra="forbid")
    country: str = Field(max_length=30)
    capital: str = Field(max_length=30)


@pytest.mark.model
@pytest.mark.slow
def test_a_real_model_answers_parses_and_scores() -> None:
    chat = LocalChat(load_language_model("qwen2.5-coder-0.5b"))
    question = [{"role": "user", "content": "What is the capital of France? Answer in one word."}]
    assert "Paris" in chat.chat(question, Sampling(max_tokens=8))
    assert sum(chat.score(question, "Paris")) > sum(chat.score(question, "London"))
    assert chat.parse(question, City) == City(country="France", capital="Paris")
    sums = [[{"role": "user", "content": f"What is {n} plus {n}? Answer with the number."}] for n in (2, 3, 4)]
    for answer, expected in zip(chat.chat_many(sums, Sampling(max_tokens=12)), "468", strict=True):
        assert expected in answer


@pytest.mark.model
def test_a_base_model_goes_on_with_the_text() -> None:
    chat = LocalChat(load_language_model("gemma3-270m"))
    text = [{"role": "user", "content": "Paris is the capital of France, and Rome is the capital of"}]
    assert "Italy" in chat.chat(text, Sampling(max_tokens=6))
