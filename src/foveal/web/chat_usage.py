"""What a question to a chat model took, in tokens: those it was shown, and those it wrote.

    counted = CountedModels(site.models)          # in the place of the models, for one question
    …
    counted.tokens.prompt, counted.tokens.completion

Of a model on this machine its own tokenizer counts, the template's tokens included; of a server's model the server, and
where it does not say, as when an answer is broken off, `count_tokens`, which is rather too many. All calls of one
question add up. A question that no model was asked takes none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, cast

from foveal.models.chat import GREEDY, Cancel, ChatModel, Messages, Sampling

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel
    from foveal.web.models import Models


Counts = tuple[int, int]
"""Tokens of a prompt, and of its answer."""


@dataclass
class Tokens:
    """How many."""

    prompt: int = 0
    completion: int = 0


@dataclass
class CountedModels:
    """The models of a site, whose answers to one question are counted."""

    models: Models
    tokens: Tokens = field(default_factory=Tokens)

    @property
    def name(self) -> str:
        """As pages name what answers."""
        return self.models.name

    def chat(self) -> ChatModel:
        """What answers, counted. ModelUnavailable: it cannot be had."""
        return cast(ChatModel, CountedChat(self.models.chat(), self.tokens))

    def reader(self) -> LanguageModel | None:
        """What reads, which is not counted."""
        return self.models.reader()


class CountedChat:
    """A chat model whose whole and streamed answers are counted; all else is its own."""

    def __init__(self, model: ChatModel, tokens: Tokens) -> None:
        self._model, self._tokens = model, tokens

    def __getattr__(self, name: str) -> Any:
        """What is not counted."""
        return getattr(self._model, name)

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:
        """The whole answer."""
        told: list[Counts] = []
        said = self._model.chat(messages, sampling, cancel=cancel, **self._asked(told))
        self._count(messages, said, told)
        return said

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The answer in pieces; counted once it has ended, or nobody takes more of it."""
        told: list[Counts] = []
        said: list[str] = []
        try:
            for piece in self._model.stream(messages, sampling, cancel=cancel, **self._asked(told)):
                said.append(piece)
                yield piece
        finally:
            self._count(messages, "".join(said), told)

    def _asked(self, told: list[Counts]) -> dict[str, Any]:
        """What lets a server's model tell what it counted."""
        from foveal.models.openai_chat import OpenAIChat

        return {"told": told.append} if isinstance(self._model, OpenAIChat) else {}

    def _count(self, messages: Messages, said: str, told: list[Counts]) -> None:
        for prompt, completion in told or [self._counted(messages, said)]:
            self._tokens.prompt += prompt
            self._tokens.completion += completion

    def _counted(self, messages: Messages, said: str) -> Counts:
        own: LanguageModel | None = getattr(self._model, "language_model", None)
        count = self._model.count_tokens
        if own is None:
            return sum(count(one["content"]) for one in messages), count(said)
        return len(own.encode(own.render(messages))), count(said)
