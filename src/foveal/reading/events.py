"""What a reader tells while it reads; the command line shows it as a bar, a web page gets it as it comes."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from foveal.reading.memory import Excerpt
from foveal.types import Answer


@dataclass(frozen=True, slots=True)
class ReadStarted:
    """The size of the task: windows and tokens are estimates until a text is through."""

    windows: int
    tokens: int
    resumed: int = 0  # windows that an earlier run has read


@dataclass(frozen=True, slots=True)
class WindowRead:
    """Windows up to `window` of `windows` are read; rates are in tokens of the text a second."""

    window: int
    windows: int
    tokens: int  # of the text, so far
    memory_tokens: int
    tokens_per_second: float
    seconds_left: float
    best: tuple[Excerpt, ...]  # the best sentence so far of each question


@dataclass(frozen=True, slots=True)
class Answering:
    """Reading is done; `excerpts` are what the answer is made from."""

    excerpts: tuple[Excerpt, ...]


@dataclass(frozen=True, slots=True)
class AnswerDelta:
    """A piece of the answer, as it comes."""

    text: str


@dataclass(frozen=True, slots=True)
class ReadStats:
    """What a reading cost."""

    windows: int
    tokens: int  # of the text
    forward_tokens: int  # that went through the model
    memory_tokens: int
    seconds: float
    peak_bytes: int  # the process's largest resident size


@dataclass(frozen=True, slots=True)
class Reading(Answer):
    """An answer from one text, the excerpts that it was made from, and what it cost.

    `found` is False where nothing in the text was looked at because of the question: the answer then says so.
    """

    question: str = ""
    excerpts: tuple[Excerpt, ...] = ()
    stats: ReadStats = field(default_factory=lambda: ReadStats(0, 0, 0, 0, 0.0, 0))
    found: bool = True
    unsupported: tuple[str, ...] = ()  # sentences of the answer that no excerpt bears out
    details: Mapping[str, float] = field(default_factory=dict)
    grounded: float | None = None  # share of the answer that the model's heads copied from the excerpts, where known


@dataclass(frozen=True, slots=True)
class Done:
    """The last event: one reading for each question, in order."""

    readings: tuple[Reading, ...]


Event = ReadStarted | WindowRead | Answering | AnswerDelta | Done
