"""What a run may spend, what it has spent, and a chat model that keeps to it.

    meter = Meter(Budget(tokens=50_000, seconds=120, pages=40), on_empty=stop)
    model = Metered(model, meter)              # counts, and refuses calls once the budget is empty

Tokens are those of prompts and answers as the model counts them; of a server, whose tokenizer is not known, an upper
estimate. A local model answers one call at a time: it would not be faster at two, and keeps the beginning of a prompt
that the next one shares.
"""

from __future__ import annotations

import math
import re
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from threading import Lock
from typing import Any

from foveal.errors import Cancelled, FetchFailed, FovealError, InputError
from foveal.models.chat import GREEDY, Cancel, ChatModel, Messages, Sampling, SchemaT

_HALF, _BEGUN = re.compile("[\ud800-\udfff]"), re.compile("[\ud800-\udbff]")


@dataclass(frozen=True, kw_only=True)
class Budget:
    """The most that a run may spend; None is no limit, 0 nothing at all."""

    tokens: int | None = None  # read and written by models
    seconds: float | None = None
    pages: int | None = None  # fetched and read

    def __post_init__(self) -> None:
        """InputError: a limit below 0, or one without end."""
        if any(limit is not None and not 0 <= limit < math.inf for limit in (self.tokens, self.seconds, self.pages)):
            raise InputError(f"{self} has a limit below 0, or without end. Give 0 or more, or None for none.")


class Meter:
    """Counts what a run spends; threads may share it."""

    def __init__(
        self, budget: Budget, *, on_empty: Callable[[], None] = lambda: None, before: dict[str, Any] | None = None
    ) -> None:
        """`on_empty` is called once, when tokens or seconds run out; `before` is what was `used` earlier."""
        self.budget = budget
        self._spent = {"tokens": 0, "calls": 0, "pages": 0} | {
            name: value for name, value in (before or {}).items() if name in ("tokens", "calls", "pages")
        }
        self._seconds = float((before or {}).get("seconds", 0.0))
        self._begun = time.monotonic()
        self._on_empty = on_empty
        self._told = False
        self._lock = Lock()
        self.short_of_pages = False  # whether a page was wanted that the budget did not allow
        self.forms = self.unread = 0  # answers that were to fill in a form, and those of them that nobody could read

    @property
    def seconds(self) -> float:
        """Seconds that the run took, all its parts together."""
        return self._seconds + time.monotonic() - self._begun

    @property
    def seconds_left(self) -> float | None:
        """Seconds that the budget leaves; None: there is no limit."""
        return None if self.budget.seconds is None else max(0.0, self.budget.seconds - self.seconds)

    def used(self) -> dict[str, Any]:
        """What was spent, by name."""
        with self._lock:
            return dict(self._spent) | {"seconds": round(self.seconds, 3)}

    def empty(self) -> str | None:
        """What has run out: tokens, seconds or pages; None: nothing."""
        with self._lock:
            limits = {"tokens": self.budget.tokens, "seconds": self.budget.seconds, "pages": self.budget.pages}
            spent: dict[str, float] = self._spent | {"seconds": self.seconds}
        return next((name for name, most in limits.items() if most is not None and spent[name] >= most), None)

    def spend(self, *, tokens: int = 0, calls: int = 0) -> None:
        """Take note of what was spent."""
        with self._lock:
            self._spent["tokens"] += tokens
            self._spent["calls"] += calls
        self.tell()

    def form(self, *, read: bool) -> None:
        """Take note of an answer that was to fill in a form, and whether it could be read."""
        with self._lock:
            self.forms += 1
            self.unread += not read

    def pages(self, wanted: int, *, ahead: bool = False) -> int:
        """Take up to `wanted` pages of the budget; how many there were. `ahead`: they may turn out not to be needed."""
        with self._lock:
            left = wanted if self.budget.pages is None else self.budget.pages - self._spent["pages"]
            taken = max(0, min(wanted, left))
            self._spent["pages"] += taken
            self.short_of_pages = self.short_of_pages or (taken < wanted and not ahead)
        return taken

    def give_back(self, pages: int, *, short: bool = False) -> None:
        """Pages that were taken and not read: ahead, or they could not be had; `short`: there were fewer than were
        needed."""
        with self._lock:
            self._spent["pages"] -= pages
            self.short_of_pages = self.short_of_pages or short

    def tell(self) -> None:
        """Call `on_empty` if tokens or seconds have run out and it was not called yet."""
        if self.empty() not in ("tokens", "seconds"):
            return
        with self._lock:  # of threads that see it at the same time one tells
            first, self._told = not self._told, True
        if first:
            self._on_empty()


