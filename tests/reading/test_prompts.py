"""The prompt as token ranges: put together, it is the rendered prompt."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st
from tiny import CONTROL

from foveal.errors import InputError
from foveal.reading.prompts import TEMPLATE, prompt_of
from foveal.reading.tokens import PlainTokens

PLAIN = st.text(st.characters(codec="utf-8"), max_size=30)
SPELT = st.lists(st.sampled_from([*CONTROL, "{context}", "{question}", "why", " "]), max_size=5).map("".join)


def prompt(model, template=TEMPLATE):
    return prompt_of(model, PlainTokens(model), template)


def whole(model, context: str, question: str) -> list[int]:
    made = prompt(model)
    return [*made.head, *made.tokens.encode(context), *made.tail(question)]


def rendered(model, context: str, question: str) -> str:
    content = TEMPLATE.replace("{question}", question).replace("{context}", context)
    return model.render([{"role": "system", "content": ""}, {"role": "user", "content": content}])


def test_the_parts_are_the_tokens_of_the_rendered_prompt(bytewise):
    assert whole(bytewise, "The mill.", "Why?") == bytewise.encode(rendered(bytewise, "The mill.", "Why?"))


def test_the_parts_spell_the_rendered_prompt(qwen):
    ids = whole(qwen, "The keeper of the mill.", "who is the keeper?")
    assert prompt(qwen).tokens.decode(ids) == rendered(qwen, "The keeper of the mill.", "who is the keeper?")


@given(context=PLAIN | SPELT, question=PLAIN | SPELT)
def test_text_and_question_add_no_control_tokens(qwen, context, question):
    control = set(qwen.tokenizer.convert_tokens_to_ids(list(CONTROL)))
    found = [token for token in whole(qwen, context, question) if token in control]
    assert found == [token for token in qwen.encode(rendered(qwen, "", "")) if token in control]


@given(context=PLAIN | SPELT, question=PLAIN | SPELT)
def test_text_and_question_stand_in_it_as_they_are(qwen, context, question):
    made = prompt(qwen)
    spelt = made.tokens.decode(made.tail(question))
    assert spelt == made.tokens.decode(made.middle) + question.strip() + made.tokens.decode(made.end)


def test_a_model_without_a_chat_template_gets_the_bare_text(bytewise):
    before = bytewise.tokenizer.chat_template
    bytewise.tokenizer.chat_template = None
    try:
        ids = whole(bytewise, "The mill.", "Why?")
        assert prompt(bytewise).tokens.decode(ids).strip() == TEMPLATE.format(context="The mill.", question="Why?")
    finally:
        bytewise.tokenizer.chat_template = before


def test_overhead_is_what_is_not_the_text(qwen):
    made = prompt(qwen)
    assert made.overhead(["a", "the keeper"]) == len(made.head) + len(made.tail("a")) + len(made.tail("the keeper"))


def test_a_prompt_is_a_value(qwen):
    made = prompt(qwen)
    assert replace(made) == made


@pytest.mark.parametrize("template", ["", "{context}", "{question}", "{context}{context}{question}", "{context} {q}"])
def test_a_template_needs_both_once(qwen, template):
    with pytest.raises(InputError, match=r"needs \{context\} and \{question\}, once each"):
        prompt(qwen, template)


def test_a_template_needs_the_text_first(qwen):
    with pytest.raises(InputError, match=r"needs \{context\} before \{question\}"):
        prompt(qwen, "{question} {context}")
