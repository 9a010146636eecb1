"""Many questions planned side by side: the planner writes, our search finds, the planner reads what was found.

    plans = explore(writer, search, ["Who taught the architect …?", …], most=2)
    plans[0].queries; plans[0].found(search)                     # ids of at most 9 passages

Names     with `named` each later turn asks of so many names at once: those that the passages shown have, and those of
          the question that no query has had yet. Which of them, and what of each, the planner decides
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
from foveal.research.sources import in_context
from foveal.research.transcripts import Transcript, TranscriptSettings, names_left
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
        names: Sequence[Sequence[str]] | None = None,
        cancel: Cancel | None = None,
    ) -> list[Written]:
        """A query for each, or none; `names`: those that each begins with one of."""
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
    named: int = 0,
    settings: TranscriptSettings | None = None,
    evidence: Evidence = "found",
    temperature: float = 0.0,
    seeds: Sequence[int] | None = None,
) -> list[Explored]:
    """A plan for each question, of at most `most` turns; in the first there is always a query.

    `named`: queries of each later turn, each of another name; 0: one, of whatever the planner likes."""
    settings = settings or TranscriptSettings()
    seeds = seeds or [0] * len(questions)
    going = [_Going(Explored(Transcript(one)), seed) for one, seed in zip(questions, seeds, strict=True)]
    for turn in range(most):
        left = [one for one in going if not one.over]
        if not left:
            break
        transcripts = [one.plan.transcript for one in left]
        if turn and named:
            written = write_named(writer, transcripts, named)
        else:
            written = [
                [line]
                for line in writer.write(
                    transcripts,
                    must_search=turn == 0,
                    temperature=temperature,
                    seeds=[one.seed * most + turn for one in left],
                )
            ]
        _search_all(search, left, written, settings, evidence)
    return [one.plan for one in going]


def write_named(
    writer: Writer, transcripts: Sequence[Transcript], named: int, *, cancel: Cancel | None = None
) -> list[list[Written]]:
    """The queries of each transcript's next turn, the likeliest first: at most `named`, each of another name; a free
    one where there is no name, and one line alone where the planner has enough."""
    names = [names_left(one) for one in transcripts]
    made = [[one] for one in writer.write(transcripts, must_search=False, names=names, cancel=cancel)]
    for _ in range(1, named):
        left = [[name for name in given if not _had(name, lines)] for given, lines in zip(names, made, strict=True)]
        again = [at for at, given in enumerate(left) if given and made[at][-1].name]
        if not again:
            break
        more = writer.write(
            [transcripts[at] for at in again], must_search=True, names=[left[at] for at in again], cancel=cancel
        )
        for at, one in zip(again, more, strict=True):
            made[at].append(one)
    return made


def _had(name: str, lines: Sequence[Written]) -> bool:
    """Whether a name, or one that it is a part of, was asked of."""
    return any(one.query is not None and set(terms(name)) <= set(terms(one.query)) for one in lines)


def _search_all(
    search: RecordedSearch,
    going: Sequence[_Going],
    written: Sequence[Sequence[Written]],
    settings: TranscriptSettings,
    evidence: Evidence,
) -> None:
    """Each plan goes on by what its lines find, one line after another."""
    for place in range(max(map(len, written))):
        now = [(one, lines[place]) for one, lines in zip(going, written, strict=True) if len(lines) > place]
        shown = _evidence(search, now, settings, evidence)
        for (one, line), found in zip(now, shown, strict=True):
            _advance(one, line, found, settings)


def _advance(one: _Going, written: Written, found: Sequence[tuple[str, str]], settings: TranscriptSettings) -> None:
    if written.query is None:
        one.plan, one.over = replace(one.plan, ended=True), True
    elif any(same_question(written.query, asked) for asked in one.asked):
        # one of several names may lead back to a query that was there; that ends nothing
        one.plan, one.over = replace(one.plan, repeated=True), written.name is None
    else:
        one.asked.append(written.query)
        grown = one.plan.transcript.and_then(written.query, found, settings, written.ids)
        one.plan = replace(one.plan, transcript=grown)


def _evidence(
    search: RecordedSearch,
    lines: Sequence[tuple[_Going, Written]],
    settings: TranscriptSettings,
    evidence: Evidence,
) -> list[Sequence[tuple[str, str]]]:
    """The passages that each row is shown."""
    most = 2 * settings.passages  # those that were shown before are left out
    found: list[Sequence[tuple[str, str]]] = [
        search.shown(search(in_context(line.query, one.plan.transcript.question))[:most]) if line.query else []
        for one, line in lines
    ]
    if evidence == "none":
        return [[] for _ in lines]
    return found[1:] + found[:1] if evidence == "others" else found


def depends(search: RecordedSearch, question: str, queries: Sequence[str]) -> bool | None:
    """Whether the second query holds a word that only what the first one found could give; None: there is no second."""
    if len(queries) < 2:
        return None
    new = new_words(queries[1], (question, queries[0]))
    found = search.shown(search(in_context(queries[0], question))[:SEEN])
    held = {word for title, text in found for word in terms(f"{title} {text}")}
    return bool(new & held)
