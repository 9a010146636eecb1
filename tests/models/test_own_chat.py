"""A chat model over a function: what it is asked, what is taken for its answer, and what is refused."""

from __future__ import annotations

import threading

import pytest
from pydantic import BaseModel, ConfigDict, Field

from foveal.errors import Cancelled, FetchFailed, InputError
from foveal.models import Cancel, ChatModel, OwnChat, Sampling
from foveal.models.chat import PARSE_TOKENS, checked, require_chat

ASK = [{"role": "user", "content": "Where is sight sharpest?"}]


class Place(BaseModel):
    model_config = ConfigDict(extra="forbid")
    name: str = Field(max_length=20)


class House:
    """Gives the answers in turn, and keeps what it was asked."""

    def __init__(self, *answers: object) -> None:
        self.answers, self.asked = list(answers), []

    def __call__(self, messages, sampling):
        self.asked.append((messages, sampling))
        return self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]


def test_it_is_a_chat_model_and_hands_on_what_it_is_told():
    house = House("In the fovea.")
    model = OwnChat(house, name="house", context_tokens=100)
    assert isinstance(model, ChatModel)
    assert (model.name, model.context_tokens) == ("house", 100)
    assert model.chat(ASK, Sampling(max_tokens=7)) == "In the fovea."
    assert house.asked == [(ASK, Sampling(max_tokens=7))]


@pytest.mark.parametrize(
    "answer",
    [
        pytest.param("<think>hm</think>In the fovea.", id="a text"),
        pytest.param(["<thi", "nk>hm</th", "ink>In the", " fovea."], id="pieces"),
    ],
)
def test_thoughts_are_no_part_of_the_answer(answer):
    assert OwnChat(House(answer)).chat(ASK) == "In the fovea."
    assert "".join(OwnChat(House(answer)).stream(ASK)) == "In the fovea."


def test_pieces_come_as_they_are_made_and_a_cancel_ends_between_two():
    def answer(messages, sampling):
        for piece in ("In ", "the ", "fovea."):
            made.append(piece)
            yield piece

    made: list[str] = []
    cancel = Cancel()
    pieces = OwnChat(answer).stream(ASK, cancel=cancel)
    assert (next(pieces), made) == ("In ", ["In "])
    cancel.set()
    with pytest.raises(Cancelled):
        next(pieces)
    assert made == ["In ", "the "]


@pytest.mark.parametrize("system", [[], [{"role": "assistant", "content": "Yes?"}]])
def test_a_schema_is_told_in_words_and_asked_for_once_more(system):
    house = House('```json\n{"place": 1}\n```', '{"name": "fovea"}')
    assert OwnChat(house).parse([*ASK, *system], Place) == Place(name="fovea")
    (first, sampling), (second, _) = house.asked
    assert "maxLength" in first[-1]["content"]
    assert sampling.max_tokens == PARSE_TOKENS
    assert [one["role"] for one in first] == ["user", *(["assistant", "user"] if system else [])]
    assert second[: len(first)] == first
    assert "not the JSON that was asked for" in second[-1]["content"]
    with pytest.raises(FetchFailed, match="house twice gave no JSON that Place accepts"):
        OwnChat(House("no"), name="house").parse(ASK, Place)


def test_many_are_answered_in_order_by_as_many_threads_as_are_allowed():
    together = threading.Barrier(2, timeout=20)

    def answer(messages, sampling):
        together.wait()
        return messages[-1]["content"].upper()

    asked = [[{"role": "user", "content": word}] for word in ("one", "two", "three", "four")]
    assert OwnChat(answer, at_once=2).chat_many(asked) == ["ONE", "TWO", "THREE", "FOUR"]


def test_what_it_cannot_do_is_said():
    with pytest.raises(FetchFailed, match="cannot score a given answer"):
        OwnChat(House("yes")).score(ASK, "yes")


def test_an_error_of_the_function_is_its_callers():
    def answer(messages, sampling):
        raise KeyError("quota")

    with pytest.raises(KeyError, match="quota"):
        OwnChat(answer).chat(ASK)


@pytest.mark.parametrize("given", [None, 3, [b"bytes"]], ids=["nothing", "a number", "bytes"])
def test_what_is_no_text_is_refused(given):
    with pytest.raises(InputError, match="it needs a text, or pieces of one"):
        OwnChat(House(given)).chat(ASK)


def test_what_is_no_function_is_refused():
    with pytest.raises(InputError, match="needs a function"):
        OwnChat("gpt")
    with pytest.raises(InputError, match="at least 1"):
        OwnChat(House("yes"), at_once=0)


@pytest.mark.parametrize(
    "messages",
    [
        pytest.param("Where is sight sharpest?", id="a text"),
        pytest.param(ASK[0], id="one message"),
        pytest.param(["Where is sight sharpest?"], id="texts"),
    ],
)
def test_messages_in_another_form_are_refused(messages):
    with pytest.raises(InputError, match=r"needs a (list of messages|role)"):
        checked(messages)


def test_what_is_no_chat_model_is_told_of_the_ways_to_make_one():
    with pytest.raises(InputError, match=r"Asking got function .* no stream and no count_tokens\. .*OwnChat\(function"):
        require_chat("Asking", lambda _: "yes")
    require_chat("Asking", OwnChat(House("yes")))
