"""What a reading looked at, over the whole text: every sentence with the score that the question gave it.

A reader keeps only the best sentences; a picture of where it looked needs all of them. `watch_heat` puts a `Looking`
into a reader that notes what passes through it and changes nothing.

    heat = watch_heat(reader)               # before it reads
    for event in reader.stream(document, question): …
    over(heat.sentences(), [0, 1000, 2000])     # the highest score in each stretch; None where nothing was read

Unit      that of looking.py: 1 is an even spread. Of a sentence that was looked at twice the better score counts
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import pairwise

from torch import Tensor

from foveal.reading.infiniretri import InfiniRetri
from foveal.reading.looking import Looking, Window


@dataclass(frozen=True, slots=True)
class Looked:
    """Characters `start` to `end` of the text, and how much they were looked at."""

    start: int
    end: int
    score: float


@dataclass
class Heat:
    """The scores of a text's sentences, as they come."""

    _scores: dict[tuple[int, int], float] = field(default_factory=dict)

    def note(self, start: int, end: int, score: float) -> None:
        """A sentence was looked at."""
        self._scores[start, end] = max(score, self._scores.get((start, end), 0.0))

    def sentences(self) -> list[Looked]:
        """All that were looked at, in the order of the text."""
        return [Looked(*place, score) for place, score in sorted(self._scores.copy().items())]

    def peaks(self, count: int, *, least: float = 0.0) -> list[Looked]:
        """The `count` sentences that were looked at most, and at least so much, the highest first."""
        above = [one for one in self.sentences() if one.score > least]
        return sorted(above, key=lambda one: (-one.score, one.start))[:count]


def over(sentences: Sequence[Looked], borders: Sequence[int]) -> list[float | None]:
    """The highest score between each two `borders` that follow each other; None where no sentence was read.

    `sentences` stand in the order of the text.
    """
    starts, ends = [one.start for one in sentences], [one.end for one in sentences]
    found = []
    for start, end in pairwise(borders):
        there = sentences[bisect_right(ends, start) : bisect_left(starts, end)]
        found.append(max((one.score for one in there), default=None))
    return found


class _Noted(Looking):
    """A `Looking` that notes every score it gives."""

    heat: Heat

    def scores(self, windows: Sequence[Window], questions: Sequence[str], *, content_free: bool = True) -> list[Tensor]:
        """As `Looking.scores`."""
        found = super().scores(windows, questions, content_free=content_free)
        for window, values in zip(windows, found, strict=True):
            for sentence, score in zip(window, values.max(0).values.tolist(), strict=True):
                self.heat.note(sentence.start, sentence.end, score)
        return found


def watch_heat(reader: InfiniRetri) -> Heat:
    """The heat of what `reader` will read: for a reader of one text, as it does not tell texts apart."""
    settings = reader.settings
    noted = _Noted(
        reader.model,
        reader.looking.profile,
        settings.template,
        attention=settings.attention,
        row_beta=settings.row_beta,
        int8=settings.int8,
    )
    noted.heat = Heat()
    reader.looking = noted
    return noted.heat
