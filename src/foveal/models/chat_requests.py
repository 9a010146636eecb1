"""What a server is asked, as far as it takes it: what it refuses is left out or said in another way from then on.

    without = refused_by(error, asked)        # "seed": the server knows no such field
    asked = adapted(request, {without})

OpenAI's reasoning models take no temperature; some servers know no seed, no count of a stream's tokens, no streams at
all; some models have no role of a system; newer models call the most tokens of an answer by another name.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Mapping
from typing import Any

from foveal.errors import InputError

DRAWING = ("temperature", "top_p", "seed", "stop")
"""What some models refuse to be told, OpenAI's reasoning ones most of it; they are then asked without."""

COUNTED = "stream_options"
"""What asks a server to count the tokens of a stream; older ones refuse it, and are then asked without."""

LENGTH, NEWER_LENGTH = "max_tokens", "max_completion_tokens"
"""What the most tokens of an answer are called: by most servers, and by OpenAI's newer models, wherever they are."""

FORMAT = "response_format"
STREAM, SYSTEM = "stream", "system"
REFUSALS = (400, 422)
"""What servers say of a field that they do not know: most the first, those that check by a schema the second."""

_REFUSES = re.compile(
    r"unknown|unrecogni[sz]ed|unsupported|not (?:\w+ )?support|unexpected|extra|not permitted|not allowed|invalid"
    r"|cannot|does not exist|deprecated|only the default",
    re.IGNORECASE,
)
_NO_SYSTEM = re.compile(
    r"system(?: role| messages?| prompts?)?['\"`]? (?:role |messages? )?(?:is |are )?(?:not|un)[- ]?(?:\w+ )?support"
    r"|(?:not|n't|un)[- ]?support\w* (?:the )?['\"`]?(?:system|developer)|only user and assistant roles"
    r"|roles must alternate",
    re.IGNORECASE,
)
_NO_STREAM = re.compile(
    r"\bstream(?:ing)?\W+(?:\w+ ){0,4}(?:not|un)[- ]?(?:\w+ )?(?:support|available|allowed|implement)"
)
_CONTEXT = re.compile(
    r"context (?:length|size|window)|context_length|exceed_context|maximum (?:input|prompt|model) (?:length|len)"
    r"|prompt is too long|input (?:is )?too long|too many (?:input )?tokens|max_model_len|longer than the (?:maximum )?"
    r"(?:model|context)|exceeds? the (?:model|maximum|available)|token limit|max_new_tokens\W+ must be",
    re.IGNORECASE,
)
_LIMITS = (
    re.compile(r"[\"']n_ctx[\"']:\s*(\d{1,9})\b"),
    re.compile(
        r"(?:context (?:length|size|window)|maximum|max_model_len|limit|at most|context|must be)\D{0,40}?(\d[\d,]{2,9})"
    ),
    re.compile(r">\s*(\d[\d,]{2,9})\s*(?:maximum|max)"),
)
_CODES = re.compile(r"[\"']?(?:\b|_)(?:error |status_?)?code[\"']?:\s*[\"']?\d{3}\b", re.IGNORECASE)
"""A status in an error's text, which is no number of tokens."""

LEAST_CONTEXT = 256
"""A smaller number of tokens is none that a model reads."""

_PROMPT = re.compile(
    r"\b(\d{1,9}) (?:in the (?:messages|prompt)|input tokens|`inputs` tokens)|resulted in (\d{1,9}) tokens"
    r"|n_prompt_tokens[\"']:\s*(\d{1,9})\b|request \((\d{1,9}) tokens\)|prompt \((?:total )?length (\d{1,9})\)"
)
_ANSWER_MOST = re.compile(r"(?:at most|up to|less than or equal to|<=|maximum (?:of|is|value)?)\D{0,30}(\d[\d,]{1,9})")


class ContextExceeded(InputError):
    """What was sent takes more than the model's context; `limit`: the tokens that it holds, where the server says so.

    Send less: fewer or shorter passages.
    """

    def __init__(self, message: str, limit: int | None) -> None:
        super().__init__(message)
        self.limit = limit


