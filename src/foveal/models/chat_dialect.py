"""What one server takes of a request, learnt from its refusals: they are heeded at once, and kept for the next one."""

from __future__ import annotations

from collections.abc import Generator
from dataclasses import dataclass, field
from typing import Any

from foveal.models.answers import most_tokens
from foveal.models.chat import Cancel
from foveal.models.chat_pieces import chunks_of, whole_of
from foveal.models.chat_requests import (
    LENGTH,
    NEWER_LENGTH,
    REFUSALS,
    STREAM,
    ContextExceeded,
    adapted,
    answer_limit,
    context_limit,
    prompt_tokens,
    refused_by,
)

MOST_REFUSALS = 12
"""Refusals of one request that are heeded: a server has no more than these to name, unless it asks for no end."""

LEAST_ANSWER = 128
"""Tokens of room that an answer is worth asking for, where a server's context holds no more."""


@dataclass
class Dialect:
    """What is known of a server; threads may share it."""

    refused: set[str] = field(default_factory=set)  # what `adapted` leaves out, or says otherwise
    most: int | None = None  # tokens that it allows an answer, where it said so
    context: int | None = None  # tokens that it reads, where it said so

    def chunks(
        self, client: Any, request: dict[str, Any], place: str, cancel: Cancel | None = None
    ) -> Generator[Any, None, None]:
        """The chunks of the answer to a request, which is said otherwise where the server refuses it.

        Cancelled: `cancel` was set before it was all asked. ContextExceeded: it takes more than the server reads.
        openai.APIStatusError: another refusal, or a failure.
        """
        import openai

        refused, length = set(self.refused), NEWER_LENGTH if NEWER_LENGTH in request else LENGTH
        most = self.most
        for left in range(MOST_REFUSALS, -1, -1):
            asked = adapted(request | {length: min(request[length], most or request[length])}, refused)
            if cancel is not None:  # nobody waits for an answer that is still to be asked for
                cancel.check()
            try:
                answer = client.chat.completions.create(**asked)
                break
            except openai.APIStatusError as error:
                if not left:
                    raise
                text = f"{error} {error.response.text}"
                room = self._room(error.status_code, text, asked, place)
                if room is not None:
                    request = request | {length: room}
                elif allowed := self._allowed(error.status_code, error.param, text, asked):
                    most = allowed
                elif change := refused_by(error.status_code, error.param, text, asked):
                    refused.add(change)
                else:
                    raise
        self.refused |= refused  # only now, that it answers: some name all that they were sent, whatever is wrong
        self.most = most
        if STREAM not in asked:
            yield whole_of(answer)
            return
        with answer:
            yield from chunks_of(answer)

    def _room(self, status: int, text: str, asked: dict[str, Any], place: str) -> int | None:
        """Tokens of an answer for which its context has room, where the server says that it is too small; None: it says
        something else. ContextExceeded: there is no room."""
        wanted = _wanted(asked)
        exceeded, limit = context_limit(status, text)
        if not exceeded:
            return None
        counted = prompt_tokens(text) or sum(most_tokens(one["content"]) for one in asked["messages"])
        self.context = limit or self.context
        left = (limit or 0) - counted
        if min(wanted - 1, LEAST_ANSWER) <= left < wanted:
            return left
        holds = f"the {limit:,} tokens that {place} reads" if limit else f"{place} can read"
        raise ContextExceeded(
            f"Prompt and answer take more than {holds}: {wanted:,} for the answer, about {counted:,} for what it "
            "is shown. Start the server with a longer context, or ask with fewer passages (-k, --budget).",
            limit,
        )

    def _allowed(self, status: int, param: str | None, text: str, asked: dict[str, Any]) -> int | None:
        """The most tokens that any answer may have there, where that is less than was asked for."""
        most = answer_limit(param, text) if status in REFUSALS else None
        return most if most is not None and 0 < most < _wanted(asked) else None


def _wanted(asked: dict[str, Any]) -> int:
    return int(asked.get(LENGTH) or asked[NEWER_LENGTH])
