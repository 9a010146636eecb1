"""What every chat model takes and gives: messages in, text out, in five verbs.

    chat(messages) -> str                      the whole answer
    stream(messages) -> Iterator[str]          the answer in pieces, as they come
    parse(messages, Schema) -> Schema          an answer that a pydantic schema accepts
    score(messages, continuation) -> [float]   log-probability of each token of a given answer
    chat_many([messages, ...]) -> [str]        many answers at once, in the order given

A message is `{"role": "system" | "user" | "assistant", "content": str}`. `Cancel` stops any of them within a token:
another thread sets it, and the call raises `Cancelled`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from math import inf
from threading import Event
from typing import TYPE_CHECKING, Protocol, TypeVar, runtime_checkable

from foveal.errors import Cancelled, InputError
from foveal.models.characters import scalar

if TYPE_CHECKING:
    from pydantic import BaseModel

Message = Mapping[str, str]
Messages = Sequence[Message]
ROLES = ("system", "user", "assistant")
SchemaT = TypeVar("SchemaT", bound="BaseModel")


@dataclass(frozen=True, kw_only=True)
class Sampling:
    """How an answer is drawn; the same settings and seed give the same answer of a local model."""

    max_tokens: int = 256  # the longest answer, in tokens; 1 or more
    temperature: float = 0.0  # 0 takes the likeliest token each time
    top_p: float = 1.0  # share of probability to draw from, 0 < top_p <= 1
    seed: int = 0
    stop: tuple[str, ...] = ()  # texts that end the answer; they are not part of it

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.max_tokens < 1:
            raise InputError(f"max_tokens is {self.max_tokens}; an answer needs at least 1.")
        if not 0 <= self.temperature < inf:
            raise InputError(f"temperature is {self.temperature}; it needs 0 (the likeliest token) or more.")
        if not 0 < self.top_p <= 1:
            raise InputError(f"top_p is {self.top_p}; it needs a share above 0, at most 1.")
        if not -(2**63) <= self.seed < 2**64:
            raise InputError(f"seed is {self.seed}; it needs to fit into 64 bits.")
        if any(not text for text in self.stop):
            raise InputError("A stop text is empty; leave it out.")


GREEDY = Sampling()

PARSE_TOKENS = 1024
"""max_tokens of `parse` where the caller does not say: the schema bounds the answer, and half a JSON is none."""


def parsing(sampling: Sampling) -> Sampling:
    """What `parse` draws by: what was given, or, with nothing given, up to `PARSE_TOKENS`."""
    return replace(sampling, max_tokens=PARSE_TOKENS) if sampling is GREEDY else sampling


class Cancel:
    """A token that stops a call: hand it in, and `set()` it from any thread."""

    def __init__(self, outer: Cancel | None = None) -> None:
        """`outer` cancels this one, too; not the other way round."""
        self._event, self._outer = Event(), outer

    def set(self) -> None:
        """Stop what holds this token."""
        self._event.set()

    @property
    def cancelled(self) -> bool:
        """Whether `set` was called."""
        return self._event.is_set() or (self._outer is not None and self._outer.cancelled)

    def check(self) -> None:
        """Raise Cancelled if `set` was called."""
        if self.cancelled:
            raise Cancelled("The call was cancelled by its caller.")


@runtime_checkable
class ChatModel(Protocol):
    """A model that answers messages."""

    name: str

    @property
    def context_tokens(self) -> int:
        """What messages and answer may take together; of a server it may turn out to be less than was thought."""
        ...

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:
        """The whole answer."""
        ...

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The answer in pieces; joined, they are what `chat` returns."""
        ...

    def parse(
        self,
        messages: Messages,
        schema: type[SchemaT],
        sampling: Sampling = GREEDY,
        *,
        cancel: Cancel | None = None,
    ) -> SchemaT:
        """An answer that `schema` accepts; it must forbid extra keys and bound its lengths (see `grammar`).

        With no sampling given, up to `PARSE_TOKENS`.
        """
        ...

    def score(self, messages: Messages, continuation: str, *, cancel: Cancel | None = None) -> list[float]:
        """Natural-log probability of each token of `continuation` as the answer to `messages`."""
        ...

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        """The whole answer to each conversation."""
        ...

    def count_tokens(self, text: str) -> int:
        """Tokens that `text` takes of `context_tokens` (an upper estimate where the tokenizer is not known)."""
        ...


def is_local(model: ChatModel) -> bool:
    """Whether a model runs on this machine, where its insides show and it answers one at a time."""
    return getattr(model, "language_model", None) is not None


SMALL = 1_500_000_000
"""Weights of a small model at most; measured is one of half a billion."""


def is_small(model: ChatModel) -> bool:
    """Whether a model answers from little text alone: by its weights, where they are known; of others those that run
    on this machine."""
    weights = getattr(model, "weights", None)
    return is_local(model) if weights is None else weights <= SMALL


def is_modest(model: ChatModel) -> bool:
    """Whether a model is asked one thing at a time: a small one, or one of this machine, where each call takes long."""
    return is_local(model) or is_small(model)


def require_chat(asked: str, model: object) -> None:
    """InputError: what came to `asked` is no chat model."""
    lacking = [name for name in ("stream", "count_tokens") if not hasattr(model, name)]
    if lacking:
        raise InputError(
            f"{asked} got {type(model).__name__} for a model that answers, which has no {' and no '.join(lacking)}. "
            "foveal.models.OwnChat(function) makes one of any function, load_chat(NAME, url=…) one of a server's."
        )


def checked(messages: Messages) -> list[dict[str, str]]:
    """The messages as plain dictionaries; half of a surrogate pair, which no model can be sent, is U+FFFD there.

    InputError: none, a wrong role, or content that is no text.
    """
    if not messages:
        raise InputError("There are no messages; a chat needs at least one of the user.")
    if isinstance(messages, str | Mapping):
        raise InputError(
            f"A chat got {messages!r:.200}; it needs a list of messages, such as "
            '[{"role": "user", "content": "Where is sight sharpest?"}].'
        )
    for place, message in enumerate(messages):
        known = isinstance(message, Mapping) and message.get("role") in ROLES
        if not known or not isinstance(message.get("content"), str):
            raise InputError(f"Message {place} is {message!r:.200}; it needs a role ({', '.join(ROLES)}) and a text.")
    return [{"role": message["role"], "content": scalar(message["content"])} for message in messages]
