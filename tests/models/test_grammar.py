"""Schemas that are refused, and answers under a grammar, drawn from a model that knows nothing."""

from __future__ import annotations

import json
import re
from datetime import date
from enum import Enum
from typing import Annotated, Any, Literal

import pytest
import torch
from pydantic import BaseModel, ConfigDict, Field
from tiny import byte_tokenizer

from foveal.errors import InputError
from foveal.models.grammar import Grammar, checked_schema

Short = Annotated[str, Field(max_length=12)]


class Closed(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Person(Closed):
    name: Short
    born: date | None


class Colour(Enum):
    RED = "red"
    BLUE = "blue"


class Everything(Closed):
    text: Short
    kind: Literal["a", "b"]
    colour: Colour
    people: list[Person] = Field(max_length=2)
    pair: tuple[Short, bool] | None
    count: int = Field(ge=0, le=99)


@pytest.fixture(scope="module")
def tokenizer() -> Any:
    return byte_tokenizer()


def drawn_answer(grammar: Grammar, schema: type[BaseModel], tokenizer: Any, seed: int) -> str:
    """An answer each of whose tokens is drawn evenly from those that the grammar allows."""
    generator = torch.Generator().manual_seed(seed)
    guide = grammar.guide(schema)
    ids: list[int] = []
    while not guide.done:
        logits = guide.mask(torch.zeros(300))
        token = int(torch.multinomial(torch.softmax(logits, -1), 1, generator=generator))
        if token == tokenizer.eos_token_id:
            break
        ids += [token, *guide.accept(token)]
        assert len(ids) < 2000
    return str(tokenizer.decode(ids))


@pytest.mark.parametrize("seed", range(40))
def test_whatever_is_drawn_is_an_instance(seed: int, tokenizer: Any) -> None:
    grammar = Grammar(tokenizer, vocabulary=300)
    text = drawn_answer(grammar, Everything, tokenizer, seed)
    made = Everything.model_validate_json(text)
    assert len(made.people) <= 2
    assert 0 <= made.count <= 99
    assert list(json.loads(text)) == list(Everything.model_fields)


def test_keys_are_given_and_not_chosen(tokenizer: Any) -> None:
    guide = Grammar(tokenizer, vocabulary=300).guide(Person)
    brace = tokenizer.convert_tokens_to_ids("{")
    assert guide.mask(torch.zeros(300)).argmax() == brace
    assert tokenizer.decode([brace, *guide.accept(brace)]) == '{"name": "'
    assert not guide.done


class Open(BaseModel):
    text: Short


class Inner(Closed):
    inner: Open


class Endless(Closed):
    text: str


class EndlessList(Closed):
    people: list[Person]


class EndlessItems(Closed):
    words: list[str] = Field(max_length=3)


class EndlessChoice(Closed):
    text: int | str | None


class Mapped(Closed):
    counts: dict[str, int] = Field(max_length=3)


class Anything(Closed):
    value: Any


class Tree(Closed):
    children: list[Tree] = Field(max_length=2)


class Pattern(Closed):
    code: str = Field(pattern="^[a-z]+$")


@pytest.mark.parametrize(
    ("schema", "message"),
    [
        (Open, "Open allows extra keys"),
        (Inner, "Inner.inner allows extra keys"),
        (Endless, "Endless.text is a text without end"),
        (EndlessList, "EndlessList.people is a list without end"),
        (EndlessItems, "EndlessItems.words[] is a text without end"),
        (EndlessChoice, "EndlessChoice.text is a text without end"),
        (Mapped, "Mapped.counts allows extra keys"),
        (Anything, "Anything.value may be anything"),
        (Tree, "holds a Tree within a Tree"),
        (Pattern, "Pattern.code is a text without end"),
    ],
)
def test_a_schema_whose_answers_may_not_end_is_refused(schema: type[BaseModel], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        checked_schema(schema)


def test_a_bounded_schema_is_given_as_it_is() -> None:
    assert checked_schema(Everything) == Everything.model_json_schema()


class Binary(Closed):
    data: bytes = Field(max_length=3)


def test_what_no_grammar_can_express_is_refused(tokenizer: Any) -> None:
    with pytest.raises(InputError, match="Binary cannot be made a grammar"):
        Grammar(tokenizer, vocabulary=300).guide(Binary)
