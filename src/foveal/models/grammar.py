"""JSON that fits a pydantic schema, token by token: a grammar masks what may not come (llguidance, Moskal et al.).

    grammar = Grammar(tokenizer, vocabulary=model.config.vocab_size)
    guide = grammar.guide(Answer)          # for `decoding.tokens`, one for each answer
    Answer.model_validate_json(text)

A small model writes a list or a string without end as soon as the grammar lets it, so `checked_schema` wants every
length bounded. Keys and punctuation that must follow are not chosen but given; a mask takes about 0.1 ms.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor

from foveal.errors import InputError

if TYPE_CHECKING:
    from llguidance._lib import JsonCompileOptions
    from pydantic import BaseModel

BOUNDED_FORMATS = {"date", "time", "date-time", "duration", "uuid", "ipv4", "ipv6"}
SPACING: JsonCompileOptions = {"whitespace_flexible": False, "item_separator": ", ", "key_separator": ": "}
"""As json.dumps writes: what models have read most, and no room for endless blanks."""


def checked_schema(schema: type[BaseModel]) -> dict[str, Any]:
    """The JSON schema of a pydantic model all of whose answers end.

    InputError names the field: an object (the model or one within it) that allows extra keys, a string without
    max_length, a list without max_length, a field of any type, or a model that holds itself.
    """
    json_schema: dict[str, Any] = schema.model_json_schema()
    _check(json_schema, schema.__name__, json_schema.get("$defs", {}), ())
    return json_schema


def _check(node: Mapping[str, Any], place: str, definitions: Mapping[str, Any], within: tuple[str, ...]) -> None:
    if "$ref" in node:
        name = node["$ref"].rpartition("/")[2]
        if name in within:
            raise InputError(f"{place} holds a {name} within a {name}, which may go on without end; list them flat.")
        _check(definitions[name], place, definitions, (*within, name))
        return
    choices = [choice for key in ("anyOf", "oneOf", "allOf") for choice in node.get(key, ())]
    for choice in choices:
        _check(choice, place, definitions, within)
    if not choices and "enum" not in node and "const" not in node:
        _check_type(node, place, definitions, within)


def _check_type(node: Mapping[str, Any], place: str, definitions: Mapping[str, Any], within: tuple[str, ...]) -> None:
    match node.get("type"):
        case "object":
            if node.get("additionalProperties") is not False:
                raise InputError(
                    f"{place} allows extra keys; give its model `model_config = ConfigDict(extra='forbid')`, and a "
                    "list of models instead of a dict."
                )
            for name, field in node.get("properties", {}).items():
                _check(field, f"{place}.{name}", definitions, within)
        case "array":
            if "maxItems" not in node:
                raise InputError(f"{place} is a list without end; bound it with Field(max_length=...).")
            for item in [*node.get("prefixItems", ()), *([node["items"]] if node.get("items") else ())]:
                _check(item, f"{place}[]", definitions, within)
        case "string":
            if "maxLength" not in node and node.get("format") not in BOUNDED_FORMATS:
                raise InputError(f"{place} is a text without end; bound it with Field(max_length=...).")
        case "integer" | "number" | "boolean" | "null":
            return
        case _:
            raise InputError(f"{place} may be anything; give it a type.")


class Grammar:
    """Makes guides for a tokenizer. It takes a second to make, so keep it; guides take a millisecond."""

    def __init__(self, tokenizer: Any, *, vocabulary: int, stop_ids: tuple[int, ...] = ()) -> None:
        """`tokenizer` is a fast one of transformers; `vocabulary` is the number of the model's logits."""
        from llguidance.hf import from_tokenizer

        self._tokenizer = from_tokenizer(tokenizer, n_vocab=vocabulary, eos_token=list(stop_ids) or None)

    def guide(self, schema: type[BaseModel]) -> JsonGuide:
        """A guide through one answer. InputError: the schema is unbounded, or has what no grammar can express."""
        from llguidance import LLMatcher

        grammar = LLMatcher.grammar_from_json_schema(json.dumps(checked_schema(schema)), overrides=SPACING)
        refused = LLMatcher.validate_grammar(grammar, self._tokenizer)
        if refused:
            raise InputError(f"{schema.__name__} cannot be made a grammar ({refused}); use simpler field types.")
        return JsonGuide(LLMatcher(self._tokenizer, grammar, log_level=0))


class JsonGuide:
    """A `decoding.Guide` along one answer."""

    def __init__(self, matcher: Any) -> None:
        """Begin an answer; `matcher` is llguidance's."""
        self._matcher = matcher
        self.done = False

    def mask(self, logits: Tensor) -> Tensor:
        """The logits (vocabulary,) with those that the grammar forbids at minus infinity."""
        allowed = torch.frombuffer(bytearray(self._matcher.compute_logit_bias()), dtype=torch.uint8) != 0
        return logits.masked_fill(~allowed.to(logits.device), float("-inf"))

    def accept(self, token: int) -> list[int]:
        """Take note of a token that `mask` allows; the tokens that must follow it."""
        self._matcher.consume_token(token)
        forced: list[int] = self._matcher.compute_ff_tokens()
        self._matcher.consume_tokens(forced)
        if self._matcher.is_error():
            raise InputError(f"The grammar lost its way: {self._matcher.get_error()[:200]}. Simplify the schema.")
        self.done = self._matcher.is_stopped()
        return forced

    def end(self) -> None:
        """The answer ends here: a number is complete where another digit may come."""
        self.done = self._matcher.is_accepting()
