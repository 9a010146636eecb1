"""How InfiniRetri reads a text: window, memory, effort, and what beside attention has a say."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from foveal.attention import AUTO
from foveal.errors import InputError
from foveal.reading.answering_settings import AnswerSettings
from foveal.reading.likeness import LIKE
from foveal.reading.prompts import TEMPLATE
from foveal.reading.sentences import LONGEST


@dataclass(frozen=True, kw_only=True)
class ReadSettings:
    """How a text is read; the defaults are measured (docs/reading.md)."""

    mode: Literal["map", "sequential"] = "map"
    window: int = 768  # tokens of text in a window, at least 64
    batch_tokens: int | None = None  # tokens that go through the model at once; None: by device (looking.batch_size)
    budget: int = 1024  # most tokens of the memory
    floor: float = 0.15  # least score of a sentence that is kept (looking.py has the unit)
    follow: int = 1  # windows that a second look may fill with what the first finds lead to, 0 to 16
    effort: float = 1.0  # share of the windows that are read, those with the question's words first, above 0 to 1
    words: bool = True  # whether the question's words lift what is kept (witnesses.py); in map mode
    meaning: bool = True  # whether likeness to the question does, where its encoder is there; in map mode
    likeness: float = LIKE  # below it, and little looked at, a model of this machine is not asked; 0: always asked
    content_free: bool = True  # whether what the empty question looks at is taken off
    longest: int = LONGEST  # tokens of a sentence; a longer one is cut
    template: str = TEMPLATE
    attention: str = AUTO  # how a window attends to itself: a method of foveal.attention, by name, or by its length
    row_beta: float = 1.0  # what a sink keeps in a question's rows before sentences are scored (docs/act.md), 1: all
    int8: bool = True  # whether the pass that looks multiplies in int8 where the processor is faster at it
    answer: AnswerSettings = field(default_factory=AnswerSettings)

    def __post_init__(self) -> None:
        """InputError: a value out of its range."""
        if self.mode not in ("map", "sequential"):
            raise InputError(f"The reader's mode is {self.mode!r}; there are map and sequential.")
        if self.window < 64 or (self.batch_tokens is not None and self.batch_tokens < 1) or self.longest < 8:
            raise InputError("The reader needs a window of 64 tokens, a batch of 1 and sentences of 8, or more.")
        if self.budget < 32:
            raise InputError(f"The reader's budget is {self.budget} tokens; a memory needs at least 32.")
        if not 0 <= self.follow <= 16:
            raise InputError(f"follow is {self.follow}; a second look fills 0 to 16 windows.")
        if not 0 <= self.likeness <= 1:
            raise InputError(f"likeness is {self.likeness}; it is a cosine, 0 to 1.")
        if not 0 <= self.row_beta <= 1:
            raise InputError(f"row_beta is {self.row_beta}; a sink keeps a share of its attention, 0 to 1.")
        if not 0 < self.effort <= 1:
            raise InputError(f"effort is {self.effort}; it is a share of the windows, above 0, at most 1.")
