"""Tokens to text as they come: whole characters, no reasoning, nothing from a stop text on."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from foveal.errors import InputError
from foveal.models.answers import Thoughts


class AnswerText:
    """The text of one answer; the pieces that `add` and `rest` give are what is shown, joined."""

    def __init__(self, tokenizer: Any, stop: Sequence[str], *, thinking: bool) -> None:
        """`thinking`: the prompt has opened `<think>` already."""
        self.ended = False  # whether a stop text was met
        self._tokenizer, self._stop = tokenizer, stop
        self._ids: list[int] = []  # the last tokens: those shown last, as context, and those that wait
        self._shown = 0  # how many of them are shown
        self._thoughts = Thoughts()
        if thinking:
            self._thoughts.without("<think>")
        self._held = ""  # text that may be the beginning of a stop text

    @classmethod
    def after(cls, tokenizer: Any, prompt: Sequence[int], stop: Sequence[str] = ()) -> AnswerText:
        """The answer to a prompt, whose template may have opened `<think>`."""
        return cls(tokenizer, stop, thinking=tokenizer.decode(prompt[-16:]).rstrip().endswith("<think>"))

    def require_answer(self, name: str) -> None:
        """InputError: all of what `name` said was reasoning; an empty answer would read as if nothing was found."""
        if self.thinking:
            raise InputError(
                f"{name} reasoned to its last token, and gave no answer. Raise max_tokens, or take a model that "
                "answers at once."
            )

    def add(self, token: int) -> str:
        """What can be shown now that `token` has come; often nothing."""
        self._ids.append(token)
        before = self._decoded(self._ids[: self._shown])
        new = self._decoded(self._ids)[len(before) :]
        if not new or new.endswith("\ufffd"):  # half a character, so far
            return ""
        self._ids, self._shown = self._ids[self._shown :], len(self._ids) - self._shown
        return self._unstopped(self._thoughts.without(new))

    @property
    def thinking(self) -> bool:
        """Whether reasoning was begun, and has not come to its end."""
        return self._thoughts.open

    def rest(self) -> str:
        """What still waits when no more tokens come."""
        if self.ended:
            return ""
        text = self._unstopped(self._thoughts.rest())
        return text if self.ended else text + self._held

    def _unstopped(self, text: str) -> str:
        """`text` up to a stop text; its end is held while it may be the beginning of one."""
        text = self._held + text
        found = [place for place in map(text.find, self._stop) if place >= 0]
        if found:
            self.ended, self._held = True, ""
            return text[: min(found)]
        held = max((overlap(text, stop) for stop in self._stop), default=0)
        self._held = text[len(text) - held :]
        return text[: len(text) - held]

    def _decoded(self, ids: list[int]) -> str:
        text: str = self._tokenizer.decode(ids, skip_special_tokens=True, clean_up_tokenization_spaces=False)
        return text


def overlap(text: str, stop: str) -> int:
    """The longest end of `text` that is a beginning of `stop`, and not all of it, in characters."""
    return next((size for size in range(min(len(text), len(stop) - 1), 0, -1) if text.endswith(stop[:size])), 0)
