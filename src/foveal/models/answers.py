"""What an answer holds besides the answer: reasoning before it, a Markdown fence around it; its length, and whether it
fits a schema.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, TypeVar

from foveal.errors import FetchFailed

if TYPE_CHECKING:
    from pydantic import BaseModel, ValidationError

SchemaT = TypeVar("SchemaT", bound="BaseModel")


_PIECE = re.compile(r"[A-Za-z]{1,3}|\s+|.")
_BEYOND_ASCII = re.compile(r"[^\x00-\x7f]")


class Thoughts:
    """Takes the pieces of an answer and gives them without a `<think>...</think>` at its beginning."""

    def __init__(self) -> None:
        self._held = ""
        self._answering = False
        self._thought = False

    def without(self, piece: str) -> str:
        """What of the text so far can be shown now and was not yet."""
        if self._answering:
            return piece
        self._held += piece
        text = self._held.lstrip()
        if text.startswith("<think>"):
            self._thought = True
            _, closed, text = text.partition("</think>")
            text = text.lstrip()
            self._answering = bool(closed and text)
        else:
            self._answering = bool(text) and not "<think>".startswith(text)
        if not self._answering:
            return ""
        return text if self._thought else self._held

    @property
    def open(self) -> bool:
        """Whether a thought was begun, and has not come to its end."""
        return self._thought and "</think>" not in self._held

    def rest(self) -> str:
        """At the end: what was held because it might have become a thought."""
        return "" if self._answering or self._thought else self._held


def without_thoughts(answer: str) -> str:
    """A whole answer without what stands before `</think>`, whether or not `<think>` opens it."""
    return answer.rpartition("</think>")[2].lstrip() if "</think>" in answer else answer


def json_in(answer: str) -> str:
    """The JSON of an answer: without reasoning before it and without a Markdown fence around it."""
    text = without_thoughts(answer).strip()
    fenced = re.fullmatch(r"```\w*\s*(.*?)\s*```", text, re.DOTALL)
    return fenced[1] if fenced else text


def in_words(talk: Sequence[dict[str, str]], schema: type[BaseModel]) -> list[dict[str, str]]:
    """The conversation, which is not empty, with the schema told in the words of its last question."""
    wanted = f"Answer with JSON only, that fits this schema:\n{json.dumps(schema.model_json_schema())}"
    *before, last = talk
    if last["role"] != "user":
        return [*talk, {"role": "user", "content": wanted}]
    return [*before, {"role": "user", "content": f"{last['content']}\n\n{wanted}"}]  # many models take turns only


def fitting(
    ask: Callable[[list[dict[str, str]]], str], talk: list[dict[str, str]], schema: type[SchemaT], name: str
) -> SchemaT:
    """What `ask` answers to `talk`, as `schema`; where it does not fit, `ask` is told so, once.

    FetchFailed: nor does the second answer fit, which the model `name` gave.
    """
    from pydantic import ValidationError

    for last in (False, True):
        answer = ask(talk)
        text = json_in(answer)
        try:
            return schema.model_validate_json(text)
        except ValidationError as error:
            if last:
                raise FetchFailed(
                    f"{name} twice gave no JSON that {schema.__name__} accepts ({_faults(error)}); the answer begins "
                    f"{text[:80]!r}. Raise max_tokens if it was cut, or take another model."
                ) from error
            again = f"This is not the JSON that was asked for ({_faults(error)}). Answer with that JSON only."
            talk = [*talk, {"role": "assistant", "content": answer}, {"role": "user", "content": again}]
    raise AssertionError  # the second pass returned or raised


def _faults(error: ValidationError) -> str:
    found = [f"{'.'.join(map(str, one['loc'])) or 'all'}: {one['msg']}" for one in error.errors()]
    return "; ".join(found)[:300]


def most_tokens(text: str) -> int:
    """Tokens of `text` for a tokenizer that is not known: rather too many than too few.

    Three letters of ASCII are one, as is a run of blanks and any other sign; elsewhere a letter is two, beyond the
    Basic Multilingual Plane four.
    """
    pieces = len(_PIECE.findall(text))
    if text.isascii():
        return pieces
    far = len(text.encode("utf-16-le", "surrogatepass")) // 2 - len(text)
    return pieces + len(_BEYOND_ASCII.findall(text)) + 2 * far
