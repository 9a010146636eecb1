"""How an answer is grounded: which characters of which excerpt its tokens were copied from, by the model's own heads.

An answer made by a model on this machine is passed through it once more, behind its prompt, and its retrieval heads
say where each token was copied from (attention/head_tracing.py). Citations use it where words alone leave a choice;
`grounded` is the share of the answer that was copied.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from foveal.errors import InputError

if TYPE_CHECKING:
    from foveal.attention.head_tracing import Trace
    from foveal.attention.retrieval_heads import HeadScores
    from foveal.models.language import LanguageModel


NO_ROWS = (0, 0)
"""The characters that are rows of a table, in a text that has none."""

_CELLS = re.compile(r"[^\n\t]")  # of white space: what is no end of a row and no empty cell


@dataclass(frozen=True, slots=True)
class Copied:
    """Characters `start` to `end` of the answer were copied from character `place` of the excerpt `number` (from 0)."""

    start: int
    end: int
    number: int
    place: int
    share: float


@dataclass(frozen=True)
class Grounding:
    """What of an answer was copied, and from where."""

    copied: tuple[Copied, ...]
    grounded: float  # 0 to 1

    def votes(self, said: tuple[int, int], number: int, sentence: tuple[int, int]) -> float:
        """Of what was copied into the answer's characters `said`, the share from these characters of an excerpt."""
        (a, b), (start, end) = said, sentence
        own = [one for one in self.copied if a <= one.start < b]
        here = sum(one.share for one in own if one.number == number and start <= one.place < end)
        return here / sum(one.share for one in own) if here else 0.0


def grounding(
    model: LanguageModel,
    prompt: str,
    answer: str,
    excerpts: Sequence[str],
    scores: HeadScores,
    rows: Sequence[tuple[int, int]] = (),
) -> Grounding | None:
    """What `answer` copied from the excerpts, which stand in the rendered `prompt` in order, as `one_line` makes them.

    `rows`: of each excerpt the characters that are rows of a table.
    None where one of them cannot be found there, as where a chat template changed it, or there is no answer, and where
    it is not known: no head copies enough to be asked, the scores are another model's, or all this is too long for it.
    """
    from foveal.attention.head_tracing import traced  # and PyTorch: a model behind a server needs none

    if not scores.above():
        return None
    maps: list[tuple[int, list[int]]] = []
    start = 0
    for text, own in zip(excerpts, rows or [NO_ROWS] * len(excerpts), strict=True):
        line, places = one_line(text, own)
        found = prompt.find(line, start)
        if found < 0 or not line:
            return None
        maps.append((found, places))
        start = found + len(line)
    if not answer.strip():
        return None
    sources = [(begin, begin + len(places)) for begin, places in maps]
    try:
        trace = traced(model, prompt, answer, scores, sources=sources)
    except InputError:  # the answer is there, and is worth more than where it was copied from
        return None
    return Grounding(tuple(_copied(trace, maps)), trace.grounded)


def _copied(trace: Trace, maps: Sequence[tuple[int, list[int]]]) -> list[Copied]:
    made = []
    for token in trace.tokens:
        if token.source is None:
            continue
        middle = (token.source[0] + token.source[1]) // 2  # a token may begin with the space before its word
        for number, (begin, places) in enumerate(maps):
            if begin <= middle < begin + len(places):
                made.append(Copied(token.start, token.end, number, places[middle - begin], token.share))
    return made


def one_line(text: str, rows: tuple[int, int] = NO_ROWS) -> tuple[str, list[int]]:
    """The text with each run of white space as one space, none at its ends; and each character's place in `text`.

    Among the characters `rows`, which are rows of a table, lines stay lines, and tabs stay between cells.
    """
    line: list[str] = []
    places: list[int] = []
    for found in re.finditer(r"\s+|\S", text):
        shown = found.group()
        if shown.isspace():
            among = rows[0] <= found.end() and found.start() < rows[1]
            shown = (_CELLS.sub("", shown[max(0, shown.rfind("\n")) :]) if among else "") or " "
            shown = shown if line and found.end() < len(text) else ""
        line += shown
        places += [found.start()] * len(shown)
    return "".join(line), places
