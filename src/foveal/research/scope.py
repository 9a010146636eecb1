"""What a question asks for: at most one round of clarifying questions, then the brief that the report is judged by.

    questions = clarifying(model, "Is it safe?")       # [] where the question says enough
    brief = brief_of(model, question, answers, words=1200, today=today)

A small model asks nonsense, so that for one (`plain`) a rule decides: a question of fewer than three content words says
too little. Dates ("since 2020", "between 2010 and 2015", "in the last 5 years") are read by rule in any case
(`asked_dates.py`).
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from foveal.models.chat import ChatModel, Message
from foveal.research.asked_dates import dates_in
from foveal.research.planning import parsed
from foveal.research.report_parts import Brief
from foveal.research.state import RunState
from foveal.research.steps import step_name
from foveal.retrieval.terms import terms

WAITS = "waits"
"""What stops a run that asks who began it, until they say something."""

FEWEST_WORDS = 3
"""Content words below which a question says too little."""

ASKED = ("What about it is to be found out?", "Whom or what case does it concern?", "Since when do sources count?")

_Line = Annotated[str, Field(min_length=3, max_length=160)]


@dataclass(frozen=True, slots=True)
class Said:
    """What a person says to a run that waits: `answers` to its questions, or the `brief`; or begin and ask no more."""

    answers: tuple[str, ...] | None = None
    brief: Brief | None = None

    @classmethod
    def from_row(cls, row: Mapping[str, Any]) -> Said:
        """As `asdict` gave it. InputError: not a brief."""
        answers, brief = row.get("answers"), row.get("brief")
        return cls(None if answers is None else tuple(answers), None if brief is None else Brief.from_row(brief))


@dataclass(frozen=True, slots=True)
class Asks:
    """What a run waits for: answers to its `questions`, or that somebody has looked over its `brief`."""

    questions: tuple[str, ...] = ()
    brief: Brief | None = None


def asks(state: RunState) -> Asks | None:
    """What a run waits for; None: for nothing."""
    if state.done is None or state.done.get("stopped_by") != WAITS:
        return None
    if (drafted := state.steps.get(step_name("clarify", "brief"))) is not None:
        return Asks(brief=Brief.from_row(drafted["output"]))
    return Asks(tuple(state.steps[step_name("clarify", "questions")]["output"]))


class Clarify(BaseModel):
    """Whether a question says enough, and what to ask if not."""

    model_config = ConfigDict(extra="forbid")
    clear: bool
    questions: list[_Line] = Field(max_length=3)


class Scope(BaseModel):
    """The parts of a brief that a model writes."""

    model_config = ConfigDict(extra="forbid")
    goal: Annotated[str, Field(min_length=3, max_length=300)]
    must_cover: list[_Line] = Field(max_length=8)
    out_of_scope: list[_Line] = Field(max_length=4)


def clarifying(model: ChatModel, question: str, *, plain: bool = False) -> list[str]:
    """Up to three questions back to who asked; none where the question says enough."""
    if plain:
        return list(ASKED) if len(set(terms(question))) < FEWEST_WORDS else []
    rule = (
        "A question is to be researched for a report. Say whether it can be researched as it stands; if it cannot, ask "
        'up to three short questions back. Answer with JSON: {"clear": true, "questions": []}.'
    )
    said = parsed(model, [{"role": "system", "content": rule}, {"role": "user", "content": question}], Clarify, 256)
    return [] if said is None or said.clear else list(said.questions)


def brief_of(
    model: ChatModel, question: str, answers: Mapping[str, str], *, words: int, today: date, plain: bool = False
) -> Brief:
    """The brief of a question and of what was answered to the clarifying questions."""
    since, until = dates_in(question, today)
    if answered := " ".join(answers.values()):
        own = dates_in(answered, today, of_sources=True)
        since, until = own[0] or since, own[1] or until
        if since and until and since > until:  # they take back what the question said
            since, until = own
    goal = question if not answers else f"{question} ({'; '.join(one for one in answers.values() if one.strip())})"
    if plain:
        return Brief(goal=goal, since=since, until=until, words=words)
    said = parsed(model, _messages(question, answers, today), Scope, 512)
    if said is None:
        return Brief(goal=goal, since=since, until=until, words=words)
    return Brief(
        goal=said.goal if said.goal.strip() else goal, must_cover=tuple(filter(str.strip, said.must_cover)),
        out_of_scope=tuple(filter(str.strip, said.out_of_scope)), since=since, until=until, words=words,
    )  # fmt: skip


def _messages(question: str, answers: Mapping[str, Any], today: date) -> list[Message]:
    rule = (
        f"Write the brief of a report; today is {today.isoformat()}. goal: what the reader wants to know, in a "
        "sentence. must_cover: what the report has to treat, each in a few words. out_of_scope: what it leaves out. "
        "Answer with JSON."
    )
    told = "".join(f"\n{asked} {answer}" for asked, answer in answers.items() if str(answer).strip())
    return [{"role": "system", "content": rule}, {"role": "user", "content": f"{question}{told}"}]
