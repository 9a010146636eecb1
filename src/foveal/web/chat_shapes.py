"""OpenAI's chat protocol in values with a schema: what is asked, what is refused of it, and what is answered.

Fields that change nothing of an answer, those that nobody here knows among them, are ignored. Refused are those by
which a client would take the answer for what it is not: several answers, a call of a tool, JSON, log-probabilities.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field

from foveal.models.characters import scalar
from foveal.web.api_shapes import Answer, Shape
from foveal.web.json_errors import FieldRefused
from foveal.web.library_api import Words

MOST_MESSAGES = 2000
"""Of a talk."""


class Turn(BaseModel):
    """A message of the talk."""

    role: str
    content: Any = Field(default=None, description="A text, or a list of parts of type text.")


class StreamOptions(BaseModel):
    """What a stream tells beside the answer."""

    include_usage: bool | None = None


class ChatQuestion(BaseModel):
    """A question to the library, as the last message of a user; what else a client sends is ignored."""

    model: Words = Field(description="foveal, or foveal:RETRIEVER, as /v1/models lists them.")
    messages: list[Turn] = Field(min_length=1, max_length=MOST_MESSAGES)
    stream: bool | None = Field(default=None, description="As server-sent events, the draft of the answer first.")
    stream_options: StreamOptions | None = None
    where: Words = Field(default="", max_length=2000, description="Foveal's own: only in documents such as 'kind=pdf'.")
    n: int | None = Field(default=None, description="1: there is one answer.")
    tool_choice: Any = Field(default=None, description="none or auto: no tool is ever called.")
    function_call: Any = Field(default=None, description="As tool_choice.")
    response_format: Any = Field(default=None, description='{"type": "text"} alone.')
    logprobs: bool | None = Field(default=None, description="false: there are none.")
    modalities: list[str] | None = Field(default=None, description='["text"] alone.')

    def check(self) -> None:
        """FieldRefused: one of the fields asks for what no answer from the library can be."""
        form = self.response_format
        wrong = {
            "n": (self.n not in (None, 1), f"n is {self.n}; the library gives one answer. Leave n out."),
            "tool_choice": (self.tool_choice not in AUTO, NO_TOOLS),
            "function_call": (self.function_call not in AUTO, NO_TOOLS),
            "response_format": (form is not None and _kind(form) != "text", NO_JSON),
            "logprobs": (bool(self.logprobs), "The library gives no log-probabilities. Leave logprobs out."),
            "modalities": (bool(set(self.modalities or ()) - {"text"}), "The library answers in text alone."),
        }
        for name, (refused, said) in wrong.items():
            if refused:
                raise FieldRefused(name, said)

    def asked(self) -> tuple[str, list[Mapping[str, str]]]:
        """The question, and what users and assistant said before it. FieldRefused: there is none in words."""
        last = max((place for place, one in enumerate(self.messages) if one.role == "user"), default=None)
        if last is None:
            raise FieldRefused("messages", "None of the messages is a user's: the last of these is the question.")
        question = text_of(self.messages[last].content, f"messages.{last}.content")
        return question, [said for one in self.messages[:last] if (said := _said(one)) is not None]


AUTO = (None, "none", "auto")
NO_TOOLS = "The library calls no tools: it answers from its texts. Leave this out, or say auto."
NO_JSON = (
    "The library answers in Markdown and not in JSON. Leave response_format out; what is cited stands in the message's "
    "field `answer`, as JSON."
)


def text_of(content: Any, name: str) -> str:
    """The words of a message, which is called `name`. FieldRefused: a part of it is no text."""
    if isinstance(content, str):
        return scalar(content)
    parts = content if isinstance(content, list) else [] if content is None else [content]
    for one in parts:
        if _kind(one) != "text" or not isinstance(one.get("text"), str):
            said = f"The library is asked in words, and takes no {_kind(one)[:60]}. Send text alone."
            raise FieldRefused(name, said)
    return scalar("\n".join(one["text"] for one in parts))


def _said(turn: Turn) -> Mapping[str, str] | None:
    """What a user or the assistant said before; None of others, and of what is not in words."""
    try:
        text = text_of(turn.content, "")
    except FieldRefused:
        return None
    return {"role": turn.role, "content": text} if turn.role in ("user", "assistant") and text.strip() else None


def _kind(value: Any) -> str:
    return str(value.get("type", "object")) if isinstance(value, dict) else type(value).__name__


class Usage(Shape):
    """Tokens that a model was shown, and that it wrote: instructions and excerpts, the draft of the answer.

    All 0 where no model was asked, as nothing was found. A server's model is believed; where it does not say, they are
    an estimate, rather too many.
    """

    prompt_tokens: int
    completion_tokens: int
    total_tokens: int

    @classmethod
    def of(cls, prompt: int, completion: int) -> Usage:
        """The two, and their sum."""
        return cls(prompt_tokens=prompt, completion_tokens=completion, total_tokens=prompt + completion)


class Message(Shape):
    """An answer: Markdown, with each place that it cites below it; and the same as /api/ask has it."""

    role: Literal["assistant"] = "assistant"
    content: str
    refusal: None = None
    question: str = Field(description="As the library was asked: a follow-up may have been put in other words.")
    answer: Answer


class Choice(Shape):
    """The one answer."""

    index: int = 0
    message: Message
    logprobs: None = None
    finish_reason: Literal["stop"] = "stop"


class Completion(Shape):
    """What a question that is not streamed gets."""

    id: str
    object: Literal["chat.completion"] = "chat.completion"
    created: int = Field(description="Seconds since 1970.")
    model: str
    choices: list[Choice]
    usage: Usage


class Model(Shape):
    """A way to ask the library."""

    id: str
    object: Literal["model"] = "model"
    created: int = 0
    owned_by: str = "foveal"


class ModelList(Shape):
    """The ways to ask the library: the default one, then each retriever by its name."""

    object: Literal["list"] = "list"
    data: list[Model]
