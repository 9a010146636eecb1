"""What a question asks for: at most one round of clarifying questions, then the brief that the report is judged by.

    questions = clarifying(model, "Is it safe?")       # [] where the question says enough
    brief = brief_of(model, question, answers, words=1200, today=today)

A small model asks nonsense, so that for one (`plain`) a rule decides: a question of fewer than three content words says
too little. Dates ("since 2020", "between 2010 and 2015", "in the last 5 years") are read by rule in any case.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from datetime import date
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from foveal.models.chat import ChatModel, Message
from foveal.research.planning import parsed
from foveal.research.report import Brief
from foveal.retrieval.terms import terms

FEWEST_WORDS = 3
"""Content words below which a question says too little."""

ASKED = ("What about it is to be found out?", "Whom or what case does it concern?", "Since when do sources count?")

_Line = Annotated[str, Field(min_length=3, max_length=160)]
_YEAR = r"((?:19|20)\d{2})"
_DATES = (
    (re.compile(rf"\b(?:between|from) {_YEAR} (?:and|to|until) {_YEAR}\b", re.IGNORECASE), (0, 0)),
    (re.compile(rf"\bsince {_YEAR}\b", re.IGNORECASE), (0, None)),
    (re.compile(rf"\bafter {_YEAR}\b", re.IGNORECASE), (1, None)),
    (re.compile(rf"\b(?:until|up to|by) {_YEAR}\b", re.IGNORECASE), (None, 0)),
    (re.compile(rf"\bbefore {_YEAR}\b", re.IGNORECASE), (None, -1)),
)
_LAST = re.compile(r"\b(?:in|over|of) the (?:last|past) (\d{1,2}) years\b", re.IGNORECASE)


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
    told = " ".join([question, *answers.values()])
    since, until = dates_in(told, today)
    goal = question if not answers else f"{question} ({'; '.join(one for one in answers.values() if one.strip())})"
    if plain:
        return Brief(goal=goal, since=since, until=until, words=words)
    said = parsed(model, _messages(question, answers, today), Scope, 512)
    if said is None:
        return Brief(goal=goal, since=since, until=until, words=words)
    return Brief(
        goal=said.goal, must_cover=tuple(said.must_cover), out_of_scope=tuple(said.out_of_scope), since=since,
        until=until, words=words,
    )  # fmt: skip


def dates_in(text: str, today: date) -> tuple[str, str]:
    """The first and the last day that a question asks for, as ISO 8601; "" where it does not say."""
    for pattern, years in _DATES:
        if found := pattern.search(text):
            return _days(found.groups(), years)
    if found := _LAST.search(text):
        return date(today.year - int(found[1]), today.month, min(today.day, 28)).isoformat(), ""
    return "", ""


def _days(found: Sequence[str], shift: tuple[int | None, int | None]) -> tuple[str, str]:
    first, last = shift
    since = f"{int(found[0]) + first}-01-01" if first is not None else ""
    until = f"{int(found[-1]) + last}-12-31" if last is not None else ""
    return since, until


def _messages(question: str, answers: Mapping[str, Any], today: date) -> list[Message]:
    rule = (
        f"Write the brief of a report; today is {today.isoformat()}. goal: what the reader wants to know, in a "
        "sentence. must_cover: what the report has to treat, each in a few words. out_of_scope: what it leaves out. "
        "Answer with JSON."
    )
    told = "".join(f"\n{asked} {answer}" for asked, answer in answers.items() if str(answer).strip())
    return [{"role": "system", "content": rule}, {"role": "user", "content": f"{question}{told}"}]
