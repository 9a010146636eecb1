"""The prompt of the published package infini-retri 0.0.3, as token ranges that are known and not searched for.

The package renders text and question into the template and the chat template, cuts the whole into sentences, tokenises
each by itself, and then looks for the sentence that the text begins with, and for the one of the question. Where it
finds them, the ranges here are the same. Where it would stop with a NameError, because a sentence of the text stands in
the template too, or because the template has no blank line around a slot, the prompt is cut at the slots.

Control tokens that the text spells are control tokens here, as in the package: nothing is generated from this prompt.
"""

from __future__ import annotations

import re
from bisect import bisect_left
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate, pairwise
from typing import TYPE_CHECKING

from foveal.errors import InputError
from foveal.reading.published_text import Spans, Traced, sentence_spans

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

_CONTEXT, _QUESTION = "\ue000CONTEXT\ue000", "\ue000QUESTION\ue000"
_SLOT = re.compile(f"({_CONTEXT}|{_QUESTION})")


@dataclass(frozen=True, eq=False)
class PublishedPrompt:
    """What the model is given: sentences with their tokens, and which tokens are the text and which ones look at it."""

    sentences: tuple[Traced, ...]
    starts: tuple[int, ...]  # the first token of each sentence
    ids: tuple[int, ...]
    context: range  # the text's tokens
    rows: range  # from the question's first token to the end

    def holding(self, tokens: Sequence[int]) -> list[Traced]:
        """The sentences that hold one of `tokens` or more, in order."""
        owners = {bisect_left(self.starts, token + 1) - 1 for token in tokens}
        return [self.sentences[owner] for owner in sorted(owners)]


@dataclass(frozen=True, eq=False)
class _Message:
    """The rendered prompt and the characters at which text and question stand in it; -1: the question does not."""

    text: Traced
    start: int
    end: int
    question: int


class PublishedTemplate:
    """A template of one model. InputError: it has no {context}, or slots that are neither that nor {question}."""

    def __init__(self, model: LanguageModel, template: str) -> None:
        self._model = model
        self._tokenizer = model.tokenizer.backend_tokenizer
        self._parts = _SLOT.split(model.render([{"role": "system", "content": ""}, self._message(template)]))
        if _CONTEXT not in self._parts:
            raise InputError("The template has no {context}; that is where the text goes.")

    @staticmethod
    def filled(template: str, context: str, question: str) -> str:
        """The template with its slots filled. InputError: a slot of another name."""
        try:
            return template.format(context=context, question=question)
        except (KeyError, IndexError, ValueError, AttributeError) as error:
            raise InputError(
                f"The template cannot be filled ({type(error).__name__}: {error}); its slots are {{context}} and "
                "{question}, and a brace that is none is written twice."
            ) from error

    def prompt(self, context: Traced, question: str) -> PublishedPrompt:
        """The prompt of a window, its blank ends taken off as those of the question are."""
        context, question = context.stripped(), question.strip()
        message = self._rendered(context, question)
        spans = sentence_spans(message.text.text)
        ids = self._encoded(message.text.text, spans)
        size = self._context_tokens(message, context.text, spans, ids)
        begins = {start for start, _ in spans}
        if size is None or (message.question >= 0 and message.question not in begins):
            spans, end = _cut_at_slots(message)
            ids = self._encoded(message.text.text, spans)
            size = sum(len(own) for (start, _), own in zip(spans, ids, strict=True) if message.start <= start < end)
        starts = (0, *accumulate(map(len, ids)))
        token_at = {start: token for (start, _), token in zip(spans, starts, strict=False)}
        first = token_at[message.start]
        looks = token_at[message.question] if message.question >= 0 else first + size
        return PublishedPrompt(
            tuple(message.text.cut(start, end) for start, end in spans),
            starts[:-1],
            tuple(token for own in ids for token in own),
            range(first, first + size),
            range(looks, starts[-1]),
        )

    def _message(self, template: str) -> dict[str, str]:
        return {"role": "user", "content": self.filled(template, _CONTEXT, _QUESTION)}

    def _rendered(self, context: Traced, question: str) -> _Message:
        slots = {_CONTEXT: context, _QUESTION: Traced.foreign(question)}
        parts = [slots[part] if part in slots else Traced.foreign(part) for part in self._parts]
        offsets = [0, *accumulate(len(part.text) for part in parts)]
        start = offsets[self._parts.index(_CONTEXT)]
        asked = question and _QUESTION in self._parts
        return _Message(
            Traced.joined(parts),
            start,
            start + len(context.text),
            offsets[self._parts.index(_QUESTION)] if asked else -1,
        )

    def _context_tokens(self, message: _Message, context: str, spans: Spans, ids: list[list[int]]) -> int | None:
        """The tokens of the text, counted by the package's rule; None where the package would not find it."""
        first = bisect_left(spans, (message.start, 0))
        if first == len(spans) or spans[first][0] != message.start:
            return None
        alone = context + "\n\n"
        own = sentence_spans(alone)
        if [(a + message.start, b + message.start) for a, b in own] == spans[first : first + len(own)]:
            return sum(map(len, ids[first : first + len(own)]))
        own_ids = [token for sentence in self._encoded(alone, own) for token in sentence]
        shown = [token for sentence in ids[first:] for token in sentence][: len(own_ids)]
        return len(own_ids) if self._decoded(shown) == self._decoded(own_ids) else None

    def _encoded(self, text: str, spans: Spans) -> list[list[int]]:
        sentences = [text[start:end] for start, end in spans]
        return [one.ids for one in self._tokenizer.encode_batch_fast(sentences, add_special_tokens=False)]

    def _decoded(self, ids: Sequence[int]) -> str:
        text: str = self._model.tokenizer.decode(list(ids))
        return text.strip()


def _cut_at_slots(message: _Message) -> tuple[Spans, int]:
    """Sentences that end at the slots' edges as well, and the character after the text and the blanks behind it."""
    text = message.text.text
    after = text[message.end :]
    end = message.end + len(after) - len(after.lstrip())
    edges = sorted({0, message.start, end, len(text), *([message.question] if message.question >= 0 else [])})
    spans: Spans = []
    for a, b in pairwise(edges):
        spans += [(a + start, a + stop) for start, stop in sentence_spans(text[a:b])] or [(a, b)]
    return spans, end
