"""Small honest chat models for tests of what readers do with an answer."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from foveal.models.chat import GREEDY, Cancel, Messages, Sampling


class Scripted:
    """A ChatModel that says the same to all, in pieces of three characters, and keeps what it was asked."""

    name = "scripted"
    context_tokens = 4096

    def __init__(self, answer: str = "Nobody knows.") -> None:
        self.answer = answer
        self.asked: list[Messages] = []

    def reply(self, messages: Messages) -> str:
        self.asked.append(messages)
        return self.answer

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        answer = self.reply(messages)[: 8 * sampling.max_tokens]
        for start in range(0, len(answer), 3):
            if cancel:
                cancel.check()
            yield answer[start : start + 3]

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:
        return "".join(self.stream(messages, sampling, cancel=cancel))

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        return [self.chat(messages, sampling, cancel=cancel) for messages in conversations]

    def count_tokens(self, text: str) -> int:
        return len(text)


class Quoter(Scripted):
    """A ChatModel that repeats the first sentence of the first excerpt, and cites it."""

    def reply(self, messages: Messages) -> str:
        super().reply(messages)
        first = re.search(r"\[1\] (.+?)(?=\n\n\[2\] |\n\nQuestion: )", messages[-1]["content"], re.DOTALL)
        return f"{re.split(r'(?<=[.!?]) ', ' '.join(first[1].split()))[0]} [1]" if first else "not found"
