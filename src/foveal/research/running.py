"""What the runs of MindSearch and of deep research share: a thread of their own, events to follow, limits, an end.

class Run(Running[Researched]): …        # has _go, which does the work, _made, which says what came of it, …
run.start(); run.join(1.0); run.result()
finished(run, on_event)                  # listens until the end; Ctrl-C cancels
"""

from __future__ import annotations

import uuid
from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping, Sequence
from threading import TIMEOUT_MAX, Thread, Timer
from typing import Any, Generic, Self, TypeVar

from foveal.errors import FovealError
from foveal.models.chat import ChatModel, Message
from foveal.research.board import Board, Keeps
from foveal.research.budget import Budget, Meter
from foveal.research.events import Event, EventLog
from foveal.research.prompts import VERSION
from foveal.research.sources import Source
from foveal.research.state import RunState

Made = TypeVar("Made")


class Running(ABC, Generic[Made]):
    """One question on its way; who inherits sets `meter`."""

    meter: Meter

    def __init__(
        self, question: str, *, log: EventLog | None, keepers: Sequence[Keeps], key: str | None, thread: str
    ) -> None:
        """`log` holds the events of a run that goes on; `key` names it; `thread` names its thread."""
        self.question = question
        self.board = Board(log or EventLog(), keepers)
        self.failure: Exception | None = None
        self.stopped_by: str | None = None
        self._key = key or uuid.uuid4().hex
        self._thread = Thread(target=self._go, name=thread, daemon=True)

    # -- for who asked ------------------------------------------------------------------------------------------------

    @property
    def log(self) -> EventLog:
        """The events, to be followed."""
        return self.board.log

    @property
    def state(self) -> RunState:
        """What the events add up to; it changes while the run goes on."""
        return self.board.state

    def start(self) -> Self:
        """Begin, in a thread of the run's own."""
        self._thread.start()
        return self

    @abstractmethod
    def cancel(self) -> None:
        """Stop everything."""

    @abstractmethod
    def answer_now(self) -> None:
        """Search no more, and answer from what was found."""

    def join(self, timeout: float | None = None) -> bool:
        """Wait for the end, at most `timeout` seconds; whether it has come."""
        self._thread.join(timeout)
        return not self._thread.is_alive()

    def result(self, timeout: float | None = None) -> Made:
        """Wait for the end. FovealError: the run failed before anything was found. TimeoutError: it goes on."""
        if not self.join(timeout):
            raise TimeoutError("The run goes on.")
        if self.failure is not None:
            raise self.failure
        return self._given()

    # -- for who inherits ---------------------------------------------------------------------------------------------

    @abstractmethod
    def _go(self) -> None:
        """The run itself, in its thread."""

    @abstractmethod
    def _given(self) -> Made:
        """What came of a run that did not fail."""

    def _failed(self, error: BaseException) -> None:
        """What `result` raises: an error of ours, with what broke as its cause where it is none."""
        if isinstance(error, FovealError):
            self.failure = error
        else:
            self.failure = FovealError(f"The run broke ({type(error).__name__}: {error}). What was done is kept.")
            self.failure.__cause__ = error

    def _timer(self) -> Timer | None:
        """Tells when the seconds of the budget are over, also where nothing is asked of a model meanwhile."""
        left = self.meter.seconds_left
        if left is None:
            return None
        timer = Timer(min(left + 0.01, TIMEOUT_MAX), self.meter.tell)
        timer.daemon = True
        timer.start()
        return timer

    def _tell_begun(
        self,
        model: ChatModel,
        source: Source,
        budget: Budget,
        settings: Mapping[str, Any],
        history: Sequence[Message] = (),
    ) -> None:
        """The first event of a run, and of one that goes on; an answer of before is void."""
        self.board.tell(
            "run",
            run_id=self.board.state.run.get("run_id") or self._key,
            question=self.question,
            history=list(map(dict, history)),
            model=model.name,
            source=source.name,
            settings=dict(settings),
            budget={"tokens": budget.tokens, "seconds": budget.seconds, "pages": budget.pages},
            prompts=VERSION,
        )
        if self.board.state.answer:
            self.board.tell("answer.reset")


def told_of(error: BaseException, what: str) -> str:
    """What an event says of an error: of one that is not ours its kind alone: it may name a path, others look on."""
    if isinstance(error, FovealError):
        return str(error) or type(error).__name__
    return f"{what} broke ({type(error).__name__}). The log says more."


def finished(run: Running[Made], on_event: Callable[[Event], None] = lambda _: None, *, after: int = 0) -> Made:
    """Listen to a run until its end; Ctrl-C, and whatever `on_event` raises, cancels it."""
    try:
        for event in run.log.follow(after):
            on_event(event)
    except BaseException:
        run.cancel()
        run.join(1.0)
        raise
    return run.result()
