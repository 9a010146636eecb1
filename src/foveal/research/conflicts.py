"""Where sources say against each other: found by the checks, told with dates and trust, and weighed.

    conflicts(evidence, sources, likeness, checks)         # [Conflict(about, sides, preferred), …]
    debated(question, conflict, evidence, model)           # the same, after its sources argued

Two passages of different sources that speak of the same thing (likeness of their summaries) conflict where the checks
find that one contradicts what the other says. A paper is preferred to what retells, then the newer to the older; where
neither says more, nothing is preferred, and the report says so.

Debate     one agent for each side, which sees its own evidence and what the others said; at most 3 rounds, or until
           nobody changes their answer; an aggregator, which may only name a side or none (MADAM-RAG, arXiv 2504.13079)
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, create_model

from foveal.evaluation.answers import normalised
from foveal.models.chat import ChatModel, Message, Sampling
from foveal.research.checks import Checks
from foveal.research.evidence import Evidence, SourceRecord
from foveal.research.likeness import Likeness
from foveal.research.planning import parsed
from foveal.research.prompts import CONCISE, as_data
from foveal.research.report_parts import Conflict
from foveal.research.report_writing import first_sentence

ALIKE = 0.6
"""Likeness of two summaries from which they speak of the same thing."""

PAIRS = 24
"""Pairs that are checked, the likest first."""

ROUNDS = 3


def conflicts(
    evidence: Mapping[str, Evidence], sources: Mapping[str, SourceRecord], likeness: Likeness, checks: Checks
) -> list[Conflict]:
    """The conflicts among evidence, those between the likest passages first; a passage is in one at most."""
    found: list[Conflict] = []
    used: set[str] = set()
    for one, other in _pairs(list(evidence.values()), likeness):
        if {one.key, other.key} & used:
            continue
        said = first_sentence(one.summary) or one.summary
        stances = {one.stance, other.stance} == {"supports", "contradicts"} and one.question == other.question
        if stances or checks.check(said, [other.passage]).label == "contradicted":
            used |= {one.key, other.key}
            found.append(_told(one, other, sources))
    return found


def _pairs(evidence: Sequence[Evidence], likeness: Likeness) -> list[tuple[Evidence, Evidence]]:
    vectors = likeness.vectors([one.summary for one in evidence])
    near = vectors @ vectors.T
    pairs = [
        (float(near[a, b]), a, b)
        for a in range(len(evidence))
        for b in range(a + 1, len(evidence))
        if evidence[a].source != evidence[b].source and near[a, b] >= ALIKE
    ]
    return [(evidence[a], evidence[b]) for _, a, b in sorted(pairs, key=lambda pair: (-pair[0], *pair[1:]))[:PAIRS]]


def _told(one: Evidence, other: Evidence, sources: Mapping[str, SourceRecord]) -> Conflict:
    """The conflict, the side that is preferred first."""
    why = _preferred(sources[one.source], sources[other.source])
    if not why and (back := _preferred(sources[other.source], sources[one.source])):
        one, other, why = other, one, back
    about = "; ".join(f"{_dated(sources[side.source])}: “{_short(side)}”" for side in (one, other))
    return Conflict(about=about, sides=((one.key,), (other.key,)), preferred=why)


def _preferred(one: SourceRecord, other: SourceRecord) -> str:
    """Why the first is preferred; "" where it is not."""
    if (one.trust == "primary") != (other.trust == "primary"):
        return "primary" if one.trust == "primary" else ""
    if one.published_at and other.published_at and one.published_at[:10] != other.published_at[:10]:
        return "newer" if one.published_at > other.published_at else ""
    return ""


def _dated(source: SourceRecord) -> str:
    date = source.published_at[:10] if source.published_at else "no date"
    return f"{source.title[:80]} ({', '.join(filter(None, (date, source.trust)))})"


def _short(one: Evidence) -> str:
    text = first_sentence(one.summary) or one.summary
    words = text.split()
    return " ".join(words[:40]) + (" …" if len(words) > 40 else "")


# -- debate -----------------------------------------------------------------------------------------------------------


def debated(question: str, conflict: Conflict, evidence: Mapping[str, Evidence], model: ChatModel) -> Conflict:
    """The conflict after its sides argued; where the aggregator names a side, that one is preferred."""
    said = [""] * len(conflict.sides)
    for _ in range(ROUNDS):
        asked = [_agent(question, side, said, place, evidence) for place, side in enumerate(conflict.sides)]
        new = model.chat_many(asked, Sampling(max_tokens=64, stop=("\n",)))
        over = [normalised(one) for one in new] == [normalised(one) for one in said]
        said = list(new)
        if over:
            break
    verdict = parsed(model, _aggregator(question, said), _verdict(len(said)), 32)
    if verdict is None or verdict.side == "none":
        return conflict
    place = int(verdict.side) - 1
    order = [conflict.sides[place], *(side for at, side in enumerate(conflict.sides) if at != place)]
    why = (
        conflict.preferred
        if place == 0 and conflict.preferred
        else "better argued when the sources were set against each other"
    )
    return replace(conflict, sides=tuple(order), preferred=why)


def _agent(
    question: str, side: Sequence[str], said: Sequence[str], place: int, evidence: Mapping[str, Evidence]
) -> list[Message]:
    shown = "\n".join(as_data(evidence[key].passage.text)[:1200] for key in side)
    others = "".join(f"\nAnother source says: {as_data(one)}" for at, one in enumerate(said) if at != place and one)
    content = f"{CONCISE}\n\n{shown}\n{others}\n\nQuestion: {question}\n\nWhat do these excerpts say? Answer:"
    return [{"role": "system", "content": ""}, {"role": "user", "content": content}]


def _aggregator(question: str, said: Sequence[str]) -> list[Message]:
    shown = "\n".join(f"{place}. {as_data(one)}" for place, one in enumerate(said, 1))
    content = (
        f"Question: {question}\n\nSources answer:\n{shown}\n\nWhich answer is better supported? Its number, or none "
        'where that cannot be said. JSON: {"side": "…"}.'
    )
    return [{"role": "system", "content": ""}, {"role": "user", "content": content}]


def _verdict(count: int) -> type[BaseModel]:
    named: Any = Literal[("none", *(str(place) for place in range(1, count + 1)))]
    return create_model("Side", __config__=ConfigDict(extra="forbid"), side=(named, ...))
