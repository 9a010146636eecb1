"""Many questions planned side by side: the planner writes, our search finds, the planner reads what was found.

    plans = explore(writer, search, ["Who taught the architect …?", …], most=2)
    plans[0].queries; plans[0].found(search)                     # ids of at most 9 passages

Evidence  "found" (what each query found), "none" (queries stand alone: all are written from the question), or "others"
          (what another question's query found): the controls that tell whether a planner reads what was found
Depends   a plan of several queries depends on what was found if its second holds a word that stands in neither the
          question nor the first query, and that the first query's passages hold
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from typing import Literal, Protocol

from foveal.models.chat import Cancel
from foveal.research.graph import same_question
from foveal.research.query_writer import Written
from foveal.research.recorded_search import BUDGET, FIRST, RecordedSearch, new_words, pooled
from foveal.research.transcripts import Transcript, TranscriptSettings
from foveal.retrieval.terms import terms

Evidence = Literal["found", "none", "others"]
SEEN = 5
"""Passages of a first query in which a second one's new word is looked for, as the recorded agents were given them."""


class Writer(Protocol):
    """Writes the next line of many transcripts."""

    def write(
        self,
        transcripts: Sequence[Transcript],
        *,
        must_search: bool = False,
        temperature: float = 0.0,
        seeds: Sequence[int] | None = None,
        cancel: Cancel | None = None,
    ) -> list[Written]:
        """A query for each, or none."""
        ...


@dataclass(frozen=True)
class Explored:
    """One question's plan."""

    transcript: Transcript
    ended: bool = False  # whether the planner itself said that it has enough
    repeated: bool = False  # whether it asked what it had asked; that ended it

    @property
    def queries(self) -> tuple[str, ...]:
        """The queries, in order."""
        return tuple(one.query for one in self.transcript.searched)

    def found(self, search: Callable[[str], Sequence[str]], *, budget: int = BUDGET, first: int = FIRST) -> list[str]:
        """The passages that the question and its queries find."""
        return pooled(search, self.transcript.question, self.queries, budget=budget, first=first)


@dataclass
class _Going:
    """A plan under way."""

    plan: Explored
    seed: int
    over: bool = False
    asked: list[str] = field(default_factory=list)


def explore(
    writer: Writer,
    search: RecordedSearch,
    questions: Sequence[str],
    *,
    most: int = 2,
    settings: TranscriptSettings | None = None,
    evidence: Evidence = "found",
    may_end: bool = True,
    temperature: float = 0.0,
    seeds: Sequence[int] | None = None,
    cancel: Cancel | None = None,
) -> list[Explored]:
    """A plan for each question, of at most `most` queries; the first is always asked for."""
    settings = settings or TranscriptSettings()
    seeds = seeds or [0] * len(questions)
    going = [_Going(Explored(Transcript(one)), seed) for one, seed in zip(questions, seeds, strict=True)]
    for turn in range(most):
        left = [one for one in going if not one.over]
        if not left:
            break
        lines = writer.write(
            [one.plan.transcript for one in left],
            must_search=turn == 0 or not may_end,
            temperature=temperature,
            seeds=[one.seed * most + turn for one in left],
            cancel=cancel,
        )
        shown = _evidence(search, lines, settings, evidence)
        for one, written, found in zip(left, lines, shown, strict=True):
            _advance(one, written, found, settings)
    return [one.plan for one in going]


def _advance(one: _Going, written: Written, found: Sequence[tuple[str, str]], settings: TranscriptSettings) -> None:
    if written.query is None:
        one.plan, one.over = replace(one.plan, ended=True), True
    elif any(same_question(written.query, asked) for asked in one.asked):
        one.plan, one.over = replace(one.plan, repeated=True), True
    else:
        one.asked.append(written.query)
        grown = one.plan.transcript.and_then(written.query, found, settings, written.ids)
        one.plan = replace(one.plan, transcript=grown)


def _evidence(
    search: RecordedSearch, lines: Sequence[Written], settings: TranscriptSettings, evidence: Evidence
) -> list[Sequence[tuple[str, str]]]:
    """The passages that each row is shown."""
    most = 2 * settings.passages  # those that were shown before are left out
    found: list[Sequence[tuple[str, str]]] = [
        search.shown(search(one.query)[:most]) if one.query else [] for one in lines
    ]
    if evidence == "none":
        return [[] for _ in lines]
    return found[1:] + found[:1] if evidence == "others" else found


def depends(search: RecordedSearch, question: str, queries: Sequence[str]) -> bool | None:
    """Whether the second query holds a word that only what the first one found could give; None: there is no second."""
    if len(queries) < 2:
        return None
    new = new_words(queries[1], (question, queries[0]))
    held = {word for title, text in search.shown(search(queries[0])[:SEEN]) for word in terms(f"{title} {text}")}
    return bool(new & held)
