"""What of a server's answer counts: text, why it is done, a refusal, an error that it tells in the middle of all.

Servers differ: most send pieces (`delta`), some the whole answer at once although they were asked for pieces
(`message`); the text is a text or a list of parts; what broke comes as a status, as {"error": …} in a stream that began
well, or as {"object": "error"}.
"""

from __future__ import annotations

import json
from collections.abc import Generator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from foveal.errors import FetchFailed
from foveal.models.characters import scalar

MOST_BYTES = 64 * 1024 * 1024
"""A server that sends more for one answer does not stop, be it words that are asked for or a line without an end."""

TOOLS = ("tool_calls", "function_call")
"""Why a model is done that asks for a tool."""

SENT_ON = ("text", "output_text")
"""Kinds of the parts of a text that are the answer; others hold reasoning, pictures or sound."""


class ToldError(ConnectionError):
    """The server told an error in its stream; `status` as an HTTP status, where it says one."""

    def __init__(self, message: str, status: int | None) -> None:
        super().__init__(message)
        self.status = status


class EmptyAnswer(ConnectionError):
    """The model was done, and had said nothing."""


@dataclass(frozen=True, slots=True)
class Piece:
    """What one chunk says; `finish`: why the model is done; `refusal`: its words where it will not answer."""

    text: str = ""
    finish: str | None = None
    refusal: str = ""


def piece_of(chunk: Any) -> Piece:
    """A chunk as a piece; one without choices (of usage, or garbage) is empty. ToldError: it is an error.

    Half of a surrogate pair, which JSON may escape, is U+FFFD: nobody could write it.
    """
    given = _plain(chunk)
    if given.get("object") == "error":
        raise ToldError(str(given.get("message") or "an error without a text"), status_in(given))
    choices = given.get("choices")
    first = _plain(choices[0]) if isinstance(choices, list) and choices else {}
    said = _plain(first.get("delta")) or _plain(first.get("message"))
    finish, refusal = first.get("finish_reason"), said.get("refusal")
    return Piece(
        scalar(_text(said.get("content"))),
        None if finish is None else str(finish),
        refusal if isinstance(refusal, str) else "",
    )


def says(chunk: Any) -> bool:
    """Whether a chunk holds a word, be it of an answer or of what the model thinks."""
    choices = _plain(chunk).get("choices")
    first = _plain(choices[0]) if isinstance(choices, list) and choices else {}
    said = _plain(first.get("delta")) or _plain(first.get("message"))
    return any(value for name, value in said.items() if name != "role" and isinstance(value, str | list))


def counts_of(chunk: Any) -> tuple[int, int] | None:
    """Tokens of prompt and answer, where a chunk tells them."""
    usage = _plain(_plain(chunk).get("usage"))
    found = usage.get("prompt_tokens"), usage.get("completion_tokens")
    prompt, answer = (one if isinstance(one, int) and one >= 0 else None for one in found)
    return None if prompt is None or answer is None else (prompt, answer)


def chunks_of(stream: Any) -> Generator[Any, None, None]:
    """The chunks of what a server answered; an answer that comes whole, as JSON, is one.

    ToldError: it is an error. ValueError: it is no JSON.
    """
    response = stream.response
    if "json" not in response.headers.get("content-type", ""):
        yield from stream
        return
    yield whole_of(json.loads(response.read()))


def whole_of(answer: Any) -> dict[str, Any]:
    """An answer that came whole, as a chunk; some that are sent at once do not say why they end.

    ToldError: it is an error. ValueError: it is neither.
    """
    whole = dict(_plain(answer))
    if error := whole.get("error"):
        raise ToldError(message_in(error), status_in(error))
    if whole.get("object") == "error":
        return whole
    if not (isinstance(whole.get("choices"), list) and whole["choices"]):
        raise ValueError(f"{answer!r:.200}")
    first = _plain(whole["choices"][0])
    return whole | {"choices": [dict(first) | {"finish_reason": first.get("finish_reason") or "stop"}]}


def bounded(response: Any) -> None:
    """Let a response be read up to `MOST_BYTES`, unpacked. FetchFailed, when it is read: it holds more."""
    read = response.iter_bytes

    def iter_bytes(chunk_size: int | None = None) -> Generator[bytes, None, None]:
        count = 0
        for part in read(chunk_size):
            count += len(part)
            if count > MOST_BYTES:
                raise FetchFailed(f"The model's server sent more than {MOST_BYTES:,} bytes for one answer.")
            yield part

    response.iter_bytes = iter_bytes


def require_said(name: str, finish: str, refusal: str) -> None:
    """Why a model that is done said nothing. FetchFailed: another try would not help; EmptyAnswer: it may."""
    if refusal:
        raise FetchFailed(f"{name} refuses to answer: {refusal:.300} Ask in other words, or another model.")
    if finish in TOOLS:
        raise FetchFailed(
            f"{name} called a tool in place of an answer, though none was offered. Turn its own tools off at the "
            "server, or take another model."
        )
    raise EmptyAnswer("the answer was empty")


def message_in(error: Any) -> str:
    """What an error says, in whatever form it came."""
    if isinstance(error, list) and error:
        return message_in(error[0])
    if isinstance(error, Mapping):
        inner = next((error[name] for name in ("message", "error", "detail", "msg") if error.get(name)), None)
        return message_in(inner) if inner is not None else json.dumps(error, default=str)
    return str(error)


def status_in(error: Any) -> int | None:
    """The HTTP status that an error names as its code, as many proxies do."""
    if not isinstance(error, Mapping):
        return None
    for name in ("status", "status_code", "code"):
        with suppress(TypeError, ValueError):
            if 400 <= (status := int(error.get(name) or 0)) < 600:
                return status
    return None


def _plain(value: Any) -> Mapping[str, Any]:
    """The fields of an object of the client, or of JSON; of anything else none."""
    if isinstance(value, Mapping):
        return value
    fields = getattr(value, "__dict__", None)
    if not isinstance(fields, dict):
        return {}
    extra = getattr(value, "model_extra", None)
    return {**fields, **extra} if isinstance(extra, dict) else fields


def _text(content: Any) -> str:
    """A text, or the texts of its parts."""
    if isinstance(content, str):
        return content
    parts = map(_plain, content) if isinstance(content, list) else ()
    texts = (one.get("text") for one in parts if one.get("type", "text") in SENT_ON)
    return "".join(text for text in texts if isinstance(text, str))