def adapted(request: Mapping[str, Any], refused: Collection[str]) -> dict[str, Any]:
    """The request for a server that refused these of it."""
    asked = {name: value for name, value in request.items() if name not in refused or name in (LENGTH, STREAM)}
    if LENGTH in refused and LENGTH in asked:
        asked[NEWER_LENGTH] = asked.pop(LENGTH)
    if STREAM in refused:
        asked = {name: value for name, value in asked.items() if name not in (STREAM, COUNTED)}
    if SYSTEM in refused:
        asked["messages"] = without_system(asked["messages"])
    return asked


def without_empty(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages without a system that says nothing, which some servers refuse."""
    return [one for one in messages if one["role"] != SYSTEM or one["content"]] or messages


def without_system(messages: list[dict[str, str]]) -> list[dict[str, str]]:
    """The messages with what the system says before the first words of the user."""
    said = [one["content"] for one in messages if one["role"] == SYSTEM and one["content"]]
    others = [one for one in messages if one["role"] != SYSTEM]
    if not said:
        return others
    if others and others[0]["role"] == "user":
        first, *rest = others
        return [{"role": "user", "content": "\n\n".join([*said, first["content"]])}, *rest]
    return [{"role": "user", "content": "\n\n".join(said)}, *others]


def refused_by(status: int, param: str | None, text: str, asked: Mapping[str, Any]) -> str | None:
    """What of `asked` a server refused, by its error: a field, or what `adapted` knows of it; None: something else."""
    if status not in REFUSALS:
        return None
    if LENGTH in asked and param in (LENGTH, None) and NEWER_LENGTH in text and LENGTH in text:
        return LENGTH
    if COUNTED in asked and COUNTED in f"{param} {text}":
        return COUNTED
    roles = {one["role"] for one in asked.get("messages", ())}
    if SYSTEM in roles and (_NO_SYSTEM.search(text) or ((param or "").startswith("messages") and SYSTEM in text)):
        return SYSTEM
    if asked.get(STREAM) and (param == STREAM or _NO_STREAM.search(text.lower())):
        return STREAM
    if param in DRAWING:
        return param if param in asked else None
    told = bool(_REFUSES.search(text))
    return next((name for name in reversed(DRAWING) if told and name in asked and _names(text, name)), None)


def _names(text: str, field: str) -> bool:
    """Whether an error is about a field: it stands in quotes, or behind what names fields."""
    quoted = rf"[\"'`\\]{field}[\"'`\\]"
    behind = rf"(?:argument|parameter|field|property|input|key|name|supplied|sampling)s?\W{{1,4}}(?:\w+\W+)?{field}\b"
    before = rf"\b{field}\W+(?:is|are|was)?\s*(?:not|un)[- ]?(?:\w+ )?(?:support|allow|permit|recogni)"
    return re.search(rf"{quoted}|{behind}|{before}", text) is not None


def context_limit(status: int, text: str) -> tuple[bool, int | None]:
    """Whether a server refuses because its context is too small, and the tokens that it holds, if it says."""
    if status not in (*REFUSALS, 413, 500) or not _CONTEXT.search(text) or (status == 500 and "n_ctx" not in text):
        return False, None
    text = _CODES.sub("", text)
    found = (int(one[1].replace(",", "")) for pattern in _LIMITS for one in pattern.finditer(text))
    return True, next((limit for limit in found if limit >= LEAST_CONTEXT), None)


def prompt_tokens(text: str) -> int | None:
    """How many tokens a server counted in what it was sent, where its error says so."""
    found = _PROMPT.search(text)
    return int(next(filter(None, found.groups()))) if found else None


def answer_limit(param: str | None, text: str) -> int | None:
    """The most tokens of an answer that a server allows, where it refuses more; None: it is about something else."""
    if param not in (LENGTH, NEWER_LENGTH) and not re.search(rf"[\"'`]?(?:{LENGTH}|{NEWER_LENGTH})\b", text):
        return None
    found = _ANSWER_MOST.search(text)
    return int(found[1].replace(",", "")) if found else None
