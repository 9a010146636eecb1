"""What an answer holds besides the answer: reasoning before it, a Markdown fence or polite words around it; its length,
and whether it fits a schema.
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


THOUGHTS = {
    "<think>": "</think>",
    "<thinking>": "</thinking>",
    "<thought>": "</thought>",
    "<reasoning>": "</reasoning>",
    "◁think▷": "◁/think▷",
}
"""What opens reasoning at the beginning of an answer, and what closes it."""


class Thoughts:
    """Takes the pieces of an answer and gives them without a `<think>...</think>`, or another of `THOUGHTS`, at its
    beginning."""

    def __init__(self) -> None:
        self._held = ""
        self._answering = False
        self._close = ""  # of the thought that was begun

    def without(self, piece: str) -> str:
        """What of the text so far can be shown now and was not yet."""
        if self._answering:
            return piece
        self._held += piece
        text = self._held.lstrip()
        self._close = next((close for opened, close in THOUGHTS.items() if text.startswith(opened)), "")
        if self._close:
            _, closed, text = text.partition(self._close)
            text = text.lstrip()
            self._answering = bool(closed and text)
        else:
            self._answering = bool(text) and not any(opened.startswith(text) for opened in THOUGHTS)
        if not self._answering:
            return ""
        return text if self._close else self._held

    @property
    def open(self) -> bool:
        """Whether a thought was begun, and has not come to its end."""
        return bool(self._close) and self._close not in self._held

    def rest(self) -> str:
        """At the end: what was held because it might have become a thought."""
        return "" if self._answering or self._close else self._held


def without_thoughts(answer: str) -> str:
    """A whole answer without what stands before `</think>`, whether or not `<think>` opens it."""
    if "</think>" in answer:
        return answer.rpartition("</think>")[2].lstrip()
    opened = next((one for one in THOUGHTS if answer.lstrip().startswith(one)), None)
    return answer.partition(THOUGHTS[opened])[2].lstrip() if opened and THOUGHTS[opened] in answer else answer


def json_in(answer: str) -> str:
    """The JSON of an answer: without reasoning before it, a Markdown fence around it, or words before and behind it.

    All of the answer where it holds none: an error then shows what it is.
    """
    text = without_thoughts(answer).strip()
    if _is_json(text):
        return text
    fenced = [one.strip() for one in re.findall(r"```\w*\s*\n?(.*?)```", text, re.DOTALL)]
    spoken = (_json_at(text, found.start()) for found in re.finditer(r"[{\[](?=\s*[\[{\"}\]\d])", text))
    objects = (one for one in spoken if one.startswith("{"))
    whole = re.fullmatch(r"```\w*\s*(.*?)\s*```", text, re.DOTALL)
    return next(filter(_is_json, fenced), None) or next(objects, None) or (whole[1] if whole else text)


def _is_json(text: str) -> bool:
    try:
        return isinstance(json.loads(text), dict | list)
    except (ValueError, RecursionError):
        return False


def _json_at(text: str, start: int) -> str:
    """The JSON that begins at a place of a text; "" where none does."""
    try:
        return text[start : json.JSONDecoder().raw_decode(text, start)[1]]
    except (ValueError, RecursionError):
        return ""


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
