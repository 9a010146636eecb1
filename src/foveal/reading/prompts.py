"""The prompt of a reader, as token ranges: what stands before the text, the text, what stands after it.

The template is rendered once by the model's own chat template around two marks and cut at them; so a sentence's range
of tokens is known by construction and never searched for. What comes from the text or the question is tokenised as
plain characters: a text that spells a control token of the model does not become one.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.errors import InputError
from foveal.reading.tokens import PlainTokens

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

TEMPLATE = (
    "Read the text and answer the question. Be very concise in your answer.\n\n"
    "{context}\n\nQuestion: {question}\n\nAnswer:"
)

NO_QUESTION = "N/A"
"""The question that asks for nothing: what a model looks at under it, it looks at under any."""

_CONTEXT, _QUESTION = "\ue000CONTEXT\ue000", "\ue000QUESTION\ue000"


@dataclass(frozen=True)
class Prompt:
    """A template of one model: tokens before the text, between text and question, and after the question."""

    tokens: PlainTokens
    head: tuple[int, ...]
    middle: tuple[int, ...]
    end: tuple[int, ...]

    def tail(self, question: str) -> list[int]:
        """The tokens after the text, the question among them."""
        return [*self.middle, *self.tokens.encode(question.strip()), *self.end]

    def overhead(self, questions: Sequence[str]) -> int:
        """Tokens that a pass takes beside the text."""
        return len(self.head) + sum(len(self.tail(question)) for question in questions)


def prompt_of(model: LanguageModel, tokens: PlainTokens, template: str = TEMPLATE) -> Prompt:
    """The prompt of `template`, which holds {context} and then {question}. InputError: it does not."""
    if template.count("{context}") != 1 or template.count("{question}") != 1:
        raise InputError("The reader's template needs {context} and {question}, once each.")
    content = template.replace("{context}", _CONTEXT).replace("{question}", _QUESTION)
    rendered = model.render([{"role": "system", "content": ""}, {"role": "user", "content": content}])
    head, found, rest = rendered.partition(_CONTEXT)
    middle, asked, end = rest.partition(_QUESTION)
    if not (found and asked):
        raise InputError("The reader's template needs {context} before {question}.")
    return Prompt(tokens, *(tuple(model.encode(part)) for part in (head, middle, end)))