def is_unreadable(error: FovealError) -> bool:
    """Whether a model answered, and only its words could not be used; else its server failed."""
    from pydantic import ValidationError

    return not isinstance(error, FetchFailed) or isinstance(error.__cause__, ValidationError)


class Metered:
    """A `ChatModel` that counts what another one reads and writes. Cancelled: tokens or seconds have run out."""

    def __init__(self, model: ChatModel, meter: Meter, cancel: Cancel | None = None) -> None:
        """`cancel` stops those calls, too, that are given no token of their own."""
        self.model = model
        self.cancel = cancel
        self.meter = meter
        self.name = model.name
        self.language_model = getattr(model, "language_model", None)
        self._turn: AbstractContextManager[Any] = nullcontext() if self.language_model is None else Lock()

    @property
    def context_tokens(self) -> int:
        """What its model reads, which for one behind a server may turn out to be less than was thought."""
        return self.model.context_tokens

    @property
    def weights(self) -> int | None:
        """How large its model is, where that is known."""
        return getattr(self.model, "weights", None)

    def chat(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> str:
        """The whole answer."""
        return "".join(self.stream(messages, sampling, cancel=cancel))

    def stream(self, messages: Messages, sampling: Sampling = GREEDY, *, cancel: Cancel | None = None) -> Iterator[str]:
        """The answer in pieces."""
        cancel = cancel or self.cancel
        self._require_left()
        with self._turn:
            self._begin(messages, cancel)
            pieces = []
            try:
                for piece in _characters(self.model.stream(messages, sampling, cancel=cancel)):
                    pieces.append(piece)
                    yield piece
            finally:
                self.meter.spend(tokens=self.count_tokens("".join(pieces)))

    def parse(
        self, messages: Messages, schema: type[SchemaT], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> SchemaT:
        """An answer that `schema` accepts."""
        cancel = cancel or self.cancel
        self._require_left()
        with self._turn:
            self._begin(messages, cancel)
            try:
                found = self.model.parse(messages, schema, sampling, cancel=cancel)
            except (FetchFailed, InputError) as error:
                if is_unreadable(error):
                    self.meter.form(read=False)
                raise
            self.meter.form(read=True)
            self.meter.spend(tokens=self.count_tokens(found.model_dump_json()))
            return found

    def score(self, messages: Messages, continuation: str, *, cancel: Cancel | None = None) -> list[float]:
        """Natural-log probabilities of an answer's tokens."""
        cancel = cancel or self.cancel
        self._require_left()
        with self._turn:
            self._begin(messages, cancel)
            self.meter.spend(tokens=self.count_tokens(continuation))
            return self.model.score(messages, continuation, cancel=cancel)

    def chat_many(
        self, conversations: Sequence[Messages], sampling: Sampling = GREEDY, *, cancel: Cancel | None = None
    ) -> list[str]:
        """The whole answer to each conversation; the model may answer them together."""
        cancel = cancel or self.cancel
        self._require_left()
        with self._turn:
            for messages in conversations:
                self._begin(messages, cancel)
            said = self.model.chat_many(conversations, sampling, cancel=cancel)
            answers = ["".join(_characters([one])) for one in said]
            self.meter.spend(tokens=sum(map(self.count_tokens, answers)))
            return answers

    def count_tokens(self, text: str) -> int:
        """Tokens of `text`."""
        return self.model.count_tokens(text)

    def _begin(self, messages: Messages, cancel: Cancel | None) -> None:
        if cancel:
            cancel.check()
        tokens = sum(self.count_tokens(one["content"]) for one in messages)
        self.meter.spend(tokens=tokens, calls=1)

    def _require_left(self) -> None:
        if self.meter.empty() in ("tokens", "seconds"):
            raise Cancelled("The budget of this run is spent. Give a larger one, and resume the run.")


def _characters(pieces: Iterable[str]) -> Iterator[str]:
    """Pieces of an answer without halves of characters, which no event, file or database takes.

    A server may send the two halves of one in two pieces: these are put together.
    """
    held = ""
    for piece in pieces:
        text = held + piece
        held = text[-1:] if _BEGUN.fullmatch(text[-1:]) else ""
        if shown := _whole(text[: len(text) - len(held)]):
            yield shown
    if held:
        yield _whole(held)


def _whole(text: str) -> str:
    if not _HALF.search(text):
        return text
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")
