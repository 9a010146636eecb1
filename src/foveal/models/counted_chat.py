"""A chat model whose answers are counted, in tokens: those that it was shown, and those that it wrote.

    counted = CountedChat(model)                  # in the model's place, for one question
    …
    counted.tokens.prompt, counted.tokens.completion, counted.tokens.calls

Of a model on this machine its own tokenizer counts, the template's tokens included; of a server's model the server, and
where it does not say, as when an answer is broken off, `count_tokens`, which is rather too many. All calls of one
question add up. A question that no model was asked takes none.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from foveal.models.chat import GREEDY, Cancel, ChatModel, Messages, Sampling

if TYPE_CHECKING:
    from foveal.models.language import LanguageModel

Counts = tuple[int, int]
"""Tokens of a prompt, and of its answer."""


@dataclass
class Tokens:
    """How many, in how many calls, and whether a part of them is estimated, as a server did not tell."""

    prompt: int = 0
    completion: int = 0
    calls: int = 0
    estimated: bool = False


class CountedChat:
    """A chat model whose whole and streamed answers are counted; all else is its own."""

    def __init__(self, model: ChatModel, tokens: Tokens | None = None) -> None:
        """`tokens`: where they are added up (default: of its own)."""
        self._model, self.tokens = model, tokens or Tokens()

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
        if not told and getattr(self._model, "language_model", None) is None:
            self.tokens.estimated = True
        for prompt, completion in told or [self._counted(messages, said)]:
            self.tokens.prompt += prompt
            self.tokens.completion += completion
            self.tokens.calls += 1

    def _counted(self, messages: Messages, said: str) -> Counts:
        own: LanguageModel | None = getattr(self._model, "language_model", None)
        count = self._model.count_tokens
        if own is None:
            return sum(count(one["content"]) for one in messages), count(said)
        return len(own.encode(own.render(messages))), count(said)
