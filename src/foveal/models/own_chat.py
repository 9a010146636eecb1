"""A chat model over a function: a provider's own client, a gateway, a model that Foveal does not know.

    def answer(messages, sampling):
        return client.complete(messages, max_tokens=sampling.max_tokens)

    library.ask("Who approved the budget?", model=OwnChat(answer, name="house-model"))

The function gets the messages and a `Sampling`, and gives the answer, or its pieces as they come. Its errors are its
caller's, as they are. A `<think>…</think>` before the answer is left out.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor

from foveal.errors import FetchFailed, InputError
from foveal.models.answers import Thoughts, fitting, in_words, most_tokens, without_thoughts
from foveal.models.characters import scalar
from foveal.models.chat import GREEDY, Cancel, Messages, Sampling, SchemaT, checked, parsing

Answer = Callable[[list[dict[str, str]], Sampling], str | Iterable[str]]


class OwnChat:
    """A `ChatModel` whose answers `answer` gives; a call is cancelled between two pieces."""

    def __init__(self, answer: Answer, *, name: str = "own", context_tokens: int = 8192, at_once: int = 1) -> None:
        """`at_once`: how many threads `chat_many` may call `answer` in. InputError: it is no function, or none may."""
        if not callable(answer):
            raise InputError(f"OwnChat got {answer!r:.200}; it needs a function of messages and sampling.")
        if at_once < 1 or context_tokens < 1:
            raise InputError(
                f"OwnChat got at_once {at_once}, context_tokens {context_tokens}; both must be at least 1."
            )
        self.name, self.context_tokens = name, context_tokens
        self._answer, self._at_once = answer, at_once

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:
        """The whole answer."""
        return without_thoughts("".join(self._pieces(checked(messages), sampling, cancel)))

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The answer in pieces; in one where the function gives a text."""
        thoughts = Thoughts()
        for piece in self._pieces(checked(messages), sampling, cancel):
            if shown := thoughts.without(piece):
                yield shown
        if rest := thoughts.rest():
            yield rest

    def parse(
        self,
        messages: Messages,
        schema: type[SchemaT],
        sampling: Sampling = GREEDY,
        *,
        cancel: Cancel | None = None,
    ) -> SchemaT:
        """An answer that `schema` accepts, which is told in words; asked once more where the first does not fit.

        FetchFailed: nor does the second.
        """
        talk = in_words(checked(messages), schema)
        drawn = parsing(sampling)
        return fitting(lambda asked: "".join(self._pieces(asked, drawn, cancel)), talk, schema, self.name)

    def score(self, messages: Messages, continuation: str, *, cancel: Cancel | None = None) -> list[float]:  # noqa: ARG002
        """FetchFailed: a function gives no log-probabilities."""
        raise FetchFailed(f"{self.name} cannot score a given answer: it is a function. Use a local model.")

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        """The whole answer to each conversation."""
        with ThreadPoolExecutor(self._at_once, thread_name_prefix="foveal-chat") as pool:
            return list(pool.map(lambda messages: self.chat(messages, sampling, cancel=cancel), conversations))

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`, rather too many than too few."""
        return most_tokens(text)

    def _pieces(self, messages: list[dict[str, str]], sampling: Sampling, cancel: Cancel | None) -> Iterator[str]:
        """What the function gives, piece by piece. InputError: that is no text."""
        if cancel is not None:
            cancel.check()
        told = self._answer(messages, sampling)
        if not isinstance(told, Iterable):
            raise InputError(f"The function of {self.name} gave {told!r:.200}; it needs a text, or pieces of one.")
        for piece in (told,) if isinstance(told, str) else told:
            if cancel is not None:
                cancel.check()
            if not isinstance(piece, str):
                raise InputError(f"The function of {self.name} gave {piece!r:.200}; it needs a text, or pieces of one.")
            yield scalar(piece)
